//! After a commit: rows of lookups that the owner does not have are removed. Whatever goes wrong here
//! leaves them where they are, which is of no harm.

use std::collections::HashMap;
use std::sync::Arc;

use super::super::Failure;
use super::Loose;
use crate::backend::{BackendError, Conn, SmallResult, put_command};
use crate::plan::{QueryPlan, ShardId};
use crate::protocol::constants::com;
use crate::session::{Order, Session};
use crate::topology::Snapshot;
use vtplan_state::model::TabletType;

/// How many rows are looked at together.
const TOGETHER: usize = 100;

/// A row with the statements about it.
struct Row {
    loose: Loose,
    lock: Vec<u8>,
    delete: Vec<u8>,
}

impl Session {
    /// Removes those of the rows that the owner does not have. Nobody is waited for: what somebody
    /// else works with is theirs.
    pub(crate) async fn tidy(&mut self, loose: Vec<Loose>) {
        let snapshot = self.shared.topology.snapshot();
        let mut shards: HashMap<Arc<ShardId>, (QueryPlan, Vec<Row>)> = HashMap::new();
        for loose in loose {
            let (lookup, id) = (&loose.lookup, &loose.id.0);
            let lock = lookup.lock_sql(&loose.values, Some(id), false);
            let delete = lookup.delete_sql(&loose.values, id);
            let plans = (
                self.own(&snapshot, TabletType::Primary, &lock),
                self.own(&snapshot, TabletType::Primary, &delete),
            );
            let (Ok(mut lock), Ok(mut delete)) = plans else {
                continue;
            };
            let (Some((part, lock_sql)), Some((_, delete_sql))) =
                (lock.parts.pop(), delete.parts.pop())
            else {
                continue;
            };
            // A table that is not sharded by these columns would have to be looked through.
            if !lock.parts.is_empty() || !delete.parts.is_empty() {
                continue;
            }
            let of = shards
                .entry(part.shard)
                .or_insert_with(|| (delete.plan, Vec::new()));
            of.1.push(Row {
                loose,
                lock: lock_sql,
                delete: delete_sql,
            });
        }
        for (shard, (plan, mut rows)) in shards {
            while !rows.is_empty() {
                let rest = rows.split_off(rows.len().min(TOGETHER));
                let together = std::mem::replace(&mut rows, rest);
                let done = self.tidy_some(&snapshot, &shard, &plan, together).await;
                if let Err(failure) = done {
                    tracing::debug!(%shard, ?failure, "rows of lookups are left");
                    return;
                }
            }
        }
    }

    async fn tidy_some(
        &mut self,
        snapshot: &Snapshot,
        shard: &Arc<ShardId>,
        plan: &QueryPlan,
        mut rows: Vec<Row>,
    ) -> Result<(), Failure> {
        let mut held = self
            .acquire_for(Order::Apart, snapshot, shard, plan, b"")
            .await?;
        let tablet = held.tablet.alias.clone();
        let lost = |error| Failure::Sql(super::backend_failure(&tablet, error));
        let conn = &mut held.pooled.conn;
        let begun = conn.execute("BEGIN").await;
        begun.map_err(lost)?;
        let locks = rows.iter().map(|row| row.lock.as_slice());
        let locked = run_all(conn, locks).await.map_err(lost)?;
        let mut there = locked
            .iter()
            .map(|answer| answer.as_ref().is_some_and(|found| !found.rows.is_empty()));
        rows.retain(|_| there.next().unwrap_or(false));
        let kept = self.owned_rows(snapshot, plan, &rows).await?;
        let mut kept = kept.into_iter();
        rows.retain(|_| kept.next() == Some(false));
        let conn = &mut held.pooled.conn;
        let deletes = rows.iter().map(|row| row.delete.as_slice());
        run_all(conn, deletes).await.map_err(lost)?;
        conn.execute("COMMIT").await.map_err(lost)?;
        self.give_back(held);
        Ok(())
    }

    /// For each row whether the owner has it, or may have.
    async fn owned_rows(
        &mut self,
        snapshot: &Snapshot,
        plan: &QueryPlan,
        rows: &[Row],
    ) -> Result<Vec<bool>, Failure> {
        let mut kept = vec![true; rows.len()];
        let mut shards: HashMap<Arc<ShardId>, Vec<usize>> = HashMap::new();
        for (at, row) in rows.iter().enumerate() {
            let owner = &row.loose.owner;
            let moved =
                snapshot
                    .catalog
                    .is_moved(&owner.keyspace, &owner.name, TabletType::Primary);
            let keyspace = snapshot.catalog.keyspace(owner.keyspace.as_str());
            let shard = keyspace.and_then(|k| k.shard_for(&row.loose.id));
            if let (Some(shard), false) = (shard, moved) {
                shards.entry(shard.clone()).or_default().push(at);
            }
        }
        for (shard, list) in shards {
            let sql: Vec<Vec<u8>> = list
                .iter()
                .map(|at| {
                    let loose = &rows[*at].loose;
                    let (values, key) = (&loose.values, Some(loose.key.as_slice()));
                    loose.lookup.owner_sql(&loose.owner, values, key, false)
                })
                .collect();
            let mut held = self
                .acquire_for(Order::Apart, snapshot, &shard, plan, b"")
                .await?;
            let answers = run_all(&mut held.pooled.conn, sql.iter().map(Vec::as_slice)).await;
            let answers = answers
                .map_err(|error| Failure::Sql(super::backend_failure(&held.tablet.alias, error)))?;
            for (at, answer) in list.iter().zip(answers) {
                kept[*at] = answer.is_none_or(|found| !found.rows.is_empty());
            }
            self.put_by(held).await;
        }
        Ok(kept)
    }
}

/// Runs statements one after the other, all sent at once. `None`: the server refused one.
async fn run_all<'s>(
    conn: &mut Conn,
    statements: impl Iterator<Item = &'s [u8]>,
) -> Result<Vec<Option<SmallResult>>, BackendError> {
    let mut out = Vec::new();
    let mut count = 0;
    for sql in statements {
        put_command(&mut out, com::QUERY, sql);
        count += 1;
    }
    conn.send(&out).await?;
    let mut answers = Vec::with_capacity(count);
    for _ in 0..count {
        match conn.read_result().await {
            Ok(answer) => answers.push(Some(answer)),
            Err(BackendError::Sql(error)) => {
                tracing::debug!(%error, "a row of a lookup is left");
                answers.push(None);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(answers)
}
