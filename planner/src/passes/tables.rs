//! Tables. What the spec has and a shard's primary does not show is created there, after the shard
//! has its primary. What is there is compared with what a server makes of the spec's statement: only
//! an `AUTO_INCREMENT` that goes is applied, every other difference is refused with the diff. What
//! the spec has left out stays, unless it says `on_remove: drop`, or moves to another keyspace. Tables
//! on the move keep their definition, and a keyspace that is being resharded its tables.

use std::collections::BTreeMap;

use vtplan_state::model::{KeyspaceName, TableName};

use super::alteration;
use super::definitions::{self, Difference};
use super::draft::{Draft, Phase, rank};
use super::estimates;
use super::foreign_keys::{self, Ordered};
use super::moves::{Moves, leftovers};
use super::origin;
use super::previous::Previous;
use super::tablets::ShardWork;
use super::texts::{self, TextDifference};
use super::view::{Tables, View};
use crate::desired::OnRemove;
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
    moves: &Moves,
    previous: &Previous,
    shards: &[ShardWork<'a>],
    has_primary: &[bool],
) {
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
        shard_steps(view, draft, moves, previous, work, tables);
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
    moves: &Moves,
    previous: &Previous,
    work: &ShardWork,
    tables: &KeyspaceTables,
) {
    if work.is_being_adopted() {
        draft.note(
            work.name(),
            "its tables are compared with the schema files once its servers are adopted",
        );
        return;
    }
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
    let stale = leftovers::stale(view, moves, work.keyspace, work.shard);
    for (index, (table, (statement, canonical))) in
        tables.ordered.iter().zip(&tables.wanted).enumerate()
    {
        let there = live.get(table.name);
        match there.filter(|_| !stale.contains_key(table.name)) {
            None => {
                refuse_while_moving(draft, moves, work, table.name, "adds");
                create(draft, work, index, table, statement);
            }
            Some(there) => {
                let steps = draft.len();
                let by_hand =
                    origin::same_statement(view.desired, previous, work.keyspace, table.name);
                let wanted = Wanted {
                    statement,
                    canonical: *canonical,
                    by_hand,
                };
                compare(view, draft, work, index, table.name, &wanted, there);
                if draft.len() > steps {
                    refuse_while_moving(draft, moves, work, table.name, "changes");
                }
            }
        }
    }
    let left_out = live
        .iter()
        .filter(|(name, _)| !work.desired.tables.contains_key(*name))
        .filter(|(name, _)| moves.taking(work.keyspace, name).is_none())
        .filter(|(name, _)| !stale.contains_key(name));
    for (index, (name, table)) in left_out.enumerate() {
        if let Some(why) = may_drop(view, previous, work, name, table) {
            refuse_while_moving(draft, moves, work, name, "drops");
            drop_table(view, draft, work, index, name, table, why);
        } else {
            draft.note(
                format!("{}.{name}", work.keyspace),
                format!(
                    "the spec has no such table; it is kept on {}. To drop it, set `on_remove: \
                     drop` for {}",
                    work.shard, work.keyspace
                ),
            );
        }
    }
}

fn create(draft: &mut Draft, work: &ShardWork, index: usize, table: &Ordered, statement: &str) {
    let mut after = vec![ids::init_primary(work.keyspace, work.shard)];
    after.extend(super::primaries::reparent_id(work));
    after.push(ids::drop_table(work.keyspace, work.shard, table.name));
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

/// What a table should be.
struct Wanted<'a> {
    statement: &'a str,
    /// What a server makes of it.
    canonical: Option<&'a Canonical>,
    /// It was applied so before: what differs was changed by hand.
    by_hand: bool,
}

fn compare(
    view: &View,
    draft: &mut Draft,
    work: &ShardWork,
    index: usize,
    name: &TableName,
    wanted: &Wanted,
    there: &ObservedTable,
) {
    let live = &there.definition;
    let Wanted {
        statement,
        canonical,
        by_hand,
    } = *wanted;
    let (wanted, why) = match canonical {
        Some(Canonical::Definition(wanted)) => (wanted.as_str(), "differs from the schema file"),
        // Reported for the keyspace.
        Some(Canonical::Refused(_)) => return,
        None if definitions::same_text(live, statement) => return,
        None if view.live.observed.no_servers => {
            compare_texts(view, draft, work, index, name, statement, there);
            return;
        }
        None => (
            statement,
            "could not be compared with the schema file, for no server told what it makes of the \
             statement; as texts they differ",
        ),
    };
    let object = format!("{}/{}", work.keyspace, work.shard);
    let difference = definitions::compare(live, wanted);
    if by_hand
        && canonical.is_some()
        && difference == Difference::Other
        && let Some(back) = alteration::between(name.as_str(), live, wanted)
    {
        draft.step_estimated(
            work.order(Phase::Alter, 0, index),
            Action::AlterTable {
                keyspace: work.keyspace.clone(),
                shard: work.shard.clone(),
                table: name.clone(),
                statement: back.statement,
                before: live.clone(),
                after: wanted.to_owned(),
            },
            if back.loses {
                Risk::Destructive
            } else {
                Risk::Disruptive
            },
            estimates::of_table(there, true),
            format!("{object}:{name} was changed by hand since the spec was applied"),
            vec![ids::apply_vschema(work.keyspace)],
        );
        return;
    }
    match difference {
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

/// Where no server can be asked what it makes of the statement.
fn compare_texts(
    view: &View,
    draft: &mut Draft,
    work: &ShardWork,
    index: usize,
    name: &TableName,
    statement: &str,
    there: &ObservedTable,
) {
    let object = format!("{}.{name}", work.keyspace);
    let Some(old) = texts::statement_of(view, work.keyspace, &there.definition) else {
        draft.note(
            object,
            "no server was asked about its statement, and as a text that cannot be compared with \
             what is there: whether the table is what the schema file says is not known",
        );
        return;
    };
    match texts::compare(old, statement) {
        TextDifference::None => {
            draft.note(object, "its statement was compared as a text only");
        }
        TextDifference::AutoIncrementOff(column) => {
            draft.note(object, "its statement was compared as a text only");
            draft.step_estimated(
                work.order(Phase::Alter, 0, index),
                Action::AlterTable {
                    keyspace: work.keyspace.clone(),
                    shard: work.shard.clone(),
                    table: name.clone(),
                    statement: definitions::modify_columns(name.as_str(), &[column]),
                    before: old.to_owned(),
                    after: statement.to_owned(),
                },
                Risk::Disruptive,
                estimates::of_table(there, true),
                format!(
                    "the schema file has no AUTO_INCREMENT in {}.{name}",
                    work.keyspace
                ),
                vec![ids::apply_vschema(work.keyspace)],
            );
        }
        TextDifference::Other => {
            let shard = format!("{}/{}", work.keyspace, work.shard);
            draft.errors.push(PlanError {
                code: "table-differs".to_owned(),
                object: format!("{shard}:{name}"),
                problem: "the statement in the schema file is another one than the table was made \
                          by (compared as texts)"
                    .to_owned(),
                help: format!(
                    "this version does not change existing tables (but for an AUTO_INCREMENT that \
                     goes): set the schema file back, or run your own ALTER TABLE on `{shard}` \
                     through a gate and plan again"
                ),
                diff: Some(definitions::diff(
                    old,
                    statement,
                    &format!("applied {object}"),
                    &format!("spec {object}"),
                )),
            });
        }
    }
}

/// Streams know their tables as they were when the workflow began.
fn refuse_while_moving(
    draft: &mut Draft,
    moves: &Moves,
    work: &ShardWork,
    table: &TableName,
    change: &str,
) {
    let of_tables = moves
        .bringing(work.keyspace, table.as_str())
        .or_else(|| moves.taking(work.keyspace, table));
    let running = moves
        .of_shard(work.keyspace, work.shard)
        .or(of_tables)
        .filter(|m| m.record.is_some());
    if let Some(running) = running {
        draft.error(
            "workflow-conflict",
            running.full_name(),
            format!(
                "the spec {change} the table {}.{table} while this workflow moves data",
                work.keyspace
            ),
            super::moves::inference::ways_out(running),
        );
    }
}

/// Why a table that the spec has left out may be dropped, if it may.
fn may_drop(
    view: &View,
    previous: &Previous,
    work: &ShardWork,
    name: &TableName,
    table: &ObservedTable,
) -> Option<&'static str> {
    if work.desired.on_remove == OnRemove::Drop
        || previous.table(work.keyspace, name) == OnRemove::Drop
    {
        return Some("and says on_remove: drop");
    }
    let made_for_move = table.rows == 0 && is_left_of_move(view, previous, work.keyspace, name);
    made_for_move.then_some(
        "and it is the empty one that a MoveTables, taken back before it began, had made",
    )
}

/// Whether a table that the spec has in another keyspace, which holds it, is what a MoveTables that was
/// taken back before it began has made, if it is empty: neither a spec that was applied had it here, nor
/// do gates know it.
pub(crate) fn is_left_of_move(
    view: &View,
    previous: &Previous,
    keyspace: &KeyspaceName,
    name: &TableName,
) -> bool {
    previous.is_known()
        && !super::sequences::was_there(view, previous, keyspace, name)
        && is_empty(view, keyspace, name)
        && view.desired.keyspaces.iter().any(|(other, desired)| {
            other != keyspace && desired.tables.contains_key(name) && holds_table(view, other, name)
        })
}

/// Whether no shard of a keyspace is seen to have rows of a table.
fn is_empty(view: &View, keyspace: &KeyspaceName, table: &TableName) -> bool {
    let mut shards = view.live.records.shards_of(keyspace);
    shards.all(|record| match view.tables(Some(record)) {
        Tables::Fresh => true,
        Tables::Known(tables) => tables.get(table).is_none_or(|seen| seen.rows == 0),
        Tables::Unknown => false,
    })
}

fn drop_table(
    view: &View,
    draft: &mut Draft,
    work: &ShardWork,
    index: usize,
    name: &TableName,
    table: &ObservedTable,
    why: &str,
) {
    let mut after = vec![ids::apply_vschema(work.keyspace)];
    after.extend(super::lookups::keepers(view, work.keyspace, name));
    draft.step_estimated(
        work.order(Phase::Remove, rank::DROP_TABLE, index),
        Action::DropTable {
            keyspace: work.keyspace.clone(),
            shard: work.shard.clone(),
            table: name.clone(),
            before: table.definition.clone(),
        },
        Risk::Destructive,
        estimates::of_table(table, false),
        format!(
            "the spec no longer has the table {}.{name}, {why}",
            work.keyspace
        ),
        after,
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

/// Whether a shard of a keyspace holds a table, or may hold it.
pub(crate) fn holds_table(view: &View, keyspace: &KeyspaceName, table: &TableName) -> bool {
    let mut shards = view.live.records.shards_of(keyspace);
    shards.any(|record| match view.tables(Some(record)) {
        Tables::Fresh => false,
        Tables::Known(tables) => tables.contains_key(table),
        Tables::Unknown => true,
    })
}
