//! What a plan waits for that no agent can do: an approval, time, a window. They are steps of the
//! plan as all others; a plan in which only they are left to begin ends as waiting.

use std::time::Duration;

use serde::Serialize;
use vtplan_planner::desired::ApprovePoint;
use vtplan_planner::plan::{Action, Plan, Step};
use vtplan_planner::spec::values::window::Window;
use vtplan_state::model::{
    KeyspaceName, Records, StepState, UnixMillis, WorkflowName, WorkflowRecord,
};

use crate::render::when;

/// One thing that is waited for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wait {
    pub keyspace: KeyspaceName,
    pub workflow: WorkflowName,
    pub what: What,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum What {
    Approval(ApprovePoint),
    /// The time between the switch of writes and Complete.
    Soak {
        seconds: u64,
    },
    /// The times in which writes may be switched, as the spec has them.
    Window(String),
}

/// [`Wait`] for programs.
#[derive(Debug, Serialize)]
pub struct WaitDocument {
    /// `approval`, `soak`, `window`.
    #[serde(rename = "for")]
    pub for_: &'static str,
    /// `customer.commerce2customer`.
    pub workflow: String,
    /// Of an approval, as in the spec.
    pub point: Option<&'static str>,
    pub window: Option<String>,
    /// When it is over, as far as that is known.
    pub until: Option<UnixMillis>,
    /// For people.
    pub text: String,
}

/// The policy steps that hold a plan back: those that were begun and are not over, as the conductor
/// leaves them when a plan ends as waiting; without any, those that nothing else stands before.
pub fn of_plan(plan: &Plan, state: impl Fn(&str) -> Option<StepState>) -> Vec<Wait> {
    let begun: Vec<Wait> = plan
        .steps
        .iter()
        .filter(|step| state(&step.id) == Some(StepState::Running))
        .filter_map(of_step)
        .collect();
    if !begun.is_empty() {
        return begun;
    }
    let done = |id: &str| state(id) == Some(StepState::Done);
    let left: Vec<_> = plan.steps.iter().filter(|s| !done(&s.id)).collect();
    let first = |step: &Step| !left.iter().any(|other| step.after.contains(&other.id));
    left.iter()
        .filter(|step| first(step))
        .filter_map(|step| of_step(step))
        .collect()
}

/// What a step waits for, if it is one of policy.
fn of_step(step: &Step) -> Option<Wait> {
    let (keyspace, workflow, what) = match &step.action {
        Action::WaitForApproval {
            keyspace,
            workflow,
            point,
        } => (keyspace, workflow, What::Approval(*point)),
        Action::Soak {
            keyspace,
            workflow,
            seconds,
        } => (keyspace, workflow, What::Soak { seconds: *seconds }),
        Action::SwitchTraffic {
            keyspace,
            workflow,
            window: Some(window),
            ..
        } => (keyspace, workflow, What::Window(window.clone())),
        _ => return None,
    };
    Some(Wait {
        keyspace: keyspace.clone(),
        workflow: workflow.clone(),
        what,
    })
}

impl Wait {
    /// `customer.commerce2customer`.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.keyspace, self.workflow)
    }

    /// The point that an approval would let it go on from.
    pub fn point(&self) -> Option<ApprovePoint> {
        match self.what {
            What::Approval(point) => Some(point),
            What::Soak { .. } | What::Window(_) => None,
        }
    }

    fn record<'a>(&self, records: &'a Records) -> Option<&'a WorkflowRecord> {
        records.workflow(&self.keyspace, &self.workflow)
    }

    /// When it is over by itself, as far as that can be told; not before `now`.
    pub fn until(&self, records: &Records, now: UnixMillis) -> Option<UnixMillis> {
        match &self.what {
            What::Approval(_) => None,
            What::Soak { seconds } => {
                let switched = self.record(records)?.switched_at?;
                Some((switched + seconds * 1000).max(now))
            }
            What::Window(window) => next_opening(&Window::parse(window).ok()?, now),
        }
    }

    /// `customer.commerce2customer waits for an approval of switch_writes`.
    pub fn sentence(&self, records: &Records, now: UnixMillis) -> String {
        let name = self.full_name();
        let until = self.until(records, now);
        let ahead = |at: UnixMillis| when::duration(Duration::from_millis(at - now));
        match (&self.what, until) {
            (What::Approval(point), _) => {
                format!("{name} waits for an approval of {}", point.as_str())
            }
            (What::Soak { .. }, Some(at)) if at > now => format!(
                "{name} soaks for {} more, until {}, before it is completed",
                ahead(at),
                when::utc(at)
            ),
            (What::Soak { seconds }, _) => format!(
                "{name} soaks for {} before it is completed",
                when::duration(Duration::from_secs(*seconds))
            ),
            (What::Window(window), Some(at)) if at > now => format!(
                "{name} waits for the window `{window}`, in which its writes may be switched; it \
                 opens in {}, {}",
                ahead(at),
                when::utc(at)
            ),
            (What::Window(window), _) => format!(
                "{name} waits for the window `{window}`, in which its writes may be switched"
            ),
        }
    }

    pub fn document(&self, records: &Records, now: UnixMillis) -> WaitDocument {
        let (for_, window) = match &self.what {
            What::Approval(_) => ("approval", None),
            What::Soak { .. } => ("soak", None),
            What::Window(window) => ("window", Some(window.clone())),
        };
        WaitDocument {
            for_,
            workflow: self.full_name(),
            point: self.point().map(ApprovePoint::as_str),
            window,
            until: self.until(records, now),
            text: self.sentence(records, now),
        }
    }
}

/// The first full minute from `now` on at which a window is open. `None`: not within a week, which
/// no window that a spec accepts is closed for.
fn next_opening(window: &Window, now: UnixMillis) -> Option<UnixMillis> {
    const MINUTE: u64 = 60_000;
    let open = |at: UnixMillis| i64::try_from(at).is_ok_and(|at| window.contains(at));
    if open(now) {
        return Some(now);
    }
    let first = now / MINUTE * MINUTE + MINUTE;
    (0..=8 * 24 * 60)
        .map(|minute| first + minute * MINUTE)
        .find(|at| open(*at))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_closed_window_opens_at_its_next_start() {
        // 1970-01-01 was a Thursday.
        let window = Window::parse("Sat 02:00-05:00").expect("a window");
        let saturday = 2 * 86_400_000 + 2 * 3_600_000;
        assert_eq!(next_opening(&window, 1), Some(saturday));
        assert_eq!(
            next_opening(&window, saturday + 90_001),
            Some(saturday + 90_001)
        );
        assert_eq!(
            next_opening(&window, saturday + 3 * 3_600_000),
            Some(saturday + 7 * 86_400_000)
        );
    }
}
