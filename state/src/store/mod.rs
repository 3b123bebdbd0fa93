//! Where records live: one [`Store`] trait, SQLite and etcd behind it, one conformance suite.
//!
//! A store is a sorted map from keys to JSON values with one [`Revision`] for each committed
//! transaction. Everything that changes goes through [`Store::txn`].
//!
//! - [`open`]: a store from its URL.
//! - [`sqlite`], [`etcd`]: the two stores.
//! - [`lock`]: a leased lock with a fencing token.
//! - [`lease`]: keeps leased records registered for as long as a process lives.

mod clock;
pub mod etcd;
pub mod lease;
pub mod lock;
mod open;
pub mod sqlite;

use std::time::Duration;

use async_trait::async_trait;
use futures::stream::BoxStream;
use serde::de::DeserializeOwned;
use thiserror::Error;

use crate::model::Revision;

pub use clock::unix_millis;
pub use lease::LeaseKeeper;
pub use lock::{Lock, LockGuard, LockRecord};
pub use open::{OpenMode, check_url, open};

/// One key with its value.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    pub key: String,
    /// JSON, UTF-8.
    pub value: Vec<u8>,
    /// Revision of the transaction that created the key (after its last deletion).
    pub create_revision: Revision,
    /// Revision of the transaction that wrote it last.
    pub mod_revision: Revision,
}

impl Entry {
    /// The value as a record.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, StoreError> {
        serde_json::from_slice(&self.value).map_err(|source| StoreError::Record {
            key: self.key.clone(),
            source,
        })
    }
}

/// All keys under a prefix, read at one revision, in key order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Listing {
    pub entries: Vec<Entry>,
    /// The store's revision at which it was read: watch from the one after it.
    pub revision: Revision,
}

/// What must hold for a transaction to commit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Compare {
    /// The key exists and was written last at this revision.
    ModRevision(String, Revision),
    /// The key exists and was created at this revision. This is how a fencing token is compared.
    CreateRevision(String, Revision),
    Exists(String),
    Absent(String),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// `lease`: the key goes when the lease does.
    Put {
        key: String,
        value: Vec<u8>,
        lease: Option<LeaseId>,
    },
    Delete {
        key: String,
    },
    DeletePrefix {
        prefix: String,
    },
}

impl Op {
    /// Puts a record, without a lease.
    pub fn put<T: serde::Serialize>(key: impl Into<String>, record: &T) -> Op {
        Self::put_leased(key, record, None)
    }

    /// Puts a record that goes with a lease.
    pub fn put_leased<T: serde::Serialize>(
        key: impl Into<String>,
        record: &T,
        lease: Option<LeaseId>,
    ) -> Op {
        // Records are our own types: maps with string keys, no failing serializers.
        let value = serde_json::to_vec(record).expect("a record serializes");
        Op::Put {
            key: key.into(),
            value,
            lease,
        }
    }

    pub fn delete(key: impl Into<String>) -> Op {
        Op::Delete { key: key.into() }
    }
}

/// How many ops, and how many compares, a transaction may have, in both stores, so that what works
/// on one works on the other. etcd's own limit is 128 by default, of which we need a few.
pub const MAX_TXN_OPS: usize = 120;

/// Ops that are all done if all compares hold, else none. No two ops may be about one key: etcd
/// refuses that, so both stores do.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Txn {
    pub compares: Vec<Compare>,
    pub ops: Vec<Op>,
}

impl Txn {
    pub fn new() -> Self {
        Self::default()
    }
    #[must_use]
    pub fn when(mut self, compare: Compare) -> Self {
        self.compares.push(compare);
        self
    }
    #[must_use]
    pub fn then(mut self, op: Op) -> Self {
        self.ops.push(op);
        self
    }

    /// What is wrong with it in either store.
    fn check(&self, url: &str) -> Result<(), StoreError> {
        let failed = |why: String| StoreError::Failed {
            url: url.to_owned(),
            why,
        };
        for (what, count) in [("ops", self.ops.len()), ("compares", self.compares.len())] {
            if count > MAX_TXN_OPS {
                return Err(failed(format!(
                    "a transaction of {count} {what} is too large: {MAX_TXN_OPS} are allowed"
                )));
            }
        }
        let mut written: Vec<&str> = Vec::new();
        let mut cleared: Vec<&str> = Vec::new();
        for op in &self.ops {
            match op {
                Op::Put { key, .. } | Op::Delete { key } => {
                    if key.is_empty() {
                        return Err(failed("a key may not be empty".to_owned()));
                    }
                    written.push(key);
                }
                Op::DeletePrefix { prefix } if prefix.is_empty() => {
                    return Err(failed("a prefix to delete may not be empty".to_owned()));
                }
                Op::DeletePrefix { prefix } => cleared.push(prefix),
            }
        }
        written.sort_unstable();
        let doubled = written.windows(2).find(|pair| pair[0] == pair[1]);
        let doubled = doubled.map(|pair| pair[0]).or_else(|| {
            let covered = |key: &&&str| cleared.iter().any(|prefix| key.starts_with(prefix));
            written.iter().find(covered).copied()
        });
        if let Some(key) = doubled {
            return Err(failed(format!(
                "two ops of one transaction are about the key {key}"
            )));
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TxnOutcome {
    /// Done, at this revision. (If nothing was there to be changed: the store's revision.)
    Committed(Revision),
    /// A compare did not hold: nothing was done.
    Refused,
}

impl TxnOutcome {
    pub fn committed(self) -> Option<Revision> {
        match self {
            Self::Committed(revision) => Some(revision),
            Self::Refused => None,
        }
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct LeaseId(pub i64);

/// What a watch tells.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent {
    /// A key was written or deleted. Events of one transaction come together in one vector.
    Changes {
        revision: Revision,
        changes: Vec<Change>,
    },
    /// The events from where the watch stood are no longer kept (compacted): here is everything
    /// under the prefix anew. What is not in it does not exist any more.
    Resync(Listing),
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Put(Entry),
    Delete { key: String },
}

pub type WatchStream = BoxStream<'static, Result<WatchEvent, StoreError>>;

/// A store of records. Cheap to clone behind an `Arc`; every method may be called concurrently.
#[async_trait]
pub trait Store: Send + Sync + 'static {
    /// The store's URL as it was opened, without secrets.
    fn url(&self) -> &str;

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError>;

    /// Everything whose key starts with `prefix`, at one revision.
    async fn list(&self, prefix: &str) -> Result<Listing, StoreError>;

    /// Everything whose key starts with one of `prefixes`, at one revision, in key order. No
    /// prefix may be the start of another.
    async fn list_many(&self, prefixes: &[&str]) -> Result<Listing, StoreError>;

    /// Commits `txn` as one revision, or does nothing. An error of the kind
    /// [`StoreError::Unreachable`] can mean that it was done all the same and only the answer was
    /// lost.
    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError>;

    /// Every change under `prefix` with a revision of at least `from`, in order, none left out
    /// and none twice, over reconnects too. Ends only with an error that retrying will not mend.
    /// `from` is at most one more than the store's revision; 0 is the beginning.
    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, StoreError>;

    /// Lets this store take the place of one that is lost and had come to `revision`: whatever
    /// processes that knew the other one still hold (lease ids, locks' tokens) is not given out
    /// again by this one. etcd cannot skip revisions, and needs not for leases, whose ids are
    /// random: what must rise over stores is counted from
    /// [`crate::model::ClusterRecord::generation`].
    async fn continue_after(&self, revision: Revision) -> Result<(), StoreError>;

    /// A lease that ends `ttl` after it was last kept alive.
    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError>;

    /// `Ok(false)`: the lease has ended, and its keys with it.
    async fn keep_alive(&self, lease: LeaseId) -> Result<bool, StoreError>;

    /// Ends a lease now and deletes its keys.
    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError>;
}

/// Why the store could not do it. Messages say which store and what to do.
#[derive(Debug, Error)]
pub enum StoreError {
    #[error("cannot reach the state store {url}: {why}")]
    Unreachable { url: String, why: String },
    /// Nobody can write to it any more, so nothing that stood in it can have changed.
    #[error(
        "the file of the state store {url} was deleted while it was open, and none with a cluster has taken its place: put the records back with `vtplan import cluster` or `vtplan state import`; processes that run go on with the new file by themselves"
    )]
    Gone { url: String },
    #[error("the state store {url} is read-only: {why}")]
    ReadOnly { url: String, why: String },
    #[error(
        "the state store {url} was written by a newer vtplan (format {found}, this one knows {known}): use that version or newer"
    )]
    NewerFormat { url: String, found: u32, known: u32 },
    #[error("`{url}` is not a state store URL: {why}; use sqlite:PATH or etcd://HOST:PORT,...")]
    BadUrl { url: String, why: String },
    #[error("there is no state store at {url} yet: `vtplan up` and `vtplan apply` make one")]
    NotThere { url: String },
    #[error(
        "the records of cluster `{name}` in the state store {url} are not whole: putting them back from a copy is under way or was cut off; run that command again to finish it"
    )]
    Restoring { url: String, name: String },
    #[error("a lease has ended, so nothing can be registered under it, in the state store {url}")]
    LeaseEnded { url: String },
    #[error("`{name}` cannot be a cluster's name: {why}")]
    BadClusterName { name: String, why: &'static str },
    #[error("the record at {key} cannot be read: {source}")]
    Record {
        key: String,
        #[source]
        source: serde_json::Error,
    },
    #[error("the state store {url} failed: {why}")]
    Failed { url: String, why: String },
}
