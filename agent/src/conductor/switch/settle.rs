//! Brings a switch that is under way to its end, whoever began it: back before `Flipped`, forward
//! from it on.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use vtplan_state::model::{KeyspaceName, SwitchPhase, WorkflowName, WorkflowRecord};

use super::{forward, undo};
use crate::conductor::step::Outcome;
use crate::conductor::workflow::record;
use crate::conductor::write::Fenced;

/// For how long it is tried before the caller has to come back.
const PATIENCE: Duration = Duration::from_secs(20);
/// Pause after the first failure; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(20);
const LONGEST_PAUSE: Duration = Duration::from_secs(1);

/// Settles a workflow's switch and gives the record after it. `why`: what has failed, for an undo.
///
/// # Errors
/// When it is not settled yet after some time. The record still says what is left to do.
pub async fn settle(
    to: Fenced<'_>,
    keyspace: &KeyspaceName,
    workflow: &WorkflowName,
    why: &str,
) -> Result<WorkflowRecord, Outcome> {
    let until = Instant::now() + PATIENCE;
    let mut pause = FIRST_PAUSE;
    loop {
        let failed = match settle_once(to, keyspace, workflow, why).await {
            Ok(record) => return Ok(record),
            Err(Outcome::Superseded) => return Err(Outcome::Superseded),
            Err(outcome) => outcome,
        };
        let text = failed.message();
        tracing::warn!(%keyspace, %workflow, why = text, "a switch of writes is not settled yet");
        if Instant::now() >= until {
            return Err(Outcome::Retry(format!(
                "a switch of the writes of {keyspace}.{workflow} is under way: {text}"
            )));
        }
        sleep(pause).await;
        pause = (pause * 2).min(LONGEST_PAUSE);
    }
}

/// Settles what another conductor, or this one's earlier attempt, has left.
pub async fn before_anything(
    to: Fenced<'_>,
    keyspace: &KeyspaceName,
    workflow: &WorkflowName,
) -> Result<(), Outcome> {
    match record::load(to, keyspace, workflow).await? {
        Some(loaded) if loaded.record.switch.is_some() => {
            settle(to, keyspace, workflow, "").await.map(drop)
        }
        _ => Ok(()),
    }
}

async fn settle_once(
    to: Fenced<'_>,
    keyspace: &KeyspaceName,
    workflow: &WorkflowName,
    why: &str,
) -> Result<WorkflowRecord, Outcome> {
    let mut loaded = record::load_existing(to, keyspace, workflow).await?;
    match loaded.record.switch.as_ref().map(|switch| switch.phase) {
        None => {}
        Some(SwitchPhase::Flipped) => forward::forward(to, &mut loaded).await?,
        Some(_) => undo::undo(to, &mut loaded, why).await?,
    }
    Ok(loaded.record)
}
