//! Tablets: one mysqld each.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::names::{CellName, HostName, KeyspaceName, NameError};
use super::{FlavorKind, ShardName};

/// A tablet's name over the whole cluster, written `zone1-0000000100`.
#[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TabletAlias {
    pub cell: CellName,
    pub uid: u32,
}

impl TabletAlias {
    pub fn new(cell: CellName, uid: u32) -> Self {
        Self { cell, uid }
    }
}

impl fmt::Display for TabletAlias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(&format!("{}-{:010}", self.cell, self.uid))
    }
}

impl fmt::Debug for TabletAlias {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "TabletAlias({self})")
    }
}

impl FromStr for TabletAlias {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        let error = |why| NameError {
            kind: "tablet",
            text: text.to_owned(),
            why,
        };
        let (cell, uid) = text
            .rsplit_once('-')
            .ok_or_else(|| error("a tablet alias is a cell, a dash and a number"))?;
        let digits = uid.bytes().all(|b| b.is_ascii_digit());
        let uid = uid.parse().ok().filter(|_| digits);
        let uid = uid.ok_or_else(|| error("the part after the last dash is not a number"))?;
        Ok(Self {
            cell: CellName::new(cell)?,
            uid,
        })
    }
}

impl TryFrom<String> for TabletAlias {
    type Error = NameError;
    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<TabletAlias> for String {
    fn from(alias: TabletAlias) -> String {
        alias.to_string()
    }
}

/// What a tablet serves. Which tablet is primary stands only in the shard's record
/// ([`super::ShardRecord::primary`]); a tablet's own record says what it is when it is not.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TabletType {
    Primary,
    Replica,
    Rdonly,
    Spare,
    Backup,
    Restore,
}

impl TabletType {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Primary => "primary",
            Self::Replica => "replica",
            Self::Rdonly => "rdonly",
            Self::Spare => "spare",
            Self::Backup => "backup",
            Self::Restore => "restore",
        }
    }
}

impl fmt::Display for TabletType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

impl FromStr for TabletType {
    type Err = NameError;
    fn from_str(text: &str) -> Result<Self, NameError> {
        Ok(match text.to_ascii_lowercase().as_str() {
            "primary" | "master" => Self::Primary,
            "replica" => Self::Replica,
            "rdonly" => Self::Rdonly,
            "spare" => Self::Spare,
            "backup" => Self::Backup,
            "restore" => Self::Restore,
            _ => {
                return Err(NameError {
                    kind: "tablet type",
                    text: text.to_owned(),
                    why: "the types are primary, replica, rdonly, spare, backup and restore",
                });
            }
        })
    }
}

/// Key `tablets/<alias>`: a mysqld that should exist, and where. The host's agent makes it so.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TabletRecord {
    pub alias: TabletAlias,
    pub keyspace: KeyspaceName,
    pub shard: ShardName,
    /// `replica` or `rdonly`: what it is while it is not the shard's primary.
    pub tablet_type: TabletType,
    pub host: HostName,
    /// TCP port of its mysqld on the host's address.
    pub mysql_port: u16,
    /// Which flavor of server runs it; fixed when it is created.
    pub flavor: FlavorKind,
}

impl TabletRecord {
    /// MySQL's `server_id`, unique over the cluster: uids are unique over all cells.
    pub fn server_id(&self) -> u32 {
        self.alias.uid
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_alias_prints_as_vitess_does_and_is_read_back() {
        let alias = TabletAlias::new(CellName::new("us-east-1").unwrap(), 100);
        assert_eq!(alias.to_string(), "us-east-1-0000000100");
        assert_eq!(
            "us-east-1-0000000100".parse::<TabletAlias>().unwrap(),
            alias
        );
        for bad in ["zone1", "zone1-", "zone1-+5", "-5", "zone1-99999999999"] {
            assert!(bad.parse::<TabletAlias>().is_err(), "{bad}");
        }
    }
}
