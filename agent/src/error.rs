//! Why an agent cannot do what it should.

use std::io;
use std::path::{Path, PathBuf};

use thiserror::Error;
use vtplan_state::model::TabletAlias;
use vtplan_state::store::StoreError;

/// What ends an agent, or keeps one of its tablets from being as its record says.
#[derive(Debug, Error)]
pub enum AgentError {
    #[error(transparent)]
    Store(#[from] StoreError),

    #[error(
        "the store holds no cluster `{wanted}` but {found}: use that name, or another store for the new cluster"
    )]
    OtherCluster { wanted: String, found: String },

    #[error(
        "the state store {url} holds no cluster `{cluster}`, but this host has tablets of it, such as {tablet}: the store was lost, or another one is meant; put the records back with `vtplan import cluster --data-dir {dir}` or `vtplan state import FILE`, or name the right store with --state; if nobody needs the tablets, give this agent another --data-dir", dir = data_dir.display()
    )]
    StoreLost {
        url: String,
        cluster: String,
        tablet: TabletAlias,
        data_dir: PathBuf,
    },

    #[error(
        "the host name `{name}` does not resolve ({why}); give an address that others can reach, for example --advertise 192.0.2.10"
    )]
    Unresolvable { name: String, why: String },

    #[error(
        "cannot listen on {address}: {why}; another agent may run there, choose another port with --listen"
    )]
    Listen { address: String, why: io::Error },

    #[error(
        "no MySQL server program was found ({looked}); install MariaDB 10.6 or newer (Debian: apt install mariadb-server-core) or MySQL 8.0 or newer, or name the program with --mysqld PATH"
    )]
    MysqldMissing { looked: String },

    #[error(
        "{program} is {found}, which is too old; install MariaDB 10.6 or newer, or MySQL 8.0 or newer, or name another program with --mysqld PATH"
    )]
    MysqldTooOld { program: String, found: String },

    #[error("{program} cannot be used as a MySQL server: {why}")]
    MysqldUnusable { program: String, why: String },

    #[error("another agent (process {pid}) runs on {}; stop it, or give this one its own --data-dir", dir.display())]
    DataDirInUse { dir: PathBuf, pid: String },

    #[error(
        "{}: {what}: the disk is full ({free_bytes} bytes free); make room there, it is tried again", path.display()
    )]
    DiskFull {
        path: PathBuf,
        what: String,
        free_bytes: u64,
    },

    #[error("{}: {what}: {source}", path.display())]
    Io {
        path: PathBuf,
        what: String,
        source: io::Error,
    },

    #[error(
        "TCP port {port} on {address} is taken by another program; stop it, or give the tablet another port"
    )]
    PortTaken { address: String, port: u16 },

    /// A server that does not come up, or does not stay up.
    #[error("mysqld {what}; its error log {} ends with:\n{log}", log_path.display())]
    ServerDied {
        what: String,
        log_path: PathBuf,
        log: String,
    },

    #[error("{what} failed on the server: {why}")]
    Sql { what: String, why: String },

    /// Not done, for a reason that the message gives.
    #[error("{0}")]
    Refused(String),
}

impl AgentError {
    /// An error about a path; one that says the disk is full is told apart, with the space left.
    pub fn io(path: &Path, what: impl Into<String>, source: io::Error) -> Self {
        let what = what.into();
        if matches!(
            source.kind(),
            io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
        ) {
            return Self::DiskFull {
                path: path.to_owned(),
                what,
                free_bytes: crate::disk::space(path).map_or(0, |s| s.free_bytes),
            };
        }
        Self::Io {
            path: path.to_owned(),
            what,
            source,
        }
    }

    pub(crate) fn sql(what: impl Into<String>, why: mysql_async::Error) -> Self {
        let why = match why {
            mysql_async::Error::Server(e) => format!("{} (error {})", e.message, e.code),
            other => other.to_string(),
        };
        Self::Sql {
            what: what.into(),
            why,
        }
    }

    /// Whether a server refused a statement for a reason that stands: run again, it fails again.
    pub fn is_refusal(&self) -> bool {
        let Self::Sql { why, .. } = self else {
            return false;
        };
        let code = why
            .rsplit_once("(error ")
            .and_then(|(_, code)| code.strip_suffix(')'))
            .and_then(|code| code.parse::<u16>().ok());
        code.is_some_and(|code| !PASSING.contains(&code))
    }
}

/// Errors of servers that pass: disk full, table full, too many connections, shutdown, lock wait
/// timeout, deadlock, read-only, interrupted, query timeout, and the like.
const PASSING: [u16; 13] = [
    1021, 1040, 1041, 1053, 1114, 1205, 1213, 1290, 1317, 1792, 1836, 1969, 3024,
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_server_refuses_for_good_is_told_from_what_passes() {
        let sql = |why: &str| AgentError::Sql {
            what: "creating a table".into(),
            why: why.into(),
        };
        assert!(sql("Table 't' already exists (error 1050)").is_refusal());
        assert!(!sql("Lock wait timeout exceeded (error 1205)").is_refusal());
        assert!(!sql("connection reset").is_refusal());
        assert!(!AgentError::Refused("not primary".into()).is_refusal());
    }

    #[test]
    fn a_full_disk_is_told_with_the_path_and_the_space_left() {
        let dir = tempfile::tempdir().unwrap();
        for kind in [io::ErrorKind::StorageFull, io::ErrorKind::QuotaExceeded] {
            let error = AgentError::io(dir.path(), "it cannot be copied", kind.into());
            assert!(matches!(error, AgentError::DiskFull { .. }), "{error:?}");
            let text = error.to_string();
            assert!(text.contains(&dir.path().display().to_string()), "{text}");
            assert!(text.contains("the disk is full"), "{text}");
        }
    }
}
