//! Data on the move: what a spec that changed asks to be moved, what is being moved, and the steps
//! that do it.
//!
//! [`inference`] finds all moves: workflows that there are ([`running`]), shards of other boundaries
//! over the same range ([`reshard`]), and tables that leave one keyspace and come to another
//! ([`move_tables`]). What earlier ones have left in their way goes first ([`leftovers`]). Each ends
//! at one of its two sides, its goal: the target, or the source when the spec was taken back.
//! [`workflow_steps`] has the way there. What is found is the same before a workflow begins and while
//! it runs; that is how a plan that was cut is continued.

mod arrivals;
mod columns;
pub(crate) mod inference;
pub(crate) mod leftovers;
mod movable;
mod move_tables;
pub(crate) mod one_sided;
mod reshard;
mod running;
pub(crate) mod workflow_steps;

use std::collections::{BTreeMap, BTreeSet};

use vtplan_state::model::{
    KeyspaceName, ShardName, Side, SwitchPhase, TableName, WorkflowKind, WorkflowName,
    WorkflowRecord, WorkflowSide,
};

use crate::ids;
use crate::plan::StepId;

/// A workflow that there is or that is to begin.
#[derive(Debug)]
pub(crate) struct Move<'a> {
    pub kind: WorkflowKind,
    pub name: WorkflowName,
    pub source: WorkflowSide,
    pub target: WorkflowSide,
    /// Sorted.
    pub tables: Vec<TableName>,
    /// `None`: it has not begun.
    pub record: Option<&'a WorkflowRecord>,
    /// The side that the data ends at.
    pub goal: Side,
}

impl<'a> Move<'a> {
    /// A workflow as its record says.
    pub(crate) fn of_record(record: &'a WorkflowRecord, goal: Side) -> Self {
        Self {
            kind: record.kind,
            name: record.name.clone(),
            source: record.source.clone(),
            target: record.target.clone(),
            tables: record.tables.clone(),
            record: Some(record),
            goal,
        }
    }

    /// `customer.commerce2customer`.
    pub(crate) fn full_name(&self) -> String {
        format!("{}.{}", self.target.keyspace, self.name)
    }

    pub(crate) fn side(&self, side: Side) -> &WorkflowSide {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    /// The side whose tables, or shards, go at the end.
    pub(crate) fn losing(&self) -> &WorkflowSide {
        self.side(self.goal.other())
    }

    /// The step that ends it.
    pub(crate) fn end_id(&self) -> StepId {
        match self.goal {
            Side::Target => ids::complete_workflow(&self.target.keyspace, &self.name),
            Side::Source => ids::cancel_workflow(&self.target.keyspace, &self.name),
        }
    }

    pub(crate) fn touches(&self, keyspace: &KeyspaceName) -> bool {
        self.source.keyspace == *keyspace || self.target.keyspace == *keyspace
    }

    /// Where a switch of writes goes that can only be driven forward.
    pub(crate) fn flipped_to(&self) -> Option<Side> {
        let switch = self.record?.switch.as_ref()?;
        (switch.phase == SwitchPhase::Flipped).then_some(switch.to)
    }
}

/// All moves, and what they have to do with each table and shard.
#[derive(Debug, Default)]
pub(crate) struct Moves<'a> {
    /// By target keyspace and name.
    list: Vec<Move<'a>>,
    /// Of MoveTables: tables on the side that they leave.
    leaving: BTreeMap<KeyspaceName, BTreeMap<TableName, usize>>,
    /// Of MoveTables: tables on the side that they come to.
    coming: BTreeMap<KeyspaceName, BTreeMap<TableName, usize>>,
    /// Of Reshards: the shards of both sides.
    shards: BTreeMap<KeyspaceName, BTreeMap<ShardName, usize>>,
    /// Keyspaces about which an error was said; nothing more is to be said of their shards.
    refused: BTreeSet<KeyspaceName>,
}

impl<'a> Moves<'a> {
    /// One move alone.
    pub(crate) fn of(one: Move<'a>) -> Self {
        let mut moves = Self::default();
        moves.add(one);
        moves
    }

    fn add(&mut self, found: Move<'a>) {
        let index = self.list.len();
        match found.kind {
            WorkflowKind::MoveTables => {
                for (of, side) in [
                    (&mut self.leaving, found.goal.other()),
                    (&mut self.coming, found.goal),
                ] {
                    let tables = of.entry(found.side(side).keyspace.clone()).or_default();
                    tables.extend(found.tables.iter().map(|table| (table.clone(), index)));
                }
            }
            WorkflowKind::Reshard => {
                let shards = self
                    .shards
                    .entry(found.target.keyspace.clone())
                    .or_default();
                let both = found.source.shards.iter().chain(&found.target.shards);
                shards.extend(both.map(|shard| (shard.clone(), index)));
            }
        }
        self.list.push(found);
    }

    fn refuse(&mut self, keyspace: &KeyspaceName) {
        self.refused.insert(keyspace.clone());
    }

    pub(crate) fn is_refused(&self, keyspace: &KeyspaceName) -> bool {
        self.refused.contains(keyspace)
    }

    pub(crate) fn all(&self) -> &[Move<'a>] {
        &self.list
    }

    /// The MoveTables that takes a table away from a keyspace.
    pub(crate) fn taking(&self, keyspace: &KeyspaceName, table: &TableName) -> Option<&Move<'a>> {
        let index = self.leaving.get(keyspace)?.get(table)?;
        Some(&self.list[*index])
    }

    /// The MoveTables that brings a table to a keyspace.
    pub(crate) fn bringing(&self, keyspace: &KeyspaceName, table: &str) -> Option<&Move<'a>> {
        let index = self.coming.get(keyspace)?.get(table)?;
        Some(&self.list[*index])
    }

    /// Tables that moves take away from a keyspace, each with its move.
    pub(crate) fn leaving(
        &self,
        keyspace: &KeyspaceName,
    ) -> impl Iterator<Item = (&TableName, &Move<'a>)> {
        let tables = self.leaving.get(keyspace).into_iter().flatten();
        tables.map(|(table, index)| (table, &self.list[*index]))
    }

    /// The Reshard that a shard belongs to.
    pub(crate) fn of_shard(&self, keyspace: &KeyspaceName, shard: &ShardName) -> Option<&Move<'a>> {
        let index = self.shards.get(keyspace)?.get(shard)?;
        Some(&self.list[*index])
    }

    /// The Reshards of a keyspace.
    pub(crate) fn reshards<'b>(
        &'b self,
        keyspace: &'b KeyspaceName,
    ) -> impl Iterator<Item = &'b Move<'a>> {
        // Most keyspaces have none.
        let any = self.shards.contains_key(keyspace);
        let list = if any { self.list.as_slice() } else { &[] };
        list.iter()
            .filter(move |m| m.kind == WorkflowKind::Reshard && m.touches(keyspace))
    }

    /// The moves that begin or end in a keyspace.
    pub(crate) fn touching<'b>(
        &'b self,
        keyspace: &'b KeyspaceName,
    ) -> impl Iterator<Item = &'b Move<'a>> {
        self.list.iter().filter(move |m| m.touches(keyspace))
    }
}

/// "the shard `0`", "the shards `-80`, `80-`".
pub(crate) fn shards_in_words<'s>(shards: impl IntoIterator<Item = &'s ShardName>) -> String {
    let shards: Vec<&ShardName> = shards.into_iter().collect();
    let plural = if shards.len() == 1 { "" } else { "s" };
    format!("the shard{plural} {}", list(shards))
}

/// `a`, `b`, ...
pub(crate) fn list<T: std::fmt::Display>(names: impl IntoIterator<Item = T>) -> String {
    let names: Vec<String> = names.into_iter().map(|name| format!("`{name}`")).collect();
    if names.is_empty() {
        return "nothing".to_owned();
    }
    names.join(", ")
}
