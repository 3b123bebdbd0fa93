//! Starts steps: what is ready, what is to be tried or looked at again, and what settles switches
//! that were cut off.

use std::sync::Arc;

use futures::FutureExt;
use tokio::time::Instant;
use vtplan_planner::plan::{Step, StepId};
use vtplan_state::model::{StepProgress, StepState};

use super::{Execution, SETTLE};
use crate::conductor::running::{Running, State};
use crate::conductor::step::{self, Attempt, Outcome};
use crate::conductor::switch::leftover;
use crate::observe::Gathered;

impl Execution<'_> {
    /// Settles switches of writes that no step is at: their step, or another conductor, was cut off,
    /// and what was tried since has failed.
    pub(super) fn settle_switches(&mut self, seen: &Gathered) {
        let records = &seen.live.records;
        let there_are =
            records.all_workflows().any(|w| w.switch.is_some()) || !records.holds.is_empty();
        let acting = |running: &Running| {
            running.state == State::Acting && step::switches(&running.step.action)
        };
        if self.settling || !there_are || self.running.values().any(acting) {
            return;
        }
        self.settling = true;
        let to = self.to;
        self.acting.push(
            async move {
                let outcome = match leftover::settle_all(to).await {
                    Ok(()) => Outcome::Acted,
                    Err(outcome) => outcome,
                };
                (SETTLE.to_owned(), outcome)
            }
            .boxed(),
        );
    }

    pub(super) fn start_ready(&mut self, remaining: &[Step], seen: &Arc<Gathered>) {
        for step in remaining {
            if self.acting.len() >= self.settings.parallel {
                return;
            }
            if self.running.contains_key(&step.id)
                || !self.is_approved(step)
                || !self.is_ready(step)
                || (self.settling && step::switches(&step.action))
            {
                continue;
            }
            let progress = StepProgress {
                step: step.id.clone(),
                state: StepState::Running,
                message: String::new(),
                started_at: self.to.world.now(),
                ended_at: None,
                attempt: 0,
                work: None,
            };
            let running = Running::new(step.clone(), progress, State::Acting);
            self.running.insert(step.id.clone(), running);
            self.start(&step.id, seen);
        }
    }

    /// Whether all that a step must come after is done, in the approved plan's eyes too.
    pub(super) fn is_ready(&self, step: &Step) -> bool {
        let approved = self.approved.get(step.id.as_str());
        let before = approved.into_iter().flat_map(|s| &s.after);
        step.after
            .iter()
            .chain(before)
            .all(|id| !self.left.contains(id) && !self.running.contains_key(id))
    }

    /// Tries again what failed or was taken over, and what acted long ago with nothing to be seen.
    pub(super) fn repeat(&mut self, remaining: &[Step], seen: &Arc<Gathered>) {
        let may_start =
            self.failures.is_empty() && self.stopped_at.is_none() && !self.trouble.is_there();
        for step in remaining {
            if self.acting.len() >= self.settings.parallel {
                return;
            }
            let Some(running) = self.running.get(&step.id) else {
                continue;
            };
            let due = match running.state {
                State::Acting | State::GaveUp => false,
                State::Again(at) | State::Going(at) | State::Held(at) => {
                    may_start && Instant::now() >= at
                }
                State::Waiting(since) => may_start && since.elapsed() >= self.settings.act_again,
            };
            let settled = !(self.settling && step::switches(&step.action));
            if due && settled && self.is_approved(step) && self.is_ready(step) {
                self.start(&step.id, seen);
            }
        }
    }

    pub(super) fn start(&mut self, id: &StepId, seen: &Arc<Gathered>) {
        let Some(running) = self.running.get_mut(id) else {
            return;
        };
        // One that goes on, or waits, is only looked at again.
        let looks = matches!(
            running.state,
            State::Waiting(_) | State::Going(_) | State::Held(_)
        );
        if !looks {
            running.progress.attempt += 1;
        }
        let attempt = Attempt {
            plan: self.plan.record.id.clone(),
            first: !looks && running.progress.attempt == 1,
            seen: seen.clone(),
        };
        running.state = State::Acting;
        let unwritten = (!looks || running.unwritten).then(|| running.progress.clone());
        running.unwritten = false;
        let (id, step) = (id.clone(), running.step.clone());
        let (journal, to) = (self.journal, self.to);
        self.acting.push(
            async move {
                let written = match unwritten {
                    Some(progress) => journal.progress(&[progress]).await,
                    None => Ok(()),
                };
                let outcome = match written {
                    Ok(()) => step::act(to, step, attempt).await,
                    Err(error) => error.into(),
                };
                (id, outcome)
            }
            .boxed(),
        );
    }
}
