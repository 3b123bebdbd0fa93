//! A plan as a Graphviz graph: steps, and arrows from what is done before to what waits for it.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use vtplan_planner::plan::{Plan, Risk, Step};

use super::step::{describe, keyspace_of};

/// `vtplan plan --format dot | dot -Tsvg > plan.svg`.
pub fn plan(plan: &Plan) -> String {
    let mut dot = String::from("digraph plan {\n");
    let _ = writeln!(
        dot,
        "    label={};",
        quote(&format!("cluster {}", plan.cluster))
    );
    dot.push_str("    labelloc=t;\n    rankdir=LR;\n");
    dot.push_str(
        "    node [shape=box, style=\"rounded,filled\", fontname=\"sans-serif\", fontsize=11];\n",
    );
    let mut groups: BTreeMap<Option<&str>, Vec<&Step>> = BTreeMap::new();
    for step in &plan.steps {
        let keyspace = keyspace_of(step).map(|k| k.as_str());
        groups.entry(keyspace).or_default().push(step);
    }
    for (keyspace, steps) in groups {
        let indent = match keyspace {
            Some(keyspace) => {
                let _ = writeln!(
                    dot,
                    "    subgraph {} {{",
                    quote(&format!("cluster_{keyspace}"))
                );
                let label = quote(&format!("keyspace {keyspace}"));
                let _ = writeln!(dot, "        label={label};");
                "        "
            }
            None => "    ",
        };
        for step in steps {
            let color = match step.risk {
                Risk::Safe => "#e6f4ea",
                Risk::Disruptive => "#fff4d6",
                Risk::Destructive => "#fbd9d9",
            };
            let _ = writeln!(
                dot,
                "{indent}{} [label={}, fillcolor=\"{color}\"];",
                quote(&step.id),
                quote(&describe(step)),
            );
        }
        if keyspace.is_some() {
            dot.push_str("    }\n");
        }
    }
    for step in &plan.steps {
        for before in &step.after {
            let _ = writeln!(dot, "    {} -> {};", quote(before), quote(&step.id));
        }
    }
    dot.push_str("}\n");
    dot
}

/// A quoted id of the DOT language, in which only the quote needs to be escaped. A backslash at
/// the end would escape the closing one.
fn quote(text: &str) -> String {
    let text = text.split_whitespace().collect::<Vec<_>>().join(" ");
    format!("\"{}\"", text.replace('\\', "\\\\").replace('"', "\\\""))
}
