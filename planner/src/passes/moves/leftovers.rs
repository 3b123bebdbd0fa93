//! What an earlier Reshard has left on shards that a new one is to fill: the old shards of one that was
//! completed, where the spec goes back to them before they were deleted, or the new shards of one that
//! was cancelled. They serve nothing, and what they hold is behind, or a part, of what the shards hold
//! that serve their range. So their tables are dropped, each as a step that is marked, and made anew.

use std::collections::BTreeMap;

use vtplan_state::model::{KeyspaceName, ShardName, ShardRecord, TableName, WorkflowKind};

use super::{Moves, shards_in_words};
use crate::ids;
use crate::live::ObservedTable;
use crate::passes::draft::{Draft, Phase, rank};
use crate::passes::estimates;
use crate::passes::primaries;
use crate::passes::tablets::ShardWork;
use crate::passes::view::{Tables, View};
use crate::plan::{Action, Risk};

/// The tables on a shard that go before the Reshard to it begins.
pub(crate) fn stale<'a>(
    view: &View<'a>,
    moves: &Moves,
    keyspace: &KeyspaceName,
    shard: &ShardName,
) -> BTreeMap<&'a TableName, &'a ObservedTable> {
    let reshard = moves.of_shard(keyspace, shard);
    let reshard = reshard.filter(|m| m.record.is_none() && m.target.shards.contains(shard));
    let record = view.shard(keyspace, shard).filter(|s| !s.serving);
    let (Some(reshard), Tables::Known(there), Some(desired)) = (
        reshard.filter(|m| m.kind == WorkflowKind::Reshard && record.is_some()),
        view.tables(record),
        view.desired.keyspaces.get(keyspace),
    ) else {
        return BTreeMap::new();
    };
    let is_stale = |name: &TableName, seen: &ObservedTable| {
        if reshard.tables.contains(name) {
            // An empty one may be what this plan has made.
            seen.rows > 0
        } else {
            !desired.tables.contains_key(name)
        }
    };
    there
        .iter()
        .filter(|(name, seen)| is_stale(name, seen))
        .collect()
}

/// Drops what is stale.
pub(crate) fn steps(view: &View, draft: &mut Draft, moves: &Moves, shards: &[ShardWork]) {
    for work in shards {
        let stale = stale(view, moves, work.keyspace, work.shard);
        let Some(reshard) = moves.of_shard(work.keyspace, work.shard) else {
            continue;
        };
        for (index, (name, seen)) in stale.into_iter().enumerate() {
            draft.step_estimated(
                work.order(Phase::Build, rank::DROP_STALE, index),
                Action::DropTable {
                    keyspace: work.keyspace.clone(),
                    shard: work.shard.clone(),
                    table: name.clone(),
                    before: seen.definition.clone(),
                },
                Risk::Destructive,
                estimates::of_table(seen, false),
                format!(
                    "what {}/{} has of it is left from an earlier Reshard; the rows in use are in \
                     {}, and come from there",
                    work.keyspace,
                    work.shard,
                    shards_in_words(&reshard.source.shards)
                ),
                primaries::reparent_id(work).into_iter().collect(),
            );
        }
    }
}

/// Whether a shard that the spec has is only the record of one whose deletion was cut: it serves
/// nothing and its tablets are gone, its primary too. It is deleted to the end, and made anew.
pub(crate) fn is_half_deleted(view: &View, record: &ShardRecord) -> bool {
    let reads = record.serving_reads.values().any(|serves| *serves);
    record.primary.is_some()
        && !record.serving
        && !reads
        && view.tablets_of(&record.keyspace, &record.shard).is_empty()
}

/// The ids of steps that clear a shard for a Reshard.
pub(crate) fn clearing(
    view: &View,
    moves: &Moves,
    keyspace: &KeyspaceName,
    shard: &ShardName,
) -> impl Iterator<Item = crate::plan::StepId> {
    let stale = stale(view, moves, keyspace, shard);
    let ids: Vec<_> = stale
        .keys()
        .map(|table| ids::drop_table(keyspace, shard, table))
        .collect();
    ids.into_iter()
}
