//! The conductor: of all agents the one that holds the apply lock carries out the active plan.
//!
//! - [`run`]: an agent's part in the election, for as long as the agent lives.
//! - [`execute`]: one plan under the lock. [`step`] is what each kind of step does, [`reparent`]
//!   the one that takes several moves; [`wait`] says what a step waits for, [`done`] whether
//!   it is done.
//! - [`workflow`], [`switch`]: the steps of data moves; [`numbers`]: sequences; [`gates`]: what is
//!   waited for from gates; [`held`]: work in a moment without writes.
//! - [`write`]: transactions that only the holder of the lock can commit; [`journal`]: progress,
//!   history and end of a plan.
//! - [`world`]: all that it reaches out to. The simulation in `sim` (tests) is another world, with a
//!   fault at every write and call.
//! - [`failpoint`]: moments at which end-to-end tests do harm.

mod done;
pub mod execute;
pub mod failpoint;
mod gates;
mod held;
mod journal;
mod lookup;
mod numbers;
mod outcome;
mod reparent;
mod running;
#[cfg(test)]
mod sim;
pub mod step;
pub mod switch;
mod trouble;
mod wait;
pub mod workflow;
pub mod world;
pub mod write;

use std::time::Duration;

use futures::StreamExt;
use tokio::sync::watch;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{ActivePlan, HostName, PlanStatus};
use vtplan_state::store::Op;
use vtplan_state::store::lock::TryLock;
use vtplan_state::store::{
    Change, Compare, Lock, LockGuard, LockRecord, StoreError, Txn, WatchEvent,
};

use self::execute::{Ended, execute};
use self::step::Outcome;
use self::switch::leftover;
use self::world::{RealWorld, World};
use self::write::Fenced;
use crate::client::AgentClients;
use crate::submit::{self, SubmitError};

/// How a conductor goes about it.
#[derive(Debug, Clone)]
pub struct Settings {
    /// How long the apply lock outlives its holder.
    pub lock_ttl: Duration,
    /// How many steps write and call at the same time.
    pub parallel: usize,
    /// How often the cluster is looked at while steps are waited for.
    pub poll: Duration,
    /// The least time between two looks.
    pub least_pause: Duration,
    /// The most time between two tries of a step.
    pub longest_backoff: Duration,
    /// After this time a step that acted, and that is not seen to be done, acts again.
    pub act_again: Duration,
    /// How often a server may refuse a step.
    pub refusals: u32,
    /// How long a new tablet's server may be down.
    pub down_patience: Duration,
    /// How long nothing may move.
    pub stall: Duration,
    /// How long the plan may not fit the cluster.
    pub trouble_patience: Duration,
    /// The same while a host is away.
    pub absence_patience: Duration,
    /// How long a stop waits for what steps have caused.
    pub stop_patience: Duration,
    /// How often is it looked for switches that were cut off, while there is no plan.
    pub leftovers: Duration,
}

impl Default for Settings {
    fn default() -> Self {
        Self {
            lock_ttl: Duration::from_secs(10),
            parallel: 32,
            poll: Duration::from_millis(500),
            least_pause: Duration::from_millis(100),
            longest_backoff: Duration::from_secs(10),
            act_again: Duration::from_secs(15),
            refusals: 3,
            down_patience: Duration::from_secs(60),
            stall: Duration::from_secs(300),
            trouble_patience: Duration::from_secs(3),
            absence_patience: Duration::from_secs(60),
            stop_patience: Duration::from_secs(60),
            leftovers: Duration::from_secs(2),
        }
    }
}

/// Takes part in carrying out plans until `stopping` turns true: waits for one, takes the lock when
/// it is free, carries it out. A plan that is cut off by the end is taken over by another agent.
pub async fn run(
    cluster: Cluster,
    host: HostName,
    agents: AgentClients,
    mut stopping: watch::Receiver<bool>,
) {
    let world = RealWorld::new(cluster, agents);
    let settings = Settings::default();
    tokio::select! {
        biased;
        // An error: the agent is gone, which is as good a reason to stop.
        _ = stopping.wait_for(|stop| *stop) => {}
        () = conduct(&world, &host, &settings) => {}
    }
}

/// Waits for plans and carries them out, for ever. May be dropped at any moment.
pub async fn conduct(world: &dyn World, host: &HostName, settings: &Settings) {
    loop {
        if let Err(error) = conduct_one(world, host, settings).await {
            tracing::warn!(%error, "the conductor cannot work");
            tokio::time::sleep(settings.poll * 2).await;
        }
    }
}

async fn conduct_one(
    world: &dyn World,
    host: &HostName,
    settings: &Settings,
) -> Result<(), StoreError> {
    let cluster = world.cluster();
    let work = tokio::select! {
        active = next_plan(cluster) => Work::Plan(active?),
        found = next_leftovers(cluster, settings) => {
            found?;
            Work::Leftovers
        }
    };
    let (who, what) = match &work {
        Work::Plan(active) => (active.by.as_str(), format!("apply of plan {}", active.id)),
        Work::Leftovers => (
            host.as_str(),
            "a switch of writes that was cut off".to_owned(),
        ),
    };
    let record = LockRecord::new(host.as_str(), who, what.as_str());
    let key = cluster.keys().apply_lock();
    let guard = match Lock::try_acquire(cluster.store(), &key, settings.lock_ttl, &record).await? {
        TryLock::Acquired(guard) => guard,
        TryLock::Held(_) => {
            // Somebody is at it. If it dies, its lock is free after a while.
            tokio::time::sleep(settings.poll).await;
            return Ok(());
        }
    };
    world.failpoint("conductor.locked").await;
    tracing::info!(what, token = guard.token(), "conducting");
    let ended = tokio::select! {
        biased;
        () = guard.lost() => Ok(Ended::Superseded),
        ended = carry_out(world, &guard, settings) => ended,
    };
    match &ended {
        Ok(Ended::Over(status)) => tracing::info!(what, ?status, "over"),
        Ok(Ended::Superseded) => tracing::warn!(what, "the apply lock is lost"),
        Err(_) => {}
    }
    if let Err(error) = guard.release().await {
        tracing::warn!(%error, "the apply lock is not given back; it ends by itself");
    }
    ended.map(|_| ())
}

/// What there is to do for the one who gets the lock.
enum Work {
    Plan(ActivePlan),
    Leftovers,
}

/// Settles what was cut off, then carries out whatever plan is active, under the lock.
async fn carry_out(
    world: &dyn World,
    guard: &LockGuard,
    settings: &Settings,
) -> Result<Ended, StoreError> {
    let cluster = world.cluster();
    let lock = guard.compare();
    let to = Fenced { world, lock: &lock };
    // Whoever had the lock before is gone: all switches under way are left over, and writes wait.
    match leftover::settle_all(to).await {
        Err(Outcome::Superseded) => return Ok(Ended::Superseded),
        // It is tried again beside the plan, or after a while.
        Err(outcome) => tracing::warn!(why = outcome.message(), "left over, and not settled"),
        Ok(()) => {}
    }
    let Some(active) = submit::active(cluster).await? else {
        // Another conductor was faster, or there was none to carry out.
        return Ok(Ended::Over(PlanStatus::Done { at: world.now() }));
    };
    match submit::load(cluster, &active.id).await {
        Ok(plan) => Ok(execute(to, &plan, settings).await),
        Err(SubmitError::Store(error)) => Err(error),
        Err(error) => give_up(to, &active, &error).await,
    }
}

/// Ends a plan that cannot even be read.
async fn give_up(
    to: Fenced<'_>,
    active: &ActivePlan,
    error: &SubmitError,
) -> Result<Ended, StoreError> {
    let cluster = to.world.cluster();
    let keys = cluster.keys();
    let at = to.world.now();
    let status = PlanStatus::Failed {
        at,
        message: error.to_string(),
    };
    let mut txn = Txn::new()
        .when(Compare::Exists(keys.active_plan()))
        .then(Op::delete(keys.active_plan()));
    if let Ok(Some(mut record)) = cluster.plan(&active.id).await {
        record.status = status.clone();
        txn = txn.then(Op::put(keys.plan(&active.id), &record));
    }
    match to.txn(txn, "the plan is over").await {
        Ok(_) | Err(write::WriteError::Changed(_)) => Ok(Ended::Over(status)),
        Err(write::WriteError::Superseded) => Ok(Ended::Superseded),
        Err(write::WriteError::Store(error)) => Err(error),
    }
}

/// Waits until there is a switch, or a hold, under way. It may be somebody's who has the lock.
async fn next_leftovers(cluster: &Cluster, settings: &Settings) -> Result<(), StoreError> {
    loop {
        tokio::time::sleep(settings.leftovers).await;
        if !leftover::find(cluster).await?.is_empty() {
            return Ok(());
        }
    }
}

/// Waits until there is an active plan.
async fn next_plan(cluster: &Cluster) -> Result<ActivePlan, StoreError> {
    let key = cluster.keys().active_plan();
    let listing = cluster.store().list(&key).await?;
    if let Some(entry) = listing.entries.iter().find(|entry| entry.key == key) {
        return entry.json();
    }
    let mut events = cluster.store().watch(&key, listing.revision + 1).await?;
    while let Some(event) = events.next().await {
        let entries = match event? {
            WatchEvent::Resync(listing) => listing.entries,
            WatchEvent::Changes { changes, .. } => changes
                .into_iter()
                .filter_map(|change| match change {
                    Change::Put(entry) => Some(entry),
                    Change::Delete { .. } => None,
                })
                .collect(),
        };
        if let Some(entry) = entries.iter().find(|entry| entry.key == key) {
            return entry.json();
        }
    }
    Err(StoreError::Failed {
        url: cluster.store().url().to_owned(),
        why: "the watch for plans ended".to_owned(),
    })
}
