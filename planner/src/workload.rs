//! What a plan does to the statements of a workload: for each kind of statement where it goes before the
//! plan and where after it. Where that is, a gate's planner knows; here it is compared, weighed and
//! summed up, for the plan's document and for those who read plans.

use std::cmp::Reverse;
use std::collections::BTreeMap;

use serde::Serialize;

/// How a kind of statements is carried out.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum RouteKind {
    /// By the gate itself.
    Gate,
    /// By any one shard.
    AnyShard,
    /// By the one shard of a keyspace.
    Unsharded,
    /// By one of several shards.
    OneShard,
    /// By the shards of a list of values.
    SomeShards,
    AllShards,
    /// By one shard if its values are all of one; else it is refused.
    OneShardOrRefused,
    Refused,
}

/// Where statements of a kind go.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Route {
    pub kind: RouteKind,
    /// `None`: none, or it is not known because it is refused.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub keyspace: Option<String>,
    /// Of all shards: how many those are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shards: Option<usize>,
    /// Several shards are written to.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub writes: bool,
    /// The lookup vindex that is asked first.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lookup: Option<String>,
    /// MySQL's number of the error.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub error: Option<u16>,
    /// For people: `one shard of customer, by customer.customer_id`.
    pub text: String,
    /// Why it is not better, or what the error says.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl Route {
    /// The higher, the more it costs. Only to compare.
    fn cost(&self) -> u8 {
        match (self.kind, self.writes) {
            (RouteKind::Gate, _) => 0,
            // A lookup is one more server to ask.
            (RouteKind::OneShard, _) if self.lookup.is_some() => 2,
            (RouteKind::AnyShard | RouteKind::Unsharded | RouteKind::OneShard, _) => 1,
            (RouteKind::SomeShards, false) => 3,
            (RouteKind::AllShards, false) => 4,
            // Nothing makes a write of several shards one, if a server fails within.
            (RouteKind::SomeShards, true) => 5,
            (RouteKind::AllShards, true) => 6,
            (RouteKind::OneShardOrRefused, _) => REFUSES,
            (RouteKind::Refused, _) => REFUSES + 1,
        }
    }
}

/// From this cost on statements are refused, some of them at least.
const REFUSES: u8 = 7;

/// What becomes of a kind. The worst first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Change {
    /// It was served, and is refused, for some values at least.
    Refused,
    /// More servers are asked than one, or than those of a list; or several are written to.
    Worse,
    /// It goes to all shards, of which there are more.
    MoreShards,
    /// It goes elsewhere, at the same cost.
    Moved,
    Same,
    Better,
    /// It was refused and is served.
    NewlyServed,
}

impl Change {
    pub const ALL: [Self; 7] = [
        Self::Refused,
        Self::Worse,
        Self::MoreShards,
        Self::Moved,
        Self::Same,
        Self::Better,
        Self::NewlyServed,
    ];

    pub fn of(before: &Route, after: &Route) -> Self {
        let (old, new) = (before.cost(), after.cost());
        if new >= REFUSES && new > old {
            return Self::Refused;
        }
        if old >= REFUSES && new < old {
            return Self::NewlyServed;
        }
        match new.cmp(&old) {
            std::cmp::Ordering::Greater => Self::Worse,
            std::cmp::Ordering::Less => Self::Better,
            std::cmp::Ordering::Equal => match after.shards.cmp(&before.shards) {
                std::cmp::Ordering::Greater => Self::MoreShards,
                std::cmp::Ordering::Less => Self::Better,
                std::cmp::Ordering::Equal
                    if new < REFUSES
                        && (before.kind, &before.keyspace) != (after.kind, &after.keyspace) =>
                {
                    Self::Moved
                }
                std::cmp::Ordering::Equal => Self::Same,
            },
        }
    }

    /// Whether a reviewer wants to know before anything else.
    pub fn is_bad(self) -> bool {
        self <= Self::MoreShards
    }
}

/// A kind of statements, and what becomes of it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Kind {
    /// Without values.
    pub statement: String,
    /// The sessions' target: `customer`, `customer@replica`; null: none.
    pub target: Option<String>,
    pub count: u64,
    /// What was recorded beside; not in a plain log.
    #[serde(flatten)]
    pub measured: Option<Measured>,
    pub change: Change,
    pub before: Route,
    pub after: Route,
}

impl Kind {
    /// Whether a lookup serves what asked more servers, or was refused, before.
    pub fn is_newly_looked_up(&self) -> bool {
        self.change >= Change::Better && self.after.lookup.is_some() && self.before.lookup.is_none()
    }
}

/// What a gate measures of a kind.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Measured {
    pub errors: u64,
    /// Microseconds of all statements together.
    pub total_us: u64,
    /// Microseconds of the longest.
    pub max_us: u64,
}

/// A text of a workload that is no statement.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Unread {
    /// Of the file, from 1; null in an export.
    pub line: Option<u64>,
    pub why: String,
    /// Its beginning, without values; empty where there is nothing to show.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub text: String,
}

/// How many.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize)]
pub struct Sum {
    pub kinds: u64,
    pub statements: u64,
}

/// What a plan does to a workload.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// All that were read.
    pub statements: u64,
    /// Of kinds beyond the limit of what is kept: nothing is known of them.
    pub left_out: u64,
    /// Texts that are no statements.
    pub unread: u64,
    /// Some of these.
    pub unread_samples: Vec<Unread>,
    /// By what becomes of them.
    pub changes: BTreeMap<Change, Sum>,
    /// The worst first.
    pub kinds: Vec<Kind>,
}

/// How many texts that are no statements are listed.
pub const UNREAD_SAMPLES: usize = 10;

impl Report {
    /// Sums up and sorts: what is refused first, then by cost, then by how often it ran.
    pub fn new(mut kinds: Vec<Kind>, left_out: u64, unread: u64, samples: Vec<Unread>) -> Self {
        kinds.sort_by(|a, b| {
            let key = |k: &Kind| {
                // What does not get worse is in the order of how often it runs.
                let cost = if k.change.is_bad() { k.after.cost() } else { 0 };
                (k.change, Reverse(cost), Reverse(k.count))
            };
            key(a)
                .cmp(&key(b))
                .then_with(|| a.statement.cmp(&b.statement))
                .then_with(|| a.target.cmp(&b.target))
        });
        let mut changes: BTreeMap<Change, Sum> = BTreeMap::new();
        for change in Change::ALL {
            changes.insert(change, Sum::default());
        }
        for kind in &kinds {
            let sum = changes.entry(kind.change).or_default();
            sum.kinds += 1;
            sum.statements += kind.count;
        }
        let planned: u64 = kinds.iter().map(|k| k.count).sum();
        Self {
            statements: planned + left_out + unread,
            left_out,
            unread,
            unread_samples: samples,
            changes,
            kinds,
        }
    }

    /// The kinds that get worse, the worst first.
    pub fn bad(&self) -> &[Kind] {
        let end = self.kinds.partition_point(|k| k.change.is_bad());
        &self.kinds[..end]
    }

    /// Kinds and statements with a change.
    pub fn sum(&self, change: Change) -> Sum {
        self.changes.get(&change).copied().unwrap_or_default()
    }

    /// Of all that get worse.
    pub fn bad_sum(&self) -> Sum {
        let bad = self.changes.iter().filter(|(change, _)| change.is_bad());
        bad.fold(Sum::default(), |all, (_, sum)| Sum {
            kinds: all.kinds + sum.kinds,
            statements: all.statements + sum.statements,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn route(kind: RouteKind, shards: Option<usize>, writes: bool) -> Route {
        Route {
            kind,
            keyspace: Some("customer".to_owned()),
            shards,
            writes,
            lookup: None,
            error: None,
            text: String::new(),
            why: None,
        }
    }

    #[test]
    fn a_change_is_bad_exactly_when_more_servers_are_asked_or_it_is_refused() {
        use RouteKind::{AllShards, OneShard, OneShardOrRefused, Refused, SomeShards, Unsharded};
        let one = route(OneShard, None, false);
        let some = route(SomeShards, None, false);
        let asked = Route {
            lookup: Some("by_email".to_owned()),
            ..one.clone()
        };
        let all = |n| route(AllShards, Some(n), false);
        let write = route(AllShards, Some(2), true);
        let maybe = route(OneShardOrRefused, None, false);
        let refused = route(Refused, None, false);
        for (before, after, change) in [
            (&one, &one, Change::Same),
            (&route(Unsharded, None, false), &one, Change::Moved),
            (&one, &some, Change::Worse),
            (&one, &all(2), Change::Worse),
            (&some, &all(2), Change::Worse),
            (&all(2), &write, Change::Worse),
            (&all(2), &all(4), Change::MoreShards),
            (&all(4), &all(2), Change::Better),
            (&all(2), &one, Change::Better),
            (&all(2), &asked, Change::Better),
            (&asked, &one, Change::Better),
            (&one, &asked, Change::Worse),
            (&asked, &some, Change::Worse),
            (&asked, &all(2), Change::Worse),
            (&one, &maybe, Change::Refused),
            (&maybe, &refused, Change::Refused),
            (&all(2), &refused, Change::Refused),
            (&refused, &maybe, Change::NewlyServed),
            (&refused, &all(2), Change::NewlyServed),
            (&refused, &refused, Change::Same),
        ] {
            assert_eq!(Change::of(before, after), change, "{before:?} {after:?}");
        }
    }

    #[test]
    fn the_worst_comes_first_and_sums_hold_all() {
        let kind = |statement: &str, count, after: Route| {
            let before = route(RouteKind::OneShard, None, false);
            Kind {
                statement: statement.to_owned(),
                target: None,
                count,
                measured: None,
                change: Change::of(&before, &after),
                before,
                after,
            }
        };
        let kinds = vec![
            kind("same", 1000, route(RouteKind::OneShard, None, false)),
            kind("scatter", 500, route(RouteKind::AllShards, Some(2), false)),
            kind("often", 700, route(RouteKind::AllShards, Some(2), false)),
            kind("write", 3, route(RouteKind::AllShards, Some(2), true)),
            kind("refused", 1, route(RouteKind::Refused, None, false)),
        ];
        let report = Report::new(kinds, 10, 2, Vec::new());
        let order: Vec<&str> = report.bad().iter().map(|k| k.statement.as_str()).collect();
        assert_eq!(order, ["refused", "write", "often", "scatter"]);
        assert_eq!(report.statements, 1000 + 500 + 700 + 3 + 1 + 10 + 2);
        assert_eq!(
            (report.bad_sum().kinds, report.bad_sum().statements),
            (4, 1204)
        );
    }
}
