//! A plan that no longer fits the cluster. A host that is away for a moment makes planning give
//! something else for a moment, so trouble must last before it ends a plan; while it lasts nothing
//! is started. Here too: the words for what ends a plan.

use std::collections::BTreeSet;

use tokio::time::Instant;
use vtplan_planner::plan::{PlanError, Step, StepId};

use super::Settings;

#[derive(Debug, Default)]
pub(super) struct Trouble {
    found: Option<Found>,
}

#[derive(Debug)]
struct Found {
    since: Instant,
    times: u32,
    text: String,
    /// Whether the cluster was not seen completely, last.
    partial: bool,
}

impl Trouble {
    pub fn is_there(&self) -> bool {
        self.found.is_some()
    }

    pub fn gone(&mut self) {
        self.found = None;
    }

    /// `partial`: the cluster is not seen completely, so it may pass.
    pub fn found(&mut self, text: String, partial: bool) {
        tracing::warn!(partial, "{text}");
        let found = self.found.get_or_insert_with(|| Found {
            since: Instant::now(),
            times: 0,
            text: String::new(),
            partial,
        });
        found.times += 1;
        found.text = text;
        found.partial = partial;
    }

    /// What is wrong, when it has lasted.
    pub fn verdict(&mut self, settings: &Settings) -> Option<String> {
        let found = self.found.as_ref()?;
        let patience = if found.partial {
            settings.absence_patience
        } else {
            settings.trouble_patience
        };
        let lasted = found.times >= 3 && found.since.elapsed() >= patience;
        lasted.then(|| found.text.clone())
    }
}

pub(super) fn failed(id: &StepId, why: &str) -> String {
    format!(
        "step {id} failed: {why}. Correct that and run `vtplan apply` again; what is done stays done"
    )
}

pub(super) fn not_approved(steps: &[&Step], away: &BTreeSet<&str>) -> String {
    const SHOWN: usize = 5;
    let mut ids: Vec<&str> = steps.iter().take(SHOWN).map(|s| s.id.as_str()).collect();
    let more = format!("{} more", steps.len().saturating_sub(SHOWN));
    if steps.len() > SHOWN {
        ids.push(&more);
    }
    let ids = ids.join(", ");
    if away.is_empty() {
        return format!(
            "the cluster has changed since the plan was made, and it would now need what was not approved, or not so: {ids}. Review it with `vtplan plan` and run `vtplan apply` again"
        );
    }
    let away: Vec<&str> = away.iter().copied().collect();
    format!(
        "no agent is alive on host {}, which the plan counts on; without it, it would need what was not approved, or not so: {ids}. Start `vtplan agent` there, or review what is needed without it with `vtplan plan`, and run `vtplan apply` again",
        away.join(", ")
    )
}

pub(super) fn cannot_plan(errors: &[PlanError]) -> String {
    let errors: Vec<String> = errors
        .iter()
        .map(|error| format!("{error} ({})", error.help))
        .collect();
    format!(
        "the cluster has changed since the plan was made, and it cannot go on: {}",
        errors.join("; ")
    )
}
