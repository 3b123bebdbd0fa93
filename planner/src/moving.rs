//! What workflows have under way, by the records; and so what is left of those that are over.

use std::collections::{BTreeMap, BTreeSet};

use vtplan_state::model::{
    HoldRecord, KeyspaceName, Records, RoutingRules, ShardRecord, TableName,
};

use crate::seen::Deviation;

/// The workflows that there are, and what they begin and end in.
pub(crate) struct Moving<'a> {
    workflows: BTreeSet<String>,
    /// Tables on either side, by keyspace.
    tables: BTreeMap<&'a KeyspaceName, BTreeSet<&'a TableName>>,
    /// Keyspaces that a workflow begins or ends in.
    keyspaces: BTreeSet<&'a KeyspaceName>,
}

impl<'a> Moving<'a> {
    pub(crate) fn new(records: &'a Records) -> Self {
        let mut moving = Self {
            workflows: BTreeSet::new(),
            tables: BTreeMap::new(),
            keyspaces: BTreeSet::new(),
        };
        for workflow in records.all_workflows() {
            moving.workflows.insert(workflow.full_name());
            for side in [&workflow.source, &workflow.target] {
                moving.keyspaces.insert(&side.keyspace);
                let tables = moving.tables.entry(&side.keyspace).or_default();
                tables.extend(&workflow.tables);
            }
        }
        moving
    }

    pub(crate) fn has_table(&self, keyspace: &KeyspaceName, table: &TableName) -> bool {
        let tables = self.tables.get(keyspace);
        tables.is_some_and(|tables| tables.contains(table))
    }

    /// Whether a server of a keyspace should not have this: what its agent sets up otherwise, and what is
    /// left of a workflow that is over.
    pub(crate) fn should_go(&self, keyspace: &KeyspaceName, deviation: &Deviation) -> bool {
        match deviation {
            Deviation::Variable { .. } | Deviation::Account { .. } => true,
            Deviation::Fence { workflow, .. } if !workflow.is_empty() => {
                !self.workflows.contains(workflow)
            }
            Deviation::Streams { workflow } => !self.workflows.contains(workflow),
            // Nothing says whose they are.
            Deviation::Fence { .. } | Deviation::Parked { .. } => {
                !self.keyspaces.contains(keyspace)
            }
        }
    }

    /// Whether a shard is fenced, or its reads are routed apart from its writes, and no workflow does
    /// that.
    pub(crate) fn is_left_switched(&self, shard: &ShardRecord) -> bool {
        (shard.fenced || !shard.serving_reads.is_empty())
            && !self.keyspaces.contains(&shard.keyspace)
    }

    /// Whether a hold is of no workflow that there is. Fences are made under holds of their own,
    /// `fence/<workflow>`.
    pub(crate) fn is_left_over(&self, hold: &HoldRecord) -> bool {
        let workflow = hold.id.strip_prefix("fence/").unwrap_or(&hold.id);
        !self.workflows.contains(workflow)
    }
}

/// The routing rules that the workflows ask for. One that ends, or switches, writes its rules in the
/// transaction that does it.
pub(crate) fn routing_wanted(records: &Records) -> RoutingRules {
    let mut wanted = RoutingRules::default();
    for workflow in records.all_workflows() {
        wanted.follow(workflow);
    }
    wanted
}
