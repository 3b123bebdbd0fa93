//! How long a comparison takes beside `CHECKSUM TABLE` of the same rows: a table like sysbench's on one
//! shard, moved to two by streams.
//!
//! `cargo bench -p vtplan-agent --bench vdiff`, with `VTPLAN_BENCH_ROWS` other than 2,000,000 for a
//! shorter run.

#[path = "../tests/common/mod.rs"]
mod common;

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use common::{Account, Lab, alias, mariadb};
use mysql_async::prelude::Queryable as _;
use vtplan_state::model::{
    Durability, KeyspaceName, KeyspaceRecord, ShardName, ShardRecord, Side, StreamsWanted,
    TableName, TabletRecord, TabletType, VDiffRecord, VDiffState, VSchemaKeyspace, WorkflowKind,
    WorkflowName, WorkflowRecord, WorkflowSide,
};
use vtplan_state::store::Op;

const KS: &str = "bench";
const SHARDS: [(&str, u32); 3] = [("-", 100), ("-80", 200), ("80-", 300)];

#[tokio::main]
async fn main() {
    let rows: u64 = std::env::var("VTPLAN_BENCH_ROWS")
        .ok()
        .and_then(|r| r.parse().ok())
        .unwrap_or(2_000_000);
    let (flavor, mysqld) = match std::env::var_os("VTPLAN_TEST_MYSQLD") {
        Some(path) => (vtplan_state::model::FlavorKind::MySql, Some(path.into())),
        None => mariadb(),
    };
    let mut lab = Lab::new(flavor, mysqld).await;
    lab.config.server.buffer_pool_bytes = 768 << 20;
    lab.config.server.redo_log_bytes = 512 << 20;
    lab.start().await;
    put_servers(&lab).await;
    let begun = Instant::now();
    fill(&lab, rows).await;
    println!("{rows} rows made in {:?}", begun.elapsed());
    let begun = Instant::now();
    copy(&lab).await;
    println!("copied in {:?}", begun.elapsed());

    let (mut best_checksum, mut best_vdiff) = (Duration::MAX, Duration::MAX);
    for round in 0..3 {
        let begun = Instant::now();
        for (_, uid) in SHARDS {
            run(&lab, uid, &format!("CHECKSUM TABLE {KS}.sbtest1")).await;
        }
        let checksum = begun.elapsed();
        let begun = Instant::now();
        let record = vdiff(&lab, &round.to_string()).await;
        let vdiff = begun.elapsed();
        assert!(record.passed(), "{record:#?}");
        println!("CHECKSUM TABLE of both sides {checksum:?}, VDiff {vdiff:?}");
        best_checksum = best_checksum.min(checksum);
        best_vdiff = best_vdiff.min(vdiff);
    }
    let ratio = best_vdiff.as_secs_f64() / best_checksum.as_secs_f64();
    println!("VDiff takes {ratio:.2} times what CHECKSUM TABLE does");
    lab.end().await;
}

fn keyspace() -> KeyspaceName {
    KeyspaceName::new(KS).expect("a name")
}

async fn put_servers(lab: &Lab) {
    let keys = lab.cluster.keys();
    let record = KeyspaceRecord {
        name: keyspace(),
        durability: Durability::None,
    };
    let vschema: VSchemaKeyspace = serde_json::from_str(
        r#"{"sharded": true, "vindexes": {"xxhash": {"type": "xxhash"}},
            "tables": {"sbtest1": {"column_vindexes": [{"column": "id", "name": "xxhash"}]}}}"#,
    )
    .expect("a vschema");
    let mut ops = vec![
        Op::put(keys.keyspace(&keyspace()), &record),
        Op::put(keys.vschema(&keyspace()), &vschema),
    ];
    for (shard, uid) in SHARDS {
        let shard: ShardName = shard.parse().expect("a shard");
        let record = ShardRecord {
            keyspace: keyspace(),
            shard: shard.clone(),
            primary: Some(alias(uid)),
            term: 1,
            serving: shard == ShardName::unsharded(),
            serving_reads: BTreeMap::new(),
            fenced: false,
        };
        let tablet = TabletRecord {
            keyspace: keyspace(),
            shard: shard.clone(),
            ..lab.tablet(uid, TabletType::Replica)
        };
        ops.push(Op::put(keys.shard(&keyspace(), &shard), &record));
        ops.push(Op::put(keys.tablet(&tablet.alias), &tablet));
    }
    lab.put(ops).await;
    lab.wait_for_shard(100, 1, &[]).await;
    lab.wait_for_fenced(200, 1, &[]).await;
    lab.wait_for_fenced(300, 1, &[]).await;
    for (_, uid) in SHARDS {
        run(
            lab,
            uid,
            &format!(
                "CREATE TABLE {KS}.sbtest1 (id int NOT NULL AUTO_INCREMENT, k int NOT NULL \
                 DEFAULT 0, c char(120) NOT NULL DEFAULT '', pad char(60) NOT NULL DEFAULT '', \
                 PRIMARY KEY (id), KEY k_1 (k)) ENGINE=InnoDB"
            ),
        )
        .await;
    }
}

async fn run(lab: &Lab, uid: u32, statement: &str) {
    let mut conn = lab.connect(uid, Account::Admin).await;
    conn.query_drop(statement).await.expect("a statement");
    conn.disconnect().await.expect("an end");
}

async fn fill(lab: &Lab, rows: u64) {
    let number = "LPAD(FLOOR(RAND() * 100000000000), 11, '0')";
    let long = [number; 10].join(", '-', ");
    let short = [number; 5].join(", '-', ");
    let values = format!("FLOOR(RAND() * 1000000), CONCAT({long}), CONCAT({short})");
    run(
        lab,
        100,
        &format!("INSERT INTO {KS}.sbtest1 (id, k, c, pad) SELECT 1, {values}"),
    )
    .await;
    let mut have = 1;
    while have < rows {
        let more = have.min(rows - have).min(200_000);
        let insert = format!(
            "INSERT INTO {KS}.sbtest1 (id, k, c, pad) SELECT id + {have}, {values} \
             FROM {KS}.sbtest1 WHERE id <= {more}"
        );
        run(lab, 100, &insert).await;
        have += more;
    }
}

async fn copy(lab: &Lab) {
    let side = |shards: &[&str]| WorkflowSide {
        keyspace: keyspace(),
        shards: shards.iter().map(|s| s.parse().expect("a shard")).collect(),
    };
    let mut record = WorkflowRecord {
        name: workflow(),
        kind: WorkflowKind::Reshard,
        source: side(&["-"]),
        target: side(&["-80", "80-"]),
        tables: vec![TableName::new("sbtest1").expect("a name")],
        throttle_max_lag_seconds: 60,
        created_at: 1,
        paused: false,
        streams: StreamsWanted {
            epoch: 1,
            from: Side::Source,
            running: true,
            start: BTreeMap::new(),
        },
        copied: false,
        reads_switched: Default::default(),
        writes: Side::Source,
        switch: None,
        switch_failure: None,
        switched_at: None,
        vdiff_passed: false,
        approved: Default::default(),
        soaked: false,
        ending: None,
    };
    let key = lab.cluster.keys().workflow(&keyspace(), &record.name);
    lab.put(vec![Op::put(key.clone(), &record)]).await;
    for uid in [200, 300] {
        loop {
            let mut conn = lab.connect(uid, Account::Admin).await;
            let query = "SELECT CAST(copied AS UNSIGNED) FROM _vt.vreplication";
            let value: Result<Option<u64>, _> = conn.query_first(query).await;
            conn.disconnect().await.expect("an end");
            if matches!(value, Ok(Some(1))) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    record.copied = true;
    lab.put(vec![Op::put(key, &record)]).await;
}

fn workflow() -> WorkflowName {
    WorkflowName::new("bench2bench").expect("a name")
}

async fn vdiff(lab: &Lab, id: &str) -> VDiffRecord {
    let record = VDiffRecord {
        id: id.to_owned(),
        keyspace: keyspace(),
        workflow: workflow(),
        epoch: 1,
        requested_at: 1,
        state: VDiffState::Requested,
        every_value: false,
        tables: BTreeMap::new(),
        message: String::new(),
        ended_at: None,
        started_at: None,
    };
    let key = lab.cluster.keys().vdiff(&keyspace(), &workflow(), id);
    lab.put(vec![Op::put(key.clone(), &record)]).await;
    loop {
        let entry = lab.store.get(&key).await.expect("the store");
        let record: VDiffRecord = entry.expect("the record").json().expect("a record");
        if record.ended_at.is_some() {
            return record;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
