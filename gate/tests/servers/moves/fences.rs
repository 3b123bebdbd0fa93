//! Statements that meet a fenced server are tried again by newer records.

use mysql_async::prelude::Queryable as _;
use vtplan_state::store::Txn;

use super::{error, on_each, until};

const TRIGGER: &str = "CREATE TRIGGER fence BEFORE INSERT ON customer FOR EACH ROW \
    SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1290, \
    MESSAGE_TEXT = 'table `customer` is moving: keyspace `customer` has its writes, `commerce` takes none'";

#[tokio::test]
async fn a_write_that_meets_a_fence_goes_where_routing_leads_then() {
    on_each("a_write_that_meets_a_fence", async |moving| {
        let lab = moving.lab.clone();
        for fence in ["SET GLOBAL read_only = ON", TRIGGER] {
            let mut admin = lab.admin(100, "commerce").await;
            // The client's library asks for settings as it connects.
            let mut autocommit = lab.client("commerce").await;
            let mut first = lab.client_of(1, "commerce").await;
            let mut within = lab.client("commerce").await;
            let mut prepared = lab.client("commerce").await;
            let insert = prepared
                .prep("INSERT INTO customer VALUES (?, ?)")
                .await
                .unwrap();
            within.query_drop("BEGIN").await.unwrap();
            within
                .query_drop("SELECT * FROM customer WHERE customer_id = 0 LOCK IN SHARE MODE")
                .await
                .unwrap();
            within.query_drop("ROLLBACK").await.unwrap();
            admin.query_drop(fence).await.unwrap();

            // In a transaction with something done, it is an error that says why.
            within.query_drop("BEGIN").await.unwrap();
            within.query_drop("SELECT * FROM customer").await.unwrap();
            let refused = within
                .query_drop("INSERT INTO customer VALUES (9, 'within')")
                .await;
            assert_eq!(error(refused).0, 1290);
            within.query_drop("ROLLBACK").await.unwrap();

            let tasks = [
                tokio::spawn(async move {
                    autocommit
                        .query_drop("INSERT INTO customer VALUES (1, 'autocommit')")
                        .await
                        .unwrap();
                }),
                tokio::spawn(async move {
                    first.query_drop("BEGIN").await.unwrap();
                    first
                        .query_drop("INSERT INTO customer VALUES (2, 'first')")
                        .await
                        .unwrap();
                    first.query_drop("COMMIT").await.unwrap();
                }),
                tokio::spawn(async move {
                    prepared.exec_drop(&insert, (3, "prepared")).await.unwrap();
                }),
            ];
            until("they meet the fence", async || {
                let tried =
                    "SELECT COUNT(*) FROM information_schema.processlist WHERE user = 'vt_gate'";
                admin.query_first::<u64, _>(tried).await.unwrap() >= Some(3)
            })
            .await;
            assert!(tasks.iter().all(|task| !task.is_finished()));
            moving
                .write(Txn::new().then(moving.all_to("customer")))
                .await;
            for task in tasks {
                task.await.unwrap();
            }
            assert_eq!(moving.ids(100).await, [0u64; 0]);
            assert_eq!(moving.ids(200).await, [1, 2, 3]);

            for sql in ["SET GLOBAL read_only = OFF", "DROP TRIGGER IF EXISTS fence"] {
                admin.query_drop(sql).await.unwrap();
            }
            let mut target = lab.admin(200, "customer").await;
            target.query_drop("DELETE FROM customer").await.unwrap();
            moving.write(Txn::new().then(moving.rules(&[]))).await;
        }
    })
    .await;
}
