//! All tablets of the host: a task for each that has a record, an end for each whose record is
//! gone. Folders are only removed when a reachable store says that the cluster they were made for
//! has dropped the tablet, and the records have not been put back from a copy since it was seen in
//! them, which may be older than the tablet; whatever else is found is left alone and told.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::select;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::warn;
use vtplan_state::cluster::Snapshot;
use vtplan_state::model::{TabletAlias, TabletRecord};

use crate::error::AgentError;
use crate::host::Host;
use crate::mysqld::TabletDir;
use crate::mysqld::folder;
use crate::tablet::Tablet;
use crate::tablet::task::Order;

/// How often what could not be decided is looked at again.
const RETRY: Duration = Duration::from_secs(5);

/// The tablets that have a task.
#[derive(Default)]
pub struct Tablets {
    running: Mutex<BTreeMap<TabletAlias, Running>>,
}

struct Running {
    tablet: Arc<Tablet>,
    order: watch::Sender<Order>,
}

impl Tablets {
    pub fn get(&self, alias: &str) -> Option<Arc<Tablet>> {
        let alias: TabletAlias = alias.parse().ok()?;
        let running = self.lock();
        running.get(&alias).map(|r| r.tablet.clone())
    }

    pub fn all(&self) -> Vec<Arc<Tablet>> {
        self.lock().values().map(|r| r.tablet.clone()).collect()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<TabletAlias, Running>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Keeps a task for each tablet of the host, until the agent ends.
pub async fn supervise(
    host: Arc<Host>,
    tablets: Arc<Tablets>,
    mut records: watch::Receiver<Arc<Snapshot>>,
) {
    let mut tasks: JoinSet<TabletAlias> = JoinSet::new();
    let mut told = BTreeSet::new();
    loop {
        let snapshot = records.borrow_and_update().clone();
        host.remember_addresses(&snapshot);
        let undecided = match follow(&host, &tablets, &snapshot, &records, &mut tasks).await {
            Ok(left_alone) => {
                for (alias, why) in &left_alone {
                    if told.insert(alias.clone()) {
                        warn!(tablet = %alias, why, "a tablet without a record is left alone");
                    }
                }
                !left_alone.is_empty()
            }
            Err(error) => {
                warn!(%error, "the host's tablets are not as the records say");
                true
            }
        };
        select! {
            changed = records.changed() => if changed.is_err() { return },
            Some(ended) = tasks.join_next() => if let Ok(alias) = ended {
                // Tasks end when they have carried out an order to end. The records may have a
                // tablet of that name again.
                tablets.lock().remove(&alias);
            },
            () = sleep(RETRY), if undecided => {}
        }
    }
}

/// Starts and ends tasks. Returns the tablets without a record that are left alone, and why.
async fn follow(
    host: &Arc<Host>,
    tablets: &Tablets,
    snapshot: &Snapshot,
    records: &watch::Receiver<Arc<Snapshot>>,
    tasks: &mut JoinSet<TabletAlias>,
) -> Result<BTreeMap<TabletAlias, String>, AgentError> {
    if !host.is_own(snapshot.cluster.as_ref()) {
        // Whatever these records are, they are not this cluster's.
        return Err(AgentError::Refused(format!(
            "the store {} no longer has the cluster `{}` that this agent joined; the servers are left as they are",
            host.cluster.store().url(),
            host.identity.name
        )));
    }
    let mut start = |tablet: Tablet, order: Order| {
        let tablet = Arc::new(tablet);
        let (order, receiver) = watch::channel(order);
        let (task, records) = (tablet.clone(), records.clone());
        tasks.spawn(async move {
            let alias = task.alias().clone();
            task.run(records, receiver).await;
            alias
        });
        let alias = tablet.alias().clone();
        tablets.lock().insert(alias, Running { tablet, order });
        host.health_changes.send_modify(|n| *n += 1);
    };

    let mine: BTreeMap<&TabletAlias, &TabletRecord> = snapshot
        .tablets
        .iter()
        .filter(|(_, record)| record.host == host.name)
        .collect();
    let running: BTreeSet<TabletAlias> = tablets.lock().keys().cloned().collect();
    for (alias, record) in &mine {
        if !running.contains(*alias) {
            start(Tablet::new(host.clone(), (*record).clone()), Order::Run);
        }
    }

    let found = folder::scan(&host.tablets_dir)?;
    let mut left_alone = BTreeMap::new();
    let strays = running.iter().chain(&found.tablets);
    for alias in strays
        .filter(|a| !mine.contains_key(a))
        .collect::<BTreeSet<_>>()
    {
        let dir = TabletDir::new(&host.tablets_dir, alias);
        let (order, record) = match what_to_do(host, snapshot, alias, &dir).await? {
            Ok(decided) => decided,
            Err(why) => {
                left_alone.insert(alias.clone(), why);
                continue;
            }
        };
        let known = tablets.lock().get(alias).map(|r| r.order.clone());
        match (known, record) {
            (Some(current), _) => {
                current.send_if_modified(|o| std::mem::replace(o, order) != order);
            }
            (None, Some(record)) if order == Order::Remove => {
                start(Tablet::new(host.clone(), record), order);
            }
            _ => {}
        }
    }
    Ok(left_alone)
}

/// What becomes of a tablet that the records do not have on this host. The inner error says why it
/// is left alone.
async fn what_to_do(
    host: &Host,
    snapshot: &Snapshot,
    alias: &TabletAlias,
    dir: &TabletDir,
) -> Result<Result<(Order, Option<TabletRecord>), String>, AgentError> {
    if let Some(record) = snapshot.tablets.get(alias) {
        return Ok(Ok((Order::Halt, Some(record.clone()))));
    }
    // The snapshot may be from before a pause: the store itself has to say it.
    let identity = host.cluster.record().await?;
    let store = host.cluster.store();
    let record = store.get(&host.cluster.keys().tablet(alias)).await?;
    let generation = match &identity {
        Some(identity) if host.is_own(Some(identity)) && record.is_none() => identity.generation,
        _ => return Ok(Err("the store does not say yet that it is gone".to_owned())),
    };
    if !dir.exists() {
        return Ok(Ok((Order::Remove, None)));
    }
    let Some(marker) = dir.marker()? else {
        return Ok(Err(format!(
            "the folder {} does not say whose it is",
            dir.path().display()
        )));
    };
    let same = (&marker.cluster, marker.cluster_created_at)
        == (&host.identity.name, host.identity.created_at)
        && marker.tablet.alias == *alias;
    if !same {
        return Ok(Err(format!(
            "the folder {} is of another cluster, a `{}` that the store knows nothing of; remove it by hand if nobody needs it",
            dir.path().display(),
            marker.cluster
        )));
    }
    if marker.generation != generation {
        return Ok(Err(format!(
            "the records were put back from a copy, and the tablet may be newer than that: nothing says that it was deleted. If nobody needs its data, stop its server and remove the folder {}",
            dir.path().display()
        )));
    }
    Ok(Ok((Order::Remove, Some(marker.tablet))))
}

/// Removes folders that an agent was making or removing when it was killed.
pub async fn remove_remains(tablets_dir: PathBuf) -> Result<(), AgentError> {
    let removed = tokio::task::spawn_blocking(move || {
        for path in folder::scan(&tablets_dir)?.remains {
            folder::remove(&path).map_err(|e| AgentError::io(&path, "it cannot be removed", e))?;
        }
        Ok(())
    });
    removed
        .await
        .unwrap_or_else(|e| Err(AgentError::Refused(format!("the work was cut off: {e}"))))
}
