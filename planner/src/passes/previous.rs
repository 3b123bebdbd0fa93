//! What the spec that was applied last said about what the present one has left out. It is read from
//! `Records::spec`, which therefore has to stay as it is until a plan is done: a plan of a removal
//! that was cut is continued with the same consent.

use serde_json::Value;
use vtplan_state::model::{KeyspaceName, TableName};

use super::view::View;
use crate::desired::OnRemove;

/// The last applied spec's words on removal.
pub(crate) struct Previous<'a> {
    keyspaces: Option<&'a Value>,
}

impl<'a> Previous<'a> {
    pub(crate) fn new(view: &View<'a>) -> Self {
        let spec = view.live.records.spec.as_ref();
        Self {
            keyspaces: spec.and_then(|spec| spec.desired.get("keyspaces")),
        }
    }

    pub(crate) fn keyspace(&self, keyspace: &KeyspaceName) -> OnRemove {
        self.of(&[keyspace.as_str()])
    }

    pub(crate) fn table(&self, keyspace: &KeyspaceName, table: &TableName) -> OnRemove {
        self.of(&[keyspace.as_str(), "tables", table.as_str()])
    }

    /// Whether a spec was applied before at all.
    pub(crate) fn is_known(&self) -> bool {
        self.keyspaces.is_some()
    }

    pub(crate) fn has_keyspace(&self, keyspace: &KeyspaceName) -> bool {
        self.value(&[keyspace.as_str()]).is_some()
    }

    pub(crate) fn has_table(&self, keyspace: &KeyspaceName, table: &TableName) -> bool {
        self.value(&[keyspace.as_str(), "tables", table.as_str()])
            .is_some()
    }

    /// The tables that a keyspace had.
    pub(crate) fn tables(&self, keyspace: &KeyspaceName) -> Vec<TableName> {
        let tables = self.value(&[keyspace.as_str(), "tables"]);
        let names = tables.and_then(Value::as_object).into_iter().flatten();
        names
            .filter_map(|(name, _)| TableName::new(name.as_str()).ok())
            .collect()
    }

    fn value(&self, path: &[&str]) -> Option<&'a Value> {
        path.iter()
            .try_fold(self.keyspaces?, |value, name| value.get(name))
    }

    fn of(&self, path: &[&str]) -> OnRemove {
        match self
            .value(path)
            .and_then(|v| v.get("on_remove"))
            .and_then(Value::as_str)
        {
            Some("drop") => OnRemove::Drop,
            _ => OnRemove::Keep,
        }
    }
}
