//! Fences: who may write to a server while data moves.
//!
//! - A whole shard: its primary takes writes of the gates' account exactly when the shard's record
//!   says so (`takes_writes`), by `read_only`, which does not bind the admin. Streams write as the
//!   admin. See [`crate::tablet::role`].
//! - Tables of a MoveTables: triggers, with a row in `_vt.fence` that says whether they let writes
//!   through ([`tables`]).
//!
//! **Why triggers that lock.** Each write of another account takes a shared lock on the fence's row
//! and keeps it until its transaction ends. Closing the fence is an update of that row, so it waits
//! for exactly the transactions that wrote before, and later ones queue behind it and are refused:
//! there is no moment at which a write is neither waited for nor refused, and the number of tables
//! does not matter.
//!
//! **How far it reaches.** Triggers and the row get to replicas through the binlog, as the
//! statement and the row that they are; a replica that applies rows runs no triggers, in either
//! flavor, and a replica that becomes primary is as fenced as the primary was.
//!
//! Statements that change tables (`TRUNCATE`, `DROP`, `ALTER`, `RENAME`) run no triggers. What keeps
//! them from a table that moves: gates hold them as they hold writes; a stream stops with an error
//! when it meets one in the binlog, and so does a switch, whose streams must have everything up to
//! the fence's position. Nor do rows run triggers that a foreign key changes (`ON DELETE CASCADE`);
//! workflows refuse tables with such keys.

pub mod tables;

use std::time::Duration;

/// How long making and removing triggers waits for open transactions when a caller does not say.
pub const PREPARE_PATIENCE: Duration = Duration::from_secs(60);
/// How long closing a fence waits for transactions when a caller does not say.
pub const SET_PATIENCE: Duration = Duration::from_secs(10);

/// A time in milliseconds, as requests have it. `0`: the default.
pub fn patience(milliseconds: u64, default: Duration) -> Duration {
    if milliseconds == 0 {
        default
    } else {
        Duration::from_millis(milliseconds)
    }
}

/// The fence that a workflow has on tables of one keyspace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Fence {
    /// The keyspace whose tables they are.
    pub keyspace: String,
    /// The workflow's `WorkflowRecord::full_name`.
    pub workflow: String,
    /// The revision of the record that asks for it. What an older one asks for, or sent late, is
    /// refused: it would undo what was decided since.
    pub decided: u64,
}
