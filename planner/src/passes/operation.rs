//! Plans of what is asked of one workflow by hand.

use crate::live::Live;
use crate::plan::{Plan, PlanError, WorkflowOperation};

/// The plan of an operation on a workflow (`vtplan workflow switch|reverse|complete|cancel`).
/// Making it again after some steps gives the steps that are left.
pub fn make_operation_plan(
    live: &Live,
    operation: &WorkflowOperation,
) -> Result<Plan, Vec<PlanError>> {
    let WorkflowOperation {
        keyspace, workflow, ..
    } = operation;
    let known = live.records.workflow(keyspace, workflow).is_some();
    Err(vec![PlanError {
        code: "no-operation".into(),
        object: format!("{keyspace}.{workflow}"),
        problem: if known {
            "operations cannot be planned yet".into()
        } else {
            "there is no such workflow".into()
        },
        help: "`vtplan workflow list` shows the workflows that there are".into(),
        diff: None,
    }])
}
