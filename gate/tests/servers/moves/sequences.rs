//! Values of sequences over two gates.

use std::collections::BTreeSet;

use mysql_async::prelude::Queryable as _;

use super::on_each;

#[tokio::test]
async fn no_value_is_given_twice_over_gates_killed_clients_and_failed_inserts() {
    on_each("no_value_is_given_twice", async |moving| {
        let lab = moving.lab.clone();
        let mut tasks = Vec::new();
        for worker in 0..8usize {
            let lab = lab.clone();
            tasks.push(tokio::spawn(async move {
                let mut given = Vec::new();
                for round in 0..12 {
                    let mut client = lab.client_of(worker % 2, "customer").await;
                    let mail = format!("{worker}-{round}@x");
                    let sql =
                        format!("INSERT INTO customer (email) VALUES ('{mail}'), ('{mail}b')");
                    client.query_drop(&sql).await.unwrap();
                    let first = client.last_insert_id().unwrap();
                    let said: Option<u64> =
                        client.query_first("SELECT LAST_INSERT_ID()").await.unwrap();
                    assert_eq!(said, Some(first));
                    given.extend([first, first + 1]);
                    // Fails, and takes values along.
                    let long = "INSERT INTO customer (email) VALUES ('a'), (REPEAT('a', 200))";
                    assert!(client.query_drop(long).await.is_err());
                    let said: Option<u64> =
                        client.query_first("SELECT LAST_INSERT_ID()").await.unwrap();
                    assert_eq!(said, Some(first));
                    // A client that goes in the middle of an insert.
                    let cut = format!("INSERT INTO customer (email) VALUES ('{mail}-cut')");
                    let cut = tokio::spawn(async move {
                        let _ = client.query_drop(cut).await;
                    });
                    tokio::task::yield_now().await;
                    cut.abort();
                }
                given
            }));
        }
        let mut given = Vec::new();
        for task in tasks {
            given.extend(task.await.unwrap());
        }
        let distinct: BTreeSet<u64> = given.iter().copied().collect();
        assert_eq!(distinct.len(), given.len());
        let mut server = lab.admin(200, "customer").await;
        let kept: Vec<u64> = server
            .query("SELECT customer_id FROM customer WHERE email NOT LIKE '%cut' ORDER BY 1")
            .await
            .unwrap();
        assert_eq!(kept, distinct.into_iter().collect::<Vec<_>>());
    })
    .await;
}
