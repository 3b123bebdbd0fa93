//! `vtplan gate`: runs a gate in the foreground.

use clap::Args;
use vtplan_state::model::{CellName, GateName};

use super::Outcome;
use crate::args::Global;
use crate::error::CliError;

const EXAMPLES: &str = "\
Examples:
  vtplan gate --cluster shop --cell zone1
  vtplan gate --cluster shop --cell zone1 --state etcd://etcd1:2379 --listen 0.0.0.0 \\
      --mysql-port 3306

Stop it with SIGTERM or Ctrl-C.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct GateArgs {
    /// Name under which it registers [default: the machine's host name and the MySQL port]
    #[arg(long, value_name = "NAME")]
    pub name: Option<GateName>,
    /// Cell of this gate: whose replicas it prefers
    #[arg(long, value_name = "CELL", default_value = "zone1")]
    pub cell: CellName,
    /// IP address to listen on
    #[arg(long, value_name = "IP", default_value = "127.0.0.1")]
    pub listen: std::net::IpAddr,
    /// Host name or IP address at which clients reach it
    /// [default: that of --listen, or the machine's host name if it listens on all]
    #[arg(long, value_name = "HOST")]
    pub advertise: Option<String>,
    /// Port of the MySQL listener [default: the cell's in the spec, else 15306]
    #[arg(long, value_name = "PORT")]
    pub mysql_port: Option<u16>,
    /// Port of `/metrics`, `/healthz` and `/debug/status`
    #[arg(long, value_name = "PORT", default_value_t = 15001)]
    pub http_port: u16,
}

pub async fn run(_args: GateArgs, _global: &Global) -> Outcome {
    Err(CliError::new("unfinished", "`gate` is not there yet"))
}
