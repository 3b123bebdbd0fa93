//! Shards of the spec's keyspaces. A keyspace that is new, or half made, gets the shards that it
//! lacks, all of them serving. Where other shards serve their range they are the new ones of a Reshard
//! ([`super::moves::reshard`]), and serve when that is switched.

use vtplan_state::model::{KeyspaceName, ShardName, ShardRecord};

use super::draft::{Draft, Order, Phase, rank};
use super::moves::{Moves, leftovers, list};
use super::removal::is_covered;
use super::tablets::ShardWork;
use super::view::View;
use crate::ids;
use crate::plan::{Action, Risk};

/// All shards of the spec, by keyspace and range, but for keyspaces that cannot be planned.
pub(crate) fn create<'a>(view: &View<'a>, draft: &mut Draft, moves: &Moves) -> Vec<ShardWork<'a>> {
    let mut work = Vec::new();
    for (name, keyspace) in &view.desired.keyspaces {
        if moves.is_refused(name) {
            continue;
        }
        let keyspace_index = view.keyspace_index(name);
        let mut shards: Vec<&ShardName> = keyspace.shards.iter().collect();
        shards.sort();
        for (shard, index) in shards.into_iter().zip(1..) {
            let record = view.shard(name, shard);
            let half_deleted = record.filter(|record| leftovers::is_half_deleted(view, record));
            if half_deleted.is_some() {
                draft.step(
                    Order::new(Phase::Build, rank::DELETE_HALF, 0).at(keyspace_index, index),
                    Action::DeleteShard {
                        keyspace: name.clone(),
                        shard: shard.clone(),
                    },
                    // Its data went with its tablets.
                    Risk::Safe,
                    format!(
                        "the tablets of {name}/{shard} are deleted already; the spec has the shard \
                         again, and it is made anew"
                    ),
                    Vec::new(),
                );
            }
            let record = record.filter(|_| half_deleted.is_none());
            if record.is_none() {
                let over = over(view, name, shard);
                if over.iter().any(|old| !is_in_order(view, moves, old)) {
                    refuse_not_serving(draft, name, shard, &over);
                }
                draft.step(
                    Order::new(Phase::Build, rank::SHARD, 0).at(keyspace_index, index),
                    Action::CreateShard {
                        keyspace: name.clone(),
                        shard: shard.clone(),
                        serving: over.is_empty(),
                    },
                    Risk::Safe,
                    format!("the spec has the shard {name}/{shard}"),
                    vec![ids::create_keyspace(name), ids::delete_shard(name, shard)],
                );
            }
            refuse_lost_primary(view, draft, record);
            work.push(ShardWork {
                keyspace: name,
                keyspace_index,
                shard,
                index,
                desired: keyspace,
                record,
                kept: Vec::new(),
                create: Vec::new(),
                change: Vec::new(),
                delete: Vec::new(),
            });
        }
    }
    work
}

/// Whether a shard over a part of a new one's range belongs to its Reshard, or is left from an earlier
/// one and goes.
fn is_in_order(view: &View, moves: &Moves, old: &ShardRecord) -> bool {
    moves.of_shard(&old.keyspace, &old.shard).is_some() || is_covered(view, old)
}

/// A tablet made anew under the primary's name would be primary without its data.
fn refuse_lost_primary(view: &View, draft: &mut Draft, record: Option<&ShardRecord>) {
    let Some((record, primary)) = record.and_then(|r| Some((r, r.primary.as_ref()?))) else {
        return;
    };
    if view.live.records.tablets.contains_key(primary) {
        return;
    }
    draft.error(
        "primary-lost",
        format!("{}/{}", record.keyspace, record.shard),
        format!("its primary is {primary}, and there is no record of that tablet any more"),
        "if the shard was being deleted, apply a spec without it to the end first; otherwise put the \
         record back (this version has no command for that); nothing is planned for this shard, for a \
         new primary without its data would take its place",
    );
}

/// The shards there are over a part of a shard's range.
fn over<'a>(view: &View<'a>, name: &'a KeyspaceName, shard: &ShardName) -> Vec<&'a ShardRecord> {
    let range = shard.key_range();
    let shards = view.live.records.shards_of(name);
    shards
        .filter(|old| old.shard.key_range().intersects(range))
        .collect()
}

fn refuse_not_serving(
    draft: &mut Draft,
    name: &KeyspaceName,
    shard: &ShardName,
    over: &[&ShardRecord],
) {
    draft.error(
        "shard-in-the-way",
        format!("{name}/{shard}"),
        format!(
            "the spec has this shard, and there is {} over the same range, which neither serves \
             nor belongs to a workflow",
            list(over.iter().map(|old| &old.shard))
        ),
        "apply a spec with the shards that serve now first: that deletes the others",
    );
}
