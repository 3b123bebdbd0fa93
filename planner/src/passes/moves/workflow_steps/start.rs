//! The beginning of a move.

use vtplan_state::model::{VSchemaTable, WorkflowKind};

use super::{Way, of_move, rank};
use crate::desired::Desired;
use crate::ids;
use crate::passes::moves::{Move, leftovers, list, shards_in_words};
use crate::passes::tablets::ShardWork;
use crate::passes::view::View;
use crate::passes::vschema;
use crate::plan::{Action, Risk};

/// Begins a move, once all that it needs is there.
pub(super) fn start(view: &View, way: &mut Way, shards: &[ShardWork]) {
    let (of, moves) = (way.of, way.moves);
    let (source, target) = (&of.source, &of.target);
    let mut after = way.vschemas();
    for keyspace in [&source.keyspace, &target.keyspace] {
        if let Some(desired) = view.desired.keyspaces.get(keyspace) {
            after.extend(vschema::sequences(view, moves, desired));
        }
    }
    after.extend(way.reparents.iter().cloned());
    // What is left of others must not be taken for this one's.
    after.push(ids::mend_routing());
    for work in of_move(of, shards) {
        after.push(ids::mend_shard(work.keyspace, work.shard));
        after.extend(work.kept.iter().map(|(t, _)| ids::mend_server(&t.alias)));
    }
    for work in of_move(of, shards) {
        if *work.keyspace == target.keyspace && target.shards.contains(work.shard) {
            after.extend(leftovers::clearing(view, moves, work.keyspace, work.shard));
            after.push(ids::create_shard(work.keyspace, work.shard));
            after.push(ids::init_primary(work.keyspace, work.shard));
            after.extend(work.creations());
        }
    }
    let sides = match of.kind {
        WorkflowKind::MoveTables => vec![target],
        WorkflowKind::Reshard => vec![source, target],
    };
    for side in sides {
        for shard in &side.shards {
            for table in &of.tables {
                after.push(ids::create_table(&side.keyspace, shard, table));
                after.push(ids::alter_table(&side.keyspace, shard, table));
            }
        }
    }
    let reason = match of.kind {
        WorkflowKind::MoveTables => format!(
            "the spec has {} no longer in {} but in {}: a MoveTables",
            list(&of.tables),
            source.keyspace,
            target.keyspace
        ),
        WorkflowKind::Reshard => format!(
            "the spec gives {} {} in place of {}: a Reshard",
            target.keyspace,
            shards_in_words(&target.shards),
            list(&source.shards)
        ),
    };
    let vschema = match of.kind {
        WorkflowKind::MoveTables => entries(view.desired, of),
        WorkflowKind::Reshard => Default::default(),
    };
    let action = Action::StartWorkflow {
        workflow: of.name.clone(),
        workflow_kind: of.kind,
        source: source.clone(),
        target: target.clone(),
        tables: of.tables.clone(),
        throttle_max_lag_seconds: way.policy.throttle_max_lag_seconds,
        vschema,
    };
    way.step(rank::START, action, Risk::Safe, None, reason, after);
}

/// What the target's VSchema says of the tables.
fn entries(desired: &Desired, of: &Move) -> std::collections::BTreeMap<String, VSchemaTable> {
    let target = desired.keyspaces.get(&of.target.keyspace);
    let tables = of.tables.iter().filter_map(|table| {
        let entry = target?.vschema.tables.get(table.as_str())?;
        Some((table.as_str().to_owned(), entry.clone()))
    });
    tables.collect()
}
