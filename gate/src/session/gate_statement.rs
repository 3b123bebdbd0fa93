//! Statements that the gate carries out by itself: transactions, settings, `USE`, `KILL`.

use super::Session;
use crate::exec::{Failure, Request};
use crate::plan::{GateStatement, QueryPlan, Target};
use crate::protocol::SqlError;
use crate::topology::Snapshot;

/// Schemas that every server has. They are no keyspaces; the target stays what it was.
const SYSTEM_SCHEMAS: [&str; 4] = ["information_schema", "mysql", "performance_schema", "sys"];

impl Session {
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

    /// `KILL`: interrupts what the session runs on servers, and ends it unless `query_only`.
    pub(super) async fn kill(
        &mut self,
        id: u64,
        query_only: bool,
        more: bool,
    ) -> Result<(), Failure> {
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
}
