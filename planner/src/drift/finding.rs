//! One difference between what should be and what is.

use serde::{Deserialize, Serialize};

/// What kind of drift. The names are stable: specs ignore, and programs alert, by them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    /// A record (cell, keyspace, shard) that the spec asks for is missing.
    RecordMissing,
    /// There is a record that neither the spec nor the one applied before it has.
    RecordExtra,
    /// A shard has fewer tablets than the spec says.
    TabletMissing,
    /// A shard has more tablets than the spec says.
    TabletExtra,
    /// A tablet is of another type.
    TabletType,
    /// A shard has no primary, or one whose place the spec has given up.
    Primary,
    /// A keyspace's record has another durability.
    Durability,
    /// A shard lacks a table.
    TableMissing,
    /// A shard's table has another definition.
    TableDiffers,
    /// A replica's table has another definition than its primary's.
    TableSkew,
    /// There is a table that the spec does not have.
    StrayTable,
    /// A sequence lacks its row.
    Sequence,
    /// A keyspace's VSchema is another one.
    Vschema,
    /// A user of the gates is missing, has another password, or should not be there.
    User,
    /// The configuration of a cell's gates is another one.
    GateConfig,
    /// What backups are taken is not what the spec says.
    BackupConfig,
    /// Routing rules are not those of the workflows that run.
    RoutingRules,
    /// The spec asks for more, or other, than what was applied.
    NotApplied,
    /// There is no plan from here to the spec.
    NoPlan,
    /// A server does not run.
    ServerDown,
    /// A server runs another version than its host has installed, or than the shard's other servers.
    ServerVersion,
    /// A server is not in the role that the records give it.
    Role,
    /// A server takes writes and should not, or the other way round.
    ReadOnly,
    /// A server waits for acknowledgements (or gives them) and should not, or the other way round.
    SemiSync,
    /// A replica does not replicate.
    Replication,
    /// A replica replicates from elsewhere.
    ReplicationSource,
    /// A global variable is not as the agent sets it.
    Variable,
    /// One of vtplan's accounts on a server is missing or was changed.
    Account,
    /// An account on a server that is nobody's that vtplan knows.
    StrayAccount,
    /// A database on a server that is nobody's that vtplan knows.
    StrayDatabase,
    /// A server (or its folder) without a record.
    OrphanTablet,
    /// Streams, or parked rows, of a workflow that there is not.
    OrphanStream,
    /// A fence on tables of a workflow that there is not.
    OrphanFence,
    /// A hold on writes of a workflow that there is not.
    OrphanHold,
    /// A shard is fenced, or its reads are routed elsewhere, and no workflow does that.
    OrphanShardState,
    /// A shard's newest backup is older than its schedule says, or the last one failed.
    BackupOverdue,
    /// A gate serves by older records.
    GateBehind,
    /// Fewer gates are alive than asked for.
    GatesMissing,
}

impl Kind {
    pub const ALL: [Self; 38] = [
        Self::RecordMissing,
        Self::RecordExtra,
        Self::TabletMissing,
        Self::TabletExtra,
        Self::TabletType,
        Self::Primary,
        Self::Durability,
        Self::TableMissing,
        Self::TableDiffers,
        Self::TableSkew,
        Self::StrayTable,
        Self::Sequence,
        Self::Vschema,
        Self::User,
        Self::GateConfig,
        Self::BackupConfig,
        Self::RoutingRules,
        Self::NotApplied,
        Self::NoPlan,
        Self::ServerDown,
        Self::ServerVersion,
        Self::Role,
        Self::ReadOnly,
        Self::SemiSync,
        Self::Replication,
        Self::ReplicationSource,
        Self::Variable,
        Self::Account,
        Self::StrayAccount,
        Self::StrayDatabase,
        Self::OrphanTablet,
        Self::OrphanStream,
        Self::OrphanFence,
        Self::OrphanHold,
        Self::OrphanShardState,
        Self::BackupOverdue,
        Self::GateBehind,
        Self::GatesMissing,
    ];

    pub const fn as_str(self) -> &'static str {
        match self {
            Self::RecordMissing => "record-missing",
            Self::RecordExtra => "record-extra",
            Self::TabletMissing => "tablet-missing",
            Self::TabletExtra => "tablet-extra",
            Self::TabletType => "tablet-type",
            Self::Primary => "primary",
            Self::Durability => "durability",
            Self::TableMissing => "table-missing",
            Self::TableDiffers => "table-differs",
            Self::TableSkew => "table-skew",
            Self::StrayTable => "stray-table",
            Self::Sequence => "sequence",
            Self::Vschema => "vschema",
            Self::User => "user",
            Self::GateConfig => "gate-config",
            Self::BackupConfig => "backup-config",
            Self::RoutingRules => "routing-rules",
            Self::NotApplied => "not-applied",
            Self::NoPlan => "no-plan",
            Self::ServerDown => "server-down",
            Self::ServerVersion => "server-version",
            Self::Role => "role",
            Self::ReadOnly => "read-only",
            Self::SemiSync => "semi-sync",
            Self::Replication => "replication",
            Self::ReplicationSource => "replication-source",
            Self::Variable => "variable",
            Self::Account => "account",
            Self::StrayAccount => "stray-account",
            Self::StrayDatabase => "stray-database",
            Self::OrphanTablet => "orphan-tablet",
            Self::OrphanStream => "orphan-stream",
            Self::OrphanFence => "orphan-fence",
            Self::OrphanHold => "orphan-hold",
            Self::OrphanShardState => "orphan-shard-state",
            Self::BackupOverdue => "backup-overdue",
            Self::GateBehind => "gate-behind",
            Self::GatesMissing => "gates-missing",
        }
    }
}

impl std::fmt::Display for Kind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.pad(self.as_str())
    }
}

/// Who puts it right.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Mender {
    /// The host's agent, by itself, as soon as it can.
    Agent,
    /// `vtplan apply`, as a step that is approved.
    Apply,
    /// A person.
    Person,
}

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Finding {
    pub kind: Kind,
    /// `commerce/0:product`, `zone1-0000000100`, ...
    pub object: String,
    pub expected: String,
    pub found: String,
    /// Definitions, where they differ: a unified diff.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
    /// Since when it is so, where that is known; seconds since 1970.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub since: Option<u64>,
    pub mended_by: Mender,
    /// The command, or what to do where there is none. `SPEC` stands for the spec.
    pub mend: String,
    /// The step of `vtplan plan` that mends it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub step: Option<String>,
}

impl Finding {
    pub(crate) fn new(
        kind: Kind,
        object: impl Into<String>,
        expected: impl Into<String>,
        found: impl Into<String>,
    ) -> Self {
        Self {
            kind,
            object: object.into(),
            expected: expected.into(),
            found: found.into(),
            diff: None,
            since: None,
            mended_by: Mender::Person,
            mend: String::new(),
            step: None,
        }
    }

    pub(crate) fn by_person(mut self, mend: impl Into<String>) -> Self {
        self.mended_by = Mender::Person;
        self.mend = mend.into();
        self
    }

    pub(crate) fn by_agent(mut self, host: &str) -> Self {
        self.mended_by = Mender::Agent;
        self.mend = format!("the agent of host {host} does by itself; see its log if it lasts");
        self
    }

    pub(crate) fn by_step(mut self, step: &str) -> Self {
        self.mended_by = Mender::Apply;
        self.mend = "vtplan apply SPEC".to_owned();
        self.step = Some(step.to_owned());
        self
    }
}

/// A finding that the spec says to ignore, and why.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ignored {
    pub reason: String,
    #[serde(flatten)]
    pub finding: Finding,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds_are_named_as_in_json() {
        for kind in Kind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
    }
}
