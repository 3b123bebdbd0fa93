//! What a plan is. Its JSON is what `plan --format json` prints and the store keeps.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use thiserror::Error;
use vtplan_state::model::{
    CellName, Durability, HostName, KeyspaceName, Revision, RoutingRules, ServerAddress, ShardName,
    Side, TableName, TabletAlias, TabletType, UnixMillis, UserRecord, VSchemaKeyspace,
    VSchemaTable, VindexDefinition, WorkflowKind, WorkflowName, WorkflowSide,
};

use crate::desired::{ApprovePoint, BackupPolicy};
use crate::fit::Fit;
use crate::seen::Deviation;

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
    /// What it needs of disks and connections, against what there was when it was made. Plans of
    /// earlier versions have none.
    #[serde(default, skip_serializing_if = "Fit::is_empty")]
    pub fit: Fit,
}

impl Plan {
    pub fn is_empty(&self) -> bool {
        self.steps.is_empty()
    }
    pub fn destructive(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|s| s.risk == Risk::Destructive)
    }
    /// The steps that take back what was done by hand.
    pub fn drift(&self) -> impl Iterator<Item = &Step> {
        self.steps.iter().filter(|s| s.origin == Origin::Drift)
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
    #[serde(default, skip_serializing_if = "Origin::is_spec")]
    pub origin: Origin,
    #[serde(flatten)]
    pub action: Action,
}

/// Why the cluster is not what the spec says.
#[derive(
    Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize,
)]
#[serde(rename_all = "kebab-case")]
pub enum Origin {
    /// The spec was changed, or was never applied.
    #[default]
    Spec,
    /// The cluster was, by somebody's hand, since this part of the spec was applied. The step takes
    /// that back, and is approved apart.
    Drift,
}

impl Origin {
    pub fn is_spec(&self) -> bool {
        *self == Self::Spec
    }
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
    /// Of a copy or a comparison: what `seconds` is reckoned with.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rate: Option<Rate>,
}

/// How fast one shard of a source is copied or compared. Shards go side by side.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Rate {
    pub bytes_per_second: u64,
    /// No table is taken to go faster, however small its rows are.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub rows_per_second: Option<u64>,
    pub basis: Basis,
    /// How many workflows of this cluster it was measured of.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub measurements: u32,
}

/// How a rate is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Basis {
    /// Nothing was measured yet.
    Assumed,
    Measured,
}

fn is_zero(number: &u32) -> bool {
    *number == 0
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
    /// Writes the tablet's record; done when its host's agent has its server running, or, where it
    /// adopts one, has taken it over as it runs.
    CreateTablet {
        alias: TabletAlias,
        keyspace: KeyspaceName,
        shard: ShardName,
        tablet_type: TabletType,
        /// `None`: no host of the cell is known yet. Such a plan can be read but not applied.
        host: Option<HostName>,
        /// `None` exactly when `host` is.
        mysql_port: Option<u16>,
        /// The server that becomes the tablet; `None`: one is made.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        adopt: Option<ServerAddress>,
    },
    /// Stops the server and removes its folder and record. An adopted server is released: it goes on
    /// with its data.
    DeleteTablet {
        alias: TabletAlias,
        keyspace: KeyspaceName,
        shard: ShardName,
        host: HostName,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        release: Option<ServerAddress>,
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
    /// Changes an existing table: takes `AUTO_INCREMENT` off a column, or takes back what was changed
    /// by hand since the spec was applied.
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
        /// Its `SHOW CREATE TABLE`, for whoever approves this.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        before: String,
    },
    /// Inserts a sequence's row with id 0, if it has none, and never lets it give a number that is
    /// not above the highest value of the columns in `above`.
    InitSequence {
        keyspace: KeyspaceName,
        shard: ShardName,
        table: TableName,
        next_id: u64,
        cache: u64,
        /// Columns that hold numbers already and take theirs from this sequence from now on.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        above: Vec<NumberedColumn>,
    },
    ApplyVschema {
        keyspace: KeyspaceName,
        /// `None`: the keyspace had none.
        before: Option<VSchemaKeyspace>,
        after: VSchemaKeyspace,
        /// Sequences that tables with rows take their numbers from as soon as this is applied:
        /// raised (see [`SequenceRaise`]) right before.
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        raise: Vec<SequenceRaise>,
    },
    /// Fills a lookup that gates keep already with the rows that its owner had before, and opens it:
    /// the VSchema's vindex becomes `after`. Done when it is that. Writes of the table wait for a moment
    /// first, so that all who began before the lookup was kept have ended.
    BackfillLookup {
        keyspace: KeyspaceName,
        lookup: String,
        table: TableName,
        /// `write_only`.
        before: VindexDefinition,
        after: VindexDefinition,
    },
    /// Writes the workflow's record; for a MoveTables in the same transaction the routing rules that
    /// keep the tables at the source, and `vschema`. Agents then copy. Done when the record is there.
    StartWorkflow {
        workflow: WorkflowName,
        workflow_kind: WorkflowKind,
        source: WorkflowSide,
        target: WorkflowSide,
        tables: Vec<TableName>,
        throttle_max_lag_seconds: u64,
        /// For a MoveTables: what the target's VSchema gets of the tables. It comes together with
        /// the routing rules, for in between a name without a keyspace would be ambiguous.
        #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
        vschema: BTreeMap<String, VSchemaTable>,
    },
    /// Done when every row was copied ([`vtplan_state::model::WorkflowRecord::copied`]).
    WaitForCopy {
        keyspace: KeyspaceName,
        workflow: WorkflowName,
    },
    /// A full comparison that must find no difference.
    Vdiff {
        keyspace: KeyspaceName,
        workflow: WorkflowName,
        /// Values are compared also where checksums of both sides are equal.
        #[serde(default, skip_serializing_if = "std::ops::Not::not")]
        every_value: bool,
    },
    /// Waits for a person to approve a point of `changes.approve`.
    WaitForApproval {
        keyspace: KeyspaceName,
        workflow: WorkflowName,
        point: ApprovePoint,
    },
    /// Sends what is for these types of tablets to a side: `replica` and `rdonly` together, or
    /// `primary` alone, which moves the writes. `to: source` is Vitess's ReverseTraffic.
    SwitchTraffic {
        keyspace: KeyspaceName,
        workflow: WorkflowName,
        tablet_types: Vec<TabletType>,
        to: Side,
        /// The time that a switch of writes may take before it is undone, milliseconds.
        max_write_pause_ms: u64,
        /// When writes may be switched (`changes.window`).
        #[serde(default, skip_serializing_if = "Option::is_none")]
        window: Option<String>,
        /// Sequences that the tables take their numbers from on the other side: raised while the
        /// side that had the writes is fenced, before the flip. (A shard of a column's keyspace
        /// is asked whether it serves or not.)
        #[serde(default, skip_serializing_if = "Vec::is_empty")]
        raise: Vec<SequenceRaise>,
    },
    /// Lets time pass between the switch of writes and Complete.
    Soak {
        keyspace: KeyspaceName,
        workflow: WorkflowName,
        seconds: u64,
    },
    /// Ends a workflow whose traffic is switched: reverse streams off, for a MoveTables the source's
    /// tables dropped; then in one transaction the routing rules cleaned, the tables' entries taken
    /// out of the source's VSchema, the record deleted.
    CompleteWorkflow {
        keyspace: KeyspaceName,
        workflow: WorkflowName,
        workflow_kind: WorkflowKind,
        source: WorkflowSide,
        tables: Vec<TableName>,
    },
    /// Ends a workflow whose traffic is at the source: streams off, for a MoveTables the target's
    /// tables dropped; then in one transaction the routing rules cleaned, the tables' entries taken
    /// out of the target's VSchema, the record deleted.
    CancelWorkflow {
        keyspace: KeyspaceName,
        workflow: WorkflowName,
        workflow_kind: WorkflowKind,
        target: WorkflowSide,
        tables: Vec<TableName>,
    },
    /// Sets a server's variables, and vtplan's own accounts on it, as its agent sets them up. Done when
    /// the agent sees no such deviation any more.
    MendServer {
        alias: TabletAlias,
        keyspace: KeyspaceName,
        shard: ShardName,
        /// What is there now, and is overwritten.
        deviations: Vec<Deviation>,
    },
    /// Makes the routing rules those of the workflows that there are: somebody wrote others by hand.
    MendRouting {
        before: RoutingRules,
        after: RoutingRules,
    },
    /// Takes back what a switch sets in a shard's record, where no workflow switches.
    MendShard {
        keyspace: KeyspaceName,
        shard: ShardName,
        /// What is there now, and is taken back.
        fenced: bool,
        serving_reads: BTreeMap<TabletType, bool>,
    },
    /// Lets through what a hold keeps back, of a workflow that there is not.
    EndHold {
        hold: String,
        /// Which hold of that name, by when it began; milliseconds since 1970.
        since: UnixMillis,
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
    /// Writes what backups are taken, for agents to follow; `None`: none are.
    SetBackups {
        before: Option<BackupPolicy>,
        after: Option<BackupPolicy>,
    },
}

/// A sequence that must give no number that is not above the highest value of some columns: its
/// `next_id` is raised where it is lower.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct SequenceRaise {
    pub keyspace: KeyspaceName,
    pub shard: ShardName,
    pub table: TableName,
    pub above: Vec<NumberedColumn>,
}

/// A column whose values a sequence must stay above. Its keyspace's serving primaries are asked; one
/// that has no such table holds no numbers.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct NumberedColumn {
    pub keyspace: KeyspaceName,
    pub table: TableName,
    pub column: String,
}

/// What is asked of one workflow by hand (`vtplan workflow switch|reverse|complete|cancel`): the plan
/// is then [`crate::passes::make_operation_plan`]'s.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct WorkflowOperation {
    pub keyspace: KeyspaceName,
    pub workflow: WorkflowName,
    pub operation: Operation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Operation {
    /// Reads, then writes, to the target.
    Switch,
    /// Reads alone, to the target.
    SwitchReads,
    /// Everything back to the source.
    Reverse,
    Complete,
    Cancel,
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
