//! A table goes forth and back, and shards split and merge, under a mixed load: nothing fails,
//! nothing is lost.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use mysql_async::prelude::Queryable as _;
use rand::RngExt as _;
use vtplan_state::model::{HeldObject, KeyspaceName, ShardName, TabletType};
use vtplan_state::store::Txn;
use vtplan_state::vindex::{Destination, VindexValue};

use super::super::lab::{Lab, shard_record};
use super::{Moving, on_each};

/// One client of the load. Gives the ids that it knows to be stored, and those it deleted.
async fn load(
    lab: Arc<Lab>,
    number: usize,
    next: Arc<AtomicU64>,
    stop: Arc<AtomicBool>,
) -> BTreeSet<u64> {
    let target = ["commerce", "customer"][number % 2];
    let mut client = lab.client_of(number / 2 % 2, target).await;
    let insert = client
        .prep("INSERT INTO customer (customer_id, email) VALUES (?, ?)")
        .await
        .unwrap();
    let mut stored = BTreeSet::new();
    while !stop.load(Ordering::Relaxed) {
        let id = next.fetch_add(1, Ordering::Relaxed);
        let other = stored.first().copied();
        let mail = format!("{id}@x");
        let kind = rand::rng().random_range(0..6);
        match kind {
            0 => {
                let sql = format!("INSERT INTO customer VALUES ({id}, '{mail}')");
                client.query_drop(sql).await.unwrap();
                stored.insert(id);
            }
            1 => {
                client.exec_drop(&insert, (id, mail)).await.unwrap();
                stored.insert(id);
            }
            2 => {
                client.query_drop("BEGIN").await.unwrap();
                let sql = format!("INSERT INTO {target}.customer VALUES ({id}, '{mail}')");
                client.query_drop(sql).await.unwrap();
                tokio::time::sleep(std::time::Duration::from_millis(id % 7)).await;
                let sql = format!(
                    "UPDATE customer SET email = '{mail}2' WHERE {target}.customer.customer_id = {id}"
                );
                client.query_drop(sql).await.unwrap();
                assert_eq!(client.affected_rows(), 1);
                client.query_drop("COMMIT").await.unwrap();
                stored.insert(id);
            }
            3 => {
                if let Some(other) = other {
                    let sql = format!("DELETE FROM customer WHERE customer_id = {other}");
                    client.query_drop(sql).await.unwrap();
                    assert_eq!(client.affected_rows(), 1);
                    stored.remove(&other);
                }
            }
            4 => {
                if let Some(other) = other {
                    let sql = "SELECT customer_id FROM customer WHERE customer_id = ?";
                    let found: Option<u64> = client.exec_first(sql, (other,)).await.unwrap();
                    assert_eq!(found, Some(other));
                }
            }
            _ => {
                client.query_drop("SET autocommit = 0").await.unwrap();
                let sql = format!("INSERT INTO customer VALUES ({id}, '{mail}')");
                client.query_drop(sql).await.unwrap();
                client.query_drop("ROLLBACK").await.unwrap();
                client.query_drop("SET autocommit = 1").await.unwrap();
            }
        }
    }
    stored
}

fn name(uid: u32) -> &'static str {
    if uid < 200 { "commerce" } else { "customer" }
}

/// Moves the table as a switch of writes does, with nothing but the hold to keep writers away.
async fn switch(moving: &Moving, from: u32, to: u32) {
    moving
        .hold("switch", (name(from), "customer"), 600_000)
        .await;
    moving.drained("switch").await;
    let mut source = moving.lab.admin(from, name(from)).await;
    let mut target = moving.lab.admin(to, name(to)).await;
    let rows: Vec<(u64, String)> = source.query("SELECT * FROM customer").await.unwrap();
    target.query_drop("DELETE FROM customer").await.unwrap();
    for some in rows.chunks(500) {
        let rows: Vec<String> = some
            .iter()
            .map(|(id, mail)| format!("({id}, '{mail}')"))
            .collect();
        let sql = format!("INSERT INTO customer VALUES {}", rows.join(", "));
        target.query_drop(sql).await.unwrap();
    }
    moving.write(Txn::new().then(moving.all_to(name(to)))).await;
    // Whoever wrote to the source after it was drained is found out.
    let after: Vec<(u64, String)> = source.query("SELECT * FROM customer").await.unwrap();
    assert_eq!(after, rows);
    moving
        .write(Txn::new().then(moving.release("switch")))
        .await;
}

/// Which of a shard's range a server has: uid and shard.
const WHOLE: &[(u32, &str)] = &[(200, "0")];
const HALVES: &[(u32, &str)] = &[(300, "-80"), (400, "80-")];

/// Moves all rows from some shards to others, as a switch of a Reshard's writes does.
async fn reshard(moving: &Moving, from: &[(u32, &str)], to: &[(u32, &str)]) {
    let objects = from.iter().map(|(_, shard)| HeldObject::Shard {
        keyspace: KeyspaceName::new("customer").unwrap(),
        shard: shard.parse().unwrap(),
    });
    // Reads of replicas first.
    let records = |reads: bool, writes: bool| {
        let mut txn = Txn::new();
        for (shards, serve) in [(from, !writes), (to, writes)] {
            for (uid, shard) in shards {
                let mut record = shard_record("customer", shard, *uid, serve);
                if reads && !writes {
                    record.serving_reads.insert(TabletType::Replica, !serve);
                }
                txn = txn.then(moving.shard_op(&record));
            }
        }
        txn
    };
    moving.write(records(true, false)).await;
    let hold = moving.hold_of("split", objects.collect(), 600_000);
    moving.write(Txn::new().then(hold)).await;
    moving.drained("split").await;
    let mut rows: Vec<(u64, String)> = Vec::new();
    for (uid, _) in from {
        let mut source = moving.lab.admin(*uid, "customer").await;
        rows.extend(
            source
                .query::<(u64, String), _>("SELECT * FROM customer")
                .await
                .unwrap(),
        );
    }
    let catalog = moving.lab.shared.topology.snapshot().catalog.clone();
    let tables = &catalog.keyspace("customer").unwrap().tables;
    let vindex = &tables["customer"].primary_vindex.as_ref().unwrap().vindex;
    for (uid, shard) in to {
        let shard: ShardName = shard.parse().unwrap();
        let here = rows.iter().filter(|(id, _)| {
            let Destination::Id(id) = vindex.map(&[VindexValue::UInt(*id)]) else {
                panic!("{id} has no keyspace id")
            };
            shard.key_range().contains(&id)
        });
        let values: Vec<String> = here.map(|(id, mail)| format!("({id}, '{mail}')")).collect();
        let mut target = moving.lab.admin(*uid, "customer").await;
        target.query_drop("DELETE FROM customer").await.unwrap();
        for some in values.chunks(500) {
            let sql = format!("INSERT INTO customer VALUES {}", some.join(", "));
            target.query_drop(sql).await.unwrap();
        }
    }
    moving.write(records(false, true)).await;
    moving.write(Txn::new().then(moving.release("split"))).await;
}

#[tokio::test]
async fn shards_that_split_and_merge_lose_no_row_and_fail_no_statement() {
    on_each("shards_that_split_and_merge", async |moving| {
        moving
            .write(Txn::new().then(moving.all_to("customer")))
            .await;
        let stop = Arc::new(AtomicBool::new(false));
        let next = Arc::new(AtomicU64::new(1));
        let clients: Vec<_> = (0..8)
            .map(|number| {
                let (lab, next, stop) = (moving.lab.clone(), next.clone(), stop.clone());
                tokio::spawn(load(lab, number, next, stop))
            })
            .collect();
        let (mut at, mut other) = (WHOLE, HALVES);
        for _ in 0..5 {
            let pause = rand::rng().random_range(0..150);
            tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
            reshard(&moving, at, other).await;
            (at, other) = (other, at);
        }
        stop.store(true, Ordering::Relaxed);
        let mut stored = BTreeSet::new();
        for client in clients {
            stored.extend(client.await.unwrap());
        }
        let mut found = Vec::new();
        for (uid, _) in at {
            found.extend(moving.ids(*uid).await);
        }
        found.sort_unstable();
        assert!(!stored.is_empty());
        assert_eq!(found, stored.into_iter().collect::<Vec<_>>());
    })
    .await;
}

#[tokio::test]
async fn a_table_that_moves_forth_and_back_loses_no_row_and_fails_no_statement() {
    on_each("a_table_that_moves_forth_and_back", async |moving| {
        moving
            .write(Txn::new().then(moving.all_to("commerce")))
            .await;
        let stop = Arc::new(AtomicBool::new(false));
        let next = Arc::new(AtomicU64::new(1));
        let clients: Vec<_> = (0..8)
            .map(|number| {
                let (lab, next, stop) = (moving.lab.clone(), next.clone(), stop.clone());
                tokio::spawn(load(lab, number, next, stop))
            })
            .collect();
        let mut at = (100, 200);
        for _ in 0..7 {
            let pause = rand::rng().random_range(0..150);
            tokio::time::sleep(std::time::Duration::from_millis(pause)).await;
            // Some are given up, drained or not; the next has the same name.
            while rand::rng().random_bool(0.4) {
                let table = (name(at.0), "customer");
                moving.hold("switch", table, 600_000).await;
                if rand::rng().random_bool(0.5) {
                    moving.drained("switch").await;
                }
                moving
                    .write(Txn::new().then(moving.release("switch")))
                    .await;
            }
            switch(&moving, at.0, at.1).await;
            at = (at.1, at.0);
        }
        stop.store(true, Ordering::Relaxed);
        let mut stored = BTreeSet::new();
        for client in clients {
            stored.extend(client.await.unwrap());
        }
        assert!(!stored.is_empty());
        assert_eq!(
            moving.ids(at.0).await,
            stored.into_iter().collect::<Vec<_>>()
        );
    })
    .await;
}
