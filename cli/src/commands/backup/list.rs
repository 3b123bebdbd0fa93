//! `vtplan backup list`.

use clap::Args;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::BackupRecord;

use super::find::{self, Wanted};
use super::show;
use crate::args::Format;
use crate::commands::Outcome;
use crate::error::Exit;
use crate::output::out;

pub const EXAMPLES: &str = "\
Examples:
  vtplan backup list
  vtplan backup list customer
  vtplan backup list customer/-80 --format json     With positions, files and digests";

#[derive(Args, Debug)]
pub struct ListArgs {
    /// `KEYSPACE/SHARD` or `KEYSPACE`; all without it, also of shards that are gone
    #[arg(value_name = "SHARD", value_parser = Wanted::parse)]
    pub what: Option<Wanted>,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn run(cluster: &Cluster, args: &ListArgs) -> Outcome {
    let records = find::records(cluster).await?;
    let mut backups: Vec<&BackupRecord> = (records.backups.values())
        .filter(|b| args.what.as_ref().is_none_or(|what| what.has(b)))
        .collect();
    let shard = |b: &BackupRecord| (b.keyspace.clone(), b.shard.clone());
    backups.sort_by(|a, b| (shard(a), a.order()).cmp(&(shard(b), b.order())));
    match args.format {
        Format::Json => out(&format!("{:#}\n", show::json(&backups))),
        Format::Text if backups.is_empty() => {
            out("No backups. `vtplan backup run KEYSPACE` takes one of each shard.\n");
        }
        Format::Text => out(&show::table(&backups)),
    }
    Ok(Exit::Done)
}
