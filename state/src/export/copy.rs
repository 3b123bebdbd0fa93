//! A document of the records as a process knows them, without asking the store: what agents keep
//! beside their tablets, and what is left when the store is lost.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;

use super::Export;
use crate::model::keys::Keys;
use crate::model::{Credentials, Records};

impl Export {
    /// The document of records that are known, and of the accounts on servers. Plans, history and
    /// comparisons are not in it; the hosts are, so that whoever has nothing else knows whom to ask.
    /// `None` for records of no cluster.
    pub fn of_records(records: &Records, credentials: &Credentials) -> Option<Self> {
        let keys = Keys::new(&records.cluster.as_ref()?.name);
        let mut entries = Entries {
            prefix: keys.prefix(),
            map: BTreeMap::new(),
        };
        entries.put(keys.cluster(), &records.cluster);
        entries.put(keys.credentials(), credentials);
        entries.put(keys.routing(), &records.routing);
        if !records.rates.is_empty() {
            entries.put(keys.rates(), &records.rates);
        }
        if let Some(policy) = &records.backup_policy {
            entries.put(keys.backup_policy(), policy);
        }
        for record in records.backups.values() {
            let key = keys.backup(&record.keyspace, &record.shard, &record.id);
            entries.put(key, record);
        }
        if let Some(spec) = &records.spec {
            entries.put(keys.spec(), spec);
        }
        for (name, record) in &records.cells {
            entries.put(keys.cell(name), record);
        }
        for (name, record) in &records.hosts {
            entries.put(keys.host(name), record);
        }
        for (cell, record) in &records.gate_configs {
            entries.put(keys.gate_config(cell), record);
        }
        for (name, record) in &records.keyspaces {
            entries.put(keys.keyspace(name), record);
        }
        for (name, record) in &records.vschemas {
            entries.put(keys.vschema(name), record);
        }
        for ((keyspace, shard), record) in &records.shards {
            entries.put(keys.shard(keyspace, shard), record);
        }
        for (alias, record) in &records.tablets {
            entries.put(keys.tablet(alias), record);
        }
        for (name, record) in &records.users {
            entries.put(keys.user(name), record);
        }
        for (keyspace, of_keyspace) in &records.workflows {
            for (name, record) in of_keyspace {
                entries.put(keys.workflow(keyspace, name), record);
            }
        }
        for (id, record) in &records.holds {
            entries.put(keys.hold(id), record);
        }
        let map = entries.map;
        Some(Self::of(keys.cluster_name(), records.revision, map))
    }

    /// How new it is, among copies of one cluster.
    pub fn age_key(&self) -> (u64, u64) {
        let generation = self.identity().map_or(0, |identity| identity.generation);
        (generation, self.revision())
    }
}

struct Entries<'a> {
    prefix: &'a str,
    map: BTreeMap<String, Value>,
}

impl Entries<'_> {
    fn put<T: Serialize>(&mut self, key: String, record: &T) {
        // Records are our own types: maps with string keys, no failing serializers.
        let value = serde_json::to_value(record).expect("a record serializes");
        let key = key.strip_prefix(self.prefix).unwrap_or(&key).to_owned();
        self.map.insert(key, value);
    }
}
