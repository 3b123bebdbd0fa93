//! Writes over several shards: affected rows added up, done on all or on none as far as the
//! session's transaction is. DDL on every shard.

use futures::future::join_all;

use super::forward::ForwardError;
use super::single::put_statement;
use super::stale::{Stale, placed};
use super::{Failure, Request, backend_failure};
use crate::backend::{BackendError, put_command};
use crate::plan::{InsertWithSequence, QueryPlan, Scatter, ShardSql, Sql};
use crate::protocol::constants::{com, status};
use crate::protocol::messages::{OkPacket, put_ok};
use crate::protocol::scan::Answer;
use crate::session::{Held, Session, Transaction};
use crate::topology::Snapshot;

/// Where a statement of the client's transaction can be undone on all shards if one fails.
pub(super) const SAVEPOINT: &str = "_vtplan_statement";

impl Session {
    /// Closes connections, of which nothing more is wanted.
    pub(crate) fn close(&self, parts: impl IntoIterator<Item = Held>) {
        for held in parts {
            let thread = held.pooled.conn.thread_id;
            self.handle.running.remove(&held.tablet.pool, thread);
        }
    }

    /// Connections for all parts, in the parts' order. If one cannot be had, all are given back.
    pub(super) async fn acquire_all(
        &mut self,
        snapshot: &Snapshot,
        plan: &QueryPlan,
        parts: &[ShardSql],
        sql: &[u8],
    ) -> Result<Vec<Held>, Failure> {
        let mut all = Vec::with_capacity(parts.len());
        for part in parts {
            match self.acquire(snapshot, &part.shard, plan, sql).await {
                Ok(held) => all.push(held),
                Err(error) => {
                    for held in all {
                        self.put_back(held);
                    }
                    return Err(error);
                }
            }
        }
        Ok(all)
    }

    pub(crate) fn put_back(&mut self, held: Held) {
        if self.must_keep(&held) {
            self.keep(held);
        } else {
            self.give_back(held);
        }
    }

    /// DML on one or more shards, with one answer: affected rows are added up. On several shards
    /// it is done on all or on none, as far as [`Session::commit_all`] can.
    pub(crate) async fn dml(
        &mut self,
        snapshot: &Snapshot,
        plan: &QueryPlan,
        parts: &[ShardSql],
        request: &Request<'_>,
        insert_id: Option<u64>,
    ) -> Result<(), Failure> {
        let several = parts.len() > 1;
        let alone = self.transaction.is_none() && self.autocommit;
        let own = several && alone;
        if own {
            self.transaction = Some(Transaction::default());
        }
        let result = self
            .dml_on(snapshot, plan, parts, request, several && !own)
            .await;
        let mut ok = match result {
            Ok(ok) => ok,
            Err(failure) => {
                if own {
                    self.roll_back_all().await;
                }
                return Err(match failure {
                    // Nothing is left of it.
                    Failure::Sql(error) if alone => match Stale::of_plan(plan, &error) {
                        Some(stale) => Failure::Again(error, stale),
                        None => Failure::Sql(error),
                    },
                    failure => failure,
                });
            }
        };
        if own {
            self.commit_all().await?;
        }
        if let Some(id) = insert_id {
            ok.last_insert_id = id;
        }
        self.answer_ok(ok, request).await
    }

    /// Tells the client what a write has done.
    pub(super) async fn answer_ok(
        &mut self,
        mut ok: OkPacket,
        request: &Request<'_>,
    ) -> Result<(), Failure> {
        self.remember(&Answer {
            ok,
            error: None,
            rows: None,
        });
        ok.status = self.status(request.more);
        self.out.clear();
        put_ok(&mut self.out, &mut self.sequence, &ok);
        self.flush().await.map_err(Failure::Client)
    }

    pub(super) async fn dml_on(
        &mut self,
        snapshot: &Snapshot,
        plan: &QueryPlan,
        parts: &[ShardSql],
        request: &Request<'_>,
        savepoint: bool,
    ) -> Result<OkPacket, Failure> {
        let mut all = self.acquire_all(snapshot, plan, parts, request.sql).await?;
        let mut commands = Vec::with_capacity(all.len());
        let mut failed = None;
        for (held, part) in all.iter_mut().zip(parts) {
            match self.dml_command(held, part, request, savepoint).await {
                Ok(command) => commands.push(command),
                Err(error) => {
                    failed = Some((held.tablet.alias.clone(), error));
                    break;
                }
            }
        }
        if let Some((tablet, error)) = failed {
            let lost = matches!(error, BackendError::Lost(_));
            let error = backend_failure(tablet, error);
            if lost && (self.transaction.is_some() || !self.autocommit) {
                return Err(Failure::Fatal(error));
            }
            for held in all {
                self.put_back(held);
            }
            return Err(error.into());
        }
        let runs = all
            .iter_mut()
            .zip(commands)
            .map(async |(held, (out, before))| {
                let conn = &mut held.pooled.conn;
                conn.send(&out).await?;
                for _ in 0..before {
                    conn.read_ok().await?;
                }
                conn.read_ok().await
            });
        let results = self.unless_gone(join_all(runs)).await?;
        let mut sum = OkPacket {
            matched: Some(0),
            ..OkPacket::default()
        };
        let mut error = None;
        let mut lost = false;
        for (held, result) in all.iter().zip(results) {
            match result {
                Ok(ok) => {
                    sum.affected_rows = sum.affected_rows.saturating_add(ok.affected_rows);
                    sum.warnings = sum.warnings.saturating_add(ok.warnings);
                    sum.matched = sum.matched.zip(ok.matched).map(|(all, of)| all + of);
                    if sum.last_insert_id == 0 {
                        sum.last_insert_id = ok.last_insert_id;
                    }
                }
                Err(failure) => {
                    lost |= matches!(failure, BackendError::Lost(_));
                    let sql = placed(backend_failure(&held.tablet.alias, failure), held);
                    error.get_or_insert(sql);
                }
            }
        }
        let Some(error) = error else {
            for held in all {
                self.put_back(held);
            }
            return Ok(sum);
        };
        self.values.row_count = -1;
        if lost {
            // Dropping them all rolls back what is open; with a transaction of the client's, its
            // state is gone.
            return Err(if self.transaction.is_some() || !self.autocommit {
                Failure::Fatal(error)
            } else {
                Failure::Sql(error)
            });
        }
        self.undo_statement(&mut all, savepoint).await?;
        for held in all {
            self.put_back(held);
        }
        Err(error.into())
    }

    /// The bytes to send and how many OK packets come before the statement's own answer.
    async fn dml_command(
        &mut self,
        held: &mut Held,
        part: &ShardSql,
        request: &Request<'_>,
        savepoint: bool,
    ) -> Result<(Vec<u8>, usize), BackendError> {
        let begin = self.begin_on(held).await.map_err(|e| match e {
            ForwardError::Backend { why, .. } => BackendError::Lost(why),
            ForwardError::Client(e) => BackendError::Lost(e.to_string()),
            ForwardError::LocalInfile => BackendError::Lost("it asks for a file".to_owned()),
        })?;
        let (mut out, mut before) = (Vec::new(), 0);
        if begin {
            put_command(&mut out, com::QUERY, b"BEGIN");
            before += 1;
        }
        if savepoint {
            let sql = format!("SAVEPOINT {SAVEPOINT}");
            put_command(&mut out, com::QUERY, sql.as_bytes());
            before += 1;
        }
        match &part.sql {
            // The answer is an OK packet, the same in both forms of the protocol.
            Sql::Bound(text) => put_command(&mut out, com::QUERY, text),
            sql => put_statement(&mut held.pooled.conn, sql, request, &mut out).await?,
        }
        Ok((out, before))
    }

    /// A statement failed on some shard within the client's transaction: it must have no effect
    /// on the others either.
    async fn undo_statement(&mut self, all: &mut [Held], savepoint: bool) -> Result<(), Failure> {
        if !savepoint {
            return Ok(());
        }
        let sql = format!("ROLLBACK TO SAVEPOINT {SAVEPOINT}");
        for held in all.iter_mut() {
            match held.pooled.conn.execute(&sql).await {
                Ok(_) => {}
                // A deadlock has rolled all of it back on that shard, so nothing may remain
                // on the others.
                Err(BackendError::Sql(_)) => {
                    held.pooled.conn.status &= !status::IN_TRANS;
                    for other in all.iter_mut() {
                        let rolled_back = other.pooled.conn.execute("ROLLBACK").await;
                        rolled_back
                            .map_err(|e| Failure::Fatal(backend_failure(&other.tablet.alias, e)))?;
                        other.begun = false;
                    }
                    self.roll_back_all().await;
                    return Ok(());
                }
                Err(error) => {
                    return Err(Failure::Fatal(backend_failure(&held.tablet.alias, error)));
                }
            }
        }
        Ok(())
    }

    /// The same statement on every shard, outside of transactions: DDL. It goes on after an error,
    /// as nothing can be undone; the error says where it was done.
    pub(crate) async fn ddl(
        &mut self,
        snapshot: &Snapshot,
        plan: &QueryPlan,
        parts: &[ShardSql],
        request: &Request<'_>,
    ) -> Result<(), Failure> {
        if plan.props.returns_rows {
            let scatter = Scatter {
                parts: parts.to_vec(),
                limit: None,
            };
            return self.scatter(snapshot, plan, &scatter, request).await;
        }
        let mut all = self.acquire_all(snapshot, plan, parts, request.sql).await?;
        let runs = all.iter_mut().zip(parts).map(async |(held, part)| {
            let mut out = Vec::new();
            let conn = &mut held.pooled.conn;
            put_statement(conn, &part.sql, request, &mut out).await?;
            conn.send(&out).await?;
            conn.read_ok().await
        });
        let results = self.unless_gone(join_all(runs)).await?;
        let mut sum = OkPacket::default();
        let (mut done, mut error) = (Vec::new(), None);
        for (held, result) in all.into_iter().zip(results) {
            match result {
                Ok(ok) => {
                    done.push(held.shard.to_string());
                    sum.affected_rows += ok.affected_rows;
                    sum.warnings = sum.warnings.saturating_add(ok.warnings);
                    self.put_back(held);
                }
                Err(failure) => {
                    let lost = matches!(failure, BackendError::Lost(_));
                    let mut sql = backend_failure(&held.tablet.alias, failure);
                    sql.message = format!("{}: {}", held.shard, sql.message);
                    if !lost {
                        self.put_back(held);
                    }
                    error.get_or_insert(sql);
                }
            }
        }
        if let Some(mut error) = error {
            if !done.is_empty() {
                error.message = format!("{} (done on {})", error.message, done.join(", "));
            }
            return Err(error.into());
        }
        self.remember(&Answer {
            ok: sum,
            error: None,
            rows: None,
        });
        sum.status = self.status(request.more);
        self.out.clear();
        put_ok(&mut self.out, &mut self.sequence, &sum);
        self.flush().await.map_err(Failure::Client)
    }

    /// An INSERT that needs values of a sequence.
    pub(crate) async fn insert(
        &mut self,
        snapshot: &Snapshot,
        plan: &QueryPlan,
        insert: &InsertWithSequence,
        request: &Request<'_>,
    ) -> Result<(), Failure> {
        let shared = self.shared.clone();
        let first = shared
            .sequences
            .take(&shared.topology, snapshot, &insert.sequence);
        let first = self.attended(first).await??;
        let parts = insert.bind(first)?;
        self.dml(snapshot, plan, &parts, request, Some(first)).await
    }
}
