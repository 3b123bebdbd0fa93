//! The steps of each move, as far as they are left: its beginning ([`start`]), the way to the target
//! ([`forward`]) or [`back`] to the source. A step names all those of its move that it must not come
//! before, for any of them may be done, or not be asked for.

mod back;
mod forward;
mod start;

use vtplan_state::model::{
    KeyspaceName, Side, TabletType, VSchemaTable, WorkflowKind, WorkflowSide,
};

use super::{Move, Moves, shards_in_words};
use crate::desired::{ApprovePoint, ChangePolicy};
use crate::ids;
use crate::passes::draft::{Draft, Order, Phase};
use crate::passes::estimates::{self, Flavors, Size};
use crate::passes::tablets::ShardWork;
use crate::passes::view::{Tables, View};
use crate::passes::{primaries, sequences, vschema};
use crate::plan::{Action, Estimate, Rate, Risk, SequenceRaise, StepId};

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
                    start::start(view, &mut way, shards);
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
            let (mut rows, mut bytes) = (0, 0);
            for table in self.of.tables.iter().filter_map(|name| there.get(name)) {
                rows += table.rows;
                bytes += table.bytes;
            }
            size.rows += rows;
            size.bytes += bytes;
            size.largest = size.largest.max(bytes);
            size.longest = size.longest.max(rows);
        }
        size
    }

    fn flavors(&self) -> Flavors {
        let of = |side: &WorkflowSide| {
            let mut shards = side.shards.iter();
            shards.find_map(|shard| {
                let tablets = self.view.tablets_of(&side.keyspace, shard);
                tablets.first().map(|tablet| tablet.flavor)
            })
        };
        Flavors {
            source: of(&self.of.source),
            target: of(&self.of.target),
        }
    }

    fn copy_rate(&self) -> Rate {
        estimates::copy_rate(&self.view.live.records.rates, self.flavors())
    }

    fn compare_rate(&self) -> Rate {
        estimates::compare_rate(&self.view.live.records.rates, self.flavors())
    }
}

fn place(of: &Move, side: Side) -> String {
    let of_side = of.side(side);
    match of.kind {
        WorkflowKind::MoveTables => of_side.keyspace.to_string(),
        WorkflowKind::Reshard => shards_in_words(&of_side.shards),
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
