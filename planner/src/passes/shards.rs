//! Shards of the spec's keyspaces. A keyspace that is new, or half made, gets the shards that it
//! lacks, all of them serving. Other boundaries than those of the shards there are mean a Reshard.

use vtplan_state::model::{KeyspaceName, ShardName, ShardRecord};

use super::draft::{Draft, Order, Phase, rank};
use super::tablets::ShardWork;
use super::view::View;
use crate::desired::DesiredKeyspace;
use crate::ids;
use crate::plan::{Action, Risk};

/// All shards of the spec, by keyspace and range, but for keyspaces that cannot be planned.
pub(crate) fn create<'a>(view: &View<'a>, draft: &mut Draft) -> Vec<ShardWork<'a>> {
    let mut work = Vec::new();
    for (name, keyspace) in &view.desired.keyspaces {
        if refuse_reshard(view, draft, name, keyspace) {
            continue;
        }
        let keyspace_index = view.keyspace_index(name);
        let mut shards: Vec<&ShardName> = keyspace.shards.iter().collect();
        shards.sort();
        for (shard, index) in shards.into_iter().zip(1..) {
            let record = view.shard(name, shard);
            if record.is_none() {
                draft.step(
                    Order::new(Phase::Build, rank::SHARD, 0).at(keyspace_index, index),
                    Action::CreateShard {
                        keyspace: name.clone(),
                        shard: shard.clone(),
                        serving: true,
                    },
                    Risk::Safe,
                    format!("the spec has the shard {name}/{shard}"),
                    vec![ids::create_keyspace(name)],
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
        "put the record back (this version has no command for that); nothing is planned for this \
         shard, for a new primary without its data would take its place",
    );
}

fn refuse_reshard(
    view: &View,
    draft: &mut Draft,
    name: &KeyspaceName,
    keyspace: &DesiredKeyspace,
) -> bool {
    let live: Vec<&ShardName> = view
        .live
        .records
        .shards_of(name)
        .map(|record| &record.shard)
        .collect();
    let gone: Vec<&ShardName> = live
        .iter()
        .copied()
        .filter(|shard| !keyspace.shards.contains(shard))
        .collect();
    if gone.is_empty() {
        return false;
    }
    let new: Vec<&ShardName> = keyspace
        .shards
        .iter()
        .filter(|shard| !live.contains(shard))
        .collect();
    draft.error(
        "reshard-not-yet",
        name.as_str(),
        format!(
            "the spec gives `{name}` other shards than it has: this is a Reshard from {} to {}, \
             which this version cannot do yet",
            list(&gone),
            list(&new)
        ),
        format!("set the shards of `{name}` back to {}", list(&live)),
    );
    true
}

fn list(shards: &[&ShardName]) -> String {
    if shards.is_empty() {
        return "nothing".to_owned();
    }
    let names: Vec<String> = shards.iter().map(|s| format!("`{s}`")).collect();
    names.join(", ")
}
