//! Gates: what should run in a cell, and what runs.

use std::collections::BTreeSet;

use serde::{Deserialize, Serialize};

use super::names::{CellName, GateName};
use super::{Revision, UnixMillis};

/// How many connections a gate opens to one server, at most.
pub const GATE_CONNECTIONS: u32 = 100;

/// Key `gate-config/<cell>`: what the spec says of a cell's gates. A gate reads it at start and
/// follows it. Gate processes, as agents, are started by `vtplan up` or a host's service manager.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateConfigRecord {
    pub cell: CellName,
    /// How many gates should be alive; `status` and `plan` say when it is fewer.
    pub count: u32,
    pub mysql_port: u16,
}

/// Key `gates/<name>`, leased.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GateRecord {
    pub name: GateName,
    pub cell: CellName,
    /// `HOST:PORT` of its MySQL listener.
    pub mysql_address: String,
    /// `http://HOST:PORT` of `/metrics`, `/healthz`, `/debug/status` and `/debug/workload`.
    pub http_url: String,
    pub version: String,
    pub started_at: UnixMillis,
    /// The newest revision of serving state (keyspaces, shards, vschemas, routing) it serves by.
    pub serving_revision: Revision,
    /// Ids of the holds ([`super::HoldRecord`]) that it keeps, and of whose objects it has no
    /// statement and no transaction under way any more. As of `serving_revision`: of a hold that
    /// was written later, an id in here speaks of an earlier one.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub drained: BTreeSet<String>,
}
