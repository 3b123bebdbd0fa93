//! `/debug/workload`: what the gate counted of the statements that it ran, by kind, without values.

use serde::{Deserialize, Serialize};

use crate::gate::Shared;
use crate::plan::KindCounts;

/// The format of the page.
pub const FORMAT: u32 = 1;

/// The page.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Page {
    pub format: u32,
    pub cluster: String,
    /// The gate's name.
    pub gate: String,
    /// Since when it counts, milliseconds since 1970.
    pub since: u64,
    /// Statements of kinds that are not kept.
    pub left_out: u64,
    /// Sorted by target and statement.
    pub kinds: Vec<KindCounts>,
}

impl Page {
    pub(crate) fn of(shared: &Shared) -> Self {
        let recorder = shared.planner.recorder();
        Self {
            format: FORMAT,
            cluster: shared.config.cluster.clone(),
            gate: shared.config.name.to_string(),
            since: shared.started_at,
            left_out: recorder.left_out(),
            kinds: recorder.counts(),
        }
    }
}
