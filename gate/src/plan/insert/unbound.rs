//! An INSERT that waits for values of its sequence.

use std::sync::Arc;

use bytes::Bytes;
use vtplan_state::model::KeyspaceId;
use vtplan_state::vindex::{Destination, VindexValue};

use crate::plan::catalog::{Keyspace, Table};
use crate::plan::literal::{self, ColumnClass, Key, Scalar};
use crate::plan::lookup::{LookupRow, OwnedRow};
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
    /// The same as SQL, for a table that owns lookups.
    pub(super) key_sql: Vec<RowSql>,
    /// For each such lookup the values of its columns.
    pub(super) lookups: Vec<Vec<RowSql>>,
}

/// A value of a row, as SQL.
#[derive(Debug, Clone)]
pub(super) enum RowSql {
    Null,
    Text(Vec<u8>),
    /// What the sequence gives.
    Generated,
}

impl RowSql {
    fn text(&self, generated: Option<u64>) -> Option<Vec<u8>> {
        match self {
            Self::Null => None,
            Self::Text(text) => Some(text.clone()),
            Self::Generated => generated.map(|n| n.to_string().into_bytes()),
        }
    }
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

    /// Each row with what the sequence gives it.
    fn generated(&self, first: Option<u64>) -> impl Iterator<Item = (&UnboundRow, Option<u64>)> {
        let mut next = first;
        self.rows.iter().map(move |row| {
            let value = next.filter(|_| row.generated);
            if row.generated {
                next = next.and_then(|n| n.checked_add(1));
            }
            (row, value)
        })
    }

    /// What lookups must know of the rows, when values from `first` on are reserved.
    pub(in crate::plan) fn rows(&self, first: Option<u64>) -> Result<Vec<OwnedRow>, SqlError> {
        let router = self.router.as_ref();
        let router = router.ok_or_else(|| SqlError::new(1105, "HY000", "a row has no shard"))?;
        let rows = self.generated(first).map(|(row, value)| {
            let id = router.id(row, value)?;
            let shard = router.keyspace.shard_for(&id);
            let lookups = row.lookups.iter().map(|columns| {
                let values = columns.iter().map(|column| column.text(value));
                let values: Vec<Option<Vec<u8>>> = values.collect();
                match values.iter().position(Option::is_none) {
                    Some(at) => LookupRow::Null(at),
                    None => LookupRow::Values(values.into_iter().flatten().collect()),
                }
            });
            let key = row.key_sql.iter();
            Ok(OwnedRow {
                shard: shard
                    .cloned()
                    .ok_or_else(|| router.keyspace.not_serving())?,
                key: key
                    .map(|part| part.text(value).unwrap_or_else(|| b"NULL".to_vec()))
                    .collect(),
                lookups: lookups.collect(),
                id,
            })
        });
        rows.collect()
    }

    pub(in crate::plan) fn bind(&self, first: Option<u64>) -> Result<Vec<ShardSql>, SqlError> {
        self.bind_but(first, &[])
    }

    /// The statements, without the rows that `skip` marks.
    pub(in crate::plan) fn bind_but(
        &self,
        first: Option<u64>,
        skip: &[bool],
    ) -> Result<Vec<ShardSql>, SqlError> {
        let mut groups: Vec<(Arc<ShardId>, Vec<u8>)> = Vec::new();
        for (at, (row, value)) in self.generated(first).enumerate() {
            if skip.get(at) == Some(&true) {
                continue;
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
        let shard = self.keyspace.shard_for(&self.id(row, value)?);
        shard.cloned().ok_or_else(|| self.keyspace.not_serving())
    }

    fn id(&self, row: &UnboundRow, value: Option<u64>) -> Result<KeyspaceId, SqlError> {
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
                Key::Null => keys.push(VindexValue::Null),
                Key::Unclear => return Err(nowhere()),
            }
        }
        match primary.vindex.map(&keys) {
            Destination::Id(id) => Ok(id),
            _ => Err(nowhere()),
        }
    }
}
