//! Lookup vindexes in plans: a table that a gate keeps and asks says where rows with a value are.
//!
//! [`read`] makes the queries by which a statement's shards are found. [`change`] says what an
//! UPDATE or DELETE means for the lookups that its table owns, [`rows`] the same for INSERT. Texts
//! only: [`crate::exec::lookup`] runs them, and holds the order that keeps lookups right.
//!
//! Values go into the texts as the client wrote them: a lookup's column has the type of the column it
//! is of, so a server compares, and stores, both alike.

mod change;
mod read;
mod rows;

pub(super) use change::OwnedTemplate;
pub use change::{LookupChange, NewValue, OwnedWrite};
pub use read::LookupRead;
pub(super) use read::{LookupKeys, Unresolved};
pub use rows::{InsertKind, LookupRow, OwnedInsert, OwnedRow};

use std::sync::Arc;

use vtplan_state::model::KeyspaceName;
use vtplan_state::vindex::Lookup;

use super::catalog::{Keyspace, Table, TableLookup};
use super::rewrite::quoted;
use super::types::{ShardId, SqlError};

/// The lookup of a table that is written, or why the table cannot be.
pub(super) fn usable<'l>(
    lookup: &'l TableLookup,
    table: &str,
) -> Result<&'l (KeyspaceName, Lookup), SqlError> {
    lookup.lookup.as_ref().map_err(|why| {
        SqlError::unsupported(format!(
            "writes to `{table}`, which owns lookup vindex `{}`: {why}",
            lookup.name
        ))
    })
}

impl TableLookup {
    fn values_sql(&self) -> Vec<String> {
        let from = self.lookup.as_ref().map(|(_, lookup)| lookup.from.iter());
        from.into_iter().flatten().map(|c| quoted(c)).collect()
    }

    fn to_sql(&self) -> String {
        let lookup = self.lookup.as_ref();
        lookup.map_or_else(|_| String::new(), |(_, lookup)| quoted(&lookup.to))
    }

    /// `a = 1 AND b = 2`.
    fn equals(&self, values: &[Vec<u8>]) -> Vec<u8> {
        equals(&self.values_sql(), values)
    }

    /// Adds rows, each of values and a keyspace id; those that are there stay, and are locked.
    pub fn insert_sql(&self, rows: &[(&[Vec<u8>], &[u8])]) -> Vec<u8> {
        let to = self.to_sql();
        let mut columns = self.values_sql();
        columns.push(to.clone());
        let table = self.table_sql().unwrap_or_default();
        let mut sql = format!("INSERT INTO {table} ({}) VALUES ", columns.join(", ")).into_bytes();
        for (at, (values, id)) in rows.iter().enumerate() {
            if at > 0 {
                sql.push(b',');
            }
            sql.push(b'(');
            for value in *values {
                sql.extend_from_slice(value);
                sql.push(b',');
            }
            sql.extend(hex(id));
            sql.push(b')');
        }
        sql.extend(format!(" ON DUPLICATE KEY UPDATE {to} = {to}").bytes());
        sql
    }

    /// The columns and the keyspace id of the rows of a value, which are locked. `id`: only the
    /// row with this one. `wait`: for others to end what they do with it.
    pub fn lock_sql(&self, values: &[Vec<u8>], id: Option<&[u8]>, wait: bool) -> Vec<u8> {
        let (to, mut columns) = (self.to_sql(), self.values_sql());
        columns.push(to.clone());
        let table = self.table_sql().unwrap_or_default();
        let mut sql = format!("SELECT {} FROM {table} WHERE ", columns.join(", ")).into_bytes();
        sql.extend(self.equals(values));
        if let Some(id) = id {
            sql.extend(format!(" AND {to} = ").bytes());
            sql.extend(hex(id));
        }
        sql.extend_from_slice(if wait {
            b" FOR UPDATE"
        } else {
            b" FOR UPDATE NOWAIT"
        });
        sql
    }

    /// Gives a value's row another keyspace id.
    pub fn take_over_sql(&self, values: &[Vec<u8>], id: &[u8]) -> Vec<u8> {
        let table = self.table_sql().unwrap_or_default();
        let start = format!("UPDATE {table} SET {} = ", self.to_sql());
        let (id, values) = (hex(id), self.equals(values));
        [start.as_bytes(), &id, b" WHERE ", &values].concat()
    }

    /// Removes the row of a value and a keyspace id.
    pub fn delete_sql(&self, values: &[Vec<u8>], id: &[u8]) -> Vec<u8> {
        let table = self.table_sql().unwrap_or_default();
        let start = format!("DELETE FROM {table} WHERE ");
        let values = self.equals(values);
        let and = format!(" AND {} = ", self.to_sql());
        [start.as_bytes(), &values, and.as_bytes(), &hex(id)].concat()
    }

    /// The lookup's columns of the owner's rows with these values of the sharding columns, which are
    /// locked. Of many rows only some: see [`crate::exec::lookup`].
    pub fn of_key_sql(&self, owner: &Table, key: &[Vec<u8>]) -> Vec<u8> {
        let (keyspace, table) = (quoted(owner.keyspace.as_str()), quoted(&owner.name));
        let columns: Vec<String> = self.columns.iter().map(|c| quoted(c)).collect();
        let primary = owner.primary_vindex.as_ref();
        let of = primary.map(|p| p.columns.as_slice()).unwrap_or_default();
        let of: Vec<String> = of.iter().map(|c| quoted(c)).collect();
        let start = format!(
            "SELECT {} FROM {keyspace}.{table} WHERE ",
            columns.join(", ")
        );
        [
            start.as_bytes(),
            &equals(&of, key),
            b" LIMIT 1000 FOR UPDATE",
        ]
        .concat()
    }

    /// Whether the owner has a row of a value, which is locked. `key`: one with these values of
    /// the sharding columns.
    pub fn owner_sql(
        &self,
        owner: &Table,
        values: &[Vec<u8>],
        key: Option<&[Vec<u8>]>,
        wait: bool,
    ) -> Vec<u8> {
        let (keyspace, table) = (quoted(owner.keyspace.as_str()), quoted(&owner.name));
        let columns: Vec<String> = self.columns.iter().map(|c| quoted(c)).collect();
        let start = format!("SELECT 1 FROM {keyspace}.{table} WHERE ");
        let mut sql = start.into_bytes();
        sql.extend(equals(&columns, values));
        if let (Some(key), Some(primary)) = (key, &owner.primary_vindex) {
            let columns: Vec<String> = primary.columns.iter().map(|c| quoted(c)).collect();
            sql.extend(b" AND ");
            sql.extend(equals(&columns, key));
        }
        sql.extend_from_slice(if wait {
            b" LIMIT 1 FOR UPDATE"
        } else {
            b" LIMIT 1 FOR UPDATE NOWAIT"
        });
        sql
    }
}

fn equals(columns: &[String], values: &[Vec<u8>]) -> Vec<u8> {
    let mut sql = Vec::new();
    for (at, (column, value)) in columns.iter().zip(values).enumerate() {
        if at > 0 {
            sql.extend(b" AND ");
        }
        sql.extend(column.bytes());
        sql.extend(b" = ");
        sql.extend_from_slice(value);
    }
    sql
}

fn hex(id: &[u8]) -> Vec<u8> {
    let mut out = b"x'".to_vec();
    for b in id {
        out.extend(format!("{b:02x}").bytes());
    }
    out.push(b'\'');
    out
}

/// All shards of a keyspace, for what is not known before a lookup was asked.
fn all_shards(keyspace: &Keyspace) -> Vec<Arc<ShardId>> {
    keyspace.shards.clone()
}
