//! The records of a cluster as types. Everything here is plain data: no IO, no clock, no randomness,
//! so that the planner can use all of it. Each record is one JSON value under one key (see [`keys`]).

pub mod address;
pub mod backup;
pub mod cluster;
pub mod gate;
pub mod history;
pub mod host;
pub mod key_range;
pub mod keys;
pub mod keyspace;
pub mod names;
pub mod plan;
pub mod rates;
pub mod records;
pub mod routing;
pub mod tablet;
pub mod user;
pub mod vschema;
pub mod workflow;

pub use address::ServerAddress;
pub use backup::{
    BackupCheck, BackupMethod, BackupPolicyRecord, BackupRecord, BackupScheduleRecord, BackupState,
};
pub use cluster::{CellRecord, ClusterRecord, Credentials, RECORD_FORMAT, SpecRecord};
pub use gate::{GATE_CONNECTIONS, GateConfigRecord, GateRecord};
pub use history::HistoryRecord;
pub use host::{FlavorKind, HostRecord};
pub use key_range::{KeyRange, KeyspaceId, ShardName};
pub use keyspace::{Durability, KeyspaceRecord, ShardRecord};
pub use names::{CellName, GateName, HostName, KeyspaceName, NameError, TableName, WorkflowName};
pub use plan::{
    ActivePlan, PlanControl, PlanRecord, PlanStatus, StepProgress, StepState, StepWork,
};
pub use rates::{Measurement, RatesRecord};
pub use records::Records;
pub use routing::{RoutingRule, RoutingRules};
pub use tablet::{TabletAlias, TabletRecord, TabletServer, TabletType};
pub use user::UserRecord;
pub use vschema::{
    AutoIncrement, ColumnVindex, VSchemaColumn, VSchemaKeyspace, VSchemaTable, VindexDefinition,
};
pub use workflow::{
    Ending, HeldObject, HoldRecord, Side, StreamsWanted, SwitchPhase, VDiffRecord, VDiffSample,
    VDiffState, VDiffTable, WorkflowKind, WorkflowRecord, WorkflowSide, WriteSwitch,
};

/// A position in the store's history: every committed transaction has a higher one than those
/// before it. For etcd it is etcd's own revision.
pub type Revision = u64;

/// Milliseconds since the Unix epoch, for people to read. Never used to decide an order.
pub type UnixMillis = u64;
