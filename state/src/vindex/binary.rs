//! `binary`: the value's bytes as they are.

use std::borrow::Cow;

use super::{Destination, Vindex, VindexValue};
use crate::model::KeyspaceId;

#[derive(Debug)]
pub(super) struct Binary;

impl Vindex for Binary {
    fn type_name(&self) -> &'static str {
        "binary"
    }

    fn cost(&self) -> u32 {
        0
    }

    fn hashes_one_column(&self) -> bool {
        true
    }

    fn map(&self, values: &[VindexValue<'_>]) -> Destination {
        Destination::of(values.first().map(|v| v.text().into_owned()))
    }

    fn reverse(&self, id: &KeyspaceId) -> Option<VindexValue<'static>> {
        Some(VindexValue::Bytes(Cow::Owned(id.0.clone())))
    }
}
