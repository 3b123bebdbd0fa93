//! The cluster that the agent joins and the host's record, which lives as long as the agent does.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::{Instant, sleep};
use vtplan_state::cluster::{Cluster, list_clusters};
use vtplan_state::model::{ClusterRecord, HostRecord};
use vtplan_state::store::lease::LeaseKeeper;
use vtplan_state::store::{Store, StoreError};

use crate::error::AgentError;
use crate::mysqld::TabletDir;
use crate::mysqld::folder;

/// How often a name that is in use is tried again.
const RETRY: Duration = Duration::from_millis(200);

/// Refuses a store without the cluster when this host has tablets of it: the store was lost, or is
/// another one. A cluster made anew under that name would not be theirs.
///
/// # Errors
/// [`AgentError::StoreLost`].
pub async fn check_not_lost(
    store: &Arc<dyn Store>,
    name: &str,
    data_dir: &Path,
) -> Result<(), AgentError> {
    if Cluster::open(store.clone(), name).await?.is_some() {
        return Ok(());
    }
    let tablets_dir = data_dir.join("tablets");
    for alias in folder::scan(&tablets_dir)?.tablets {
        let marker = TabletDir::new(&tablets_dir, &alias).marker()?;
        if marker.is_some_and(|marker| marker.cluster == name) {
            return Err(AgentError::StoreLost {
                url: store.url().to_owned(),
                cluster: name.to_owned(),
                tablet: alias,
                data_dir: data_dir.to_owned(),
            });
        }
    }
    Ok(())
}

/// The cluster `name`; made when the store holds no cluster at all.
///
/// # Errors
/// When the store holds clusters, and this is none of them: a mistyped name would otherwise make
/// a second, empty one. Or when the records are of a newer format.
pub async fn join(
    store: Arc<dyn Store>,
    name: &str,
) -> Result<(Cluster, ClusterRecord), AgentError> {
    if Cluster::open(store.clone(), name).await?.is_none() {
        let others = list_clusters(&store).await?;
        let names: Vec<String> = others
            .iter()
            .filter(|c| c.name != name)
            .map(|c| format!("`{}`", c.name))
            .collect();
        if !names.is_empty() {
            return Err(AgentError::OtherCluster {
                wanted: name.to_owned(),
                found: names.join(", "),
            });
        }
    }
    let version = env!("CARGO_PKG_VERSION");
    let cluster = Cluster::ensure_created(store, name, version).await?;
    let record = cluster.record().await?.ok_or_else(|| StoreError::Failed {
        url: cluster.store().url().to_owned(),
        why: format!("the record of cluster `{name}` vanished"),
    })?;
    Ok((cluster, record))
}

/// Registers the host under a lease of `ttl`.
///
/// # Errors
/// When an agent at another place is registered by that name and stays alive.
pub async fn register(
    cluster: &Cluster,
    record: &HostRecord,
    ttl: Duration,
) -> Result<LeaseKeeper, AgentError> {
    let key = cluster.keys().host(&record.name);
    let lease = LeaseKeeper::start(cluster.store().clone(), ttl).await?;
    // A record of another place may be of an agent that has just died.
    let give_up = Instant::now() + ttl * 2;
    loop {
        if lease.claim(&key, record).await? {
            return Ok(lease);
        }
        let Some(entry) = cluster.store().get(&key).await? else {
            continue;
        };
        let found: HostRecord = entry.json()?;
        // What an earlier agent here left behind: the data folder's lock says that it is gone.
        if found.address == record.address && found.tablets_dir == record.tablets_dir {
            lease.put(&key, record).await?;
            return Ok(lease);
        }
        if Instant::now() >= give_up {
            return Err(AgentError::Refused(format!(
                "a host named `{}` is alive at {} ({}): give this agent another name with --name",
                record.name, found.address, found.agent_url
            )));
        }
        sleep(RETRY).await;
    }
}
