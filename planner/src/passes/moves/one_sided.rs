//! Tables that only one side of a Reshard has before it begins: what the spec adds is made on the old
//! shards too, and what it leaves out without dropping it is made on the new ones.

use std::collections::BTreeMap;

use vtplan_state::model::{KeyspaceName, ShardName, TableName, WorkflowKind};

use super::{Move, Moves, leftovers};
use crate::desired::DesiredKeyspace;
use crate::ids;
use crate::live::ObservedTable;
use crate::passes::draft::{Draft, Order, Phase, rank};
use crate::passes::foreign_keys;
use crate::passes::view::{Tables, View};
use crate::plan::{Action, Risk};

pub(crate) fn steps(view: &View, draft: &mut Draft, moves: &Moves) {
    for reshard in moves.all() {
        if reshard.kind != WorkflowKind::Reshard || reshard.record.is_some() {
            continue;
        }
        let keyspace = &reshard.target.keyspace;
        let Some(desired) = view.desired.keyspaces.get(keyspace) else {
            continue;
        };
        on_old_shards(view, draft, reshard, desired);
        left_out(view, draft, moves, reshard, desired);
    }
}

/// What the spec adds is used on the old shards until the switch.
fn on_old_shards(view: &View, draft: &mut Draft, reshard: &Move, desired: &DesiredKeyspace) {
    let keyspace = &reshard.source.keyspace;
    for shard in &reshard.source.shards {
        let Tables::Known(there) = view.tables(view.shard(keyspace, shard)) else {
            continue;
        };
        if reshard.tables.iter().all(|t| there.contains_key(t)) {
            continue;
        }
        let ordered = foreign_keys::in_order(keyspace, desired);
        for (index, table) in ordered.iter().enumerate() {
            if there.contains_key(table.name) || !reshard.tables.contains(table.name) {
                continue;
            }
            let parents = table.after.iter();
            let after = parents.map(|parent| ids::create_table(keyspace, shard, parent));
            draft.step(
                order(view, keyspace, desired, shard, index),
                Action::CreateTable {
                    keyspace: keyspace.clone(),
                    shard: shard.clone(),
                    table: table.name.clone(),
                    statement: desired.tables[table.name].statement.clone(),
                },
                Risk::Safe,
                format!(
                    "the spec has the table {keyspace}.{}, and {shard} serves until the Reshard \
                     is switched",
                    table.name
                ),
                after.collect(),
            );
        }
    }
}

/// What the spec has left out and does not drop goes along.
fn left_out(
    view: &View,
    draft: &mut Draft,
    moves: &Moves,
    reshard: &Move,
    desired: &DesiredKeyspace,
) {
    let keyspace = &reshard.source.keyspace;
    let mut kept: BTreeMap<&TableName, &ObservedTable> = BTreeMap::new();
    for shard in &reshard.source.shards {
        if let Tables::Known(there) = view.tables(view.shard(keyspace, shard)) {
            let left_out = there.iter().filter(|(table, _)| {
                !desired.tables.contains_key(*table) && reshard.tables.contains(table)
            });
            kept.extend(left_out);
        }
    }
    for (index, (table, seen)) in kept.into_iter().enumerate() {
        for shard in &reshard.target.shards {
            if let Tables::Known(there) = view.tables(view.shard(keyspace, shard))
                && there.contains_key(table)
                && !leftovers::stale(view, moves, keyspace, shard).contains_key(table)
            {
                continue;
            }
            let place = view.desired_index(keyspace, shard);
            draft.step(
                Order::new(
                    Phase::Build,
                    rank::CREATE_TABLE,
                    desired.tables.len() + index,
                )
                .at(view.keyspace_index(keyspace), place),
                Action::CreateTable {
                    keyspace: keyspace.clone(),
                    shard: shard.clone(),
                    table: table.clone(),
                    statement: seen.definition.clone(),
                },
                Risk::Safe,
                format!(
                    "the spec has no such table, and does not drop it either: it goes along with \
                     the Reshard {}",
                    reshard.full_name()
                ),
                vec![
                    ids::init_primary(keyspace, shard),
                    ids::drop_table(keyspace, shard, table),
                ],
            );
        }
    }
}

/// A step on a shard that the spec gives up: after the keyspace's others.
fn order(
    view: &View,
    keyspace: &KeyspaceName,
    desired: &DesiredKeyspace,
    shard: &ShardName,
    index: usize,
) -> Order {
    let leaving = view
        .live
        .records
        .shards_of(keyspace)
        .position(|record| record.shard == *shard);
    let place = desired.shards.len() + 1 + leaving.unwrap_or_default();
    Order::new(Phase::Build, rank::CREATE_TABLE, index)
        .at(view.keyspace_index(keyspace), place as u32)
}
