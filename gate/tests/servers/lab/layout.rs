//! Which servers a lab has, and the records that it begins with.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;

use serde_json::json;
use vtplan_state::model::keys::Keys;
use vtplan_state::model::{
    AutoIncrement, CellName, ColumnVindex, Credentials, FlavorKind, HostName, HostRecord,
    KeyspaceName, KeyspaceRecord, ShardName, ShardRecord, TabletAlias, TabletRecord, TabletServer,
    TabletType, UserRecord, VSchemaColumn, VSchemaKeyspace, VSchemaTable, VindexDefinition,
};
use vtplan_state::store::{Op, OpenMode, Store, Txn, open};

use super::server::{Flavor, Server};
use super::{PASSWORD, SERVER_PASSWORD, SERVER_USER, USER};

/// A tablet. Nothing replicates: tests write what replicas are to say.
pub struct Place {
    pub uid: u32,
    pub keyspace: &'static str,
    pub shard: &'static str,
    pub primary: bool,
    /// Of its shard.
    pub serving: bool,
}

pub struct Layout {
    pub name: &'static str,
    pub places: &'static [Place],
    pub gates: usize,
    /// Of the gates' account.
    pub privileges: &'static str,
    /// Statements for a keyspace's servers.
    pub schema: fn(&str) -> &'static [&'static str],
    pub vschema: fn(&str) -> VSchemaKeyspace,
}

const fn place(
    uid: u32,
    keyspace: &'static str,
    shard: &'static str,
    primary: bool,
    serving: bool,
) -> Place {
    Place {
        uid,
        keyspace,
        shard,
        primary,
        serving,
    }
}

/// Servers of an unsharded keyspace `commerce` and a sharded one `customer`.
pub static STEADY: Layout = Layout {
    name: "steady",
    places: &[
        place(100, "commerce", "0", true, true),
        place(200, "customer", "-80", true, true),
        place(300, "customer", "80-", true, true),
    ],
    gates: 1,
    privileges: "ALL PRIVILEGES",
    schema: |keyspace| match keyspace {
        "commerce" => &[
            "CREATE TABLE customer_seq (id BIGINT PRIMARY KEY, next_id BIGINT, cache BIGINT)",
            "INSERT INTO customer_seq VALUES (0, 1, 3)",
            "CREATE TABLE item (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40) UNIQUE, n INT)",
        ],
        _ => &["CREATE TABLE customer (customer_id BIGINT PRIMARY KEY, email VARCHAR(80))"],
    },
    vschema,
};

/// Tables may move from `commerce` to `customer`, and `customer` may be split in two.
pub static MOVING: Layout = Layout {
    name: "moving",
    places: &[
        place(100, "commerce", "0", true, true),
        place(101, "commerce", "0", false, true),
        place(200, "customer", "0", true, true),
        place(201, "customer", "0", false, true),
        place(300, "customer", "-80", true, false),
        place(400, "customer", "80-", true, false),
    ],
    gates: 2,
    // None that `read_only` does not bind.
    privileges: "SELECT, INSERT, UPDATE, DELETE, CREATE, DROP, ALTER, INDEX, LOCK TABLES, EXECUTE",
    schema: |keyspace| match keyspace {
        "commerce" => &[
            "CREATE TABLE customer_seq (id BIGINT PRIMARY KEY, next_id BIGINT, cache BIGINT)",
            "INSERT INTO customer_seq VALUES (0, 1, 3)",
            "CREATE TABLE product (id BIGINT PRIMARY KEY, name VARCHAR(80))",
            "CREATE TABLE customer (customer_id BIGINT PRIMARY KEY, email VARCHAR(80))",
        ],
        _ => &["CREATE TABLE customer (customer_id BIGINT PRIMARY KEY, email VARCHAR(80))"],
    },
    vschema,
};

/// The tables of lookups, where a shard or an unsharded keyspace has them, and of who owns them.
pub static LOOKUPS: Layout = Layout {
    name: "lookups",
    places: &[
        place(100, "commerce", "0", true, true),
        place(200, "customer", "-80", true, true),
        place(300, "customer", "80-", true, true),
    ],
    gates: 2,
    privileges: "ALL PRIVILEGES",
    schema: |keyspace| match keyspace {
        "commerce" => &[
            "CREATE TABLE customer_seq (id BIGINT PRIMARY KEY, next_id BIGINT, cache BIGINT)",
            "INSERT INTO customer_seq VALUES (0, 1, 3)",
            "CREATE TABLE email_idx (email VARCHAR(80) PRIMARY KEY, keyspace_id VARBINARY(128))",
            "CREATE DATABASE plain",
            "CREATE TABLE plain.customer (customer_id BIGINT PRIMARY KEY, email VARCHAR(80), \
             name VARCHAR(40), city INT, street VARCHAR(40), UNIQUE (email), UNIQUE (city, street), KEY (name))",
        ],
        _ => &[
            "CREATE TABLE customer (customer_id BIGINT PRIMARY KEY, email VARCHAR(80), \
             name VARCHAR(40), city INT, street VARCHAR(40), UNIQUE (email), UNIQUE (city, street), KEY (name))",
            "CREATE TABLE name_idx (name VARCHAR(40), keyspace_id VARBINARY(128), \
             PRIMARY KEY (name, keyspace_id))",
            "CREATE TABLE address_idx (city INT, street VARCHAR(40), keyspace_id VARBINARY(128), \
             PRIMARY KEY (city, street))",
        ],
    },
    vschema: |keyspace| {
        let vschema = match keyspace {
            "commerce" => {
                json!({ "tables": { "customer_seq": { "type": "sequence" }, "email_idx": {} } })
            }
            _ => json!({
                "sharded": true,
                "vindexes": {
                    "xxhash": { "type": "xxhash" },
                    "loose": { "type": "unicode_loose_xxhash" },
                    "by_email": { "type": "consistent_lookup_unique", "owner": "customer", "params": {
                        "table": "commerce.email_idx", "from": "email", "to": "keyspace_id", "ignore_nulls": "true" } },
                    "by_name": { "type": "consistent_lookup", "owner": "customer", "params": {
                        "table": "customer.name_idx", "from": "name", "to": "keyspace_id" } },
                    "by_address": { "type": "lookup_unique", "owner": "customer", "params": {
                        "table": "address_idx", "from": "city,street", "to": "keyspace_id", "ignore_nulls": "true" } } },
                "tables": {
                    "customer": {
                        "column_vindexes": [
                            { "column": "customer_id", "name": "xxhash" },
                            { "column": "email", "name": "by_email" },
                            { "column": "name", "name": "by_name" },
                            { "columns": ["city", "street"], "name": "by_address" }],
                        "auto_increment": { "column": "customer_id", "sequence": "commerce.customer_seq" } },
                    "name_idx": { "column_vindexes": [{ "column": "name", "name": "loose" }] },
                    "address_idx": { "column_vindexes": [{ "column": "city", "name": "xxhash" }] } } }),
        };
        serde_json::from_value(vschema).unwrap()
    },
};

fn vschema(keyspace: &str) -> VSchemaKeyspace {
    match keyspace {
        "commerce" => commerce(),
        _ => customer(),
    }
}

fn table() -> VSchemaTable {
    VSchemaTable {
        column_vindexes: vec![ColumnVindex {
            column: Some("customer_id".into()),
            columns: Vec::new(),
            name: "xxhash".into(),
            extra: BTreeMap::new(),
        }],
        auto_increment: Some(AutoIncrement {
            column: "customer_id".into(),
            sequence: "commerce.customer_seq".into(),
        }),
        columns: [("customer_id", "INT64"), ("email", "VARCHAR")]
            .map(|(name, column_type)| VSchemaColumn {
                name: name.into(),
                column_type: Some(column_type.into()),
                extra: BTreeMap::new(),
            })
            .into(),
        column_list_authoritative: true,
        ..VSchemaTable::default()
    }
}

fn customer() -> VSchemaKeyspace {
    let vindex = VindexDefinition {
        vindex_type: "xxhash".into(),
        params: BTreeMap::new(),
        owner: None,
        extra: BTreeMap::new(),
    };
    VSchemaKeyspace {
        sharded: true,
        vindexes: [("xxhash".to_owned(), vindex)].into(),
        tables: [("customer".to_owned(), table())].into(),
        ..VSchemaKeyspace::default()
    }
}

fn commerce() -> VSchemaKeyspace {
    let sequence = VSchemaTable {
        table_type: Some("sequence".into()),
        ..VSchemaTable::default()
    };
    VSchemaKeyspace {
        tables: [("customer_seq".to_owned(), sequence)].into(),
        ..VSchemaKeyspace::default()
    }
}

/// A shard's record, without a primary when it is 0.
pub fn shard_record(keyspace: &str, shard: &str, primary: u32, serving: bool) -> ShardRecord {
    let cell = CellName::new("zone1").unwrap();
    ShardRecord {
        keyspace: KeyspaceName::new(keyspace).unwrap(),
        shard: shard.parse().unwrap(),
        primary: (primary > 0).then(|| TabletAlias::new(cell, primary)),
        term: 1,
        serving,
        serving_reads: Default::default(),
        fenced: false,
    }
}

impl Layout {
    /// The shards as they are when a lab begins.
    pub fn shards(&self) -> impl Iterator<Item = ShardRecord> {
        let primaries = self.places.iter().filter(|place| place.primary);
        primaries.map(|p| shard_record(p.keyspace, p.shard, p.uid, p.serving))
    }

    /// A store with the records.
    pub async fn write(
        &self,
        flavor: Flavor,
        folder: &Path,
        servers: &BTreeMap<u32, Server>,
    ) -> Arc<dyn Store> {
        let url = format!("sqlite:{}", folder.join("state.db").display());
        let store = open(&url, OpenMode::Create).await.unwrap();
        let (keys, cell) = (Keys::new("lab"), CellName::new("zone1").unwrap());
        let host = HostName::new("host1").unwrap();
        let kind = match flavor {
            Flavor::MariaDb => FlavorKind::MariaDb,
            Flavor::MySql => FlavorKind::MySql,
        };
        let credentials = Credentials {
            admin_user: "unused".into(),
            admin_password: "unused".into(),
            gate_user: SERVER_USER.into(),
            gate_password: SERVER_PASSWORD.into(),
            repl_user: "unused".into(),
            repl_password: "unused".into(),
            agent_token: String::new(),
        };
        let host_record = HostRecord {
            name: host.clone(),
            cell: cell.clone(),
            address: "127.0.0.1".into(),
            agent_url: "http://127.0.0.1:1".into(),
            capacity: 10,
            first_mysql_port: 1,
            flavor: kind,
            server_version: "10.11.0".into(),
            version: "test".into(),
            started_at: 0,
            tablets_dir: folder.display().to_string(),
        };
        let mut txn = Txn::new()
            .then(Op::put(keys.credentials(), &credentials))
            .then(Op::put(keys.host(&host), &host_record));
        for (name, password) in [(USER, PASSWORD), ("empty", "")] {
            let user = UserRecord::from_password(name, password);
            txn = txn.then(Op::put(keys.user(name), &user));
        }
        for place in self.places {
            let alias = TabletAlias::new(cell.clone(), place.uid);
            let record = TabletRecord {
                alias: alias.clone(),
                keyspace: KeyspaceName::new(place.keyspace).unwrap(),
                shard: place.shard.parse::<ShardName>().unwrap(),
                tablet_type: TabletType::Replica,
                host: host.clone(),
                mysql_port: servers[&place.uid].port,
                flavor: kind,
                server: TabletServer::Made,
            };
            txn = txn.then(Op::put(keys.tablet(&alias), &record));
        }
        for shard in self.shards() {
            let key = keys.shard(&shard.keyspace, &shard.shard);
            txn = txn.then(Op::put(key, &shard));
        }
        for name in ["commerce", "customer"] {
            let vschema = (self.vschema)(name);
            let name = KeyspaceName::new(name).unwrap();
            let record = KeyspaceRecord {
                name: name.clone(),
                durability: Default::default(),
            };
            txn = txn
                .then(Op::put(keys.vschema(&name), &vschema))
                .then(Op::put(keys.keyspace(&name), &record));
        }
        store.txn(txn).await.unwrap().committed().unwrap();
        store
    }
}
