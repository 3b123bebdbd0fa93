//! Carries out plans: passes answers through, concatenates those of several shards, adds up
//! affected rows, takes values of sequences, and answers what the gate knows by itself.

pub mod dml;
pub mod forward;
pub mod lookup;
pub mod scatter;
pub mod sequences;
pub mod set;
pub mod show;
pub mod single;
pub mod stale;
pub mod transaction;

use crate::backend::BackendError;
use crate::pool::PoolError;
use crate::protocol::SqlError;
use crate::protocol::framing::Message;
use crate::protocol::params::Execute;
use crate::session::Statement;
use stale::Stale;

/// Why a statement ended early.
#[derive(Debug)]
pub enum Failure {
    /// The client is told, and goes on.
    Sql(SqlError),
    /// The client is told, and the session ends: its transaction is lost.
    Fatal(SqlError),
    /// Nothing was done and nothing sent; by newer records it may succeed.
    Again(SqlError, Stale),
    /// The client is gone.
    Client(std::io::Error),
}

impl From<SqlError> for Failure {
    fn from(error: SqlError) -> Self {
        Self::Sql(error)
    }
}

impl From<crate::plan::SqlError> for Failure {
    fn from(error: crate::plan::SqlError) -> Self {
        Self::Sql(error.into())
    }
}

impl From<crate::plan::SqlError> for SqlError {
    fn from(error: crate::plan::SqlError) -> Self {
        let state = error.sqlstate.as_bytes().try_into().unwrap_or(*b"HY000");
        SqlError::new(error.errno, &state, error.message)
    }
}

impl From<PoolError> for Failure {
    fn from(error: PoolError) -> Self {
        let sql = error.to_sql();
        match error {
            PoolError::Closed(_) => Self::Again(sql, Stale::Moved),
            PoolError::Connect(_) => Self::Again(sql, Stale::Gone),
            PoolError::Exhausted { .. } => Self::Sql(sql),
        }
    }
}

/// A failure of a tablet's connection, told to the client.
pub fn backend_failure(tablet: impl std::fmt::Display, error: BackendError) -> SqlError {
    match error {
        BackendError::Sql(error) => error,
        BackendError::Lost(why) => SqlError::server_lost(tablet, why),
    }
}

/// What the client asked for.
pub struct Request<'a> {
    /// The statement's text.
    pub sql: &'a [u8],
    /// The client's own message, if it is a query that is exactly `sql`.
    pub message: Option<&'a Message>,
    /// Parameters, if it is a prepared statement.
    pub prepared: Option<Bound<'a>>,
    /// Further statements of the same message follow.
    pub more: bool,
}

impl Request<'_> {
    /// Whether rows are wanted in binary form.
    pub fn binary(&self) -> bool {
        self.prepared.is_some()
    }
}

/// A prepared statement with its parameters.
#[derive(Clone, Copy)]
pub struct Bound<'a> {
    pub statement: &'a Statement,
    pub execute: &'a Execute<'a>,
}
