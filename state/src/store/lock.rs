//! A lock that ends with its holder: a leased key whose create revision is the fencing token.
//!
//! A process that is paused for longer than the lock lives cannot know that it has lost it. So
//! holding the lock is never enough to write: every transaction of a holder carries
//! [`LockGuard::compare`], and the store refuses it when the lock has been taken anew.

use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::clock;
use super::{Change, Compare, Entry, LeaseId, Op, Store, StoreError, Txn, TxnOutcome, WatchEvent};
use crate::model::{Revision, UnixMillis};

/// What stands in a held lock, for others to read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct LockRecord {
    /// The process: an agent's host name, `cli`, ...
    pub holder: String,
    /// The person or script for whom it works, `user@host`.
    pub who: String,
    /// What it is doing.
    pub what: String,
    /// When it was taken.
    pub since: UnixMillis,
}

impl LockRecord {
    /// A record whose `since` is now.
    pub fn new(holder: impl Into<String>, who: impl Into<String>, what: impl Into<String>) -> Self {
        Self {
            holder: holder.into(),
            who: who.into(),
            what: what.into(),
            since: clock::unix_millis(),
        }
    }
}

/// What came of trying to take a lock.
#[derive(Debug)]
pub enum TryLock {
    Acquired(LockGuard),
    /// Somebody else has it.
    Held(LockRecord),
}

/// Taking, showing and breaking locks. A lock is a key such as `Keys::apply_lock`.
#[derive(Debug)]
pub struct Lock;

impl Lock {
    /// Takes the lock if it is free. Without a sign of life from this process it is free again
    /// `ttl` later.
    pub async fn try_acquire(
        store: &Arc<dyn Store>,
        key: &str,
        ttl: Duration,
        record: &LockRecord,
    ) -> Result<TryLock, StoreError> {
        loop {
            if let Some(held) = Self::show(store, key).await? {
                return Ok(TryLock::Held(held));
            }
            let granted_at = clock::since_boot();
            let lease = store.grant(ttl).await?;
            let txn = Txn::new()
                .when(Compare::Absent(key.to_owned()))
                .then(Op::put_leased(key, record, Some(lease)));
            match store.txn(txn).await {
                Ok(TxnOutcome::Committed(token)) => {
                    let held = Held {
                        store: store.clone(),
                        key: key.to_owned(),
                        token,
                        lease,
                        ttl,
                    };
                    return Ok(TryLock::Acquired(LockGuard::start(held, granted_at)));
                }
                // Somebody was faster: the next round tells who, or finds the lock free again.
                Ok(TxnOutcome::Refused) => store.revoke(lease).await?,
                Err(error) => {
                    // It may have been done. Then the lock must not stay with nobody; if this
                    // fails too, the lease ends by itself.
                    let _ = store.revoke(lease).await;
                    return Err(error);
                }
            }
        }
    }

    /// Takes the lock as soon as it is free.
    pub async fn acquire(
        store: &Arc<dyn Store>,
        key: &str,
        ttl: Duration,
        record: &LockRecord,
    ) -> Result<LockGuard, StoreError> {
        loop {
            if let TryLock::Acquired(guard) = Self::try_acquire(store, key, ttl, record).await? {
                return Ok(guard);
            }
            let listing = store.list(key).await?;
            if listing.entries.iter().all(|entry| entry.key != key) {
                continue;
            }
            let mut events = store.watch(key, listing.revision + 1).await?;
            while let Some(event) = events.next().await {
                if frees(&event?, key) {
                    break;
                }
            }
        }
    }

    /// Who holds the lock.
    pub async fn show(store: &Arc<dyn Store>, key: &str) -> Result<Option<LockRecord>, StoreError> {
        let entry = store.get(key).await?;
        entry.map(|entry| entry.json()).transpose()
    }

    /// Breaks a lock, whoever holds it: the holder's writes are refused from now on. Returns what
    /// stood in it; `None` if it was free.
    pub async fn force_release(
        store: &Arc<dyn Store>,
        key: &str,
    ) -> Result<Option<LockRecord>, StoreError> {
        while let Some(entry) = store.get(key).await? {
            let txn = Txn::new()
                .when(Compare::CreateRevision(
                    key.to_owned(),
                    entry.create_revision,
                ))
                .then(Op::delete(key));
            if store.txn(txn).await?.committed().is_some() {
                return entry.json().map(Some);
            }
        }
        Ok(None)
    }
}

/// Whether after this event the lock is free.
fn frees(event: &WatchEvent, key: &str) -> bool {
    match event {
        WatchEvent::Changes { changes, .. } => changes
            .iter()
            .any(|change| matches!(change, Change::Delete { key: gone } if gone == key)),
        WatchEvent::Resync(listing) => listing.entries.iter().all(|entry| entry.key != key),
    }
}

/// What a holder knows of its lock.
#[derive(Clone)]
struct Held {
    store: Arc<dyn Store>,
    key: String,
    token: Revision,
    lease: LeaseId,
    ttl: Duration,
}

impl Held {
    fn is_mine(&self, entry: &Entry) -> bool {
        entry.key == self.key && entry.create_revision == self.token
    }

    /// Returns when the lock is no longer held or cannot be known to be held.
    async fn keep(&self, granted_at: Duration) {
        tokio::select! {
            () = self.keep_alive(granted_at) => {}
            () = self.until_gone() => {}
        }
    }

    /// Renews the lease; returns when it has ended or may have.
    async fn keep_alive(&self, granted_at: Duration) {
        let mut renewed_at = granted_at;
        loop {
            tokio::time::sleep(self.ttl / 3).await;
            let asked_at = clock::since_boot();
            let left = (renewed_at + self.ttl).saturating_sub(asked_at);
            match tokio::time::timeout(left, self.store.keep_alive(self.lease)).await {
                Ok(Ok(true)) => renewed_at = asked_at,
                Ok(Ok(false)) => return,
                Ok(Err(error)) => {
                    tracing::warn!(key = %self.key, %error, "the lock's lease was not renewed");
                }
                Err(_) => return,
            }
            if clock::since_boot() >= renewed_at + self.ttl {
                return;
            }
        }
    }

    /// Watches the key; returns when it is no longer this holder's.
    async fn until_gone(&self) {
        loop {
            match self.watch_until_gone().await {
                Ok(()) => return,
                Err(error) => {
                    tracing::warn!(key = %self.key, %error, "the lock cannot be watched");
                    tokio::time::sleep(self.ttl / 3).await;
                }
            }
        }
    }

    async fn watch_until_gone(&self) -> Result<(), StoreError> {
        let listing = self.store.list(&self.key).await?;
        if !listing.entries.iter().any(|entry| self.is_mine(entry)) {
            return Ok(());
        }
        let mut events = self.store.watch(&self.key, listing.revision + 1).await?;
        while let Some(event) = events.next().await {
            let event = event?;
            let replaced = match &event {
                WatchEvent::Changes { .. } => false,
                WatchEvent::Resync(listing) => {
                    !listing.entries.iter().any(|entry| self.is_mine(entry))
                }
            };
            if replaced || frees(&event, &self.key) {
                return Ok(());
            }
        }
        Ok(())
    }
}

/// A lock that is held, and kept alive in the background until it is released, dropped or lost.
pub struct LockGuard {
    held: Held,
    lost: watch::Receiver<bool>,
    keeper: JoinHandle<()>,
    released: bool,
}

impl LockGuard {
    fn start(held: Held, granted_at: Duration) -> Self {
        let (tell, lost) = watch::channel(false);
        let kept = held.clone();
        let keeper = tokio::spawn(async move {
            kept.keep(granted_at).await;
            tell.send_replace(true);
        });
        Self {
            held,
            lost,
            keeper,
            released: false,
        }
    }

    /// The fencing token: rises with each holder.
    pub fn token(&self) -> Revision {
        self.held.token
    }

    pub fn key(&self) -> &str {
        &self.held.key
    }

    /// Holds in the store exactly as long as this holder has the lock. Every transaction that the
    /// lock protects carries it.
    pub fn compare(&self) -> Compare {
        Compare::CreateRevision(self.held.key.clone(), self.held.token)
    }

    /// Whether the lock is known to be lost. `false` proves nothing: see [`LockGuard::compare`].
    pub fn is_lost(&self) -> bool {
        *self.lost.borrow()
    }

    /// Completes when the lock is lost: broken, taken over, or not renewed in time.
    pub async fn lost(&self) {
        let mut lost = self.lost.clone();
        // An error means that the keeper is gone, so nobody renews the lease.
        let _ = lost.wait_for(|lost| *lost).await;
    }

    /// A receiver that turns `true` when the lock is lost, for tasks that outlive a borrow.
    pub fn lost_signal(&self) -> watch::Receiver<bool> {
        self.lost.clone()
    }

    /// Gives the lock back. An error leaves it to end by itself within its time to live.
    pub async fn release(mut self) -> Result<(), StoreError> {
        self.keeper.abort();
        self.released = true;
        self.held.store.revoke(self.held.lease).await
    }
}

impl Drop for LockGuard {
    fn drop(&mut self) {
        self.keeper.abort();
        if self.released {
            return;
        }
        // Without a runtime there is nobody to give it back: it ends with its lease.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            let held = self.held.clone();
            runtime.spawn(async move { held.store.revoke(held.lease).await });
        }
    }
}

impl std::fmt::Debug for LockGuard {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("LockGuard")
            .field("key", &self.held.key)
            .field("token", &self.held.token)
            .field("lost", &self.is_lost())
            .finish_non_exhaustive()
    }
}
