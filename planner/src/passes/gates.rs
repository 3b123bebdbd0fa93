//! Gates: what the spec says of a cell's gates is put down for them to follow. Their processes are
//! not the plan's affair; when fewer are alive than asked for, a note says so.

use super::draft::{Draft, Order, Phase, number};
use super::view::View;
use crate::ids;
use crate::plan::{Action, Risk};

pub(crate) fn steps(view: &View, draft: &mut Draft) {
    let records = &view.live.records;
    for (index, (cell, gates)) in view.desired.gates.iter().enumerate() {
        let alive = records.gates.values().filter(|g| g.cell == *cell).count();
        if alive < gates.count as usize {
            draft.note(
                cell.as_str(),
                format!(
                    "{alive} of {} alive in cell {cell}: start one with `vtplan gate --cell \
                     {cell}` (or `vtplan up`)",
                    number(gates.count, "gate")
                ),
            );
        }
        let same = records
            .gate_configs
            .get(cell)
            .is_some_and(|c| c.count == gates.count && c.mysql_port == gates.mysql_port);
        if same {
            continue;
        }
        draft.step(
            Order::new(Phase::Access, 0, index),
            Action::ConfigureGates {
                cell: cell.clone(),
                count: gates.count,
                mysql_port: gates.mysql_port,
            },
            Risk::Safe,
            format!(
                "the spec asks for {} in {cell}",
                number(gates.count, "gate")
            ),
            vec![ids::create_cell(cell)],
        );
    }
    for (index, cell) in records.gate_configs.keys().enumerate() {
        if !view.desired.gates.contains_key(cell) {
            draft.step(
                Order::new(Phase::Remove, 0, index),
                Action::RemoveGates { cell: cell.clone() },
                Risk::Disruptive,
                format!("the spec no longer has gates in {cell}"),
                Vec::new(),
            );
        }
    }
}
