//! Positions: MariaDB's list of one GTID for each domain, MySQL's sets of intervals.

use std::collections::BTreeMap;
use std::fmt;

/// MariaDB: the last transaction of each domain, from `0-100-17,1-200-3`. All that a domain
/// has seen is below its number, as `gtid_strict_mode` guarantees.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MariaDbPosition(BTreeMap<u32, (u64, u32)>);

/// A transaction of MariaDB, `0-100-17`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MariaDbGtid {
    pub domain: u32,
    pub server: u32,
    pub sequence: u64,
}

impl fmt::Display for MariaDbGtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{}", self.domain, self.server, self.sequence)
    }
}

impl MariaDbPosition {
    pub fn parse(text: &str) -> Option<Self> {
        let mut domains = BTreeMap::new();
        for gtid in text.split(',').map(str::trim).filter(|g| !g.is_empty()) {
            let mut parts = gtid.split('-');
            let domain = parts.next()?.parse().ok()?;
            let server: u32 = parts.next()?.parse().ok()?;
            let sequence: u64 = parts.next()?.parse().ok()?;
            if parts.next().is_some() {
                return None;
            }
            let last = domains.entry(domain).or_insert((0, server));
            *last = (sequence, server).max(*last);
        }
        Some(Self(domains))
    }

    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Takes from another position the domains that this one does not have.
    pub fn add_domains(&mut self, other: &Self) {
        for (domain, last) in &other.0 {
            self.0.entry(*domain).or_insert(*last);
        }
    }

    pub fn contains_gtid(&self, gtid: &MariaDbGtid) -> bool {
        self.0
            .get(&gtid.domain)
            .is_some_and(|(have, _)| *have >= gtid.sequence)
    }

    /// Goes on to a transaction.
    pub fn advance(&mut self, gtid: &MariaDbGtid) {
        let last = self.0.entry(gtid.domain).or_insert((0, gtid.server));
        if gtid.sequence >= last.0 {
            *last = (gtid.sequence, gtid.server);
        }
    }

    pub fn contains(&self, other: &Self) -> bool {
        other
            .0
            .iter()
            .all(|(domain, (wanted, _))| self.0.get(domain).is_some_and(|(have, _)| have >= wanted))
    }
}

impl fmt::Display for MariaDbPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, (domain, (sequence, server))) in self.0.iter().enumerate() {
            let comma = if i == 0 { "" } else { "," };
            write!(f, "{comma}{domain}-{server}-{sequence}")?;
        }
        Ok(())
    }
}

/// MySQL: for each source (a UUID, with a tag from 8.3 on) the intervals of its transactions,
/// from `3e11fa47-...:1-5:7:tag:1-3,...`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct MySqlGtidSet(BTreeMap<String, Vec<(u64, u64)>>);

/// A transaction of MySQL, `3e11fa47-...:17` or `3e11fa47-...:tag:17`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MySqlGtid {
    /// The UUID in lower case, with `:tag` if it has one.
    pub source: String,
    pub number: u64,
}

impl fmt::Display for MySqlGtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.number)
    }
}

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

    pub fn is_empty(&self) -> bool {
        self.0.values().all(Vec::is_empty)
    }

    pub fn contains_gtid(&self, gtid: &MySqlGtid) -> bool {
        let have = self.0.get(&gtid.source).map_or(&[][..], Vec::as_slice);
        have.iter()
            .any(|(from, to)| (*from..=*to).contains(&gtid.number))
    }

    /// Adds a transaction.
    pub fn advance(&mut self, gtid: &MySqlGtid) {
        let Some(intervals) = self.0.get_mut(&gtid.source) else {
            let one = vec![(gtid.number, gtid.number)];
            self.0.insert(gtid.source.clone(), one);
            return;
        };
        // Nearly always the one after the last.
        if let Some((_, last)) = intervals.last_mut()
            && last.checked_add(1) == Some(gtid.number)
        {
            *last = gtid.number;
            return;
        }
        intervals.push((gtid.number, gtid.number));
        merge(intervals);
    }

    /// Adds all of another set.
    pub fn union(&mut self, other: &Self) {
        for (source, more) in &other.0 {
            let intervals = self.0.entry(source.clone()).or_default();
            intervals.extend(more);
            merge(intervals);
        }
    }

    /// Each source with its intervals, first and last included.
    pub fn sources(&self) -> impl Iterator<Item = (&str, &[(u64, u64)])> {
        self.0.iter().map(|(s, i)| (s.as_str(), i.as_slice()))
    }
}

impl fmt::Display for MySqlGtidSet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // A source with a tag is written out whole, which servers read as well as their own
        // shorter form.
        let sources = self.0.iter().filter(|(_, intervals)| !intervals.is_empty());
        for (i, (source, intervals)) in sources.enumerate() {
            f.write_str(if i == 0 { "" } else { "," })?;
            f.write_str(source)?;
            for (first, last) in intervals {
                if first == last {
                    write!(f, ":{first}")?;
                } else {
                    write!(f, ":{first}-{last}")?;
                }
            }
        }
        Ok(())
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

/// Whether `text` is a position of either flavor. The empty one is.
pub fn is_position(text: &str) -> bool {
    let text = text.trim();
    text.is_empty() || is_mysql(text) || MariaDbPosition::parse(text).is_some()
}

/// Whether the position `have` has everything that is in `want`, of whichever flavor they are.
/// Positions of different flavors have nothing in common.
pub fn contains(have: &str, want: &str) -> bool {
    if want.trim().is_empty() {
        return true;
    }
    if is_mysql(want) != is_mysql(have) {
        return false;
    }
    if is_mysql(want) {
        let sets = (MySqlGtidSet::parse(have), MySqlGtidSet::parse(want));
        return matches!(sets, (Some(have), Some(want)) if have.contains(&want));
    }
    let positions = (MariaDbPosition::parse(have), MariaDbPosition::parse(want));
    matches!(positions, (Some(have), Some(want)) if have.contains(&want))
}

/// A set of MySQL's has colons, which positions of MariaDB never have.
fn is_mysql(text: &str) -> bool {
    text.contains(':')
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

    #[test]
    fn positions_are_told_apart_by_their_look() {
        assert!(contains("0-100-17", "0-101-3") && !contains("0-100-17", "0-100-18"));
        assert!(contains(&format!("{A}:1-5"), &format!("{A}:3")));
        assert!(contains("", "") && contains("0-1-1", "") && !contains("", "0-1-1"));
        assert!(!contains("0-100-17", &format!("{A}:3")));
        assert!(is_position("0-1-1") && is_position("") && is_position(&format!("{A}:3")));
        assert!(!is_position("nonsense"));
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
