//! The plan in the making: what the passes have found so far.
//!
//! A pass adds steps, problems and notes. For a step it names every other step that would have to
//! come first *if it were needed*; [`Draft::finish`] drops those that are not in the plan. So a
//! step's dependencies do not hang on how much is done already, and neither does its place: the
//! order is by [`Order`], a key that each step has of its own. Both together are what lets a plan
//! that was cut anywhere be continued by planning again.

use std::collections::{BTreeSet, HashSet};

use crate::plan::{Action, Estimate, Note, Origin, PlanError, Risk, Step, StepId};

/// The parts of a plan, in the order in which they are written down.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Phase {
    Cells,
    /// Keyspaces, shards, tablets, primaries, tables: one keyspace after the other.
    Build,
    VSchemas,
    /// Those of sharded keyspaces, whose tables take numbers from sequences in unsharded ones.
    ShardedVSchemas,
    /// Changes of tables that need the gates to know the new VSchema first.
    Alter,
    Access,
    /// What is left of workflows that are over, in records.
    Left,
    /// MoveTables and Reshards, one workflow after the other.
    Moves,
    /// VSchemas that have to wait for moves.
    LateVSchemas,
    /// Lookups of tables that were in use before.
    Lookups,
    /// VSchemas that take sequences away, after those that took numbers from them.
    LastVSchemas,
    /// What goes, after everything that comes.
    Remove,
    RemoveCells,
}

/// Where a step stands in the written order. Every dependency has a lower one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Order {
    pub phase: Phase,
    /// Place of the keyspace among all by name; 0 where there is none.
    pub keyspace: u32,
    /// Place of the shard in its keyspace, from 1; 0 before and `u32::MAX` after all shards.
    pub shard: u32,
    /// Place of the kind of step within the shard.
    pub rank: u8,
    /// A uid, or the place of a table, user or cell among its like.
    pub minor: u32,
}

impl Order {
    pub(crate) const fn new(phase: Phase, rank: u8, minor: usize) -> Self {
        Self {
            phase,
            keyspace: 0,
            shard: 0,
            rank,
            minor: minor as u32,
        }
    }

    #[must_use]
    pub(crate) const fn at(mut self, keyspace: u32, shard: u32) -> Self {
        self.keyspace = keyspace;
        self.shard = shard;
        self
    }
}

/// Ranks within a shard (see [`Order::rank`]).
pub(crate) mod rank {
    pub const DELETE_HALF: u8 = 0;
    pub const SHARD: u8 = 1;
    pub const CREATE_TABLET: u8 = 2;
    pub const TO_REPLICA: u8 = 3;
    pub const INIT_PRIMARY: u8 = 4;
    pub const REPARENT: u8 = 5;
    pub const TO_OTHER: u8 = 6;
    pub const DROP_STALE: u8 = 7;
    pub const CREATE_TABLE: u8 = 8;
    pub const INIT_SEQUENCE: u8 = 9;
    pub const MEND_SERVER: u8 = 10;
    pub const MEND_SHARD: u8 = 11;

    pub const DROP_TABLE: u8 = 0;
    pub const DELETE_TABLET: u8 = 1;
    pub const DELETE_PRIMARY: u8 = 2;
    pub const DELETE_SHARD: u8 = 3;
}

#[derive(Debug, Default)]
pub(crate) struct Draft {
    steps: Vec<(Order, Step)>,
    pub errors: Vec<PlanError>,
    notes: BTreeSet<Note>,
}

impl Draft {
    /// Adds a step. `after`: what must come first where it is in the plan.
    pub(crate) fn step(
        &mut self,
        order: Order,
        action: Action,
        risk: Risk,
        reason: String,
        after: Vec<StepId>,
    ) {
        let estimate = super::estimates::estimate(&action);
        self.step_estimated(order, action, risk, estimate, reason, after);
    }

    pub(crate) fn step_estimated(
        &mut self,
        order: Order,
        action: Action,
        risk: Risk,
        estimate: Estimate,
        reason: String,
        after: Vec<StepId>,
    ) {
        let step = Step {
            id: action.id(),
            after,
            risk,
            estimate,
            reason,
            origin: Origin::Spec,
            action,
        };
        self.steps.push((order, step));
    }

    pub(crate) fn error(
        &mut self,
        code: &str,
        object: impl Into<String>,
        problem: impl Into<String>,
        help: impl Into<String>,
    ) {
        self.errors.push(PlanError {
            code: code.to_owned(),
            object: object.into(),
            problem: problem.into(),
            help: help.into(),
            diff: None,
        });
    }

    pub(crate) fn note(&mut self, object: impl Into<String>, text: impl Into<String>) {
        self.notes.insert(Note {
            object: object.into(),
            text: text.into(),
        });
    }

    /// The steps so far.
    pub(crate) fn steps(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().map(|(_, step)| step)
    }

    /// How many steps there are so far.
    pub(crate) fn len(&self) -> usize {
        self.steps.len()
    }

    /// The ids of the steps so far that create a tablet.
    pub(crate) fn tablet_creations(&self) -> Vec<StepId> {
        self.steps
            .iter()
            .filter(|(_, step)| matches!(step.action, Action::CreateTablet { .. }))
            .map(|(_, step)| step.id.clone())
            .collect()
    }

    /// The steps in order, each with the dependencies that are in the plan; and the problems for
    /// which there can be no plan.
    pub(crate) fn finish(mut self) -> (Vec<Step>, Vec<Note>, Vec<PlanError>) {
        self.errors.sort();
        self.errors.dedup();
        self.steps.sort_by_key(|(order, _)| *order);
        let mut steps: Vec<Step> = self.steps.into_iter().map(|(_, step)| step).collect();
        let mut dependencies: Vec<Vec<StepId>> = steps
            .iter_mut()
            .map(|step| std::mem::take(&mut step.after))
            .collect();
        let ids: HashSet<&str> = steps.iter().map(|step| step.id.as_str()).collect();
        for after in &mut dependencies {
            after.retain(|id| ids.contains(id.as_str()));
            after.sort_unstable();
            after.dedup();
        }
        drop(ids);
        for (step, after) in steps.iter_mut().zip(dependencies) {
            step.after = after;
        }
        (steps, self.notes.into_iter().collect(), self.errors)
    }
}

/// `1 gate`, `2 gates`.
pub(crate) fn number(count: u32, thing: &str) -> String {
    let plural = if count == 1 { "" } else { "s" };
    format!("{count} {thing}{plural}")
}
