//! Approved plans and their progress.

use serde::{Deserialize, Serialize};

use super::{Revision, UnixMillis};

/// Key `plans/<id>`: written once by `apply`; only `status` (and what goes with it) changes later.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct PlanRecord {
    pub id: String,
    /// Digest of the desired state, as in [`super::SpecRecord::digest`].
    pub spec_digest: String,
    /// The desired state (`vtplan_planner::desired::Desired`) as JSON.
    pub desired: serde_json::Value,
    /// The approved plan (`vtplan_planner::plan::Plan`) as JSON.
    pub plan: serde_json::Value,
    /// Stores limit the size of a value. When this is not 0, `desired` and `plan` are null here
    /// and `{"desired": .., "plan": ..}` stands as text, cut into this many pieces, in the JSON
    /// strings `plan-chunks/<id>/0` and on.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub chunks: u32,
    /// The revision of the records the plan was made from.
    pub base_revision: Revision,
    pub approved_by: String,
    pub approved_at: UnixMillis,
    /// Whether the destructive steps were approved too.
    pub destructive_approved: bool,
    /// The plan deletes the whole cluster (`vtplan destroy`); `desired` names it and nothing else.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub destroy: bool,
    /// The plan is an operation on one workflow (`vtplan_planner::plan::WorkflowOperation` as
    /// JSON); `desired` is then the spec that was applied last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub operation: Option<serde_json::Value>,
    pub status: PlanStatus,
}

fn is_zero(n: &u32) -> bool {
    *n == 0
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "state", rename_all = "kebab-case")]
pub enum PlanStatus {
    /// To be carried out, or being carried out, by the conductor.
    Running,
    Done {
        at: UnixMillis,
    },
    /// Stopped; the message says what failed, on which object, why, what to do.
    Failed {
        at: UnixMillis,
        message: String,
    },
    /// All that can be done now is done; the rest waits for a person, for time or for a window, as
    /// the message says. Applying the spec again goes on.
    Waiting {
        at: UnixMillis,
        message: String,
    },
    /// A person asked to stop after the steps that ran.
    Stopped {
        at: UnixMillis,
    },
}

impl PlanStatus {
    pub fn is_over(&self) -> bool {
        !matches!(self, Self::Running)
    }
}

/// Key `plans/active`: there is at most one plan under way. Deleted by the conductor in the
/// transaction that ends the plan.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ActivePlan {
    pub id: String,
    pub by: String,
    pub since: UnixMillis,
}

/// Key `plans/<id>/control`: what a person asks of a running plan.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum PlanControl {
    /// Start no more steps; end when those under way have ended.
    Stop,
}

/// Key `plans/<id>/steps/<step id>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepProgress {
    pub step: String,
    pub state: StepState,
    /// What it is doing, or why it failed.
    #[serde(default)]
    pub message: String,
    pub started_at: UnixMillis,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<UnixMillis>,
    /// How many times it was started.
    pub attempt: u32,
    /// How far it has come with what can be counted, and what it took.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub work: Option<StepWork>,
}

/// Numbers of a step that copies or compares rows, or switches writes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct StepWork {
    pub rows_done: u64,
    /// An estimate until all is done; 0: not known.
    pub rows_total: u64,
    pub bytes_done: u64,
    /// As `rows_total`.
    pub bytes_total: u64,
    /// Rows of the last seconds, per second.
    pub rows_per_second: u64,
    /// How long writes were held by a switch, milliseconds; when it is over.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub write_pause_ms: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepState {
    Running,
    Done,
    Failed,
}
