//! Connections to the servers that streams write to. Statements go in packets of several: a whole
//! transaction in one is begun and ended by the server alone, so a stream that dies in the middle of
//! it leaves nothing open.

use std::time::Duration;

use tokio::time::{Instant, timeout};

use crate::flavor::TextRow;
use crate::stream::error::StreamError;
use crate::stream::row::Row;
use crate::stream::server::ServerAddress;
use crate::stream::wire::{self, Done, Outcome};

/// A packet that takes longer is given up with its connection; a commit may wait for a replica.
const PATIENCE: Duration = Duration::from_secs(120);

/// After so many seconds without a word the server ends a connection, and with it what a stream
/// that was stopped in the middle has locked.
pub const IDLE_SECONDS: u64 = 30;

/// Which statement of a packet failed, from 0, and why.
#[derive(Debug)]
pub struct Failed {
    pub statement: usize,
    pub error: StreamError,
}

impl From<Failed> for StreamError {
    fn from(failed: Failed) -> Self {
        failed.error
    }
}

/// A connection. After an error other than a statement's own it is to be dropped.
#[derive(Debug)]
pub struct Connection {
    conn: wire::Connection,
    used_at: Instant,
    name: String,
}

impl Connection {
    pub async fn open(address: &ServerAddress) -> Result<Self, StreamError> {
        let mut connection = Self {
            conn: wire::Connection::open(address, None).await?,
            used_at: Instant::now(),
            name: address.to_string(),
        };
        let session = format!(
            "SET SESSION wait_timeout = {IDLE_SECONDS}; \
             SET SESSION TRANSACTION ISOLATION LEVEL READ COMMITTED"
        );
        connection.run("preparing a session", session).await?;
        Ok(connection)
    }

    /// Connects anew if the server may have ended the connection for its idleness.
    pub async fn freshen(&mut self, address: &ServerAddress) -> Result<(), StreamError> {
        if self.used_at.elapsed() > Duration::from_secs(IDLE_SECONDS / 2) {
            *self = Self::open(address).await?;
        }
        Ok(())
    }

    /// Runs the statements of a packet, up to the first that fails.
    pub async fn run(
        &mut self,
        what: &str,
        packet: impl AsRef<[u8]>,
    ) -> Result<Vec<Outcome>, Failed> {
        let worked = timeout(PATIENCE, self.conn.outcomes(packet.as_ref())).await;
        self.used_at = Instant::now();
        match worked {
            Ok(Ok(outcomes)) => Ok(outcomes),
            Ok(Err((statement, error))) => Err(Failed {
                statement,
                error: error.about(&self.name, what),
            }),
            Err(_) => Err(Failed {
                statement: 0,
                error: self.no_answer(what),
            }),
        }
    }

    /// Runs a `LOAD DATA LOCAL` with what is to be its file's content. What the server warned of is
    /// counted, see [`super::lines`].
    pub async fn load(
        &mut self,
        what: &str,
        statement: &str,
        content: &[u8],
    ) -> Result<Done, StreamError> {
        let loaded = timeout(PATIENCE, self.conn.load(statement.as_bytes(), content)).await;
        self.used_at = Instant::now();
        match loaded {
            Ok(Ok(done)) => Ok(done),
            Ok(Err(error)) => Err(error.about(&self.name, what)),
            Err(_) => Err(self.no_answer(what)),
        }
    }

    fn no_answer(&self, what: &str) -> StreamError {
        StreamError::Broken {
            server: self.name.clone(),
            what: what.to_owned(),
            why: format!("no answer within {} seconds", PATIENCE.as_secs()),
        }
    }

    /// The rows of one query.
    pub async fn query(&mut self, what: &str, query: &str) -> Result<Vec<Row>, StreamError> {
        let outcomes = self.run(what, query).await?;
        Ok(outcomes.into_iter().next().unwrap_or_default().rows)
    }

    /// The rows of one query, by the names of their columns.
    pub async fn named_rows(
        &mut self,
        what: &str,
        query: &str,
    ) -> Result<Vec<TextRow>, StreamError> {
        let asked = timeout(PATIENCE, self.conn.named_rows(query.as_bytes())).await;
        self.used_at = Instant::now();
        match asked {
            Ok(rows) => rows.map_err(|error| error.about(&self.name, what)),
            Err(_) => Err(self.no_answer(what)),
        }
    }

    /// What the server is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The bytes of a row's column; `None` for NULL.
pub fn bytes(row: &Row, column: usize) -> Option<&[u8]> {
    row.get(column)?.as_deref()
}

/// A row's column as text; empty for NULL.
pub fn text(row: &Row, column: usize) -> String {
    String::from_utf8_lossy(bytes(row, column).unwrap_or_default()).into_owned()
}

/// A row's column as a number; 0 for what is none.
pub fn number(row: &Row, column: usize) -> u64 {
    text(row, column).parse().unwrap_or(0)
}
