//! What the conductor does to `_vt` on servers; its tables are described in
//! [`crate::stream::target::vt_tables`].

use vtplan_state::model::WorkflowRecord;

use crate::conductor::world::Sql;
use crate::flavor::literal;

/// Nothing of epochs before the record's is committed any more where this has run.
pub fn seal_before(record: &WorkflowRecord) -> Sql {
    statements(vec![seal(
        record,
        &format!("epoch < {}", record.streams.epoch),
    )])
}

/// Nothing of any epoch is committed any more where this has run.
pub fn seal_all(record: &WorkflowRecord) -> Sql {
    statements(vec![seal(
        record,
        &format!("epoch <= {}", record.streams.epoch),
    )])
}

fn seal(record: &WorkflowRecord, epochs: &str) -> String {
    format!(
        "UPDATE _vt.vreplication SET sealed = 1 WHERE workflow = {} AND {epochs}",
        literal(&record.full_name())
    )
}

/// Removes all that there is of the workflow.
pub fn forget(record: &WorkflowRecord) -> Sql {
    let workflow = literal(&record.full_name());
    let tables = ["vreplication_worker", "copy_state", "vreplication"];
    let delete = |table| format!("DELETE FROM _vt.{table} WHERE workflow = {workflow}");
    statements(tables.map(delete).to_vec())
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
