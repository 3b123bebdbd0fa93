//! What the spec that was applied last said about what the present one has left out. It is read from
//! `Records::spec`, which therefore has to stay as it is until a plan is done: a plan of a removal
//! that was cut is continued with the same consent.

use serde_json::Value;
use vtplan_state::model::{CellName, KeyspaceName, ShardName, TableName};

use super::view::View;
use crate::desired::OnRemove;

/// The last applied spec's words on removal.
pub(crate) struct Previous<'a> {
    spec: Option<&'a Value>,
    keyspaces: Option<&'a Value>,
    /// Another spec was begun since.
    left_behind: bool,
}

impl<'a> Previous<'a> {
    pub(crate) fn new(view: &View<'a>) -> Self {
        let spec = view.live.records.spec.as_ref();
        Self {
            spec: spec.map(|spec| &spec.desired),
            keyspaces: spec.and_then(|spec| spec.desired.get("keyspaces")),
            left_behind: spec.is_some_and(|spec| spec.begun.is_some()),
        }
    }

    /// Whether everything that was ever asked for, and not taken back, is in that spec: it was brought
    /// to its end, and no other one was begun since.
    pub(crate) fn is_all_there_was(&self) -> bool {
        self.is_known() && !self.left_behind
    }

    pub(crate) fn has_cell(&self, cell: &CellName) -> bool {
        self.lists(self.other(&["cells"]), cell.as_str())
    }

    pub(crate) fn has_shard(&self, keyspace: &KeyspaceName, shard: &ShardName) -> bool {
        self.lists(self.part(keyspace, "shards"), &shard.to_string())
    }

    fn lists(&self, list: Option<&Value>, name: &str) -> bool {
        let mut names = list.and_then(Value::as_array).into_iter().flatten();
        names.any(|n| n.as_str() == Some(name))
    }

    /// The statement that a table was made by.
    pub(crate) fn statement(&self, keyspace: &KeyspaceName, table: &TableName) -> Option<&'a str> {
        self.value(&[keyspace.as_str(), "tables", table.as_str(), "statement"])?
            .as_str()
    }

    pub(crate) fn part(&self, keyspace: &KeyspaceName, part: &str) -> Option<&'a Value> {
        self.value(&[keyspace.as_str(), part])
    }

    /// What stands beside the keyspaces.
    pub(crate) fn other(&self, path: &[&str]) -> Option<&'a Value> {
        path.iter()
            .try_fold(self.spec?, |value, name| value.get(name))
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
