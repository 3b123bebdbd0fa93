//! What a spec asks for, defaulted and checked: the planner's first input. Plain data that
//! serializes to canonical JSON (maps are sorted), so its digest names it.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use vtplan_state::model::{
    CellName, Durability, HostName, KeyspaceName, ServerAddress, ShardName, TableName, TabletType,
    UserRecord, VSchemaKeyspace,
};

use crate::drift::{Finding, Kind as DriftKind};
use crate::lint::names;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Desired {
    pub cluster: String,
    pub cells: Vec<CellName>,
    pub keyspaces: BTreeMap<KeyspaceName, DesiredKeyspace>,
    pub changes: ChangePolicy,
    #[serde(default, skip_serializing_if = "DriftPolicy::is_empty")]
    pub drift: DriftPolicy,
    pub backups: Option<BackupPolicy>,
    pub gates: BTreeMap<CellName, DesiredGates>,
    pub users: BTreeMap<String, DesiredUser>,
    #[serde(default, skip_serializing_if = "Policy::is_empty")]
    pub policy: Policy,
}

/// What a spec requires and forbids (`policy:`). What goes against it has no plan.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Policy {
    /// Of [`crate::lint::names::REQUIRABLE`].
    pub require: Vec<String>,
    /// Of [`crate::lint::names::FORBIDDABLE`].
    pub forbid: Vec<String>,
    pub except: Vec<PolicyException>,
}

/// Where a part of a policy does not hold, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct PolicyException {
    /// One of the words in `require` or `forbid`.
    pub rule: String,
    /// Pattern of objects' names; `*` stands for any text.
    pub object: String,
    pub reason: String,
}

impl Policy {
    pub fn is_empty(&self) -> bool {
        self.require.is_empty() && self.forbid.is_empty() && self.except.is_empty()
    }

    /// The rules of `lint` that bind, each with what the policy says: `requires `soak``.
    pub fn bound_rules(&self) -> impl Iterator<Item = (String, &str)> {
        let required = self.require.iter().filter_map(|name| {
            let rule = names::rule_of(name)?;
            Some((format!("requires `{name}`"), rule))
        });
        let forbidden = self.forbid.iter();
        required.chain(forbidden.map(|name| (format!("forbids `{name}`"), name.as_str())))
    }

    /// Whether a rule binds for an object.
    pub fn binds(&self, rule: &str, object: &str) -> bool {
        let required = self
            .require
            .iter()
            .any(|name| names::rule_of(name) == Some(rule) && !self.is_excepted(name, object));
        let forbidden = self.forbid.iter().any(|name| name == rule);
        required || forbidden && !self.is_excepted(rule, object)
    }

    /// Whether what the policy says by this word does not hold for an object.
    pub fn is_excepted(&self, word: &str, object: &str) -> bool {
        let mut all = self.except.iter();
        all.any(|except| except.rule == word && names::matches(&except.object, object))
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DesiredKeyspace {
    /// In key order, covering the whole range once.
    pub shards: Vec<ShardName>,
    pub durability: Durability,
    /// The tablets that each shard has, in a fixed order.
    pub tablets: Vec<DesiredTablets>,
    /// The desired tables by name, from the schema files. The order of creation is the
    /// planner's affair.
    pub tables: BTreeMap<TableName, DesiredTable>,
    pub vschema: VSchemaKeyspace,
    pub on_remove: OnRemove,
}

impl DesiredKeyspace {
    pub fn is_sharded(&self) -> bool {
        self.vschema.sharded
    }

    /// Whether its tablets are servers that were there before.
    pub fn is_adopted(&self) -> bool {
        self.tablets.iter().any(|t| t.adopt.is_some())
    }
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct DesiredTable {
    /// One `CREATE TABLE` statement, as in the schema file, without the closing `;`.
    pub statement: String,
    pub on_remove: OnRemove,
}

/// `count` tablets of a type in a cell for every shard, or one that is pinned to a place, or one whose
/// server is there already.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredTablets {
    pub cell: CellName,
    /// `replica` or `rdonly`. One of the replicas becomes primary.
    pub tablet_type: TabletType,
    pub count: u32,
    /// With a pin, `count` is 1.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub pin: Option<Pin>,
    /// With a server that is adopted, `count` is 1, and there is no pin.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub adopt: Option<Adopt>,
}

/// A server that is there already and becomes a tablet as it runs, with its data.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Adopt {
    pub server: ServerAddress,
    /// The host whose agent looks after it; `None`: one of its cell is chosen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub host: Option<HostName>,
}

/// Where a pinned tablet is. A pin with a `shard` is for that shard only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Pin {
    pub host: HostName,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub shard: Option<ShardName>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub uid: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mysql_port: Option<u16>,
}

/// What happens to what holds data when it is left out of the spec.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OnRemove {
    /// It stays, and the plan says so.
    #[default]
    Keep,
    /// It is dropped, as a destructive step with an approval of its own.
    Drop,
}

/// How data may move (`changes:`).
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ChangePolicy {
    pub vdiff: VDiffPolicy,
    pub soak_seconds: u64,
    pub max_write_pause_ms: u64,
    pub approve: Vec<ApprovePoint>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub window: Option<String>,
    /// Replication lag above which copying slows down, seconds.
    pub throttle_max_lag_seconds: u64,
    #[serde(default, skip_serializing_if = "FitPolicy::is_refuse")]
    pub fit: FitPolicy,
}

impl Default for ChangePolicy {
    fn default() -> Self {
        Self {
            vdiff: VDiffPolicy::Required,
            soak_seconds: 0,
            max_write_pause_ms: 1000,
            approve: Vec::new(),
            window: None,
            throttle_max_lag_seconds: 5,
            fit: FitPolicy::Refuse,
        }
    }
}

/// What becomes of a plan that needs more disk or connections than there are (`changes.fit`).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum FitPolicy {
    /// There is no such plan: nothing begins.
    #[default]
    Refuse,
    /// The plan says so. What it needs is an estimate, after all.
    Warn,
}

impl FitPolicy {
    pub fn is_refuse(&self) -> bool {
        *self == Self::Refuse
    }
}

/// What `vtplan drift` passes over (`drift:`).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct DriftPolicy {
    pub ignore: Vec<IgnoreDrift>,
}

/// Drift that is meant to be.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IgnoreDrift {
    pub kind: DriftKind,
    /// The object, in which `*` stands for any text: `commerce/*:tmp_*`. `None`: any.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub object: Option<String>,
    pub reason: String,
}

impl DriftPolicy {
    pub fn is_empty(&self) -> bool {
        self.ignore.is_empty()
    }

    /// Why a finding is passed over, if it is.
    pub fn reason_for(&self, finding: &Finding) -> Option<&str> {
        let rule = self.ignore.iter().find(|rule| {
            rule.kind == finding.kind
                && rule
                    .object
                    .as_ref()
                    .is_none_or(|pattern| matches(pattern, &finding.object))
        });
        rule.map(|rule| rule.reason.as_str())
    }
}

/// Whether a text is what a pattern says, in which `*` stands for any text.
fn matches(pattern: &str, text: &str) -> bool {
    let mut pieces = pattern.split('*');
    let Some(mut rest) = text.strip_prefix(pieces.next().unwrap_or_default()) else {
        return false;
    };
    let mut pieces: Vec<&str> = pieces.collect();
    let Some(last) = pieces.pop() else {
        return rest.is_empty();
    };
    for piece in pieces {
        match rest.find(piece) {
            Some(at) => rest = &rest[at + piece.len()..],
            None => return false,
        }
    }
    rest.ends_with(last)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VDiffPolicy {
    Required,
    /// And no checksum is relied on.
    EveryValue,
    Skip,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ApprovePoint {
    SwitchReads,
    SwitchWrites,
    Complete,
}

impl ApprovePoint {
    /// As it is written in a spec.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::SwitchReads => "switch_reads",
            Self::SwitchWrites => "switch_writes",
            Self::Complete => "complete",
        }
    }
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupPolicy {
    pub location: String,
    pub schedules: Vec<BackupSchedule>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupSchedule {
    /// Keyspace names or `*`.
    pub keyspaces: Vec<String>,
    /// Five fields, as in crontab(5).
    pub cron: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_last: Option<u32>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keep_days: Option<u32>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredGates {
    pub count: u32,
    pub mysql_port: u16,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DesiredUser {
    pub source: PasswordSource,
    /// Made from the password where it could be read. `None` (a `plan` without the secret): a
    /// user that exists is left as it is, one that does not cannot be created.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verifier: Option<UserRecord>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum PasswordSource {
    /// Name of an environment variable.
    Env(String),
    /// Path of a file; its trailing newline is not part of the password.
    File(String),
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_star_in_a_pattern_stands_for_any_text() {
        for (pattern, text, expected) in [
            ("commerce/0:tmp_*", "commerce/0:tmp_1", true),
            ("commerce/*:tmp_*", "commerce/-80:tmp_", true),
            ("*", "", true),
            ("a*b*c", "a-b-b-c", true),
            ("a*bc*c", "abc", false),
            ("commerce", "commerce/0", false),
            ("*/0", "commerce/0", true),
            ("a*a", "a", false),
        ] {
            assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
        }
    }
}
