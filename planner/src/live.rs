//! What there is: the planner's second input. Records from the store and what the agents see.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vtplan_state::model::{FlavorKind, HostName, KeyspaceName, Records, TableName, TabletAlias};

use crate::seen::Deviation;

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Live {
    pub records: Records,
    pub observed: Observed,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Observed {
    /// One for each tablet that a live agent told of. A tablet of the records that is missing
    /// here is on a host whose agent did not answer.
    pub tablets: BTreeMap<TabletAlias, ObservedTablet>,
    /// One for each host whose agent told of it. Exports of earlier versions have none.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub hosts: BTreeMap<HostName, ObservedHost>,
    /// For a desired `CREATE TABLE` statement: the definition that a server of the keyspace
    /// prints (`SHOW CREATE TABLE`) after running it in a scratch database. Statements that no
    /// server has been asked about are missing.
    pub canonical: BTreeMap<KeyspaceName, BTreeMap<String, Canonical>>,
    /// No server can be asked: what `canonical` does not have is compared as text, and the plan says
    /// so. Such a plan is for reading.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub no_servers: bool,
}

/// What a host has room for.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedHost {
    /// Where its tablets' folders are. `None`: its agent cannot tell.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub disk: Option<ObservedDisk>,
    /// What the folder of a new tablet takes before it holds any row, bytes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub new_tablet_bytes: Option<u64>,
    /// `max_connections` of the servers that its agent sets up.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_connections: Option<u32>,
}

/// A file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedDisk {
    /// The same for all agents whose tablets are on it, as on a machine with several agents. Empty: no
    /// other agent's are.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub id: String,
    /// What a process without privileges may still write, bytes.
    pub free_bytes: u64,
    pub total_bytes: u64,
}

/// What a server makes of a desired statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Canonical {
    /// Its `SHOW CREATE TABLE`, without the `AUTO_INCREMENT=n` table option.
    Definition(String),
    /// The server refuses the statement with this message.
    Refused(String),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ObservedTablet {
    pub server: ServerState,
    /// Set on what answers as primary: the tables of the keyspace's database. `None` when they
    /// were not read (a replica, or the server is down).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tables: Option<BTreeMap<TableName, ObservedTable>>,
    /// What of a running server is not as its agent sets it up. Sorted.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub deviations: Vec<Deviation>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum ServerState {
    /// Its folder does not exist yet, or is being made.
    Creating {
        message: String,
    },
    /// It should run and does not; the message has the error log's last lines.
    Down {
        message: String,
    },
    Running(RunningServer),
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct RunningServer {
    pub flavor: FlavorKind,
    pub version: String,
    pub read_only: bool,
    pub role: ObservedRole,
    /// Where an adopted server that has no role yet replicates from, `HOST:PORT`: it is no primary.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub replicates_from: Option<String>,
    /// Executed GTID set.
    pub position: String,
    /// Whether semi-sync is on in the role it has.
    pub semi_sync: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "role", rename_all = "kebab-case")]
pub enum ObservedRole {
    /// Takes writes for the term.
    Primary { term: u64 },
    /// Replicates from a tablet.
    Replica {
        source: TabletAlias,
        /// Both threads run without error.
        healthy: bool,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        lag_seconds: Option<u64>,
        #[serde(default, skip_serializing_if = "String::is_empty")]
        error: String,
    },
    /// Neither: a new tablet of a shard without primary.
    Idle,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ObservedTable {
    /// `SHOW CREATE TABLE`, without the `AUTO_INCREMENT=n` table option.
    pub definition: String,
    /// Estimates from the server's statistics.
    pub rows: u64,
    pub bytes: u64,
    /// For a table with the comment `vitess_sequence`: whether its row with id 0 exists.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub sequence_ready: Option<bool>,
}
