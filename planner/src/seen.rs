//! What an agent sees in its servers when it is asked to look closely: what health and plans do not
//! need all the time, and drift is found by.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use vtplan_state::model::TableName;

/// One server, looked at closely. Maps and lists are sorted.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Seen {
    /// The tables of the keyspace's database, of replicas too.
    pub tables: BTreeMap<TableName, SeenTable>,
    /// Databases that are neither the server's, the keyspace's nor vtplan's.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stray_databases: Vec<String>,
    /// Accounts that are neither the server's nor vtplan's, `'joe'@'%'`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub stray_accounts: Vec<String>,
    /// Where it replicates from, `10.0.0.7:17100`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenTable {
    /// [`fingerprint`] of its `SHOW CREATE TABLE`.
    pub fingerprint: String,
    /// When it was made or altered last, as the server tells it; seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<u64>,
}

/// Something of a server that is not as its agent sets it up, or that a workflow has put there. Whether
/// that workflow is over, and this is left of it, the agent does not say: planning does, by the records.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(tag = "what", rename_all = "kebab-case")]
pub enum Deviation {
    /// A global variable.
    Variable {
        name: String,
        expected: String,
        found: String,
        /// Whether the server has to be started anew for it to change.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        needs_restart: bool,
    },
    /// One of vtplan's own accounts.
    Account {
        /// `'vt_app'@'%'`
        name: String,
        /// What is wrong with it, without secrets: `it does not exist`.
        found: String,
    },
    /// A fence on tables of the keyspace, on its primary. Told where it keeps, or could keep, anybody
    /// from writing: it is closed, or has triggers.
    Fence {
        /// The workflow's full name; empty: triggers without a row that says whose they are.
        workflow: String,
        closed: bool,
        triggers: u32,
    },
    /// Positions of a workflow's streams in `_vt`, on the primary that they write to.
    Streams {
        /// Its full name.
        workflow: String,
    },
    /// A table of rows in `_vt` that streams have parked.
    Parked { table: String },
}

impl Deviation {
    /// What it is about, as no other deviation of a server is.
    pub fn name(&self) -> String {
        match self {
            Self::Variable { name, .. } | Self::Account { name, .. } => name.clone(),
            Self::Fence { workflow, .. } if workflow.is_empty() => {
                "triggers of a fence that is nobody's".to_owned()
            }
            Self::Fence { workflow, .. } => format!("the fence of workflow {workflow}"),
            Self::Streams { workflow } => format!("positions of workflow {workflow}'s streams"),
            Self::Parked { table } => format!("rows parked in _vt.{table}"),
        }
    }

    /// What is there, and what should be.
    pub fn found_and_expected(&self) -> (String, String) {
        match self {
            Self::Variable {
                expected, found, ..
            } => (found.clone(), expected.clone()),
            Self::Account { found, .. } => (found.clone(), "as vtplan makes it".to_owned()),
            Self::Fence {
                closed, triggers, ..
            } => {
                let is = if *closed { "closed" } else { "open" };
                let s = if *triggers == 1 { "" } else { "s" };
                (format!("{is}, {triggers} trigger{s}"), "none".to_owned())
            }
            Self::Streams { .. } | Self::Parked { .. } => ("there".to_owned(), "none".to_owned()),
        }
    }

    /// Whether the agent can put it right while the server runs.
    pub fn can_be_mended(&self) -> bool {
        !matches!(
            self,
            Self::Variable {
                needs_restart: true,
                ..
            }
        )
    }
}

/// A short name for a definition: equal definitions, equal fingerprints.
pub fn fingerprint(definition: &str) -> String {
    hex::encode(&Sha256::digest(definition.as_bytes())[..12])
}
