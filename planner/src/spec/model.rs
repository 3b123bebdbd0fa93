//! The typed model of a spec, as written: names are parsed, defaults are not filled in, files
//! that it names are not read. Two spellings of one spec give equal models ([`Sp`] compares
//! values, not places).

use vtplan_state::model::{
    CellName, Durability, HostName, KeyspaceName, ServerAddress, ShardName, TableName, TabletType,
};

use super::source::Sp;
use crate::desired::{
    ApprovePoint, FitPolicy, OnRemove, PasswordSource, PolicyException, VDiffPolicy,
};
use crate::drift::Kind as DriftKind;
use crate::lint::Level;

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Spec {
    pub cluster: Option<Sp<String>>,
    pub cells: Vec<Sp<CellName>>,
    pub keyspaces: Vec<Keyspace>,
    pub changes: Option<Sp<Changes>>,
    /// Rules of all files together.
    pub ignore_drift: Vec<IgnoreDrift>,
    pub backups: Option<Sp<Backups>>,
    pub lint: Option<Sp<Lint>>,
    pub policy: Option<Sp<PolicySpec>>,
    pub gates: Vec<Gates>,
    pub users: Vec<User>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Keyspace {
    pub name: Sp<KeyspaceName>,
    pub shards: Option<Sp<Shards>>,
    pub sharded: Option<Sp<bool>>,
    pub durability: Option<Sp<Durability>>,
    pub tablets: Vec<Tablets>,
    pub schema: Vec<SchemaSource>,
    pub vschema: Option<Sp<String>>,
    pub vindexes: Vec<Vindex>,
    pub tables: Vec<Table>,
    pub require_explicit_routing: Option<Sp<bool>>,
    pub on_remove: Option<Sp<OnRemove>>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum Shards {
    Count(u32),
    List(Vec<Sp<ShardName>>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Tablets {
    pub cell: Sp<CellName>,
    pub place: Sp<TabletsKind>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum TabletsKind {
    Counts {
        replica: Option<Sp<u32>>,
        rdonly: Option<Sp<u32>>,
    },
    Pinned(PinnedTablet),
    Adopted(AdoptedTablet),
}

#[derive(Debug, Clone, PartialEq)]
pub struct PinnedTablet {
    pub host: Sp<HostName>,
    pub tablet_type: Option<Sp<TabletType>>,
    pub shard: Option<Sp<ShardName>>,
    pub uid: Option<Sp<u32>>,
    pub mysql_port: Option<Sp<u16>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AdoptedTablet {
    pub server: Sp<ServerAddress>,
    pub host: Option<Sp<HostName>>,
    pub tablet_type: Option<Sp<TabletType>>,
}

#[derive(Debug, Clone, PartialEq)]
pub enum SchemaSource {
    /// A file or folder, relative to the spec's file.
    Path(Sp<String>),
    Sql(Sp<String>),
}

#[derive(Debug, Clone, PartialEq)]
pub struct Vindex {
    pub name: Sp<String>,
    pub vindex_type: Option<Sp<String>>,
    pub owner: Option<Sp<String>>,
    pub params: Vec<(Sp<String>, Sp<String>)>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Table {
    pub name: Sp<TableName>,
    pub table_type: Option<Sp<String>>,
    pub vindexes: Vec<TableVindex>,
    pub auto_increment: Option<AutoIncrement>,
    pub columns: Vec<TableColumn>,
    pub column_list_authoritative: Option<Sp<bool>>,
    pub pinned: Option<Sp<String>>,
    pub source: Option<Sp<String>>,
    pub on_remove: Option<Sp<OnRemove>>,
}

impl Table {
    /// Whether it says anything that belongs to the VSchema.
    pub fn has_vschema(&self) -> bool {
        self.table_type.is_some()
            || !self.vindexes.is_empty()
            || self.auto_increment.is_some()
            || !self.columns.is_empty()
            || self.column_list_authoritative.is_some()
            || self.pinned.is_some()
            || self.source.is_some()
    }
}

#[derive(Debug, Clone, PartialEq)]
pub struct TableVindex {
    pub name: Sp<String>,
    pub column: Option<Sp<String>>,
    pub columns: Vec<Sp<String>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct AutoIncrement {
    pub column: Sp<String>,
    pub sequence: Sp<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TableColumn {
    pub name: Sp<String>,
    pub column_type: Option<Sp<String>>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Changes {
    pub vdiff: Option<Sp<VDiffPolicy>>,
    /// Milliseconds.
    pub soak: Option<Sp<u64>>,
    /// Milliseconds.
    pub max_write_pause: Option<Sp<u64>>,
    pub approve: Vec<Sp<ApprovePoint>>,
    pub window: Option<Sp<String>>,
    /// Milliseconds.
    pub throttle_max_lag: Option<Sp<u64>>,
    pub fit: Option<Sp<FitPolicy>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct IgnoreDrift {
    pub kind: Sp<DriftKind>,
    pub object: Option<Sp<String>>,
    pub reason: Sp<String>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Backups {
    pub location: Option<Sp<String>>,
    pub schedules: Vec<Schedule>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Schedule {
    pub keyspaces: Vec<Sp<String>>,
    pub cron: Sp<String>,
    pub keep_last: Option<Sp<u32>>,
    pub keep_days: Option<Sp<u32>>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct Lint {
    pub rules: Vec<(Sp<String>, Level)>,
    pub ignore: Vec<LintIgnore>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct LintIgnore {
    pub rule: Sp<String>,
    pub object: Option<Sp<String>>,
    pub file: Option<Sp<String>>,
    pub reason: Sp<String>,
}

#[derive(Debug, Clone, Default, PartialEq)]
pub struct PolicySpec {
    pub require: Vec<Sp<String>>,
    pub forbid: Vec<Sp<String>>,
    pub except: Vec<PolicyException>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Gates {
    pub cell: Sp<CellName>,
    pub count: Option<Sp<u32>>,
    pub mysql_port: Option<Sp<u16>>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct User {
    pub name: Sp<String>,
    /// Those given; a valid spec has one.
    pub sources: Vec<Sp<PasswordSource>>,
}
