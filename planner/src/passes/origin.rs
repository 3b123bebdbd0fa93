//! Where a step comes from: the spec has changed, or the cluster has, by somebody's hand, since the spec
//! was applied. The second is drift: what a person did is taken back, and that is approved apart.
//!
//! It is told by the spec that was applied last, which stays as it is while a plan runs: what it wanted
//! just as the present one does was there. Where another spec was begun since, and not brought to its
//! end, nobody can tell, and nothing is called drift.

use std::collections::HashMap;

use serde_json::Value;
use vtplan_state::model::{KeyspaceName, ShardName, TableName};

use super::previous::Previous;
use crate::desired::Desired;
use crate::plan::{Action, Origin, Step};

/// What the spec that was applied last says, compared with the present one.
pub(crate) struct Applied<'a> {
    previous: &'a Previous<'a>,
    desired: &'a Desired,
    /// Whether a part of a keyspace's JSON is the same in both.
    parts: HashMap<(&'a KeyspaceName, &'static str), bool>,
}

/// Marks the steps that take back what was done by hand.
pub(crate) fn mark(steps: &mut [Step], desired: &Desired, previous: &Previous) {
    if !previous.is_all_there_was() {
        return;
    }
    let mut applied = Applied {
        previous,
        desired,
        parts: HashMap::new(),
    };
    for step in steps {
        if applied.is_drift(&step.action) {
            step.origin = Origin::Drift;
        }
    }
}

/// Whether a table was applied with the statement that the present spec has for it.
pub(crate) fn same_statement(
    desired: &Desired,
    previous: &Previous,
    keyspace: &KeyspaceName,
    table: &TableName,
) -> bool {
    let now = desired.keyspaces.get(keyspace);
    let now = now.and_then(|keyspace| keyspace.tables.get(table));
    previous.is_all_there_was()
        && now
            .is_some_and(|now| previous.statement(keyspace, table) == Some(now.statement.as_str()))
}

impl<'a> Applied<'a> {
    fn is_drift(&mut self, action: &Action) -> bool {
        let previous = self.previous;
        match action {
            Action::CreateCell { cell } => previous.has_cell(cell),
            Action::DeleteCell { cell } => !previous.has_cell(cell),
            Action::CreateKeyspace { keyspace, .. } => previous.has_keyspace(keyspace),
            Action::SetDurability { keyspace, .. } => self.same(keyspace, "durability"),
            Action::DeleteKeyspace { keyspace } => !previous.has_keyspace(keyspace),
            Action::CreateShard {
                keyspace, shard, ..
            } => previous.has_shard(keyspace, shard),
            Action::DeleteShard { keyspace, shard } => !previous.has_shard(keyspace, shard),
            Action::CreateTablet {
                keyspace, shard, ..
            }
            | Action::DeleteTablet {
                keyspace, shard, ..
            }
            | Action::InitPrimary {
                keyspace, shard, ..
            }
            | Action::Reparent {
                keyspace, shard, ..
            } => self.same_tablets(keyspace, shard),
            Action::ChangeTabletType { .. } => {
                let keyspaces: Vec<&KeyspaceName> = self.desired.keyspaces.keys().collect();
                // Its keyspace is not in the step: all have to be as they were.
                keyspaces.into_iter().all(|k| self.same(k, "tablets"))
            }
            Action::CreateTable {
                keyspace,
                shard,
                table,
                ..
            }
            | Action::AlterTable {
                keyspace,
                shard,
                table,
                ..
            }
            | Action::InitSequence {
                keyspace,
                shard,
                table,
                ..
            } => {
                previous.has_shard(keyspace, shard)
                    && same_statement(self.desired, previous, keyspace, table)
            }
            Action::DropTable {
                keyspace,
                shard,
                table,
                ..
            } => {
                previous.has_shard(keyspace, shard)
                    && !previous.has_table(keyspace, table)
                    && !self.has_table(keyspace, table)
            }
            Action::ApplyVschema { keyspace, .. } => self.same(keyspace, "vschema"),
            // Somebody closed it by hand.
            Action::BackfillLookup { keyspace, .. } => self.same(keyspace, "vschema"),
            Action::MendServer { .. }
            | Action::MendRouting { .. }
            | Action::MendShard { .. }
            | Action::EndHold { .. } => true,
            Action::CreateUser { user, .. } | Action::AlterUser { user, .. } => {
                let now = self.desired.users.get(user);
                now.is_some_and(|now| previous.other(&["users", user]) == value(now).as_ref())
            }
            Action::DeleteUser { user } => previous.other(&["users", user]).is_none(),
            Action::ConfigureGates { cell, .. } => {
                let now = self.desired.gates.get(cell);
                let then = previous.other(&["gates", cell.as_str()]);
                now.is_some_and(|now| then == value(now).as_ref())
            }
            Action::RemoveGates { cell } => previous.other(&["gates", cell.as_str()]).is_none(),
            // Versions that wrote no such record applied specs that have backups.
            Action::SetBackups { before: None, .. } => false,
            Action::SetBackups { .. } => {
                let then = previous.other(&["backups"]).filter(|b| !b.is_null());
                then == self.desired.backups.as_ref().and_then(value).as_ref()
            }
            // What moves, moves because a spec, or a person by `vtplan workflow`, has said so.
            Action::StartWorkflow { .. }
            | Action::WaitForCopy { .. }
            | Action::Vdiff { .. }
            | Action::WaitForApproval { .. }
            | Action::SwitchTraffic { .. }
            | Action::Soak { .. }
            | Action::CompleteWorkflow { .. }
            | Action::CancelWorkflow { .. } => false,
        }
    }

    fn same_tablets(&mut self, keyspace: &KeyspaceName, shard: &ShardName) -> bool {
        self.previous.has_shard(keyspace, shard)
            && self.same(keyspace, "shards")
            && self.same(keyspace, "tablets")
    }

    fn has_table(&self, keyspace: &KeyspaceName, table: &TableName) -> bool {
        let now = self.desired.keyspaces.get(keyspace);
        now.is_some_and(|now| now.tables.contains_key(table))
    }

    fn same(&mut self, keyspace: &KeyspaceName, part: &'static str) -> bool {
        let Some((name, now)) = self.desired.keyspaces.get_key_value(keyspace) else {
            return false;
        };
        let previous = self.previous;
        *self.parts.entry((name, part)).or_insert_with(|| {
            let now = match part {
                "durability" => value(&now.durability),
                "shards" => value(&now.shards),
                "tablets" => value(&now.tablets),
                _ => value(&now.vschema),
            };
            previous.part(name, part) == now.as_ref()
        })
    }
}

/// Plain data: it always has one.
fn value<T: serde::Serialize>(of: &T) -> Option<Value> {
    serde_json::to_value(of).ok()
}
