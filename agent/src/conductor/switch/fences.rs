//! The fences of a workflow on both of its sides: of tables for a MoveTables, of whole shards for a
//! Reshard.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use tokio::time::sleep;
use vtplan_state::model::{Records, Revision, ShardName, Side, WorkflowKind, WorkflowRecord};

use super::drive::held_objects;
use crate::client::CallError;
use crate::conductor::held::while_held;
use crate::conductor::step::Outcome;
use crate::conductor::workflow::record::primaries;
use crate::conductor::world::{FenceName, FenceSetting, TablesToFence};
use crate::conductor::write::Fenced;

/// How long an opened server may take to take writes.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);
/// Time to make or remove triggers where nobody writes.
const WORK: Duration = Duration::from_secs(60);
/// The same where writes are held meanwhile. What is left is done the next time.
const WORK_HELD: Duration = Duration::from_millis(150);
/// How long gates may take to drain the first time. It doubles each time that they do not.
const FIRST_DRAIN: Duration = Duration::from_millis(250);
/// How often they may not.
const MOST_FAILURES: u32 = 6;
/// For how long writes may be held to remove a fence.
const LONGEST_TO_REMOVE: Duration = Duration::from_secs(4);
/// How long writes go on between two times.
const BETWEEN: Duration = Duration::from_millis(300);

fn name(workflow: &WorkflowRecord, side: Side) -> FenceName {
    FenceName {
        keyspace: workflow.side(side).keyspace.clone(),
        workflow: (workflow.kind == WorkflowKind::MoveTables).then(|| workflow.full_name()),
    }
}

/// What is done to fences.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Work {
    Prepare,
    Remove,
}

/// Puts the fences of a MoveTables on both sides: open where the writes are, closed on the other.
/// `longest`: for how long writes may be held for it at a time.
pub async fn prepare(
    to: Fenced<'_>,
    records: &Records,
    workflow: &WorkflowRecord,
    decided: Revision,
    longest: Duration,
) -> Result<(), Outcome> {
    if workflow.kind == WorkflowKind::Reshard {
        // A shard's server follows its record at all times.
        return Ok(());
    }
    let fences = Fences {
        to,
        records,
        workflow,
        decided,
        longest,
    };
    for side in [workflow.writes.other(), workflow.writes] {
        fences.work_on(Work::Prepare, side).await?;
    }
    Ok(())
}

/// The fences of a MoveTables, to be made or removed.
struct Fences<'a> {
    to: Fenced<'a>,
    records: &'a Records,
    workflow: &'a WorkflowRecord,
    decided: Revision,
    longest: Duration,
}

impl Fences<'_> {
    /// Makes or removes a side's fences. Where the application writes, a trigger is only made or
    /// removed while gates hold it: the server waits for every transaction that has so much as
    /// read the table, and ends with a deadlock those that then write to it.
    async fn work_on(&self, work: Work, side: Side) -> Result<(), Outcome> {
        let unfinished = || {
            Outcome::Retry(format!(
                "the fences of workflow {} in keyspace {} are not ready yet",
                self.workflow.full_name(),
                self.workflow.side(side).keyspace
            ))
        };
        if side != self.workflow.writes {
            let done = self.once(work, side, Some(WORK)).await?;
            return done.then_some(()).ok_or_else(unfinished);
        }
        if self.once(work, side, None).await? {
            return Ok(());
        }
        // A name of its own: gates may still speak of it when the switch's own hold comes.
        let id = format!("fence/{}", self.workflow.full_name());
        let mut drain = FIRST_DRAIN.min(self.longest);
        let mut failures = 0;
        loop {
            let objects = held_objects(self.workflow);
            let once = self.once(work, side, Some(WORK_HELD));
            match while_held(self.to, &id, objects, drain, once).await {
                Ok(true) => return Ok(()),
                Ok(false) => failures = 0,
                Err(Outcome::Retry(_) | Outcome::Refused(_)) if failures < MOST_FAILURES => {
                    failures += 1;
                    drain = (drain * 2).min(self.longest);
                }
                Err(outcome) => return Err(outcome),
            }
            sleep(BETWEEN).await;
        }
    }

    /// On all primaries of a side; whether all of it is done.
    async fn once(
        &self,
        work: Work,
        side: Side,
        within: Option<Duration>,
    ) -> Result<bool, Outcome> {
        let (world, decided) = (self.to.world, self.decided);
        let fence = &name(self.workflow, side);
        let set = FenceSetting {
            closed: side != self.workflow.writes,
            decided,
        };
        let tables = &TablesToFence {
            tables: self.workflow.tables.clone(),
            writes_at: self.workflow.side(side.other()).keyspace.clone(),
        };
        let calls = primaries(self.records, self.workflow.side(side))?
            .into_values()
            .map(|primary| async move {
                match work {
                    Work::Prepare => {
                        let call = world.prepare_fence(&primary, fence, tables, set, within);
                        call.await
                    }
                    Work::Remove => world.remove_fence(&primary, fence, decided, within).await,
                }
            });
        // All of them to their end: none works on when the hold goes.
        let done: Result<Vec<bool>, CallError> = join_all(calls).await.into_iter().collect();
        Ok(done?.into_iter().all(|done| done))
    }
}

/// Closes the fences of a side. Gives its servers' positions, by shard: all that was committed
/// before is in them.
pub async fn close(
    to: Fenced<'_>,
    records: &Records,
    workflow: &WorkflowRecord,
    side: Side,
    decided: Revision,
    wait: Duration,
) -> Result<BTreeMap<ShardName, String>, Outcome> {
    let fence = &name(workflow, side);
    let set = FenceSetting {
        closed: true,
        decided,
    };
    let calls =
        primaries(records, workflow.side(side))?
            .into_iter()
            .map(|(shard, primary)| async move {
                let position = to.world.set_fence(&primary, fence, set, wait).await?;
                Ok::<_, CallError>((shard, position))
            });
    Ok(try_join_all(calls).await?.into_iter().collect())
}

/// Opens the fences of a side. All are tried, also when some fail.
pub async fn open(
    to: Fenced<'_>,
    records: &Records,
    workflow: &WorkflowRecord,
    side: Side,
    decided: Revision,
) -> Result<(), Outcome> {
    let fence = &name(workflow, side);
    let set = FenceSetting {
        closed: false,
        decided,
    };
    let calls = primaries(records, workflow.side(side))?
        .into_values()
        .map(|primary| async move {
            let opened = to.world.set_fence(&primary, fence, set, OPEN_PATIENCE);
            opened.await.map(drop)
        });
    let results: Result<Vec<()>, CallError> = join_all(calls).await.into_iter().collect();
    results?;
    Ok(())
}

/// Takes the fences of a MoveTables off a side.
pub async fn remove(
    to: Fenced<'_>,
    records: &Records,
    workflow: &WorkflowRecord,
    side: Side,
    decided: Revision,
) -> Result<(), Outcome> {
    let fences = Fences {
        to,
        records,
        workflow,
        decided,
        longest: LONGEST_TO_REMOVE,
    };
    fences.work_on(Work::Remove, side).await
}
