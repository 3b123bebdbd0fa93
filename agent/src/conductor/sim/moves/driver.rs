//! Conductors of the simulation: some take the lock and do one step after the other towards what
//! is wanted of the workflow, others only look for what was cut off, as [`conduct`] does.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use vtplan_planner::plan::{Action, Estimate, Origin, Risk, Step};
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{
    CellName, Ending, FlavorKind, HostName, HostRecord, Side, TabletType, WorkflowRecord,
};
use vtplan_state::store::lock::TryLock;
use vtplan_state::store::{Lock, LockGuard, LockRecord, Op, StoreError, Txn};

use super::data::{Data, running};
use super::streams::StreamLocks;
use super::world::MoveWorld;
use crate::conductor::sim::faults::{Chance, Process};
use crate::conductor::sim::store::Handle;
use crate::conductor::step::{Attempt, Outcome, act};
use crate::conductor::switch::leftover;
use crate::conductor::world::World;
use crate::conductor::write::Fenced;
use crate::conductor::{Settings, conduct};

/// What is wanted of the workflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goal {
    /// All traffic at the target.
    Forward,
    /// All traffic at the source.
    Back,
    Complete,
    Cancel,
}

/// The workflow that a seed is about.
#[derive(Clone)]
pub struct Mission {
    /// As it begins.
    pub workflow: WorkflowRecord,
    pub start: Action,
    pub max_write_pause_ms: u64,
    pub goal: Arc<Mutex<Goal>>,
    /// Whether the workflow was there once: it is not started again.
    pub started: Arc<AtomicBool>,
}

impl Mission {
    pub fn goal(&self) -> Goal {
        *self.goal.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_goal(&self, goal: Goal) {
        *self.goal.lock().unwrap_or_else(PoisonError::into_inner) = goal;
    }

    /// The next step, by what planning would say.
    pub fn next(&self, record: Option<&WorkflowRecord>) -> Option<Action> {
        let goal = self.goal();
        let (keyspace, workflow) = (
            self.workflow.target.keyspace.clone(),
            self.workflow.name.clone(),
        );
        let Some(record) = record else {
            return (!self.started.load(Ordering::Relaxed)).then(|| self.start.clone());
        };
        self.started.store(true, Ordering::Relaxed);
        let switch = |tablet_types: Vec<TabletType>, to| Action::SwitchTraffic {
            keyspace: keyspace.clone(),
            workflow: workflow.clone(),
            tablet_types,
            to,
            max_write_pause_ms: self.max_write_pause_ms,
            window: None,
            raise: Vec::new(),
        };
        let reads = || vec![TabletType::Replica, TabletType::Rdonly];
        let complete = Action::CompleteWorkflow {
            keyspace: keyspace.clone(),
            workflow: workflow.clone(),
            workflow_kind: record.kind,
            source: record.source.clone(),
            tables: record.tables.clone(),
        };
        let cancel = Action::CancelWorkflow {
            keyspace: keyspace.clone(),
            workflow: workflow.clone(),
            workflow_kind: record.kind,
            target: record.target.clone(),
            tables: record.tables.clone(),
        };
        match record.ending {
            Some(Ending::Completing) => return Some(complete),
            Some(Ending::Cancelling) => return Some(cancel),
            None => {}
        }
        match goal {
            Goal::Forward | Goal::Complete => {
                if !record.copied {
                    return Some(Action::WaitForCopy { keyspace, workflow });
                }
                if record.reads_switched.len() < 2 {
                    return Some(switch(reads(), Side::Target));
                }
                if record.writes != Side::Target || record.switch.is_some() {
                    return Some(switch(vec![TabletType::Primary], Side::Target));
                }
                (goal == Goal::Complete).then_some(complete)
            }
            Goal::Back | Goal::Cancel => {
                if record.writes != Side::Source || record.switch.is_some() {
                    return Some(switch(vec![TabletType::Primary], Side::Source));
                }
                if goal == Goal::Cancel {
                    return Some(cancel);
                }
                (!record.reads_switched.is_empty()).then(|| switch(reads(), Side::Source))
            }
        }
    }
}

/// A host: its agent keeps servers as the records say, and takes part in conducting.
pub struct MoveHost {
    pub name: HostName,
    pub data: Arc<Data>,
    pub locks: Arc<StreamLocks>,
    pub chance: Arc<Chance>,
    pub mission: Mission,
    /// Whether it does steps, or only settles what is left over.
    pub drives: bool,
    pub started: Instant,
}

impl MoveHost {
    pub async fn live(self) {
        loop {
            let process = Process::new();
            let store = Handle::of_conductor(&self.data.store, &process, &self.chance);
            let world = MoveWorld {
                cluster: Cluster::new(store, "sim").expect("the name of a cluster"),
                process: process.clone(),
                chance: self.chance.clone(),
                data: self.data.clone(),
                locks: self.locks.clone(),
                started: self.started,
            };
            let settings = Settings::default();
            tokio::select! {
                biased;
                () = process.died() => {}
                () = self.drive(&world) => {}
                () = conduct(&world, &self.name, &settings), if !self.drives => {}
            }
            sleep(self.chance.millis(500, 15_000)).await;
        }
    }

    async fn drive(&self, world: &MoveWorld) {
        loop {
            sleep(self.chance.millis(50, 1_000)).await;
            if self.drives {
                // An error of the store: next time.
                let _ = self.hold_lock(world).await;
            }
        }
    }

    async fn hold_lock(&self, world: &MoveWorld) -> Result<(), StoreError> {
        let key = world.cluster.keys().apply_lock();
        let record = LockRecord::new(self.name.as_str(), "simulation", "moves");
        let ttl = Duration::from_secs(10);
        let taken = Lock::try_acquire(world.cluster.store(), &key, ttl, &record).await?;
        let TryLock::Acquired(guard) = taken else {
            return Ok(());
        };
        tokio::select! {
            biased;
            () = guard.lost() => {}
            done = self.work(world, &guard) => done?,
        }
        guard.release().await
    }

    /// Steps, until there is none or it is somebody else's turn.
    async fn work(&self, world: &MoveWorld, guard: &LockGuard) -> Result<(), StoreError> {
        let lock = guard.compare();
        let to = Fenced { world, lock: &lock };
        if let Err(Outcome::Superseded) = leftover::settle_all(to).await {
            return Ok(());
        }
        for number in 0..self.chance.number(1, 40) {
            let records = world.cluster.load_records().await?;
            let workflow = &self.mission.workflow;
            let record = records.workflow(&workflow.target.keyspace, &workflow.name);
            let Some(action) = self.mission.next(record) else {
                return Ok(());
            };
            let step = Step {
                id: "step".into(),
                after: Vec::new(),
                risk: Risk::Safe,
                estimate: Estimate::default(),
                reason: String::new(),
                origin: Origin::Spec,
                action,
            };
            let attempt = Attempt {
                plan: "p".into(),
                first: number == 0,
                seen: Arc::new(world.gather(&super::nothing()).await.map_err(|e| match e {
                    crate::observe::ObserveError::Store(error) => error,
                })?),
            };
            match act(to, step, attempt).await {
                Outcome::Superseded => return Ok(()),
                Outcome::Impossible(why) => {
                    // Only what was asked for under a goal that has changed meanwhile.
                    tracing::debug!(why, "impossible");
                }
                _ => {}
            }
            sleep(Duration::from_millis(200)).await;
        }
        Ok(())
    }
}

/// The agents' part with servers: read-only or not, as the records say; crashes and restarts.
pub async fn keep_servers(data: Arc<Data>, chance: Arc<Chance>) {
    let mut view = data.store.records().expect("records can be read");
    loop {
        sleep(chance.millis(40, 500)).await;
        let trouble = chance.trouble_now() > 0;
        let places: Vec<_> = data.lock().servers.keys().cloned().collect();
        for place in places {
            let takes = view
                .shard(&place.0, &place.1)
                .is_some_and(|s| s.takes_writes());
            let (down, read_only) = {
                let inner = data.lock();
                let server = &inner.servers[&place];
                (server.down, server.read_only)
            };
            if down {
                // Without trouble it comes back at the next look.
                if !trouble || chance.happens(60) {
                    data.change("a server's start", |inner| {
                        if let Some(server) = inner.servers.get_mut(&place) {
                            server.down = false;
                        }
                    });
                }
            } else if trouble && chance.happens(4) {
                data.change("a server's crash", |inner| {
                    if let Ok(server) = running(inner, &place) {
                        server.crash();
                    }
                });
            } else if takes == read_only {
                // What it does, it does by the record as it is now.
                let _ = data.follow_shard(&place);
            }
        }
        if !(trouble && chance.happens(600))
            && let Ok(now) = data.store.records()
        {
            view = now;
        }
    }
}

pub fn host_record(name: &HostName) -> HostRecord {
    HostRecord {
        name: name.clone(),
        cell: super::CELL.parse::<CellName>().expect("a valid name"),
        address: "127.0.0.1".into(),
        agent_url: "http://127.0.0.1:1".into(),
        capacity: 50,
        first_mysql_port: 17_000,
        flavor: FlavorKind::MariaDb,
        server_version: "10.11.6".into(),
        version: "0.1.0".into(),
        started_at: 0,
        tablets_dir: "/t".into(),
    }
}

/// Writes records as the simulation itself.
pub async fn put(cluster: &Cluster, ops: Vec<Op>) {
    let mut txn = Txn::new();
    txn.ops = ops;
    cluster
        .store()
        .txn(txn)
        .await
        .expect("the simulation's store does not fail");
}
