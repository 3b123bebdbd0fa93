//! Undoes a switch that has not flipped: writes go on where they were.

use vtplan_state::model::WorkflowKind;
use vtplan_state::store::{Op, Txn};

use super::drive::hold_id;
use super::fences;
use crate::conductor::step::Outcome;
use crate::conductor::workflow::record::{Loaded, serving};
use crate::conductor::write::Fenced;

/// Undoes what the record says. May be cut off anywhere, and done again. `why`: what has failed, if
/// that is known.
pub async fn undo(to: Fenced<'_>, loaded: &mut Loaded, why: &str) -> Result<(), Outcome> {
    let old = loaded.record.writes;
    let mut next = loaded.record.clone();
    if next.switch_failure.is_none() {
        next.switch_failure = Some(match why {
            "" => "the conductor that switched was cut off".to_owned(),
            why => why.to_owned(),
        });
    }
    tracing::warn!(workflow = %next.full_name(), why = next.switch_failure, "undoing a switch of writes");
    let mut txn = Txn::new();
    if next.kind == WorkflowKind::Reshard {
        let routed = serving(to, &next).await?;
        (txn, _) = routed.route_by(to, txn, &next, None);
    }
    // Also when it says so already: what is opened now must be newer than what was closed, and a
    // flip that is still on its way must find the record changed.
    let decided = loaded.write(to, next, txn).await?;
    to.world.failpoint("conductor.switch:undoing").await;
    let records = to.world.cluster().load_records().await?;
    let opened = fences::open(to, &records, &loaded.record, old, decided).await;
    let hold = to.world.cluster().keys().hold(&hold_id(&loaded.record));
    if let Err(outcome) = opened {
        // What could be opened takes writes again. For the rest there is no use in keeping
        // statements: they would wait in vain.
        to.txn(Txn::new().then(Op::delete(hold)), "").await?;
        return Err(outcome);
    }
    let mut next = loaded.record.clone();
    next.switch = None;
    next.streams.running = true;
    let txn = Txn::new().then(Op::delete(hold));
    loaded.write(to, next, txn).await?;
    to.world.failpoint("conductor.switch:undone").await;
    Ok(())
}
