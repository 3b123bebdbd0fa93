//! Sequences: a table that the VSchema declares a sequence gets its row with id 0, which holds the
//! next number, once the table is there. It starts above what is in the columns that take their numbers
//! from it, where their tables are older than it is.

use std::collections::BTreeMap;

use vtplan_state::model::{KeyspaceName, ShardName, TableName, VSchemaTable};

use super::draft::{Draft, Phase, rank};
use super::moves::Moves;
use super::previous::Previous;
use super::tablets::ShardWork;
use super::view::{Tables, View};
use crate::desired::Desired;
use crate::ids;
use crate::plan::{Action, NumberedColumn, Risk, SequenceRaise};

/// The first number that a new sequence gives.
const FIRST: u64 = 1;
/// How many numbers a gate takes at a time.
const CACHE: u64 = 1000;

/// Which columns take their numbers from which sequence, as the spec says.
pub(crate) struct Users<'a> {
    /// By the sequence's keyspace and table.
    of: BTreeMap<(&'a KeyspaceName, &'a TableName), Vec<Column<'a>>>,
}

/// Keyspace, table and column.
type Column<'a> = (&'a KeyspaceName, &'a str, &'a str);

impl<'a> Users<'a> {
    pub(crate) fn new(view: &View<'a>) -> Self {
        let mut of: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for (keyspace, desired) in &view.desired.keyspaces {
            for (table, declared) in &desired.vschema.tables {
                let Some(auto) = &declared.auto_increment else {
                    continue;
                };
                for sequence in named(view.desired, &auto.sequence) {
                    let user = (keyspace, table.as_str(), auto.column.as_str());
                    of.entry(sequence).or_default().push(user);
                }
            }
        }
        Self { of }
    }

    /// The columns of a sequence that hold numbers which it did not give.
    fn above(
        &self,
        view: &View,
        moves: &Moves,
        previous: &Previous,
        sequence: (&KeyspaceName, &TableName),
    ) -> Vec<NumberedColumn> {
        let users = self.of.get(&sequence).into_iter().flatten();
        let mut above: Vec<NumberedColumn> = users
            .filter_map(|(keyspace, table, column)| {
                let table = TableName::new(*table).ok()?;
                let keyspace = match moves.bringing(keyspace, table.as_str()) {
                    Some(bringing) => &bringing.losing().keyspace,
                    None if was_there(view, previous, keyspace, &table) => *keyspace,
                    None => return None,
                };
                Some(NumberedColumn {
                    keyspace: keyspace.clone(),
                    table,
                    column: (*column).to_owned(),
                })
            })
            .collect();
        above.sort();
        above
    }
}

/// Whether a table was in use before this plan.
pub(crate) fn was_there(
    view: &View,
    previous: &Previous,
    keyspace: &KeyspaceName,
    table: &TableName,
) -> bool {
    let vschema = view.live.records.vschemas.get(keyspace);
    vschema.is_some_and(|v| v.tables.contains_key(table.as_str()))
        || previous.has_table(keyspace, table)
}

/// The tables of the spec that a sequence's name means: `ks.table`, or `table` where it is unique.
pub(crate) fn named<'a>(
    desired: &'a Desired,
    sequence: &str,
) -> Vec<(&'a KeyspaceName, &'a TableName)> {
    let (of, table) = match sequence.split_once('.') {
        Some((of, table)) => (Some(of.trim_matches('`')), table.trim_matches('`')),
        None => (None, sequence.trim_matches('`')),
    };
    let found = |(name, keyspace): (&'a KeyspaceName, &'a crate::desired::DesiredKeyspace)| {
        let (table, _) = keyspace.tables.get_key_value(table)?;
        Some((name, table))
    };
    match of {
        Some(of) => {
            let keyspace = desired.keyspaces.get_key_value(of);
            keyspace.and_then(found).into_iter().collect()
        }
        None => desired.keyspaces.iter().filter_map(found).collect(),
    }
}

/// What it takes that a sequence gives no number that is in a column already.
pub(crate) fn raise(
    desired: &Desired,
    declared: &VSchemaTable,
    table: &TableName,
    holder: &KeyspaceName,
) -> Vec<SequenceRaise> {
    let Some(auto) = &declared.auto_increment else {
        return Vec::new();
    };
    let sequences = named(desired, &auto.sequence).into_iter();
    sequences
        .map(|(keyspace, sequence)| SequenceRaise {
            keyspace: keyspace.clone(),
            shard: desired.keyspaces[keyspace]
                .shards
                .first()
                .cloned()
                .unwrap_or_else(ShardName::unsharded),
            table: sequence.clone(),
            above: vec![NumberedColumn {
                keyspace: holder.clone(),
                table: table.clone(),
                column: auto.column.clone(),
            }],
        })
        .collect()
}

pub(crate) fn steps(
    view: &View,
    draft: &mut Draft,
    moves: &Moves,
    previous: &Previous,
    shards: &[ShardWork],
    has_primary: &[bool],
) {
    let users = Users::new(view);
    for (work, has_primary) in shards.iter().zip(has_primary) {
        if work.desired.is_sharded() {
            continue;
        }
        for (index, (name, table)) in work.desired.tables.iter().enumerate() {
            let declared = work.desired.vschema.tables.get(name.as_str());
            if !declared.is_some_and(|t| t.is_sequence()) {
                continue;
            }
            if !table
                .statement
                .to_ascii_lowercase()
                .contains("vitess_sequence")
            {
                draft.error(
                    "not-a-sequence",
                    format!("{}.{name}", work.keyspace),
                    "the VSchema says that the table is a sequence, and its statement does not \
                     have the comment that marks one",
                    "add COMMENT 'vitess_sequence' to its CREATE TABLE statement",
                );
                continue;
            }
            if *has_primary && !work.is_being_adopted() {
                let above = users.above(view, moves, previous, (work.keyspace, name));
                init(view, draft, work, index, name, above);
            }
        }
    }
}

fn init(
    view: &View,
    draft: &mut Draft,
    work: &ShardWork,
    index: usize,
    name: &TableName,
    above: Vec<NumberedColumn>,
) {
    let ready = match view.tables(work.record) {
        Tables::Fresh => false,
        Tables::Known(tables) => tables
            .get(name)
            .is_some_and(|table| table.sequence_ready == Some(true)),
        // Noted with the tables.
        Tables::Unknown => return,
    };
    if ready {
        return;
    }
    draft.step(
        work.order(Phase::Build, rank::INIT_SEQUENCE, index),
        Action::InitSequence {
            keyspace: work.keyspace.clone(),
            shard: work.shard.clone(),
            table: name.clone(),
            next_id: FIRST,
            cache: CACHE,
            above,
        },
        Risk::Safe,
        format!("the sequence {}.{name} has no row yet", work.keyspace),
        vec![
            ids::init_primary(work.keyspace, work.shard),
            ids::create_table(work.keyspace, work.shard, name),
        ],
    );
}
