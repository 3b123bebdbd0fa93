//! `unicode_loose_md5` and `unicode_loose_xxhash`: a hash of the text's primary collation key, so
//! that texts which differ only in case, accents or trailing spaces share a keyspace id.

use md5::{Digest as _, Md5};

use super::{Destination, Vindex, VindexValue, collation, xxhash};

/// The collation key, without trailing spaces as MySQL compares; `None` if it is not UTF-8.
fn key(values: &[VindexValue<'_>]) -> Option<Vec<u8>> {
    let bytes = values.first()?.text();
    let text = std::str::from_utf8(&bytes).ok()?;
    Some(collation::primary_key(text.trim_end_matches(' ')))
}

#[derive(Debug)]
pub(super) struct UnicodeLooseMd5;

impl Vindex for UnicodeLooseMd5 {
    fn type_name(&self) -> &'static str {
        "unicode_loose_md5"
    }

    fn cost(&self) -> u32 {
        1
    }

    fn hashes_one_column(&self) -> bool {
        true
    }

    fn map(&self, values: &[VindexValue<'_>]) -> Destination {
        Destination::of(key(values).map(|key| Md5::digest(key).to_vec()))
    }
}

#[derive(Debug)]
pub(super) struct UnicodeLooseXxHash;

impl Vindex for UnicodeLooseXxHash {
    fn type_name(&self) -> &'static str {
        "unicode_loose_xxhash"
    }

    fn cost(&self) -> u32 {
        1
    }

    fn hashes_one_column(&self) -> bool {
        true
    }

    fn map(&self, values: &[VindexValue<'_>]) -> Destination {
        Destination::of(key(values).map(|key| xxhash::hash(&key).to_vec()))
    }
}
