//! Gates: how many are alive, and whether they serve by the records as they are.

use super::{Drift, Finding, Input, Kind};

pub(super) fn find(input: &Input<'_>, found: &mut Drift) {
    let records = &input.live.records;
    for gate in records.gates.values() {
        if gate.serving_revision >= input.serving_revision {
            continue;
        }
        found.findings.push(
            Finding::new(
                Kind::GateBehind,
                gate.name.to_string(),
                format!("it serves by revision {}", input.serving_revision),
                format!("it serves by revision {}", gate.serving_revision),
            )
            .by_person(format!(
                "a gate follows within a moment; if this lasts, see whether it reaches the store, and \
                 restart it: {}",
                gate.mysql_address
            )),
        );
    }
    for (cell, wanted) in &input.desired.gates {
        let alive = records.gates.values().filter(|g| g.cell == *cell).count();
        if alive < wanted.count as usize {
            found.findings.push(
                Finding::new(
                    Kind::GatesMissing,
                    cell.as_str(),
                    format!("gates alive: {}", wanted.count),
                    format!("gates alive: {alive}"),
                )
                .by_person(format!("vtplan gate --cell {cell}")),
            );
        }
    }
}
