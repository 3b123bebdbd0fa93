//! Moves a shard's primary to another tablet with no write lost.
//!
//! The order: the shard's record is read; the old primary is asked to hold writes, so its position
//! is final; the new one executes up to it; the record, unchanged since it was read, names the new
//! one under a higher term. Only the last is durable. A conductor that dies before it leaves
//! nothing behind: the old primary's agent lets writes through again after a while, and before it
//! does, it writes the record anew, so that a conductor that comes back late is refused.

use std::time::Duration;

use vtplan_planner::live::{ObservedRole, ServerState};
use vtplan_state::model::{KeyspaceName, ShardName, ShardRecord, TabletAlias};
use vtplan_state::store::{Compare, Entry, Op, Txn};

use super::step::{Outcome, target};
use super::world::Target;
use super::write::Fenced;
use crate::observe::Gathered;

/// For how long the old primary is asked not to take writes.
const HOLD: Duration = Duration::from_secs(30);
/// For how long writes wait, at most, for the new primary to catch up.
const CATCH_UP: Duration = Duration::from_secs(10);
/// A replica that lags more does not get the chance.
const MAX_LAG_SECONDS: u64 = 5;

pub(super) async fn reparent(
    to: Fenced<'_>,
    keyspace: &KeyspaceName,
    shard: &ShardName,
    from: &TabletAlias,
    wanted: &TabletAlias,
    seen: &Gathered,
) -> Result<(), Outcome> {
    let key = to.world.cluster().keys().shard(keyspace, shard);
    let entry = to.world.cluster().store().get(&key).await;
    let entry = entry.map_err(|error| Outcome::Retry(error.to_string()))?;
    let Some(entry) = entry else {
        return Err(Outcome::Retry(format!("shard {keyspace}/{shard} is gone")));
    };
    let record: ShardRecord = entry
        .json()
        .map_err(|error| Outcome::Retry(error.to_string()))?;
    match &record.primary {
        // The replicas are yet to follow.
        Some(primary) if primary == wanted => return Ok(()),
        Some(primary) if primary == from => {}
        _ => {
            return Err(Outcome::Retry(format!(
                "{from} is not the primary of {keyspace}/{shard}"
            )));
        }
    }
    check_candidate(seen, from, wanted)?;
    let old = target(seen, from, record.term)?;
    let new = target(seen, wanted, record.term)?;

    let moved = match stop_and_catch_up(to, &old, &new).await {
        Ok(()) => name(to, &entry, record, wanted).await,
        Err(outcome) => Err(outcome),
    };
    if moved.is_err() {
        // Safe even if the new primary was named all the same: the agent asks the store before it
        // lets writes through. If this fails, it does so after the time it was asked for.
        let _ = to.world.set_read_only(&old, false, Duration::ZERO).await;
    }
    moved
}

/// Writes are not stopped for a replica that cannot take over at once.
fn check_candidate(
    seen: &Gathered,
    from: &TabletAlias,
    wanted: &TabletAlias,
) -> Result<(), Outcome> {
    let server = seen.live.observed.tablets.get(wanted).map(|t| &t.server);
    let Some(ServerState::Running(server)) = server else {
        return Err(Outcome::Retry(format!(
            "the server of tablet {wanted} does not run"
        )));
    };
    match &server.role {
        ObservedRole::Replica {
            source,
            healthy: true,
            lag_seconds: Some(lag),
            ..
        } if source == from => {
            if *lag > MAX_LAG_SECONDS {
                return Err(Outcome::Retry(format!(
                    "{wanted} lags {lag} s behind; waiting until it is at most {MAX_LAG_SECONDS} s"
                )));
            }
            Ok(())
        }
        ObservedRole::Replica { error, .. } => Err(Outcome::Retry(format!(
            "{wanted} does not replicate from {from} yet: {}",
            if error.is_empty() { "starting" } else { error }
        ))),
        ObservedRole::Primary { .. } | ObservedRole::Idle => Err(Outcome::Retry(format!(
            "{wanted} does not replicate from {from} yet"
        ))),
    }
}

/// From here on the old primary takes no writes, and the new one has all there are.
async fn stop_and_catch_up(to: Fenced<'_>, old: &Target, new: &Target) -> Result<(), Outcome> {
    let position = to.world.set_read_only(old, true, HOLD).await?;
    to.world.failpoint("conductor.reparent-read-only").await;
    if to.world.wait_for_position(new, &position, CATCH_UP).await? {
        return Ok(());
    }
    Err(Outcome::Retry(format!(
        "{} did not catch up within {} s",
        new.alias,
        CATCH_UP.as_secs()
    )))
}

/// Names the new primary, if the record is the one that was read before writes were held.
async fn name(
    to: Fenced<'_>,
    read: &Entry,
    record: ShardRecord,
    wanted: &TabletAlias,
) -> Result<(), Outcome> {
    let changed = format!(
        "the record of {}/{} was changed",
        record.keyspace, record.shard
    );
    let next = ShardRecord {
        primary: Some(wanted.clone()),
        term: record.term + 1,
        ..record
    };
    let txn = Txn::new()
        .when(Compare::ModRevision(read.key.clone(), read.mod_revision))
        .when(Compare::Exists(to.world.cluster().keys().tablet(wanted)))
        .then(Op::put(read.key.clone(), &next));
    to.txn(txn, &changed).await?;
    Ok(())
}
