//! Keyspaces and their shards.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::names::KeyspaceName;
use super::{ShardName, TabletAlias};

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
    /// whole range, each id once.
    pub serving: bool,
    /// Whether writes to the shard are fenced in mysqld (during a switch).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub fenced: bool,
}
