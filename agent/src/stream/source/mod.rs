//! What a stream reads: the tables of one server, first as a consistent snapshot, then the changes
//! after it from the binlog.

mod binlog;
mod shape;
mod snapshot;

use std::sync::Arc;

use vtplan_state::model::{FlavorKind, KeyspaceName, TableName};

pub(super) use binlog::write_double;
pub use binlog::{BinlogReader, SourceEvent, Transaction};
pub use snapshot::{RowStream, SourceSnapshot, write_bound, write_range};

use super::error::StreamError;
use super::position::Position;
use super::server::ServerAddress;
use super::table::TableShape;
use super::wire::Connection;

/// The shape of one table.
///
/// # Errors
/// As for [`SourceServer::tables`].
pub(crate) async fn shape_of(
    conn: &mut Connection,
    flavor: FlavorKind,
    keyspace: &KeyspaceName,
    table: &TableName,
) -> Result<Arc<TableShape>, StreamError> {
    let shapes = shape::read(conn, flavor, keyspace, std::slice::from_ref(table)).await?;
    shapes
        .into_iter()
        .next()
        .ok_or_else(|| StreamError::Refused(format!("there is no table {keyspace}.{table}")))
}

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
        let mut conn = Connection::open(address, None).await?;
        let rows = conn
            .rows(
                "reading the server's variables",
                "SELECT @@global.log_bin, @@global.binlog_format, @@global.binlog_row_image",
            )
            .await?;
        conn.close().await;
        let row = rows.first().cloned().unwrap_or_default();
        for (i, (variable, wanted)) in [
            ("log_bin", "1"),
            ("binlog_format", "ROW"),
            ("binlog_row_image", "FULL"),
        ]
        .into_iter()
        .enumerate()
        {
            let found = shape::text(&row, i);
            if !found.eq_ignore_ascii_case(wanted) {
                return Err(StreamError::Refused(format!(
                    "{address} cannot be read from: its {variable} is {found} and must be {wanted}"
                )));
            }
        }
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
        let mut conn = Connection::open(&self.address, None).await?;
        let shapes = shape::read(&mut conn, self.address.flavor, &self.database, tables).await?;
        conn.close().await;
        Ok(shapes)
    }

    /// What the server has executed.
    pub async fn position(&self) -> Result<Position, StreamError> {
        let mut conn = Connection::open(&self.address, None).await?;
        let position = executed(&mut conn, self.address.flavor).await?;
        conn.close().await;
        Ok(position)
    }

    /// A view of the tables as of one exact position.
    pub async fn snapshot(
        &self,
        tables: &[Arc<TableShape>],
    ) -> Result<SourceSnapshot, StreamError> {
        snapshot::open(&self.address, tables).await
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
        binlog::open(&self.address, &self.database, from, tables).await
    }
}

/// What a server has executed and logged.
async fn executed(conn: &mut Connection, flavor: FlavorKind) -> Result<Position, StreamError> {
    let query = match flavor {
        FlavorKind::MariaDb => "SELECT @@global.gtid_current_pos",
        FlavorKind::MySql => "SELECT @@global.gtid_executed",
    };
    let position = conn.value("reading the server's position", query).await?;
    Position::parse(flavor, &position.unwrap_or_default())
}
