//! The way to the target: copy, compare, switch reads, switch writes, wait, complete, with the approvals
//! that `changes.approve` asks for.

use vtplan_state::model::{Ending, Side, TabletType, WorkflowKind, WorkflowRecord};

use super::{READS, Way, rank};
use crate::desired::{ApprovePoint, VDiffPolicy};
use crate::ids;
use crate::passes::moves::{Move, list, shards_in_words};
use crate::plan::{Action, Basis, Rate, Risk, StepId};
use crate::words::{as_measured, speed};

impl Way<'_, '_, '_> {
    /// What is left of the way to the target.
    pub(crate) fn forward(&mut self) {
        let ending = self.of.record.and_then(|record| record.ending);
        if ending != Some(Ending::Completing) {
            self.finish_switch(Some(Side::Target));
            self.copy();
            self.vdiff();
            self.reads();
            self.writes();
            self.soak();
            self.approval(
                rank::APPROVE_COMPLETE,
                ApprovePoint::Complete,
                "complete drops what is left at the source, and then there is no way back",
            );
        }
        self.complete();
    }

    pub(crate) fn copy(&mut self) {
        let of = self.of;
        if of.record.is_some_and(|record| record.copied) {
            return;
        }
        let rate = self.copy_rate();
        let reason = format!(
            "{} copies {}, {}",
            of.full_name(),
            tables_in_words(of),
            rate_in_words(&rate)
        );
        self.step(
            rank::COPY,
            Action::WaitForCopy {
                keyspace: self.keyspace().clone(),
                workflow: of.name.clone(),
            },
            Risk::Safe,
            Some(self.size(Side::Source).at(rate)),
            reason,
            vec![self.start_id()],
        );
    }

    fn vdiff(&mut self) {
        let of = self.of;
        let needed = of
            .record
            .is_none_or(|record| record.writes == Side::Source && !record.vdiff_passed);
        if self.policy.vdiff == VDiffPolicy::Skip || !needed {
            return;
        }
        let rate = self.compare_rate();
        self.step(
            rank::VDIFF,
            Action::Vdiff {
                keyspace: self.keyspace().clone(),
                workflow: of.name.clone(),
                every_value: self.policy.vdiff == VDiffPolicy::EveryValue,
            },
            Risk::Safe,
            Some(self.size(Side::Source).at(rate)),
            "every row is compared before traffic is switched".to_owned(),
            vec![self.copy_id(), self.start_id()],
        );
    }

    pub(crate) fn reads(&mut self) {
        let of = self.of;
        let switched = |r: &WorkflowRecord| READS.iter().all(|t| r.reads_switched.contains(t));
        if of.record.is_some_and(switched) {
            return;
        }
        // Writes that are switched before reads wait for no approval of these.
        if of.record.is_none_or(|record| record.writes == Side::Source) {
            self.approval(
                rank::APPROVE_READS,
                ApprovePoint::SwitchReads,
                "reads of replicas and rdonlys go to the target next",
            );
        }
        let mut after = self.compared();
        after.push(self.approval_id(ApprovePoint::SwitchReads));
        let reason = format!("reads of replicas and rdonlys go to {}", self.whither());
        self.switch(rank::READS, READS.to_vec(), Side::Target, reason, after);
    }

    pub(crate) fn writes(&mut self) {
        let of = self.of;
        let at_target = of
            .record
            .is_some_and(|record| record.writes == Side::Target);
        if at_target && of.flipped_to() != Some(Side::Target) {
            return;
        }
        if !at_target {
            self.approval(
                rank::APPROVE_WRITES,
                ApprovePoint::SwitchWrites,
                "writes go to the target next",
            );
        }
        let mut after = self.compared();
        after.push(self.switch_id(&READS, Side::Target));
        after.push(self.approval_id(ApprovePoint::SwitchWrites));
        let reason = format!(
            "writes go to {}; the source follows from then on",
            self.whither()
        );
        self.switch(
            rank::WRITES,
            vec![TabletType::Primary],
            Side::Target,
            reason,
            after,
        );
    }

    fn soak(&mut self) {
        let of = self.of;
        let seconds = self.policy.soak_seconds;
        if seconds == 0 || of.record.is_some_and(|record| record.soaked) {
            return;
        }
        self.step(
            rank::SOAK,
            Action::Soak {
                keyspace: self.keyspace().clone(),
                workflow: of.name.clone(),
                seconds,
            },
            Risk::Safe,
            None,
            "for this time the way back stays open".to_owned(),
            vec![self.switch_id(&[TabletType::Primary], Side::Target)],
        );
    }

    pub(crate) fn complete(&mut self) {
        let of = self.of;
        let mut after = vec![
            self.switch_id(&READS, Side::Target),
            self.switch_id(&[TabletType::Primary], Side::Target),
            ids::soak(self.keyspace(), &of.name),
            self.approval_id(ApprovePoint::Complete),
        ];
        after.extend(self.vschemas());
        let (risk, estimate, reason) = match of.kind {
            WorkflowKind::MoveTables => (
                Risk::Destructive,
                Some(self.size(Side::Source).dropped()),
                format!(
                    "{} moved to {}; what {} has left of that is dropped",
                    list(&of.tables),
                    of.target.keyspace,
                    of.source.keyspace
                ),
            ),
            WorkflowKind::Reshard => (
                Risk::Safe,
                None,
                format!(
                    "{} took over from {}; nothing flows back any more",
                    shards_in_words(&of.target.shards),
                    shards_in_words(&of.source.shards)
                ),
            ),
        };
        self.step(
            rank::COMPLETE,
            Action::CompleteWorkflow {
                keyspace: self.keyspace().clone(),
                workflow: of.name.clone(),
                workflow_kind: of.kind,
                source: of.source.clone(),
                tables: of.tables.clone(),
            },
            risk,
            estimate,
            reason,
            after,
        );
    }

    fn approval(&mut self, rank: u8, point: ApprovePoint, what: &str) {
        let of = self.of;
        let approved = |r: &WorkflowRecord| r.approved.contains(point.as_str());
        if !self.policy.approve.contains(&point) || of.record.is_some_and(approved) {
            return;
        }
        let after = match point {
            ApprovePoint::SwitchReads => self.compared(),
            ApprovePoint::SwitchWrites => {
                let mut after = self.compared();
                after.push(self.switch_id(&READS, Side::Target));
                after
            }
            ApprovePoint::Complete => vec![
                self.switch_id(&[TabletType::Primary], Side::Target),
                ids::soak(self.keyspace(), &of.name),
            ],
        };
        self.step(
            rank,
            Action::WaitForApproval {
                keyspace: self.keyspace().clone(),
                workflow: of.name.clone(),
                point,
            },
            Risk::Safe,
            None,
            format!("changes.approve has {}: {what}", point.as_str()),
            after,
        );
    }

    /// What comes before any switch to the target.
    fn compared(&self) -> Vec<StepId> {
        vec![
            self.switch_id(&[TabletType::Primary], Side::Source),
            self.copy_id(),
            ids::vdiff(self.keyspace(), &self.of.name),
        ]
    }
}

fn rate_in_words(rate: &Rate) -> String {
    let speed = speed(rate);
    match rate.basis {
        Basis::Assumed => format!("at an assumed {speed} from each shard"),
        Basis::Measured => format!("at {speed} from each shard, {}", as_measured(rate)),
    }
}

fn tables_in_words(of: &Move) -> String {
    match of.tables.len() {
        1..=5 => list(&of.tables),
        count => format!("{count} tables"),
    }
}
