//! Keyspace ids, key ranges and shard names, as Vitess has them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::names::NameError;

/// What a primary vindex gives for a row: a byte string of any length, compared byte by byte.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyspaceId(pub Vec<u8>);

impl fmt::Display for KeyspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&hex::encode(&self.0))
    }
}

impl fmt::Debug for KeyspaceId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyspaceId({self})")
    }
}

/// A half-open range of keyspace ids: `start <= id < end`. An empty `start` is the lowest id, an
/// empty `end` means no upper bound. Trailing zero bytes of a bound are dropped (`80` and `8000`
/// bound the same ids among those that are long enough to tell), as Vitess compares them.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct KeyRange {
    start: Vec<u8>,
    end: Vec<u8>,
}

impl KeyRange {
    /// The range that holds every keyspace id.
    pub const fn full() -> Self {
        Self {
            start: Vec::new(),
            end: Vec::new(),
        }
    }

    /// The range from `start` up to, not including, `end` (empty: unbounded).
    /// `None` when it would hold nothing.
    pub fn new(mut start: Vec<u8>, mut end: Vec<u8>) -> Option<Self> {
        trim_zeros(&mut start);
        let unbounded = end.is_empty();
        trim_zeros(&mut end);
        if !unbounded && end <= start {
            return None;
        }
        Some(Self { start, end })
    }

    pub fn start(&self) -> &[u8] {
        &self.start
    }

    /// The exclusive end; empty when unbounded.
    pub fn end(&self) -> &[u8] {
        &self.end
    }

    pub fn is_full(&self) -> bool {
        self.start.is_empty() && self.end.is_empty()
    }

    pub fn contains(&self, id: &KeyspaceId) -> bool {
        id.0.as_slice() >= self.start.as_slice()
            && (self.end.is_empty() || id.0.as_slice() < self.end.as_slice())
    }

    pub fn intersects(&self, other: &KeyRange) -> bool {
        (other.end.is_empty() || self.start < other.end)
            && (self.end.is_empty() || other.start < self.end)
    }
}

fn trim_zeros(bytes: &mut Vec<u8>) {
    while bytes.last() == Some(&0) {
        bytes.pop();
    }
}

impl fmt::Display for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!(
            "{}-{}",
            hex::encode(&self.start),
            hex::encode(&self.end)
        ))
    }
}

impl fmt::Debug for KeyRange {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyRange({self})")
    }
}

/// A shard's name: `0` for the one shard of an unsharded keyspace, else its key range
/// (`-80`, `80-c0`, `c0-`). `-` is read as `0`: both mean the whole range.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ShardName(KeyRange);

impl ShardName {
    /// The shard that holds the whole range, written `0`.
    pub const fn unsharded() -> Self {
        Self(KeyRange::full())
    }

    pub fn key_range(&self) -> &KeyRange {
        &self.0
    }

    pub fn from_range(range: KeyRange) -> Self {
        Self(range)
    }

    /// `count` shards of equal width that cover everything, named as Vitess's
    /// `GenerateShardRanges` names them. One shard is `0`.
    pub fn even_split(count: u32) -> Vec<ShardName> {
        assert!(count > 0, "a keyspace has at least one shard");
        // As many bytes as needed to tell `count` shards apart: 256 by one byte, 65,536 by two.
        let bytes: u32 = if count <= 256 {
            1
        } else if count <= 65_536 {
            2
        } else {
            4
        };
        let space: u64 = 1 << (8 * bytes);
        let bound = |i: u32| -> Vec<u8> {
            if i == 0 || i == count {
                return Vec::new();
            }
            let at = space * u64::from(i) / u64::from(count);
            at.to_be_bytes()[8 - bytes as usize..].to_vec()
        };
        (0..count)
            .map(|i| {
                let range = KeyRange::new(bound(i), bound(i + 1));
                Self(range.expect("bounds of an even split rise"))
            })
            .collect()
    }
}

impl FromStr for ShardName {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = |why| NameError {
            kind: "shard",
            text: text.to_owned(),
            why,
        };
        if text == "0" {
            return Ok(Self(KeyRange::full()));
        }
        let Some((start, end)) = text.split_once('-') else {
            return Err(error(
                "a shard is `0` or a key range such as `-80` or `80-c0`",
            ));
        };
        if end.contains('-') {
            return Err(error("a key range has one dash"));
        }
        let bytes = |part: &str| {
            hex::decode(part).map_err(|_| {
                error("the bounds of a key range are hexadecimal bytes, two digits each")
            })
        };
        let (start, end) = (bytes(start)?, bytes(end)?);
        KeyRange::new(start, end)
            .map(Self)
            .ok_or_else(|| error("its end is not above its start, so it holds nothing"))
    }
}

impl TryFrom<String> for ShardName {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<ShardName> for String {
    fn from(name: ShardName) -> String {
        name.to_string()
    }
}

impl fmt::Display for ShardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.0.is_full() {
            f.pad("0")
        } else {
            self.0.fmt(f)
        }
    }
}

impl fmt::Debug for ShardName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ShardName({self})")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shard(text: &str) -> ShardName {
        text.parse().expect(text)
    }

    #[test]
    fn names_print_as_they_are_read() {
        for name in ["0", "-80", "80-", "40-c0", "-0080", "fe-ff80"] {
            assert_eq!(shard(name).to_string(), name);
        }
        assert_eq!(shard("-").to_string(), "0");
        assert_eq!(shard("8000-").to_string(), "80-");
    }

    #[test]
    fn ranges_that_hold_nothing_or_are_no_ranges_are_refused() {
        for text in ["80-80", "80-40", "8-", "x-", "", "80", "-80-", "-00"] {
            assert!(text.parse::<ShardName>().is_err(), "{text}");
        }
    }

    #[test]
    fn an_even_split_covers_everything_once() {
        for count in [1u32, 2, 3, 4, 5, 16, 100, 256, 257, 1000] {
            let shards = ShardName::even_split(count);
            assert_eq!(shards.len(), count as usize);
            assert!(shards[0].key_range().start().is_empty());
            assert!(shards[shards.len() - 1].key_range().end().is_empty());
            for pair in shards.windows(2) {
                assert_eq!(pair[0].key_range().end(), pair[1].key_range().start());
            }
        }
        let four: Vec<_> = ShardName::even_split(4)
            .iter()
            .map(ToString::to_string)
            .collect();
        assert_eq!(four, ["-40", "40-80", "80-c0", "c0-"]);
    }

    #[test]
    fn intersection_is_symmetric_and_half_open() {
        let (low, high) = (shard("-80"), shard("80-"));
        assert!(!low.key_range().intersects(high.key_range()));
        assert!(!high.key_range().intersects(low.key_range()));
        assert!(shard("40-c0").key_range().intersects(low.key_range()));
        assert!(KeyRange::full().intersects(high.key_range()));
    }
}
