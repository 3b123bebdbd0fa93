//! What a step does: its writes and calls. Whether it is done is seen, not concluded, so all of
//! it may be done twice, by two conductors, and cut off anywhere.

use std::collections::BTreeMap;
use std::sync::Arc;

use vtplan_planner::backups;
use vtplan_planner::live::{ObservedRole, ServerState};
use vtplan_planner::plan::{Action, Step};
use vtplan_state::model::{
    BackupPolicyRecord, CellRecord, GateConfigRecord, KeyspaceName, KeyspaceRecord, RoutingRules,
    ServerAddress, ShardName, ShardRecord, TabletAlias, TabletRecord, TabletServer, UserRecord,
    VSchemaKeyspace,
};
use vtplan_state::store::{Compare, Op, Txn};

pub use super::outcome::{Outcome, Progress};
use super::world::{Sql, Target};
use super::write::{Change, Fenced};
use super::{lookup, numbers, reparent, switch, workflow};
use crate::observe::Gathered;

/// The words for a step in failpoints and messages: its `kind` in JSON.
pub fn kind(action: &Action) -> &'static str {
    match action {
        Action::CreateCell { .. } => "create-cell",
        Action::DeleteCell { .. } => "delete-cell",
        Action::CreateKeyspace { .. } => "create-keyspace",
        Action::SetDurability { .. } => "set-durability",
        Action::DeleteKeyspace { .. } => "delete-keyspace",
        Action::CreateShard { .. } => "create-shard",
        Action::DeleteShard { .. } => "delete-shard",
        Action::CreateTablet { .. } => "create-tablet",
        Action::DeleteTablet { .. } => "delete-tablet",
        Action::ChangeTabletType { .. } => "change-tablet-type",
        Action::InitPrimary { .. } => "init-primary",
        Action::Reparent { .. } => "reparent",
        Action::CreateTable { .. } => "create-table",
        Action::AlterTable { .. } => "alter-table",
        Action::DropTable { .. } => "drop-table",
        Action::InitSequence { .. } => "init-sequence",
        Action::ApplyVschema { .. } => "apply-vschema",
        Action::BackfillLookup { .. } => "backfill-lookup",
        Action::StartWorkflow { .. } => "start-workflow",
        Action::WaitForCopy { .. } => "wait-for-copy",
        Action::Vdiff { .. } => "vdiff",
        Action::WaitForApproval { .. } => "wait-for-approval",
        Action::SwitchTraffic { .. } => "switch-traffic",
        Action::Soak { .. } => "soak",
        Action::CompleteWorkflow { .. } => "complete-workflow",
        Action::CancelWorkflow { .. } => "cancel-workflow",
        Action::MendServer { .. } => "mend-server",
        Action::MendRouting { .. } => "mend-routing",
        Action::MendShard { .. } => "mend-shard",
        Action::EndHold { .. } => "end-hold",
        Action::CreateUser { .. } => "create-user",
        Action::AlterUser { .. } => "alter-user",
        Action::DeleteUser { .. } => "delete-user",
        Action::ConfigureGates { .. } => "configure-gates",
        Action::RemoveGates { .. } => "remove-gates",
        Action::SetBackups { .. } => "set-backups",
    }
}

/// Whether a step may have holds and switches of its own under way.
pub fn switches(action: &Action) -> bool {
    matches!(
        action,
        Action::SwitchTraffic { .. }
            | Action::CompleteWorkflow { .. }
            | Action::CancelWorkflow { .. }
            | Action::ApplyVschema { .. }
            | Action::BackfillLookup { .. }
    )
}

/// What an attempt at a step knows.
#[derive(Debug, Clone)]
pub struct Attempt {
    /// The plan's id.
    pub plan: String,
    /// Whether the plan has just come to this step.
    pub first: bool,
    /// The cluster as it was looked at last.
    pub seen: Arc<Gathered>,
}

/// Does a step.
pub async fn act(to: Fenced<'_>, step: Step, attempt: Attempt) -> Outcome {
    let kind = kind(&step.action);
    to.world.failpoint("conductor.before-step").await;
    to.world
        .failpoint(&format!("conductor.before-step:{kind}"))
        .await;
    let outcome = match try_act(to, &step.action, &attempt).await {
        Ok(()) => Outcome::Acted,
        Err(outcome) => outcome,
    };
    to.world.failpoint("conductor.after-step").await;
    to.world
        .failpoint(&format!("conductor.after-step:{kind}"))
        .await;
    outcome
}

async fn try_act(to: Fenced<'_>, action: &Action, attempt: &Attempt) -> Result<(), Outcome> {
    let keys = to.world.cluster().keys();
    let seen = attempt.seen.as_ref();
    let first = attempt.first;
    match action {
        Action::CreateCell { cell } => {
            let record = CellRecord { name: cell.clone() };
            Ok(to.create(keys.cell(cell), &[], record).await?)
        }
        Action::DeleteCell { cell } => Ok(to.delete(keys.cell(cell), &[]).await?),
        Action::CreateKeyspace {
            keyspace,
            durability,
        } => {
            let record = KeyspaceRecord {
                name: keyspace.clone(),
                durability: *durability,
            };
            Ok(to.create(keys.keyspace(keyspace), &[], record).await?)
        }
        Action::SetDurability {
            keyspace,
            from,
            to: wanted,
        } => {
            let change = |old: Option<KeyspaceRecord>| match old {
                Some(old) if old.durability == *wanted => Ok(Change::Nothing),
                Some(old) if old.durability == *from => Ok(Change::Put(KeyspaceRecord {
                    durability: *wanted,
                    ..old
                })),
                Some(old) => Err(format!(
                    "the durability of {keyspace} is {}, not {from}",
                    old.durability
                )),
                None => Err(format!("keyspace {keyspace} is gone")),
            };
            Ok(to.change(keys.keyspace(keyspace), &[], change).await?)
        }
        Action::DeleteKeyspace { keyspace } => {
            let vschema = keys.vschema(keyspace);
            delete_both(to, keys.keyspace(keyspace), vschema).await
        }
        Action::CreateShard {
            keyspace,
            shard,
            serving,
        } => {
            let record = ShardRecord::new(keyspace.clone(), shard.clone(), *serving);
            let in_keyspace = Compare::Exists(keys.keyspace(keyspace));
            let key = keys.shard(keyspace, shard);
            Ok(to.create(key, &[in_keyspace], record).await?)
        }
        Action::DeleteShard { keyspace, shard } => {
            Ok(to.delete(keys.shard(keyspace, shard), &[]).await?)
        }
        Action::CreateTablet { .. } => create_tablet(to, action, seen).await,
        Action::DeleteTablet { alias, .. } => Ok(to.delete(keys.tablet(alias), &[]).await?),
        Action::ChangeTabletType {
            alias,
            from,
            to: wanted,
        } => {
            let change = |old: Option<TabletRecord>| match old {
                Some(old) if old.tablet_type == *wanted => Ok(Change::Nothing),
                Some(old) if old.tablet_type == *from => Ok(Change::Put(TabletRecord {
                    tablet_type: *wanted,
                    ..old
                })),
                Some(old) => Err(format!("tablet {alias} is {}, not {from}", old.tablet_type)),
                None => Err(format!("tablet {alias} is gone")),
            };
            Ok(to.change(keys.tablet(alias), &[], change).await?)
        }
        Action::InitPrimary {
            keyspace,
            shard,
            primary,
        } => init_primary(to, keyspace, shard, primary, seen).await,
        Action::Reparent {
            keyspace,
            shard,
            from,
            to: wanted,
        } => reparent::reparent(to, keyspace, shard, from, wanted, seen).await,
        Action::CreateTable {
            keyspace,
            shard,
            statement,
            ..
        }
        | Action::AlterTable {
            keyspace,
            shard,
            statement,
            ..
        } => {
            // Without foreign key checks: tables that refer to each other, and columns that are
            // referred to. Types are compared by the server all the same.
            let sql = Sql {
                statements: vec![statement.clone()],
                foreign_key_checks: false,
            };
            execute(to, keyspace, shard, sql, seen).await
        }
        Action::DropTable {
            keyspace,
            shard,
            table,
            ..
        } => {
            let record = seen.live.records.shard(keyspace, shard);
            let sql = Sql {
                statements: vec![format!("DROP TABLE IF EXISTS {}", quoted(table.as_str()))],
                // A shard that serves nothing is cleared for a Reshard; its tables refer to each other.
                foreign_key_checks: record.is_none_or(|shard| shard.serving),
            };
            execute(to, keyspace, shard, sql, seen).await
        }
        Action::InitSequence { .. } => numbers::init_sequence(to, action, seen).await,
        Action::ApplyVschema {
            keyspace,
            before,
            after,
            raise,
        } if !raise.is_empty() => {
            numbers::apply_vschema_raising(to, keyspace, before, after, raise).await
        }
        Action::ApplyVschema {
            keyspace,
            before,
            after,
            ..
        } => {
            let change = |old: Option<VSchemaKeyspace>| {
                if old.as_ref() == Some(after) {
                    Ok(Change::Nothing)
                } else if old == *before {
                    Ok(Change::Put(after.clone()))
                } else {
                    Err(format!("the VSchema of {keyspace} was changed meanwhile"))
                }
            };
            let in_keyspace = Compare::Exists(keys.keyspace(keyspace));
            let key = keys.vschema(keyspace);
            Ok(to.change(key, &[in_keyspace], change).await?)
        }
        Action::BackfillLookup { .. } => lookup::backfill(to, action).await,
        Action::StartWorkflow { .. } => workflow::start::start(to, action).await,
        Action::WaitForCopy { keyspace, workflow } => {
            workflow::copy::wait(to, keyspace, workflow, first).await
        }
        Action::Vdiff {
            keyspace,
            workflow,
            every_value,
        } => {
            let (plan, every_value) = (&attempt.plan, *every_value);
            workflow::vdiff::compare(to, plan, keyspace, workflow, every_value, first).await
        }
        Action::WaitForApproval {
            keyspace,
            workflow,
            point,
        } => workflow::policy::approval(to, keyspace, workflow, *point).await,
        Action::SwitchTraffic { .. } => switch::switch_traffic(to, action, first).await,
        Action::Soak {
            keyspace,
            workflow,
            seconds,
        } => workflow::policy::soak(to, keyspace, workflow, *seconds).await,
        Action::CompleteWorkflow {
            keyspace, workflow, ..
        } => workflow::ending::complete(to, keyspace, workflow).await,
        Action::CancelWorkflow {
            keyspace, workflow, ..
        } => workflow::ending::cancel(to, keyspace, workflow).await,
        Action::MendServer {
            alias, deviations, ..
        } => {
            let target = target(seen, alias, 0)?;
            Ok(to.world.mend_server(&target, deviations).await?)
        }
        Action::MendRouting { before, after } => {
            let change = |old: Option<RoutingRules>| match old.unwrap_or_default() {
                old if old == *after => Ok(Change::Nothing),
                old if old == *before => Ok(Change::Put(after.clone())),
                _ => Err("the routing rules were changed meanwhile".to_owned()),
            };
            Ok(to.change(keys.routing(), &[], change).await?)
        }
        Action::MendShard {
            keyspace,
            shard,
            fenced,
            serving_reads,
        } => {
            let change = |old: Option<ShardRecord>| match old {
                Some(old) if !old.fenced && old.serving_reads.is_empty() => Ok(Change::Nothing),
                Some(old) if (old.fenced, &old.serving_reads) == (*fenced, serving_reads) => {
                    Ok(Change::Put(ShardRecord {
                        fenced: false,
                        serving_reads: BTreeMap::new(),
                        ..old
                    }))
                }
                Some(_) => Err(format!("shard {keyspace}/{shard} was changed meanwhile")),
                None => Err(format!("shard {keyspace}/{shard} is gone")),
            };
            Ok(to.change(keys.shard(keyspace, shard), &[], change).await?)
        }
        Action::EndHold { hold, since } => {
            let there = seen.live.records.holds.get(hold);
            if there.is_none_or(|there| there.since != *since) {
                return Ok(());
            }
            Ok(to.delete(keys.hold(hold), &[]).await?)
        }
        Action::CreateUser {
            user,
            verifier: None,
        } => Err(Outcome::Impossible(format!(
            "the plan was made without the password of user {user}; set it and apply again"
        ))),
        Action::CreateUser {
            user,
            verifier: Some(record),
        }
        | Action::AlterUser {
            user,
            verifier: record,
        } => {
            let put = |old: Option<UserRecord>| {
                Ok(if old.as_ref() == Some(record) {
                    Change::Nothing
                } else {
                    Change::Put(record.clone())
                })
            };
            Ok(to.change(keys.user(user), &[], put).await?)
        }
        Action::DeleteUser { user } => Ok(to.delete(keys.user(user), &[]).await?),
        Action::ConfigureGates {
            cell,
            count,
            mysql_port,
        } => {
            let record = GateConfigRecord {
                cell: cell.clone(),
                count: *count,
                mysql_port: *mysql_port,
            };
            let put = |old: Option<GateConfigRecord>| {
                Ok(if old.as_ref() == Some(&record) {
                    Change::Nothing
                } else {
                    Change::Put(record)
                })
            };
            Ok(to.change(keys.gate_config(cell), &[], put).await?)
        }
        Action::RemoveGates { cell } => Ok(to.delete(keys.gate_config(cell), &[]).await?),
        Action::SetBackups { after: None, .. } => Ok(to.delete(keys.backup_policy(), &[]).await?),
        Action::SetBackups {
            after: Some(after), ..
        } => {
            let now = to.world.now() / 1000;
            let put = |old: Option<BackupPolicyRecord>| {
                let record = backups::record(after, old.as_ref(), now);
                Ok(if old.as_ref() == Some(&record) {
                    Change::Nothing
                } else {
                    Change::Put(record)
                })
            };
            Ok(to.change(keys.backup_policy(), &[], put).await?)
        }
    }
}

async fn delete_both(to: Fenced<'_>, first: String, second: String) -> Result<(), Outcome> {
    let txn = Txn::new()
        .then(Op::delete(first.clone()))
        .then(Op::delete(second));
    to.txn(txn, &format!("{first} was changed")).await?;
    Ok(())
}

async fn create_tablet(to: Fenced<'_>, action: &Action, seen: &Gathered) -> Result<(), Outcome> {
    let Action::CreateTablet {
        alias,
        keyspace,
        shard,
        tablet_type,
        host,
        mysql_port,
        adopt,
    } = action
    else {
        return Ok(());
    };
    let (Some(host), Some(mysql_port)) = (host, mysql_port) else {
        return Err(Outcome::Impossible(format!(
            "the plan was made without a host for tablet {alias}; start agents and apply again"
        )));
    };
    let keys = to.world.cluster().keys();
    let in_shard = Compare::Exists(keys.shard(keyspace, shard));
    let flavor = match (
        seen.live.records.tablets.get(alias),
        seen.live.records.hosts.get(host),
    ) {
        (Some(tablet), _) => tablet.flavor,
        (None, Some(record)) => record.flavor,
        (None, None) => return Err(Outcome::Retry(no_agent(host.as_str()))),
    };
    let record = TabletRecord {
        alias: alias.clone(),
        keyspace: keyspace.clone(),
        shard: shard.clone(),
        tablet_type: *tablet_type,
        host: host.clone(),
        mysql_port: *mysql_port,
        flavor,
        server: match adopt {
            Some(server) => TabletServer::Adopted {
                machine: server.machine.clone(),
            },
            None => TabletServer::Made,
        },
    };
    Ok(to.create(keys.tablet(alias), &[in_shard], record).await?)
}

fn no_agent(host: &str) -> String {
    format!("no agent is alive on host {host}; start `vtplan agent` there")
}

async fn init_primary(
    to: Fenced<'_>,
    keyspace: &KeyspaceName,
    shard: &ShardName,
    primary: &TabletAlias,
    seen: &Gathered,
) -> Result<(), Outcome> {
    let named = seen.live.records.shard(keyspace, shard);
    let is_named = named.is_some_and(|shard| shard.primary.as_ref() == Some(primary));
    if !is_named && let Some((server, from)) = replicates(seen, primary) {
        return Err(Outcome::Impossible(format!(
            "{server}, tablet {primary}, is to be the primary of {keyspace}/{shard}, and replicates from \
             {from}; plan and apply again, for what replicates is known now, and list the server that \
             takes the writes first"
        )));
    }
    // A shard gets a primary only when a server is there to be it.
    if !is_named && !runs(seen, primary) {
        return Err(Outcome::Retry(format!(
            "the server of tablet {primary} does not run yet"
        )));
    }
    let keys = to.world.cluster().keys();
    let exists = Compare::Exists(keys.tablet(primary));
    let change = |old: Option<ShardRecord>| match old {
        Some(old) if old.primary.as_ref() == Some(primary) => Ok(Change::Nothing),
        Some(old) => match &old.primary {
            None => Ok(Change::Put(ShardRecord {
                primary: Some(primary.clone()),
                term: old.term + 1,
                ..old
            })),
            Some(other) => Err(format!(
                "{keyspace}/{shard} has the primary {other} already"
            )),
        },
        None => Err(format!("shard {keyspace}/{shard} is gone")),
    };
    let key = keys.shard(keyspace, shard);
    Ok(to.change(key, &[exists], change).await?)
}

/// An adopted server without a role that replicates, and from where.
fn replicates(seen: &Gathered, alias: &TabletAlias) -> Option<(ServerAddress, String)> {
    let server = seen.live.records.tablets.get(alias)?.adopted()?;
    match &seen.live.observed.tablets.get(alias)?.server {
        ServerState::Running(running) => Some((server, running.replicates_from.clone()?)),
        _ => None,
    }
}

fn runs(seen: &Gathered, alias: &TabletAlias) -> bool {
    seen.live
        .observed
        .tablets
        .get(alias)
        .is_some_and(|tablet| match &tablet.server {
            // One that replicates from somewhere is no candidate for a first primary.
            ServerState::Running(server) => !matches!(server.role, ObservedRole::Replica { .. }),
            _ => false,
        })
}

/// Runs statements on a shard's primary.
pub(super) async fn execute(
    to: Fenced<'_>,
    keyspace: &KeyspaceName,
    shard: &ShardName,
    sql: Sql,
    seen: &Gathered,
) -> Result<(), Outcome> {
    let record = seen.live.records.shard(keyspace, shard);
    let Some((primary, term)) = record.and_then(|r| Some((r.primary.as_ref()?, r.term))) else {
        return Err(Outcome::Retry(format!("{keyspace}/{shard} has no primary")));
    };
    let target = target(seen, primary, term)?;
    Ok(to.world.execute_sql(&target, sql).await?)
}

/// Where to call a tablet.
pub(super) fn target(seen: &Gathered, alias: &TabletAlias, term: u64) -> Result<Target, Outcome> {
    let records = &seen.live.records;
    let Some(tablet) = records.tablets.get(alias) else {
        return Err(Outcome::Retry(format!("tablet {alias} is gone")));
    };
    match records.hosts.get(&tablet.host) {
        Some(host) => Ok(Target {
            host: host.clone(),
            alias: alias.clone(),
            term,
        }),
        None => Err(Outcome::Retry(no_agent(tablet.host.as_str()))),
    }
}

/// An identifier in backticks.
pub(super) fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vtplan_state::model::CellName;

    #[test]
    fn the_kind_of_an_action_is_the_one_of_its_json() {
        let cell = CellName::new("zone1").unwrap();
        let actions = [
            Action::CreateCell { cell: cell.clone() },
            Action::RemoveGates { cell },
            Action::DeleteUser { user: "app".into() },
            Action::InitSequence {
                keyspace: KeyspaceName::new("commerce").unwrap(),
                shard: ShardName::unsharded(),
                table: "seq".parse().unwrap(),
                next_id: 1,
                cache: 100,
                above: Vec::new(),
            },
        ];
        for action in actions {
            let json = serde_json::to_value(&action).unwrap();
            assert_eq!(json["kind"], kind(&action));
        }
    }

    #[test]
    fn identifiers_are_quoted() {
        assert_eq!(quoted("a`b"), "`a``b`");
    }
}
