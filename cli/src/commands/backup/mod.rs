//! `vtplan backup`: backups of servers' data, by hand. A file for each command; agents do the work, but for
//! [`extract`], which needs none. [`find`] is names of backups and shards, [`show`] how they are shown.

mod extract;
mod find;
mod list;
mod remove;
mod run;
mod show;
mod verify;

use clap::{Args, Subcommand};

use super::Outcome;
use crate::args::{Format, Global};
use crate::context;

const EXAMPLES: &str = "\
Examples:
  vtplan backup run commerce                      One of each shard, now
  vtplan backup run customer/-80
  vtplan backup list
  vtplan backup verify 20261128-221533-3f2a
  vtplan backup extract 20261128-221533-3f2a /srv/restored

The spec's `backups:` says where they go and when agents take them by themselves:
  backups:
    location: file:///mnt/backups
    schedules: [{ cron: \"0 3 * * *\", keep: { last: 7 } }]

They are of one server of each shard, with all that it holds, as of one position of its binlog; it
goes on taking writes meanwhile. For the cluster's records see `vtplan state backup`.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct BackupArgs {
    #[command(subcommand)]
    command: BackupCommand,
}

#[derive(Subcommand, Debug)]
enum BackupCommand {
    /// Take a backup of a shard, or of each of a keyspace's
    #[command(after_help = run::EXAMPLES)]
    Run(run::RunArgs),
    /// List backups
    #[command(after_help = list::EXAMPLES)]
    List(list::ListArgs),
    /// Compare a backup's files with what was written
    #[command(after_help = verify::EXAMPLES)]
    Verify(verify::VerifyArgs),
    /// Remove a backup
    #[command(after_help = remove::EXAMPLES)]
    Remove(remove::RemoveArgs),
    /// Make a data folder of a backup, to start a server on
    #[command(after_help = extract::EXAMPLES)]
    Extract(extract::ExtractArgs),
}

impl BackupArgs {
    pub fn wants_json(&self) -> bool {
        let format = match &self.command {
            BackupCommand::Run(args) => args.format,
            BackupCommand::List(args) => args.format,
            BackupCommand::Verify(args) => args.format,
            BackupCommand::Remove(args) => args.format,
            BackupCommand::Extract(args) => args.format,
        };
        format == Format::Json
    }
}

pub async fn run(args: BackupArgs, global: &Global) -> Outcome {
    if let BackupCommand::Extract(args) = args.command {
        // On the bad night there may be no store.
        return extract::run(&args, global).await;
    }
    let cluster = context::cluster(global).await?;
    match args.command {
        BackupCommand::Run(args) => run::run(&cluster, &args, global).await,
        BackupCommand::List(args) => list::run(&cluster, &args).await,
        BackupCommand::Verify(args) => verify::run(&cluster, &args, global).await,
        BackupCommand::Remove(args) => remove::run(&cluster, &args).await,
        BackupCommand::Extract(args) => extract::run(&args, global).await,
    }
}
