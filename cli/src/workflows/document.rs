//! Workflows as JSON. Stable: fields are only added.

use serde::Serialize;
use vtplan_agent::proto::v1;
use vtplan_planner::plan::StepId;
use vtplan_state::model::{
    Ending, KeyspaceName, ShardName, Side, SwitchPhase, TableName, UnixMillis, VDiffRecord,
    VDiffState, WorkflowKind, WorkflowRecord, WorkflowSide,
};

use crate::waits::WaitDocument;

/// A workflow, by its record alone.
#[derive(Debug, Clone, Serialize)]
pub struct WorkflowDocument {
    /// `customer.commerce2customer`.
    pub name: String,
    pub kind: WorkflowKind,
    pub source: WorkflowSide,
    pub target: WorkflowSide,
    pub tables: Vec<TableName>,
    pub state: State,
    /// In Vitess's words: `All Reads Switched. Writes Not Switched`.
    pub traffic_state: String,
    /// While writes are at the target: what flows back, `commerce.commerce2customer_reverse`.
    pub reverse_workflow: Option<String>,
    pub writes: Side,
    pub copied: bool,
    pub paused: bool,
    pub vdiff_passed: bool,
    pub approved: Vec<String>,
    pub created_at: UnixMillis,
    pub switched_at: Option<UnixMillis>,
    pub switch: Option<SwitchDocument>,
    /// Why the last switch was undone.
    pub switch_failure: Option<String>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum State {
    Copying,
    /// All rows are copied; what changes follows.
    Following,
    /// By hand.
    Paused,
    /// Streams stand still for another reason.
    Stopped,
    /// Writes are being switched.
    Switching,
    Completing,
    Cancelling,
}

impl State {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Copying => "copying",
            Self::Following => "following",
            Self::Paused => "paused",
            Self::Stopped => "stopped",
            Self::Switching => "switching",
            Self::Completing => "completing",
            Self::Cancelling => "cancelling",
        }
    }

    fn of(workflow: &WorkflowRecord) -> Self {
        match (workflow.ending, &workflow.switch) {
            (Some(Ending::Completing), _) => Self::Completing,
            (Some(Ending::Cancelling), _) => Self::Cancelling,
            (None, Some(_)) => Self::Switching,
            (None, None) if workflow.paused => Self::Paused,
            (None, None) if !workflow.streams.running => Self::Stopped,
            (None, None) if !workflow.copied => Self::Copying,
            (None, None) => Self::Following,
        }
    }
}

#[derive(Debug, Clone, Serialize)]
pub struct SwitchDocument {
    pub to: Side,
    pub phase: SwitchPhase,
    pub started_at: UnixMillis,
}

impl WorkflowDocument {
    pub fn new(workflow: &WorkflowRecord) -> Self {
        let reverse = workflow.writes == Side::Target;
        Self {
            name: workflow.full_name(),
            kind: workflow.kind,
            source: workflow.source.clone(),
            target: workflow.target.clone(),
            tables: workflow.tables.clone(),
            state: State::of(workflow),
            traffic_state: workflow.traffic_state(),
            reverse_workflow: reverse
                .then(|| format!("{}.{}", workflow.source.keyspace, workflow.reverse_name())),
            writes: workflow.writes,
            copied: workflow.copied,
            paused: workflow.paused,
            vdiff_passed: workflow.vdiff_passed,
            approved: workflow.approved.iter().cloned().collect(),
            created_at: workflow.created_at,
            switched_at: workflow.switched_at,
            switch: workflow.switch.as_ref().map(|switch| SwitchDocument {
                to: switch.to,
                phase: switch.phase,
                started_at: switch.started_at,
            }),
            switch_failure: workflow.switch_failure.clone(),
        }
    }
}

/// All that is known of one workflow.
#[derive(Debug, Serialize)]
pub struct WholeDocument {
    /// Of this JSON.
    pub format: u32,
    pub cluster: String,
    pub workflow: WorkflowDocument,
    pub streams: Vec<StreamDocument>,
    /// Routing rules about the workflow's tables.
    pub routing_rules: Vec<vtplan_state::model::RoutingRule>,
    /// The newest comparison.
    pub vdiff: Option<VDiffDocument>,
    /// Steps of the plan under way that are about it.
    pub steps: Vec<StepDocument>,
    /// What the last plan ended on.
    pub waits: Vec<WaitDocument>,
}

#[derive(Debug, Serialize)]
pub struct StepDocument {
    pub id: StepId,
    /// In words.
    pub what: String,
    pub message: String,
}

/// A stream: from one shard to all of the other side. Counts are sums over its tables.
#[derive(Debug, Default, Serialize)]
pub struct StreamDocument {
    pub from: String,
    pub epoch: u64,
    /// As the agent tells: `starting`, `copying`, `following`, `stopped`, `error`; `unseen` when no
    /// agent that answers runs it.
    pub state: String,
    /// The host whose agent runs it.
    pub host: Option<String>,
    /// The tablet that it reads from.
    pub source_tablet: Option<String>,
    pub rows_copied: u64,
    pub rows_total: u64,
    pub bytes_copied: u64,
    pub bytes_total: u64,
    pub rows_per_second: u64,
    pub bytes_per_second: u64,
    /// Of the copy.
    pub seconds_left: Option<u64>,
    pub lag_ms: Option<u64>,
    /// Why it goes slower than it could.
    pub throttled: Option<String>,
    /// The last error, or why it stands still.
    pub message: Option<String>,
    pub targets: Vec<TargetDocument>,
    pub tables: Vec<TableDocument>,
}

#[derive(Debug, Serialize)]
pub struct TargetDocument {
    pub shard: String,
    pub tablet: Option<String>,
    /// GTID set of the side that is read.
    pub position: String,
    pub lag_ms: Option<u64>,
}

#[derive(Debug, Serialize)]
pub struct TableDocument {
    pub table: String,
    pub rows_copied: u64,
    pub rows_total: u64,
    pub bytes_copied: u64,
    pub bytes_total: u64,
    pub copied: bool,
}

impl StreamDocument {
    pub fn unseen(keyspace: &KeyspaceName, shard: &ShardName, epoch: u64) -> Self {
        Self {
            from: format!("{keyspace}/{shard}"),
            epoch,
            state: "unseen".to_owned(),
            message: Some("no agent that answers runs it; one takes it over soon".to_owned()),
            ..Self::default()
        }
    }

    pub fn new(host: &str, status: v1::StreamStatus) -> Self {
        let text = |text: String| (!text.is_empty()).then_some(text);
        // Rates are rounded: nobody needs half a row.
        let rate = |per_second: f64| per_second.max(0.0).round() as u64;
        let sum = |of: fn(&v1::StreamTable) -> u64| status.tables.iter().map(of).sum();
        Self {
            from: format!("{}/{}", status.from_keyspace, status.from_shard),
            epoch: status.epoch,
            host: Some(host.to_owned()),
            rows_copied: sum(|t| t.rows_copied),
            // An estimate may be below what there is already.
            rows_total: sum(|t| t.rows_total.max(t.rows_copied)),
            bytes_copied: sum(|t| t.bytes_copied),
            bytes_total: sum(|t| t.bytes_total.max(t.bytes_copied)),
            rows_per_second: rate(status.rows_per_second),
            bytes_per_second: rate(status.bytes_per_second),
            seconds_left: u64::try_from(status.seconds_left).ok(),
            lag_ms: u64::try_from(status.lag_ms).ok(),
            source_tablet: text(status.source_tablet),
            throttled: text(status.throttled),
            message: text(status.message),
            targets: status
                .targets
                .into_iter()
                .map(|target| TargetDocument {
                    shard: format!("{}/{}", status.to_keyspace, target.shard),
                    tablet: text(target.alias),
                    position: target.position,
                    lag_ms: u64::try_from(target.lag_ms).ok(),
                })
                .collect(),
            tables: status
                .tables
                .into_iter()
                .map(|table| TableDocument {
                    rows_total: table.rows_total.max(table.rows_copied),
                    bytes_total: table.bytes_total.max(table.bytes_copied),
                    table: table.table,
                    rows_copied: table.rows_copied,
                    bytes_copied: table.bytes_copied,
                    copied: table.copied,
                })
                .collect(),
            state: status.state,
        }
    }
}

/// A comparison's report.
#[derive(Debug, Clone, Serialize)]
pub struct VDiffDocument {
    pub id: String,
    pub workflow: String,
    pub state: VDiffState,
    /// Whether any row differs; `None` until all were compared.
    pub has_mismatch: Option<bool>,
    pub rows_compared: u64,
    pub requested_at: UnixMillis,
    pub ended_at: Option<UnixMillis>,
    /// Why it failed, or what it waits for.
    pub message: String,
    pub tables: Vec<VDiffTableDocument>,
}

#[derive(Debug, Clone, Serialize)]
pub struct VDiffTableDocument {
    pub table: String,
    pub rows_compared: u64,
    /// An estimate until it is done.
    pub rows_total: u64,
    pub matching: u64,
    pub mismatched: u64,
    /// Rows that only the side written to has.
    pub extra: u64,
    /// Rows that only the side read from has.
    pub missing: u64,
    /// Rows on a shard that is not theirs.
    pub misplaced: u64,
    pub done: bool,
    pub samples: Vec<vtplan_state::model::VDiffSample>,
}

impl VDiffDocument {
    pub fn new(record: &VDiffRecord) -> Self {
        let tables: Vec<_> = record
            .tables
            .iter()
            .map(|(name, table)| {
                let found = table.differing + table.extra + table.missing + table.misplaced;
                VDiffTableDocument {
                    table: name.to_string(),
                    rows_compared: table.rows_compared,
                    rows_total: table.rows_total.max(table.rows_compared),
                    matching: table.rows_compared.saturating_sub(found),
                    mismatched: table.differing,
                    extra: table.extra,
                    missing: table.missing,
                    misplaced: table.misplaced,
                    done: table.done,
                    samples: table.samples.clone(),
                }
            })
            .collect();
        let differs = record.tables.values().any(|t| !t.is_equal());
        Self {
            id: record.id.clone(),
            workflow: format!("{}.{}", record.keyspace, record.workflow),
            state: record.state,
            has_mismatch: (differs || record.state == VDiffState::Done).then_some(differs),
            rows_compared: tables.iter().map(|t| t.rows_compared).sum(),
            requested_at: record.requested_at,
            ended_at: record.ended_at,
            message: record.message.clone(),
            tables,
        }
    }

    pub fn rows_total(&self) -> u64 {
        self.tables.iter().map(|t| t.rows_total).sum()
    }
}
