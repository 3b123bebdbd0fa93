//! `numeric`: the number's 8 bytes as they are.

use super::{Destination, Vindex, VindexValue, integer};
use crate::model::KeyspaceId;

#[derive(Debug)]
pub(super) struct Numeric;

impl Vindex for Numeric {
    fn type_name(&self) -> &'static str {
        "numeric"
    }

    fn cost(&self) -> u32 {
        0
    }

    fn hashes_one_column(&self) -> bool {
        true
    }

    fn map(&self, values: &[VindexValue<'_>]) -> Destination {
        let number = values.first().and_then(integer::unsigned);
        Destination::of(number.map(|n| n.to_be_bytes().to_vec()))
    }

    fn reverse(&self, id: &KeyspaceId) -> Option<VindexValue<'static>> {
        let bytes = id.0.as_slice().try_into().ok()?;
        Some(VindexValue::UInt(u64::from_be_bytes(bytes)))
    }
}
