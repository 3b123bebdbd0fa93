//! Rows that wait for a row of another shard to leave their place: they outlive whoever parked them,
//! and no position counts as reached meanwhile.

use std::time::{Duration, Instant};

use crate::common::flavors;
use crate::lab::{Move, Shard};

const FROM: &[Shard] = &[("-80", &[200]), ("80-", &[300])];
const TO: &[Shard] = &[("-", &[100])];
const TARGET: u32 = 100;

/// Asks a stream to stand still at a position (`''`: at once), or to go on (`NULL`).
async fn stop(m: &Move, from: &str, at: &str) {
    let statement = format!(
        "UPDATE _vt.vreplication SET stop_at = {at}, \
         stop_until = UNIX_TIMESTAMP(NOW(3)) * 1000 + 600000 WHERE source_shard = '{from}'"
    );
    m.run(TARGET, &statement).await;
}

async fn of_stream(m: &Move, from: &str, what: &str) -> String {
    let query = format!("SELECT {what} FROM _vt.vreplication WHERE source_shard = '{from}'");
    m.value(TARGET, &query).await
}

async fn wait_for(m: &Move, from: &str, what: &str, value: &str) {
    let give_up = Instant::now() + Duration::from_secs(60);
    loop {
        let now = of_stream(m, from, what).await;
        if now == value {
            return;
        }
        assert!(
            Instant::now() < give_up,
            "{what} of {from} is {now}, not {value}: {:#?}",
            m.streams().await
        );
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Changes the row that is parked, waits until its stream has done so, and sees that it is parked still.
async fn change(m: &Move, amount: u32) {
    m.run(
        200,
        &format!("UPDATE orders SET amount = {amount} WHERE id = 7"),
    )
    .await;
    let position = m.position(200).await;
    m.wait_for_pos("-80", TARGET, &position).await;
    assert_eq!(of_stream(m, "-80", "parked").await, "1");
    let there = m.value(TARGET, "SELECT amount FROM orders WHERE id = 7");
    assert_eq!(there.await, "0.00", "the other shard's row is in its place");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_parked_row_outlives_its_stream_its_server_and_its_agent() {
    for flavor in flavors() {
        println!("on {}", flavor.0);
        let mut m = Move::new(flavor, FROM, TO).await;
        let (left, right) = (m.cids("-80")[0], m.cids("80-")[0]);
        for id in [7, 8] {
            let row = format!("INSERT INTO orders VALUES ({id}, {right}, 'e{id}', 0, NULL, '')");
            m.run(300, &row).await;
        }
        m.put_workflow().await;
        m.wait_until_following().await;

        // Both rows go to the other shard, and are not gone from the first one yet.
        for id in [7, 8] {
            let row = format!("INSERT INTO orders VALUES ({id}, {left}, 'e{id}', 1, NULL, '')");
            m.run(200, &row).await;
        }
        wait_for(&m, "-80", "parked", "2").await;
        m.run(200, "DELETE FROM orders WHERE id = 8").await;
        wait_for(&m, "-80", "parked", "1").await;

        change(&m, 2).await;
        m.break_lock("-80").await;
        change(&m, 3).await;
        super::kill_server(&m, TARGET);
        change(&m, 4).await;
        m.lab.stop_agent().await;
        m.lab.start().await;
        change(&m, 5).await;

        // A comparison, or a switch, that waits for this position is not told that it is reached.
        let position = m.position(200).await;
        stop(&m, "-80", &format!("'{position}'")).await;
        tokio::time::sleep(Duration::from_millis(300)).await;
        assert_eq!(of_stream(&m, "-80", "state").await, "following");

        m.run(300, "DELETE FROM orders").await;
        wait_for(&m, "-80", "state", "stopped").await;
        assert_eq!(of_stream(&m, "-80", "parked").await, "0");
        let rows = "SELECT GROUP_CONCAT(id, ':', cid, ':', amount) FROM orders";
        assert_eq!(m.value(TARGET, rows).await, format!("7:{left}:5.00"));
        stop(&m, "-80", "NULL").await;
        m.catch_up().await;
        assert_eq!(m.compare().await, 1);
        m.end().await;
    }
}
