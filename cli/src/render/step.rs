//! One step of a plan in words.

use vtplan_planner::plan::{Action, Step};
use vtplan_state::model::{HostName, ShardName};

/// What a step does, as an order: `create tablet zone1-0000000100 (commerce/0, replica)`.
pub fn describe(step: &Step) -> String {
    match &step.action {
        Action::CreateCell { cell } => format!("create cell {cell}"),
        Action::DeleteCell { cell } => format!("delete cell {cell}"),
        Action::CreateKeyspace { keyspace, .. } => format!("create keyspace {keyspace}"),
        Action::SetDurability { keyspace, from, to } => {
            format!("change durability of keyspace {keyspace} from {from} to {to}")
        }
        Action::DeleteKeyspace { keyspace } => format!("delete keyspace {keyspace}"),
        Action::CreateShard {
            keyspace, shard, ..
        } => format!("create shard {keyspace}/{shard}"),
        Action::DeleteShard { keyspace, shard } => format!("delete shard {keyspace}/{shard}"),
        Action::CreateTablet {
            alias,
            keyspace,
            shard,
            tablet_type,
            host,
            mysql_port,
        } => {
            let place = place(host.as_ref(), *mysql_port);
            format!("create tablet {alias} ({keyspace}/{shard}, {tablet_type}, {place})")
        }
        Action::DeleteTablet {
            alias,
            keyspace,
            shard,
            host,
        } => format!("delete tablet {alias} ({keyspace}/{shard}, on {host})"),
        Action::ChangeTabletType { alias, from, to } => {
            format!("change tablet {alias} from {from} to {to}")
        }
        Action::InitPrimary {
            keyspace,
            shard,
            primary,
        } => format!("make {primary} the primary of {keyspace}/{shard}"),
        Action::Reparent {
            keyspace,
            shard,
            from,
            to,
        } => format!("move the primary of {keyspace}/{shard} from {from} to {to}"),
        Action::CreateTable {
            keyspace,
            shard,
            table,
            ..
        } => format!("create table {table} in {keyspace}/{shard}"),
        Action::AlterTable {
            keyspace,
            shard,
            table,
            ..
        } => format!("change table {table} in {keyspace}/{shard}"),
        Action::DropTable {
            keyspace,
            shard,
            table,
        } => format!("drop table {table} in {keyspace}/{shard}"),
        Action::InitSequence {
            keyspace,
            shard,
            table,
            ..
        } => format!("initialise sequence {table} in {keyspace}/{shard}"),
        Action::ApplyVschema {
            keyspace, before, ..
        } => match before {
            None => format!("set the VSchema of {keyspace}"),
            Some(_) => format!("change the VSchema of {keyspace}"),
        },
        Action::CreateUser { user, .. } => format!("create user {user}"),
        Action::AlterUser { user, .. } => format!("change the password of user {user}"),
        Action::DeleteUser { user } => format!("delete user {user}"),
        Action::ConfigureGates { cell, .. } => format!("configure the gates of {cell}"),
        Action::RemoveGates { cell } => format!("remove the gates of {cell}"),
    }
}

/// `on db1:17100`.
pub fn place(host: Option<&HostName>, port: Option<u16>) -> String {
    match (host, port) {
        (Some(host), Some(port)) => format!("on {host}:{port}"),
        (Some(host), None) => format!("on {host}"),
        (None, _) => "host not known yet".to_owned(),
    }
}

/// What of a cluster a step belongs to, to group by.
pub fn keyspace_of(step: &Step) -> Option<&vtplan_state::model::KeyspaceName> {
    match &step.action {
        Action::CreateKeyspace { keyspace, .. }
        | Action::SetDurability { keyspace, .. }
        | Action::DeleteKeyspace { keyspace }
        | Action::CreateShard { keyspace, .. }
        | Action::DeleteShard { keyspace, .. }
        | Action::CreateTablet { keyspace, .. }
        | Action::DeleteTablet { keyspace, .. }
        | Action::InitPrimary { keyspace, .. }
        | Action::Reparent { keyspace, .. }
        | Action::CreateTable { keyspace, .. }
        | Action::AlterTable { keyspace, .. }
        | Action::DropTable { keyspace, .. }
        | Action::InitSequence { keyspace, .. }
        | Action::ApplyVschema { keyspace, .. } => Some(keyspace),
        Action::CreateCell { .. }
        | Action::DeleteCell { .. }
        | Action::ChangeTabletType { .. }
        | Action::CreateUser { .. }
        | Action::AlterUser { .. }
        | Action::DeleteUser { .. }
        | Action::ConfigureGates { .. }
        | Action::RemoveGates { .. } => None,
    }
}

/// The shard that a step works on.
pub fn shard_of(step: &Step) -> Option<&ShardName> {
    match &step.action {
        Action::CreateShard { shard, .. }
        | Action::DeleteShard { shard, .. }
        | Action::CreateTablet { shard, .. }
        | Action::DeleteTablet { shard, .. }
        | Action::InitPrimary { shard, .. }
        | Action::Reparent { shard, .. }
        | Action::CreateTable { shard, .. }
        | Action::AlterTable { shard, .. }
        | Action::DropTable { shard, .. }
        | Action::InitSequence { shard, .. } => Some(shard),
        _ => None,
    }
}
