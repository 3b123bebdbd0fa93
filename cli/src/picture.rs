//! A cluster as `status` and `show` tell of it: records together with what the agents see. Its
//! JSON is what `status --format json` prints.

use std::collections::BTreeMap;

use serde::Serialize;
use vtplan_agent::observe::Gathered;
use vtplan_planner::live::{ObservedRole, ObservedTablet, ServerState};
use vtplan_state::model::{
    ActivePlan, CellName, Durability, GateName, HostName, KeyspaceName, Records, ServerAddress,
    ShardName, ShardRecord, TabletAlias, TabletRecord, TabletType, UnixMillis, WorkflowRecord,
};

use crate::workflows::document::{StreamDocument, WorkflowDocument};

#[derive(Debug, Serialize)]
pub struct Picture {
    /// Of this JSON.
    pub format: u32,
    pub cluster: String,
    /// Whether everything that should run does.
    pub healthy: bool,
    pub spec: Option<AppliedSpec>,
    /// What is being carried out.
    pub plan: Option<ActivePlan>,
    pub hosts: Vec<Host>,
    pub gates: Vec<Gate>,
    /// Cells with fewer gates alive than the spec asks for.
    pub missing_gates: Vec<MissingGates>,
    pub keyspaces: Vec<Keyspace>,
    /// Data on its way.
    pub workflows: Vec<Workflow>,
}

/// A workflow with the sums over its streams.
#[derive(Debug, Serialize)]
pub struct Workflow {
    #[serde(flatten)]
    pub document: WorkflowDocument,
    pub rows_copied: u64,
    pub rows_total: u64,
    pub lag_ms: Option<u64>,
    /// Of streams that stand still with an error.
    pub errors: Vec<String>,
}

impl Workflow {
    pub fn new(record: &WorkflowRecord, streams: &[StreamDocument]) -> Self {
        Self {
            document: WorkflowDocument::new(record),
            rows_copied: streams.iter().map(|s| s.rows_copied).sum(),
            rows_total: streams.iter().map(|s| s.rows_total).sum(),
            lag_ms: streams.iter().filter_map(|s| s.lag_ms).max(),
            errors: streams
                .iter()
                .filter(|s| s.state == "error")
                .filter_map(|s| Some(format!("{}: {}", s.from, s.message.as_ref()?)))
                .collect(),
        }
    }
}

#[derive(Debug, Serialize)]
pub struct AppliedSpec {
    pub digest: String,
    pub by: String,
    pub at: UnixMillis,
}

#[derive(Debug, Serialize)]
pub struct Host {
    pub name: HostName,
    pub cell: CellName,
    pub address: String,
    pub agent_url: String,
    pub server: String,
    pub tablets: usize,
    pub capacity: u32,
    pub version: String,
    pub started_at: UnixMillis,
    /// Why its agent could not be asked.
    pub problem: Option<String>,
}

#[derive(Debug, Serialize)]
pub struct Gate {
    pub name: GateName,
    pub cell: CellName,
    pub mysql_address: String,
    pub http_url: String,
    pub version: String,
    pub started_at: UnixMillis,
    pub serving_revision: u64,
}

#[derive(Debug, Serialize)]
pub struct MissingGates {
    pub cell: CellName,
    pub wanted: u32,
    pub alive: u32,
}

#[derive(Debug, Serialize)]
pub struct Keyspace {
    pub name: KeyspaceName,
    pub durability: Durability,
    pub sharded: bool,
    pub shards: Vec<Shard>,
}

#[derive(Debug, Serialize)]
pub struct Shard {
    pub name: ShardName,
    pub serving: bool,
    /// Where reads of these types go other than `serving` says, during a Reshard.
    pub serving_reads: BTreeMap<TabletType, bool>,
    /// Whether its writes are fenced in its servers, during a switch.
    pub fenced: bool,
    pub primary: Option<TabletAlias>,
    pub term: u64,
    pub tablets: Vec<Tablet>,
    /// The newest good one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub newest_backup: Option<NewestBackup>,
}

#[derive(Debug, Serialize)]
pub struct NewestBackup {
    pub id: String,
    pub begun_at: UnixMillis,
}

#[derive(Debug, Clone, Serialize)]
pub struct Tablet {
    pub alias: TabletAlias,
    /// `primary` for the shard's primary.
    pub tablet_type: TabletType,
    pub host: HostName,
    pub mysql_port: u16,
    /// Where an adopted server is, which `host` looks after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub adopted: Option<ServerAddress>,
    pub state: TabletState,
    pub lag_seconds: Option<u64>,
    pub version: String,
    /// Executed GTID set.
    pub position: String,
    /// What is wrong, or what it is doing.
    pub message: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum TabletState {
    /// The primary, and takes writes.
    Serving,
    /// The primary of a shard that takes no writes of gates.
    Fenced,
    /// Follows the primary.
    Replicating,
    /// Runs; the shard has no primary yet.
    Idle,
    Creating,
    /// Runs, but is not yet, or no longer, what it should be.
    Wrong,
    Down,
    /// Its host's agent did not tell of it.
    Unseen,
}

impl TabletState {
    pub const fn word(self) -> &'static str {
        match self {
            Self::Serving => "serving",
            Self::Fenced => "fenced",
            Self::Replicating => "replicating",
            Self::Idle => "idle",
            Self::Creating => "creating",
            Self::Wrong => "wrong",
            Self::Down => "down",
            Self::Unseen => "unseen",
        }
    }
    /// Whether its server runs and does what it should, as far as the shard is set up.
    pub const fn is_up(self) -> bool {
        self.is_healthy() || matches!(self, Self::Idle)
    }
    pub const fn is_healthy(self) -> bool {
        matches!(self, Self::Serving | Self::Fenced | Self::Replicating)
    }
}

impl Picture {
    pub fn new(
        cluster: &str,
        gathered: &Gathered,
        plan: Option<ActivePlan>,
        workflows: Vec<Workflow>,
    ) -> Self {
        let records = &gathered.live.records;
        let observed = &gathered.live.observed.tablets;
        let mut by_shard: BTreeMap<(&KeyspaceName, &ShardName), Vec<&TabletRecord>> =
            BTreeMap::new();
        let mut on_host: BTreeMap<&HostName, usize> = BTreeMap::new();
        for tablet in records.tablets.values() {
            let shard = (&tablet.keyspace, &tablet.shard);
            by_shard.entry(shard).or_default().push(tablet);
            *on_host.entry(&tablet.host).or_default() += 1;
        }
        let keyspaces: Vec<Keyspace> = records
            .keyspaces
            .values()
            .map(|keyspace| Keyspace {
                name: keyspace.name.clone(),
                durability: keyspace.durability,
                sharded: records
                    .vschemas
                    .get(&keyspace.name)
                    .is_some_and(|v| v.sharded),
                shards: records
                    .shards_of(&keyspace.name)
                    .map(|shard| {
                        let tablets = by_shard.get(&(&shard.keyspace, &shard.shard));
                        let tablets = tablets.into_iter().flatten();
                        Shard {
                            name: shard.shard.clone(),
                            serving: shard.serving,
                            serving_reads: shard.serving_reads.clone(),
                            fenced: shard.fenced,
                            primary: shard.primary.clone(),
                            term: shard.term,
                            newest_backup: newest_backup(records, shard),
                            tablets: sorted(
                                tablets
                                    .map(|t| tablet(t, shard, observed.get(&t.alias)))
                                    .collect(),
                            ),
                        }
                    })
                    .collect(),
            })
            .collect();
        let hosts: Vec<Host> = hosts(gathered, &on_host);
        let missing_gates = missing_gates(records);
        let tablets = || {
            keyspaces
                .iter()
                .flat_map(|k| &k.shards)
                .flat_map(|s| &s.tablets)
        };
        Self {
            format: 1,
            cluster: cluster.to_owned(),
            healthy: tablets().all(|t| t.state.is_healthy())
                && hosts.iter().all(|h| h.problem.is_none())
                && missing_gates.is_empty()
                && workflows.iter().all(|w| w.errors.is_empty())
                && keyspaces
                    .iter()
                    .all(|k| k.shards.iter().all(|s| !s.serving || s.primary.is_some())),
            spec: records.spec.as_ref().map(|spec| AppliedSpec {
                digest: spec.digest.clone(),
                by: spec.applied_by.clone(),
                at: spec.applied_at,
            }),
            plan,
            hosts,
            gates: records
                .gates
                .values()
                .map(|gate| Gate {
                    name: gate.name.clone(),
                    cell: gate.cell.clone(),
                    mysql_address: gate.mysql_address.clone(),
                    http_url: gate.http_url.clone(),
                    version: gate.version.clone(),
                    started_at: gate.started_at,
                    serving_revision: gate.serving_revision,
                })
                .collect(),
            missing_gates,
            keyspaces,
            workflows,
        }
    }

    pub fn tablets(&self) -> impl Iterator<Item = &Tablet> {
        self.keyspaces
            .iter()
            .flat_map(|k| &k.shards)
            .flat_map(|s| &s.tablets)
    }
}

fn newest_backup(records: &Records, shard: &ShardRecord) -> Option<NewestBackup> {
    let backups = records.backups_of(&shard.keyspace, &shard.shard);
    let newest = backups.iter().rev().find(|backup| backup.is_good())?;
    Some(NewestBackup {
        id: newest.id.clone(),
        begun_at: newest.at() * 1000,
    })
}

fn hosts(gathered: &Gathered, on_host: &BTreeMap<&HostName, usize>) -> Vec<Host> {
    let records = &gathered.live.records;
    let problem = |name: &HostName| {
        let unseen = gathered.unseen.iter().find(|u| u.host == *name);
        unseen.map(|u| u.why.clone())
    };
    let mut hosts: Vec<Host> = records
        .hosts
        .values()
        .map(|host| Host {
            name: host.name.clone(),
            cell: host.cell.clone(),
            address: host.address.clone(),
            agent_url: host.agent_url.clone(),
            server: format!("{} {}", host.flavor, host.server_version),
            tablets: on_host.get(&host.name).copied().unwrap_or(0),
            capacity: host.capacity,
            version: host.version.clone(),
            started_at: host.started_at,
            problem: problem(&host.name),
        })
        .collect();
    // A host with tablets whose agent is gone has no record any more.
    for unseen in &gathered.unseen {
        if records.hosts.contains_key(&unseen.host) {
            continue;
        }
        let tablets = || records.tablets.values().filter(|t| t.host == unseen.host);
        let Some(first) = tablets().next() else {
            continue;
        };
        hosts.push(Host {
            name: unseen.host.clone(),
            cell: first.alias.cell.clone(),
            address: String::new(),
            agent_url: String::new(),
            server: String::new(),
            tablets: tablets().count(),
            capacity: 0,
            version: String::new(),
            started_at: 0,
            problem: Some(unseen.why.clone()),
        });
    }
    hosts.sort_by(|a, b| (&a.cell, &a.name).cmp(&(&b.cell, &b.name)));
    hosts
}

fn missing_gates(records: &Records) -> Vec<MissingGates> {
    records
        .gate_configs
        .values()
        .filter_map(|config| {
            let alive = records.gates.values().filter(|g| g.cell == config.cell);
            let alive = u32::try_from(alive.count()).unwrap_or(u32::MAX);
            (alive < config.count).then(|| MissingGates {
                cell: config.cell.clone(),
                wanted: config.count,
                alive,
            })
        })
        .collect()
}

/// The primary first, then by type and alias.
fn sorted(mut tablets: Vec<Tablet>) -> Vec<Tablet> {
    tablets.sort_by(|a, b| (a.tablet_type, &a.alias).cmp(&(b.tablet_type, &b.alias)));
    tablets
}

fn tablet(record: &TabletRecord, shard: &ShardRecord, seen: Option<&ObservedTablet>) -> Tablet {
    let is_primary = shard.primary.as_ref() == Some(&record.alias);
    let mut tablet = Tablet {
        alias: record.alias.clone(),
        tablet_type: if is_primary {
            TabletType::Primary
        } else {
            record.tablet_type
        },
        host: record.host.clone(),
        mysql_port: record.mysql_port,
        adopted: record.adopted(),
        state: TabletState::Unseen,
        lag_seconds: None,
        version: String::new(),
        position: String::new(),
        message: String::new(),
    };
    let Some(seen) = seen else {
        tablet.message = format!("the agent of {} does not tell of it", record.host);
        return tablet;
    };
    match &seen.server {
        ServerState::Creating { message } => {
            tablet.state = TabletState::Creating;
            tablet.message.clone_from(message);
        }
        ServerState::Down { message } => {
            tablet.state = TabletState::Down;
            tablet.message.clone_from(message);
        }
        ServerState::Running(server) => {
            tablet.version = format!("{} {}", server.flavor, server.version);
            tablet.position.clone_from(&server.position);
            (tablet.state, tablet.message) = match (&server.role, is_primary) {
                (ObservedRole::Primary { .. }, true)
                    if server.read_only && shard.takes_writes() =>
                {
                    (TabletState::Wrong, "it is read-only".to_owned())
                }
                (ObservedRole::Primary { term }, true) if *term != shard.term => (
                    TabletState::Wrong,
                    format!("it takes writes for term {term}, not {}", shard.term),
                ),
                // Of a shard that takes no writes of gates this is as it should be.
                (ObservedRole::Primary { .. }, true) if server.read_only => {
                    (TabletState::Fenced, String::new())
                }
                (ObservedRole::Primary { .. }, true) => (TabletState::Serving, String::new()),
                (ObservedRole::Primary { .. }, false) => (
                    TabletState::Wrong,
                    "it still takes writes, but is not the primary".to_owned(),
                ),
                (ObservedRole::Replica { .. } | ObservedRole::Idle, true) => {
                    (TabletState::Wrong, "it is not primary yet".to_owned())
                }
                (
                    ObservedRole::Replica {
                        source,
                        healthy,
                        lag_seconds,
                        error,
                    },
                    false,
                ) => {
                    tablet.lag_seconds = *lag_seconds;
                    if Some(source) != shard.primary.as_ref() {
                        (TabletState::Wrong, format!("it replicates from {source}"))
                    } else if *healthy {
                        (TabletState::Replicating, String::new())
                    } else if error.is_empty() {
                        (TabletState::Wrong, "replication does not run".to_owned())
                    } else {
                        (TabletState::Wrong, error.clone())
                    }
                }
                (ObservedRole::Idle, false) if shard.primary.is_none() => {
                    (TabletState::Idle, String::new())
                }
                (ObservedRole::Idle, false) => {
                    (TabletState::Wrong, "it does not replicate yet".to_owned())
                }
            };
        }
    }
    tablet
}
