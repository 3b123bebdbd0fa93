//! Keyspaces and their shards.

use std::collections::BTreeMap;
use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::KeyspaceName;
use super::{ShardName, TabletAlias, TabletRecord, TabletType};

/// What a commit waits for.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "snake_case")]
pub enum Durability {
    /// The primary alone.
    None,
    /// One replica of the shard, in any cell.
    #[default]
    SemiSync,
    /// One replica of the shard in another cell than the primary's.
    CrossCell,
}

impl Durability {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::None => "none",
            Self::SemiSync => "semi_sync",
            Self::CrossCell => "cross_cell",
        }
    }

    /// Whether a commit on `primary` may be answered once `tablet` has it. As in Vitess, rdonly tablets
    /// do not count: they may lag, and never become primary.
    pub fn acknowledged_by(self, tablet: &TabletRecord, primary: &TabletAlias) -> bool {
        tablet.alias != *primary
            && tablet.tablet_type == TabletType::Replica
            && match self {
                Self::None => false,
                Self::SemiSync => true,
                Self::CrossCell => tablet.alias.cell != primary.cell,
            }
    }
}

impl fmt::Display for Durability {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// Key `keyspaces/<ks>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KeyspaceRecord {
    pub name: KeyspaceName,
    pub durability: Durability,
}

/// Key `keyspaces/<ks>/shards/<shard>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ShardRecord {
    pub keyspace: KeyspaceName,
    pub shard: ShardName,
    /// The tablet that takes writes; `None` until it is initialised.
    pub primary: Option<TabletAlias>,
    /// Rises by one each time `primary` changes; whoever acts for an older term is refused.
    pub term: u64,
    /// Whether gates route to this shard. Exactly the serving shards of a keyspace cover the
    /// whole range, each id once. A shard that does not serve is read-only for gates' accounts
    /// in its servers.
    pub serving: bool,
    /// Where reads of replicas or rdonlys are routed other than `serving` says, while a Reshard
    /// has switched them and not yet the writes (or the other way round).
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub serving_reads: BTreeMap<TabletType, bool>,
    /// Whether writes to the shard are fenced in mysqld although it serves (during a switch).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fenced: bool,
}

impl ShardRecord {
    /// A shard as it is made: without a primary.
    pub fn new(keyspace: KeyspaceName, shard: ShardName, serving: bool) -> Self {
        Self {
            keyspace,
            shard,
            primary: None,
            term: 0,
            serving,
            serving_reads: BTreeMap::new(),
            fenced: false,
        }
    }

    /// Whether gates route what is for a type of tablets to this shard. For each type, exactly
    /// the shards that serve it cover the whole range once.
    pub fn serves(&self, tablet_type: TabletType) -> bool {
        self.serving_reads
            .get(&tablet_type)
            .copied()
            .unwrap_or(self.serving)
    }

    /// Whether the primary's server takes writes of gates.
    pub fn takes_writes(&self) -> bool {
        self.serving && !self.fenced
    }
}
