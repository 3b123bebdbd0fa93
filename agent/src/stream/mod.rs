//! Streams: rows on their way from one shard's servers to others', and what they need.
//!
//! - [`table`]: the shape of a table: columns, the key that rows are read in the order of.
//! - [`row`]: rows as they are read, changes, and values as SQL literals. The contract of a value
//!   stands there.
//! - [`server`]: how an agent connects to any tablet of the cluster.
//! - [`source`]: what is read: a consistent snapshot of tables, then the changes after it.
//! - [`position`]: what a server has executed.
//! - [`sharder`]: which target shard a row belongs to.

pub mod error;
pub mod position;
pub mod row;
pub mod server;
pub mod sharder;
pub mod source;
pub mod table;

pub use error::StreamError;
pub use position::{Gtid, Position};
pub use row::{Cell, Change, Row, RowBatch, RowRef, write_literal};
pub use server::ServerAddress;
pub use table::{ColumnKind, ColumnShape, KeyKind, TableShape, UniqueKey};
