//! Reads that are under way on a shard while it is deleted.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mysql_async::prelude::Queryable as _;
use vtplan_state::model::{CellName, TabletAlias, TabletRecord};
use vtplan_state::store::{Op, Txn};

use super::super::lab::shard_record;
use super::{Moving, on_each};

/// Ends the gates' connections to a server, as when it is stopped.
async fn cut(moving: &Moving, uid: u32) {
    let mut admin = moving.lab.admin(uid, "customer").await;
    let sql = "SELECT id FROM information_schema.processlist WHERE user = 'vt_gate'";
    let threads: Vec<u64> = admin.query(sql).await.unwrap();
    for thread in threads {
        // It may have ended by itself.
        let _ = admin.query_drop(format!("KILL {thread}")).await;
    }
}

#[tokio::test]
async fn reads_go_on_while_the_shard_they_are_on_is_deleted() {
    on_each("reads_go_on_while_the_shard", async |moving| {
        for (uid, ids) in [
            (200, "(1, 'a'), (8, 'b')"),
            (300, "(8, 'b')"),
            (400, "(1, 'a')"),
        ] {
            let mut admin = moving.lab.admin(uid, "customer").await;
            let sql = format!("INSERT INTO customer VALUES {ids}");
            admin.query_drop(sql).await.unwrap();
        }
        let stop = Arc::new(AtomicBool::new(false));
        let clients: Vec<_> = (0..6usize)
            .map(|number| {
                let (lab, stop) = (moving.lab.clone(), stop.clone());
                tokio::spawn(async move {
                    let mut client = lab.client_of(number % 2, "customer").await;
                    let mut reads = 0;
                    while !stop.load(Ordering::Relaxed) {
                        let pause = ["0", "0.01", "0.05"][number % 3];
                        let one = format!(
                            "SELECT email, SLEEP({pause}) FROM customer WHERE customer_id = ?"
                        );
                        let row: Option<(String, i64)> = match number {
                            0..3 => client.exec_first(one, (8,)).await.unwrap(),
                            _ => client.query_first(one.replace('?', "8")).await.unwrap(),
                        };
                        assert_eq!(row, Some(("b".to_owned(), 0)));
                        let all = format!("SELECT customer_id, SLEEP({pause}) FROM customer");
                        let mut rows: Vec<(u64, i64)> = client.query(all).await.unwrap();
                        rows.sort_unstable();
                        assert_eq!(rows, [(1, 0), (8, 0)]);
                        reads += 1;
                    }
                    reads
                })
            })
            .collect();
        let serve = |whole: bool| {
            Txn::new()
                .then(moving.shard_op(&shard_record("customer", "0", 200, whole)))
                .then(moving.shard_op(&shard_record("customer", "-80", 300, !whole)))
                .then(moving.shard_op(&shard_record("customer", "80-", 400, !whole)))
        };
        let alias = |uid| TabletAlias::new(CellName::new("zone1").unwrap(), uid);
        for whole in [false, true, false, true] {
            tokio::time::sleep(std::time::Duration::from_millis(60)).await;
            moving.write(serve(whole)).await;
            // The other side is deleted, records first.
            let gone: &[u32] = if whole { &[300, 400] } else { &[200] };
            let (mut delete, mut create) = (Txn::new(), Txn::new());
            for uid in gone {
                let key = moving.keys.tablet(&alias(*uid));
                let entry = moving.lab.store.get(&key).await.unwrap().unwrap();
                create = create.then(Op::put(&*key, &entry.json::<TabletRecord>().unwrap()));
                delete = delete.then(Op::delete(key));
            }
            moving.write(delete).await;
            for uid in gone {
                cut(&moving, *uid).await;
            }
            moving.write(create).await;
        }
        stop.store(true, Ordering::Relaxed);
        for client in clients {
            assert!(client.await.unwrap() > 0);
        }
    })
    .await;
}
