//! Step ids: what a step does, as text. The same work has the same id in every plan, so an
//! approval, a progress record and a dependency can all name a step of a plan made later.

use vtplan_state::model::{
    CellName, KeyspaceName, ShardName, Side, TableName, TabletAlias, TabletType, WorkflowName,
};

use crate::desired::ApprovePoint;
use crate::plan::{Action, StepId};

pub fn create_cell(cell: &CellName) -> StepId {
    format!("create-cell:{cell}")
}

pub fn delete_cell(cell: &CellName) -> StepId {
    format!("delete-cell:{cell}")
}

pub fn create_keyspace(keyspace: &KeyspaceName) -> StepId {
    format!("create-keyspace:{keyspace}")
}

pub fn set_durability(keyspace: &KeyspaceName) -> StepId {
    format!("set-durability:{keyspace}")
}

pub fn delete_keyspace(keyspace: &KeyspaceName) -> StepId {
    format!("delete-keyspace:{keyspace}")
}

pub fn create_shard(keyspace: &KeyspaceName, shard: &ShardName) -> StepId {
    format!("create-shard:{keyspace}/{shard}")
}

pub fn delete_shard(keyspace: &KeyspaceName, shard: &ShardName) -> StepId {
    format!("delete-shard:{keyspace}/{shard}")
}

pub fn create_tablet(alias: &TabletAlias) -> StepId {
    format!("create-tablet:{alias}")
}

pub fn delete_tablet(alias: &TabletAlias) -> StepId {
    format!("delete-tablet:{alias}")
}

/// The type is part of the name: turning a tablet the one way or the other is other work.
pub fn change_tablet_type(alias: &TabletAlias, to: TabletType) -> StepId {
    format!("change-tablet-type:{alias}:{to}")
}

pub fn init_primary(keyspace: &KeyspaceName, shard: &ShardName) -> StepId {
    format!("init-primary:{keyspace}/{shard}")
}

/// The new primary is part of the name: it is what a person approves.
pub fn reparent(keyspace: &KeyspaceName, shard: &ShardName, to: &TabletAlias) -> StepId {
    format!("reparent:{keyspace}/{shard}:{to}")
}

pub fn create_table(keyspace: &KeyspaceName, shard: &ShardName, table: &TableName) -> StepId {
    format!("create-table:{keyspace}/{shard}:{table}")
}

pub fn alter_table(keyspace: &KeyspaceName, shard: &ShardName, table: &TableName) -> StepId {
    format!("alter-table:{keyspace}/{shard}:{table}")
}

pub fn drop_table(keyspace: &KeyspaceName, shard: &ShardName, table: &TableName) -> StepId {
    format!("drop-table:{keyspace}/{shard}:{table}")
}

pub fn init_sequence(keyspace: &KeyspaceName, shard: &ShardName, table: &TableName) -> StepId {
    format!("init-sequence:{keyspace}/{shard}:{table}")
}

pub fn apply_vschema(keyspace: &KeyspaceName) -> StepId {
    format!("apply-vschema:{keyspace}")
}

pub fn backfill_lookup(keyspace: &KeyspaceName, lookup: &str) -> StepId {
    format!("backfill-lookup:{keyspace}.{lookup}")
}

pub fn mend_server(alias: &TabletAlias) -> StepId {
    format!("mend-server:{alias}")
}

pub fn mend_routing() -> StepId {
    "mend-routing:rules".to_owned()
}

pub fn mend_shard(keyspace: &KeyspaceName, shard: &ShardName) -> StepId {
    format!("mend-shard:{keyspace}/{shard}")
}

pub fn end_hold(hold: &str) -> StepId {
    format!("end-hold:{hold}")
}

pub fn start_workflow(keyspace: &KeyspaceName, workflow: &WorkflowName) -> StepId {
    format!("start-workflow:{keyspace}.{workflow}")
}

pub fn wait_for_copy(keyspace: &KeyspaceName, workflow: &WorkflowName) -> StepId {
    format!("wait-for-copy:{keyspace}.{workflow}")
}

pub fn vdiff(keyspace: &KeyspaceName, workflow: &WorkflowName) -> StepId {
    format!("vdiff:{keyspace}.{workflow}")
}

pub fn wait_for_approval(
    keyspace: &KeyspaceName,
    workflow: &WorkflowName,
    point: ApprovePoint,
) -> StepId {
    format!("wait-for-approval:{keyspace}.{workflow}:{}", point.as_str())
}

/// `switch-traffic:customer.commerce2customer:primary`; back to the source, `reverse-traffic:...`.
pub fn switch_traffic(
    keyspace: &KeyspaceName,
    workflow: &WorkflowName,
    tablet_types: &[TabletType],
    to: Side,
) -> StepId {
    let verb = match to {
        Side::Target => "switch-traffic",
        Side::Source => "reverse-traffic",
    };
    let types: Vec<String> = tablet_types.iter().map(ToString::to_string).collect();
    format!("{verb}:{keyspace}.{workflow}:{}", types.join("+"))
}

pub fn soak(keyspace: &KeyspaceName, workflow: &WorkflowName) -> StepId {
    format!("soak:{keyspace}.{workflow}")
}

pub fn complete_workflow(keyspace: &KeyspaceName, workflow: &WorkflowName) -> StepId {
    format!("complete-workflow:{keyspace}.{workflow}")
}

pub fn cancel_workflow(keyspace: &KeyspaceName, workflow: &WorkflowName) -> StepId {
    format!("cancel-workflow:{keyspace}.{workflow}")
}

pub fn configure_gates(cell: &CellName) -> StepId {
    format!("configure-gates:{cell}")
}

pub fn remove_gates(cell: &CellName) -> StepId {
    format!("remove-gates:{cell}")
}

pub fn set_backups() -> StepId {
    "set-backups:schedules".to_owned()
}

impl Action {
    /// The id of the step that does this.
    pub fn id(&self) -> StepId {
        match self {
            Self::CreateCell { cell } => create_cell(cell),
            Self::DeleteCell { cell } => delete_cell(cell),
            Self::CreateKeyspace { keyspace, .. } => create_keyspace(keyspace),
            Self::SetDurability { keyspace, .. } => set_durability(keyspace),
            Self::DeleteKeyspace { keyspace } => delete_keyspace(keyspace),
            Self::CreateShard {
                keyspace, shard, ..
            } => create_shard(keyspace, shard),
            Self::DeleteShard { keyspace, shard } => delete_shard(keyspace, shard),
            Self::CreateTablet { alias, .. } => create_tablet(alias),
            Self::DeleteTablet { alias, .. } => delete_tablet(alias),
            Self::ChangeTabletType { alias, to, .. } => change_tablet_type(alias, *to),
            Self::InitPrimary {
                keyspace, shard, ..
            } => init_primary(keyspace, shard),
            Self::Reparent {
                keyspace,
                shard,
                to,
                ..
            } => reparent(keyspace, shard, to),
            Self::CreateTable {
                keyspace,
                shard,
                table,
                ..
            } => create_table(keyspace, shard, table),
            Self::AlterTable {
                keyspace,
                shard,
                table,
                ..
            } => alter_table(keyspace, shard, table),
            Self::DropTable {
                keyspace,
                shard,
                table,
                ..
            } => drop_table(keyspace, shard, table),
            Self::InitSequence {
                keyspace,
                shard,
                table,
                ..
            } => init_sequence(keyspace, shard, table),
            Self::ApplyVschema { keyspace, .. } => apply_vschema(keyspace),
            Self::BackfillLookup {
                keyspace, lookup, ..
            } => backfill_lookup(keyspace, lookup),
            Self::StartWorkflow {
                workflow, target, ..
            } => start_workflow(&target.keyspace, workflow),
            Self::WaitForCopy { keyspace, workflow } => wait_for_copy(keyspace, workflow),
            Self::Vdiff {
                keyspace, workflow, ..
            } => vdiff(keyspace, workflow),
            Self::WaitForApproval {
                keyspace,
                workflow,
                point,
            } => wait_for_approval(keyspace, workflow, *point),
            Self::SwitchTraffic {
                keyspace,
                workflow,
                tablet_types,
                to,
                ..
            } => switch_traffic(keyspace, workflow, tablet_types, *to),
            Self::Soak {
                keyspace, workflow, ..
            } => soak(keyspace, workflow),
            Self::CompleteWorkflow {
                keyspace, workflow, ..
            } => complete_workflow(keyspace, workflow),
            Self::CancelWorkflow {
                keyspace, workflow, ..
            } => cancel_workflow(keyspace, workflow),
            Self::MendServer { alias, .. } => mend_server(alias),
            Self::MendRouting { .. } => mend_routing(),
            Self::MendShard {
                keyspace, shard, ..
            } => mend_shard(keyspace, shard),
            Self::EndHold { hold, .. } => end_hold(hold),
            Self::CreateUser { user, .. } => format!("create-user:{user}"),
            Self::AlterUser { user, .. } => format!("alter-user:{user}"),
            Self::DeleteUser { user } => format!("delete-user:{user}"),
            Self::ConfigureGates { cell, .. } => configure_gates(cell),
            Self::RemoveGates { cell } => remove_gates(cell),
            Self::SetBackups { .. } => set_backups(),
        }
    }
}
