//! `vtplan backup verify`.

use clap::Args;
use vtplan_agent::submit;
use vtplan_planner::words::bytes;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{BackupRecord, BackupState};

use super::find;
use super::show::{self, Lines};
use crate::args::{Format, Global};
use crate::commands::Outcome;
use crate::context::store_error;
use crate::error::{CliError, Exit};
use crate::output::{err, out, who};
use crate::progress::interrupted;

pub const EXAMPLES: &str = "\
Examples:
  vtplan backup verify 20261128-221533-3f2a
  vtplan backup verify 20261128-221533-3f2a --format json

The agent that has the files reads all of them and compares their SHA-256 with the manifest, and the
manifest's with the record. A damaged backup no longer counts as one: drift tells, and retention
keeps an older one in its place. Ctrl-C leaves the agent at it. Exits with 1 if it is damaged.";

#[derive(Args, Debug)]
pub struct VerifyArgs {
    /// The backup's id, or `KEYSPACE/SHARD/ID`
    #[arg(value_name = "ID")]
    pub id: String,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn run(cluster: &Cluster, args: &VerifyArgs, global: &Global) -> Outcome {
    let records = find::records(cluster).await?;
    let backup = find::backup(&records, &args.id)?;
    if backup.state != BackupState::Complete {
        return Err(CliError::new(
            "not-complete",
            format!("{}: there is nothing to verify", show::what_it_is(backup)),
        )
        .help("`vtplan backup list` shows those that are complete"));
    }
    let under_way = backup.check.as_ref().is_some_and(|c| c.ended_at.is_none());
    if !under_way {
        let asked = submit::request_check(cluster, backup, &who()).await;
        if !asked.map_err(|e| store_error(&e))? {
            return Err(changed(backup));
        }
    }
    let json = args.format == Format::Json;
    let mut lines = Lines::new(json || global.quiet);
    let path = backup.path();
    let checked = tokio::select! {
        biased;
        () = interrupted() => {
            err("The agent goes on; `vtplan backup list` shows what it finds.\n");
            return Ok(Exit::Interrupted);
        }
        checked = show::follow(cluster, |records| {
            let Some(now) = records.backups.get(&path) else {
                return Some(None);
            };
            let check = now.check.as_ref()?;
            if check.ended_at.is_some() {
                return Some(Some(now.clone()));
            }
            let host = now.host.as_ref().map(ToString::to_string).unwrap_or_default();
            lines.tell(format!(
                "Backup {}: {} of {} read by the agent of host {host}",
                now.id,
                bytes(check.bytes_read),
                bytes(now.bytes)
            ));
            None
        }) => checked?,
    };
    let Some(backup) = checked else {
        return Err(CliError::new(
            "no-backup",
            format!("backup {path} was removed meanwhile"),
        ));
    };
    let damage = backup.check.as_ref().map_or(&[][..], |c| &c.damage);
    match args.format {
        Format::Json => out(&format!("{:#}\n", show::json(&[&backup]))),
        Format::Text if damage.is_empty() => out(&format!(
            "Backup {} is whole: {} files, {}.\n",
            backup.id,
            backup.files,
            bytes(backup.bytes)
        )),
        Format::Text => {
            out(&format!("Backup {} is damaged:\n", backup.id));
            for line in damage {
                out(&format!("  {line}\n"));
            }
            out(&format!(
                "`vtplan backup run {}/{}` takes another one.\n",
                backup.keyspace, backup.shard
            ));
        }
    }
    Ok(if damage.is_empty() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

/// Somebody was faster.
pub fn changed(backup: &BackupRecord) -> CliError {
    CliError::new(
        "changed",
        format!("backup {} has changed just now", backup.id),
    )
    .help("look at `vtplan backup list`, and try again")
}
