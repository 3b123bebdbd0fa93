//! The digest by which a plan names the live state it was made from.

use std::io::{self, BufWriter, Write};

use serde::Serialize;
use sha2::{Digest as _, Sha256};
use vtplan_state::model::{FlavorKind, HostRecord, ShardRecord, TableName, TabletAlias};

use crate::live::{Live, ObservedRole, ServerState};

/// SHA-256, hex, of what of the live state steps depend on. Left out is what changes by itself
/// (positions, lag, sizes, who is connected, whether a replica keeps up) and what only notes and
/// estimates speak of.
pub fn live_digest(live: &Live) -> String {
    let records = &live.records;
    let hosts: Vec<_> = records.hosts.values().map(HostPart::from).collect();
    let shards: Vec<&ShardRecord> = records.shards.values().collect();
    let cells: Vec<_> = records.cells.keys().collect();
    let observed: Vec<_> = live
        .observed
        .tablets
        .iter()
        .map(|(alias, tablet)| TabletPart {
            alias,
            state: state(&tablet.server),
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
        (cells, hosts, &records.gate_configs),
        (&records.keyspaces, &records.vschemas, shards),
        (&records.tablets, &records.users, &records.routing),
        (observed, &live.observed.canonical),
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

#[derive(Serialize)]
struct TabletPart<'a> {
    alias: &'a TabletAlias,
    state: &'static str,
    tables: Option<Vec<(&'a TableName, &'a str, Option<bool>)>>,
}

fn state(server: &ServerState) -> &'static str {
    match server {
        ServerState::Creating { .. } => "creating",
        ServerState::Down { .. } => "down",
        ServerState::Running(server) => match server.role {
            ObservedRole::Primary { .. } => "primary",
            ObservedRole::Replica { .. } => "replica",
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
