//! Rows go to their shards, answers come from all of them.

use mysql_async::Row;
use mysql_async::prelude::Queryable as _;

use super::lab::on_each;

#[tokio::test]
async fn customers_go_to_the_shards_that_vitess_gives_them() {
    on_each("customers_go_to_the_shards", async |lab| {
        let mut client = lab.client("customer").await;
        client.query_drop("DELETE FROM customer").await.unwrap();
        for id in 1..=10 {
            let sql = format!("INSERT INTO customer (customer_id, email) VALUES ({id}, '{id}@x')");
            client.query_drop(sql).await.unwrap();
            assert_eq!(client.affected_rows(), 1);
        }
        let ids = "SELECT customer_id FROM customer ORDER BY customer_id";
        let low: Vec<i64> = lab.direct(200, "customer").await.query(ids).await.unwrap();
        let high: Vec<i64> = lab.direct(300, "customer").await.query(ids).await.unwrap();
        assert_eq!(low, [8, 10]);
        assert_eq!(high, [1, 2, 3, 4, 5, 6, 7, 9]);

        let mut all: Vec<i64> = client
            .query("SELECT customer_id FROM customer")
            .await
            .unwrap();
        all.sort_unstable();
        assert_eq!(all, (1..=10).collect::<Vec<_>>());
        let one: Vec<String> = client
            .exec("SELECT email FROM customer WHERE customer_id = ?", (8,))
            .await
            .unwrap();
        assert_eq!(one, ["8@x"]);
        let mut some: Vec<i64> = client
            .exec(
                "SELECT customer_id FROM customer WHERE customer_id IN (?, ?, ?)",
                (1, 8, 99),
            )
            .await
            .unwrap();
        some.sort_unstable();
        assert_eq!(some, [1, 8]);

        for target in ["customer/-80", "customer:-80"] {
            let mut shard = lab.client(target).await;
            let ids: Vec<i64> = shard.query(ids).await.unwrap();
            assert_eq!(ids, [8, 10], "{target}");
        }

        client
            .query_drop("UPDATE customer SET email = 'new' WHERE customer_id IN (7, 8)")
            .await
            .unwrap();
        assert_eq!(client.affected_rows(), 2);

        // A transaction over both shards, undone and done.
        client.query_drop("BEGIN").await.unwrap();
        client
            .query_drop("DELETE FROM customer WHERE customer_id IN (1, 8)")
            .await
            .unwrap();
        client.query_drop("ROLLBACK").await.unwrap();
        let count: Vec<Row> = client
            .query("SELECT customer_id FROM customer")
            .await
            .unwrap();
        assert_eq!(count.len(), 10);
        client.query_drop("BEGIN").await.unwrap();
        client
            .query_drop("DELETE FROM customer WHERE customer_id IN (1, 8)")
            .await
            .unwrap();
        client.query_drop("COMMIT").await.unwrap();
        let count: Vec<Row> = client
            .query("SELECT customer_id FROM customer")
            .await
            .unwrap();
        assert_eq!(count.len(), 8);

        // One shard refuses (the key exists): the other keeps nothing of the statement.
        let error = client
            .query_drop(
                "INSERT INTO customer (customer_id, email) VALUES (8, 'back'), (7, 'twice')",
            )
            .await;
        assert!(error.is_err());
        let back: Vec<i64> = client
            .query("SELECT customer_id FROM customer WHERE customer_id = 8")
            .await
            .unwrap();
        assert!(back.is_empty());

        // Values of the sequence: in blocks, none twice.
        client.query_drop("DELETE FROM customer").await.unwrap();
        let mut ids = Vec::new();
        for _ in 0..5 {
            client
                .query_drop("INSERT INTO customer (email) VALUES ('a'), ('b')")
                .await
                .unwrap();
            assert_eq!(client.affected_rows(), 2);
            let first = client.last_insert_id().unwrap();
            ids.extend([first, first + 1]);
        }
        let mut stored: Vec<u64> = client
            .query("SELECT customer_id FROM customer")
            .await
            .unwrap();
        stored.sort_unstable();
        ids.sort_unstable();
        assert_eq!(stored, ids);
        client.query_drop("DELETE FROM customer").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn show_statements_of_the_gate_say_what_there_is() {
    on_each("show_statements_of_the_gate", async |lab| {
        let mut client = lab.client("customer").await;
        let shards: Vec<String> = client.query("SHOW VITESS_SHARDS").await.unwrap();
        assert_eq!(shards, ["commerce/0", "customer/-80", "customer/80-"]);
        let keyspaces: Vec<String> = client.query("SHOW VITESS_KEYSPACES").await.unwrap();
        assert_eq!(keyspaces, ["commerce", "customer"]);
        let tablets: Vec<Row> = client.query("SHOW VITESS_TABLETS").await.unwrap();
        let aliases: Vec<String> = tablets.iter().map(|r| r.get("Alias").unwrap()).collect();
        assert_eq!(
            aliases,
            ["zone1-0000000100", "zone1-0000000200", "zone1-0000000300"]
        );
        let kind: String = tablets[0].get("TabletType").unwrap();
        assert_eq!(kind, "PRIMARY");
        let tables: Vec<String> = client.query("SHOW VSCHEMA TABLES").await.unwrap();
        assert_eq!(tables, ["customer"]);
        let vindexes: Vec<Row> = client.query("SHOW VSCHEMA VINDEXES").await.unwrap();
        assert_eq!(vindexes[0].get::<String, _>("Name").unwrap(), "xxhash");
    })
    .await;
}

#[tokio::test]
async fn a_replica_target_without_replicas_is_refused_with_the_reason() {
    on_each("a_replica_target_without_replicas", async |lab| {
        // The client's library asks for its settings as it connects.
        let error = mysql_async::Conn::new(lab.options("commerce@replica")).await;
        let Err(mysql_async::Error::Server(error)) = error else {
            panic!("{error:?}");
        };
        assert!(
            error.message.contains("no healthy replica"),
            "{}",
            error.message
        );
    })
    .await;
}
