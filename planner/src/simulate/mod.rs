//! What the live state is after a step.
//!
//! The pure effect of each action on records and on what agents would then see. Tests of the law
//! use it, and simulations of the conductor. Applying a step twice is the same as once.

mod workflows;

use std::collections::{BTreeMap, HashMap};

use vtplan_state::model::{
    CellRecord, Durability, GateConfigRecord, KeyspaceName, KeyspaceRecord, ShardName, ShardRecord,
    TableName, TabletAlias, TabletRecord, TabletServer, TabletType,
};

use crate::live::{
    Canonical, Live, ObservedRole, ObservedTable, ObservedTablet, RunningServer, ServerState,
};
use crate::plan::{Action, Step};

/// Does one step. A step that could not be done in this state (its shard has no primary, its host
/// is not known) changes nothing.
pub fn apply(live: &mut Live, step: &Step) {
    let mut members = |live: &Live, keyspace: &KeyspaceName, shard: &ShardName| {
        let tablets = live.records.tablets_of(keyspace, shard);
        tablets.map(|t| t.alias.clone()).collect()
    };
    apply_with(live, &step.action, &mut members);
}

/// Does steps one after the other; for many steps on a large state.
pub fn apply_all<'a>(live: &mut Live, steps: impl IntoIterator<Item = &'a Step>) {
    let mut by_shard: HashMap<(KeyspaceName, ShardName), Vec<TabletAlias>> = HashMap::new();
    for tablet in live.records.tablets.values() {
        let shard = (tablet.keyspace.clone(), tablet.shard.clone());
        by_shard
            .entry(shard)
            .or_default()
            .push(tablet.alias.clone());
    }
    for step in steps {
        if let Action::CreateTablet {
            alias,
            keyspace,
            shard,
            ..
        } = &step.action
        {
            let members = by_shard
                .entry((keyspace.clone(), shard.clone()))
                .or_default();
            if !members.contains(alias) {
                members.push(alias.clone());
            }
        }
        let mut members = |live: &Live, keyspace: &KeyspaceName, shard: &ShardName| {
            let all = by_shard.get(&(keyspace.clone(), shard.clone()));
            let there = |alias: &&TabletAlias| live.records.tablets.contains_key(*alias);
            all.into_iter().flatten().filter(there).cloned().collect()
        };
        apply_with(live, &step.action, &mut members);
    }
}

/// Finds the tablets of a shard.
type Members<'a> = dyn FnMut(&Live, &KeyspaceName, &ShardName) -> Vec<TabletAlias> + 'a;

fn apply_with(live: &mut Live, action: &Action, members: &mut Members) {
    let records = &mut live.records;
    match action {
        Action::CreateCell { cell } => {
            let record = CellRecord { name: cell.clone() };
            records.cells.insert(cell.clone(), record);
        }
        Action::DeleteCell { cell } => {
            records.cells.remove(cell);
        }
        Action::CreateKeyspace {
            keyspace,
            durability,
        } => {
            let record = KeyspaceRecord {
                name: keyspace.clone(),
                durability: *durability,
            };
            records.keyspaces.entry(keyspace.clone()).or_insert(record);
        }
        Action::SetDurability { keyspace, to, .. } => {
            if let Some(record) = records.keyspaces.get_mut(keyspace) {
                record.durability = *to;
            }
            let shards: Vec<ShardName> = records
                .shards_of(keyspace)
                .map(|record| record.shard.clone())
                .collect();
            for shard in shards {
                let tablets = members(live, keyspace, &shard);
                set_roles(live, keyspace, &shard, &tablets);
            }
        }
        Action::DeleteKeyspace { keyspace } => {
            records.keyspaces.remove(keyspace);
            records.vschemas.remove(keyspace);
        }
        Action::CreateShard {
            keyspace,
            shard,
            serving,
        } => {
            let record = ShardRecord::new(keyspace.clone(), shard.clone(), *serving);
            let key = (keyspace.clone(), shard.clone());
            records.shards.entry(key).or_insert(record);
        }
        Action::DeleteShard { keyspace, shard } => {
            records.shards.remove(&(keyspace.clone(), shard.clone()));
        }
        Action::CreateTablet {
            alias,
            keyspace,
            shard,
            tablet_type,
            host: Some(host),
            mysql_port: Some(mysql_port),
            adopt,
        } => {
            let Some(flavor) = records.hosts.get(host).map(|host| host.flavor) else {
                return;
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
            records.tablets.entry(alias.clone()).or_insert(record);
            start(live, alias, keyspace, shard);
        }
        // A tablet without a host cannot be created.
        Action::CreateTablet { .. } => {}
        Action::DeleteTablet { alias, .. } => {
            records.tablets.remove(alias);
            live.observed.tablets.remove(alias);
        }
        Action::ChangeTabletType { alias, to, .. } => change_type(live, alias, *to),
        Action::InitPrimary {
            keyspace,
            shard,
            primary,
        } => {
            let tablets = members(live, keyspace, shard);
            move_primary(live, keyspace, shard, None, primary, &tablets);
        }
        Action::Reparent {
            keyspace,
            shard,
            from,
            to,
        } => {
            let tablets = members(live, keyspace, shard);
            move_primary(live, keyspace, shard, Some(from), to, &tablets);
        }
        Action::CreateTable {
            keyspace,
            shard,
            table,
            statement,
        } => create_table(live, keyspace, shard, table, statement),
        Action::AlterTable {
            keyspace,
            shard,
            table,
            after,
            ..
        } => {
            if let Some(there) = tables(live, keyspace, shard).and_then(|t| t.get_mut(table)) {
                there.definition.clone_from(after);
            }
        }
        Action::DropTable {
            keyspace,
            shard,
            table,
            ..
        } => {
            if let Some(tables) = tables(live, keyspace, shard) {
                tables.remove(table);
            }
        }
        Action::InitSequence {
            keyspace,
            shard,
            table,
            ..
        } => {
            if let Some(there) = tables(live, keyspace, shard).and_then(|t| t.get_mut(table)) {
                there.sequence_ready = Some(true);
            }
        }
        Action::ApplyVschema {
            keyspace, after, ..
        } => {
            records.vschemas.insert(keyspace.clone(), after.clone());
        }
        Action::BackfillLookup {
            keyspace,
            lookup,
            before,
            after,
            ..
        } => {
            let vschema = records.vschemas.get_mut(keyspace);
            let there = vschema.and_then(|v| v.vindexes.get_mut(lookup));
            if let Some(there) = there.filter(|there| *there == before) {
                there.clone_from(after);
            }
        }
        Action::StartWorkflow { .. }
        | Action::WaitForCopy { .. }
        | Action::Vdiff { .. }
        | Action::WaitForApproval { .. }
        | Action::SwitchTraffic { .. }
        | Action::Soak { .. }
        | Action::CompleteWorkflow { .. }
        | Action::CancelWorkflow { .. } => workflows::apply(live, action),
        Action::MendServer {
            alias, deviations, ..
        } => {
            if let Some(observed) = live.observed.tablets.get_mut(alias) {
                observed.deviations.retain(|d| !deviations.contains(d));
            }
        }
        Action::MendRouting { before, after } => {
            if records.routing == *before {
                records.routing.clone_from(after);
            }
        }
        Action::MendShard {
            keyspace, shard, ..
        } => {
            let key = (keyspace.clone(), shard.clone());
            if let Some(record) = records.shards.get_mut(&key) {
                record.fenced = false;
                record.serving_reads.clear();
            }
            let tablets = members(live, keyspace, shard);
            set_roles(live, keyspace, shard, &tablets);
        }
        Action::EndHold { hold, since } => {
            if records.holds.get(hold).is_some_and(|h| h.since == *since) {
                records.holds.remove(hold);
            }
        }
        Action::CreateUser { user, verifier } => {
            if let Some(verifier) = verifier {
                let entry = records.users.entry(user.clone());
                entry.or_insert_with(|| verifier.clone());
            }
        }
        Action::AlterUser { user, verifier } => {
            records.users.insert(user.clone(), verifier.clone());
        }
        Action::DeleteUser { user } => {
            records.users.remove(user);
        }
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
            records.gate_configs.insert(cell.clone(), record);
        }
        Action::SetBackups { after, .. } => {
            records.backup_policy = after.as_ref().map(|after| {
                // When it is done decides since when it holds.
                crate::backups::record(after, records.backup_policy.as_ref(), 0)
            });
        }
        Action::RemoveGates { cell } => {
            records.gate_configs.remove(cell);
        }
    }
}

/// The tablet's server runs: as a replica where its shard has a primary, else idle.
fn start(live: &mut Live, alias: &TabletAlias, keyspace: &KeyspaceName, shard: &ShardName) {
    let Some(record) = live.records.tablets.get(alias) else {
        return;
    };
    let primary = live
        .records
        .shard(keyspace, shard)
        .and_then(|s| s.primary.clone());
    let durability = live.records.keyspaces.get(keyspace).map(|k| k.durability);
    let acknowledges = primary.as_ref().zip(durability);
    let acknowledges = acknowledges.is_some_and(|(p, d)| d.acknowledged_by(record, p));
    let host = live.records.hosts.get(&record.host);
    let version = host.map(|host| host.server_version.clone());
    let flavor = record.flavor;
    let observed = live
        .observed
        .tablets
        .entry(alias.clone())
        .or_insert_with(|| ObservedTablet {
            server: ServerState::Creating {
                message: String::new(),
            },
            tables: None,
            deviations: Vec::new(),
        });
    if !matches!(observed.server, ServerState::Running(_)) {
        observed.server = ServerState::Running(RunningServer {
            flavor,
            version: version.unwrap_or_default(),
            read_only: true,
            role: ObservedRole::Idle,
            replicates_from: None,
            position: String::new(),
            semi_sync: false,
        });
    }
    if let (ServerState::Running(server), Some(primary)) = (&mut observed.server, primary)
        && server.role == ObservedRole::Idle
        && primary != *alias
    {
        server.role = replica_of(&primary);
        server.semi_sync = acknowledges;
    }
}

fn replica_of(source: &TabletAlias) -> ObservedRole {
    ObservedRole::Replica {
        source: source.clone(),
        healthy: true,
        lag_seconds: Some(0),
        error: String::new(),
    }
}

fn change_type(live: &mut Live, alias: &TabletAlias, to: TabletType) {
    if let Some(record) = live.records.tablets.get_mut(alias) {
        record.tablet_type = to;
    }
}

/// The shard's primary becomes `to`, if it is `from` now; the tables are seen there from then on.
fn move_primary(
    live: &mut Live,
    keyspace: &KeyspaceName,
    shard: &ShardName,
    from: Option<&TabletAlias>,
    to: &TabletAlias,
    tablets: &[TabletAlias],
) {
    let key = (keyspace.clone(), shard.clone());
    let Some(record) = live.records.shards.get_mut(&key) else {
        return;
    };
    if record.primary.as_ref() == from {
        record.primary = Some(to.clone());
        record.term += 1;
        let before = from.and_then(|from| live.observed.tablets.get_mut(from));
        let tables = before.and_then(|observed| observed.tables.take());
        if let Some(observed) = live.observed.tablets.get_mut(to) {
            observed.tables = tables.or(observed.tables.take());
        }
    }
    set_roles(live, keyspace, shard, tablets);
}

/// Gives the running servers of a shard the roles that its record says.
fn set_roles(live: &mut Live, keyspace: &KeyspaceName, shard: &ShardName, tablets: &[TabletAlias]) {
    let Some(record) = live.records.shard(keyspace, shard) else {
        return;
    };
    let (Some(primary), term) = (record.primary.clone(), record.term) else {
        return;
    };
    let takes_writes = record.takes_writes();
    let primary_is_made = (live.records.tablets.get(&primary)).is_some_and(|t| t.server.is_made());
    let durability = live.records.keyspaces.get(keyspace).map(|k| k.durability);
    let semi_sync = durability.is_some_and(|durability| durability != Durability::None);
    for alias in tablets {
        let Some(observed) = live.observed.tablets.get_mut(alias) else {
            continue;
        };
        let ServerState::Running(server) = &mut observed.server else {
            continue;
        };
        let is_primary = *alias == primary;
        server.read_only = !(is_primary && takes_writes);
        server.semi_sync = semi_sync;
        if is_primary {
            server.role = ObservedRole::Primary { term };
            // What an adopted server holds nobody knows before it is looked at.
            if primary_is_made {
                observed.tables.get_or_insert_default();
            }
        } else {
            server.role = replica_of(&primary);
            observed.tables = None;
        }
    }
}

/// What is seen of the tables of a shard that has a primary.
pub(super) fn tables<'a>(
    live: &'a mut Live,
    keyspace: &KeyspaceName,
    shard: &ShardName,
) -> Option<&'a mut BTreeMap<TableName, ObservedTable>> {
    let primary = live.records.shard(keyspace, shard)?.primary.clone()?;
    let observed = live.observed.tablets.get_mut(&primary)?;
    observed.tables.as_mut()
}

fn create_table(
    live: &mut Live,
    keyspace: &KeyspaceName,
    shard: &ShardName,
    table: &TableName,
    statement: &str,
) {
    if tables(live, keyspace, shard).is_none() {
        return;
    }
    let canonical = live.observed.canonical.entry(keyspace.clone()).or_default();
    let known = canonical
        .entry(statement.to_owned())
        .or_insert_with(|| Canonical::Definition(statement.to_owned()));
    let Canonical::Definition(definition) = known.clone() else {
        return;
    };
    let is_sequence = statement.to_ascii_lowercase().contains("vitess_sequence");
    if let Some(tables) = tables(live, keyspace, shard) {
        tables.entry(table.clone()).or_insert(ObservedTable {
            definition,
            rows: 0,
            bytes: 0,
            sequence_ready: is_sequence.then_some(false),
        });
    }
}
