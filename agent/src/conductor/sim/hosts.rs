//! Simulated hosts: each with an agent process that is also a conductor, dies and comes back.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::Instant;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{CellName, FlavorKind, HostName, HostRecord};
use vtplan_state::store::{Op, Txn};

use super::faults::{Chance, Process};
use super::servers::Servers;
use super::store::{Handle, MemStore};
use super::world::SimWorld;
use crate::conductor::{Settings, conduct};

/// Which agents are up.
#[derive(Default)]
pub struct Hosts {
    up: Mutex<BTreeMap<HostName, bool>>,
}

impl Hosts {
    pub fn is_up(&self, host: &HostName) -> bool {
        let up = self.up.lock().unwrap_or_else(PoisonError::into_inner);
        up.get(host).copied().unwrap_or(false)
    }

    pub fn all(&self) -> Vec<HostName> {
        let up = self.up.lock().unwrap_or_else(PoisonError::into_inner);
        up.keys().cloned().collect()
    }

    fn set(&self, host: &HostName, is_up: bool) {
        let mut up = self.up.lock().unwrap_or_else(PoisonError::into_inner);
        up.insert(host.clone(), is_up);
    }
}

/// How long a host's record outlives its agent.
const RECORD_TTL: Duration = Duration::from_secs(10);

/// What a host needs to live.
pub struct Host {
    pub name: HostName,
    pub cell: CellName,
    pub hosts: Arc<Hosts>,
    pub servers: Arc<Servers>,
    pub store: Arc<MemStore>,
    pub chance: Arc<Chance>,
    pub settings: Settings,
    pub started: Instant,
}

impl Host {
    /// Lives for ever: agents die and are started again.
    pub async fn live(self) {
        let direct =
            Cluster::new(Handle::of_simulation(&self.store), "sim").expect("the name of a cluster");
        loop {
            self.register(&direct, true).await;
            self.servers.agent_restarts(&self.name);
            self.hosts.set(&self.name, true);
            let process = Process::new();
            let store = Handle::of_conductor(&self.store, &process, &self.chance);
            let world = SimWorld {
                cluster: Cluster::new(store, "sim").expect("the name of a cluster"),
                process: process.clone(),
                chance: self.chance.clone(),
                store: self.store.clone(),
                servers: self.servers.clone(),
                hosts: self.hosts.clone(),
                started: self.started,
            };
            tokio::select! {
                biased;
                () = process.died() => {}
                () = conduct(&world, &self.name, &self.settings) => {}
                () = self.agent(&process, &direct) => {}
            }
            self.hosts.set(&self.name, false);
            let away = self.chance.millis(500, 30_000);
            tokio::time::sleep(away.min(RECORD_TTL)).await;
            if away > RECORD_TTL {
                self.register(&direct, false).await;
                tokio::time::sleep(away - RECORD_TTL).await;
            }
        }
    }

    async fn agent(&self, process: &Process, direct: &Cluster) {
        loop {
            tokio::time::sleep(self.chance.millis(50, 600)).await;
            process.breathe().await;
            let Ok(records) = self.store.records() else {
                continue;
            };
            tokio::time::sleep(self.chance.millis(0, 300)).await;
            process.breathe().await;
            self.servers.agent_acts(&self.name, &records, direct).await;
            if self.chance.trouble_now() > 0 && self.chance.happens(2) {
                process.kill();
            }
        }
    }

    async fn register(&self, direct: &Cluster, is_there: bool) {
        let key = direct.keys().host(&self.name);
        let record = HostRecord {
            name: self.name.clone(),
            cell: self.cell.clone(),
            address: "127.0.0.1".into(),
            agent_url: "http://127.0.0.1:1".into(),
            capacity: 50,
            first_mysql_port: 17_000,
            flavor: FlavorKind::MariaDb,
            server_version: "10.11.6".into(),
            version: "0.1.0".into(),
            started_at: 0,
            tablets_dir: "/t".into(),
        };
        let op = if is_there {
            Op::put(key, &record)
        } else {
            Op::delete(key)
        };
        // The simulation's own store does not fail.
        let _ = direct.store().txn(Txn::new().then(op)).await;
    }
}
