//! INSERT and REPLACE into a table that owns lookups: each row's keyspace id and values.

use std::sync::Arc;

use vtplan_state::model::KeyspaceId;

use crate::plan::catalog::{Keyspace, Table, TableLookup};
use crate::plan::insert::UnboundInsert;
use crate::plan::types::{SequenceNeed, ShardId, ShardSql, SqlError};

/// What an INSERT does with rows whose keys are taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum InsertKind {
    /// It fails.
    Plain,
    /// `IGNORE`: it leaves them out.
    Ignore,
    /// `REPLACE`: it removes the row that is in the way.
    Replace,
    /// `ON DUPLICATE KEY UPDATE`: it changes the row that is in the way.
    Update,
}

/// See [`crate::plan::Action::OwnedInsert`].
#[derive(Debug, Clone)]
pub struct OwnedInsert {
    pub kind: InsertKind,
    pub keyspace: Arc<Keyspace>,
    pub table: Arc<Table>,
    /// The lookups, in the order of [`OwnedRow::lookups`].
    pub lookups: Vec<Arc<TableLookup>>,
    /// Values to reserve first.
    pub sequence: Option<SequenceNeed>,
    pub(in crate::plan) insert: UnboundInsert,
}

/// A row to be written.
#[derive(Debug, Clone)]
pub struct OwnedRow {
    pub shard: Arc<ShardId>,
    pub id: KeyspaceId,
    /// Its values of the sharding columns, as SQL.
    pub key: Vec<Vec<u8>>,
    pub lookups: Vec<LookupRow>,
}

/// A row's place in a lookup.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LookupRow {
    /// One of the columns, by its position, is NULL.
    Null(usize),
    /// The columns' values, as SQL.
    Values(Vec<Vec<u8>>),
}

impl OwnedInsert {
    /// The rows, when values from `first` on are reserved.
    pub fn rows(&self, first: Option<u64>) -> Result<Vec<OwnedRow>, SqlError> {
        self.insert.rows(first)
    }

    /// The statements for all rows but those that `skip` marks; none when that leaves none.
    pub fn bind(&self, first: Option<u64>, skip: &[bool]) -> Result<Vec<ShardSql>, SqlError> {
        self.insert.bind_but(first, skip)
    }
}
