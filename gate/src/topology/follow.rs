//! Keeps the topology current: watches the records, holds the gate's lease and tells in its record
//! by which revision it serves.

use std::sync::Arc;
use std::time::Duration;

use vtplan_state::cluster::Cluster;
use vtplan_state::model::GateRecord;
use vtplan_state::store::{LeaseKeeper, StoreError};

use super::{Topology, health};
use crate::backend::Login;

/// How long the store believes in a gate that says nothing.
const LEASE: Duration = Duration::from_secs(10);

/// How often pools are looked through for connections that are not needed.
const REAP: Duration = Duration::from_secs(2);

impl Topology {
    /// Reads the records once and takes the lease. `record` is what the gate says of itself.
    pub async fn begin(
        self: &Arc<Self>,
        cluster: &Cluster,
        record: &mut GateRecord,
    ) -> Result<(), StoreError> {
        self.load_login(cluster).await?;
        let watch = cluster.watch_records().await?;
        self.apply(watch.current(), &self.login());
        record.serving_revision = watch.current().serving_revision;
        let keeper = LeaseKeeper::start(cluster.store().clone(), LEASE).await?;
        keeper
            .put(&cluster.keys().gate(&record.name), record)
            .await?;
        self.lease.store(Some(Arc::new(keeper)));
        Ok(())
    }

    fn login(&self) -> Login {
        let login = self.login.lock();
        let login = login.unwrap_or_else(std::sync::PoisonError::into_inner);
        // Before any agent made the accounts there is no server to log in to either.
        login.clone().unwrap_or_else(|| Login {
            user: String::new(),
            password: String::new(),
        })
    }

    /// Whether the account is known.
    async fn load_login(&self, cluster: &Cluster) -> Result<bool, StoreError> {
        let Some(credentials) = cluster.credentials().await? else {
            return Ok(false);
        };
        let mut login = self
            .login
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        *login = Some(Login {
            user: credentials.gate_user,
            password: credentials.gate_password,
        });
        Ok(true)
    }

    /// Follows until it is cancelled. Errors of the store are waited out: statements go on by what
    /// is known, and writes stop with the lease.
    pub async fn follow(self: Arc<Self>, cluster: Cluster, mut record: GateRecord) {
        let mut watch = loop {
            match cluster.watch_records().await {
                Ok(watch) => break watch,
                Err(error) => {
                    tracing::warn!(%error, "the records cannot be watched");
                    tokio::time::sleep(Duration::from_secs(1)).await;
                }
            }
        };
        let mut agents = health::Agents::default();
        let mut tick = tokio::time::interval(REAP);
        let mut known_login = !self.login().user.is_empty();
        loop {
            let snapshot = watch.current_and_seen();
            if !known_login {
                known_login = self.load_login(&cluster).await.unwrap_or(false);
            }
            self.apply(snapshot.clone(), &self.login());
            agents.follow(&self, &snapshot.records);
            if record.serving_revision != snapshot.serving_revision {
                record.serving_revision = snapshot.serving_revision;
                let lease = self.lease.load_full();
                if let Some(lease) = lease {
                    let key = cluster.keys().gate(&record.name);
                    if let Err(error) = lease.put(&key, &record).await {
                        tracing::warn!(%error, "the gate's record cannot be written");
                        // Written again with the next tick.
                        record.serving_revision = 0;
                    }
                }
            }
            loop {
                tokio::select! {
                    _ = watch.changed() => break,
                    _ = tick.tick() => {
                        for tablet in self.snapshot().tablets.values() {
                            tablet.pool.reap();
                        }
                        if !known_login || record.serving_revision == 0 {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Takes the gate's record out of the store, as it ends.
    pub async fn end(&self, cluster: &Cluster, record: &GateRecord) {
        if let Some(lease) = self.lease.load_full()
            && let Err(error) = lease.remove(&cluster.keys().gate(&record.name)).await
        {
            tracing::warn!(%error, "the gate's record cannot be removed; it goes with its lease");
        }
    }
}
