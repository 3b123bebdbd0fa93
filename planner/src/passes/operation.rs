//! Plans of what is asked of one workflow by hand. A person decides here, so no approval, soak or
//! window of the spec stands in the way, and nothing is compared; all else is as in a spec's plan.

use vtplan_state::model::{Ending, Side, WorkflowRecord};

use super::digest;
use super::draft::Draft;
use super::moves::workflow_steps::Way;
use super::moves::{Move, Moves};
use super::view::View;
use crate::desired::{ChangePolicy, Desired, VDiffPolicy};
use crate::fit::Fit;
use crate::live::Live;
use crate::plan::{Operation, PLAN_FORMAT, Plan, PlanError, WorkflowOperation};

/// The plan of an operation on a workflow (`vtplan workflow switch|reverse|complete|cancel`).
/// Making it again after some steps gives the steps that are left. So a workflow that is not there
/// is done with where the operation ends it: such a plan has no steps, and a note says why.
///
/// # Errors
/// There is no such workflow to switch or reverse, or what is asked cannot be done as it stands.
pub fn make_operation_plan(
    live: &Live,
    operation: &WorkflowOperation,
) -> Result<Plan, Vec<PlanError>> {
    let desired = applied(live);
    let view = View::new(&desired, live);
    let mut draft = Draft::default();
    match live
        .records
        .workflow(&operation.keyspace, &operation.workflow)
    {
        Some(record) => steps(&view, &mut draft, record, operation),
        None => not_there(&mut draft, operation),
    }
    let (steps, notes, errors) = draft.finish();
    if !errors.is_empty() {
        return Err(errors);
    }
    let spec = live.records.spec.as_ref();
    Ok(Plan {
        format: PLAN_FORMAT,
        cluster: desired.cluster.clone(),
        spec_digest: spec.map(|spec| spec.digest.clone()).unwrap_or_default(),
        base_revision: live.records.revision,
        live_digest: digest::live_digest(live),
        steps,
        notes,
        // Nothing begins that needs more than is used.
        fit: Fit::default(),
    })
}

/// The spec that was applied last, without what asks for patience.
fn applied(live: &Live) -> Desired {
    let records = &live.records;
    let cluster = records
        .cluster
        .as_ref()
        .map(|cluster| cluster.name.as_str());
    let spec = records.spec.as_ref().map(|spec| spec.desired.clone());
    let mut desired: Desired = spec
        .and_then(|spec| serde_json::from_value(spec).ok())
        .unwrap_or_else(|| super::nothing(cluster.unwrap_or_default()));
    desired.changes = ChangePolicy {
        vdiff: VDiffPolicy::Skip,
        soak_seconds: 0,
        approve: Vec::new(),
        window: None,
        ..desired.changes
    };
    desired
}

fn not_there(draft: &mut Draft, operation: &WorkflowOperation) {
    let name = format!("{}.{}", operation.keyspace, operation.workflow);
    match operation.operation {
        Operation::Complete | Operation::Cancel => {
            draft.note(name, "there is no such workflow (any more)");
        }
        Operation::Switch | Operation::SwitchReads | Operation::Reverse => draft.error(
            "no-such-workflow",
            name,
            "there is no such workflow",
            "`vtplan workflow list` shows the workflows that there are",
        ),
    }
}

fn steps(view: &View, draft: &mut Draft, record: &WorkflowRecord, operation: &WorkflowOperation) {
    if let Some((problem, help)) = refusal(record, operation.operation) {
        draft.error(
            "operation-refused",
            record.full_name(),
            problem,
            help.replace("{}", &record.full_name()),
        );
        return;
    }
    let goal = match operation.operation {
        Operation::Switch | Operation::SwitchReads | Operation::Complete => Side::Target,
        Operation::Reverse | Operation::Cancel => Side::Source,
    };
    let moves = Moves::of(Move::of_record(record, goal));
    let mut way = Way::new(view, draft, &moves, 0);
    match operation.operation {
        Operation::Switch => {
            way.finish_switch(Some(goal));
            way.copy();
            way.reads();
            way.writes();
        }
        Operation::SwitchReads => {
            way.copy();
            way.reads();
        }
        Operation::Reverse => way.traffic_back(),
        Operation::Complete => {
            if record.ending.is_none() {
                way.writes();
            }
            way.complete();
        }
        Operation::Cancel => way.back(),
    }
}

/// Why an operation cannot be done as the workflow stands, and what to do.
fn refusal(record: &WorkflowRecord, operation: Operation) -> Option<(&'static str, &'static str)> {
    match (record.ending, operation) {
        (Some(Ending::Completing), Operation::Complete)
        | (Some(Ending::Cancelling), Operation::Cancel) => return None,
        (Some(Ending::Completing), _) => {
            return Some((
                "the workflow is being completed, and cannot turn round any more",
                "let it end with `vtplan workflow complete {}`",
            ));
        }
        (Some(Ending::Cancelling), _) => {
            return Some((
                "the workflow is being cancelled, and cannot turn round any more",
                "let it end with `vtplan workflow cancel {}`",
            ));
        }
        (None, _) => {}
    }
    let all_reads = record.traffic_state().starts_with("All Reads");
    match operation {
        Operation::Complete if record.writes == Side::Source || !all_reads => Some((
            "traffic is not at the target, which complete would make final",
            "switch it first with `vtplan workflow switch {}`",
        )),
        Operation::Cancel if record.writes == Side::Target => Some((
            "writes are at the target: what was written since the switch is not to be lost",
            "take them back first with `vtplan workflow reverse {}`",
        )),
        _ => None,
    }
}
