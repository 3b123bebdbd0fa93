//! `vtplan backup remove`.

use std::time::Duration;

use clap::Args;
use vtplan_agent::submit;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{BackupRecord, BackupState, Records};

use super::find;
use super::show;
use super::verify::changed;
use crate::args::Format;
use crate::commands::Outcome;
use crate::context::store_error;
use crate::error::{CliError, Exit};
use crate::output::{err, out, who};
use crate::progress::interrupted;

pub const EXAMPLES: &str = "\
Examples:
  vtplan backup remove 20261128-221533-3f2a
  vtplan backup remove 20261128-221533-3f2a --force     Also the last good one of its shard
  vtplan backup remove 20261128-221533-3f2a --forget    The record alone: its files are gone, or unreachable

The agent that has the files removes them, then the record goes.";

/// How long the files' removal is waited for.
const PATIENCE: Duration = Duration::from_secs(60);

#[derive(Args, Debug)]
pub struct RemoveArgs {
    /// The backup's id, or `KEYSPACE/SHARD/ID`
    #[arg(value_name = "ID")]
    pub id: String,
    /// Even if it is the last good one of its shard
    #[arg(long)]
    pub force: bool,
    /// Leave its files, wherever they are
    #[arg(long)]
    pub forget: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn run(cluster: &Cluster, args: &RemoveArgs) -> Outcome {
    let records = find::records(cluster).await?;
    let backup = find::backup(&records, &args.id)?;
    if backup.state == BackupState::Taking {
        return Err(CliError::new(
            "being-taken",
            format!("backup {} is being taken", backup.id),
        )
        .help("remove it when it has ended; one whose agent has died is ended by the next"));
    }
    if !args.force && is_last_good(&records, backup) {
        let shard = format!("{}/{}", backup.keyspace, backup.shard);
        return Err(CliError::new(
            "last-backup",
            format!("backup {} is the last good one of {shard}", backup.id),
        )
        .help(format!(
            "take another one with `vtplan backup run {shard}`; `--force` removes it all the same"
        )));
    }
    let removed = submit::remove_backup(cluster, backup, args.forget, &who()).await;
    if !removed.map_err(|e| store_error(&e))? {
        return Err(changed(backup));
    }
    let path = backup.path();
    let gone = tokio::select! {
        biased;
        () = interrupted() => {
            err("The agent goes on removing it.\n");
            return Ok(Exit::Interrupted);
        }
        gone = tokio::time::timeout(
            PATIENCE,
            show::follow(cluster, |records| (!records.backups.contains_key(&path)).then_some(())),
        ) => gone,
    };
    match gone {
        Ok(gone) => gone?,
        Err(_) => {
            let host = backup
                .host
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default();
            return Err(CliError::new(
                "not-removed",
                format!("no agent has removed the files of {} yet", backup.id),
            )
            .help(format!(
                "the agent of host {host} does when it is there, and sees {}; `--forget` takes the record \
                 away and leaves the files",
                backup.location
            )));
        }
    }
    match args.format {
        Format::Json => out(&format!(
            "{:#}\n",
            serde_json::json!({ "format": show::FORMAT, "removed": path, "files_left": args.forget })
        )),
        Format::Text if args.forget => out(&format!(
            "Forgot backup {}; its files, if there are any, stay in {}.\n",
            backup.id, backup.location
        )),
        Format::Text => out(&format!("Removed backup {}.\n", backup.id)),
    }
    Ok(Exit::Done)
}

fn is_last_good(records: &Records, backup: &BackupRecord) -> bool {
    let others = records.backups_of(&backup.keyspace, &backup.shard);
    backup.is_good() && !others.iter().any(|b| b.id != backup.id && b.is_good())
}
