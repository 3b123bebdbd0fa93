//! What tablets have left behind, with nothing that knows of it. What workflows have left is found by
//! planning, which mends it.

use super::{Drift, Finding, Input, Kind};

pub(super) fn find(input: &Input<'_>, found: &mut Drift) {
    let records = &input.live.records;
    for alias in input.live.observed.tablets.keys() {
        if !records.tablets.contains_key(alias) {
            found.findings.push(
                Finding::new(
                    Kind::OrphanTablet,
                    alias.to_string(),
                    "no server without a record",
                    "an agent has a server, or a folder, of it",
                )
                .by_person(
                    "its agent removes it when the store says that the tablet is gone; if it lasts, see \
                     the agent's log",
                ),
            );
        }
    }
}
