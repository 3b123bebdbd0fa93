//! A server's binlog as transactions.

use crate::stream::error::StreamError;
use crate::stream::position::{Gtid, Position};
use crate::stream::row::Change;

/// What comes from a binlog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceEvent {
    Transaction(Transaction),
    /// A statement that may change the definition of one of the tables, or empties it.
    /// `position` is the one before it: it is not passed over.
    Ddl {
        position: Position,
        /// As it was logged.
        statement: String,
        /// Which of the tables it is about, as places in the list.
        tables: Vec<usize>,
    },
    /// There is nothing more at the moment: everything up to `position` was given.
    Heartbeat {
        position: Position,
    },
}

/// A committed transaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    pub gtid: Gtid,
    /// What is executed with it.
    pub position: Position,
    /// When it was committed where it was first, seconds since 1970.
    pub timestamp: u64,
    /// What it did to the tables, in order. Empty if nothing.
    pub changes: Vec<Change>,
}

/// Transactions in the order of a server's binlog.
#[derive(Debug)]
pub struct BinlogReader {
    position: Position,
}

impl BinlogReader {
    /// Up to which everything was given.
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// The next transaction; waits for it. At least every few seconds there is a heartbeat, so
    /// that one can look at other things. May be dropped while it waits: nothing is lost.
    pub async fn next(&mut self) -> Result<SourceEvent, StreamError> {
        Err(StreamError::Refused("following is being built".into()))
    }
}
