//! Workflows: data on its way from one keyspace or set of shards to another.
//!
//! A workflow's record is the whole of its durable state outside of the servers. The streams' own
//! positions stand in `_vt` on the servers that they write to, in the transactions that write the
//! rows.

use std::collections::{BTreeMap, BTreeSet};

use serde::{Deserialize, Serialize};

use super::names::{KeyspaceName, TableName, WorkflowName};
use super::{ShardName, TabletType, UnixMillis};

/// What a workflow does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WorkflowKind {
    /// Tables go from one keyspace to another.
    MoveTables,
    /// All tables of a range of a keyspace's shards go to other shards over the same range.
    Reshard,
}

/// One end of a workflow.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkflowSide {
    pub keyspace: KeyspaceName,
    /// In key order.
    pub shards: Vec<ShardName>,
}

/// An end of a workflow by what it was when the workflow began: also after traffic was switched
/// (or switched back), `Source` is where the data came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Side {
    Source,
    Target,
}

impl Side {
    pub const fn other(self) -> Self {
        match self {
            Self::Source => Self::Target,
            Self::Target => Self::Source,
        }
    }
}

/// Key `workflows/<target keyspace>/<name>`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WorkflowRecord {
    pub name: WorkflowName,
    pub kind: WorkflowKind,
    pub source: WorkflowSide,
    /// For a Reshard, the same keyspace as `source`.
    pub target: WorkflowSide,
    /// What moves, sorted.
    pub tables: Vec<TableName>,
    /// Replication lag above which streams slow down, seconds.
    pub throttle_max_lag_seconds: u64,
    pub created_at: UnixMillis,
    /// Asked for by hand (`vtplan workflow pause`): streams stand still.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub paused: bool,
    pub streams: StreamsWanted,
    /// Whether every row was copied; from then on streams follow. Never taken back.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub copied: bool,
    /// The types of tablets (replica, rdonly) whose reads go to the target.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub reads_switched: BTreeSet<TabletType>,
    /// Where writes, and the reads of primaries, go.
    pub writes: Side,
    /// A switch of writes that is under way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch: Option<WriteSwitch>,
    /// Why the last switch was undone, until the next one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switch_failure: Option<String>,
    /// When writes were switched last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub switched_at: Option<UnixMillis>,
    /// The last full comparison found no difference. Cleared when streams start another epoch.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub vdiff_passed: bool,
    /// The points of `changes.approve` that were approved, as they are written in a spec.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub approved: BTreeSet<String>,
    /// The time between SwitchTraffic and Complete is over.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub soaked: bool,
    /// The workflow is being ended and will not go back: see [`Ending`].
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ending: Option<Ending>,
}

/// Once set, the way that the workflow takes to its end. Streams are stopped by then.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Ending {
    /// What the source still has of the tables is dropped (a MoveTables), then the record.
    Completing,
    /// What the target has of the tables is dropped (a MoveTables), then the record.
    Cancelling,
}

/// Which streams there should be. Agents make it so.
///
/// There is one stream for each shard of the side that is read. Streams run in one direction at a
/// time; each time it turns, or is to begin anew, a new epoch begins, and what `_vt` holds of
/// earlier epochs is history.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamsWanted {
    pub epoch: u64,
    /// The side that is read: `Source` before writes are switched, `Target` for reverse streams.
    pub from: Side,
    /// Whether they move. While it is `false`, positions stay.
    pub running: bool,
    /// By shard of the side that is read: the GTID set to follow from. Empty: the epoch begins
    /// with a copy.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub start: BTreeMap<ShardName, String>,
}

/// A switch of writes under way. The record holds it from its beginning to its end.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WriteSwitch {
    /// Where writes go when it is through.
    pub to: Side,
    pub phase: SwitchPhase,
    pub started_at: UnixMillis,
    /// Positions of the fenced side's primaries, from phase `Fenced` on.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub fenced_at: BTreeMap<ShardName, String>,
}

/// The phases of a switch, each written before what follows it is done. Before `Flipped` any
/// failure undoes the switch; from it on any failure is driven forward.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SwitchPhase {
    /// A hold stands: gates let no new write through to what moves, and drain.
    Holding,
    /// The side that had the writes is (being) fenced in its servers.
    Fencing,
    /// It is fenced; its positions stand in the record; streams catch up.
    Fenced,
    /// Routing and serving say the other side, in the same transaction as this phase. Left to do:
    /// gates acknowledge, the other side's servers open, the hold goes.
    Flipped,
}

impl WorkflowRecord {
    /// A workflow as it begins: traffic is at the source, and its streams, which will copy, do not run
    /// yet.
    pub fn new(
        name: WorkflowName,
        kind: WorkflowKind,
        source: WorkflowSide,
        target: WorkflowSide,
        tables: Vec<TableName>,
    ) -> Self {
        Self {
            name,
            kind,
            source,
            target,
            tables,
            throttle_max_lag_seconds: 0,
            created_at: 0,
            paused: false,
            streams: StreamsWanted {
                epoch: 1,
                from: Side::Source,
                running: false,
                start: BTreeMap::new(),
            },
            copied: false,
            reads_switched: BTreeSet::new(),
            writes: Side::Source,
            switch: None,
            switch_failure: None,
            switched_at: None,
            vdiff_passed: false,
            approved: BTreeSet::new(),
            soaked: false,
            ending: None,
        }
    }

    pub fn side(&self, side: Side) -> &WorkflowSide {
        match side {
            Side::Source => &self.source,
            Side::Target => &self.target,
        }
    }

    /// The side that streams read.
    pub fn reads_from(&self) -> &WorkflowSide {
        self.side(self.streams.from)
    }

    /// The side that streams write to.
    pub fn writes_to(&self) -> &WorkflowSide {
        self.side(self.streams.from.other())
    }

    /// `customer.commerce2customer`, as people write it.
    pub fn full_name(&self) -> String {
        format!("{}.{}", self.target.keyspace, self.name)
    }

    /// The traffic state in Vitess's words: `All Reads Switched. Writes Not Switched`.
    pub fn traffic_state(&self) -> String {
        let has = |tablet_type| self.reads_switched.contains(&tablet_type);
        let reads = match (has(TabletType::Replica), has(TabletType::Rdonly)) {
            (true, true) => "All Reads Switched",
            (true, false) => "Replica Reads Switched. Rdonly Reads Not Switched",
            (false, true) => "Rdonly Reads Switched. Replica Reads Not Switched",
            (false, false) => "Reads Not Switched",
        };
        let writes = match self.writes {
            Side::Source => "Writes Not Switched",
            Side::Target => "Writes Switched",
        };
        format!("{reads}. {writes}")
    }

    /// The name of the workflow that flows back while writes are at the target.
    pub fn reverse_name(&self) -> String {
        match self.name.as_str().strip_suffix("_reverse") {
            Some(forward) => forward.to_owned(),
            None => format!("{}_reverse", self.name),
        }
    }
}

/// Key `holds/<id>`: gates keep back what would write to the objects (and transactions that would
/// begin to touch them), let what has begun end, and tell in [`super::GateRecord::drained`] when
/// nothing of it is left. Deleting the record lets everything through, by the routing of then.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HoldRecord {
    /// The workflow's [`WorkflowRecord::full_name`], or another name of its own.
    pub id: String,
    pub since: UnixMillis,
    pub objects: Vec<HeldObject>,
    /// How long a gate keeps a statement before it fails it, milliseconds.
    pub max_ms: u64,
}

/// What a hold is about.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "snake_case")]
pub enum HeldObject {
    /// A table, by every name that routing rules give it.
    Table {
        keyspace: KeyspaceName,
        table: TableName,
    },
    /// Everything on a shard.
    Shard {
        keyspace: KeyspaceName,
        shard: ShardName,
    },
}

/// Key `vdiffs/<target keyspace>/<workflow>/<id>`: a full comparison that is asked for, under way or
/// over. Whoever asks creates it with state `Requested`; an agent carries it out.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct VDiffRecord {
    pub id: String,
    pub keyspace: KeyspaceName,
    pub workflow: WorkflowName,
    /// The epoch of the streams that it compares.
    pub epoch: u64,
    pub requested_at: UnixMillis,
    pub state: VDiffState,
    /// Every value is read and compared, also where checksums of both sides are equal.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub every_value: bool,
    /// By table, as far as it has come.
    #[serde(default)]
    pub tables: BTreeMap<TableName, VDiffTable>,
    /// Why it failed, or what it waits for.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub message: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<UnixMillis>,
    /// When it began to compare, if it did so in one go.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub started_at: Option<UnixMillis>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum VDiffState {
    Requested,
    Running,
    /// Every row was compared; `tables` says whether any differ.
    Done,
    /// It could not be done; `message` says why.
    Failed,
}

/// What a comparison found in one table.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct VDiffTable {
    pub rows_compared: u64,
    /// An estimate, for progress.
    pub rows_total: u64,
    /// Of the side that is read, by its servers' statistics.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub bytes_total: u64,
    /// Rows of the side that is read that the other lacks.
    pub missing: u64,
    /// Rows that only the other side has.
    pub extra: u64,
    pub differing: u64,
    /// Rows of the other side on a shard that is not theirs.
    #[serde(default)]
    pub misplaced: u64,
    /// Some of what was found: key and values, a few each.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub samples: Vec<VDiffSample>,
    /// The key up to which all was compared, as the comparison writes it; to resume.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub compared_to: Option<String>,
    pub done: bool,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct VDiffSample {
    /// `missing`, `extra`, `differing`, `misplaced`.
    pub found: String,
    /// `customer_id=5`
    pub key: String,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<String>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub target: Option<String>,
}

/// For fields that are left out when there is nothing to say.
fn is_zero(number: &u64) -> bool {
    *number == 0
}

impl VDiffTable {
    pub fn is_equal(&self) -> bool {
        self.missing == 0 && self.extra == 0 && self.differing == 0 && self.misplaced == 0
    }
}

impl VDiffRecord {
    /// Every row was compared, and none differs.
    pub fn passed(&self) -> bool {
        self.state == VDiffState::Done && self.tables.values().all(VDiffTable::is_equal)
    }
}
