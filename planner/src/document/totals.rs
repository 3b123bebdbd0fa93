//! Sums over the steps of a plan.

use std::collections::{BTreeMap, HashMap};

use serde::Serialize;

use crate::plan::{Action, Plan, Risk};
use crate::words::workflow_of;

/// A plan in numbers.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Summary {
    pub steps: usize,
    pub safe: usize,
    pub disruptive: usize,
    pub destructive: usize,
    /// See [`duration`].
    pub seconds: u64,
    /// See [`write_pause`].
    pub write_pause_ms: u64,
    pub rows_to_copy: u64,
    pub bytes_to_copy: u64,
}

impl Summary {
    pub fn of(plan: &Plan) -> Self {
        let risk = |risk| plan.steps.iter().filter(|s| s.risk == risk).count();
        let (rows_to_copy, bytes_to_copy) = to_copy(plan);
        Self {
            steps: plan.steps.len(),
            safe: risk(Risk::Safe),
            disruptive: risk(Risk::Disruptive),
            destructive: risk(Risk::Destructive),
            seconds: duration(plan),
            write_pause_ms: write_pause(plan),
            rows_to_copy,
            bytes_to_copy,
        }
    }
}

/// Rows and bytes that workflows copy, as far as that is known. A workflow's start and its wait for
/// the copy tell the same.
pub fn to_copy(plan: &Plan) -> (u64, u64) {
    let mut copies = BTreeMap::new();
    for step in &plan.steps {
        if let Action::StartWorkflow { .. } | Action::WaitForCopy { .. } = &step.action {
            let most: &mut (u64, u64) = copies.entry(workflow_of(step)).or_default();
            most.0 = most.0.max(step.estimate.rows.unwrap_or(0));
            most.1 = most.1.max(step.estimate.bytes.unwrap_or(0));
        }
    }
    let sum = |of: fn(&(u64, u64)) -> u64| copies.values().map(of).sum();
    (sum(|c| c.0), sum(|c| c.1))
}

/// How long the plan takes when steps that do not wait for each other run side by side: the
/// longest way through the steps, seconds.
pub fn duration(plan: &Plan) -> u64 {
    let mut ends: HashMap<&str, u64> = HashMap::with_capacity(plan.steps.len());
    let mut last = 0;
    for step in &plan.steps {
        let start = step
            .after
            .iter()
            .filter_map(|id| ends.get(id.as_str()))
            .max()
            .copied()
            .unwrap_or(0);
        let end = start + step.estimate.seconds;
        last = last.max(end);
        ends.insert(&step.id, end);
    }
    last
}

/// The longest pause of writes that one step causes, milliseconds.
pub fn write_pause(plan: &Plan) -> u64 {
    let pauses = plan.steps.iter().filter_map(|s| s.estimate.write_pause_ms);
    pauses.max().unwrap_or(0)
}
