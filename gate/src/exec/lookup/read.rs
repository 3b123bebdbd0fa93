//! Asking lookups for shards.

use vtplan_state::model::{KeyspaceId, TabletType};

use super::super::Failure;
use crate::plan::{Action, LookupRead, QueryPlan};
use crate::session::{Order, Session};
use crate::topology::Snapshot;

impl Session {
    /// Where a statement goes, by its lookups.
    pub(crate) async fn resolve(
        &mut self,
        snapshot: &Snapshot,
        plan: &QueryPlan,
        read: &LookupRead,
    ) -> Result<Action, Failure> {
        let mut answers = Vec::with_capacity(read.queries.len());
        for query in &read.queries {
            answers.push(self.keyspace_ids(snapshot, plan.tablet_type, query).await?);
        }
        Ok(read.resolve(&answers)?)
    }

    /// What a query for keyspace ids gives. Within a transaction that is what the transaction has
    /// written and sees, and what others have committed since: the statement itself may lock, and
    /// then finds the newest rows. Too many ids are of no harm.
    async fn keyspace_ids(
        &mut self,
        snapshot: &Snapshot,
        tablet_type: TabletType,
        query: &[u8],
    ) -> Result<Vec<KeyspaceId>, Failure> {
        let own = self.own(snapshot, tablet_type, query)?;
        let open = !self.autocommit || self.in_transaction();
        let mut ids = Vec::new();
        for (part, text) in &own.parts {
            let has = |order| {
                let mut held = self.held.iter();
                held.any(|h| {
                    h.order == order && h.tablet_type == tablet_type && h.shard == part.shard
                })
            };
            let orders: &[Order] = match (open, has(Order::First), has(Order::Normal)) {
                (false, ..) => &[Order::Apart],
                (true, false, false) => &[Order::Normal],
                (true, false, true) => &[Order::Normal, Order::Apart],
                (true, true, _) => &[Order::First, Order::Normal, Order::Apart],
            };
            for order in orders {
                let result = self.ask_at(snapshot, *order, &own.plan, part, text).await?;
                let found = result.rows.into_iter().filter_map(|mut row| row.pop()?);
                ids.extend(found.map(KeyspaceId));
            }
        }
        Ok(ids)
    }
}
