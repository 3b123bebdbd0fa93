//! The client's commands, one after the other.

use super::statement::Patience;
use super::{Diagnostics, Session, Statement};
use crate::exec::stale::{Stale, placed};
use crate::exec::{Bound, Failure, Request};
use crate::plan::{Action, GateStatement, PlanContext, QueryPlan, Target, split_statements};
use crate::protocol::SqlError;
use crate::protocol::codec::Reader;
use crate::protocol::constants::{caps, com, types};
use crate::protocol::framing::{Message, put_with};
use crate::protocol::handshake::{ClientHello, Handshake};
use crate::protocol::messages::{OkPacket, put_rows_end};
use crate::protocol::params::{Execute, ParamError};
use crate::protocol::prepare::PrepareOk;
use crate::topology::Snapshot;

/// Schemas that every server has. They are no keyspaces; the target stays what it was.
const SYSTEM_SCHEMAS: [&str; 4] = ["information_schema", "mysql", "performance_schema", "sys"];

/// Prepared statements that a session may have.
const MAX_STATEMENTS: usize = 16_382;

impl Session {
    /// Carries out one command; `false`: the session ends.
    pub(super) async fn command(&mut self, message: &Message) -> bool {
        let payload = message.payload();
        let Some((&command, body)) = payload.split_first() else {
            let error = SqlError::malformed("a command is empty");
            let _ = self.put_sql_error(&error).await;
            return false;
        };
        let result = match command {
            com::QUERY => return self.com_query(message).await,
            com::STMT_EXECUTE => return self.com_execute(payload).await,
            com::QUIT => return false,
            com::PING => self.put_ok(false).await.map_err(Failure::Client),
            com::INIT_DB => self.com_init_db(body).await,
            com::STMT_PREPARE => self.com_prepare(body).await,
            com::STMT_SEND_LONG_DATA => return self.com_long_data(body),
            com::STMT_CLOSE => {
                if let Some(id) = body.first_chunk::<4>() {
                    self.statements.remove(&u32::from_le_bytes(*id));
                }
                return true;
            }
            com::STMT_RESET => self.com_stmt_reset(body).await,
            com::STMT_FETCH => Err(SqlError::unsupported("cursors").into()),
            com::SET_OPTION => self.com_set_option(body).await,
            com::RESET_CONNECTION => {
                self.reset().await;
                self.put_ok(false).await.map_err(Failure::Client)
            }
            com::CHANGE_USER => return self.com_change_user(payload).await,
            com::STATISTICS => self.com_statistics().await,
            com::FIELD_LIST => self.com_field_list().await,
            com::PROCESS_KILL => match body.first_chunk::<4>() {
                Some(id) => {
                    let id = u64::from(u32::from_le_bytes(*id));
                    self.kill(id, false, false).await
                }
                None => Err(SqlError::malformed("COM_PROCESS_KILL").into()),
            },
            _ => Err(SqlError::new(1047, b"08S01", "Unknown command").into()),
        };
        self.report(result).await
    }

    /// Tells the client what failed; `false`: the session ends.
    async fn report(&mut self, result: Result<(), Failure>) -> bool {
        let (error, goes_on) = match result {
            Ok(()) => return true,
            Err(Failure::Client(error)) => {
                tracing::debug!(session = self.handle.id, %error, "the client is gone");
                return false;
            }
            Err(Failure::Sql(error) | Failure::Again(error, _)) => (error, true),
            Err(Failure::Fatal(error)) => (error, false),
        };
        self.errors(error.code);
        self.values.row_count = -1;
        if let Diagnostics::None = self.diagnostics {
            self.diagnostics.error(&error);
        }
        self.put_sql_error(&error).await.is_ok() && goes_on
    }

    async fn com_query(&mut self, message: &Message) -> bool {
        let sql = &message.payload()[1..];
        let several = self.has(caps::MULTI_STATEMENTS) && sql.contains(&b';');
        if several {
            let parts = split_statements(sql, self.modes);
            if parts.len() > 1 {
                return self.several(&parts).await;
            }
        }
        let request = Request {
            sql,
            message: Some(message),
            prepared: None,
            more: false,
        };
        let result = self.statement(&request, &[]).await;
        self.report(result).await
    }

    /// Statements of one message, until one fails.
    async fn several(&mut self, parts: &[&[u8]]) -> bool {
        for (i, sql) in parts.iter().enumerate() {
            let request = Request {
                sql,
                message: None,
                prepared: None,
                more: i + 1 < parts.len(),
            };
            let result = self.statement(&request, &[]).await;
            let failed = result.is_err() || self.last_failed;
            if !self.report(result).await {
                return false;
            }
            if failed {
                return true;
            }
        }
        true
    }

    pub(super) async fn gate_statement(
        &mut self,
        snapshot: &Snapshot,
        plan: &QueryPlan,
        statement: &GateStatement,
        request: &Request<'_>,
    ) -> Result<(), Failure> {
        let is_show = matches!(statement, GateStatement::Show(_));
        if !is_show {
            self.values.row_count = 0;
        }
        match statement {
            GateStatement::Use(name) => self.use_database(name)?,
            GateStatement::Set(assignments) => {
                return self.set(snapshot, plan, assignments, request).await;
            }
            GateStatement::Begin {
                read_only,
                consistent_snapshot,
            } => {
                let sharded = self.target.shard.is_none()
                    && self
                        .target
                        .keyspace
                        .as_ref()
                        .and_then(|k| {
                            let tablet_type = self.target.tablet_type;
                            snapshot.catalog.keyspace_for(k.as_str(), tablet_type)
                        })
                        .is_none_or(|k| k.shards.len() > 1);
                if *consistent_snapshot && sharded {
                    return Err(SqlError::unsupported(
                        "START TRANSACTION WITH CONSISTENT SNAPSHOT over several shards",
                    )
                    .into());
                }
                self.begin(*read_only, *consistent_snapshot).await?;
                if *consistent_snapshot {
                    // It counts from now on, not from the first statement.
                    let shard = self.any_shard(snapshot)?;
                    let mut held = self.acquire(snapshot, &shard, plan, request.sql).await?;
                    if let Err(error) = self.begin_on(&mut held).await {
                        return Err(self.lost(held, error));
                    }
                    self.keep(held);
                }
            }
            GateStatement::Commit { chain, release } => {
                let before = self.transaction.as_ref().map(|t| t.read_only);
                self.commit_all().await?;
                return self
                    .end_of_transaction(*chain, *release, before, request)
                    .await;
            }
            GateStatement::Rollback { chain, release } => {
                let before = self.transaction.as_ref().map(|t| t.read_only);
                self.roll_back_all().await;
                return self
                    .end_of_transaction(*chain, *release, before, request)
                    .await;
            }
            GateStatement::Savepoint(name) => self.savepoint("SAVEPOINT", name).await?,
            GateStatement::ReleaseSavepoint(name) => {
                self.savepoint("RELEASE SAVEPOINT", name).await?;
            }
            GateStatement::RollbackToSavepoint(name) => {
                self.savepoint("ROLLBACK TO SAVEPOINT", name).await?;
            }
            GateStatement::Show(show) => return self.show(snapshot, show, request).await,
            GateStatement::Kill {
                query_only,
                connection_id,
            } => return self.kill(*connection_id, *query_only, request.more).await,
            GateStatement::Empty => {
                return Err(SqlError::new(1065, b"42000", "Query was empty").into());
            }
        }
        self.put_ok(request.more).await.map_err(Failure::Client)
    }

    async fn end_of_transaction(
        &mut self,
        chain: bool,
        release: bool,
        read_only: Option<Option<bool>>,
        request: &Request<'_>,
    ) -> Result<(), Failure> {
        if chain {
            self.begin(read_only.flatten(), false).await?;
        }
        self.put_ok(request.more).await.map_err(Failure::Client)?;
        if release {
            self.handle.end();
        }
        Ok(())
    }

    /// `USE`, `COM_INIT_DB` and the database of the handshake.
    pub(super) fn use_database(&mut self, name: &str) -> Result<(), SqlError> {
        let snapshot = self.shared.topology.snapshot();
        let system = SYSTEM_SCHEMAS.iter().find(|s| s.eq_ignore_ascii_case(name));
        if let Some(system) = system {
            self.database = Some((*system).into());
            if self.target.keyspace.is_none() {
                let any = snapshot.catalog.keyspaces().find(|k| !k.shards.is_empty());
                self.target.keyspace = any.map(|k| k.name.clone());
            }
        } else {
            let target: Target = name.parse().map_err(SqlError::from)?;
            if let Some(keyspace) = &target.keyspace {
                let known = snapshot
                    .catalog
                    .require_keyspace(keyspace.as_str(), target.tablet_type)?;
                if let Some(shard) = &target.shard
                    && known.shard_named(shard).is_none()
                {
                    return Err(SqlError::new(
                        1049,
                        b"42000",
                        format!(
                            "Unknown database '{name}': keyspace `{keyspace}` has no such serving shard"
                        ),
                    ));
                }
            }
            self.target = target;
            self.database = None;
        }
        self.handle.set_target(match &self.database {
            Some(system) => system.to_string(),
            None => self.target.to_string(),
        });
        Ok(())
    }

    async fn com_init_db(&mut self, body: &[u8]) -> Result<(), Failure> {
        let name = String::from_utf8_lossy(body).into_owned();
        self.use_database(&name)?;
        self.put_ok(false).await.map_err(Failure::Client)
    }

    async fn com_set_option(&mut self, body: &[u8]) -> Result<(), Failure> {
        match body {
            [0, 0] => self.capabilities |= caps::MULTI_STATEMENTS,
            [1, 0] => self.capabilities &= !caps::MULTI_STATEMENTS,
            _ => return Err(SqlError::new(1047, b"08S01", "Unknown command").into()),
        }
        let ok = OkPacket {
            status: self.status(false),
            ..OkPacket::default()
        };
        self.out.clear();
        put_rows_end(&mut self.out, &mut self.sequence, self.capabilities, &ok);
        self.flush().await.map_err(Failure::Client)
    }

    async fn com_statistics(&mut self) -> Result<(), Failure> {
        let text = format!(
            "Uptime: {}  Threads: {}  Questions: {}",
            self.shared.started.elapsed().as_secs(),
            self.shared.sessions.count(),
            self.shared.metrics.statements_now()
        );
        self.out.clear();
        put_with(&mut self.out, &mut self.sequence, |out| {
            out.extend_from_slice(text.as_bytes());
        });
        self.flush().await.map_err(Failure::Client)
    }

    /// Deprecated by all servers; clients use it to complete column names and do without.
    async fn com_field_list(&mut self) -> Result<(), Failure> {
        let ok = OkPacket {
            status: self.status(false),
            ..OkPacket::default()
        };
        self.out.clear();
        // Always in the old form.
        put_rows_end(&mut self.out, &mut self.sequence, 0, &ok);
        self.flush().await.map_err(Failure::Client)
    }

    /// Everything as after the handshake.
    async fn reset(&mut self) {
        self.clear_diagnostics();
        self.roll_back_all().await;
        for held in std::mem::take(&mut self.held) {
            self.give_back_clean(held);
        }
        self.handle.activity.clear();
        self.shared.topology.activity_changed();
        self.locked_on = None;
        self.reserved = false;
        self.settings = crate::exec::set::none();
        self.modes = crate::plan::SqlModes::default();
        self.autocommit = true;
        self.next_transaction.clear();
        self.statements.clear();
        self.values = crate::plan::SessionValues::default();
    }

    async fn com_change_user(&mut self, payload: &[u8]) -> bool {
        let Ok(hello) = ClientHello::parse_change_user(payload, self.capabilities) else {
            let error = SqlError::malformed("COM_CHANGE_USER");
            let _ = self.put_sql_error(&error).await;
            return false;
        };
        self.reset().await;
        let shared = self.shared.clone();
        let users = |name: &str| shared.verifiers(name);
        let handshake = Handshake {
            connection_id: self.handle.id,
            server_version: "",
            tls: None,
            peer: &self.handle.peer.clone(),
            users: &users,
        };
        let proven = handshake
            .authenticate(&mut self.stream, &mut self.sequence, &hello, self.nonce)
            .await;
        match proven {
            Ok(nonce) => self.nonce = nonce,
            Err(error) => {
                tracing::info!(session = self.handle.id, %error, "a change of user was refused");
                return false;
            }
        }
        self.handle.set_user(&hello.user, hello.program.clone());
        if hello.collation != 0 {
            self.collation = hello.collation;
        }
        self.target = Target::default();
        self.database = None;
        let used = match &hello.database {
            Some(name) => self.use_database(name),
            None => Ok(()),
        };
        match used {
            Ok(()) => self.put_ok(false).await.is_ok(),
            Err(error) => {
                let _ = self.put_sql_error(&error).await;
                false
            }
        }
    }

    /// `KILL`: interrupts what the session runs on servers, and ends it unless `query_only`.
    async fn kill(&mut self, id: u64, query_only: bool, more: bool) -> Result<(), Failure> {
        let found = u32::try_from(id).ok();
        let found = found.and_then(|id| self.shared.sessions.find(id));
        let Some(session) = found else {
            let message = format!("Unknown thread id: {id}");
            return Err(SqlError::new(1094, b"HY000", message).into());
        };
        if session.user() != self.handle.user() {
            let message = format!("You are not owner of thread {id}");
            return Err(SqlError::new(1095, b"HY000", message).into());
        }
        if session.id == self.handle.id {
            let error = SqlError::new(1317, b"70100", "Query execution was interrupted");
            return Err(if query_only {
                Failure::Sql(error)
            } else {
                Failure::Fatal(error)
            });
        }
        if !query_only {
            session.end();
        }
        if session.is_busy() {
            session.interrupt();
            for (pool, thread) in session.running.list() {
                // It may have ended by itself in the meantime.
                if let Err(error) = pool.execute_apart(&format!("KILL QUERY {thread}")).await {
                    tracing::debug!(session = id, %error, "nothing to interrupt");
                }
            }
        }
        self.put_ok(more).await.map_err(Failure::Client)
    }

    async fn com_prepare(&mut self, sql: &[u8]) -> Result<(), Failure> {
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

    async fn com_execute(&mut self, payload: &[u8]) -> bool {
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
    fn com_long_data(&mut self, body: &[u8]) -> bool {
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

    async fn com_stmt_reset(&mut self, body: &[u8]) -> Result<(), Failure> {
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
