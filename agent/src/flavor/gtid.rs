//! Positions: MariaDB's list of one GTID for each domain, MySQL's sets of intervals.

use std::collections::BTreeMap;

/// MariaDB: the last sequence number of each domain, from `0-100-17,1-200-3`. All that a domain
/// has seen is below its number, as `gtid_strict_mode` guarantees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MariaDbPosition(BTreeMap<u32, u64>);

impl MariaDbPosition {
    pub fn parse(text: &str) -> Option<Self> {
        let mut domains = BTreeMap::new();
        for gtid in text.split(',').map(str::trim).filter(|g| !g.is_empty()) {
            let mut parts = gtid.split('-');
            let domain = parts.next()?.parse().ok()?;
            let _server: u32 = parts.next()?.parse().ok()?;
            let sequence: u64 = parts.next()?.parse().ok()?;
            if parts.next().is_some() {
                return None;
            }
            let last = domains.entry(domain).or_insert(0);
            *last = sequence.max(*last);
        }
        Some(Self(domains))
    }

    pub fn contains(&self, other: &Self) -> bool {
        other
            .0
            .iter()
            .all(|(domain, wanted)| self.0.get(domain).is_some_and(|have| have >= wanted))
    }
}

/// MySQL: for each source (a UUID, with a tag from 8.3 on) the intervals of its transactions,
/// from `3e11fa47-...:1-5:7:tag:1-3,...`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MySqlGtidSet(BTreeMap<String, Vec<(u64, u64)>>);

impl MySqlGtidSet {
    pub fn parse(text: &str) -> Option<Self> {
        let mut sources: BTreeMap<String, Vec<(u64, u64)>> = BTreeMap::new();
        for part in text.split(',').map(str::trim).filter(|p| !p.is_empty()) {
            let mut words = part.split(':').map(str::trim);
            let uuid = words.next()?.to_ascii_lowercase();
            let mut source = uuid.clone();
            for word in words {
                // What starts with a digit is an interval, everything else a tag.
                if !word.starts_with(|c: char| c.is_ascii_digit()) {
                    source = format!("{uuid}:{}", word.to_ascii_lowercase());
                    continue;
                }
                let (first, last) = match word.split_once('-') {
                    Some((first, last)) => (first.parse().ok()?, last.parse().ok()?),
                    None => {
                        let one = word.parse().ok()?;
                        (one, one)
                    }
                };
                sources
                    .entry(source.clone())
                    .or_default()
                    .push((first, last));
            }
        }
        for intervals in sources.values_mut() {
            merge(intervals);
        }
        Some(Self(sources))
    }

    pub fn contains(&self, other: &Self) -> bool {
        other.0.iter().all(|(source, wanted)| {
            let have = self.0.get(source).map_or(&[][..], Vec::as_slice);
            wanted
                .iter()
                .all(|(first, last)| have.iter().any(|(from, to)| from <= first && last <= to))
        })
    }
}

/// Sorts intervals and joins those that touch.
fn merge(intervals: &mut Vec<(u64, u64)>) {
    intervals.sort_unstable();
    let mut merged: Vec<(u64, u64)> = Vec::with_capacity(intervals.len());
    for &(first, last) in intervals.iter() {
        match merged.last_mut() {
            Some((_, end)) if first <= end.saturating_add(1) => *end = last.max(*end),
            _ => merged.push((first, last)),
        }
    }
    *intervals = merged;
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    const A: &str = "3e11fa47-71ca-11e1-9e33-c80aa9429562";

    fn mysql(text: &str) -> MySqlGtidSet {
        MySqlGtidSet::parse(text).unwrap()
    }

    #[test]
    fn a_mariadb_position_contains_what_its_domains_have_reached() {
        let have = MariaDbPosition::parse("0-100-17,1-200-3").unwrap();
        for (want, contained) in [
            ("", true),
            ("0-101-17", true),
            ("0-100-18", false),
            ("1-1-1,0-1-1", true),
            ("2-1-1", false),
        ] {
            let want = MariaDbPosition::parse(want).unwrap();
            assert_eq!(have.contains(&want), contained, "{want:?}");
        }
        assert_eq!(MariaDbPosition::parse("nonsense"), None);
    }

    #[test]
    fn a_tag_is_a_source_of_its_own() {
        let have = mysql(&format!("{A}:1-5:blue:1-3"));
        assert!(have.contains(&mysql(&format!("{A}:blue:2"))));
        assert!(!have.contains(&mysql(&format!("{A}:blue:4"))));
        assert!(!have.contains(&mysql(&format!("{A}:red:1"))));
        assert_eq!(MySqlGtidSet::parse("x:y-"), Some(MySqlGtidSet::default()));
        assert_eq!(MySqlGtidSet::parse("x:1-y"), None);
    }

    fn written(numbers: &BTreeSet<u64>) -> String {
        let words: Vec<String> = numbers.iter().map(u64::to_string).collect();
        if words.is_empty() {
            return String::new();
        }
        format!("{A}:{}", words.join(":"))
    }

    proptest! {
        #[test]
        fn sets_contain_each_other_as_sets_of_numbers_do(
            a in prop::collection::btree_set(1u64..20, 0..15),
            b in prop::collection::btree_set(1u64..20, 0..6),
        ) {
            prop_assert_eq!(
                mysql(&written(&a)).contains(&mysql(&written(&b))),
                a.is_superset(&b)
            );
        }
    }
}
