//! Which backup a new replica starts from: the newest good one of its very shard, of a server that is read
//! as its own reads, that this host sees, and that the primary goes on from.

use std::sync::Arc;

use vtplan_state::cluster::Cluster;
use vtplan_state::model::backup::incarnation;
use vtplan_state::model::{BackupRecord, KeyspaceName, Records, ShardName, TabletRecord};

use super::location::{self, Location, Place};
use super::manifest::Manifest;
use super::restore;
use crate::error::AgentError;
use crate::flavor::ServerVersion;

/// A backup to start from.
pub struct Seed {
    pub location: Arc<dyn Location>,
    pub place: Place,
    pub manifest: Manifest,
}

/// Names a shard as it is in the store now.
///
/// # Errors
/// Those of the store; the shard is gone.
pub async fn incarnation_of(
    cluster: &Cluster,
    keyspace: &KeyspaceName,
    shard: &ShardName,
) -> Result<String, AgentError> {
    let entry = cluster
        .store()
        .get(&cluster.keys().shard(keyspace, shard))
        .await?;
    let entry =
        entry.ok_or_else(|| AgentError::Refused(format!("shard {keyspace}/{shard} is gone")))?;
    let generation = cluster
        .record()
        .await?
        .map_or(0, |record| record.generation);
    Ok(incarnation(generation, entry.create_revision))
}

/// The backup that a tablet may start from. `None`: there is none, and nobody would expect one.
///
/// # Errors
/// There are backups, and why none of them will do.
pub async fn find(
    cluster: &Cluster,
    records: &Records,
    tablet: &TabletRecord,
    version: ServerVersion,
) -> Result<Option<Seed>, AgentError> {
    let (keyspace, shard) = (&tablet.keyspace, &tablet.shard);
    let good: Vec<&BackupRecord> = records
        .backups_of(keyspace, shard)
        .into_iter()
        .filter(|backup| backup.is_good())
        .collect();
    if good.is_empty() {
        return Ok(None);
    }
    let own = incarnation_of(cluster, keyspace, shard).await?;
    let of_this = good.into_iter().rev().filter(|b| b.incarnation == own);
    let newest = of_this
        .clone()
        .find(|b| b.flavor == Some(version.flavor) && is_same(&b.version, version));
    let Some(backup) = newest else {
        return match of_this.clone().next() {
            None => Ok(None),
            Some(other) => Err(AgentError::Refused(format!(
                "the newest backup, {}, is of version {}, and this server is {version}",
                other.id, other.version
            ))),
        };
    };
    let location: Arc<dyn Location> = Arc::from(location::open(&backup.location)?);
    let place = Place::of(cluster.name(), backup);
    let manifest = restore::manifest(&*location, &place, &backup.manifest_sha256)?;
    Ok(Some(Seed {
        location,
        place,
        manifest,
    }))
}

/// Whether data of a server's version, `10.11.6`, is read by another: both have the same first two numbers.
fn is_same(version: &str, other: ServerVersion) -> bool {
    let mut numbers = version.split('.').map(str::parse::<u32>);
    let (major, minor) = (numbers.next(), numbers.next());
    major == Some(Ok(other.major)) && minor == Some(Ok(other.minor))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vtplan_state::model::FlavorKind;

    #[test]
    fn data_is_read_by_servers_of_the_same_first_two_numbers() {
        let server = ServerVersion {
            flavor: FlavorKind::MariaDb,
            major: 10,
            minor: 11,
            patch: 9,
        };
        assert!(is_same("10.11.6", server));
        assert!(!is_same("10.6.11", server));
        assert!(!is_same("11.11.6", server));
        assert!(!is_same("", server));
    }
}
