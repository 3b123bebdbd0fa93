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

    fn of(&self, path: &[&str]) -> OnRemove {
        let Some(keyspaces) = self.keyspaces else {
            return OnRemove::Keep;
        };
        let found = path
            .iter()
            .try_fold(keyspaces, |value, name| value.get(name));
        match found
            .and_then(|v| v.get("on_remove"))
            .and_then(Value::as_str)
        {
            Some("drop") => OnRemove::Drop,
            _ => OnRemove::Keep,
        }
    }
}
