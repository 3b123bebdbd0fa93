//! What the conductor does to `_vt` on servers; its tables are described in
//! [`crate::stream::target::vt_tables`].

use std::collections::BTreeSet;

use vtplan_state::model::{Side, WorkflowRecord};

use crate::conductor::world::Sql;
use crate::flavor::literal;
use crate::stream::target::vt_tables::shadow;

/// Nothing of epochs before the record's is committed any more where this has run.
pub fn seal_before(record: &WorkflowRecord) -> Sql {
    statements(vec![seal(
        record,
        &format!("epoch < {}", record.streams.epoch),
    )])
}

/// The workflow has ended: nothing of any epoch is committed, and no stream of it begins any more
/// where this has run.
pub fn end(record: &WorkflowRecord) -> Sql {
    let workflow = literal(&record.full_name());
    let created_at = record.created_at;
    // This row stays, until a workflow of the same name begins.
    let mark = format!(
        "INSERT INTO _vt.vreplication \
         (workflow, source_shard, epoch, created_at, fence, claim, sealed, state, message, pos) \
         VALUES ({workflow}, '', 0, {created_at}, 0, 0, 1, 'stopped', 'the workflow has ended', '') \
         ON DUPLICATE KEY UPDATE created_at = GREATEST(created_at, {created_at})"
    );
    statements(vec![mark, seal(record, "epoch > 0")])
}

fn seal(record: &WorkflowRecord, epochs: &str) -> String {
    format!(
        "UPDATE _vt.vreplication SET sealed = 1 WHERE workflow = {} AND {epochs}",
        literal(&record.full_name())
    )
}

/// Removes what there is of the workflow, but for what [`end`] has written.
pub fn forget(record: &WorkflowRecord) -> Sql {
    let workflow = literal(&record.full_name());
    let places = parking_places(record);
    let drops = places
        .chunks(DROP_AT_ONCE)
        .map(|some| format!("DROP TABLE IF EXISTS {}", some.join(", ")));
    let drops: Vec<String> = drops.collect();
    let tables = ["vreplication_worker", "copy_state", "vreplication"];
    let delete =
        |table| format!("DELETE FROM _vt.{table} WHERE workflow = {workflow} AND epoch > 0");
    statements(drops.into_iter().chain(tables.map(delete)).collect())
}

/// Tables that one statement drops.
const DROP_AT_ONCE: usize = 500;

/// Where streams of either direction may have parked rows. One that is alone in what it writes
/// to parks none.
fn parking_places(record: &WorkflowRecord) -> Vec<String> {
    let (name, begun) = (record.full_name(), record.created_at);
    let mut places = BTreeSet::new();
    for side in [Side::Source, Side::Target] {
        let shards = &record.side(side).shards;
        for shard in shards.iter().filter(|_| shards.len() > 1) {
            for table in &record.tables {
                places.insert(shadow(&name, begun, &shard.to_string(), table.as_str()));
            }
        }
    }
    places.into_iter().collect()
}

/// Finds out whether there are any of the tables on a server.
pub const EXISTS: &str = "SELECT COUNT(*) AS tables_there FROM information_schema.tables \
    WHERE table_schema = '_vt' AND table_name IN \
    ('vreplication', 'copy_state', 'vreplication_worker')";

fn statements(statements: Vec<String>) -> Sql {
    Sql {
        statements,
        foreign_key_checks: true,
    }
}
