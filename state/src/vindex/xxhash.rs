//! `xxhash`: xxHash64 of the value's text, least significant byte first.

use xxhash_rust::xxh64::xxh64;

use super::{Destination, Vindex, VindexValue};

/// The keyspace id of a text.
pub(super) fn hash(text: &[u8]) -> [u8; 8] {
    xxh64(text, 0).to_le_bytes()
}

#[derive(Debug)]
pub(super) struct XxHash;

impl Vindex for XxHash {
    fn type_name(&self) -> &'static str {
        "xxhash"
    }

    fn cost(&self) -> u32 {
        1
    }

    fn hashes_one_column(&self) -> bool {
        true
    }

    fn map(&self, values: &[VindexValue<'_>]) -> Destination {
        Destination::of(values.first().map(|v| hash(&v.text()).to_vec()))
    }

    fn map_digits(&self, digits: &[u8]) -> Option<[u8; 8]> {
        Some(hash(digits))
    }
}
