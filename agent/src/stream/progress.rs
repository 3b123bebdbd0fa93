//! What the streams of this agent do, for others to see.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use vtplan_state::model::{KeyspaceName, ShardName, Side, WorkflowName};

use crate::proto::v1::StreamStatus;

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
    status: Mutex<StreamStatus>,
    /// Rises when a person asks to try again.
    resumed: watch::Sender<u64>,
}

impl Progress {
    pub fn new(status: StreamStatus) -> Self {
        Self {
            status: Mutex::new(status),
            resumed: watch::Sender::new(0),
        }
    }

    pub fn status(&self) -> StreamStatus {
        self.lock().clone()
    }

    pub fn update(&self, change: impl FnOnce(&mut StreamStatus)) {
        change(&mut self.lock());
    }

    /// Tells when a person asks to try again.
    pub fn resumed(&self) -> watch::Receiver<u64> {
        self.resumed.subscribe()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, StreamStatus> {
        self.status.lock().unwrap_or_else(PoisonError::into_inner)
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
            if asked && progress.status().state == "error" {
                progress.resumed.send_modify(|n| *n += 1);
                resumed += 1;
            }
        }
        resumed
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<StreamKey, Arc<Progress>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
