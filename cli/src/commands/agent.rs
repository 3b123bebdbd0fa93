//! `vtplan agent`: runs this host's agent in the foreground.

use std::path::PathBuf;

use clap::Args;
use vtplan_state::model::{CellName, HostName};

use super::Outcome;
use crate::args::Global;
use crate::error::CliError;

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
    #[arg(long, value_name = "DIR", default_value = ".vtplan/tablets")]
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
}

pub async fn run(_args: AgentArgs, _global: &Global) -> Outcome {
    Err(CliError::new("unfinished", "`agent` is not there yet"))
}
