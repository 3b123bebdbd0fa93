//! The world of a simulated conductor: the store in memory, the simulated servers.

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;
use vtplan_planner::desired::Desired;
use vtplan_planner::live::{Canonical, Live, Observed};
use vtplan_planner::seen::Deviation;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{
    HostName, HostRecord, KeyspaceName, Records, Revision, UnixMillis, WorkflowName,
};
use vtplan_state::store::StoreError;

use super::faults::{Chance, Process};
use super::hosts::Hosts;
use super::servers::{Refusal, Servers};
use super::store::MemStore;
use crate::client::{CallError, CallErrorKind};
use crate::conductor::workflow::streams::StreamSeen;
use crate::conductor::world::{
    FenceName, FenceSetting, Sql, StreamName, TablesToFence, Target, World,
};
use crate::observe::{Gathered, ObserveError, Unseen};

pub struct SimWorld {
    pub cluster: Cluster,
    pub process: Arc<Process>,
    pub chance: Arc<Chance>,
    pub store: Arc<MemStore>,
    pub servers: Arc<Servers>,
    pub hosts: Arc<Hosts>,
    pub started: Instant,
}

/// What the agents together see.
pub fn look(
    records: Arc<Records>,
    desired: &Desired,
    servers: &Servers,
    answers: impl Fn(&HostName) -> bool,
) -> Gathered {
    let mut observed = Observed::default();
    let mut unseen = Vec::new();
    for host in records.hosts.keys() {
        if answers(host) {
            observed.tablets.extend(servers.observe(host));
        } else {
            unseen.push(Unseen {
                host: host.clone(),
                why: "simulated".into(),
            });
        }
    }
    for (name, keyspace) in &desired.keyspaces {
        if records.keyspaces.contains_key(name) {
            let statements = keyspace.tables.values().map(|t| t.statement.clone());
            let canonical: BTreeMap<String, Canonical> = statements
                .map(|text| (text.clone(), Canonical::Definition(text)))
                .collect();
            observed.canonical.insert(name.clone(), canonical);
        }
    }
    Gathered {
        live: Live {
            records: (*records).clone(),
            observed,
        },
        unseen,
        ..Gathered::default()
    }
}

impl SimWorld {
    fn error(&self, on: &Target, kind: CallErrorKind) -> CallError {
        CallError {
            host: on.host.name.clone(),
            url: on.host.agent_url.clone(),
            kind,
        }
    }

    /// The specs of this simulation move no data.
    fn no_data(&self, on: &Target) -> CallError {
        self.error(on, CallErrorKind::Refused("simulated without data".into()))
    }

    async fn call<T>(
        &self,
        on: &Target,
        work: impl FnOnce() -> Result<T, Refusal>,
    ) -> Result<T, CallError> {
        let unreachable = || CallErrorKind::Unreachable("simulated".into());
        let failure = || self.error(on, unreachable());
        self.process
            .call(&self.chance, failure, || {
                if !self.hosts.is_up(&on.host.name) {
                    return Err(failure());
                }
                work().map_err(|refusal| {
                    let kind = match refusal {
                        Refusal::NotNow(why) => CallErrorKind::NotNow(why),
                        Refusal::Sql(why) => CallErrorKind::Refused(why),
                    };
                    self.error(on, kind)
                })
            })
            .await
    }
}

#[async_trait]
impl World for SimWorld {
    fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    async fn gather(&self, desired: &Desired) -> Result<Gathered, ObserveError> {
        let failure = || StoreError::Unreachable {
            url: "mem:".to_owned(),
            why: "simulated".to_owned(),
        };
        let records = self
            .process
            .call(&self.chance, failure, || self.store.records())
            .await?;
        tokio::time::sleep(self.chance.millis(0, 30)).await;
        self.process.breathe().await;
        let lossy = self.chance.trouble_now();
        let answers = |host: &HostName| self.hosts.is_up(host) && !self.chance.happens(lossy);
        Ok(look(records, desired, &self.servers, answers))
    }

    async fn execute_sql(&self, on: &Target, sql: Sql) -> Result<(), CallError> {
        self.call(on, || {
            self.servers.execute(&on.alias, on.term, &sql.statements)
        })
        .await
    }

    async fn set_read_only(
        &self,
        on: &Target,
        read_only: bool,
        hold: Duration,
    ) -> Result<String, CallError> {
        self.call(on, || {
            self.servers
                .set_read_only(&on.alias, on.term, read_only, hold)
        })
        .await
    }

    async fn wait_for_position(
        &self,
        on: &Target,
        position: &str,
        wait: Duration,
    ) -> Result<bool, CallError> {
        let until = Instant::now() + wait;
        loop {
            let reached = self
                .call(on, || self.servers.has(&on.alias, position))
                .await?;
            if reached || Instant::now() >= until {
                return Ok(reached);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    async fn position(&self, on: &Target) -> Result<String, CallError> {
        Err(self.no_data(on))
    }

    async fn query(
        &self,
        on: &Target,
        _query: &str,
    ) -> Result<Vec<HashMap<String, String>>, CallError> {
        Err(self.no_data(on))
    }

    async fn observe_streams(
        &self,
        _host: &HostRecord,
        _keyspace: &KeyspaceName,
        _workflow: &WorkflowName,
    ) -> Result<Vec<StreamSeen>, CallError> {
        Ok(Vec::new())
    }

    async fn resume_streams(
        &self,
        _host: &HostRecord,
        _keyspace: &KeyspaceName,
        _workflow: &WorkflowName,
    ) -> Result<(), CallError> {
        Ok(())
    }

    async fn wait_for_stream(
        &self,
        on: &Target,
        _stream: &StreamName,
        _position: &str,
        _wait: Duration,
    ) -> Result<bool, CallError> {
        Err(self.no_data(on))
    }

    async fn prepare_fence(
        &self,
        on: &Target,
        _fence: &FenceName,
        _tables: &TablesToFence,
        _set: FenceSetting,
        _within: Option<Duration>,
    ) -> Result<bool, CallError> {
        Err(self.no_data(on))
    }

    async fn set_fence(
        &self,
        on: &Target,
        _fence: &FenceName,
        _set: FenceSetting,
        _wait: Duration,
    ) -> Result<String, CallError> {
        Err(self.no_data(on))
    }

    async fn remove_fence(
        &self,
        on: &Target,
        _fence: &FenceName,
        _decided: Revision,
        _within: Option<Duration>,
    ) -> Result<bool, CallError> {
        Err(self.no_data(on))
    }

    async fn mend_server(&self, _: &Target, _: &[Deviation]) -> Result<(), CallError> {
        // Simulated servers do not deviate.
        Ok(())
    }

    async fn fill_lookup(
        &self,
        _: &vtplan_state::model::Records,
        _: &KeyspaceName,
        _: &str,
    ) -> Result<crate::lookup::Filled, crate::lookup::FillError> {
        // Simulated tables hold no rows that a lookup is of.
        Ok(crate::lookup::Filled::default())
    }

    fn now(&self) -> UnixMillis {
        self.chance.clock(self.started)
    }

    async fn failpoint(&self, name: &str) {
        let between = name == "conductor.reparent-read-only";
        if between && self.chance.trouble_now() > 0 && self.chance.happens(300) {
            // The worst moment for the old primary's agent to forget that it holds writes.
            for host in self.hosts.all() {
                self.servers.agent_restarts(&host);
            }
            tokio::time::sleep(self.chance.millis(0, 3_000)).await;
        }
        // Another moment at which a process may die or stand still.
        let nothing = self
            .process
            .call(&self.chance, || (), || Ok::<(), ()>(()))
            .await;
        // That a call of nothing fails means nothing.
        let _ = nothing;
    }
}
