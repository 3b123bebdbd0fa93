//! Routing rules, as in Vitess.

use serde::{Deserialize, Serialize};

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
