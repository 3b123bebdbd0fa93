//! Drift reports: one document, written as text, JSON, Markdown and for Prometheus.

pub mod markdown;
pub mod prometheus;
pub mod text;

#[cfg(test)]
mod tests;

use serde::Serialize;
use vtplan_planner::drift::{Finding, Ignored};
use vtplan_state::model::{HistoryRecord, Revision, UnixMillis};

/// The format of reports that this version writes.
pub const DRIFT_FORMAT: u32 = 1;

/// What `vtplan drift` says; its JSON is `--format json`.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// [`DRIFT_FORMAT`].
    pub format: u32,
    pub cluster: String,
    pub checked_at: UnixMillis,
    pub spec_digest: String,
    /// Revision of the records that were compared.
    pub revision: Revision,
    /// Hosts and tablets that were seen.
    pub hosts_seen: usize,
    pub tablets_seen: usize,
    pub findings: Vec<Told>,
    pub ignored: Vec<Ignored>,
    /// What is under way, and therefore no drift.
    pub under_way: Vec<String>,
    /// What could not be looked at.
    pub unseen: Vec<UnseenHost>,
}

/// A finding, and who touched the object last.
#[derive(Debug, Clone, Serialize)]
pub struct Told {
    #[serde(flatten)]
    pub finding: Finding,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub last_change: Option<HistoryRecord>,
}

#[derive(Debug, Clone, Serialize)]
pub struct UnseenHost {
    pub host: String,
    pub why: String,
}

/// The report for programs.
pub fn json(report: &Report) -> String {
    let mut value = serde_json::to_value(report).expect("a report serializes");
    super::json::redact(&mut value);
    format!("{value:#}\n")
}

/// `ago` of seconds.
fn since(seconds: Option<u64>) -> Option<UnixMillis> {
    seconds.map(|s| s.saturating_mul(1000))
}
