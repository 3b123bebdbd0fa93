//! What differs between MariaDB and MySQL, behind one trait with one file each. Flavors are pure:
//! they write option files and statements and read what servers answer; others run them.

pub mod gtid;
mod mariadb;
mod mysql;
pub mod version;

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use vtplan_state::model::{Credentials, FlavorKind, KeyspaceName};

pub use mariadb::MariaDb;
pub use mysql::MySql;
pub use version::ServerVersion;

use crate::config::ServerSettings;
use crate::mysqld::Program;

/// A row as text by column name, in lower case.
pub type TextRow = BTreeMap<String, Option<String>>;

/// For how long a commit waits for a replica's acknowledgement, milliseconds: the longest time
/// that the servers take (49 days). A commit is never answered without one in between.
const SEMI_SYNC_TIMEOUT_MS: u64 = u32::MAX as u64;

/// What a tablet's option file is made from.
#[derive(Debug, Clone)]
pub struct ServerConf<'a> {
    pub dir: &'a Path,
    pub server_id: u32,
    pub port: u16,
    pub bind_address: &'a str,
    /// What the server tells its primary of itself.
    pub report_host: &'a str,
    /// Whether the server runs as the superuser, which it has to be told.
    pub as_root: bool,
    pub settings: &'a ServerSettings,
}

/// What one look at a server tells.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Facts {
    pub server_id: u32,
    pub datadir: PathBuf,
    pub version: String,
    pub read_only: bool,
    /// `read_only` binds administrators too.
    pub super_read_only: bool,
    pub semi_sync_source: bool,
    pub semi_sync_replica: bool,
    /// Executed GTID set.
    pub position: String,
}

/// What a server says of its replication.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ReplicaStatus {
    pub source_host: String,
    pub source_port: u16,
    /// Connected to the source and reading.
    pub io_running: bool,
    /// The thread is there, and tries to connect.
    pub io_connecting: bool,
    pub sql_running: bool,
    pub lag_seconds: Option<u64>,
    /// What it has received, which it may not have applied yet. Empty: nothing.
    pub received: String,
    pub error: String,
    /// The source no longer has binlogs that this server needs.
    pub source_purged: bool,
    /// 0: it has not been connected to it.
    pub source_server_id: u32,
    /// The account that it replicates as.
    pub user: String,
    /// Whether it asks the source for what it lacks by GTIDs.
    pub by_gtid: bool,
}

impl ReplicaStatus {
    /// `HOST:PORT` of the source, as the server has it.
    pub fn source(&self) -> String {
        format!("{}:{}", self.source_host, self.source_port)
    }

    pub fn healthy(&self) -> bool {
        self.io_running && self.sql_running
    }
}

/// Where a replica reads from.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    pub host: String,
    pub port: u16,
}

/// A flavor of server, at one version.
pub trait Flavor: Send + Sync + std::fmt::Debug {
    fn kind(&self) -> FlavorKind;

    /// The program and arguments that make a fresh data folder, with a passwordless
    /// `root`@`localhost`.
    ///
    /// # Errors
    /// When a program that is needed for it is not installed; the text says which.
    fn initialize(
        &self,
        program: &Program,
        datadir: &Path,
        as_root: bool,
    ) -> Result<(PathBuf, Vec<String>), String>;

    /// Files of a fresh data folder that each server must have of its own.
    fn private_files(&self) -> &'static [&'static str];

    /// The text of `my.cnf`.
    fn my_cnf(&self, conf: &ServerConf<'_>) -> String;

    /// Removes accounts of a fresh data folder that cannot be changed by ordinary statements.
    fn clear_accounts(&self) -> &'static [&'static str] {
        &[]
    }

    /// Creates vtplan's accounts. May be run again.
    fn accounts(&self, credentials: &Credentials, keyspace: &KeyspaceName) -> Vec<String>;

    fn facts_query(&self) -> String {
        let quoted: Vec<String> = self
            .fact_variables()
            .iter()
            .map(|v| format!("'{v}'"))
            .collect();
        format!(
            "SHOW GLOBAL VARIABLES WHERE Variable_name IN ({})",
            quoted.join(", ")
        )
    }
    /// The variables that [`Flavor::facts`] needs.
    fn fact_variables(&self) -> Vec<&'static str>;
    fn facts(&self, variables: &BTreeMap<String, String>) -> Facts;

    fn set_read_only(&self, on: bool) -> Vec<&'static str>;
    /// Stops writes of all accounts but administrators', whatever was before.
    fn set_fenced(&self) -> Vec<&'static str>;
    /// A statement after which a connection's `CREATE TRIGGER` is dated a little ahead, where that
    /// is needed.
    ///
    /// MariaDB keeps with a prepared statement which tables the triggers of its table use, and
    /// finds this to be out of date when a trigger is younger than the statement. A trigger's age
    /// is the moment at which its `CREATE` began. So a statement that was prepared while that was
    /// waiting would never learn of it, and fail from then on with "Table ... doesn't exist" (error
    /// 1146) for what the trigger reads.
    fn date_ahead(&self) -> Option<&'static str> {
        None
    }
    /// Lets administrators write while everybody else may not.
    fn set_admin_writable(&self) -> Option<&'static str>;
    fn set_admin_read_only(&self) -> Option<&'static str>;

    /// Keeps back everybody's commits for as long as the connection lives, where `read_only` does not
    /// bind administrators.
    fn hold_commits(&self) -> Option<&'static [&'static str]> {
        None
    }

    /// What a server on a copy of another one's data is told before it replicates for the first time, so
    /// that it asks its source for what comes after the copy's position. May be run again.
    fn start_from(&self, position: &str) -> Vec<String> {
        let _ = position;
        Vec::new()
    }

    /// Configures replication from a source, by GTID, while it is stopped. `fresh`: it was not a
    /// replica before.
    fn attach(&self, source: &Source, credentials: &Credentials, fresh: bool) -> Vec<String>;
    fn start_replication(&self) -> &'static str;
    fn stop_replication(&self) -> &'static str;
    fn stop_receiving(&self) -> &'static str;
    fn start_receiving(&self) -> &'static str;
    /// Forgets the source.
    fn detach(&self) -> &'static str;
    fn replica_status_query(&self) -> &'static str;
    /// Reads the row of [`Flavor::replica_status_query`].
    fn replica_status(&self, row: &TextRow) -> ReplicaStatus;

    /// Loads the plugins for semi-sync into a running server, where they are none of its own.
    fn install_semi_sync(&self) -> Vec<String> {
        Vec::new()
    }
    /// Turns waiting for acknowledgements on or off on a primary.
    fn set_semi_sync_source(&self, on: bool) -> Vec<String>;
    /// Turns acknowledging on or off on a replica; it takes effect when receiving starts.
    fn set_semi_sync_replica(&self, on: bool) -> String;

    /// Whether the position `have` has everything that is in `want`.
    fn contains(&self, have: &str, want: &str) -> bool;
}

/// The flavor of a version.
pub fn of(version: ServerVersion) -> Box<dyn Flavor> {
    match version.flavor {
        FlavorKind::MariaDb => Box::new(MariaDb),
        FlavorKind::MySql => Box::new(MySql::new(version)),
    }
}

/// The options that both flavors have.
fn common_options(conf: &ServerConf<'_>) -> Vec<(&'static str, String)> {
    let path = |name: &str| conf.dir.join(name).display().to_string();
    let settings = conf.settings;
    let on_disk =
        |durable: &str, fast: &str| if settings.durable { durable } else { fast }.to_owned();
    let mut options = vec![
        ("datadir", path("data")),
        ("socket", path("mysql.sock")),
        ("pid_file", path("mysqld.pid")),
        ("log_error", path("error.log")),
        ("tmpdir", path("tmp")),
        ("server_id", conf.server_id.to_string()),
        ("port", conf.port.to_string()),
        ("bind_address", conf.bind_address.to_owned()),
        ("report_host", conf.report_host.to_owned()),
        ("report_port", conf.port.to_string()),
        ("skip_name_resolve", "ON".to_owned()),
        ("character_set_server", "utf8mb4".to_owned()),
        ("default_time_zone", "+00:00".to_owned()),
        // A server that starts takes no writes: the agent allows them once it knows that the
        // server is its shard's primary.
        ("read_only", "ON".to_owned()),
        ("log_bin", "binlog".to_owned()),
        ("relay_log", "relay".to_owned()),
        ("relay_log_recovery", "ON".to_owned()),
        // Streams send the rows that they copy as lines.
        ("local_infile", "ON".to_owned()),
        ("binlog_format", "ROW".to_owned()),
        ("binlog_row_image", "FULL".to_owned()),
        ("binlog_row_metadata", "FULL".to_owned()),
        ("sync_binlog", on_disk("1", "0")),
        // 2: still safe when the server is killed, not when the machine is.
        ("innodb_flush_log_at_trx_commit", on_disk("1", "2")),
        // Rows are logged, not statements: what a function does is not run again on a replica.
        ("log_bin_trust_function_creators", "ON".to_owned()),
        (
            "innodb_buffer_pool_size",
            settings.buffer_pool_bytes.to_string(),
        ),
        ("max_connections", settings.max_connections.to_string()),
        ("max_allowed_packet", (1u64 << 30).to_string()),
        ("performance_schema", "OFF".to_owned()),
        ("key_buffer_size", (4u64 << 20).to_string()),
        ("table_open_cache", "1000".to_owned()),
    ];
    if conf.as_root {
        options.push(("user", "root".to_owned()));
    }
    options
}

/// An option file with one section.
fn option_file(options: &[(&'static str, String)], settings: &ServerSettings) -> String {
    let mut text = String::from(
        "# Written by vtplan's agent at every start of the server: changes made here are lost.\n[mysqld]\n",
    );
    let mut line = |name: &str, value: &str| {
        // Writing to a String cannot fail.
        let _ = if value.is_empty() {
            writeln!(text, "{name}")
        } else {
            writeln!(text, "{name} = {value}")
        };
    };
    for (name, value) in options {
        line(name, value);
    }
    for (name, value) in &settings.extra {
        line(name, value);
    }
    text
}

/// A text as a literal of SQL.
pub fn literal(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

/// A name as a quoted identifier.
pub fn identifier(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

/// The grants of the gate's account: everything inside its keyspace's database, nothing that
/// `read_only` does not bind.
fn gate_grants(account: &str, keyspace: &KeyspaceName) -> Vec<String> {
    // In GRANT a database is a pattern, in which `_` and `%` stand for anything.
    let pattern = keyspace.as_str().replace('_', "\\_");
    vec![
        format!(
            "GRANT SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, REFERENCES, \
             LOCK TABLES, CREATE TEMPORARY TABLES, EXECUTE, CREATE VIEW, SHOW VIEW, TRIGGER, EVENT, \
             CREATE ROUTINE, ALTER ROUTINE ON {}.* TO {account}",
            identifier(&pattern)
        ),
        format!("GRANT PROCESS ON *.* TO {account}"),
    ]
}

fn is_on(variables: &BTreeMap<String, String>, name: &str) -> bool {
    variables
        .get(name)
        .is_some_and(|v| matches!(v.to_ascii_uppercase().as_str(), "ON" | "1"))
}

fn text<'a>(row: &'a TextRow, column: &str) -> &'a str {
    row.get(column).and_then(Option::as_deref).unwrap_or("")
}

/// The errors of both threads, with what they are about.
fn replication_error(row: &TextRow) -> String {
    let mut found = Vec::new();
    for (what, column) in [
        ("receiving", "last_io_error"),
        ("applying", "last_sql_error"),
    ] {
        let why = text(row, column);
        if !why.is_empty() {
            found.push(format!("{what}: {why}"));
        }
    }
    found.join("; ")
}

/// Error of a source that no longer has the binlogs that a replica asks for.
const ER_SOURCE_FATAL_ERROR_READING_BINLOG: &str = "1236";

#[cfg(test)]
mod tests {
    use super::*;

    fn conf<'a>(settings: &'a ServerSettings) -> ServerConf<'a> {
        ServerConf {
            dir: Path::new("/d/tablets/zone1-0000000100"),
            server_id: 100,
            port: 17100,
            bind_address: "*",
            report_host: "db1",
            as_root: false,
            settings,
        }
    }

    #[test]
    fn a_server_is_durable_unless_told_otherwise() {
        let mut settings = ServerSettings::default();
        for flavor in [&MariaDb as &dyn Flavor, &MySql::newest()] {
            settings.durable = true;
            let text = flavor.my_cnf(&conf(&settings));
            assert!(text.contains("\nsync_binlog = 1\n"), "{text}");
            assert!(text.contains("\ninnodb_flush_log_at_trx_commit = 1\n"));
            assert!(text.contains("\nread_only = ON\n"));
            settings.durable = false;
            let text = flavor.my_cnf(&conf(&settings));
            assert!(text.contains("\nsync_binlog = 0\n"), "{text}");
        }
    }

    #[test]
    fn extra_options_come_last_so_that_they_win() {
        let mut settings = ServerSettings::default();
        settings.extra.insert("skip_log_bin".into(), String::new());
        settings.extra.insert("port".into(), "1".into());
        let text = MariaDb.my_cnf(&conf(&settings));
        assert!(text.ends_with("port = 1\nskip_log_bin\n"), "{text}");
    }

    #[test]
    fn a_keyspace_with_an_underscore_grants_no_other_database() {
        let keyspace = KeyspaceName::new("my_shop").unwrap();
        let grants = gate_grants("'g'@'%'", &keyspace);
        assert!(grants[0].contains("ON `my\\_shop`.* TO"), "{grants:?}");
    }

    #[test]
    fn literals_and_identifiers_are_quoted() {
        assert_eq!(literal(r"it's \"), r"'it''s \\'");
        assert_eq!(identifier("a`b"), "`a``b`");
    }
}
