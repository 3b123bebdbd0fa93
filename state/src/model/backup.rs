//! Backups: what is to be taken and when, and what was taken. They are of one server of a shard, with
//! all that is in its data folder.

use serde::{Deserialize, Serialize};

use super::names::{HostName, KeyspaceName};
use super::{FlavorKind, Revision, ShardName, TabletAlias};

/// Key `backup-policy`: the spec's `backups:`, as it was applied last. Agents follow it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupPolicyRecord {
    /// `file:///var/backups/shop`
    pub location: String,
    pub schedules: Vec<BackupScheduleRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupScheduleRecord {
    /// Keyspace names or `*`.
    pub keyspaces: Vec<String>,
    /// Five fields, as in crontab(5), in UTC.
    pub cron: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_last: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_days: Option<u32>,
    /// Since when it holds, seconds since 1970: what would have fired before is not missing.
    #[serde(default)]
    pub since: u64,
}

impl BackupScheduleRecord {
    /// Whether backups of a keyspace are taken by it.
    pub fn is_for(&self, keyspace: &KeyspaceName) -> bool {
        let mut patterns = self.keyspaces.iter();
        patterns.any(|p| p == "*" || p == keyspace.as_str())
    }
}

/// How far a backup is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupState {
    /// Asked for by hand; no agent has begun it.
    Requested,
    /// An agent takes it, and holds the shard's lock.
    Taking,
    Complete,
    /// See [`BackupRecord::reason`].
    Failed,
    /// Its files are being removed; then the record goes.
    Removing,
}

impl BackupState {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Taking => "taking",
            Self::Complete => "complete",
            Self::Failed => "failed",
            Self::Removing => "removing",
        }
    }
}

/// How a server's data is copied while it takes writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum BackupMethod {
    /// `mariadb-backup --backup`: to be prepared before a server can start on it.
    MariadbBackup,
    /// `CLONE LOCAL DATA DIRECTORY`, started once: a server can start on it.
    MysqlClone,
}

impl BackupMethod {
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::MariadbBackup => "mariadb-backup",
            Self::MysqlClone => "mysql-clone",
        }
    }
}

/// Key `backups/<ks>/<shard>/<id>`. Times are seconds since 1970.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRecord {
    /// `20261128-221533-3f2a`: when it was asked for, in UTC, and what tells it from any other.
    pub id: String,
    pub keyspace: KeyspaceName,
    pub shard: ShardName,
    pub state: BackupState,
    /// Why it failed; while it is taken, what is done.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub reason: String,
    /// Who asked for it, `ada@desk`. `None`: a schedule, whose retention removes it again.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub requested_by: Option<String>,
    #[serde(default)]
    pub requested_at: u64,
    /// Which server it is of, and on which host.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub tablet: Option<TabletAlias>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub flavor: Option<FlavorKind>,
    /// The server's, `10.11.6`.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub version: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub method: Option<BackupMethod>,
    /// Exactly what of the binlog is in it: a GTID set, or MariaDB's GTID position.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub position: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub begun_at: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    /// Of its files; while it is taken, so far.
    #[serde(default)]
    pub bytes: u64,
    #[serde(default)]
    pub files: u64,
    /// The location that it was taken to, as the policy named it.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub location: String,
    /// Tells the shard that it is of from an earlier or a later one of that name; see [`incarnation`].
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub incarnation: String,
    /// SHA-256, hex, of its manifest, which has that of each file.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub manifest_sha256: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub check: Option<BackupCheck>,
}

/// The last time that a backup's files were compared with its manifest.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupCheck {
    pub requested_at: u64,
    /// `None`: it is asked for, or under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<u64>,
    #[serde(default)]
    pub bytes_read: u64,
    /// What is wrong, a line for each file, the first of them; empty: nothing.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub damage: Vec<String>,
}

impl BackupRecord {
    /// One that is asked for and not begun.
    pub fn new(
        id: String,
        keyspace: KeyspaceName,
        shard: ShardName,
        requested_by: Option<String>,
        requested_at: u64,
    ) -> Self {
        Self {
            id,
            keyspace,
            shard,
            state: BackupState::Requested,
            reason: String::new(),
            requested_by,
            requested_at,
            tablet: None,
            host: None,
            flavor: None,
            version: String::new(),
            method: None,
            position: String::new(),
            begun_at: None,
            ended_at: None,
            bytes: 0,
            files: 0,
            location: String::new(),
            incarnation: String::new(),
            manifest_sha256: String::new(),
            check: None,
        }
    }

    /// How it is sorted and found: `KEYSPACE/SHARD/ID`.
    pub fn path(&self) -> String {
        format!("{}/{}/{}", self.keyspace, self.shard, self.id)
    }

    /// When it was begun, or asked for.
    pub fn at(&self) -> u64 {
        self.begun_at.unwrap_or(self.requested_at)
    }

    /// By which backups of a shard are sorted: several may be of one second.
    pub fn order(&self) -> (u64, u64, &str) {
        (self.at(), self.ended_at.unwrap_or(u64::MAX), &self.id)
    }

    /// Whether its files are all there, as far as anybody has looked.
    pub fn is_good(&self) -> bool {
        self.state == BackupState::Complete
            && self
                .check
                .as_ref()
                .is_none_or(|check| check.damage.is_empty())
    }

    /// Whether it is asked for or under way.
    pub fn is_open(&self) -> bool {
        matches!(self.state, BackupState::Requested | BackupState::Taking)
    }
}

/// Names a shard over all times: the cluster's generation, and the revision at which its record was made.
/// Records that were put back from a copy are others.
pub fn incarnation(generation: u64, made_at: Revision) -> String {
    format!("{generation}:{made_at}")
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn records_of_other_versions_are_read() {
        let least = json!({
            "id": "20261128-221533-3f2a", "keyspace": "commerce", "shard": "0",
            "state": "complete", "of_a_later_version": 1,
        });
        let record: BackupRecord = serde_json::from_value(least).unwrap();
        assert!(record.is_good() && !record.is_open());
        assert_eq!(record.path(), "commerce/0/20261128-221533-3f2a");
        let policy = json!({ "location": "file:///b", "schedules": [{ "keyspaces": ["*"], "cron": "@daily" }] });
        let policy: BackupPolicyRecord = serde_json::from_value(policy).unwrap();
        assert_eq!(policy.schedules[0].since, 0);
        assert!(policy.schedules[0].is_for(&KeyspaceName::new("commerce").unwrap()));
    }
}
