//! The world of a conductor that moves data: calls that fail, are done although they fail, are done
//! long after they failed.

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use futures::future::BoxFuture;
use tokio::time::{Instant, sleep};
use vtplan_planner::desired::Desired;
use vtplan_planner::live::{Live, Observed};
use vtplan_planner::seen::Deviation;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{HostRecord, KeyspaceName, Revision, UnixMillis, WorkflowName};

use super::data::{Data, FenceRow, Place, StreamKey, running};
use super::streams::{StreamLocks, observe};
use crate::client::{CallError, CallErrorKind};
use crate::conductor::sim::faults::{Chance, Fault, Process};
use crate::conductor::sim::servers::Refusal;
use crate::conductor::workflow::streams::StreamSeen;
use crate::conductor::world::{
    FenceName, FenceSetting, Sql, StreamName, TablesToFence, Target, World,
};
use crate::observe::{Gathered, ObserveError};

pub struct MoveWorld {
    pub cluster: Cluster,
    pub process: Arc<Process>,
    pub chance: Arc<Chance>,
    pub data: Arc<Data>,
    pub locks: Arc<StreamLocks>,
    pub started: Instant,
}

type Answer<T> = Result<T, Refusal>;

impl MoveWorld {
    fn place(&self, on: &Target) -> Place {
        let records = self.data.store.records().expect("records can be read");
        let tablet = &records.tablets[&on.alias];
        (tablet.keyspace.clone(), tablet.shard.clone())
    }

    fn error(&self, host: &HostRecord, kind: CallErrorKind) -> CallError {
        CallError {
            host: host.name.clone(),
            url: host.agent_url.clone(),
            kind,
        }
    }

    /// A call to an agent. Once it has got there it is done, whoever waits for it.
    async fn call<T: Send + 'static>(
        &self,
        host: &HostRecord,
        work: impl FnOnce() -> BoxFuture<'static, Answer<T>> + Send + 'static,
    ) -> Result<T, CallError> {
        let lost = || self.error(host, CallErrorKind::Unreachable("simulated".into()));
        self.process.breathe().await;
        sleep(self.chance.millis(0, 4)).await;
        self.process.breathe().await;
        let fault = self.chance.fault();
        match fault {
            Some(Fault::DieBefore) => self.process.kill(),
            Some(Fault::Fail) => {
                if self.chance.happens(500) {
                    // It is on its way, and gets there when nobody expects it any more.
                    let late = self.chance.millis(1, 8_000);
                    tokio::spawn(async move {
                        sleep(late).await;
                        let _ = work().await;
                    });
                }
                return Err(lost());
            }
            Some(Fault::PauseBefore(time)) => self.process.pause(time),
            _ => {}
        }
        self.process.breathe().await;
        let answer = tokio::spawn(work())
            .await
            .expect("simulated calls do not panic");
        match fault {
            Some(Fault::DieAfter) => self.process.kill(),
            Some(Fault::LoseReply) => return Err(lost()),
            Some(Fault::PauseAfter(time)) => self.process.pause(time),
            _ => {}
        }
        self.process.breathe().await;
        answer.map_err(|refusal| {
            let kind = match refusal {
                Refusal::NotNow(why) => CallErrorKind::NotNow(why),
                Refusal::Sql(why) => CallErrorKind::Refused(why),
            };
            self.error(host, kind)
        })
    }
}

#[async_trait]
impl World for MoveWorld {
    fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    async fn gather(&self, _desired: &Desired) -> Result<Gathered, ObserveError> {
        Ok(Gathered {
            live: Live {
                records: self.cluster.load_records().await?,
                observed: Observed::default(),
            },
            ..Gathered::default()
        })
    }

    async fn execute_sql(&self, on: &Target, sql: Sql) -> Result<(), CallError> {
        let (data, at) = (self.data.clone(), self.place(on));
        self.call(&on.host, move || {
            Box::pin(async move {
                for statement in &sql.statements {
                    data.change("a statement", |inner| {
                        run(running(inner, &at)?, statement);
                        Ok(())
                    })?;
                }
                Ok(())
            })
        })
        .await
    }

    async fn set_read_only(
        &self,
        on: &Target,
        _read_only: bool,
        _hold: Duration,
    ) -> Result<String, CallError> {
        Err(self.error(&on.host, CallErrorKind::Refused("no reparents here".into())))
    }

    async fn wait_for_position(
        &self,
        on: &Target,
        _position: &str,
        _wait: Duration,
    ) -> Result<bool, CallError> {
        Err(self.error(&on.host, CallErrorKind::Refused("no replicas here".into())))
    }

    async fn position(&self, on: &Target) -> Result<String, CallError> {
        let (data, at) = (self.data.clone(), self.place(on));
        self.call(&on.host, move || {
            Box::pin(async move { Ok(running(&mut data.lock(), &at)?.log.len().to_string()) })
        })
        .await
    }

    async fn query(
        &self,
        on: &Target,
        query: &str,
    ) -> Result<Vec<HashMap<String, String>>, CallError> {
        let (data, at, query) = (self.data.clone(), self.place(on), query.to_owned());
        self.call(&on.host, move || {
            Box::pin(async move {
                let mut inner = data.lock();
                let server = running(&mut inner, &at)?;
                if query.contains("_vt") {
                    return Ok(vec![HashMap::from([("tables_there".into(), "3".into())])]);
                }
                let name = query.split('`').nth(1).unwrap_or_default();
                let table = server
                    .tables
                    .iter()
                    .find(|(table, _)| table.as_str() == name);
                let Some((_, rows)) = table else {
                    return Err(Refusal::Sql(format!("there is no table {name}")));
                };
                Ok(rows.keys().take(1).map(|_| HashMap::new()).collect())
            })
        })
        .await
    }

    async fn observe_streams(
        &self,
        host: &HostRecord,
        keyspace: &KeyspaceName,
        workflow: &WorkflowName,
    ) -> Result<Vec<StreamSeen>, CallError> {
        let (data, locks, name) = (self.data.clone(), self.locks.clone(), host.name.clone());
        let (keyspace, workflow) = (keyspace.clone(), workflow.clone());
        self.call(host, move || {
            Box::pin(async move {
                let records = data.store.records();
                let records = records.map_err(|e| Refusal::NotNow(e.to_string()))?;
                let record = records.workflow(&keyspace, &workflow);
                Ok(record.map_or(Vec::new(), |r| observe(&data, &locks, &name, r)))
            })
        })
        .await
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
        stream: &StreamName,
        position: &str,
        wait: Duration,
    ) -> Result<bool, CallError> {
        let (data, at) = (self.data.clone(), self.place(on));
        let name = format!("{}.{}", stream.keyspace, stream.workflow);
        let key: StreamKey = (name, stream.from.clone(), stream.epoch);
        let wanted: usize = position.parse().unwrap_or(usize::MAX);
        let until = Instant::now() + wait;
        self.call(&on.host, move || {
            Box::pin(async move {
                loop {
                    let there = running(&mut data.lock(), &at)?.vt.get(&key).cloned();
                    let reached = there.is_some_and(|row| row.copied && row.pos >= wanted);
                    if reached || Instant::now() >= until {
                        return Ok(reached);
                    }
                    sleep(Duration::from_millis(3)).await;
                }
            })
        })
        .await
    }

    async fn prepare_fence(
        &self,
        on: &Target,
        fence: &FenceName,
        tables: &TablesToFence,
        set: FenceSetting,
        within: Option<Duration>,
    ) -> Result<bool, CallError> {
        let (data, at) = (self.data.clone(), self.place(on));
        // Time is up before all is done.
        let cut = within.is_none() || self.chance.happens(100);
        let workflow = fence.workflow.clone().unwrap_or_default();
        let row = FenceRow {
            closed: set.closed,
            decided: set.decided,
            tables: tables.tables.iter().cloned().collect(),
        };
        self.call(&on.host, move || {
            Box::pin(async move {
                if cut {
                    return data.has_fence(&at, &workflow, &row);
                }
                data.prepare_fence(&at, &workflow, row).map(|()| true)
            })
        })
        .await
    }

    async fn set_fence(
        &self,
        on: &Target,
        fence: &FenceName,
        set: FenceSetting,
        wait: Duration,
    ) -> Result<String, CallError> {
        let (data, at, workflow) = (self.data.clone(), self.place(on), fence.workflow.clone());
        let until = Instant::now() + wait;
        self.call(&on.host, move || {
            Box::pin(async move {
                loop {
                    let done = match &workflow {
                        Some(workflow) => data.set_fence(&at, workflow, set.closed, set.decided)?,
                        None if data.follow_shard(&at)? == set.closed => {
                            return Err(Refusal::NotNow("the record says otherwise".into()));
                        }
                        None => Some(running(&mut data.lock(), &at)?.log.len().to_string()),
                    };
                    match done {
                        Some(position) => return Ok(position),
                        None if Instant::now() >= until => {
                            return Err(Refusal::NotNow("transactions are open".into()));
                        }
                        None => sleep(Duration::from_millis(3)).await,
                    }
                }
            })
        })
        .await
    }

    async fn remove_fence(
        &self,
        on: &Target,
        fence: &FenceName,
        decided: Revision,
        within: Option<Duration>,
    ) -> Result<bool, CallError> {
        let (data, at) = (self.data.clone(), self.place(on));
        let workflow = fence.workflow.clone().unwrap_or_default();
        let cut = within.is_none() || self.chance.happens(100);
        self.call(&on.host, move || {
            Box::pin(async move {
                if cut && data.is_fenced(&at, &workflow)? {
                    return Ok(false);
                }
                data.remove_fence(&at, &workflow, decided).map(|()| true)
            })
        })
        .await
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

    async fn failpoint(&self, _name: &str) {
        // Another moment at which a process may die or stand still.
        let nothing = self
            .process
            .call(&self.chance, || (), || Ok::<(), ()>(()))
            .await;
        // That a call of nothing fails means nothing.
        let _ = nothing;
    }
}

/// The few statements that workflows need.
fn run(server: &mut super::data::Server, statement: &str) {
    let quoted = |quote| statement.split(quote).nth(1).unwrap_or_default().to_owned();
    if statement.starts_with("UPDATE _vt.vreplication SET sealed") {
        let workflow = quoted('\'');
        let number =
            |mark: &str| -> Option<u64> { statement.split_once(mark)?.1.trim().parse().ok() };
        // Without a number: all.
        let before = number("epoch < ").unwrap_or(u64::MAX);
        for ((of, _, epoch), row) in &mut server.vt {
            if *of == workflow && *epoch < before {
                row.sealed = true;
            }
        }
    } else if statement.starts_with("INSERT INTO _vt.vreplication") {
        server.ended.insert(quoted('\''));
    } else if statement.starts_with("DELETE FROM _vt.vreplication WHERE") {
        let workflow = quoted('\'');
        server.vt.retain(|(of, _, _), _| *of != workflow);
    } else if statement.starts_with("DROP TABLE") {
        for name in statement.split('`').skip(1).step_by(2) {
            server.tables.retain(|table, _| table.as_str() != name);
        }
    }
}
