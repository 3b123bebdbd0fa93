//! Connections to the servers that streams write to. Statements go in packets of several: a whole
//! transaction in one is begun and ended by the server alone, so a stream that dies in the middle of
//! it leaves nothing open.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder, Row, Value};
use tokio::time::{Instant, timeout};

use crate::stream::error::StreamError;
use crate::stream::server::{SESSION, ServerAddress};

const CONNECT_PATIENCE: Duration = Duration::from_secs(10);
/// A packet that takes longer is given up with its connection; a commit may wait for a replica.
const PATIENCE: Duration = Duration::from_secs(120);

/// After so many seconds without a word the server ends a connection, and with it what a stream
/// that was stopped in the middle has locked.
pub const IDLE_SECONDS: u64 = 30;

/// What came of one statement of a packet.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Rows that were inserted, deleted, or found to update.
    pub affected: u64,
    pub rows: Vec<Row>,
}

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
    conn: Conn,
    used_at: Instant,
    name: String,
}

impl Connection {
    pub async fn open(address: &ServerAddress) -> Result<Self, StreamError> {
        let socket = address.socket.as_ref().filter(|path| path.exists());
        let options = OptsBuilder::default()
            .ip_or_hostname(address.host.clone())
            .tcp_port(address.port)
            .socket(socket.map(|path| path.display().to_string()))
            .prefer_socket(false)
            .user(Some(&address.user))
            .pass(Some(&address.password))
            .client_found_rows(true)
            .tcp_keepalive(Some(Duration::from_secs(10)))
            // Given, so that they are not asked for on every connection.
            .max_allowed_packet(Some(1 << 30))
            .wait_timeout(Some(28_800));
        let refused = |why: String| StreamError::Connect {
            server: address.to_string(),
            why,
        };
        let connected = timeout(CONNECT_PATIENCE, Conn::new(options)).await;
        let conn = match connected {
            Ok(Ok(conn)) => conn,
            Ok(Err(error)) => return Err(refused(error.to_string())),
            Err(_) => return Err(refused("it does not answer".to_owned())),
        };
        let mut connection = Self {
            conn,
            used_at: Instant::now(),
            name: address.to_string(),
        };
        let session = format!(
            "{SESSION}; SET SESSION wait_timeout = {IDLE_SECONDS}; \
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
        packet: impl Into<Vec<u8>>,
    ) -> Result<Vec<Outcome>, Failed> {
        let mut outcomes = Vec::new();
        let name = self.name.clone();
        let failed = |statement, error| Failed {
            statement,
            error: sql_error(&name, what, error),
        };
        let work = async {
            let mut result = match self.conn.query_iter(packet.into()).await {
                Ok(result) => result,
                Err(error) => return Err(failed(0, error)),
            };
            while result.columns().is_some() {
                let affected = result.affected_rows();
                match result.collect::<Row>().await {
                    Ok(rows) => outcomes.push(Outcome { affected, rows }),
                    Err(error) => return Err(failed(outcomes.len() + 1, error)),
                }
            }
            // The error of a statement that is not the first is kept as if it were a result.
            match result.drop_result().await {
                Ok(()) => Ok(()),
                Err(error) => Err(failed(outcomes.len(), error)),
            }
        };
        let worked = timeout(PATIENCE, work).await;
        self.used_at = Instant::now();
        match worked {
            Ok(Ok(())) => Ok(outcomes),
            Ok(Err(failed)) => Err(failed),
            Err(_) => Err(Failed {
                statement: 0,
                error: StreamError::Broken {
                    server: name,
                    what: what.to_owned(),
                    why: format!("no answer within {} seconds", PATIENCE.as_secs()),
                },
            }),
        }
    }

    /// The rows of one query.
    pub async fn query(&mut self, what: &str, query: &str) -> Result<Vec<Row>, StreamError> {
        let outcomes = self.run(what, query).await?;
        Ok(outcomes.into_iter().next().unwrap_or_default().rows)
    }

    /// What the server is called in messages.
    pub fn name(&self) -> &str {
        &self.name
    }
}

/// The bytes of a row's column; `None` for NULL.
pub fn bytes(row: &Row, column: usize) -> Option<&[u8]> {
    match row.as_ref(column) {
        Some(Value::Bytes(bytes)) => Some(bytes),
        _ => None,
    }
}

/// A row's column as text; empty for NULL.
pub fn text(row: &Row, column: usize) -> String {
    String::from_utf8_lossy(bytes(row, column).unwrap_or_default()).into_owned()
}

/// A row's column as a number; 0 for what is none.
pub fn number(row: &Row, column: usize) -> u64 {
    text(row, column).parse().unwrap_or(0)
}

fn sql_error(server: &str, what: &str, error: mysql_async::Error) -> StreamError {
    let (server, what) = (server.to_owned(), what.to_owned());
    match error {
        mysql_async::Error::Server(error) => StreamError::Sql {
            server,
            what,
            code: error.code,
            message: error.message,
        },
        other => StreamError::Broken {
            server,
            what,
            why: other.to_string(),
        },
    }
}
