//! Streams: rows on their way from one shard's servers to others', and what they need. There is one
//! for each shard of the side that is read, feeding all shards of the other side, run by whichever
//! agent holds the stream's lock.
//!
//! - [`table`]: the shape of a table: columns, the key that rows are read in the order of.
//! - [`row`]: rows as they are read, changes, and values as SQL literals. The contract of a value
//!   stands there.
//! - [`server`]: how an agent connects to any tablet of the cluster.
//! - [`wire`]: connections, fast enough for millions of rows.
//! - [`source`]: what is read: a consistent snapshot of tables, then the changes after it.
//! - [`target`]: the side that is written: `_vt`, chunks of copied rows, changes.
//! - [`position`]: what a server has executed.
//! - [`sharder`]: which target shard a row belongs to.
//! - [`plan`]: what the records say of a stream; [`keeper`]: which streams this agent runs.
//! - [`runner`]: one stream; [`attempt`]: one attempt at it, by [`copy`] and [`follow`], from the
//!   tablet that [`choose`] finds, yielding as [`throttle`] says.
//! - [`progress`]: what the agent's streams do, as `ObserveStreams` tells it.
//! - [`wait`]: waiting until a target has a position.

pub mod attempt;
pub mod choose;
pub mod copy;
pub mod error;
pub mod follow;
mod json_literal;
pub mod keeper;
pub mod plan;
pub mod position;
pub mod progress;
pub mod row;
pub mod runner;
pub mod server;
pub mod sharder;
pub mod source;
pub mod table;
pub mod target;
pub mod throttle;
pub mod wait;
pub mod wire;

pub use error::StreamError;
pub use position::{Gtid, Position};
pub use row::{Cell, Change, Row, RowBatch, RowRef, write_literal};
pub use server::ServerAddress;
pub use table::{ColumnKind, ColumnShape, KeyKind, TableShape, UniqueKey};
pub use wire::{Connection, Done};
