//! Hosts: machines with an agent.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::UnixMillis;
use super::names::{CellName, HostName};

/// A flavor of MySQL server.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum FlavorKind {
    MariaDb,
    MySql,
}

impl fmt::Display for FlavorKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::MariaDb => "MariaDB",
            Self::MySql => "MySQL",
        })
    }
}

/// Key `hosts/<name>`, leased: it is gone a little after the agent is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HostRecord {
    pub name: HostName,
    pub cell: CellName,
    /// Host name or IP address at which other hosts reach this one's mysqld servers.
    pub address: String,
    /// `http://HOST:PORT` of the agent's gRPC service.
    pub agent_url: String,
    /// How many tablets the host will run at most.
    pub capacity: u32,
    /// First TCP port that may be given to a tablet; tablets get ports from here on.
    pub first_mysql_port: u16,
    pub flavor: FlavorKind,
    /// The server's version, such as `10.11.6`.
    pub server_version: String,
    /// vtplan's version.
    pub version: String,
    pub started_at: UnixMillis,
    /// Absolute path of the folder that holds the tablets' folders.
    pub tablets_dir: String,
}

impl HostRecord {
    /// Path of a tablet's mysqld socket on this host, `TABLETS_DIR/ALIAS/mysql.sock`.
    pub fn socket_path(&self, alias: &super::TabletAlias) -> String {
        format!("{}/{alias}/mysql.sock", self.tablets_dir)
    }
}
