//! Tablets: one mysqld each.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use super::names::{CellName, HostName, KeyspaceName, NameError};
use super::{FlavorKind, HostRecord, ServerAddress, ShardName};

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

/// Whose a tablet's server is.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum TabletServer {
    /// vtplan's: its host's agent makes it, starts and stops it, and removes it with its data.
    #[default]
    Made,
    /// It was there before vtplan, and stays when vtplan goes. Its host's agent looks after it over the
    /// network (role, `read_only`, vtplan's accounts, health) and never starts, stops or removes it.
    Adopted {
        /// Host name or IP address of the machine that it runs on.
        machine: String,
    },
}

impl TabletServer {
    pub fn is_made(&self) -> bool {
        *self == Self::Made
    }
}

/// Key `tablets/<alias>`: a mysqld that should exist, and where. The host's agent makes it so, or
/// looks after it ([`TabletServer`]).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TabletRecord {
    pub alias: TabletAlias,
    pub keyspace: KeyspaceName,
    pub shard: ShardName,
    /// `replica` or `rdonly`: what it is while it is not the shard's primary.
    pub tablet_type: TabletType,
    /// Whose agent looks after it; a made one's server runs there.
    pub host: HostName,
    /// TCP port of its mysqld on the machine that it runs on.
    pub mysql_port: u16,
    /// Which flavor of server runs it; fixed when it is created.
    pub flavor: FlavorKind,
    #[serde(default, skip_serializing_if = "TabletServer::is_made")]
    pub server: TabletServer,
}

impl TabletRecord {
    /// The `server_id` that vtplan gives its server, unique over the cluster: uids are unique over all
    /// cells. `None`: an adopted one has its own.
    pub fn server_id(&self) -> Option<u32> {
        self.server.is_made().then_some(self.alias.uid)
    }

    /// Where an adopted server is reached.
    pub fn adopted(&self) -> Option<ServerAddress> {
        match &self.server {
            TabletServer::Made => None,
            TabletServer::Adopted { machine } => Some(ServerAddress {
                machine: machine.clone(),
                port: self.mysql_port,
            }),
        }
    }

    /// Where its server is reached over TCP. `host`: its host's address, as far as that is known.
    pub fn address(&self, host: Option<&str>) -> Option<ServerAddress> {
        self.adopted().or_else(|| {
            Some(ServerAddress {
                machine: host?.to_owned(),
                port: self.mysql_port,
            })
        })
    }

    /// Path of its server's socket on its host; `None`: an adopted server is reached over TCP alone.
    pub fn socket(&self, host: &HostRecord) -> Option<String> {
        (self.server.is_made()).then(|| host.socket_path(&self.alias))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_of_made_tablets_are_as_they_were_and_adopted_ones_name_their_machine() {
        let old = serde_json::json!({
            "alias": "zone1-0000000100", "keyspace": "commerce", "shard": "0",
            "tablet_type": "replica", "host": "db1", "mysql_port": 17100, "flavor": "mariadb",
        });
        let made: TabletRecord = serde_json::from_value(old.clone()).unwrap();
        assert_eq!(serde_json::to_value(&made).unwrap(), old);
        assert_eq!((made.server_id(), made.adopted()), (Some(100), None));
        let address = made.address(Some("10.0.0.9")).unwrap();
        assert_eq!(address.to_string(), "10.0.0.9:17100");

        let adopted = TabletRecord {
            server: TabletServer::Adopted {
                machine: "10.0.0.1".to_owned(),
            },
            mysql_port: 3306,
            ..made
        };
        let json = serde_json::to_value(&adopted).unwrap();
        assert_eq!(json["server"]["adopted"]["machine"], "10.0.0.1");
        assert_eq!(
            serde_json::from_value::<TabletRecord>(json).unwrap(),
            adopted
        );
        assert_eq!(adopted.server_id(), None);
        assert_eq!(adopted.address(None).unwrap().to_string(), "10.0.0.1:3306");
    }

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
