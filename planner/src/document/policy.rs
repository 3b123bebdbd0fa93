//! What a plan asks of people and of time, and what it takes the change of the spec for.

use std::collections::BTreeMap;

use serde::Serialize;
use vtplan_state::model::{KeyspaceName, WorkflowKind, WorkflowName};

use crate::desired::ApprovePoint;
use crate::plan::{Action, Origin, Plan, Risk, Step};
use crate::words::{sides, workflow_of};

/// What must be approved beside the plan as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovalFor {
    /// Steps that delete data.
    Destructive,
    /// Steps that take back what was done by hand.
    Drift,
    /// Points of `changes.approve`.
    SwitchReads,
    SwitchWrites,
    Complete,
}

impl From<ApprovePoint> for ApprovalFor {
    fn from(point: ApprovePoint) -> Self {
        match point {
            ApprovePoint::SwitchReads => Self::SwitchReads,
            ApprovePoint::SwitchWrites => Self::SwitchWrites,
            ApprovePoint::Complete => Self::Complete,
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Approval {
    #[serde(rename = "for")]
    pub for_: ApprovalFor,
    pub why: String,
    /// How it is given.
    pub how: String,
    /// Ids of the steps.
    pub steps: Vec<String>,
}

/// The approval that a step needs beside that of the whole plan.
pub fn needs_approval(step: &Step) -> Option<ApprovalFor> {
    match &step.action {
        Action::WaitForApproval { point, .. } => Some((*point).into()),
        _ if step.risk == Risk::Destructive => Some(ApprovalFor::Destructive),
        _ if step.origin == Origin::Drift => Some(ApprovalFor::Drift),
        _ => None,
    }
}

/// All approvals, those of destructive steps first.
pub fn approvals(plan: &Plan) -> Vec<Approval> {
    let mut by: BTreeMap<ApprovalFor, Vec<String>> = BTreeMap::new();
    for step in &plan.steps {
        if let Some(for_) = needs_approval(step) {
            by.entry(for_).or_default().push(step.id.clone());
            // One that deletes data needs both.
            if step.origin == Origin::Drift && for_ != ApprovalFor::Drift {
                let drift = by.entry(ApprovalFor::Drift).or_default();
                drift.push(step.id.clone());
            }
        }
    }
    let point = |point: ApprovePoint| {
        let name = point.as_str();
        (
            format!("the spec says so: `{name}` is in `changes.approve`"),
            format!("`vtplan apply SPEC --approve {name}`, once the workflow has come there"),
        )
    };
    by.into_iter()
        .map(|(for_, steps)| {
            let (why, how) = match for_ {
                ApprovalFor::Destructive => (
                    "these steps delete data".to_owned(),
                    "`vtplan apply` asks for it; where it does not ask (`--auto-approve`), with \
                     `--approve-destructive`"
                        .to_owned(),
                ),
                ApprovalFor::Drift => (
                    "these steps take back what was changed by hand".to_owned(),
                    "`vtplan apply` asks for it; where it does not ask (`--auto-approve`), with \
                     `--approve-drift`"
                        .to_owned(),
                ),
                ApprovalFor::SwitchReads => point(ApprovePoint::SwitchReads),
                ApprovalFor::SwitchWrites => point(ApprovePoint::SwitchWrites),
                ApprovalFor::Complete => point(ApprovePoint::Complete),
            };
            Approval {
                for_,
                why,
                how,
                steps,
            }
        })
        .collect()
}

/// A step at which the plan waits for a person, for time or for a window.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Wait {
    pub step: String,
    /// `approval`, `soak`, `window`.
    #[serde(rename = "for")]
    pub for_: &'static str,
    /// `customer.commerce2customer`.
    pub workflow: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub point: Option<ApprovePoint>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub seconds: Option<u64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
}

pub fn waits(plan: &Plan) -> Vec<Wait> {
    let wait = |step: &Step, for_| {
        let (keyspace, workflow) = workflow_of(step)?;
        Some(Wait {
            step: step.id.clone(),
            for_,
            workflow: format!("{keyspace}.{workflow}"),
            point: None,
            seconds: None,
            window: None,
        })
    };
    let of = |step: &Step| match &step.action {
        Action::WaitForApproval { point, .. } => Some(Wait {
            point: Some(*point),
            ..wait(step, "approval")?
        }),
        Action::Soak { seconds, .. } => Some(Wait {
            seconds: Some(*seconds),
            ..wait(step, "soak")?
        }),
        Action::SwitchTraffic {
            window: Some(window),
            ..
        } => Some(Wait {
            window: Some(window.clone()),
            ..wait(step, "window")?
        }),
        _ => None,
    };
    plan.steps.iter().filter_map(of).collect()
}

/// What the change of the spec was taken to mean, where that is more than the steps themselves say.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Inferred {
    /// `move_tables`, `reshard`; null where only a middle part of a workflow is left.
    pub meaning: Option<WorkflowKind>,
    /// `customer.commerce2customer`.
    pub workflow: String,
    /// Whether the workflow began before this plan.
    pub under_way: bool,
    /// For people: `customer from commerce to customer`.
    pub text: String,
    /// Why it was taken for this.
    pub reason: String,
    /// Ids of the steps.
    pub steps: Vec<String>,
}

pub fn inferred(plan: &Plan) -> Vec<Inferred> {
    let mut workflows: BTreeMap<(&KeyspaceName, &WorkflowName), Vec<&Step>> = BTreeMap::new();
    for step in &plan.steps {
        if let Some(workflow) = workflow_of(step) {
            workflows.entry(workflow).or_default().push(step);
        }
    }
    workflows
        .into_iter()
        .map(|((keyspace, workflow), steps)| {
            let meaning = steps.iter().find_map(|step| match &step.action {
                Action::StartWorkflow { workflow_kind, .. }
                | Action::CompleteWorkflow { workflow_kind, .. }
                | Action::CancelWorkflow { workflow_kind, .. } => Some(*workflow_kind),
                _ => None,
            });
            let text = steps.iter().find_map(|step| match &step.action {
                Action::StartWorkflow {
                    workflow_kind,
                    source,
                    target,
                    tables,
                    ..
                } => Some(sides(*workflow_kind, source, target, tables)),
                _ => None,
            });
            Inferred {
                meaning,
                workflow: format!("{keyspace}.{workflow}"),
                under_way: text.is_none(),
                text: text.unwrap_or_else(|| "under way".to_owned()),
                reason: steps.first().map(|s| s.reason.clone()).unwrap_or_default(),
                steps: steps.iter().map(|s| s.id.clone()).collect(),
            }
        })
        .collect()
}
