//! An INSERT that waits for values of its sequence.

use std::sync::Arc;

use bytes::Bytes;
use vtplan_state::vindex::Destination;

use crate::plan::catalog::{Keyspace, Table};
use crate::plan::literal::{self, ColumnClass, Key, Scalar};
use crate::plan::types::{ShardId, ShardSql, Sql, SqlError};

/// An INSERT whose statements are known up to the values of its sequence.
#[derive(Debug, Clone)]
pub(in crate::plan) struct UnboundInsert {
    pub(super) head: Vec<u8>,
    pub(super) rows: Vec<UnboundRow>,
    pub(super) tail: Vec<u8>,
    pub(super) router: Option<Router>,
}

#[derive(Debug, Clone)]
pub(super) struct UnboundRow {
    pub(super) before: Vec<u8>,
    /// After the generated value.
    pub(super) after: Vec<u8>,
    pub(super) generated: bool,
    pub(super) shard: Option<Arc<ShardId>>,
    /// `None` for the column that is filled from the sequence.
    pub(super) key: Vec<Option<Scalar<'static>>>,
}

/// What tells the shard of a row that waited for the sequence.
#[derive(Debug, Clone)]
pub(super) struct Router {
    pub(super) keyspace: Arc<Keyspace>,
    pub(super) table: Arc<Table>,
    pub(super) classes: Vec<ColumnClass>,
}

impl UnboundInsert {
    /// The shards that rows may go to.
    pub(in crate::plan) fn shards(&self) -> Vec<Arc<ShardId>> {
        let known: Option<Vec<_>> = self.rows.iter().map(|row| row.shard.clone()).collect();
        match (known, &self.router) {
            (Some(shards), _) => shards,
            (None, Some(router)) => router.keyspace.shards.clone(),
            (None, None) => Vec::new(),
        }
    }

    /// How many shards these are, about: no more than there are rows.
    pub(in crate::plan) fn width(&self) -> usize {
        let shards = match &self.router {
            Some(router) => router.keyspace.shards.len(),
            None => 1,
        };
        self.rows.len().min(shards)
    }

    pub(in crate::plan) fn bind(&self, first: Option<u64>) -> Result<Vec<ShardSql>, SqlError> {
        let mut next = first;
        let mut groups: Vec<(Arc<ShardId>, Vec<u8>)> = Vec::new();
        for row in &self.rows {
            let value = next.filter(|_| row.generated);
            if row.generated {
                next = next.and_then(|n| n.checked_add(1));
            }
            let shard = match (&row.shard, &self.router) {
                (Some(shard), _) => shard.clone(),
                (None, Some(router)) => router.shard(row, value)?,
                (None, None) => return Err(SqlError::new(1105, "HY000", "a row has no shard")),
            };
            let at = groups
                .iter()
                .position(|(s, _)| *s == shard)
                .unwrap_or_else(|| {
                    groups.push((shard, self.head.clone()));
                    groups.len() - 1
                });
            let text = &mut groups[at].1;
            text.push(if text.len() == self.head.len() {
                b' '
            } else {
                b','
            });
            text.extend_from_slice(&row.before);
            if let Some(value) = value {
                text.push(b' ');
                text.extend(value.to_string().bytes());
            }
            text.extend_from_slice(&row.after);
        }
        Ok(groups
            .into_iter()
            .map(|(shard, mut text)| {
                text.push(b' ');
                text.extend_from_slice(&self.tail);
                ShardSql {
                    shard,
                    sql: Sql::Bound(Bytes::from(text)),
                }
            })
            .collect())
    }
}

impl Router {
    fn shard(&self, row: &UnboundRow, value: Option<u64>) -> Result<Arc<ShardId>, SqlError> {
        let nowhere = || {
            SqlError::new(
                1105,
                "HY000",
                format!(
                    "could not map a row of `{}` to a keyspace id",
                    self.table.name
                ),
            )
        };
        let primary = self.table.primary_vindex.as_ref().ok_or_else(nowhere)?;
        let mut keys = Vec::with_capacity(row.key.len());
        for (part, class) in row.key.iter().zip(&self.classes) {
            let scalar = match (part, value) {
                (Some(scalar), _) => scalar.clone(),
                (None, Some(n)) => Scalar::UInt(n),
                (None, None) => return Err(nowhere()),
            };
            match literal::key(scalar, *class, true) {
                Key::Value(key) => keys.push(key),
                _ => return Err(nowhere()),
            }
        }
        match primary.vindex.map(&keys) {
            Destination::Id(id) => self
                .keyspace
                .shard_for(&id)
                .cloned()
                .ok_or_else(|| self.keyspace.not_serving()),
            _ => Err(nowhere()),
        }
    }
}
