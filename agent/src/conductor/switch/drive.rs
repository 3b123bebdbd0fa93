//! From the hold to the flip, within the time that writes may be held.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use futures::future::try_join;
use tokio::time::{Instant, timeout_at};
use vtplan_state::model::{
    HeldObject, HoldRecord, Records, Revision, ShardName, Side, StreamsWanted, SwitchPhase,
    UnixMillis, WorkflowKind, WorkflowRecord, WriteSwitch,
};
use vtplan_state::store::{Op, Txn};

use super::{WriteSwitchAsked, check, fences};
use crate::conductor::step::Outcome;
use crate::conductor::workflow::record::{Loaded, serving};
use crate::conductor::write::Fenced;
use crate::conductor::{gates, numbers};

/// Gates keep statements for longer than a switch may take: an undo takes its time, and so does
/// another conductor, which has to wait until the lock of one that was cut off has ended.
const HOLD_MARGIN: Duration = Duration::from_secs(20);

const DRAINING: &str = "gates ended what was under way";

/// Gets to `Flipped`, or fails, within `max_pause`. What has been done by then stands in the record.
pub async fn until_flipped(
    to: Fenced<'_>,
    records: &Records,
    loaded: &mut Loaded,
    asked: WriteSwitchAsked<'_>,
) -> Result<(), Outcome> {
    let max_pause = asked.max_pause;
    // For the message when time is up.
    let doing = Mutex::new("holding writes");
    let run = Run {
        to,
        records,
        asked,
        deadline: Instant::now() + max_pause,
        doing: &doing,
    };
    if let Ok(done) = timeout_at(run.deadline, run.phases(loaded)).await {
        return done;
    }
    let doing = *doing.lock().unwrap_or_else(PoisonError::into_inner);
    let hold = hold_id(&loaded.record);
    let slow = match gates::behind(to, |gate| gate.drained.contains(&hold)).await {
        Ok(slow) if doing == DRAINING && !slow.is_empty() => format!(
            "; transactions are open on {}: end them, or allow a longer `max_write_pause`",
            slow.join(", ")
        ),
        _ => String::new(),
    };
    Err(Outcome::Retry(format!(
        "it took longer than {} ms, while {doing}{slow}",
        max_pause.as_millis()
    )))
}

struct Run<'a> {
    to: Fenced<'a>,
    records: &'a Records,
    asked: WriteSwitchAsked<'a>,
    deadline: Instant,
    doing: &'a Mutex<&'static str>,
}

impl Run<'_> {
    fn now_doing(&self, what: &'static str) {
        *self.doing.lock().unwrap_or_else(PoisonError::into_inner) = what;
    }

    fn left(&self) -> Duration {
        self.deadline.saturating_duration_since(Instant::now())
    }

    async fn phases(&self, loaded: &mut Loaded) -> Result<(), Outcome> {
        let (to, records) = (self.to, self.records);
        self.hold(loaded).await?;
        to.world.failpoint("conductor.switch:holding").await;

        self.now_doing(DRAINING);
        to.world.failpoint("conductor.switch:draining").await;
        gates::drained(to, &hold_id(&loaded.record)).await?;
        to.world.failpoint("conductor.switch:drained").await;

        self.now_doing("fencing the servers");
        let decided = self.fence(loaded).await?;
        to.world.failpoint("conductor.switch:fencing").await;
        let old = loaded.record.writes;
        let fenced_at =
            fences::close(to, records, &loaded.record, old, decided, self.left()).await?;

        self.now_doing("streams caught up, and sequences were raised");
        let mut next = loaded.record.clone();
        if let Some(switch) = &mut next.switch {
            switch.phase = SwitchPhase::Fenced;
            switch.fenced_at.clone_from(&fenced_at);
        }
        loaded.write(to, next, Txn::new()).await?;
        to.world.failpoint("conductor.switch:fenced").await;
        let reached = check::reached(to, records, &loaded.record, &fenced_at, self.left());
        let (reached, ()) =
            try_join(reached, numbers::raise(to, records, self.asked.raise)).await?;
        if !reached {
            return Err(Outcome::Retry("the streams did not catch up".to_owned()));
        }

        self.now_doing("flipping");
        // It is closed: this gives the positions.
        let start = fences::close(
            to,
            records,
            &loaded.record,
            self.asked.side,
            decided,
            self.left(),
        )
        .await?;
        to.world.failpoint("conductor.switch:before-flip").await;
        let next = flipped(&loaded.record, self.asked.side, start, to.world.now());
        let routed = serving(to, &loaded.record).await?;
        let (txn, _) = routed.route_by(to, Txn::new(), &next, None);
        loaded.write(to, next, txn).await?;
        Ok(())
    }

    async fn hold(&self, loaded: &mut Loaded) -> Result<(), Outcome> {
        let now = self.to.world.now();
        let mut next = loaded.record.clone();
        next.switch = Some(WriteSwitch {
            to: self.asked.side,
            phase: SwitchPhase::Holding,
            started_at: now,
            fenced_at: BTreeMap::new(),
        });
        next.switch_failure = None;
        let hold = hold_of(&next, now, self.asked.max_pause);
        let key = self.to.world.cluster().keys().hold(&hold.id);
        let txn = Txn::new().then(Op::put(key, &hold));
        loaded.write(self.to, next, txn).await?;
        Ok(())
    }

    /// Writes down that the servers are to be fenced; gives the revision that says so.
    async fn fence(&self, loaded: &mut Loaded) -> Result<Revision, Outcome> {
        let mut next = loaded.record.clone();
        if let Some(switch) = &mut next.switch {
            switch.phase = SwitchPhase::Fencing;
        }
        let mut txn = Txn::new();
        if next.kind == WorkflowKind::Reshard {
            let routed = serving(self.to, &next).await?;
            (txn, _) = routed.route_by(self.to, txn, &next, Some(next.writes));
        }
        Ok(loaded.write(self.to, next, txn).await?)
    }
}

/// The record after the flip. `start`: where the primaries of `side` are.
fn flipped(
    record: &WorkflowRecord,
    side: Side,
    start: BTreeMap<ShardName, String>,
    now: UnixMillis,
) -> WorkflowRecord {
    let mut next = record.clone();
    next.writes = side;
    next.switched_at = Some(now);
    next.vdiff_passed = false;
    next.soaked = false;
    if side == Side::Source {
        // What was approved was the way forward.
        next.approved.clear();
    }
    next.streams = StreamsWanted {
        epoch: record.streams.epoch + 1,
        from: side,
        running: false,
        start,
    };
    if let Some(switch) = &mut next.switch {
        switch.phase = SwitchPhase::Flipped;
    }
    next
}

/// The hold of a workflow's switches.
pub fn hold_id(record: &WorkflowRecord) -> String {
    record.full_name()
}

/// What writes are held to while something is done on both sides of a workflow.
pub fn held_objects(record: &WorkflowRecord) -> Vec<HeldObject> {
    let mut objects = Vec::new();
    for side in [Side::Source, Side::Target] {
        let of = record.side(side);
        match record.kind {
            WorkflowKind::MoveTables => {
                objects.extend(record.tables.iter().map(|table| HeldObject::Table {
                    keyspace: of.keyspace.clone(),
                    table: table.clone(),
                }));
            }
            WorkflowKind::Reshard => {
                objects.extend(of.shards.iter().map(|shard| HeldObject::Shard {
                    keyspace: of.keyspace.clone(),
                    shard: shard.clone(),
                }));
            }
        }
    }
    objects
}

fn hold_of(record: &WorkflowRecord, since: UnixMillis, max_pause: Duration) -> HoldRecord {
    HoldRecord {
        id: hold_id(record),
        since,
        objects: held_objects(record),
        max_ms: u64::try_from((max_pause + HOLD_MARGIN).as_millis()).unwrap_or(u64::MAX),
    }
}
