//! What waits for a person, for time or for a window. None of it fails: the plan ends as waiting
//! when nothing else can be done.

use vtplan_planner::desired::ApprovePoint;
use vtplan_planner::spec::values::window::Window;
use vtplan_state::model::{KeyspaceName, WorkflowName, WorkflowRecord};
use vtplan_state::store::Txn;

use super::record;
use crate::conductor::step::Outcome;
use crate::conductor::write::Fenced;

/// A workflow that was paused by hand goes on by hand.
pub fn refuse_paused(record: &WorkflowRecord) -> Result<(), Outcome> {
    if !record.paused {
        return Ok(());
    }
    Err(Outcome::Held(format!(
        "workflow {0} is paused; let it go on with `vtplan workflow resume {0}`",
        record.full_name()
    )))
}

/// Waits for a point of `changes.approve`.
pub async fn approval(
    to: Fenced<'_>,
    keyspace: &KeyspaceName,
    workflow: &WorkflowName,
    point: ApprovePoint,
) -> Result<(), Outcome> {
    let loaded = record::load_existing(to, keyspace, workflow).await?;
    let point = point.as_str();
    if loaded.record.approved.contains(point) {
        return Ok(());
    }
    Err(Outcome::Held(format!(
        "{point} of workflow {} waits for an approval; give it with `vtplan apply --approve {point}`",
        loaded.record.full_name()
    )))
}

/// Lets time pass after writes were switched, and writes down when it is over.
pub async fn soak(
    to: Fenced<'_>,
    keyspace: &KeyspaceName,
    workflow: &WorkflowName,
    seconds: u64,
) -> Result<(), Outcome> {
    let mut loaded = record::load_existing(to, keyspace, workflow).await?;
    let record = &loaded.record;
    if record.soaked {
        return Ok(());
    }
    let Some(switched_at) = record.switched_at else {
        return Err(Outcome::Retry(format!(
            "the writes of workflow {} are not switched yet",
            record.full_name()
        )));
    };
    let over = switched_at.saturating_add(seconds.saturating_mul(1000));
    let left = over.saturating_sub(to.world.now()).div_ceil(1000);
    if left > 0 {
        return Err(Outcome::Held(format!(
            "workflow {} soaks for {} more; `vtplan apply` goes on after that",
            record.full_name(),
            duration(left)
        )));
    }
    let mut next = record.clone();
    next.soaked = true;
    loaded.write(to, next, Txn::new()).await?;
    Ok(())
}

/// Whether `changes.window` is open now.
pub fn window(to: Fenced<'_>, record: &WorkflowRecord, window: &str) -> Result<(), Outcome> {
    let parsed = Window::parse(window).map_err(|why| {
        Outcome::Impossible(format!("the window `{window}` is not understood: {why}"))
    })?;
    let now = i64::try_from(to.world.now()).unwrap_or(i64::MAX);
    if parsed.contains(now) {
        return Ok(());
    }
    Err(Outcome::Held(format!(
        "the writes of workflow {} are switched in the window `{window}` only; apply again then",
        record.full_name()
    )))
}

/// `1 h 5 min`, `40 s`.
fn duration(seconds: u64) -> String {
    let (hours, minutes) = (seconds / 3600, seconds % 3600 / 60);
    match (hours, minutes) {
        (0, 0) => format!("{seconds} s"),
        (0, _) => format!("{minutes} min {} s", seconds % 60),
        _ => format!("{hours} h {minutes} min"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_readable() {
        assert_eq!(duration(40), "40 s");
        assert_eq!(duration(65), "1 min 5 s");
        assert_eq!(duration(3900), "1 h 5 min");
    }
}
