//! INSERT and REPLACE: rows grouped by shard, with values of sequences filled in. Works on tokens:
//! the text of rows, conflict clauses and hints stays as the client wrote it, and a statement with
//! many rows is read in one pass.

use std::ops::Range;
use std::sync::Arc;

use bytes::Bytes;

use super::catalog::{FoundTable, Keyspace, Table, TableKind};
use super::grammar::ValueExpr;
use super::literal::{self, ColumnClass, Scalar};
use super::rewrite::{Piece, Splice, quoted};
use super::route::{RowProblem, Values, shard_of_row};
use super::scan::{Kind, Lexer, Token};
use super::statement::{Statement, TableName};
use super::template::Template;
use super::types::{
    Action, InsertWithSequence, PlanContext, SequenceNeed, ShardId, ShardSql, Sql, SqlError,
};

/// An INSERT over a table that is sharded or filled from a sequence.
#[derive(Debug)]
pub(super) struct InsertTemplate {
    keyspace: Arc<Keyspace>,
    table: Arc<Table>,
    /// Token after the table's name and columns, where rows begin, and after the last row.
    rows: Vec<Row>,
    /// For an omitted column of the sequence: its name is put before this token.
    add_column: Option<(usize, String)>,
}

#[derive(Debug)]
struct Row {
    tokens: Range<usize>,
    /// What the vindex gets; `None` for a column that is filled from the sequence.
    key: Vec<KeyPart>,
    sequence: Option<SequenceColumn>,
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

/// The shape of an INSERT, found in its tokens.
pub(super) struct InsertShape {
    pub table: TableName,
    after_table: usize,
}

impl InsertShape {
    /// Reads up to the table's name.
    pub(super) fn new(statement: &Statement<'_>) -> Result<Self, SqlError> {
        let mut at = 1;
        while statement.is_any(
            at,
            &["LOW_PRIORITY", "DELAYED", "HIGH_PRIORITY", "IGNORE", "INTO"],
        ) {
            at += 1;
        }
        let (table, after_table) = statement
            .table_name(at)
            .ok_or_else(|| SqlError::syntax("a table's name is missing after INSERT"))?;
        Ok(Self { table, after_table })
    }

    /// The template, for a table that was found to need one.
    pub(super) fn template(
        &self,
        statement: &Statement<'_>,
        found: &FoundTable,
        table: &Arc<Table>,
    ) -> Result<InsertTemplate, SqlError> {
        Reader::new(statement, found, table)?.read(self.after_table)
    }
}

struct Reader<'s, 'a> {
    statement: &'s Statement<'a>,
    keyspace: &'s Arc<Keyspace>,
    table: &'s Arc<Table>,
    /// The number of each token's slot, for those that have one.
    slots: Vec<usize>,
}

impl<'s, 'a> Reader<'s, 'a> {
    fn new(
        statement: &'s Statement<'a>,
        found: &'s FoundTable,
        table: &'s Arc<Table>,
    ) -> Result<Self, SqlError> {
        let name = &table.name;
        if found.keyspace.sharded {
            if let Some(why) = &table.vindex_error {
                return Err(SqlError::unsupported(format!(
                    "INSERT into `{name}`: {why}"
                )));
            }
            if table.kind == TableKind::Reference {
                return Err(SqlError::unsupported(format!(
                    "INSERT into reference table `{name}`"
                )));
            }
            if let Some(lookup) = table.owned_lookups.first() {
                return Err(SqlError::unsupported(format!(
                    "INSERT into `{name}`, which owns lookup vindex `{lookup}`"
                )));
            }
        }
        let mut next = 0;
        let slots = statement
            .tokens
            .iter()
            .map(|token| {
                let number = next;
                next += usize::from(token.kind.is_slot());
                number
            })
            .collect();
        Ok(Self {
            statement,
            keyspace: &found.keyspace,
            table,
            slots,
        })
    }

    fn unsupported(&self, construct: &str) -> SqlError {
        SqlError::unsupported(format!("{construct} into `{}`", self.table.name))
    }

    fn read(&self, mut at: usize) -> Result<InsertTemplate, SqlError> {
        let s = self.statement;
        if s.is(at, "PARTITION") {
            return Err(self.unsupported("INSERT of a PARTITION"));
        }
        let mut columns = None;
        let mut columns_end = at;
        if s.is_op(at, "(") && !s.is_any(at + 1, &["SELECT", "WITH", "TABLE", "VALUES"]) {
            let (list, end) = self.column_list(at)?;
            columns = Some(list);
            columns_end = end - 1;
            at = end;
        }
        if s.is(at, "SET") {
            return self.read_set(at + 1);
        }
        if !s.is_any(at, &["VALUES", "VALUE"]) || s.is(at + 1, "ROW") {
            return Err(self.unsupported("INSERT ... SELECT"));
        }
        let columns = match columns {
            Some(columns) if !columns.is_empty() => columns,
            _ => self.table.authoritative_columns.clone().ok_or_else(|| {
                self.unsupported(
                    "INSERT without a column list (the VSchema does not list all columns)",
                )
            })?,
        };
        let places = Places::new(self, &columns)?;
        let mut rows = Vec::new();
        at += 1;
        loop {
            let row = self.row(at, columns.len(), &places)?;
            at = row.tokens.end;
            rows.push(row);
            if !s.is_op(at, ",") {
                break;
            }
            at += 1;
        }
        self.check_tail(at)?;
        let omitted = self
            .table
            .auto_increment
            .as_ref()
            .filter(|_| places.sequence.is_none());
        Ok(InsertTemplate {
            keyspace: self.keyspace.clone(),
            table: self.table.clone(),
            rows,
            add_column: omitted.map(|auto| (columns_end, auto.column.clone())),
        })
    }

    /// `(a, b)` at a token: lower-case names, and the token after.
    fn column_list(&self, mut at: usize) -> Result<(Vec<String>, usize), SqlError> {
        let s = self.statement;
        let wrong = || SqlError::syntax("the column list of INSERT cannot be read");
        let mut columns = Vec::new();
        at += 1;
        if s.is_op(at, ")") {
            return Ok((columns, at + 1));
        }
        loop {
            let mut name = s.name(at).ok_or_else(wrong)?;
            // `t.a` is allowed.
            while s.is_op(at + 1, ".") {
                at += 2;
                name = s.name(at).ok_or_else(wrong)?;
            }
            columns.push(name.to_lowercase());
            at += 1;
            if s.is_op(at, ")") {
                return Ok((columns, at + 1));
            }
            if !s.is_op(at, ",") {
                return Err(wrong());
            }
            at += 1;
        }
    }

    /// The values of a row whose `(` is at a token.
    fn row(&self, from: usize, columns: usize, places: &Places) -> Result<Row, SqlError> {
        let s = self.statement;
        let wrong = || SqlError::syntax("the rows of INSERT cannot be read");
        if !s.is_op(from, "(") {
            return Err(wrong());
        }
        let mut values: Vec<Range<usize>> = Vec::with_capacity(columns);
        let mut start = from + 1;
        let mut depth = 0usize;
        let mut at = start;
        let end = loop {
            if at >= s.tokens.len() {
                return Err(wrong());
            }
            if s.tokens[at].kind == Kind::Operator {
                match s.text(at) {
                    b"(" => depth += 1,
                    b")" if depth == 0 => break at,
                    b")" => depth -= 1,
                    b"," if depth == 0 => {
                        values.push(start..at);
                        start = at + 1;
                    }
                    _ => {}
                }
            }
            at += 1;
        };
        if start < end || !values.is_empty() {
            values.push(start..end);
        }
        if values.len() != columns {
            return Err(SqlError::new(
                1136,
                "21S01",
                "Column count doesn't match value count at row 1",
            ));
        }
        let key = places
            .key
            .iter()
            .map(|place| match place {
                Place::Column(i) => self.key_value(&values[*i]).map(KeyPart::Value),
                Place::Sequence => Ok(KeyPart::Sequence),
            })
            .collect::<Result<_, _>>()?;
        let sequence = self
            .table
            .auto_increment
            .as_ref()
            .map(|_| match places.sequence {
                Some(i) => SequenceColumn::Given(values[i].clone(), self.constant(&values[i])),
                None => SequenceColumn::Omitted(end),
            });
        Ok(Row {
            tokens: from..end + 1,
            key,
            sequence,
        })
    }

    /// `SET a = 1, b = 2`, which is one row.
    fn read_set(&self, from: usize) -> Result<InsertTemplate, SqlError> {
        let s = self.statement;
        let wrong = || SqlError::syntax("the assignments of INSERT cannot be read");
        let mut columns = Vec::new();
        let mut values = Vec::new();
        let mut at = from;
        loop {
            columns.push(s.name(at).ok_or_else(wrong)?.to_lowercase());
            if !s.is_op(at + 1, "=") && !s.is_op(at + 1, ":=") {
                return Err(wrong());
            }
            at += 2;
            let start = at;
            let mut depth = 0usize;
            while at < s.tokens.len() {
                if s.is_op(at, "(") {
                    depth += 1;
                } else if s.is_op(at, ")") {
                    depth = depth.saturating_sub(1);
                } else if depth == 0
                    && (s.is_op(at, ",")
                        || s.are(at, &["ON", "DUPLICATE"])
                        || s.is(at, "AS")
                        || s.is(at, "RETURNING"))
                {
                    break;
                }
                at += 1;
            }
            values.push(start..at);
            if !s.is_op(at, ",") {
                break;
            }
            at += 1;
        }
        self.check_tail(at)?;
        let places = Places::new(self, &columns)?;
        if self.table.auto_increment.is_some() && places.sequence.is_none() {
            return Err(self.unsupported("INSERT ... SET without the sequence's column"));
        }
        let key = places
            .key
            .iter()
            .map(|place| match place {
                Place::Column(i) => self.key_value(&values[*i]).map(KeyPart::Value),
                Place::Sequence => Ok(KeyPart::Sequence),
            })
            .collect::<Result<_, _>>()?;
        let sequence = places
            .sequence
            .map(|i| SequenceColumn::Given(values[i].clone(), self.constant(&values[i])));
        Ok(InsertTemplate {
            keyspace: self.keyspace.clone(),
            table: self.table.clone(),
            rows: vec![Row {
                tokens: from..at,
                key,
                sequence,
            }],
            add_column: None,
        })
    }

    fn key_value(&self, tokens: &Range<usize>) -> Result<ValueExpr, SqlError> {
        let default = tokens.len() == 1 && self.statement.is(tokens.start, "DEFAULT");
        self.constant(tokens).filter(|_| !default).ok_or_else(|| {
            let text = String::from_utf8_lossy(self.statement.span(tokens.start, tokens.end));
            self.unsupported(&format!(
                "expression `{text}` for a sharding column in an INSERT"
            ))
        })
    }

    /// The constant that tokens are.
    fn constant(&self, tokens: &Range<usize>) -> Option<ValueExpr> {
        let s = self.statement;
        let slot = |at: usize, negative| ValueExpr::Slot {
            index: self.slots[at],
            negative,
        };
        let at = tokens.start;
        match tokens.len() {
            1 if s.kind(at)?.is_slot() => Some(slot(at, false)),
            1 if s.is(at, "NULL") => Some(ValueExpr::Null),
            1 if s.is(at, "TRUE") => Some(ValueExpr::Int(1)),
            1 if s.is(at, "FALSE") => Some(ValueExpr::Int(0)),
            // The sequence's column: a value is reserved, as for NULL.
            1 if s.is(at, "DEFAULT") => Some(ValueExpr::Null),
            2 if s.is_op(at, "-") && s.kind(at + 1)?.is_slot() => Some(slot(at + 1, true)),
            _ => None,
        }
    }

    /// What follows the rows: an alias, ON DUPLICATE KEY UPDATE, RETURNING.
    fn check_tail(&self, mut at: usize) -> Result<(), SqlError> {
        let s = self.statement;
        if at < s.tokens.len() && !s.is_any(at, &["AS", "ON", "RETURNING"]) {
            return Err(SqlError::syntax(
                "what follows the rows of INSERT cannot be read",
            ));
        }
        while at < s.tokens.len() && !s.are(at, &["ON", "DUPLICATE", "KEY", "UPDATE"]) {
            at += 1;
        }
        at += 4;
        let mut depth = 0usize;
        let mut at_name = true;
        while at < s.tokens.len() {
            if s.is_op(at, "(") {
                depth += 1;
            } else if s.is_op(at, ")") {
                depth = depth.saturating_sub(1);
            } else if s.is_op(at, ",") && depth == 0 {
                at_name = true;
                at += 1;
                continue;
            }
            if at_name {
                let mut name = at;
                while s.is_op(name + 1, ".") {
                    name += 2;
                }
                self.check_update(name)?;
                at = name;
            }
            at_name = false;
            at += 1;
        }
        Ok(())
    }

    /// `name = ...` in ON DUPLICATE KEY UPDATE: a sharding column may only keep its value.
    fn check_update(&self, at: usize) -> Result<(), SqlError> {
        let s = self.statement;
        let Some(name) = s.name(at).map(|n| n.to_lowercase()) else {
            return Ok(());
        };
        let vindex = self.table.primary_vindex.as_ref();
        if !vindex.is_some_and(|v| v.columns.contains(&name)) {
            return Ok(());
        }
        let keeps = s.is(at + 2, "VALUES")
            && s.is_op(at + 3, "(")
            && s.name(at + 4).is_some_and(|n| n.to_lowercase() == name)
            && s.is_op(at + 5, ")")
            && (at + 6 >= s.tokens.len() || s.is_op(at + 6, ","));
        if keeps {
            return Ok(());
        }
        Err(self.unsupported(&format!(
            "ON DUPLICATE KEY UPDATE of sharding column `{name}` in an INSERT"
        )))
    }
}

/// Which values of a row matter.
struct Places {
    key: Vec<Place>,
    sequence: Option<usize>,
}

enum Place {
    Column(usize),
    Sequence,
}

impl Places {
    fn new(reader: &Reader<'_, '_>, columns: &[String]) -> Result<Self, SqlError> {
        let of = |name: &str| columns.iter().position(|c| c == name);
        let auto = reader.table.auto_increment.as_ref();
        let sequence = auto.and_then(|auto| of(&auto.column));
        let vindex = reader.table.primary_vindex.as_ref();
        let key = vindex
            .map(|v| v.columns.as_slice())
            .unwrap_or_default()
            .iter()
            .map(|column| match of(column) {
                _ if auto.is_some_and(|auto| auto.column == *column) => Ok(Place::Sequence),
                Some(i) => Ok(Place::Column(i)),
                None => Err(SqlError::new(
                    1364,
                    "HY000",
                    format!(
                        "Field '{column}' has no value: the sharding column of `{}` must be given",
                        reader.table.name
                    ),
                )),
            })
            .collect::<Result<_, _>>()?;
        Ok(Self { key, sequence })
    }
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
        let first = shards.iter().flatten().next();
        let together = count == 0 && shards.iter().all(|s| s.as_ref() == first);
        if let (true, Some(shard)) = (together, first) {
            return Ok(Action::Single(ShardSql {
                shard: shard.clone(),
                sql: template.rewrite.sql(context, values.sql),
            }));
        }
        // From here on text is put together anew, and values stand for parameters.
        let tokens: Vec<Token> = Lexer::new(values.sql, context.sql_mode).collect();
        let mut next = 0;
        let params = tokens.iter().map(|token| {
            let number = next;
            next += usize::from(token.kind == Kind::Param);
            number
        });
        let text = Text {
            params: params.collect(),
            tokens,
            values,
            splices: template.rewrite.splices(),
            context,
        };
        let unbound = self.unbound(&text, &generated, shards)?;
        if count == 0 {
            let mut parts = unbound.bind(None)?;
            return Ok(match parts.len() {
                1 => Action::Single(parts.remove(0)),
                _ => Action::Dml(parts),
            });
        }
        let auto = self.table.auto_increment.as_ref();
        let sequence = auto.map(|auto| auto.sequence.clone());
        let (shard, table) = sequence
            .unwrap_or_else(|| Err("it has no sequence".to_owned()))
            .map_err(|why| {
                SqlError::new(
                    1105,
                    "HY000",
                    format!("INSERT into `{}`: {why}", self.table.name),
                )
            })?;
        Ok(Action::Insert(Box::new(InsertWithSequence {
            sequence: SequenceNeed {
                shard,
                table,
                count: count as u64,
            },
            insert: unbound,
        })))
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
                    .map(|part| match part {
                        KeyPart::Value(value) => text.values.get(*value).map(owned),
                        KeyPart::Sequence => None,
                    })
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

/// Pieces of the statement's text, with values for its parameters.
struct Text<'a> {
    tokens: Vec<Token>,
    /// For each token, how many parameters are before it.
    params: Vec<usize>,
    values: &'a Values<'a>,
    splices: &'a [Splice],
    context: &'a PlanContext<'a>,
}

impl Text<'_> {
    /// The text of some tokens, with the spaces and comments that lead to them.
    fn render(&self, tokens: Range<usize>, extra: Option<&Splice>) -> Vec<u8> {
        let sql = self.values.sql;
        let mut out = Vec::new();
        let mut at = tokens.start;
        while at < tokens.end {
            if let Some(extra) = extra.filter(|e| e.from == at) {
                extra.with.write(self.context, &mut out);
            }
            if at > 0 && self.tokens[at].start > self.tokens[at - 1].end && at > tokens.start {
                out.push(b' ');
            }
            if let Some(splice) = self.splices.iter().find(|s| s.from == at) {
                splice.with.write(self.context, &mut out);
                if splice.to > at {
                    at = splice.to;
                    continue;
                }
            }
            let token = self.tokens[at];
            let bound = self.values.binds.filter(|_| token.kind == Kind::Param);
            match bound.and_then(|binds| binds.get(self.params[at])) {
                Some(value) => literal::write_bind(value, self.values.modes, &mut out),
                None => out.extend_from_slice(token.text(sql)),
            }
            at += 1;
        }
        out
    }
}

/// An INSERT whose statements are known up to the values of its sequence.
#[derive(Debug, Clone)]
pub(super) struct UnboundInsert {
    head: Vec<u8>,
    rows: Vec<UnboundRow>,
    tail: Vec<u8>,
    router: Option<Router>,
}

#[derive(Debug, Clone)]
struct UnboundRow {
    before: Vec<u8>,
    /// After the generated value.
    after: Vec<u8>,
    generated: bool,
    shard: Option<Arc<ShardId>>,
    /// `None` for the column that is filled from the sequence.
    key: Vec<Option<Scalar<'static>>>,
}

/// What tells the shard of a row that waited for the sequence.
#[derive(Debug, Clone)]
struct Router {
    keyspace: Arc<Keyspace>,
    table: Arc<Table>,
    classes: Vec<ColumnClass>,
}

impl UnboundInsert {
    pub(super) fn bind(&self, first: Option<u64>) -> Result<Vec<ShardSql>, SqlError> {
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
                literal::Key::Value(key) => keys.push(key),
                _ => return Err(nowhere()),
            }
        }
        match primary.vindex.map(&keys) {
            vtplan_state::vindex::Destination::Id(id) => self
                .keyspace
                .shard_for(&id)
                .cloned()
                .ok_or_else(|| self.keyspace.not_serving()),
            _ => Err(nowhere()),
        }
    }
}
