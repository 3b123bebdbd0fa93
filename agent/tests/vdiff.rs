//! Comparisons on real servers, of data that real streams have moved.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use common::{Account, Lab, alias, flavors, mariadb};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use vtplan_state::model::{
    Durability, FlavorKind, HostName, KeyspaceName, KeyspaceRecord, ShardName, ShardRecord, Side,
    StreamsWanted, TableName, TabletRecord, TabletType, VDiffRecord, VDiffState, VDiffTable,
    VSchemaKeyspace, WorkflowKind, WorkflowName, WorkflowRecord, WorkflowSide,
};
use vtplan_state::store::Op;

const FROM: &str = "my_commerce";
const TO: &str = "customer";
const PATIENCE: Duration = Duration::from_secs(120);

/// `customer` from one unsharded shard (100, replica 101) to two (200 with replica 201, 300).
struct Move {
    from: Lab,
    /// Another agent on the same store, where the flavors differ.
    to: Option<Lab>,
}

fn name(text: &str) -> KeyspaceName {
    KeyspaceName::new(text).unwrap()
}

fn workflow_name() -> WorkflowName {
    WorkflowName::new("my_commerce2customer").unwrap()
}

const TABLES: [(&str, &str); 2] = [
    (
        "corder",
        "CREATE TABLE {ks}.corder (region varchar(20) NOT NULL, id bigint NOT NULL, \
         price decimal(12,2), PRIMARY KEY (region, id)) \
         DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci",
    ),
    (
        "customer",
        "CREATE TABLE {ks}.customer (id bigint NOT NULL PRIMARY KEY, name varchar(100), f float, \
         doc json, at timestamp(3) NULL) DEFAULT CHARSET=utf8mb4 COLLATE=utf8mb4_general_ci",
    ),
];

impl Move {
    async fn new(from: (FlavorKind, Option<PathBuf>), to: (FlavorKind, Option<PathBuf>)) -> Self {
        let mut lab = Lab::new(from.0, from.1.clone()).await;
        lab.start().await;
        let to = if from == to {
            None
        } else {
            let mut other = Lab::new(to.0, to.1).await;
            other.store = lab.store.clone();
            other.cluster = lab.cluster.clone();
            other.config.name = HostName::new("h2").unwrap();
            other.start().await;
            Some(other)
        };
        let this = Self { from: lab, to };
        this.put_servers().await;
        this.put_data().await;
        this
    }

    fn to(&self) -> &Lab {
        self.to.as_ref().unwrap_or(&self.from)
    }

    fn lab_of(&self, uid: u32) -> &Lab {
        if uid < 200 { &self.from } else { self.to() }
    }

    async fn put_servers(&self) {
        let keys = self.from.cluster.keys();
        let mut ops = Vec::new();
        for keyspace in [FROM, TO] {
            let record = KeyspaceRecord {
                name: name(keyspace),
                durability: Durability::None,
            };
            ops.push(Op::put(keys.keyspace(&record.name), &record));
        }
        let vschema: VSchemaKeyspace = serde_json::from_str(
            r#"{"sharded": true, "vindexes": {"xxhash": {"type": "xxhash"}}, "tables": {
                "customer": {"column_vindexes": [{"column": "id", "name": "xxhash"}]},
                "corder": {"column_vindexes": [{"column": "id", "name": "xxhash"}]}}}"#,
        )
        .unwrap();
        ops.push(Op::put(keys.vschema(&name(TO)), &vschema));
        for (keyspace, shard, primary, replicas) in [
            (FROM, "-", 100, &[101][..]),
            (TO, "-80", 200, &[201]),
            (TO, "80-", 300, &[]),
        ] {
            let shard: ShardName = shard.parse().unwrap();
            let record = ShardRecord {
                keyspace: name(keyspace),
                shard: shard.clone(),
                primary: Some(alias(primary)),
                term: 1,
                serving: true,
                serving_reads: Default::default(),
                fenced: false,
            };
            ops.push(Op::put(keys.shard(&record.keyspace, &shard), &record));
            for uid in replicas.iter().chain([&primary]) {
                let lab = self.lab_of(*uid);
                let tablet = TabletRecord {
                    keyspace: name(keyspace),
                    shard: shard.clone(),
                    ..lab.tablet(*uid, TabletType::Replica)
                };
                ops.push(Op::put(keys.tablet(&tablet.alias), &tablet));
            }
        }
        self.from.put(ops).await;
        self.from.wait_for_shard(100, 1, &[101]).await;
        self.to().wait_for_shard(200, 1, &[201]).await;
        self.to().wait_for_shard(300, 1, &[]).await;
    }

    async fn put_data(&self) {
        for (uid, keyspace) in [(100, FROM), (200, TO), (300, TO)] {
            for (_, create) in TABLES {
                self.run(uid, &create.replace("{ks}", keyspace)).await;
            }
        }
        self.run(
            100,
            &format!(
                "INSERT INTO {FROM}.customer VALUES \
                 (1, 'one', 1.5, '{{\"b\": 1, \"a\": [1, 2.50]}}', '2024-01-01 10:00:00.125'), \
                 (2, 'zwei ü', 0.1, 'null', NULL), (3, NULL, NULL, NULL, NULL), \
                 (-4, '', -1e10, '[]', '1970-01-02 00:00:00')"
            ),
        )
        .await;
        self.run(
            100,
            &format!(
                "INSERT INTO {FROM}.corder VALUES ('b', 1, 1.10), ('A', 2, 2.20), ('a', 3, NULL), \
                 ('Ä', 4, 4.4), ('z', 5, 5), ('ß', 6, 6), ('', 7, 7)"
            ),
        )
        .await;
        for doubled in 0..11 {
            let by = 10_000 << doubled;
            self.run(
                100,
                &format!(
                    "INSERT INTO {FROM}.customer SELECT id + {by}, name, f, doc, at FROM {FROM}.customer"
                ),
            )
            .await;
        }
        // More than a range, by a key that only the server can put in order.
        self.run(
            100,
            &format!(
                "INSERT INTO {FROM}.corder SELECT IF(id % 2, 'b', 'Zü'), 1000 + id, 1 \
                 FROM {FROM}.customer WHERE id > 10"
            ),
        )
        .await;
        // So that it is known.
        self.run(
            100,
            &format!("ANALYZE TABLE {FROM}.customer, {FROM}.corder"),
        )
        .await;
    }

    /// Runs a statement as the admin.
    async fn run(&self, uid: u32, statement: &str) {
        let mut conn = self.connect(uid, Account::Admin).await;
        conn.query_drop(statement).await.unwrap();
        conn.disconnect().await.unwrap();
    }

    async fn connect(&self, uid: u32, account: Account) -> Conn {
        let mut conn = self.lab_of(uid).connect(uid, account).await;
        conn.query_drop("SET time_zone = '+00:00'").await.unwrap();
        conn
    }

    async fn number(&self, uid: u32, query: &str) -> u64 {
        let mut conn = self.connect(uid, Account::Admin).await;
        let value: Option<u64> = conn.query_first(query).await.unwrap();
        conn.disconnect().await.unwrap();
        value.unwrap_or(0)
    }

    async fn text(&self, uid: u32, query: &str) -> String {
        let mut conn = self.connect(uid, Account::Admin).await;
        let value: Option<String> = conn.query_first(query).await.unwrap();
        conn.disconnect().await.unwrap();
        value.unwrap_or_default()
    }

    fn workflow(&self) -> WorkflowRecord {
        let side = |keyspace: &str, shards: &[&str]| WorkflowSide {
            keyspace: name(keyspace),
            shards: shards.iter().map(|s| s.parse().unwrap()).collect(),
        };
        WorkflowRecord {
            name: workflow_name(),
            kind: WorkflowKind::MoveTables,
            source: side(FROM, &["-"]),
            target: side(TO, &["-80", "80-"]),
            tables: TABLES
                .iter()
                .map(|(t, _)| TableName::new(*t).unwrap())
                .collect(),
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
        }
    }

    async fn put_workflow(&self, record: &WorkflowRecord) {
        let key = (self.from.cluster.keys()).workflow(&record.target.keyspace, &record.name);
        self.from.put(vec![Op::put(key, record)]).await;
    }

    /// Starts the streams and waits until they have copied everything.
    async fn copy(&self) -> WorkflowRecord {
        let mut record = self.workflow();
        self.put_workflow(&record).await;
        let give_up = Instant::now() + PATIENCE;
        loop {
            let mut copied = 0;
            for uid in [200, 300] {
                let mut conn = self.connect(uid, Account::Admin).await;
                let query = "SELECT CAST(SUM(copied) AS UNSIGNED) FROM _vt.vreplication";
                let value: Result<Option<Option<u64>>, _> = conn.query_first(query).await;
                copied += value.ok().flatten().flatten().unwrap_or(0);
                conn.disconnect().await.unwrap();
            }
            if copied == 2 {
                break;
            }
            assert!(Instant::now() < give_up, "it is not copied");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        record.copied = true;
        self.put_workflow(&record).await;
        record
    }

    async fn request(&self, id: &str, epoch: u64, tables: BTreeMap<TableName, VDiffTable>) {
        self.put_request(id, epoch, tables, false).await;
    }

    async fn put_request(
        &self,
        id: &str,
        epoch: u64,
        tables: BTreeMap<TableName, VDiffTable>,
        every_value: bool,
    ) {
        let record = VDiffRecord {
            id: id.to_owned(),
            keyspace: name(TO),
            workflow: workflow_name(),
            epoch,
            requested_at: 1,
            state: VDiffState::Requested,
            every_value,
            tables,
            message: String::new(),
            ended_at: None,
            started_at: None,
        };
        let key = (self.from.cluster.keys()).vdiff(&record.keyspace, &record.workflow, id);
        self.from.put(vec![Op::put(key, &record)]).await;
    }

    async fn vdiff_record(&self, id: &str) -> VDiffRecord {
        let key = (self.from.cluster.keys()).vdiff(&name(TO), &workflow_name(), id);
        let entry = self.from.store.get(&key).await.unwrap().unwrap();
        entry.json().unwrap()
    }

    async fn wait_for(&self, id: &str, done: impl Fn(&VDiffRecord) -> bool) -> VDiffRecord {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let record = self.vdiff_record(id).await;
            if done(&record) {
                return record;
            }
            assert!(Instant::now() < give_up, "{record:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Compares with checksums, which find what a comparison of every value finds.
    async fn vdiff(&self, id: &str) -> VDiffRecord {
        self.request(id, 1, BTreeMap::new()).await;
        let record = self.wait_for(id, |r| r.ended_at.is_some()).await;
        let exact = format!("{id}-exact");
        self.put_request(&exact, 1, BTreeMap::new(), true).await;
        let exact = self.wait_for(&exact, |r| r.ended_at.is_some()).await;
        assert_eq!(record.state, exact.state);
        for (name, table) in &record.tables {
            let other = &exact.tables[name];
            assert_eq!(counts(table), counts(other), "{name}");
            assert_eq!(table.samples, other.samples, "{name}");
        }
        record
    }

    async fn end(self) {
        if let Some(to) = self.to {
            to.end().await;
        }
        self.from.end().await;
    }
}

fn table<'a>(record: &'a VDiffRecord, table: &str) -> &'a VDiffTable {
    &record.tables[&TableName::new(table).unwrap()]
}

fn counts(found: &VDiffTable) -> [u64; 4] {
    [found.missing, found.extra, found.differing, found.misplaced]
}

fn found(record: &VDiffRecord, of: &str) -> Vec<(String, String)> {
    let samples = table(record, of).samples.iter();
    samples.map(|s| (s.found.clone(), s.key.clone())).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_finds_exactly_what_differs() {
    for server in flavors() {
        println!("on {}", server.0);
        let moved = Move::new(server.clone(), server).await;
        what_differs_is_found(&moved).await;
        moved.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_that_moved_between_flavors_are_the_same() {
    let flavors = flavors();
    if let [maria, mysql] = flavors.as_slice() {
        for (from, to) in [(maria, mysql), (mysql, maria)] {
            println!("from {} to {}", from.0, to.0);
            let moved = Move::new(from.clone(), to.clone()).await;
            what_differs_is_found(&moved).await;
            moved.end().await;
        }
    }
}

async fn what_differs_is_found(moved: &Move) {
    let workflow = moved.copy().await;
    let rows = format!("SELECT COUNT(*) FROM {FROM}.customer");
    let rows = moved.number(100, &rows).await;
    let equal = moved.vdiff("equal").await;
    assert!(equal.passed(), "{equal:#?}");
    assert_eq!(table(&equal, "customer").rows_compared, rows);
    let orders = format!("SELECT COUNT(*) FROM {FROM}.corder");
    let orders = moved.number(100, &orders).await;
    assert!(orders > 5_000);
    assert_eq!(table(&equal, "corder").rows_compared, orders);

    // While somebody writes. The streams go on before the comparison ends.
    let stop = Arc::new(AtomicBool::new(false));
    let writer = tokio::spawn(write(moved.connect(100, Account::Gate).await, stop.clone()));
    let busy = moved.vdiff("busy").await;
    assert!(busy.passed(), "{busy:#?}");
    stop.store(true, Ordering::Relaxed);
    writer.await.unwrap();
    let rows = format!("SELECT COUNT(*) FROM {FROM}.customer");
    let rows = moved.number(100, &rows).await;

    let after = moved.vdiff("after").await;
    assert!(after.passed(), "{after:#?}");
    assert_eq!(table(&after, "customer").rows_compared, rows);

    // Each way to differ, on whichever shard the row is.
    for uid in [200, 300] {
        for statement in [
            "DELETE FROM {ks}.customer WHERE id = 1",
            "UPDATE {ks}.customer SET name = 'Zwei ü' WHERE id = 2",
            "UPDATE {ks}.corder SET region = 'B' WHERE id = 1",
            "DELETE FROM {ks}.corder WHERE id = 4",
        ] {
            moved.run(uid, &statement.replace("{ks}", TO)).await;
        }
    }
    let here = |id: i64| format!("SELECT COUNT(*) FROM {TO}.customer WHERE id = {id}");
    let on_first = moved.number(200, &here(3)).await == 1;
    let (right, wrong) = if on_first { (200, 300) } else { (300, 200) };
    moved
        .run(right, &format!("DELETE FROM {TO}.customer WHERE id = 3"))
        .await;
    moved
        .run(wrong, &format!("INSERT INTO {TO}.customer (id) VALUES (3)"))
        .await;
    // xxhash puts 7777777 on one of them.
    for uid in [200, 300] {
        let insert = format!("INSERT INTO {TO}.customer (id) VALUES (7777777)");
        moved.run(uid, &insert).await;
    }
    let differ = moved.vdiff("differ").await;
    assert_eq!(differ.state, VDiffState::Done, "{differ:#?}");
    assert!(!differ.passed());
    let customer = table(&differ, "customer");
    assert_eq!(counts(customer), [1, 1, 1, 2], "{differ:#?}");
    let mut samples = found(&differ, "customer");
    samples.sort();
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        samples,
        [
            pair("differing", "id=2"),
            pair("extra", "id=7777777"),
            pair("misplaced", "id=3"),
            pair("misplaced", "id=7777777"),
            pair("missing", "id=1"),
        ]
    );
    let corder = table(&differ, "corder");
    assert_eq!(counts(corder), [1, 0, 1, 0], "{differ:#?}");
    assert_eq!(
        found(&differ, "corder"),
        [
            pair("missing", "region=Ä, id=4"),
            pair("differing", "region=b, id=1"),
        ]
    );

    // Another agent goes on where the first one was.
    let up_to = 100_000;
    let done = format!("SELECT COUNT(*) FROM {FROM}.customer WHERE id <= {up_to}");
    let done = moved.number(100, &done).await;
    let begun = VDiffTable {
        rows_compared: done,
        differing: 5,
        compared_to: Some("[\"313030303030\"]".to_owned()),
        ..VDiffTable::default()
    };
    let tables = BTreeMap::from([(TableName::new("customer").unwrap(), begun)]);
    moved.request("resumed", 1, tables).await;
    let resumed = moved.wait_for("resumed", |r| r.ended_at.is_some()).await;
    let customer = table(&resumed, "customer");
    assert_eq!(customer.rows_compared, rows, "{resumed:#?}");
    assert_eq!(counts(customer), [0, 1, 5, 1], "{resumed:#?}");
    // What it took tells a pace where it was done in one go.
    assert_eq!(resumed.started_at, None);
    assert!(differ.started_at.is_some() && customer.bytes_total > 0);

    // What cannot be compared.
    moved.request("turned", 7, BTreeMap::new()).await;
    let turned = moved.wait_for("turned", |r| r.ended_at.is_some()).await;
    assert_eq!(turned.state, VDiffState::Failed);
    assert!(turned.message.contains("turned"), "{turned:?}");
    let paused = WorkflowRecord {
        paused: true,
        ..workflow.clone()
    };
    moved.put_workflow(&paused).await;
    let paused = moved.vdiff("paused").await;
    assert_eq!(paused.state, VDiffState::Failed);
    assert!(paused.message.contains("resume it"), "{paused:?}");
    moved.put_workflow(&workflow).await;
}

/// Writes at random until told to stop.
async fn write(mut conn: Conn, stop: Arc<AtomicBool>) {
    let mut n = 0u64;
    while !stop.load(Ordering::Relaxed) {
        n += 1;
        let id = n % 500;
        for statement in [
            format!("REPLACE INTO {FROM}.customer (id, name) VALUES (-{id} - 100, 'n{n}')"),
            format!(
                "UPDATE {FROM}.customer SET name = 'u{n}' WHERE id = {}",
                10_000 + id % 4
            ),
            format!(
                "DELETE FROM {FROM}.customer WHERE id = -{} - 100",
                (id * 7) % 500
            ),
            format!(
                "UPDATE IGNORE {FROM}.customer SET id = -{} - 100 WHERE id = -{} - 100",
                (id * 3) % 500,
                (id * 5) % 500
            ),
        ] {
            conn.query_drop(statement).await.unwrap();
        }
    }
    conn.disconnect().await.unwrap();
}

/// What is read are two shards, and rows of both go to one.
async fn streams_turn(moved: &Move, forward: &WorkflowRecord) {
    let mut record = forward.clone();
    record.writes = Side::Target;
    record.streams.epoch = 2;
    record.streams.from = Side::Target;
    for (shard, uid) in [("-80", 200), ("80-", 300)] {
        let position = moved.text(uid, "SELECT @@global.gtid_current_pos").await;
        let shard: ShardName = shard.parse().unwrap();
        record.streams.start.insert(shard, position);
    }
    moved.put_workflow(&record).await;
    for uid in [200, 300] {
        let update = format!("UPDATE {TO}.customer SET name = 'there' WHERE id % 3 = 0");
        moved.run(uid, &update).await;
    }
    moved.request("back", 2, BTreeMap::new()).await;
    let back = moved.wait_for("back", |r| r.ended_at.is_some()).await;
    assert!(back.passed(), "{back:#?}");
    let rows = format!("SELECT COUNT(*) FROM {FROM}.customer");
    let rows = moved.number(100, &rows).await;
    assert_eq!(table(&back, "customer").rows_compared, rows);
    let there = format!("SELECT COUNT(*) FROM {FROM}.customer WHERE name = 'there'");
    assert!(moved.number(100, &there).await > 0);

    for statement in [
        format!("DELETE FROM {FROM}.corder WHERE id = 4"),
        format!("UPDATE {FROM}.corder SET price = 9 WHERE id = 5"),
        format!("INSERT INTO {FROM}.corder VALUES ('é', 9, 9)"),
    ] {
        moved.run(100, &statement).await;
    }
    moved.request("differs", 2, BTreeMap::new()).await;
    let differs = moved.wait_for("differs", |r| r.ended_at.is_some()).await;
    let corder = table(&differs, "corder");
    assert_eq!(counts(corder), [1, 1, 1, 0], "{differs:#?}");
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned());
    assert_eq!(
        found(&differs, "corder"),
        [
            pair("missing", "region=Ä, id=4"),
            pair("extra", "region=é, id=9"),
            pair("differing", "region=z, id=5"),
        ]
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_comparison_that_was_cut_off_goes_on_with_the_next_agent_and_works_both_ways() {
    let server = mariadb();
    let mut moved = Move::new(server.clone(), server).await;
    let workflow = moved.copy().await;
    moved.request("cut", 1, BTreeMap::new()).await;
    moved
        .wait_for("cut", |r| r.state != VDiffState::Requested)
        .await;
    moved.from.stop_agent().await;
    moved.from.start().await;
    let record = moved.wait_for("cut", |r| r.ended_at.is_some()).await;
    assert!(record.passed(), "{record:#?}");
    let rows = format!("SELECT COUNT(*) FROM {FROM}.customer");
    let rows = moved.number(100, &rows).await;
    assert_eq!(table(&record, "customer").rows_compared, rows);
    streams_turn(&moved, &workflow).await;
    moved.end().await;
}
