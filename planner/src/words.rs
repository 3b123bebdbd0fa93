//! One step of a plan in words, and what of a cluster it belongs to; sizes in words.

use vtplan_state::model::{
    HostName, KeyspaceName, ShardName, Side, TableName, WorkflowKind, WorkflowName, WorkflowSide,
};

use crate::plan::{Action, Basis, Rate, Step};
use crate::seen::Deviation;

/// `1.5 GiB`.
pub fn bytes(bytes: u64) -> String {
    const UNITS: [&str; 5] = ["bytes", "KiB", "MiB", "GiB", "TiB"];
    let mut unit = 0;
    let mut size = bytes as f64;
    while size >= 1024.0 && unit + 1 < UNITS.len() {
        size /= 1024.0;
        unit += 1;
    }
    if unit == 0 {
        format!("{bytes} bytes")
    } else {
        format!("{size:.1} {}", UNITS[unit])
    }
}

/// `40 MiB/s`, `1.5 MiB/s`.
pub fn speed(rate: &Rate) -> String {
    let second = rate.bytes_per_second;
    if (10 << 20..1 << 30).contains(&second) {
        format!("{} MiB/s", second >> 20)
    } else {
        format!("{}/s", bytes(second))
    }
}

/// `as measured in 3 workflows`, `assumed`.
pub fn as_measured(rate: &Rate) -> String {
    match (rate.basis, rate.measurements) {
        (Basis::Assumed, _) => "assumed".to_owned(),
        (Basis::Measured, 1) => "as measured in 1 workflow".to_owned(),
        (Basis::Measured, n) => format!("as measured in {n} workflows"),
    }
}

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
            adopt,
        } => {
            if let Some(server) = adopt {
                let by = host.as_ref().map_or(String::new(), |h| format!(", by {h}"));
                return format!(
                    "adopt {server} as tablet {alias} ({keyspace}/{shard}, {tablet_type}{by})"
                );
            }
            let place = place(host.as_ref(), *mysql_port);
            format!("create tablet {alias} ({keyspace}/{shard}, {tablet_type}, {place})")
        }
        Action::DeleteTablet {
            alias,
            keyspace,
            shard,
            host,
            release,
        } => match release {
            Some(server) => format!(
                "release tablet {alias} ({keyspace}/{shard}): {server} goes on with its data"
            ),
            None => format!("delete tablet {alias} ({keyspace}/{shard}, on {host})"),
        },
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
            ..
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
        Action::BackfillLookup {
            keyspace,
            lookup,
            table,
            ..
        } => format!("fill lookup {keyspace}.{lookup} with the rows of {table} and open it"),
        Action::StartWorkflow {
            workflow,
            workflow_kind,
            source,
            target,
            tables,
            ..
        } => {
            let kind = match workflow_kind {
                WorkflowKind::MoveTables => "MoveTables",
                WorkflowKind::Reshard => "Reshard",
            };
            let sides = sides(*workflow_kind, source, target, tables);
            format!("start {kind} {workflow}: {sides}")
        }
        Action::WaitForCopy { keyspace, workflow } => {
            format!("wait until {keyspace}.{workflow} has copied all rows")
        }
        Action::Vdiff {
            keyspace, workflow, ..
        } => format!("VDiff {keyspace}.{workflow}"),
        Action::WaitForApproval {
            keyspace,
            workflow,
            point,
        } => format!(
            "wait for approval of {} of {keyspace}.{workflow}",
            point.as_str()
        ),
        Action::SwitchTraffic {
            keyspace,
            workflow,
            tablet_types,
            to,
            ..
        } => {
            let verb = match to {
                Side::Target => "SwitchTraffic",
                Side::Source => "ReverseTraffic",
            };
            format!("{verb} {keyspace}.{workflow} for {}", list(tablet_types))
        }
        Action::Soak {
            keyspace,
            workflow,
            seconds,
        } => format!(
            "let {keyspace}.{workflow} soak for {}",
            duration_in_words(*seconds)
        ),
        Action::CompleteWorkflow {
            keyspace,
            workflow,
            workflow_kind,
            source,
            tables,
        } => match workflow_kind {
            WorkflowKind::MoveTables => format!(
                "complete {keyspace}.{workflow}: drop {} in {}",
                list(tables),
                source.keyspace
            ),
            WorkflowKind::Reshard => format!("complete {keyspace}.{workflow}"),
        },
        Action::CancelWorkflow {
            keyspace,
            workflow,
            workflow_kind,
            target,
            tables,
        } => match workflow_kind {
            WorkflowKind::MoveTables => format!(
                "cancel {keyspace}.{workflow}: drop the copies of {} in {}",
                list(tables),
                target.keyspace
            ),
            WorkflowKind::Reshard => format!("cancel {keyspace}.{workflow}"),
        },
        Action::MendServer {
            alias, deviations, ..
        } => {
            let names: Vec<String> = deviations.iter().map(Deviation::name).collect();
            format!("put right on the server of {alias}: {}", names.join(", "))
        }
        Action::MendRouting { .. } => "set the routing rules back".to_owned(),
        Action::MendShard {
            keyspace, shard, ..
        } => format!("let shard {keyspace}/{shard} serve as one that no workflow switches"),
        Action::EndHold { hold, .. } => format!("let writes through that hold {hold} keeps back"),
        Action::CreateUser { user, .. } => format!("create user {user}"),
        Action::AlterUser { user, .. } => format!("change the password of user {user}"),
        Action::DeleteUser { user } => format!("delete user {user}"),
        Action::ConfigureGates { cell, .. } => format!("configure the gates of {cell}"),
        Action::RemoveGates { cell } => format!("remove the gates of {cell}"),
        Action::SetBackups { after: None, .. } => "stop taking backups".to_owned(),
        Action::SetBackups {
            after: Some(after), ..
        } => format!("set what backups are taken to {}", after.location),
    }
}

/// `corder, customer from commerce to customer`; `customer from 0 to -80, 80-`.
pub fn sides(
    kind: WorkflowKind,
    source: &WorkflowSide,
    target: &WorkflowSide,
    tables: &[TableName],
) -> String {
    match kind {
        WorkflowKind::MoveTables => format!(
            "{} from {} to {}",
            list(tables),
            source.keyspace,
            target.keyspace
        ),
        WorkflowKind::Reshard => format!(
            "{} from {} to {}",
            target.keyspace,
            list(&source.shards),
            list(&target.shards)
        ),
    }
}

/// With commas.
pub fn list<T: ToString>(names: &[T]) -> String {
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    names.join(", ")
}

fn duration_in_words(seconds: u64) -> String {
    match seconds {
        s if s > 0 && s % 86_400 == 0 => format!("{}d", s / 86_400),
        s if s > 0 && s % 3_600 == 0 => format!("{}h", s / 3_600),
        s if s > 0 && s % 60 == 0 => format!("{}m", s / 60),
        s => format!("{s}s"),
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
pub fn keyspace_of(step: &Step) -> Option<&KeyspaceName> {
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
        | Action::ApplyVschema { keyspace, .. }
        | Action::BackfillLookup { keyspace, .. }
        | Action::WaitForCopy { keyspace, .. }
        | Action::Vdiff { keyspace, .. }
        | Action::WaitForApproval { keyspace, .. }
        | Action::SwitchTraffic { keyspace, .. }
        | Action::Soak { keyspace, .. }
        | Action::CompleteWorkflow { keyspace, .. }
        | Action::CancelWorkflow { keyspace, .. }
        | Action::MendServer { keyspace, .. }
        | Action::MendShard { keyspace, .. } => Some(keyspace),
        Action::StartWorkflow { target, .. } => Some(&target.keyspace),
        Action::CreateCell { .. }
        | Action::DeleteCell { .. }
        | Action::ChangeTabletType { .. }
        | Action::MendRouting { .. }
        | Action::EndHold { .. }
        | Action::CreateUser { .. }
        | Action::AlterUser { .. }
        | Action::DeleteUser { .. }
        | Action::ConfigureGates { .. }
        | Action::RemoveGates { .. }
        | Action::SetBackups { .. } => None,
    }
}

/// The workflow that a step is about: its target keyspace and name.
pub fn workflow_of(step: &Step) -> Option<(&KeyspaceName, &WorkflowName)> {
    match &step.action {
        Action::StartWorkflow {
            workflow, target, ..
        } => Some((&target.keyspace, workflow)),
        Action::WaitForCopy { keyspace, workflow }
        | Action::Vdiff {
            keyspace, workflow, ..
        }
        | Action::WaitForApproval {
            keyspace, workflow, ..
        }
        | Action::SwitchTraffic {
            keyspace, workflow, ..
        }
        | Action::Soak {
            keyspace, workflow, ..
        }
        | Action::CompleteWorkflow {
            keyspace, workflow, ..
        }
        | Action::CancelWorkflow {
            keyspace, workflow, ..
        } => Some((keyspace, workflow)),
        _ => None,
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
        | Action::InitSequence { shard, .. }
        | Action::MendServer { shard, .. }
        | Action::MendShard { shard, .. } => Some(shard),
        _ => None,
    }
}
