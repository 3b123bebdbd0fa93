//! Groups of source transactions as transactions of a target, each with the position that it leads
//! to. A large group is made by several connections at once where its transactions touch different
//! rows; each of these records what it has applied in its own transaction, and the group ends with
//! the position.

use std::borrow::Cow;
use std::collections::BTreeSet;
use std::sync::Arc;

use futures::future::join_all;
use tokio::sync::OwnedSemaphorePermit;

use super::connection::Connection;
use super::group;
use super::parked::Parked;
use super::spill::Spill;
use super::tables::{MovedTable, Op, Ops};
use super::vt_tables::{Claim, encode_applied};
use super::{DUPLICATE, duplicate};
use crate::conductor::failpoint;
use crate::flavor::literal;
use crate::stream::error::StreamError;
use crate::stream::position::{Gtid, Position};
use crate::stream::server::ServerAddress;

/// Connections that apply at once.
const WORKERS: usize = 4;
/// A group of fewer statements is made by one connection.
const PARALLEL_FROM: usize = 100;
/// The size of a packet, if a statement is not larger.
const PACKET: usize = 4 << 20;
/// How often what the server rolled back for another transaction's sake is tried.
pub const ATTEMPTS: u32 = 20;

/// A source transaction, as it is for one target. It may have nothing for it.
#[derive(Debug)]
pub struct Transaction {
    pub gtid: Gtid,
    /// Seconds since 1970.
    pub timestamp: u64,
    pub ops: Ops,
    /// The statements of a long one; then `ops` has none.
    pub spilled: Option<Box<Spill>>,
    /// What it takes of the memory that streams may use.
    pub permit: Option<OwnedSemaphorePermit>,
}

impl Transaction {
    pub fn statements(&self) -> usize {
        let spilled = self.spilled.as_ref().map(|s| s.statements);
        spilled.unwrap_or(self.ops.list.len())
    }

    /// Of the statements.
    pub fn bytes(&self) -> usize {
        let spilled = self.spilled.as_ref().map(|s| s.bytes);
        spilled.unwrap_or(self.ops.text.len())
    }

    /// Those that the statements are about.
    pub fn tables(&self) -> BTreeSet<u32> {
        let listed = || self.ops.list.iter().map(|op| op.table).collect();
        let spilled = self.spilled.as_ref();
        spilled.map_or_else(listed, |s| s.tables.clone())
    }

    /// How many pieces the statements are in.
    pub fn pieces(&self) -> usize {
        self.spilled.as_ref().map_or(1, |s| s.len())
    }

    /// A piece, counted from 0.
    pub async fn piece(&self, piece: usize) -> Result<Cow<'_, Ops>, StreamError> {
        match &self.spilled {
            Some(spill) => spill.read(piece).await.map(Cow::Owned),
            None => Ok(Cow::Borrowed(&self.ops)),
        }
    }
}

/// Where a committer writes.
#[derive(Debug)]
pub struct Writing {
    pub address: ServerAddress,
    pub shard: String,
    pub claim: Claim,
    /// As operations number them.
    pub tables: Arc<[MovedTable]>,
    /// Whether other streams write to the target too.
    pub shared_target: bool,
}

/// Writes to one target.
#[derive(Debug)]
pub struct Committer {
    to: Writing,
    conn: Connection,
    workers: Vec<Connection>,
    pub position: Position,
    /// Transactions beyond the position that are applied already.
    pub applied: BTreeSet<String>,
    parked: Parked,
}

/// What came of a group.
#[derive(Debug, Default)]
pub struct Done {
    pub changes: u64,
    /// Of the statements.
    pub bytes: u64,
    /// `stop_at`, as it stood then.
    pub stop: Option<String>,
}

impl Committer {
    pub async fn open(
        to: Writing,
        position: Position,
        applied: BTreeSet<String>,
    ) -> Result<Self, StreamError> {
        let mut conn = Connection::open(&to.address).await?;
        let parked = match to.shared_target {
            true => Parked::load(&to, &mut conn).await?,
            false => Parked::default(),
        };
        Ok(Self {
            conn,
            to,
            workers: Vec::new(),
            position,
            applied,
            parked,
        })
    }

    /// Whether rows wait for rows of other streams.
    pub fn parks(&self) -> bool {
        !self.parked.is_empty()
    }

    /// What they wait for, for people; empty: nothing.
    pub fn waits_for(&self) -> String {
        self.parked.message(&self.to)
    }

    /// The error of a row that waits for too long.
    pub fn overdue(&self) -> Option<StreamError> {
        self.parked.overdue(&self.to)
    }

    /// Moves the rows that wait to their places, where these are free now.
    pub async fn settle(&mut self) -> Result<(), StreamError> {
        self.conn.freshen(&self.to.address).await?;
        self.parked.settle(&self.to, &mut self.conn).await
    }

    /// `stop_at`, as it stands now.
    pub async fn look(&mut self) -> Result<Option<String>, StreamError> {
        let rows = self
            .conn
            .query("reading _vt", &self.to.claim.look())
            .await?;
        Ok(Claim::stop_of(&rows))
    }

    /// Changes the stream's own row. Returns `stop_at`.
    pub async fn set(
        &mut self,
        what: &str,
        assignments: &str,
    ) -> Result<Option<String>, StreamError> {
        let outcomes = self.conn.run(what, self.to.claim.set(assignments)).await?;
        Ok(outcomes.get(1).and_then(|o| Claim::stop_of(&o.rows)))
    }

    /// Applies a group, and records where it leads to.
    pub async fn commit(&mut self, group: &[Transaction]) -> Result<Done, StreamError> {
        failpoint::hit("stream.before-apply").await;
        let mut end = self.position.clone();
        for transaction in group {
            end.advance(&transaction.gtid);
        }
        let ops: usize = group.iter().map(Transaction::statements).sum();
        let bytes: usize = group.iter().map(Transaction::bytes).sum();
        // What was applied by workers before a crash is only known from their rows, which stay as
        // they are until the position has passed them.
        let concerned = group.iter().any(|t| self.parked.concern(t));
        let stop = if concerned {
            self.apply_parking(group).await?
        } else if ops >= PARALLEL_FROM
            && self.applied.is_empty()
            && group.iter().all(|t| t.spilled.is_none())
            && self.apply_parallel(group).await?
        {
            let pos = format!("pos = {}", literal(&end.to_string()));
            self.set("recording the position", &pos).await?
        } else {
            match self.apply_in_order(group, &end).await {
                Err(error) if is_duplicate(&error) && self.to.shared_target => {
                    self.apply_parking(group).await?
                }
                stop => stop?,
            }
        };
        for transaction in group {
            self.applied.remove(&transaction.gtid.to_string());
        }
        self.position = end;
        failpoint::hit("stream.after-apply").await;
        Ok(Done {
            changes: ops as u64,
            bytes: bytes as u64,
            stop,
        })
    }

    /// Applies what it can of a group with several connections. `true`: all of it. Otherwise what is
    /// applied stands in `self.applied`.
    async fn apply_parallel(&mut self, group: &[Transaction]) -> Result<bool, StreamError> {
        let work: Vec<(&[u64], usize)> = group
            .iter()
            .map(|t| (&t.ops.touched[..], t.ops.text.len()))
            .collect();
        let parts = group::split(&work, WORKERS);
        if parts.len() < 2 {
            return Ok(false);
        }
        while self.workers.len() < parts.len() {
            self.workers.push(Connection::open(&self.to.address).await?);
        }
        let to = &self.to;
        let made = join_all(parts.iter().zip(&mut self.workers).enumerate().map(
            |(worker, (part, conn))| {
                let transactions = part.iter().map(|&i| &group[i]).collect();
                to.apply_part(conn, worker, transactions)
            },
        ))
        .await;
        let mut all = true;
        for (part, made) in parts.iter().zip(made) {
            match made {
                Ok(()) => {
                    let gtids = part.iter().map(|&i| group[i].gtid.to_string());
                    self.applied.extend(gtids);
                }
                Err(error) if is_passing(&error) || is_duplicate(&error) => all = false,
                Err(error) => return Err(error),
            }
        }
        if all {
            self.applied.clear();
        }
        Ok(all)
    }

    /// Applies a group in one transaction. If that cannot be, one by one. Returns `stop_at`.
    async fn apply_in_order(
        &mut self,
        group: &[Transaction],
        end: &Position,
    ) -> Result<Option<String>, StreamError> {
        match self.apply_together(group, end).await {
            // Which one it is, if nobody else can have to do with it.
            Err(error) if is_duplicate(&error) && !self.to.shared_target => {}
            made => return made,
        }
        let mut position = self.position.clone();
        let mut stop = None;
        for transaction in group {
            position.advance(&transaction.gtid);
            let one = std::slice::from_ref(transaction);
            stop = match self.apply_together(one, &position).await {
                Err(error) if is_duplicate(&error) => {
                    return Err(self.to.name_duplicate(transaction, error));
                }
                made => made?,
            };
        }
        Ok(stop)
    }

    /// Applies a group in which rows are parked, or are to be: those transactions one by one, and what
    /// is between them together. Returns `stop_at`.
    async fn apply_parking(
        &mut self,
        group: &[Transaction],
    ) -> Result<Option<String>, StreamError> {
        let mut stop = None;
        // What is to be applied, the next at the end.
        let mut parts: Vec<&[Transaction]> = vec![group];
        while let Some(part) = parts.pop() {
            let mut end = self.position.clone();
            for transaction in part {
                end.advance(&transaction.gtid);
            }
            let alone = match part {
                [one] if !self.applied.contains(&one.gtid.to_string()) => Some(one),
                _ => None,
            };
            let made = if !part.iter().any(|t| self.parked.concern(t)) {
                match self.apply_together(part, &end).await {
                    Err(error) if is_duplicate(&error) => None,
                    made => Some(made?),
                }
            } else {
                None
            };
            stop = match (made, alone) {
                (Some(made), _) => made,
                (None, Some(one)) => {
                    let (to, conn) = (&self.to, &mut self.conn);
                    let made = self.parked.apply(to, conn, one, &end).await;
                    made.map_err(|error| match is_duplicate(&error) {
                        true => self.to.name_duplicate(one, error),
                        false => error,
                    })?
                }
                (None, None) if part.len() > 1 => {
                    let (first, rest) = part.split_at(part.len() / 2);
                    parts.extend([rest, first]);
                    continue;
                }
                // One that is applied already.
                (None, None) => {
                    let pos = format!("pos = {}", literal(&end.to_string()));
                    self.set("recording the position", &pos).await?
                }
            };
            self.position = end;
        }
        Ok(stop)
    }

    async fn apply_together(
        &mut self,
        group: &[Transaction],
        end: &Position,
    ) -> Result<Option<String>, StreamError> {
        let pos = format!("pos = {}", literal(&end.to_string()));
        let record = self.to.claim.update(&pos);
        let transactions: Vec<&Transaction> = group
            .iter()
            .filter(|t| self.applied.is_empty() || !self.applied.contains(&t.gtid.to_string()))
            .collect();
        let mut attempt = 0;
        loop {
            attempt += 1;
            let made = self.to.transaction(&mut self.conn, &transactions, &record);
            match made.await {
                Err(error) if is_passing(&error) && attempt < ATTEMPTS => {}
                made => return made,
            }
        }
    }
}

impl Writing {
    async fn apply_part(
        &self,
        conn: &mut Connection,
        worker: usize,
        transactions: Vec<&Transaction>,
    ) -> Result<(), StreamError> {
        conn.freshen(&self.address).await?;
        let id = &self.claim.id;
        let gtids: Vec<String> = (transactions.iter()).map(|t| t.gtid.to_string()).collect();
        let record = format!(
            "REPLACE INTO _vt.vreplication_worker (workflow, source_shard, epoch, worker, applied) \
             VALUES ({}, {}, {}, {worker}, {})",
            literal(&id.workflow),
            literal(&id.source_shard),
            id.epoch,
            literal(&encode_applied(gtids.iter().map(String::as_str)))
        );
        let made = self.transaction(conn, &transactions, &record).await;
        failpoint::hit("stream.after-part").await;
        made.map(|_| ())
    }

    /// One transaction on the target. Returns `stop_at`.
    async fn transaction(
        &self,
        conn: &mut Connection,
        transactions: &[&Transaction],
        record: &str,
    ) -> Result<Option<String>, StreamError> {
        let made = self.send(conn, transactions, record).await;
        if matches!(&made, Err(StreamError::Sql { .. })) {
            conn.run("undoing changes", "ROLLBACK").await?;
        }
        made
    }

    async fn send(
        &self,
        conn: &mut Connection,
        transactions: &[&Transaction],
        record: &str,
    ) -> Result<Option<String>, StreamError> {
        let mut packet = format!("BEGIN;{};", self.claim.check()).into_bytes();
        // Which statements of the packet are to be about one row, of which table.
        let mut exact: Vec<Option<(u32, &[u8])>> = vec![None, None];
        let mut stop = None;
        for transaction in transactions {
            if let Some(spill) = &transaction.spilled {
                // What was before it does not wait in memory.
                let begun = std::mem::take(&mut packet);
                if !begun.is_empty() {
                    stop = stop.or(self.packet(conn, &begun, &exact).await?);
                    exact.clear();
                }
                for piece in 0..spill.len() {
                    let ops = spill.read(piece).await?;
                    let statements = ops.statements();
                    let exact: Vec<_> = statements.map(|(op, text)| exactly(op, text)).collect();
                    self.packet(conn, &ops.text, &exact).await?;
                }
                continue;
            }
            for (op, statement) in transaction.ops.statements() {
                packet.extend_from_slice(statement);
                exact.push(exactly(op, statement));
                if packet.len() > PACKET {
                    let full = std::mem::take(&mut packet);
                    stop = stop.or(self.packet(conn, &full, &exact).await?);
                    exact.clear();
                }
            }
        }
        packet.extend_from_slice(record.as_bytes());
        packet.extend_from_slice(b";COMMIT");
        let seen = self.packet(conn, &packet, &exact).await?;
        Ok(stop.or(seen))
    }

    async fn packet(
        &self,
        conn: &mut Connection,
        packet: &[u8],
        exact: &[Option<(u32, &[u8])>],
    ) -> Result<Option<String>, StreamError> {
        let what = format!("applying changes to shard {}", self.shard);
        let outcomes = conn.run(&what, packet).await?;
        for (outcome, exact) in outcomes.iter().zip(exact) {
            if let Some((table, statement)) = exact
                && outcome.affected != 1
            {
                return Err(self.missing(*table, statement, outcome.affected));
            }
        }
        // Only a transaction's first packet has the row of the check.
        let check = outcomes.get(1).filter(|o| !o.rows.is_empty());
        Ok(check.and_then(|o| Claim::stop_of(&o.rows)))
    }

    fn table(&self, number: u32) -> &str {
        let table = self.tables.get(number as usize);
        table.map_or("", MovedTable::name)
    }

    fn name_duplicate(&self, transaction: &Transaction, error: StreamError) -> StreamError {
        let numbers = transaction.tables();
        let tables: Vec<&str> = numbers.iter().map(|&table| self.table(table)).collect();
        duplicate(&tables.join("` or `"), &self.shard, error)
    }

    pub fn missing(&self, table: u32, statement: &[u8], affected: u64) -> StreamError {
        let statement = String::from_utf8_lossy(statement);
        let row = statement.rfind(" WHERE ").map_or("", |at| &statement[at..]);
        let row: String = row.trim_end_matches(';').chars().take(200).collect();
        StreamError::Refused(format!(
            "the row of table `{}`{row} that the source changed was found {affected} times on target shard {}: its rows were changed by others than the stream; a comparison (`vtplan workflow vdiff`) shows which, cancel the workflow and start it again to copy anew",
            self.table(table),
            self.shard
        ))
    }
}

/// The table and the statement that is to be about one row, if it is.
fn exactly<'a>(op: &Op, statement: &'a [u8]) -> Option<(u32, &'a [u8])> {
    op.exact.then_some((op.table, statement))
}

/// Whether a row is in the way of another.
pub fn is_duplicate(error: &StreamError) -> bool {
    error.code().is_some_and(|code| DUPLICATE.contains(&code))
}

/// ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK: the transaction was rolled back, or is to be.
pub fn is_passing(error: &StreamError) -> bool {
    matches!(error.code(), Some(1205 | 1213))
}
