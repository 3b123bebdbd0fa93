//! Whether a step that planning does not give any more is done. Planning says nothing of what it
//! cannot see, so a step is done only when it is also seen to be.

use vtplan_planner::backups;
use vtplan_planner::live::{ObservedRole, ObservedTablet, RunningServer, ServerState};
use vtplan_planner::plan::Action;
use vtplan_state::model::{KeyspaceName, ShardName, Side, TabletAlias, TabletType, WorkflowRecord};

use crate::observe::Gathered;

/// Whether what a step leads to can be seen.
pub fn is_done(action: &Action, seen: &Gathered) -> bool {
    let records = &seen.live.records;
    match action {
        Action::CreateCell { cell } => records.cells.contains_key(cell),
        Action::DeleteCell { cell } => !records.cells.contains_key(cell),
        Action::CreateKeyspace { keyspace, .. } => records.keyspaces.contains_key(keyspace),
        Action::SetDurability { keyspace, to, .. } => {
            let keyspace = records.keyspaces.get(keyspace);
            keyspace.is_some_and(|record| record.durability == *to)
        }
        Action::DeleteKeyspace { keyspace } => !records.keyspaces.contains_key(keyspace),
        Action::CreateShard {
            keyspace, shard, ..
        } => records.shard(keyspace, shard).is_some(),
        Action::DeleteShard { keyspace, shard } => records.shard(keyspace, shard).is_none(),
        Action::CreateTablet { alias, .. } => running(seen, alias).is_some(),
        // The server is seen to be gone, or its host is away and removes it when it comes back.
        Action::DeleteTablet { alias, .. } => {
            !records.tablets.contains_key(alias) && observed(seen, alias).is_none()
        }
        Action::ChangeTabletType { alias, to, .. } => {
            let tablet = records.tablets.get(alias);
            tablet.is_some_and(|tablet| tablet.tablet_type == *to)
        }
        Action::InitPrimary {
            keyspace, shard, ..
        } => takes_writes(seen, keyspace, shard, None),
        Action::Reparent {
            keyspace,
            shard,
            from,
            ..
        } => takes_writes(seen, keyspace, shard, Some(from)),
        Action::CreateTable {
            keyspace, shard, ..
        }
        | Action::AlterTable {
            keyspace, shard, ..
        }
        | Action::DropTable {
            keyspace, shard, ..
        }
        | Action::InitSequence {
            keyspace, shard, ..
        } => primary(seen, keyspace, shard)
            .and_then(|primary| observed(seen, primary))
            .is_some_and(|tablet| tablet.tables.is_some()),
        Action::ApplyVschema {
            keyspace, after, ..
        } => records.vschemas.get(keyspace) == Some(after),
        Action::BackfillLookup {
            keyspace,
            lookup,
            after,
            ..
        } => records
            .vschemas
            .get(keyspace)
            .is_some_and(|vschema| vschema.vindexes.get(lookup) == Some(after)),
        Action::StartWorkflow {
            workflow, target, ..
        } => records.workflow(&target.keyspace, workflow).is_some(),
        Action::WaitForCopy { keyspace, workflow } => records
            .workflow(keyspace, workflow)
            .is_some_and(|record| record.copied),
        Action::Vdiff {
            keyspace, workflow, ..
        } => records
            .workflow(keyspace, workflow)
            .is_some_and(|record| record.vdiff_passed),
        Action::WaitForApproval {
            keyspace,
            workflow,
            point,
        } => records
            .workflow(keyspace, workflow)
            .is_some_and(|record| record.approved.contains(point.as_str())),
        Action::SwitchTraffic {
            keyspace,
            workflow,
            tablet_types,
            to,
            ..
        } => records
            .workflow(keyspace, workflow)
            .is_some_and(|record| is_switched(record, tablet_types, *to)),
        Action::Soak {
            keyspace, workflow, ..
        } => records
            .workflow(keyspace, workflow)
            .is_some_and(|record| record.soaked),
        Action::CompleteWorkflow {
            keyspace, workflow, ..
        }
        | Action::CancelWorkflow {
            keyspace, workflow, ..
        } => records.workflow(keyspace, workflow).is_none(),
        Action::MendServer { alias, .. } => running(seen, alias).is_some(),
        // Planning has all that there is to see of these.
        Action::MendRouting { .. } | Action::MendShard { .. } | Action::EndHold { .. } => true,
        Action::CreateUser { user, .. } => records.users.contains_key(user),
        Action::AlterUser { user, verifier } => records.users.get(user) == Some(verifier),
        Action::DeleteUser { user } => !records.users.contains_key(user),
        Action::ConfigureGates {
            cell,
            count,
            mysql_port,
        } => {
            let config = records.gate_configs.get(cell);
            config.is_some_and(|config| config.count == *count && config.mysql_port == *mysql_port)
        }
        Action::SetBackups { after, .. } => {
            backups::policy(records.backup_policy.as_ref()).as_ref() == after.as_ref()
        }
        Action::RemoveGates { cell } => !records.gate_configs.contains_key(cell),
    }
}

/// Whether what is for these types of tablets goes to a side, and nothing of the switch is left.
fn is_switched(record: &WorkflowRecord, tablet_types: &[TabletType], to: Side) -> bool {
    tablet_types.iter().all(|tablet_type| match tablet_type {
        TabletType::Primary => record.writes == to && record.switch.is_none(),
        other => record.reads_switched.contains(other) == (to == Side::Target),
    })
}

fn observed<'a>(seen: &'a Gathered, alias: &TabletAlias) -> Option<&'a ObservedTablet> {
    seen.live.observed.tablets.get(alias)
}

fn running<'a>(seen: &'a Gathered, alias: &TabletAlias) -> Option<&'a RunningServer> {
    match &observed(seen, alias)?.server {
        ServerState::Running(server) => Some(server),
        _ => None,
    }
}

fn primary<'a>(
    seen: &'a Gathered,
    keyspace: &KeyspaceName,
    shard: &ShardName,
) -> Option<&'a TabletAlias> {
    seen.live.records.shard(keyspace, shard)?.primary.as_ref()
}

/// Whether a shard's primary is another one than `not`, and takes writes as far as the shard's
/// record lets it: one of a shard that does not serve, or is fenced, takes them of streams alone.
fn takes_writes(
    seen: &Gathered,
    keyspace: &KeyspaceName,
    shard: &ShardName,
    not: Option<&TabletAlias>,
) -> bool {
    let Some(record) = seen.live.records.shard(keyspace, shard) else {
        return false;
    };
    let Some(primary) = &record.primary else {
        return false;
    };
    Some(primary) != not
        && running(seen, primary).is_some_and(|server| {
            (!server.read_only || !record.takes_writes())
                && matches!(server.role, ObservedRole::Primary { .. })
        })
}
