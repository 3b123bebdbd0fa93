//! What a stream reads: the tables of one server, first as a consistent snapshot, then the changes
//! after it from the binlog.

mod binlog;
mod snapshot;

use std::sync::Arc;

use vtplan_state::model::{KeyspaceName, TableName};

pub use binlog::{BinlogReader, SourceEvent, Transaction};
pub use snapshot::{RowStream, SourceSnapshot};

use super::error::StreamError;
use super::position::Position;
use super::server::ServerAddress;
use super::table::TableShape;

/// A server that rows are read from: any tablet of a shard.
#[derive(Debug, Clone)]
pub struct SourceServer {
    address: ServerAddress,
    database: KeyspaceName,
}

impl SourceServer {
    /// Looks whether the server answers, and is fit to be read from (it logs whole rows).
    pub async fn connect(
        address: &ServerAddress,
        database: &KeyspaceName,
    ) -> Result<Self, StreamError> {
        Ok(Self {
            address: address.clone(),
            database: database.clone(),
        })
    }

    pub fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// The shapes of tables, in the order asked for.
    ///
    /// # Errors
    /// A table that is not there, has no key that rows can be read in the order of, or has a
    /// column of a type that cannot be moved.
    pub async fn tables(&self, tables: &[TableName]) -> Result<Vec<Arc<TableShape>>, StreamError> {
        let _ = tables;
        Err(unfinished(&self.address))
    }

    /// What the server has executed.
    pub async fn position(&self) -> Result<Position, StreamError> {
        Err(unfinished(&self.address))
    }

    /// A view of the tables as of one exact position.
    pub async fn snapshot(
        &self,
        tables: &[Arc<TableShape>],
    ) -> Result<SourceSnapshot, StreamError> {
        let _ = (tables, &self.database);
        Err(unfinished(&self.address))
    }

    /// The transactions after a position.
    ///
    /// # Errors
    /// [`StreamError::Behind`], [`StreamError::Purged`].
    pub async fn follow(
        &self,
        from: &Position,
        tables: &[Arc<TableShape>],
    ) -> Result<BinlogReader, StreamError> {
        let _ = (from, tables);
        Err(unfinished(&self.address))
    }
}

fn unfinished(address: &ServerAddress) -> StreamError {
    StreamError::Refused(format!("reading from {address} is being built"))
}
