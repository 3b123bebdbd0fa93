//! Rows of a consistent snapshot, in the order of their keys.

use crate::stream::error::StreamError;
use crate::stream::position::Position;
use crate::stream::row::{Cell, RowBatch};
use crate::stream::table::TableShape;

/// Tables as they were at one position.
#[derive(Debug)]
pub struct SourceSnapshot {
    position: Position,
}

impl SourceSnapshot {
    /// The snapshot has exactly what is in this position (of the tables that it was made for).
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Reads a table's rows in the order of [`TableShape::key`]: those beyond the key `after`, up to
    /// and with the key `up_to`. One table at a time: dropping the stream before its end costs
    /// a new connection, so the snapshot is of no more use then.
    pub async fn read(
        &mut self,
        table: &TableShape,
        after: Option<&[Cell]>,
        up_to: Option<&[Cell]>,
    ) -> Result<RowStream<'_>, StreamError> {
        let _ = (table, after, up_to);
        Err(StreamError::Refused("reading is being built".into()))
    }
}

/// Rows on their way. Nothing is read ahead but what the operating system keeps.
#[derive(Debug)]
pub struct RowStream<'a> {
    _snapshot: &'a mut SourceSnapshot,
}

impl RowStream<'_> {
    /// The next rows: as many as have up to `max_bytes` (and one at least). `None`: there are no
    /// more.
    pub async fn next_batch(&mut self, max_bytes: usize) -> Result<Option<RowBatch>, StreamError> {
        let _ = max_bytes;
        Ok(None)
    }
}
