//! What is counted.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeLabelSet, EncodeMetric as _};
use prometheus_client::metrics::counter::{ConstCounter, Counter};
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use serde::Serialize;

use super::normalize::normalize;
use crate::gate::Shared;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct PlanLabel {
    plan: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CodeLabel {
    code: u16,
}

/// The kinds of plans, in the order of their counters.
const KINDS: [&str; 7] = [
    "single", "scatter", "dml", "insert", "ddl", "gate", "refused",
];

/// How many of the slowest statements are kept, and for how long.
const SLOWEST: usize = 20;
const SLOW_FOR: Duration = Duration::from_secs(600);

/// A slow statement.
#[derive(Debug, Clone, Serialize)]
pub struct Slow {
    /// Without literals.
    pub statement: String,
    pub plan: &'static str,
    pub seconds: f64,
    #[serde(skip)]
    at: Instant,
    /// Seconds since it ended.
    pub ago_seconds: f64,
}

/// A gate's counters.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    by_kind: [Counter; KINDS.len()],
    latency: Histogram,
    errors: Family<CodeLabel, Counter>,
    error_count: AtomicU64,
    /// Statements that wait for a hold to go.
    held: Gauge,
    slow: Mutex<Vec<Slow>>,
    /// Nanoseconds that a statement must have taken to be among the slowest.
    slow_from: AtomicU64,
    /// When the rate was asked last, and how many statements there had been.
    rate: Mutex<(Instant, u64, f64)>,
}

impl Default for Metrics {
    fn default() -> Self {
        let mut registry = Registry::with_prefix("vtplan_gate");
        let kinds = Family::<PlanLabel, Counter>::default();
        let by_kind = KINDS.map(|plan| kinds.get_or_create_owned(&PlanLabel { plan }));
        registry.register("statements", "Statements by the kind of their plan", kinds);
        let latency = Histogram::new([
            50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 20e-3, 50e-3, 0.1, 0.2, 0.5,
            1.0, 2.0, 5.0, 10.0,
        ]);
        registry.register_with_unit(
            "statement_duration",
            "Time from a statement's arrival to the end of its answer",
            Unit::Seconds,
            latency.clone(),
        );
        let errors = Family::default();
        registry.register("errors", "Errors by MySQL error code", errors.clone());
        let held = Gauge::default();
        registry.register(
            "held_statements",
            "Statements that wait because what they write moves",
            held.clone(),
        );
        Self {
            held,
            registry,
            by_kind,
            latency,
            errors,
            error_count: AtomicU64::new(0),
            slow: Mutex::default(),
            slow_from: AtomicU64::new(0),
            rate: Mutex::new((Instant::now(), 0, 0.0)),
        }
    }
}

impl Metrics {
    /// Counts a statement.
    pub fn statement(&self, kind: &'static str, sql: &[u8], took: Duration) {
        let at = KINDS.iter().position(|k| *k == kind).unwrap_or(0);
        self.by_kind[at].inc();
        self.latency.observe(took.as_secs_f64());
        let nanos = took.as_nanos() as u64;
        if nanos > self.slow_from.load(Ordering::Relaxed) {
            self.note_slow(kind, sql, took);
        }
    }

    fn note_slow(&self, kind: &'static str, sql: &[u8], took: Duration) {
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        slow.retain(|s| now.duration_since(s.at) < SLOW_FOR);
        slow.push(Slow {
            statement: normalize(sql),
            plan: kind,
            seconds: took.as_secs_f64(),
            at: now,
            ago_seconds: 0.0,
        });
        slow.sort_by(|a, b| b.seconds.total_cmp(&a.seconds));
        slow.truncate(SLOWEST);
        // Short ones are not worth the work, even when there is nothing slower.
        let least = match slow.get(SLOWEST - 1) {
            Some(last) => (last.seconds * 1e9) as u64,
            None => 0,
        };
        self.slow_from
            .store(least.max(1_000_000), Ordering::Relaxed);
    }

    /// The slowest statements of the last minutes, the slowest first.
    pub fn slowest(&self) -> Vec<Slow> {
        let mut slow = self.slow.lock().unwrap_or_else(PoisonError::into_inner);
        let now = Instant::now();
        slow.retain(|s| now.duration_since(s.at) < SLOW_FOR);
        if slow.len() < SLOWEST {
            self.slow_from.store(1_000_000, Ordering::Relaxed);
        }
        let mut list = slow.clone();
        for entry in &mut list {
            entry.ago_seconds = now.duration_since(entry.at).as_secs_f64();
        }
        list
    }

    /// Counts an error.
    pub fn error(&self, code: u16) {
        self.errors.get_or_create(&CodeLabel { code }).inc();
        self.error_count.fetch_add(1, Ordering::Relaxed);
    }

    /// One more statement (or one less, `-1`) waits for a hold.
    pub fn held(&self, change: i64) {
        self.held.inc_by(change);
    }

    /// How many statements wait for holds.
    pub fn held_now(&self) -> i64 {
        self.held.get()
    }

    pub fn errors_now(&self) -> u64 {
        self.error_count.load(Ordering::Relaxed)
    }

    pub fn statements_now(&self) -> u64 {
        self.by_kind.iter().map(Counter::get).sum()
    }

    /// Statements a second since this was asked last (over at least a second).
    pub fn rate(&self) -> f64 {
        let count = self.statements_now();
        let mut rate = self.rate.lock().unwrap_or_else(PoisonError::into_inner);
        let passed = rate.0.elapsed().as_secs_f64();
        if passed >= 1.0 {
            *rate = (Instant::now(), count, (count - rate.1) as f64 / passed);
        }
        rate.2
    }

    /// All of them as OpenMetrics text, with the gauges of the moment.
    pub fn encode(&self, shared: &Shared) -> String {
        let mut text = String::new();
        let mut now = Registry::with_prefix("vtplan_gate");
        now.register_collector(Box::new(Moment::of(shared)));
        // Writing to a String does not fail.
        let _ = prometheus_client::encoding::text::encode_registry(&mut text, &self.registry);
        let _ = prometheus_client::encoding::text::encode_registry(&mut text, &now);
        let _ = prometheus_client::encoding::text::encode_eof(&mut text);
        text
    }
}

/// What is measured when it is asked for.
#[derive(Debug)]
struct Moment {
    sessions: usize,
    revision: u64,
    pools: Vec<(String, [u64; 5])>,
}

const POOL_GAUGES: [(&str, &str); 3] = [
    ("pool_open", "Connections to a tablet"),
    ("pool_idle", "Connections to a tablet that no session uses"),
    (
        "pool_waiting",
        "Sessions that wait for a connection to a tablet",
    ),
];
const POOL_COUNTERS: [(&str, &str); 2] = [
    (
        "pool_waits",
        "How often a session had to wait for a connection",
    ),
    ("pool_connects", "Connections opened"),
];

impl Moment {
    fn of(shared: &Shared) -> Self {
        let snapshot = shared.topology.snapshot();
        let pools = snapshot.tablets.values().map(|tablet| {
            let status = tablet.pool.status();
            let values = [
                status.open as u64,
                status.idle as u64,
                status.waiting as u64,
                tablet.pool.waits.load(Ordering::Relaxed),
                tablet.pool.connects.load(Ordering::Relaxed),
            ];
            (tablet.alias.to_string(), values)
        });
        Self {
            sessions: shared.sessions.count(),
            revision: snapshot.records.serving_revision,
            pools: pools.collect(),
        }
    }
}

impl Collector for Moment {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let single = [
            (
                "sessions",
                "Clients that are connected",
                self.sessions as i64,
            ),
            (
                "serving_revision",
                "Revision of the records that statements are routed by",
                self.revision as i64,
            ),
        ];
        for (name, help, value) in single {
            let gauge = ConstGauge::new(value);
            gauge.encode(encoder.encode_descriptor(name, help, None, gauge.metric_type())?)?;
        }
        for (i, (name, help)) in POOL_GAUGES.into_iter().enumerate() {
            let kind = ConstGauge::new(0i64).metric_type();
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (tablet, values) in &self.pools {
                let labels = [("tablet", tablet.as_str())];
                ConstGauge::new(values[i] as i64).encode(family.encode_family(&labels)?)?;
            }
        }
        for (i, (name, help)) in POOL_COUNTERS.into_iter().enumerate() {
            let kind = ConstCounter::new(0u64).metric_type();
            let mut family = encoder.encode_descriptor(name, help, None, kind)?;
            for (tablet, values) in &self.pools {
                let labels = [("tablet", tablet.as_str())];
                ConstCounter::new(values[3 + i]).encode(family.encode_family(&labels)?)?;
            }
        }
        Ok(())
    }
}
