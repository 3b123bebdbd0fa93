//! A gate as a whole: its configuration, its threads, its listeners, its beginning and end.

use std::collections::HashMap;
use std::future::Future;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio_rustls::TlsAcceptor;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{CellName, FlavorKind, GateName, GateRecord};
use vtplan_state::store::{Store, StoreError, unix_millis};

use crate::exec::sequences::Sequences;
use crate::http::metrics::Metrics;
use crate::plan::{CacheLimits, Planner};
use crate::pool::{PoolLimits, set_current_worker};
use crate::protocol::handshake::{Handshake, HandshakeError, Verifiers};
use crate::protocol::tls::{TlsConfig, TlsError};
use crate::protocol::{SqlError, Stream};
use crate::session::registry::{Registry, SessionHandle};
use crate::session::{NewSession, Session, close};
use crate::topology::{Topology, TopologyConfig};

/// The MySQL port when neither the configuration nor the spec gives one.
pub const DEFAULT_MYSQL_PORT: u16 = 15_306;

/// How a gate runs.
#[derive(Debug, Clone)]
pub struct GateConfig {
    pub cluster: String,
    /// Under which it registers; `None`: host name and MySQL port.
    pub name: GateName,
    pub cell: CellName,
    /// Where both listeners listen.
    pub listen: IpAddr,
    /// `None`: the port of the cell's `gate-config` record, else [`DEFAULT_MYSQL_PORT`]. 0: any
    /// that is free.
    pub mysql_port: Option<u16>,
    /// 0: any that is free.
    pub http_port: u16,
    /// Host name or address at which clients reach it.
    pub advertise: String,
    /// vtplan's version.
    pub version: String,
    pub tls: TlsConfig,
    /// Threads that serve clients; 0: one for each processor.
    pub workers: usize,
    /// The longest message that a client may send, bytes.
    pub max_allowed_packet: usize,
    /// Clients at a time.
    pub max_sessions: usize,
    /// How long a client may take to log in.
    pub connect_timeout: Duration,
    /// How long running statements and transactions may go on when the gate is told to end.
    pub drain: Duration,
    pub pool: PoolLimits,
    /// Replicas that lag more get no queries.
    pub max_replica_lag: Duration,
    /// How long a statement waits for a shard's primary that is absent for a moment.
    pub buffer: Duration,
}

impl GateConfig {
    /// The defaults for everything but who it is and where it listens.
    pub fn new(cluster: &str, name: GateName, cell: CellName) -> Self {
        Self {
            cluster: cluster.to_owned(),
            name,
            cell,
            listen: IpAddr::from([127, 0, 0, 1]),
            mysql_port: None,
            http_port: 15_001,
            advertise: "127.0.0.1".to_owned(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            tls: TlsConfig::default(),
            workers: 0,
            max_allowed_packet: 64 << 20,
            max_sessions: 100_000,
            connect_timeout: Duration::from_secs(10),
            drain: Duration::from_secs(5),
            pool: PoolLimits::default(),
            max_replica_lag: Duration::from_secs(30),
            buffer: Duration::from_secs(10),
        }
    }
}

/// Why a gate does not run.
#[derive(Debug, thiserror::Error)]
pub enum GateError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error("the gate cannot listen on {address} for {what}")]
    Listen {
        address: SocketAddr,
        what: &'static str,
        #[source]
        source: io::Error,
    },
    #[error(transparent)]
    Tls(#[from] TlsError),
    #[error("a thread of the gate cannot be started: {0}")]
    Thread(#[source] io::Error),
}

/// What all sessions of a gate share.
pub struct Shared {
    pub config: GateConfig,
    pub topology: Arc<Topology>,
    pub planner: Planner,
    /// Of the gate's own statements about lookups, which count as nobody's.
    pub lookup_planner: Planner,
    pub metrics: Metrics,
    pub sessions: Arc<Registry>,
    pub sequences: Sequences,
    pub started: Instant,
    /// The same, milliseconds since 1970.
    pub started_at: u64,
    tls: Option<TlsAcceptor>,
    /// One text for each name, so that connections and sessions share it.
    names: Mutex<HashMap<String, Arc<str>>>,
}

impl Shared {
    /// The verifiers of a user.
    pub fn verifiers(&self, user: &str) -> Option<Verifiers> {
        self.topology.snapshot().users.get(user).cloned()
    }

    /// A keyspace's name as a shared text.
    pub fn name(&self, name: &str) -> Arc<str> {
        let mut names = self.names.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = names.get(name) {
            return known.clone();
        }
        let new: Arc<str> = name.into();
        names.insert(name.to_owned(), new.clone());
        new
    }

    /// What the gate says its version is: that of the cluster's servers.
    fn server_version(&self) -> String {
        let snapshot = self.topology.snapshot();
        match snapshot.records.hosts.values().next() {
            Some(host) => match host.flavor {
                FlavorKind::MariaDb => format!("{}-MariaDB-vtplan", host.server_version),
                FlavorKind::MySql => format!("{}-vtplan", host.server_version),
            },
            None => "8.0.30-vtplan".to_owned(),
        }
    }
}

/// Where a gate listens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct GateAddresses {
    pub mysql: SocketAddr,
    pub http: SocketAddr,
}

/// A gate that listens and has its lease, but does not serve yet.
pub struct Gate {
    shared: Arc<Shared>,
    cluster: Cluster,
    record: GateRecord,
    mysql: TcpListener,
    http: TcpListener,
}

/// Runs a gate until `shutdown` is ready. It then takes no more clients, ends idle ones, and lets
/// statements and transactions end for a while.
pub async fn run_gate(
    config: GateConfig,
    store: Arc<dyn Store>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), GateError> {
    Gate::start(config, store).await?.serve(shutdown).await
}

impl Gate {
    /// Opens the listeners, reads the records and registers.
    pub async fn start(config: GateConfig, store: Arc<dyn Store>) -> Result<Self, GateError> {
        let cluster = Cluster::new(store, &config.cluster)?;
        let port = match config.mysql_port {
            Some(port) => port,
            None => {
                let key = cluster.keys().gate_config(&config.cell);
                match cluster.store().get(&key).await? {
                    Some(entry) => {
                        entry
                            .json::<vtplan_state::model::GateConfigRecord>()?
                            .mysql_port
                    }
                    None => DEFAULT_MYSQL_PORT,
                }
            }
        };
        let listen = async |port, what| {
            let address = SocketAddr::new(config.listen, port);
            let listener = TcpListener::bind(address).await;
            listener.map_err(|source| GateError::Listen {
                address,
                what,
                source,
            })
        };
        let mysql = listen(port, "MySQL clients").await?;
        let http = listen(config.http_port, "HTTP").await?;
        let tls = config.tls.acceptor(&config.advertise)?;
        let topology = Arc::new(Topology::new(TopologyConfig {
            cell: config.cell.clone(),
            pool: config.pool,
            max_lag: config.max_replica_lag,
            buffer: config.buffer,
        }));
        let port_of = |listener: &TcpListener| listener.local_addr().map_or(0, |a| a.port());
        let advertised = |port: u16| match config.advertise.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, port).to_string(),
            Err(_) => format!("{}:{port}", config.advertise),
        };
        let mut record = GateRecord {
            name: config.name.clone(),
            cell: config.cell.clone(),
            mysql_address: advertised(port_of(&mysql)),
            http_url: format!("http://{}", advertised(port_of(&http))),
            version: config.version.clone(),
            started_at: unix_millis(),
            serving_revision: 0,
            drained: Default::default(),
        };
        topology.begin(&cluster, &mut record).await?;
        let shared = Arc::new(Shared {
            config,
            topology,
            planner: Planner::new(CacheLimits::default()),
            lookup_planner: Planner::new(CacheLimits {
                entries: 2_000,
                bytes: 4 << 20,
            }),
            metrics: Metrics::default(),
            sessions: Arc::default(),
            sequences: Sequences::default(),
            started: Instant::now(),
            started_at: unix_millis(),
            tls,
            names: Mutex::default(),
        });
        Ok(Self {
            shared,
            cluster,
            record,
            mysql,
            http,
        })
    }

    /// Where it listens.
    pub fn addresses(&self) -> io::Result<GateAddresses> {
        Ok(GateAddresses {
            mysql: self.mysql.local_addr()?,
            http: self.http.local_addr()?,
        })
    }

    /// For `/debug/status` and tests.
    pub fn shared(&self) -> &Arc<Shared> {
        &self.shared
    }

    /// Serves until `shutdown` is ready, and ends as [`run_gate`] says.
    pub async fn serve(self, shutdown: impl Future<Output = ()> + Send) -> Result<(), GateError> {
        let shared = self.shared;
        let follow = tokio::spawn(shared.topology.clone().follow(
            self.cluster.clone(),
            self.record.clone(),
            shared.sessions.clone(),
        ));
        let router = crate::http::router(shared.clone());
        let web = tokio::spawn(async move {
            if let Err(error) = axum::serve(self.http, router).await {
                tracing::error!(%error, "the HTTP listener ended");
            }
        });
        let workers = Workers::start(&shared)?;
        tracing::info!(gate = %shared.config.name, address = %self.record.mysql_address, "serving");
        tokio::select! {
            () = accept(&self.mysql, &workers) => {}
            () = shutdown => {}
        }
        drop(self.mysql);
        drain(&shared).await;
        follow.abort();
        // Nobody waits for this gate's acknowledgement any more.
        shared.topology.end(&self.cluster, &self.record).await;
        tokio::task::spawn_blocking(move || drop(workers))
            .await
            .ok();
        web.abort();
        Ok(())
    }
}

/// Hands new clients to the workers in turn, for ever.
async fn accept(listener: &TcpListener, workers: &Workers) {
    let mut turn = 0usize;
    loop {
        match listener.accept().await {
            Ok((stream, peer)) => {
                let Ok(stream) = stream.into_std() else {
                    continue;
                };
                workers.give(turn, stream, peer);
                turn = turn.wrapping_add(1);
            }
            Err(error) => {
                // Out of file descriptors, mostly: it passes.
                tracing::warn!(%error, "a client could not be accepted");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
    }
}

/// Lets what runs end, within limits.
async fn drain(shared: &Arc<Shared>) {
    let end = tokio::time::Instant::now() + shared.config.drain;
    loop {
        let mut left = 0;
        for session in shared.sessions.list() {
            session.end();
            left += 1;
        }
        if left == 0 || tokio::time::Instant::now() >= end {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

type NewClient = (std::net::TcpStream, SocketAddr);

/// Threads with a reactor each. A session stays on one thread, and mostly uses connections of that
/// thread: a statement then wakes no other thread.
struct Workers {
    queues: Vec<mpsc::UnboundedSender<NewClient>>,
    threads: Vec<thread::JoinHandle<()>>,
}

impl Workers {
    fn start(shared: &Arc<Shared>) -> Result<Self, GateError> {
        let count = match shared.config.workers {
            0 => thread::available_parallelism().map_or(1, usize::from),
            count => count,
        };
        let mut workers = Self {
            queues: Vec::new(),
            threads: Vec::new(),
        };
        for number in 0..count {
            let (queue, clients) = mpsc::unbounded_channel();
            let runtime = tokio::runtime::Builder::new_current_thread()
                .enable_all()
                .build()
                .map_err(GateError::Thread)?;
            let shared = shared.clone();
            let thread = thread::Builder::new()
                .name(format!("gate-{number}"))
                .spawn(move || {
                    set_current_worker(number);
                    runtime.block_on(work(shared, clients));
                    // Ends what is left: its server connections close, which rolls back.
                    runtime.shutdown_background();
                })
                .map_err(GateError::Thread)?;
            workers.queues.push(queue);
            workers.threads.push(thread);
        }
        Ok(workers)
    }

    fn give(&self, turn: usize, stream: std::net::TcpStream, peer: SocketAddr) {
        // A worker ends only with the gate.
        let _ = self.queues[turn % self.queues.len()].send((stream, peer));
    }
}

impl Drop for Workers {
    fn drop(&mut self) {
        self.queues.clear();
        for thread in self.threads.drain(..) {
            let _ = thread.join();
        }
    }
}

async fn work(shared: Arc<Shared>, mut clients: mpsc::UnboundedReceiver<NewClient>) {
    while let Some((stream, peer)) = clients.recv().await {
        let stream = TcpStream::from_std(stream);
        match stream {
            Ok(stream) => {
                tokio::spawn(client(shared.clone(), stream, peer));
            }
            Err(error) => tracing::warn!(%error, "a client could not be served"),
        }
    }
}

/// Takes the session out of the registry however its task ends.
struct Registered {
    shared: Arc<Shared>,
    handle: Arc<SessionHandle>,
}

impl Drop for Registered {
    fn drop(&mut self) {
        self.shared.sessions.remove(self.handle.id);
        self.handle.activity.clear();
        self.shared.topology.activity_changed();
    }
}

async fn client(shared: Arc<Shared>, stream: TcpStream, peer: SocketAddr) {
    if stream.set_nodelay(true).is_err() {
        return;
    }
    let handle = shared.sessions.add(peer.to_string());
    let registered = Registered {
        shared: shared.clone(),
        handle: handle.clone(),
    };
    // The handshake's state is large and short-lived: it must not stay in the session's task.
    let begun = Box::pin(begin(&shared, &handle, stream, peer)).await;
    if let Some((session, database)) = begun {
        Box::pin(session.serve(database)).await;
    }
    drop(registered);
}

async fn begin(
    shared: &Arc<Shared>,
    handle: &Arc<SessionHandle>,
    stream: TcpStream,
    peer: SocketAddr,
) -> Option<(Session, Option<String>)> {
    let mut stream = Stream::Tcp(stream);
    if shared.sessions.count() > shared.config.max_sessions {
        let error = SqlError::new(1040, b"08004", "Too many connections");
        let mut out = Vec::new();
        crate::protocol::messages::put_error(&mut out, &mut 0, &error);
        let _ = tokio::io::AsyncWriteExt::write_all(&mut stream, &out).await;
        let _ = close(&mut stream).await;
        return None;
    }
    let version = shared.server_version();
    let host = peer.ip().to_string();
    let users = |name: &str| shared.verifiers(name);
    let handshake = Handshake {
        connection_id: handle.id,
        server_version: &version,
        tls: shared.tls.as_ref(),
        peer: &host,
        users: &users,
    };
    let mut sequence = 0;
    let run = handshake.run(stream, &mut sequence);
    match tokio::time::timeout(shared.config.connect_timeout, run).await {
        Ok(Ok((stream, hello, nonce))) => {
            handle.set_user(&hello.user, hello.program.clone());
            let new = NewSession {
                stream,
                sequence,
                capabilities: hello.capabilities,
                collation: hello.collation,
                nonce,
            };
            let session = Session::new(shared.clone(), handle.clone(), new);
            Some((session, hello.database))
        }
        Ok(Err(HandshakeError::Refused(error))) => {
            shared.metrics.error(error.code);
            tracing::info!(client = %peer, %error, "a client was refused");
            None
        }
        Ok(Err(error)) => {
            tracing::debug!(client = %peer, %error, "a client went during the handshake");
            None
        }
        Err(_) => {
            tracing::info!(client = %peer, "a client did not log in in time");
            None
        }
    }
}
