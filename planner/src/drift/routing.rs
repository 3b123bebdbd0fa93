//! Routing rules: exactly those of the workflows that there are.

use std::collections::BTreeMap;

use vtplan_state::model::{RoutingRule, RoutingRules};

use super::{Drift, Finding, Input, Kind};

pub(super) fn find(input: &Input<'_>, found: &mut Drift) {
    let records = &input.live.records;
    let mut wanted = RoutingRules::default();
    for workflow in records.all_workflows() {
        // One that ends, or switches, writes its rules in the transaction that does it.
        wanted.follow(workflow);
    }
    let by_name = |rules: &RoutingRules| -> BTreeMap<String, String> {
        let pair = |rule: &RoutingRule| (rule.from_table.clone(), rule.to_tables.join(", "));
        rules.rules.iter().map(pair).collect()
    };
    let (wanted, there) = (by_name(&wanted), by_name(&records.routing));
    let none = "no rule";
    let mut names: Vec<&String> = wanted.keys().chain(there.keys()).collect();
    names.sort();
    names.dedup();
    for name in names {
        let (expected, is) = (wanted.get(name), there.get(name));
        if expected == is {
            continue;
        }
        found.findings.push(
            Finding::new(
                Kind::RoutingRules,
                name.as_str(),
                expected.map_or(none, String::as_str),
                is.map_or(none, String::as_str),
            )
            .by_person(
                "the record `routing` in the store was written by hand: set it back there (`etcdctl`, \
                 or `sqlite3` for a local store)",
            ),
        );
    }
}
