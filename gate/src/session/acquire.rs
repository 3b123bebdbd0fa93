//! Which server connection runs a statement, and what becomes of it afterwards.

use std::sync::Arc;

use vtplan_state::model::TabletType;

use super::{Held, Order, Session};
use crate::backend::{BackendError, Variant};
use crate::exec::stale::Stale;
use crate::exec::{Failure, backend_failure};
use crate::plan::{QueryPlan, ShardId};
use crate::pool::{PoolError, Want};
use crate::protocol::SqlError;
use crate::protocol::constants::caps;
use crate::topology::Snapshot;

/// How many connections are tried before a statement fails: servers restart, and then every
/// pooled connection is dead.
const TRIES: usize = 3;

/// Whether a statement asks which database is selected.
fn asks_database(sql: &[u8]) -> bool {
    let has = |word: &[u8]| {
        sql.windows(word.len())
            .any(|at| at.eq_ignore_ascii_case(word))
    };
    has(b"database(") || has(b"schema(")
}

impl Session {
    /// A connection to the right tablet of a shard, with the session's database and settings. One
    /// that the session holds there already is used.
    pub(crate) async fn acquire(
        &mut self,
        snapshot: &Snapshot,
        shard: &Arc<ShardId>,
        plan: &QueryPlan,
        sql: &[u8],
    ) -> Result<Held, Failure> {
        self.acquire_for(Order::Normal, snapshot, shard, plan, sql)
            .await
    }

    /// The same, for what [`Order`] says.
    pub(crate) async fn acquire_for(
        &mut self,
        order: Order,
        snapshot: &Snapshot,
        shard: &Arc<ShardId>,
        plan: &QueryPlan,
        sql: &[u8],
    ) -> Result<Held, Failure> {
        let tablet_type = plan.tablet_type;
        if !plan.props.is_read || plan.props.locks_rows {
            self.shared.topology.check_lease()?;
        }
        if plan.props.reserve.is_some() {
            self.reserved = true;
        }
        let database = match (&self.database, &self.target.keyspace) {
            (Some(system), _) => Some(system.clone()),
            (None, None) if asks_database(sql) => None,
            // A statement may go to another keyspace than the session's.
            (None, _) => Some(self.shared.name(shard.keyspace.as_str())),
        };
        let held = self
            .held
            .iter()
            .position(|h| h.order == order && h.tablet_type == tablet_type && h.shard == *shard);
        if let Some(at) = held {
            let mut held = self.held.swap_remove(at);
            held.kept = true;
            let conn = &mut held.pooled.conn;
            return match conn.bring(database.as_ref(), &self.settings, true).await {
                Ok(()) => Ok(held),
                Err(BackendError::Sql(error)) => {
                    self.held.push(held);
                    Err(error.into())
                }
                Err(error) => Err(Failure::Fatal(backend_failure(&held.tablet.alias, error))),
            };
        }
        let variant = Variant {
            deprecate_eof: self.deprecate_eof(),
            // Of lookups the gate must know which rows are new.
            found_rows: order == Order::Normal && self.has(caps::FOUND_ROWS),
            ignore_space: self.has(caps::IGNORE_SPACE),
            collation: self.collation,
            has_database: database.is_some(),
        };
        let shared = self.shared.clone();
        let settings = self.settings.clone();
        let want = Want {
            variant,
            database: database.as_ref(),
            settings: &settings,
        };
        let mut tried = 0;
        loop {
            tried += 1;
            let choose = shared.topology.choose(snapshot, shard, tablet_type);
            let tablet = self.attended(choose).await?;
            // By newer records there may be one.
            let tablet = tablet.map_err(|error| Failure::Again(error, Stale::Moved))?;
            let mut pooled = match self.attended(tablet.pool.checkout(&want)).await? {
                Ok(pooled) => pooled,
                Err(error @ PoolError::Connect(_)) if tried < TRIES => {
                    tracing::debug!(tablet = %tablet.alias, %error, "trying again");
                    tablet.avoid();
                    if tablet_type == TabletType::Primary {
                        // It may be restarting.
                        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
                    }
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let brought = pooled
                .conn
                .bring(database.as_ref(), &self.settings, false)
                .await;
            match brought {
                Ok(()) => {}
                Err(BackendError::Sql(error)) => {
                    // The database may have gone with a keyspace.
                    return Err(match Stale::of(&error) {
                        Some(stale) => Failure::Again(error, stale),
                        None => Failure::Sql(error),
                    });
                }
                Err(BackendError::Lost(_)) if tried < TRIES => continue,
                Err(error) => {
                    let error = backend_failure(&tablet.alias, error);
                    return Err(Failure::Again(error, Stale::Gone));
                }
            }
            self.handle.running.add(&tablet.pool, pooled.conn.thread_id);
            return Ok(Held {
                order,
                shard: shard.clone(),
                tablet_type,
                tablet,
                pooled,
                begun: false,
                kept: false,
            });
        }
    }

    /// Whether a connection must stay the session's after the statement.
    pub(crate) fn must_keep(&self, held: &Held) -> bool {
        self.reserved || held.begun || held.pooled.conn.in_transaction()
    }

    pub(crate) fn keep(&mut self, mut held: Held) {
        held.kept = true;
        self.held.push(held);
    }

    /// Gives a connection back to its pool. One with state of the session's own is closed.
    pub(crate) fn give_back(&mut self, held: Held) {
        let thread = held.pooled.conn.thread_id;
        self.handle.running.remove(&held.tablet.pool, thread);
        self.give_back_clean(held);
    }

    pub(crate) fn give_back_clean(&self, held: Held) {
        if !self.reserved {
            held.pooled.release();
        }
    }

    /// A shard for what any server of the session's target can do.
    pub(crate) fn any_shard(&self, snapshot: &Snapshot) -> Result<Arc<ShardId>, SqlError> {
        if let Some(held) = self.held.first() {
            return Ok(held.shard.clone());
        }
        let mut keyspaces = snapshot.catalog.keyspaces();
        let keyspace = match &self.target.keyspace {
            Some(name) => {
                let tablet_type = self.target.tablet_type;
                snapshot.catalog.keyspace_for(name.as_str(), tablet_type)
            }
            None => keyspaces.find(|k| !k.shards.is_empty()),
        };
        let shard = keyspace.and_then(|k| match &self.target.shard {
            Some(name) => k.shard_named(name),
            None => k.shards.first(),
        });
        shard.cloned().ok_or_else(|| {
            SqlError::unknown(format!(
                "no shard serves for the target `{}`: the cluster may not be applied yet",
                self.target
            ))
        })
    }
}
