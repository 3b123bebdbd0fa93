//! The digest by which a plan names the live state it was made from.

use std::collections::BTreeSet;
use std::io::{self, BufWriter, Write};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use vtplan_state::model::{
    Ending, FlavorKind, HostRecord, ShardRecord, Side, SwitchPhase, TableName, TabletAlias,
    TabletType, WorkflowKind, WorkflowRecord, WorkflowSide,
};

use crate::live::{Live, ObservedRole, ServerState};
use crate::moving::Moving;
use crate::seen::Deviation;

/// SHA-256, hex, of what of the live state steps depend on. Left out is what changes by itself
/// (positions, lag, sizes, who is connected, whether a replica keeps up) and what only notes and
/// estimates speak of.
pub fn live_digest(live: &Live) -> String {
    let records = &live.records;
    let hosts: Vec<_> = records.hosts.values().map(HostPart::from).collect();
    let shards: Vec<&ShardRecord> = records.shards.values().collect();
    let cells: Vec<_> = records.cells.keys().collect();
    let moving = Moving::new(records);
    let holds = records.holds.values().filter(|h| moving.is_left_over(h));
    let holds: Vec<_> = holds.map(|hold| (&hold.id, hold.since)).collect();
    let observed: Vec<_> = live
        .observed
        .tablets
        .iter()
        .map(|(alias, tablet)| TabletPart {
            alias,
            state: state(&tablet.server),
            deviations: match records.tablets.get(alias) {
                Some(record) => (tablet.deviations.iter())
                    .filter(|d| moving.should_go(&record.keyspace, d))
                    .collect(),
                None => Vec::new(),
            },
            tables: tablet.tables.as_ref().map(|tables| {
                tables
                    .iter()
                    .map(|(name, t)| (name, t.definition.as_str(), t.sequence_ready))
                    .collect()
            }),
        })
        .collect();
    of(&(
        records.cluster.as_ref().map(|c| &c.name),
        records.spec.as_ref().map(|s| &s.digest),
        (cells, hosts, &records.gate_configs, &records.backup_policy),
        (&records.keyspaces, &records.vschemas, shards),
        (&records.tablets, &records.users, &records.routing, holds),
        (observed, &live.observed.canonical),
        records
            .all_workflows()
            .map(WorkflowPart::from)
            .collect::<Vec<_>>(),
    ))
}

#[derive(Serialize)]
struct HostPart<'a> {
    name: &'a str,
    cell: &'a str,
    address: &'a str,
    capacity: u32,
    first_mysql_port: u16,
    flavor: FlavorKind,
}

impl<'a> From<&'a HostRecord> for HostPart<'a> {
    fn from(host: &'a HostRecord) -> Self {
        Self {
            name: host.name.as_str(),
            cell: host.cell.as_str(),
            address: &host.address,
            capacity: host.capacity,
            first_mysql_port: host.first_mysql_port,
            flavor: host.flavor,
        }
    }
}

/// Of a workflow: how far it is, but for positions, times, and streams that are paused or stand.
#[derive(Serialize)]
struct WorkflowPart<'a> {
    name: (&'a str, &'a str, WorkflowKind),
    sides: [&'a WorkflowSide; 2],
    tables: &'a [TableName],
    copied: bool,
    compared: bool,
    reads_switched: &'a BTreeSet<TabletType>,
    writes: Side,
    flipped_to: Option<Side>,
    approved: &'a BTreeSet<String>,
    soaked: bool,
    ending: Option<Ending>,
}

impl<'a> From<&'a WorkflowRecord> for WorkflowPart<'a> {
    fn from(record: &'a WorkflowRecord) -> Self {
        let flipped = record.switch.as_ref();
        Self {
            name: (
                record.target.keyspace.as_str(),
                record.name.as_str(),
                record.kind,
            ),
            sides: [&record.source, &record.target],
            tables: &record.tables,
            copied: record.copied,
            compared: record.vdiff_passed,
            reads_switched: &record.reads_switched,
            writes: record.writes,
            flipped_to: flipped
                .filter(|switch| switch.phase == SwitchPhase::Flipped)
                .map(|switch| switch.to),
            approved: &record.approved,
            soaked: record.soaked,
            ending: record.ending,
        }
    }
}

#[derive(Serialize)]
struct TabletPart<'a> {
    alias: &'a TabletAlias,
    state: &'static str,
    tables: Option<Vec<(&'a TableName, &'a str, Option<bool>)>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    deviations: Vec<&'a Deviation>,
}

fn state(server: &ServerState) -> &'static str {
    match server {
        ServerState::Creating { .. } => "creating",
        ServerState::Down { .. } => "down",
        ServerState::Running(server) => match server.role {
            ObservedRole::Primary { .. } => "primary",
            ObservedRole::Replica { .. } => "replica",
            // Which one becomes primary hangs on it.
            ObservedRole::Idle if server.replicates_from.is_some() => "idle-replicating",
            ObservedRole::Idle => "idle",
        },
    }
}

fn of<T: Serialize + ?Sized>(value: &T) -> String {
    let mut writer = BufWriter::with_capacity(1 << 16, Hasher(Sha256::new()));
    // Our own types with string keys, into memory: neither serializing nor writing can fail.
    serde_json::to_writer(&mut writer, value).expect("plain data serializes");
    let Ok(hasher) = writer.into_inner() else {
        unreachable!("a hasher takes everything")
    };
    hex::encode(hasher.0.finalize())
}

struct Hasher(Sha256);

impl Write for Hasher {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.update(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}
