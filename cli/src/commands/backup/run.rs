//! `vtplan backup run`: asks for backups, and follows them until they have ended.

use clap::Args;
use vtplan_agent::submit;
use vtplan_planner::backups;
use vtplan_planner::words::bytes;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{BackupRecord, BackupState, Records};

use super::find::{self, Wanted};
use super::show::{self, Lines};
use crate::args::{Format, Global};
use crate::commands::Outcome;
use crate::context::store_error;
use crate::error::{CliError, Exit};
use crate::output::{err, out, who};
use crate::progress::interrupted;
use crate::render::table::count;

pub const EXAMPLES: &str = "\
Examples:
  vtplan backup run commerce
  vtplan backup run customer/-80
  vtplan backup run customer --detach       Ask for them and return
  vtplan backup run customer --format json

The best tablet of each shard is copied, one at a time on each host: an rdonly one, else a replica
that keeps up, else the primary. They go where the spec's `backups: { location: ... }` says, and
stay until they are removed by hand. Ctrl-C leaves agents at it. Exits with 1 if one failed.";

#[derive(Args, Debug)]
pub struct RunArgs {
    /// `KEYSPACE/SHARD`, or `KEYSPACE` for all of its shards
    #[arg(value_name = "SHARD", value_parser = Wanted::parse)]
    pub what: Wanted,
    /// Ask for them and return; agents take them
    #[arg(long)]
    pub detach: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn run(cluster: &Cluster, args: &RunArgs, global: &Global) -> Outcome {
    let records = find::records(cluster).await?;
    let shards = find::shards(&records, &args.what)?;
    check_location(&records)?;
    let mut asked = Vec::new();
    for (keyspace, shard) in &shards {
        let backup = submit::request_backup(cluster, keyspace, shard, &who()).await;
        asked.push(backup.map_err(|e| store_error(&e))?);
    }
    let json = args.format == Format::Json;
    let backups: Vec<&BackupRecord> = asked.iter().collect();
    if args.detach {
        match args.format {
            Format::Json => out(&format!("{:#}\n", show::json(&backups))),
            Format::Text => out(&format!(
                "Asked for {}; `vtplan backup list {}` shows how far they are.\n",
                count(asked.len(), "backup"),
                args.what.keyspace
            )),
        }
        return Ok(Exit::Done);
    }
    let mut lines = Lines::new(json || global.quiet);
    let ended = tokio::select! {
        // Whoever reads the first line may interrupt it.
        biased;
        () = interrupted() => {
            err(&format!(
                "Agents go on; `vtplan backup list {}` shows how far they are.\n",
                args.what.keyspace
            ));
            return Ok(Exit::Interrupted);
        }
        ended = show::follow(cluster, |records| ended(records, &asked, &mut lines)) => ended?,
    };
    let backups: Vec<&BackupRecord> = ended.iter().collect();
    if json {
        out(&format!("{:#}\n", show::json(&backups)));
    } else {
        out(&format!(
            "{}{}",
            show::table(&backups),
            show::positions(&backups)
        ));
    }
    let failed = backups.iter().filter(|b| b.state != BackupState::Complete);
    Ok(if backups.len() == asked.len() && failed.count() == 0 {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn check_location(records: &Records) -> Result<(), CliError> {
    let Some(policy) = &records.backup_policy else {
        return Err(CliError::new(
            "no-location",
            "no spec that was applied says where backups go",
        )
        .help("add `backups: { location: file:///mnt/backups }` to the spec and apply it"));
    };
    backups::folder(&policy.location)
        .map(drop)
        .map_err(|why| CliError::new("location", why))
}

/// The backups as they ended, once all have. One that is gone was removed by somebody.
fn ended(
    records: &Records,
    asked: &[BackupRecord],
    lines: &mut Lines,
) -> Option<Vec<BackupRecord>> {
    let now = asked.iter().map(|b| records.backups.get(&b.path()));
    let now: Vec<&BackupRecord> = now.flatten().collect();
    let open: Vec<&&BackupRecord> = now.iter().filter(|b| b.is_open()).collect();
    let Some(first) = open.iter().max_by_key(|b| b.state == BackupState::Taking) else {
        return Some(now.into_iter().cloned().collect());
    };
    let what = match (first.state, &first.tablet) {
        (BackupState::Taking, Some(tablet)) => {
            format!("{} of {tablet}, {}", first.reason, bytes(first.bytes))
        }
        _ => "no agent has begun it yet".to_owned(),
    };
    let done = now.len() - open.len();
    let of = match asked.len() {
        1 => String::new(),
        all => format!(" ({done} of {all} done)"),
    };
    lines.tell(format!(
        "Backup {} of {}/{}: {what}{of}",
        first.id, first.keyspace, first.shard
    ));
    None
}
