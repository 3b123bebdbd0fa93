//! Simulated servers and the agents that make them what the records say, late and in any order.
//!
//! A server is a log of writes. Replicas copy their source's log. Clients write to whatever takes
//! writes, so two servers of a shard that do, or a log that is not the start of its source's, show
//! that a write could be lost.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::time::Instant;
use vtplan_planner::live::{
    ObservedRole, ObservedTable, ObservedTablet, RunningServer, ServerState,
};
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{
    FlavorKind, HostName, KeyspaceName, Records, ShardName, ShardRecord, TableName, TabletAlias,
};
use vtplan_state::store::{Compare, Op, Txn};

use super::faults::Chance;
use super::store::MemStore;

/// All servers of all hosts.
pub struct Servers {
    pub chance: Arc<Chance>,
    pub store: Arc<MemStore>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    servers: BTreeMap<TabletAlias, Server>,
    next_row: u64,
}

struct Server {
    host: HostName,
    keyspace: KeyspaceName,
    shard: ShardName,
    state: State,
    role: Role,
    read_only: bool,
    hold: Option<Hold>,
    log: Log,
}

/// Writes, each with a digest of all up to it, and the tables that they make.
#[derive(Clone, Default)]
struct Log {
    digests: Vec<u64>,
    tables: BTreeMap<TableName, ObservedTable>,
}

impl Log {
    fn push(&mut self, write: &Write) {
        let mut hasher = DefaultHasher::new();
        (self.digests.last(), write).hash(&mut hasher);
        self.digests.push(hasher.finish());
        if let Write::Statement(statement) = write {
            self.run(statement);
        }
    }

    fn run(&mut self, statement: &str) {
        let Ok(name) = table_of(statement).parse::<TableName>() else {
            return;
        };
        if statement.starts_with("CREATE TABLE") {
            let table = ObservedTable {
                definition: statement.to_owned(),
                rows: 0,
                bytes: 0,
                sequence_ready: statement.contains("vitess_sequence").then_some(false),
            };
            self.tables.insert(name, table);
        } else if statement.starts_with("DROP TABLE") {
            self.tables.remove(&name);
        } else if let Some(table) = self.tables.get_mut(&name) {
            table.sequence_ready = Some(true);
        }
    }

    fn len(&self) -> usize {
        self.digests.len()
    }

    fn starts_with(&self, other: &Log) -> bool {
        match other.digests.last() {
            None => true,
            last => self.digests.get(other.len() - 1) == last,
        }
    }
}

enum State {
    Creating { until: Instant },
    Down { until: Instant },
    Running,
}

#[derive(Clone, PartialEq)]
enum Role {
    Idle,
    Primary { term: u64 },
    Replica { source: TabletAlias, broken: bool },
}

struct Hold {
    term: u64,
    until: Instant,
}

#[derive(Hash)]
enum Write {
    Row(u64),
    Statement(String),
}

/// Why an agent refuses a call.
pub enum Refusal {
    NotNow(String),
    Sql(String),
}

impl Servers {
    pub fn new(chance: Arc<Chance>, store: Arc<MemStore>) -> Arc<Self> {
        Arc::new(Self {
            chance,
            store,
            inner: Mutex::default(),
        })
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// An agent of a host looks at `records`, which may be old, and does a part of what they ask.
    pub async fn agent_acts(&self, host: &HostName, records: &Records, cluster: &Cluster) {
        self.add_and_remove(host, records);
        let mine: Vec<TabletAlias> = {
            let inner = self.lock();
            let mine = inner.servers.iter().filter(|(_, s)| s.host == *host);
            mine.map(|(alias, _)| alias.clone()).collect()
        };
        for alias in mine {
            if records.tablets.contains_key(&alias) && self.starts(&alias) {
                self.take_role(&alias, records, cluster).await;
            }
        }
    }

    fn add_and_remove(&self, host: &HostName, records: &Records) {
        let mut inner = self.lock();
        for record in records.tablets.values().filter(|t| t.host == *host) {
            let until = Instant::now() + self.chance.millis(50, 4_000);
            inner
                .servers
                .entry(record.alias.clone())
                .or_insert_with(|| Server {
                    host: host.clone(),
                    keyspace: record.keyspace.clone(),
                    shard: record.shard.clone(),
                    state: State::Creating { until },
                    role: Role::Idle,
                    read_only: true,
                    hold: None,
                    log: Log::default(),
                });
        }
        inner.servers.retain(|alias, server| {
            server.host != *host || records.tablets.contains_key(alias) || self.chance.happens(600)
        });
    }

    /// Lets a server's creation and restart go on; whether it runs.
    fn starts(&self, alias: &TabletAlias) -> bool {
        let trouble = self.chance.trouble_now() > 0;
        let mut inner = self.lock();
        let Some(server) = inner.servers.get_mut(alias) else {
            return false;
        };
        match server.state {
            State::Creating { until } | State::Down { until } if Instant::now() < until => false,
            State::Creating { .. } | State::Down { .. } => {
                server.state = State::Running;
                true
            }
            State::Running if trouble && self.chance.happens(5) => {
                let until = Instant::now() + self.chance.millis(100, 15_000);
                server.state = State::Down { until };
                server.read_only = true;
                false
            }
            State::Running => true,
        }
    }

    async fn take_role(&self, alias: &TabletAlias, records: &Records, cluster: &Cluster) {
        let Some(tablet) = records.tablets.get(alias) else {
            return;
        };
        let shard = records.shard(&tablet.keyspace, &tablet.shard);
        let primary = shard.and_then(|shard| Some((shard.primary.clone()?, shard.term)));
        match primary {
            Some((primary, term)) if primary == *alias => {
                self.be_primary(alias, term, cluster).await;
            }
            Some((primary, _)) => self.be_replica(alias, &primary),
            None => {
                if let Some(server) = self.lock().servers.get_mut(alias) {
                    server.read_only = true;
                }
            }
        }
    }

    /// See `crate::tablet::role`: before writes are let through, the store is asked; after a hold
    /// the shard's record is written anew, so that a late conductor is refused.
    async fn be_primary(&self, alias: &TabletAlias, term: u64, cluster: &Cluster) {
        let again = {
            let inner = self.lock();
            let Some(server) = inner.servers.get(alias) else {
                return;
            };
            let promoted = server.role == Role::Primary { term };
            let held = (server.hold.as_ref())
                .is_some_and(|hold| hold.term == term && Instant::now() < hold.until);
            if held || (promoted && !server.read_only) {
                return;
            }
            promoted
        };
        let Some((keyspace, shard)) = self.place(alias) else {
            return;
        };
        let key = cluster.keys().shard(&keyspace, &shard);
        let Ok(Some(entry)) = cluster.store().get(&key).await else {
            return;
        };
        let Ok(record) = entry.json::<ShardRecord>() else {
            return;
        };
        if record.primary.as_ref() != Some(alias) || record.term != term {
            return;
        }
        if again {
            let txn = Txn::new()
                .when(Compare::ModRevision(key.clone(), entry.mod_revision))
                .then(Op::put(key, &record));
            if !matches!(cluster.store().txn(txn).await, Ok(done) if done.committed().is_some()) {
                return;
            }
        }
        self.take_writes(alias, term);
    }

    fn place(&self, alias: &TabletAlias) -> Option<(KeyspaceName, ShardName)> {
        let inner = self.lock();
        let server = inner.servers.get(alias)?;
        Some((server.keyspace.clone(), server.shard.clone()))
    }

    fn take_writes(&self, alias: &TabletAlias, term: u64) {
        let mut inner = self.lock();
        let Some(server) = inner.servers.get_mut(alias) else {
            return;
        };
        server.role = Role::Primary { term };
        server.read_only = false;
        server.hold = None;
        let server = &inner.servers[alias];
        for (other, peer) in &inner.servers {
            if other == alias || (&peer.keyspace, &peer.shard) != (&server.keyspace, &server.shard)
            {
                continue;
            }
            let of = format!("{}/{}", server.keyspace, server.shard);
            if !peer.read_only {
                self.store
                    .violate(format!("{of}: {alias} and {other} both take writes"));
            }
            if !server.log.starts_with(&peer.log) {
                self.store.violate(format!(
                    "{of}: {alias} becomes primary without all writes that {other} has"
                ));
            }
        }
    }

    fn be_replica(&self, alias: &TabletAlias, primary: &TabletAlias) {
        let mut inner = self.lock();
        let source = inner.servers.get(primary).map(|source| {
            let runs = matches!(source.state, State::Running);
            let has_more = inner
                .servers
                .get(alias)
                .is_none_or(|server| server.log.len() < source.log.len());
            let broken = inner
                .servers
                .get(alias)
                .is_some_and(|server| !source.log.starts_with(&server.log));
            let copies = runs && has_more && !broken && self.chance.happens(800);
            (copies.then(|| source.log.clone()), broken)
        });
        let Some(server) = inner.servers.get_mut(alias) else {
            return;
        };
        server.read_only = true;
        server.hold = None;
        let Some((log, broken)) = source else { return };
        if broken && matches!(server.role, Role::Primary { .. }) {
            self.store.violate(format!(
                "{}/{}: {alias} was primary and has writes that {primary} lacks",
                server.keyspace, server.shard
            ));
        }
        if let Some(log) = log {
            server.log = log;
        }
        server.role = Role::Replica {
            source: primary.clone(),
            broken,
        };
    }

    /// A host's agent is started anew: what it only remembered is gone.
    pub fn agent_restarts(&self, host: &HostName) {
        for server in self.lock().servers.values_mut() {
            if server.host == *host {
                server.hold = None;
            }
        }
    }

    /// Clients write wherever they can.
    pub fn clients_write(&self) {
        let mut inner = self.lock();
        let row = inner.next_row;
        inner.next_row += 1;
        for server in inner.servers.values_mut() {
            if matches!(server.state, State::Running) && !server.read_only {
                server.log.push(&Write::Row(row));
            }
        }
    }

    pub fn observe(&self, host: &HostName) -> BTreeMap<TabletAlias, ObservedTablet> {
        let inner = self.lock();
        let mine = inner.servers.iter().filter(|(_, s)| s.host == *host);
        mine.map(|(alias, server)| (alias.clone(), server.observed()))
            .collect()
    }

    pub fn execute(
        &self,
        alias: &TabletAlias,
        term: u64,
        statements: &[String],
    ) -> Result<(), Refusal> {
        let mut inner = self.lock();
        let server = running(&mut inner, alias)?;
        if server.role != (Role::Primary { term }) || server.read_only || server.hold.is_some() {
            return Err(Refusal::NotNow(format!("{alias} is not primary of {term}")));
        }
        for statement in statements {
            let table = table_of(statement);
            let exists = server.log.tables.keys().any(|name| name.as_str() == table);
            if statement.starts_with("CREATE TABLE") && exists {
                return Err(Refusal::Sql(format!("Table '{table}' already exists")));
            }
            if statement.starts_with("INSERT") && !exists {
                return Err(Refusal::Sql(format!("Table '{table}' doesn't exist")));
            }
            server.log.push(&Write::Statement(statement.clone()));
        }
        Ok(())
    }

    pub fn set_read_only(
        &self,
        alias: &TabletAlias,
        term: u64,
        read_only: bool,
        hold: std::time::Duration,
    ) -> Result<String, Refusal> {
        let mut inner = self.lock();
        let server = running(&mut inner, alias)?;
        if server.role != (Role::Primary { term }) {
            return Err(Refusal::NotNow(format!("{alias} is not primary of {term}")));
        }
        if read_only {
            server.read_only = true;
            let until = Instant::now() + hold;
            server.hold = Some(Hold { term, until });
        } else {
            server.hold = None;
        }
        Ok(server.log.len().to_string())
    }

    /// Whether a server has executed everything in a position.
    pub fn has(&self, alias: &TabletAlias, position: &str) -> Result<bool, Refusal> {
        let mut inner = self.lock();
        let server = running(&mut inner, alias)?;
        let wanted: usize = position.parse().unwrap_or(usize::MAX);
        Ok(server.log.len() >= wanted)
    }
}

fn running<'a>(inner: &'a mut Inner, alias: &TabletAlias) -> Result<&'a mut Server, Refusal> {
    let server = inner.servers.get_mut(alias);
    server
        .filter(|server| matches!(server.state, State::Running))
        .ok_or_else(|| Refusal::NotNow(format!("{alias} does not run")))
}

impl Server {
    fn observed(&self) -> ObservedTablet {
        let server = match self.state {
            State::Creating { .. } => ServerState::Creating {
                message: "copying the template".into(),
            },
            State::Down { .. } => ServerState::Down {
                message: "simulated crash".into(),
            },
            State::Running => ServerState::Running(RunningServer {
                flavor: FlavorKind::MariaDb,
                version: "10.11.6".into(),
                read_only: self.read_only,
                role: match &self.role {
                    Role::Idle => ObservedRole::Idle,
                    Role::Primary { term } => ObservedRole::Primary { term: *term },
                    Role::Replica { source, broken } => ObservedRole::Replica {
                        source: source.clone(),
                        healthy: !broken,
                        lag_seconds: Some(0),
                        error: if *broken {
                            "diverged".into()
                        } else {
                            String::new()
                        },
                    },
                },
                replicates_from: None,
                position: self.log.len().to_string(),
                semi_sync: true,
            }),
        };
        let readable =
            matches!(self.state, State::Running) && matches!(self.role, Role::Primary { .. });
        ObservedTablet {
            server,
            tables: readable.then(|| self.log.tables.clone()),
            deviations: Vec::new(),
        }
    }
}

/// The name between the first pair of backticks.
fn table_of(statement: &str) -> &str {
    statement.split('`').nth(1).unwrap_or_default()
}
