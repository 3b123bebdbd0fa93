//! Tables as they are on both sides, and what becomes of their rows: statements for each target.

use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::ops::Range;
use std::sync::Arc;

use vtplan_state::model::{ShardName, VSchemaKeyspace};

use super::inserts::{Form, Inserts};
use super::lines;
use crate::stream::error::StreamError;
use crate::stream::row::{Cell, Change, Row, RowBatch, write_literal};
use crate::stream::sharder::{Sharder, Shards};
use crate::stream::table::{ColumnKind, ColumnShape, TableShape};

/// A table that moves.
#[derive(Debug)]
pub struct MovedTable {
    pub source: Arc<TableShape>,
    target: Arc<TableShape>,
    sharder: Sharder,
    /// ``INSERT INTO `ks`.`t` (`a`, `b`) VALUES``.
    insert: Vec<u8>,
    /// ``LOAD DATA ... INTO TABLE `ks`.`t` ... (`a`, `b`)``.
    load: String,
    /// Whether copied rows go as lines.
    lines: bool,
    /// Whether this stream carries the rows that belong on every shard; the others leave them to
    /// it.
    carries_reference: bool,
    /// Columns that tell rows of this stream from those of others, beyond the key: while a row
    /// moves from one shard of the source to another, the target may have the other shard's row
    /// with the same key.
    spread_by: Vec<usize>,
}

/// Statements that do to one target what a change does, all of them about one table.
#[derive(Debug, Clone, Default)]
pub struct Ops {
    /// Separated by `;`.
    pub text: Vec<u8>,
    pub list: Vec<Op>,
    /// What of unique keys the changes touch, hashed: two sets of changes without a common one
    /// may be made in any order.
    pub touched: Vec<u64>,
}

impl Ops {
    /// Leaves out all but the first statements. What the others touch stays: it is of no harm.
    pub fn truncate(&mut self, statements: usize) {
        self.list.truncate(statements);
        let end = self.list.last().map_or(0, |op| op.end as usize);
        self.text.truncate(end);
    }

    /// The statements, each with its `;`.
    pub fn statements(&self) -> impl Iterator<Item = (&Op, &[u8])> {
        let mut start = 0;
        self.list.iter().map(move |op| {
            let statement = &self.text[start..op.end as usize];
            start = op.end as usize;
            (op, statement)
        })
    }
}

/// One statement.
#[derive(Debug, Clone, Copy)]
pub struct Op {
    pub table: u32,
    /// Where it ends in [`Ops::text`].
    pub end: u32,
    /// Where its WHERE begins there; its end if it has none.
    pub condition: u32,
    /// Whether it is about exactly one row. (While a table is copied, a row may not be there yet.)
    pub exact: bool,
    pub kind: OpKind,
    /// The row's key, hashed.
    pub row: u64,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OpKind {
    Insert,
    Update,
    Delete,
}

/// How much of a table a target has while its changes are applied.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Present {
    /// No row.
    Nothing,
    /// The rows up to a key.
    UpTo(Vec<Cell>),
    Everything,
}

impl MovedTable {
    /// `shared_with`: the VSchema of the side that is read, when other streams write to the same
    /// targets.
    ///
    /// # Errors
    /// The table is not the same on both sides; the VSchema does not say where rows go.
    pub fn new(
        source: Arc<TableShape>,
        target: Arc<TableShape>,
        vschema: &VSchemaKeyspace,
        shards: &[ShardName],
        carries_reference: bool,
        shared_with: Option<&VSchemaKeyspace>,
    ) -> Result<Self, StreamError> {
        compare(&source, &target)?;
        let spread_by = shared_with.map_or(Vec::new(), |vschema| spread_by(&source, vschema));
        let sharder = Sharder::new(&source, vschema, shards)?;
        let columns: Vec<String> = source.columns.iter().map(ColumnShape::quoted).collect();
        let columns = columns.join(", ");
        let insert = format!("INSERT INTO {} ({columns}) VALUES ", target.quoted());
        Ok(Self {
            load: lines::statement(&target.quoted(), &columns),
            lines: lines::fit(&source, &target),
            source,
            target,
            sharder,
            insert: insert.into_bytes(),
            carries_reference,
            spread_by,
        })
    }

    pub fn name(&self) -> &str {
        self.source.name.as_str()
    }

    /// The targets that a row belongs to, of that many.
    fn places<'a>(
        &self,
        row: impl Fn(usize) -> Option<&'a [u8]>,
        targets: usize,
    ) -> Result<Range<usize>, StreamError> {
        match self.sharder.shards_of(&self.source, &row)? {
            Shards::One(shard) => Ok(shard..shard + 1),
            Shards::All if self.carries_reference => Ok(0..targets),
            Shards::All => Ok(0..0),
            Shards::None => {
                let cells: Vec<Cell> = (0..self.source.columns.len())
                    .map(|c| row(c).map(bytes::Bytes::copy_from_slice))
                    .collect();
                Err(StreamError::Refused(format!(
                    "the row of table `{}` with {} belongs to none of the target's shards: it is on a shard that is not its own; correct or delete it, then resume the workflow",
                    self.name(),
                    self.source.key_text(&cells)
                )))
            }
        }
    }

    /// The rows of a batch, by target.
    pub fn inserts(&self, batch: &RowBatch, targets: usize) -> Result<Vec<Inserts>, StreamError> {
        let form = match self.lines {
            true => Form::Lines,
            false => Form::Insert,
        };
        let mut inserts = vec![Inserts::new(form); targets];
        for row in batch.rows() {
            let places = self.places(|c| row.get(c), targets)?;
            for to in &mut inserts[places] {
                if to.rows == 0 {
                    to.text.reserve(batch.bytes() / targets * 5 / 4);
                }
                to.bytes += row.cells().flatten().map(<[u8]>::len).sum::<usize>() as u64;
                match to.form {
                    Form::Lines => to.push_line(row.cells()),
                    Form::Insert => {
                        to.start_row(&self.insert);
                        self.write_row(row.cells(), &mut to.text);
                    }
                }
            }
        }
        Ok(inserts)
    }

    /// The same rows as an INSERT.
    pub fn as_insert(&self, rows: &Inserts) -> Inserts {
        let mut insert = Inserts::new(Form::Insert);
        insert.bytes = rows.bytes;
        for line in lines::rows(&rows.text) {
            insert.start_row(&self.insert);
            self.write_row(line.iter().map(|cell| cell.as_deref()), &mut insert.text);
        }
        insert
    }

    /// What sends rows as lines.
    pub fn load(&self) -> &str {
        &self.load
    }

    fn write_row<'a>(&self, cells: impl Iterator<Item = Option<&'a [u8]>>, text: &mut Vec<u8>) {
        text.push(b'(');
        for (i, (column, cell)) in self.source.columns.iter().zip(cells).enumerate() {
            if i > 0 {
                text.push(b',');
            }
            write_literal(column, cell, text);
        }
        text.push(b')');
    }

    /// Appends what a change does to each target. `table` is what the statements are marked with,
    /// `present` what each target has of the table.
    pub fn change<'a>(
        &self,
        table: u32,
        change: &Change,
        present: impl Fn(usize) -> &'a Present,
        ops: &mut [Ops],
    ) -> Result<(), StreamError> {
        let targets = ops.len();
        if (0..targets).all(|target| *present(target) == Present::Nothing) {
            return Ok(());
        }
        let places = |row: &Row| self.places(|c| row[c].as_deref(), targets);
        let (before, after) = match change {
            Change::Insert { row, .. } => (None, Some(row)),
            Change::Delete { row, .. } => (Some(row), None),
            Change::Update { before, after, .. } => (Some(before), Some(after)),
        };
        // What belonged to no shard was written to none.
        let was = before.and_then(|row| places(row).ok()).unwrap_or(0..0);
        let is = after.map(places).transpose()?.unwrap_or(0..0);
        for (target, ops) in ops.iter_mut().enumerate() {
            let before = before.filter(|_| was.contains(&target));
            let after = after.filter(|_| is.contains(&target));
            let present = present(target);
            if *present != Present::Nothing && (before.is_some() || after.is_some()) {
                self.change_one(table, before, after, present, ops);
            }
        }
        Ok(())
    }

    /// What a change does to one target: the row that was there, the row that is to be there.
    fn change_one(
        &self,
        table: u32,
        before: Option<&Row>,
        after: Option<&Row>,
        present: &Present,
        ops: &mut Ops,
    ) {
        let mut op = |text: &mut Vec<u8>, condition: Option<usize>, kind: OpKind, row: &Row| {
            text.push(b';');
            ops.list.push(Op {
                table,
                end: offset(text.len()),
                condition: offset(condition.unwrap_or(text.len())),
                exact: *present == Present::Everything,
                kind,
                row: self.key_hash(table, |c| row[c].as_deref()),
            });
        };
        match (before, after) {
            (Some(before), Some(after)) if self.same_key(before, after) => {
                if let Some(condition) = self.write_update(before, after, &mut ops.text) {
                    self.write_copied(present, &mut ops.text);
                    op(&mut ops.text, Some(condition), OpKind::Update, after);
                }
            }
            (before, after) => {
                if let Some(row) = before {
                    let condition = self.write_delete(row, &mut ops.text);
                    self.write_copied(present, &mut ops.text);
                    op(&mut ops.text, Some(condition), OpKind::Delete, row);
                }
                if let Some(row) = after {
                    ops.text.extend_from_slice(&self.insert);
                    let cells = row.iter().map(Option::as_deref);
                    self.write_row(cells, &mut ops.text);
                    op(&mut ops.text, None, OpKind::Insert, row);
                    if let Present::UpTo(key) = present {
                        let condition = self.write_delete(row, &mut ops.text);
                        self.write_beyond(false, key, &mut ops.text);
                        op(&mut ops.text, Some(condition), OpKind::Delete, row);
                    }
                }
            }
        }
        for row in before.into_iter().chain(after) {
            self.touch(table, row, &mut ops.touched);
        }
    }

    /// Leaves rows alone that are not copied yet: where several streams write to one target, one
    /// with this key may be another's.
    fn write_copied(&self, present: &Present, text: &mut Vec<u8>) {
        if let Present::UpTo(key) = present {
            self.write_beyond(true, key, text);
        }
    }

    /// [`Op::row`]. `cell`: the value of a column.
    fn key_hash<'a>(&self, table: u32, cell: impl Fn(usize) -> Option<&'a [u8]>) -> u64 {
        let mut hasher = DefaultHasher::new();
        table.hash(&mut hasher);
        for &c in &self.source.key {
            cell(c).hash(&mut hasher);
        }
        hasher.finish()
    }

    /// [`Op::row`] of a row of which only the key is known: its cells, in the key's order.
    pub fn hash_of_key(&self, table: u32, key: &[Cell]) -> u64 {
        let place = |c: usize| self.source.key.iter().position(|&k| k == c);
        self.key_hash(table, |c| key.get(place(c)?)?.as_deref())
    }

    /// The target's table, with its database, quoted.
    pub fn on_target(&self) -> String {
        self.target.quoted()
    }

    /// The columns that are written, quoted, as in [`Inserts`].
    pub fn column_list(&self) -> String {
        let columns: Vec<String> = self
            .source
            .columns
            .iter()
            .map(ColumnShape::quoted)
            .collect();
        columns.join(", ")
    }

    /// What to SELECT for a row's key.
    pub fn key_expressions(&self) -> String {
        let key = self.source.key.iter().map(|&c| &self.source.columns[c]);
        let key: Vec<String> = key.map(ColumnShape::select_expression).collect();
        key.join(", ")
    }

    /// ` WHERE ` the key has these cells.
    pub fn key_condition(&self, key: &[Cell]) -> Vec<u8> {
        let mut text = b" WHERE ".to_vec();
        for (i, (&c, cell)) in self.source.key.iter().zip(key).enumerate() {
            if i > 0 {
                text.extend_from_slice(b" AND ");
            }
            let column = &self.source.columns[c];
            text.extend_from_slice(column.quoted().as_bytes());
            text.push(b'=');
            write_literal(column, cell.as_deref(), &mut text);
        }
        text
    }

    /// A key as people read it, from its cells.
    pub fn readable_key(&self, key: &[Cell]) -> String {
        let parts: Vec<String> = (self.source.key.iter().zip(key))
            .map(|(&c, cell)| {
                let column = &self.source.columns[c];
                format!("{}={}", column.name, column.readable(cell.as_deref()))
            })
            .collect();
        parts.join(", ")
    }

    fn same_key(&self, before: &Row, after: &Row) -> bool {
        self.source.key.iter().all(|&c| before[c] == after[c])
    }

    /// ` WHERE ` the row's key, and what makes it a row of this stream.
    fn write_where(&self, row: &Row, text: &mut Vec<u8>) {
        text.extend_from_slice(b" WHERE ");
        for (i, &c) in self.source.key.iter().chain(&self.spread_by).enumerate() {
            if i > 0 {
                text.extend_from_slice(b" AND ");
            }
            let column = &self.source.columns[c];
            text.extend_from_slice(column.quoted().as_bytes());
            text.push(b'=');
            write_literal(column, row[c].as_deref(), text);
        }
    }

    /// Returns where the WHERE begins.
    fn write_delete(&self, row: &Row, text: &mut Vec<u8>) -> usize {
        text.extend_from_slice(b"DELETE FROM ");
        text.extend_from_slice(self.target.quoted().as_bytes());
        let condition = text.len();
        self.write_where(row, text);
        condition
    }

    /// ` AND ` the row's key is beyond `key`, or (`not`) is not. The server compares, by the
    /// columns' own collations.
    fn write_beyond(&self, not: bool, key: &[Cell], text: &mut Vec<u8>) {
        text.extend_from_slice(if not { b" AND NOT (" } else { b" AND (" });
        // (a, b) > (x, y), spelled out: a > x OR (a = x AND b > y).
        let columns: Vec<&ColumnShape> = (self.source.key.iter())
            .map(|&c| &self.source.columns[c])
            .collect();
        for last in 0..columns.len() {
            if last > 0 {
                text.extend_from_slice(b" OR ");
            }
            text.push(b'(');
            for (i, column) in columns[..=last].iter().enumerate() {
                if i > 0 {
                    text.extend_from_slice(b" AND ");
                }
                text.extend_from_slice(column.quoted().as_bytes());
                text.push(if i == last { b'>' } else { b'=' });
                write_literal(column, key[i].as_deref(), text);
            }
            text.push(b')');
        }
        text.push(b')');
    }

    /// Returns where the WHERE begins; `None`: there is nothing to update.
    fn write_update(&self, before: &Row, after: &Row, text: &mut Vec<u8>) -> Option<usize> {
        let start = text.len();
        text.extend_from_slice(b"UPDATE ");
        text.extend_from_slice(self.target.quoted().as_bytes());
        text.extend_from_slice(b" SET ");
        let mut any = false;
        for (c, column) in self.source.columns.iter().enumerate() {
            // A time that is not set might be set by the server (ON UPDATE CURRENT_TIMESTAMP).
            let sets_itself = matches!(
                column.kind,
                ColumnKind::Timestamp { .. } | ColumnKind::DateTime { .. }
            );
            if before[c] == after[c] && !sets_itself {
                continue;
            }
            if any {
                text.push(b',');
            }
            any = true;
            text.extend_from_slice(column.quoted().as_bytes());
            text.push(b'=');
            write_literal(column, after[c].as_deref(), text);
        }
        if !any {
            text.truncate(start);
            return None;
        }
        let condition = text.len();
        self.write_where(before, text);
        Some(condition)
    }

    fn touch(&self, table: u32, row: &Row, touched: &mut Vec<u64>) {
        for (k, key) in self.source.unique_keys.iter().enumerate() {
            let mut hasher = DefaultHasher::new();
            table.hash(&mut hasher);
            match &key.columns {
                // Which rows are in each other's way cannot be seen from here: all are.
                None => u64::MAX.hash(&mut hasher),
                // NULLs are never alike.
                Some(columns) if columns.iter().any(|&c| row[c].is_none()) => continue,
                Some(columns) => {
                    k.hash(&mut hasher);
                    for &c in columns {
                        row[c].as_deref().hash(&mut hasher);
                    }
                }
            }
            touched.push(hasher.finish());
        }
    }
}

/// A place in statements: they are far shorter than this can say, see
/// [`crate::stream::follow`].
pub(super) fn offset(place: usize) -> u32 {
    u32::try_from(place).unwrap_or(u32::MAX)
}

/// The columns by which a table's rows are spread, without those of its key. None of them is NULL
/// in a row that is on a shard.
fn spread_by(table: &TableShape, vschema: &VSchemaKeyspace) -> Vec<usize> {
    let of_vschema = vschema.tables.get(table.name.as_str());
    let primary = of_vschema.and_then(|of_table| of_table.column_vindexes.first());
    primary
        .into_iter()
        .flat_map(|vindex| vindex.column_names())
        .filter_map(|name| table.column(name))
        .filter(|column| !table.key.contains(column))
        .collect()
}

/// # Errors
/// The first difference that rows would not survive.
fn compare(source: &TableShape, target: &TableShape) -> Result<(), StreamError> {
    let differs = |why: String| {
        Err(StreamError::Refused(format!(
            "table `{}` is not the same on both sides: {why}; change the schema of the target so that rows of the source fit, then resume the workflow",
            source.name
        )))
    };
    for column in &source.columns {
        let name = &column.name;
        let Some(place) = target.column(name) else {
            return differs(format!("the target has no column `{name}`"));
        };
        let other = &target.columns[place];
        if !fits(&column.kind, &other.kind) || column.unsigned != other.unsigned {
            return differs(format!(
                "column `{name}` is `{}` on the source and `{}` on the target",
                column.column_type, other.column_type
            ));
        }
        if column.nullable && !other.nullable {
            return differs(format!(
                "column `{name}` may be NULL on the source and not on the target"
            ));
        }
        if column.charset != other.charset && !both_utf8(column, other) {
            return differs(format!(
                "column `{name}` is in character set {} on the source and {} on the target",
                column.charset.as_deref().unwrap_or("none"),
                other.charset.as_deref().unwrap_or("none")
            ));
        }
    }
    for column in &target.columns {
        if source.column(&column.name).is_none() {
            return differs(format!(
                "column `{}` is only on the target, or generated on the source",
                column.name
            ));
        }
    }
    let key_names = |shape: &TableShape| -> Vec<String> {
        let columns = shape.key.iter().map(|&c| &shape.columns[c]);
        columns.map(|c| c.name.to_lowercase()).collect()
    };
    if key_names(source) != key_names(target) {
        return differs(format!(
            "its key is ({}) on the source and ({}) on the target",
            key_names(source).join(", "),
            key_names(target).join(", ")
        ));
    }
    for &c in &source.key {
        let column = &source.columns[c];
        let collation =
            (target.column(&column.name)).and_then(|place| target.columns[place].collation.clone());
        if column.collation != collation {
            // Rows are copied in the order of the key: both sides must agree on it.
            return differs(format!(
                "its key column `{}` has collation {} on the source and {} on the target",
                column.name,
                column.collation.as_deref().unwrap_or("none"),
                collation.as_deref().unwrap_or("none")
            ));
        }
    }
    Ok(())
}

/// Whether every value of the one kind is one of the other.
fn fits(source: &ColumnKind, target: &ColumnKind) -> bool {
    use ColumnKind as K;
    match (source, target) {
        (K::VarChar { length: a }, K::VarChar { length: b })
        | (K::VarBinary { length: a }, K::VarBinary { length: b }) => a <= b,
        // MariaDB's JSON is a text with a check.
        (K::Text, K::Json) | (K::Json, K::Text) => true,
        (source, target) => source == target,
    }
}

fn both_utf8(a: &ColumnShape, b: &ColumnShape) -> bool {
    let utf8 = |c: &ColumnShape| {
        matches!(c.charset.as_deref(), Some("utf8mb4")) || matches!(c.kind, ColumnKind::Json)
    };
    let utf8mb3 = |c: &ColumnShape| matches!(c.charset.as_deref(), Some("utf8mb3" | "utf8"));
    (utf8(a) && utf8(b)) || (utf8mb3(a) && (utf8mb3(b) || utf8(b)))
}
