//! A store in memory with the semantics of the real ones, through which each process sees it with
//! faults of its own. It checks what may never be written.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use tokio::sync::mpsc;
use tokio::time::Instant;
use tokio_stream::wrappers::UnboundedReceiverStream;
use vtplan_state::cluster::decode;
use vtplan_state::model::keys::Keys;
use vtplan_state::model::{Records, Revision, ShardRecord};
use vtplan_state::store::{
    Change, Compare, Entry, LeaseId, Listing, Op, Store, StoreError, Txn, TxnOutcome, WatchEvent,
    WatchStream,
};

use super::faults::{Chance, Process};

/// What all processes share.
pub struct MemStore {
    inner: Mutex<Inner>,
    keys: Keys,
}

struct Inner {
    revision: Revision,
    entries: BTreeMap<String, Entry>,
    leased: BTreeMap<String, LeaseId>,
    leases: BTreeMap<LeaseId, Lease>,
    next_lease: i64,
    log: Vec<(Revision, Vec<Change>)>,
    watchers: Vec<Watcher>,
    /// Records that the steps of the approved plan may write.
    allowed: BTreeSet<String>,
    violations: Vec<String>,
    /// All records as they were read last.
    records: Option<Arc<Records>>,
    /// At which a record of those changed last.
    changed: Revision,
    /// At which something that gates route by changed last.
    serving: Revision,
}

/// What [`MemStore::records`] leaves out: what changes all the time.
const NOT_RECORDS: [&str; 4] = ["plans/", "history/", "locks/", "gates/"];

struct Lease {
    ttl: Duration,
    ends: Instant,
}

struct Watcher {
    prefix: String,
    tell: mpsc::UnboundedSender<Result<WatchEvent, StoreError>>,
}

impl MemStore {
    pub fn new(keys: Keys) -> Arc<Self> {
        Arc::new(Self {
            keys,
            inner: Mutex::new(Inner {
                revision: 1,
                entries: BTreeMap::new(),
                leased: BTreeMap::new(),
                leases: BTreeMap::new(),
                next_lease: 1,
                log: Vec::new(),
                watchers: Vec::new(),
                allowed: BTreeSet::new(),
                violations: Vec::new(),
                records: None,
                changed: 1,
                serving: 1,
            }),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        let mut inner = self.inner.lock().unwrap_or_else(PoisonError::into_inner);
        inner.expire();
        inner
    }

    /// Ends the leases whose time has come.
    pub fn tick(&self) {
        drop(self.lock());
    }

    /// The records that conductors may write from now on.
    pub fn allow(&self, keys: BTreeSet<String>) {
        self.lock().allowed = keys;
    }

    pub fn violations(&self) -> Vec<String> {
        self.lock().violations.clone()
    }

    pub fn violate(&self, what: String) {
        self.lock().violations.push(what);
    }

    /// All records as they are now, but for gates; read once for each change.
    pub fn records(&self) -> Result<Arc<Records>, StoreError> {
        let mut inner = self.lock();
        if let Some(records) = &inner.records
            && records.revision >= inner.changed
        {
            return Ok(records.clone());
        }
        let prefix = self.keys.prefix();
        let listing = Listing {
            entries: inner
                .entries
                .values()
                .filter(|entry| {
                    let rest = entry.key.strip_prefix(prefix).unwrap_or_default();
                    !NOT_RECORDS.iter().any(|other| rest.starts_with(other))
                })
                .cloned()
                .collect(),
            revision: inner.revision,
        };
        let records = Arc::new(decode(&self.keys, &listing, "mem:")?);
        inner.records = Some(records.clone());
        Ok(records)
    }

    /// The revision of what gates route by.
    pub fn serving_revision(&self) -> Revision {
        self.lock().serving
    }

    /// What a conductor's transaction must have, and what it may write when it commits.
    fn check_conductor(&self, inner: &mut Inner, txn: &Txn, commits: bool) {
        let lock = self.keys.apply_lock();
        let plan_records = [self.keys.plans(), self.keys.history(), self.keys.spec()];
        for op in &txn.ops {
            let key = match op {
                Op::Put { key, .. } | Op::Delete { key } => key,
                Op::DeletePrefix { prefix } => prefix,
            };
            if *key == lock {
                continue;
            }
            let fenced = txn
                .compares
                .iter()
                .any(|c| matches!(c, Compare::CreateRevision(of, _) if *of == lock));
            if !fenced {
                let what = format!("a write of {key} does not compare the lock's token");
                inner.violations.push(what);
            }
            if !commits {
                continue;
            }
            let planned = plan_records.iter().any(|p| key.starts_with(p));
            if !planned
                && !inner
                    .allowed
                    .iter()
                    .any(|p| key == p || (p.ends_with('/') && key.starts_with(p)))
            {
                let what = format!("a write of {key}, which no approved step is about");
                inner.violations.push(what);
            }
        }
    }
}

impl Inner {
    fn expire(&mut self) {
        let now = Instant::now();
        let ended: Vec<LeaseId> = self
            .leases
            .iter()
            .filter(|(_, lease)| lease.ends <= now)
            .map(|(id, _)| *id)
            .collect();
        for lease in ended {
            self.end(lease);
        }
    }

    fn end(&mut self, lease: LeaseId) {
        if self.leases.remove(&lease).is_none() {
            return;
        }
        let keys: Vec<String> = self
            .leased
            .iter()
            .filter(|(_, of)| **of == lease)
            .map(|(key, _)| key.clone())
            .collect();
        let ops = keys.into_iter().map(Op::delete).collect();
        self.commit(ops);
    }

    fn holds(&self, compare: &Compare) -> bool {
        match compare {
            Compare::ModRevision(key, at) => {
                self.entries.get(key).is_some_and(|e| e.mod_revision == *at)
            }
            Compare::CreateRevision(key, at) => self
                .entries
                .get(key)
                .is_some_and(|e| e.create_revision == *at),
            Compare::Exists(key) => self.entries.contains_key(key),
            Compare::Absent(key) => !self.entries.contains_key(key),
        }
    }

    fn commit(&mut self, ops: Vec<Op>) -> Revision {
        let revision = self.revision + 1;
        let mut changes = Vec::new();
        for op in ops {
            match op {
                Op::Put { key, value, lease } => {
                    let old = self.entries.get(&key);
                    let create_revision = old.map_or(revision, |old| old.create_revision);
                    let entry = Entry {
                        key: key.clone(),
                        value,
                        create_revision,
                        mod_revision: revision,
                    };
                    self.check_shard(&key, &entry);
                    self.entries.insert(key.clone(), entry.clone());
                    match lease {
                        Some(lease) => self.leased.insert(key, lease),
                        None => self.leased.remove(&key),
                    };
                    changes.push(Change::Put(entry));
                }
                Op::Delete { key } => {
                    self.leased.remove(&key);
                    if self.entries.remove(&key).is_some() {
                        changes.push(Change::Delete { key });
                    }
                }
                Op::DeletePrefix { prefix } => {
                    let keys = self.entries.keys().filter(|k| k.starts_with(&prefix));
                    for key in keys.cloned().collect::<Vec<_>>() {
                        self.leased.remove(&key);
                        self.entries.remove(&key);
                        changes.push(Change::Delete { key });
                    }
                }
            }
        }
        if changes.is_empty() {
            return self.revision;
        }
        self.revision = revision;
        for change in &changes {
            let (Change::Put(Entry { key, .. }) | Change::Delete { key }) = change;
            let is = |prefix: &str| key.contains(&format!("/sim/{prefix}"));
            if !NOT_RECORDS.iter().any(|other| is(other)) {
                self.changed = revision;
            }
            if ["keyspaces/", "tablets/", "holds/", "routing"]
                .iter()
                .any(|of| is(of))
            {
                self.serving = revision;
            }
        }
        self.log.push((revision, changes.clone()));
        self.watchers.retain(|watcher| {
            let changes = matching(&changes, &watcher.prefix);
            changes.is_empty()
                || watcher
                    .tell
                    .send(Ok(WatchEvent::Changes { revision, changes }))
                    .is_ok()
        });
        revision
    }

    /// A shard's term rises by one with each change of its primary, and only then.
    fn check_shard(&mut self, key: &str, new: &Entry) {
        let (Some(old), Ok(new)) = (self.entries.get(key), new.json::<ShardRecord>()) else {
            return;
        };
        let Ok(old) = old.json::<ShardRecord>() else {
            return;
        };
        let rise = u64::from(old.primary != new.primary);
        if new.term != old.term + rise {
            self.violations.push(format!(
                "{key}: term {} with primary {:?} is followed by term {} with {:?}",
                old.term, old.primary, new.term, new.primary
            ));
        }
    }
}

fn matching(changes: &[Change], prefix: &str) -> Vec<Change> {
    let of = |change: &&Change| match change {
        Change::Put(entry) => entry.key.starts_with(prefix),
        Change::Delete { key } => key.starts_with(prefix),
    };
    changes.iter().filter(of).cloned().collect()
}

/// The store as one process reaches it.
pub struct Handle {
    store: Arc<MemStore>,
    /// `None`: the simulation itself, which meets no faults.
    process: Option<(Arc<Process>, Arc<Chance>)>,
}

impl Handle {
    pub fn of_conductor(
        store: &Arc<MemStore>,
        process: &Arc<Process>,
        chance: &Arc<Chance>,
    ) -> Arc<dyn Store> {
        Arc::new(Self {
            store: store.clone(),
            process: Some((process.clone(), chance.clone())),
        })
    }

    pub fn of_simulation(store: &Arc<MemStore>) -> Arc<dyn Store> {
        Arc::new(Self {
            store: store.clone(),
            process: None,
        })
    }

    async fn call<T>(&self, work: impl FnOnce(&mut Inner) -> T) -> Result<T, StoreError> {
        let Some((process, chance)) = &self.process else {
            return Ok(work(&mut self.store.lock()));
        };
        let failure = || StoreError::Unreachable {
            url: "mem:".to_owned(),
            why: "simulated".to_owned(),
        };
        process
            .call(chance, failure, || Ok(work(&mut self.store.lock())))
            .await
    }
}

#[async_trait]
impl Store for Handle {
    fn url(&self) -> &str {
        "mem:"
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        self.call(|inner| inner.entries.get(key).cloned()).await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.list_many(&[prefix]).await
    }

    async fn list_many(&self, prefixes: &[&str]) -> Result<Listing, StoreError> {
        self.call(|inner| Listing {
            entries: inner
                .entries
                .values()
                .filter(|entry| prefixes.iter().any(|p| entry.key.starts_with(p)))
                .cloned()
                .collect(),
            revision: inner.revision,
        })
        .await
    }

    async fn continue_after(&self, _: Revision) -> Result<(), StoreError> {
        Ok(())
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        if let Some((process, chance)) = &self.process
            && chance.is_late()
        {
            // On its way, and it gets there when nobody expects it any more.
            process.breathe().await;
            let (store, late) = (self.store.clone(), chance.millis(1, 8_000));
            tokio::spawn(async move {
                tokio::time::sleep(late).await;
                let mut inner = store.lock();
                let commits = txn.compares.iter().all(|compare| inner.holds(compare));
                store.check_conductor(&mut inner, &txn, commits);
                let leased = |op: &Op| matches!(op, Op::Put { lease: Some(_), .. });
                if commits && !txn.ops.iter().any(leased) {
                    inner.commit(txn.ops);
                }
            });
            return Err(StoreError::Unreachable {
                url: "mem:".to_owned(),
                why: "simulated".to_owned(),
            });
        }
        let conductor = self.process.is_some();
        self.call(|inner| {
            let commits = txn.compares.iter().all(|compare| inner.holds(compare));
            if conductor {
                self.store.check_conductor(inner, &txn, commits);
            }
            if !commits {
                return Ok(TxnOutcome::Refused);
            }
            let ended = |op: &Op| matches!(op, Op::Put { lease: Some(lease), .. } if !inner.leases.contains_key(lease));
            if txn.ops.iter().any(ended) {
                return Err(StoreError::LeaseEnded {
                    url: "mem:".to_owned(),
                });
            }
            Ok(TxnOutcome::Committed(inner.commit(txn.ops)))
        })
        .await?
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, StoreError> {
        self.call(|inner| {
            let (tell, events) = mpsc::unbounded_channel();
            for (revision, changes) in inner.log.iter().filter(|(at, _)| *at >= from) {
                let (revision, changes) = (*revision, matching(changes, prefix));
                if !changes.is_empty() {
                    // The receiver is right here.
                    let _ = tell.send(Ok(WatchEvent::Changes { revision, changes }));
                }
            }
            let prefix = prefix.to_owned();
            inner.watchers.push(Watcher { prefix, tell });
            UnboundedReceiverStream::new(events).boxed()
        })
        .await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        self.call(|inner| {
            let id = LeaseId(inner.next_lease);
            inner.next_lease += 1;
            let ends = Instant::now() + ttl;
            inner.leases.insert(id, Lease { ttl, ends });
            id
        })
        .await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<bool, StoreError> {
        self.call(|inner| match inner.leases.get_mut(&lease) {
            Some(lease) => {
                lease.ends = Instant::now() + lease.ttl;
                true
            }
            None => false,
        })
        .await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        self.call(|inner| inner.end(lease)).await
    }
}
