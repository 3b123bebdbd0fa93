//! The queries of Vitess's own planner tests.

use std::collections::BTreeMap;

use serde_json::Value;
use vtplan_gate::plan::{Action, PlanContext, Target};

use crate::support::{Gate, vitess, without_doubles};

fn gate(file: &str) -> Gate {
    Gate::new(&vitess(
        &serde_json::from_str(&without_doubles(file)).unwrap(),
    ))
}

/// Whether Vitess sends the statement as one to one shard, by functional vindexes alone.
fn is_local(vitess: &Value) -> bool {
    let plain = ["EqualUnique", "Unsharded", "Reference"];
    let kind = vitess["type"].as_str().unwrap_or_default();
    ["Local", "Passthrough"].contains(&kind)
        && vitess["operators"].as_array().is_some_and(|list| {
            list.len() == 1
                && list[0]
                    .as_str()
                    .is_some_and(|op| plain.iter().any(|p| op.contains(p)))
        })
}

#[test]
fn no_query_panics_and_every_refusal_has_a_reason() {
    let main = gate(include_str!("../data/vtgate_vschema.json"));
    let tpch = gate(include_str!("../data/vtgate_tpch_vschema.json"));
    let tpcc = gate(include_str!("../data/vtgate_tpcc_vschema.json"));
    let oltp = gate(include_str!("../data/vtgate_oltp_vschema.json"));
    let mut counts: BTreeMap<&str, usize> = BTreeMap::new();
    let mut local: BTreeMap<&str, usize> = BTreeMap::new();
    let mut refused_local = Vec::new();
    for line in include_str!("../data/vtgate_queries.jsonl").lines() {
        let case: Value = serde_json::from_str(line).unwrap();
        let gate = match case["set"].as_str().unwrap() {
            set if set.contains("tpch") => &tpch,
            set if set.contains("tpcc") => &tpcc,
            set if set.contains("oltp") => &oltp,
            _ => &main,
        };
        let sql = case["query"].as_str().unwrap();
        let target = Target::default();
        let context = PlanContext::new(&target);
        let plan = gate.planner.plan(&gate.catalog, &context, sql.as_bytes());
        let outcome = match &plan {
            Err(error) => {
                assert!(error.message.len() > 10, "{sql}: {error}");
                match error.errno {
                    1235 => "refused",
                    1064 => "not parsed",
                    _ => "other error",
                }
            }
            Ok(plan) => match plan.action {
                Action::Gate(_) => "gate",
                Action::Single(_) => "single",
                Action::Scatter(_) => "scatter",
                Action::Dml(_) => "dml",
                Action::Ddl(_) => "ddl",
                Action::Insert(_) => "insert",
                Action::Lookup(_) => "lookup",
                Action::Owned(_) | Action::OwnedInsert(_) => "owned",
            },
        };
        *counts.entry(outcome).or_default() += 1;
        if is_local(&case["vitess"]) {
            *local.entry(outcome).or_default() += 1;
            match plan {
                Ok(plan) => assert!(
                    !matches!(plan.action, Action::Dml(_)),
                    "{sql}: Vitess has one shard for it"
                ),
                Err(error) => refused_local.push(format!("{sql}\n    {error}")),
            }
        }
    }
    println!(
        "all: {counts:?}\nlocal in Vitess: {local:?}\n{}",
        refused_local.join("\n")
    );
    let singles = local.get("single").copied().unwrap_or_default();
    let all: usize = local.values().sum();
    assert!(
        singles * 4 > all * 3,
        "only {singles} of {all} are planned to one shard"
    );
}
