//! All records of a cluster at one revision.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use super::names::{CellName, GateName, HostName, KeyspaceName, WorkflowName};
use super::{
    BackupPolicyRecord, BackupRecord, CellRecord, ClusterRecord, GateConfigRecord, GateRecord,
    HoldRecord, HostRecord, KeyspaceRecord, RatesRecord, Revision, RoutingRules, ShardName,
    ShardRecord, SpecRecord, TabletAlias, TabletRecord, UserRecord, VSchemaKeyspace,
    WorkflowRecord,
};

/// What the store holds of a cluster, read at one revision: everything that plans are made from
/// and gates serve by. Plans, history, locks and credentials are not in it.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Records {
    /// 0 when the store holds nothing of the cluster.
    pub revision: Revision,
    pub cluster: Option<ClusterRecord>,
    pub spec: Option<SpecRecord>,
    pub cells: BTreeMap<CellName, CellRecord>,
    pub hosts: BTreeMap<HostName, HostRecord>,
    pub gates: BTreeMap<GateName, GateRecord>,
    pub gate_configs: BTreeMap<CellName, GateConfigRecord>,
    pub keyspaces: BTreeMap<KeyspaceName, KeyspaceRecord>,
    pub vschemas: BTreeMap<KeyspaceName, VSchemaKeyspace>,
    #[serde(with = "shard_map")]
    pub shards: BTreeMap<(KeyspaceName, ShardName), ShardRecord>,
    pub tablets: BTreeMap<TabletAlias, TabletRecord>,
    pub routing: RoutingRules,
    pub users: BTreeMap<String, UserRecord>,
    /// By target keyspace, then name.
    #[serde(default)]
    pub workflows: BTreeMap<KeyspaceName, BTreeMap<WorkflowName, WorkflowRecord>>,
    #[serde(default)]
    pub holds: BTreeMap<String, HoldRecord>,
    #[serde(default, skip_serializing_if = "RatesRecord::is_empty")]
    pub rates: RatesRecord,
    /// `None`: no spec that was applied has backups.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub backup_policy: Option<BackupPolicyRecord>,
    /// By `KEYSPACE/SHARD/ID`, so those of a shard stand together. A shard may be gone whose backups are
    /// there.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub backups: BTreeMap<String, BackupRecord>,
}

impl Records {
    /// The shards of one keyspace, in key order.
    pub fn shards_of<'a>(
        &'a self,
        keyspace: &'a KeyspaceName,
    ) -> impl Iterator<Item = &'a ShardRecord> {
        // `ShardName::unsharded()` is the lowest shard name: its range starts at the lowest id
        // and an empty end sorts first.
        self.shards
            .range((keyspace.clone(), ShardName::unsharded())..)
            .take_while(move |((ks, _), _)| ks == keyspace)
            .map(|(_, shard)| shard)
    }

    pub fn shard(&self, keyspace: &KeyspaceName, shard: &ShardName) -> Option<&ShardRecord> {
        self.shards.get(&(keyspace.clone(), shard.clone()))
    }

    /// The tablets of one shard, by alias. Linear in the number of tablets.
    pub fn tablets_of<'a>(
        &'a self,
        keyspace: &'a KeyspaceName,
        shard: &'a ShardName,
    ) -> impl Iterator<Item = &'a TabletRecord> {
        self.tablets
            .values()
            .filter(move |t| t.keyspace == *keyspace && t.shard == *shard)
    }

    /// The backups of one shard, the oldest first.
    pub fn backups_of(&self, keyspace: &KeyspaceName, shard: &ShardName) -> Vec<&BackupRecord> {
        let prefix = format!("{keyspace}/{shard}/");
        let of_shard = self.backups.range(prefix.clone()..);
        let of_shard = of_shard.take_while(|(path, _)| path.starts_with(&prefix));
        let mut backups: Vec<&BackupRecord> = of_shard.map(|(_, backup)| backup).collect();
        backups.sort_by_key(|backup| backup.order());
        backups
    }

    pub fn workflow(
        &self,
        keyspace: &KeyspaceName,
        workflow: &WorkflowName,
    ) -> Option<&WorkflowRecord> {
        self.workflows.get(keyspace)?.get(workflow)
    }
    /// All workflows, by target keyspace and name.
    pub fn all_workflows(&self) -> impl Iterator<Item = &WorkflowRecord> {
        self.workflows.values().flat_map(BTreeMap::values)
    }
    /// Whether a tablet is its shard's primary.
    pub fn is_primary(&self, tablet: &TabletRecord) -> bool {
        self.shard(&tablet.keyspace, &tablet.shard)
            .is_some_and(|shard| shard.primary.as_ref() == Some(&tablet.alias))
    }
}

/// JSON has no tuple keys: shards are written as a list.
mod shard_map {
    use super::*;
    use serde::{Deserializer, Serializer};

    pub fn serialize<S: Serializer>(
        map: &BTreeMap<(KeyspaceName, ShardName), ShardRecord>,
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.collect_seq(map.values())
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<BTreeMap<(KeyspaceName, ShardName), ShardRecord>, D::Error> {
        let list = Vec::<ShardRecord>::deserialize(deserializer)?;
        Ok(list
            .into_iter()
            .map(|s| ((s.keyspace.clone(), s.shard.clone()), s))
            .collect())
    }
}
