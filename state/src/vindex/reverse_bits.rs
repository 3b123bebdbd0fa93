//! `reverse_bits`: the number with its 64 bits reversed, so that rising numbers spread evenly.

use super::{Destination, Vindex, VindexValue, integer};
use crate::model::KeyspaceId;

#[derive(Debug)]
pub(super) struct ReverseBits;

impl Vindex for ReverseBits {
    fn type_name(&self) -> &'static str {
        "reverse_bits"
    }

    fn cost(&self) -> u32 {
        1
    }

    fn hashes_one_column(&self) -> bool {
        true
    }

    fn map(&self, values: &[VindexValue<'_>]) -> Destination {
        let number = values.first().and_then(integer::unsigned);
        Destination::of(number.map(|n| n.reverse_bits().to_be_bytes().to_vec()))
    }

    fn reverse(&self, id: &KeyspaceId) -> Option<VindexValue<'static>> {
        let bytes = id.0.as_slice().try_into().ok()?;
        Some(VindexValue::UInt(u64::from_be_bytes(bytes).reverse_bits()))
    }
}
