//! Simulated data moves: servers with rows, streams, gates with sessions, and conductors that are cut
//! off, late and wrong about what they have done.
//!
//! A seed is a workflow (a MoveTables to one shard or several, or a Reshard of N shards to M), driven
//! to changing goals under faults: to the target, back, to its end either way. Gates write all the
//! time. After each event it must hold that
//!
//! - no two servers take writes of one row that anybody, however late, routes to;
//! - a server that takes a write has the one that was acknowledged before it;
//!
//! and when the faults are over, what is wanted is reached, no hold or switch is left, every row has
//! an owner that takes writes and has what was acknowledged, and both sides of a workflow that goes
//! on are equal.
//!
//! `VTPLAN_SIM_SEEDS` and `VTPLAN_SIM_SEED`: as in [`super`].

mod data;
mod driver;
mod gates;
mod routes;
mod streams;
mod world;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use vtplan_planner::desired::Desired;
use vtplan_planner::plan::Action;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::keys::Keys;
use vtplan_state::model::{
    Durability, FlavorKind, HostName, KeyspaceName, KeyspaceRecord, ShardName, ShardRecord, Side,
    TabletAlias, TabletRecord, TabletType, VSchemaKeyspace, VSchemaTable, WorkflowKind,
    WorkflowRecord, WorkflowSide,
};
use vtplan_state::store::Op;

use self::data::{Data, Place};
use self::driver::{Goal, Mission, MoveHost, host_record, keep_servers, put};
use self::gates::Gate;
use self::streams::{Runner, StreamLocks};
use super::faults::Chance;
use super::store::{Handle, MemStore};
use crate::conductor::workflow::tests::move_tables;

pub const CELL: &str = "zone1";

/// How many seeds a plain test run takes.
const SEEDS: u64 = 40;

#[test]
fn no_write_is_lost_and_no_row_has_two_owners_whatever_fails_in_a_move() {
    let number = |name: &str| -> Option<u64> { std::env::var(name).ok()?.parse().ok() };
    let seeds = match number("VTPLAN_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("VTPLAN_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let mut seen = Seen::default();
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let run = runtime.block_on(async { Simulation::new(seed).await.run(&mut seen).await });
        if let Err(problem) = run {
            panic!("seed {seed}: {problem}\nrun it alone with VTPLAN_SIM_SEED={seed}");
        }
    }
    println!("{seen:?}");
}

/// What happened, to see that the simulation does what it is for.
#[derive(Debug, Default)]
struct Seen {
    writes: u64,
    turns: u64,
    undone: u64,
    completed: u64,
    measured: usize,
    cancelled: u64,
}

/// The spec of which steps here know nothing.
fn nothing() -> Desired {
    Desired {
        drift: Default::default(),
        cluster: "sim".into(),
        cells: Vec::new(),
        keyspaces: BTreeMap::new(),
        changes: Default::default(),
        backups: None,
        policy: Default::default(),
        gates: BTreeMap::new(),
        users: BTreeMap::new(),
    }
}

struct Simulation {
    chance: Arc<Chance>,
    store: Arc<MemStore>,
    data: Arc<Data>,

    mission: Mission,
}

fn shards(names: &[&str]) -> Vec<ShardName> {
    let parse = |name: &&str| name.parse().expect("a valid name");
    names.iter().map(parse).collect()
}

fn draw_workflow(chance: &Chance) -> WorkflowRecord {
    let tables = ["corder", "customer"];
    let tables = &tables[..chance.pick(&[1, 2]).to_owned()];
    let covers: [&[&str]; 4] = [
        &["0"],
        &["-80", "80-"],
        &["-40", "40-a0", "a0-"],
        &["-c0", "c0-"],
    ];
    if chance.happens(500) {
        let mut workflow = move_tables("commerce", "customer", tables);
        workflow.source.shards = shards(covers[chance.number(0, 2) as usize]);
        workflow.target.shards = shards(covers[chance.number(0, 4) as usize]);
        return workflow;
    }
    let mut workflow = move_tables("customer", "customer", tables);
    workflow.kind = WorkflowKind::Reshard;
    workflow.name = "cust2cust".parse().expect("a valid name");
    let from = chance.number(0, 4) as usize;
    let to = (from + chance.number(1, 4) as usize) % 4;
    workflow.source.shards = shards(covers[from]);
    workflow.target.shards = shards(covers[to]);
    workflow
}

impl Simulation {
    async fn new(seed: u64) -> Self {
        let chance = Arc::new(Chance::new(seed));
        let keys = Keys::new("sim");
        let store = MemStore::new(keys.clone());
        let cluster =
            Cluster::new(Handle::of_simulation(&store), "sim").expect("the name of a cluster");
        let workflow = draw_workflow(&chance);
        let data = Data::new(store.clone());
        let hosts: Vec<HostName> = ["a", "b", "c"]
            .map(|name| name.parse().expect("a valid name"))
            .to_vec();
        let places = set_up(&cluster, &data, &workflow, &hosts).await;
        allow(&store, &keys, &workflow, &places);
        let entry = VSchemaTable::default();
        let vschema = (workflow.tables.iter())
            .filter(|_| workflow.kind == WorkflowKind::MoveTables)
            .map(|table| (table.to_string(), entry.clone()))
            .collect();
        let mission = Mission {
            start: Action::StartWorkflow {
                workflow: workflow.name.clone(),
                workflow_kind: workflow.kind,
                source: workflow.source.clone(),
                target: workflow.target.clone(),
                tables: workflow.tables.clone(),
                throttle_max_lag_seconds: 5,
                vschema,
            },
            workflow,
            max_write_pause_ms: chance.number(150, 1_500),
            goal: Arc::new(Mutex::new(Goal::Forward)),
            started: Arc::default(),
        };
        let this = Self {
            chance,
            store,
            data,

            mission,
        };
        this.begin(&hosts);
        this
    }

    /// Everything that lives.
    fn begin(&self, hosts: &[HostName]) {
        let locks = Arc::new(StreamLocks::default());
        let started = Instant::now();
        for (number, name) in hosts.iter().enumerate() {
            let host = MoveHost {
                name: name.clone(),
                data: self.data.clone(),
                locks: locks.clone(),
                chance: self.chance.clone(),
                mission: self.mission.clone(),
                drives: number > 0,
                started,
            };
            tokio::spawn(host.live());
            let runner = Runner {
                host: name.clone(),
                data: self.data.clone(),
                locks: locks.clone(),
                chance: self.chance.clone(),
            };
            tokio::spawn(runner.live());
        }
        for name in ["g1", "g2"] {
            let gate = Gate {
                name: name.parse().expect("a valid name"),
                data: self.data.clone(),
                store: self.store.clone(),
                chance: self.chance.clone(),
                tables: self.mission.workflow.tables.clone(),
            };
            tokio::spawn(gate.live());
        }
        tokio::spawn(keep_servers(self.data.clone(), self.chance.clone()));
        let ticking = self.store.clone();
        tokio::spawn(async move {
            loop {
                sleep(Duration::from_millis(300)).await;
                ticking.tick();
            }
        });
    }

    async fn run(&self, seen: &mut Seen) -> Result<(), String> {
        for _ in 0..self.chance.number(1, 5) {
            let goal = *self
                .chance
                .pick(&[Goal::Forward, Goal::Forward, Goal::Back]);
            self.mission.set_goal(goal);
            let lasting = self.chance.millis(1_000, 15_000);
            let per_mille = u32::try_from(self.chance.number(0, 40)).unwrap_or(0);
            self.chance.make_trouble(lasting, per_mille);
            let until = Instant::now() + self.chance.millis(500, 20_000);
            while Instant::now() < until {
                sleep(Duration::from_millis(250)).await;
                self.check_now()?;
            }
        }
        let ends = [Goal::Forward, Goal::Back, Goal::Complete, Goal::Cancel];
        let goal = *self.chance.pick(&ends);
        self.mission.set_goal(goal);
        // Sometimes the end itself is what meets trouble.
        let lasting = self.chance.millis(0, 10_000);
        self.chance.make_trouble(lasting, 20);
        self.converge(goal, seen).await
    }

    fn check_now(&self) -> Result<(), String> {
        match self.store.violations().first() {
            Some(violation) => Err(violation.clone()),
            None => Ok(()),
        }
    }

    /// Waits until what is wanted is reached, and checks that all is well then.
    async fn converge(&self, goal: Goal, seen: &mut Seen) -> Result<(), String> {
        let until = Instant::now() + Duration::from_secs(400);
        let workflow = &self.mission.workflow;
        loop {
            sleep(Duration::from_millis(500)).await;
            self.check_now()?;
            let records = self.store.records().map_err(|e| e.to_string())?;
            let record = records.workflow(&workflow.target.keyspace, &workflow.name);
            if record.is_some_and(|record| record.switch_failure.is_some()) {
                seen.undone += 1;
            }
            let reached = self.mission.next(record).is_none() && records.holds.is_empty();
            if reached && self.chance.trouble_now() == 0 {
                break;
            }
            if Instant::now() > until {
                return Err(format!(
                    "{goal:?} is not reached: {record:#?}, holds {:?}",
                    records.holds.keys()
                ));
            }
        }
        // Servers restart, late calls arrive, streams bring what was written last.
        sleep(Duration::from_secs(10)).await;
        self.check_now()?;
        self.check_end(goal, seen).await
    }

    async fn check_end(&self, goal: Goal, seen: &mut Seen) -> Result<(), String> {
        let workflow = &self.mission.workflow;
        let records = self.store.records().map_err(|e| e.to_string())?;
        if !records.holds.is_empty() {
            return Err(format!("holds are left: {:?}", records.holds.keys()));
        }
        self.data.check_end(&records)?;
        let measured = records.rates.copies.len();
        if measured > 1 {
            return Err(format!("one copy was measured {measured} times"));
        }
        seen.measured += measured;
        let record = records.workflow(&workflow.target.keyspace, &workflow.name);
        seen.writes += std::mem::take(&mut self.data.lock().writes);
        match (goal, record) {
            (Goal::Complete | Goal::Cancel, Some(_)) => Err("its record is left".to_owned()),
            (Goal::Complete, None) => {
                seen.completed += 1;
                if measured == 0 {
                    return Err("its copy was not measured".to_owned());
                }
                self.check_gone(Side::Source)
            }
            (Goal::Cancel, None) => {
                seen.cancelled += 1;
                self.check_gone(Side::Target)
            }
            (_, None) => Err("the workflow is gone".to_owned()),
            (_, Some(record)) => {
                seen.turns += record.streams.epoch - 1;
                // Nobody writes any more, so that streams can bring all.
                self.data.stop_writes();
                sleep(Duration::from_secs(8)).await;
                self.check_now()?;
                if record.copied {
                    for side in [Side::Source, Side::Target] {
                        self.data
                            .check_equal(&places_of(workflow.side(side)), &workflow.tables)?;
                    }
                }
                Ok(())
            }
        }
    }

    /// What must be gone when a workflow has ended, on the side that loses its tables.
    fn check_gone(&self, side: Side) -> Result<(), String> {
        let workflow = &self.mission.workflow;
        if workflow.kind == WorkflowKind::Reshard {
            return Ok(());
        }
        let records = self.store.records().map_err(|e| e.to_string())?;
        if !records.routing.rules.is_empty() {
            return Err(format!("rules are left: {:?}", records.routing.rules));
        }
        let inner = self.data.lock();
        for place in places_of(workflow.side(side)) {
            let left = workflow
                .tables
                .iter()
                .find(|t| inner.servers[&place].tables.contains_key(*t));
            if let Some(table) = left {
                return Err(format!("{place:?} still has {table}"));
            }
        }
        let fenced = |fence: &data::FenceRow| !fence.tables.is_empty();
        if inner
            .servers
            .values()
            .any(|s| s.fences.values().any(fenced))
        {
            return Err("fences are left".to_owned());
        }
        Ok(())
    }
}

fn places_of(side: &WorkflowSide) -> Vec<Place> {
    let place = |shard: &ShardName| (side.keyspace.clone(), shard.clone());
    side.shards.iter().map(place).collect()
}

/// The records that steps of this workflow may write.
fn allow(store: &MemStore, keys: &Keys, workflow: &WorkflowRecord, places: &[Place]) {
    let (keyspace, name) = (&workflow.target.keyspace, &workflow.name);
    let mut allowed = BTreeSet::from([
        keys.workflow(keyspace, name),
        keys.vdiffs(keyspace, name),
        keys.rates(),
        keys.hold(&workflow.full_name()),
        keys.hold(&format!("fence/{}", workflow.full_name())),
    ]);
    if workflow.kind == WorkflowKind::MoveTables {
        allowed.insert(keys.routing());
        for side in [&workflow.source, &workflow.target] {
            allowed.insert(keys.vschema(&side.keyspace));
        }
    } else {
        allowed.extend(places.iter().map(|(ks, shard)| keys.shard(ks, shard)));
    }
    store.allow(allowed);
}

/// Records and servers as they are before the workflow starts.
async fn set_up(
    cluster: &Cluster,
    data: &Data,
    workflow: &WorkflowRecord,
    hosts: &[HostName],
) -> Vec<Place> {
    let keys = cluster.keys();
    let mut ops = Vec::new();
    for host in hosts {
        ops.push(Op::put(keys.host(host), &host_record(host)));
    }
    let keyspaces: BTreeSet<&KeyspaceName> =
        [&workflow.source.keyspace, &workflow.target.keyspace].into();
    for name in keyspaces {
        let record = KeyspaceRecord {
            name: name.clone(),
            durability: Durability::None,
        };
        ops.push(Op::put(keys.keyspace(name), &record));
        let mut vschema = VSchemaKeyspace::default();
        if *name == workflow.source.keyspace {
            for table in &workflow.tables {
                let entry = VSchemaTable::default();
                vschema.tables.insert(table.to_string(), entry);
            }
        }
        ops.push(Op::put(keys.vschema(name), &vschema));
    }
    let mut places = Vec::new();
    for side in [Side::Source, Side::Target] {
        for place in places_of(workflow.side(side)) {
            let uid = 100 + u32::try_from(places.len()).unwrap_or(0);
            let alias: TabletAlias = format!("{CELL}-{uid:010}").parse().expect("a valid alias");
            let (keyspace, shard) = place.clone();
            let serving = side == Side::Source || workflow.kind == WorkflowKind::MoveTables;
            let tablet = TabletRecord {
                alias: alias.clone(),
                keyspace: keyspace.clone(),
                shard: shard.clone(),
                tablet_type: TabletType::Replica,
                host: hosts[places.len() % hosts.len()].clone(),
                mysql_port: 17_000,
                flavor: FlavorKind::MariaDb,
                server: Default::default(),
            };
            let record = ShardRecord {
                keyspace: keyspace.clone(),
                shard: shard.clone(),
                primary: Some(alias.clone()),
                term: 1,
                serving,
                serving_reads: Default::default(),
                fenced: false,
            };
            ops.push(Op::put(keys.tablet(&alias), &tablet));
            ops.push(Op::put(keys.shard(&keyspace, &shard), &record));
            places.push(place);
        }
    }
    put(cluster, ops).await;
    data.fill(&places_of(&workflow.source), &workflow.tables);
    data.make(&places_of(&workflow.target), &workflow.tables);
    for place in &places {
        let _ = data.follow_shard(place);
    }
    places
}

#[test]
fn a_row_of_each_keyspace_id_is_on_one_shard_of_a_cover() {
    for cover in [
        &["-80", "80-"][..],
        &["-40", "40-a0", "a0-"],
        &["-c0", "c0-"],
    ] {
        for row in 0..data::ROWS {
            let on = shards(cover).into_iter().filter(|s| data::is_on(s, row));
            assert_eq!(on.count(), 1);
        }
    }
}
