//! INSERT and REPLACE: rows grouped by shard, with values of sequences filled in. Works on tokens:
//! the text of rows, conflict clauses and hints stays as the client wrote it, and a statement with
//! many rows is read in one pass.

mod read;
mod unbound;

use std::ops::Range;
use std::sync::Arc;

use super::catalog::{Keyspace, Table, TableKind, TableLookup};
use super::grammar::ValueExpr;
use super::literal::{ColumnClass, Scalar};
use super::lookup::{InsertKind, OwnedInsert};
use super::rewrite::{Piece, Splice, quoted};
use super::route::{RowProblem, Values, shard_of_row};
use super::template::Template;
use super::text::Text;
use super::types::{
    Action, InsertWithSequence, PlanContext, SequenceNeed, ShardId, ShardSql, SqlError,
};
pub(super) use read::InsertShape;
pub(super) use unbound::UnboundInsert;
use unbound::{Router, RowSql, UnboundRow};

/// An INSERT over a table that is sharded or filled from a sequence.
#[derive(Debug)]
pub(super) struct InsertTemplate {
    keyspace: Arc<Keyspace>,
    table: Arc<Table>,
    /// Token after the table's name and columns, where rows begin, and after the last row.
    rows: Vec<Row>,
    /// For an omitted column of the sequence: its name is put before this token.
    add_column: Option<(usize, String)>,
    /// What it does with rows whose keys are taken.
    kind: InsertKind,
}

#[derive(Debug)]
struct Row {
    tokens: Range<usize>,
    /// What the vindex gets; `None` for a column that is filled from the sequence.
    key: Vec<KeyPart>,
    sequence: Option<SequenceColumn>,
    /// For each lookup that the table owns the values of its columns.
    lookups: Vec<Vec<KeyPart>>,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum KeyPart {
    Value(ValueExpr),
    /// What the sequence column gets.
    Sequence,
}

/// Where a row's value of the sequence column is.
#[derive(Debug, Clone)]
enum SequenceColumn {
    /// These tokens; a value is reserved when they are NULL, 0 or DEFAULT.
    Given(Range<usize>, Option<ValueExpr>),
    /// Not given: it is put before this token.
    Omitted(usize),
}

impl InsertTemplate {
    pub(super) fn keyspace(&self) -> &Arc<Keyspace> {
        &self.keyspace
    }

    pub(super) fn plan(
        &self,
        template: &Template,
        context: &PlanContext<'_>,
        values: &Values<'_>,
    ) -> Result<Action, SqlError> {
        let generated: Vec<bool> = self
            .rows
            .iter()
            .map(|row| row.is_generated(values))
            .collect();
        let count = generated.iter().filter(|g| **g).count();
        let mut shards = Vec::with_capacity(self.rows.len());
        for (row, generated) in self.rows.iter().zip(&generated) {
            shards.push(self.shard(row, *generated, None, values)?);
        }
        let owns = self.owns_lookups();
        let first = shards.iter().flatten().next();
        let together = !owns && count == 0 && shards.iter().all(|s| s.as_ref() == first);
        if let (true, Some(shard)) = (together, first) {
            return Ok(Action::Single(ShardSql {
                shard: shard.clone(),
                sql: template.rewrite.sql(context, values.sql),
            }));
        }
        // From here on text is put together anew, and values stand for parameters.
        let text = Text::new(&template.rewrite, context, values);
        let unbound = self.unbound(&text, &generated, shards)?;
        if owns {
            return self.owned(unbound, count);
        }
        if count == 0 {
            let mut parts = unbound.bind(None)?;
            return Ok(match parts.len() {
                1 => Action::Single(parts.remove(0)),
                _ => Action::Dml(parts),
            });
        }
        let (shard, table) = self.sequence()?;
        Ok(Action::Insert(Box::new(InsertWithSequence {
            sequence: SequenceNeed {
                shard,
                table,
                count: count as u64,
            },
            insert: unbound,
        })))
    }

    /// Whether lookups must know of its rows.
    fn owns_lookups(&self) -> bool {
        self.keyspace.sharded && self.table.owned_lookups().next().is_some()
    }

    fn owned(&self, insert: UnboundInsert, count: usize) -> Result<Action, SqlError> {
        let sequence = match count {
            0 => None,
            count => {
                let (shard, table) = self.sequence()?;
                Some(SequenceNeed {
                    shard,
                    table,
                    count: count as u64,
                })
            }
        };
        Ok(Action::OwnedInsert(Box::new(OwnedInsert {
            kind: self.kind,
            keyspace: self.keyspace.clone(),
            table: self.table.clone(),
            lookups: self.table.owned_lookups().cloned().collect(),
            sequence,
            insert,
        })))
    }

    /// The lookups that its rows go to as well.
    pub(super) fn lookups(&self) -> impl Iterator<Item = &Arc<TableLookup>> {
        self.table.owned_lookups().filter(|_| self.keyspace.sharded)
    }

    /// Why rows with such values would be refused, if they would.
    pub(super) fn check(&self, values: &Values<'_>) -> Result<(), SqlError> {
        for row in &self.rows {
            let generated = row.is_generated(values);
            self.shard(row, generated, None, values)?;
            if generated {
                self.sequence()?;
            }
        }
        Ok(())
    }

    /// What tells the shard of a row.
    pub(super) fn by(&self) -> String {
        match &self.table.primary_vindex {
            Some(primary) => format!("{}.{}", self.table.name, primary.columns.join(", ")),
            None => "the keyspace id that its table is pinned to".to_owned(),
        }
    }

    /// Whether its rows may be of different shards.
    pub(super) fn may_be_split(&self) -> bool {
        self.rows.len() > 1 && self.table.primary_vindex.is_some()
    }

    /// The sequence, where its table is.
    fn sequence(&self) -> Result<(Arc<ShardId>, String), SqlError> {
        let auto = self.table.auto_increment.as_ref();
        let sequence = auto.map(|auto| auto.sequence.clone());
        sequence
            .unwrap_or_else(|| Err("it has no sequence".to_owned()))
            .map_err(|why| {
                SqlError::new(
                    1105,
                    "HY000",
                    format!("INSERT into `{}`: {why}", self.table.name),
                )
            })
    }

    /// Where a row goes; `None` while it depends on the sequence.
    fn shard(
        &self,
        row: &Row,
        generated: bool,
        sequence: Option<u64>,
        values: &Values<'_>,
    ) -> Result<Option<Arc<ShardId>>, SqlError> {
        let shards = &self.keyspace.shards;
        if !self.keyspace.sharded || shards.len() <= 1 && self.table.primary_vindex.is_none() {
            return shards
                .first()
                .cloned()
                .map(Some)
                .ok_or_else(|| self.keyspace.not_serving());
        }
        if let TableKind::Pinned(id) = &self.table.kind {
            let shard = self.keyspace.shard_for(id).cloned();
            return shard.map(Some).ok_or_else(|| self.keyspace.not_serving());
        }
        let Some(primary) = &self.table.primary_vindex else {
            return Err(SqlError::unsupported(format!(
                "INSERT into `{}`",
                self.table.name
            )));
        };
        let mut key = Vec::with_capacity(row.key.len());
        for part in &row.key {
            key.push(match (part, &row.sequence, sequence) {
                (KeyPart::Value(value), ..) => *value,
                (KeyPart::Sequence, _, Some(n)) if generated => {
                    ValueExpr::Int(i64::try_from(n).unwrap_or(i64::MAX))
                }
                (KeyPart::Sequence, ..) if generated => return Ok(None),
                (KeyPart::Sequence, Some(SequenceColumn::Given(_, Some(value))), _) => *value,
                (KeyPart::Sequence, ..) => {
                    return Err(SqlError::unsupported(format!(
                        "expression for a sharding column in an INSERT into `{}`",
                        self.table.name
                    )));
                }
            });
        }
        let classes = self.classes();
        shard_of_row(&*primary.vindex, &classes, &key, &self.keyspace, values)
            .map(Some)
            .or_else(|problem| self.problem(&problem))
    }

    fn problem(&self, problem: &RowProblem) -> Result<Option<Arc<ShardId>>, SqlError> {
        let name = &self.table.name;
        Err(match problem {
            // While preparing, any shard will do.
            RowProblem::NotBound => return Ok(self.keyspace.shards.first().cloned()),
            RowProblem::Unclear => SqlError::unsupported(format!(
                "INSERT into `{name}` of a sharding value whose stored form depends on the column's \
                 type: name the type in the VSchema's `columns`"
            )),
            RowProblem::Nowhere => SqlError::new(
                1105,
                "HY000",
                format!("could not map the sharding value of a row of `{name}` to a keyspace id"),
            ),
            RowProblem::NoShard => self.keyspace.not_serving(),
        })
    }

    fn classes(&self) -> Vec<ColumnClass> {
        self.table
            .primary_vindex
            .as_ref()
            .map(|primary| {
                primary
                    .columns
                    .iter()
                    .map(|c| self.table.class_of(c))
                    .collect()
            })
            .unwrap_or_default()
    }

    fn unbound(
        &self,
        text: &Text<'_>,
        generated: &[bool],
        shards: Vec<Option<Arc<ShardId>>>,
    ) -> Result<UnboundInsert, SqlError> {
        let (Some(first), Some(last)) = (self.rows.first(), self.rows.last()) else {
            return Err(SqlError::syntax("INSERT without rows"));
        };
        let add_column = self.add_column.as_ref().map(|(at, column)| Splice {
            from: *at,
            to: *at,
            with: Piece::Text(format!(", {}", quoted(column))),
        });
        let mut rows = Vec::with_capacity(self.rows.len());
        for ((row, generated), shard) in self.rows.iter().zip(generated).zip(shards) {
            let (before, after, kept) = match &row.sequence {
                _ if !generated => (row.tokens.clone(), 0..0, None),
                Some(SequenceColumn::Given(at, _)) => {
                    (row.tokens.start..at.start, at.end..row.tokens.end, None)
                }
                Some(SequenceColumn::Omitted(at)) => {
                    (row.tokens.start..*at, *at..row.tokens.end, Some(", "))
                }
                None => (row.tokens.clone(), 0..0, None),
            };
            let mut start = text.render(before, None);
            start.extend(kept.unwrap_or_default().bytes());
            rows.push(UnboundRow {
                before: start,
                after: text.render(after, None),
                generated: *generated,
                shard,
                key: row
                    .key
                    .iter()
                    .map(|part| match (part, &row.sequence) {
                        (KeyPart::Value(value), _) => text.values.get(*value).map(owned),
                        (KeyPart::Sequence, Some(SequenceColumn::Given(_, Some(value))))
                            if !generated =>
                        {
                            text.values.get(*value).map(owned)
                        }
                        (KeyPart::Sequence, _) => None,
                    })
                    .collect(),
                key_sql: self.sql_of(row, &row.key, *generated, text),
                lookups: row
                    .lookups
                    .iter()
                    .map(|values| self.sql_of(row, values, *generated, text))
                    .collect(),
            });
        }
        Ok(UnboundInsert {
            head: text.render(0..first.tokens.start, add_column.as_ref()),
            tail: text.render(last.tokens.end..text.tokens.len(), None),
            rows,
            router: self.table.primary_vindex.as_ref().map(|_| Router {
                keyspace: self.keyspace.clone(),
                table: self.table.clone(),
                classes: self.classes(),
            }),
        })
    }
}

impl InsertTemplate {
    /// Values as SQL, for a table that owns lookups.
    fn sql_of(
        &self,
        row: &Row,
        values: &[KeyPart],
        generated: bool,
        text: &Text<'_>,
    ) -> Vec<RowSql> {
        if row.lookups.is_empty() {
            return Vec::new();
        }
        let sql = |value: ValueExpr| {
            let mut sql = Vec::new();
            text.values.write(value, &mut sql);
            match text.values.get(value) {
                Some(Scalar::Null) => RowSql::Null,
                _ => RowSql::Text(sql),
            }
        };
        let values = values.iter().map(|value| match (value, &row.sequence) {
            (KeyPart::Value(value), _) => sql(*value),
            (KeyPart::Sequence, Some(SequenceColumn::Given(_, Some(value)))) if !generated => {
                sql(*value)
            }
            (KeyPart::Sequence, _) => RowSql::Generated,
        });
        values.collect()
    }
}

fn owned(scalar: Scalar<'_>) -> Scalar<'static> {
    match scalar {
        Scalar::Null => Scalar::Null,
        Scalar::Int(n) => Scalar::Int(n),
        Scalar::UInt(n) => Scalar::UInt(n),
        Scalar::Decimal(text) => Scalar::Decimal(text.into_owned().into()),
        Scalar::Text(text) => Scalar::Text(text.into_owned().into()),
        Scalar::Binary(bytes) => Scalar::Binary(bytes),
        Scalar::Foreign => Scalar::Foreign,
    }
}

impl Row {
    /// Whether the sequence gives the row a value.
    fn is_generated(&self, values: &Values<'_>) -> bool {
        match &self.sequence {
            None => false,
            Some(SequenceColumn::Omitted(_)) => true,
            Some(SequenceColumn::Given(_, None)) => false,
            Some(SequenceColumn::Given(_, Some(value))) => match values.get(*value) {
                Some(Scalar::Null | Scalar::Int(0) | Scalar::UInt(0)) => true,
                Some(Scalar::Text(text)) => text.as_ref() == b"0",
                _ => false,
            },
        }
    }
}
