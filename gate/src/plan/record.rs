//! What a gate counts of the statements that it plans, by kind: a bounded table, which templates in the
//! plan cache point into, so that counting a statement is a few additions and no look-up.
//!
//! Where there is no room for another kind, the tenth of the kinds that ran least make room. What they
//! had counted stays counted as a sum.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::normalize::normalize;
use super::types::{SqlModes, Target};

/// How many kinds are kept, and the longest name of one, bytes: together some 40 MiB at most.
const MAX_KINDS: usize = 5_000;
const MAX_NAME: usize = 8 << 10;

/// Kinds of statements, and what was counted of them.
#[derive(Debug)]
pub struct Recorder {
    kinds: RwLock<Kinds>,
    limit: usize,
    /// Statements of kinds that are not kept.
    left_out: AtomicU64,
}

type Kinds = HashMap<Target, HashMap<String, Arc<Recorded>>>;

/// What was counted of one kind.
#[derive(Debug)]
// Two kinds that run on two processors do not share a cache line.
#[repr(align(128))]
pub struct Recorded {
    count: AtomicU64,
    errors: AtomicU64,
    total_ns: AtomicU64,
    max_ns: AtomicU64,
    rows: AtomicU64,
    shards: AtomicU64,
    first_seen: AtomicU64,
    last_seen: AtomicU64,
    /// It made room for others.
    gone: AtomicBool,
    statement: String,
    target: Target,
}

/// One statement that ended.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    pub took: Duration,
    pub failed: bool,
    /// Given or changed.
    pub rows: u64,
    /// That were asked.
    pub shards: u64,
    /// When, milliseconds since 1970.
    pub at: u64,
}

/// What was counted of a kind, as it is told.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct KindCounts {
    /// Without values.
    pub statement: String,
    /// What sessions use: `customer`, `customer@replica`; empty: nothing.
    pub target: String,
    pub count: u64,
    pub errors: u64,
    /// Microseconds of all statements together.
    pub total_us: u64,
    /// Microseconds of the longest.
    pub max_us: u64,
    /// Rows that were given or changed.
    pub rows: u64,
    /// Shards that were asked, of all statements together.
    pub shards: u64,
    /// Milliseconds since 1970.
    pub first_seen: u64,
    pub last_seen: u64,
}

impl Default for Recorder {
    fn default() -> Self {
        Self::new(MAX_KINDS)
    }
}

impl Recorder {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            kinds: RwLock::default(),
            limit,
            left_out: AtomicU64::new(0),
        }
    }

    /// The kind of a statement; `None` for what is no statement, or too long.
    pub(super) fn kind(
        &self,
        target: &Target,
        sql: &[u8],
        modes: SqlModes,
    ) -> Option<Arc<Recorded>> {
        let statement = normalize(sql, modes).ok()?;
        if statement.len() > MAX_NAME {
            return None;
        }
        let find = |kinds: &Kinds| kinds.get(target).and_then(|of| of.get(&statement)).cloned();
        let known = find(&self.kinds.read().unwrap_or_else(PoisonError::into_inner));
        if known.is_some() {
            return known;
        }
        let mut kinds = self.kinds.write().unwrap_or_else(PoisonError::into_inner);
        // Another session may have come first.
        if let Some(known) = find(&kinds) {
            return Some(known);
        }
        let kind = Arc::new(Recorded {
            count: AtomicU64::new(0),
            errors: AtomicU64::new(0),
            total_ns: AtomicU64::new(0),
            max_ns: AtomicU64::new(0),
            rows: AtomicU64::new(0),
            shards: AtomicU64::new(0),
            first_seen: AtomicU64::new(0),
            last_seen: AtomicU64::new(0),
            gone: AtomicBool::new(false),
            statement: statement.clone(),
            target: target.clone(),
        });
        self.insert(&mut kinds, kind.clone());
        Some(kind)
    }

    fn insert(&self, kinds: &mut Kinds, kind: Arc<Recorded>) {
        let number: usize = kinds.values().map(HashMap::len).sum();
        if number >= self.limit {
            self.make_room(kinds);
        }
        let of = kinds.entry(kind.target.clone()).or_default();
        of.insert(kind.statement.clone(), kind);
    }

    fn make_room(&self, kinds: &mut Kinds) {
        let all = kinds.values().flat_map(HashMap::values);
        let mut counts: Vec<u64> = all.map(|kind| kind.count.load(Relaxed)).collect();
        counts.sort_unstable();
        let goes = (self.limit / 10).max(1).min(counts.len());
        let Some(most) = goes.checked_sub(1).and_then(|at| counts.get(at).copied()) else {
            return;
        };
        let mut left = goes;
        for of in kinds.values_mut() {
            of.retain(|_, kind| {
                if left == 0 || kind.count.load(Relaxed) > most {
                    return true;
                }
                left -= 1;
                kind.gone.store(true, Relaxed);
                let counted = kind.count.swap(0, Relaxed);
                self.left_out.fetch_add(counted, Relaxed);
                for sum in [
                    &kind.errors,
                    &kind.total_ns,
                    &kind.max_ns,
                    &kind.rows,
                    &kind.shards,
                ] {
                    sum.store(0, Relaxed);
                }
                kind.first_seen.store(0, Relaxed);
                false
            });
        }
        kinds.retain(|_, of| !of.is_empty());
    }

    /// Counts a statement; `None`: of a kind that is not kept.
    pub fn record(&self, kind: Option<&Arc<Recorded>>, ended: &Ended) {
        let Some(kind) = kind else {
            self.left_out.fetch_add(1, Relaxed);
            return;
        };
        // The plan cache still points to it, so it does run: it comes back.
        if kind.gone.load(Relaxed) && kind.gone.swap(false, Relaxed) {
            let mut kinds = self.kinds.write().unwrap_or_else(PoisonError::into_inner);
            let another = kinds
                .get(&kind.target)
                .and_then(|of| of.get(&kind.statement));
            match another.cloned() {
                Some(another) => {
                    kind.gone.store(true, Relaxed);
                    another.add(ended);
                    return;
                }
                None => self.insert(&mut kinds, kind.clone()),
            }
        }
        kind.add(ended);
    }

    /// Statements of kinds that are not kept.
    pub fn left_out(&self) -> u64 {
        self.left_out.load(Relaxed)
    }

    /// All kinds that ran, by target and statement.
    pub fn counts(&self) -> Vec<KindCounts> {
        let kinds = self.kinds.read().unwrap_or_else(PoisonError::into_inner);
        let all = kinds.values().flat_map(HashMap::values);
        let mut counts: Vec<KindCounts> = all.map(|kind| kind.counts()).collect();
        drop(kinds);
        counts.retain(|kind| kind.count > 0);
        counts.sort_by(|a, b| (&a.target, &a.statement).cmp(&(&b.target, &b.statement)));
        counts
    }
}

impl Recorded {
    fn add(&self, ended: &Ended) {
        let nanos = u64::try_from(ended.took.as_nanos()).unwrap_or(u64::MAX);
        self.count.fetch_add(1, Relaxed);
        self.total_ns.fetch_add(nanos, Relaxed);
        if self.max_ns.load(Relaxed) < nanos {
            self.max_ns.fetch_max(nanos, Relaxed);
        }
        if ended.rows > 0 {
            self.rows.fetch_add(ended.rows, Relaxed);
        }
        self.shards.fetch_add(ended.shards, Relaxed);
        if ended.failed {
            self.errors.fetch_add(1, Relaxed);
        }
        if self.first_seen.load(Relaxed) == 0 {
            self.first_seen.store(ended.at, Relaxed);
        }
        self.last_seen.store(ended.at, Relaxed);
    }

    fn counts(&self) -> KindCounts {
        KindCounts {
            statement: self.statement.clone(),
            target: self.target.to_string(),
            count: self.count.load(Relaxed),
            errors: self.errors.load(Relaxed),
            total_us: self.total_ns.load(Relaxed) / 1000,
            max_us: self.max_ns.load(Relaxed) / 1000,
            rows: self.rows.load(Relaxed),
            shards: self.shards.load(Relaxed),
            first_seen: self.first_seen.load(Relaxed),
            last_seen: self.last_seen.load(Relaxed),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ended(micros: u64, at: u64) -> Ended {
        Ended {
            took: Duration::from_micros(micros),
            failed: micros > 100,
            rows: 2,
            shards: 1,
            at,
        }
    }

    fn kind(recorder: &Recorder, sql: &str) -> Arc<Recorded> {
        let kind = recorder.kind(&Target::default(), sql.as_bytes(), SqlModes::default());
        kind.expect("it is a statement")
    }

    #[test]
    fn statements_of_a_kind_are_summed_up() {
        let recorder = Recorder::new(10);
        for (sql, micros, at) in [
            ("select 1", 10, 5),
            ("select 22", 150, 7),
            ("select 3", 20, 9),
        ] {
            recorder.record(Some(&kind(&recorder, sql)), &ended(micros, at));
        }
        recorder.record(None, &ended(1, 1));
        kind(&recorder, "select a from never_run");
        let counts = recorder.counts();
        assert_eq!(
            counts,
            [KindCounts {
                statement: "select ?".to_owned(),
                target: String::new(),
                count: 3,
                errors: 1,
                total_us: 180,
                max_us: 150,
                rows: 6,
                shards: 3,
                first_seen: 5,
                last_seen: 9,
            }]
        );
        assert_eq!(recorder.left_out(), 1);
    }

    #[test]
    fn what_runs_often_stays_and_no_statement_is_lost() {
        let recorder = Recorder::new(20);
        let often = kind(&recorder, "select often");
        let cached = kind(&recorder, "select cached");
        for _ in 0..50 {
            recorder.record(Some(&often), &ended(1, 1));
        }
        recorder.record(Some(&cached), &ended(1, 1));
        for n in 0..200 {
            let once = kind(&recorder, &format!("select once_{n}"));
            recorder.record(Some(&once), &ended(1, 1));
        }
        // A template still points to it, and it goes on running.
        for _ in 0..30 {
            recorder.record(Some(&cached), &ended(1, 2));
        }
        let counts = recorder.counts();
        assert!(counts.len() <= 20, "{}", counts.len());
        let count = |name: &str| counts.iter().find(|k| k.statement == name).map(|k| k.count);
        assert_eq!(count("select often"), Some(50));
        assert!(count("select cached") >= Some(30));
        let kept: u64 = counts.iter().map(|k| k.count).sum();
        assert_eq!(kept + recorder.left_out(), 50 + 1 + 200 + 30);
    }
}
