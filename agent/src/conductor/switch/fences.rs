//! The fences of a workflow on both of its sides: of tables for a MoveTables, of whole shards for a
//! Reshard.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::{join_all, try_join_all};
use vtplan_state::model::{Records, Revision, ShardName, Side, WorkflowKind, WorkflowRecord};

use crate::client::CallError;
use crate::conductor::step::Outcome;
use crate::conductor::workflow::record::primaries;
use crate::conductor::world::{FenceName, FenceSetting, TablesToFence};
use crate::conductor::write::Fenced;

/// How long an opened server may take to take writes.
const OPEN_PATIENCE: Duration = Duration::from_secs(5);

fn name(workflow: &WorkflowRecord, side: Side) -> FenceName {
    FenceName {
        keyspace: workflow.side(side).keyspace.clone(),
        workflow: (workflow.kind == WorkflowKind::MoveTables).then(|| workflow.full_name()),
    }
}

/// Puts the fences of a MoveTables on both sides: open where the writes are, closed on the other.
pub async fn prepare(
    to: Fenced<'_>,
    records: &Records,
    workflow: &WorkflowRecord,
    decided: Revision,
) -> Result<(), Outcome> {
    if workflow.kind == WorkflowKind::Reshard {
        // A shard's server follows its record at all times.
        return Ok(());
    }
    let mut calls = Vec::new();
    for side in [Side::Source, Side::Target] {
        let fence = name(workflow, side);
        let set = FenceSetting {
            closed: side != workflow.writes,
            decided,
        };
        let tables = TablesToFence {
            tables: workflow.tables.clone(),
            writes_at: workflow.side(side.other()).keyspace.clone(),
        };
        for primary in primaries(records, workflow.side(side))?.into_values() {
            let (fence, tables) = (fence.clone(), tables.clone());
            calls.push(
                async move { (to.world.prepare_fence(&primary, &fence, &tables, set)).await },
            );
        }
    }
    try_join_all(calls).await?;
    Ok(())
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
    let fence = &name(workflow, side);
    let calls = primaries(records, workflow.side(side))?
        .into_values()
        .map(|primary| async move { to.world.remove_fence(&primary, fence, decided).await });
    try_join_all(calls).await?;
    Ok(())
}
