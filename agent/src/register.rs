//! The host's record, which lives as long as the agent does.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::select;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::{info, warn};
use vtplan_state::model::HostRecord;
use vtplan_state::model::keys::Keys;
use vtplan_state::store::{Compare, LeaseId, Op, Store, Txn};

use crate::error::AgentError;

/// Keeps `hosts/<name>` under a lease.
pub struct Registration {
    store: Arc<dyn Store>,
    key: String,
    record: HostRecord,
    ttl: Duration,
    lease: LeaseId,
    held: Arc<AtomicBool>,
}

impl Registration {
    /// Registers the host.
    ///
    /// # Errors
    /// When an agent on another machine or with another data folder is registered by that name
    /// and stays alive.
    pub async fn start(
        store: Arc<dyn Store>,
        keys: &Keys,
        record: HostRecord,
        ttl: Duration,
    ) -> Result<Self, AgentError> {
        let key = keys.host(&record.name);
        // A record of the same place is what an earlier agent here left behind; one of another
        // place may be of an agent that has just died.
        let give_up = Instant::now() + ttl * 2;
        loop {
            let compare = match store.get(&key).await? {
                None => Compare::Absent(key.clone()),
                Some(entry) => {
                    let found: HostRecord = entry.json()?;
                    let same_place =
                        found.address == record.address && found.tablets_dir == record.tablets_dir;
                    if !same_place {
                        if Instant::now() < give_up {
                            sleep(Duration::from_millis(200)).await;
                            continue;
                        }
                        return Err(AgentError::Refused(format!(
                            "a host named `{}` is alive at {} ({}): give this agent another name with --name",
                            record.name, found.address, found.agent_url
                        )));
                    }
                    Compare::ModRevision(key.clone(), entry.mod_revision)
                }
            };
            let lease = store.grant(ttl).await?;
            let txn =
                Txn::new()
                    .when(compare)
                    .then(Op::put_leased(key.clone(), &record, Some(lease)));
            if store.txn(txn).await?.committed().is_some() {
                return Ok(Self {
                    store,
                    key,
                    record,
                    ttl,
                    lease,
                    held: Arc::new(AtomicBool::new(true)),
                });
            }
            store.revoke(lease).await?;
        }
    }

    /// Whether the lease was alive when it was last kept: an agent without one promotes nothing.
    pub fn held(&self) -> Arc<AtomicBool> {
        self.held.clone()
    }

    /// Keeps the lease alive, and takes a new one when it has ended, until `stopping` is true;
    /// then takes the record away at once.
    pub async fn keep(mut self, mut stopping: watch::Receiver<bool>) {
        let mut kept = Instant::now();
        loop {
            select! {
                _ = stopping.wait_for(|s| *s) => break,
                () = sleep(self.ttl / 3) => {}
            }
            match self.store.keep_alive(self.lease).await {
                Ok(true) => kept = Instant::now(),
                Ok(false) => {
                    warn!(host = %self.record.name, "the host's lease has ended; registering again");
                    self.held.store(false, Ordering::SeqCst);
                    match self.renew().await {
                        Ok(()) => kept = Instant::now(),
                        Err(error) => warn!(%error, "the host cannot be registered"),
                    }
                }
                Err(error) => warn!(%error, "the host's lease cannot be kept alive"),
            }
            self.held.store(kept.elapsed() < self.ttl, Ordering::SeqCst);
        }
        if let Err(error) = self.store.revoke(self.lease).await {
            warn!(%error, "the host's record stays until its lease ends");
        }
    }

    async fn renew(&mut self) -> Result<(), AgentError> {
        let lease = self.store.grant(self.ttl).await?;
        let put = Op::put_leased(self.key.clone(), &self.record, Some(lease));
        self.store.txn(Txn::new().then(put)).await?;
        self.lease = lease;
        info!(host = %self.record.name, "registered again");
        Ok(())
    }
}
