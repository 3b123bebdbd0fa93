//! A step that was started and is not seen to be done.

use std::collections::BTreeSet;

use tokio::time::Instant;
use vtplan_planner::plan::Step;
use vtplan_state::model::{StepProgress, StepWork};

use super::step::Progress;

pub(super) struct Running {
    pub step: Step,
    pub progress: StepProgress,
    pub state: State,
    /// How often it was tried in vain since it last acted.
    pub tries: u32,
    /// How often a server refused it.
    pub refusals: u32,
    pub down_since: Option<Instant>,
    /// Messages that it has had: the same one again is no movement.
    pub said: BTreeSet<String>,
    /// Whether `progress` is not written yet.
    pub unwritten: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum State {
    Acting,
    /// Acted then; what it causes is to be seen.
    Waiting(Instant),
    /// Goes on by itself; to be looked at again then.
    Going(Instant),
    /// Waits for a person, for time or for a window; to be looked at again then.
    Held(Instant),
    /// To be tried again then.
    Again(Instant),
    /// A server refused it too often.
    GaveUp,
}

impl Running {
    pub fn new(step: Step, progress: StepProgress, state: State) -> Self {
        Self {
            step,
            progress,
            state,
            tries: 0,
            refusals: 0,
            down_since: None,
            said: BTreeSet::new(),
            unwritten: false,
        }
    }

    /// Takes how far it has come; whether that was never so before.
    pub fn report(&mut self, progress: Progress) -> bool {
        if let Some(work) = progress.work {
            self.work(work);
        }
        self.say(progress.message)
    }

    pub fn work(&mut self, work: StepWork) {
        if self.progress.work != Some(work) {
            self.progress.work = Some(work);
            self.unwritten = true;
        }
    }

    /// Takes a message; whether it was never said before.
    pub fn say(&mut self, message: String) -> bool {
        if self.progress.message == message {
            return false;
        }
        self.progress.message.clone_from(&message);
        self.unwritten = true;
        self.said.insert(message)
    }
}
