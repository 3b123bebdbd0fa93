//! Lookups: asked where a statement's rows are, and kept by the writes of the tables that own them.
//!
//! What must hold at every moment, whoever dies: **each row of the owner is in its lookup**, with its
//! keyspace id. A row of a lookup that the owner does not have is of no harm: it leads to a shard that
//! finds nothing. From that follows the order, which is that of Vitess's consistent lookups:
//!
//! 1. Rows are added to lookups on connections of their own ([`Order::First`]), which commit before
//!    those of the client's statements. A value that is taken is locked there; then the owner is asked,
//!    with a lock too, whether it has such a row. If it has, the value is a duplicate; if not, the row
//!    was left behind by somebody and is taken over.
//! 2. The owner's rows are written.
//! 3. What the statement may have taken out of a lookup is noted ([`Loose`]), and looked at after the
//!    commit: a lookup's row is locked, the owner asked, and only what it does not have is removed. So
//!    it does not matter if too much is noted, and whoever inserts the value meanwhile waits at the
//!    lock of 1.
//!
//! [`Order::First`]: crate::session::Order::First

mod read;
mod tidy;
mod values;
mod write;

use std::sync::Arc;

use vtplan_state::model::{KeyspaceId, TabletType};

use super::forward::ForwardError;
use super::stale::{Stale, placed};
use super::{Failure, backend_failure};
use crate::backend::{BackendError, SmallResult, put_command};
use crate::plan::{Action, PlanContext, QueryPlan, ShardSql, Sql, Table, TableLookup, Target};
use crate::protocol::SqlError;
use crate::protocol::constants::com;
use crate::session::{Held, Order, Session};
use crate::topology::Snapshot;

/// A row of a lookup that the owner may not have any more.
#[derive(Debug, Clone)]
pub struct Loose {
    owner: Arc<Table>,
    lookup: Arc<TableLookup>,
    /// As SQL: the lookup's columns.
    values: Vec<Vec<u8>>,
    /// As SQL: the owner's sharding columns.
    key: Vec<Vec<u8>>,
    id: KeyspaceId,
}

/// A statement of the gate's own, planned.
struct Own {
    plan: QueryPlan,
    parts: Vec<(ShardSql, Vec<u8>)>,
}

impl Session {
    /// Plans a statement about a lookup's table, as any other: routing rules and its own vindexes say
    /// where it goes.
    fn own(
        &self,
        snapshot: &Snapshot,
        tablet_type: TabletType,
        sql: &[u8],
    ) -> Result<Own, Failure> {
        let target = Target {
            tablet_type,
            ..Target::default()
        };
        let context = PlanContext {
            target: &target,
            sql_mode: self.modes,
            values: self.values,
        };
        let planner = &self.shared.lookup_planner;
        let plan = planner.plan(&snapshot.catalog, &context, sql)?;
        let parts: &[ShardSql] = match &plan.action {
            Action::Single(part) => std::slice::from_ref(part),
            Action::Scatter(scatter) => &scatter.parts,
            Action::Dml(parts) => parts,
            _ => {
                return Err(SqlError::unsupported(
                    "a lookup vindex whose table has lookups or a sequence itself",
                )
                .into());
            }
        };
        let parts = parts.iter().map(|part| {
            let text = match &part.sql {
                Sql::Original => sql.to_vec(),
                Sql::Rewritten(text) => text.to_vec(),
                Sql::Bound(text) => text.to_vec(),
            };
            (part.clone(), text)
        });
        Ok(Own {
            parts: parts.collect(),
            plan,
        })
    }

    /// Plans a statement and runs it on all its shards.
    async fn ask(
        &mut self,
        snapshot: &Snapshot,
        order: Order,
        tablet_type: TabletType,
        sql: &[u8],
    ) -> Result<Vec<SmallResult>, Failure> {
        let own = self.own(snapshot, tablet_type, sql)?;
        let mut results = Vec::with_capacity(own.parts.len());
        for (part, text) in &own.parts {
            results.push(self.ask_at(snapshot, order, &own.plan, part, text).await?);
        }
        Ok(results)
    }

    /// Runs a statement on a shard and reads its answer.
    async fn ask_at(
        &mut self,
        snapshot: &Snapshot,
        order: Order,
        plan: &QueryPlan,
        part: &ShardSql,
        text: &[u8],
    ) -> Result<SmallResult, Failure> {
        let mut held = self
            .acquire_for(order, snapshot, &part.shard, plan, text)
            .await?;
        let begin = match order {
            Order::Apart => false,
            Order::First | Order::Normal => match self.begin_on(&mut held).await {
                Ok(begin) => begin,
                Err(error) => return Err(self.lost(held, error)),
            },
        };
        let conn = &mut held.pooled.conn;
        let run = async {
            let mut out = Vec::with_capacity(text.len() + 16);
            if begin {
                put_command(&mut out, com::QUERY, b"BEGIN");
            }
            put_command(&mut out, com::QUERY, text);
            conn.send(&out).await?;
            if begin {
                conn.read_ok().await?;
            }
            conn.read_result().await
        };
        match self.unless_gone(run).await? {
            Ok(result) => {
                self.put_by(held).await;
                Ok(result)
            }
            Err(BackendError::Sql(error)) => {
                let error = placed(error, &held);
                self.put_by(held).await;
                Err(match Stale::of_plan(plan, &error) {
                    Some(stale) if !self.in_transaction() => Failure::Again(error, stale),
                    _ => Failure::Sql(error),
                })
            }
            Err(BackendError::Lost(why)) => Err(match order {
                Order::Apart => {
                    let error = backend_failure(&held.tablet.alias, BackendError::Lost(why));
                    self.close([held]);
                    Failure::Sql(error)
                }
                Order::First | Order::Normal => {
                    let passed = false;
                    self.lost(held, ForwardError::Backend { why, passed })
                }
            }),
        }
    }

    /// Keeps a connection, or ends what was apart.
    async fn put_by(&mut self, mut held: Held) {
        if held.order != Order::Apart {
            self.put_back(held);
            return;
        }
        if held.pooled.conn.in_transaction() && held.pooled.conn.execute("COMMIT").await.is_err() {
            self.close([held]);
            return;
        }
        self.give_back(held);
    }
}
