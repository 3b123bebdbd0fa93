//! Streams on real servers: rows are copied and followed while they change, through every kind of
//! end of a stream, of a server and of a person's patience.

#[path = "../common/mod.rs"]
mod common;
mod lab;
mod parked;

use std::time::Duration;

use common::flavors;
use lab::{Move, Shard, Writer, fill};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use vtplan_agent::flavor::gtid;
use vtplan_state::model::Side;

const ONE: &[Shard] = &[("-", &[100])];
const ONE_WITH_REPLICA: &[Shard] = &[("-", &[100, 101])];
const TWO: &[Shard] = &[("-80", &[200]), ("80-", &[300])];

fn cids() -> Vec<i64> {
    (1..200).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_is_split_while_its_rows_change_and_its_stream_is_taken_over() {
    for flavor in flavors() {
        println!("on {}", flavor.0);
        let m = Move::new(flavor, ONE_WITH_REPLICA, TWO).await;
        let mut conn = m.connect(100).await;
        fill(&mut conn, &cids(), 0..20_000).await;
        let writer = Writer::start(conn, 7, cids(), 0..20_000);
        m.put_workflow().await;
        disturb(&m, &["-"], 10).await;
        m.wait_until_following().await;
        disturb(&m, &["-"], 5).await;
        let changed = writer.stop_after(100).await;
        m.catch_up().await;
        let rows = m.compare().await;
        println!("{rows} rows, {changed} changed");
        assert!(rows > 5000);
        m.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn shards_are_merged_while_rows_move_between_them_and_the_target_is_killed() {
    for flavor in flavors() {
        println!("on {}", flavor.0);
        let m = Move::new(flavor, TWO, ONE).await;
        let mut writers = Vec::new();
        for ((name, uids), range) in TWO.iter().zip([0..10_000, 20_000..30_000]) {
            let mut conn = m.connect(uids[0]).await;
            fill(&mut conn, &m.cids(name), range.clone()).await;
            writers.push(Writer::start(conn, 5, m.cids(name), range));
        }
        let mover = tokio::spawn(move_rows(
            m.connect(200).await,
            m.connect(300).await,
            (m.cids("-80")[0], m.cids("80-")[0]),
        ));
        let swapper = tokio::spawn(swap_rows(
            m.connect(200).await,
            m.connect(300).await,
            (m.cids("-80")[1], m.cids("80-")[1]),
        ));
        m.put_workflow().await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        kill_server(&m, 100);
        disturb(&m, &["-80", "80-"], 4).await;
        m.wait_until_following().await;
        kill_server(&m, 100);
        disturb(&m, &["-80", "80-"], 3).await;
        mover.await.unwrap();
        swapper.await.unwrap();
        for writer in writers {
            writer.stop_after(50).await;
        }
        m.catch_up().await;
        assert!(m.compare().await > 5000);
        m.end().await;
    }
}

/// Rows go to and fro between two shards, always with the same keys.
async fn move_rows(mut a: Conn, mut b: Conn, (cid_a, cid_b): (i64, i64)) {
    for round in 0..300 {
        let id = 50_000 + round % 7;
        let (from, to, cid) = match round / 7 % 2 {
            0 => (&mut a, &mut b, cid_b),
            _ => (&mut b, &mut a, cid_a),
        };
        let delete = format!("DELETE FROM orders WHERE id = {id}");
        from.query_drop(delete).await.unwrap();
        let insert =
            format!("INSERT INTO orders VALUES ({id}, {cid}, 'm{id}', {round}, NULL, 'm')");
        to.query_drop(insert).await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

/// Two rows change places between two shards, again and again, in one transaction on each.
async fn swap_rows(mut a: Conn, mut b: Conn, (cid_a, cid_b): (i64, i64)) {
    let row = |id: i64, cid: i64| {
        format!("INSERT INTO orders VALUES ({id}, {cid}, 's{id}', {cid}, NULL, 's')")
    };
    a.query_drop(row(60_000, cid_a)).await.unwrap();
    b.query_drop(row(60_001, cid_b)).await.unwrap();
    for round in 0..201 {
        let (left, right) = (60_000 + round % 2, 60_001 - round % 2);
        let halves = [(&mut a, left, right, cid_a), (&mut b, right, left, cid_b)];
        for (conn, goes, comes, cid) in halves {
            conn.query_drop("BEGIN").await.unwrap();
            let delete = format!("DELETE FROM orders WHERE id = {goes}");
            conn.query_drop(delete).await.unwrap();
            conn.query_drop(row(comes, cid)).await.unwrap();
        }
        a.query_drop("COMMIT").await.unwrap();
        b.query_drop("COMMIT").await.unwrap();
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_source_may_fail_over_while_it_is_copied() {
    for flavor in flavors() {
        println!("on {}", flavor.0);
        let m = Move::new(flavor, ONE_WITH_REPLICA, TWO).await;
        let mut conn = m.connect(100).await;
        fill(&mut conn, &cids(), 0..20_000).await;
        let writer = Writer::start(conn, 11, cids(), 0..20_000);
        m.put_workflow().await;
        tokio::time::sleep(Duration::from_millis(200)).await;
        writer.stop_after(0).await;
        let position = m.position(100).await;
        while !gtid::contains(&m.position(101).await, &position) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        m.put_shard("-", 101, 2, true).await;
        let conn = m.connect_when_primary(101).await;
        let writer = Writer::start(conn, 12, cids(), 0..20_000);
        kill_server(&m, 100);
        m.wait_until_following().await;
        disturb(&m, &["-"], 3).await;
        writer.stop_after(0).await;
        m.catch_up().await;
        assert!(m.compare().await > 5000);
        m.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_target_may_be_of_the_other_flavor() {
    let mut flavors = flavors();
    let (Some(mysql), Some(mariadb)) = (flavors.pop(), flavors.pop()) else {
        return;
    };
    for (from, to) in [(mysql.clone(), mariadb.clone()), (mariadb, mysql)] {
        println!("from {} to {}", from.0, to.0);
        let m = Move::between(from, Some(to), ONE, TWO).await;
        let mut conn = m.connect(100).await;
        fill(&mut conn, &cids(), 0..10_000).await;
        let writer = Writer::start(conn, 13, cids(), 0..10_000);
        m.put_workflow().await;
        disturb(&m, &["-"], 5).await;
        m.wait_until_following().await;
        disturb(&m, &["-"], 3).await;
        writer.stop_after(100).await;
        m.catch_up().await;
        assert!(m.compare().await > 2000);
        m.end().await;
    }
}

/// What cannot be is told with table and key, stands until somebody acts, and goes on then.
#[tokio::test(flavor = "multi_thread")]
async fn what_a_person_has_to_mend_is_said_and_waited_for() {
    for flavor in flavors() {
        println!("on {}", flavor.0);
        let m = Move::new(flavor, ONE, TWO).await;
        for uid in [100, 200, 300] {
            m.run(uid, "ALTER TABLE notes MODIFY cid bigint NULL").await;
        }
        m.run(
            100,
            "INSERT INTO notes VALUES ('a', 1, 5, 'x'), ('nobody', 2, NULL, 'x')",
        )
        .await;
        m.run(300, "INSERT INTO orders VALUES (1, 1, NULL, 1, NULL, '')")
            .await;
        m.run(200, "ALTER TABLE orders MODIFY email varchar(10)")
            .await;
        m.put_workflow().await;

        let told = m.error().await;
        assert!(
            told.contains("`orders`") && told.contains("`email`"),
            "{told}"
        );
        assert!(told.contains("varchar(10)"), "{told}");
        m.run(200, "ALTER TABLE orders MODIFY email varchar(40)")
            .await;
        m.resume().await;

        let told = wait_for_error(&m, "not empty").await;
        assert!(
            told.contains("`orders`") && told.contains("shop/80-"),
            "{told}"
        );
        // Another agent that takes it over finds it as it is.
        m.break_lock("-").await;
        assert_eq!(wait_for_error(&m, "not empty").await, told);
        m.run(300, "DELETE FROM orders").await;
        m.resume().await;

        let told = wait_for_error(&m, "NULL").await;
        assert!(
            told.contains("`notes`") && told.contains("name=nobody, n=2"),
            "{told}"
        );
        m.run(100, "UPDATE notes SET cid = 6 WHERE n = 2").await;
        m.resume().await;
        m.wait_until_following().await;

        // A row that is in the way on the target.
        let cid = m.cids("-80")[0];
        m.run(
            200,
            "INSERT INTO orders VALUES (77, 1, 'in the way', 1, NULL, '')",
        )
        .await;
        m.run(
            100,
            &format!("INSERT INTO orders VALUES (77, {cid}, NULL, 1, NULL, '')"),
        )
        .await;
        let told = wait_for_error(&m, "77").await;
        assert!(told.contains("`orders`") && told.contains("-80"), "{told}");
        m.run(200, "DELETE FROM orders WHERE id = 77").await;
        m.resume().await;
        m.catch_up().await;
        m.compare().await;

        m.run(100, "ALTER TABLE notes ADD COLUMN more int").await;
        let told = wait_for_error(&m, "ALTER TABLE").await;
        assert!(told.contains("`notes`"), "{told}");
        m.end().await;
    }
}

async fn wait_for_error(m: &Move, part: &str) -> String {
    let what = format!("no error about {part}");
    let streams = m
        .wait_for_streams(&what, |s| s.state == "error" && s.message.contains(part))
        .await;
    streams[0].message.clone()
}

#[tokio::test(flavor = "multi_thread")]
async fn streams_stop_where_they_are_told_and_turn() {
    for flavor in flavors() {
        println!("on {}", flavor.0);
        let mut m = Move::new(flavor, ONE, TWO).await;
        let mut conn = m.connect(100).await;
        fill(&mut conn, &cids(), 0..1000).await;
        m.put_workflow().await;
        m.wait_until_following().await;

        stop_at(&m, &mut conn).await;

        // Paused by hand, and resumed.
        m.record.paused = true;
        m.put_workflow().await;
        m.wait_for_streams("it is not paused", |s| s.state == "stopped")
            .await;
        conn.query_drop("DELETE FROM orders WHERE id < 100")
            .await
            .unwrap();
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(
            m.value(200, "SELECT COUNT(*) > 0 FROM orders WHERE id < 100")
                .await,
            "1"
        );
        m.record.paused = false;
        m.put_workflow().await;
        m.catch_up().await;
        m.compare().await;

        long_transaction(&mut conn).await;
        m.catch_up().await;
        m.compare().await;

        // The other way round.
        m.record.streams.running = false;
        m.put_workflow().await;
        m.wait_for_streams("it is not stopped", |s| s.state == "stopped")
            .await;
        let mut reverse = Vec::new();
        for (name, uids) in TWO {
            reverse.push((lab::shard(name), m.position(uids[0]).await));
        }
        m.record.streams.epoch = 2;
        m.record.streams.from = Side::Target;
        m.record.streams.start = reverse.into_iter().collect();
        m.record.streams.running = true;
        std::mem::swap(&mut m.from, &mut m.to);
        m.put_workflow().await;
        m.wait_until_following().await;
        assert_eq!(
            m.value(200, "SELECT sealed FROM _vt.vreplication WHERE epoch = 1")
                .await,
            "1"
        );
        let writers = TWO
            .iter()
            .zip([3000..3500, 5000..5500])
            .map(|((name, uids), range)| {
                let cids = m.cids(name);
                let m = &m;
                async move { Writer::start(m.connect(uids[0]).await, 21, cids, range) }
            });
        let writers = futures::future::join_all(writers).await;
        tokio::time::sleep(Duration::from_millis(700)).await;
        for writer in writers {
            writer.stop_after(0).await;
        }
        m.catch_up().await;
        assert!(m.compare().await > 100);
        m.end().await;
    }
}

/// One that the source's reader gives in parts.
async fn long_transaction(conn: &mut Conn) {
    conn.query_drop("BEGIN").await.unwrap();
    for id in 100_000..100_400 {
        let cid = 1 + id % 199;
        conn.query_drop(format!(
            "INSERT INTO orders VALUES ({id}, {cid}, '{id}@x', 1, NULL, REPEAT('0123456789', 6000))"
        ))
        .await
        .unwrap();
    }
    // Servers log that they went back only where something else in the transaction cannot be undone.
    conn.query_drop("SAVEPOINT a; CREATE TEMPORARY TABLE t (i int)")
        .await
        .unwrap();
    for id in 100_400..100_800 {
        if id % 100 == 0 {
            conn.query_drop("SAVEPOINT b").await.unwrap();
        }
        conn.query_drop(format!(
            "INSERT INTO orders VALUES ({id}, {}, NULL, 1, NULL, REPEAT('9876543210', 6000))",
            1 + id % 199
        ))
        .await
        .unwrap();
        if id == 100_650 {
            conn.query_drop("ROLLBACK TO b").await.unwrap();
        }
    }
    conn.query_drop("ROLLBACK TO a; DROP TEMPORARY TABLE t")
        .await
        .unwrap();
    // What the first part brought changes in the last.
    conn.query_drop("UPDATE orders SET amount = 2, body = '' WHERE id BETWEEN 100000 AND 100010")
        .await
        .unwrap();
    conn.query_drop("COMMIT").await.unwrap();
}

/// `_vt.vreplication.stop_at`, as comparisons use it.
async fn stop_at(m: &Move, source: &mut Conn) {
    let set = |to: &str, for_ms: u32| {
        format!(
            "UPDATE _vt.vreplication SET stop_at = {to}, stop_until = UNIX_TIMESTAMP(NOW(3)) * 1000 + {for_ms}"
        )
    };
    let all_stopped = async || {
        for uid in [200, 300] {
            let query = "SELECT state FROM _vt.vreplication";
            while m.value(uid, query).await != "stopped" {
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        }
    };
    for uid in [200, 300] {
        m.run(uid, &set("''", 60_000)).await;
    }
    all_stopped().await;
    source
        .query_drop("UPDATE orders SET amount = 1")
        .await
        .unwrap();
    let position = m.position(100).await;
    source
        .query_drop("UPDATE orders SET amount = 2")
        .await
        .unwrap();
    for uid in [200, 300] {
        m.run(uid, &set(&format!("'{position}'"), 60_000)).await;
    }
    for uid in [200, 300] {
        let query = "SELECT pos FROM _vt.vreplication WHERE state = 'stopped'";
        while !gtid::contains(&m.value(uid, query).await, &position) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let pos = m.value(uid, query).await;
        assert!(
            gtid::contains(&position, &pos),
            "{pos} is beyond {position}"
        );
        let query = "SELECT COUNT(*) = SUM(amount = 1) FROM orders";
        assert_eq!(m.value(uid, query).await, "1");
    }
    // It does not wait for ever for somebody who has gone.
    for uid in [200, 300] {
        m.run(uid, &set(&format!("'{position}'"), 300)).await;
    }
    m.catch_up().await;
    m.wait_until_following().await;
    m.compare().await;
}

/// Ends a server as a power cut does; its agent starts it again.
fn kill_server(m: &Move, uid: u32) {
    kill(Pid::from_raw(m.lab.pid(uid)), Signal::SIGKILL).unwrap();
}

/// Takes streams' locks away, again and again.
async fn disturb(m: &Move, from: &[&str], times: u32) {
    let mut rng = StdRng::seed_from_u64(3);
    for _ in 0..times {
        let pause = rng.random_range(20..400);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        m.break_lock(from[rng.random_range(0..from.len())]).await;
    }
}
