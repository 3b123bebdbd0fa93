//! What the conductor does to `_vt` on servers; its tables are described in
//! [`crate::stream::target::vt_tables`].

use vtplan_state::model::{Side, TableName, WorkflowRecord};

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
    // Where rows were parked, by streams of either direction.
    let shards = [Side::Source, Side::Target]
        .into_iter()
        .flat_map(|side| &record.side(side).shards);
    let parked: Vec<String> = shards
        .flat_map(|shard| {
            let of = |table: &TableName| {
                shadow(
                    &record.full_name(),
                    record.created_at,
                    &shard.to_string(),
                    table.as_str(),
                )
            };
            record.tables.iter().map(of)
        })
        .collect();
    let drop = format!("DROP TABLE IF EXISTS {}", parked.join(", "));
    let tables = ["vreplication_worker", "copy_state", "vreplication"];
    let delete =
        |table| format!("DELETE FROM _vt.{table} WHERE workflow = {workflow} AND epoch > 0");
    let drop = (!parked.is_empty()).then_some(drop);
    statements(drop.into_iter().chain(tables.map(delete)).collect())
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
