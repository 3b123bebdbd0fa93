//! Copying a tablet's data while its server takes writes, with the position that belongs to the copy:
//! [`mariadb`] and [`mysql`].

mod mariadb;
mod mysql;
mod seed;

pub(crate) use mariadb::mariadb_backup;

use std::fs;
use std::io;
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};

use vtplan_planner::live::{ObservedRole, ServerState};
use vtplan_state::model::{BackupMethod, FlavorKind, TabletType};

use super::Tablet;
use crate::error::AgentError;

/// A replica that is further behind is not copied, seconds.
const MAX_LAG: u64 = 300;

/// A copy of a server's data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Copied {
    pub method: BackupMethod,
    /// Exactly what of the binlog is in it.
    pub position: String,
}

/// How gladly a tablet is copied: the first is best.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Rank {
    Rdonly,
    Replica,
    Primary,
}

impl Rank {
    /// Of a tablet that is not primary.
    pub fn of(tablet_type: TabletType) -> Self {
        match tablet_type {
            TabletType::Rdonly => Self::Rdonly,
            _ => Self::Replica,
        }
    }
}

impl Tablet {
    /// Whether its data can be copied now.
    ///
    /// # Errors
    /// Why not, for a person.
    pub fn fit_for_backup(&self) -> Result<Rank, String> {
        let record = self.record();
        let alias = &record.alias;
        if self.is_adopted() {
            return Err(format!(
                "{alias} is a server that was there before: vtplan does not see its files"
            ));
        }
        let server = match self.status().server {
            ServerState::Running(server) => server,
            ServerState::Creating { .. } => return Err(format!("{alias} is being made")),
            ServerState::Down { .. } => return Err(format!("the server of {alias} is down")),
        };
        match server.role {
            ObservedRole::Primary { .. } => Ok(Rank::Primary),
            ObservedRole::Replica {
                healthy: true,
                lag_seconds: Some(lag),
                ..
            } if lag <= MAX_LAG => Ok(Rank::of(record.tablet_type)),
            ObservedRole::Replica {
                healthy: true,
                lag_seconds: Some(lag),
                ..
            } => Err(format!("{alias} is {lag} s behind")),
            ObservedRole::Replica { .. } => Err(format!("{alias} does not replicate")),
            ObservedRole::Idle => Err(format!("{alias} is neither primary nor replica")),
        }
    }

    /// The server's version, `10.11.6`, as it was seen last.
    pub fn server_version(&self) -> String {
        match self.status().server {
            ServerState::Running(server) => server.version,
            _ => String::new(),
        }
    }

    /// What a copy of the data takes, bytes: all but binlogs and relay logs, which are not copied.
    pub fn copied_bytes(&self) -> io::Result<u64> {
        fn add(dir: &Path, top: bool, total: &mut u64) -> io::Result<()> {
            for entry in fs::read_dir(dir)? {
                let entry = entry?;
                let name = entry.file_name();
                let name = name.to_string_lossy();
                if top && (name.starts_with("binlog.") || name.starts_with("relay.")) {
                    continue;
                }
                // What is there for a moment may be gone.
                match entry.metadata() {
                    Ok(of) if of.is_dir() => add(&entry.path(), false, total)?,
                    Ok(of) => *total += of.len(),
                    Err(_) => {}
                }
            }
            Ok(())
        }
        let mut total = 0;
        add(&self.dir.data(), true, &mut total)?;
        Ok(total)
    }

    /// Copies the server's data into `data`, a folder that is not there yet, beside which files may be
    /// made. May be dropped anywhere; then [`Tablet::end_copying`] ends what goes on.
    ///
    /// # Errors
    /// The server or its tool refuses; the reason holds what they say.
    pub async fn copy_data(&self, data: &Path) -> Result<Copied, AgentError> {
        match self.flavor().kind() {
            FlavorKind::MariaDb => self.copy_mariadb(data).await,
            FlavorKind::MySql => self.copy_mysql(data).await,
        }
    }

    /// Ends a copy that is still being made for somebody who is gone.
    pub async fn end_copying(&self, staging: &Path) {
        if self.flavor().kind() == FlavorKind::MySql
            && let Err(error) = self.end_cloning().await
        {
            tracing::debug!(tablet = %self.alias, %error, "whether it clones is not known");
        }
        crate::backup::orphans::end(staging).await;
        // It is not there after a copy that went well.
        let _ = fs::remove_file(self.backup_cnf());
    }

    fn backup_cnf(&self) -> PathBuf {
        self.dir.path().join("backup.cnf")
    }

    /// Writes the server's own options, and more, to a file that only the agent reads.
    fn write_backup_cnf(&self, more: &str) -> Result<PathBuf, AgentError> {
        let path = self.backup_cnf();
        let write = || {
            let mut text = fs::read_to_string(self.dir.my_cnf())?;
            text.push_str(more);
            let _ = fs::remove_file(&path);
            let mut file = fs::OpenOptions::new()
                .write(true)
                .create_new(true)
                .mode(0o600)
                .open(&path)?;
            io::Write::write_all(&mut file, text.as_bytes())
        };
        write().map_err(|e| AgentError::io(&path, "it cannot be written", e))?;
        Ok(path)
    }
}

/// The last lines of what a program has said.
fn tail(text: &str) -> String {
    const SHOWN: usize = 6;
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    lines[lines.len().saturating_sub(SHOWN)..].join("\n")
}
