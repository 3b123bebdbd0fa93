//! Tables. What the spec has and a shard's primary does not show is created there, after the shard
//! has its primary. What is there is compared with what a server makes of the spec's statement: only
//! an `AUTO_INCREMENT` that goes is applied, every other difference is refused with the diff. What
//! the spec has left out stays, unless it says `on_remove: drop`; a table that leaves a keyspace and
//! comes to another is a MoveTables, which is refused for now.

use std::collections::BTreeMap;

use vtplan_state::model::{KeyspaceName, ShardName, TableName};

use super::definitions::{self, Difference};
use super::draft::{Draft, Phase, rank};
use super::estimates;
use super::foreign_keys::{self, Ordered};
use super::previous::Previous;
use super::tablets::ShardWork;
use super::view::{Tables, View};
use crate::desired::{DesiredKeyspace, OnRemove};
use crate::ids;
use crate::live::{Canonical, ObservedTable};
use crate::plan::{Action, PlanError, Risk, StepId};

/// A keyspace's tables as all of its shards see them.
struct KeyspaceTables<'a> {
    ordered: Vec<Ordered<'a>>,
    /// For each of `ordered`: the spec's statement and what a server makes of it.
    wanted: Vec<(&'a str, Option<&'a Canonical>)>,
}

/// `has_primary`: for each of `shards`, whether its tables can be planned.
pub(crate) fn steps<'a>(
    view: &View<'a>,
    draft: &mut Draft,
    previous: &Previous,
    shards: &[ShardWork<'a>],
    has_primary: &[bool],
) {
    refuse_moves(view, draft, shards);
    let mut current: Option<(&KeyspaceName, KeyspaceTables)> = None;
    for (work, has_primary) in shards.iter().zip(has_primary) {
        if !has_primary {
            continue;
        }
        if current
            .as_ref()
            .is_none_or(|(name, _)| *name != work.keyspace)
        {
            current = Some((work.keyspace, of_keyspace(view, draft, work)));
        }
        let Some((_, tables)) = &current else {
            continue;
        };
        shard_steps(view, draft, previous, work, tables);
    }
}

fn of_keyspace<'a>(view: &View<'a>, draft: &mut Draft, work: &ShardWork<'a>) -> KeyspaceTables<'a> {
    let ordered = foreign_keys::in_order(work.keyspace, work.desired);
    let canonical = view.live.observed.canonical.get(work.keyspace);
    let wanted: Vec<(&str, Option<&Canonical>)> = ordered
        .iter()
        .map(|table| {
            let statement = work.desired.tables[table.name].statement.as_str();
            (statement, canonical.and_then(|c| c.get(statement)))
        })
        .collect();
    for (table, (_, canonical)) in ordered.iter().zip(&wanted) {
        if let Some(Canonical::Refused(message)) = canonical {
            draft.error(
                "statement-refused",
                format!("{}.{}", work.keyspace, table.name),
                format!("the server refuses its CREATE TABLE statement: {message}"),
                "correct the statement in the schema file",
            );
        }
    }
    KeyspaceTables { ordered, wanted }
}

fn shard_steps(
    view: &View,
    draft: &mut Draft,
    previous: &Previous,
    work: &ShardWork,
    tables: &KeyspaceTables,
) {
    let none = BTreeMap::new();
    let live = match view.tables(work.record) {
        Tables::Fresh => &none,
        Tables::Known(live) => live,
        Tables::Unknown => {
            draft.note(
                work.name(),
                "its primary's tables could not be read: nothing is planned for them",
            );
            return;
        }
    };
    for (index, (table, (statement, canonical))) in
        tables.ordered.iter().zip(&tables.wanted).enumerate()
    {
        match live.get(table.name) {
            None => create(draft, work, index, table, statement),
            Some(there) => compare(draft, work, index, table.name, statement, *canonical, there),
        }
    }
    let left_out = live
        .iter()
        .filter(|(name, _)| !work.desired.tables.contains_key(*name));
    for (index, (name, table)) in left_out.enumerate() {
        leave_or_drop(draft, previous, work, index, name, table);
    }
}

fn create(draft: &mut Draft, work: &ShardWork, index: usize, table: &Ordered, statement: &str) {
    let mut after = vec![ids::init_primary(work.keyspace, work.shard)];
    after.extend(super::primaries::reparent_id(work));
    let parents = table.after.iter();
    after.extend(parents.map(|parent| ids::create_table(work.keyspace, work.shard, parent)));
    draft.step(
        work.order(Phase::Build, rank::CREATE_TABLE, index),
        Action::CreateTable {
            keyspace: work.keyspace.clone(),
            shard: work.shard.clone(),
            table: table.name.clone(),
            statement: statement.to_owned(),
        },
        Risk::Safe,
        format!("the spec has the table {}.{}", work.keyspace, table.name),
        after,
    );
}

fn compare(
    draft: &mut Draft,
    work: &ShardWork,
    index: usize,
    name: &TableName,
    statement: &str,
    canonical: Option<&Canonical>,
    there: &ObservedTable,
) {
    let live = &there.definition;
    let (wanted, why) = match canonical {
        Some(Canonical::Definition(wanted)) => (wanted.as_str(), "differs from the schema file"),
        // Reported for the keyspace.
        Some(Canonical::Refused(_)) => return,
        None if definitions::same_text(live, statement) => return,
        None => (
            statement,
            "could not be compared with the schema file, for no server told what it makes of the \
             statement; as texts they differ",
        ),
    };
    let object = format!("{}/{}", work.keyspace, work.shard);
    match definitions::compare(live, wanted) {
        Difference::None => {}
        Difference::AutoIncrementOff(columns) if canonical.is_some() => draft.step_estimated(
            // After the gates know which sequence gives the numbers instead.
            work.order(Phase::Alter, 0, index),
            Action::AlterTable {
                keyspace: work.keyspace.clone(),
                shard: work.shard.clone(),
                table: name.clone(),
                statement: definitions::modify_columns(name.as_str(), &columns),
                before: live.clone(),
                after: wanted.to_owned(),
            },
            Risk::Disruptive,
            estimates::of_table(there, true),
            format!(
                "the schema file has no AUTO_INCREMENT in {}.{name}",
                work.keyspace
            ),
            vec![ids::apply_vschema(work.keyspace)],
        ),
        _ => draft.errors.push(PlanError {
            code: "table-differs".to_owned(),
            object: format!("{object}:{name}"),
            problem: format!("the definition of the table {why}"),
            help: format!(
                "this version does not change existing tables (but for an AUTO_INCREMENT that \
                 goes): set the schema file back, or run your own ALTER TABLE on `{object}` \
                 through a gate and plan again"
            ),
            diff: Some(definitions::diff(
                live,
                wanted,
                &format!("live {object}:{name}"),
                &format!("spec {}.{name}", work.keyspace),
            )),
        }),
    }
}

fn leave_or_drop(
    draft: &mut Draft,
    previous: &Previous,
    work: &ShardWork,
    index: usize,
    name: &TableName,
    table: &ObservedTable,
) {
    let drop = work.desired.on_remove == OnRemove::Drop
        || previous.table(work.keyspace, name) == OnRemove::Drop;
    if !drop {
        draft.note(
            format!("{}.{name}", work.keyspace),
            format!(
                "the spec has no such table; it is kept on {}. To drop it, set `on_remove: drop` \
                 for {}",
                work.shard, work.keyspace
            ),
        );
        return;
    }
    draft.step_estimated(
        work.order(Phase::Remove, rank::DROP_TABLE, index),
        Action::DropTable {
            keyspace: work.keyspace.clone(),
            shard: work.shard.clone(),
            table: name.clone(),
        },
        Risk::Destructive,
        estimates::of_table(table, false),
        format!(
            "the spec no longer has the table {}.{name}, and says on_remove: drop",
            work.keyspace
        ),
        vec![ids::apply_vschema(work.keyspace)],
    );
}

/// Ids of the steps that would make a keyspace's tables and sequences ready.
pub(crate) fn creations(work: &ShardWork) -> impl Iterator<Item = StepId> {
    let (keyspace, shard) = (work.keyspace, work.shard);
    work.desired.tables.keys().flat_map(move |table| {
        [
            ids::create_table(keyspace, shard, table),
            ids::init_sequence(keyspace, shard, table),
        ]
    })
}

/// A table that is left out of one keyspace, and is new in another.
fn refuse_moves(view: &View, draft: &mut Draft, shards: &[ShardWork]) {
    let mut leaving: BTreeMap<&TableName, &KeyspaceName> = BTreeMap::new();
    for record in view.live.records.shards.values() {
        let Tables::Known(tables) = view.tables(Some(record)) else {
            continue;
        };
        let desired = view.desired.keyspaces.get(&record.keyspace);
        for name in tables.keys() {
            if desired.is_none_or(|d| !d.tables.contains_key(name)) {
                leaving.entry(name).or_insert(&record.keyspace);
            }
        }
    }
    if leaving.is_empty() {
        return;
    }
    for (to, desired) in &view.desired.keyspaces {
        for (name, from) in &leaving {
            if desired.tables.contains_key(*name) && is_new(view, shards, to, name) {
                draft.error(
                    "move-tables-not-yet",
                    format!("{from}.{name}"),
                    format!(
                        "the table leaves the keyspace `{from}` and comes to `{to}`: this is a \
                         MoveTables, which this version cannot do yet"
                    ),
                    format!(
                        "leave the table in `{from}`; or, if `{to}.{name}` is to be another table, \
                         give it another name or drop `{from}.{name}` by hand first"
                    ),
                );
            }
        }
    }
}

/// Whether a table is on no shard of a keyspace, as far as can be seen.
fn is_new(view: &View, shards: &[ShardWork], keyspace: &KeyspaceName, table: &TableName) -> bool {
    let mut of_keyspace = shards.iter().filter(|work| work.keyspace == keyspace);
    of_keyspace.all(|work| match view.tables(work.record) {
        Tables::Fresh => true,
        Tables::Known(tables) => !tables.contains_key(table),
        Tables::Unknown => false,
    })
}

/// Rows that would go to other shards: see [`super::vschema`].
pub(crate) fn holds_table(
    view: &View,
    keyspace: &KeyspaceName,
    desired: &DesiredKeyspace,
    table: &TableName,
) -> bool {
    let shard_has = |shard: &ShardName| match view.tables(view.shard(keyspace, shard)) {
        Tables::Fresh => false,
        Tables::Known(tables) => tables.contains_key(table),
        Tables::Unknown => true,
    };
    desired.shards.iter().any(shard_has)
}
