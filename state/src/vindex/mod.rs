//! Vindexes: functions from a column's value to a keyspace id, the same as Vitess's byte for byte,
//! since they say which shard holds a row. Pure; one file each.

use std::borrow::Cow;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::model::{KeyRange, KeyspaceId, VindexDefinition};

/// A column's value as a vindex gets it: what SQL has after `=`.
#[derive(Debug, Clone, PartialEq)]
pub enum VindexValue<'a> {
    Null,
    Int(i64),
    UInt(u64),
    /// A decimal or floating point number, as its text.
    Decimal(Cow<'a, str>),
    /// Character or binary data.
    Bytes(Cow<'a, [u8]>),
}

/// Where rows with a value are.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Destination {
    Id(KeyspaceId),
    /// The first columns of a vindex over several were given: somewhere in this range.
    Range(KeyRange),
    /// No row can have the value.
    None,
}

/// A functional, unique vindex: it maps by computing alone.
pub trait Vindex: fmt::Debug + Send + Sync {
    /// Its type's name in a VSchema.
    fn type_name(&self) -> &'static str;

    /// Vitess's cost: routes with a lower one are preferred.
    fn cost(&self) -> u32;

    /// How many columns it takes.
    fn columns(&self) -> usize {
        1
    }

    /// Whether a row may be looked for by fewer than [`Vindex::columns`] values (the first ones).
    fn takes_prefix(&self) -> bool {
        false
    }

    /// Where rows with these values are. `values` holds one value per column, or fewer if
    /// [`Vindex::takes_prefix`]. A value that the function is not defined for is
    /// [`Destination::None`].
    fn map(&self, values: &[VindexValue<'_>]) -> Destination;

    /// The value that gives a keyspace id, for those functions that can be reversed.
    fn reverse(&self, _id: &KeyspaceId) -> Option<VindexValue<'static>> {
        None
    }
}

/// Why a vindex definition cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum VindexError {
    #[error("vindex type `{vindex_type}` is not known{hint}")]
    UnknownType { vindex_type: String, hint: String },
    #[error("vindex type `{vindex_type}` is a lookup, which this version does not serve")]
    Lookup { vindex_type: String },
    #[error("parameter `{param}` of vindex type `{vindex_type}`: {why}")]
    Param {
        vindex_type: &'static str,
        param: String,
        why: String,
    },
}

/// The function that a definition names.
pub fn build(definition: &VindexDefinition) -> Result<Arc<dyn Vindex>, VindexError> {
    Err(VindexError::UnknownType {
        vindex_type: definition.vindex_type.clone(),
        hint: String::new(),
    })
}
