//! `vtplan import`: brings what exists under a spec, without touching it. A file for each kind of
//! what exists; [`spec_files`] writes the spec.

mod accounts;
mod cluster;
mod login;
mod servers;
mod spec_files;
mod vitess;

use clap::{Args, Subcommand};

use super::Outcome;
use crate::args::{Format, Global};

const EXAMPLES: &str = "\
Examples:
  vtplan import cluster                           The store of this machine's cluster is lost
  vtplan import cluster --data-dir /var/lib/vtplan --state etcd://etcd1:2379
  vtplan import cluster --spec shop.yaml          And write the spec that it had
  vtplan import servers db1 db2 --user root --out shop.yaml --adopt
  vtplan import vitess listings/ --out shop.yaml  A spec of a Vitess cluster";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ImportArgs {
    #[command(subcommand)]
    pub command: ImportCommand,
}

#[derive(Subcommand, Debug)]
pub enum ImportCommand {
    /// Rebuild the records of a running vtplan cluster from its agents
    Cluster(cluster::ClusterArgs),
    /// Write a spec of plain MySQL or MariaDB servers, which agents adopt as they run
    Servers(servers::ServersArgs),
    /// Make vtplan's administrator on servers that a spec adopts
    Accounts(accounts::AccountsArgs),
    /// Write a spec from JSON listings of a Vitess cluster
    Vitess(vitess::VitessArgs),
}

impl ImportArgs {
    pub fn wants_json(&self) -> bool {
        let format = match &self.command {
            ImportCommand::Cluster(args) => args.format,
            ImportCommand::Servers(args) => args.format,
            ImportCommand::Accounts(args) => args.format,
            ImportCommand::Vitess(args) => args.format,
        };
        format == Format::Json
    }
}

pub async fn run(args: ImportArgs, global: &Global) -> Outcome {
    match args.command {
        ImportCommand::Cluster(args) => cluster::run(args, global).await,
        ImportCommand::Servers(args) => servers::run(args, global).await,
        ImportCommand::Accounts(args) => accounts::run(args, global).await,
        ImportCommand::Vitess(args) => vitess::run(&args, global),
    }
}
