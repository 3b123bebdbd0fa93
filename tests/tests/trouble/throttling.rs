//! Streams yield to replicas that lag and to servers that are busy: they say so, copy and apply nothing
//! meanwhile, and go on by themselves.

use std::time::{Duration, Instant};

use mysql_async::Conn;
use mysql_async::prelude::Queryable;
use nix::sys::signal::Signal;
use vtplan_tests::inside::Inside;
use vtplan_tests::lab::{Lab, PATIENCE};
use vtplan_tests::servers::Server;

const WORKFLOW: &str = "store.shop2store";
const ROWS: u64 = 20_000;

/// `note` in `shop` or in `store`, whose shard has a replica.
fn spec(lab: &Lab, name: &str, moved: bool) -> String {
    let note = lab.write(
        "note.sql",
        "create table note (id bigint primary key, body varchar(200));\n",
    );
    let other = lab.write("other.sql", "create table other (id bigint primary key);\n");
    let all = lab.write(
        "all.sql",
        "create table other (id bigint primary key);
         create table note (id bigint primary key, body varchar(200));\n",
    );
    let (shop, store) = match moved {
        false => (format!("schema: {note}"), other),
        true => (String::new(), all),
    };
    lab.write(
        name,
        &format!(
            "vtplan: 1
cluster: shop
cells: [zone1]
users: {{ app: {{ password_env: VTPLAN_APP_PASSWORD }} }}
changes: {{ vdiff: skip, approve: [switch_reads], throttle: {{ max_lag: 2s }} }}
keyspaces:
  shop:
    durability: none
    tablets: {{ zone1: {{ replica: 1 }} }}
    {shop}
  store:
    durability: none
    tablets: {{ zone1: {{ replica: 2 }} }}
    schema: {store}
"
        ),
    )
}

/// The stream of the workflow, as `workflow show` has it; null while there is none.
fn stream(lab: &Lab) -> serde_json::Value {
    let shown = lab.run(&["workflow", "show", WORKFLOW, "--format", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).unwrap_or_default();
    shown["streams"][0].clone()
}

/// Waits until the stream says why it is slowed down, in these words.
fn throttled(lab: &mut Lab, words: &str) {
    lab.until(&format!("the stream says `{words}`"), |lab| {
        let why = stream(lab)["throttled"].as_str()?.to_owned();
        why.contains(words).then_some(())
    });
    let shown = lab.run(&["workflow", "show", WORKFLOW]).expect(0).stdout;
    assert!(shown.contains("is slowed down"), "{shown}");
}

fn follows(lab: &mut Lab) {
    lab.until("the stream follows", |lab| {
        let stream = stream(lab);
        (stream["state"] == "following" && stream["throttled"].is_null()).then_some(())
    });
}

async fn count(conn: &mut Conn, of: &str) -> u64 {
    let query = format!("select count(*) from {of}");
    conn.query_first(query).await.expect(of).expect("a count")
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn streams_yield_to_lag_and_load_and_go_on_after() {
    let mut lab = Lab::new("shop", Server::MariaDb);
    lab.start_agent("host1", "zone1");
    let begin = spec(&lab, "begin.yaml", false);
    lab.run(&["apply", &begin, "--auto-approve"]).expect(0);
    let inside = Inside::open(&lab, "shop").await;
    let mut source = inside.on_primary("shop", "0").await;
    let mut target = inside.on_primary("store", "0").await;
    for first in (0..ROWS).step_by(1000) {
        let rows: Vec<String> = (first..first + 1000)
            .map(|id| format!("({id}, '{id:0>190}')"))
            .collect();
        let insert = format!("insert into note values {}", rows.join(","));
        source.query_drop(insert).await.expect("rows");
    }

    // The target's replica lags before anything is copied.
    let replica = inside.replicas("store", "0").await;
    let mut replica = inside.connect(&replica[0]).await;
    replica
        .query_drop("lock tables other read")
        .await
        .expect("locked");
    target
        .query_drop("insert into other values (1)")
        .await
        .expect("a row");
    tokio::time::sleep(Duration::from_secs(4)).await;
    let there = spec(&lab, "there.yaml", true);
    let mut apply = lab.start(
        "apply",
        &["apply", &there, "--auto-approve", "--approve-destructive"],
    );
    throttled(&mut lab, "behind its primary, more than the 2 s");
    let copied = stream(&lab)["rows_copied"].as_u64();
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(stream(&lab)["rows_copied"].as_u64(), copied, "it copies on");
    assert_eq!(count(&mut target, "note").await, 0);
    // Ctrl-C ends the command, and nothing else.
    apply.signal(Signal::SIGINT);
    let status = apply.wait(PATIENCE).and_then(|status| status.code());
    assert_eq!(status, Some(130), "{}", apply.log());
    assert!(apply.log().contains("--attach"), "{}", apply.log());
    replica.query_drop("unlock tables").await.expect("unlocked");
    follows(&mut lab);
    assert_eq!(count(&mut target, "note").await, ROWS);
    let args = ["apply", &there, "--auto-approve", "--approve-destructive"];
    lab.run(&args).expect(3);

    // It lags while the stream follows.
    replica
        .query_drop("lock tables other read")
        .await
        .expect("locked");
    target
        .query_drop("insert into other values (2)")
        .await
        .expect("a row");
    throttled(&mut lab, "behind its primary");
    // One transaction may be asked for already.
    nothing_comes_but_one(&mut source, &mut target, 1_000_000).await;
    replica.query_drop("unlock tables").await.expect("unlocked");
    all_comes(&lab, &mut target, 1_000_000).await;
    follows(&mut lab);

    // The source has too much to do.
    let mut busy = Vec::new();
    for _ in 0..70 {
        let mut conn = inside.on_primary("shop", "0").await;
        let id = conn.id();
        let task = tokio::spawn(async move { conn.query_drop("do sleep(3600)").await });
        busy.push((id, task));
    }
    throttled(&mut lab, "statements run at once");
    nothing_comes_but_one(&mut source, &mut target, 2_000_000).await;
    for (id, task) in busy {
        source
            .query_drop(format!("kill {id}"))
            .await
            .expect("killed");
        let _ = task.await;
    }
    all_comes(&lab, &mut target, 2_000_000).await;
    follows(&mut lab);
}

/// Writes rows at the source, of which at most the first comes to the target.
async fn nothing_comes_but_one(source: &mut Conn, target: &mut Conn, first: u64) {
    for id in first..first + 10 {
        let insert = format!("insert into note values ({id}, 'late')");
        source.query_drop(insert).await.expect("a row");
    }
    tokio::time::sleep(Duration::from_secs(2)).await;
    let came = count(target, &format!("note where id >= {first}")).await;
    assert!(came <= 1, "{came} rows came to the target meanwhile");
}

async fn all_comes(lab: &Lab, target: &mut Conn, first: u64) {
    let end = Instant::now() + PATIENCE;
    while count(target, &format!("note where id >= {first}")).await != 10 {
        assert!(Instant::now() < end, "rows do not come\n{}", lab.report());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}
