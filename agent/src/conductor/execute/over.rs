//! When a plan is over: what its steps wait for in vain, what they wait for with reason, and how it
//! ends.

use tokio::time::Instant;
use vtplan_planner::plan::Step;
use vtplan_state::model::{PlanStatus, StepProgress, StepState};

use super::{Execution, Superseded};
use crate::conductor::running::{Running, State};
use crate::conductor::trouble::failed;
use crate::conductor::wait;
use crate::observe::Gathered;

impl Execution<'_> {
    /// Looks at what steps wait for, and gives up those that wait in vain.
    pub(super) fn check_waits(&mut self, seen: &Gathered) {
        for (id, running) in &mut self.running {
            if !self.left.contains(id) {
                continue;
            }
            match running.state {
                State::Acting | State::Again(_) | State::Going(_) | State::Held(_) => continue,
                State::GaveUp => {
                    self.failures.push(failed(id, &running.progress.message));
                    continue;
                }
                State::Waiting(_) => {}
            }
            let waiting = wait::waits_for(&running.step.action, seen);
            if waiting.down {
                let since = *running.down_since.get_or_insert_with(Instant::now);
                if since.elapsed() >= self.settings.down_patience {
                    self.failures.push(failed(id, &waiting.message));
                }
            } else if !seen.unseen.is_empty() || waiting.message == "the server runs" {
                running.down_since = None;
            }
            if running.say(waiting.message) {
                self.moved_at = Instant::now();
            }
        }
    }

    /// Gives up when nothing has moved for too long.
    pub(super) fn check_stall(&mut self, remaining: &[Step], seen: &Gathered) {
        let since = self.moved_at.elapsed();
        if since < self.settings.stall || !self.acting.is_empty() || self.left.is_empty() {
            return;
        }
        let waits: Vec<String> = self
            .running
            .iter()
            .map(|(id, running)| format!("step {id}: {}", running.progress.message))
            .chain(self.recovering(remaining, seen))
            .collect();
        let waits = if waits.is_empty() {
            "no step can be started".to_owned()
        } else {
            waits.join("; ")
        };
        self.failures.push(format!(
            "nothing has moved for {} s: {waits}. When the cause is gone, run `vtplan apply` again; what is done stays done",
            since.as_secs()
        ));
    }

    /// What is waited for although it was not started.
    pub(super) fn recovering(&self, remaining: &[Step], seen: &Gathered) -> Vec<String> {
        let foreign = remaining.iter().filter(|step| !self.is_approved(step));
        let unseen = self.approved.iter().filter(|(id, step)| {
            self.left.contains(**id)
                && !self.running.contains_key(**id)
                && remaining.iter().all(|left| left.id != step.id)
        });
        foreign
            .chain(unseen.map(|(_, step)| *step))
            .take(5)
            .map(|step| {
                let waiting = wait::waits_for(&step.action, seen);
                format!("{}: {}", step.id, waiting.message)
            })
            .collect()
    }

    /// Whether the plan is over.
    pub(super) fn status(&self, remaining: Option<&[Step]>) -> Option<PlanStatus> {
        let at = self.to.world.now();
        if !self.failures.is_empty() {
            // Calls that are under way are waited for: they have an end of their own.
            return self.acting.is_empty().then(|| PlanStatus::Failed {
                at,
                message: self.failures.join("; "),
            });
        }
        let all_done = remaining.is_some() && self.left.is_empty() && self.running.is_empty();
        if all_done {
            return Some(PlanStatus::Done { at });
        }
        if self.stopped_at.is_none() {
            return self
                .held()
                .map(|message| PlanStatus::Waiting { at, message });
        }
        let stopped_at = self.stopped_at?;
        let waiting = self
            .running
            .values()
            .any(|running| matches!(running.state, State::Acting | State::Waiting(_)));
        let patient = stopped_at.elapsed() < self.settings.stop_patience;
        let over = self.acting.is_empty() && !(waiting && patient);
        over.then_some(PlanStatus::Stopped { at })
    }

    /// What is waited for, when nothing else is left that could be done now.
    pub(super) fn held(&self) -> Option<String> {
        let held = |running: &Running| matches!(running.state, State::Held(_));
        let only = self.acting.is_empty()
            && !self.running.is_empty()
            && self.running.values().all(held)
            && !self.trouble.is_there();
        only.then(|| {
            let mut messages: Vec<&str> = (self.running.values())
                .map(|running| running.progress.message.as_str())
                .collect();
            messages.dedup();
            messages.join("; ")
        })
    }

    /// Writes down how the steps that are still running ended: with the plan.
    pub(super) async fn close(&mut self, status: &PlanStatus) -> Result<(), Superseded> {
        let now = self.to.world.now();
        let waits = matches!(status, PlanStatus::Waiting { .. });
        let ended: Vec<StepProgress> = self
            .running
            .values()
            // What waits has not ended.
            .filter(|_| !waits)
            .map(|running| StepProgress {
                state: StepState::Failed,
                message: match status {
                    PlanStatus::Stopped { .. } => {
                        format!("stopped, not done: {}", running.progress.message)
                    }
                    _ if running.progress.message.is_empty() => {
                        "not done when the plan ended".to_owned()
                    }
                    _ => running.progress.message.clone(),
                },
                ended_at: Some(now),
                ..running.progress.clone()
            })
            .collect();
        match self.journal.progress(&ended).await {
            Ok(()) => Ok(()),
            Err(error) => error.into(),
        }
    }
}
