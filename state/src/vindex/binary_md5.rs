//! `binary_md5`: the MD5 sum of the value's bytes.

use md5::{Digest as _, Md5};

use super::{Destination, Vindex, VindexValue};

#[derive(Debug)]
pub(super) struct BinaryMd5;

impl Vindex for BinaryMd5 {
    fn type_name(&self) -> &'static str {
        "binary_md5"
    }

    fn cost(&self) -> u32 {
        1
    }

    fn hashes_one_column(&self) -> bool {
        true
    }

    fn map(&self, values: &[VindexValue<'_>]) -> Destination {
        Destination::of(values.first().map(|v| Md5::digest(v.text()).to_vec()))
    }
}
