//! Holds: who waits, who goes on, when they are drained.

use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use vtplan_state::model::{HeldObject, KeyspaceName};
use vtplan_state::store::Txn;

use super::{COMMERCE_TABLE, error, on_each, until};

#[tokio::test]
async fn a_hold_is_drained_when_what_began_has_ended_and_what_waits_goes_to_the_new_place() {
    on_each("a_hold_is_drained", async |moving| {
        let lab = moving.lab.clone();
        let mut begun = lab.client("commerce").await;
        begun.query_drop("BEGIN").await.unwrap();
        begun
            .query_drop("INSERT INTO customer VALUES (1, 'begun')")
            .await
            .unwrap();
        let mut apart = lab.client_of(1, "commerce").await;
        apart.query_drop("BEGIN").await.unwrap();
        apart
            .query_drop("REPLACE INTO product VALUES (1, 'apart')")
            .await
            .unwrap();
        let mut prepared = lab.client("commerce").await;
        let insert = prepared
            .prep("INSERT INTO customer VALUES (?, ?)")
            .await
            .unwrap();

        let held = moving.hold("move", COMMERCE_TABLE, 600_000).await;
        let gates = moving.served(held).await;
        assert!(!gates["gate0"].drained.contains("move"));
        until("the other gate has nothing", async || {
            moving.gates().await["gate1"].drained.contains("move")
        })
        .await;

        // The transaction that had begun goes on; reads of others pass.
        begun
            .query_drop("INSERT INTO commerce.customer VALUES (2, 'begun2')")
            .await
            .unwrap();
        let mut reader = lab.client("commerce").await;
        let rows: Vec<u64> = reader
            .query("SELECT customer_id FROM customer")
            .await
            .unwrap();
        assert!(rows.is_empty());

        let autocommit = tokio::spawn(async move {
            prepared.exec_drop(&insert, (3, "prepared")).await.unwrap();
        });
        let within = tokio::spawn(async move {
            apart
                .query_drop("INSERT INTO customer VALUES (4, 'within')")
                .await
                .unwrap();
            apart.query_drop("COMMIT").await.unwrap();
        });
        let mut locker = lab.client("commerce").await;
        let locking = tokio::spawn(async move {
            let sql = "SELECT email FROM customer WHERE customer_id = 1 FOR UPDATE";
            locker.query_first::<String, _>(sql).await.unwrap()
        });
        until("three statements wait", async || moving.held_now() == 3).await;
        let states: Vec<mysql_async::Row> = reader.query("SHOW PROCESSLIST").await.unwrap();
        let states: Vec<String> = states.iter().map(|r| r.get("State").unwrap()).collect();
        let count = |state: &str| states.iter().filter(|s| *s == state).count();
        assert_eq!(count("Held by move"), 2, "{states:?}");
        assert_eq!(count("Keeps move from going on"), 1, "{states:?}");
        assert!(!moving.gates().await["gate0"].drained.contains("move"));

        begun.query_drop("COMMIT").await.unwrap();
        moving.drained("move").await;
        assert_eq!(moving.ids(100).await, [1, 2]);
        assert_eq!(moving.held_now(), 3);
        let mut target = lab.admin(200, "customer").await;
        target
            .query_drop("INSERT INTO customer VALUES (1, 'begun'), (2, 'begun2')")
            .await
            .unwrap();

        let flip = Txn::new().then(moving.all_to("customer"));
        moving.write(flip).await;
        // Routing has changed and the hold stands: they still wait.
        assert_eq!(moving.held_now(), 3);
        moving.write(Txn::new().then(moving.release("move"))).await;
        autocommit.await.unwrap();
        within.await.unwrap();
        assert_eq!(locking.await.unwrap().as_deref(), Some("begun"));
        assert_eq!(moving.ids(100).await, [1, 2]);
        assert_eq!(moving.ids(200).await, [1, 2, 3, 4]);
        let gates = moving.gates().await;
        assert!(gates.values().all(|g| g.drained.is_empty()), "{gates:?}");
    })
    .await;
}

#[tokio::test]
async fn a_held_statement_ends_by_time_by_kill_and_with_its_client() {
    on_each("a_held_statement_ends", async |moving| {
        let lab = moving.lab.clone();
        moving.hold("short", COMMERCE_TABLE, 50).await;
        let mut client = lab.client("commerce").await;
        let (code, message) = error(
            client
                .query_drop("UPDATE customer SET email = 'x' WHERE customer_id = 1")
                .await,
        );
        assert_eq!(code, 1205);
        for part in ["commerce.customer", "(short)", "50 ms"] {
            assert!(message.contains(part), "{message}");
        }
        // The session goes on.
        client.query_drop("DO 1").await.unwrap_or_default();
        let replaced = Txn::new().then(moving.release("short"));
        moving.write(replaced).await;
        moving.hold("long", COMMERCE_TABLE, 600_000).await;
        moving.drained("long").await;

        let id = client.id();
        let waiting = tokio::spawn(async move {
            let result = client
                .query_drop("LOCK TABLES commerce.customer WRITE")
                .await;
            (result, client.ping().await.is_ok())
        });
        until("it waits", async || moving.held_now() == 1).await;
        let mut other = lab.client("commerce").await;
        other.query_drop(format!("KILL QUERY {id}")).await.unwrap();
        let (result, lives) = waiting.await.unwrap();
        assert_eq!(error(result).0, 1317);
        assert!(lives);

        let mut gone = lab.client("commerce").await;
        let waiting = tokio::spawn(async move {
            let _ = gone.query_drop("TRUNCATE TABLE customer").await;
        });
        until("it waits", async || moving.held_now() == 1).await;
        waiting.abort();
        until("it waits no more", async || moving.held_now() == 0).await;
        assert_eq!(moving.ids(100).await, [0u64; 0]);
    })
    .await;
}

#[tokio::test]
async fn a_held_shard_keeps_what_goes_there_and_lets_the_rest_through() {
    on_each("a_held_shard", async |moving| {
        let lab = moving.lab.clone();
        // Split already: 8 and 10 are in -80.
        let split = Txn::new()
            .then(moving.shard_op(&super::super::lab::shard_record(
                "customer", "0", 200, false,
            )))
            .then(moving.shard_op(&super::super::lab::shard_record(
                "customer", "-80", 300, true,
            )))
            .then(moving.shard_op(&super::super::lab::shard_record(
                "customer", "80-", 400, true,
            )));
        moving.write(split).await;
        let mut targeted = lab.client("customer/-80").await;
        let object = HeldObject::Shard {
            keyspace: KeyspaceName::new("customer").unwrap(),
            shard: "-80".parse().unwrap(),
        };
        let hold = moving.hold_of("split", vec![object], 600_000);
        moving.write(Txn::new().then(hold)).await;
        moving.drained("split").await;
        let mut client = lab.client("customer").await;
        client
            .query_drop("INSERT INTO customer VALUES (1, 'a')")
            .await
            .unwrap();
        let both = tokio::spawn(async move {
            client
                .query_drop("INSERT INTO customer VALUES (2, 'b'), (8, 'c')")
                .await
                .unwrap();
        });
        let one = tokio::spawn(async move {
            targeted
                .query_drop("INSERT INTO customer VALUES (10, 'd')")
                .await
                .unwrap();
        });
        until("two statements wait", async || moving.held_now() == 2).await;
        tokio::time::sleep(Duration::from_millis(20)).await;
        assert_eq!(moving.ids(300).await, [0u64; 0]);
        assert_eq!(moving.ids(400).await, [1]);
        moving.write(Txn::new().then(moving.release("split"))).await;
        both.await.unwrap();
        one.await.unwrap();
        assert_eq!(moving.ids(300).await, [8, 10]);
        assert_eq!(moving.ids(400).await, [1, 2]);
    })
    .await;
}

#[tokio::test]
async fn a_client_that_vanishes_takes_its_statement_with_it() {
    on_each("a_client_that_vanishes", async |moving| {
        let lab = moving.lab.clone();
        let mut admin = lab.admin(100, "commerce").await;
        admin
            .query_drop("INSERT INTO customer VALUES (1, 'a')")
            .await
            .unwrap();
        let mut client = lab.client("commerce").await;
        let running = tokio::spawn(async move {
            let sql = "UPDATE customer SET email = 'b' WHERE customer_id = 1 AND SLEEP(600) = 0";
            let _ = client.query_drop(sql).await;
        });
        let runs = "SELECT COUNT(*) FROM information_schema.processlist WHERE info LIKE 'UPDATE customer%'";
        until("it runs", async || {
            admin.query_first::<u64, _>(runs).await.unwrap() == Some(1)
        })
        .await;
        moving.hold("move", COMMERCE_TABLE, 600_000).await;
        assert!(!moving.gates().await["gate0"].drained.contains("move"));
        running.abort();
        moving.drained("move").await;
        until("it runs no more", async || {
            admin.query_first::<u64, _>(runs).await.unwrap() == Some(0)
        })
        .await;
        // Its lock is gone too.
        admin
            .query_drop("UPDATE customer SET email = 'c' WHERE customer_id = 1")
            .await
            .unwrap();
    })
    .await;
}
