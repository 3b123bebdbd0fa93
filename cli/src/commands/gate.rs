//! `vtplan gate`: runs a gate in the foreground.

use std::path::PathBuf;
use std::time::Duration;

use clap::Args;
use vtplan_gate::protocol::tls::TlsConfig;
use vtplan_gate::{GateConfig, GateError, run_gate};
use vtplan_state::model::{CellName, GateName};

use super::Outcome;
use super::agent::shutdown;
use crate::args::Global;
use crate::context;
use crate::error::{CliError, Exit};
use crate::logging;
use crate::output::host_name;

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
    /// PEM file of the certificate chain for TLS [default: one of its own, made at start]
    #[arg(long, value_name = "FILE", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// PEM file of the certificate's key
    #[arg(long, value_name = "FILE", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Offer no TLS
    #[arg(long, conflicts_with = "tls_cert")]
    pub no_tls: bool,
    /// Replicas that lag more get no queries, in seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    pub max_replica_lag: u64,
}

pub async fn run(args: GateArgs, global: &Global) -> Outcome {
    logging::start(global);
    let Some(cluster) = &global.cluster else {
        return Err(
            CliError::new("which-cluster", "a gate needs the name of its cluster")
                .help("give it with `--cluster NAME`: the `cluster` of the spec"),
        );
    };
    let name = match args.name {
        Some(name) => name,
        None => {
            let port = args.mysql_port.map_or(String::new(), |p| format!("-{p}"));
            GateName::new(format!("{}{port}", host_name())).map_err(|e| {
                CliError::from_error("bad-name", &e).help("name this gate with `--name NAME`")
            })?
        }
    };
    let mut config = GateConfig::new(cluster, name, args.cell);
    config.listen = args.listen;
    config.mysql_port = args.mysql_port;
    config.http_port = args.http_port;
    config.tls = match (args.tls_cert, args.tls_key) {
        (Some(certificate), Some(key)) => TlsConfig::Files { certificate, key },
        _ if args.no_tls => TlsConfig::Off,
        _ => TlsConfig::SelfSigned,
    };
    config.max_replica_lag = Duration::from_secs(args.max_replica_lag);
    config.advertise = match args.advertise {
        Some(advertise) => advertise,
        None if args.listen.is_unspecified() => host_name(),
        None => args.listen.to_string(),
    };
    let store = context::create_store(global).await?;
    run_gate(config, store, shutdown())
        .await
        .map_err(|e| gate_error(&e))?;
    Ok(Exit::Done)
}

fn gate_error(error: &GateError) -> CliError {
    match error {
        GateError::Store(error) => context::store_error(error),
        GateError::Listen { .. } => CliError::from_error("gate", error)
            .help("give other ports with `--mysql-port` and `--http-port`"),
        _ => CliError::from_error("gate", error),
    }
}
