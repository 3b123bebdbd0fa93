//! Sequences: a table that the VSchema declares a sequence gets its row with id 0, which holds the
//! next number, once the table is there.

use vtplan_state::model::TableName;

use super::draft::{Draft, Phase, rank};
use super::tablets::ShardWork;
use super::view::{Tables, View};
use crate::ids;
use crate::plan::{Action, Risk};

/// The first number that a new sequence gives.
const FIRST: u64 = 1;
/// How many numbers a gate takes at a time.
const CACHE: u64 = 1000;

pub(crate) fn steps(view: &View, draft: &mut Draft, shards: &[ShardWork], has_primary: &[bool]) {
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
            if *has_primary {
                init(view, draft, work, index, name);
            }
        }
    }
}

fn init(view: &View, draft: &mut Draft, work: &ShardWork, index: usize, name: &TableName) {
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
            above: Vec::new(),
        },
        Risk::Safe,
        format!("the sequence {}.{name} has no row yet", work.keyspace),
        vec![
            ids::init_primary(work.keyspace, work.shard),
            ids::create_table(work.keyspace, work.shard, name),
        ],
    );
}
