//! Names that people give: `KEYSPACE[/SHARD]`, and backups.

use vtplan_state::cluster::Cluster;
use vtplan_state::model::{BackupRecord, KeyspaceName, Records, ShardName};

use crate::context::store_error;
use crate::error::CliError;

pub async fn records(cluster: &Cluster) -> Result<Records, CliError> {
    cluster.load_records().await.map_err(|e| store_error(&e))
}

/// What `KEYSPACE[/SHARD]` names.
#[derive(Debug, Clone)]
pub struct Wanted {
    pub keyspace: KeyspaceName,
    /// `None`: all.
    pub shard: Option<ShardName>,
}

impl Wanted {
    pub fn parse(text: &str) -> Result<Self, String> {
        let (keyspace, shard) = match text.split_once('/') {
            Some((keyspace, shard)) => (keyspace, Some(shard)),
            None => (text, None),
        };
        let keyspace = keyspace
            .parse()
            .map_err(|e| format!("{e}; write `commerce` or `customer/-80`"))?;
        let shard = shard.map(str::parse).transpose();
        let shard = shard.map_err(|e| format!("{e}; write `commerce` or `customer/-80`"))?;
        Ok(Self { keyspace, shard })
    }

    pub fn has(&self, backup: &BackupRecord) -> bool {
        backup.keyspace == self.keyspace && self.shard.as_ref().is_none_or(|s| *s == backup.shard)
    }
}

/// The shards that serve, of those that are named.
pub fn shards(
    records: &Records,
    wanted: &Wanted,
) -> Result<Vec<(KeyspaceName, ShardName)>, CliError> {
    let keyspace = &wanted.keyspace;
    if !records.keyspaces.contains_key(keyspace) {
        let names: Vec<&str> = records.keyspaces.keys().map(KeyspaceName::as_str).collect();
        let help = match names.is_empty() {
            true => "the cluster has none yet: apply a spec".to_owned(),
            false => format!("there is {}", names.join(", ")),
        };
        let message = format!("there is no keyspace `{keyspace}`");
        return Err(CliError::new("no-keyspace", message).help(help));
    }
    let all: Vec<_> = records.shards_of(keyspace).collect();
    if let Some(shard) = &wanted.shard {
        if !all.iter().any(|s| s.shard == *shard) {
            let names: Vec<String> = all.iter().map(|s| s.shard.to_string()).collect();
            let message = format!("there is no shard `{keyspace}/{shard}`");
            return Err(CliError::new("no-shard", message)
                .help(format!("its shards are {}", names.join(", "))));
        }
        return Ok(vec![(keyspace.clone(), shard.clone())]);
    }
    let serving = all.iter().filter(|s| s.serving);
    Ok(serving
        .map(|s| (keyspace.clone(), s.shard.clone()))
        .collect())
}

/// The backup that is named by its id, or by `KEYSPACE/SHARD/ID`.
pub fn backup<'a>(records: &'a Records, name: &str) -> Result<&'a BackupRecord, CliError> {
    if let Some(backup) = records.backups.get(name) {
        return Ok(backup);
    }
    let found: Vec<&BackupRecord> = records.backups.values().filter(|b| b.id == name).collect();
    match found[..] {
        [backup] => Ok(backup),
        [] => Err(
            CliError::new("no-backup", format!("there is no backup `{name}`"))
                .help("`vtplan backup list` shows those that there are"),
        ),
        _ => {
            let paths: Vec<String> = found.iter().map(|b| b.path()).collect();
            Err(CliError::new(
                "which-backup",
                format!("several backups are called `{name}`"),
            )
            .help(format!("name one of {}", paths.join(", "))))
        }
    }
}
