//! Cells that the spec names and the records do not are created; those that only the records name
//! are deleted once no tablet is left in them.

use std::collections::{BTreeSet, HashMap};

use vtplan_state::model::CellName;

use super::draft::{Draft, Order, Phase};
use super::view::View;
use crate::ids;
use crate::plan::{Action, Risk, StepId};

pub(crate) fn create(view: &View, draft: &mut Draft) {
    for (index, cell) in view.desired.cells.iter().enumerate() {
        if !view.live.records.cells.contains_key(cell) {
            draft.step(
                Order::new(Phase::Cells, 0, index),
                Action::CreateCell { cell: cell.clone() },
                Risk::Safe,
                format!("the spec has the cell {cell}"),
                Vec::new(),
            );
        }
    }
}

/// `staying`: the cells of the tablets that there are when the plan is done. `leaving`: the steps
/// that delete a cell's tablets.
pub(crate) fn delete(
    view: &View,
    draft: &mut Draft,
    staying: &BTreeSet<&CellName>,
    leaving: &HashMap<&CellName, Vec<StepId>>,
) {
    for (index, cell) in view.live.records.cells.keys().enumerate() {
        if view.desired.cells.contains(cell) {
            continue;
        }
        if staying.contains(cell) {
            draft.note(
                cell.as_str(),
                "the spec no longer has this cell; it is kept as long as tablets are in it",
            );
            continue;
        }
        let mut after = leaving.get(cell).cloned().unwrap_or_default();
        after.push(ids::remove_gates(cell));
        draft.step(
            Order::new(Phase::RemoveCells, 0, index),
            Action::DeleteCell { cell: cell.clone() },
            Risk::Safe,
            format!("the spec no longer has the cell {cell}"),
            after,
        );
    }
}
