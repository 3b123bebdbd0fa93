//! A simulated cluster for the conductor, with a fault at every write and call.
//!
//! Everything runs in one thread under a paused clock, and all chance comes from one seed. Four
//! hosts, each an agent and a conductor, carry out random plans one after the other while processes
//! die and stand still, calls and replies are lost, leases end, servers crash, and a person stops
//! plans and applies others. After each event it must hold that
//!
//! - no two servers of a shard take writes, and no write that one has taken is lost;
//! - terms rise by one with each change of a primary;
//! - conductors write nothing without comparing the lock's token, and nothing that no approved step
//!   is about;
//!
//! and every plan ends: done, then planning gives nothing more; or failed or stopped, then applying
//! again without faults gets it done.
//!
//! `VTPLAN_SIM_SEEDS=N` runs N seeds, `VTPLAN_SIM_SEED=S` only one.

mod faults;
mod hosts;
mod moves;
mod servers;
mod specs;
mod store;
mod world;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;
use vtplan_planner::desired::Desired;
use vtplan_planner::make_plan;
use vtplan_planner::plan::{Action, Plan, PlanError};
use vtplan_state::cluster::Cluster;
use vtplan_state::model::keys::Keys;
use vtplan_state::model::{HostName, PlanStatus};

use self::faults::Chance;
use self::hosts::{Host, Hosts};
use self::servers::Servers;
use self::store::{Handle, MemStore};
use super::Settings;
use crate::observe::Gathered;
use crate::submit::{self, Approval};

/// How many seeds a plain test run takes.
const SEEDS: u64 = 40;

#[test]
fn plans_end_well_whatever_fails_at_any_write_and_call() {
    let number = |name: &str| -> Option<u64> { std::env::var(name).ok()?.parse().ok() };
    let seeds = match number("VTPLAN_SIM_SEED") {
        Some(seed) => seed..seed + 1,
        None => 0..number("VTPLAN_SIM_SEEDS").unwrap_or(SEEDS),
    };
    let mut ends = Ends::default();
    for seed in seeds {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_time()
            .start_paused(true)
            .build()
            .expect("a runtime");
        let run = runtime.block_on(async { Simulation::new(seed).run(&mut ends).await });
        if let Err(problem) = run {
            panic!("seed {seed}: {problem}\nrun it alone with VTPLAN_SIM_SEED={seed}");
        }
    }
    println!("{ends:?}");
}

/// How plans ended, to see that the simulation does what it is for.
#[derive(Debug, Default)]
struct Ends {
    done: u32,
    failed: u32,
    stopped: u32,
    steps: usize,
    refused: u32,
}

struct Simulation {
    chance: Arc<Chance>,
    store: Arc<MemStore>,
    servers: Arc<Servers>,
    hosts: Arc<Hosts>,
    /// The cluster as the simulation itself sees it, without faults.
    cluster: Cluster,
}

impl Simulation {
    fn new(seed: u64) -> Self {
        let chance = Arc::new(Chance::new(seed));
        let store = MemStore::new(Keys::new("sim"));
        let servers = Servers::new(chance.clone(), store.clone());
        let hosts = Arc::new(Hosts::default());
        let cluster =
            Cluster::new(Handle::of_simulation(&store), "sim").expect("the name of a cluster");
        for (name, cell) in [
            ("a", "zone1"),
            ("b", "zone1"),
            ("c", "zone2"),
            ("d", "zone2"),
        ] {
            let host = Host {
                name: HostName::new(name).expect("a valid name"),
                cell: specs::cell(cell),
                hosts: hosts.clone(),
                servers: servers.clone(),
                store: store.clone(),
                chance: chance.clone(),
                settings: Settings {
                    poll: Duration::from_secs(1),
                    ..Settings::default()
                },
                started: Instant::now(),
            };
            tokio::spawn(host.live());
        }
        let (ticking, writing) = (store.clone(), servers.clone());
        tokio::spawn(async move {
            loop {
                tokio::time::sleep(Duration::from_millis(300)).await;
                ticking.tick();
                writing.clients_write();
            }
        });
        Self {
            chance,
            store,
            servers,
            hosts,
            cluster,
        }
    }

    async fn run(&self, ends: &mut Ends) -> Result<(), String> {
        tokio::time::sleep(Duration::from_secs(2)).await;
        let mut before = specs::random_spec(&self.chance);
        for round in 0..3 {
            let desired = if round > 0 && self.chance.happens(250) {
                before.clone()
            } else {
                specs::random_spec(&self.chance)
            };
            self.change(&desired, &before, ends).await?;
            before = desired;
        }
        Ok(())
    }

    /// Applies a spec with faults and without, with a change of mind at times, until it is done.
    async fn change(
        &self,
        desired: &Desired,
        before: &Desired,
        ends: &mut Ends,
    ) -> Result<(), String> {
        if let Err(Refused(_)) = self.plan(desired).await? {
            ends.refused += 1;
            return Ok(());
        }
        for _ in 0..self.chance.number(1, 4) {
            let lasting = self.chance.millis(1_000, 60_000);
            let per_mille = u32::try_from(self.chance.number(2, 60)).unwrap_or(0);
            let wanted = if self.chance.happens(200) {
                before
            } else {
                desired
            };
            self.chance.make_trouble(lasting, per_mille);
            if let Ok((plan, seen)) = self.plan(wanted).await? {
                self.apply(wanted, &plan, &seen, ends).await?;
            }
        }
        self.chance.make_trouble(Duration::ZERO, 0);
        let mut ended = String::new();
        for _ in 0..6 {
            tokio::time::sleep(Duration::from_secs(45)).await;
            let (plan, seen) = match self.plan(desired).await? {
                Ok(planned) => planned,
                // A change of mind has begun to delete what is wanted again: that is to be ended
                // first, as the error says.
                Err(Refused(errors)) if errors.iter().all(|e| e.code == "primary-lost") => {
                    match self.plan(before).await? {
                        Ok((plan, seen)) if !plan.is_empty() => {
                            let status = self.apply(before, &plan, &seen, ends).await?;
                            ended = format!("{status:?}");
                            continue;
                        }
                        _ => return Err(format!("it cannot be planned: {errors:?}")),
                    }
                }
                Err(Refused(errors)) => return Err(format!("it cannot be planned: {errors:?}")),
            };
            if plan.is_empty() {
                return Ok(());
            }
            let status = self.apply(desired, &plan, &seen, ends).await?;
            if !matches!(
                status,
                PlanStatus::Failed { .. } | PlanStatus::Stopped { .. }
            ) {
                return self.check_done(desired).await;
            }
            ended = format!("{status:?}");
        }
        Err(format!("without faults it does not get done: {ended}"))
    }

    async fn look(&self, desired: &Desired) -> Result<Gathered, String> {
        let records = self.store.records().map_err(text)?;
        let answers = |host: &HostName| self.hosts.is_up(host);
        Ok(world::look(records, desired, &self.servers, answers))
    }

    async fn plan(&self, desired: &Desired) -> Result<Result<(Plan, Gathered), Refused>, String> {
        let seen = self.look(desired).await?;
        Ok(match make_plan(desired, &seen.live) {
            Ok(plan) => Ok((plan, seen)),
            Err(errors) => Err(Refused(errors)),
        })
    }

    /// Applies a plan and waits until it is over.
    async fn apply(
        &self,
        desired: &Desired,
        plan: &Plan,
        seen: &Gathered,
        ends: &mut Ends,
    ) -> Result<PlanStatus, String> {
        let keys = self.cluster.keys();
        let steps = plan.steps.iter().flat_map(|s| records_of(keys, &s.action));
        self.store.allow(steps.collect());
        ends.steps += plan.steps.len();
        let approval = Approval {
            desired,
            plan,
            who: "simulation",
            destructive: true,
            destroy: false,
            operation: None,
        };
        let handle = submit::activate(&self.cluster, approval, &seen.live)
            .await
            .map_err(text)?;
        let troubled = self.chance.trouble_now() > 0;
        let stop_at = (troubled && self.chance.happens(250))
            .then(|| Instant::now() + self.chance.millis(0, 30_000));
        let started = Instant::now();
        let mut asked = false;
        loop {
            tokio::time::sleep(Duration::from_millis(500)).await;
            if let Some(violation) = self.store.violations().first() {
                return Err(violation.clone());
            }
            if submit::active(&self.cluster).await.map_err(text)?.is_none() {
                let record = self.cluster.plan(&handle.id).await.map_err(text)?;
                let status = record.ok_or("the plan's record is gone")?.status;
                if !status.is_over() {
                    return Err("no plan is active, and this one is not over".to_owned());
                }
                match &status {
                    PlanStatus::Done { .. } => ends.done += 1,
                    PlanStatus::Stopped { .. } => ends.stopped += 1,
                    _ => ends.failed += 1,
                }
                return Ok(status);
            }
            if !asked && stop_at.is_some_and(|at| Instant::now() >= at) {
                asked = true;
                // It may be over just now.
                let _ = submit::request_stop(&self.cluster, &handle.id).await;
            }
            if started.elapsed() > Duration::from_secs(3_600) {
                return Err("the plan does not end".to_owned());
            }
        }
    }

    /// What must hold after a plan that was done without faults.
    async fn check_done(&self, desired: &Desired) -> Result<(), String> {
        let spec = self.store.records().map_err(text)?.spec.clone();
        let value = serde_json::to_value(desired).map_err(text)?;
        if spec.is_none_or(|spec| spec.desired != value) {
            return Err("the spec's record is not that of the plan".to_owned());
        }
        tokio::time::sleep(Duration::from_secs(10)).await;
        match self.plan(desired).await? {
            Ok((plan, _)) if plan.is_empty() => Ok(()),
            Ok((plan, _)) => {
                let ids: Vec<&str> = plan.steps.iter().map(|s| s.id.as_str()).collect();
                Err(format!("it is done, and these steps are left: {ids:?}"))
            }
            Err(Refused(errors)) => Err(format!("it is done, and planning fails: {errors:?}")),
        }
    }
}

/// There is no plan.
struct Refused(Vec<PlanError>);

fn text(error: impl std::fmt::Display) -> String {
    error.to_string()
}

/// The records that a step may write.
fn records_of(keys: &Keys, action: &Action) -> BTreeSet<String> {
    let of: Vec<String> = match action {
        Action::CreateCell { cell } | Action::DeleteCell { cell } => vec![keys.cell(cell)],
        Action::CreateKeyspace { keyspace, .. } | Action::SetDurability { keyspace, .. } => {
            vec![keys.keyspace(keyspace)]
        }
        Action::DeleteKeyspace { keyspace } => {
            vec![keys.keyspace(keyspace), keys.vschema(keyspace)]
        }
        Action::CreateShard {
            keyspace, shard, ..
        }
        | Action::DeleteShard { keyspace, shard }
        | Action::InitPrimary {
            keyspace, shard, ..
        }
        | Action::Reparent {
            keyspace, shard, ..
        } => vec![keys.shard(keyspace, shard)],
        Action::CreateTablet { alias, .. }
        | Action::DeleteTablet { alias, .. }
        | Action::ChangeTabletType { alias, .. } => vec![keys.tablet(alias)],
        Action::CreateTable { .. }
        | Action::AlterTable { .. }
        | Action::DropTable { .. }
        | Action::InitSequence { .. }
        | Action::MendServer { .. } => Vec::new(),
        Action::MendRouting { .. } => vec![keys.routing()],
        Action::MendShard {
            keyspace, shard, ..
        } => vec![keys.shard(keyspace, shard)],
        Action::EndHold { hold, .. } => vec![keys.hold(hold)],
        Action::ApplyVschema { keyspace, .. } | Action::BackfillLookup { keyspace, .. } => {
            vec![keys.vschema(keyspace)]
        }
        Action::StartWorkflow {
            workflow, target, ..
        } => vec![keys.workflow(&target.keyspace, workflow), keys.routing()],
        Action::WaitForCopy { keyspace, workflow }
        | Action::Vdiff {
            keyspace, workflow, ..
        }
        | Action::WaitForApproval {
            keyspace, workflow, ..
        }
        | Action::SwitchTraffic {
            keyspace, workflow, ..
        }
        | Action::Soak {
            keyspace, workflow, ..
        }
        | Action::CompleteWorkflow {
            keyspace, workflow, ..
        }
        | Action::CancelWorkflow {
            keyspace, workflow, ..
        } => vec![keys.workflow(keyspace, workflow), keys.routing()],
        Action::CreateUser { user, .. }
        | Action::AlterUser { user, .. }
        | Action::DeleteUser { user } => vec![keys.user(user)],
        Action::SetBackups { .. } => vec![keys.backup_policy()],
        Action::ConfigureGates { cell, .. } | Action::RemoveGates { cell } => {
            vec![keys.gate_config(cell)]
        }
    };
    of.into_iter().collect()
}
