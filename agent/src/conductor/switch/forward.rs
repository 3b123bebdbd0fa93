//! Ends a switch that has flipped.

use futures::future::{try_join, try_join_all};
use vtplan_state::store::{Op, Txn};

use super::drive::hold_id;
use super::fences;
use crate::conductor::gates;
use crate::conductor::step::Outcome;
use crate::conductor::workflow::record::{Loaded, primaries, serving};
use crate::conductor::workflow::vt;
use crate::conductor::write::Fenced;

/// Does what is left. May be cut off anywhere, and done again.
pub async fn forward(to: Fenced<'_>, loaded: &mut Loaded) -> Result<(), Outcome> {
    to.world.failpoint("conductor.switch:flipped").await;
    let record = loaded.record.clone();
    let records = to.world.cluster().load_records().await?;
    let routed = serving(to, &record).await?.revision;
    // No stream of the epoch that is over writes any more where the writes are now: it would
    // bring back what flows from there.
    let sealed = async {
        let calls = primaries(&records, record.side(record.writes))?
            .into_values()
            .map(|primary| {
                let sql = vt::seal_before(&record);
                async move { to.world.execute_sql(&primary, sql).await }
            });
        try_join_all(calls).await?;
        Ok::<(), Outcome>(())
    };
    try_join(gates::acknowledge(to, routed), sealed).await?;
    to.world.failpoint("conductor.switch:acked").await;
    fences::open(to, &records, &record, record.writes, loaded.revision).await?;
    to.world.failpoint("conductor.switch:opened").await;

    let mut next = record;
    next.switch = None;
    next.streams.running = true;
    let hold = to.world.cluster().keys().hold(&hold_id(&next));
    let txn = Txn::new().then(Op::delete(hold));
    loaded.write(to, next, txn).await?;
    to.world.failpoint("conductor.switch:released").await;
    Ok(())
}
