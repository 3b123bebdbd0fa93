//! Tables and shards move under an application: what begins while they are held waits and goes on
//! at the new place, and nothing fails.

mod churn;
mod fences;
mod holds;
mod rules;
mod sequences;
mod vanish;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use vtplan_state::model::keys::Keys;
use vtplan_state::model::{
    GateRecord, HeldObject, HoldRecord, KeyspaceName, Revision, RoutingRule, RoutingRules,
    ShardRecord, TableName,
};
use vtplan_state::store::{Op, Txn, unix_millis};

use super::lab::{Flavor, Lab, MOVING, skip};

/// A lab that a test has for itself, with routing as at the beginning.
pub struct Moving {
    pub lab: Arc<Lab>,
    pub keys: Keys,
    _alone: tokio::sync::OwnedMutexGuard<()>,
}

/// Runs `test` on each flavor that there is.
pub async fn on_each<F: Future<Output = ()>>(name: &str, test: impl Fn(Moving) -> F) {
    for flavor in [Flavor::MariaDb, Flavor::MySql] {
        match Lab::get(flavor, &MOVING) {
            Some(lab) => test(Moving::begin(lab).await).await,
            None => skip(name, "VTPLAN_TEST_MYSQLD names no MySQL server"),
        }
    }
}

/// Waits for what must come true by itself.
pub async fn until(what: &str, mut holds: impl AsyncFnMut() -> bool) {
    for _ in 0..12_000 {
        if holds().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    panic!("never: {what}");
}

/// The code and message of a statement that must fail.
pub fn error<T: std::fmt::Debug>(result: mysql_async::Result<T>) -> (u16, String) {
    match result {
        Err(mysql_async::Error::Server(error)) => (error.code, error.message),
        other => panic!("{other:?}"),
    }
}

pub const COMMERCE_TABLE: (&str, &str) = ("commerce", "customer");

impl Moving {
    async fn begin(lab: Arc<Lab>) -> Self {
        let alone = lab.alone.clone().lock_owned().await;
        let this = Self {
            lab,
            keys: Keys::new("lab"),
            _alone: alone,
        };
        let mut txn = Txn::new()
            .then(Op::DeletePrefix {
                prefix: this.keys.hold(""),
            })
            .then(Op::put(this.keys.routing(), &RoutingRules::default()));
        for shard in MOVING.shards() {
            txn = txn.then(this.shard_op(&shard));
        }
        for (uid, server) in &this.lab.servers {
            let keyspace = if *uid < 200 { "commerce" } else { "customer" };
            let mut admin = this.lab.admin(*uid, keyspace).await;
            assert!(server.port > 0);
            for sql in [
                "SET GLOBAL read_only = OFF",
                "DROP TRIGGER IF EXISTS fence",
                "CREATE TABLE IF NOT EXISTS customer (customer_id BIGINT PRIMARY KEY, email VARCHAR(80))",
                "DELETE FROM customer",
            ] {
                admin.query_drop(sql).await.unwrap();
            }
        }
        this.write(txn).await;
        this
    }

    pub fn shard_op(&self, shard: &ShardRecord) -> Op {
        Op::put(self.keys.shard(&shard.keyspace, &shard.shard), shard)
    }

    /// Writes records and waits until all gates serve by them.
    pub async fn write(&self, txn: Txn) -> Revision {
        let written = self.lab.store.txn(txn).await.unwrap();
        let revision = written.committed().unwrap();
        self.served(revision).await;
        revision
    }

    /// The gates' records, once they serve by a revision.
    pub async fn served(&self, revision: Revision) -> BTreeMap<String, GateRecord> {
        let mut found = BTreeMap::new();
        until("all gates serve by the revision", async || {
            found = self.gates().await;
            found.len() == self.lab.gates.len()
                && found.values().all(|g| g.serving_revision >= revision)
        })
        .await;
        found
    }

    pub async fn gates(&self) -> BTreeMap<String, GateRecord> {
        let prefix = format!("{}gates/", self.keys.prefix());
        let listing = self.lab.store.list(&prefix).await.unwrap();
        let gates = listing
            .entries
            .iter()
            .map(|e| e.json::<GateRecord>().unwrap());
        gates.map(|g| (g.name.to_string(), g)).collect()
    }

    pub fn hold_of(&self, id: &str, objects: Vec<HeldObject>, max_ms: u64) -> Op {
        let record = HoldRecord {
            id: id.to_owned(),
            since: unix_millis(),
            objects,
            max_ms,
        };
        Op::put(self.keys.hold(id), &record)
    }

    /// Holds a table; all gates know when it returns.
    pub async fn hold(&self, id: &str, (keyspace, table): (&str, &str), max_ms: u64) -> Revision {
        let object = HeldObject::Table {
            keyspace: KeyspaceName::new(keyspace).unwrap(),
            table: TableName::new(table).unwrap(),
        };
        let op = self.hold_of(id, vec![object], max_ms);
        self.write(Txn::new().then(op)).await
    }

    /// Waits until all gates say that a hold is drained which they have seen.
    pub async fn drained(&self, id: &str) {
        until("the hold is drained", async || {
            self.gates().await.values().all(|g| g.drained.contains(id))
        })
        .await;
    }

    pub fn release(&self, id: &str) -> Op {
        Op::delete(self.keys.hold(id))
    }

    pub fn rules(&self, rules: &[(&str, &str)]) -> Op {
        let rules = rules.iter().map(|(from, to)| RoutingRule {
            from_table: (*from).to_owned(),
            to_tables: vec![(*to).to_owned()],
        });
        let rules = RoutingRules {
            rules: rules.collect(),
        };
        Op::put(self.keys.routing(), &rules)
    }

    /// The rules that take `customer` to a keyspace, whatever it is called by.
    pub fn all_to(&self, keyspace: &str) -> Op {
        let to = format!("{keyspace}.customer");
        self.rules(&[
            ("customer", &to),
            ("commerce.customer", &to),
            ("customer.customer", &to),
        ])
    }

    /// How many statements wait for holds.
    pub fn held_now(&self) -> i64 {
        let gates = self.lab.gates.iter();
        gates.map(|(_, shared)| shared.metrics.held_now()).sum()
    }

    /// The ids of customers on a server.
    pub async fn ids(&self, uid: u32) -> Vec<u64> {
        let keyspace = if uid < 200 { "commerce" } else { "customer" };
        let mut server = self.lab.admin(uid, keyspace).await;
        let sql = "SELECT customer_id FROM customer ORDER BY customer_id";
        server.query(sql).await.unwrap()
    }
}
