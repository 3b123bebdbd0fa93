//! What all tablets of an agent share.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::watch;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{ClusterRecord, Credentials, HostName, Records};
use vtplan_state::store::lease::LeaseKeeper;

use crate::config::ServerSettings;
use crate::flavor::Flavor;
use crate::mysqld::{Program, Templates};

/// The host that an agent runs on, as its tablets see it.
pub struct Host {
    pub name: HostName,
    pub cluster: Cluster,
    /// The cluster's own record when the agent joined: what tells it from another of that name.
    pub identity: ClusterRecord,
    /// `None` once the agent ends.
    pub lease: Mutex<Option<LeaseKeeper>>,
    pub credentials: Credentials,
    pub program: Program,
    pub flavor: Arc<dyn Flavor>,
    pub templates: Templates,
    pub tablets_dir: PathBuf,
    /// What servers bind to.
    pub bind_address: String,
    /// What others reach this host by.
    pub address: String,
    pub settings: ServerSettings,
    pub as_root: bool,
    /// Rises whenever a tablet's health has changed.
    pub health_changes: watch::Sender<u64>,
    /// Addresses of hosts that have been alive since the agent started: a server goes on running
    /// when its host's agent, and with it the host's record, is gone.
    pub addresses: Mutex<BTreeMap<HostName, String>>,
}

impl Host {
    /// Whether a record of a cluster is that of the cluster which this agent joined.
    pub fn is_own(&self, cluster: Option<&ClusterRecord>) -> bool {
        cluster.is_some_and(|cluster| cluster.is_same(&self.identity))
    }

    /// Whether others see this host as alive.
    pub fn has_lease(&self) -> bool {
        let lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        lease.as_ref().is_some_and(LeaseKeeper::is_valid)
    }

    /// Takes the lease, to end it.
    pub fn take_lease(&self) -> Option<LeaseKeeper> {
        let mut lease = self.lease.lock().unwrap_or_else(PoisonError::into_inner);
        lease.take()
    }

    pub fn remember_addresses(&self, records: &Records) {
        let mut known = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        for (name, host) in &records.hosts {
            if known.get(name) != Some(&host.address) {
                known.insert(name.clone(), host.address.clone());
            }
        }
    }

    pub fn address_of(&self, host: &HostName) -> Option<String> {
        let known = self
            .addresses
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        known.get(host).cloned()
    }
}
