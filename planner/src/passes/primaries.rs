//! Primaries. A shard that has none gets its lowest-numbered replica, once all of its tablets run,
//! so that a commit that waits for a replica finds one. A primary whose place the spec has given up
//! hands over to the lowest-numbered replica that stays, once that one is there.

use vtplan_state::model::{TabletAlias, TabletType};

use super::draft::{Draft, Phase, rank};
use super::tablets::ShardWork;
use super::view::{Health, View};
use crate::ids;
use crate::plan::{Action, Risk, StepId};

/// The lowest-numbered replica of those that the shard ends with and that can be seen. An adopted one
/// that is seen to replicate from elsewhere comes last.
fn candidate(view: &View, work: &ShardWork) -> Option<TabletAlias> {
    let kept = work.kept.iter().filter(|(tablet, tablet_type)| {
        *tablet_type == TabletType::Replica
            && !matches!(
                view.health(tablet, work.record),
                Health::Unseen | Health::Down
            )
    });
    let new = work
        .create
        .iter()
        .filter(|t| t.tablet_type == TabletType::Replica);
    kept.map(|(tablet, _)| tablet.alias.clone())
        .chain(new.map(|t| t.alias()))
        .min_by_key(|alias| (view.replicates_from(alias).is_some(), alias.uid))
}

/// The primary that has to hand over, if any.
fn leaving<'a>(work: &ShardWork<'a>) -> Option<&'a TabletAlias> {
    let primary = work.primary()?;
    let changed = work
        .change
        .iter()
        .any(|(t, to)| t.alias == *primary && *to != TabletType::Replica);
    let deleted = work.delete.iter().any(|t| t.alias == *primary);
    (changed || deleted).then_some(primary)
}

/// The ids of steps that might hand a shard's primary over, for those that come after it.
pub(crate) fn reparent_id(work: &ShardWork) -> Vec<StepId> {
    if leaving(work).is_none() {
        return Vec::new();
    }
    let kept = work.kept.iter().map(|(t, _)| t.alias.clone());
    let new = work.create.iter().map(|t| t.alias());
    kept.chain(new)
        .map(|to| ids::reparent(work.keyspace, work.shard, &to))
        .collect()
}

/// Shards whose primary is known or planned, in the order of `shards`.
pub(crate) fn steps(view: &View, draft: &mut Draft, shards: &[ShardWork]) -> Vec<bool> {
    shards
        .iter()
        .map(|work| {
            let has = init(view, draft, work);
            reparent(view, draft, work);
            has
        })
        .collect()
}

fn init(view: &View, draft: &mut Draft, work: &ShardWork) -> bool {
    let primary = match work.primary() {
        Some(primary) => match view.initialising(work.record) {
            Some(_) => primary.clone(),
            None => return true,
        },
        None => {
            if work.record.is_some_and(|record| record.term > 0) {
                draft.note(
                    work.name(),
                    "has no primary although it had one: none is chosen, for that could lose \
                     what was written; nothing that needs a primary is planned",
                );
                return false;
            }
            let Some(primary) = candidate(view, work) else {
                draft.note(
                    work.name(),
                    "has no primary, and none of its replicas can be seen: its primary and tables \
                     are not planned",
                );
                return false;
            };
            primary
        }
    };
    let mut after = work.creations();
    after.push(ids::change_tablet_type(&primary, TabletType::Replica));
    draft.step(
        work.order(Phase::Build, rank::INIT_PRIMARY, 0),
        Action::InitPrimary {
            keyspace: work.keyspace.clone(),
            shard: work.shard.clone(),
            primary,
        },
        Risk::Safe,
        format!("{} has no primary yet", work.name()),
        after,
    );
    true
}

fn reparent(view: &View, draft: &mut Draft, work: &ShardWork) {
    let Some(from) = leaving(work) else { return };
    let Some(to) = candidate(view, work) else {
        draft.error(
            "no-new-primary",
            work.name(),
            format!("the spec has no place for the primary {from}, and no replica that stays can be seen"),
            "bring the agents of the other tablets' hosts back, or keep the primary's place in the spec",
        );
        return;
    };
    let mut after = work.creations();
    after.push(ids::change_tablet_type(&to, TabletType::Replica));
    after.push(ids::init_primary(work.keyspace, work.shard));
    let deleted = work.delete.iter().any(|t| t.alias == *from);
    let place = if deleted {
        "no longer has a place for"
    } else {
        "wants another type of"
    };
    draft.step(
        work.order(Phase::Build, rank::REPARENT, 0),
        Action::Reparent {
            keyspace: work.keyspace.clone(),
            shard: work.shard.clone(),
            from: from.clone(),
            to,
        },
        Risk::Disruptive,
        format!("the spec {place} the primary {from} of {}", work.name()),
        after,
    );
}
