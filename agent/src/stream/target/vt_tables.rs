//! `_vt` on the primary of each target shard: how far each stream has come there. Whatever writes
//! rows writes its position here in the same transaction. The tables are replicated like any other,
//! so a reparent of the target loses nothing.
//!
//! **`_vt.vreplication`**, a row for each (workflow, source shard, epoch) that feeds this shard:
//!
//! | column | meaning |
//! |---|---|
//! | `workflow` | [`WorkflowRecord::full_name`]: `customer.commerce2customer` |
//! | `source_shard` | the shard of the side that is read, `-80` |
//! | `epoch` | [`StreamsWanted::epoch`] |
//! | `created_at` | [`WorkflowRecord::created_at`]: rows of an older workflow of the same name are dropped when a stream is claimed |
//! | `fence` | the fencing token of the stream's lock. A transaction of a stream commits only while its own token stands here |
//! | `sealed` | 1: a later epoch (which flows the other way) has begun; nothing of this epoch commits any more |
//! | `state` | `copying`, `following`, `stopped` (by `stop_at`), `error` |
//! | `copied` | 1: every row of this stream is on this target. From then on `pos` is all there is to know |
//! | `message` | why it is in state `error`, or what it is trying again after |
//! | `pos` | GTID set of the source: this shard holds exactly the source's rows as of it |
//! | `stop_at`, `stop_until` | see below |
//!
//! **`_vt.copy_state`**, a row for each table of such a stream while there is a copy: `lastpk` (the
//! key up to which rows are here; JSON array of hexadecimal cells; NULL: none yet), `chunk` (rises
//! with `lastpk`, to compare the targets of a stream), `rows_copied`, `bytes_copied`, `done`.
//!
//! **`_vt.vreplication_worker`**: the source transactions beyond `pos` that parallel workers have
//! committed already, a row for each worker. Once all workers of a group are through, `pos` holds
//! them and these rows mean nothing more. What `pos` says is therefore exact only while `state` is
//! `stopped`, or while a stream stands still.
//!
//! **Stopping streams at a position** (for a comparison). Whoever compares sets, on each target's
//! primary and for each stream (row) of the workflow's epoch:
//!
//! ```sql
//! UPDATE _vt.vreplication
//!   SET stop_at = '', stop_until = UNIX_TIMESTAMP(NOW(3)) * 1000 + 30000
//!   WHERE workflow = 'customer.commerce2customer' AND source_shard = '-80' AND epoch = 1;
//! ```
//!
//! - `stop_at` NULL: the stream runs. `''`: it stops after the transaction that it is in the middle
//!   of. A position: it applies what is in that position and nothing else, then stops; what it
//!   has beyond it already stays, so stop it with `''` first.
//! - `stop_until`: milliseconds since 1970 by this server's clock
//!   (`UNIX_TIMESTAMP(NOW(3)) * 1000`); later than that `stop_at` counts as NULL. Whoever compares
//!   pushes it forward for as long as it needs the stop.
//! - It has stopped when `state = 'stopped'`; then `pos` is where, exactly, and no worker is
//!   under way. For a position it is there when `pos` contains it; with a position ahead of
//!   it the state is `following` (it is running to it). The stream looks with each commit, and about
//!   every 50 ms when there is nothing to commit or while it is stopped.
//! - It goes on when `stop_at` is NULL or has expired, and then sets its state again itself.
//! - Only streams that have copied all (`copied = 1`) look at it.
//!
//! Times here are the target server's, so no two clocks are compared.
//!
//! [`WorkflowRecord::full_name`]: vtplan_state::model::WorkflowRecord::full_name
//! [`WorkflowRecord::created_at`]: vtplan_state::model::WorkflowRecord::created_at
//! [`StreamsWanted::epoch`]: vtplan_state::model::StreamsWanted::epoch

use crate::flavor::literal;

/// What makes the database and its tables; run in this order, may be run again.
pub const CREATE: [&str; 4] = [
    "CREATE DATABASE IF NOT EXISTS _vt",
    "CREATE TABLE IF NOT EXISTS _vt.vreplication (
        workflow VARBINARY(255) NOT NULL,
        source_shard VARBINARY(128) NOT NULL,
        epoch BIGINT UNSIGNED NOT NULL,
        created_at BIGINT UNSIGNED NOT NULL,
        fence BIGINT UNSIGNED NOT NULL,
        sealed TINYINT NOT NULL DEFAULT 0,
        state VARBINARY(16) NOT NULL,
        copied TINYINT NOT NULL DEFAULT 0,
        message BLOB NOT NULL,
        pos LONGBLOB NOT NULL,
        stop_at LONGBLOB NULL,
        stop_until BIGINT UNSIGNED NOT NULL DEFAULT 0,
        PRIMARY KEY (workflow, source_shard, epoch)
    ) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS _vt.copy_state (
        workflow VARBINARY(255) NOT NULL,
        source_shard VARBINARY(128) NOT NULL,
        epoch BIGINT UNSIGNED NOT NULL,
        table_name VARBINARY(255) NOT NULL,
        lastpk LONGBLOB NULL,
        chunk BIGINT UNSIGNED NOT NULL DEFAULT 0,
        rows_copied BIGINT UNSIGNED NOT NULL DEFAULT 0,
        bytes_copied BIGINT UNSIGNED NOT NULL DEFAULT 0,
        done TINYINT NOT NULL DEFAULT 0,
        PRIMARY KEY (workflow, source_shard, epoch, table_name)
    ) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS _vt.vreplication_worker (
        workflow VARBINARY(255) NOT NULL,
        source_shard VARBINARY(128) NOT NULL,
        epoch BIGINT UNSIGNED NOT NULL,
        worker INT UNSIGNED NOT NULL,
        applied LONGBLOB NOT NULL,
        PRIMARY KEY (workflow, source_shard, epoch, worker)
    ) ENGINE=InnoDB",
];

/// Which rows of `_vt` are a stream's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// The workflow's full name.
    pub workflow: String,
    /// The shard that is read.
    pub source_shard: String,
    pub epoch: u64,
}

impl StreamId {
    /// The condition that selects the stream's rows in any of the tables.
    pub fn condition(&self) -> String {
        format!(
            "workflow = {} AND source_shard = {} AND epoch = {}",
            literal(&self.workflow),
            literal(&self.source_shard),
            self.epoch
        )
    }
}
