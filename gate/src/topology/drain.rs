//! Which holds are drained: nothing that touches what they are about is under way at this gate.
//!
//! After the snapshot with a hold is published, sessions that have something under way are listed
//! once. The list only shrinks: what begins later knows of the hold and waits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Hold;
use crate::session::SessionHandle;
use crate::session::registry::Registry;

#[derive(Default)]
pub(super) struct Drains {
    holds: BTreeMap<String, Draining>,
}

struct Draining {
    hold: Arc<Hold>,
    /// Sessions that had something under way when they were looked at last.
    blockers: Vec<Arc<SessionHandle>>,
}

impl Drains {
    /// Follows the holds of a snapshot that was published before.
    pub(super) fn follow(&mut self, holds: &[Arc<Hold>], sessions: &Registry) {
        self.holds
            .retain(|_, known| holds.iter().any(|hold| hold.is(&known.hold.record)));
        for hold in holds {
            self.holds
                .entry(hold.record.id.clone())
                .or_insert_with(|| Draining {
                    hold: hold.clone(),
                    blockers: sessions.list(),
                });
        }
    }

    /// Looks again at those that were in the way.
    pub(super) fn check(&mut self) {
        for draining in self.holds.values_mut() {
            let hold = &draining.hold;
            draining
                .blockers
                .retain(|session| session.activity.blocks(hold));
        }
    }

    pub(super) fn is_settled(&self) -> bool {
        self.holds.values().all(|d| d.blockers.is_empty())
    }

    pub(super) fn drained(&self) -> BTreeSet<String> {
        let drained = self.holds.iter().filter(|(_, d)| d.blockers.is_empty());
        drained.map(|(id, _)| id.clone()).collect()
    }
}
