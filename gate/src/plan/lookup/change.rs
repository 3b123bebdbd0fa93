//! UPDATE and DELETE of a table that owns lookups: which rows change is asked first, by the
//! statement's own text, and locked.

use std::ops::Range;
use std::sync::Arc;

use crate::plan::analyze::Change;
use crate::plan::catalog::{Keyspace, Table, TableLookup};
use crate::plan::grammar::ValueExpr;
use crate::plan::rewrite::quoted;
use crate::plan::statement::Statement;
use crate::plan::text::Text;
use crate::plan::types::{Action, SqlError};

/// What a statement changes, as far as its values do not matter.
#[derive(Debug)]
pub(in crate::plan) struct OwnedTemplate {
    table: Arc<Table>,
    alias: String,
    /// Tokens of the table, with its alias.
    from: Range<usize>,
    /// Tokens of WHERE, ORDER BY, LIMIT.
    rest: Range<usize>,
    /// Columns of lookups that get a value; none in a DELETE.
    assigned: Vec<(String, ValueExpr)>,
}

/// An UPDATE or DELETE, and how to find what it changes for lookups.
#[derive(Debug, Clone)]
pub struct OwnedWrite {
    /// The statement itself: one shard, several, or whichever a lookup tells.
    pub base: Action,
    pub keyspace: Arc<Keyspace>,
    pub table: Arc<Table>,
    /// The query for the rows that the statement changes, which it locks: first the sharding
    /// columns, then what `changes` names.
    pub rows_sql: Vec<u8>,
    pub changes: Vec<LookupChange>,
}

/// What happens to one lookup.
#[derive(Debug, Clone)]
pub struct LookupChange {
    pub lookup: Arc<TableLookup>,
    /// Where the query has the lookup's columns, as they are before.
    pub old: Vec<usize>,
    /// For an UPDATE: where the query says whether all of them stay as they are, and what each gets.
    pub new: Option<(usize, Vec<NewValue>)>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum NewValue {
    Null,
    /// SQL text.
    Text(Vec<u8>),
    /// It keeps what the query has here.
    Old(usize),
}

impl OwnedTemplate {
    /// For a statement that begins with its verb.
    pub(in crate::plan) fn new(
        statement: &Statement<'_>,
        table: &Arc<Table>,
        alias: &str,
        change: &Change,
    ) -> Result<Self, SqlError> {
        let unreadable = || SqlError::unsupported(format!("this way to write to `{}`", table.name));
        let end = statement.tokens.len();
        let outside = |words: &[&str], from: usize| -> Option<usize> {
            let mut depth = 0usize;
            (from..end).find(|at| {
                if statement.is_op(*at, "(") {
                    depth += 1;
                } else if statement.is_op(*at, ")") {
                    depth = depth.saturating_sub(1);
                }
                depth == 0 && statement.is_any(*at, words)
            })
        };
        const RAND: [&str; 5] = ["RAND", "UUID", "UUID_SHORT", "SYSDATE", "RANDOM_BYTES"];
        let random =
            (0..end).find(|at| statement.is_any(*at, &RAND) && statement.is_op(at + 1, "("));
        if let Some(at) = random {
            return Err(SqlError::unsupported(format!(
                "{}() in a write to `{}`, which owns a lookup vindex",
                String::from_utf8_lossy(statement.text(at)).to_ascii_uppercase(),
                table.name
            )));
        }
        const REST: [&str; 3] = ["WHERE", "ORDER", "LIMIT"];
        let mut from = 1;
        if statement.is(0, "UPDATE") {
            while statement.is_any(from, &["LOW_PRIORITY", "IGNORE"]) {
                if statement.is(from, "IGNORE") {
                    return Err(SqlError::unsupported(format!(
                        "UPDATE IGNORE of a column of `{}` that a lookup vindex is of",
                        table.name
                    )));
                }
                from += 1;
            }
            let set = outside(&["SET"], from).ok_or_else(unreadable)?;
            let rest = outside(&REST, set).unwrap_or(end);
            Ok(Self {
                table: table.clone(),
                alias: alias.to_owned(),
                from: from..set,
                rest: rest..end,
                assigned: change.assigned.clone(),
            })
        } else if statement.is(0, "DELETE") {
            from = outside(&["FROM"], from).ok_or_else(unreadable)? + 1;
            let rest = outside(&REST, from).unwrap_or(end);
            if outside(&["RETURNING"], from).is_some() {
                return Err(SqlError::unsupported(format!(
                    "RETURNING of `{}`, which owns a lookup vindex",
                    table.name
                )));
            }
            Ok(Self {
                table: table.clone(),
                alias: alias.to_owned(),
                from: from..rest,
                rest: rest..end,
                assigned: Vec::new(),
            })
        } else {
            Err(unreadable())
        }
    }

    /// The lookups that it is about.
    pub(in crate::plan) fn lookups(&self) -> impl Iterator<Item = &Arc<TableLookup>> {
        self.table.owned_lookups().filter(|lookup| {
            let assigned = |column: &String| self.assigned.iter().any(|(c, _)| c == column);
            self.assigned.is_empty() || lookup.columns.iter().any(assigned)
        })
    }

    pub(in crate::plan) fn plan(
        &self,
        base: Action,
        keyspace: &Arc<Keyspace>,
        text: &Text<'_>,
    ) -> Result<OwnedWrite, SqlError> {
        let column = |name: &str| format!("{}.{}", quoted(&self.alias), quoted(name)).into_bytes();
        let primary = self.table.primary_vindex.as_ref();
        let key = primary.map(|p| p.columns.as_slice()).unwrap_or_default();
        let mut items: Vec<Vec<u8>> = key.iter().map(|c| column(c)).collect();
        let mut changes = Vec::new();
        for lookup in self.lookups() {
            let old: Vec<usize> = lookup
                .columns
                .iter()
                .map(|c| {
                    items.push(column(c));
                    items.len() - 1
                })
                .collect();
            let mut new = Vec::new();
            let mut same: Vec<u8> = Vec::new();
            for (at, name) in lookup.columns.iter().enumerate() {
                let Some((_, value)) = self.assigned.iter().find(|(c, _)| c == name) else {
                    new.push(NewValue::Old(old[at]));
                    continue;
                };
                let mut sql = Vec::new();
                if !text.values.write(*value, &mut sql) {
                    return Err(SqlError::new(
                        1210,
                        "HY000",
                        "a parameter of the statement has no value",
                    ));
                }
                if !same.is_empty() {
                    same.extend(b" AND ");
                }
                same.extend(column(name));
                same.extend(b" <=> ");
                same.extend_from_slice(&sql);
                new.push(if sql.eq_ignore_ascii_case(b"NULL") {
                    NewValue::Null
                } else {
                    NewValue::Text(sql)
                });
            }
            let new = (!self.assigned.is_empty()).then(|| {
                items.push(same);
                (items.len() - 1, new)
            });
            changes.push(LookupChange {
                lookup: lookup.clone(),
                old,
                new,
            });
        }
        let mut rows_sql = b"SELECT ".to_vec();
        rows_sql.extend(items.join(&b", "[..]));
        rows_sql.extend(b" FROM ");
        rows_sql.extend(text.render(self.from.clone(), None));
        rows_sql.push(b' ');
        rows_sql.extend(text.render(self.rest.clone(), None));
        rows_sql.extend(b" FOR UPDATE");
        Ok(OwnedWrite {
            base,
            keyspace: keyspace.clone(),
            table: self.table.clone(),
            rows_sql,
            changes,
        })
    }
}
