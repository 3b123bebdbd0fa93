//! Keys and values as [`Records`], one by one, so that a watch can apply a change alone.

use super::Snapshot;
use crate::model::keys::Keys;
use crate::model::{
    CellName, ClusterRecord, GateName, HostName, KeyspaceName, RECORD_FORMAT, Records, ShardName,
    TabletAlias, WorkflowName,
};
use crate::store::{Change, Entry, Listing, StoreError};

/// What of the cluster belongs to [`Records`]; no prefix is the start of another.
pub fn prefixes(keys: &Keys) -> Vec<String> {
    [
        "backup-policy",
        "backups/",
        "cells/",
        "cluster",
        "gate-config/",
        "gates/",
        "holds/",
        "hosts/",
        "keyspaces/",
        "rates",
        "routing",
        "spec",
        "tablets/",
        "users/",
        "workflows/",
    ]
    .iter()
    .map(|part| format!("{}{part}", keys.prefix()))
    .collect()
}

/// The cluster's own record, if this version may read what is under it.
pub fn cluster_record(entry: &Entry, url: &str) -> Result<ClusterRecord, StoreError> {
    // Read first alone: a newer record may have fields that this version does not know.
    #[derive(serde::Deserialize)]
    struct Format {
        format: u32,
    }
    let Format { format } = entry.json()?;
    if format > RECORD_FORMAT {
        return Err(StoreError::NewerFormat {
            url: url.to_owned(),
            found: format,
            known: RECORD_FORMAT,
        });
    }
    entry.json()
}

/// A listing of the cluster's keys as records. Keys that are no record of [`Records`] are left out.
/// `url` is the store's, for errors.
pub fn decode(keys: &Keys, listing: &Listing, url: &str) -> Result<Records, StoreError> {
    Ok(snapshot(keys, listing, url)?.records)
}

/// The same, with the newest change of what gates route by, as far as it is still there.
pub fn snapshot(keys: &Keys, listing: &Listing, url: &str) -> Result<Snapshot, StoreError> {
    let mut records = Records {
        revision: listing.revision,
        ..Records::default()
    };
    // First, because a newer format explains whatever else cannot be read.
    let own = keys.cluster();
    let cluster = listing.entries.iter().find(|entry| entry.key == own);
    let mut serving_revision = 0;
    for entry in cluster.into_iter().chain(&listing.entries) {
        if put(&mut records, keys, entry, url)?.serving {
            serving_revision = serving_revision.max(entry.mod_revision);
        }
    }
    Ok(Snapshot {
        records,
        serving_revision,
    })
}

/// Which record a key is.
enum Place {
    Cluster,
    Spec,
    Cell(CellName),
    Host(HostName),
    Gate(GateName),
    GateConfig(CellName),
    Keyspace(KeyspaceName),
    Vschema(KeyspaceName),
    Shard(KeyspaceName, ShardName),
    Tablet(TabletAlias),
    Routing,
    Rates,
    BackupPolicy,
    /// By its path: `KEYSPACE/SHARD/ID`.
    Backup(String),
    User(String),
    Workflow(KeyspaceName, WorkflowName),
    Hold(String),
}

impl Place {
    /// `None` for what is not part of [`Records`].
    fn of(keys: &Keys, key: &str) -> Option<Self> {
        let rest = key.strip_prefix(keys.prefix())?;
        let parts: Vec<&str> = rest.split('/').collect();
        Some(match parts[..] {
            ["cluster"] => Self::Cluster,
            ["spec"] => Self::Spec,
            ["routing"] => Self::Routing,
            ["rates"] => Self::Rates,
            ["backup-policy"] => Self::BackupPolicy,
            ["backups", keyspace, shard, _] => {
                let _: (KeyspaceName, ShardName) = (keyspace.parse().ok()?, shard.parse().ok()?);
                Self::Backup(rest.strip_prefix("backups/")?.to_owned())
            }
            ["cells", cell] => Self::Cell(cell.parse().ok()?),
            ["hosts", host] => Self::Host(host.parse().ok()?),
            ["gates", gate] => Self::Gate(gate.parse().ok()?),
            ["gate-config", cell] => Self::GateConfig(cell.parse().ok()?),
            ["keyspaces", keyspace] => Self::Keyspace(keyspace.parse().ok()?),
            ["keyspaces", keyspace, "vschema"] => Self::Vschema(keyspace.parse().ok()?),
            ["keyspaces", keyspace, "shards", shard] => {
                Self::Shard(keyspace.parse().ok()?, shard.parse().ok()?)
            }
            ["tablets", alias] => Self::Tablet(alias.parse().ok()?),
            ["workflows", keyspace, workflow] => {
                Self::Workflow(keyspace.parse().ok()?, workflow.parse().ok()?)
            }
            ["holds", ..] => Self::Hold(rest.strip_prefix("holds/")?.to_owned()),
            ["users", ..] => Self::User(rest.strip_prefix("users/")?.to_owned()),
            _ => return None,
        })
    }

    /// Whether gates route by it.
    fn is_serving(&self) -> bool {
        match self {
            Self::Keyspace(_)
            | Self::Vschema(_)
            | Self::Shard(..)
            | Self::Tablet(_)
            | Self::Hold(_)
            | Self::Routing => true,
            Self::Cluster
            | Self::Spec
            | Self::Cell(_)
            | Self::Host(_)
            | Self::Gate(_)
            | Self::GateConfig(_)
            | Self::Workflow(..)
            | Self::Rates
            | Self::BackupPolicy
            | Self::Backup(_)
            | Self::User(_) => false,
        }
    }
}

/// What a change touched.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Touched {
    /// Anything of [`Records`].
    pub any: bool,
    /// What gates route by.
    pub serving: bool,
}

impl std::ops::BitOrAssign for Touched {
    fn bitor_assign(&mut self, other: Self) {
        self.any |= other.any;
        self.serving |= other.serving;
    }
}

/// Applies one change; `revision` is left as it is.
pub fn apply(
    records: &mut Records,
    keys: &Keys,
    change: &Change,
    url: &str,
) -> Result<Touched, StoreError> {
    match change {
        Change::Put(entry) => put(records, keys, entry, url),
        Change::Delete { key } => Ok(delete(records, keys, key)),
    }
}

fn put(
    records: &mut Records,
    keys: &Keys,
    entry: &Entry,
    url: &str,
) -> Result<Touched, StoreError> {
    let Some(place) = Place::of(keys, &entry.key) else {
        return Ok(Touched::default());
    };
    let touched = Touched {
        any: true,
        serving: place.is_serving(),
    };
    match place {
        Place::Cluster => records.cluster = Some(cluster_record(entry, url)?),
        Place::Spec => records.spec = Some(entry.json()?),
        Place::Routing => records.routing = entry.json()?,
        Place::Rates => records.rates = entry.json()?,
        Place::BackupPolicy => records.backup_policy = Some(entry.json()?),
        Place::Backup(path) => drop(records.backups.insert(path, entry.json()?)),
        Place::Cell(name) => drop(records.cells.insert(name, entry.json()?)),
        Place::Host(name) => drop(records.hosts.insert(name, entry.json()?)),
        Place::Gate(name) => drop(records.gates.insert(name, entry.json()?)),
        Place::GateConfig(cell) => drop(records.gate_configs.insert(cell, entry.json()?)),
        Place::Keyspace(name) => drop(records.keyspaces.insert(name, entry.json()?)),
        Place::Vschema(name) => drop(records.vschemas.insert(name, entry.json()?)),
        Place::Shard(keyspace, shard) => {
            drop(records.shards.insert((keyspace, shard), entry.json()?));
        }
        Place::Tablet(alias) => drop(records.tablets.insert(alias, entry.json()?)),
        Place::User(name) => drop(records.users.insert(name, entry.json()?)),
        Place::Workflow(keyspace, name) => {
            let of_keyspace = records.workflows.entry(keyspace).or_default();
            drop(of_keyspace.insert(name, entry.json()?));
        }
        Place::Hold(id) => drop(records.holds.insert(id, entry.json()?)),
    }
    Ok(touched)
}

fn delete(records: &mut Records, keys: &Keys, key: &str) -> Touched {
    let Some(place) = Place::of(keys, key) else {
        return Touched::default();
    };
    let touched = Touched {
        any: true,
        serving: place.is_serving(),
    };
    match place {
        Place::Cluster => records.cluster = None,
        Place::Spec => records.spec = None,
        Place::Routing => records.routing = Default::default(),
        Place::Rates => records.rates = Default::default(),
        Place::BackupPolicy => records.backup_policy = None,
        Place::Backup(path) => drop(records.backups.remove(&path)),
        Place::Cell(name) => drop(records.cells.remove(&name)),
        Place::Host(name) => drop(records.hosts.remove(&name)),
        Place::Gate(name) => drop(records.gates.remove(&name)),
        Place::GateConfig(cell) => drop(records.gate_configs.remove(&cell)),
        Place::Keyspace(name) => drop(records.keyspaces.remove(&name)),
        Place::Vschema(name) => drop(records.vschemas.remove(&name)),
        Place::Shard(keyspace, shard) => drop(records.shards.remove(&(keyspace, shard))),
        Place::Tablet(alias) => drop(records.tablets.remove(&alias)),
        Place::User(name) => drop(records.users.remove(&name)),
        Place::Workflow(keyspace, name) => {
            if let Some(of_keyspace) = records.workflows.get_mut(&keyspace) {
                of_keyspace.remove(&name);
                if of_keyspace.is_empty() {
                    records.workflows.remove(&keyspace);
                }
            }
        }
        Place::Hold(id) => drop(records.holds.remove(&id)),
    }
    touched
}
