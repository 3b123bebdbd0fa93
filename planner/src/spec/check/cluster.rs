//! What a spec must have, and the names that gates, backups and users refer to.

use crate::spec::diag::Problems;
use crate::spec::model::Spec;
use crate::spec::shape::kinds::unknown_help;
use crate::spec::source::Sp;
use vtplan_state::model::CellName;

pub fn check(spec: &Spec, problems: &mut Problems) {
    for gates in &spec.gates {
        known_cell(spec, &gates.cell, problems);
    }
    let names = spec.keyspaces.iter().map(|k| k.name.as_str());
    let schedules = spec.backups.iter().flat_map(|b| &b.schedules);
    for pattern in schedules.flat_map(|s| &s.keyspaces) {
        if pattern.value != "*" && !names.clone().any(|n| n == pattern.value) {
            problems
                .error(
                    "unknown-keyspace",
                    pattern.span,
                    format!("there is no keyspace `{}`", pattern.value),
                )
                .maybe_help(unknown_help(&pattern.value, names.clone()));
        }
    }
}

/// Reports a cell that the spec does not list.
pub fn known_cell(spec: &Spec, cell: &Sp<CellName>, problems: &mut Problems) {
    // Without any cell, that is the one thing to report.
    if spec.cells.is_empty() || spec.cells.contains(cell) {
        return;
    }
    let cells = spec.cells.iter().map(|c| c.as_str());
    problems
        .error(
            "unknown-cell",
            cell.span,
            format!("there is no cell `{}`", **cell),
        )
        .maybe_help(unknown_help(cell.as_str(), cells));
}
