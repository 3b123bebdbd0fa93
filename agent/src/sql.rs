//! Connections to the host's own servers over their sockets, and over the network to those that were
//! adopted.

use std::collections::BTreeMap;
use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, DriverError, OptsBuilder, Row, Value};
use tokio::time::timeout;

use vtplan_state::model::ServerAddress;

use crate::error::AgentError;
use crate::flavor::TextRow;

/// After this a server that does not answer counts as hung.
const PATIENCE: Duration = Duration::from_secs(30);

/// Where a server listens.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Endpoint {
    Socket(PathBuf),
    Tcp(ServerAddress),
}

impl fmt::Display for Endpoint {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Socket(path) => write!(f, "its socket {}", path.display()),
            Self::Tcp(address) => write!(f, "{address}"),
        }
    }
}

/// What became of an attempt to connect.
#[derive(Debug)]
pub enum ConnectError {
    /// Nobody listens at the socket, or not yet.
    NotListening,
    /// The account is not there or has another password.
    Denied,
    /// Everything else.
    Failed(String),
}

/// A connection. After an error it may be in the middle of something: drop it.
pub struct Sql {
    conn: Conn,
}

impl Sql {
    pub async fn connect(
        endpoint: &Endpoint,
        user: &str,
        password: Option<&str>,
        database: Option<&str>,
    ) -> Result<Self, ConnectError> {
        let options = match endpoint {
            Endpoint::Socket(path) => {
                OptsBuilder::default().socket(Some(path.display().to_string()))
            }
            // The machine may be this one, and its socket another server's.
            Endpoint::Tcp(address) => OptsBuilder::default()
                .prefer_socket(false)
                .ip_or_hostname(address.machine.clone())
                .tcp_port(address.port),
        };
        let options = options
            .user(Some(user))
            .pass(password)
            .db_name(database)
            // Given, so that they are not asked for on every connection.
            .max_allowed_packet(Some(1 << 30))
            .wait_timeout(Some(28_800));
        match timeout(PATIENCE, Conn::new(options)).await {
            Err(_) => Err(ConnectError::Failed(
                "the server accepts connections and does not answer".to_owned(),
            )),
            Ok(Ok(conn)) => Ok(Self { conn }),
            // ER_ACCESS_DENIED_ERROR, ER_HOST_NOT_PRIVILEGED, ER_ACCESS_DENIED_NO_PASSWORD_ERROR.
            Ok(Err(mysql_async::Error::Server(e))) if matches!(e.code, 1045 | 1130 | 1698) => {
                Err(ConnectError::Denied)
            }
            // MySQL hides that an account does not exist: it asks for the password in any of the
            // ways that it knows.
            Ok(Err(mysql_async::Error::Driver(DriverError::UnknownAuthPlugin { .. }))) => {
                Err(ConnectError::Denied)
            }
            Ok(Err(mysql_async::Error::Io(_))) => Err(ConnectError::NotListening),
            Ok(Err(e)) => Err(ConnectError::Failed(e.to_string())),
        }
    }

    /// What the server calls the connection, for `KILL`.
    pub fn id(&self) -> u32 {
        self.conn.id()
    }

    /// Runs a statement that gives no rows. `what` says in an error what failed; statements are
    /// not shown, they may hold passwords.
    pub async fn run(&mut self, what: &str, statement: &str) -> Result<u64, AgentError> {
        match timeout(PATIENCE, self.conn.query_drop(statement)).await {
            Ok(done) => done.map_err(|e| AgentError::sql(what, e))?,
            Err(_) => return Err(hung(what)),
        }
        Ok(self.conn.affected_rows())
    }

    /// Runs statements one after the other.
    pub async fn run_all<S: AsRef<str>>(
        &mut self,
        what: &str,
        statements: impl IntoIterator<Item = S>,
    ) -> Result<(), AgentError> {
        for statement in statements {
            self.run(what, statement.as_ref()).await?;
        }
        Ok(())
    }

    /// Runs one statement, however long it takes. A text with several statements is refused.
    pub async fn run_single(&mut self, what: &str, statement: &str) -> Result<u64, AgentError> {
        let done = self.conn.exec_drop(statement, ()).await;
        done.map_err(|e| AgentError::sql(what, e))?;
        Ok(self.conn.affected_rows())
    }

    /// Runs a statement that servers do not prepare, however long it takes.
    pub async fn run_for_long(&mut self, what: &str, statement: &str) -> Result<(), AgentError> {
        let done = self.conn.query_drop(statement).await;
        done.map_err(|e| AgentError::sql(what, e))
    }

    /// The rows of a query, as text.
    pub async fn rows(&mut self, what: &str, query: &str) -> Result<Vec<TextRow>, AgentError> {
        let rows: Vec<Row> = match timeout(PATIENCE, self.conn.query(query)).await {
            Ok(rows) => rows.map_err(|e| AgentError::sql(what, e))?,
            Err(_) => return Err(hung(what)),
        };
        Ok(rows.iter().map(text_row).collect())
    }

    /// The first column of each row of a query, as text.
    pub async fn column(&mut self, what: &str, query: &str) -> Result<Vec<String>, AgentError> {
        let rows: Vec<Row> = match timeout(PATIENCE, self.conn.query(query)).await {
            Ok(rows) => rows.map_err(|e| AgentError::sql(what, e))?,
            Err(_) => return Err(hung(what)),
        };
        Ok(rows
            .iter()
            .filter_map(|row| row.as_ref(0).and_then(as_text))
            .collect())
    }

    /// The answer of a query for variables: name and value.
    pub async fn variables(&mut self, query: &str) -> Result<BTreeMap<String, String>, AgentError> {
        let rows = self.rows("reading the server's variables", query).await?;
        Ok(rows
            .into_iter()
            .filter_map(|mut row| {
                let name = row.remove("variable_name")??;
                let value = row.remove("value")?.unwrap_or_default();
                Some((name.to_lowercase(), value))
            })
            .collect())
    }

    /// Says goodbye, so that the server does not log an aborted connection.
    pub async fn close(self) {
        // Nothing depends on it.
        let _ = timeout(Duration::from_secs(1), self.conn.disconnect()).await;
    }
}

fn hung(what: &str) -> AgentError {
    AgentError::Sql {
        what: what.to_owned(),
        why: format!("no answer within {} seconds", PATIENCE.as_secs()),
    }
}

fn text_row(row: &Row) -> TextRow {
    row.columns_ref()
        .iter()
        .enumerate()
        .map(|(i, column)| {
            let name = column.name_str().to_lowercase();
            (name, row.as_ref(i).and_then(as_text))
        })
        .collect()
}

fn as_text(value: &Value) -> Option<String> {
    match value {
        Value::NULL => None,
        Value::Bytes(bytes) => Some(String::from_utf8_lossy(bytes).into_owned()),
        other => Some(other.as_sql(true)),
    }
}
