//! The records, kept current from the store's watch.

use std::ops::Deref;
use std::sync::Arc;
use std::time::Duration;

use futures::{FutureExt, StreamExt};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use super::records::{self, Touched};
use super::{Cluster, decode};
use crate::model::{Records, Revision};
use crate::store::{Listing, StoreError, WatchEvent, WatchStream};

/// How long to wait before trying again what a store refused.
const RETRY: Duration = Duration::from_secs(1);

/// The records as of a moment. Reads like [`Records`].
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Snapshot {
    /// Their `revision` is that of the newest change of a record among them.
    pub records: Records,
    /// The newest change of what gates route by (keyspaces, vschemas, shards, tablets, routing).
    /// Everything up to this revision is in `records`. A change of gates' and hosts' own records
    /// does not move it.
    pub serving_revision: Revision,
}

impl Deref for Snapshot {
    type Target = Records;
    fn deref(&self) -> &Records {
        &self.records
    }
}

/// Keeps [`Records`] current in the background until it is dropped. No change is left out: each
/// snapshot is what the store held at one revision. Snapshots in between may be skipped.
///
/// A record that cannot be read (a newer vtplan wrote it) stops the updates: nothing is served by
/// half-understood records. So does a store that no longer holds the cluster, or holds another one
/// under its name: that is what a store looks like that was lost, and nobody who runs servers or
/// routes queries may take it for "there is nothing". [`RecordsWatch::problem`] tells it; updates go
/// on when it is mended.
pub struct RecordsWatch {
    snapshot: watch::Receiver<Arc<Snapshot>>,
    problem: watch::Receiver<Option<String>>,
    task: JoinHandle<()>,
}

impl Drop for RecordsWatch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl std::fmt::Debug for RecordsWatch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("RecordsWatch")
            .field("revision", &self.snapshot.borrow().revision)
            .finish_non_exhaustive()
    }
}

impl RecordsWatch {
    pub(super) async fn start(cluster: Cluster) -> Result<Self, StoreError> {
        let (state, events) = Follower::begin(&cluster).await?;
        let (snapshots, snapshot) = watch::channel(state.snapshot.clone());
        let (problems, problem) = watch::channel(None);
        let task = tokio::spawn(async move {
            let mut follower = state;
            let mut events = events;
            loop {
                let error = follower.follow(&mut events, &snapshots, &problems).await;
                tracing::warn!(cluster = cluster.name(), %error, "the records are not current");
                problems.send_replace(Some(error.to_string()));
                (follower, events) = loop {
                    tokio::time::sleep(RETRY).await;
                    match Follower::begin(&cluster).await {
                        Ok(begun) => break begun,
                        Err(error) => drop(problems.send_replace(Some(error.to_string()))),
                    }
                };
                follower.publish(&snapshots, &problems);
            }
        });
        Ok(Self {
            snapshot,
            problem,
            task,
        })
    }

    /// The newest snapshot.
    pub fn current(&self) -> Arc<Snapshot> {
        self.snapshot.borrow().clone()
    }

    /// Waits for a newer snapshot than the last that this or [`RecordsWatch::current_and_seen`]
    /// returned.
    pub async fn changed(&mut self) -> Arc<Snapshot> {
        if self.snapshot.changed().await.is_err() {
            // The task ends only when this watch is dropped, or by a panic: nothing will come.
            std::future::pending::<()>().await;
        }
        self.current_and_seen()
    }

    /// The newest snapshot; [`RecordsWatch::changed`] then waits for a newer one.
    pub fn current_and_seen(&mut self) -> Arc<Snapshot> {
        self.snapshot.borrow_and_update().clone()
    }

    /// A receiver of its own. It gets nothing more when the watch is dropped.
    pub fn receiver(&self) -> watch::Receiver<Arc<Snapshot>> {
        self.snapshot.clone()
    }

    /// Why the snapshot is not current, if it is not.
    pub fn problem(&self) -> Option<String> {
        self.problem.borrow().clone()
    }
}

struct Follower {
    cluster: Cluster,
    snapshot: Arc<Snapshot>,
}

impl Follower {
    async fn begin(cluster: &Cluster) -> Result<(Self, WatchStream), StoreError> {
        let records = cluster.load_records().await?;
        let revision = records.revision;
        let follower = Self {
            cluster: cluster.clone(),
            snapshot: Arc::new(Snapshot {
                serving_revision: revision,
                records,
            }),
        };
        let prefix = cluster.keys().prefix();
        let events = cluster.store().watch(prefix, revision + 1).await?;
        Ok((follower, events))
    }

    /// Applies events and publishes what they make, until something fails.
    async fn follow(
        &mut self,
        events: &mut WatchStream,
        snapshots: &watch::Sender<Arc<Snapshot>>,
        problems: &watch::Sender<Option<String>>,
    ) -> StoreError {
        loop {
            let mut touched = Touched::default();
            let mut next = events.next().await;
            // Everything that is there already, then published once.
            loop {
                match next {
                    Some(Ok(event)) => match self.apply(&event) {
                        Ok(by_event) => touched |= by_event,
                        Err(error) => return error,
                    },
                    Some(Err(error)) => return error,
                    None => {
                        return StoreError::Failed {
                            url: self.cluster.store().url().to_owned(),
                            why: "the watch has ended".to_owned(),
                        };
                    }
                }
                match events.next().now_or_never() {
                    Some(more) => next = more,
                    None => break,
                }
            }
            if touched.any {
                self.publish(snapshots, problems);
            }
        }
    }

    /// Shows the records to others, unless they are not those of the cluster that was shown.
    fn publish(
        &self,
        snapshots: &watch::Sender<Arc<Snapshot>>,
        problems: &watch::Sender<Option<String>>,
    ) {
        let problem = self.strange_after(&snapshots.borrow());
        let is_none = problem.is_none();
        problems.send_if_modified(|current| {
            let news = *current != problem;
            if let (true, Some(problem)) = (news, &problem) {
                tracing::warn!(
                    cluster = self.cluster.name(),
                    problem,
                    "the last records are kept"
                );
            }
            *current = problem;
            news
        });
        if is_none {
            snapshots.send_replace(self.snapshot.clone());
        }
    }

    /// Why the records cannot follow on those that were shown last.
    fn strange_after(&self, last: &Snapshot) -> Option<String> {
        let (name, url) = (self.cluster.name(), self.cluster.store().url());
        match (&last.cluster, &self.snapshot.cluster) {
            (None, _) => None,
            (Some(last), Some(now)) if last.is_same(now) => None,
            (Some(_), None) => Some(format!(
                "the state store {url} no longer holds the cluster `{name}`: put its records back \
                 with `vtplan state import` from a backup, or with `vtplan import cluster` from the agents"
            )),
            (Some(_), Some(_)) => Some(format!(
                "the state store {url} holds another cluster that was made under the name `{name}`: \
                 put the records of this one back, or start this process anew to join the other"
            )),
        }
    }

    fn apply(&mut self, event: &WatchEvent) -> Result<Touched, StoreError> {
        match event {
            WatchEvent::Changes { revision, changes } => {
                let snapshot = Arc::make_mut(&mut self.snapshot);
                let mut touched = Touched::default();
                for change in changes {
                    let url = self.cluster.store().url();
                    touched |=
                        records::apply(&mut snapshot.records, self.cluster.keys(), change, url)?;
                }
                if touched.any {
                    snapshot.records.revision = *revision;
                }
                if touched.serving {
                    snapshot.serving_revision = *revision;
                }
                Ok(touched)
            }
            WatchEvent::Resync(listing) => self.resync(listing),
        }
    }

    fn resync(&mut self, listing: &Listing) -> Result<Touched, StoreError> {
        let url = self.cluster.store().url();
        self.snapshot = Arc::new(Snapshot {
            records: decode(self.cluster.keys(), listing, url)?,
            serving_revision: listing.revision,
        });
        Ok(Touched {
            any: true,
            serving: true,
        })
    }
}
