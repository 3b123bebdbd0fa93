//! Tables move and shards split and merge while an application writes: no statement of it fails, and
//! every row is where and what it must be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysql_async::Pool;
use vtplan_tests::lab::Lab;
use vtplan_tests::servers::Server;
use vtplan_tests::writer::{Habits, Item, TABLE, Writer, Written, read_all};

/// A cluster with `item` in keyspace `shop`, unsharded, or in keyspace `store` with these shards.
fn spec(lab: &Lab, name: &str, place: Place, tablets: &str) -> String {
    let schema = lab.write("item.sql", &format!("{TABLE};\n"));
    let other = lab.write(
        "other.sql",
        "create table other (id bigint primary key, n bigint);\n",
    );
    let durability = if tablets.contains("replica: 1") {
        "none"
    } else {
        "semi_sync"
    };
    let mut text = format!(
        "vtplan: 1
cluster: shop
cells: [zone1]
users: {{ app: {{ password_env: VTPLAN_APP_PASSWORD }} }}
gates: {{ zone1: {{ count: 1 }} }}
changes: {{ vdiff: required, max_write_pause: 5s }}
keyspaces:
  shop:
    shards: 1
    durability: {durability}
    tablets: {{ zone1: {{ {tablets} }} }}
"
    );
    let sharded = |shards: &str| {
        format!(
            "  store:
    shards: [{shards}]
    sharded: true
    durability: {durability}
    tablets: {{ zone1: {{ {tablets} }} }}
    schema: {schema}
    vindexes: {{ xxhash: {{ type: xxhash }} }}
    tables: {{ item: {{ vindexes: [{{ column: owner, name: xxhash }}] }} }}
"
        )
    };
    match place {
        Place::Shop => {
            let both = lab.write(
                "both.sql",
                &format!("{TABLE};\ncreate table other (id bigint primary key, n bigint);\n"),
            );
            text += &format!("    schema: {both}\n    tables: {{ item: , other: }}\n");
        }
        Place::Store(shards) => {
            text += &format!("    schema: {other}\n    tables: {{ other: }}\n");
            text += &sharded(shards);
        }
        Place::StoreUnsharded => {
            text += &format!("    schema: {other}\n    tables: {{ other: }}\n");
            text += &format!(
                "  store:
    shards: 1
    durability: {durability}
    tablets: {{ zone1: {{ {tablets} }} }}
    schema: {schema}
    tables: {{ item: }}
"
            );
        }
    }
    lab.write(name, &text)
}

#[derive(Clone, Copy)]
enum Place {
    Shop,
    StoreUnsharded,
    Store(&'static str),
}

fn habits(table: &str, may_change_owner: bool) -> Habits {
    Habits {
        clients: 3,
        may_change_owner: Arc::new(AtomicBool::new(may_change_owner)),
        table: table.to_owned(),
        pause: Duration::from_millis(2),
    }
}

/// All rows, shard by shard, each asked alone, so that a row on two shards is noticed.
async fn rows_of(lab: &Lab, keyspace: &str, shards: &str) -> BTreeMap<i64, Item> {
    let mut all = BTreeMap::new();
    for shard in shards.split(", ") {
        let pool = lab.client("zone1", &format!("{keyspace}/{shard}"));
        let rows = read_all(&pool, "item").await.expect(shard);
        let _ = pool.disconnect().await;
        assert!(!rows.is_empty(), "shard {shard} got no rows");
        for (id, item) in rows {
            assert!(
                all.insert(id, item).is_none(),
                "row {id} is on two shards, {shard} is one of them"
            );
        }
    }
    all
}

async fn check(written: &Written, found: &BTreeMap<i64, Item>, what: &str) {
    assert!(
        written.failures.is_empty(),
        "{what}: {} of {} operations failed, first: {:#?}",
        written.failures.len(),
        written.operations,
        &written.failures[..written.failures.len().min(5)]
    );
    let differences = written.differences(found);
    assert!(
        differences.is_empty(),
        "{what}: {} rows differ: {:#?}",
        differences.len(),
        &differences[..differences.len().min(5)]
    );
    eprintln!(
        "{what}: {} operations, {} rows, the slowest took {:?}",
        written.operations,
        found.len(),
        written.longest
    );
}

const APPLY: [&str; 2] = ["--auto-approve", "--approve-destructive"];

fn apply(lab: &Lab, spec: &str) {
    let args = [&["apply", spec][..], &APPLY].concat();
    lab.run(&args).expect(0);
    let again = lab.run(&["plan", spec, "--detailed-exitcode"]).expect(0);
    assert!(again.stdout.contains("No changes"), "{}", again.stdout);
}

/// Runs `apply` beside the writer.
async fn apply_beside(lab: &Lab, spec: &str) {
    tokio::task::block_in_place(|| apply(lab, spec));
}

async fn warm_up(pool: &Pool, habits: &Habits, seed: u64) -> Written {
    let writer = Writer::start(pool, habits.clone(), seed);
    tokio::time::sleep(Duration::from_secs(3)).await;
    let written = writer.finish().await;
    assert!(written.failures.is_empty(), "{:?}", written.failures);
    written
}

/// MoveTables, then 1→2, 2→4, 4→2 and an uneven N→M, all under the writer.
async fn data_moves_under_a_random_writer(server: Server, seed: u64) {
    let mut lab = Lab::new("shop", server);
    lab.start_agent("host1", "zone1");
    let tablets = "replica: 1";
    let begin = spec(&lab, "begin.yaml", Place::Shop, tablets);
    apply(&lab, &begin);
    lab.start_gate("zone1");

    // Without a keyspace, and the table without one: it is the cluster's only `item` all the time.
    let pool = lab.client("zone1", "");
    let habits = habits("item", true);
    let before = warm_up(&pool, &habits, seed).await;

    let writer = Writer::go_on(&pool, habits.clone(), seed + 1, before.rows);
    let moved = spec(&lab, "moved.yaml", Place::StoreUnsharded, tablets);
    apply_beside(&lab, &moved).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let written = writer.finish().await;
    let found = rows_of(&lab, "store", "0").await;
    check(&written, &found, "MoveTables").await;

    habits.may_change_owner.store(false, Ordering::Relaxed);
    let mut rows = written.rows;
    let stages = [
        "-80, 80-",
        "-40, 40-80, 80-c0, c0-",
        "-80, 80-",
        "-55, 55-aa, aa-",
    ];
    for (number, shards) in stages.iter().enumerate() {
        let what = format!("reshard to {shards}");
        let writer = Writer::go_on(&pool, habits.clone(), seed + 2 + number as u64, rows);
        let name = format!("stage-{number}.yaml");
        let next = spec(&lab, &name, Place::Store(shards), tablets);
        apply_beside(&lab, &next).await;
        tokio::time::sleep(Duration::from_millis(500)).await;
        let written = writer.finish().await;
        let found = rows_of(&lab, "store", shards).await;
        check(&written, &found, &what).await;
        rows = written.rows;
    }
    let _ = pool.disconnect().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_statement_fails_and_no_row_is_lost_while_data_moves_on_mariadb() {
    data_moves_under_a_random_writer(Server::MariaDb, 1).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn no_statement_fails_and_no_row_is_lost_while_data_moves_on_mysql() {
    let name = "no_statement_fails_and_no_row_is_lost_while_data_moves_on_mysql";
    let Some(server) = Server::mysql(name) else {
        return;
    };
    data_moves_under_a_random_writer(server, 2).await;
}
