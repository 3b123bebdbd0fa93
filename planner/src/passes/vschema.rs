//! VSchemas: applied where they differ, after the tables they speak of are there, and after the
//! sequences that they take numbers from. Another primary vindex would mean that rows are on the
//! wrong shards, so it is refused for a table that is there on several shards.

use std::borrow::Cow;
use std::collections::BTreeSet;

use vtplan_state::model::{KeyspaceName, TableName, VSchemaKeyspace, VSchemaTable, WorkflowKind};

use super::draft::{Draft, Order, Phase};
use super::lookups;
use super::moves::{Move, Moves};
use super::previous::Previous;
use super::sequences;
use super::tables::{self, holds_table};
use super::tablets::ShardWork;
use super::view::{Tables, View};
use crate::desired::DesiredKeyspace;
use crate::ids;
use crate::plan::{Action, Risk, SequenceRaise, StepId};

pub(crate) fn steps(
    view: &View,
    draft: &mut Draft,
    moves: &Moves,
    previous: &Previous,
    shards: &[ShardWork],
) {
    for (name, keyspace) in &view.desired.keyspaces {
        let before = view.live.records.vschemas.get(name);
        for (table, other) in in_advance(view, moves, previous, name, keyspace) {
            draft.note(
                format!("{name}.{table}"),
                format!(
                    "the VSchema names this table, and it is `{other}` that has it: the entry is \
                     left out until the table is here"
                ),
            );
        }
        let mut wanted = until_moves_end(view, moves, previous, name, keyspace);
        if lookups::any_to_fill(view, previous, name, keyspace) {
            lookups::close(view, previous, name, keyspace, wanted.to_mut());
        }
        if before.is_some_and(|before| is_same(before, &wanted)) {
            continue;
        }
        if let Some(before) = before.filter(|_| !moves.is_refused(name)) {
            refuse_new_primary_vindexes(view, draft, moves, name, keyspace, before);
        }
        let mut after = vec![ids::create_keyspace(name)];
        for work in shards.iter().filter(|work| work.keyspace == name) {
            after.push(ids::create_shard(name, work.shard));
            after.push(ids::init_primary(name, work.shard));
            after.extend(tables::creations(work));
        }
        after.extend(on_old_shards(moves, name));
        after.extend(sequences(view, moves, keyspace));
        after.extend(lookups::tables(view, name, keyspace));
        let late = is_late(view, moves, name);
        if late {
            after.extend(moves.reshards(name).map(Move::end_id));
        }
        let last = before.is_some_and(|before| only_loses_sequences(before, &wanted))
            && !keyspace.is_sharded()
            && moves.touching(name).next().is_none()
            && !gives_numbers(view, name);
        if let (true, Some(before)) = (last, before) {
            for user in users_of_lost(view, name, before, &wanted) {
                after.push(ids::apply_vschema(user));
                after.extend(moves.touching(user).map(Move::end_id));
            }
        }
        let phase = match (late, keyspace.is_sharded()) {
            _ if last => Phase::LastVSchemas,
            (true, _) => Phase::LateVSchemas,
            // Their sequences are in unsharded ones.
            (false, true) => Phase::ShardedVSchemas,
            (false, false) => Phase::VSchemas,
        };
        draft.step(
            Order::new(phase, 0, 0).at(view.keyspace_index(name), 0),
            Action::ApplyVschema {
                keyspace: name.clone(),
                before: before.cloned(),
                after: wanted.into_owned(),
                raise: raise(view, moves, previous, name, keyspace),
            },
            Risk::Safe,
            match before {
                None => format!("{name} has no VSchema yet"),
                Some(_) => format!("the spec has another VSchema for {name}"),
            },
            after,
        );
    }
}

/// Whether sequences go, and none comes that others may be waiting for.
fn only_loses_sequences(before: &VSchemaKeyspace, wanted: &VSchemaKeyspace) -> bool {
    let lost = |(from, to): (&VSchemaKeyspace, &VSchemaKeyspace)| {
        let mut tables = from.tables.iter();
        tables.any(|(name, table)| table.is_sequence() && !to.tables.contains_key(name))
    };
    lost((before, wanted)) && !lost((wanted, before))
}

/// Whether the spec has tables that take their numbers from sequences of a keyspace: they wait for
/// its VSchema, so it cannot wait for theirs.
fn gives_numbers(view: &View, name: &KeyspaceName) -> bool {
    let vschemas = view.desired.keyspaces.values().map(|k| &k.vschema);
    let mut columns = vschemas
        .flat_map(|vschema| vschema.tables.values())
        .filter_map(|table| table.auto_increment.as_ref());
    columns.any(|column| match column.sequence.split_once('.') {
        Some((keyspace, _)) => keyspace == name.as_str(),
        None => true,
    })
}

/// The keyspaces whose tables take their numbers from sequences that go, and that the spec has: gates
/// must not miss a sequence as long as they insert by it.
fn users_of_lost<'a>(
    view: &View<'a>,
    name: &'a KeyspaceName,
    before: &VSchemaKeyspace,
    wanted: &VSchemaKeyspace,
) -> Vec<&'a KeyspaceName> {
    let is_lost = |sequence: &str| {
        let table = match sequence.split_once('.') {
            Some((keyspace, table)) if keyspace == name.as_str() => table,
            Some(_) => return false,
            None => sequence,
        };
        before.tables.contains_key(table) && !wanted.tables.contains_key(table)
    };
    let takes = |vschema: &VSchemaKeyspace| {
        let mut tables = vschema.tables.values();
        tables.any(|table| {
            let column = table.auto_increment.as_ref();
            column.is_some_and(|column| is_lost(&column.sequence))
        })
    };
    let live = view.live.records.vschemas.iter();
    live.filter(|(user, vschema)| {
        *user != name && view.desired.keyspaces.contains_key(*user) && takes(vschema)
    })
    .map(|(user, _)| user)
    .collect()
}

/// Whether a keyspace's VSchema comes after its Reshards instead of before: where it is to be unsharded,
/// as long as rows are found, and flow, by vindexes. Where it becomes sharded it comes before: with one
/// shard serving, every row is there whatever the vindex.
pub(crate) fn is_late(view: &View, moves: &Moves, name: &KeyspaceName) -> bool {
    let live = view.live.records.vschemas.get(name);
    let desired = view.desired.keyspaces.get(name);
    let move_tables = |m: &Move| m.kind == WorkflowKind::MoveTables;
    live.is_some_and(|live| live.sharded)
        && desired.is_some_and(|d| !d.is_sharded())
        && !moves.touching(name).any(move_tables)
}

/// The spec's VSchema as it is to be while tables move: without those that have not begun to come,
/// which come with their workflow, and with those that have not gone, which go with it.
fn until_moves_end<'a>(
    view: &View<'a>,
    moves: &Moves,
    previous: &Previous,
    name: &KeyspaceName,
    keyspace: &'a DesiredKeyspace,
) -> Cow<'a, VSchemaKeyspace> {
    let mut wanted = Cow::Borrowed(&keyspace.vschema);
    for (table, _) in in_advance(view, moves, previous, name, keyspace) {
        wanted.to_mut().tables.remove(table);
    }
    let to_come = |table: &str| {
        let bringing = moves.bringing(name, table);
        bringing.is_some_and(|m| m.record.is_none())
    };
    if moves.touching(name).next().is_none() {
        return wanted;
    }
    let later: Vec<&String> = keyspace.vschema.tables.keys().collect();
    for table in later.into_iter().filter(|table| to_come(table)) {
        wanted.to_mut().tables.remove(table);
    }
    let Some(live) = view.live.records.vschemas.get(name) else {
        return wanted;
    };
    for (table, _) in moves.leaving(name) {
        let Some(entry) = live.tables.get(table.as_str()) else {
            continue;
        };
        let wanted = wanted.to_mut();
        wanted
            .tables
            .insert(table.as_str().to_owned(), entry.clone());
        for used in &entry.column_vindexes {
            if let Some(vindex) = live.vindexes.get(&used.name) {
                let known = wanted.vindexes.entry(used.name.clone());
                known.or_insert_with(|| vindex.clone());
            }
        }
    }
    wanted
}

/// Entries for tables that a keyspace does not have, and that another one of the spec has: gates would
/// find two places by one name. With each the keyspace that has it. They are left out until the tables
/// are here; what is still here of a table that leaves does not count.
fn in_advance<'a>(
    view: &View<'a>,
    moves: &Moves,
    previous: &Previous,
    name: &KeyspaceName,
    keyspace: &'a DesiredKeyspace,
) -> Vec<(&'a str, &'a KeyspaceName)> {
    let mut found = Vec::new();
    for table in keyspace.vschema.tables.keys() {
        if keyspace.tables.contains_key(table.as_str()) {
            continue;
        }
        let elsewhere = view.desired.keyspaces.iter();
        let mut elsewhere = elsewhere.filter(|(_, d)| d.tables.contains_key(table.as_str()));
        let (Some((other, _)), Ok(owned)) = (elsewhere.next(), TableName::new(table.as_str()))
        else {
            continue;
        };
        let goes = moves.taking(name, &owned).is_some()
            || tables::is_left_of_move(view, previous, name, &owned);
        if goes || !serves_table(view, name, &owned) {
            found.push((table.as_str(), other));
        }
    }
    found
}

/// Whether a shard that serves holds a table, or may hold it; what others hold is on its way out.
fn serves_table(view: &View, keyspace: &KeyspaceName, table: &TableName) -> bool {
    let mut serving = view.live.records.shards_of(keyspace).filter(|s| s.serving);
    serving.any(|record| match view.tables(Some(record)) {
        Tables::Fresh => false,
        Tables::Known(tables) => tables.contains_key(table),
        Tables::Unknown => true,
    })
}

/// Equal but for vindexes that only tables have used that are gone.
fn is_same(live: &VSchemaKeyspace, wanted: &VSchemaKeyspace) -> bool {
    if live == wanted {
        return true;
    }
    let mut live = live.clone();
    let used: BTreeSet<String> = live
        .tables
        .values()
        .flat_map(|table| &table.column_vindexes)
        .map(|vindex| vindex.name.clone())
        .collect();
    live.vindexes
        .retain(|name, _| used.contains(name) || wanted.vindexes.contains_key(name));
    live == *wanted
}

/// Steps that make what the spec adds on shards that a Reshard will take away.
fn on_old_shards(moves: &Moves, name: &KeyspaceName) -> Vec<StepId> {
    let mut steps = Vec::new();
    for reshard in moves.reshards(name).filter(|m| m.record.is_none()) {
        for shard in &reshard.source.shards {
            let tables = reshard.tables.iter();
            steps.extend(tables.map(|table| ids::create_table(name, shard, table)));
        }
    }
    steps
}

/// Sequences that tables with rows begin to take their numbers from.
fn raise(
    view: &View,
    moves: &Moves,
    previous: &Previous,
    name: &KeyspaceName,
    keyspace: &DesiredKeyspace,
) -> Vec<SequenceRaise> {
    let live = view.live.records.vschemas.get(name);
    let mut raise = Vec::new();
    for (table, declared) in &keyspace.vschema.tables {
        let before = live.and_then(|live| live.tables.get(table));
        if declared.auto_increment.is_none()
            || before.is_some_and(|before| before.auto_increment == declared.auto_increment)
            || moves.bringing(name, table).is_some()
        {
            continue;
        }
        if let Ok(table) = TableName::new(table.as_str())
            && sequences::was_there(view, previous, name, &table)
        {
            raise.extend(sequences::raise(view.desired, declared, &table, name));
        }
    }
    raise
}

/// The steps that make ready the sequences that a keyspace's tables take numbers from.
pub(crate) fn sequences(view: &View, moves: &Moves, keyspace: &DesiredKeyspace) -> Vec<StepId> {
    let mut steps = Vec::new();
    for table in keyspace.vschema.tables.values() {
        let Some(auto) = &table.auto_increment else {
            continue;
        };
        for (name, table) in sequences::named(view.desired, &auto.sequence) {
            let of = &view.desired.keyspaces[name];
            for shard in &of.shards {
                steps.push(ids::create_table(name, shard, table));
                steps.push(ids::init_sequence(name, shard, table));
            }
            if keyspace.is_sharded() && !of.is_sharded() && !is_late(view, moves, name) {
                steps.push(ids::apply_vschema(name));
            }
        }
    }
    steps
}

fn refuse_new_primary_vindexes(
    view: &View,
    draft: &mut Draft,
    moves: &Moves,
    name: &KeyspaceName,
    keyspace: &DesiredKeyspace,
    before: &VSchemaKeyspace,
) {
    let serving = view.live.records.shards_of(name).filter(|s| s.serving);
    let flowing = moves.touching(name).any(|m| m.record.is_some());
    // Where one shard has everything, any will do; but streams place rows by them.
    if !keyspace.is_sharded() || (serving.count() < 2 && !flowing) {
        return;
    }
    for (table, new) in &keyspace.vschema.tables {
        let Some(old) = before.tables.get(table) else {
            continue;
        };
        let (was, is) = (placement(before, old), placement(&keyspace.vschema, new));
        if was == is {
            continue;
        }
        let Ok(table) = TableName::new(table.as_str()) else {
            continue;
        };
        if !holds_table(view, name, &table) {
            continue;
        }
        draft.error(
            "primary-vindex-changed",
            format!("{name}.{table}"),
            format!(
                "the spec places the table's rows by {is}, and they are placed by {was}: its rows \
                 would be looked for on the wrong shards"
            ),
            "set it back; or make a keyspace with the new vindex and move the table there, by \
                 leaving it out here and putting it into the new keyspace",
        );
    }
}

/// What says on which shard a row of a table is, as text.
fn placement(vschema: &VSchemaKeyspace, table: &VSchemaTable) -> String {
    if let Some(pinned) = &table.pinned {
        return format!("pinning it to keyspace id {pinned}");
    }
    if table.is_reference() {
        return "having all of them on every shard".to_owned();
    }
    let Some(primary) = table.column_vindexes.first() else {
        return "no vindex".to_owned();
    };
    let columns: Vec<&str> = primary.column_names().collect();
    let columns = columns.join(", ");
    match vschema.vindexes.get(&primary.name) {
        None => format!("the vindex {} of {columns}", primary.name),
        Some(vindex) => {
            let params: Vec<String> = vindex
                .params
                .iter()
                .map(|(key, value)| format!(" {key}={value}"))
                .collect();
            format!("{}({columns}){}", vindex.vindex_type, params.concat())
        }
    }
}
