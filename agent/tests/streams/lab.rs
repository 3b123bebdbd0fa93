//! A keyspace whose shards feed others, on real servers: a table of rows by `cid`, a random writer, and
//! a comparison of every row.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Row, Value};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use vtplan_agent::proto::v1::{
    ObserveStreamsRequest, ResumeStreamsRequest, StreamStatus, WaitForStreamRequest,
};
use vtplan_agent::{Agent, AgentConfig};
use vtplan_state::model::{
    Durability, FlavorKind, HostName, KeyspaceName, KeyspaceRecord, ShardName, ShardRecord, Side,
    StreamsWanted, TableName, TabletRecord, TabletType, VSchemaKeyspace, WorkflowKind,
    WorkflowName, WorkflowRecord, WorkflowSide,
};
use vtplan_state::store::Op;
use vtplan_state::store::lock::Lock;

use crate::common::{Lab, alias, free_port};

pub const KS: &str = "shop";
pub const TABLES: [&str; 2] = ["orders", "notes"];

const PATIENCE: Duration = Duration::from_secs(60);

pub fn ks() -> KeyspaceName {
    KeyspaceName::new(KS).unwrap()
}

pub fn shard(name: &str) -> ShardName {
    name.parse().unwrap()
}

/// A shard: its name, and the uids of its tablets, the primary first.
pub type Shard = (&'static str, &'static [u32]);

pub struct Move {
    pub lab: Lab,
    /// Runs the targets, when they are of another flavor.
    other: Option<(Agent, AgentConfig)>,
    pub from: Vec<Shard>,
    pub to: Vec<Shard>,
    pub record: WorkflowRecord,
}

impl Move {
    /// Servers, tables and VSchema; the workflow's record is written by [`Move::begin`].
    pub async fn new(flavor: (FlavorKind, Option<PathBuf>), from: &[Shard], to: &[Shard]) -> Self {
        Self::between(flavor, None, from, to).await
    }

    /// The targets are of another flavor, on a host of their own.
    pub async fn between(
        flavor: (FlavorKind, Option<PathBuf>),
        other: Option<(FlavorKind, Option<PathBuf>)>,
        from: &[Shard],
        to: &[Shard],
    ) -> Self {
        let mut lab = Lab::new(flavor.0, flavor.1).await;
        lab.start().await;
        let target_flavor = other.as_ref().map_or(lab.flavor, |(flavor, _)| *flavor);
        let other = match other {
            None => None,
            Some((_, mysqld)) => {
                let mut config = lab.config.clone();
                config.name = HostName::new("h2").unwrap();
                config.data_dir = lab.config.data_dir.with_file_name("h2");
                config.mysqld = mysqld;
                let agent = Agent::start(config.clone(), lab.store.clone())
                    .await
                    .unwrap();
                Some((agent, config))
            }
        };
        let target_host = match &other {
            None => lab.config.name.clone(),
            Some((_, config)) => config.name.clone(),
        };
        let keys = lab.cluster.keys().clone();
        let keyspace = KeyspaceRecord {
            name: ks(),
            durability: Durability::None,
        };
        let vschema: VSchemaKeyspace = serde_json::from_str(
            r#"{"sharded": true, "vindexes": {"xxhash": {"type": "xxhash"}}, "tables": {
                "orders": {"column_vindexes": [{"column": "cid", "name": "xxhash"}]},
                "notes": {"column_vindexes": [{"column": "cid", "name": "xxhash"}]}}}"#,
        )
        .unwrap();
        let mut ops = vec![
            Op::put(keys.keyspace(&ks()), &keyspace),
            Op::put(keys.vschema(&ks()), &vschema),
        ];
        for (serving, shards) in [(true, from), (false, to)] {
            for (name, uids) in shards {
                for uid in *uids {
                    let record = TabletRecord {
                        alias: alias(*uid),
                        keyspace: ks(),
                        shard: shard(name),
                        tablet_type: TabletType::Replica,
                        host: match serving {
                            true => lab.config.name.clone(),
                            false => target_host.clone(),
                        },
                        mysql_port: free_port(),
                        flavor: if serving { lab.flavor } else { target_flavor },
                        server: Default::default(),
                    };
                    ops.push(Op::put(keys.tablet(&record.alias), &record));
                }
                let record = shard_record(name, uids[0], 1, serving);
                ops.push(Op::put(keys.shard(&ks(), &record.shard), &record));
            }
        }
        lab.put(ops).await;
        let side = |shards: &[Shard]| WorkflowSide {
            keyspace: ks(),
            shards: shards.iter().map(|(name, _)| shard(name)).collect(),
        };
        let record = WorkflowRecord {
            name: WorkflowName::new("shop2shop").unwrap(),
            kind: WorkflowKind::Reshard,
            source: side(from),
            target: side(to),
            tables: TABLES.map(|t| TableName::new(t).unwrap()).to_vec(),
            throttle_max_lag_seconds: 10,
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
        let this = Self {
            lab,
            other,
            from: from.to_vec(),
            to: to.to_vec(),
            record,
        };
        for (_, uids) in from.iter().chain(to) {
            let mut conn = this.connect_when_primary(uids[0]).await;
            for statement in SCHEMA {
                let give_up = Instant::now() + PATIENCE;
                // The agent may not have allowed administrators to write yet.
                while let Err(error) = conn.query_drop(statement).await {
                    assert!(Instant::now() < give_up, "{statement}: {error}");
                    tokio::time::sleep(Duration::from_millis(50)).await;
                }
            }
            conn.disconnect().await.unwrap();
        }
        this
    }

    pub async fn put_shard(&self, name: &str, primary: u32, term: u64, serving: bool) {
        let record = shard_record(name, primary, term, serving);
        let key = self.lab.cluster.keys().shard(&ks(), &record.shard);
        self.lab.put(vec![Op::put(key, &record)]).await;
    }

    /// Waits until the server has its keyspace's database, and lets an administrator write.
    pub async fn connect_when_primary(&self, uid: u32) -> Conn {
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(mut conn) = self.try_connect(uid).await {
                let writes = conn.query_drop("CREATE DATABASE IF NOT EXISTS _vt").await;
                if writes.is_ok() {
                    return conn;
                }
            }
            assert!(Instant::now() < give_up, "{uid} does not become primary");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// As the administrator, in the keyspace's database.
    pub async fn connect(&self, uid: u32) -> Conn {
        let give_up = Instant::now() + PATIENCE;
        loop {
            if let Some(conn) = self.try_connect(uid).await {
                return conn;
            }
            assert!(Instant::now() < give_up, "{uid} does not answer");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    async fn try_connect(&self, uid: u32) -> Option<Conn> {
        let records = self.lab.cluster.load_records().await.unwrap();
        let credentials = self.lab.cluster.credentials().await.unwrap().unwrap();
        let options = mysql_async::OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(records.tablets[&alias(uid)].mysql_port)
            .prefer_socket(false)
            .user(Some(credentials.admin_user))
            .pass(Some(credentials.admin_password))
            .db_name(Some(KS));
        Conn::new(options).await.ok()
    }

    pub async fn run(&self, uid: u32, statement: &str) {
        let mut conn = self.connect(uid).await;
        conn.query_drop(statement).await.unwrap();
        conn.disconnect().await.unwrap();
    }

    pub async fn value(&self, uid: u32, query: &str) -> String {
        let mut conn = self.connect(uid).await;
        let value: Option<Option<String>> = conn.query_first(query).await.unwrap();
        conn.disconnect().await.unwrap();
        value.flatten().unwrap_or_default()
    }

    pub async fn put_workflow(&self) {
        let key = (self.lab.cluster.keys()).workflow(&ks(), &self.record.name);
        self.lab.put(vec![Op::put(key, &self.record)]).await;
    }

    pub async fn streams(&self) -> Vec<StreamStatus> {
        let ask = ObserveStreamsRequest::default();
        let answer = self.lab.client().await.observe_streams(ask).await.unwrap();
        answer.into_inner().streams
    }

    pub async fn wait_for_streams(
        &self,
        what: &str,
        done: impl Fn(&StreamStatus) -> bool,
    ) -> Vec<StreamStatus> {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let streams = self.streams().await;
            if streams.len() == self.from.len() && streams.iter().all(&done) {
                return streams;
            }
            assert!(Instant::now() < give_up, "{what}: {streams:#?}");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    pub async fn wait_until_following(&self) {
        self.wait_for_streams("the streams do not follow", |s| {
            s.state == "following" && s.copied
        })
        .await;
    }

    /// Takes the lock of a stream away from whoever runs it.
    pub async fn break_lock(&self, from: &str) {
        let key = self.lab.cluster.keys().stream_lock(
            &ks(),
            &self.record.name,
            self.record.streams.from,
            &shard(from),
        );
        Lock::force_release(&self.lab.store, &key).await.unwrap();
    }

    pub async fn position(&self, uid: u32) -> String {
        let records = self.lab.cluster.load_records().await.unwrap();
        let query = match records.tablets[&alias(uid)].flavor {
            FlavorKind::MariaDb => "SELECT @@gtid_current_pos",
            FlavorKind::MySql => "SELECT @@gtid_executed",
        };
        self.value(uid, query).await.replace('\n', "")
    }

    /// Waits until all targets have everything that the sources have now.
    pub async fn catch_up(&self) {
        for (from, uids) in &self.from {
            let position = self.position(self.primary_of(uids).await).await;
            for (_, target) in &self.to {
                match &self.other {
                    None => self.wait_for_stream(from, target[0], &position).await,
                    Some(_) => self.wait_for_pos(from, target[0], &position).await,
                }
            }
        }
    }

    async fn wait_for_stream(&self, from: &str, target: u32, position: &str) {
        let ask = WaitForStreamRequest {
            alias: alias(target).to_string(),
            keyspace: KS.to_owned(),
            workflow: self.record.name.to_string(),
            epoch: self.record.streams.epoch,
            from_shard: shard(from).to_string(),
            position: position.to_owned(),
            timeout_ms: u64::try_from(PATIENCE.as_millis()).unwrap(),
        };
        let give_up = Instant::now() + PATIENCE;
        let answer = loop {
            // The target may be one that was killed, and is not up again.
            let answer = self.lab.client().await.wait_for_stream(ask.clone()).await;
            match answer {
                Ok(answer) => break answer.into_inner(),
                Err(error) => assert!(Instant::now() < give_up, "{error}"),
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        };
        assert!(
            answer.reached,
            "{position}: {answer:?} {:#?}",
            self.streams().await
        );
    }

    /// Waits for what stands in `_vt`.
    pub async fn wait_for_pos(&self, from: &str, target: u32, position: &str) {
        let query = format!(
            "SELECT pos FROM _vt.vreplication WHERE source_shard = '{}' AND epoch = {}",
            shard(from),
            self.record.streams.epoch
        );
        let give_up = Instant::now() + PATIENCE;
        loop {
            let pos = self.value(target, &query).await;
            if vtplan_agent::flavor::gtid::contains(&pos, position) {
                return;
            }
            assert!(
                Instant::now() < give_up,
                "{pos} is not {position}: {:#?}",
                self.streams().await
            );
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    }

    /// Waits until all streams are in state error, and gives the first's message.
    pub async fn error(&self) -> String {
        let streams = self
            .wait_for_streams("there is no error", |s| s.state == "error")
            .await;
        streams[0].message.clone()
    }

    pub async fn resume(&self) {
        let ask = ResumeStreamsRequest {
            keyspace: KS.to_owned(),
            workflow: self.record.name.to_string(),
        };
        let answer = self.lab.client().await.resume_streams(ask).await.unwrap();
        assert!(answer.into_inner().resumed > 0);
    }

    /// The values that rows of a shard may have as `cid`.
    pub fn cids(&self, name: &str) -> Vec<i64> {
        let definition = serde_json::from_str(r#"{"type": "xxhash"}"#).unwrap();
        let vindex = vtplan_state::vindex::build(&definition).unwrap();
        let here = |cid: &i64| {
            let value = vtplan_state::vindex::VindexValue::Int(*cid);
            match vindex.map(&[value]) {
                vtplan_state::vindex::Destination::Id(id) => shard(name).key_range().contains(&id),
                other => panic!("{other:?}"),
            }
        };
        (1..200).filter(here).collect()
    }

    pub async fn end(mut self) {
        if let Some((agent, config)) = self.other.take() {
            agent.stop().await;
            vtplan_agent::stop_servers(&config.data_dir, Duration::from_secs(60))
                .await
                .unwrap();
        }
        self.lab.stop_agent().await;
        vtplan_agent::stop_servers(&self.lab.config.data_dir, Duration::from_secs(60))
            .await
            .unwrap();
    }

    async fn primary_of(&self, uids: &[u32]) -> u32 {
        let records = self.lab.cluster.load_records().await.unwrap();
        let is_primary = |uid: &&u32| {
            records
                .shards
                .values()
                .any(|s| s.primary == Some(alias(**uid)))
        };
        *uids.iter().find(is_primary).unwrap()
    }

    /// All rows of a table over some servers, by key; each on its own shard.
    pub async fn rows(&self, shards: &[Shard], table: &str) -> BTreeMap<Vec<String>, String> {
        let records = self.lab.cluster.load_records().await.unwrap();
        let definition = &records.vschemas[&ks()].vindexes["xxhash"];
        let vindex = vtplan_state::vindex::build(definition).unwrap();
        let mut all = BTreeMap::new();
        for (name, uids) in shards {
            let mut conn = self.connect(self.primary_of(uids).await).await;
            let rows: Vec<Row> = conn.query(format!("SELECT * FROM {table}")).await.unwrap();
            conn.disconnect().await.unwrap();
            for row in rows {
                let cells: Vec<String> = (0..row.len())
                    .map(|i| match row.as_ref(i).unwrap() {
                        Value::NULL => "NULL".to_owned(),
                        Value::Bytes(b) => format!("{b:?}"),
                        other => format!("{other:?}"),
                    })
                    .collect();
                let cid: i64 = row.get("cid").unwrap();
                let value = vtplan_state::vindex::VindexValue::Int(cid);
                let vtplan_state::vindex::Destination::Id(id) = vindex.map(&[value]) else {
                    panic!("{cid} has no id");
                };
                assert!(
                    shard(name).key_range().contains(&id),
                    "cid {cid} of {table} is on shard {name}"
                );
                let key = cells[..2].to_vec();
                let twice = all.insert(key.clone(), cells.join(" "));
                assert_eq!(twice, None, "{table} {key:?} is there twice");
            }
        }
        all
    }

    /// Every row of the targets is that of the sources, and on its own shard.
    pub async fn compare(&self) -> usize {
        let mut count = 0;
        for table in TABLES {
            let (source, target) = (
                self.rows(&self.from, table).await,
                self.rows(&self.to, table).await,
            );
            count += source.len();
            for (key, row) in &source {
                assert_eq!(target.get(key), Some(row), "{table}");
            }
            for key in target.keys() {
                assert!(
                    source.contains_key(key),
                    "{table} {key:?} is only on the target"
                );
            }
        }
        count
    }
}

impl Drop for Move {
    /// A test that failed leaves nothing running either.
    fn drop(&mut self) {
        let Some((_, config)) = self.other.take() else {
            return;
        };
        let tablets = std::fs::read_dir(config.data_dir.join("tablets"));
        for entry in tablets.into_iter().flatten().flatten() {
            crate::common::kill_server_of(&entry.path());
        }
    }
}

fn shard_record(name: &str, primary: u32, term: u64, serving: bool) -> ShardRecord {
    ShardRecord {
        keyspace: ks(),
        shard: shard(name),
        primary: Some(alias(primary)),
        term,
        serving,
        serving_reads: Default::default(),
        fenced: false,
    }
}

const SCHEMA: [&str; 2] = [
    "CREATE TABLE orders (id bigint NOT NULL PRIMARY KEY, cid bigint NOT NULL, email varchar(40), \
     amount decimal(10,2), at timestamp(3) NULL ON UPDATE CURRENT_TIMESTAMP(3), body blob, \
     UNIQUE KEY email (email), KEY cid (cid)) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
    "CREATE TABLE notes (name varchar(20) NOT NULL, n int unsigned NOT NULL, cid bigint NOT NULL, \
     text text, PRIMARY KEY (name, n)) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci",
];

/// Changes rows of one shard at random until it is told to stop.
pub struct Writer {
    stop: Arc<AtomicBool>,
    done: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Writer {
    /// `cids`: what rows may have as `cid`. `range`: what they may have as key.
    pub fn start(mut conn: Conn, seed: u64, cids: Vec<i64>, range: std::ops::Range<i64>) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let told = stop.clone();
        let done = Arc::new(AtomicU64::new(0));
        let count = done.clone();
        let task = tokio::spawn(async move {
            let mut rng = StdRng::seed_from_u64(seed);
            while !told.load(Ordering::Relaxed) {
                let many = rng.random_range(1..6);
                conn.query_drop("BEGIN").await.unwrap();
                for _ in 0..many {
                    let statement = random_statement(&mut rng, &cids, &range);
                    match conn.query_drop(&statement).await {
                        Ok(()) => {
                            count.fetch_add(conn.affected_rows(), Ordering::Relaxed);
                        }
                        // The key is taken.
                        Err(mysql_async::Error::Server(e)) if e.code == 1062 => {}
                        Err(error) => panic!("{statement}: {error}"),
                    }
                }
                let end = if rng.random_range(0..10) == 0 {
                    "ROLLBACK"
                } else {
                    "COMMIT"
                };
                conn.query_drop(end).await.unwrap();
                tokio::time::sleep(Duration::from_micros(500)).await;
            }
            conn.disconnect().await.unwrap();
        });
        Self { stop, done, task }
    }

    /// Stops once it has changed more than so many rows. Returns how many.
    pub async fn stop_after(self, rows: u64) -> u64 {
        let give_up = Instant::now() + PATIENCE;
        while self.done.load(Ordering::Relaxed) <= rows && !self.task.is_finished() {
            assert!(Instant::now() < give_up, "no rows are changed");
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        self.stop.store(true, Ordering::Relaxed);
        self.task.await.unwrap();
        self.done.load(Ordering::Relaxed)
    }
}

pub fn random_statement(rng: &mut StdRng, cids: &[i64], range: &std::ops::Range<i64>) -> String {
    let id = rng.random_range(range.clone());
    let other = rng.random_range(range.clone());
    let cid = cids[rng.random_range(0..cids.len())];
    let n = rng.random_range(0..100);
    // Names differ in case only, so that the collation has something to say.
    let name = ["anna", "Anna", "bob", "BOB", "zoë", "ärger", "", "x'\\\"y"]
        [rng.random_range(0..8)]
    .replace('\\', "\\\\")
    .replace('\'', "''");
    let base = range.start;
    match rng.random_range(0..12) {
        0..=2 => format!(
            "INSERT INTO orders VALUES ({id}, {cid}, {}, {n}.5, '2024-02-03 04:05:06.789', REPEAT(CHAR({n}), {}))",
            if n < 20 {
                "NULL".to_owned()
            } else {
                format!("'{id}-{n}@x'")
            },
            rng.random_range(0..300)
        ),
        3 => format!("DELETE FROM orders WHERE id = {id}"),
        4 => format!("UPDATE orders SET amount = {n}.25, body = CONCAT(body, 'x') WHERE id = {id}"),
        5 => format!("UPDATE orders SET id = {other} WHERE id = {id}"),
        6 => format!("UPDATE orders SET cid = {cid} WHERE id = {id}"),
        7 => format!(
            "UPDATE orders SET cid = {cid}, id = {other}, email = '{other}-y' WHERE id = {id}"
        ),
        8 => format!("UPDATE orders SET amount = amount + 1 WHERE id BETWEEN {id} AND {id} + 20"),
        9 => format!(
            "INSERT INTO notes VALUES ('{name}', {}, {cid}, '{name}{n}')",
            base + n
        ),
        10 => format!(
            "DELETE FROM notes WHERE name = '{name}' AND n = {}",
            base + n
        ),
        _ => format!(
            "UPDATE notes SET n = {}, cid = {cid}, text = 'u{n}', name = '{name}' WHERE n = {}",
            base + n,
            base + rng.random_range(0..100)
        ),
    }
}

/// Fills the tables with rows to copy.
pub async fn fill(conn: &mut Conn, cids: &[i64], range: std::ops::Range<i64>) {
    let mut rng = StdRng::seed_from_u64(1);
    let mut ids: Vec<i64> = range.step_by(2).collect();
    while !ids.is_empty() {
        let rest = ids.split_off(ids.len().min(500));
        let rows: Vec<String> = ids
            .iter()
            .map(|id| {
                let cid = cids[rng.random_range(0..cids.len())];
                format!(
                    "({id}, {cid}, '{id}@x', {id} % 1000, '2024-01-01', REPEAT('b', {id} % 200))"
                )
            })
            .collect();
        conn.query_drop(format!("INSERT INTO orders VALUES {}", rows.join(",")))
            .await
            .unwrap();
        ids = rest;
    }
}
