//! Health streams: one from each agent, read for as long as its host is in the records.

use std::collections::HashMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::task::JoinHandle;
use vtplan_state::model::{HostName, Records};

use super::{Topology, now};
use crate::agent_api::agent_client::AgentClient;
use crate::agent_api::{HealthUpdate, StreamHealthRequest};

/// How long to wait before an agent that went away is asked again.
const RETRY: Duration = Duration::from_secs(1);

/// The streams that are read. Dropping it ends them.
#[derive(Default)]
pub(super) struct Agents {
    streams: HashMap<(HostName, String), JoinHandle<()>>,
}

impl Drop for Agents {
    fn drop(&mut self) {
        for task in self.streams.values() {
            task.abort();
        }
    }
}

impl Agents {
    /// Begins streams of hosts that came, ends those of hosts that went.
    pub(super) fn follow(&mut self, topology: &Arc<Topology>, records: &Records) {
        self.streams.retain(|(host, url), task| {
            let stays = records.hosts.get(host).is_some_and(|h| h.agent_url == *url);
            if !stays {
                task.abort();
            }
            stays
        });
        for host in records.hosts.values() {
            let key = (host.name.clone(), host.agent_url.clone());
            self.streams.entry(key).or_insert_with(|| {
                tokio::spawn(read(
                    topology.clone(),
                    host.name.clone(),
                    host.agent_url.clone(),
                ))
            });
        }
    }
}

async fn read(topology: Arc<Topology>, host: HostName, url: String) {
    loop {
        if let Err(why) = read_once(&topology, &host, &url).await {
            tracing::debug!(%host, %why, "no health from the agent");
        }
        tokio::time::sleep(RETRY).await;
    }
}

async fn read_once(topology: &Topology, host: &HostName, url: &str) -> Result<(), String> {
    let text = |e: &dyn std::error::Error| e.to_string();
    let endpoint = tonic::transport::Endpoint::from_shared(url.to_owned())
        .map_err(|e| text(&e))?
        .connect_timeout(Duration::from_secs(3));
    let channel = endpoint.connect().await.map_err(|e| text(&e))?;
    let mut stream = AgentClient::new(channel)
        .stream_health(StreamHealthRequest {})
        .await
        .map_err(|e| text(&e))?
        .into_inner();
    // An agent speaks at least every second; one that hangs is asked anew.
    while let Some(update) = tokio::time::timeout(super::HEALTH_TTL, stream.message())
        .await
        .map_err(|_| "it says nothing".to_owned())?
        .map_err(|e| text(&e))?
    {
        note(topology, host, &update);
    }
    Ok(())
}

fn note(topology: &Topology, host: &HostName, update: &HealthUpdate) {
    let snapshot = topology.snapshot();
    for said in &update.tablets {
        let Ok(alias) = said.alias.parse() else {
            continue;
        };
        let Some(tablet) = snapshot.tablets.get(&alias) else {
            continue;
        };
        // Only a tablet's own host speaks for it.
        if topology.host_of(&snapshot.records, &alias) != Some(host) {
            continue;
        }
        let health = &tablet.health;
        health.serving.store(said.serving, Ordering::Relaxed);
        health.lag.store(said.lag_seconds, Ordering::Relaxed);
        let error = Some(said.error.clone()).filter(|e| !e.is_empty());
        health.error.store(error.map(Arc::new));
        health.heard.store(now(), Ordering::Relaxed);
    }
}
