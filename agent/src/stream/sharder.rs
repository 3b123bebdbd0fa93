//! Which target shard a row belongs to.

use std::borrow::Cow;
use std::sync::Arc;

use vtplan_state::model::{KeyspaceId, ShardName, VSchemaKeyspace};
use vtplan_state::vindex::{self, Destination, Vindex, VindexValue};

use super::error::StreamError;
use super::row::Cell;
use super::table::{ColumnKind, ColumnShape, TableShape};

/// Where the rows of one table go.
#[derive(Debug, Clone)]
pub struct Sharder {
    shards: Vec<ShardName>,
    /// The shards' ranges of ids of 8 bytes, read as numbers: the first, and the last. Empty if some
    /// bound is longer.
    wide: Vec<(u64, u64)>,
    rule: Rule,
}

#[derive(Debug, Clone)]
enum Rule {
    /// All rows to one shard.
    One(usize),
    /// Every row to every shard.
    All,
    Vindex {
        name: String,
        vindex: Arc<dyn Vindex>,
        columns: Vec<usize>,
    },
}

/// Where a row goes: places in the list of shards that the sharder was made with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shards {
    One(usize),
    /// A row of a reference table.
    All,
    /// The row's keyspace id is in none of the shards. (They need not cover the whole range.)
    None,
}

impl Sharder {
    /// `vschema` is the target keyspace's, `shards` the target's shards of the workflow.
    ///
    /// # Errors
    /// The VSchema does not say where the table's rows are to go, or names a vindex or a column
    /// that cannot be used for it.
    pub fn new(
        table: &TableShape,
        vschema: &VSchemaKeyspace,
        shards: &[ShardName],
    ) -> Result<Self, StreamError> {
        let shards = shards.to_vec();
        if !vschema.sharded {
            let rule = Rule::One(0);
            return Ok(Self::of(shards, rule));
        }
        let refused = |why: String| {
            StreamError::Refused(format!(
                "where the rows of table `{}` go cannot be said: {why}; correct the VSchema of the target keyspace",
                table.name
            ))
        };
        let Some(entry) = vschema.tables.get(table.name.as_str()) else {
            return Err(refused("the target's VSchema does not have it".to_owned()));
        };
        if entry.is_reference() {
            let rule = Rule::All;
            return Ok(Self::of(shards, rule));
        }
        if let Some(pinned) = &entry.pinned {
            let id = hex_id(pinned)
                .ok_or_else(|| refused(format!("it is pinned to `{pinned}`, which is not hex")))?;
            let place = shards
                .iter()
                .position(|s| s.key_range().contains(&id))
                .ok_or_else(|| {
                    refused(format!(
                        "it is pinned to `{pinned}`, which is on none of the shards"
                    ))
                })?;
            let rule = Rule::One(place);
            return Ok(Self::of(shards, rule));
        }
        let Some(primary) = entry.column_vindexes.first() else {
            return Err(refused("it has no primary vindex".to_owned()));
        };
        let definition = vschema
            .vindexes
            .get(&primary.name)
            .ok_or_else(|| refused(format!("there is no vindex `{}`", primary.name)))?;
        let vindex = vindex::build(definition).map_err(|e| refused(e.to_string()))?;
        let mut columns = Vec::new();
        for name in primary.column_names() {
            let column = table.column(name).ok_or_else(|| {
                let generated = table.generated.iter().any(|(_, c)| c.name == name);
                refused(if generated {
                    format!("its sharding column `{name}` is a generated one, whose values streams do not read")
                } else {
                    format!("it has no column `{name}`, which its primary vindex is over")
                })
            })?;
            columns.push(column);
        }
        let rule = Rule::Vindex {
            name: primary.name.clone(),
            vindex,
            columns,
        };
        Ok(Self::of(shards, rule))
    }

    fn of(shards: Vec<ShardName>, rule: Rule) -> Self {
        let wide = wide(&shards).unwrap_or_default();
        Self { shards, wide, rule }
    }

    /// The columns that say where a row goes; none if all rows go the same way.
    pub fn columns(&self) -> &[usize] {
        match &self.rule {
            Rule::Vindex { columns, .. } => columns,
            Rule::One(_) | Rule::All => &[],
        }
    }

    /// Where a row goes.
    ///
    /// # Errors
    /// The value of the sharding column is NULL, or the vindex is not defined for it: the message
    /// names the table, the row's key and the column.
    pub fn shards_of<'a>(
        &self,
        table: &TableShape,
        row: impl Fn(usize) -> Option<&'a [u8]>,
    ) -> Result<Shards, StreamError> {
        let (name, vindex, columns) = match &self.rule {
            Rule::One(shard) => return Ok(Shards::One(*shard)),
            Rule::All => return Ok(Shards::All),
            Rule::Vindex {
                name,
                vindex,
                columns,
            } => (name, vindex, columns),
        };
        let unmappable = |why: String| {
            let cells: Vec<Cell> = (0..table.columns.len())
                .map(|c| row(c).map(bytes::Bytes::copy_from_slice))
                .collect();
            StreamError::Refused(format!(
                "the row of table `{}` with {} belongs to no shard: {why}; correct the row, or the VSchema of the target keyspace",
                table.name,
                table.key_text(&cells)
            ))
        };
        let mut values = Vec::with_capacity(columns.len());
        for &column in columns {
            let shape = &table.columns[column];
            match row(column) {
                // Vitess maps NULL in some vindexes; a row without a sharding key is a mistake.
                None => {
                    return Err(unmappable(format!(
                        "its sharding column `{}` is NULL",
                        shape.name
                    )));
                }
                Some(bytes) => values.push(vindex_value(shape, bytes)),
            }
        }
        match vindex.map(&values) {
            Destination::Id(id) => Ok(self.shard_of_id(&id)),
            Destination::Range(_) | Destination::None => {
                let what: Vec<String> = columns
                    .iter()
                    .map(|&c| {
                        let shape = &table.columns[c];
                        format!("`{}` = {}", shape.name, shape.readable(row(c)))
                    })
                    .collect();
                Err(unmappable(format!(
                    "vindex `{name}` is not defined for its sharding column {}",
                    what.join(", ")
                )))
            }
        }
    }

    /// Where a row goes whose one sharding column is a whole number, written as servers print it.
    /// `None`: [`Self::shards_of`] has to be asked.
    pub fn shards_of_number(&self, digits: &[u8]) -> Option<Shards> {
        let Rule::Vindex {
            vindex, columns, ..
        } = &self.rule
        else {
            return None;
        };
        if columns.len() != 1 || self.wide.is_empty() {
            return None;
        }
        let id = u64::from_be_bytes(vindex.map_digits(digits)?);
        let mut ranges = self.wide.iter();
        let place = ranges.position(|(first, last)| (*first..=*last).contains(&id));
        Some(place.map_or(Shards::None, Shards::One))
    }

    fn shard_of_id(&self, id: &KeyspaceId) -> Shards {
        self.shards
            .iter()
            .position(|s| s.key_range().contains(id))
            .map_or(Shards::None, Shards::One)
    }
}

/// The ids of 8 bytes in each shard's range. `None`: some bound has more bytes.
fn wide(shards: &[ShardName]) -> Option<Vec<(u64, u64)>> {
    let number = |bound: &[u8]| {
        let mut bytes = [0; 8];
        bytes.get_mut(..bound.len())?.copy_from_slice(bound);
        Some(u64::from_be_bytes(bytes))
    };
    let range = |shard: &ShardName| {
        let range = shard.key_range();
        let last = match range.end() {
            [] => u64::MAX,
            // A range is not empty, so its end is not 0.
            end => number(end)?.checked_sub(1)?,
        };
        Some((number(range.start())?, last))
    };
    shards.iter().map(range).collect()
}

/// A value as the gate gives it to a vindex.
pub(crate) fn vindex_value<'a>(column: &ColumnShape, bytes: &'a [u8]) -> VindexValue<'a> {
    let text = || std::str::from_utf8(bytes).ok();
    match &column.kind {
        ColumnKind::TinyInt
        | ColumnKind::SmallInt
        | ColumnKind::MediumInt
        | ColumnKind::Int
        | ColumnKind::BigInt
        | ColumnKind::Year => match text() {
            Some(t) => t
                .parse()
                .map(VindexValue::Int)
                .or_else(|_| t.parse().map(VindexValue::UInt))
                .unwrap_or(VindexValue::Bytes(Cow::Borrowed(bytes))),
            None => VindexValue::Bytes(Cow::Borrowed(bytes)),
        },
        ColumnKind::Decimal { .. } | ColumnKind::Float | ColumnKind::Double => match text() {
            Some(t) => VindexValue::Decimal(Cow::Borrowed(t)),
            None => VindexValue::Bytes(Cow::Borrowed(bytes)),
        },
        // Statements name the member.
        ColumnKind::Enum { members } => {
            let member = text()
                .and_then(|t| t.parse::<usize>().ok())
                .and_then(|n| members.get(n.checked_sub(1)?));
            let member = member.map_or("", String::as_str);
            VindexValue::Bytes(Cow::Owned(member.as_bytes().to_vec()))
        }
        _ => VindexValue::Bytes(Cow::Borrowed(bytes)),
    }
}

fn hex_id(text: &str) -> Option<KeyspaceId> {
    if !text.len().is_multiple_of(2) || !text.is_ascii() {
        return None;
    }
    (0..text.len() / 2)
        .map(|i| u8::from_str_radix(&text[2 * i..2 * i + 2], 16).ok())
        .collect::<Option<Vec<u8>>>()
        .map(KeyspaceId)
}
