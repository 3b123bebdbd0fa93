//! Moments in which gates hold writes to some objects and have let end what was under way there:
//! for what an application's transaction must not meet.

use std::time::Duration;

use tokio::time::timeout;
use vtplan_state::model::{HeldObject, HoldRecord};
use vtplan_state::store::{Op, Txn};

use super::gates;
use super::step::Outcome;
use super::write::Fenced;

/// Gates keep statements for longer than the moment may take: another conductor, which finds the hold of
/// one that was cut off, has to wait until the lock of that one has ended.
const MARGIN: Duration = Duration::from_secs(20);

/// Does some work while objects are held. `id`: of the hold, as no other has it. `drain`: how long gates
/// may take to end what is under way; the work has a limit of its own.
///
/// # Errors
/// When gates did not drain, which leaves the work alone, and those of the work. The hold goes in
/// any case; if even that fails it is left over, and found.
pub async fn while_held<T>(
    to: Fenced<'_>,
    id: &str,
    objects: Vec<HeldObject>,
    drain: Duration,
    work: impl Future<Output = Result<T, Outcome>>,
) -> Result<T, Outcome> {
    let key = to.world.cluster().keys().hold(id);
    let hold = HoldRecord {
        id: id.to_owned(),
        since: to.world.now(),
        objects,
        max_ms: u64::try_from((drain + MARGIN).as_millis()).unwrap_or(u64::MAX),
    };
    let put = Txn::new().then(Op::put(key.clone(), &hold));
    to.txn(put, "").await?;
    to.world.failpoint("conductor.held:holding").await;
    let done = match timeout(drain, gates::drained(to, id)).await {
        Ok(Ok(())) => {
            to.world.failpoint("conductor.held:drained").await;
            work.await
        }
        Ok(Err(error)) => Err(error.into()),
        Err(_) => {
            let slow = gates::behind(to, |gate| gate.drained.contains(id)).await;
            Err(Outcome::Retry(format!(
                "transactions that use what is held ({id}) did not end within {} ms, on {}",
                drain.as_millis(),
                slow.map(|slow| slow.join(", ")).unwrap_or_default()
            )))
        }
    };
    to.txn(Txn::new().then(Op::delete(key)), "").await?;
    done
}
