//! The side that a stream writes to: what stands in `_vt` there, and the transactions that write
//! rows together with the position that they are as of.
//!
//! - [`vt_tables`]: the tables of `_vt`, and how a stream claims its rows there.
//! - [`connection`]: packets of statements.
//! - [`tables`]: tables as they are on both sides; rows and changes as statements.
//! - [`writer`]: chunks of copied rows, written in parallel and committed in order.
//! - [`apply`]: source transactions as they come; where to stop.
//! - [`commit`]: groups of them, in parallel where they do not touch the same rows.
//! - [`group`]: which of them those are.

pub mod apply;
pub mod commit;
pub mod connection;
pub mod group;
pub mod tables;
pub mod vt_tables;
pub mod writer;

use std::time::Duration;

use super::error::StreamError;

/// ER_DUP_KEY, ER_DUP_ENTRY, ER_DUP_ENTRY_WITH_KEY_NAME, ER_DUP_UNKNOWN_IN_INDEX.
pub const DUPLICATE: [u16; 4] = [1022, 1062, 1586, 1859];

/// How long a row may be in the way of another. Where several streams write to one target, a row
/// that has moved from shard to shard on the source is deleted by one of them and inserted by
/// another, which may come first.
pub const DUPLICATE_PATIENCE: Duration = Duration::from_secs(120);

/// The same while rows are copied. Then they are read anew: a stream that copies does not follow, and
/// two of them might wait for each other's deletes.
pub const COPY_DUPLICATE_PATIENCE: Duration = Duration::from_secs(2);

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
