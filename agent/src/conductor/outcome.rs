//! How an attempt at a step ended, in which the errors of stores and agents end too.

use vtplan_state::model::StepWork;
use vtplan_state::store::StoreError;

use super::write::WriteError;
use crate::client::{CallError, CallErrorKind};

/// How an attempt at a step ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Outcome {
    /// All is written and called; what it causes is yet to be seen.
    Acted,
    /// As `Acted`, with numbers to show.
    Worked(StepWork),
    /// It goes on by itself, this far; it is looked at again soon.
    Going(Progress),
    /// It waits for a person, for time or for a window, as the message says.
    Held(String),
    /// Not now, for this reason; it is tried again.
    Retry(String),
    /// A server refused it with this message. It is tried again a few times, because the server
    /// may have seen the same statement just before.
    Refused(String),
    /// It cannot be done.
    Impossible(String),
    /// The lock is lost.
    Superseded,
}

/// How far something has come.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Progress {
    pub message: String,
    pub work: Option<StepWork>,
}

impl Outcome {
    /// What it says, for people.
    pub fn message(&self) -> &str {
        match self {
            Self::Acted | Self::Worked(_) => "",
            Self::Going(progress) => &progress.message,
            Self::Held(why) | Self::Retry(why) | Self::Refused(why) | Self::Impossible(why) => why,
            Self::Superseded => "the lock is lost",
        }
    }
}

impl From<StoreError> for Outcome {
    fn from(error: StoreError) -> Self {
        Self::Retry(error.to_string())
    }
}

impl From<WriteError> for Outcome {
    fn from(error: WriteError) -> Self {
        match error {
            WriteError::Superseded => Self::Superseded,
            WriteError::Changed(why) => Self::Retry(why),
            WriteError::Store(error) => Self::Retry(error.to_string()),
        }
    }
}

impl From<CallError> for Outcome {
    fn from(error: CallError) -> Self {
        match error.kind {
            CallErrorKind::Refused(why) => Self::Refused(why),
            _ => Self::Retry(error.to_string()),
        }
    }
}
