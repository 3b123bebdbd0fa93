//! What the conductor waits for from gates: that they serve by a revision, that they have drained
//! a hold. Gates tell both in their leased records. One whose lease has ended is not waited for: it
//! takes no writes by itself, and the servers are fenced against it.

use std::time::Duration;

use futures::StreamExt;
use tokio::time::timeout;
use vtplan_state::model::{GateRecord, Revision};
use vtplan_state::store::StoreError;

use super::step::Outcome;
use super::write::Fenced;

/// How long gates may take before a step is tried again.
const PATIENCE: Duration = Duration::from_secs(10);
/// The longest time between two looks, should a watch stay silent.
const LOOK_AGAIN: Duration = Duration::from_millis(500);

/// Waits until every live gate serves by a revision (of what gates route by).
pub async fn serve_by(to: Fenced<'_>, revision: Revision) -> Result<(), StoreError> {
    wait(to, |gate| gate.serving_revision >= revision).await
}

/// Waits until every live gate keeps a hold and has nothing under way of what it is about.
pub async fn drained(to: Fenced<'_>, hold: &str) -> Result<(), StoreError> {
    let cluster = to.world.cluster();
    let entry = cluster.store().get(&cluster.keys().hold(hold)).await?;
    // A gate that has not seen this hold may still speak of an earlier one with its id.
    let written = entry.map_or(0, |entry| entry.mod_revision);
    wait(to, |gate| {
        gate.serving_revision >= written && gate.drained.contains(hold)
    })
    .await
}

/// As [`serve_by`], for a step: one that is not done in time is tried again.
pub async fn acknowledge(to: Fenced<'_>, revision: Revision) -> Result<(), Outcome> {
    if let Ok(done) = timeout(PATIENCE, serve_by(to, revision)).await {
        return Ok(done?);
    }
    let behind = behind(to, |gate| gate.serving_revision >= revision).await?;
    Err(Outcome::Retry(format!(
        "gates do not route by the newest records yet: {}",
        behind.join(", ")
    )))
}

/// The names of live gates of which something does not hold yet, for messages.
pub async fn behind(
    to: Fenced<'_>,
    ready: impl Fn(&GateRecord) -> bool,
) -> Result<Vec<String>, StoreError> {
    let (gates, _) = list(to).await?;
    let behind = gates.into_iter().filter(|gate| !ready(gate));
    Ok(behind.map(|gate| gate.name.to_string()).collect())
}

async fn wait(to: Fenced<'_>, ready: impl Fn(&GateRecord) -> bool) -> Result<(), StoreError> {
    loop {
        let (gates, revision) = list(to).await?;
        if gates.iter().all(&ready) {
            return Ok(());
        }
        let cluster = to.world.cluster();
        let mut events = cluster.store().watch(&prefix(to), revision + 1).await?;
        // Whatever it tells: all gates are read again, because they come and go.
        if let Ok(Some(event)) = timeout(LOOK_AGAIN, events.next()).await {
            event?;
        }
    }
}

fn prefix(to: Fenced<'_>) -> String {
    to.world.cluster().keys().gates()
}

async fn list(to: Fenced<'_>) -> Result<(Vec<GateRecord>, Revision), StoreError> {
    let listing = to.world.cluster().store().list(&prefix(to)).await?;
    let gates: Result<Vec<GateRecord>, StoreError> =
        listing.entries.iter().map(|entry| entry.json()).collect();
    Ok((gates?, listing.revision))
}
