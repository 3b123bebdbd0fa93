//! What goes: tablets that shards have too many of, shards whose data a Reshard has brought elsewhere,
//! and keyspaces that the spec has left out, with their tablets and shards. A keyspace goes when it is
//! seen to hold no table but those that move away, or when the spec that was applied before said
//! `on_remove: drop`; else it stays, and a note says so. Nothing goes because it was not seen.
//!
//! Every deletion of a tablet waits for all tablets that the plan creates. So capacity is never
//! lowered before it is raised, and no place that becomes free changes where another tablet goes.

use std::collections::{BTreeSet, HashMap};

use vtplan_state::model::{
    CellName, KeyspaceName, ShardName, ShardRecord, TableName, TabletAlias, TabletRecord,
};

use super::draft::{Draft, Order, Phase, rank};
use super::moves::{self, Move, Moves};
use super::previous::Previous;
use super::tablets::ShardWork;
use super::view::{Health, Tables, View};
use super::{cells, primaries, tables};
use crate::desired::OnRemove;
use crate::ids;
use crate::plan::{Action, Risk, StepId};

/// Dependencies between new and old tablets that one plan may have.
const MOST_DEPENDENCIES: usize = 4_000_000;

pub(crate) fn steps(
    view: &View,
    draft: &mut Draft,
    moves: &Moves,
    previous: &Previous,
    shards: &[ShardWork],
    destroy: bool,
) {
    let mut deletions = Deletions {
        creations: draft.tablet_creations(),
        deleted: Vec::new(),
    };
    for work in shards {
        surplus(draft, &mut deletions, work);
    }
    for keyspace in view.desired.keyspaces.keys() {
        if !moves.is_refused(keyspace) {
            old_shards(view, draft, moves, &mut deletions, keyspace);
        }
    }
    for keyspace in view.removed_keyspaces() {
        if destroy || may_go(view, draft, moves, previous, keyspace) {
            remove_keyspace(view, draft, moves, &mut deletions, keyspace, destroy);
        }
    }
    if deletions.creations.len() * deletions.deleted.len() > MOST_DEPENDENCIES {
        draft.error(
            "too-much-at-once",
            &view.desired.cluster,
            format!(
                "the plan would create {} tablets and delete {}",
                deletions.creations.len(),
                deletions.deleted.len()
            ),
            "change the spec in two steps: first what comes, then what goes",
        );
    }
    remove_cells(view, draft, &deletions, shards);
}

struct Deletions<'a> {
    /// All steps that create a tablet.
    creations: Vec<StepId>,
    deleted: Vec<&'a TabletAlias>,
}

impl<'a> Deletions<'a> {
    fn tablet(
        &mut self,
        draft: &mut Draft,
        order: Order,
        tablet: &'a TabletRecord,
        risk: Risk,
        reason: String,
        mut after: Vec<StepId>,
    ) {
        self.deleted.push(&tablet.alias);
        if self.creations.len() * self.deleted.len() <= MOST_DEPENDENCIES {
            after.extend(self.creations.iter().cloned());
        }
        draft.step(
            order,
            Action::DeleteTablet {
                alias: tablet.alias.clone(),
                keyspace: tablet.keyspace.clone(),
                shard: tablet.shard.clone(),
                host: tablet.host.clone(),
                release: tablet.adopted(),
            },
            // Nothing of what a released server holds is deleted.
            if tablet.server.is_made() {
                risk
            } else {
                Risk::Disruptive
            },
            reason,
            after,
        );
    }
}

fn surplus<'a>(draft: &mut Draft, deletions: &mut Deletions<'a>, work: &ShardWork<'a>) {
    for tablet in &work.delete {
        let mut after = primaries::reparent_id(work);
        after.push(ids::init_primary(work.keyspace, work.shard));
        after.push(ids::set_durability(work.keyspace));
        let uid = tablet.alias.uid as usize;
        deletions.tablet(
            draft,
            work.order(Phase::Remove, rank::DELETE_TABLET, uid),
            tablet,
            // The shard's data is on the tablets that stay.
            Risk::Disruptive,
            format!(
                "the spec has no place for this {} tablet of {} in {}",
                tablet.tablet_type,
                work.name(),
                tablet.alias.cell
            ),
            after,
        );
    }
}

/// Shards that the spec does not have and that no longer serve, or will not when a workflow has ended.
/// What they hold is on the shards that serve their range.
fn old_shards<'a>(
    view: &View<'a>,
    draft: &mut Draft,
    moves: &Moves,
    deletions: &mut Deletions<'a>,
    keyspace: &'a KeyspaceName,
) {
    let Some(desired) = view.desired.keyspaces.get(keyspace) else {
        return;
    };
    let wanted: BTreeSet<&ShardName> = desired.shards.iter().collect();
    let old = view.live.records.shards_of(keyspace);
    let old = old.filter(|record| !wanted.contains(&record.shard));
    for (record, place) in old.zip(1..) {
        let name = format!("{keyspace}/{}", record.shard);
        let reshard = moves.of_shard(keyspace, &record.shard);
        if reshard.is_none() && !is_covered(view, record) {
            draft.note(
                name,
                "the spec no longer has this shard; it is kept, for no other serves its range",
            );
            continue;
        }
        let range = record.shard.key_range();
        let place_taken_by = desired
            .shards
            .iter()
            .filter(|s| s.key_range().intersects(range));
        let why = format!(
            "in place of {name} the spec has {}",
            moves::list(place_taken_by)
        );
        let unseen = view
            .tablets_of(keyspace, &record.shard)
            .iter()
            .find(|tablet| view.health(tablet, Some(record)) == Health::Unseen);
        if let Some(tablet) = unseen {
            draft.note(
                name,
                format!(
                    "the spec no longer has this shard; it is kept, for its tablet {} on {} \
                     cannot be seen",
                    tablet.alias, tablet.host
                ),
            );
            continue;
        }
        let keyspace_index = view.keyspace_index(keyspace);
        let place = desired.shards.len() as u32 + place;
        let at = |rank, minor| Order::new(Phase::Remove, rank, minor).at(keyspace_index, place);
        let first: Vec<StepId> = reshard.map(Move::end_id).into_iter().collect();
        // It may hold data, also when that is elsewhere too.
        let risk = if record.primary.is_some() {
            Risk::Destructive
        } else {
            Risk::Safe
        };
        let mut after = remove_tablets(view, draft, deletions, record, risk, (&why, &first), at);
        after.extend(first);
        draft.step(
            at(rank::DELETE_SHARD, 0),
            Action::DeleteShard {
                keyspace: keyspace.clone(),
                shard: record.shard.clone(),
            },
            // Its data went with its tablets.
            Risk::Safe,
            why,
            after,
        );
    }
}

/// Whether a shard serves nothing, and every id of its range is served by another one.
pub(crate) fn is_covered(view: &View, old: &ShardRecord) -> bool {
    if old.serving || old.serving_reads.values().any(|serves| *serves) {
        return false;
    }
    let range = old.shard.key_range();
    let mut covered = range.start();
    // In key order.
    for other in view.live.records.shards_of(&old.keyspace) {
        let other_range = other.shard.key_range();
        if !other.serving || other_range.start() > covered {
            continue;
        }
        if other_range.end().is_empty() {
            return true;
        }
        covered = covered.max(other_range.end());
        if !range.end().is_empty() && covered >= range.end() {
            return true;
        }
    }
    false
}

/// Whether a keyspace that the spec has left out may be deleted; a note where not.
fn may_go(
    view: &View,
    draft: &mut Draft,
    moves: &Moves,
    previous: &Previous,
    keyspace: &KeyspaceName,
) -> bool {
    for shard in view.live.records.shards_of(keyspace) {
        for tablet in view.tablets_of(keyspace, &shard.shard) {
            if view.health(tablet, Some(shard)) == Health::Unseen {
                draft.note(
                    keyspace.as_str(),
                    format!(
                        "the spec no longer has this keyspace; it is kept, for its tablet {} on \
                         {} cannot be seen",
                        tablet.alias, tablet.host
                    ),
                );
                return false;
            }
        }
    }
    if previous.keyspace(keyspace) == OnRemove::Drop {
        return true;
    }
    let mut tables: BTreeSet<&str> = BTreeSet::new();
    let mut unknown = false;
    for shard in view.live.records.shards_of(keyspace) {
        // What does not serve has copies of what does.
        if !shard.serving || view.holds_nothing(keyspace, shard) {
            continue;
        }
        match view.tables(Some(shard)) {
            Tables::Known(there) => {
                let stays = |name: &&TableName| moves.taking(keyspace, name).is_none();
                tables.extend(there.keys().filter(stays).map(|name| name.as_str()));
            }
            Tables::Fresh | Tables::Unknown => unknown = true,
        }
    }
    if !unknown && is_made_for_move(view, previous, keyspace) {
        return true;
    }
    if tables.is_empty() && !unknown {
        return true;
    }
    let holds = if unknown {
        "and what it holds cannot be seen".to_owned()
    } else {
        let some: Vec<&str> = tables.iter().copied().take(5).collect();
        let more = if tables.len() > 5 { ", ..." } else { "" };
        format!("and it holds tables ({}{more})", some.join(", "))
    };
    draft.note(
        keyspace.as_str(),
        format!(
            "the spec no longer has this keyspace, {holds}: it is kept. To drop it, put it back \
             with `on_remove: drop`, apply, and take it out again"
        ),
    );
    false
}

/// Whether a keyspace is what a MoveTables that was taken back before it began has left: no spec that
/// was applied had it, and its tables are empty and are elsewhere.
fn is_made_for_move(view: &View, previous: &Previous, keyspace: &KeyspaceName) -> bool {
    if !previous.is_known() || previous.has_keyspace(keyspace) {
        return false;
    }
    let vschema = view.live.records.vschemas.get(keyspace);
    view.live.records.shards_of(keyspace).all(|shard| {
        let Tables::Known(there) = view.tables(Some(shard)) else {
            return true;
        };
        there.iter().all(|(name, table)| {
            table.rows == 0
                && vschema.is_none_or(|v| !v.tables.contains_key(name.as_str()))
                && view.desired.keyspaces.iter().any(|(other, desired)| {
                    desired.tables.contains_key(name) && tables::holds_table(view, other, name)
                })
        })
    })
}

fn remove_keyspace<'a>(
    view: &View<'a>,
    draft: &mut Draft,
    moves: &Moves,
    deletions: &mut Deletions<'a>,
    keyspace: &'a KeyspaceName,
    destroy: bool,
) {
    let keyspace_index = view.keyspace_index(keyspace);
    let why = if destroy {
        "the cluster is destroyed".to_owned()
    } else {
        format!("the spec no longer has the keyspace {keyspace}")
    };
    let ends: Vec<StepId> = moves.touching(keyspace).map(Move::end_id).collect();
    let mut shards = ends.clone();
    for (shard, index) in view.live.records.shards_of(keyspace).zip(1..) {
        let at = |rank, minor| Order::new(Phase::Remove, rank, minor).at(keyspace_index, index);
        let risk = if keeps_nothing(view, moves, shard) {
            Risk::Safe
        } else {
            Risk::Destructive
        };
        let mut after = remove_tablets(view, draft, deletions, shard, risk, (&why, &ends), at);
        after.extend(ends.iter().cloned());
        let primary = shard.primary.as_ref();
        if primary.is_some_and(|alias| !view.live.records.tablets.contains_key(alias)) {
            // Its record keeps the lost primary's uid from others; see `uids`.
            after.extend(deletions.creations.iter().cloned());
        }
        shards.push(ids::delete_shard(keyspace, &shard.shard));
        draft.step(
            at(rank::DELETE_SHARD, 0),
            Action::DeleteShard {
                keyspace: keyspace.clone(),
                shard: shard.shard.clone(),
            },
            // Its data went with its tablets.
            Risk::Safe,
            why.clone(),
            after,
        );
    }
    draft.step(
        Order::new(Phase::Remove, 0, 0).at(keyspace_index, u32::MAX),
        Action::DeleteKeyspace {
            keyspace: keyspace.clone(),
        },
        Risk::Safe,
        why,
        shards,
    );
}

/// Whether a shard holds no table, or only such as go with their move.
fn keeps_nothing<'a>(view: &View<'a>, moves: &Moves, shard: &'a ShardRecord) -> bool {
    if !shard.serving {
        return shard.primary.is_none();
    }
    let moved = |name: &TableName| moves.taking(&shard.keyspace, name).is_some();
    match view.tables(Some(shard)) {
        Tables::Known(there) => there.keys().all(moved),
        Tables::Fresh | Tables::Unknown => view.holds_nothing(&shard.keyspace, shard),
    }
}

/// The primary goes last: while it is there, it can be seen what the shard holds.
fn remove_tablets<'a>(
    view: &View<'a>,
    draft: &mut Draft,
    deletions: &mut Deletions<'a>,
    shard: &'a ShardRecord,
    risk: Risk,
    (why, first): (&str, &[StepId]),
    at: impl Fn(u8, usize) -> Order,
) -> Vec<StepId> {
    let tablets = view.tablets_of(&shard.keyspace, &shard.shard);
    let is_primary = |t: &TabletRecord| shard.primary.as_ref() == Some(&t.alias);
    let all: Vec<StepId> = tablets
        .iter()
        .map(|t| ids::delete_tablet(&t.alias))
        .collect();
    for (tablet, own) in tablets.iter().zip(&all) {
        let mut after = first.to_vec();
        let rank = if is_primary(tablet) {
            after.extend(all.iter().filter(|id| *id != own).cloned());
            rank::DELETE_PRIMARY
        } else {
            rank::DELETE_TABLET
        };
        let order = at(rank, tablet.alias.uid as usize);
        deletions.tablet(draft, order, tablet, risk, why.to_owned(), after);
    }
    all
}

fn remove_cells(view: &View, draft: &mut Draft, deletions: &Deletions, shards: &[ShardWork]) {
    let records = &view.live.records;
    if records
        .cells
        .keys()
        .all(|cell| view.desired.cells.contains(cell))
    {
        return;
    }
    let deleted: BTreeSet<&TabletAlias> = deletions.deleted.iter().copied().collect();
    let there = records.tablets.keys().filter(|a| !deleted.contains(a));
    let new = shards.iter().flat_map(|work| &work.create);
    let staying: BTreeSet<&CellName> = there
        .map(|alias| &alias.cell)
        .chain(new.map(|tablet| tablet.cell))
        .collect();
    let mut leaving: HashMap<&CellName, Vec<StepId>> = HashMap::new();
    for alias in deleted {
        let steps = leaving.entry(&alias.cell).or_default();
        steps.push(ids::delete_tablet(alias));
    }
    cells::delete(view, draft, &staying, &leaving);
}
