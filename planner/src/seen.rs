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
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub fences: Vec<SeenFence>,
    /// Workflows (full names) of which `_vt` has streams.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub streams: Vec<String>,
    /// Tables of parked rows in `_vt`.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub parked: Vec<String>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SeenTable {
    /// [`fingerprint`] of its `SHOW CREATE TABLE`.
    pub fingerprint: String,
    /// When it was made or altered last, as the server tells it; seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub changed_at: Option<u64>,
}

/// What is there of a fence on tables.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SeenFence {
    /// The workflow's full name; empty: triggers without a row that says whose they are.
    pub workflow: String,
    pub closed: bool,
    /// How many of vtplan's triggers there are in the keyspace's database.
    pub triggers: u32,
}

/// Something of a server that is not as its agent sets it up.
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
}

impl Deviation {
    /// What it is about.
    pub fn name(&self) -> &str {
        match self {
            Self::Variable { name, .. } | Self::Account { name, .. } => name,
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
