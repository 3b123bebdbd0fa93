//! Rows that rows of other streams keep out of their tables.
//!
//! Where several streams write to one target, each follows its own source at its own pace. A row
//! that moves from one of these sources to another is deleted by one stream and inserted by the
//! other, in any order: it may be on the target twice for a while, and two rows that change places in
//! one transaction even wait for each other. So a row that does not find its place (its key, or one
//! of its unique keys, is taken) is parked: it goes into a table `_vt.parked_...` of this stream alone,
//! made like the table it belongs to. What the stream does to it later is done there, and from time to
//! time it is tried whether its place is free.
//!
//! At any time a stream's rows are those in the tables and those that it has parked, together exactly
//! the source's as of its position. Each change of a parked row, and each move out, is in the
//! transaction that records it ([`super::vt_tables`], `parked`), so nothing of this depends on the
//! process. Once all streams are at positions of one moment every row finds its place, if no
//! two sources have rows that cannot be in one table; those are told of after a while.

use std::collections::{BTreeSet, HashMap};

use tokio::time::Instant;

use super::commit::{ATTEMPTS, Transaction, Writing, is_duplicate, is_passing};
use super::connection::{Connection, bytes, number, text};
use super::tables::{MovedTable, Op, OpKind};
use super::vt_tables::Claim;
use super::{DUPLICATE_PATIENCE, MOST_PARKED};
use crate::conductor::failpoint;
use crate::flavor::literal;
use crate::stream::error::StreamError;
use crate::stream::position::Position;
use crate::stream::row::Cell;

/// The parked rows of one stream on one target.
#[derive(Debug, Default)]
pub struct Parked {
    /// By [`Op::row`].
    rows: HashMap<u64, ParkedRow>,
    /// Tables whose rows there is a place to park.
    made: BTreeSet<u32>,
}

#[derive(Debug)]
struct ParkedRow {
    table: u32,
    key: Vec<Cell>,
    /// As far as this process knows.
    since: Instant,
}

impl Parked {
    /// What is parked as it stands on the target.
    pub async fn load(to: &Writing, conn: &mut Connection) -> Result<Self, StreamError> {
        let what = "reading _vt";
        let mut parked = Self::default();
        let count = format!(
            "SELECT parked FROM _vt.vreplication WHERE {}",
            to.claim.id.condition()
        );
        let rows = conn.query(what, &count).await?;
        if rows.first().is_none_or(|row| number(row, 0) == 0) {
            return Ok(parked);
        }
        let there = "SELECT CONCAT('_vt.', table_name) FROM information_schema.tables \
                     WHERE table_schema = '_vt' AND table_name LIKE 'parked\\_%'";
        let there: BTreeSet<String> = (conn.query(what, there).await?.iter())
            .map(|row| text(row, 0))
            .collect();
        for (number, table) in (0..).zip(to.tables.iter()) {
            if there.contains(&to.claim.shadow(table.name())) {
                parked.made.insert(number);
            }
        }
        parked.read(to, conn).await?;
        Ok(parked)
    }

    /// Reads the rows of the tables that are made.
    async fn read(&mut self, to: &Writing, conn: &mut Connection) -> Result<(), StreamError> {
        let mut rows = HashMap::new();
        for &number in &self.made {
            let Some(table) = to.tables.get(number as usize) else {
                continue;
            };
            let query = format!(
                "SELECT {} FROM {} LIMIT {}",
                table.key_expressions(),
                to.claim.shadow(table.name()),
                MOST_PARKED + 1
            );
            for row in conn.query("reading parked rows", &query).await? {
                let cell = |i| bytes(&row, i).map(bytes::Bytes::copy_from_slice);
                let key: Vec<Cell> = (0..row.len()).map(cell).collect();
                let hash = table.hash_of_key(number, &key);
                let known = self.rows.get(&hash).map(|row| row.since);
                rows.insert(
                    hash,
                    ParkedRow {
                        table: number,
                        key,
                        since: known.unwrap_or_else(Instant::now),
                    },
                );
            }
        }
        self.rows = rows;
        if self.rows.len() > MOST_PARKED {
            let error = self.kept_out(to);
            return Err(error.unwrap_or_else(|| StreamError::Refused(String::new())));
        }
        Ok(())
    }

    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Whether a transaction has to do with a parked row, as far as is known: that of a long one is
    /// not looked through.
    pub fn concern(&self, transaction: &Transaction) -> bool {
        !self.rows.is_empty()
            && (transaction.spilled.is_some()
                || (transaction.ops.list.iter()).any(|op| self.rows.contains_key(&op.row)))
    }

    fn oldest(&self) -> Option<&ParkedRow> {
        self.rows.values().min_by_key(|row| row.since)
    }

    /// What is waited for, for people; empty: nothing.
    pub fn message(&self, to: &Writing) -> String {
        let table = |row: &ParkedRow| to.tables.get(row.table as usize);
        match self.oldest().and_then(|row| Some((row, table(row)?))) {
            None => String::new(),
            Some((row, table)) => format!(
                "{} rows wait for rows of other source shards that are in their places on shard {}, first the row of table `{}` with {}",
                self.rows.len(),
                to.shard,
                table.name(),
                table.readable_key(&row.key)
            ),
        }
    }

    /// The error of a row that has waited for too long.
    pub fn overdue(&self, to: &Writing) -> Option<StreamError> {
        let oldest = self.oldest()?;
        if oldest.since.elapsed() <= DUPLICATE_PATIENCE {
            return None;
        }
        self.kept_out(to)
    }

    fn kept_out(&self, to: &Writing) -> Option<StreamError> {
        let row = self.oldest()?;
        let table = to.tables.get(row.table as usize)?;
        Some(StreamError::Refused(format!(
            "the row of table `{}` with {} cannot be written to target shard {}: a row of another source shard, or one that is no row of the source, has the same key or the same value of a unique key (a duplicate; {} rows in all wait like it); one server cannot hold both: delete or change one of them where it comes from, then resume the workflow",
            table.name(),
            table.readable_key(&row.key),
            to.shard,
            self.rows.len()
        )))
    }

    /// Makes a place to park rows of a table. (Nothing of it is removed before the workflow
    /// ends: whoever does this may have lost the stream to another already.)
    async fn make(
        &mut self,
        to: &Writing,
        conn: &mut Connection,
        number: u32,
    ) -> Result<(), StreamError> {
        let Some(table) = to.tables.get(number as usize) else {
            return Ok(());
        };
        if self.made.insert(number) {
            make(&to.claim, conn, table).await?;
        }
        Ok(())
    }

    /// Applies one source transaction, parking the rows that have no place. Returns `stop_at`.
    pub async fn apply(
        &mut self,
        to: &Writing,
        conn: &mut Connection,
        transaction: &Transaction,
        end: &Position,
    ) -> Result<Option<String>, StreamError> {
        for table in transaction.tables() {
            self.make(to, conn, table).await?;
        }
        let mut attempt = 0;
        let stop = loop {
            attempt += 1;
            let applying = Applying {
                to,
                here: self.rows.keys().copied().collect(),
                parked: 0,
                left: 0,
            };
            let error = match applying.run(conn, transaction, end).await {
                Ok(stop) => break stop,
                Err(error) => error,
            };
            if matches!(
                error,
                StreamError::Broken { .. } | StreamError::Connect { .. }
            ) {
                return Err(error);
            }
            conn.run("undoing changes", "ROLLBACK").await?;
            if !is_passing(&error) || attempt >= ATTEMPTS {
                return Err(error);
            }
        };
        self.read(to, conn).await?;
        Ok(stop)
    }

    /// Moves the rows whose places are free now into their tables.
    pub async fn settle(&mut self, to: &Writing, conn: &mut Connection) -> Result<(), StreamError> {
        let moved = match self.try_settle(to, conn).await {
            Ok(moved) => moved,
            Err(error) if is_passing(&error) => {
                conn.run("undoing changes", "ROLLBACK").await?;
                return Ok(());
            }
            Err(error) => return Err(error),
        };
        for hash in moved {
            self.rows.remove(&hash);
        }
        Ok(())
    }

    async fn try_settle(
        &self,
        to: &Writing,
        conn: &mut Connection,
    ) -> Result<Vec<u64>, StreamError> {
        let what = format!("moving parked rows to their places on shard {}", to.shard);
        conn.run(&what, format!("BEGIN; {}", to.claim.check()))
            .await?;
        let mut moved = Vec::new();
        for (&hash, row) in &self.rows {
            let Some(table) = to.tables.get(row.table as usize) else {
                continue;
            };
            let shadow = to.claim.shadow(table.name());
            let condition = table.key_condition(&row.key);
            let mut insert = format!(
                "INSERT INTO {} ({columns}) SELECT {columns} FROM {shadow}",
                table.on_target(),
                columns = table.column_list()
            )
            .into_bytes();
            insert.extend_from_slice(&condition);
            match conn.run(&what, insert).await.map_err(StreamError::from) {
                Ok(_) => {}
                Err(error) if is_duplicate(&error) => continue,
                Err(error) => return Err(error),
            }
            let mut delete = format!("DELETE FROM {shadow}").into_bytes();
            delete.extend_from_slice(&condition);
            conn.run(&what, delete).await?;
            moved.push(hash);
        }
        if moved.is_empty() {
            conn.run(&what, "ROLLBACK").await?;
        } else {
            failpoint::hit("stream.before-settled").await;
            let count = to
                .claim
                .update(&format!("parked = parked - {}", moved.len()));
            conn.run(&what, format!("{count}; COMMIT")).await?;
        }
        Ok(moved)
    }
}

/// Makes the table where rows of a table are parked, if it is not there.
pub async fn make(
    claim: &Claim,
    conn: &mut Connection,
    table: &MovedTable,
) -> Result<(), StreamError> {
    let create = format!(
        "CREATE TABLE IF NOT EXISTS {} LIKE {}",
        claim.shadow(table.name()),
        table.on_target()
    );
    conn.run("making a place to park rows", create).await?;
    Ok(())
}

/// An INSERT of rows as one into where they are parked.
pub fn redirected_insert(claim: &Claim, table: &MovedTable, statement: &[u8]) -> Vec<u8> {
    redirect(claim, table, statement, b"INSERT INTO ")
}

/// A statement about a table as one about where its rows are parked. `verb`: what comes before the
/// table's name.
fn redirect(claim: &Claim, table: &MovedTable, statement: &[u8], verb: &[u8]) -> Vec<u8> {
    let mut text = verb.to_vec();
    text.extend_from_slice(claim.shadow(table.name()).as_bytes());
    let rest = verb.len() + table.on_target().len();
    text.extend_from_slice(&statement[rest..]);
    text
}

/// One source transaction, statement by statement.
struct Applying<'a> {
    to: &'a Writing,
    /// Rows that are parked, as the transaction goes on.
    here: BTreeSet<u64>,
    /// Rows parked, and parked rows that are no more.
    parked: u64,
    left: u64,
}

impl Applying<'_> {
    async fn run(
        mut self,
        conn: &mut Connection,
        transaction: &Transaction,
        end: &Position,
    ) -> Result<Option<String>, StreamError> {
        let what = format!("applying changes to shard {}", self.to.shard);
        let begin = format!("BEGIN; {}", self.to.claim.check());
        let begun = conn.run(&what, begin).await?;
        let stop = begun.get(1).and_then(|o| Claim::stop_of(&o.rows));
        for piece in 0..transaction.pieces() {
            let ops = transaction.piece(piece).await?;
            let mut start = 0;
            for (op, statement) in ops.statements() {
                let statement = &statement[..statement.len() - 1];
                let condition = &statement[(op.condition as usize - start).min(statement.len())..];
                start = op.end as usize;
                let Some(table) = self.to.tables.get(op.table as usize) else {
                    continue;
                };
                let affected = self
                    .one(conn, &what, table, op, statement, condition)
                    .await?;
                if op.exact && affected != 1 {
                    return Err(self.to.missing(op.table, statement, affected));
                }
            }
        }
        let record = self.to.claim.update(&format!(
            "pos = {}, parked = parked + {} - {}",
            literal(&end.to_string()),
            self.parked,
            self.left
        ));
        failpoint::hit("stream.before-parked").await;
        conn.run(&what, format!("{record}; COMMIT")).await?;
        Ok(stop)
    }

    /// Returns how many rows it was about.
    async fn one(
        &mut self,
        conn: &mut Connection,
        what: &str,
        table: &MovedTable,
        op: &Op,
        statement: &[u8],
        condition: &[u8],
    ) -> Result<u64, StreamError> {
        let claim = &self.to.claim;
        let verb: &[u8] = match op.kind {
            OpKind::Insert => b"INSERT INTO ",
            OpKind::Update => b"UPDATE ",
            OpKind::Delete => b"DELETE FROM ",
        };
        let is_here = op.kind != OpKind::Insert && self.here.contains(&op.row);
        if !is_here {
            let error = match affected(conn, what, statement).await {
                Ok(affected) => {
                    if op.kind == OpKind::Insert {
                        self.here.remove(&op.row);
                    }
                    return Ok(affected);
                }
                Err(error) => error,
            };
            if !is_duplicate(&error) {
                return Err(error);
            }
            // Its place is taken. An insert is parked below; a row that is there is parked as it
            // is, and changed then.
            self.here.insert(op.row);
            if op.kind != OpKind::Insert {
                let mut copy = format!(
                    "INSERT INTO {} ({columns}) SELECT {columns} FROM {}",
                    claim.shadow(table.name()),
                    table.on_target(),
                    columns = table.column_list()
                )
                .into_bytes();
                copy.extend_from_slice(condition);
                self.parked += affected(conn, what, &copy).await?;
                let mut delete = format!("DELETE FROM {}", table.on_target()).into_bytes();
                delete.extend_from_slice(condition);
                affected(conn, what, &delete).await?;
            }
        }
        let affected = affected(conn, what, &redirect(claim, table, statement, verb)).await?;
        match op.kind {
            OpKind::Insert => self.parked += affected,
            OpKind::Update => {}
            OpKind::Delete => {
                self.left += affected;
                if affected > 0 {
                    self.here.remove(&op.row);
                }
            }
        }
        Ok(affected)
    }
}

/// Runs one statement. Returns how many rows it was about.
async fn affected(conn: &mut Connection, what: &str, statement: &[u8]) -> Result<u64, StreamError> {
    let outcomes = conn.run(what, statement).await?;
    Ok(outcomes.first().map_or(0, |o| o.affected))
}
