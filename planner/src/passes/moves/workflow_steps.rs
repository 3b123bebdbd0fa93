//! The steps of each move, as far as they are left. To the target: start, copy, compare, switch reads,
//! switch writes, wait, complete, with the approvals that `changes.approve` asks for. Back to the source:
//! writes, reads, cancel, at once. A step names all those of its move that it must not come before,
//! for any of them may be done, or not be asked for.

use vtplan_state::model::{
    Ending, KeyspaceName, Side, TabletType, VSchemaTable, WorkflowKind, WorkflowRecord,
    WorkflowSide,
};

use super::{Move, Moves, leftovers, list, shards_in_words};
use crate::desired::{ApprovePoint, ChangePolicy, Desired, VDiffPolicy};
use crate::ids;
use crate::passes::draft::{Draft, Order, Phase};
use crate::passes::estimates::{self, COPY_BYTES_PER_SECOND, Size};
use crate::passes::tablets::ShardWork;
use crate::passes::view::{Tables, View};
use crate::passes::{primaries, sequences, vschema};
use crate::plan::{Action, Estimate, Risk, SequenceRaise, StepId};

/// What both reads switches are about.
const READS: [TabletType; 2] = [TabletType::Replica, TabletType::Rdonly];

/// Places of the steps within a move.
mod rank {
    /// Of a switch that has flipped the wrong way.
    pub const FINISH_SWITCH: u8 = 0;
    pub const START: u8 = 1;
    pub const COPY: u8 = 2;
    pub const VDIFF: u8 = 3;
    pub const APPROVE_READS: u8 = 4;
    pub const READS: u8 = 5;
    pub const APPROVE_WRITES: u8 = 6;
    pub const WRITES: u8 = 7;
    pub const SOAK: u8 = 8;
    pub const APPROVE_COMPLETE: u8 = 9;
    pub const COMPLETE: u8 = 10;

    pub const WRITES_BACK: u8 = 1;
    pub const READS_BACK: u8 = 2;
    pub const CANCEL: u8 = 3;
}

pub(crate) fn steps(view: &View, draft: &mut Draft, moves: &Moves, shards: &[ShardWork]) {
    for (index, found) in moves.all().iter().enumerate() {
        let mut way = Way::new(view, draft, moves, index);
        way.reparents = of_move(found, shards)
            .flat_map(primaries::reparent_id)
            .collect();
        match found.goal {
            Side::Target => {
                if found.record.is_none() {
                    start(view, &mut way, shards);
                }
                way.forward();
            }
            Side::Source => way.back(),
        }
    }
}

/// Ends every workflow where its traffic is, for the cluster is destroyed.
pub(crate) fn end_all(view: &View, draft: &mut Draft, moves: &Moves) {
    for (index, found) in moves.all().iter().enumerate() {
        let mut way = Way::new(view, draft, moves, index);
        way.finish_switch(None);
        match found.goal {
            Side::Target => way.complete(),
            Side::Source => way.cancel(),
        }
    }
}

/// The way of one move to its goal.
pub(crate) struct Way<'w, 'v, 'd> {
    view: &'w View<'v>,
    draft: &'d mut Draft,
    moves: &'w Moves<'v>,
    of: &'w Move<'v>,
    policy: &'w ChangePolicy,
    index: usize,
    /// Steps that change primaries of the move's shards: not while writes are switched.
    reparents: Vec<StepId>,
}

impl<'w, 'v, 'd> Way<'w, 'v, 'd> {
    /// `index`: place of the move among all.
    pub(crate) fn new(
        view: &'w View<'v>,
        draft: &'d mut Draft,
        moves: &'w Moves<'v>,
        index: usize,
    ) -> Self {
        let (of, policy) = (&moves.all()[index], &view.desired.changes);
        Self {
            view,
            draft,
            moves,
            of,
            policy,
            index,
            reparents: Vec::new(),
        }
    }

    fn keyspace(&self) -> &'w KeyspaceName {
        &self.of.target.keyspace
    }

    fn step(
        &mut self,
        rank: u8,
        action: Action,
        risk: Risk,
        estimate: Option<Estimate>,
        reason: String,
        after: Vec<StepId>,
    ) {
        let order = Order::new(Phase::Moves, rank, 0)
            .at(self.view.keyspace_index(self.keyspace()), self.index as u32);
        let estimate = estimate.unwrap_or_else(|| estimates::estimate(&action));
        self.draft
            .step_estimated(order, action, risk, estimate, reason, after);
    }

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

    /// A switch that has flipped to another side than the goal is driven forward first.
    pub(crate) fn finish_switch(&mut self, goal: Option<Side>) {
        let Some(to) = self.of.flipped_to().filter(|to| Some(*to) != goal) else {
            return;
        };
        let after = Vec::new();
        let reason = format!(
            "the switch of writes of {} is past the point where it could be undone",
            self.of.full_name()
        );
        self.switch(
            rank::FINISH_SWITCH,
            vec![TabletType::Primary],
            to,
            reason,
            after,
        );
    }

    pub(crate) fn copy(&mut self) {
        let of = self.of;
        if of.record.is_some_and(|record| record.copied) {
            return;
        }
        let size = self.size(Side::Source);
        let reason = format!(
            "{} copies {}, at an assumed {} MiB/s from each shard",
            of.full_name(),
            tables_in_words(of),
            COPY_BYTES_PER_SECOND >> 20
        );
        self.step(
            rank::COPY,
            Action::WaitForCopy {
                keyspace: self.keyspace().clone(),
                workflow: of.name.clone(),
            },
            Risk::Safe,
            Some(size.copied()),
            reason,
            vec![self.start_id()],
        );
    }

    fn vdiff(&mut self) {
        let of = self.of;
        let needed = of
            .record
            .is_none_or(|record| record.writes == Side::Source && !record.vdiff_passed);
        if self.policy.vdiff != VDiffPolicy::Required || !needed {
            return;
        }
        let size = self.size(Side::Source);
        self.step(
            rank::VDIFF,
            Action::Vdiff {
                keyspace: self.keyspace().clone(),
                workflow: of.name.clone(),
            },
            Risk::Safe,
            Some(size.compared()),
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

    fn switch(
        &mut self,
        rank: u8,
        tablet_types: Vec<TabletType>,
        to: Side,
        reason: String,
        mut after: Vec<StepId>,
    ) {
        let of = self.of;
        let writes = tablet_types.contains(&TabletType::Primary);
        after.extend(self.reparents.iter().cloned());
        let action = Action::SwitchTraffic {
            keyspace: self.keyspace().clone(),
            workflow: of.name.clone(),
            tablet_types,
            to,
            max_write_pause_ms: self.policy.max_write_pause_ms,
            window: self
                .policy
                .window
                .clone()
                .filter(|_| writes && to == Side::Target),
            raise: if writes { self.raise(to) } else { Vec::new() },
        };
        self.step(rank, action, Risk::Disruptive, None, reason, after);
    }

    /// Sequences that give the numbers on a side.
    fn raise(&self, to: Side) -> Vec<SequenceRaise> {
        let of = self.of;
        let (to, from) = (&of.side(to).keyspace, &of.side(to.other()).keyspace);
        let declared = |table: &str| -> Option<&VSchemaTable> {
            let desired = self.view.desired.keyspaces.get(to);
            let live = self.view.live.records.vschemas.get(to);
            desired
                .and_then(|d| d.vschema.tables.get(table))
                .or_else(|| live.and_then(|v| v.tables.get(table)))
        };
        of.tables
            .iter()
            .filter_map(|table| Some((table, declared(table.as_str())?)))
            .flat_map(|(table, entry)| sequences::raise(self.view.desired, entry, table, from))
            .collect()
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

    fn start_id(&self) -> StepId {
        ids::start_workflow(self.keyspace(), &self.of.name)
    }

    fn copy_id(&self) -> StepId {
        ids::wait_for_copy(self.keyspace(), &self.of.name)
    }

    fn switch_id(&self, types: &[TabletType], to: Side) -> StepId {
        ids::switch_traffic(self.keyspace(), &self.of.name, types, to)
    }

    fn approval_id(&self, point: ApprovePoint) -> StepId {
        ids::wait_for_approval(self.keyspace(), &self.of.name, point)
    }

    /// Changes of the VSchemas of both sides, but those that wait for the move.
    fn vschemas(&self) -> Vec<StepId> {
        [&self.of.source.keyspace, &self.of.target.keyspace]
            .into_iter()
            .filter(|keyspace| !vschema::is_late(self.view, self.moves, keyspace))
            .map(ids::apply_vschema)
            .collect()
    }

    fn whither(&self) -> String {
        place(self.of, Side::Target)
    }

    fn whence(&self) -> String {
        place(self.of, Side::Source)
    }

    /// The moved tables as one side has them.
    fn size(&self, side: Side) -> Size {
        let side = self.of.side(side);
        let mut size = Size::default();
        for shard in &side.shards {
            let record = self.view.shard(&side.keyspace, shard);
            let Tables::Known(there) = self.view.tables(record) else {
                continue;
            };
            let mut bytes = 0;
            for table in self.of.tables.iter().filter_map(|name| there.get(name)) {
                size.rows += table.rows;
                bytes += table.bytes;
            }
            size.bytes += bytes;
            size.largest = size.largest.max(bytes);
        }
        size
    }
}

fn place(of: &Move, side: Side) -> String {
    let of_side = of.side(side);
    match of.kind {
        WorkflowKind::MoveTables => of_side.keyspace.to_string(),
        WorkflowKind::Reshard => shards_in_words(&of_side.shards),
    }
}

fn tables_in_words(of: &Move) -> String {
    match of.tables.len() {
        1..=5 => list(&of.tables),
        count => format!("{count} tables"),
    }
}

/// The shards of the spec that a move is about.
fn of_move<'s, 'v>(
    of: &'s Move,
    shards: &'s [ShardWork<'v>],
) -> impl Iterator<Item = &'s ShardWork<'v>> {
    shards.iter().filter(|work| {
        let on = |side: &WorkflowSide| {
            side.keyspace == *work.keyspace && side.shards.contains(work.shard)
        };
        on(&of.source) || on(&of.target)
    })
}

/// Begins a move, once all that it needs is there.
fn start(view: &View, way: &mut Way, shards: &[ShardWork]) {
    let (of, moves) = (way.of, way.moves);
    let (source, target) = (&of.source, &of.target);
    let mut after = way.vschemas();
    for keyspace in [&source.keyspace, &target.keyspace] {
        if let Some(desired) = view.desired.keyspaces.get(keyspace) {
            after.extend(vschema::sequences(view, moves, desired));
        }
    }
    after.extend(way.reparents.iter().cloned());
    for work in of_move(of, shards) {
        if *work.keyspace == target.keyspace && target.shards.contains(work.shard) {
            after.extend(leftovers::clearing(view, moves, work.keyspace, work.shard));
            after.push(ids::create_shard(work.keyspace, work.shard));
            after.push(ids::init_primary(work.keyspace, work.shard));
            after.extend(work.creations());
        }
    }
    let sides = match of.kind {
        WorkflowKind::MoveTables => vec![target],
        WorkflowKind::Reshard => vec![source, target],
    };
    for side in sides {
        for shard in &side.shards {
            for table in &of.tables {
                after.push(ids::create_table(&side.keyspace, shard, table));
                after.push(ids::alter_table(&side.keyspace, shard, table));
            }
        }
    }
    let reason = match of.kind {
        WorkflowKind::MoveTables => format!(
            "the spec has {} no longer in {} but in {}: a MoveTables",
            list(&of.tables),
            source.keyspace,
            target.keyspace
        ),
        WorkflowKind::Reshard => format!(
            "the spec gives {} {} in place of {}: a Reshard",
            target.keyspace,
            shards_in_words(&target.shards),
            list(&source.shards)
        ),
    };
    let vschema = match of.kind {
        WorkflowKind::MoveTables => entries(view.desired, of),
        WorkflowKind::Reshard => Default::default(),
    };
    let action = Action::StartWorkflow {
        workflow: of.name.clone(),
        workflow_kind: of.kind,
        source: source.clone(),
        target: target.clone(),
        tables: of.tables.clone(),
        throttle_max_lag_seconds: way.policy.throttle_max_lag_seconds,
        vschema,
    };
    way.step(rank::START, action, Risk::Safe, None, reason, after);
}

/// What the target's VSchema says of the tables.
fn entries(desired: &Desired, of: &Move) -> std::collections::BTreeMap<String, VSchemaTable> {
    let target = desired.keyspaces.get(&of.target.keyspace);
    let tables = of.tables.iter().filter_map(|table| {
        let entry = target?.vschema.tables.get(table.as_str())?;
        Some((table.as_str().to_owned(), entry.clone()))
    });
    tables.collect()
}
