//! VSchemas, in Vitess's JSON shape: what a gate knows of a keyspace's tables.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Key `keyspaces/<ks>/vschema`. Reads and writes Vitess's VSchema files; fields that this
/// version does not use are kept in `extra`.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VSchemaKeyspace {
    #[serde(default)]
    pub sharded: bool,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub vindexes: BTreeMap<String, VindexDefinition>,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub tables: BTreeMap<String, VSchemaTable>,
    /// Tables of this keyspace are only found when qualified with its name.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub require_explicit_routing: bool,
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VindexDefinition {
    #[serde(rename = "type")]
    pub vindex_type: String,
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub params: BTreeMap<String, String>,
    /// The table whose DML maintains the lookup; lookups only.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VSchemaTable {
    /// `sequence`, `reference`, or nothing.
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub table_type: Option<String>,
    /// The first is the primary vindex.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub column_vindexes: Vec<ColumnVindex>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub auto_increment: Option<AutoIncrement>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<VSchemaColumn>,
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub column_list_authoritative: bool,
    /// Keyspace id, hex, that all rows of the table have.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pinned: Option<String>,
    /// For a reference table: the table it is a copy of, `ks.table`.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

impl VSchemaTable {
    pub fn is_sequence(&self) -> bool {
        self.table_type.as_deref() == Some("sequence")
    }
    pub fn is_reference(&self) -> bool {
        self.table_type.as_deref() == Some("reference")
    }
}

/// Either `column` or `columns` is given.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct ColumnVindex {
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub column: Option<String>,
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub columns: Vec<String>,
    /// Name of one of the keyspace's vindexes.
    pub name: String,
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}

impl ColumnVindex {
    /// The columns, however they were written.
    pub fn column_names(&self) -> impl Iterator<Item = &str> {
        self.column.iter().chain(&self.columns).map(String::as_str)
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AutoIncrement {
    pub column: String,
    /// `ks.table`, or `table` when its name is unique over the cluster.
    pub sequence: String,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VSchemaColumn {
    pub name: String,
    #[serde(rename = "type", default, skip_serializing_if = "Option::is_none")]
    pub column_type: Option<String>,
    #[serde(flatten)]
    pub extra: BTreeMap<String, Value>,
}
