//! `multicol`: the first bytes of each column's own hash, one after the other. Rows may be looked
//! for by the first columns alone: their bytes are a prefix, which is a key range.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Destination, Params, Vindex, VindexError, VindexValue, build_type};
use crate::model::KeyspaceId;

/// A keyspace id has at most this many bytes, and so many columns can share it.
const MAX_BYTES: usize = 8;

#[derive(Debug)]
pub(super) struct MultiCol {
    columns: Vec<Column>,
    cost: u32,
}

#[derive(Debug)]
struct Column {
    vindex: Arc<dyn Vindex>,
    /// How many bytes of the keyspace id it has.
    bytes: usize,
}

impl MultiCol {
    /// Parameters: `column_count`; `column_bytes` (`1,3,4`; columns left out share what remains);
    /// `column_vindex` (`hash,,binary`; `hash` where left out). All others go to the columns'
    /// vindexes.
    pub(super) fn build(params: &Params<'_>) -> Result<Self, VindexError> {
        const OWN: [&str; 3] = ["column_count", "column_bytes", "column_vindex"];
        let count = params
            .get("column_count")
            .ok_or_else(|| params.error("column_count", "is needed: how many columns there are"))?;
        let count: usize = count
            .parse()
            .ok()
            .filter(|count| (1..=MAX_BYTES).contains(count))
            .ok_or_else(|| {
                params.error("column_count", format!("`{count}` is not between 1 and 8"))
            })?;
        let bytes = column_bytes(params, count)?;
        let names: Vec<&str> = params
            .get("column_vindex")
            .map(|names| names.split(',').map(str::trim).collect())
            .unwrap_or_default();
        if names.len() > count {
            return Err(params.error("column_vindex", "names more vindexes than columns"));
        }
        let rest: BTreeMap<String, String> = params
            .all()
            .iter()
            .filter(|(name, _)| !OWN.contains(&name.as_str()))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect();
        let mut columns = Vec::with_capacity(count);
        for (at, bytes) in bytes.into_iter().enumerate() {
            let name = names.get(at).copied().filter(|n| !n.is_empty());
            let name = name.unwrap_or("hash");
            let vindex = build_type(name, &rest)?;
            if !vindex.hashes_one_column() {
                return Err(params.error(
                    "column_vindex",
                    format!("`{name}` does not map one column to one keyspace id"),
                ));
            }
            columns.push(Column { vindex, bytes });
        }
        let cost = columns.iter().map(|c| c.vindex.cost()).sum();
        Ok(Self { columns, cost })
    }
}

fn column_bytes(params: &Params<'_>, count: usize) -> Result<Vec<usize>, VindexError> {
    let wrong = |why: String| params.error("column_bytes", why);
    let mut given: Vec<Option<usize>> = vec![None; count];
    let list = params.get("column_bytes").unwrap_or_default();
    for (at, text) in list.split(',').enumerate() {
        if text.is_empty() {
            continue;
        }
        let number = text
            .parse()
            .map_err(|_| wrong(format!("`{text}` is not a number of bytes")))?;
        *given
            .get_mut(at)
            .ok_or_else(|| wrong("names more columns than there are".to_owned()))? = Some(number);
    }
    let used: usize = given.iter().flatten().sum();
    let mut open = given.iter().filter(|g| g.is_none()).count();
    let mut left = MAX_BYTES
        .checked_sub(used)
        .filter(|left| *left >= open)
        .ok_or_else(|| {
            wrong("the columns need more than the 8 bytes of a keyspace id".to_owned())
        })?;
    Ok(given
        .into_iter()
        .map(|given| {
            given.unwrap_or_else(|| {
                let share = left.div_ceil(open);
                left -= share;
                open -= 1;
                share
            })
        })
        .collect())
}

impl Vindex for MultiCol {
    fn type_name(&self) -> &'static str {
        "multicol"
    }

    fn cost(&self) -> u32 {
        self.cost
    }

    fn columns(&self) -> usize {
        self.columns.len()
    }

    fn takes_prefix(&self) -> bool {
        true
    }

    fn map(&self, values: &[VindexValue<'_>]) -> Destination {
        if values.len() > self.columns.len() {
            return Destination::None;
        }
        let mut id: Vec<u8> = Vec::with_capacity(MAX_BYTES);
        let mut filled = 0;
        for (column, value) in self.columns.iter().zip(values) {
            let Destination::Id(own) = column.vindex.map(std::slice::from_ref(value)) else {
                return Destination::None;
            };
            // A column before this one may have given fewer bytes than its share.
            id.resize(filled, 0);
            id.extend(own.0.iter().take(column.bytes));
            filled += column.bytes;
        }
        if values.len() < self.columns.len() {
            Destination::prefix(id)
        } else {
            Destination::Id(KeyspaceId(id))
        }
    }
}
