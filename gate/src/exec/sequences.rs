//! Values of sequences. A block is taken from the sequence's table in a transaction of its own and
//! given out from memory; what a gate has not given out when it ends is left out, never used twice.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};

use vtplan_state::model::{Revision, TabletAlias, TabletType};

use super::stale::Stale;
use super::{Failure, backend_failure};
use crate::backend::{BackendError, Conn, Settings, Variant};
use crate::plan::{SequenceNeed, ShardId};
use crate::pool::Want;
use crate::protocol::SqlError;
use crate::topology::{Snapshot, Topology};

/// Unused values of one sequence.
#[derive(Debug, Default)]
struct Block {
    next: u64,
    end: u64,
    /// The primary that gave it, and its term. A new primary may not know of blocks that were taken
    /// from the old one, nor the old one when it is primary again, so they are not used any more.
    from: Option<(TabletAlias, u64)>,
    /// The newest records by which it was used. When routing changes, the sequence may have been
    /// raised over values that came into the table by other ways.
    revision: Revision,
}

type Key = (Arc<ShardId>, String);

/// The blocks of a gate.
#[derive(Debug, Default)]
pub struct Sequences {
    blocks: Mutex<HashMap<Key, Arc<tokio::sync::Mutex<Block>>>>,
}

impl Sequences {
    /// Reserves `need.count` values and returns the first.
    pub async fn take(
        &self,
        topology: &Topology,
        snapshot: &Snapshot,
        need: &SequenceNeed,
    ) -> Result<u64, Failure> {
        let block = {
            let key = (need.shard.clone(), need.table.clone());
            let mut blocks = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
            blocks.entry(key).or_default().clone()
        };
        // Held while a block is fetched, so that those who wait share it.
        let mut block = block.lock().await;
        let primary = topology
            .choose(snapshot, &need.shard, TabletType::Primary)
            .await
            .map_err(|error| Failure::Again(error, Stale::Moved))?;
        let term = snapshot
            .records
            .shard(&need.shard.keyspace, &need.shard.shard)
            .map_or(0, |shard| shard.term);
        let from = Some((primary.alias.clone(), term));
        let revision = snapshot.catalog.revision();
        if block.from != from || block.revision < revision {
            *block = Block::default();
        }
        if block.end - block.next < need.count {
            topology.check_lease()?;
            let database: Arc<str> = need.shard.keyspace.as_str().into();
            let settings = Settings::default();
            let want = Want {
                variant: Variant {
                    deprecate_eof: true,
                    found_rows: false,
                    ignore_space: false,
                    collation: 45,
                    has_database: true,
                },
                database: Some(&database),
                settings: &settings,
            };
            let mut pooled = primary.pool.checkout(&want).await?;
            let fetched = async {
                pooled
                    .conn
                    .bring(Some(&database), &Arc::new(settings.clone()), false)
                    .await?;
                fetch(&mut pooled.conn, need).await
            };
            match fetched.await {
                Ok((next, end)) => {
                    pooled.release();
                    *block = Block {
                        next,
                        end,
                        from,
                        revision,
                    };
                }
                // The connection is closed, which rolls back.
                Err(error) => {
                    let mut error = backend_failure(&primary.alias, error);
                    error.message = format!(
                        "values of the sequence {}.{} cannot be had: {}",
                        need.shard.keyspace, need.table, error.message
                    );
                    return Err(match Stale::of(&error) {
                        Some(stale) => Failure::Again(error, stale),
                        None => Failure::Sql(error),
                    });
                }
            }
        }
        let first = block.next;
        block.next += need.count;
        Ok(first)
    }
}

/// Takes a block: from the first value up to, not including, the second.
async fn fetch(conn: &mut Conn, need: &SequenceNeed) -> Result<(u64, u64), BackendError> {
    let table = format!("`{}`", need.table.replace('`', "``"));
    let bad = |why: &str| {
        BackendError::Sql(SqlError::unknown(format!(
            "its table {why}; it must have the columns id, next_id and cache, and a row with id 0"
        )))
    };
    conn.execute("BEGIN").await?;
    let select = format!("SELECT next_id, cache FROM {table} WHERE id = 0 FOR UPDATE");
    let result = conn.query(select.as_bytes()).await?;
    let number = |at: usize| -> Option<u64> {
        let value = result.rows.first()?.get(at)?.as_deref()?;
        std::str::from_utf8(value).ok()?.parse().ok()
    };
    let next = number(0).ok_or_else(|| bad("has no row with id 0"))?;
    let cache = number(1).ok_or_else(|| bad("has no cache size"))?;
    // A sequence begins at 1 at the least, as in Vitess.
    let next = next.max(1);
    let end = next
        .checked_add(need.count.max(cache).max(1))
        .filter(|end| i64::try_from(*end).is_ok())
        .ok_or_else(|| bad("is used up"))?;
    let update = format!("UPDATE {table} SET next_id = {end} WHERE id = 0");
    let ok = conn.execute(&update).await?;
    if ok.affected_rows != 1 {
        return Err(bad("could not be updated"));
    }
    conn.execute("COMMIT").await?;
    Ok((next, end))
}
