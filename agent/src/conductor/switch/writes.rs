//! The step that moves writes to a side.

use std::time::Duration;

use tokio::time::Instant;
use vtplan_planner::plan::SequenceRaise;
use vtplan_state::model::{KeyspaceName, Side, StepWork, WorkflowName};

use super::{check, drive, settle};
use crate::conductor::step::Outcome;
use crate::conductor::workflow::{policy, record};
use crate::conductor::write::Fenced;

/// What is asked for.
#[derive(Debug, Clone, Copy)]
pub struct WriteSwitchAsked<'a> {
    pub keyspace: &'a KeyspaceName,
    pub workflow: &'a WorkflowName,
    /// Where the writes are to go.
    pub side: Side,
    /// For how long they may be held before the switch is undone.
    pub max_pause: Duration,
    /// When it may be done.
    pub window: Option<&'a str>,
    /// Sequences that are raised before the flip.
    pub raise: &'a [SequenceRaise],
}

/// Switches the writes, or leaves all as it was. An undone switch counts as a refusal, so that it
/// is tried a few times. `first`: attempt of this step.
pub async fn switch_writes(
    to: Fenced<'_>,
    asked: WriteSwitchAsked<'_>,
    first: bool,
) -> Result<(), Outcome> {
    let (keyspace, workflow) = (asked.keyspace, asked.workflow);
    settle::before_anything(to, keyspace, workflow).await?;
    let mut loaded = record::load_existing(to, keyspace, workflow).await?;
    if loaded.record.writes == asked.side {
        return Ok(());
    }
    check::is_allowed(&loaded.record, asked.side)?;
    if let Some(window) = asked.window {
        policy::window(to, &loaded.record, window)?;
    }
    let records = to.world.cluster().load_records().await?;
    check::prepare(to, &records, &loaded, asked.max_pause, first).await?;

    let held_at = Instant::now();
    let driven = drive::until_flipped(to, &records, &mut loaded, asked).await;
    let why = match driven {
        Ok(()) => String::new(),
        Err(Outcome::Superseded) => return Err(Outcome::Superseded),
        Err(outcome) => outcome.message().to_owned(),
    };
    // Whatever the attempt believes: the record says what has become of it.
    let settled = settle::settle(to, keyspace, workflow, &why).await?;
    let pause = u64::try_from(held_at.elapsed().as_millis()).unwrap_or(u64::MAX);
    if settled.writes == asked.side {
        tracing::info!(workflow = %settled.full_name(), side = ?asked.side, pause, "writes are switched");
        return Err(Outcome::Worked(StepWork {
            write_pause_ms: Some(pause),
            ..StepWork::default()
        }));
    }
    Err(Outcome::Refused(format!(
        "the switch of writes was undone, and writes go on where they were: {}",
        settled.switch_failure.unwrap_or(why)
    )))
}
