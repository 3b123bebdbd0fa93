//! Putting a document's records into a store.
//!
//! Stores limit transactions, so this takes several. The first takes the cluster's own record away
//! and leaves `restoring` in its place; the last does the reverse. In between the cluster is not
//! there for anybody: agents and gates keep to what they knew (see [`crate::cluster::RecordsWatch`]),
//! commands refuse, nobody makes it anew, and locks are gone, so that nothing of a plan is written. Cut
//! off anywhere it is begun again and finished by the same call.
//!
//! The generation of the cluster rises: agents then know that a tablet which the records lack may be
//! newer than the copy, and keep its data; and tokens of locks, which are counted from it, go on rising.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use thiserror::Error;

use super::{Export, is_of_a_process};
use crate::cluster::Cluster;
use crate::model::{ActivePlan, ClusterRecord, HistoryRecord, PlanControl, Revision, UnixMillis};
use crate::store::{Compare, Listing, Op, Store, StoreError, Txn, unix_millis};

/// The largest part of one transaction: etcd takes 1.5 MiB and 128 ops by default.
const PART_BYTES: usize = 512 << 10;
const PART_OPS: usize = 100;

/// What may be in the store beforehand.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Nothing of the cluster, but what its processes write of themselves.
    IntoEmpty,
    /// Records of the cluster, which go.
    Replace,
}

/// Why nothing was put back, or not all.
#[derive(Debug, Error)]
pub enum RestoreError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the state store {url} holds {records} records of cluster `{cluster}`")]
    NotEmpty {
        url: String,
        cluster: String,
        records: usize,
    },
    #[error(
        "putting other records back into cluster `{cluster}` was begun by {by} and is not finished"
    )]
    OtherUnfinished { cluster: String, by: String },
    #[error("somebody else began to put records back, or made the cluster, at the same time")]
    Overtaken,
}

/// What was done.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Restored {
    pub records: usize,
    /// The store's revision from which on they are all there.
    pub revision: Revision,
    pub generation: u64,
    /// A plan that was under way in the copy. It was asked to stop: what it would do was approved for
    /// a cluster as it was then.
    pub stopped_plan: Option<String>,
    /// The store held another cluster of the same name: agents that joined that one follow no more.
    pub replaced_another: bool,
}

/// Key `restoring`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Restoring {
    digest: String,
    by: String,
    since: UnixMillis,
    generation: u64,
}

/// Puts the records of `export` into `store`, in place of those that are there.
///
/// # Errors
/// See [`RestoreError`]; nothing was changed unless it is one of the store.
pub async fn restore(
    store: &std::sync::Arc<dyn Store>,
    export: &Export,
    mode: Mode,
    by: &str,
) -> Result<Restored, RestoreError> {
    let cluster = Cluster::new(store.clone(), export.cluster())?;
    let work = Work::begin(&cluster, export, mode, by).await?;
    work.clear().await?;
    work.fill().await?;
    work.end(by).await
}

struct Work<'a> {
    cluster: &'a Cluster,
    export: &'a Export,
    restoring: Restoring,
    /// Holds as long as nobody else has begun.
    mine: Compare,
    replaced_another: bool,
}

/// The keys of a cluster's records, without its prefix, but those of running processes.
fn own_keys<'a>(cluster: &'a Cluster, listing: &'a Listing) -> impl Iterator<Item = &'a str> {
    let prefix = cluster.keys().prefix();
    let keys = listing.entries.iter();
    keys.filter_map(move |entry| entry.key.strip_prefix(prefix))
        .filter(|key| !is_of_a_process(key) && *key != "restoring")
}

impl<'a> Work<'a> {
    async fn begin(
        cluster: &'a Cluster,
        export: &'a Export,
        mode: Mode,
        by: &str,
    ) -> Result<Self, RestoreError> {
        let (store, keys) = (cluster.store(), cluster.keys());
        let listing = store.list(keys.prefix()).await?;
        let find = |key: &str| listing.entries.iter().find(|entry| entry.key == key);
        let begun = find(&keys.restoring());
        let unfinished: Option<Restoring> = begun.map(|entry| entry.json()).transpose()?;
        let there = find(&keys.cluster());
        let old: Option<ClusterRecord> = there.and_then(|entry| entry.json().ok());
        if mode == Mode::IntoEmpty {
            match &unfinished {
                Some(other) if other.digest != export.digest() => {
                    return Err(RestoreError::OtherUnfinished {
                        cluster: cluster.name().to_owned(),
                        by: other.by.clone(),
                    });
                }
                Some(_) => {}
                None => {
                    let records = own_keys(cluster, &listing).count();
                    if records > 0 {
                        return Err(RestoreError::NotEmpty {
                            url: store.url().to_owned(),
                            cluster: cluster.name().to_owned(),
                            records,
                        });
                    }
                }
            }
        }
        let identity = export.identity();
        let now = unix_millis();
        // A store without the cluster takes the place of one that is lost.
        let mut newest = listing.revision.max(export.revision());
        if there.is_none() && unfinished.is_none() {
            store.continue_after(newest.max(now)).await?;
            newest = newest.max(now);
        }
        // Above whatever was counted from an earlier one: revisions rise by less than one a millisecond.
        let known = [&identity, &old]
            .into_iter()
            .flatten()
            .map(|record| record.generation)
            .chain(unfinished.iter().map(|r| r.generation));
        let restoring = Restoring {
            digest: export.digest().to_owned(),
            by: by.to_owned(),
            since: now,
            generation: known.max().unwrap_or(0) + newest + now,
        };
        let key = keys.restoring();
        let unchanged = |key: String, entry: Option<&crate::store::Entry>| match entry {
            Some(entry) => Compare::ModRevision(key, entry.mod_revision),
            None => Compare::Absent(key),
        };
        let txn = Txn::new()
            .when(unchanged(key.clone(), begun))
            .when(unchanged(keys.cluster(), there))
            .then(Op::put(key.clone(), &restoring))
            .then(Op::delete(keys.cluster()))
            .then(Op::DeletePrefix {
                prefix: format!("{}locks/", keys.prefix()),
            });
        let committed = store.txn(txn).await?.committed();
        let revision = committed.ok_or(RestoreError::Overtaken)?;
        let another = |old: &ClusterRecord| identity.as_ref().is_none_or(|new| !old.is_same(new));
        Ok(Self {
            cluster,
            export,
            restoring,
            mine: Compare::ModRevision(key, revision),
            replaced_another: old.as_ref().is_some_and(another),
        })
    }

    async fn commit(&self, ops: Vec<Op>) -> Result<Revision, RestoreError> {
        let txn = Txn {
            compares: vec![self.mine.clone()],
            ops,
        };
        let outcome = self.cluster.store().txn(txn).await?;
        outcome.committed().ok_or(RestoreError::Overtaken)
    }

    /// Deletes what is there.
    async fn clear(&self) -> Result<(), RestoreError> {
        let prefix = self.cluster.keys().prefix();
        let listing = self.cluster.store().list(prefix).await?;
        let mut ops: Vec<Op> = Vec::new();
        for key in own_keys(self.cluster, &listing) {
            let op = match key.split_once('/') {
                Some((folder, _)) => Op::DeletePrefix {
                    prefix: format!("{prefix}{folder}/"),
                },
                None => Op::delete(format!("{prefix}{key}")),
            };
            // Keys are sorted, but `a` stands before `a-b/` and `a/`.
            if !ops.contains(&op) {
                ops.push(op);
            }
        }
        for part in ops.chunks(PART_OPS) {
            self.commit(part.to_vec()).await?;
        }
        Ok(())
    }

    /// Writes all records but the cluster's own.
    async fn fill(&self) -> Result<(), RestoreError> {
        let prefix = self.cluster.keys().prefix();
        let (mut ops, mut bytes) = (Vec::new(), 0);
        for (key, value) in self.export.entries() {
            if is_of_a_process(key) || key == "cluster" || key == "restoring" {
                continue;
            }
            let value = value.to_string().into_bytes();
            if ops.len() >= PART_OPS || (!ops.is_empty() && bytes + value.len() > PART_BYTES) {
                self.commit(std::mem::take(&mut ops)).await?;
                bytes = 0;
            }
            bytes += key.len() + value.len();
            ops.push(Op::Put {
                key: format!("{prefix}{key}"),
                value,
                lease: None,
            });
        }
        if !ops.is_empty() {
            self.commit(ops).await?;
        }
        Ok(())
    }

    /// Lets the cluster be there.
    async fn end(&self, by: &str) -> Result<Restored, RestoreError> {
        let (export, keys) = (self.export, self.cluster.keys());
        // A copy also names the hosts that were alive.
        let written = export.entries().keys().filter(|key| !is_of_a_process(key));
        let records = written.count();
        let mut own = export.entries().get("cluster").cloned().unwrap_or_default();
        own["generation"] = Value::from(self.restoring.generation);
        let history = HistoryRecord {
            at: self.restoring.since,
            who: by.to_owned(),
            plan: None,
            action: "state-import".to_owned(),
            object: export.cluster().to_owned(),
            summary: format!(
                "Put back {records} records as of revision {}",
                export.revision()
            ),
            outcome: "done".to_owned(),
        };
        let mut ops = vec![
            Op::delete(keys.restoring()),
            Op::put(keys.cluster(), &own),
            self.cluster.history_op(&history),
        ];
        let active = export.entries().get("plans/active").cloned();
        let active = active.and_then(|value| serde_json::from_value::<ActivePlan>(value).ok());
        if let Some(active) = &active {
            ops.push(Op::put(keys.plan_control(&active.id), &PlanControl::Stop));
        }
        Ok(Restored {
            records,
            revision: self.commit(ops).await?,
            generation: self.restoring.generation,
            stopped_plan: active.map(|active| active.id),
            replaced_another: self.replaced_another,
        })
    }
}
