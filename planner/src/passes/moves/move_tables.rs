//! MoveTables: tables that are in a serving keyspace whose spec no longer has them, and that the spec
//! has in another keyspace, which did not have them before. All tables that go from one keyspace to
//! another go in one workflow.

use std::collections::{BTreeMap, BTreeSet};

use vtplan_state::model::{
    FlavorKind, KeyspaceName, ShardName, Side, TableName, WorkflowKind, WorkflowName, WorkflowSide,
};

use super::arrivals::{is_new, is_routed};
use super::movable::{check_key, note_nullable_vindex, refuse_cascades, refuse_other_columns};
use super::{Move, Moves, columns, list};
use crate::desired::DesiredKeyspace;
use crate::live::{Canonical, ObservedTable};
use crate::passes::draft::Draft;
use crate::passes::foreign_keys;
use crate::passes::previous::Previous;
use crate::passes::texts::{self, TextDifference};
use crate::passes::view::{Tables, View};

/// MoveTables that have not begun.
pub(super) fn find<'a>(
    view: &View<'a>,
    draft: &mut Draft,
    previous: &Previous,
    moves: &Moves,
) -> Vec<Move<'a>> {
    refuse_unseen(view, draft, previous);
    let pairs = pairs(view, draft, previous, moves);
    let mut found = Vec::new();
    for ((from, to), tables) in pairs {
        let (Some(desired), false) = (
            view.desired.keyspaces.get(to),
            moves.is_refused(from) || moves.is_refused(to),
        ) else {
            continue;
        };
        found.extend(move_tables(view, draft, from, to, desired, tables));
    }
    found
}

/// The tables that go from one keyspace to another, by both.
type Pairs<'a> = BTreeMap<(&'a KeyspaceName, &'a KeyspaceName), Vec<&'a TableName>>;

fn pairs<'a>(view: &View<'a>, draft: &mut Draft, previous: &Previous, moves: &Moves) -> Pairs<'a> {
    let mut pairs = Pairs::new();
    for (table, from) in left_out(view, moves) {
        let to: Vec<&KeyspaceName> = view
            .desired
            .keyspaces
            .iter()
            .filter(|(name, desired)| {
                desired.tables.contains_key(table)
                    && moves.bringing(name, table.as_str()).is_none()
                    && is_new(view, draft, previous, name, table, &from)
            })
            .map(|(name, _)| name)
            .collect();
        match (from.as_slice(), to.as_slice()) {
            (_, []) => {}
            ([from], [to]) => pairs.entry((*from, *to)).or_default().push(table),
            (_, [_]) => draft.error(
                "table-in-several-keyspaces",
                table.as_str(),
                format!(
                    "the table comes to `{}`, and it is in {}, whose spec has it no longer: it is \
                     not said which of them moves",
                    list(&to),
                    list(&from)
                ),
                "drop those that are not to move (`on_remove: drop`, or by hand), then plan again",
            ),
            _ => draft.error(
                "table-in-several-keyspaces",
                table.as_str(),
                format!(
                    "the table leaves {}, and the spec has it in {}: it can move to one of them \
                     only",
                    list(&from),
                    list(&to)
                ),
                "leave it in one of them, and copy it to the others another way",
            ),
        }
    }
    pairs
}

/// Tables that serving keyspaces hold and the spec no longer has there.
fn left_out<'a>(view: &View<'a>, moves: &Moves) -> BTreeMap<&'a TableName, Vec<&'a KeyspaceName>> {
    let mut left: BTreeMap<&TableName, Vec<&KeyspaceName>> = BTreeMap::new();
    for record in view.live.records.shards.values().filter(|r| r.serving) {
        let Tables::Known(tables) = view.tables(Some(record)) else {
            continue;
        };
        let keyspace = &record.keyspace;
        let desired = view.desired.keyspaces.get(keyspace);
        for name in tables.keys() {
            if desired.is_some_and(|d| d.tables.contains_key(name))
                || moves.taking(keyspace, name).is_some()
            {
                continue;
            }
            let keyspaces = left.entry(name).or_default();
            if keyspaces.last() != Some(&keyspace) {
                keyspaces.push(keyspace);
            }
        }
    }
    left
}

/// A table must not be made anew because the one that it moves from cannot be seen.
fn refuse_unseen(view: &View, draft: &mut Draft, previous: &Previous) {
    let records = &view.live.records;
    let mut unseen: BTreeMap<&KeyspaceName, &ShardName> = BTreeMap::new();
    for record in records.shards.values().filter(|record| record.serving) {
        // A shard without tablets is one that is being removed.
        let has_tablets = !view.tablets_of(&record.keyspace, &record.shard).is_empty();
        if has_tablets && matches!(view.tables(Some(record)), Tables::Unknown) {
            unseen.insert(&record.keyspace, &record.shard);
        }
    }
    for (from, shard) in unseen {
        let vschema = records.vschemas.get(from);
        let routed = vschema.into_iter().flat_map(|v| v.tables.keys());
        let routed = routed.filter_map(|name| TableName::new(name.as_str()).ok());
        let mut tables: BTreeSet<TableName> = previous.tables(from).into_iter().collect();
        tables.extend(routed);
        for table in tables {
            // A move takes the name from one VSchema to the other when it has ended.
            let has = |keyspace: &KeyspaceName, d: &DesiredKeyspace| {
                let moved = is_routed(view, keyspace, &table) && !is_routed(view, from, &table);
                d.tables.contains_key(&table)
                    && !moved
                    && !(is_routed(view, keyspace, &table) && previous.has_table(keyspace, &table))
            };
            let still = view.desired.keyspaces.get(from);
            if still.is_some_and(|d| d.tables.contains_key(&table)) {
                continue;
            }
            let to = view.desired.keyspaces.iter().find(|(name, d)| has(name, d));
            let Some((to, _)) = to else { continue };
            let running = records
                .all_workflows()
                .any(|w| w.target.keyspace == *to && w.tables.contains(&table));
            if running {
                continue;
            }
            draft.error(
                "source-unseen",
                format!("{from}/{shard}"),
                format!(
                    "`{table}` leaves this keyspace and comes to `{to}`, and what the shard holds \
                     cannot be read from its primary"
                ),
                "bring the primary's host and server back, then plan again",
            );
        }
    }
}

/// What a source's shards show of the tables that move.
struct Source<'a> {
    keyspace: &'a KeyspaceName,
    shards: Vec<(&'a ShardName, &'a BTreeMap<TableName, ObservedTable>)>,
    flavor: Option<FlavorKind>,
}

fn move_tables<'a>(
    view: &View<'a>,
    draft: &mut Draft,
    from: &'a KeyspaceName,
    to: &'a KeyspaceName,
    desired: &'a DesiredKeyspace,
    tables: Vec<&'a TableName>,
) -> Option<Move<'a>> {
    let source = source(view, draft, from, to, &tables)?;
    let name = name_of(view, draft, from, to, &tables)?;
    let before = draft.errors.len();
    let moved: BTreeSet<&TableName> = tables.iter().copied().collect();
    refuse_sequences(draft, &source, desired, &tables);
    refuse_foreign_keys(view, draft, &source, to, &moved);
    for table in &tables {
        check_table(view, draft, &source, to, desired, table);
    }
    if draft.errors.len() > before {
        return None;
    }
    let mut target: Vec<ShardName> = desired.shards.clone();
    target.sort();
    Some(Move {
        kind: WorkflowKind::MoveTables,
        name,
        source: WorkflowSide {
            keyspace: from.clone(),
            shards: source.shards.iter().map(|(s, _)| (*s).clone()).collect(),
        },
        target: WorkflowSide {
            keyspace: to.clone(),
            shards: target,
        },
        tables: moved.into_iter().cloned().collect(),
        record: None,
        goal: Side::Target,
    })
}

/// All serving shards of the source must be seen to have the tables.
fn source<'a>(
    view: &View<'a>,
    draft: &mut Draft,
    from: &'a KeyspaceName,
    to: &KeyspaceName,
    tables: &[&TableName],
) -> Option<Source<'a>> {
    let mut shards = Vec::new();
    let mut flavor = None;
    for record in view.live.records.shards_of(from).filter(|r| r.serving) {
        let object = || format!("{from}/{}", record.shard);
        let Tables::Known(there) = view.tables(Some(record)) else {
            draft.error(
                "source-unseen",
                object(),
                format!(
                    "{} move from `{from}` to `{to}`, and what this shard holds cannot be read \
                     from its primary",
                    list(tables)
                ),
                "bring the primary's host and server back, then plan again",
            );
            return None;
        };
        if let Some(missing) = tables.iter().find(|table| !there.contains_key(**table)) {
            draft.error(
                "source-lacks-table",
                object(),
                format!(
                    "`{missing}` moves from `{from}` to `{to}`, and this shard does not have it, \
                     though others do"
                ),
                format!("put `{missing}` back into the spec of `{from}` and apply; then move it"),
            );
            return None;
        }
        flavor = view
            .tablets_of(from, &record.shard)
            .first()
            .map(|t| t.flavor);
        shards.push((&record.shard, there));
    }
    Some(Source {
        keyspace: from,
        shards,
        flavor,
    })
}

/// `<source>2<target>`.
fn name_of(
    view: &View,
    draft: &mut Draft,
    from: &KeyspaceName,
    to: &KeyspaceName,
    tables: &[&TableName],
) -> Option<WorkflowName> {
    // A workflow's name has at most 63 bytes.
    let part = |name: &KeyspaceName| name.as_str().chars().take(31).collect::<String>();
    let name = WorkflowName::new(format!("{}2{}", part(from), part(to)));
    // Both are names, and a name's letters are a name's.
    let name = name.ok()?;
    let Some(other) = view.live.records.workflow(to, &name) else {
        return Some(name);
    };
    let what = match other.kind {
        WorkflowKind::MoveTables if other.source.keyspace == *from => {
            format!("moves {} between the same keyspaces", list(&other.tables))
        }
        _ => "is another one".to_owned(),
    };
    draft.error(
        "workflow-name-taken",
        other.full_name(),
        format!(
            "{} would move from `{from}` to `{to}` in a workflow of this name, and the one that \
             has it {what}",
            list(tables)
        ),
        format!(
            "leave {} where they are until that workflow is completed or cancelled (`vtplan \
             workflow show {}`), then move them",
            list(tables),
            other.full_name()
        ),
    );
    None
}

fn refuse_sequences(
    draft: &mut Draft,
    source: &Source,
    desired: &DesiredKeyspace,
    tables: &[&TableName],
) {
    for table in tables {
        let seen = source.shards.iter().filter_map(|(_, t)| t.get(*table));
        let is_sequence = seen.clone().any(|t| t.sequence_ready.is_some());
        let declared = desired.vschema.tables.get(table.as_str());
        if is_sequence || declared.is_some_and(|d| d.is_sequence()) {
            draft.error(
                "sequence-moves",
                format!("{}.{table}", source.keyspace),
                "a sequence cannot move to another keyspace while gates take numbers from it",
                "make a sequence of another name there, let the tables take their numbers from it \
                 (it starts above those that there are), and drop this one afterwards",
            );
        }
    }
}

/// A foreign key does not reach into another keyspace. What the spec adds to the source counts too.
fn refuse_foreign_keys(
    view: &View,
    draft: &mut Draft,
    source: &Source,
    to: &KeyspaceName,
    moved: &BTreeSet<&TableName>,
) {
    // The shards of a keyspace have the same tables.
    let Some((shard, there)) = source.shards.first() else {
        return;
    };
    let stays = view.desired.keyspaces.get(source.keyspace);
    let new = stays.into_iter().flat_map(|d| &d.tables);
    let new = new.filter(|(name, _)| !there.contains_key(*name));
    let all: BTreeMap<&TableName, &str> = new
        .map(|(name, table)| (name, table.statement.as_str()))
        .chain(there.iter().map(|(name, t)| (name, t.definition.as_str())))
        .collect();
    for (child, definition) in &all {
        for (db, parent) in foreign_keys::references(definition) {
            if db.is_some_and(|db| db != source.keyspace.as_str()) || parent == child.as_str() {
                continue;
            }
            let Some(parent) = all.keys().find(|name| name.as_str() == parent) else {
                continue;
            };
            let (goes, stays) = match (moved.contains(child), moved.contains(parent)) {
                (true, false) => (child, parent),
                (false, true) => (parent, child),
                _ => continue,
            };
            draft.error(
                "foreign-key-crosses",
                format!("{}/{shard}:{child}", source.keyspace),
                format!(
                    "it has a foreign key to `{parent}`, and `{goes}` moves to `{to}` while \
                     `{stays}` stays: a foreign key cannot reach into another keyspace"
                ),
                format!("move `{stays}` too, or drop the foreign key first"),
            );
        }
    }
}

fn check_table(
    view: &View,
    draft: &mut Draft,
    source: &Source,
    to: &KeyspaceName,
    desired: &DesiredKeyspace,
    table: &TableName,
) {
    let statement = desired.tables[table].statement.as_str();
    let known = |keyspace: &KeyspaceName| match view
        .live
        .observed
        .canonical
        .get(keyspace)?
        .get(statement)?
    {
        Canonical::Definition(definition) => Some(definition.as_str()),
        Canonical::Refused(_) => None,
    };
    let of_target = view
        .live
        .records
        .shards_of(to)
        .find_map(|record| view.tablets_of(to, &record.shard).first())
        .map(|tablet| tablet.flavor);
    // Where no server of the target has been asked, one of the source may have been.
    let (wanted, flavor) = match known(to) {
        Some(wanted) => (Some(wanted), of_target),
        None => (known(source.keyspace), source.flavor),
    };
    let mut without_cascades = true;
    for (shard, tables) in &source.shards {
        let Some(seen) = tables.get(table) else {
            continue;
        };
        let object = format!("{}/{shard}:{table}", source.keyspace);
        if wanted.is_none() && view.live.observed.no_servers {
            let old = texts::statement_of(view, source.keyspace, &seen.definition);
            if old.is_none_or(|old| texts::compare(old, statement) == TextDifference::Other) {
                draft.note(
                    format!("{to}.{table}"),
                    "no server was asked about its statement: whether the rows that move fit into \
                     the new table is not known",
                );
            }
        }
        let same_flavor = flavor.is_some() && flavor == source.flavor;
        let found = wanted.map(|w| columns::differences(&seen.definition, w, same_flavor));
        match found {
            Some(found) if !found.is_empty() => refuse_other_columns(draft, &object, &found),
            _ => {
                check_key(draft, &object, seen);
                note_nullable_vindex(draft, to, &desired.vschema, table, seen);
            }
        }
        without_cascades &= refuse_cascades(draft, &object, &seen.definition);
    }
    // Streams flow back as well.
    if without_cascades {
        refuse_cascades(draft, &format!("{to}.{table}"), statement);
    }
}
