//! Waits until every row is copied.

use vtplan_state::model::{KeyspaceName, WorkflowName};

use super::{policy, rates, record, start, streams};
use crate::conductor::step::{Outcome, Progress};
use crate::conductor::write::Fenced;

/// One look. `first`: of this step.
pub async fn wait(
    to: Fenced<'_>,
    keyspace: &KeyspaceName,
    workflow: &WorkflowName,
    first: bool,
) -> Result<(), Outcome> {
    let mut loaded = record::load_existing(to, keyspace, workflow).await?;
    if loaded.record.copied {
        return Ok(());
    }
    policy::refuse_paused(&loaded.record)?;
    // The one that started it may have died before they ran.
    start::run_streams(to, &mut loaded).await?;
    let records = to.world.cluster().load_records().await?;
    let seen = streams::look_for_errors(to, &records, &loaded.record, first).await?;
    let Progress { message, work } = seen.progress();
    if !seen.copied() {
        return Err(Outcome::Going(Progress { message, work }));
    }
    let mut next = loaded.record.clone();
    next.copied = true;
    let rates = rates::of_copy(to, &records, &loaded.record, &seen).await?;
    loaded.write(to, next, rates).await?;
    match work {
        Some(work) => Err(Outcome::Worked(work)),
        None => Ok(()),
    }
}
