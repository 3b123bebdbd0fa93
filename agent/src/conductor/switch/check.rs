//! What must hold before writes are held: the less can go wrong then, the shorter they are.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::Instant;
use vtplan_state::model::{Records, ShardName, Side, TabletType, WorkflowRecord};

use super::fences;
use crate::client::CallError;
use crate::conductor::gates;
use crate::conductor::step::{Outcome, Progress};
use crate::conductor::workflow::record::{Loaded, primaries, serving};
use crate::conductor::workflow::{policy, streams};
use crate::conductor::world::StreamName;
use crate::conductor::write::Fenced;

/// How long streams may take for what is committed at this moment, before writes are held.
const CATCH_UP: Duration = Duration::from_secs(10);
/// A switch gives its streams this much, however short `max_write_pause` is.
const LEAST_LAG: Duration = Duration::from_millis(300);

/// Whether writes may be switched to a side at all.
pub fn is_allowed(record: &WorkflowRecord, side: Side) -> Result<(), Outcome> {
    let name = record.full_name();
    if record.ending.is_some() {
        return Err(Outcome::Impossible(format!(
            "workflow {name} is being ended: its traffic is not switched any more"
        )));
    }
    policy::refuse_paused(record)?;
    if side == Side::Source {
        return Ok(());
    }
    if !record.copied {
        return Err(Outcome::Retry(format!(
            "workflow {name} has not copied all rows yet"
        )));
    }
    let reads = [TabletType::Replica, TabletType::Rdonly];
    if let Some(missing) = reads.iter().find(|t| !record.reads_switched.contains(*t)) {
        return Err(Outcome::Impossible(format!(
            "the writes of workflow {name} are not switched before its reads, and those of {missing} are not; switch the reads first"
        )));
    }
    Ok(())
}

/// Checks, and makes the fences ready.
pub async fn prepare(
    to: Fenced<'_>,
    records: &Records,
    loaded: &Loaded,
    max_pause: Duration,
    first: bool,
) -> Result<(), Outcome> {
    let record = &loaded.record;
    let going = |why: String| {
        Outcome::Going(Progress {
            message: format!("writes are switched when the streams are close: {why}"),
            work: None,
        })
    };
    gates::acknowledge(to, serving(to, record).await?.revision).await?;
    let seen = streams::look_for_errors(to, records, record, first).await?;
    // They are about to be asked exactly; this finds those that have far to go.
    if let Some(why) = seen.not_close(CATCH_UP) {
        return Err(going(why));
    }
    fences::prepare(to, records, record, loaded.revision, max_pause).await?;

    // As it will be when writes are held, but while they go on.
    let started = Instant::now();
    let positions = positions(to, records, record).await?;
    if !reached(to, records, record, &positions, CATCH_UP).await? {
        return Err(going(format!(
            "they did not get within {} s to what was committed at the beginning",
            CATCH_UP.as_secs()
        )));
    }
    let most = (max_pause / 2).max(LEAST_LAG);
    if started.elapsed() > most {
        return Err(going(format!(
            "they are {:.1} s behind, and may be {:.1} s at most",
            started.elapsed().as_secs_f64(),
            most.as_secs_f64()
        )));
    }
    Ok(())
}

/// Where the primaries of the side that is read are, by shard.
async fn positions(
    to: Fenced<'_>,
    records: &Records,
    record: &WorkflowRecord,
) -> Result<BTreeMap<ShardName, String>, Outcome> {
    let calls =
        primaries(records, record.reads_from())?
            .into_iter()
            .map(|(shard, primary)| async move {
                let position = to.world.position(&primary).await?;
                Ok::<_, CallError>((shard, position))
            });
    Ok(try_join_all(calls).await?.into_iter().collect())
}

/// Whether every stream has brought these positions, by the shard that it reads, to every target.
pub async fn reached(
    to: Fenced<'_>,
    records: &Records,
    record: &WorkflowRecord,
    positions: &BTreeMap<ShardName, String>,
    wait: Duration,
) -> Result<bool, Outcome> {
    let targets = primaries(records, record.writes_to())?;
    let mut calls = Vec::new();
    for (from, position) in positions {
        for target in targets.values() {
            let stream = StreamName {
                keyspace: record.target.keyspace.clone(),
                workflow: record.name.clone(),
                epoch: record.streams.epoch,
                from: from.clone(),
            };
            calls.push(
                async move { (to.world.wait_for_stream(target, &stream, position, wait)).await },
            );
        }
    }
    let answers = try_join_all(calls).await?;
    Ok(answers.into_iter().all(|reached| reached))
}
