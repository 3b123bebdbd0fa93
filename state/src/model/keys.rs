//! Where each record lives: keys under `/vtplan/<cluster>/`.

use super::names::{CellName, GateName, HostName, KeyspaceName, WorkflowName};
use super::{ShardName, Side, TabletAlias, UnixMillis};

/// Every cluster of a store is under this prefix.
pub const ROOT: &str = "/vtplan/";

/// The keys of one cluster.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Keys {
    prefix: String,
    cluster: String,
}

impl Keys {
    pub fn new(cluster: &str) -> Self {
        Self {
            prefix: format!("{ROOT}{cluster}/"),
            cluster: cluster.to_owned(),
        }
    }
    pub fn cluster_name(&self) -> &str {
        &self.cluster
    }
    /// `/vtplan/<cluster>/`, which every other key starts with.
    pub fn prefix(&self) -> &str {
        &self.prefix
    }
    fn under(&self, rest: &str) -> String {
        format!("{}{rest}", self.prefix)
    }
    pub fn cluster(&self) -> String {
        self.under("cluster")
    }
    pub fn spec(&self) -> String {
        self.under("spec")
    }
    pub fn cell(&self, cell: &CellName) -> String {
        self.under(&format!("cells/{cell}"))
    }
    pub fn host(&self, host: &HostName) -> String {
        self.under(&format!("hosts/{host}"))
    }
    pub fn gate(&self, gate: &GateName) -> String {
        self.under(&format!("gates/{gate}"))
    }
    /// Prefix of all live gates.
    pub fn gates(&self) -> String {
        self.under("gates/")
    }
    pub fn gate_config(&self, cell: &CellName) -> String {
        self.under(&format!("gate-config/{cell}"))
    }
    /// What backups are to be taken.
    pub fn backup_policy(&self) -> String {
        self.under("backup-policy")
    }
    /// Prefix of all backups.
    pub fn all_backups(&self) -> String {
        self.under("backups/")
    }
    /// Prefix of a shard's backups.
    pub fn backups(&self, keyspace: &KeyspaceName, shard: &ShardName) -> String {
        self.under(&format!("backups/{keyspace}/{shard}/"))
    }
    pub fn backup(&self, keyspace: &KeyspaceName, shard: &ShardName, id: &str) -> String {
        self.under(&format!("backups/{keyspace}/{shard}/{id}"))
    }
    /// Whoever takes a backup of a shard, or removes one, holds it.
    pub fn backup_lock(&self, keyspace: &KeyspaceName, shard: &ShardName) -> String {
        self.under(&format!("locks/backups/{keyspace}/{shard}"))
    }
    pub fn keyspace(&self, keyspace: &KeyspaceName) -> String {
        self.under(&format!("keyspaces/{keyspace}"))
    }
    pub fn vschema(&self, keyspace: &KeyspaceName) -> String {
        self.under(&format!("keyspaces/{keyspace}/vschema"))
    }
    pub fn shard(&self, keyspace: &KeyspaceName, shard: &ShardName) -> String {
        self.under(&format!("keyspaces/{keyspace}/shards/{shard}"))
    }
    pub fn tablet(&self, alias: &TabletAlias) -> String {
        self.under(&format!("tablets/{alias}"))
    }
    pub fn routing(&self) -> String {
        self.under("routing")
    }
    pub fn workflow(&self, keyspace: &KeyspaceName, workflow: &WorkflowName) -> String {
        self.under(&format!("workflows/{keyspace}/{workflow}"))
    }
    /// Prefix of all workflows.
    pub fn workflows(&self) -> String {
        self.under("workflows/")
    }
    /// Prefix of all holds.
    pub fn holds(&self) -> String {
        self.under("holds/")
    }
    pub fn hold(&self, id: &str) -> String {
        self.under(&format!("holds/{id}"))
    }
    /// Prefix of a workflow's comparisons.
    pub fn vdiffs(&self, keyspace: &KeyspaceName, workflow: &WorkflowName) -> String {
        self.under(&format!("vdiffs/{keyspace}/{workflow}/"))
    }
    /// Prefix of all comparisons.
    pub fn all_vdiffs(&self) -> String {
        self.under("vdiffs/")
    }
    pub fn vdiff(&self, keyspace: &KeyspaceName, workflow: &WorkflowName, id: &str) -> String {
        self.under(&format!("vdiffs/{keyspace}/{workflow}/{id}"))
    }
    /// Whoever runs a workflow's stream from a shard (of the side that is read) holds it.
    pub fn stream_lock(
        &self,
        keyspace: &KeyspaceName,
        workflow: &WorkflowName,
        from: Side,
        shard: &ShardName,
    ) -> String {
        let side = match from {
            Side::Source => "forward",
            Side::Target => "reverse",
        };
        self.under(&format!(
            "locks/streams/{keyspace}/{workflow}/{side}/{shard}"
        ))
    }
    /// Whoever carries out a workflow's comparisons holds it.
    pub fn vdiff_lock(&self, keyspace: &KeyspaceName, workflow: &WorkflowName) -> String {
        self.under(&format!("locks/vdiffs/{keyspace}/{workflow}"))
    }
    pub fn user(&self, name: &str) -> String {
        self.under(&format!("users/{name}"))
    }
    pub fn credentials(&self) -> String {
        self.under("credentials/servers")
    }
    /// How fast data was copied and compared.
    pub fn rates(&self) -> String {
        self.under("rates")
    }
    /// There while records are put back from a copy and are not whole yet.
    pub fn restoring(&self) -> String {
        self.under("restoring")
    }
    pub fn active_plan(&self) -> String {
        self.under("plans/active")
    }
    pub fn plan(&self, id: &str) -> String {
        self.under(&format!("plans/{id}"))
    }
    pub fn plan_control(&self, id: &str) -> String {
        self.under(&format!("plans/{id}/control"))
    }
    /// Prefix of all plans, and of what belongs to them.
    pub fn plans(&self) -> String {
        self.under("plans/")
    }
    /// Prefix of the pieces of a large plan; apart from `plans/`, so that a listing is small.
    pub fn plan_chunks(&self, id: &str) -> String {
        self.under(&format!("plan-chunks/{id}/"))
    }
    pub fn plan_chunk(&self, id: &str, number: u32) -> String {
        self.under(&format!("plan-chunks/{id}/{number}"))
    }
    /// Prefix of a plan's step records.
    pub fn plan_steps(&self, id: &str) -> String {
        self.under(&format!("plans/{id}/steps/"))
    }
    pub fn plan_step(&self, id: &str, step: &str) -> String {
        self.under(&format!("plans/{id}/steps/{step}"))
    }
    pub fn history(&self) -> String {
        self.under("history/")
    }
    /// A key of its own for each entry: the time sorts it for a reader's eye, the random number
    /// keeps two entries of one millisecond apart.
    pub fn history_entry(&self, at: UnixMillis, random: u64) -> String {
        self.under(&format!("history/{at:014}-{random:016x}"))
    }
    /// The apply lock: whoever executes the active plan holds it.
    pub fn apply_lock(&self) -> String {
        self.under("locks/apply")
    }
}
