//! Whether what a plan needs is there: room on disks, connections of servers. Both are estimates,
//! made from the servers' statistics and from what agents see of their hosts.
//!
//! It is judged when a plan is made for a person to approve, and is not when the conductor plans
//! again what is left of one: what began is not stopped halfway by an estimate.

use serde::{Deserialize, Serialize};
use vtplan_state::model::{HostName, TabletAlias};

/// What a plan needs of disks and connections, against what there is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Fit {
    /// The file systems that the plan needs room on, by the first of their hosts.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub disks: Vec<DiskFit>,
    /// The servers that the plan has more connections made to, by alias. Only those where it may be
    /// too many.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub connections: Vec<ConnectionFit>,
}

impl Fit {
    pub fn is_empty(&self) -> bool {
        self.disks.is_empty() && self.connections.is_empty()
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Verdict {
    Fits,
    /// It fits by so little that the estimates may be wrong about it.
    Tight,
    DoesNotFit,
    /// What there is could not be seen.
    Unknown,
}

/// One file system.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskFit {
    /// Those of its hosts that the plan needs room on. Several where agents share a machine.
    pub hosts: Vec<HostName>,
    pub needed_bytes: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub free_bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub total_bytes: Option<u64>,
    pub verdict: Verdict,
    /// What `needed_bytes` is the sum of, the largest first.
    pub needs: Vec<DiskNeed>,
}

/// What takes room on a disk.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DiskNeed {
    #[serde(flatten)]
    pub cause: Cause,
    pub bytes: u64,
    /// On which this is needed, sorted.
    pub tablets: Vec<TabletAlias>,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "cause", content = "object", rename_all = "snake_case")]
pub enum Cause {
    /// Folders of tablets that the plan creates, with the data that their shards have.
    NewTablets,
    /// Rows that a workflow will copy, by its full name.
    Copy(String),
    /// Rows that a workflow which has begun has yet to copy, by its full name.
    RunningCopy(String),
    /// A second copy of a table while it is altered: `commerce/0:product`.
    RebuiltTable(String),
}

/// One server.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ConnectionFit {
    pub tablet: TabletAlias,
    /// What streams and agents open.
    pub needed: u32,
    /// What gates may open on top, when all of them are as busy as they may be.
    pub gates: u32,
    /// The server's `max_connections`.
    pub limit: u32,
    pub verdict: Verdict,
}
