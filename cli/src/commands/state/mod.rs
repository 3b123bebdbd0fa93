//! `vtplan state`: all records of a cluster as a file, and back. A file for each command; [`file`] is
//! reading and writing them.

mod backup;
mod export;
pub mod file;
pub mod import;

use clap::{Args, Subcommand};

use super::Outcome;
use crate::args::{Format, Global};

const EXAMPLES: &str = "\
Examples:
  vtplan state export --out shop.json
  vtplan state import shop.json
  vtplan state import shop.json --state etcd://etcd1:2379
  vtplan state backup --dir /var/backups/vtplan --keep 30

These are the cluster's records, not the data in its tables: keyspaces, shards, tablets, VSchemas,
users, workflows, plans, history. The files hold the passwords of vtplan's accounts on the servers and
the verifiers of users, so only their owner may read them (mode 0600): keep it that way.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct StateArgs {
    #[command(subcommand)]
    pub command: StateCommand,
}

#[derive(Subcommand, Debug)]
pub enum StateCommand {
    /// Write all records to a file or to stdout
    Export(export::ExportArgs),
    /// Put the records of a file into the store
    Import(import::ImportArgs),
    /// Write all records to a new file of a folder, for cron
    Backup(backup::BackupArgs),
}

impl StateArgs {
    pub fn wants_json(&self) -> bool {
        let format = match &self.command {
            StateCommand::Export(_) => return false,
            StateCommand::Import(args) => args.format,
            StateCommand::Backup(args) => args.format,
        };
        format == Format::Json
    }
}

pub async fn run(args: StateArgs, global: &Global) -> Outcome {
    match args.command {
        StateCommand::Export(args) => export::run(args, global).await,
        StateCommand::Import(args) => import::run(args, global).await,
        StateCommand::Backup(args) => backup::run(args, global).await,
    }
}
