//! What the streams of this agent do, for others to see.

use std::collections::{BTreeMap, VecDeque};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::Instant;
use vtplan_state::model::{KeyspaceName, ShardName, Side, WorkflowName};

use crate::proto::v1::StreamStatus;

/// What rates are taken over.
const WINDOW: Duration = Duration::from_secs(10);
/// How exactly times within it are kept.
const GRAIN: Duration = Duration::from_millis(250);

/// A stream's name over the cluster: there is one for each of these at a time.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamKey {
    /// The workflow's target keyspace.
    pub keyspace: KeyspaceName,
    pub workflow: WorkflowName,
    /// Which side it reads, and which shard of it.
    pub from: Side,
    pub shard: ShardName,
}

/// What is known of one stream, kept by whoever runs it.
#[derive(Debug)]
pub struct Progress {
    inner: Mutex<Inner>,
    /// Rises when a person asks to try again.
    resumed: watch::Sender<u64>,
    /// Where the stream may keep what is too much for memory.
    pub folder: PathBuf,
}

#[derive(Debug)]
struct Inner {
    status: StreamStatus,
    meter: Meter,
}

impl Progress {
    pub fn new(status: StreamStatus, folder: PathBuf) -> Self {
        Self {
            inner: Mutex::new(Inner {
                status,
                meter: Meter::default(),
            }),
            resumed: watch::Sender::new(0),
            folder,
        }
    }

    /// The status, with rates as of now.
    pub fn status(&self) -> StreamStatus {
        let inner = self.lock();
        let mut status = inner.status.clone();
        (status.rows_per_second, status.bytes_per_second) = inner.meter.rates(Instant::now());
        status.seconds_left = -1;
        if status.copied {
            status.seconds_left = 0;
        } else if status.bytes_per_second > 1.0 {
            let left: u64 = (status.tables.iter())
                .map(|t| t.bytes_total.saturating_sub(t.bytes_copied))
                .sum();
            status.seconds_left = (left as f64 / status.bytes_per_second) as i64;
        }
        status
    }

    pub fn update(&self, change: impl FnOnce(&mut StreamStatus)) {
        change(&mut self.lock().status);
    }

    /// Counts rows that were written, for the rates.
    pub fn count(&self, rows: u64, bytes: u64) {
        self.lock().meter.count(Instant::now(), rows, bytes);
    }

    /// Measures the time until what it gives is dropped as one of copying.
    pub fn copying(&self) -> Copying<'_> {
        Copying {
            progress: self,
            since: Instant::now(),
        }
    }

    /// Tells when a person asks to try again.
    pub fn resumed(&self) -> watch::Receiver<u64> {
        self.resumed.subscribe()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A copy under way.
pub struct Copying<'a> {
    progress: &'a Progress,
    since: Instant,
}

impl Drop for Copying<'_> {
    fn drop(&mut self) {
        let took = self.since.elapsed().as_millis();
        let took = u64::try_from(took).unwrap_or(u64::MAX);
        self.progress
            .update(|status| status.measured_ms = status.measured_ms.saturating_add(took));
    }
}

/// How much was done lately.
#[derive(Debug, Default)]
struct Meter {
    done: VecDeque<(Instant, u64, u64)>,
}

impl Meter {
    fn count(&mut self, now: Instant, rows: u64, bytes: u64) {
        while (self.done.front()).is_some_and(|(at, ..)| now.duration_since(*at) > WINDOW) {
            self.done.pop_front();
        }
        match self.done.back_mut() {
            Some((at, r, b)) if now.duration_since(*at) < GRAIN => {
                *r += rows;
                *b += bytes;
            }
            _ => self.done.push_back((now, rows, bytes)),
        }
    }

    /// Rows and bytes a second.
    fn rates(&self, now: Instant) -> (f64, f64) {
        let recent = || (self.done.iter()).filter(|(at, ..)| now.duration_since(*at) <= WINDOW);
        let Some((first, ..)) = recent().next() else {
            return (0.0, 0.0);
        };
        let time = now.duration_since(*first).max(Duration::from_secs(1));
        let rows: u64 = recent().map(|(_, rows, _)| rows).sum();
        let bytes: u64 = recent().map(|(_, _, bytes)| bytes).sum();
        let seconds = time.as_secs_f64();
        (rows as f64 / seconds, bytes as f64 / seconds)
    }
}

/// The streams whose locks this agent holds.
#[derive(Debug, Default)]
pub struct Streams {
    running: Mutex<BTreeMap<StreamKey, Arc<Progress>>>,
}

impl Streams {
    pub fn insert(&self, key: StreamKey, progress: Arc<Progress>) {
        self.lock().insert(key, progress);
    }

    /// Forgets a stream that this agent runs no more; a stream that has begun anew since stays.
    pub fn remove(&self, key: &StreamKey, progress: &Arc<Progress>) {
        let mut running = self.lock();
        if running.get(key).is_some_and(|p| Arc::ptr_eq(p, progress)) {
            running.remove(key);
        }
    }

    pub fn statuses(&self) -> Vec<StreamStatus> {
        self.lock().values().map(|p| p.status()).collect()
    }

    /// Lets a workflow's streams that are in state error try again. Returns how many those are.
    pub fn resume(&self, keyspace: &str, workflow: &str) -> u32 {
        let mut resumed = 0;
        for (key, progress) in self.lock().iter() {
            let asked = key.keyspace.as_str() == keyspace && key.workflow.as_str() == workflow;
            let mut inner = progress.lock();
            if asked && inner.status.state == "error" {
                // At once: whoever asked and looks again must not see the old error.
                inner.status.state = "starting".to_owned();
                drop(inner);
                progress.resumed.send_modify(|n| *n += 1);
                resumed += 1;
            }
        }
        resumed
    }

    fn lock(&self) -> MutexGuard<'_, BTreeMap<StreamKey, Arc<Progress>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test(start_paused = true)]
    async fn rates_are_of_the_last_seconds() {
        let mut meter = Meter::default();
        for _ in 0..100 {
            meter.count(Instant::now(), 10, 1000);
            tokio::time::advance(Duration::from_millis(100)).await;
        }
        let (rows, bytes) = meter.rates(Instant::now());
        assert!((90.0..=110.0).contains(&rows), "{rows}");
        assert!((9000.0..=11000.0).contains(&bytes), "{bytes}");
        tokio::time::advance(WINDOW * 2).await;
        assert_eq!(meter.rates(Instant::now()), (0.0, 0.0));
    }
}
