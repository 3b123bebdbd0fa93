//! The side that a stream writes to: what stands in `_vt` there, and the transactions that write
//! rows together with the position that they are as of.
//!
//! - [`vt_tables`]: the tables of `_vt`, and how a stream claims its rows there.
//! - [`connection`]: packets of statements.
//! - [`tables`]: tables as they are on both sides; rows and changes as statements.
//! - [`inserts`], [`lines`]: copied rows, as an INSERT or as lines of LOAD DATA.
//! - [`writer`]: chunks of copied rows, written in parallel and committed in order.
//! - [`apply`]: source transactions as they come; where to stop.
//! - [`commit`]: groups of them, in parallel where they do not touch the same rows.
//! - [`group`]: which of them those are.
//! - [`parked`]: rows that rows of other streams keep out of their tables.
//! - [`spill`]: the statements of a long one, in a file.

pub mod apply;
pub mod commit;
pub mod connection;
pub mod group;
pub mod inserts;
pub mod lines;
pub mod parked;
pub mod spill;
pub mod tables;
pub mod vt_tables;
pub mod writer;

use std::time::Duration;

use super::error::StreamError;

/// ER_DUP_KEY, ER_DUP_ENTRY, ER_DUP_ENTRY_WITH_KEY_NAME, ER_DUP_UNKNOWN_IN_INDEX.
pub const DUPLICATE: [u16; 4] = [1022, 1062, 1586, 1859];

/// How long a row may wait for a row of another stream to leave its place, once all rows are
/// copied, see [`parked`].
pub const DUPLICATE_PATIENCE: Duration = Duration::from_secs(120);

/// How many rows may wait so. More are no rows on their way from one source shard to another.
pub const MOST_PARKED: usize = 10_000;

/// The error of a row that cannot be inserted because its key is there already.
pub fn duplicate(table: &str, shard: &str, error: StreamError) -> StreamError {
    let why = match error {
        StreamError::Sql { message, .. } => message,
        other => other.to_string(),
    };
    StreamError::Refused(format!(
        "a row of table `{table}` cannot be written to target shard {shard}, which has one with the same key that is no row of the source: {why}; remove it, or the rule that sends both rows to one shard, then resume the workflow"
    ))
}
