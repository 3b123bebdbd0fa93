//! Rules and shards by tablet type.

use mysql_async::Row;
use mysql_async::prelude::Queryable as _;
use vtplan_state::model::TabletType;
use vtplan_state::store::Txn;

use super::super::lab::shard_record;
use super::{error, on_each};

#[tokio::test]
async fn reads_of_replicas_move_before_writes_do() {
    on_each("reads_of_replicas_move", async |moving| {
        let lab = moving.lab.clone();
        for uid in [100, 101, 200, 201] {
            let keyspace = if uid < 200 { "commerce" } else { "customer" };
            let mut admin = lab.admin(uid, keyspace).await;
            let sql = format!("INSERT INTO customer VALUES ({uid}, 'here')");
            admin.query_drop(sql).await.unwrap();
        }
        let mut primary = lab.client("commerce").await;
        let mut replica = lab.client("commerce@replica").await;
        let mut target = lab.client("customer@replica").await;
        let sql = "SELECT customer.customer_id FROM customer";
        let of = async |client: &mut mysql_async::Conn| -> Vec<u64> {
            let prepared: Vec<u64> = client.exec(sql, ()).await.unwrap();
            assert_eq!(prepared, client.query::<u64, _>(sql).await.unwrap());
            prepared
        };
        // As a MoveTables begins.
        let begun = [
            ("customer", "commerce.customer"),
            ("customer.customer", "commerce.customer"),
        ];
        moving.write(Txn::new().then(moving.rules(&begun))).await;
        assert_eq!(of(&mut primary).await, [100]);
        assert_eq!(of(&mut replica).await, [101]);
        assert_eq!(of(&mut target).await, [101]);
        let mut reads = begun.to_vec();
        reads.extend([
            ("commerce.customer@replica", "customer.customer"),
            ("customer.customer@replica", "customer.customer"),
            ("customer@replica", "customer.customer"),
        ]);
        moving.write(Txn::new().then(moving.rules(&reads))).await;
        assert_eq!(of(&mut primary).await, [100]);
        assert_eq!(of(&mut replica).await, [201]);
        assert_eq!(of(&mut target).await, [201]);
        let shown: Vec<Row> = primary.query("SHOW VITESS_ROUTING_RULES").await.unwrap();
        assert_eq!(shown.len(), 5);
        let (from, to): (String, String) = primary
            .query_first("SHOW VSCHEMA ROUTING RULES LIKE 'commerce%'")
            .await
            .unwrap()
            .unwrap();
        assert_eq!(from, "commerce.customer@replica");
        assert_eq!(to, "customer.customer");

        moving.write(Txn::new().then(moving.all_to("customer"))).await;
        assert_eq!(of(&mut primary).await, [200]);
        assert_eq!(of(&mut replica).await, [201]);
        // Names in the text follow.
        let named: Vec<u64> = primary
            .query("SELECT commerce.customer.customer_id FROM customer WHERE commerce.customer.email = 'here'")
            .await
            .unwrap();
        assert_eq!(named, [200]);

        // A session by shard is sent where it says, with no rules.
        let mut shard = lab.client("commerce/0").await;
        assert_eq!(of(&mut shard).await, [100]);

        // Completed: no rules, and the source's table is gone.
        let mut admin = lab.admin(100, "commerce").await;
        admin.query_drop("DROP TABLE customer").await.unwrap();
        moving.write(Txn::new().then(moving.rules(&[]))).await;
        let (code, message) = error(
            primary
                .query_drop("SELECT * FROM commerce.customer")
                .await,
        );
        assert_eq!(code, 1146);
        let place = "(keyspace commerce, shard 0, tablet zone1-0000000100)";
        assert!(message.contains(place), "{message}");
        let prepared = error(
            primary
                .exec_drop("SELECT * FROM commerce.customer WHERE customer_id = ?", (1,))
                .await,
        );
        assert_eq!(prepared, (code, message));
    })
    .await;
}

#[tokio::test]
async fn shards_serve_by_tablet_type_while_they_are_split() {
    on_each("shards_serve_by_tablet_type", async |moving| {
        let lab = moving.lab.clone();
        for uid in [200, 201, 300, 400] {
            let mut admin = lab.admin(uid, "customer").await;
            let sql = format!("INSERT INTO customer VALUES ({uid}, 'here')");
            admin.query_drop(sql).await.unwrap();
        }
        // The new shards' tablets are no primaries yet.
        let mut source = shard_record("customer", "0", 200, true);
        let mut low = shard_record("customer", "-80", 0, false);
        let mut high = shard_record("customer", "80-", 0, false);
        source.serving_reads.insert(TabletType::Replica, false);
        low.serving_reads.insert(TabletType::Replica, true);
        high.serving_reads.insert(TabletType::Replica, true);
        let switch = Txn::new()
            .then(moving.shard_op(&source))
            .then(moving.shard_op(&low))
            .then(moving.shard_op(&high));
        moving.write(switch).await;
        let all = async |target: &str| -> Vec<u64> {
            let mut client = lab.client(target).await;
            let sql = "SELECT customer_id FROM customer";
            let mut ids: Vec<u64> = client.query(sql).await.unwrap();
            ids.sort_unstable();
            ids
        };
        assert_eq!(all("customer").await, [200]);
        assert_eq!(all("customer/0").await, [200]);
        assert_eq!(all("customer@replica").await, [300, 400]);
        assert_eq!(all("customer/-80@replica").await, [300]);
        let unknown = mysql_async::Conn::new(lab.options("customer/0@replica")).await;
        assert_eq!(error(unknown).0, 1049);
    })
    .await;
}
