//! A reverted spec leads back to the start from every phase of a move, with every row that was
//! acknowledged on the way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use vtplan_tests::lab::Lab;
use vtplan_tests::servers::Server;
use vtplan_tests::writer::{Habits, Item, TABLE, Writer, read_all};

fn spec(lab: &Lab, name: &str, keyspace: &str, shards: &str, approve: &str) -> String {
    let item = lab.write("item.sql", &format!("{TABLE};\n"));
    let tablets = "durability: none\n    tablets: { zone1: { replica: 1 } }";
    let shop = match keyspace {
        "shop" => format!("schema: {item}\n    tables: {{ item: }}"),
        _ => String::new(),
    };
    let mut text = format!(
        "vtplan: 1
cluster: shop
cells: [zone1]
users: {{ app: {{ password_env: VTPLAN_APP_PASSWORD }} }}
gates: {{ zone1: {{ count: 1 }} }}
changes: {{ vdiff: required, max_write_pause: 5s, approve: [{approve}] }}
keyspaces:
  shop:
    {tablets}
    {shop}
"
    );
    if keyspace == "store" {
        text += &format!(
            "  store:
    shards: [{shards}]
    sharded: true
    {tablets}
    schema: {item}
    vindexes: {{ xxhash: {{ type: xxhash }} }}
    tables: {{ item: {{ vindexes: [{{ column: owner, name: xxhash }}] }} }}
"
        );
    }
    lab.write(name, &text)
}

fn habits() -> Habits {
    Habits {
        clients: 2,
        may_change_owner: Arc::new(AtomicBool::new(false)),
        table: "item".into(),
        pause: Duration::from_millis(2),
    }
}

async fn rows(lab: &Lab, target: &str) -> BTreeMap<i64, Item> {
    let pool = lab.client("zone1", target);
    let rows = read_all(&pool, "item").await.expect(target);
    let _ = pool.disconnect().await;
    rows
}

const YES: [&str; 2] = ["--auto-approve", "--approve-destructive"];

fn apply(lab: &Lab, spec: &str, more: &[&str], code: i32) -> String {
    let args = [&["apply", spec][..], &YES, more].concat();
    let output = tokio::task::block_in_place(|| lab.run(&args)).expect(code);
    output.stdout + &output.stderr
}

/// MoveTables of `item` from `shop` to two shards of `store`, stopped at a point and taken back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reverted_spec_takes_a_move_of_tables_back_from_each_phase() {
    let mut lab = Lab::new("shop", Server::MariaDb);
    lab.start_agent("host1", "zone1");
    let begin = spec(&lab, "begin.yaml", "shop", "", "");
    apply(&lab, &begin, &[], 0);
    lab.start_gate("zone1");
    let pool = lab.client("zone1", "");
    let mut known = BTreeMap::new();
    let mut seed = 100;

    // Where the move stops: what is approved on the way there.
    let points: [(&str, &[&str]); 3] = [
        ("before reads are switched", &[]),
        ("before writes are switched", &["switch_reads"]),
        (
            "after writes are switched",
            &["switch_reads", "switch_writes"],
        ),
    ];
    for (what, approved) in points {
        eprintln!("back {what}");
        seed += 1;
        let writer = Writer::go_on(&pool, habits(), seed, known);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let all = "switch_reads, switch_writes, complete";
        let there = spec(&lab, "there.yaml", "store", "-80, 80-", all);
        let said = apply(&lab, &there, &[], 3);
        assert!(said.contains("switch_reads"), "what is waited for: {said}");
        for point in approved {
            apply(&lab, &there, &["--approve", point], 3);
        }
        tokio::time::sleep(Duration::from_millis(500)).await;
        apply(&lab, &begin, &[], 0);
        let plan = lab.run(&["plan", &begin, "--detailed-exitcode"]).expect(0);
        assert!(plan.stdout.contains("No changes"), "{}", plan.stdout);
        let written = writer.finish().await;
        assert!(
            written.failures.is_empty(),
            "{what}: {:#?}",
            written.failures
        );
        let found = rows(&lab, "shop").await;
        let differences = written.differences(&found);
        assert!(differences.is_empty(), "{what}: {differences:#?}");
        assert_eq!(lab.mysqld_pids().len(), 1, "the new shards are gone again");
        known = written.rows;
    }

    // After Complete it is a new move, the other way.
    let writer = Writer::go_on(&pool, habits(), seed + 1, known);
    let there = spec(&lab, "there.yaml", "store", "-80, 80-", "");
    apply(&lab, &there, &[], 0);
    apply(&lab, &begin, &[], 0);
    let written = writer.finish().await;
    assert!(written.failures.is_empty(), "{:#?}", written.failures);
    let found = rows(&lab, "shop").await;
    let differences = written.differences(&found);
    assert!(differences.is_empty(), "{differences:#?}");
    let _ = pool.disconnect().await;
}

/// A Reshard of `store` from two shards to three, stopped at a point and taken back.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_reverted_spec_takes_a_reshard_back_from_each_phase() {
    let mut lab = Lab::new("shop", Server::MariaDb);
    lab.start_agent("host1", "zone1");
    let begin = spec(&lab, "begin.yaml", "store", "-80, 80-", "");
    apply(&lab, &begin, &[], 0);
    lab.start_gate("zone1");
    let pool = lab.client("zone1", "store");
    let mut known = BTreeMap::new();
    let points: [(&str, &[&str]); 3] = [
        ("before reads are switched", &[]),
        ("before writes are switched", &["switch_reads"]),
        (
            "after writes are switched",
            &["switch_reads", "switch_writes"],
        ),
    ];
    for (number, (what, approved)) in points.into_iter().enumerate() {
        eprintln!("back {what}");
        let writer = Writer::go_on(&pool, habits(), 200 + number as u64, known);
        tokio::time::sleep(Duration::from_secs(1)).await;
        let all = "switch_reads, switch_writes, complete";
        let there = spec(&lab, "there.yaml", "store", "-40, 40-a0, a0-", all);
        apply(&lab, &there, &[], 3);
        for point in approved {
            apply(&lab, &there, &["--approve", point], 3);
        }
        apply(&lab, &begin, &[], 0);
        let plan = lab.run(&["plan", &begin, "--detailed-exitcode"]).expect(0);
        assert!(plan.stdout.contains("No changes"), "{}", plan.stdout);
        let written = writer.finish().await;
        assert!(
            written.failures.is_empty(),
            "{what}: {:#?}",
            written.failures
        );
        let mut found = rows(&lab, "store/-80").await;
        found.extend(rows(&lab, "store/80-").await);
        let differences = written.differences(&found);
        assert!(differences.is_empty(), "{what}: {differences:#?}");
        assert_eq!(lab.mysqld_pids().len(), 3, "the new shards are gone again");
        known = written.rows;
    }
    let _ = pool.disconnect().await;
}
