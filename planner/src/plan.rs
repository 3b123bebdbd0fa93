//! What a plan is. Its JSON is what `plan --format json` prints and the store keeps.

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vtplan_state::model::{
    CellName, Durability, HostName, KeyspaceName, Revision, ShardName, TableName, TabletAlias,
    TabletType, UserRecord, VSchemaKeyspace,
};

/// The format of plan documents that this version writes.
pub const PLAN_FORMAT: u32 = 1;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Plan {
    /// [`PLAN_FORMAT`].
    pub format: u32,
    pub cluster: String,
    /// SHA-256 of the desired state's canonical JSON, hex.
    pub spec_digest: String,
    /// Revision of the records that it was made from.
    pub base_revision: Revision,
    /// SHA-256, hex, of what of the live state the plan depends on: equal digests, equal plan. A
    /// saved plan is refused when it differs. It leaves out what changes by itself (positions,
    /// lag, row counts, leases' times).
    pub live_digest: String,
    /// In an order in which they could be run one by one: dependencies come first.
    pub steps: Vec<Step>,
    /// What is so and a person may want to know: a kept table that the spec left out, fewer
    /// gates alive than asked for, a tablet that cannot be seen.
    pub notes: Vec<Note>,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
    pub fn destructive(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|s| s.risk == Risk::Destructive)
    }
}

/// A step's name, derived from what it does: `create-tablet:zone1-0000000100`. The same work has
/// the same id in every plan.
pub type StepId = String;

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Step {
    pub id: StepId,
    /// Steps of the same plan that must be done before. Sorted. (`after` in JSON would collide with
    /// the fields `before` and `after` of actions, which stand beside it there.)
    #[serde(rename = "depends_on")]
    pub after: Vec<StepId>,
    pub risk: Risk,
    pub estimate: Estimate,
    /// One sentence for people: why, or what the change of the spec was taken to mean.
    pub reason: String,
    #[serde(flatten)]
    pub action: Action,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Risk {
    /// Nobody notices.
    Safe,
    /// Queries may wait or be refused for a moment.
    Disruptive,
    /// Data is deleted.
    Destructive,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Estimate {
    pub seconds: u64,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes: Option<u64>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub write_pause_ms: Option<u64>,
}

/// What a step does. Each is done when the live state shows it, and may be run twice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case")]
pub enum Action {
    CreateCell {
        cell: CellName,
    },
    DeleteCell {
        cell: CellName,
    },
    CreateKeyspace {
        keyspace: KeyspaceName,
        durability: Durability,
    },
    SetDurability {
        keyspace: KeyspaceName,
        from: Durability,
        to: Durability,
    },
    DeleteKeyspace {
        keyspace: KeyspaceName,
    },
    /// The shard's record, without a primary.
    CreateShard {
        keyspace: KeyspaceName,
        shard: ShardName,
        serving: bool,
    },
    DeleteShard {
        keyspace: KeyspaceName,
        shard: ShardName,
    },
    /// Writes the tablet's record; done when its host's agent has its server running.
    CreateTablet {
        alias: TabletAlias,
        keyspace: KeyspaceName,
        shard: ShardName,
        tablet_type: TabletType,
        /// `None`: no host of the cell is known yet. Such a plan can be read but not applied.
        host: Option<HostName>,
        /// `None` exactly when `host` is.
        mysql_port: Option<u16>,
    },
    /// Stops the server and removes its folder and record.
    DeleteTablet {
        alias: TabletAlias,
        keyspace: KeyspaceName,
        shard: ShardName,
        host: HostName,
    },
    ChangeTabletType {
        alias: TabletAlias,
        from: TabletType,
        to: TabletType,
    },
    /// Makes a tablet the first primary of its shard; done when it takes writes and the shard's
    /// other tablets replicate from it.
    InitPrimary {
        keyspace: KeyspaceName,
        shard: ShardName,
        primary: TabletAlias,
    },
    /// Moves the primary to another tablet of the shard, with no write lost.
    Reparent {
        keyspace: KeyspaceName,
        shard: ShardName,
        from: TabletAlias,
        to: TabletAlias,
    },
    CreateTable {
        keyspace: KeyspaceName,
        shard: ShardName,
        table: TableName,
        statement: String,
    },
    /// Changes an existing table (in this version: takes `AUTO_INCREMENT` off a column).
    AlterTable {
        keyspace: KeyspaceName,
        shard: ShardName,
        table: TableName,
        statement: String,
        /// `SHOW CREATE TABLE` before and after.
        before: String,
        after: String,
    },
    DropTable {
        keyspace: KeyspaceName,
        shard: ShardName,
        table: TableName,
    },
    /// Inserts a sequence's row with id 0, if it has none.
    InitSequence {
        keyspace: KeyspaceName,
        shard: ShardName,
        table: TableName,
        next_id: u64,
        cache: u64,
    },
    ApplyVschema {
        keyspace: KeyspaceName,
        /// `None`: the keyspace had none.
        before: Option<VSchemaKeyspace>,
        after: VSchemaKeyspace,
    },
    CreateUser {
        user: String,
        verifier: Option<UserRecord>,
    },
    AlterUser {
        user: String,
        verifier: UserRecord,
    },
    DeleteUser {
        user: String,
    },
    ConfigureGates {
        cell: CellName,
        count: u32,
        mysql_port: u16,
    },
    RemoveGates {
        cell: CellName,
    },
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Note {
    /// What it is about: `commerce.product`, `zone1`, ...
    pub object: String,
    pub text: String,
}

/// Why there can be no plan: what, on which object, why, what to do.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize, Error)]
#[error("{object}: {problem}")]
pub struct PlanError {
    /// A stable name: `too-few-hosts`, `table-differs`, ...
    pub code: String,
    pub object: String,
    pub problem: String,
    /// What to do.
    pub help: String,
    /// A unified diff, where there is one to show.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub diff: Option<String>,
}
