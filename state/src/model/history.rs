//! Who changed what.

use serde::{Deserialize, Serialize};

use super::UnixMillis;

/// Key `history/<time>-<random>`: append-only. What came first is decided by the revisions at which
/// the entries were written, not by the time, which is each writer's own.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HistoryRecord {
    pub at: UnixMillis,
    /// `user@host` of the person or script, as the CLI saw it.
    pub who: String,
    /// The plan it was part of, if any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub plan: Option<String>,
    /// A step's id, or a verb such as `apply`, `lock-release`.
    pub action: String,
    /// What it was done to: `commerce/0`, `zone1-0000000100`, ...
    pub object: String,
    /// One sentence.
    pub summary: String,
    /// `done`, `failed: why`, ...
    pub outcome: String,
}
