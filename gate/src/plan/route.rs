//! From a statement's values to its shards.

use std::sync::Arc;

use vtplan_state::model::KeyspaceId;
use vtplan_state::vindex::{Destination, Vindex, VindexValue};

use super::catalog::{Keyspace, Table};
use super::grammar::ValueExpr;
use super::literal::{self, ColumnClass, Key, Scalar};
use super::scan::Slot;
use super::types::{BindValue, ShardId, SqlModes};

/// The values of a statement: its literals and, for prepared ones, what is bound to its
/// parameters.
pub(super) struct Values<'a> {
    pub sql: &'a [u8],
    pub slots: &'a [Slot],
    pub modes: SqlModes,
    /// `None` while a statement is prepared: parameters are not known yet.
    pub binds: Option<&'a [BindValue]>,
}

impl<'a> Values<'a> {
    /// `None`: a parameter whose value is not known.
    pub(super) fn get(&self, value: ValueExpr) -> Option<Scalar<'a>> {
        match value {
            ValueExpr::Null => Some(Scalar::Null),
            ValueExpr::Int(n) => Some(Scalar::Int(n)),
            ValueExpr::Slot { index, negative } => {
                let scalar = self.slot(index)?;
                if negative {
                    Some(literal::negate(scalar).unwrap_or(Scalar::Foreign))
                } else {
                    Some(scalar)
                }
            }
        }
    }

    fn slot(&self, index: usize) -> Option<Scalar<'a>> {
        let slot = self.slots.get(index)?;
        if slot.kind != super::scan::Kind::Param {
            return Some(literal::of_slot(self.sql, slot, self.modes));
        }
        literal::of_bind(self.bind(index)?).into()
    }

    /// Writes a value as SQL that means the same; `false` where a parameter is not known.
    pub(super) fn write(&self, value: ValueExpr, out: &mut Vec<u8>) -> bool {
        let (index, negative) = match value {
            ValueExpr::Null => {
                out.extend(b"NULL");
                return true;
            }
            ValueExpr::Int(n) => {
                out.extend(n.to_string().bytes());
                return true;
            }
            ValueExpr::Slot { index, negative } => (index, negative),
        };
        let Some(slot) = self.slots.get(index) else {
            return false;
        };
        let mut text = Vec::new();
        if slot.kind == super::scan::Kind::Param {
            let Some(bind) = self.bind(index) else {
                return false;
            };
            literal::write_bind(bind, self.modes, &mut text);
        } else {
            text.extend_from_slice(slot.text(self.sql));
        }
        match (negative, text.strip_prefix(b"-")) {
            (true, Some(positive)) => out.extend_from_slice(positive),
            (true, None) => {
                out.push(b'-');
                out.extend(text);
            }
            (false, _) => out.extend(text),
        }
        true
    }

    /// What is bound to the parameter in this slot.
    fn bind(&self, index: usize) -> Option<&'a BindValue> {
        let params = self.slots[..index].iter();
        let number = params
            .filter(|s| s.kind == super::scan::Kind::Param)
            .count();
        self.binds?.get(number)
    }
}

/// Rows whose vindex columns have one of these tuples of values.
#[derive(Debug, Clone)]
pub(super) struct KeySet {
    pub table: Arc<Table>,
    pub vindex: Arc<dyn Vindex>,
    /// One for each column, as many as the tuples have values.
    pub classes: Vec<ColumnClass>,
    pub tuples: Vec<Vec<ValueExpr>>,
}

/// Some shards of a keyspace, by their position in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Shards {
    All,
    /// Rising; empty when no row can match.
    Some(Vec<usize>),
}

impl KeySet {
    /// The columns that the tuples are of: the vindex's first ones.
    pub(super) fn columns(&self) -> &[String] {
        let primary = self.table.primary_vindex.as_ref();
        let all = primary.map_or(&[][..], |primary| &primary.columns);
        &all[..self.classes.len().min(all.len())]
    }

    pub(super) fn shards(&self, keyspace: &Keyspace, values: &Values<'_>) -> Shards {
        // The hot path: one value, one shard.
        if let [tuple] = self.tuples.as_slice() {
            return match self.place(tuple, keyspace, values) {
                Place::Shard(at) => Shards::Some(vec![at]),
                Place::Nowhere => Shards::Some(Vec::new()),
                Place::Range(shards) => Shards::Some(shards),
                Place::Unclear => Shards::All,
            };
        }
        let mut found = Vec::new();
        for tuple in &self.tuples {
            match self.place(tuple, keyspace, values) {
                Place::Shard(at) => found.push(at),
                Place::Nowhere => {}
                Place::Range(shards) => found.extend(shards),
                Place::Unclear => return Shards::All,
            }
        }
        found.sort_unstable();
        found.dedup();
        Shards::Some(found)
    }

    fn place(&self, tuple: &[ValueExpr], keyspace: &Keyspace, values: &Values<'_>) -> Place {
        let mut keys: [VindexValue<'_>; 8] = std::array::from_fn(|_| VindexValue::Null);
        if tuple.len() > keys.len() {
            return Place::Unclear;
        }
        for ((value, class), key) in tuple.iter().zip(&self.classes).zip(&mut keys) {
            let Some(scalar) = values.get(*value) else {
                return Place::Unclear;
            };
            match literal::key(scalar, *class, false) {
                Key::Value(value) => *key = value,
                Key::Null => return Place::Nowhere,
                Key::Unclear => return Place::Unclear,
            }
        }
        match self.vindex.map(&keys[..tuple.len()]) {
            Destination::Id(id) => match keyspace.shard_index(&id) {
                Some(at) => Place::Shard(at),
                None => Place::Unclear,
            },
            Destination::Range(range) => Place::Range(
                (0..keyspace.shards.len())
                    .filter(|at| keyspace.shards[*at].shard.key_range().intersects(&range))
                    .collect(),
            ),
            // MySQL may compare where the vindex cannot: `id = 'x'` finds 0.
            Destination::None => Place::Unclear,
        }
    }
}

enum Place {
    Shard(usize),
    Range(Vec<usize>),
    Nowhere,
    Unclear,
}

/// The keyspace id of a row to be written, or what is wrong with its values.
pub(super) fn id_of_row(
    vindex: &dyn Vindex,
    classes: &[ColumnClass],
    row: &[ValueExpr],
    values: &Values<'_>,
) -> Result<KeyspaceId, RowProblem> {
    let mut keys = Vec::with_capacity(row.len());
    for (value, class) in row.iter().zip(classes) {
        let scalar = values.get(*value).ok_or(RowProblem::NotBound)?;
        match literal::key(scalar, *class, true) {
            Key::Value(value) => keys.push(value),
            Key::Null => keys.push(VindexValue::Null),
            Key::Unclear => return Err(RowProblem::Unclear),
        }
    }
    match vindex.map(&keys) {
        Destination::Id(id) => Ok(id),
        _ => Err(RowProblem::Nowhere),
    }
}

/// The shard of a row to be written, or what is wrong with its values.
pub(super) fn shard_of_row(
    vindex: &dyn Vindex,
    classes: &[ColumnClass],
    row: &[ValueExpr],
    keyspace: &Keyspace,
    values: &Values<'_>,
) -> Result<Arc<ShardId>, RowProblem> {
    let id = id_of_row(vindex, classes, row, values)?;
    let shard = keyspace.shard_for(&id);
    shard.cloned().ok_or(RowProblem::NoShard)
}

pub(super) enum RowProblem {
    /// A parameter has no value yet.
    NotBound,
    /// How the value is stored depends on the column's type, which the VSchema does not tell.
    Unclear,
    /// The vindex is not defined for the value.
    Nowhere,
    /// No serving shard has the keyspace id.
    NoShard,
}
