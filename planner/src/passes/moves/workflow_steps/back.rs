//! The way back to the source: writes, reads, cancel, at once.

use vtplan_state::model::{Ending, Side, TabletType, WorkflowKind};

use super::{READS, Way, rank};
use crate::passes::moves::{list, shards_in_words};
use crate::plan::{Action, Risk};

impl Way<'_, '_, '_> {
    /// What is left of the way back.
    pub(crate) fn back(&mut self) {
        let ending = self.of.record.and_then(|record| record.ending);
        if ending != Some(Ending::Cancelling) {
            self.traffic_back();
        }
        self.cancel();
    }

    pub(crate) fn traffic_back(&mut self) {
        self.finish_switch(Some(Side::Source));
        self.writes_back();
        self.reads_back();
    }

    fn writes_back(&mut self) {
        let of = self.of;
        let at_source = of.record.is_none_or(|record| record.writes == Side::Source);
        if at_source && of.flipped_to() != Some(Side::Source) {
            return;
        }
        let after = vec![self.switch_id(&[TabletType::Primary], Side::Target)];
        let reason = format!("writes go back to {}, with nothing lost", self.whence());
        self.switch(
            rank::WRITES_BACK,
            vec![TabletType::Primary],
            Side::Source,
            reason,
            after,
        );
    }

    fn reads_back(&mut self) {
        let of = self.of;
        if of
            .record
            .is_none_or(|record| record.reads_switched.is_empty())
        {
            return;
        }
        let reason = format!("reads of replicas and rdonlys go back to {}", self.whence());
        let after = vec![
            self.switch_id(&[TabletType::Primary], Side::Target),
            self.switch_id(&[TabletType::Primary], Side::Source),
        ];
        self.switch(
            rank::READS_BACK,
            READS.to_vec(),
            Side::Source,
            reason,
            after,
        );
    }

    pub(crate) fn cancel(&mut self) {
        let of = self.of;
        let mut after = vec![
            self.switch_id(&[TabletType::Primary], Side::Target),
            self.switch_id(&[TabletType::Primary], Side::Source),
            self.switch_id(&READS, Side::Source),
        ];
        after.extend(self.vschemas());
        let (estimate, reason) = match of.kind {
            WorkflowKind::MoveTables => (
                Some(self.size(Side::Target).dropped()),
                format!(
                    "the spec has {} in {} again; what {} has of that are copies, and they are dropped",
                    list(&of.tables),
                    of.source.keyspace,
                    of.target.keyspace
                ),
            ),
            WorkflowKind::Reshard => (
                None,
                format!("the spec has {} again", shards_in_words(&of.source.shards)),
            ),
        };
        self.step(
            rank::CANCEL,
            Action::CancelWorkflow {
                keyspace: self.keyspace().clone(),
                workflow: of.name.clone(),
                workflow_kind: of.kind,
                target: of.target.clone(),
                tables: of.tables.clone(),
            },
            // What goes is a copy.
            Risk::Safe,
            estimate,
            reason,
            after,
        );
    }
}
