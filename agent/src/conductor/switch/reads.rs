//! Sends reads of replicas and rdonlys to a side.

use std::time::Duration;

use vtplan_state::model::{KeyspaceName, Side, TabletType, WorkflowName};
use vtplan_state::store::Txn;

use super::settle;
use crate::conductor::gates;
use crate::conductor::step::{Outcome, Progress};
use crate::conductor::workflow::{policy, record, routing, streams};
use crate::conductor::write::Fenced;

/// Readers of the side that streams write to see the past; no more of it than this.
const MAX_LAG: Duration = Duration::from_secs(10);

/// One transaction, which gates acknowledge. `first`: look of this step.
pub async fn switch_reads(
    to: Fenced<'_>,
    keyspace: &KeyspaceName,
    workflow: &WorkflowName,
    tablet_types: &[TabletType],
    side: Side,
    first: bool,
) -> Result<(), Outcome> {
    settle::before_anything(to, keyspace, workflow).await?;
    let mut loaded = record::load_existing(to, keyspace, workflow).await?;
    let record = &loaded.record;
    if record.ending.is_some() {
        return Err(Outcome::Impossible(format!(
            "workflow {} is being ended: its traffic is not switched any more",
            record.full_name()
        )));
    }
    if !record.copied && side == Side::Target {
        return Err(Outcome::Retry(format!(
            "workflow {} has not copied all rows yet",
            record.full_name()
        )));
    }
    let mut next = record.clone();
    for tablet_type in tablet_types {
        match side {
            Side::Target => next.reads_switched.insert(*tablet_type),
            Side::Source => next.reads_switched.remove(tablet_type),
        };
    }
    let moves = next.reads_switched != record.reads_switched;
    let behind = tablet_types
        .iter()
        .any(|tablet_type| routing::reads_at(&next, *tablet_type) != next.writes);
    if moves && behind {
        policy::refuse_paused(record)?;
        let records = to.world.cluster().load_records().await?;
        let seen = streams::look_for_errors(to, &records, record, first).await?;
        if let Some(why) = seen.not_close(MAX_LAG) {
            return Err(Outcome::Going(Progress {
                message: format!("reads are switched when the streams are close: {why}"),
                work: None,
            }));
        }
    }
    let serving = record::serving(to, record).await?;
    let (txn, changes) = serving.route_by(to, Txn::new(), &next, None);
    let mut revision = serving.revision;
    if moves || changes {
        let written = loaded.write(to, next, txn).await?;
        if changes {
            revision = written;
        }
    }
    gates::acknowledge(to, revision).await
}
