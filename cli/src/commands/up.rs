//! `vtplan up`: an agent and a gate in the background, for development and single machines.

use std::path::PathBuf;

use clap::Args;
use vtplan_state::model::{CellName, HostName};

use super::Outcome;
use crate::args::{ByteSize, Format, Global};
use crate::error::CliError;

const EXAMPLES: &str = "\
Examples:
  vtplan up shop.yaml                       Cluster name, cell and ports from the spec
  vtplan up --cluster shop --cell zone1     Without a spec
  vtplan up shop.yaml --mysqld /usr/sbin/mysqld";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct UpArgs {
    /// Spec whose cluster, first cell and gate port are used; it is not applied
    #[arg(value_name = "SPEC")]
    pub specs: Vec<PathBuf>,
    /// Cell of this host [default: the spec's first cell, else zone1]
    #[arg(long, value_name = "CELL")]
    pub cell: Option<CellName>,
    /// Name under which this host registers [default: the machine's host name]
    #[arg(long, value_name = "NAME")]
    pub name: Option<HostName>,
    /// Port of the gate's MySQL listener [default: the spec's, else 15306]
    #[arg(long, value_name = "PORT")]
    pub mysql_port: Option<u16>,
    /// Port of the gate's `/metrics`, `/healthz` and `/debug/status`
    #[arg(long, value_name = "PORT", default_value_t = 15001)]
    pub http_port: u16,
    /// Port of the agent's gRPC service
    #[arg(long, value_name = "PORT", default_value_t = 15999)]
    pub agent_port: u16,
    /// First port that tablets' servers get
    #[arg(long, value_name = "PORT", default_value_t = 17100)]
    pub tablet_port: u16,
    /// The MySQL server to run [default: `mariadbd` or `mysqld` on PATH]
    #[arg(
        long,
        value_name = "PATH",
        env = "VTPLAN_MYSQLD",
        hide_env_values = true
    )]
    pub mysqld: Option<PathBuf>,
    /// Folder of the tablets' data [default: .vtplan/data]
    #[arg(long, value_name = "DIR")]
    pub data_dir: Option<PathBuf>,
    /// How many tablets may run here
    #[arg(long, value_name = "N", default_value_t = 64)]
    pub capacity: u32,
    /// Each server's `innodb_buffer_pool_size`, such as `64M` or `4G`
    #[arg(long, value_name = "SIZE")]
    pub buffer_pool: Option<ByteSize>,
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn run(_args: UpArgs, _global: &Global) -> Outcome {
    Err(CliError::new("unfinished", "`up` is not there yet"))
}
