//! Vindexes: functions from a column's value to a keyspace id, the same as Vitess's byte for byte,
//! since they say which shard holds a row. Pure; one file each.

mod binary;
mod binary_md5;
mod cfc;
mod collation;
mod hash;
mod integer;
pub mod lookup;
mod multicol;
mod null;
mod numeric;
mod numeric_static_map;
mod params;
mod region;
mod reverse_bits;
mod unicode_loose;
mod xxhash;

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use thiserror::Error;

use crate::model::{KeyRange, KeyspaceId, VindexDefinition};
pub use lookup::{LOOKUPS, Lookup};
use params::{Params, hint};

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

impl VindexValue<'_> {
    /// The value as text; nothing for NULL.
    fn text(&self) -> Cow<'_, [u8]> {
        match self {
            Self::Null => Cow::Borrowed(&[]),
            Self::Int(number) => Cow::Owned(number.to_string().into_bytes()),
            Self::UInt(number) => Cow::Owned(number.to_string().into_bytes()),
            Self::Decimal(text) => Cow::Borrowed(text.as_bytes()),
            Self::Bytes(bytes) => Cow::Borrowed(bytes),
        }
    }
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

impl Destination {
    fn of(id: Option<Vec<u8>>) -> Self {
        id.map_or(Self::None, |id| Self::Id(KeyspaceId(id)))
    }

    /// The ids that start with these bytes.
    fn prefix(bytes: Vec<u8>) -> Self {
        let mut end = bytes.clone();
        // One more than the prefix; past `ff...` there is no upper bound.
        while end.last() == Some(&0xff) {
            end.pop();
        }
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        KeyRange::new(bytes, end).map_or(Self::None, Self::Range)
    }
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

    /// Whether it maps one column to one keyspace id, and may so be a part of others.
    fn hashes_one_column(&self) -> bool {
        false
    }

    /// Where rows with these values are. `values` holds one value per column, or fewer if
    /// [`Vindex::takes_prefix`]. A value that the function is not defined for is
    /// [`Destination::None`].
    fn map(&self, values: &[VindexValue<'_>]) -> Destination;

    /// The same for a whole number, given as servers print it: decimal digits, `-` before them if it
    /// is negative. `None`: [`Vindex::map`] has to be asked. It is for millions of rows, so it
    /// allocates nothing.
    fn map_digits(&self, _digits: &[u8]) -> Option<[u8; 8]> {
        None
    }

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
    #[error(
        "vindex type `{vindex_type}` keeps what a hash was made of instead of keyspace ids, which this version does not serve: use `{instead}`"
    )]
    Lookup {
        vindex_type: String,
        instead: &'static str,
    },
    #[error("vindex type `{vindex_type}` is a lookup, which cannot say by itself where rows are; the functional types are {}", FUNCTIONAL.join(", "))]
    NotFunctional { vindex_type: String },
    #[error("parameter `{param}` of vindex type `{vindex_type}` {why}")]
    Param {
        vindex_type: String,
        param: String,
        why: String,
    },
}

/// The types that compute alone.
pub const FUNCTIONAL: [&str; 14] = [
    "binary",
    "binary_md5",
    "cfc",
    "hash",
    "multicol",
    "null",
    "numeric",
    "numeric_static_map",
    "region_experimental",
    "region_json",
    "reverse_bits",
    "unicode_loose_md5",
    "unicode_loose_xxhash",
    "xxhash",
];

/// What is wrong with a definition, if anything: of a function or of a lookup.
pub fn check(definition: &VindexDefinition) -> Result<(), VindexError> {
    match lookup::read(definition)? {
        Some(_) => Ok(()),
        None => build(definition).map(drop),
    }
}

/// The function that a definition names; a lookup is none. Reads the file that `json_path` or `region_map` names.
pub fn build(definition: &VindexDefinition) -> Result<Arc<dyn Vindex>, VindexError> {
    build_type(&definition.vindex_type, &definition.params)
}

fn build_type(
    vindex_type: &str,
    params: &BTreeMap<String, String>,
) -> Result<Arc<dyn Vindex>, VindexError> {
    let params = Params::new(vindex_type, params);
    let without = |vindex: Arc<dyn Vindex>| params.only(&[]).map(|()| vindex);
    match vindex_type {
        "binary" => without(Arc::new(binary::Binary)),
        "binary_md5" => without(Arc::new(binary_md5::BinaryMd5)),
        "cfc" => Ok(Arc::new(cfc::Cfc::build(&params)?)),
        "hash" => without(Arc::new(hash::Hash)),
        "multicol" => Ok(Arc::new(multicol::MultiCol::build(&params)?)),
        "null" => without(Arc::new(null::Null)),
        "numeric" => without(Arc::new(numeric::Numeric)),
        "numeric_static_map" => Ok(Arc::new(numeric_static_map::NumericStaticMap::build(
            &params,
        )?)),
        "region_experimental" => Ok(Arc::new(region::RegionExperimental::build(&params)?)),
        "region_json" => Ok(Arc::new(region::RegionJson::build(&params)?)),
        "reverse_bits" => without(Arc::new(reverse_bits::ReverseBits)),
        "unicode_loose_md5" => without(Arc::new(unicode_loose::UnicodeLooseMd5)),
        "unicode_loose_xxhash" => without(Arc::new(unicode_loose::UnicodeLooseXxHash)),
        "xxhash" => without(Arc::new(xxhash::XxHash)),
        lookup if lookup::is_lookup(lookup) => Err(VindexError::NotFunctional {
            vindex_type: lookup.to_owned(),
        }),
        unknown => Err(VindexError::UnknownType {
            vindex_type: unknown.to_owned(),
            hint: hint(unknown, FUNCTIONAL.into_iter().chain(lookup::names())),
        }),
    }
}
