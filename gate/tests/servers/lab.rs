//! Real servers and a gate in front of them, with the records written straight into a store.

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, Weak};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use vtplan_gate::{Gate, GateConfig};
use vtplan_state::model::keys::Keys;
use vtplan_state::model::{
    AutoIncrement, CellName, ColumnVindex, Credentials, FlavorKind, GateName, HostName, HostRecord,
    KeyspaceName, KeyspaceRecord, ShardName, ShardRecord, TabletAlias, TabletRecord, TabletType,
    UserRecord, VSchemaKeyspace, VSchemaTable, VindexDefinition,
};
use vtplan_state::store::{Op, OpenMode, Store, Txn, open};

const PATIENCE: Duration = Duration::from_secs(120);

/// The gate's account on the servers, and what tests use to look behind the gate.
pub const SERVER_USER: &str = "vt_gate";
pub const SERVER_PASSWORD: &str = "behind-the-gate";

/// The application's account at the gate.
pub const USER: &str = "app";
pub const PASSWORD: &str = "s3cret";

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Flavor {
    MariaDb,
    MySql,
}

impl Flavor {
    fn program(self) -> Option<PathBuf> {
        match self {
            Self::MariaDb => Some("mariadbd".into()),
            Self::MySql => std::env::var_os("VTPLAN_TEST_MYSQLD")
                .filter(|p| !p.is_empty())
                .map(PathBuf::from),
        }
    }
}

/// Runs `test` on each flavor that there is.
pub async fn on_each<F: Future<Output = ()>>(name: &str, test: impl Fn(Arc<Lab>) -> F) {
    for flavor in [Flavor::MariaDb, Flavor::MySql] {
        match Lab::get(flavor) {
            Some(lab) => test(lab).await,
            None => skip(name, "VTPLAN_TEST_MYSQLD names no MySQL server"),
        }
    }
}

fn skip(test: &str, why: &str) {
    eprintln!("skipped {test}: {why}");
    if let Some(path) = std::env::var_os("VTPLAN_TEST_SKIPPED") {
        let file = fs::File::options().create(true).append(true).open(path);
        let _ = file.and_then(|mut file| writeln!(file, "{test}: {why}"));
    }
}

/// One server. Stopped when dropped.
pub struct Server {
    child: Child,
    pub port: u16,
    pub socket: PathBuf,
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn free_port() -> u16 {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap();
    listener.local_addr().unwrap().port()
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            copy_folder(&entry.path(), &target);
        } else if kind.is_file() {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

fn run(command: &mut Command) {
    let output = command
        .output()
        .unwrap_or_else(|e| panic!("{command:?}: {e}"));
    assert!(
        output.status.success(),
        "{command:?}: {}{}",
        String::from_utf8_lossy(&output.stdout),
        String::from_utf8_lossy(&output.stderr)
    );
}

/// A prepared data folder for each flavor, made once a process.
fn template(flavor: Flavor, program: &Path) -> &'static Path {
    static MADE: OnceLock<Mutex<BTreeMap<Flavor, &'static Path>>> = OnceLock::new();
    let mut made = MADE
        .get_or_init(Mutex::default)
        .lock()
        .unwrap_or_else(PoisonError::into_inner);
    made.entry(flavor).or_insert_with(|| {
        // Left to the system's cleaning: there is no end of a test process to hook into.
        let folder = std::env::temp_dir().join(format!(
            "vtplan-gate-test-{}-{flavor:?}",
            std::process::id()
        ));
        let data = folder.join("data");
        fs::create_dir_all(&folder).unwrap();
        match flavor {
            Flavor::MariaDb => run(Command::new("mariadb-install-db")
                .args(["--no-defaults", "--user=root", "--skip-test-db"])
                .arg("--auth-root-authentication-method=normal")
                .arg(format!("--datadir={}", data.display()))),
            Flavor::MySql => run(Command::new(program)
                .args(["--no-defaults", "--initialize-insecure", "--user=root"])
                .arg(format!("--datadir={}", data.display()))),
        }
        Box::leak(data.into_boxed_path())
    })
}

async fn start_server(flavor: Flavor, folder: &Path, id: u32) -> Server {
    let program = flavor.program().unwrap();
    copy_folder(template(flavor, &program), &folder.join("data"));
    // Of the copies each is a server of its own.
    let _ = fs::remove_file(folder.join("data/auto.cnf"));
    let (port, socket) = (free_port(), folder.join("mysql.sock"));
    let log = fs::File::create(folder.join("error.log")).unwrap();
    let mut command = Command::new(&program);
    command
        .args(["--no-defaults", "--user=root", "--bind-address=127.0.0.1"])
        .args(["--max-allowed-packet=64M", "--max-connections=300"])
        .args(["--innodb-flush-log-at-trx-commit=0", "--skip-log-bin"])
        .args(["--innodb-buffer-pool-size=32M", "--secure-file-priv="])
        .arg(format!("--server-id={id}"))
        .arg(format!("--port={port}"))
        .arg(format!("--socket={}", socket.display()))
        .arg(format!("--datadir={}", folder.join("data").display()))
        .arg(format!("--pid-file={}", folder.join("pid").display()))
        .stdin(Stdio::null())
        .stdout(log.try_clone().unwrap())
        .stderr(log);
    if flavor == Flavor::MySql {
        command.args(["--mysqlx=OFF"]);
    }
    let mut server = Server {
        child: command.spawn().unwrap(),
        port,
        socket,
    };
    let root = mysql_async::OptsBuilder::default()
        .socket(server.socket.to_str())
        .user(Some("root"));
    let end = Instant::now() + PATIENCE;
    let mut conn = loop {
        match mysql_async::Conn::new(root.clone()).await {
            Ok(conn) => break conn,
            Err(error) => {
                let ended = server.child.try_wait().unwrap();
                let log = || fs::read_to_string(folder.join("error.log")).unwrap_or_default();
                assert!(ended.is_none(), "the server ended: {}", log());
                assert!(Instant::now() < end, "{error}: {}", log());
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    };
    for host in ["localhost", "127.0.0.1"] {
        let account = format!("'{SERVER_USER}'@'{host}'");
        let create = format!("CREATE USER {account} IDENTIFIED BY '{SERVER_PASSWORD}'");
        conn.query_drop(create).await.unwrap();
        let grant = format!("GRANT ALL PRIVILEGES ON *.* TO {account}");
        conn.query_drop(grant).await.unwrap();
    }
    server
}

/// Tablets: uid, keyspace, shard.
const TABLETS: [(u32, &str, &str); 3] = [
    (100, "commerce", "0"),
    (200, "customer", "-80"),
    (300, "customer", "80-"),
];

/// Servers of an unsharded keyspace `commerce` and a sharded one `customer`, and a gate.
pub struct Lab {
    pub flavor: Flavor,
    pub servers: BTreeMap<u32, Server>,
    pub mysql: SocketAddr,
    pub http: SocketAddr,
    pub shared: Arc<vtplan_gate::gate::Shared>,
    stop: Option<tokio::sync::oneshot::Sender<()>>,
    thread: Option<std::thread::JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Drop for Lab {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl Lab {
    /// The lab of a flavor, shared by the tests that run at the same time; `None` without a
    /// server of the flavor.
    pub fn get(flavor: Flavor) -> Option<Arc<Self>> {
        static LABS: Mutex<BTreeMap<Flavor, Weak<Lab>>> = Mutex::new(BTreeMap::new());
        flavor.program()?;
        let mut labs = LABS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lab) = labs.get(&flavor).and_then(Weak::upgrade) {
            return Some(lab);
        }
        // On a thread with a runtime of its own: the gate outlives the test that began it.
        let lab = std::thread::spawn(move || Self::start(flavor)).join();
        let lab = Arc::new(lab.expect("the lab starts"));
        labs.insert(flavor, Arc::downgrade(&lab));
        Some(lab)
    }

    fn start(flavor: Flavor) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (servers, gate) = runtime.block_on(async {
            let mut servers = BTreeMap::new();
            for (uid, keyspace, _) in TABLETS {
                let home = folder.path().join(format!("zone1-{uid:010}"));
                fs::create_dir_all(&home).unwrap();
                let server = start_server(flavor, &home, uid).await;
                let mut conn = direct(&server, None).await;
                let create = format!("CREATE DATABASE {keyspace}");
                conn.query_drop(create).await.unwrap();
                servers.insert(uid, server);
            }
            let store = records(flavor, folder.path(), &servers).await;
            schema(&servers).await;
            let cell = CellName::new("zone1").unwrap();
            let mut config = GateConfig::new("lab", GateName::new("gate").unwrap(), cell);
            config.mysql_port = Some(0);
            config.http_port = 0;
            config.connect_timeout = Duration::from_secs(60);
            config.max_allowed_packet = 48 << 20;
            config.drain = Duration::from_millis(200);
            let gate = Gate::start(config, store).await.unwrap();
            (servers, gate)
        });
        let addresses = gate.addresses().unwrap();
        let shared = gate.shared().clone();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            let until = async {
                let _ = stopped.await;
            };
            runtime.block_on(gate.serve(until)).unwrap();
        });
        Self {
            flavor,
            servers,
            mysql: addresses.mysql,
            http: addresses.http,
            shared,
            stop: Some(stop),
            thread: Some(thread),
            _folder: folder,
        }
    }

    /// Options of a client of the gate.
    pub fn options(&self, target: &str) -> mysql_async::OptsBuilder {
        mysql_async::OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(self.mysql.port())
            .user(Some(USER))
            .pass(Some(PASSWORD))
            .db_name(Some(target).filter(|t| !t.is_empty()))
            .max_allowed_packet(Some(64 << 20))
            .prefer_socket(false)
    }

    pub async fn client(&self, target: &str) -> mysql_async::Conn {
        mysql_async::Conn::new(self.options(target)).await.unwrap()
    }

    /// A connection to a tablet's server itself.
    pub async fn direct(&self, uid: u32, database: &str) -> mysql_async::Conn {
        direct(&self.servers[&uid], Some(database)).await
    }

    /// How many connections of the gate a tablet's server has.
    pub fn server_connections(&self) -> usize {
        let snapshot = self.shared.topology.snapshot();
        let open = snapshot.tablets.values().map(|t| t.pool.status().open);
        open.sum()
    }
}

async fn direct(server: &Server, database: Option<&str>) -> mysql_async::Conn {
    let options = mysql_async::OptsBuilder::default()
        .socket(server.socket.to_str())
        .user(Some(SERVER_USER))
        .pass(Some(SERVER_PASSWORD))
        .db_name(database)
        .max_allowed_packet(Some(64 << 20));
    mysql_async::Conn::new(options).await.unwrap()
}

async fn schema(servers: &BTreeMap<u32, Server>) {
    let mut commerce = direct(&servers[&100], Some("commerce")).await;
    for sql in [
        "CREATE TABLE customer_seq (id BIGINT PRIMARY KEY, next_id BIGINT, cache BIGINT)",
        "INSERT INTO customer_seq VALUES (0, 1, 3)",
        "CREATE TABLE item (id INT AUTO_INCREMENT PRIMARY KEY, name VARCHAR(40) UNIQUE, n INT)",
    ] {
        commerce.query_drop(sql).await.unwrap();
    }
    for uid in [200, 300] {
        let mut customer = direct(&servers[&uid], Some("customer")).await;
        let sql = "CREATE TABLE customer (customer_id BIGINT PRIMARY KEY, email VARCHAR(80))";
        customer.query_drop(sql).await.unwrap();
    }
}

fn vschema() -> VSchemaKeyspace {
    let table = VSchemaTable {
        column_vindexes: vec![ColumnVindex {
            column: Some("customer_id".into()),
            columns: Vec::new(),
            name: "xxhash".into(),
            extra: BTreeMap::new(),
        }],
        auto_increment: Some(AutoIncrement {
            column: "customer_id".into(),
            sequence: "commerce.customer_seq".into(),
        }),
        ..VSchemaTable::default()
    };
    let vindex = VindexDefinition {
        vindex_type: "xxhash".into(),
        params: BTreeMap::new(),
        owner: None,
        extra: BTreeMap::new(),
    };
    VSchemaKeyspace {
        sharded: true,
        vindexes: [("xxhash".to_owned(), vindex)].into(),
        tables: [("customer".to_owned(), table)].into(),
        ..VSchemaKeyspace::default()
    }
}

async fn records(flavor: Flavor, folder: &Path, servers: &BTreeMap<u32, Server>) -> Arc<dyn Store> {
    let url = format!("sqlite:{}", folder.join("state.db").display());
    let store = open(&url, OpenMode::Create).await.unwrap();
    let (keys, cell) = (Keys::new("lab"), CellName::new("zone1").unwrap());
    let host = HostName::new("host1").unwrap();
    let kind = match flavor {
        Flavor::MariaDb => FlavorKind::MariaDb,
        Flavor::MySql => FlavorKind::MySql,
    };
    let mut txn = Txn::new()
        .then(Op::put(
            keys.credentials(),
            &Credentials {
                admin_user: "unused".into(),
                admin_password: "unused".into(),
                gate_user: SERVER_USER.into(),
                gate_password: SERVER_PASSWORD.into(),
                repl_user: "unused".into(),
                repl_password: "unused".into(),
                agent_token: String::new(),
            },
        ))
        .then(Op::put(
            keys.host(&host),
            &HostRecord {
                name: host.clone(),
                cell: cell.clone(),
                address: "127.0.0.1".into(),
                agent_url: "http://127.0.0.1:1".into(),
                capacity: 10,
                first_mysql_port: 1,
                flavor: kind,
                server_version: "10.11.0".into(),
                version: "test".into(),
                started_at: 0,
                tablets_dir: folder.display().to_string(),
            },
        ))
        .then(Op::put(
            keys.user(USER),
            &UserRecord::from_password(USER, PASSWORD),
        ))
        .then(Op::put(
            keys.user("empty"),
            &UserRecord::from_password("empty", ""),
        ));
    for (uid, keyspace, shard) in TABLETS {
        let keyspace = KeyspaceName::new(keyspace).unwrap();
        let shard: ShardName = shard.parse().unwrap();
        let alias = TabletAlias::new(cell.clone(), uid);
        txn = txn
            .then(Op::put(
                keys.tablet(&alias),
                &TabletRecord {
                    alias: alias.clone(),
                    keyspace: keyspace.clone(),
                    shard: shard.clone(),
                    tablet_type: TabletType::Replica,
                    host: host.clone(),
                    mysql_port: servers[&uid].port,
                    flavor: kind,
                },
            ))
            .then(Op::put(
                keys.shard(&keyspace, &shard),
                &ShardRecord {
                    keyspace: keyspace.clone(),
                    shard: shard.clone(),
                    primary: Some(alias),
                    term: 1,
                    serving: true,
                    serving_reads: Default::default(),
                    fenced: false,
                },
            ));
    }
    let commerce = VSchemaKeyspace {
        tables: [(
            "customer_seq".to_owned(),
            VSchemaTable {
                table_type: Some("sequence".into()),
                ..VSchemaTable::default()
            },
        )]
        .into(),
        ..VSchemaKeyspace::default()
    };
    let name = |n: &str| KeyspaceName::new(n).unwrap();
    for keyspace in [name("commerce"), name("customer")] {
        let key = keys.keyspace(&keyspace);
        let record = KeyspaceRecord {
            name: keyspace,
            durability: Default::default(),
        };
        txn = txn.then(Op::put(key, &record));
    }
    txn = txn
        .then(Op::put(keys.vschema(&name("commerce")), &commerce))
        .then(Op::put(keys.vschema(&name("customer")), &vschema()));
    store.txn(txn).await.unwrap().committed().unwrap();
    store
}
