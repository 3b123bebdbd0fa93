//! What the gate knows of the cluster: the records, the catalog that the planner uses, and each
//! shard's tablets with their pools and health. A snapshot behind one atomic pointer; whoever
//! starts a statement takes it and keeps it to the end.

mod drain;
mod follow;
mod health;
mod holds;

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use arc_swap::{ArcSwap, ArcSwapOption};
use tokio::sync::{Notify, watch};
use vtplan_state::model::{
    CellName, HostName, Records, Revision, ShardRecord, TabletAlias, TabletType,
};
use vtplan_state::store::LeaseKeeper;

use crate::backend::{Address, Login};
use crate::plan::{Catalog, ShardId};
use crate::pool::{Pool, PoolLimits};
use crate::protocol::SqlError;
use crate::protocol::handshake::Verifiers;

pub use holds::Hold;

/// A tablet as the gate sees it. Lives as long as its record.
#[derive(Debug)]
pub struct Tablet {
    pub alias: TabletAlias,
    pub tablet_type: TabletType,
    pub pool: Arc<Pool>,
    health: Health,
}

/// What an agent last said, and what the gate found out by itself.
#[derive(Debug)]
struct Health {
    /// Whether an agent has said anything within the last moments.
    heard: AtomicU64,
    serving: AtomicBool,
    /// Seconds; -1 when unknown.
    lag: AtomicI64,
    error: ArcSwapOption<String>,
    /// Milliseconds of [`now`] until which the tablet is left alone after connecting to it failed.
    avoid_until: AtomicU64,
}

/// Milliseconds since the process began to count.
fn now() -> u64 {
    static START: std::sync::OnceLock<Instant> = std::sync::OnceLock::new();
    // At least 1, so that 0 can mean never. The counter outlives any process.
    START.get_or_init(Instant::now).elapsed().as_millis() as u64 + 1
}

/// An agent that has not spoken for so long is not believed any more.
const HEALTH_TTL: Duration = Duration::from_secs(5);

/// How long a tablet that could not be connected to is left alone, if there are others.
const AVOID: Duration = Duration::from_secs(1);

impl Tablet {
    fn new(alias: TabletAlias, tablet_type: TabletType, pool: Arc<Pool>) -> Arc<Self> {
        Arc::new(Self {
            alias,
            tablet_type,
            pool,
            health: Health {
                heard: AtomicU64::new(0),
                serving: AtomicBool::new(true),
                lag: AtomicI64::new(-1),
                error: ArcSwapOption::empty(),
                avoid_until: AtomicU64::new(0),
            },
        })
    }

    fn is_heard(&self) -> bool {
        let heard = self.health.heard.load(Ordering::Relaxed);
        heard > 0 && now() - heard <= HEALTH_TTL.as_millis() as u64
    }

    /// Replication lag in seconds, if an agent said it lately.
    pub fn lag(&self) -> Option<i64> {
        let lag = self.health.lag.load(Ordering::Relaxed);
        (self.is_heard() && lag >= 0).then_some(lag)
    }

    /// Whether it serves, as far as is known: without word from an agent it is assumed to.
    pub fn is_serving(&self) -> bool {
        !self.is_heard() || self.health.serving.load(Ordering::Relaxed)
    }

    /// Notes that connecting to it failed.
    pub fn avoid(&self) {
        let until = now() + AVOID.as_millis() as u64;
        self.health.avoid_until.store(until, Ordering::Relaxed);
    }

    fn is_avoided(&self) -> bool {
        self.health.avoid_until.load(Ordering::Relaxed) > now()
    }

    /// `SERVING`, `NOT_SERVING: why` or `UNKNOWN`.
    pub fn state(&self) -> String {
        if !self.is_heard() {
            "UNKNOWN".to_owned()
        } else if self.is_serving() {
            "SERVING".to_owned()
        } else {
            match self.health.error.load().as_deref() {
                Some(why) if !why.is_empty() => format!("NOT_SERVING: {why}"),
                _ => "NOT_SERVING".to_owned(),
            }
        }
    }
}

/// A shard's tablets.
#[derive(Debug, Default)]
pub struct ShardRoute {
    pub primary: Option<Arc<Tablet>>,
    /// Tablets of type replica and rdonly that are not the primary; those of the gate's own cell
    /// first.
    pub replicas: Vec<Arc<Tablet>>,
    pub rdonly: Vec<Arc<Tablet>>,
}

/// Everything at one revision.
#[derive(Debug)]
pub struct Snapshot {
    pub records: Arc<vtplan_state::cluster::Snapshot>,
    pub catalog: Arc<Catalog>,
    pub shards: HashMap<ShardId, ShardRoute>,
    pub tablets: HashMap<TabletAlias, Arc<Tablet>>,
    pub users: HashMap<String, Verifiers>,
    /// What is kept back while it moves.
    pub holds: Vec<Arc<Hold>>,
}

impl Snapshot {
    /// The revision of what statements are routed by.
    pub fn serving_revision(&self) -> Revision {
        self.records.serving_revision
    }
}

/// See the module.
pub struct Topology {
    snapshot: ArcSwap<Snapshot>,
    /// Tells waiting statements that a new snapshot is there.
    changes: watch::Sender<Revision>,
    cell: CellName,
    limits: PoolLimits,
    max_lag: Duration,
    buffer: Duration,
    login: Mutex<Option<Login>>,
    lease: ArcSwapOption<LeaseKeeper>,
    /// Turns the order of replicas from one statement to the next.
    turn: AtomicU64,
    /// Whether somebody waits for sessions to end what they have under way.
    draining: AtomicBool,
    /// A session has ended something.
    drained: Notify,
}

/// What of the gate's configuration concerns the topology.
#[derive(Debug, Clone)]
pub struct TopologyConfig {
    pub cell: CellName,
    pub pool: PoolLimits,
    /// Replicas that lag more get no queries.
    pub max_lag: Duration,
    /// How long a statement waits for a shard's primary that is absent for a moment.
    pub buffer: Duration,
}

fn decode_hex(text: &str) -> Vec<u8> {
    let digits = text.as_bytes().chunks_exact(2);
    digits
        .map_while(|pair| u8::from_str_radix(std::str::from_utf8(pair).ok()?, 16).ok())
        .collect()
}

/// Whether a catalog of the one is a catalog of the other.
fn is_routed_alike(
    one: &vtplan_state::cluster::Snapshot,
    other: &vtplan_state::cluster::Snapshot,
) -> bool {
    let shard = |(id, shard): (_, &ShardRecord)| (id, shard.serving, shard.serving_reads.clone());
    one.serving_revision == other.serving_revision
        || one.routing == other.routing
            && one.keyspaces == other.keyspaces
            && one
                .shards
                .iter()
                .map(shard)
                .eq(other.shards.iter().map(shard))
            && one.vschemas == other.vschemas
}

impl Topology {
    pub fn new(config: TopologyConfig) -> Self {
        Self {
            snapshot: ArcSwap::from_pointee(Snapshot {
                records: Arc::default(),
                catalog: Arc::new(Catalog::build(&Records::default())),
                shards: HashMap::new(),
                tablets: HashMap::new(),
                users: HashMap::new(),
                holds: Vec::new(),
            }),
            changes: watch::Sender::new(0),
            cell: config.cell,
            limits: config.pool,
            max_lag: config.max_lag,
            buffer: config.buffer,
            login: Mutex::new(None),
            lease: ArcSwapOption::empty(),
            turn: AtomicU64::new(0),
            draining: AtomicBool::new(false),
            drained: Notify::new(),
        }
    }

    /// A session has changed its [`crate::session::Activity`].
    pub fn activity_changed(&self) {
        // The session's mutex was released before, and who looks at it after setting the flag
        // takes it: one of both sees the other.
        if self.draining.load(Ordering::SeqCst) {
            self.drained.notify_one();
        }
    }

    /// Tells of every new snapshot from now on.
    pub fn changes(&self) -> watch::Receiver<Revision> {
        self.changes.subscribe()
    }

    /// How long statements wait for what is expected to pass.
    pub fn buffer(&self) -> Duration {
        self.buffer
    }

    pub fn snapshot(&self) -> Arc<Snapshot> {
        self.snapshot.load_full()
    }

    /// Follows new records: pools of tablets that stay are kept. `login`: the gate's account.
    pub fn apply(&self, records: Arc<vtplan_state::cluster::Snapshot>, login: &Login) {
        let old = self.snapshot.load_full();
        let mut tablets: HashMap<TabletAlias, Arc<Tablet>> = HashMap::new();
        for record in records.tablets.values() {
            let host = records.hosts.get(&record.host);
            let Some(at) = record.address(host.map(|host| host.address.as_str())) else {
                // Its agent is away for a moment: the address that was known stays good.
                if let Some(kept) = old.tablets.get(&record.alias) {
                    tablets.insert(record.alias.clone(), kept.clone());
                }
                continue;
            };
            let address = Address {
                tablet: record.alias.to_string(),
                socket: host.and_then(|host| record.socket(host)),
                host: at.machine,
                port: at.port,
                server_id: record.server_id(),
            };
            let kept = old
                .tablets
                .get(&record.alias)
                .filter(|t| t.tablet_type == record.tablet_type);
            let tablet = match kept {
                Some(tablet) => {
                    tablet.pool.update(address, login.clone());
                    tablet.clone()
                }
                None => Tablet::new(
                    record.alias.clone(),
                    record.tablet_type,
                    Pool::new(address, login.clone(), self.limits),
                ),
            };
            tablets.insert(record.alias.clone(), tablet);
        }
        for (alias, tablet) in &old.tablets {
            let stays = tablets.get(alias).is_some_and(|t| Arc::ptr_eq(t, tablet));
            if !stays {
                tablet.pool.close();
            }
        }
        let mut shards: HashMap<ShardId, ShardRoute> = HashMap::new();
        for shard in records.shards.values() {
            let id = ShardId {
                keyspace: shard.keyspace.clone(),
                shard: shard.shard.clone(),
            };
            let primary = shard.primary.as_ref().and_then(|p| tablets.get(p)).cloned();
            shards.insert(
                id,
                ShardRoute {
                    primary,
                    ..ShardRoute::default()
                },
            );
        }
        for record in records.tablets.values() {
            let id = ShardId {
                keyspace: record.keyspace.clone(),
                shard: record.shard.clone(),
            };
            let (Some(route), Some(tablet)) = (shards.get_mut(&id), tablets.get(&record.alias))
            else {
                continue;
            };
            if records.is_primary(record) {
                continue;
            }
            let list = match record.tablet_type {
                TabletType::Replica => &mut route.replicas,
                TabletType::Rdonly => &mut route.rdonly,
                _ => continue,
            };
            list.push(tablet.clone());
            list.sort_by_key(|t| t.alias.cell != self.cell);
        }
        let users = records
            .users
            .values()
            .map(|user| {
                let verifiers = Verifiers {
                    native: decode_hex(&user.native_verifier),
                    sha2: decode_hex(&user.sha2_verifier),
                };
                (user.name.clone(), verifiers)
            })
            .collect();
        // What comes and goes often must not cost all plans. Holds are put when every millisecond
        // counts.
        let catalog = if is_routed_alike(&old.records, &records) && old.catalog.revision() != 0 {
            old.catalog.clone()
        } else {
            Arc::new(Catalog::build(&records.records))
        };
        let holds = records.holds.values();
        let holds = holds.map(|h| Arc::new(Hold::new(h, &catalog))).collect();
        let revision = records.revision;
        self.snapshot.store(Arc::new(Snapshot {
            records,
            catalog,
            shards,
            tablets,
            users,
            holds,
        }));
        self.changes.send_replace(revision);
    }

    /// Whether the gate may take writes: its lease must stand, so that nobody waits for its
    /// acknowledgement in vain nor does without it.
    pub fn check_lease(&self) -> Result<(), SqlError> {
        match &*self.lease.load() {
            Some(lease) if lease.is_valid() => Ok(()),
            _ => Err(SqlError::new(
                1290,
                b"HY000",
                "The gate is running read-only: it has lost its lease on the state store and may \
                 route by old records; writes are taken again when the store can be reached",
            )),
        }
    }

    /// The tablet that a statement goes to. Waits a little for a primary that is absent.
    pub async fn choose(
        &self,
        snapshot: &Snapshot,
        shard: &ShardId,
        tablet_type: TabletType,
    ) -> Result<Arc<Tablet>, SqlError> {
        if tablet_type != TabletType::Primary {
            return self.choose_replica(snapshot, shard, tablet_type);
        }
        let route = snapshot.shards.get(shard);
        if let Some(primary) = route.and_then(|r| r.primary.as_ref())
            && primary.is_serving()
        {
            return Ok(primary.clone());
        }
        self.wait_for_primary(shard).await
    }

    /// Buffers a statement until the shard has a primary that serves, within limits.
    async fn wait_for_primary(&self, shard: &ShardId) -> Result<Arc<Tablet>, SqlError> {
        let end = tokio::time::Instant::now() + self.buffer;
        let mut changes = self.changes.subscribe();
        loop {
            let snapshot = self.snapshot();
            let why = match snapshot.shards.get(shard) {
                None => return Err(SqlError::unknown(format!("shard {shard} does not exist"))),
                Some(route) => match &route.primary {
                    Some(primary) if primary.is_serving() => return Ok(primary.clone()),
                    Some(primary) => format!("tablet {}, is {}", primary.alias, primary.state()),
                    None => "it has none yet".to_owned(),
                },
            };
            // Health does not change the snapshot: it is looked at every so often.
            let step = end.min(tokio::time::Instant::now() + Duration::from_millis(100));
            let _ = tokio::time::timeout_at(step, changes.changed()).await;
            if tokio::time::Instant::now() >= end {
                return Err(SqlError::unknown(format!(
                    "the primary of shard {shard} does not serve ({why}); waited {:?}",
                    self.buffer
                )));
            }
        }
    }

    /// A healthy replica, one after the other among those of the own cell, else among the others.
    fn choose_replica(
        &self,
        snapshot: &Snapshot,
        shard: &ShardId,
        tablet_type: TabletType,
    ) -> Result<Arc<Tablet>, SqlError> {
        let route = snapshot.shards.get(shard);
        let list = route.map_or(&[][..], |r| match tablet_type {
            TabletType::Rdonly => &r.rdonly,
            _ => &r.replicas,
        });
        let max_lag = self.max_lag.as_secs() as i64;
        let fit = |t: &&Arc<Tablet>| t.is_serving() && t.lag().is_none_or(|lag| lag <= max_lag);
        let healthy: Vec<&Arc<Tablet>> = list.iter().filter(fit).collect();
        let mut pool: Vec<_> = healthy.iter().filter(|t| !t.is_avoided()).collect();
        if pool.is_empty() {
            pool = healthy.iter().collect();
        }
        let local = pool.iter().filter(|t| t.alias.cell == self.cell).count();
        if local > 0 {
            pool.truncate(local);
        }
        if pool.is_empty() {
            let states: Vec<String> = list
                .iter()
                .map(|t| match t.lag() {
                    Some(lag) => format!("{}: {}, lag {lag} s", t.alias, t.state()),
                    None => format!("{}: {}", t.alias, t.state()),
                })
                .collect();
            let states = if states.is_empty() {
                "it has none".to_owned()
            } else {
                states.join("; ")
            };
            return Err(SqlError::unknown(format!(
                "no healthy {tablet_type} tablet of shard {shard} (at most {max_lag} s of lag): {states}"
            )));
        }
        let turn = self.turn.fetch_add(1, Ordering::Relaxed) as usize;
        Ok((**pool[turn % pool.len()]).clone())
    }

    /// The host of a tablet, by the records.
    pub fn host_of<'a>(&self, records: &'a Records, tablet: &TabletAlias) -> Option<&'a HostName> {
        records.tablets.get(tablet).map(|t| &t.host)
    }
}
