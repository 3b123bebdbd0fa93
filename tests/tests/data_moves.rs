//! Tables move and shards split and merge while an application writes: no statement of it fails, and
//! every row is where and what it must be.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysql_async::Pool;
use serde_json::Value;
use vtplan_tests::inside::Inside;
use vtplan_tests::lab::Lab;
use vtplan_tests::servers::Server;
use vtplan_tests::writer::{Habits, Item, TABLE, Writer, Written, read_all};

/// Moves with `item`: enough rows that the pace of their copy says something.
const BULK: &str = "create table bulk (id bigint primary key, filler varbinary(4000))";

/// A cluster with `item` and `bulk` in keyspace `shop`, unsharded, or in keyspace `store` with these shards.
fn spec(lab: &Lab, name: &str, place: Place, tablets: &str) -> String {
    let schema = lab.write("item.sql", &format!("{TABLE};\n{BULK};\n"));
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
    tables:
      item: {{ vindexes: [{{ column: owner, name: xxhash }}] }}
      bulk: {{ vindexes: [{{ column: id, name: xxhash }}] }}
"
        )
    };
    match place {
        Place::Shop => {
            let both = lab.write(
                "both.sql",
                &format!(
                    "{TABLE};\n{BULK};\ncreate table other (id bigint primary key, n bigint);\n"
                ),
            );
            text += &format!("    schema: {both}\n    tables: {{ item: , bulk: , other: }}\n");
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
    tables: {{ item: , bulk: }}
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

async fn fill_bulk(lab: &Lab) {
    for from in (0..600).step_by(100) {
        let rows = (from..from + 100).map(|id| format!("({id}, repeat('x', 4000))"));
        let rows = rows.collect::<Vec<_>>().join(", ");
        let insert = format!("insert into bulk (id, filler) values {rows}");
        let none = lab.query::<u64>("zone1", "", &insert).await;
        assert_eq!(none.expect("rows"), Vec::<u64>::new());
    }
}

/// What the plan for a spec says of its copy's rate, and of the room that it needs.
async fn check_estimates(lab: &Lab, spec: &str) {
    let plan = lab.run(&["plan", spec, "--format", "json"]).expect(0);
    let plan: Value = serde_json::from_str(&plan.stdout).expect("a plan");
    let mut steps = plan["steps"].as_array().expect("steps").iter();
    let copy = steps
        .find(|s| s["kind"] == "wait-for-copy")
        .expect("a copy");
    let rate = &copy["estimate"]["rate"];
    assert_eq!(rate["basis"], "measured", "{copy:#}");
    assert_eq!(rate["measurements"], 1, "{copy:#}");
    let disk = &plan["fit"]["disks"][0];
    let number = |field: &str| disk[field].as_u64().unwrap_or(0);
    assert!(number("free_bytes") > 0, "{disk:#}");
    assert!(number("needed_bytes") > 2 * 4000 * 600, "{disk:#}");
    let tablets = disk["needs"].as_array().expect("needs").iter();
    let mut of_tablets = tablets.filter(|n| n["cause"] == "new_tablets");
    let fresh = of_tablets.next().and_then(|n| n["bytes"].as_u64());
    eprintln!("{disk:#}\n{rate:#}");
    assert!(fresh > Some(64 << 20), "{disk:#}");

    let inside = Inside::open(lab, "shop").await;
    let rates = inside.records().await.rates;
    let [measured] = &rates.copies[..] else {
        panic!("not one copy: {rates:?}");
    };
    assert_eq!(measured.workflow, "store.shop2store");
    // Rows that are written while others are copied may be followed instead.
    assert!(measured.rows >= 600, "{measured:?}");
    assert!(measured.bytes >= 4000 * 600, "{measured:?}");
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
    fill_bulk(&lab).await;
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
        if number == 0 {
            check_estimates(&lab, &next).await;
        }
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
