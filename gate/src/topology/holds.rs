//! Holds, as one snapshot has them: which statements they keep back.

use std::collections::{HashMap, HashSet};
use std::sync::Arc;

use vtplan_state::model::{HeldObject, HoldRecord, KeyspaceName};

use crate::plan::touches::word;
use crate::plan::{Catalog, ShardId, Touch, Touches};

/// A hold of the records, ready to be asked.
#[derive(Debug)]
pub struct Hold {
    pub record: HoldRecord,
    /// By keyspace the held tables, and those that routing rules take them to.
    tables: HashMap<KeyspaceName, HashSet<String>>,
    /// The same tables as words of statements.
    words: HashMap<KeyspaceName, HashSet<u64>>,
    shards: HashSet<ShardId>,
}

impl Hold {
    pub fn new(record: &HoldRecord, catalog: &Catalog) -> Self {
        let mut hold = Self {
            record: record.clone(),
            tables: HashMap::new(),
            words: HashMap::new(),
            shards: HashSet::new(),
        };
        for object in &record.objects {
            match object {
                HeldObject::Table { keyspace, table } => {
                    hold.add_table(keyspace, table.as_str());
                    if let Some((keyspace, table)) = catalog.moved_to(keyspace, table.as_str()) {
                        hold.add_table(keyspace, table);
                    }
                }
                HeldObject::Shard { keyspace, shard } => {
                    hold.shards.insert(ShardId {
                        keyspace: keyspace.clone(),
                        shard: shard.clone(),
                    });
                }
            }
        }
        hold
    }

    fn add_table(&mut self, keyspace: &KeyspaceName, table: &str) {
        let tables = self.tables.entry(keyspace.clone()).or_default();
        tables.insert(table.to_owned());
        let words = self.words.entry(keyspace.clone()).or_default();
        words.insert(word(table));
    }

    /// Whether what a statement touches is held.
    pub fn covers(&self, touches: &Touches, shards: &[Arc<ShardId>]) -> bool {
        shards.iter().any(|shard| self.shards.contains(&**shard))
            || touches.list.iter().any(|touch| match touch {
                Touch::Table(keyspace, table) => self
                    .tables
                    .get(keyspace)
                    .is_some_and(|tables| tables.contains(table)),
                Touch::Words(keyspace, words) => self
                    .words
                    .get(keyspace)
                    .is_some_and(|held| held.iter().any(|w| words.binary_search(w).is_ok())),
                Touch::Keyspace(keyspace) => self.tables.contains_key(keyspace),
            })
    }

    /// Whether another is this hold, not a later one with the same id.
    pub fn is(&self, other: &HoldRecord) -> bool {
        self.record == *other
    }

    /// What is held, for messages.
    pub fn objects(&self) -> String {
        let objects = self.record.objects.iter().map(|object| match object {
            HeldObject::Table { keyspace, table } => format!("{keyspace}.{table}"),
            HeldObject::Shard { keyspace, shard } => format!("{keyspace}/{shard}"),
        });
        objects.collect::<Vec<_>>().join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use vtplan_state::model::{Records, RoutingRule, TableName};

    fn keyspace(name: &str) -> KeyspaceName {
        KeyspaceName::new(name).unwrap()
    }

    fn records() -> Records {
        let mut records = Records::default();
        for name in ["commerce", "customer"] {
            let record = vtplan_state::model::KeyspaceRecord {
                name: keyspace(name),
                durability: Default::default(),
            };
            records.keyspaces.insert(keyspace(name), record);
        }
        records.routing.rules.push(RoutingRule {
            from_table: "commerce.customer".to_owned(),
            to_tables: vec!["customer.customer".to_owned()],
        });
        records
    }

    fn hold(objects: Vec<HeldObject>) -> Hold {
        let record = HoldRecord {
            id: "customer.commerce2customer".to_owned(),
            since: 1,
            objects,
            max_ms: 1000,
        };
        Hold::new(&record, &Catalog::build(&records()))
    }

    fn touches(touch: Touch) -> Touches {
        Touches {
            list: vec![touch],
            ..Touches::default()
        }
    }

    #[test]
    fn a_table_is_held_where_it_is_and_where_rules_take_it() {
        let hold = hold(vec![HeldObject::Table {
            keyspace: keyspace("commerce"),
            table: TableName::new("customer").unwrap(),
        }]);
        let covers = |touch| hold.covers(&touches(touch), &[]);
        for name in ["commerce", "customer"] {
            assert!(covers(Touch::Table(keyspace(name), "customer".to_owned())));
            assert!(!covers(Touch::Table(keyspace(name), "product".to_owned())));
            assert!(covers(Touch::Keyspace(keyspace(name))));
        }
        let mut words = vec![word("select"), word("CUSTOMER")];
        words.sort_unstable();
        assert!(covers(Touch::Words(keyspace("commerce"), words.into())));
        let others = vec![word("product")].into();
        assert!(!covers(Touch::Words(keyspace("commerce"), others)));
        assert!(!covers(Touch::Keyspace(keyspace("other"))));
    }

    #[test]
    fn a_held_shard_holds_whatever_goes_there() {
        let shard = |name: &str| {
            Arc::new(ShardId {
                keyspace: keyspace("customer"),
                shard: name.parse().unwrap(),
            })
        };
        let hold = hold(vec![HeldObject::Shard {
            keyspace: keyspace("customer"),
            shard: "-80".parse().unwrap(),
        }]);
        let any = touches(Touch::Keyspace(keyspace("customer")));
        assert!(hold.covers(&any, &[shard("80-"), shard("-80")]));
        assert!(!hold.covers(&any, &[shard("80-")]));
    }
}
