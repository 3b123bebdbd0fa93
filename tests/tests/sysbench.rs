//! `sysbench oltp_read_write` goes through a gate, beside the random writer, while tables move and
//! shards split and merge: no statement of either fails, and what is compared afterwards is equal.
//! `VTPLAN_SYSBENCH=all` has MySQL do all of it too.
//!
//! sysbench ends at the first statement that fails, with whatever error.

use std::collections::BTreeMap;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Row};
use vtplan_state::model::WorkflowSide;
use vtplan_tests::inside::Inside;
use vtplan_tests::lab::Lab;
use vtplan_tests::servers::{Server, skip};
use vtplan_tests::writer::{Habits, TABLE, Writer, Written, read_all};

/// Rows of sysbench's table. Many, so that its threads do not lock each other's rows crosswise.
const ROWS: u64 = 20_000;

const SBTEST: &str = "create table sbtest1 (
    id int not null primary key,
    k int not null default 0,
    c char(120) not null default '',
    pad char(60) not null default '',
    key k_1 (k)
)";

/// Where the tables are: in `shop`, or in `store` with these shards.
fn spec(lab: &Lab, name: &str, shards: Option<&str>) -> String {
    let schema = lab.write("moved.sql", &format!("{SBTEST};\n{TABLE};\n"));
    let tablets = "durability: none\n    tablets: { zone1: { replica: 1 } }";
    let both = format!("schema: {schema}\n    tables: {{ sbtest1: , item: }}");
    let mut text = format!(
        "vtplan: 1
cluster: shop
cells: [zone1]
users: {{ app: {{ password_env: VTPLAN_APP_PASSWORD }} }}
gates: {{ zone1: {{ count: 1 }} }}
changes: {{ vdiff: required, max_write_pause: 5s, approve: [complete] }}
keyspaces:
  shop:
    {tablets}
    {}
",
        if shards.is_none() { &both } else { "" }
    );
    match shards {
        None => {}
        Some("0") => text += &format!("  store:\n    {tablets}\n    {both}\n"),
        Some(shards) => {
            text += &format!(
                "  store:
    shards: [{shards}]
    sharded: true
    {tablets}
    schema: {schema}
    vindexes: {{ xxhash: {{ type: xxhash }} }}
    tables:
      sbtest1: {{ vindexes: [{{ column: id, name: xxhash }}] }}
      item: {{ vindexes: [{{ column: owner, name: xxhash }}] }}
"
            );
        }
    }
    lab.write(name, &text)
}

/// sysbench, run again and again.
struct Sysbench {
    stop: Arc<AtomicBool>,
    task: tokio::task::JoinHandle<Vec<String>>,
}

impl Sysbench {
    fn start(lab: &Lab, more: &'static [&'static str]) -> Sysbench {
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let port = lab.gates["zone1"].mysql_port;
        let password = lab.env["VTPLAN_APP_PASSWORD"].clone();
        let task = tokio::task::spawn_blocking(move || {
            let mut outputs = Vec::new();
            while !stopped.load(Ordering::Relaxed) {
                let output = Command::new("sysbench")
                    .args(["oltp_read_write", "--mysql-host=127.0.0.1"])
                    .arg(format!("--mysql-port={port}"))
                    .arg("--mysql-user=app")
                    .arg(format!("--mysql-password={password}"))
                    .args(["--mysql-db=", "--mysql-ignore-errors="])
                    .args(["--tables=1", &format!("--table-size={ROWS}")])
                    .args(["--rand-type=uniform", "--threads=2", "--time=4"])
                    .args(more)
                    .arg("run")
                    .output()
                    .expect("sysbench runs");
                let said = String::from_utf8_lossy(&output.stdout).into_owned();
                let errors = String::from_utf8_lossy(&output.stderr).into_owned();
                assert!(
                    output.status.success(),
                    "{}\n{said}\n{errors}",
                    output.status
                );
                outputs.push(said);
            }
            outputs
        });
        Sysbench { stop, task }
    }

    /// The transactions that it made, all of them without an error.
    async fn finish(self) -> u64 {
        self.stop.store(true, Ordering::Relaxed);
        let outputs = self.task.await.expect("sysbench ended with an error");
        let mut transactions = 0;
        for output in &outputs {
            assert_eq!(figure(output, "ignored errors:"), 0, "{output}");
            assert_eq!(figure(output, "reconnects:"), 0, "{output}");
            transactions += figure(output, "transactions:");
        }
        transactions
    }
}

/// The number after a word of sysbench's report.
#[track_caller]
fn figure(output: &str, word: &str) -> u64 {
    let line = output
        .lines()
        .find_map(|line| line.trim().strip_prefix(word));
    let number = line.and_then(|rest| rest.split_whitespace().next());
    let number = number.unwrap_or_else(|| panic!("no `{word}` in:\n{output}"));
    number.parse().expect("a number")
}

/// All rows of a table on one server, each as text, by its key.
async fn rows_on(conn: &mut Conn, table: &str) -> BTreeMap<i64, String> {
    let rows: Vec<Row> = conn
        .query(format!("select * from {table} order by id"))
        .await
        .expect("all rows");
    let text = |row: Row| {
        let id: i64 = row.get(0).expect("a key");
        (id, format!("{:?}", row.unwrap()))
    };
    rows.into_iter().map(text).collect()
}

/// All rows of a table on the shards of one side of each workflow, each as text.
async fn rows_of(inside: &Inside, sides: &[WorkflowSide], table: &str) -> BTreeMap<i64, String> {
    let mut all = BTreeMap::new();
    for side in sides {
        for shard in &side.shards {
            let (keyspace, shard) = (side.keyspace.as_str(), shard.to_string());
            let mut conn = inside.on_primary(keyspace, &shard).await;
            for (id, row) in rows_on(&mut conn, table).await {
                let before = all.insert(id, row);
                assert_eq!(before, None, "row {id} of {table} is there twice");
            }
        }
    }
    all
}

/// What two sides have, once streams have brought the last writes over. Several workflows may each
/// have a part of the table.
async fn assert_sides_are_equal(inside: &Inside) {
    let records = inside.records().await;
    let sources: Vec<_> = records.all_workflows().map(|w| w.source.clone()).collect();
    let targets: Vec<_> = records.all_workflows().map(|w| w.target.clone()).collect();
    for table in ["sbtest1", "item"] {
        let mut sides = [BTreeMap::new(), BTreeMap::new()];
        for _ in 0..100 {
            sides = [
                rows_of(inside, &sources, table).await,
                rows_of(inside, &targets, table).await,
            ];
            if sides[0] == sides[1] {
                break;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let differ = |id: &&i64| sides[0].get(id) != sides[1].get(id);
        let differing: Vec<_> = (sides[0].keys().chain(sides[1].keys()))
            .filter(differ)
            .take(5)
            .map(|id| (id, sides[0].get(id), sides[1].get(id)))
            .collect();
        assert!(differing.is_empty(), "{table}: {differing:#?}");
        if table == "sbtest1" {
            assert_eq!(sides[0].len() as u64, ROWS, "{table}");
        }
    }
}

/// Applies a spec under the load up to the completion, compares, and completes.
async fn step(lab: &Lab, spec: &str, load: (Sysbench, Writer), what: &str) -> Written {
    let args = ["apply", spec, "--auto-approve", "--approve-destructive"];
    tokio::task::block_in_place(|| lab.run(&args)).expect(3);
    let inside = Inside::open(lab, "shop").await;
    let records = inside.records().await;
    let workflows: Vec<String> = records.all_workflows().map(|w| w.full_name()).collect();
    assert!(!workflows.is_empty(), "{what} has no workflow");
    for name in &workflows {
        let vdiff = ["workflow", "vdiff", name];
        tokio::task::block_in_place(|| lab.run(&vdiff)).expect(0);
    }
    let transactions = load.0.finish().await;
    let written = load.1.finish().await;
    assert!(
        written.failures.is_empty(),
        "{what}: {:#?}",
        written.failures
    );
    assert_sides_are_equal(&inside).await;
    let complete = [&args[..], &["--approve", "complete"]].concat();
    tokio::task::block_in_place(|| lab.run(&complete)).expect(0);
    let pool = lab.client("zone1", "");
    let found = read_all(&pool, "item").await.expect("all rows");
    let _ = pool.disconnect().await;
    let differences = written.differences(&found);
    assert!(differences.is_empty(), "{what}: {differences:#?}");
    eprintln!(
        "{what}: {transactions} transactions of sysbench, {} operations of the writer",
        written.operations
    );
    assert!(transactions > 0 && written.operations > 0);
    written
}

async fn load(lab: &Lab) {
    let pool = lab.client("zone1", "");
    let mut conn = pool.get_conn().await.expect("the gate");
    for first in (1..=ROWS).step_by(1000) {
        let rows: Vec<String> = (first..(first + 1000).min(ROWS + 1))
            .map(|id| format!("({id}, {}, '{id:0>119}', '{id:x>59}')", id * 7919 % ROWS))
            .collect();
        let sql = format!(
            "insert into sbtest1 (id, k, c, pad) values {}",
            rows.join(",")
        );
        conn.query_drop(sql).await.expect("rows");
    }
    drop(conn);
    let _ = pool.disconnect().await;
}

/// The shards of the steps that follow each other, after a MoveTables.
const STEPS: [(&str, &str); 4] = [
    ("split 1→2", "-80, 80-"),
    ("split 2→4", "-40, 40-80, 80-c0, c0-"),
    ("merge 4→2", "-80, 80-"),
    ("uneven 2→3", "-30, 30-a0, a0-"),
];

async fn moves_under_sysbench(server: Server, steps: &[(&str, &str)]) {
    let mut lab = Lab::new("shop", server);
    lab.start_agent("host1", "zone1");
    let begin = spec(&lab, "begin.yaml", None);
    lab.run(&["apply", &begin, "--auto-approve"]).expect(0);
    lab.start_gate("zone1");
    load(&lab).await;
    let habits = Habits {
        clients: 2,
        may_change_owner: Arc::new(AtomicBool::new(false)),
        table: "item".into(),
        pause: Duration::from_millis(5),
    };
    let pool = lab.client("zone1", "");

    let writer = Writer::start(&pool, habits.clone(), 11);
    let sysbench = Sysbench::start(&lab, &["--skip-trx=off"]);
    tokio::time::sleep(Duration::from_secs(1)).await;
    let moved = spec(&lab, "moved.yaml", Some("0"));
    let mut written = step(&lab, &moved, (sysbench, writer), "MoveTables").await;

    for (seed, (what, shards)) in (12..).zip(steps) {
        let writer = Writer::go_on(&pool, habits.clone(), seed, written.rows);
        // Of ranges only the plain ones: over several shards the gate refuses to sort, to add up and
        // to find what is distinct.
        let sysbench = Sysbench::start(
            &lab,
            &[
                "--skip-trx=off",
                "--sum_ranges=0",
                "--order_ranges=0",
                "--distinct_ranges=0",
            ],
        );
        tokio::time::sleep(Duration::from_secs(1)).await;
        let next = spec(&lab, "next.yaml", Some(shards));
        written = step(&lab, &next, (sysbench, writer), what).await;
    }
    let _ = pool.disconnect().await;
}

/// Whether it is there; said and counted as skipped if not.
fn has_sysbench(test: &str) -> bool {
    let is_there = Command::new("sysbench").arg("--version").output().is_ok();
    if !is_there {
        skip(test, "there is no sysbench on PATH");
    }
    is_there
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sysbench_sees_no_error_while_tables_move_and_shards_split_and_merge() {
    if has_sysbench("sysbench_sees_no_error_while_tables_move_and_shards_split_and_merge") {
        moves_under_sysbench(Server::MariaDb, &STEPS).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn sysbench_sees_no_error_on_mysql() {
    let name = "sysbench_sees_no_error_on_mysql";
    if !has_sysbench(name) {
        return;
    }
    let Some(server) = Server::mysql(name) else {
        return;
    };
    // The others take the better part of two minutes.
    let all = std::env::var("VTPLAN_SYSBENCH").is_ok_and(|v| v == "all");
    let steps = if all { &STEPS[..] } else { &STEPS[..1] };
    moves_under_sysbench(server, steps).await;
}
