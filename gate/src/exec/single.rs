//! Statements that one server answers.

use std::sync::Arc;

use super::forward::{ForwardError, Forwarded, forward_answer};
use super::stale::{Stale, is_whole, placed};
use super::{Failure, Request, backend_failure};
use crate::backend::{BackendError, Conn, put_command};
use crate::plan::{Props, QueryPlan, ShardSql, Sql};
use crate::protocol::SqlError;
use crate::protocol::constants::{caps, com};
use crate::protocol::framing::put_with;
use crate::protocol::scan::{Answer, Scanner};
use crate::session::{Held, Session};
use crate::topology::Snapshot;

/// `ER_UNKNOWN_STMT_HANDLER`: the server forgot a prepared statement.
const UNKNOWN_STATEMENT: u16 = 1243;

impl Session {
    /// Runs a statement on one shard and passes the answer through.
    pub(crate) async fn single(
        &mut self,
        snapshot: &Snapshot,
        plan: &QueryPlan,
        part: &ShardSql,
        request: &Request<'_>,
    ) -> Result<(), Failure> {
        let mut retried = false;
        loop {
            let mut held = self
                .acquire(snapshot, &part.shard, plan, request.sql)
                .await?;
            // Nothing that was done before would be lost with the statement.
            let apart = !held.begun && !held.pooled.conn.in_transaction();
            // A server may have gone since the connection was used last. What changes nothing
            // is then tried once more, on a new connection.
            let repeatable = plan.props.is_read && !held.kept;
            let answer = self.run_on(&mut held, &part.sql, request).await;
            match answer {
                Ok(Forwarded::Passed(answer, _)) => {
                    return self.settle(held, &plan.props, answer).await;
                }
                Ok(Forwarded::Refused(error)) => {
                    let error = placed(error, &held);
                    let stale =
                        Stale::of_plan(plan, &error).filter(|_| apart && is_whole(&plan.props));
                    if let Some(stale) = stale {
                        self.withdraw(held).await;
                        return Err(Failure::Again(error, stale));
                    }
                    self.put_sql_error(&error).await.map_err(Failure::Client)?;
                    let answer = Answer {
                        error: Some(error),
                        ..Answer::default()
                    };
                    return self.settle(held, &plan.props, answer).await;
                }
                Err(ForwardError::Backend { passed: false, why }) if repeatable => {
                    let tablet = held.tablet.alias.clone();
                    self.close([held]);
                    if retried {
                        let error = SqlError::server_lost(tablet, why);
                        return Err(Failure::Again(error, Stale::Gone));
                    }
                    retried = true;
                }
                Err(error) => return Err(self.lost(held, error)),
            }
        }
    }

    /// Gives back the connection of a statement that the server refused and that is going to be
    /// tried elsewhere.
    async fn withdraw(&mut self, mut held: Held) {
        if held.begun || !self.autocommit {
            if held.pooled.conn.execute("ROLLBACK").await.is_err() {
                self.close([held]);
                return;
            }
            held.begun = false;
        }
        self.put_back(held);
    }

    async fn run_on(
        &mut self,
        held: &mut Held,
        sql: &Sql,
        request: &Request<'_>,
    ) -> Result<Forwarded, ForwardError> {
        let begin = self.begin_on(held).await?;
        let conn = &mut *held.pooled.conn;
        let direct = match (sql, request.message, &request.prepared) {
            (Sql::Original, Some(message), None) if !begin => message.as_command(),
            _ => None,
        };
        if let Some(bytes) = direct {
            conn.send(bytes).await?;
        } else {
            let mut out = std::mem::take(&mut self.out);
            out.clear();
            if begin {
                put_command(&mut out, com::QUERY, b"BEGIN");
            }
            let put = put_statement(conn, sql, request, &mut out).await;
            let sent = match put {
                Ok(()) => conn.send(&out).await,
                Err(error) => Err(error),
            };
            out.clear();
            self.out = out;
            match sent {
                Ok(()) => {}
                // The server refused to prepare it: that is the answer.
                Err(BackendError::Sql(error)) => {
                    if begin {
                        held.begun = false;
                    }
                    return Ok(Forwarded::Refused(error));
                }
                Err(error) => return Err(error.into()),
            }
            if begin {
                conn.read_ok().await?;
            }
        }
        let deprecate_eof = self.has(caps::DEPRECATE_EOF);
        let scanner = Scanner::new(deprecate_eof, self.sequence, request.more);
        let forwarded = forward_answer(conn, &mut self.stream, &mut self.inbuf, scanner).await?;
        match &forwarded {
            Forwarded::Passed(_, next) => self.sequence = *next,
            Forwarded::Refused(error) => {
                if let Some(bound) = &request.prepared
                    && error.code == UNKNOWN_STATEMENT
                {
                    conn.forget(bound.statement.prepared.text());
                }
            }
        }
        Ok(forwarded)
    }

    /// After an answer: keeps or gives back the connection, and remembers what the answer said.
    pub(crate) async fn settle(
        &mut self,
        mut held: Held,
        props: &Props,
        answer: Answer,
    ) -> Result<(), Failure> {
        self.remember(&answer);
        let mut complaint = answer.ok.warnings > 0;
        if let Some(error) = &answer.error {
            complaint = true;
            self.errors(error.code);
            if held.kept || held.begun || self.in_transaction() {
                self.learn_status(&mut held).await?;
            }
        } else if held.begun && !held.pooled.conn.in_transaction() {
            // A statement that commits by itself.
            held.begun = false;
            self.transaction = None;
        }
        if props.calc_found_rows && answer.error.is_none() {
            let rows = held.pooled.conn.query(b"SELECT FOUND_ROWS()").await;
            if let Ok(rows) = rows
                && let Some(Some(value)) = rows.rows.first().and_then(|r| r.first())
            {
                let text = String::from_utf8_lossy(value);
                self.values.found_rows = text.parse().unwrap_or(self.values.found_rows);
            }
        }
        if self.must_keep(&held) {
            if complaint {
                self.diagnostics.on_held(&held);
            }
            self.keep(held);
        } else if complaint {
            self.handle
                .running
                .remove(&held.tablet.pool, held.pooled.conn.thread_id);
            self.diagnostics.pin(held);
        } else {
            self.give_back(held);
        }
        Ok(())
    }

    /// After an error within a transaction: the server may have rolled all of it back (a
    /// deadlock). Its answer to a ping says so.
    async fn learn_status(&mut self, held: &mut Held) -> Result<(), Failure> {
        let mut out = Vec::new();
        put_command(&mut out, com::PING, &[]);
        let conn = &mut held.pooled.conn;
        let pinged = match conn.send(&out).await {
            Ok(()) => conn.read_ok().await,
            Err(error) => Err(error),
        };
        if let Err(error) = pinged {
            let error = backend_failure(&held.tablet.alias, error);
            // The error of the statement itself has been passed on: only the end is left.
            return Err(Failure::Client(std::io::Error::other(error.message)));
        }
        if held.begun && !held.pooled.conn.in_transaction() {
            held.begun = false;
            self.transaction = None;
            self.roll_back_held().await;
        }
        Ok(())
    }

    /// A connection broke with a statement on it.
    pub(crate) fn lost(&mut self, held: Held, error: ForwardError) -> Failure {
        let tablet = held.tablet.alias.clone();
        let in_transaction = held.kept || held.begun;
        if !matches!(error, ForwardError::Client(_)) {
            let thread = held.pooled.conn.thread_id;
            self.handle.running.remove(&held.tablet.pool, thread);
        }
        drop(held);
        match error {
            ForwardError::Client(error) => Failure::Client(error),
            ForwardError::LocalInfile => SqlError::unsupported(
                "LOAD DATA LOCAL INFILE (use LOAD DATA INFILE on the server, or INSERT)",
            )
            .into(),
            ForwardError::Backend { why, passed } => {
                let error = SqlError::server_lost(tablet, why);
                if in_transaction || passed {
                    // The session's state on the server is gone, as if that server had been
                    // connected to directly.
                    Failure::Fatal(error)
                } else {
                    Failure::Sql(error)
                }
            }
        }
    }
}

/// Appends the command that runs a statement on a connection, which is prepared there first if
/// need be.
pub(crate) async fn put_statement(
    conn: &mut Conn,
    sql: &Sql,
    request: &Request<'_>,
    out: &mut Vec<u8>,
) -> Result<(), BackendError> {
    let Some(bound) = &request.prepared else {
        match (sql, request.message) {
            (Sql::Original, Some(message)) => message.put_command(out),
            (Sql::Original, None) => put_command(out, com::QUERY, request.sql),
            (Sql::Rewritten(text), _) => put_command(out, com::QUERY, text),
            (Sql::Bound(text), _) => put_command(out, com::QUERY, text),
        }
        return Ok(());
    };
    let text: Arc<[u8]> = match sql {
        Sql::Original => bound.statement.prepared.text().clone(),
        Sql::Rewritten(text) => text.clone(),
        Sql::Bound(text) => {
            // Values stand in the text. It is prepared all the same, so that rows come in the
            // form that the client expects.
            let text: Arc<[u8]> = text.as_ref().into();
            let id = conn.prepared(&text).await?;
            put_with(out, &mut 0, |out| {
                out.push(com::STMT_EXECUTE);
                out.extend_from_slice(&id.to_le_bytes());
                out.extend_from_slice(&[0, 1, 0, 0, 0]);
            });
            return Ok(());
        }
    };
    let id = conn.prepared(&text).await?;
    for (param, data) in &bound.statement.long_data {
        // Long data goes in pieces of any size, each at most a packet.
        for piece in data
            .chunks(8 << 20)
            .chain(data.is_empty().then_some(&[][..]))
        {
            put_with(out, &mut 0, |out| {
                out.push(com::STMT_SEND_LONG_DATA);
                out.extend_from_slice(&id.to_le_bytes());
                out.extend_from_slice(&param.to_le_bytes());
                out.extend_from_slice(piece);
            });
        }
    }
    put_with(out, &mut 0, |out| {
        bound.execute.put(out, id, &bound.statement.types);
    });
    Ok(())
}
