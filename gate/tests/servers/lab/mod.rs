//! Real servers and gates in front of them, with the records written straight into a store.

mod layout;
mod server;

use std::collections::BTreeMap;
use std::fs;
use std::io::Write as _;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Duration;

use mysql_async::prelude::Queryable as _;
use vtplan_gate::{Gate, GateConfig};
use vtplan_state::model::{CellName, GateName};
use vtplan_state::store::Store;

pub use layout::{LOOKUPS, Layout, MOVING, STEADY, shard_record};
pub use server::{Flavor, Server};
use server::{admin, direct, start_server};

/// The gate's account on the servers, and what tests use to look behind the gate.
pub const SERVER_USER: &str = "vt_gate";
pub const SERVER_PASSWORD: &str = "behind-the-gate";

/// The application's account at the gate.
pub const USER: &str = "app";
pub const PASSWORD: &str = "s3cret";

/// Runs `test` on each flavor that there is.
pub async fn on_each<F: Future<Output = ()>>(name: &str, test: impl Fn(Arc<Lab>) -> F) {
    for flavor in [Flavor::MariaDb, Flavor::MySql] {
        match Lab::get(flavor, &STEADY) {
            Some(lab) => test(lab).await,
            None => skip(name, "VTPLAN_TEST_MYSQLD names no MySQL server"),
        }
    }
}

pub fn skip(test: &str, why: &str) {
    eprintln!("skipped {test}: {why}");
    if let Some(path) = std::env::var_os("VTPLAN_TEST_SKIPPED") {
        let file = fs::File::options().create(true).append(true).open(path);
        let _ = file.and_then(|mut file| writeln!(file, "{test}: {why}"));
    }
}

/// Servers, and gates in front of them.
pub struct Lab {
    pub flavor: Flavor,
    pub servers: BTreeMap<u32, Server>,
    /// Of the first gate.
    pub mysql: SocketAddr,
    pub http: SocketAddr,
    pub shared: Arc<vtplan_gate::gate::Shared>,
    pub gates: Vec<(SocketAddr, Arc<vtplan_gate::gate::Shared>)>,
    pub store: Arc<dyn Store>,
    /// Whoever changes routing has the lab alone.
    pub alone: Arc<tokio::sync::Mutex<()>>,
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
    pub fn get(flavor: Flavor, layout: &'static Layout) -> Option<Arc<Self>> {
        type Labs = BTreeMap<(Flavor, &'static str), Weak<Lab>>;
        static LABS: Mutex<Labs> = Mutex::new(BTreeMap::new());
        flavor.program()?;
        let mut labs = LABS.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(lab) = labs.get(&(flavor, layout.name)).and_then(Weak::upgrade) {
            return Some(lab);
        }
        // On a thread with a runtime of its own: the gate outlives the test that began it.
        let lab = std::thread::spawn(move || Self::start(flavor, layout)).join();
        let lab = Arc::new(lab.expect("the lab starts"));
        labs.insert((flavor, layout.name), Arc::downgrade(&lab));
        Some(lab)
    }

    fn start(flavor: Flavor, layout: &Layout) -> Self {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .unwrap();
        let folder = tempfile::tempdir().unwrap();
        let (servers, store, gates) = runtime.block_on(async {
            let starting = layout.places.iter().map(async |place| {
                let uid = place.uid;
                let home = folder.path().join(format!("zone1-{uid:010}"));
                fs::create_dir_all(&home).unwrap();
                let server = start_server(flavor, &home, uid, layout.privileges).await;
                let mut conn = admin(&server, None).await;
                let keyspace = place.keyspace;
                let create = format!("CREATE DATABASE {keyspace}");
                conn.query_drop(create).await.unwrap();
                conn.query_drop(format!("USE {keyspace}")).await.unwrap();
                for sql in (layout.schema)(keyspace) {
                    conn.query_drop(*sql).await.unwrap();
                }
                (uid, server)
            });
            let servers: BTreeMap<u32, Server> = futures::future::join_all(starting)
                .await
                .into_iter()
                .collect();
            let store = layout.write(flavor, folder.path(), &servers).await;
            let mut gates = Vec::new();
            for number in 0..layout.gates {
                let cell = CellName::new("zone1").unwrap();
                let name = GateName::new(format!("gate{number}")).unwrap();
                let mut config = GateConfig::new("lab", name, cell);
                config.mysql_port = Some(0);
                config.http_port = 0;
                config.connect_timeout = Duration::from_secs(60);
                config.max_allowed_packet = 48 << 20;
                config.drain = Duration::from_millis(200);
                config.buffer = Duration::from_secs(60);
                gates.push(Gate::start(config, store.clone()).await.unwrap());
            }
            (servers, store, gates)
        });
        let addresses: Vec<_> = gates.iter().map(|g| g.addresses().unwrap()).collect();
        let shared: Vec<_> = gates.iter().map(|g| g.shared().clone()).collect();
        let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
        let thread = std::thread::spawn(move || {
            use futures::FutureExt as _;
            let stopped = stopped.map(drop).shared();
            let serving = gates.into_iter().map(|gate| gate.serve(stopped.clone()));
            let ended = runtime.block_on(futures::future::join_all(serving));
            ended.into_iter().for_each(|ended| ended.unwrap());
        });
        Self {
            flavor,
            servers,
            mysql: addresses[0].mysql,
            http: addresses[0].http,
            shared: shared[0].clone(),
            gates: addresses.iter().map(|a| a.mysql).zip(shared).collect(),
            store,
            alone: Arc::default(),
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

    /// A client of another gate than the first.
    pub async fn client_of(&self, gate: usize, target: &str) -> mysql_async::Conn {
        let options = self.options(target).tcp_port(self.gates[gate].0.port());
        mysql_async::Conn::new(options).await.unwrap()
    }

    /// A connection to a tablet's server as its administrator.
    pub async fn admin(&self, uid: u32, database: &str) -> mysql_async::Conn {
        admin(&self.servers[&uid], Some(database)).await
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
