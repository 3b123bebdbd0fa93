//! `hash`: the number's 8 bytes encrypted with DES under a key of zeros ("3DES null key").

use std::sync::LazyLock;

use des::Des;
use des::cipher::{BlockCipherDecrypt, BlockCipherEncrypt, KeyInit};

use super::{Destination, Vindex, VindexValue, integer};
use crate::model::KeyspaceId;

static CIPHER: LazyLock<Des> = LazyLock::new(|| Des::new(&[0u8; 8].into()));

/// The keyspace id of a number.
pub(super) fn hash(number: u64) -> [u8; 8] {
    let mut block = number.to_be_bytes().into();
    CIPHER.encrypt_block(&mut block);
    block.into()
}

#[derive(Debug)]
pub(super) struct Hash;

impl Vindex for Hash {
    fn type_name(&self) -> &'static str {
        "hash"
    }

    fn cost(&self) -> u32 {
        1
    }

    fn hashes_one_column(&self) -> bool {
        true
    }

    fn map(&self, values: &[VindexValue<'_>]) -> Destination {
        let number = match values {
            // A signed number is taken by its bits: -1 and 2^64-1 are the same row.
            [VindexValue::Int(number)] => Some(number.cast_unsigned()),
            [value] => integer::unsigned(value),
            _ => None,
        };
        Destination::of(number.map(|n| hash(n).to_vec()))
    }

    fn map_digits(&self, digits: &[u8]) -> Option<[u8; 8]> {
        let digits = std::str::from_utf8(digits).ok()?;
        let signed = digits.parse().map(i64::cast_unsigned);
        signed.or_else(|_| digits.parse()).ok().map(hash)
    }

    fn reverse(&self, id: &KeyspaceId) -> Option<VindexValue<'static>> {
        let bytes: [u8; 8] = id.0.as_slice().try_into().ok()?;
        let mut block = bytes.into();
        CIPHER.decrypt_block(&mut block);
        Some(VindexValue::UInt(u64::from_be_bytes(block.into())))
    }
}
