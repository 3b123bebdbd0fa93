//! A host with one agent in a temporary folder, on a SQLite store, with the records written by the
//! test.

#![allow(dead_code, reason = "each test binary uses a part of it")]

pub mod server;

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder};
use vtplan_agent::client::{Authorized, ShowToken};
use vtplan_agent::proto::v1::agent_client::AgentClient;
use vtplan_agent::proto::v1::{ObserveRequest, StreamHealthRequest, TabletHealth};
use vtplan_agent::{Agent, AgentConfig, stop_servers};
use vtplan_planner::live::{ObservedRole, ObservedTablet, RunningServer, ServerState};
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{
    CellName, Durability, FlavorKind, HostName, KeyspaceName, KeyspaceRecord, ShardName,
    ShardRecord, TabletAlias, TabletRecord, TabletType,
};
use vtplan_state::store::{Op, OpenMode, Store, Txn, open};

pub const CLUSTER: &str = "test";

/// After this a test has failed: nothing it waits for takes a tenth of it.
const PATIENCE: Duration = Duration::from_secs(120);

/// The servers to test with: MariaDB from `PATH`, MySQL from `VTPLAN_TEST_MYSQLD`.
pub fn flavors() -> Vec<(FlavorKind, Option<PathBuf>)> {
    let mut flavors = vec![(FlavorKind::MariaDb, None)];
    match std::env::var_os("VTPLAN_TEST_MYSQLD") {
        Some(path) => flavors.push((FlavorKind::MySql, Some(path.into()))),
        None => note_skipped("on MySQL, for VTPLAN_TEST_MYSQLD is not set"),
    }
    flavors
}

/// MariaDB alone, for what does not hang on the flavor.
pub fn mariadb() -> (FlavorKind, Option<PathBuf>) {
    (FlavorKind::MariaDb, None)
}

pub struct Lab {
    dir: Option<tempfile::TempDir>,
    pub store: Arc<dyn Store>,
    pub cluster: Cluster,
    pub config: AgentConfig,
    pub flavor: FlavorKind,
    pub agent: Option<Agent>,
    /// Kept, because a test may empty the store.
    token: tokio::sync::OnceCell<String>,
}

impl Lab {
    pub async fn new(flavor: FlavorKind, mysqld: Option<PathBuf>) -> Self {
        let dir = tempfile::Builder::new().prefix("vta").tempdir().unwrap();
        let url = format!("sqlite:{}", dir.path().join("state.db").display());
        let store = open(&url, OpenMode::Create).await.unwrap();
        let mut config = AgentConfig::local(
            CLUSTER,
            HostName::new("h1").unwrap(),
            CellName::new("zone1").unwrap(),
            dir.path().join("h1"),
        );
        config.listen.set_port(0);
        config.mysqld = mysqld;
        config.templates_dir = Some(templates_dir());
        config.lease_ttl = Duration::from_secs(5);
        config.server.durable = false;
        config.server.buffer_pool_bytes = 16 << 20;
        config.server.redo_log_bytes = 8 << 20;
        Self {
            cluster: Cluster::new(store.clone(), CLUSTER).unwrap(),
            dir: Some(dir),
            store,
            config,
            flavor,
            agent: None,
            token: tokio::sync::OnceCell::new(),
        }
    }

    pub async fn start(&mut self) {
        let agent = Agent::start(self.config.clone(), self.store.clone())
            .await
            .unwrap();
        self.agent = Some(agent);
    }

    pub async fn stop_agent(&mut self) {
        if let Some(agent) = self.agent.take() {
            agent.stop().await;
        }
    }

    pub fn tablet_dir(&self, uid: u32) -> PathBuf {
        self.config
            .data_dir
            .join("tablets")
            .join(alias(uid).to_string())
    }

    pub async fn put(&self, ops: Vec<Op>) {
        let txn = Txn {
            compares: Vec::new(),
            ops,
        };
        self.store.txn(txn).await.unwrap();
    }

    pub fn tablet(&self, uid: u32, tablet_type: TabletType) -> TabletRecord {
        TabletRecord {
            alias: alias(uid),
            keyspace: keyspace(),
            shard: ShardName::unsharded(),
            tablet_type,
            host: self.config.name.clone(),
            mysql_port: free_port(),
            flavor: self.flavor,
            server: Default::default(),
        }
    }

    pub async fn put_tablet(&self, tablet: &TabletRecord) {
        let key = self.cluster.keys().tablet(&tablet.alias);
        self.put(vec![Op::put(key, tablet)]).await;
    }

    pub async fn put_keyspace(&self, durability: Durability) {
        let record = KeyspaceRecord {
            name: keyspace(),
            durability,
        };
        let key = self.cluster.keys().keyspace(&keyspace());
        self.put(vec![Op::put(key, &record)]).await;
    }

    pub async fn put_shard(&self, primary: Option<u32>, term: u64) {
        self.put_shard_as(primary, term, true, false).await;
    }

    pub async fn put_shard_as(&self, primary: Option<u32>, term: u64, serving: bool, fenced: bool) {
        let record = ShardRecord {
            keyspace: keyspace(),
            shard: ShardName::unsharded(),
            primary: primary.map(alias),
            term,
            serving,
            serving_reads: Default::default(),
            fenced,
        };
        let key = (self.cluster.keys()).shard(&keyspace(), &ShardName::unsharded());
        self.put(vec![Op::put(key, &record)]).await;
    }

    pub async fn client(&self) -> AgentClient<Authorized> {
        let token = self.token.get_or_init(|| async {
            let credentials = self.cluster.credentials().await.unwrap();
            credentials.unwrap().agent_token
        });
        let token = ShowToken(token.await.as_str().into());
        AgentClient::with_interceptor(self.channel().await, token)
    }

    /// A connection to the agent that shows no token.
    pub async fn channel(&self) -> tonic::transport::Channel {
        let url = self.agent.as_ref().unwrap().record().agent_url.clone();
        let endpoint = tonic::transport::Endpoint::from_shared(url).unwrap();
        endpoint.connect().await.unwrap()
    }

    pub async fn observe(&self, tables: bool) -> BTreeMap<String, ObservedTablet> {
        let request = ObserveRequest {
            deviations: false,
            tables,
            aliases: Vec::new(),
        };
        let answer = self.client().await.observe(request).await.unwrap();
        let tablets = answer.into_inner().tablets.into_iter();
        tablets
            .map(|(alias, json)| (alias, serde_json::from_str(&json).unwrap()))
            .collect()
    }

    pub async fn health(&self) -> Vec<TabletHealth> {
        let mut client = self.client().await;
        let answer = client.stream_health(StreamHealthRequest {}).await.unwrap();
        let update = answer.into_inner().message().await.unwrap().unwrap();
        update.tablets
    }

    /// Waits until a look at the tablets satisfies `done`.
    pub async fn wait(&self, what: &str, done: impl Fn(&BTreeMap<String, ObservedTablet>) -> bool) {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let seen = self.observe(false).await;
            if done(&seen) {
                return;
            }
            assert!(
                Instant::now() < give_up,
                "{what}: {seen:#?}\n{:#?}",
                self.health().await
            );
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Waits until the tablet is a primary that takes writes and the others replicate from it.
    pub async fn wait_for_shard(&self, primary: u32, term: u64, replicas: &[u32]) {
        self.wait("the shard is not whole", |seen| {
            let is_primary = running(seen, primary)
                .is_some_and(|s| s.role == (ObservedRole::Primary { term }) && !s.read_only);
            is_primary && replicas.iter().all(|uid| replicates(seen, *uid, primary))
        })
        .await;
    }

    /// Waits until the tablet is a primary that is read-only as its record wants it.
    pub async fn wait_for_fenced(&self, primary: u32, term: u64, replicas: &[u32]) {
        self.wait("the shard is not whole and fenced", |seen| {
            let is_primary = running(seen, primary)
                .is_some_and(|s| s.role == (ObservedRole::Primary { term }) && s.read_only);
            is_primary && replicas.iter().all(|uid| replicates(seen, *uid, primary))
        })
        .await;
    }

    pub fn pid(&self, uid: u32) -> i32 {
        let file = self.tablet_dir(uid).join("mysqld.pid");
        let text = std::fs::read_to_string(file).unwrap();
        text.trim().parse().unwrap()
    }

    /// A connection to a tablet's server as one of vtplan's accounts.
    pub async fn connect(&self, uid: u32, account: Account) -> Conn {
        let c = self.cluster.credentials().await.unwrap().unwrap();
        let (user, password) = match account {
            Account::Admin => (c.admin_user, c.admin_password),
            Account::Gate => (c.gate_user, c.gate_password),
        };
        let socket = self.tablet_dir(uid).join("mysql.sock");
        let options = OptsBuilder::default()
            .socket(Some(socket.display().to_string()))
            .user(Some(user))
            .pass(Some(password));
        Conn::new(options).await.unwrap()
    }

    /// Runs a statement as the gate.
    pub async fn write(&self, uid: u32, statement: &str) -> Result<(), mysql_async::Error> {
        let mut conn = self.connect(uid, Account::Gate).await;
        let done = conn.query_drop(statement).await;
        conn.disconnect().await.unwrap();
        done
    }

    pub async fn read(&self, uid: u32, query: &str) -> String {
        let mut conn = self.connect(uid, Account::Admin).await;
        let value: Option<Option<String>> = conn.query_first(query).await.unwrap();
        conn.disconnect().await.unwrap();
        value.flatten().unwrap_or_default()
    }

    pub async fn wait_for_value(&self, uid: u32, query: &str, wanted: &str) {
        let give_up = Instant::now() + PATIENCE;
        loop {
            let mut conn = self.connect(uid, Account::Admin).await;
            // The table itself may be yet to come.
            let value: Result<Option<String>, _> = conn.query_first(query).await;
            conn.disconnect().await.unwrap();
            if matches!(&value, Ok(Some(v)) if v == wanted) {
                return;
            }
            assert!(Instant::now() < give_up, "{query} on {uid}: {value:?}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// Stops the agent and all servers.
    pub async fn end(mut self) {
        self.stop_agent().await;
        stop_servers(&self.config.data_dir, Duration::from_secs(60))
            .await
            .unwrap();
    }
}

impl Drop for Lab {
    /// A test that failed leaves nothing running either.
    fn drop(&mut self) {
        self.agent = None;
        let tablets = self.config.data_dir.join("tablets");
        for entry in std::fs::read_dir(tablets).into_iter().flatten().flatten() {
            kill_server_of(&entry.path());
        }
        drop(self.dir.take());
    }
}

pub fn kill_server_of(dir: &Path) {
    for file in ["mysqld.pid", "spawned.pid"] {
        let Ok(text) = std::fs::read_to_string(dir.join(file)) else {
            continue;
        };
        let pid = text.trim().to_owned();
        let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        if String::from_utf8_lossy(&line).contains(&dir.display().to_string()) {
            // It may end by itself meanwhile.
            let _ = std::process::Command::new("kill")
                .args(["-9", &pid])
                .status();
        }
    }
}

pub enum Account {
    Admin,
    Gate,
}

pub fn alias(uid: u32) -> TabletAlias {
    TabletAlias::new(CellName::new("zone1").unwrap(), uid)
}

pub fn keyspace() -> KeyspaceName {
    KeyspaceName::new("my_commerce").unwrap()
}

pub fn server(seen: &BTreeMap<String, ObservedTablet>, uid: u32) -> Option<&ServerState> {
    seen.get(&alias(uid).to_string()).map(|t| &t.server)
}

pub fn running(seen: &BTreeMap<String, ObservedTablet>, uid: u32) -> Option<&RunningServer> {
    match server(seen, uid) {
        Some(ServerState::Running(server)) => Some(server),
        _ => None,
    }
}

pub fn down_message(seen: &BTreeMap<String, ObservedTablet>, uid: u32) -> Option<&str> {
    match server(seen, uid) {
        Some(ServerState::Down { message }) => Some(message),
        _ => None,
    }
}

pub fn replicates(seen: &BTreeMap<String, ObservedTablet>, uid: u32, primary: u32) -> bool {
    running(seen, uid).is_some_and(|s| {
        s.read_only
            && matches!(&s.role, ObservedRole::Replica { source, healthy: true, .. } if *source == alias(primary))
    })
}

pub fn free_port() -> u16 {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    listener.local_addr().unwrap().port()
}

/// Data folders are prepared once for all tests of a build.
fn templates_dir() -> PathBuf {
    Path::new(env!("CARGO_TARGET_TMPDIR")).join("templates")
}

/// Notes what the running test cannot do here, for the last lines of `make test`.
fn note_skipped(why: &str) {
    use std::io::Write as _;
    let thread = std::thread::current();
    let test = thread.name().unwrap_or("a test");
    eprintln!("skipped {test}: {why}");
    if let Some(path) = std::env::var_os("VTPLAN_TEST_SKIPPED") {
        let file = std::fs::File::options()
            .create(true)
            .append(true)
            .open(path);
        let _ = file.and_then(|mut file| writeln!(file, "{test}: {why}"));
    }
}
