//! Backups: what the spec says of them is put down for agents to follow. Taking them is not the
//! plan's affair.

use super::draft::{Draft, Order, Phase};
use super::view::View;
use crate::backups;
use crate::plan::{Action, Risk};

pub(crate) fn steps(view: &View, draft: &mut Draft) {
    let before = backups::policy(view.live.records.backup_policy.as_ref());
    let after = view.desired.backups.clone();
    if let Some(after) = &after
        && !after.schedules.is_empty()
        && let Err(why) = backups::folder(&after.location)
    {
        draft.note("backups", format!("no backup is taken: {why}"));
    }
    if before == after {
        return;
    }
    let reason = match (&before, &after) {
        (None, _) => "the spec has backups",
        (_, None) => "the spec no longer has backups; those that were taken stay",
        _ => "the spec has other backups",
    };
    // Nothing waits for it, and it waits for nothing: agents look for shards by themselves.
    draft.step(
        Order::new(Phase::Access, 2, 0),
        Action::SetBackups { before, after },
        Risk::Safe,
        reason.to_owned(),
        Vec::new(),
    );
}
