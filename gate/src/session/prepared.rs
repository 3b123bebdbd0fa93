//! Prepared statements of the client.

use super::statement::Patience;
use super::{Session, Statement};
use crate::exec::stale::{Stale, placed};
use crate::exec::{Bound, Failure, Request};
use crate::plan::{Action, PlanContext, QueryPlan};
use crate::protocol::SqlError;
use crate::protocol::codec::Reader;
use crate::protocol::constants::types;
use crate::protocol::framing::{Message, put_with};
use crate::protocol::messages::{OkPacket, put_rows_end};
use crate::protocol::params::{Execute, ParamError};
use crate::protocol::prepare::PrepareOk;
use crate::topology::Snapshot;

/// Prepared statements that a session may have.
const MAX_STATEMENTS: usize = 16_382;

impl Session {
    pub(super) async fn com_prepare(&mut self, sql: &[u8]) -> Result<(), Failure> {
        self.clear_diagnostics();
        if self.statements.len() >= MAX_STATEMENTS {
            let message = format!(
                "Can't create more than max_prepared_stmt_count statements (current value: {MAX_STATEMENTS})"
            );
            return Err(SqlError::new(1461, b"42000", message).into());
        }
        let mut patience = Patience::default();
        loop {
            match self.prepare(sql, &mut patience).await {
                Err(Failure::Again(error, stale)) => {
                    self.wait_again(error, stale, &mut patience).await?;
                }
                result => return result,
            }
        }
    }

    async fn prepare(&mut self, sql: &[u8], patience: &mut Patience) -> Result<(), Failure> {
        let snapshot = self.shared.topology.snapshot();
        patience.revision = snapshot.serving_revision();
        let context = PlanContext {
            target: &self.target,
            sql_mode: self.modes,
            values: self.values,
        };
        let planner = &self.shared.planner;
        let prepared = planner.prepare(&snapshot.catalog, &context, sql)?;
        let id = self.next_statement;
        let mut ok = PrepareOk {
            statement_id: id,
            columns: 0,
            params: u16::try_from(prepared.parameters()).map_err(|_| {
                let message = "Prepared statement contains too many placeholders";
                SqlError::new(1390, b"HY000", message)
            })?,
            warnings: 0,
        };
        let mut definitions = Vec::new();
        if let Some(part) = prepared.describe() {
            let plan = QueryPlan {
                props: crate::plan::Props {
                    is_read: true,
                    ..crate::plan::Props::default()
                },
                tablet_type: self.target.tablet_type,
                touches: Default::default(),
                recorded: None,
                beside: None,
                action: Action::Single(part.clone()),
            };
            let text = match &part.sql {
                crate::plan::Sql::Original => prepared.text().clone(),
                crate::plan::Sql::Rewritten(text) => text.clone(),
                crate::plan::Sql::Bound(text) => text.as_ref().into(),
            };
            (ok, definitions) = self.describe(&snapshot, &plan, part, &text).await?;
            ok.statement_id = id;
        }
        self.next_statement = self.next_statement.wrapping_add(1).max(1);
        self.statements.insert(
            id,
            Statement {
                params: ok.params,
                prepared,
                types: Vec::new(),
                long_data: Vec::new(),
            },
        );
        self.out.clear();
        put_with(&mut self.out, &mut self.sequence, |out| ok.put_payload(out));
        if definitions.is_empty() && ok.params > 0 {
            // Of a statement that only the gate knows: parameters without a type.
            let column = crate::protocol::messages::Column::text("?");
            for _ in 0..ok.params {
                column.put(&mut self.out, &mut self.sequence);
            }
            if !self.deprecate_eof() {
                put_rows_end(&mut self.out, &mut self.sequence, 0, &OkPacket::default());
            }
        }
        for definition in definitions {
            put_with(&mut self.out, &mut self.sequence, |out| {
                out.extend_from_slice(definition.payload());
            });
        }
        self.flush().await.map_err(Failure::Client)
    }

    /// Prepares a statement on a server to learn its columns. Tried again on another connection if
    /// a pooled one turns out dead.
    async fn describe(
        &mut self,
        snapshot: &Snapshot,
        plan: &QueryPlan,
        part: &crate::plan::ShardSql,
        text: &std::sync::Arc<[u8]>,
    ) -> Result<(PrepareOk, Vec<Message>), Failure> {
        let mut retried = false;
        loop {
            let mut held = self.acquire(snapshot, &part.shard, plan, text).await?;
            match held.pooled.conn.prepare_fresh(text).await {
                Ok(described) => {
                    self.put_back(held);
                    return Ok(described);
                }
                Err(crate::backend::BackendError::Sql(error)) => {
                    let fresh = !held.kept;
                    let error = placed(error, &held);
                    self.put_back(held);
                    return Err(match Stale::of(&error).filter(|_| fresh) {
                        Some(stale) => Failure::Again(error, stale),
                        None => Failure::Sql(error),
                    });
                }
                Err(_) if !retried && !held.kept => retried = true,
                Err(error) => {
                    let fatal = held.kept;
                    let error = crate::exec::backend_failure(&held.tablet.alias, error);
                    return Err(if fatal {
                        Failure::Fatal(error)
                    } else {
                        Failure::Sql(error)
                    });
                }
            }
        }
    }

    pub(super) async fn com_execute(&mut self, payload: &[u8]) -> bool {
        let id = payload.get(1..5).and_then(|b| b.first_chunk::<4>());
        let id = id.map(|b| u32::from_le_bytes(*b)).unwrap_or_default();
        let Some(mut statement) = self.statements.remove(&id) else {
            let result = Err(unknown_statement(id, "mysqld_stmt_execute"));
            return self.report(result).await;
        };
        let result = self.execute_prepared(&mut statement, payload).await;
        statement.long_data.clear();
        self.statements.insert(id, statement);
        self.report(result).await
    }

    async fn execute_prepared(
        &mut self,
        statement: &mut Statement,
        payload: &[u8],
    ) -> Result<(), Failure> {
        let malformed = |e: ParamError| Failure::from(SqlError::malformed(e));
        let execute = Execute::parse(payload, statement.params).map_err(malformed)?;
        if let Some(types) = execute.types {
            statement.types.clear();
            statement.types.extend_from_slice(types);
        }
        // Data that was sent ahead stands for a value of a string type.
        for (param, _) in &statement.long_data {
            let at = 2 * usize::from(*param);
            if let Some(kind) = statement.types.get_mut(at)
                && !matches!(*kind, types::JSON..=types::GEOMETRY | types::VARCHAR)
            {
                *kind = types::LONG_BLOB;
            }
        }
        let values = execute
            .values(&statement.types, &statement.long_data)
            .map_err(malformed)?;
        let text = statement.prepared.text().clone();
        let request = Request {
            sql: &text,
            message: None,
            prepared: Some(Bound {
                statement,
                execute: &execute,
            }),
            more: false,
        };
        self.statement(&request, &values).await
    }

    /// Has no answer: what is wrong with it is told when the statement is executed.
    pub(super) fn com_long_data(&mut self, body: &[u8]) -> bool {
        let mut reader = Reader::new(body);
        let (Ok(id), Ok(param)) = (reader.u32(), reader.u16()) else {
            return true;
        };
        let limit = self.shared.config.max_allowed_packet;
        if let Some(statement) = self.statements.get_mut(&id)
            && param < statement.params
        {
            let list = &mut statement.long_data;
            let at = list.iter().position(|(p, _)| *p == param);
            let at = at.unwrap_or_else(|| {
                list.push((param, Vec::new()));
                list.len() - 1
            });
            let total: usize = list.iter().map(|(_, d)| d.len()).sum();
            if total + reader.rest().len() > limit {
                // As a server does when a client fills its memory: the session ends.
                return false;
            }
            list[at].1.extend_from_slice(reader.rest());
        }
        true
    }

    pub(super) async fn com_stmt_reset(&mut self, body: &[u8]) -> Result<(), Failure> {
        let id = body.first_chunk::<4>().map(|b| u32::from_le_bytes(*b));
        let id = id.unwrap_or_default();
        match self.statements.get_mut(&id) {
            Some(statement) => statement.long_data.clear(),
            None => return Err(unknown_statement(id, "mysqld_stmt_reset")),
        }
        self.put_ok(false).await.map_err(Failure::Client)
    }
}

fn unknown_statement(id: u32, what: &str) -> Failure {
    let message = format!("Unknown prepared statement handler ({id}) given to {what}");
    SqlError::new(1243, b"HY000", message).into()
}
