//! Streams on real servers: rows are copied and followed while they change, through every kind of
//! end of a stream.

#[path = "../common/mod.rs"]
mod common;
mod lab;

use std::time::Duration;

use common::flavors;
use lab::{Move, Writer, fill};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};

const ONE: &[lab::Shard] = &[("-", &[100, 101])];
const TWO: &[lab::Shard] = &[("-80", &[200]), ("80-", &[300])];

fn cids() -> Vec<i64> {
    (1..200).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_is_split_while_its_rows_change_and_its_stream_is_taken_over() {
    for flavor in flavors() {
        println!("on {}", flavor.0);
        let m = Move::new(flavor, ONE, TWO).await;
        let mut conn = m.connect(100).await;
        fill(&mut conn, &cids(), 0..20_000).await;
        let writer = Writer::start(conn, 7, cids(), 0..20_000);
        m.put_workflow().await;
        disturb(&m, "-", 10).await;
        m.wait_until_following().await;
        disturb(&m, "-", 5).await;
        let changed = writer.stop().await;
        m.catch_up().await;
        let rows = m.compare().await;
        println!("{rows} rows, {changed} changed");
        assert!(rows > 5000 && changed > 100);
        m.lab.end().await;
    }
}

/// Takes the stream's lock away, again and again.
async fn disturb(m: &Move, from: &str, times: u32) {
    let mut rng = StdRng::seed_from_u64(3);
    for _ in 0..times {
        let pause = rng.random_range(20..400);
        tokio::time::sleep(Duration::from_millis(pause)).await;
        m.break_lock(from).await;
    }
}
