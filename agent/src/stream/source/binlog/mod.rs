//! A server's binlog as transactions.
//!
//! - [`dump`]: asks a server for its binlog from a position on.
//! - [`event`]: events, cut out of what comes.
//! - [`assemble`]: events put together to transactions.
//! - [`table_map`], [`value`], [`number`], [`jsonb`]: rows of events as cells.
//! - [`statement`]: what statements in the binlog mean.

mod assemble;
mod dump;
mod event;
#[cfg(test)]
mod fuzz;
mod jsonb;
mod number;
mod statement;
mod table_map;
mod value;

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;
use vtplan_state::model::KeyspaceName;

use crate::stream::error::StreamError;
use crate::stream::position::{Gtid, Position};
use crate::stream::row::Change;
use crate::stream::server::ServerAddress;
use crate::stream::table::TableShape;
use crate::stream::wire::{Connection, WireError, parse_error};
use assemble::{Assembler, Trouble};
pub(in crate::stream) use number::write_double;

/// How often a server says that nothing happens.
const HEARTBEAT: Duration = Duration::from_secs(2);
/// Without a word for so long, it is gone.
const SILENCE: Duration = Duration::from_secs(20);

/// What comes from a binlog.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SourceEvent {
    Transaction(Transaction),
    /// Of the transaction whose parts are given, what came after the first `parts` of them is undone:
    /// it went back to a savepoint, or, where none are left, all of it came to nothing.
    Undo {
        gtid: Gtid,
        parts: usize,
    },
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

/// A committed transaction, or a part of a very long one.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Transaction {
    pub gtid: Gtid,
    /// What is executed with it. Of a part that is not the last: what was executed before it.
    pub position: Position,
    /// When it was committed where it was first, seconds since 1970.
    pub timestamp: u64,
    /// What it did to the tables, in order. Empty if nothing.
    pub changes: Vec<Change>,
    /// `false`: the next event goes on with the same transaction. Its parts must be committed
    /// together.
    pub is_last: bool,
}

/// Transactions in the order of a server's binlog.
pub struct BinlogReader {
    conn: Connection,
    assembler: Assembler,
}

impl fmt::Debug for BinlogReader {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "BinlogReader({} at {})",
            self.conn.server(),
            self.position()
        )
    }
}

pub(super) async fn open(
    address: &ServerAddress,
    keyspace: &KeyspaceName,
    from: &Position,
    tables: &[Arc<TableShape>],
) -> Result<BinlogReader, StreamError> {
    let conn = dump::start(address, from).await?;
    let assembler = Assembler::new(keyspace.clone(), tables.to_vec(), from.clone());
    Ok(BinlogReader { conn, assembler })
}

impl BinlogReader {
    /// Up to which everything was given.
    pub fn position(&self) -> &Position {
        self.assembler.position()
    }

    /// What the server calls the connection, for `KILL`.
    pub fn thread_id(&self) -> u32 {
        self.conn.thread_id()
    }

    /// The next transaction; waits for it. Every few seconds without one there is a heartbeat, so
    /// that one can look at other things. May be dropped while it waits: nothing is lost.
    ///
    /// # Errors
    /// After an error the reader is of no more use: follow anew from where the rows are.
    pub async fn next(&mut self) -> Result<SourceEvent, StreamError> {
        loop {
            if let Some(event) = self.assembler.next() {
                return Ok(event);
            }
            let waited = timeout(SILENCE, self.conn.message()).await;
            let message = match waited {
                Ok(Ok(message)) => message,
                Ok(Err(error)) => return Err(self.lost(error)),
                Err(_) => {
                    let why = format!("it said nothing for {} seconds", SILENCE.as_secs());
                    return Err(self.lost(WireError::Lost(why)));
                }
            };
            let payload = self.conn.payload(message);
            let taken = match payload {
                [0, event @ ..] => self.assembler.event(event),
                [0xff, ..] => {
                    let error = parse_error(payload);
                    return Err(self.lost(error));
                }
                _ => {
                    let why = "the server ended its binlog; it may be shutting down".to_owned();
                    return Err(self.lost(WireError::Lost(why)));
                }
            };
            if let Err(trouble) = taken {
                return Err(self.trouble(trouble));
            }
        }
    }

    fn lost(&self, error: WireError) -> StreamError {
        dump::explain(error, self.conn.server(), self.position())
    }

    fn trouble(&self, trouble: Trouble) -> StreamError {
        let server = self.conn.server().to_owned();
        match trouble {
            Trouble::Unreadable(why) => StreamError::Unreadable {
                server,
                position: self.position().to_string(),
                why,
            },
            Trouble::DefinitionChanged { table, why } => {
                StreamError::DefinitionChanged { server, table, why }
            }
            Trouble::Refused(why) => {
                StreamError::Refused(format!("the binlog of {server} cannot be followed: {why}"))
            }
        }
    }
}
