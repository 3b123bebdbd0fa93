//! One statement, from its text to its answer: planned, kept back while what it is about moves, run,
//! and planned again when it turns out that the records it was planned by were not the newest.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::timeout_at;
use vtplan_state::model::{Revision, TabletType};

use super::Session;
use crate::exec::stale::Stale;
use crate::exec::{Failure, Request};
use crate::plan::{
    Action, BindValue, Ended, GateStatement, PlanContext, QueryPlan, Recorded, ShardSql, Show,
};
use crate::protocol::SqlError;
use crate::topology::{Hold, Snapshot};

/// How long a statement that met a fenced server waits for news before it tries again. News of
/// records come at once; that a server has opened is in no record.
const FENCE_PAUSE: std::time::Duration = std::time::Duration::from_millis(25);

/// How long news are waited for of a server that cannot be reached.
const GONE_PAUSE: std::time::Duration = std::time::Duration::from_secs(1);

/// What one statement has waited for.
#[derive(Debug, Default)]
pub(super) struct Patience {
    /// The records that it was planned by last.
    pub(super) revision: Revision,
    /// Since when it is tried again and again.
    again_since: Option<tokio::time::Instant>,
    held_since: Option<tokio::time::Instant>,
    /// What it was planned as.
    planned: Planned,
}

/// What is kept of a plan to count its statement.
#[derive(Debug, Default)]
struct Planned {
    recorded: Option<Arc<Recorded>>,
    shards: u64,
    returns_rows: bool,
    is_dml: bool,
}

impl Session {
    /// Plans and runs one statement.
    pub(super) async fn statement(
        &mut self,
        request: &Request<'_>,
        values: &[BindValue],
    ) -> Result<(), Failure> {
        let started = Instant::now();
        self.last_failed = false;
        let mut patience = Patience::default();
        let (kind, result) = loop {
            let (kind, result) = self.attempt(request, values, &mut patience).await;
            match &result {
                Err(Failure::Again(..)) => self.handle.activity.undo(),
                // It may still run on a server; the end of the session sees to it.
                Err(Failure::Client(_)) => {}
                _ => self.handle.activity.end(self.in_transaction()),
            }
            self.shared.topology.activity_changed();
            match result {
                Err(Failure::Again(error, stale)) => {
                    // The waits are boxed: what is rare must not grow every session's task.
                    let waited = Box::pin(self.wait_again(error, stale, &mut patience)).await;
                    if let Err(failure) = waited {
                        break (kind, Err(failure));
                    }
                }
                result => break (kind, result),
            }
        };
        let took = started.elapsed();
        self.shared.metrics.statement(kind, request.sql, took);
        self.record(&patience.planned, result.is_err(), started, took);
        result
    }

    /// Counts a statement among those of its kind.
    fn record(&self, planned: &Planned, failed: bool, started: Instant, took: Duration) {
        let failed = failed || self.last_failed;
        let rows = match failed {
            true => 0,
            false if planned.is_dml && !planned.returns_rows => self.values.row_count.max(0) as u64,
            false if planned.returns_rows => self.values.found_rows,
            false => 0,
        };
        let since = (started + took).duration_since(self.shared.started);
        let ended = Ended {
            took,
            failed,
            rows,
            shards: planned.shards,
            at: self.shared.started_at + since.as_millis() as u64,
        };
        let recorder = self.shared.planner.recorder();
        recorder.record(planned.recorded.as_ref(), &ended);
    }

    async fn attempt(
        &mut self,
        request: &Request<'_>,
        values: &[BindValue],
        patience: &mut Patience,
    ) -> (&'static str, Result<(), Failure>) {
        loop {
            // Said before the snapshot is taken: see `activity`.
            self.handle.activity.plan();
            let snapshot = self.shared.topology.snapshot();
            patience.revision = snapshot.serving_revision();
            let context = PlanContext {
                target: &self.target,
                sql_mode: self.modes,
                values: self.values,
            };
            let planner = &self.shared.planner;
            let plan = match &request.prepared {
                None => planner.plan(&snapshot.catalog, &context, request.sql),
                Some(bound) => planner.plan_prepared(
                    &snapshot.catalog,
                    &context,
                    &bound.statement.prepared,
                    values,
                ),
            };
            let mut plan = match plan {
                Ok(plan) => plan,
                Err(error) => {
                    patience.planned = Planned {
                        recorded: planner.recorded(&context, request.sql),
                        ..Planned::default()
                    };
                    self.clear_diagnostics();
                    return ("refused", Err(error.into()));
                }
            };
            let kind = kind(&plan.action);
            patience.planned = Planned {
                recorded: plan.recorded.take(),
                shards: plan.action.width() as u64,
                returns_rows: plan.props.returns_rows,
                is_dml: plan.props.is_dml,
            };
            if let Some(hold) = self.held_back(&snapshot, &plan) {
                let waited = Box::pin(self.wait_held(&plan, &hold, patience)).await;
                if let Err(failure) = waited {
                    return (kind, Err(failure));
                }
                continue;
            }
            if plan.tablet_type == TabletType::Primary {
                self.handle.activity.run(&plan);
            }
            return (kind, self.execute(&snapshot, &plan, request).await);
        }
    }

    /// The hold that keeps a statement back. Reads outside of transactions pass; so does what a
    /// transaction does that has touched the held objects before.
    fn held_back(&self, snapshot: &Snapshot, plan: &QueryPlan) -> Option<Arc<Hold>> {
        if snapshot.holds.is_empty() || plan.tablet_type != TabletType::Primary {
            return None;
        }
        let props = &plan.props;
        let reads = props.is_read && !props.locks_rows;
        if matches!(plan.action, Action::Gate(_))
            || reads && self.autocommit && !self.in_transaction()
            || plan.touches.unlocks_tables
        {
            return None;
        }
        let ends_transaction = props.is_ddl || props.implicit_commit;
        let shards = plan.shards();
        snapshot
            .holds
            .iter()
            .find(|hold| {
                hold.covers(&plan.touches, &shards)
                    && (ends_transaction || !self.handle.activity.has_begun(hold))
            })
            .cloned()
    }

    /// Waits until a hold is gone.
    async fn wait_held(
        &mut self,
        plan: &QueryPlan,
        hold: &Hold,
        patience: &mut Patience,
    ) -> Result<(), Failure> {
        if (plan.props.is_ddl || plan.props.implicit_commit) && self.in_transaction() {
            // It would commit before anything else; the hold may wait for just that.
            self.commit_all().await?;
        }
        let open = self.in_transaction();
        self.handle.activity.end(open);
        let topology = self.shared.topology.clone();
        topology.activity_changed();
        let since = *patience
            .held_since
            .get_or_insert_with(tokio::time::Instant::now);
        let deadline = since + std::time::Duration::from_millis(hold.record.max_ms);
        let gone = async {
            let mut changes = topology.changes();
            loop {
                let holds = &topology.snapshot().holds;
                if !holds.iter().any(|other| other.is(&hold.record)) {
                    return Ok(());
                }
                if timeout_at(deadline, changes.changed()).await.is_err() {
                    return Err(());
                }
            }
        };
        self.shared.metrics.held(1);
        self.handle.set_held_by(Some(hold.record.id.clone()));
        let waited = self.attended(gone).await;
        self.handle.set_held_by(None);
        self.shared.metrics.held(-1);
        waited?.map_err(|()| {
            // ER_LOCK_WAIT_TIMEOUT: what applications know to try again.
            let message = format!(
                "Lock wait timeout exceeded; try restarting transaction: writes to {} are held while they move \
                 ({}), which took longer than {} ms",
                hold.objects(),
                hold.record.id,
                hold.record.max_ms
            );
            SqlError::new(1205, b"HY000", message).into()
        })
    }

    /// Waits for newer records, after a statement had no effect for want of them. Gives the error
    /// when there is nothing to wait for (any more).
    pub(super) async fn wait_again(
        &mut self,
        error: SqlError,
        stale: Stale,
        patience: &mut Patience,
    ) -> Result<(), Failure> {
        let topology = self.shared.topology.clone();
        let now = tokio::time::Instant::now();
        let since = *patience.again_since.get_or_insert(now);
        let deadline = match stale {
            // The records that tell where it moves are on their way, if there are any.
            Stale::Moving => since + topology.buffer() / 5,
            _ => since + topology.buffer(),
        };
        let mut changes = topology.changes();
        let newer = topology.snapshot().serving_revision() != patience.revision;
        if now >= deadline {
            return Err(error.into());
        }
        if newer {
            return Ok(());
        }
        let pause = match stale {
            // There is no such thing, by the newest records.
            Stale::Moved => return Err(error.into()),
            Stale::Gone => GONE_PAUSE,
            Stale::Fenced | Stale::Moving => FENCE_PAUSE,
        };
        let end = deadline.min(now + pause);
        let seen = patience.revision;
        let news = async {
            while topology.snapshot().serving_revision() == seen {
                if timeout_at(end, changes.changed()).await.is_err() {
                    return false;
                }
            }
            true
        };
        let news = self.attended(news).await?;
        if news || matches!(stale, Stale::Fenced | Stale::Moving) {
            Ok(())
        } else {
            Err(error.into())
        }
    }

    async fn execute(
        &mut self,
        snapshot: &Snapshot,
        plan: &QueryPlan,
        request: &Request<'_>,
    ) -> Result<(), Failure> {
        let about_warnings = matches!(
            &plan.action,
            Action::Gate(statement)
                if matches!(**statement, GateStatement::Show(Show::Warnings { .. }))
        );
        if !about_warnings {
            self.clear_diagnostics();
        }
        let props = &plan.props;
        if (props.is_ddl || props.implicit_commit) && self.in_transaction() {
            self.commit_all().await?;
        }
        match &plan.action {
            Action::Single(part) if plan.touches.locks_tables => {
                self.single(snapshot, plan, part, request).await?;
                self.locked_on = Some(part.shard.clone()).filter(|_| !self.last_failed);
                Ok(())
            }
            Action::Single(part) if plan.touches.unlocks_tables => {
                // To the connection with the locks, wherever its tables have gone since.
                let shard = self.locked_on.take();
                let part = ShardSql {
                    shard: shard.unwrap_or_else(|| part.shard.clone()),
                    sql: part.sql.clone(),
                };
                self.single(snapshot, plan, &part, request).await
            }
            Action::Single(part) => self.single(snapshot, plan, part, request).await,
            Action::Scatter(scatter) if scatter.parts.len() == 1 => {
                self.single(snapshot, plan, &scatter.parts[0], request)
                    .await
            }
            Action::Scatter(scatter) => self.scatter(snapshot, plan, scatter, request).await,
            Action::Dml(parts) => self.dml(snapshot, plan, parts, request, None).await,
            Action::Ddl(parts) => Box::pin(self.ddl(snapshot, plan, parts, request)).await,
            Action::Insert(insert) => self.insert(snapshot, plan, insert, request).await,
            Action::Lookup(read) => {
                let action = Box::pin(self.resolve(snapshot, plan, read)).await?;
                let props = plan.props;
                let plan = QueryPlan {
                    props,
                    tablet_type: plan.tablet_type,
                    touches: plan.touches.clone(),
                    recorded: None,
                    beside: None,
                    action,
                };
                Box::pin(self.routed(snapshot, &plan, request)).await
            }
            Action::Owned(_) | Action::OwnedInsert(_) => {
                Box::pin(self.owned(snapshot, plan, request)).await
            }
            Action::Gate(statement) => {
                Box::pin(self.gate_statement(snapshot, plan, statement, request)).await
            }
        }
    }

    /// A statement whose shards lookups have told.
    async fn routed(
        &mut self,
        snapshot: &Snapshot,
        plan: &QueryPlan,
        request: &Request<'_>,
    ) -> Result<(), Failure> {
        match &plan.action {
            Action::Single(part) => self.single(snapshot, plan, part, request).await,
            Action::Scatter(scatter) if scatter.parts.len() == 1 => {
                self.single(snapshot, plan, &scatter.parts[0], request)
                    .await
            }
            Action::Scatter(scatter) => self.scatter(snapshot, plan, scatter, request).await,
            Action::Dml(parts) => self.dml(snapshot, plan, parts, request, None).await,
            _ => Err(SqlError::unknown("a lookup tells no shard of this".to_owned()).into()),
        }
    }
}

/// A plan's kind, for the metrics.
fn kind(action: &Action) -> &'static str {
    match action {
        Action::Gate(_) => "gate",
        Action::Single(_) => "single",
        Action::Scatter(_) => "scatter",
        Action::Dml(_) => "dml",
        Action::Ddl(_) => "ddl",
        Action::Insert(_) => "insert",
        Action::Lookup(_) => "lookup",
        Action::Owned(_) | Action::OwnedInsert(_) => "owned",
    }
}
