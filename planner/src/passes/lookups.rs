//! Lookup vindexes. One that comes to a table in use is kept by gates first and not asked; when it has
//! the rows that were there before, it is opened. So its VSchema goes out with `write_only`, and a step
//! fills and opens it. What cannot be kept right is refused.

use std::collections::BTreeSet;

use vtplan_state::model::{
    KeyspaceName, TableName, VSchemaKeyspace, VindexDefinition, WorkflowKind,
};
use vtplan_state::vindex::lookup::{self, Lookup};

use super::draft::{Draft, Order, Phase};
use super::estimates;
use super::moves::Moves;
use super::previous::Previous;
use super::view::{Tables, View};
use super::{sequences, vschema};
use crate::desired::{Desired, DesiredKeyspace};
use crate::ids;
use crate::live::ObservedTable;
use crate::plan::{Action, Risk, StepId};

const WRITE_ONLY: &str = "write_only";

/// A lookup that the spec opens and that does not have all rows yet.
struct Filling<'a> {
    lookup: &'a str,
    owner: TableName,
    definition: &'a VindexDefinition,
}

/// A lookup as a VSchema has it: what it is, of which table, by which columns.
#[derive(PartialEq)]
struct Identity<'a> {
    unique: bool,
    /// `ks.table`, the vindex's own keyspace where none is named.
    table: String,
    from: Vec<String>,
    to: String,
    owner: &'a str,
    columns: Vec<String>,
}

fn read(definition: &VindexDefinition) -> Option<Lookup> {
    lookup::read(definition).ok().flatten()
}

/// The lookup that a VSchema has under a name, for its owner.
fn identity<'a>(
    keyspace: &KeyspaceName,
    vschema: &'a VSchemaKeyspace,
    name: &str,
) -> Option<Identity<'a>> {
    let definition = vschema.vindexes.get(name)?;
    let lookup = read(definition)?;
    let owner = definition.owner.as_deref()?;
    let mut used = vschema.tables.get(owner)?.column_vindexes.iter();
    let used = used.find(|v| v.name == name)?;
    let lower = |names: Vec<String>| names.iter().map(|n| n.to_lowercase()).collect();
    let home = lookup.keyspace.as_deref().unwrap_or(keyspace.as_str());
    Some(Identity {
        unique: lookup.unique,
        table: format!("{home}.{}", lookup.table),
        from: lower(lookup.from.clone()),
        to: lookup.to.to_lowercase(),
        owner,
        columns: used.column_names().map(str::to_lowercase).collect(),
    })
}

fn is_open(vschema: &VSchemaKeyspace, name: &str) -> bool {
    let definition = vschema.vindexes.get(name);
    definition
        .and_then(read)
        .is_some_and(|lookup| !lookup.write_only)
}

/// The lookups of a keyspace that are to be filled.
fn to_fill<'a>(
    view: &View,
    previous: &Previous,
    name: &KeyspaceName,
    keyspace: &'a DesiredKeyspace,
) -> Vec<Filling<'a>> {
    let live = view.live.records.vschemas.get(name);
    let vindexes = keyspace.vschema.vindexes.iter();
    let found = vindexes.filter_map(|(vindex, definition)| {
        let wanted = identity(name, &keyspace.vschema, vindex)?;
        if !is_open(&keyspace.vschema, vindex) {
            return None;
        }
        let owner = TableName::new(wanted.owner).ok()?;
        let there = live.and_then(|live| identity(name, live, vindex));
        let fills = match (&there, live) {
            (Some(_), Some(live)) => !is_open(live, vindex),
            _ => sequences::was_there(view, previous, name, &owner) || has_rows(view, name, &owner),
        };
        fills.then_some(Filling {
            lookup: vindex,
            owner,
            definition,
        })
    });
    found.collect()
}

/// The table on the shards where it is seen.
fn seen<'a>(
    view: &'a View<'a>,
    keyspace: &'a KeyspaceName,
    table: &'a TableName,
) -> impl Iterator<Item = &'a ObservedTable> {
    let shards = view.live.records.shards_of(keyspace);
    shards.filter_map(move |record| {
        let Tables::Known(tables) = view.tables(Some(record)) else {
            return None;
        };
        tables.get(table)
    })
}

fn has_rows(view: &View, keyspace: &KeyspaceName, table: &TableName) -> bool {
    seen(view, keyspace, table).any(|table| table.rows > 0)
}

/// Keeps the lookups that are to be filled closed.
pub(crate) fn close(
    view: &View,
    previous: &Previous,
    name: &KeyspaceName,
    keyspace: &DesiredKeyspace,
    wanted: &mut VSchemaKeyspace,
) {
    for filling in to_fill(view, previous, name, keyspace) {
        let definition = closed(filling.definition);
        wanted
            .vindexes
            .insert(filling.lookup.to_owned(), definition);
    }
}

fn closed(definition: &VindexDefinition) -> VindexDefinition {
    let mut closed = definition.clone();
    let write_only = (WRITE_ONLY.to_owned(), "true".to_owned());
    closed.params.extend([write_only]);
    closed
}

/// Whether any lookup of a keyspace is to be filled.
pub(crate) fn any_to_fill(
    view: &View,
    previous: &Previous,
    name: &KeyspaceName,
    keyspace: &DesiredKeyspace,
) -> bool {
    !to_fill(view, previous, name, keyspace).is_empty()
}

/// Steps that make the tables of a keyspace's lookups ready.
pub(crate) fn tables(view: &View, name: &KeyspaceName, keyspace: &DesiredKeyspace) -> Vec<StepId> {
    let mut steps = Vec::new();
    for definition in keyspace.vschema.vindexes.values() {
        let Some((home, table)) = home(view.desired, name, definition) else {
            continue;
        };
        let Some(desired) = view.desired.keyspaces.get(home) else {
            continue;
        };
        for shard in &desired.shards {
            steps.push(ids::create_table(home, shard, &table));
        }
        // Of two sharded ones either may be the first.
        if home != name && keyspace.is_sharded() && !desired.is_sharded() {
            steps.push(ids::apply_vschema(home));
        }
    }
    steps
}

/// The keyspace of the spec, and the table, that a lookup is in.
fn home<'a>(
    desired: &'a Desired,
    own: &'a KeyspaceName,
    definition: &VindexDefinition,
) -> Option<(&'a KeyspaceName, TableName)> {
    let lookup = read(definition)?;
    let table = TableName::new(lookup.table.as_str()).ok()?;
    if let Some(keyspace) = &lookup.keyspace {
        let (name, _) = desired.keyspaces.get_key_value(keyspace.as_str())?;
        return Some((name, table));
    }
    let has =
        |(_, k): &(&KeyspaceName, &DesiredKeyspace)| k.vschema.tables.contains_key(table.as_str());
    let own_has = desired.keyspaces.get(own).is_some_and(|k| has(&(own, k)));
    let found = match own_has {
        true => own,
        false => desired
            .keyspaces
            .iter()
            .find(has)
            .map_or(own, |(name, _)| name),
    };
    Some((found, table))
}

/// The VSchemas that have to go before a table does, because gates would write to it.
pub(crate) fn keepers(view: &View, keyspace: &KeyspaceName, table: &TableName) -> Vec<StepId> {
    let live = view.live.records.vschemas.iter();
    let keeps = live.filter(|(name, vschema)| {
        let mut lookups = vschema.vindexes.values().filter_map(read);
        lookups.any(|lookup| {
            let home = lookup.keyspace.as_deref().unwrap_or(name.as_str());
            lookup.table == table.as_str() && home == keyspace.as_str()
        })
    });
    keeps.map(|(name, _)| ids::apply_vschema(name)).collect()
}

/// Refuses changes that lookups could not follow, and moves of tables that have some.
pub(crate) fn refuse(view: &View, draft: &mut Draft, moves: &Moves) {
    for (name, keyspace) in &view.desired.keyspaces {
        let Some(live) = view.live.records.vschemas.get(name) else {
            continue;
        };
        for vindex in keyspace.vschema.vindexes.keys() {
            let (was, is) = (
                identity(name, live, vindex),
                identity(name, &keyspace.vschema, vindex),
            );
            if let (Some(was), Some(is)) = (was, is)
                && was != is
            {
                draft.error(
                    "lookup-changed",
                    format!("{name}.{vindex}"),
                    format!(
                        "the spec makes it a lookup of {} by {} in {}, and it is one of {} by {} in {}: \
                         what it holds would not be right",
                        is.owner,
                        is.columns.join(", "),
                        is.table,
                        was.owner,
                        was.columns.join(", "),
                        was.table
                    ),
                    "take it out of the spec, with its place among the table's vindexes, and apply that; \
                     then add it as it is to be. Or give the new one another name",
                );
            }
        }
    }
    for one in moves.all() {
        if one.kind != WorkflowKind::MoveTables {
            continue;
        }
        let sides = [&one.source.keyspace, &one.target.keyspace];
        for table in &one.tables {
            if let Some(lookup) = sides.iter().find_map(|side| lookup_of(view, side, table)) {
                draft.error(
                    "lookup-moves",
                    format!("{}.{table}", one.source.keyspace),
                    format!(
                        "the table moves, and lookup {lookup} is about it: streams keep no lookups, so rows would \
                         not be found by it"
                    ),
                    "take the lookup out of the spec and apply that, move the table, and add the lookup \
                     after the move",
                );
            }
        }
    }
}

/// A lookup that is of a table, or that a table holds, as it is or is to be.
fn lookup_of(view: &View, keyspace: &KeyspaceName, table: &TableName) -> Option<String> {
    let live = view.live.records.vschemas.iter();
    let desired = view.desired.keyspaces.iter();
    let all: Vec<(&KeyspaceName, &VSchemaKeyspace)> = live
        .chain(desired.map(|(name, k)| (name, &k.vschema)))
        .collect();
    for (name, vschema) in all {
        let entry = vschema.tables.get(table.as_str());
        let used: BTreeSet<&str> = entry
            .filter(|_| name == keyspace)
            .into_iter()
            .flat_map(|entry| &entry.column_vindexes)
            .map(|v| v.name.as_str())
            .collect();
        for (vindex, definition) in &vschema.vindexes {
            let Some(lookup) = read(definition) else {
                continue;
            };
            let home = lookup.keyspace.as_deref().unwrap_or(name.as_str());
            let holds = lookup.table == table.as_str() && home == keyspace.as_str();
            if holds || used.contains(vindex.as_str()) {
                return Some(format!("{name}.{vindex}"));
            }
        }
    }
    None
}

/// Fills lookups and opens them.
pub(crate) fn steps(view: &View, draft: &mut Draft, moves: &Moves, previous: &Previous) {
    for (name, keyspace) in &view.desired.keyspaces {
        if !keyspace.is_sharded() || vschema::is_late(view, moves, name) {
            continue;
        }
        let fillings = to_fill(view, previous, name, keyspace).into_iter();
        for (index, filling) in fillings.enumerate() {
            let mut after = vec![ids::apply_vschema(name)];
            after.extend(moves.touching(name).map(|m| m.end_id()));
            if let Some((home, _)) = home(view.desired, name, filling.definition) {
                after.push(ids::apply_vschema(home));
                after.extend(moves.touching(home).map(|m| m.end_id()));
            }
            let size = seen(view, name, &filling.owner);
            let estimate = estimates::of_filling(size);
            draft.step_estimated(
                Order::new(Phase::Lookups, 0, index).at(view.keyspace_index(name), 0),
                Action::BackfillLookup {
                    keyspace: name.clone(),
                    lookup: filling.lookup.to_owned(),
                    table: filling.owner.clone(),
                    before: closed(filling.definition),
                    after: filling.definition.clone(),
                },
                Risk::Disruptive,
                estimate,
                format!(
                    "the lookup {name}.{} does not have the rows that {} had before it",
                    filling.lookup, filling.owner
                ),
                after,
            );
        }
    }
}
