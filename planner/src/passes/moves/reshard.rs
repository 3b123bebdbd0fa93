//! Reshards: a keyspace's serving shards that the spec gives up, and those it has in their place. They
//! fall into groups, each the smallest in which old and new shards cover the same range; a group is a
//! workflow, and groups have nothing to do with each other. Shards that stay are not touched.
//!
//! All tables of a group's old shards go to its new ones: those that are there, and those that the
//! spec adds, which are made on both sides first, for until the switch they are used on the old ones.

use std::collections::{BTreeMap, BTreeSet};

use vtplan_state::model::{
    KeyRange, KeyspaceName, ShardName, ShardRecord, Side, TableName, WorkflowKind, WorkflowName,
    WorkflowSide,
};

use super::movable::{check_key, note_nullable_vindex, refuse_cascades, refuse_other_columns};
use super::{Move, Moves, columns, list};
use crate::desired::{DesiredKeyspace, OnRemove};
use crate::live::{Canonical, ObservedTable};
use crate::passes::draft::Draft;
use crate::passes::previous::Previous;
use crate::passes::view::{Tables, View};

/// Reshards that have not begun.
pub(super) fn find<'a>(
    view: &View<'a>,
    draft: &mut Draft,
    previous: &Previous,
    moves: &mut Moves<'a>,
) -> Vec<Move<'a>> {
    let mut found = Vec::new();
    for (name, desired) in &view.desired.keyspaces {
        if moves.is_refused(name) {
            continue;
        }
        let wanted: BTreeSet<&ShardName> = desired.shards.iter().collect();
        let free = |shard: &ShardName| moves.of_shard(name, shard).is_none();
        let serving: BTreeSet<&ShardName> = view
            .live
            .records
            .shards_of(name)
            .filter(|record| record.serving && free(&record.shard))
            .map(|record| &record.shard)
            .collect();
        let old: Vec<&ShardName> = serving.difference(&wanted).copied().collect();
        if old.is_empty() {
            continue;
        }
        let new: Vec<&ShardName> = wanted
            .difference(&serving)
            .copied()
            .filter(|shard| free(shard))
            .collect();
        let Some(groups) = groups(&old, &new) else {
            refuse_uncovered(draft, name, &old, &new);
            moves.refuse(name);
            continue;
        };
        for group in groups {
            match reshard(view, draft, previous, name, desired, group) {
                Some(reshard) => found.push(reshard),
                None => moves.refuse(name),
            }
        }
    }
    found
}

/// Old shards and the new ones over the same range.
type Group<'g> = (Vec<&'g ShardName>, Vec<&'g ShardName>);

/// `None`: they do not cover the same. Both in key order, none overlapping its like.
fn groups<'g>(old: &[&'g ShardName], new: &[&'g ShardName]) -> Option<Vec<Group<'g>>> {
    let mut groups = Vec::new();
    let (mut old, mut new) = (old.iter().copied(), new.iter().copied());
    loop {
        let (from, to) = match (old.next(), new.next()) {
            (None, None) => return Some(groups),
            (Some(from), Some(to)) if from.key_range().start() == to.key_range().start() => {
                (from, to)
            }
            _ => return None,
        };
        let (mut from, mut to) = (vec![from], vec![to]);
        loop {
            let (Some(a), Some(b)) = (from.last(), to.last()) else {
                return None;
            };
            let (a, b) = (a.key_range(), b.key_range());
            let (behind, next, at) = match compare_ends(a, b) {
                std::cmp::Ordering::Equal => break,
                std::cmp::Ordering::Less => (&mut from, old.next()?, a),
                std::cmp::Ordering::Greater => (&mut to, new.next()?, b),
            };
            if next.key_range().start() != at.end() {
                return None;
            }
            behind.push(next);
        }
        groups.push((from, to));
    }
}

/// An empty end is the highest.
fn compare_ends(a: &KeyRange, b: &KeyRange) -> std::cmp::Ordering {
    (a.end().is_empty(), a.end()).cmp(&(b.end().is_empty(), b.end()))
}

fn refuse_uncovered(
    draft: &mut Draft,
    keyspace: &KeyspaceName,
    old: &[&ShardName],
    new: &[&ShardName],
) {
    draft.error(
        "shards-do-not-cover",
        keyspace.as_str(),
        format!(
            "the spec gives the keyspace {} in place of {}, and these do not cover the same range: \
             the keyspace was not made completely",
            super::shards_in_words(new.iter().copied()),
            list(old)
        ),
        "apply the spec with the shards that it was begun with first, then the change",
    );
}

/// `<first letters of the keyspace>2<the same>`, and the first shard where it is not about all of the
/// keyspace. So a group's name does not hang on how many other groups are left.
fn name_of(keyspace: &KeyspaceName, shards: &[ShardName]) -> Result<WorkflowName, String> {
    let letters: String = keyspace.as_str().chars().take(4).collect();
    let whole = shards
        .first()
        .is_some_and(|s| s.key_range().start().is_empty())
        && shards
            .last()
            .is_some_and(|s| s.key_range().end().is_empty());
    let name = match shards.first() {
        Some(first) if !whole => format!("{letters}2{letters}_{first}"),
        _ => format!("{letters}2{letters}"),
    };
    WorkflowName::new(name).map_err(|error| error.to_string())
}

fn reshard<'a>(
    view: &View<'a>,
    draft: &mut Draft,
    previous: &Previous,
    keyspace: &'a KeyspaceName,
    desired: &'a DesiredKeyspace,
    (old, new): Group<'_>,
) -> Option<Move<'a>> {
    let side = |shards: &[&ShardName]| WorkflowSide {
        keyspace: keyspace.clone(),
        shards: shards.iter().map(|shard| (*shard).clone()).collect(),
    };
    let (source, target) = (side(&old), side(&new));
    let name = match name_of(keyspace, &source.shards) {
        Ok(name) => name,
        Err(why) => {
            draft.error(
                "no-workflow-name",
                keyspace.as_str(),
                format!("a Reshard of {} cannot be named: {why}", list(&old)),
                "give the keyspace a shorter name, or its shards shorter bounds",
            );
            return None;
        }
    };
    if let Some(other) = view.live.records.workflow(keyspace, &name) {
        draft.error(
            "workflow-name-taken",
            other.full_name(),
            format!(
                "the Reshard of {} to {} would have this name, and there is another workflow of it",
                list(&old),
                list(&new)
            ),
            "complete or cancel that workflow first (`vtplan workflow show`)",
        );
        return None;
    }
    let tables = tables(view, draft, previous, keyspace, desired, &source, new.len())?;
    Some(Move {
        kind: WorkflowKind::Reshard,
        name,
        source,
        target,
        tables: tables.into_keys().collect(),
        record: None,
        goal: Side::Target,
    })
}

/// The tables of the old shards, and those that the spec adds; for each what one of the old shards
/// shows of it.
fn tables<'a>(
    view: &View<'a>,
    draft: &mut Draft,
    previous: &Previous,
    keyspace: &KeyspaceName,
    desired: &DesiredKeyspace,
    source: &WorkflowSide,
    targets: usize,
) -> Option<BTreeMap<TableName, Option<&'a ObservedTable>>> {
    let sequence = |table: &TableName| {
        let declared = desired.vschema.tables.get(table.as_str());
        declared.is_some_and(|declared| declared.is_sequence())
    };
    let mut all: BTreeMap<TableName, Option<&ObservedTable>> = desired
        .tables
        .keys()
        .filter(|table| !sequence(table))
        .map(|table| (table.clone(), None))
        .collect();
    let mut sound = true;
    for shard in &source.shards {
        let record = view.shard(keyspace, shard);
        let Tables::Known(there) = view.tables(record) else {
            refuse_unseen(draft, keyspace, shard, record);
            sound = false;
            continue;
        };
        for (table, seen) in there {
            if let Some(entry) = all.get_mut(table) {
                if let Some(wanted) = desired.tables.get(table) {
                    let statement = wanted.statement.as_str();
                    sound &= check_table(view, draft, (keyspace, shard, table), statement, seen);
                    note_nullable(view, draft, keyspace, desired, table, seen);
                }
                *entry = Some(seen);
                continue;
            }
            let drop = desired.on_remove == OnRemove::Drop
                || previous.table(keyspace, table) == OnRemove::Drop;
            if drop {
                continue;
            }
            if seen.sequence_ready.is_some() && targets > 1 {
                draft.error(
                    "sequence-in-sharded-keyspace",
                    format!("{keyspace}.{table}"),
                    "it is a sequence, and the keyspace gets several shards: a sequence has one \
                     row, in an unsharded keyspace",
                    format!(
                        "give an unsharded keyspace a sequence and let the tables take their \
                         numbers from it; apply that first, and say `on_remove: drop` for `{table}`"
                    ),
                );
                sound = false;
            } else if let Some(to) = elsewhere(view, keyspace, table) {
                draft.error(
                    "one-after-the-other",
                    keyspace.as_str(),
                    format!(
                        "the spec gives `{keyspace}` other shards, and has `{table}` no longer here \
                         but in `{to}`: both at once would move rows while their places change"
                    ),
                    "make it two changes of the spec, and apply one after the other",
                );
                sound = false;
            } else if targets > 1 || desired.is_sharded() {
                draft.error(
                    "table-left-out",
                    format!("{keyspace}.{table}"),
                    format!(
                        "the spec does not have this table, which shard {shard} holds: it is not \
                         said on which of the new shards its rows belong"
                    ),
                    "put it into the schema and the VSchema; or drop it, with `on_remove: drop`",
                );
                sound = false;
            } else {
                let object = format!("{keyspace}/{shard}:{table}");
                sound &= check_key(draft, &object, seen);
                sound &= refuse_cascades(draft, &object, &seen.definition);
                all.insert(table.clone(), Some(seen));
            }
        }
    }
    for (table, _) in all.iter().filter(|(_, seen)| seen.is_none()) {
        if let Some(new) = desired.tables.get(table) {
            let object = format!("{keyspace}.{table}");
            sound &= refuse_cascades(draft, &object, &new.statement);
        }
    }
    sound &= check_vindexes(view, draft, keyspace, desired, all.keys());
    sound.then_some(all)
}

/// Another keyspace that the spec has a table in.
fn elsewhere<'a>(
    view: &View<'a>,
    keyspace: &KeyspaceName,
    table: &TableName,
) -> Option<&'a KeyspaceName> {
    let others = view.desired.keyspaces.iter();
    let mut others = others.filter(|(name, d)| *name != keyspace && d.tables.contains_key(table));
    others.next().map(|(name, _)| name)
}

/// A keyspace that becomes unsharded keeps its VSchema until the Reshard is completed, and rows flow by
/// its vindexes.
fn check_vindexes<'t>(
    view: &View,
    draft: &mut Draft,
    keyspace: &KeyspaceName,
    desired: &DesiredKeyspace,
    tables: impl Iterator<Item = &'t TableName>,
) -> bool {
    let live = view.live.records.vschemas.get(keyspace);
    let Some(live) = live.filter(|live| live.sharded && !desired.is_sharded()) else {
        return true;
    };
    let mut sound = true;
    for table in tables.filter(|table| !live.tables.contains_key(table.as_str())) {
        draft.error(
            "table-without-vindex",
            format!("{keyspace}.{table}"),
            "the keyspace gets one shard and becomes unsharded, and its present VSchema, by which \
             rows go to and fro until that is completed, does not have the table",
            "merge the shards first, and add the table in another change",
        );
        sound = false;
    }
    sound
}

fn refuse_unseen(
    draft: &mut Draft,
    keyspace: &KeyspaceName,
    shard: &ShardName,
    record: Option<&ShardRecord>,
) {
    let object = format!("{keyspace}/{shard}");
    match record.and_then(|record| record.primary.as_ref()) {
        None => draft.error(
            "half-made-shard",
            object,
            "the spec gives up the shard, which has no primary yet: it was not made completely",
            "apply the spec with the shards that it was begun with first, then the change",
        ),
        Some(primary) => draft.error(
            "source-unseen",
            object,
            format!(
                "the spec gives up the shard, and what it holds cannot be read from its primary \
                 {primary}"
            ),
            "bring the primary's host and server back, then plan again",
        ),
    }
}

/// Whether the rows of a table fit into what the spec makes of it.
fn check_table(
    view: &View,
    draft: &mut Draft,
    (keyspace, shard, table): (&KeyspaceName, &ShardName, &TableName),
    statement: &str,
    seen: &ObservedTable,
) -> bool {
    let canonical = view.live.observed.canonical.get(keyspace);
    let object = format!("{keyspace}/{shard}:{table}");
    if let Some(Canonical::Definition(wanted)) = canonical.and_then(|c| c.get(statement)) {
        let found = columns::differences(&seen.definition, wanted, true);
        if !found.is_empty() {
            refuse_other_columns(draft, &object, &found);
            return false;
        }
    }
    let has_key = check_key(draft, &object, seen);
    // One that only the schema file has is a table that differs.
    refuse_cascades(draft, &object, &seen.definition) && has_key
}

/// Where a keyspace becomes sharded, rows get their places by a vindex for the first time.
fn note_nullable(
    view: &View,
    draft: &mut Draft,
    keyspace: &KeyspaceName,
    desired: &DesiredKeyspace,
    table: &TableName,
    seen: &ObservedTable,
) {
    let serving = view.live.records.shards_of(keyspace).filter(|s| s.serving);
    if serving.count() == 1 {
        note_nullable_vindex(draft, keyspace, &desired.vschema, table, seen);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shards(names: &[&str]) -> Vec<ShardName> {
        let parse = |name: &&str| name.parse().expect("a shard");
        names.iter().map(parse).collect()
    }

    fn grouped(old: &[&str], new: &[&str]) -> Option<Vec<String>> {
        let (old, new) = (shards(old), shards(new));
        let (old, new): (Vec<_>, Vec<_>) = (old.iter().collect(), new.iter().collect());
        let show = |(old, new): &Group| format!("{} to {}", list(old), list(new));
        Some(groups(&old, &new)?.iter().map(show).collect())
    }

    #[test]
    fn groups_are_as_small_as_their_cover_allows() {
        assert_eq!(
            grouped(&["0"], &["-80", "80-"]).unwrap(),
            ["`0` to `-80`, `80-`"]
        );
        assert_eq!(
            grouped(&["-80", "80-"], &["-40", "40-80", "80-c0", "c0-"]).unwrap(),
            ["`-80` to `-40`, `40-80`", "`80-` to `80-c0`, `c0-`"]
        );
        assert_eq!(
            grouped(&["-40", "40-80", "80-"], &["-55", "55-aa", "aa-"]).unwrap(),
            ["`-40`, `40-80`, `80-` to `-55`, `55-aa`, `aa-`"]
        );
        // A shard that stays lies between: -20 20-40 [40-80] 80-a0 a0-.
        assert_eq!(
            grouped(&["-20", "20-40", "80-a0", "a0-"], &["-40", "80-"]).unwrap(),
            ["`-20`, `20-40` to `-40`", "`80-a0`, `a0-` to `80-`"]
        );
    }

    #[test]
    fn what_does_not_cover_the_same_is_no_reshard() {
        for (old, new) in [
            (&["-80"][..], &["0"][..]),
            (&["-40", "80-"], &["-80", "80-"]),
            (&["-80"], &["-40"]),
            (&["-80"], &[]),
        ] {
            assert_eq!(grouped(old, new), None, "{old:?} {new:?}");
        }
    }
}
