//! Workflows in a plan: what the change of the spec was taken to mean as the headline, below it what
//! happens one after the other.

use std::time::Duration;

use vtplan_planner::desired::ApprovePoint;
use vtplan_planner::plan::{Action, Estimate, Step};
use vtplan_state::model::{Side, TabletType, WorkflowKind};

use super::step::{as_measured, list, sides, speed, workflow_of};
use super::table::rows;
use super::text::bytes_text;
use super::view::{Item, Sign};
use super::when;

/// One workflow's steps, in the order of the plan.
pub fn item(steps: &[&Step]) -> Item {
    let mut item = Item::new(Sign::Move, title(steps));
    item.detail = meaning(steps);
    if let Some(start) = steps
        .iter()
        .find(|s| matches!(s.action, Action::StartWorkflow { .. }))
    {
        item.reason.clone_from(&start.reason);
    }
    let copy = copy(steps);
    for &step in steps {
        // The start is the headline; how much there is to copy is said with the copy.
        if matches!(step.action, Action::StartWorkflow { .. }) {
            continue;
        }
        let mut child = child(step);
        if matches!(step.action, Action::WaitForCopy { .. }) {
            child.detail = format!("{}{}", size(&copy), rate(&copy));
            child.seconds = copy.seconds;
        }
        item.children.push(child);
    }
    item
}

/// `MoveTables commerce2customer`.
fn title(steps: &[&Step]) -> String {
    let kind = steps.iter().find_map(|s| match &s.action {
        Action::StartWorkflow { workflow_kind, .. }
        | Action::CompleteWorkflow { workflow_kind, .. }
        | Action::CancelWorkflow { workflow_kind, .. } => Some(*workflow_kind),
        _ => None,
    });
    let kind = match kind {
        Some(WorkflowKind::MoveTables) => "MoveTables",
        Some(WorkflowKind::Reshard) => "Reshard",
        None => "Workflow",
    };
    let name = steps.iter().find_map(|s| workflow_of(s));
    let begins = matches!(steps[0].action, Action::StartWorkflow { .. });
    match name {
        Some((_, workflow)) if begins => format!("{kind} {workflow}"),
        Some((keyspace, workflow)) => format!("{kind} {keyspace}.{workflow}"),
        None => kind.to_owned(),
    }
}

/// `corder, customer from commerce to customer`.
fn meaning(steps: &[&Step]) -> String {
    let start = steps.iter().find_map(|s| match &s.action {
        Action::StartWorkflow {
            workflow_kind,
            source,
            target,
            tables,
            ..
        } => Some(sides(*workflow_kind, source, target, tables)),
        _ => None,
    });
    start.unwrap_or_else(|| "under way".to_owned())
}

/// What is to be copied: said with the start or with the wait for it.
fn copy(steps: &[&Step]) -> Estimate {
    let mut sum = Estimate::default();
    for step in steps {
        if matches!(
            step.action,
            Action::StartWorkflow { .. } | Action::WaitForCopy { .. }
        ) {
            sum.seconds = sum.seconds.max(step.estimate.seconds);
            sum.rows = sum.rows.max(step.estimate.rows);
            sum.bytes = sum.bytes.max(step.estimate.bytes);
            sum.rate = sum.rate.or(step.estimate.rate);
        }
    }
    sum
}

/// `about 10 rows, 32.0 KiB`.
pub fn size(estimate: &Estimate) -> String {
    let rows = estimate.rows.map(rows);
    let bytes = estimate.bytes.filter(|b| *b > 0).map(bytes_text);
    let parts: Vec<String> = rows.into_iter().chain(bytes).collect();
    match parts.as_slice() {
        [] => String::new(),
        parts => format!("about {}", parts.join(", ")),
    }
}

/// ` (at 40 MiB/s, assumed)`, where it takes so long that one may ask.
fn rate(estimate: &Estimate) -> String {
    const LONG: u64 = 10;
    match &estimate.rate {
        Some(rate) if estimate.seconds >= LONG => {
            format!(" (at {}, {})", speed(rate), as_measured(rate))
        }
        _ => String::new(),
    }
}

fn child(step: &Step) -> Item {
    let (sign, title, detail) = match &step.action {
        Action::WaitForCopy { .. } => (Sign::Move, "copy".to_owned(), String::new()),
        Action::Vdiff { .. } => (
            Sign::Move,
            "VDiff".to_owned(),
            format!("all rows must be equal{}", rate(&step.estimate)),
        ),
        Action::WaitForApproval { point, .. } => (
            Sign::Keep,
            format!("waits for {}", waiting_for(*point)),
            format!("`vtplan apply --approve {}`", point.as_str()),
        ),
        Action::SwitchTraffic {
            tablet_types,
            to,
            window,
            ..
        } => {
            let verb = match to {
                Side::Target => "SwitchTraffic",
                Side::Source => "ReverseTraffic",
            };
            let mut detail = Vec::new();
            if let Some(pause) = step.estimate.write_pause_ms {
                let pause = when::duration(Duration::from_millis(pause));
                detail.push(format!("writes pause for up to {pause}"));
            }
            if let Some(window) = window
                && tablet_types.contains(&TabletType::Primary)
            {
                detail.push(format!("waits for the window {window}"));
            }
            (
                Sign::Move,
                format!("{verb} {}", list(tablet_types)),
                detail.join("; "),
            )
        }
        Action::Soak { seconds, .. } => (
            Sign::Keep,
            format!(
                "soaks for {}",
                when::duration(Duration::from_secs(*seconds))
            ),
            "traffic can be reversed meanwhile".to_owned(),
        ),
        Action::CompleteWorkflow {
            workflow_kind,
            source,
            tables,
            ..
        } => ended("Complete", *workflow_kind, tables, source.keyspace.as_str()),
        Action::CancelWorkflow {
            workflow_kind,
            target,
            tables,
            ..
        } => ended("Cancel", *workflow_kind, tables, target.keyspace.as_str()),
        _ => (Sign::Move, super::step::describe(step), String::new()),
    };
    let mut item = Item::of(step, sign, title).detail(detail);
    if sign != Sign::Delete {
        // The headline says why all of this is done.
        item.reason.clear();
    }
    if matches!(step.action, Action::Soak { .. }) {
        item.seconds = 0;
    }
    item
}

fn ended<T: ToString>(
    verb: &str,
    kind: WorkflowKind,
    tables: &[T],
    keyspace: &str,
) -> (Sign, String, String) {
    match kind {
        WorkflowKind::MoveTables => (
            Sign::Delete,
            verb.to_owned(),
            format!("drops {} in {keyspace}", list(tables)),
        ),
        WorkflowKind::Reshard => (Sign::Move, verb.to_owned(), String::new()),
    }
}

const fn waiting_for(point: ApprovePoint) -> &'static str {
    match point {
        ApprovePoint::SwitchReads => "an approval of switch_reads",
        ApprovePoint::SwitchWrites => "an approval of switch_writes",
        ApprovePoint::Complete => "an approval of complete",
    }
}
