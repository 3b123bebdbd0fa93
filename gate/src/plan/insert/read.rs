//! Reading an INSERT's tokens: its columns, rows and what follows them.

use std::ops::Range;
use std::sync::Arc;

use super::{InsertTemplate, KeyPart, Row, SequenceColumn};
use crate::plan::catalog::{FoundTable, Keyspace, Table, TableKind};
use crate::plan::grammar::ValueExpr;
use crate::plan::lookup::{InsertKind, usable};
use crate::plan::scan::Kind;
use crate::plan::statement::{Statement, TableName};
use crate::plan::types::SqlError;

/// The shape of an INSERT, found in its tokens.
pub(in crate::plan) struct InsertShape {
    pub table: TableName,
    after_table: usize,
}

impl InsertShape {
    /// Reads up to the table's name.
    pub(in crate::plan) fn new(statement: &Statement<'_>) -> Result<Self, SqlError> {
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
    pub(in crate::plan) fn template(
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
            for lookup in table.owned_lookups() {
                usable(lookup, name)?;
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
            kind: self.kind(),
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
            lookups: self.lookup_values(places, &values)?,
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
                lookups: self.lookup_values(&places, &values)?,
            }],
            add_column: None,
            kind: self.kind(),
        })
    }

    /// What the statement does with rows whose keys are taken.
    fn kind(&self) -> InsertKind {
        let s = self.statement;
        let end = s.tokens.len();
        if s.is(0, "REPLACE") {
            InsertKind::Replace
        } else if (0..end).any(|at| s.are(at, &["ON", "DUPLICATE", "KEY", "UPDATE"])) {
            InsertKind::Update
        } else if (1..5)
            .take_while(|at| !s.is(*at, "INTO"))
            .any(|at| s.is(at, "IGNORE"))
        {
            InsertKind::Ignore
        } else {
            InsertKind::Plain
        }
    }

    /// A row's values for the lookups that the table owns.
    fn lookup_values(
        &self,
        places: &Places,
        values: &[Range<usize>],
    ) -> Result<Vec<Vec<KeyPart>>, SqlError> {
        let value = |column: &str, place: &Place| match place {
            Place::Sequence => Ok(KeyPart::Sequence),
            Place::Column(at) => {
                let tokens = &values[*at];
                let default = tokens.len() == 1 && self.statement.is(tokens.start, "DEFAULT");
                let constant = self.constant(tokens).filter(|_| !default);
                constant.map(KeyPart::Value).ok_or_else(|| {
                    let text = self.statement.span(tokens.start, tokens.end);
                    self.unsupported(&format!(
                        "expression `{}` for column `{column}` of a lookup vindex in an INSERT",
                        String::from_utf8_lossy(text)
                    ))
                })
            }
        };
        let lookups = places.lookups.iter().map(|columns| {
            let columns = columns.iter();
            columns
                .map(|(column, place)| value(column, place))
                .collect()
        });
        lookups.collect()
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
        let owned = self.table.owned_lookups().next();
        if let Some(lookup) = owned.filter(|_| (at..s.tokens.len()).any(|i| s.is(i, "RETURNING"))) {
            return Err(self.unsupported(&format!(
                "RETURNING beside lookup vindex `{}` in an INSERT",
                lookup.name
            )));
        }
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
        let mut owned = self.table.owned_lookups();
        if let Some(lookup) = owned.find(|l| l.columns.contains(&name)) {
            return Err(self.unsupported(&format!(
                "ON DUPLICATE KEY UPDATE of column `{name}` of lookup vindex `{}` in an INSERT",
                lookup.name
            )));
        }
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
    /// For each lookup that the table owns its columns.
    lookups: Vec<Vec<(String, Place)>>,
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
        let owned = reader.table.owned_lookups();
        let lookups = owned
            .filter(|_| reader.keyspace.sharded)
            .map(|lookup| {
                let columns = lookup.columns.iter();
                let places = columns.map(|column| match of(column) {
                    _ if auto.is_some_and(|auto| auto.column == *column) => {
                        Ok((column.clone(), Place::Sequence))
                    }
                    Some(at) => Ok((column.clone(), Place::Column(at))),
                    None => Err(SqlError::new(
                        1364,
                        "HY000",
                        format!(
                            "Field '{column}' has no value: `{}` has lookup vindex `{}` by it, so it must be given (NULL where the lookup ignores NULLs)",
                            reader.table.name, lookup.name
                        ),
                    )),
                });
                places.collect()
            })
            .collect::<Result<_, SqlError>>()?;
        Ok(Self {
            key,
            sequence,
            lookups,
        })
    }
}
