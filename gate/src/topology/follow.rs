//! Keeps the topology current: watches the records, holds the gate's lease and tells in its record
//! by which revision it serves.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::watch;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{GateRecord, Revision};
use vtplan_state::store::{LeaseKeeper, StoreError};

use super::drain::Drains;
use super::{Topology, health};
use crate::backend::Login;
use crate::session::registry::Registry;

/// How long the store believes in a gate that says nothing.
const LEASE: Duration = Duration::from_secs(10);

/// How often pools are looked through for connections that are not needed.
const REAP: Duration = Duration::from_secs(2);

/// How long to wait before something that the store refused is tried again.
const RETRY: Duration = Duration::from_millis(500);

/// What the gate tells of itself while it runs.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Report {
    serving_revision: Revision,
    drained: BTreeSet<String>,
}

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
    pub async fn follow(
        self: Arc<Self>,
        cluster: Cluster,
        record: GateRecord,
        sessions: Arc<Registry>,
    ) {
        let reports = watch::Sender::new(Report {
            serving_revision: record.serving_revision,
            drained: BTreeSet::new(),
        });
        let told = reports.subscribe();
        tokio::select! {
            () = self.follow_records(&cluster, &sessions, &reports) => {}
            () = self.tell(&cluster, record, told) => {}
        }
    }

    async fn follow_records(
        self: &Arc<Self>,
        cluster: &Cluster,
        sessions: &Registry,
        reports: &watch::Sender<Report>,
    ) {
        let mut watch = loop {
            match cluster.watch_records().await {
                Ok(watch) => break watch,
                Err(error) => {
                    tracing::warn!(%error, "the records cannot be watched");
                    tokio::time::sleep(RETRY).await;
                }
            }
        };
        let mut agents = health::Agents::default();
        let mut drains = Drains::default();
        let mut tick = tokio::time::interval(REAP);
        let mut known_login = !self.login().user.is_empty();
        loop {
            let snapshot = watch.current_and_seen();
            if !known_login {
                known_login = self.load_login(cluster).await.unwrap_or(false);
            }
            self.apply(snapshot.clone(), &self.login());
            // Whoever ends something from here on says so.
            self.draining.store(true, Ordering::SeqCst);
            drains.follow(&self.snapshot().holds, sessions);
            agents.follow(self, &snapshot.records);
            loop {
                drains.check();
                let settled = drains.is_settled();
                if settled {
                    self.draining.store(false, Ordering::SeqCst);
                }
                let report = Report {
                    serving_revision: snapshot.serving_revision,
                    drained: drains.drained(),
                };
                reports.send_if_modified(|last| {
                    let news = *last != report;
                    *last = report;
                    news
                });
                tokio::select! {
                    _ = watch.changed() => break,
                    () = self.drained.notified(), if !settled => {}
                    _ = tick.tick() => {
                        for tablet in self.snapshot().tablets.values() {
                            tablet.pool.reap();
                        }
                        if !known_login {
                            break;
                        }
                    }
                }
            }
        }
    }

    /// Keeps the gate's record as what is to be reported. Apart from following, so that a store that
    /// is slow to write does not keep a new snapshot from being applied.
    async fn tell(
        &self,
        cluster: &Cluster,
        mut record: GateRecord,
        mut reports: watch::Receiver<Report>,
    ) {
        let key = cluster.keys().gate(&record.name);
        loop {
            let report = reports.borrow_and_update().clone();
            let written = record.serving_revision == report.serving_revision
                && record.drained == report.drained;
            if !written && let Some(lease) = self.lease.load_full() {
                let told = GateRecord {
                    serving_revision: report.serving_revision,
                    drained: report.drained,
                    ..record.clone()
                };
                match lease.put(&key, &told).await {
                    Ok(()) => record = told,
                    Err(error) => {
                        tracing::warn!(%error, "the gate's record cannot be written");
                        tokio::time::sleep(RETRY).await;
                        continue;
                    }
                }
            }
            if reports.changed().await.is_err() {
                return;
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
