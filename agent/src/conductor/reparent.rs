//! Moves a shard's primary to another tablet with no write lost.
//!
//! The order: the old primary is made `read_only`, so its position is final; the new one executes
//! up to it; the shard's record names the new one under a higher term. Only the last is durable.
//! A conductor that dies before it leaves nothing behind: the old primary's agent ends `read_only`
//! by itself when the time for which it was asked is over.

use std::time::Duration;

use tokio::time::Instant;
use vtplan_planner::live::{ObservedRole, ServerState};
use vtplan_state::model::{KeyspaceName, ShardName, ShardRecord, TabletAlias};
use vtplan_state::store::{Compare, Txn};

use super::step::{Outcome, target};
use super::world::Target;
use super::write::{Change, Fenced};
use crate::observe::Gathered;

/// For how long the old primary is asked not to take writes.
const HOLD: Duration = Duration::from_secs(60);
/// How long after asking for it, at most, the new primary may still be named: far less than
/// [`HOLD`], so that no write can come in between.
const NAME_WITHIN: Duration = Duration::from_secs(15);
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
    let Some(record) = seen.live.records.shard(keyspace, shard) else {
        return Err(Outcome::Retry(format!("shard {keyspace}/{shard} is gone")));
    };
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

    match stop_and_catch_up(to, &old, &new).await {
        Ok(asked_at) => name(to, keyspace, shard, record, wanted, asked_at).await,
        Err(outcome) => {
            resume(to, &old, record).await;
            Err(outcome)
        }
    }
}

/// Lets the old primary take writes again after a failure, if it is the primary for certain. Else,
/// or when this fails, `read_only` ends by itself. After the attempt to name the new primary
/// nothing is resumed: a transaction whose reply was lost may have named it.
async fn resume(to: Fenced<'_>, old: &Target, record: &ShardRecord) {
    let keys = to.world.cluster().keys();
    let unchanged = Txn::new().when(Compare::Exists(keys.shard(&record.keyspace, &record.shard)));
    let now = to
        .world
        .cluster()
        .store()
        .get(&keys.shard(&record.keyspace, &record.shard))
        .await;
    let same =
        matches!(now, Ok(Some(entry)) if entry.json().is_ok_and(|r: ShardRecord| r == *record));
    // A transaction without ops: only asks whether this conductor has the lock.
    if same && to.txn(unchanged, "the shard is gone").await.is_ok() {
        let _ = to.world.set_read_only(old, false, Duration::ZERO).await;
    }
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

/// Gives the moment from which on the old primary certainly takes no writes, and the new one has
/// all there are.
async fn stop_and_catch_up(to: Fenced<'_>, old: &Target, new: &Target) -> Result<Instant, Outcome> {
    let mut position = to.world.set_read_only(old, true, HOLD).await?;
    to.world.failpoint("conductor.reparent-read-only").await;
    for _ in 0..3 {
        if !to.world.wait_for_position(new, &position, CATCH_UP).await? {
            return Err(Outcome::Retry(format!(
                "{} did not catch up within {} s",
                new.alias,
                CATCH_UP.as_secs()
            )));
        }
        // Asked again: the old primary's agent may have been started anew meanwhile, and not
        // know that it was asked before.
        let asked_at = Instant::now();
        let still = to.world.set_read_only(old, true, HOLD).await?;
        if still == position {
            return Ok(asked_at);
        }
        position = still;
    }
    Err(Outcome::Retry(format!(
        "{} went on taking writes",
        old.alias
    )))
}

async fn name(
    to: Fenced<'_>,
    keyspace: &KeyspaceName,
    shard: &ShardName,
    record: &ShardRecord,
    wanted: &TabletAlias,
    asked_at: Instant,
) -> Result<(), Outcome> {
    let keys = to.world.cluster().keys();
    let exists = Compare::Exists(keys.tablet(wanted));
    let change = |old: Option<ShardRecord>| {
        if asked_at.elapsed() > NAME_WITHIN {
            return Err("it took too long; writes may have gone on".to_owned());
        }
        match old {
            Some(old) if old == *record => Ok(Change::Put(ShardRecord {
                primary: Some(wanted.clone()),
                term: old.term + 1,
                ..old
            })),
            _ => Err(format!("shard {keyspace}/{shard} was changed meanwhile")),
        }
    };
    let key = keys.shard(keyspace, shard);
    Ok(to.change(key, &[exists], change).await?)
}
