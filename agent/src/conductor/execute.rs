//! Carries out an approved plan: look, plan again, start what is ready, repeat.
//!
//! Nothing is concluded from what was done. What is left is what planning gives for the cluster as
//! it is seen now; what may be done is what the approved plan holds. So a conductor that takes over
//! in the middle goes on as if it had been there from the start. Everything in here may be dropped
//! at any moment: nothing runs beside it.

mod over;
mod start;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use futures::future::BoxFuture;
use futures::stream::FuturesUnordered;
use futures::{FutureExt, StreamExt};
use tokio::time::Instant;
use vtplan_planner::live::Live;
use vtplan_planner::plan::{Action, PlanError, Risk, Step, StepId};
use vtplan_planner::{make_destroy_plan, make_operation_plan, make_steps};
use vtplan_state::model::{PlanStatus, StepProgress, StepState};

use super::Settings;
use super::done::is_done;
use super::journal::Journal;
use super::running::{Running, State};
use super::step::Outcome;
use super::trouble::{Trouble, cannot_plan, not_approved};
use super::write::{Fenced, WriteError};
use crate::observe::Gathered;
use crate::submit::StoredPlan;

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ended {
    /// The plan is over, with this status in its record.
    Over(PlanStatus),
    /// Another conductor has the lock.
    Superseded,
}

/// The lock was lost.
struct Superseded;

impl From<WriteError> for Result<(), Superseded> {
    /// Progress that is not written now is written later: only a lost lock counts.
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Superseded => Err(Superseded),
            WriteError::Changed(why) => {
                tracing::warn!(why, "progress is not written");
                Ok(())
            }
            WriteError::Store(error) => {
                tracing::warn!(%error, "progress is not written");
                Ok(())
            }
        }
    }
}

/// Carries out `plan` until it is over or the lock is lost.
pub async fn execute(to: Fenced<'_>, plan: &StoredPlan, settings: &Settings) -> Ended {
    let mut execution = Execution::new(to, plan, settings);
    match execution.run().await {
        Ok(status) => Ended::Over(status),
        Err(Superseded) => Ended::Superseded,
    }
}

struct Execution<'a> {
    to: Fenced<'a>,
    journal: Journal<'a>,
    plan: &'a StoredPlan,
    settings: &'a Settings,
    approved: BTreeMap<&'a str, &'a Step>,
    /// Started and not seen to be done.
    running: BTreeMap<StepId, Running>,
    acting: FuturesUnordered<BoxFuture<'a, (StepId, Outcome)>>,
    trouble: Trouble,
    /// What ends the plan as failed.
    failures: Vec<String>,
    stopped_at: Option<Instant>,
    /// When something last moved.
    moved_at: Instant,
    /// What is left as far as can be told: what planning gives, and approved steps that it does
    /// not give because it cannot see.
    left: BTreeSet<StepId>,
    /// Approved steps that were seen to be done.
    done: BTreeSet<StepId>,
    /// Whether a switch that was cut off is being settled, among `acting`.
    settling: bool,
}

/// In place of a step's id: what settles switches that were cut off.
const SETTLE: &str = "settle";

impl<'a> Execution<'a> {
    fn new(to: Fenced<'a>, plan: &'a StoredPlan, settings: &'a Settings) -> Self {
        Self {
            to,
            journal: Journal { to, plan },
            plan,
            settings,
            approved: plan.plan.steps.iter().map(|s| (s.id.as_str(), s)).collect(),
            running: BTreeMap::new(),
            acting: FuturesUnordered::new(),
            trouble: Trouble::default(),
            failures: Vec::new(),
            stopped_at: None,
            moved_at: Instant::now(),
            left: BTreeSet::new(),
            done: BTreeSet::new(),
            settling: false,
        }
    }

    async fn run(&mut self) -> Result<PlanStatus, Superseded> {
        self.adopt().await;
        loop {
            let round_at = Instant::now();
            if let Some(status) = self.round().await? {
                self.close(&status).await?;
                return match self.journal.end(status.clone()).await {
                    Ok(()) => Ok(status),
                    Err(_) => Err(Superseded),
                };
            }
            self.rest(round_at).await?;
        }
    }

    /// Takes over the steps that another conductor had running.
    async fn adopt(&mut self) {
        let written = loop {
            match self.journal.load().await {
                Ok(written) => break written,
                Err(error) => tracing::warn!(%error, "the plan's progress cannot be read"),
            }
            tokio::time::sleep(self.settings.poll).await;
        };
        for progress in written {
            let Some(step) = self.approved.get(progress.step.as_str()) else {
                continue;
            };
            if progress.state == StepState::Done {
                self.done.insert(progress.step.clone());
            }
            if progress.state == StepState::Running {
                let state = State::Again(Instant::now());
                let running = Running::new((*step).clone(), progress, state);
                self.running.insert(step.id.clone(), running);
            }
        }
    }

    /// Looks, plans, settles what is done and starts what is ready. `Some`: the plan is to end so.
    async fn round(&mut self) -> Result<Option<PlanStatus>, Superseded> {
        let seen = match self.to.world.gather(&self.plan.desired).await {
            Ok(seen) => Arc::new(seen),
            Err(error) => {
                tracing::warn!(%error, "the cluster cannot be seen");
                return Ok(None);
            }
        };
        self.read_control().await;
        let remaining = self.remaining(&seen.live);
        match &remaining {
            Ok(remaining) => {
                self.note_trouble(remaining, &seen);
                self.settle(remaining, &seen).await?;
            }
            Err(errors) => {
                let text = cannot_plan(errors);
                self.trouble.found(text, self.is_partial(&seen));
            }
        }
        self.settle_switches(&seen);
        self.failures.extend(self.trouble.verdict(self.settings));
        if let Ok(remaining) = &remaining {
            self.check_waits(&seen);
            self.check_stall(remaining, &seen);
            if self.failures.is_empty() && self.stopped_at.is_none() && !self.trouble.is_there() {
                self.start_ready(remaining, &seen);
            }
            self.repeat(remaining, &seen);
        }
        self.write_messages().await?;
        Ok(self.status(remaining.as_deref().ok()))
    }

    /// The steps that are left, planned anew.
    fn remaining(&self, live: &Live) -> Result<Vec<Step>, Vec<PlanError>> {
        let desired = &self.plan.desired;
        if let Some(operation) = &self.plan.operation {
            return make_operation_plan(live, operation).map(|plan| plan.steps);
        }
        if self.plan.record.destroy {
            make_destroy_plan(&desired.cluster, live).map(|plan| plan.steps)
        } else {
            let (mut steps, _) = make_steps(desired, live)?;
            // What somebody sets on a server while the plan runs is none of its business; and what this
            // plan's own moves hold and route is not left over.
            steps.retain(|step| match step.action {
                Action::MendServer { .. } => self.approved.contains_key(step.id.as_str()),
                Action::MendRouting { .. } | Action::MendShard { .. } | Action::EndHold { .. } => {
                    self.is_approved(step)
                }
                _ => true,
            });
            Ok(steps)
        }
    }

    async fn read_control(&mut self) {
        if self.stopped_at.is_some() {
            return;
        }
        let cluster = self.to.world.cluster();
        let key = cluster.keys().plan_control(&self.plan.record.id);
        // There is one thing to ask for: to stop. An error: next time.
        if let Ok(Some(_)) = cluster.store().get(&key).await {
            tracing::info!(plan = %self.plan.record.id, "asked to stop");
            self.stopped_at = Some(Instant::now());
        }
    }

    /// Whether the cluster is seen only in part: a host that the plan counts on is away.
    fn is_partial(&self, seen: &Gathered) -> bool {
        !seen.unseen.is_empty() || !self.hosts_away(seen).is_empty()
    }

    /// Hosts that are to get tablets and have no agent now.
    fn hosts_away(&self, seen: &Gathered) -> BTreeSet<&'a str> {
        let hosts = &seen.live.records.hosts;
        let wanted = self.plan.plan.steps.iter().filter_map(|s| match &s.action {
            Action::CreateTablet { host, .. } => host.as_ref(),
            _ => None,
        });
        wanted
            .filter(|host| !hosts.contains_key(*host))
            .map(|host| host.as_str())
            .collect()
    }

    /// Whether the approved plan holds a step, doing exactly the same.
    fn is_approved(&self, step: &Step) -> bool {
        let same = |approved: &&Step| approved.action == step.action;
        let risk_approved = step.risk < Risk::Destructive || self.plan.record.destructive_approved;
        risk_approved && self.approved.get(step.id.as_str()).is_some_and(same)
    }

    /// Steps that are needed and that nobody approved.
    fn note_trouble(&mut self, remaining: &[Step], seen: &Gathered) {
        let foreign: Vec<&Step> = remaining
            .iter()
            .filter(|step| !self.is_approved(step) && !recovers(step, seen))
            .collect();
        if foreign.is_empty() {
            self.trouble.gone();
            return;
        }
        let text = not_approved(&foreign, &self.hosts_away(seen));
        self.trouble.found(text, self.is_partial(seen));
    }

    /// Writes down what is done.
    async fn settle(&mut self, remaining: &[Step], seen: &Gathered) -> Result<(), Superseded> {
        let mut left: BTreeSet<StepId> = remaining.iter().map(|s| s.id.clone()).collect();
        for (id, step) in &self.approved {
            if left.contains(*id) || self.done.contains(*id) {
                continue;
            }
            if is_done(&step.action, seen) {
                self.done.insert((*id).to_owned());
            } else {
                left.insert((*id).to_owned());
            }
        }
        let done: Vec<StepId> = self
            .running
            .iter()
            .filter(|(id, running)| running.state != State::Acting && !left.contains(*id))
            .map(|(id, _)| id.clone())
            .collect();
        for id in done {
            let running = &self.running[&id];
            let progress = StepProgress {
                state: StepState::Done,
                message: String::new(),
                ended_at: Some(self.to.world.now()),
                ..running.progress.clone()
            };
            match self.journal.finished(&running.step, &progress).await {
                Ok(()) => {
                    tracing::info!(step = %id, "done");
                    self.running.remove(&id);
                    self.moved_at = Instant::now();
                }
                // Kept, and written in the next round.
                Err(error) => Result::from(error)?,
            }
        }
        if left != self.left {
            self.left = left;
            self.moved_at = Instant::now();
        }
        Ok(())
    }

    /// Waits until a step has acted or it is time to look again.
    async fn rest(&mut self, round_at: Instant) -> Result<(), Superseded> {
        // A large cluster takes long to look at: it is not looked at all the time.
        let took = round_at.elapsed();
        let least = self.settings.least_pause.max(took);
        let poll = self.settings.poll.max(took);
        let until = Instant::now() + poll;
        if self.acting.is_empty() {
            tokio::time::sleep_until(until).await;
            return Ok(());
        }
        let next = tokio::time::timeout_at(until, self.acting.next()).await;
        if let Ok(Some((id, outcome))) = next {
            self.ended(&id, outcome)?;
            tokio::time::sleep(least).await;
        }
        while let Some(Some((id, outcome))) = self.acting.next().now_or_never() {
            self.ended(&id, outcome)?;
        }
        Ok(())
    }

    fn ended(&mut self, id: &StepId, outcome: Outcome) -> Result<(), Superseded> {
        if id == SETTLE {
            self.settling = false;
            return match outcome {
                Outcome::Superseded => Err(Superseded),
                _ => Ok(()),
            };
        }
        let Some(running) = self.running.get_mut(id) else {
            return Ok(());
        };
        let now = Instant::now();
        match outcome {
            Outcome::Superseded => return Err(Superseded),
            Outcome::Acted => {
                running.state = State::Waiting(now);
                running.tries = 0;
            }
            Outcome::Worked(work) => {
                running.state = State::Waiting(now);
                running.tries = 0;
                running.work(work);
            }
            Outcome::Going(progress) => {
                running.state = State::Going(now + self.settings.poll);
                running.tries = 0;
                if running.report(progress) {
                    self.moved_at = now;
                }
            }
            Outcome::Held(why) => {
                running.state = State::Held(now + self.settings.poll);
                running.tries = 0;
                running.say(why);
            }
            Outcome::Retry(why) => {
                tracing::debug!(step = %id, why, "to be tried again");
                running.state = State::Again(now + self.settings.backoff(running.tries));
                running.tries += 1;
                if running.say(why) {
                    self.moved_at = now;
                }
            }
            Outcome::Refused(why) => {
                running.refusals += 1;
                running.say(why);
                running.state = if running.refusals >= self.settings.refusals {
                    State::GaveUp
                } else {
                    State::Again(now + self.settings.backoff(running.refusals))
                };
            }
            Outcome::Impossible(why) => {
                running.state = State::GaveUp;
                running.say(why);
            }
        }
        Ok(())
    }

    async fn write_messages(&mut self) -> Result<(), Superseded> {
        let changed: Vec<StepProgress> = self
            .running
            .values()
            .filter(|running| running.unwritten && running.state != State::Acting)
            .map(|running| running.progress.clone())
            .collect();
        if changed.is_empty() {
            return Ok(());
        }
        match self.journal.progress(&changed).await {
            Ok(()) => {
                for progress in changed {
                    if let Some(running) = self.running.get_mut(&progress.step) {
                        running.unwritten = false;
                    }
                }
                Ok(())
            }
            Err(error) => error.into(),
        }
    }
}

/// Whether a step that nobody approved only waits for what an agent does by itself: a server that
/// comes back into the role that its records give it.
fn recovers(step: &Step, seen: &Gathered) -> bool {
    let records = &seen.live.records;
    match &step.action {
        Action::CreateTablet { alias, .. } => records.tablets.contains_key(alias),
        Action::InitPrimary {
            keyspace,
            shard,
            primary,
        } => records
            .shard(keyspace, shard)
            .is_some_and(|shard| shard.primary.as_ref() == Some(primary)),
        _ => false,
    }
}

impl Settings {
    /// Time until the next try.
    fn backoff(&self, tries: u32) -> Duration {
        let factor = 2u32.saturating_pow(tries.min(6));
        (self.poll * factor).min(self.longest_backoff)
    }
}
