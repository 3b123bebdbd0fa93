//! Statements over several shards: rows concatenated as they come, affected rows added up.

use std::io;

use bytes::{Buf as _, BytesMut};
use futures::future::join_all;
use tokio::io::AsyncWriteExt as _;

use super::forward::ForwardError;
use super::single::put_statement;
use super::stale::{Stale, placed};
use super::{Failure, Request, backend_failure};
use crate::backend::{BackendError, Conn, put_command};
use crate::plan::{InsertWithSequence, QueryPlan, Scatter, ShardSql, Sql};
use crate::protocol::SqlError;
use crate::protocol::codec::Reader;
use crate::protocol::constants::{MAX_PACKET, caps, com, status};
use crate::protocol::framing::{CHUNK, HEADER, payload_length, read_more};
use crate::protocol::messages::{OkPacket, parse_error, put_ok, put_rows_end};
use crate::protocol::scan::Answer;
use crate::session::{Held, Session, Transaction, gone};
use crate::topology::Snapshot;

/// Where a statement of the client's transaction can be undone on all shards if one fails.
const SAVEPOINT: &str = "_vtplan_statement";

impl Session {
    /// Rows of several shards, one shard's after the other's. All servers work at once; what is
    /// not read yet waits in their sockets, so memory is bounded.
    pub(crate) async fn scatter(
        &mut self,
        snapshot: &Snapshot,
        plan: &QueryPlan,
        scatter: &Scatter,
        request: &Request<'_>,
    ) -> Result<(), Failure> {
        let mut retried = false;
        loop {
            let mut parts = self
                .acquire_all(snapshot, plan, &scatter.parts, request.sql)
                .await?;
            // Reads, and each part on a connection of its own: it can be done again.
            let fresh = plan.props.is_read && parts.iter().all(|held| !held.kept);
            let first = self.sequence;
            self.out.clear();
            let mut passed = false;
            let result = self
                .scatter_on(&mut parts, scatter, request, &mut passed)
                .await;
            match result {
                Ok(()) => {
                    for held in parts {
                        self.put_back(held);
                    }
                    return Ok(());
                }
                Err(ScatterError::Sql(at, error)) => {
                    let error = placed(error, &parts[at]);
                    let stale = Stale::of(&error).filter(|_| fresh && !passed && !self.reserved);
                    if let Some(stale) = stale {
                        self.sequence = first;
                        self.close(parts);
                        return Err(Failure::Again(error, stale));
                    }
                    // What others have sent is of no use. Connections of the session are read to
                    // the end, others are closed.
                    self.values.row_count = -1;
                    for held in parts {
                        if self.must_keep(&held) {
                            self.keep(held);
                        } else {
                            self.close([held]);
                        }
                    }
                    return Err(error.into());
                }
                Err(ScatterError::Lost(at, why)) if !passed && fresh => {
                    self.sequence = first;
                    let tablet = parts[at].tablet.alias.clone();
                    self.close(parts);
                    if retried {
                        let error = SqlError::server_lost(tablet, why);
                        return Err(Failure::Again(error, Stale::Gone));
                    }
                    retried = true;
                }
                Err(ScatterError::Lost(at, why)) => {
                    let held = parts.swap_remove(at);
                    return Err(self.lost(held, ForwardError::Backend { why, passed }));
                }
                // The servers are told when the session ends.
                Err(ScatterError::Client(error)) => return Err(Failure::Client(error)),
            }
        }
    }

    async fn scatter_on(
        &mut self,
        parts: &mut [Held],
        scatter: &Scatter,
        request: &Request<'_>,
        passed: &mut bool,
    ) -> Result<(), ScatterError> {
        for (at, (held, part)) in parts.iter_mut().zip(&scatter.parts).enumerate() {
            let begin = self.begin_on(held).await.map_err(|e| forward(at, e))?;
            let mut out = Vec::new();
            if begin {
                put_command(&mut out, com::QUERY, b"BEGIN");
            }
            let conn = &mut *held.pooled.conn;
            let sent = async {
                put_statement(conn, &part.sql, request, &mut out).await?;
                conn.send(&out).await?;
                if begin {
                    conn.read_ok().await?;
                }
                Ok(())
            };
            sent.await.map_err(|e| backend(at, e))?;
        }
        let mut merged = Merged {
            left: scatter.limit.unwrap_or(u64::MAX),
            ..Merged::default()
        };
        let mut failed = None;
        for (at, held) in parts.iter_mut().enumerate() {
            if failed.is_some() && !self.must_keep(held) {
                continue;
            }
            let mute = failed.is_some();
            let conn = &mut *held.pooled.conn;
            match self.pass_rows(conn, at, &mut merged, mute, passed).await {
                Ok(()) => {}
                Err(ScatterError::Sql(at, error)) => {
                    failed.get_or_insert((at, error));
                }
                Err(error) => return Err(error),
            }
        }
        if let Some((at, error)) = failed {
            return Err(ScatterError::Sql(at, error));
        }
        let in_transaction = parts.iter().any(|h| h.pooled.conn.in_transaction());
        let ok = OkPacket {
            status: self.status_with(in_transaction, request.more),
            warnings: merged.warnings,
            ..OkPacket::default()
        };
        put_rows_end(&mut self.out, &mut self.sequence, self.capabilities, &ok);
        self.flush().await.map_err(ScatterError::Client)?;
        self.remember(&Answer {
            ok,
            error: None,
            rows: Some(merged.rows),
        });
        Ok(())
    }

    /// Reads one shard's answer and passes its rows on; of the first also the columns. `mute`: it
    /// is only read to its end.
    async fn pass_rows(
        &mut self,
        conn: &mut Conn,
        at: usize,
        merged: &mut Merged,
        mute: bool,
        passed: &mut bool,
    ) -> Result<(), ScatterError> {
        let head_wanted = at == 0 && !mute;
        let broken = || ScatterError::Lost(at, "its answer makes no sense".to_owned());
        let length = self.next_packet(conn, at).await?;
        match conn.inbuf.get(HEADER) {
            Some(0xff) => {
                let error = parse_error(&conn.inbuf[HEADER..HEADER + length]);
                conn.inbuf.advance(HEADER + length);
                return Err(ScatterError::Sql(at, error));
            }
            Some(0) | None => return Err(broken()),
            Some(0xfb) => {
                return Err(ScatterError::Lost(
                    at,
                    "it asks for a local file".to_owned(),
                ));
            }
            _ => {}
        }
        let columns = Reader::new(&conn.inbuf[HEADER..HEADER + length]).lenenc();
        let columns = columns.map_err(|_| broken())?;
        let eof = u64::from(!conn.variant.deprecate_eof);
        self.pass_packet(&mut conn.inbuf, length, head_wanted);
        for _ in 0..columns + eof {
            let length = self.next_packet(conn, at).await?;
            self.pass_packet(&mut conn.inbuf, length, head_wanted);
        }
        let mut continued = false;
        let mut wanted = false;
        loop {
            let length = self.next_packet(conn, at).await?;
            let kind = if length > 0 { conn.inbuf[HEADER] } else { 0 };
            if !continued {
                let payload = &conn.inbuf[HEADER..HEADER + length];
                if kind == 0xff {
                    let error = parse_error(payload);
                    conn.inbuf.advance(HEADER + length);
                    return Err(ScatterError::Sql(at, error));
                }
                if kind == 0xfe && length < MAX_PACKET {
                    let (flags, warnings) = if conn.variant.deprecate_eof {
                        let ok = OkPacket::parse(payload).map_err(|_| broken())?;
                        (ok.status, ok.warnings)
                    } else {
                        let mut reader = Reader::new(&payload[1..]);
                        let warnings = reader.u16().map_err(|_| broken())?;
                        (reader.u16().map_err(|_| broken())?, warnings)
                    };
                    conn.status = flags;
                    conn.inbuf.advance(HEADER + length);
                    if flags & status::MORE_RESULTS_EXISTS != 0 {
                        return Err(broken());
                    }
                    merged.warnings = merged.warnings.saturating_add(warnings);
                    return Ok(());
                }
                wanted = !mute && merged.left > 0;
                if wanted {
                    merged.left -= 1;
                    merged.rows += 1;
                }
            }
            continued = length == MAX_PACKET;
            self.pass_packet(&mut conn.inbuf, length, wanted);
            if self.out.len() >= CHUNK {
                *passed = true;
                self.flush().await.map_err(ScatterError::Client)?;
            }
        }
    }

    /// Waits for a whole packet at the front of the connection's buffer; returns its payload's length.
    async fn next_packet(&mut self, conn: &mut Conn, at: usize) -> Result<usize, ScatterError> {
        loop {
            if conn.inbuf.len() >= HEADER {
                let length = payload_length(&conn.inbuf);
                if conn.inbuf.len() >= HEADER + length {
                    return Ok(length);
                }
            }
            tokio::select! {
                biased;
                read = read_more(&mut conn.stream, &mut conn.inbuf) => {
                    read.map_err(|e| ScatterError::Lost(at, e.to_string()))?;
                }
                error = gone(&mut self.stream, &mut self.inbuf) => {
                    return Err(ScatterError::Client(error));
                }
            }
        }
    }

    /// Closes connections, of which nothing more is wanted.
    pub(crate) fn close(&self, parts: impl IntoIterator<Item = Held>) {
        for held in parts {
            let thread = held.pooled.conn.thread_id;
            self.handle.running.remove(&held.tablet.pool, thread);
        }
    }

    /// Moves a packet from `buf` to the output, with the client's next sequence number.
    fn pass_packet(&mut self, buf: &mut BytesMut, length: usize, wanted: bool) {
        if wanted {
            let start = self.out.len();
            self.out.extend_from_slice(&buf[..HEADER + length]);
            self.out[start + 3] = self.sequence;
            self.sequence = self.sequence.wrapping_add(1);
        }
        buf.advance(HEADER + length);
    }

    /// Connections for all parts, in the parts' order. If one cannot be had, all are given back.
    async fn acquire_all(
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
                    Failure::Sql(error) if alone => match Stale::of(&error) {
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

    async fn dml_on(
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
        let mut sum = OkPacket::default();
        let mut error = None;
        let mut lost = false;
        for (held, result) in all.iter().zip(results) {
            match result {
                Ok(ok) => {
                    sum.affected_rows = sum.affected_rows.saturating_add(ok.affected_rows);
                    sum.warnings = sum.warnings.saturating_add(ok.warnings);
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

enum ScatterError {
    /// The server of this part says it.
    Sql(usize, SqlError),
    /// The connection of this part broke.
    Lost(usize, String),
    Client(io::Error),
}

fn backend(at: usize, error: BackendError) -> ScatterError {
    match error {
        BackendError::Sql(error) => ScatterError::Sql(at, error),
        BackendError::Lost(why) => ScatterError::Lost(at, why),
    }
}

fn forward(at: usize, error: ForwardError) -> ScatterError {
    match error {
        ForwardError::Backend { why, .. } => ScatterError::Lost(at, why),
        ForwardError::LocalInfile => ScatterError::Lost(at, "it asks for a local file".to_owned()),
        ForwardError::Client(error) => ScatterError::Client(error),
    }
}

#[derive(Default)]
struct Merged {
    /// Rows that may still be passed on.
    left: u64,
    rows: u64,
    warnings: u16,
}

impl Session {
    /// Sends what is in the output buffer.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out).await?;
        self.out.clear();
        if self.out.capacity() > 4 * CHUNK {
            self.out = Vec::new();
        }
        if self.stream.is_tls() {
            self.stream.flush().await?;
        }
        Ok(())
    }

    /// Whether the client has a capability.
    pub(crate) fn has(&self, capability: u32) -> bool {
        self.capabilities & capability != 0
    }

    /// Status flags for an answer that the gate makes. `more`: another answer follows.
    pub(crate) fn status(&self, more: bool) -> u16 {
        self.status_with(false, more)
    }

    pub(crate) fn status_with(&self, in_transaction: bool, more: bool) -> u16 {
        let mut flags = 0;
        if self.autocommit {
            flags |= status::AUTOCOMMIT;
        }
        if in_transaction || self.in_transaction() {
            flags |= status::IN_TRANS;
        }
        if more {
            flags |= status::MORE_RESULTS_EXISTS;
        }
        if self
            .transaction
            .as_ref()
            .is_some_and(|t| t.read_only == Some(true))
        {
            flags |= status::IN_TRANS_READONLY;
        }
        flags
    }

    /// Answers OK.
    pub(crate) async fn put_ok(&mut self, more: bool) -> io::Result<()> {
        let ok = OkPacket {
            status: self.status(more),
            ..OkPacket::default()
        };
        self.out.clear();
        put_ok(&mut self.out, &mut self.sequence, &ok);
        self.flush().await
    }

    /// Answers with an error.
    pub(crate) async fn put_sql_error(&mut self, error: &SqlError) -> io::Result<()> {
        self.out.clear();
        crate::protocol::messages::put_error(&mut self.out, &mut self.sequence, error);
        self.flush().await
    }

    /// Whether the client's EOF form is the new one.
    pub(crate) fn deprecate_eof(&self) -> bool {
        self.has(caps::DEPRECATE_EOF)
    }
}
