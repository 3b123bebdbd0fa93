//! An agent's life: from its settings to a registered host with a gRPC service and tablets that
//! are kept as their records say.

use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::io::{Read as _, Seek as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use tokio::net::TcpListener;
use tokio::select;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{info, warn};
use vtplan_state::cluster::RecordsWatch;
use vtplan_state::model::HostRecord;
use vtplan_state::store::{Store, unix_millis};

use crate::address;
use crate::backup;
use crate::client::{AgentClients, Timeouts};
use crate::conductor;
use crate::config::AgentConfig;
use crate::error::AgentError;
use crate::flavor;
use crate::host::Host;
use crate::mysqld::{Program, Templates};
use crate::records_copy;
use crate::register;
use crate::room::Room;
use crate::service::{self, AgentService};
use crate::stream::keeper;
use crate::stream::progress::Streams;
use crate::tablets::{self, Tablets};
use crate::vdiff;

/// How long the end of an agent waits for calls and the conductor.
const STOP_PATIENCE: Duration = Duration::from_secs(5);

/// Runs an agent until `shutdown` is ready. The servers go on running after it.
///
/// # Errors
/// Everything that keeps an agent from starting: no usable mysqld, a host name that does not
/// resolve, a port that is taken, a store that cannot be reached or holds another cluster.
pub async fn run_agent(
    config: AgentConfig,
    store: Arc<dyn Store>,
    shutdown: impl Future<Output = ()> + Send,
) -> Result<(), AgentError> {
    let agent = Agent::start(config, store).await?;
    shutdown.await;
    agent.stop().await;
    Ok(())
}

/// A running agent. When it is dropped it ends as with [`Agent::stop`], in the background.
pub struct Agent {
    record: HostRecord,
    host: Arc<Host>,
    tasks: JoinSet<()>,
    stopping: watch::Sender<bool>,
    _watch: RecordsWatch,
    _lock: Flock<File>,
}

impl Agent {
    /// Starts an agent and returns once it is registered and answers.
    pub async fn start(config: AgentConfig, store: Arc<dyn Store>) -> Result<Self, AgentError> {
        let data_dir = prepare_data_dir(&config.data_dir)?;
        let lock = lock_data_dir(&data_dir)?;
        let program = Program::find(config.mysqld.as_deref()).await?;
        let advertised = address::advertised(&config).await?;
        let listener = listen(config.listen).await?;
        let port = listener
            .local_addr()
            .map_err(|why| AgentError::Listen {
                address: config.listen.to_string(),
                why,
            })?
            .port();

        register::check_not_lost(&store, &config.cluster, &data_dir).await?;
        let (cluster, identity) = register::join(store, &config.cluster).await?;
        let credentials = cluster.ensure_credentials().await?;
        let token = credentials.agent_token.clone();
        let tablets_dir = data_dir.join("tablets");
        let record = HostRecord {
            name: config.name.clone(),
            cell: config.cell.clone(),
            address: advertised.clone(),
            agent_url: format!("http://{}", address::host_port(&advertised, port)),
            capacity: config.capacity,
            first_mysql_port: config.first_mysql_port,
            flavor: program.version.flavor,
            server_version: program.version.version(),
            version: env!("CARGO_PKG_VERSION").to_owned(),
            started_at: unix_millis(),
            tablets_dir: tablets_dir.display().to_string(),
        };
        tablets::remove_remains(tablets_dir.clone()).await?;
        let lease = register::register(&cluster, &record, config.lease_ttl).await?;
        let watch = cluster.watch_records().await?;
        let as_root = nix::unistd::geteuid().is_root();
        let templates = config
            .templates_dir
            .clone()
            .unwrap_or_else(|| data_dir.join("templates"));
        info!(host = %record.name, url = %record.agent_url, server = %program.version, "agent started");
        let host = Arc::new(Host {
            name: record.name.clone(),
            cluster,
            identity,
            lease: Mutex::new(Some(lease)),
            credentials,
            flavor: flavor::of(program.version).into(),
            program,
            templates: Templates::new(templates, as_root),
            tablets_dir,
            bind_address: address::bind_address(&advertised).await?,
            address: advertised,
            settings: config.server.clone(),
            as_root,
            health_changes: watch::Sender::new(0),
            addresses: Mutex::default(),
        });
        let tablets = Arc::new(Tablets::default());
        let streams = Arc::new(Streams::default());
        let copy = Arc::new(records_copy::Copy::default());
        let (stopping, _) = watch::channel(false);
        let mut tasks = JoinSet::new();
        let service = AgentService {
            cluster: config.cluster.clone(),
            token: token.clone(),
            host: record.clone(),
            tablets: tablets.clone(),
            streams: streams.clone(),
            copy: copy.clone(),
            room: Room::new(host.clone()),
            health_changes: host.health_changes.subscribe(),
        };
        tasks.spawn(service::serve(listener, service, stopping.subscribe()));
        tasks.spawn(until(
            stopping.subscribe(),
            backup::keeper::keep(host.clone(), tablets.clone(), watch.receiver()),
        ));
        tasks.spawn(until(
            stopping.subscribe(),
            tablets::supervise(host.clone(), tablets, watch.receiver()),
        ));
        tasks.spawn(until(
            stopping.subscribe(),
            keeper::keep(host.clone(), streams, watch.receiver()),
        ));
        tasks.spawn(until(
            stopping.subscribe(),
            records_copy::keep(
                host.clone(),
                copy,
                records_copy::path(&data_dir),
                watch.receiver(),
            ),
        ));
        tasks.spawn(until(
            stopping.subscribe(),
            vdiff::keeper::run(host.clone()),
        ));
        tasks.spawn(conductor::run(
            host.cluster.clone(),
            host.name.clone(),
            AgentClients::new(Timeouts::default(), token),
            stopping.subscribe(),
        ));
        Ok(Self {
            record,
            host,
            tasks,
            stopping,
            _watch: watch,
            _lock: lock,
        })
    }

    /// What it registered.
    pub fn record(&self) -> &HostRecord {
        &self.record
    }

    /// Deregisters the host and ends. The servers go on running.
    pub async fn stop(mut self) {
        self.stopping.send_replace(true);
        // The conductor gives its lock back; tablets' tasks may be cut off anywhere.
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        select! {
            () = ended => {}
            () = sleep(STOP_PATIENCE) => {}
        }
        self.tasks.shutdown().await;
        if let Some(lease) = self.host.take_lease()
            && let Err(error) = lease.stop().await
        {
            warn!(%error, "the host's record stays until its lease ends");
        }
        info!(host = %self.record.name, "agent stopped");
    }
}

/// Works until it is to stop; the work may be dropped at any moment.
async fn until(mut stopping: watch::Receiver<bool>, work: impl Future<Output = ()>) {
    select! {
        _ = stopping.wait_for(|stop| *stop) => {}
        () = work => {}
    }
}

fn prepare_data_dir(dir: &Path) -> Result<PathBuf, AgentError> {
    let made = || {
        let dir = std::path::absolute(dir)?;
        for sub in ["tablets", "templates"] {
            fs::create_dir_all(dir.join(sub))?;
        }
        Ok(dir)
    };
    made().map_err(|e| AgentError::io(dir, "the agent's data folder cannot be made", e))
}

/// Two agents over one data folder would both run its servers.
pub(crate) fn lock_data_dir(dir: &Path) -> Result<Flock<File>, AgentError> {
    let path = dir.join("agent.lock");
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .truncate(false)
        .open(&path)
        .map_err(|e| AgentError::io(&path, "the agent's lock file cannot be opened", e))?;
    match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
        Ok(mut lock) => {
            let written = lock
                .set_len(0)
                .and_then(|()| lock.rewind())
                .and_then(|()| writeln!(lock, "{}", std::process::id()));
            written.map_err(|e| AgentError::io(&path, "the agent's lock file", e))?;
            Ok(lock)
        }
        Err((mut file, _)) => {
            let mut pid = String::new();
            // Only for the message.
            let _ = file.read_to_string(&mut pid);
            Err(AgentError::DataDirInUse {
                dir: dir.to_owned(),
                pid: pid.trim().to_owned(),
            })
        }
    }
}

async fn listen(address: SocketAddr) -> Result<TcpListener, AgentError> {
    TcpListener::bind(address)
        .await
        .map_err(|why| AgentError::Listen {
            address: address.to_string(),
            why,
        })
}
