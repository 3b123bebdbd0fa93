//! An agent's life: from its settings to a registered host with a gRPC service and tablets that
//! are kept as their records say.

use std::fs::{self, File, OpenOptions};
use std::future::Future;
use std::io::{Read as _, Seek as _, Write as _};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::fcntl::{Flock, FlockArg};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};
use tracing::info;
use vtplan_state::model::HostRecord;
use vtplan_state::model::keys::Keys;
use vtplan_state::store::Store;

use crate::address;
use crate::cluster;
use crate::config::AgentConfig;
use crate::credentials;
use crate::error::AgentError;
use crate::mysqld::Program;
use crate::register::Registration;
use crate::service;

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

/// A running agent. Dropping it is like killing it: the host's lease runs out by itself.
pub struct Agent {
    record: HostRecord,
    registration: JoinHandle<()>,
    tasks: JoinSet<()>,
    stopping: watch::Sender<bool>,
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

        let keys = Keys::new(&config.cluster);
        cluster::ensure(&*store, &keys).await?;
        credentials::ensure(&*store, &keys).await?;
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
            started_at: cluster::now(),
            tablets_dir: data_dir.join("tablets").display().to_string(),
        };

        let (stopping, _) = watch::channel(false);
        let mut tasks = JoinSet::new();
        tasks.spawn(service::serve(
            listener,
            service::AgentService::new(config.cluster.clone(), record.clone()),
            stopping.subscribe(),
        ));
        let registration =
            Registration::start(store.clone(), &keys, record.clone(), config.lease_ttl).await?;
        info!(host = %record.name, url = %record.agent_url, server = %program.version, "agent started");
        let registration = tokio::spawn(registration.keep(stopping.subscribe()));
        Ok(Self {
            record,
            registration,
            tasks,
            stopping,
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
        self.tasks.shutdown().await;
        // Ends by itself; it panics no more than the rest of us.
        let _ = (&mut self.registration).await;
        info!(host = %self.record.name, "agent stopped");
    }
}

impl Drop for Agent {
    fn drop(&mut self) {
        self.registration.abort();
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
