//! Rows of a consistent snapshot, in the order of their keys.
//!
//! A snapshot is a transaction of InnoDB. What has to be exact is which binlog position it
//! corresponds to, for what is in the snapshot must not be followed once more, nor anything be left
//! out.
//!
//! - MariaDB tells the binlog position of a `START TRANSACTION WITH CONSISTENT SNAPSHOT`, without
//!   any lock.
//! - MySQL does not. There writes are held up for the moment of opening the transaction. It is done
//!   for the whole server: locks of several tables, taken one after the other, may be in a deadlock
//!   with a transaction that writes to these in another order, and then it is that transaction that
//!   MySQL fails. Only where long queries keep the server from being locked the tables are: a
//!   transaction that wrote to them lets them go only after it is in `gtid_executed`. Waiting
//!   holds up writers, so it is short and tried again.

use std::fmt::Write as _;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::sleep;
use vtplan_state::model::FlavorKind;

use super::shape::{text, text_literal};
use crate::flavor::identifier;
use crate::stream::error::StreamError;
use crate::stream::position::Position;
use crate::stream::row::{Cell, Row, RowBatch, write_literal};
use crate::stream::server::ServerAddress;
use crate::stream::table::TableShape;
use crate::stream::wire::codec::Reader;
use crate::stream::wire::{Connection, WireError};

/// How often the moment of MySQL's lock is tried for: each attempt holds up writers for a second at
/// most if a transaction is in the way.
const LOCK_ATTEMPTS: u32 = 10;
const ER_LOCK_WAIT_TIMEOUT: u16 = 1205;

/// What a GROUP_CONCAT may give, bytes: servers send no more in one value by default.
const LONGEST_TEXT: u32 = 15 << 20;

/// Tables as they were at one position. It costs the server the undo of what is changed
/// meanwhile, until it is dropped.
#[derive(Debug)]
pub struct SourceSnapshot {
    conn: Connection,
    position: Position,
}

pub(super) async fn open(
    address: &ServerAddress,
    tables: &[Arc<TableShape>],
) -> Result<SourceSnapshot, StreamError> {
    let mut conn = Connection::open(address, None).await?;
    let what = "opening a snapshot";
    conn.run(
        what,
        format!(
            "SET SESSION TRANSACTION ISOLATION LEVEL REPEATABLE READ; \
             SET SESSION group_concat_max_len = {LONGEST_TEXT}"
        ),
    )
    .await?;
    let position = match address.flavor {
        FlavorKind::MariaDb => open_mariadb(&mut conn).await?,
        FlavorKind::MySql => open_mysql(&mut conn, address, tables).await?,
    };
    Ok(SourceSnapshot { conn, position })
}

const START: &str = "START TRANSACTION WITH CONSISTENT SNAPSHOT, READ ONLY";

async fn open_mariadb(conn: &mut Connection) -> Result<Position, StreamError> {
    let what = "opening a snapshot";
    let parse =
        |text: Option<String>| Position::parse(FlavorKind::MariaDb, &text.unwrap_or_default());
    // A server that was made from a backup has domains that its own binlogs do not know of. They
    // stand where they stood then.
    let replicated = conn.value(what, "SELECT @@global.gtid_slave_pos").await?;
    conn.run(what, START).await?;
    let status = conn
        .rows(what, "SHOW STATUS LIKE 'binlog_snapshot_%'")
        .await?;
    let find = |name: &str| {
        let row = status
            .iter()
            .find(|row| text(row, 0).eq_ignore_ascii_case(name));
        row.map(|row| text(row, 1)).unwrap_or_default()
    };
    let (file, offset) = (
        find("binlog_snapshot_file"),
        find("binlog_snapshot_position"),
    );
    if file.is_empty() {
        return Err(StreamError::Refused(format!(
            "{} does not tell the binlog position of a snapshot; turn its log_bin on",
            conn.server()
        )));
    }
    // This order matters: a transaction that is being written is in `gtid_binlog_pos` before its
    // events are in the file, and the end of the file is told once they are.
    let last = conn.value(what, "SELECT @@global.gtid_binlog_pos").await?;
    let end = conn.rows(what, "SHOW MASTER STATUS").await?;
    let at_end = (end.first()).is_some_and(|row| text(row, 0) == file && text(row, 1) == offset);
    let position = match at_end {
        true => last,
        false => {
            // For this the server reads the file from its beginning.
            let query = format!(
                "SELECT BINLOG_GTID_POS({}, {})",
                text_literal(&file),
                offset.parse::<u64>().unwrap_or(0)
            );
            conn.value(what, query).await?
        }
    };
    let (mut position, replicated) = (parse(position)?, parse(replicated)?);
    if let (Position::MariaDb(position), Position::MariaDb(replicated)) =
        (&mut position, &replicated)
    {
        position.add_domains(replicated);
    }
    Ok(position)
}

async fn open_mysql(
    conn: &mut Connection,
    address: &ServerAddress,
    tables: &[Arc<TableShape>],
) -> Result<Position, StreamError> {
    let what = "opening a snapshot";
    let mut locker = Connection::open(address, None).await?;
    locker.run(what, "SET lock_wait_timeout = 1").await?;
    if !tables.is_empty() {
        let locks: Vec<String> = tables
            .iter()
            .map(|t| format!("{} READ", t.quoted()))
            .collect();
        let lock_tables = format!("LOCK TABLES {}", locks.join(", "));
        let mut attempt = 1;
        loop {
            let lock = match attempt <= LOCK_ATTEMPTS / 2 {
                true => "FLUSH TABLES WITH READ LOCK",
                false => lock_tables.as_str(),
            };
            match locker
                .run("locking tables for the moment of a snapshot", lock)
                .await
            {
                Ok(_) => break,
                Err(e) if e.code() == Some(ER_LOCK_WAIT_TIMEOUT) && attempt < LOCK_ATTEMPTS => {
                    // Writers that waited go on meanwhile.
                    sleep(Duration::from_millis(500 * u64::from(attempt))).await;
                    attempt += 1;
                }
                Err(e) => return Err(e),
            }
        }
    }
    conn.run(what, START).await?;
    let position = locker.value(what, "SELECT @@global.gtid_executed").await?;
    locker.run(what, "UNLOCK TABLES").await?;
    locker.close().await;
    Position::parse(FlavorKind::MySql, &position.unwrap_or_default())
}

impl SourceSnapshot {
    /// The snapshot has exactly what is in this position (of the tables that it was made for).
    pub fn position(&self) -> &Position {
        &self.position
    }

    /// Reads a table's rows in the order of [`TableShape::key`]: those beyond the key `after`, up to
    /// and with the key `up_to`. One table at a time: a stream that is dropped before its end leaves
    /// a snapshot that is of no more use.
    pub async fn read(
        &mut self,
        table: &TableShape,
        after: Option<&[Cell]>,
        up_to: Option<&[Cell]>,
    ) -> Result<RowStream<'_>, StreamError> {
        let what = format!("reading rows of table `{}`", table.name);
        let query = query(table, after, up_to);
        let columns = match self.conn.start_rows(&query).await {
            Ok(columns) => columns,
            Err(error) => return Err(error.about(self.conn.server(), &what)),
        };
        Ok(RowStream {
            conn: &mut self.conn,
            columns,
            what,
            over: false,
        })
    }

    /// All rows of a query of the snapshot's tables.
    pub async fn rows(
        &mut self,
        what: &str,
        query: impl AsRef<[u8]>,
    ) -> Result<Vec<Row>, StreamError> {
        self.conn.rows(what, query).await
    }

    /// Shows each row of a query, which has `columns` columns, `N` at most.
    pub async fn each_row<const N: usize>(
        &mut self,
        what: &str,
        query: &[u8],
        columns: usize,
        mut take: impl FnMut(&[Option<&[u8]>; N]),
    ) -> Result<(), StreamError> {
        let shown = async {
            self.conn.start_rows(query).await?;
            while let Some(row) = self.conn.next_row().await? {
                let mut reader = Reader::new(self.conn.payload(row));
                let mut cells = [None; N];
                for cell in cells.iter_mut().take(columns) {
                    *cell = reader.lenenc_text()?;
                }
                take(&cells);
            }
            Ok::<_, WireError>(())
        };
        let shown = shown.await;
        shown.map_err(|e| e.about(self.conn.server(), what))
    }

    /// Ends the transaction.
    pub async fn close(self) {
        self.conn.close().await;
    }
}

fn query(table: &TableShape, after: Option<&[Cell]>, up_to: Option<&[Cell]>) -> Vec<u8> {
    let mut head = String::from("SELECT ");
    for (i, column) in table.columns.iter().enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        // Writing to a String cannot fail.
        let _ = write!(head, "{comma}{}", column.select_expression());
    }
    let mut query = head.into_bytes();
    write_range(table, after, up_to, &mut query);
    query.extend_from_slice(b" ORDER BY ");
    for (i, &column) in table.key.iter().enumerate() {
        let comma = if i == 0 { "" } else { ", " };
        query.extend_from_slice(comma.as_bytes());
        query.extend_from_slice(table.columns[column].quoted().as_bytes());
    }
    query
}

/// Appends `FROM`, and the condition for a table's rows beyond one key, up to and with another. They
/// come by the index, at once, and nothing is sorted.
pub fn write_range(
    table: &TableShape,
    after: Option<&[Cell]>,
    up_to: Option<&[Cell]>,
    query: &mut Vec<u8>,
) {
    let from = format!(
        " FROM {} FORCE INDEX ({})",
        table.quoted(),
        identifier(&table.key_name)
    );
    query.extend_from_slice(from.as_bytes());
    let bounds = [(after, b'>', false), (up_to, b'<', true)];
    let mut word = " WHERE ";
    for (key, operator, inclusive) in bounds {
        if let Some(key) = key {
            query.extend_from_slice(word.as_bytes());
            write_bound(table, key, operator, inclusive, query);
            word = " AND ";
        }
    }
}

/// Appends a condition for a table's rows whose key is beyond (`>`) or before (`<`) another one, or
/// also equal to it (`inclusive`). Written out as `(a > 1 OR (a = 1 AND b > 2))`, of which servers
/// make ranges of the index; `(a, b) > (1, 2)` they would look through the whole table for.
/// `key` has a value for each of [`TableShape::key`].
pub fn write_bound(
    table: &TableShape,
    key: &[Cell],
    operator: u8,
    inclusive: bool,
    out: &mut Vec<u8>,
) {
    let last = table.key.len().saturating_sub(1);
    let compare = |i: usize, operator: &[u8], out: &mut Vec<u8>| {
        let column = &table.columns[table.key[i]];
        out.extend_from_slice(column.quoted().as_bytes());
        out.extend_from_slice(operator);
        write_literal(column, key.get(i).and_then(Option::as_deref), out);
    };
    out.push(b'(');
    for i in 0..=last {
        if i > 0 {
            out.extend_from_slice(b" OR (");
            for equal in 0..i {
                compare(equal, b" = ", out);
                out.extend_from_slice(b" AND ");
            }
        }
        let operator: &[u8] = match (operator, inclusive && i == last) {
            (b'<', false) => b" < ",
            (b'<', true) => b" <= ",
            (_, false) => b" > ",
            (_, true) => b" >= ",
        };
        compare(i, operator, out);
        if i > 0 {
            out.push(b')');
        }
    }
    out.push(b')');
}

/// Rows on their way. Nothing is read ahead but what the operating system keeps.
#[derive(Debug)]
pub struct RowStream<'a> {
    conn: &'a mut Connection,
    columns: usize,
    what: String,
    over: bool,
}

impl RowStream<'_> {
    /// The next rows: as many as have up to `max_bytes` (and one at least). `None`: there are no
    /// more.
    pub async fn next_batch(&mut self, max_bytes: usize) -> Result<Option<RowBatch>, StreamError> {
        let mut batch = RowBatch::with_capacity(self.columns, max_bytes);
        match self.fill(&mut batch, max_bytes).await {
            Ok(()) => Ok(Some(batch).filter(|b| !b.is_empty())),
            Err(error) => Err(error.about(self.conn.server(), &self.what)),
        }
    }

    async fn fill(&mut self, batch: &mut RowBatch, max_bytes: usize) -> Result<(), WireError> {
        while !self.over {
            match self.conn.buffered_row()? {
                // A batch that is nearly full does not wait for more.
                None => self.conn.fill().await?,
                Some(None) => self.over = true,
                Some(Some(row)) => {
                    batch.push_text_row(self.conn.payload(row))?;
                    if batch.bytes() >= max_bytes {
                        break;
                    }
                }
            }
        }
        Ok(())
    }
}
