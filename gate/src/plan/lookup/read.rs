//! Finding a statement's shards by lookups.

use std::sync::Arc;

use vtplan_state::model::KeyspaceId;

use crate::plan::catalog::{Keyspace, TableLookup};
use crate::plan::grammar::ValueExpr;
use crate::plan::rewrite::quoted;
use crate::plan::route::{Shards, Values};
use crate::plan::template::{Several, finish};
use crate::plan::types::{Action, ShardId, Sql, SqlError};

/// Rows for which a lookup's columns have one of these tuples of values.
#[derive(Debug, Clone)]
pub(in crate::plan) struct LookupKeys {
    pub lookup: Arc<TableLookup>,
    /// How many of the lookup's columns the tuples are of: its first ones.
    pub columns: usize,
    pub tuples: Vec<Vec<ValueExpr>>,
}

impl LookupKeys {
    /// Whether a tuple has one keyspace id at most.
    pub(in crate::plan) fn is_unique(&self) -> bool {
        let whole = self.columns == self.lookup.columns.len();
        whole && self.lookup.readable().is_some_and(|l| l.unique)
    }

    /// The query for the keyspace ids; `None` when a value is not known.
    pub(in crate::plan) fn query(&self, values: &Values<'_>) -> Option<Vec<u8>> {
        let lookup = self.lookup.readable()?;
        let columns: Vec<String> = lookup.from.iter().map(|c| quoted(c)).collect();
        let columns = &columns[..self.columns];
        let table = self.lookup.table_sql()?;
        let to = quoted(&lookup.to);
        let mut sql = format!("SELECT {to} FROM {table} WHERE ").into_bytes();
        let known = match (columns, self.tuples.as_slice()) {
            ([column], tuples) => {
                sql.extend(format!("{column} IN (").bytes());
                let known = list(tuples.iter().map(|t| t[0]), b", ", values, &mut sql);
                sql.push(b')');
                known
            }
            (columns, [tuple]) => columns.iter().zip(tuple).enumerate().all(|(at, (c, v))| {
                if at > 0 {
                    sql.extend(b" AND ");
                }
                sql.extend(format!("{c} = ").bytes());
                values.write(*v, &mut sql)
            }),
            (columns, tuples) => {
                sql.extend(format!("({}) IN (", columns.join(", ")).bytes());
                let known = tuples.iter().enumerate().all(|(at, tuple)| {
                    sql.extend_from_slice(if at > 0 { b", (" } else { b"(" });
                    let known = list(tuple.iter().copied(), b", ", values, &mut sql);
                    sql.push(b')');
                    known
                });
                sql.push(b')');
                known
            }
        };
        known.then_some(sql)
    }
}

fn list(
    items: impl Iterator<Item = ValueExpr>,
    between: &[u8],
    values: &Values<'_>,
    sql: &mut Vec<u8>,
) -> bool {
    items.enumerate().all(|(at, item)| {
        if at > 0 {
            sql.extend_from_slice(between);
        }
        values.write(item, sql)
    })
}

/// A statement whose shards lookups will tell: [`LookupRead::queries`] are run, then
/// [`LookupRead::resolve`] gives what to do.
#[derive(Debug, Clone)]
pub struct LookupRead {
    /// Each gives keyspace ids, in its only column.
    pub queries: Vec<Vec<u8>>,
    pub(in crate::plan) rest: Unresolved,
}

/// What is known of a statement beside the answers of lookups.
#[derive(Debug, Clone)]
pub(in crate::plan) struct Unresolved {
    pub keyspace: Arc<Keyspace>,
    /// For each group of tables its shards; `None`: the next query tells.
    pub groups: Vec<Option<Shards>>,
    pub several: Result<Several, String>,
    pub limit: Option<u64>,
    pub sql: Sql,
}

impl LookupRead {
    /// What to do, with the keyspace ids that each query has given.
    pub fn resolve(&self, ids: &[Vec<KeyspaceId>]) -> Result<Action, SqlError> {
        let mut answers = ids.iter();
        let rest = &self.rest;
        let groups = rest.groups.iter().map(|known| match known {
            Some(shards) => shards.clone(),
            None => answers
                .next()
                .map_or(Shards::All, |ids| self.shards_of(ids)),
        });
        let limit = || Ok(rest.limit);
        finish(&rest.keyspace, groups, &rest.several, limit, &rest.sql)
    }

    fn shards_of(&self, ids: &[KeyspaceId]) -> Shards {
        let mut found = Vec::with_capacity(ids.len());
        for id in ids {
            match self.rest.keyspace.shard_index(id) {
                Some(at) => found.push(at),
                None => return Shards::All,
            }
        }
        found.sort_unstable();
        found.dedup();
        Shards::Some(found)
    }

    /// The shards that it may go to.
    pub(in crate::plan) fn shards(&self) -> Vec<Arc<ShardId>> {
        super::all_shards(&self.rest.keyspace)
    }
}
