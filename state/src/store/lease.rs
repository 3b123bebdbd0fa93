//! Leased records that stay registered as long as their process lives: an agent's host, a gate.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use serde::Serialize;
use tokio::sync::{Mutex, watch};
use tokio::task::JoinHandle;

use super::clock;
use super::{Compare, LeaseId, MAX_TXN_OPS, Op, Store, StoreError, Txn};

/// Keeps a lease alive, and the records under it: when the lease was lost (the process was paused,
/// the store was away for too long) it takes a new one and writes the records again.
pub struct LeaseKeeper {
    shared: Arc<Shared>,
    task: JoinHandle<()>,
    stopped: bool,
}

struct Shared {
    store: Arc<dyn Store>,
    ttl: Duration,
    state: Mutex<State>,
    /// Until when ([`clock::since_boot`]) the lease lives for sure.
    valid_until: watch::Sender<Duration>,
}

struct State {
    lease: Option<LeaseId>,
    /// What should stand in the store under the lease.
    records: BTreeMap<String, Vec<u8>>,
}

impl LeaseKeeper {
    /// Takes a lease that ends `ttl` after this process gave its last sign of life.
    pub async fn start(store: Arc<dyn Store>, ttl: Duration) -> Result<Self, StoreError> {
        let asked_at = clock::since_boot();
        let lease = store.grant(ttl).await?;
        let shared = Arc::new(Shared {
            store,
            ttl,
            state: Mutex::new(State {
                lease: Some(lease),
                records: BTreeMap::new(),
            }),
            valid_until: watch::Sender::new(asked_at + ttl),
        });
        let kept = shared.clone();
        let task = tokio::spawn(async move { kept.keep().await });
        Ok(Self {
            shared,
            task,
            stopped: false,
        })
    }

    /// Writes a record under the lease, over whatever stands there, and keeps it there.
    pub async fn put<T: Serialize>(&self, key: &str, record: &T) -> Result<(), StoreError> {
        self.write(key, record, None).await.map(|_| ())
    }

    /// Writes a record under the lease only if the key is free: `false` if it is not. For names
    /// that two processes must not share.
    pub async fn claim<T: Serialize>(&self, key: &str, record: &T) -> Result<bool, StoreError> {
        let free = Compare::Absent(key.to_owned());
        self.write(key, record, Some(free)).await
    }

    /// Writes a record under the lease only if `compare` holds: `false` if it does not. For taking
    /// over what an earlier process left behind, by its revision.
    pub async fn put_when<T: Serialize>(
        &self,
        key: &str,
        record: &T,
        compare: Compare,
    ) -> Result<bool, StoreError> {
        self.write(key, record, Some(compare)).await
    }

    async fn write<T: Serialize>(
        &self,
        key: &str,
        record: &T,
        when: Option<Compare>,
    ) -> Result<bool, StoreError> {
        // Records are our own types: maps with string keys, no failing serializers.
        let value = serde_json::to_vec(record).expect("a record serializes");
        let mut state = self.shared.state.lock().await;
        for first in [true, false] {
            let lease = match state.lease {
                Some(lease) => lease,
                None => self.shared.renew(&mut state).await?,
            };
            let mut txn = Txn::new().then(Op::Put {
                key: key.to_owned(),
                value: value.clone(),
                lease: Some(lease),
            });
            txn.compares.extend(when.clone());
            match self.shared.store.txn(txn).await {
                Err(StoreError::LeaseEnded { .. }) if first => state.lease = None,
                Err(error) => return Err(error),
                Ok(outcome) => {
                    let done = outcome.committed().is_some();
                    if done {
                        state.records.insert(key.to_owned(), value);
                    }
                    return Ok(done);
                }
            }
        }
        Err(StoreError::LeaseEnded {
            url: self.shared.store.url().to_owned(),
        })
    }

    /// Deletes a record of this keeper.
    pub async fn remove(&self, key: &str) -> Result<(), StoreError> {
        let mut state = self.shared.state.lock().await;
        state.records.remove(key);
        let txn = Txn::new().then(Op::delete(key));
        self.shared.store.txn(txn).await.map(|_| ())
    }

    /// Whether the lease lives for sure: the records are seen by others. A gate that gets `false`
    /// stops taking writes. Right at any moment, also just after the process was paused.
    pub fn is_valid(&self) -> bool {
        clock::since_boot() < *self.shared.valid_until.borrow()
    }

    /// Time for which the lease lives for sure if nothing more is heard from the store.
    pub fn valid_for(&self) -> Duration {
        let until = *self.shared.valid_until.borrow();
        until.saturating_sub(clock::since_boot())
    }

    /// Ends the lease, which deletes the records.
    pub async fn stop(mut self) -> Result<(), StoreError> {
        self.task.abort();
        self.stopped = true;
        let mut state = self.shared.state.lock().await;
        self.shared.valid_until.send_replace(Duration::ZERO);
        match state.lease.take() {
            Some(lease) => self.shared.store.revoke(lease).await,
            None => Ok(()),
        }
    }
}

impl Drop for LeaseKeeper {
    fn drop(&mut self) {
        self.task.abort();
        if self.stopped {
            return;
        }
        // Without a runtime there is nobody to end it: it ends by itself.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let shared = self.shared.clone();
            runtime.spawn(async move {
                if let Some(lease) = shared.state.lock().await.lease.take() {
                    let _ = shared.store.revoke(lease).await;
                }
            });
        }
    }
}

impl std::fmt::Debug for LeaseKeeper {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LeaseKeeper")
            .field("ttl", &self.shared.ttl)
            .field("valid_for", &self.valid_for())
            .finish_non_exhaustive()
    }
}

impl Shared {
    async fn keep(&self) {
        let mut pause = self.ttl / 3;
        loop {
            tokio::time::sleep(pause).await;
            pause = match self.beat().await {
                Ok(()) => self.ttl / 3,
                Err(error) => {
                    tracing::warn!(url = self.store.url(), %error, "a lease was not renewed");
                    if let StoreError::Gone { .. } = error {
                        // There is no store in which anybody could see that it has ended, and act.
                        let until = clock::since_boot() + self.ttl;
                        self.valid_until.send_replace(until);
                    }
                    // Sooner than in turn: there may be little left of the lease.
                    (self.ttl / 10).max(Duration::from_millis(100))
                }
            };
        }
    }

    async fn beat(&self) -> Result<(), StoreError> {
        // Renewed without holding the state, so that a store that hangs does not hang `put` twice.
        let lease = self.state.lock().await.lease;
        if let Some(lease) = lease {
            let asked_at = clock::since_boot();
            if self.store.keep_alive(lease).await? {
                // Only who is seen by others goes on.
                self.mend(lease).await?;
                self.valid_until.send_replace(asked_at + self.ttl);
                return Ok(());
            }
            tracing::warn!(
                url = self.store.url(),
                "a lease had ended and is taken anew"
            );
        }
        let mut state = self.state.lock().await;
        if state.lease == lease {
            state.lease = None;
            self.renew(&mut state).await?;
        }
        Ok(())
    }

    /// Writes records that somebody deleted although their lease lives: whoever empties a store does
    /// not mean that its processes have ended.
    async fn mend(&self, lease: LeaseId) -> Result<(), StoreError> {
        // Held, so that nothing is written that is being removed.
        let state = self.state.lock().await;
        if state.lease != Some(lease) {
            return Ok(());
        }
        for (key, value) in &state.records {
            if self.store.get(key).await?.is_some() {
                continue;
            }
            tracing::warn!(url = self.store.url(), %key, "a record was deleted and is written anew");
            let txn = Txn::new().when(Compare::Absent(key.clone())).then(Op::Put {
                key: key.clone(),
                value: value.clone(),
                lease: Some(lease),
            });
            self.store.txn(txn).await?;
        }
        Ok(())
    }

    /// Takes a new lease and writes all records under it.
    async fn renew(&self, state: &mut State) -> Result<LeaseId, StoreError> {
        let asked_at = clock::since_boot();
        let lease = self.store.grant(self.ttl).await?;
        // Known before anything is written under it: who stops in the middle of this ends it.
        state.lease = Some(lease);
        let records: Vec<_> = state.records.iter().collect();
        for some in records.chunks(MAX_TXN_OPS) {
            let ops = some.iter().map(|&(key, value)| Op::Put {
                key: key.clone(),
                value: value.clone(),
                lease: Some(lease),
            });
            let txn = Txn {
                compares: Vec::new(),
                ops: ops.collect(),
            };
            if let Err(error) = self.store.txn(txn).await {
                state.lease = None;
                return Err(error);
            }
        }
        self.valid_until.send_replace(asked_at + self.ttl);
        Ok(lease)
    }
}
