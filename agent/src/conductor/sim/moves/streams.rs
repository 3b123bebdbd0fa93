//! Simulated streams: agents that take turns at them, fall asleep in the middle, and wake up late.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use vtplan_state::model::{HostName, ShardName, Side, WorkflowRecord};

use super::data::{Data, Place, StreamKey};
use crate::conductor::sim::faults::Chance;
use crate::conductor::workflow::streams::{Measured, StreamSeen, StreamState};

const LOCK: Duration = Duration::from_secs(3);

/// Of which stream: workflow, the side and the shard that it reads.
type LockKey = (String, Side, ShardName);
/// By whom, with which token, until when.
type Held = (HostName, u64, Instant);

/// The locks of streams, with their tokens.
#[derive(Default)]
pub struct StreamLocks {
    held: Mutex<BTreeMap<LockKey, Held>>,
    last: AtomicU64,
}

impl StreamLocks {
    /// Takes or renews a lock; gives its token.
    fn take(&self, key: LockKey, by: &HostName) -> Option<u64> {
        let mut held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        let until = Instant::now() + LOCK;
        match held.get_mut(&key) {
            Some((holder, token, ends)) if holder == by && *ends > Instant::now() => {
                *ends = until;
                Some(*token)
            }
            Some((_, _, ends)) if *ends > Instant::now() => None,
            _ => {
                let next = self.last.fetch_add(1, Ordering::Relaxed) + 1;
                held.insert(key, (by.clone(), next, until));
                Some(next)
            }
        }
    }

    fn holds(&self, key: &LockKey, by: &HostName) -> bool {
        let held = self.held.lock().unwrap_or_else(PoisonError::into_inner);
        held.get(key)
            .is_some_and(|(holder, _, ends)| holder == by && *ends > Instant::now())
    }
}

/// One host's part in the streams.
pub struct Runner {
    pub host: HostName,
    pub data: Arc<Data>,
    pub locks: Arc<StreamLocks>,
    pub chance: Arc<Chance>,
}

fn places(workflow: &WorkflowRecord, side: Side) -> Vec<Place> {
    let of = workflow.side(side);
    let place = |shard: &ShardName| (of.keyspace.clone(), shard.clone());
    of.shards.iter().map(place).collect()
}

impl Runner {
    pub async fn live(self) {
        loop {
            sleep(self.chance.millis(10, 110)).await;
            let Ok(records) = self.data.store.records() else {
                continue;
            };
            for workflow in records.all_workflows() {
                let wanted = &workflow.streams;
                if !wanted.running || workflow.paused || workflow.ending.is_some() {
                    continue;
                }
                for from in places(workflow, wanted.from) {
                    self.stream(workflow, &from).await;
                }
            }
        }
    }

    async fn nap(&self) {
        if self.chance.trouble_now() > 0 && self.chance.happens(15) {
            sleep(self.chance.millis(50, 9_000)).await;
        }
    }

    /// A few transactions of one stream, as its record was when the lock was taken.
    async fn stream(&self, workflow: &WorkflowRecord, from: &Place) {
        let name = workflow.full_name();
        let side = workflow.streams.from;
        let key = (name.clone(), side, from.1.clone());
        let Some(token) = self.locks.take(key, &self.host) else {
            return;
        };
        let Ok(records) = self.data.store.records() else {
            return;
        };
        // What is wanted is looked at again with the lock in hand.
        let now = records.workflow(&workflow.target.keyspace, &workflow.name);
        let Some(now) = now.filter(|now| now.streams == workflow.streams && !now.paused) else {
            return;
        };
        let stream: StreamKey = (name, from.1.clone(), now.streams.epoch);
        let start: Option<usize> = now.streams.start.get(&from.1).and_then(|p| p.parse().ok());
        let targets = places(now, side.other());
        for target in &targets {
            self.nap().await;
            if !self.data.claim(target, &stream, token, start) {
                return;
            }
        }
        for _ in 0..3 {
            for target in &targets {
                self.nap().await;
                let at = {
                    let inner = self.data.lock();
                    let row = inner.servers.get(target).and_then(|s| s.vt.get(&stream));
                    row.map(|row| row.copied.then_some(row.pos))
                };
                let Some(after) = at else { return };
                let most = usize::try_from(self.chance.number(1, 8)).unwrap_or(1);
                let Some((changes, to)) = self.data.read(from, &now.tables, after, most) else {
                    return;
                };
                if after == Some(to) {
                    continue;
                }
                sleep(self.chance.millis(0, 4)).await;
                self.nap().await;
                if !self.data.apply(target, &stream, token, &changes, to) {
                    return;
                }
            }
        }
    }
}

/// What an agent tells of the streams that it runs.
pub fn observe(
    data: &Data,
    locks: &StreamLocks,
    host: &HostName,
    workflow: &WorkflowRecord,
) -> Vec<StreamSeen> {
    let side = workflow.streams.from;
    let inner = data.lock();
    let mut seen = Vec::new();
    for from in places(workflow, side) {
        let key = (workflow.full_name(), side, from.1.clone());
        if !locks.holds(&key, host) {
            continue;
        }
        let stream: StreamKey = (workflow.full_name(), from.1.clone(), workflow.streams.epoch);
        let rows: Vec<_> = (places(workflow, side.other()).iter())
            .map(|target| inner.servers.get(target)?.vt.get(&stream))
            .collect();
        let copied = rows.iter().all(|row| row.is_some_and(|row| row.copied));
        seen.push(StreamSeen {
            epoch: workflow.streams.epoch,
            from_side: side,
            from_shard: from.1,
            state: match copied {
                true => StreamState::Following,
                false => StreamState::Copying,
            },
            message: String::new(),
            lag: copied.then_some(Duration::from_millis(10)),
            copied,
            work: Default::default(),
            measured: copied.then_some(Measured {
                rows: 1_000,
                bytes: 1 << 20,
                milliseconds: 100,
            }),
            seconds_left: None,
            throttled: String::new(),
        });
    }
    seen
}
