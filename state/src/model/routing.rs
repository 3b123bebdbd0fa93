//! Routing rules, as in Vitess.

use serde::{Deserialize, Serialize};

use super::{Side, TabletType, WorkflowKind, WorkflowRecord};

/// Key `routing`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingRules {
    #[serde(default)]
    pub rules: Vec<RoutingRule>,
}

/// Queries for `from_table` (`t`, `ks.t`, each with `@replica` or `@rdonly` or without) go to
/// `to_tables` (`ks.t`; one at most; none: the table is disabled).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct RoutingRule {
    pub from_table: String,
    #[serde(default)]
    pub to_tables: Vec<String>,
}

impl RoutingRules {
    /// Makes the rules what a MoveTables asks for as its record stands: everything that is for
    /// one of its tables goes to the side that has the writes; where reads of replicas or rdonlys
    /// are at the other side, rules of their own say so. A Reshard has no rules.
    pub fn follow(&mut self, workflow: &WorkflowRecord) {
        if workflow.kind != WorkflowKind::MoveTables {
            return;
        }
        self.forget(workflow);
        let keyspace = |side| &workflow.side(side).keyspace;
        let writes = workflow.writes;
        for table in &workflow.tables {
            let mut rule = |from_table: String, to: Side| {
                self.rules.push(RoutingRule {
                    from_table,
                    to_tables: vec![format!("{}.{table}", keyspace(to))],
                });
            };
            rule(table.to_string(), writes);
            rule(format!("{}.{table}", keyspace(writes.other())), writes);
            for tablet_type in READS {
                let reads = if workflow.reads_switched.contains(&tablet_type) {
                    Side::Target
                } else {
                    Side::Source
                };
                if reads == writes {
                    continue;
                }
                for name in names(workflow, table.as_str()) {
                    rule(format!("{name}@{tablet_type}"), reads);
                }
            }
        }
        self.rules.sort_by(|a, b| a.from_table.cmp(&b.from_table));
    }

    /// Takes away every rule for a workflow's tables: it has ended.
    pub fn forget(&mut self, workflow: &WorkflowRecord) {
        if workflow.kind != WorkflowKind::MoveTables {
            return;
        }
        let mut ours = std::collections::BTreeSet::new();
        for table in &workflow.tables {
            for name in names(workflow, table.as_str()) {
                for tablet_type in READS {
                    ours.insert(format!("{name}@{tablet_type}"));
                }
                ours.insert(format!("{name}@{}", TabletType::Primary));
                ours.insert(name);
            }
        }
        self.rules.retain(|rule| !ours.contains(&rule.from_table));
    }
}

const READS: [TabletType; 2] = [TabletType::Rdonly, TabletType::Replica];

/// The names that queries may use for a table of a MoveTables.
fn names(workflow: &WorkflowRecord, table: &str) -> [String; 3] {
    [
        table.to_owned(),
        format!("{}.{table}", workflow.source.keyspace),
        format!("{}.{table}", workflow.target.keyspace),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::{ShardName, WorkflowSide};

    fn workflow() -> WorkflowRecord {
        let side = |keyspace: &str| WorkflowSide {
            keyspace: keyspace.parse().expect("a name"),
            shards: vec![ShardName::unsharded()],
        };
        let table = |name: &str| name.parse().expect("a name");
        WorkflowRecord::new(
            "commerce2customer".parse().expect("a name"),
            WorkflowKind::MoveTables,
            side("commerce"),
            side("customer"),
            vec![table("corder"), table("customer")],
        )
    }

    fn shown(rules: &RoutingRules) -> Vec<String> {
        let rules = rules.rules.iter();
        rules
            .map(|rule| format!("{} -> {}", rule.from_table, rule.to_tables.join(",")))
            .collect()
    }

    #[test]
    fn rules_are_those_of_the_walkthrough_in_each_state_of_traffic() {
        let mut workflow = workflow();
        let mut rules = RoutingRules::default();
        rules.rules.push(RoutingRule {
            from_table: "other".to_owned(),
            to_tables: vec!["commerce.other".to_owned()],
        });
        let other = rules.clone();
        rules.follow(&workflow);
        assert_eq!(
            shown(&rules),
            [
                "corder -> commerce.corder",
                "customer -> commerce.customer",
                "customer.corder -> commerce.corder",
                "customer.customer -> commerce.customer",
                "other -> commerce.other",
            ]
        );
        workflow.reads_switched = READS.into();
        rules.follow(&workflow);
        let reads: Vec<String> = shown(&rules)
            .into_iter()
            .filter(|rule| rule.contains('@'))
            .collect();
        assert_eq!(reads.len(), 12);
        assert!(reads.iter().all(|rule| rule.contains("-> customer.")));
        assert_eq!(rules.rules.len(), 17);
        workflow.writes = Side::Target;
        rules.follow(&workflow);
        assert_eq!(
            shown(&rules),
            [
                "commerce.corder -> customer.corder",
                "commerce.customer -> customer.customer",
                "corder -> customer.corder",
                "customer -> customer.customer",
                "other -> commerce.other",
            ]
        );
        rules.forget(&workflow);
        assert_eq!(rules, other);
    }
}
