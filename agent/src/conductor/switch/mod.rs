//! Switches of traffic between the sides of a workflow.
//!
//! [`reads`] is one transaction. [`writes`] is a sequence; each phase is written to
//! [`WorkflowRecord::switch`] before what follows it is done:
//!
//! 1. [`check`]: streams close behind, servers and gates there, fences made ready. Nobody waits.
//! 2. `Holding`: a [`HoldRecord`] makes gates keep writes back and drain.
//! 3. `Fencing`: the servers of the side that has the writes are fenced, and tell their positions.
//! 4. `Fenced`: streams get to these positions. The positions of the other side are where the
//!    streams of the next epoch, which flow back, will start.
//! 5. `Flipped`, with routing or serving in the same transaction: gates acknowledge, streams of the
//!    old epoch are sealed, the other side's servers open, the hold goes, streams flow back.
//!
//! Phases 2 to 4 have a time limit together, in which [`drive`] gets through them or fails. Whatever
//! fails before `Flipped` is undone ([`undo`]); from it on all is driven forward ([`forward`]).
//! [`settle`] does whichever it is, for the switch's own conductor and for any that comes after it;
//! [`leftover`] finds those that no plan looks after.
//!
//! **What a conductor that is late cannot do.** It writes no record, because each write compares the
//! lock's token. It sets no fence back: each setting has the revision of the record that decided it,
//! and an older one is refused; an undo first writes down that it undoes, so that what it sets is
//! newer than anything the switch has set. Nor does a stream of an epoch that is over write on: it is
//! sealed where it writes, before the streams that flow back start.
//!
//! [`WorkflowRecord::switch`]: vtplan_state::model::WorkflowRecord::switch
//! [`HoldRecord`]: vtplan_state::model::HoldRecord

mod check;
mod drive;
pub mod fences;
mod forward;
pub mod leftover;
mod reads;
pub mod settle;
mod undo;
mod writes;

use std::time::Duration;

use vtplan_planner::plan::Action;
use vtplan_state::model::TabletType;

use self::reads::switch_reads;
use self::writes::{WriteSwitchAsked, switch_writes};
use super::step::Outcome;
use super::write::Fenced;

/// Does a `SwitchTraffic`. `first`: attempt of this step.
pub async fn switch_traffic(to: Fenced<'_>, action: &Action, first: bool) -> Result<(), Outcome> {
    let Action::SwitchTraffic {
        keyspace,
        workflow,
        tablet_types,
        to: side,
        max_write_pause_ms,
        window,
        raise,
    } = action
    else {
        return Ok(());
    };
    if tablet_types.contains(&TabletType::Primary) {
        let asked = WriteSwitchAsked {
            keyspace,
            workflow,
            side: *side,
            max_pause: Duration::from_millis(*max_write_pause_ms),
            window: window.as_deref(),
            raise,
        };
        return switch_writes(to, asked, first).await;
    }
    switch_reads(to, keyspace, workflow, tablet_types, *side, first).await
}
