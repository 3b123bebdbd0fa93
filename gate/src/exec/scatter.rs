//! Reads over several shards: rows concatenated as they come.

use std::io;

use bytes::{Buf as _, BytesMut};

use super::forward::ForwardError;
use super::single::put_statement;
use super::stale::{Stale, placed};
use super::{Failure, Request};
use crate::backend::{BackendError, Conn, put_command};
use crate::plan::{QueryPlan, Scatter};
use crate::protocol::SqlError;
use crate::protocol::codec::Reader;
use crate::protocol::constants::{MAX_PACKET, com, status};
use crate::protocol::framing::{CHUNK, HEADER, payload_length, read_more};
use crate::protocol::messages::{OkPacket, parse_error, put_rows_end};
use crate::protocol::scan::Answer;
use crate::session::{Held, Session, gone};
use crate::topology::Snapshot;

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
                    let stale =
                        Stale::of_plan(plan, &error).filter(|_| fresh && !passed && !self.reserved);
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
