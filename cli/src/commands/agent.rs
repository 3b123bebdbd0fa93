//! `vtplan agent`: runs this host's agent in the foreground.

use std::path::PathBuf;

use clap::Args;
use vtplan_agent::{AgentConfig, AgentError, run_agent};
use vtplan_state::model::{CellName, HostName};

use super::Outcome;
use crate::args::{ByteSize, Global};
use crate::context;
use crate::error::{CliError, Exit};
use crate::logging;
use crate::output::host_name;

const EXAMPLES: &str = "\
Examples:
  vtplan agent --cluster shop --cell zone1
  vtplan agent --cluster shop --cell zone1 --name db1 --state etcd://etcd1:2379,etcd2:2379 \\
      --listen 0.0.0.0:15999 --advertise db1.internal --data-dir /var/lib/vtplan

Stop it with SIGTERM or Ctrl-C: the MySQL servers keep running, and the next agent adopts them.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct AgentArgs {
    /// Name under which this host registers [default: the machine's host name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<HostName>,
    /// Cell of this host
    #[arg(long, value_name = "CELL", default_value = "zone1")]
    pub cell: CellName,
    /// Address of the gRPC service
    #[arg(long, value_name = "HOST:PORT", default_value = "127.0.0.1:15999")]
    pub listen: String,
    /// Host name or IP address at which other hosts reach this one
    /// [default: that of --listen, or the machine's host name if it listens on all]
    #[arg(long, value_name = "HOST")]
    pub advertise: Option<String>,
    /// Folder of the tablets' data
    #[arg(long, value_name = "DIR", default_value = ".vtplan/data")]
    pub data_dir: PathBuf,
    /// The MySQL server to run [default: `mariadbd` or `mysqld` on PATH]
    #[arg(
        long,
        value_name = "PATH",
        env = "VTPLAN_MYSQLD",
        hide_env_values = true
    )]
    pub mysqld: Option<PathBuf>,
    /// First port that tablets' servers get
    #[arg(long, value_name = "PORT", default_value_t = 17100)]
    pub tablet_port: u16,
    /// How many tablets may run here
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub capacity: u32,
    /// Each server's `innodb_buffer_pool_size`, such as `64M` or `4G`
    #[arg(long, value_name = "SIZE")]
    pub buffer_pool: Option<ByteSize>,
}

pub async fn run(args: AgentArgs, global: &Global) -> Outcome {
    logging::start(global);
    let Some(cluster) = &global.cluster else {
        return Err(
            CliError::new("which-cluster", "an agent needs the name of its cluster")
                .help("give it with `--cluster NAME`: the `cluster` of the spec"),
        );
    };
    let name = match args.name {
        Some(name) => name,
        None => HostName::new(host_name()).map_err(|e| {
            CliError::from_error("bad-name", &e).help("name this host with `--name NAME`")
        })?,
    };
    let listen = tokio::net::lookup_host(&args.listen)
        .await
        .ok()
        .and_then(|mut found| found.next())
        .ok_or_else(|| {
            CliError::new("bad-address", format!("cannot listen on `{}`", args.listen))
                .help("give an IP address and a port, such as `--listen 0.0.0.0:15999`")
        })?;
    let mut config = AgentConfig::new(cluster, name, args.cell, args.data_dir);
    config.listen = listen;
    config.advertise = args.advertise;
    config.mysqld = args.mysqld;
    config.capacity = args.capacity;
    config.first_mysql_port = args.tablet_port;
    if let Some(size) = args.buffer_pool {
        config.server.buffer_pool_bytes = size.0;
    }
    let store = context::create_store(global).await?;
    run_agent(config, store, shutdown())
        .await
        .map_err(|e| agent_error(&e))?;
    Ok(Exit::Done)
}

fn agent_error(error: &AgentError) -> CliError {
    if let AgentError::Store(error) = error {
        return context::store_error(error);
    }
    let message = error.to_string();
    match message.split_once("; ") {
        Some((what, todo)) => CliError::new("agent", what).help(todo),
        None => CliError::new("agent", message),
    }
}

/// Ends with SIGTERM or Ctrl-C.
pub async fn shutdown() {
    use tokio::signal::unix::{SignalKind, signal};
    let (terminate, interrupt) = (
        signal(SignalKind::terminate()),
        signal(SignalKind::interrupt()),
    );
    match (terminate, interrupt) {
        (Ok(mut terminate), Ok(mut interrupt)) => {
            tokio::select! {
                _ = terminate.recv() => {}
                _ = interrupt.recv() => {}
            }
        }
        // Without handlers the signals end the process at once, which everything must survive.
        _ => std::future::pending().await,
    }
}
