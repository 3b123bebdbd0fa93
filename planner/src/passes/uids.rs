//! Chooses uids as Vitess's examples do: the first shard gets 100, 101, 102, the next one 200, 201,
//! 202. A shard has a hundred of its own, the one of its lowest uid; a shard that has no tablet yet
//! gets the lowest hundred in which nobody has one. Within it the lowest free numbers are taken.
//! Uids are unique over all cells, for a tablet's `server_id` is its uid.
//!
//! Free numbers in rising order meet places in a fixed order. So when some of the tablets exist
//! already, the numbers that are left still meet the same places.

use std::collections::{BTreeSet, HashMap};

use vtplan_state::model::{ShardRecord, TabletAlias};

use super::draft::Draft;
use super::moves::leftovers;
use super::tablets::ShardWork;
use super::view::View;

const BLOCK: u32 = 100;

/// Sets [`super::tablets::NewTablet::uid`] of every new tablet, and orders each shard's by it.
pub(crate) fn choose(view: &View, draft: &mut Draft, shards: &mut [ShardWork]) {
    let records = &view.live.records;
    // A primary whose own record is lost keeps its name: nobody else may become it.
    let shards_there = records.shards.values();
    let primaries = shards_there
        .filter(|shard| !is_made_anew(view, shard))
        .filter_map(|s| s.primary.as_ref());
    let named = records.tablets.keys().chain(primaries);
    let mut used: BTreeSet<u32> = named.map(|alias| alias.uid).collect();
    claim_pinned(view, draft, shards, &mut used);

    let mut blocks: BTreeSet<u32> = used.iter().map(|uid| uid / BLOCK).collect();
    let mut next_block = 1;
    for work in shards {
        if work.create.iter().all(|t| t.uid != 0) {
            // Their order decides about ports too, and must not hang on which tablets are made already.
            work.create.sort_by_key(|t| t.uid);
            continue;
        }
        let block = home(view, work).unwrap_or_else(|| {
            while blocks.contains(&next_block) {
                next_block += 1;
            }
            blocks.insert(next_block);
            next_block
        });
        let mut uid = block * BLOCK;
        let end = uid.saturating_add(BLOCK);
        let name = work.name();
        for tablet in work.create.iter_mut().filter(|t| t.uid == 0) {
            while uid < end && (uid == 0 || used.contains(&uid)) {
                uid += 1;
            }
            if uid == end {
                draft.error(
                    "too-many-tablets",
                    name,
                    format!(
                        "a shard takes its tablets' uids from one hundred, and of {} to {} none \
                         is free",
                        block * BLOCK,
                        end - 1
                    ),
                    "lower the counts, or pin tablets with uids of your own",
                );
                break;
            }
            used.insert(uid);
            tablet.uid = uid;
        }
        work.create.sort_by_key(|t| t.uid);
    }
}

/// Whether the spec has a shard of which only the record is left (see
/// [`leftovers::is_half_deleted`]): its primary's name is free, then as after the record is gone.
fn is_made_anew(view: &View, shard: &ShardRecord) -> bool {
    let desired = view.desired.keyspaces.get(&shard.keyspace);
    desired.is_some_and(|d| d.shards.contains(&shard.shard))
        && leftovers::is_half_deleted(view, shard)
}

/// Uids that the spec pins go to their tablets, unless another tablet has them.
fn claim_pinned(
    view: &View,
    draft: &mut Draft,
    shards: &mut [ShardWork],
    used: &mut BTreeSet<u32>,
) {
    let mut owners: HashMap<u32, String> = HashMap::new();
    for work in &*shards {
        for tablet in &work.create {
            if tablet.pin.is_some_and(|pin| pin.uid.is_some()) {
                for record in view.live.records.tablets.values() {
                    owners.insert(
                        record.alias.uid,
                        format!("{} of {}/{}", record.alias, record.keyspace, record.shard),
                    );
                }
            }
            if !owners.is_empty() {
                break;
            }
        }
    }
    for work in shards {
        let name = work.name();
        for tablet in &mut work.create {
            let Some(uid) = tablet.pin.and_then(|pin| pin.uid) else {
                continue;
            };
            let alias = TabletAlias::new(tablet.cell.clone(), uid);
            let owner = if uid == 0 {
                Some("nobody: uids start at 1".to_owned())
            } else {
                owners.get(&uid).cloned()
            };
            if let Some(owner) = owner {
                draft.error(
                    "uid-taken",
                    alias.to_string(),
                    format!(
                        "the spec pins uid {uid} to a tablet of {name}, but it belongs to {owner}"
                    ),
                    "uids are unique over all cells, keyspaces and shards: pin another one",
                );
                continue;
            }
            owners.insert(uid, format!("{alias} of {name}"));
            used.insert(uid);
            tablet.uid = uid;
        }
    }
}

/// The hundred that a shard has: that of its lowest uid, whether the tablet is there or pinned.
fn home(view: &View, work: &ShardWork) -> Option<u32> {
    let existing = view.tablets_of(work.keyspace, work.shard).first();
    let pinned = work.create.iter().map(|t| t.uid).filter(|uid| *uid != 0);
    pinned
        .chain(existing.map(|t| t.alias.uid))
        .min()
        .map(|uid| uid / BLOCK)
}
