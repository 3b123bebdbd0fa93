//! Streams yield: while a replica of the source or of a target lags by more than the workflow
//! allows, or a server has too much to do, nothing more is copied or applied.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::future::join_all;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use super::error::StreamError;
use super::plan::StreamPlan;
use super::server::ServerAddress;
use super::target::connection::{Connection, text};
use crate::flavor::{self, Flavor, ServerVersion};

/// How often servers are looked at.
const PERIOD: Duration = Duration::from_secs(1);
const PATIENCE: Duration = Duration::from_secs(3);
/// More statements than this that run at once on a server are a load to yield to.
const BUSY_THREADS: u64 = 64;

/// What was seen of the servers of a stream.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Seen {
    /// Why streams are to wait; empty: they are not.
    pub because: String,
    /// How far the source's replicas are behind; `None`: one that does not replicate.
    pub source_lag: BTreeMap<String, Option<Duration>>,
}

/// Looks at the servers of a stream until it is dropped.
#[derive(Debug)]
pub struct Throttle {
    seen: watch::Receiver<Seen>,
    _task: JoinSet<()>,
}

impl Throttle {
    pub fn start(plan: watch::Receiver<Arc<StreamPlan>>) -> Self {
        let (tell, seen) = watch::channel(Seen::default());
        let mut task = JoinSet::new();
        task.spawn(look(plan, tell));
        Self { seen, _task: task }
    }

    pub fn seen(&self) -> watch::Receiver<Seen> {
        self.seen.clone()
    }
}

/// Waits while there is a reason to.
pub async fn yield_to(seen: &mut watch::Receiver<Seen>) {
    // An error: nobody looks any more.
    let _ = seen.wait_for(|seen| seen.because.is_empty()).await;
}

async fn look(plan: watch::Receiver<Arc<StreamPlan>>, tell: watch::Sender<Seen>) {
    let mut servers: BTreeMap<String, Watched> = BTreeMap::new();
    loop {
        let plan = plan.borrow().clone();
        let source_replicas = plan.sources.iter().filter(|s| !s.is_primary);
        let replicas = source_replicas
            .map(|s| &s.address)
            .chain(&plan.target_replicas);
        let primaries = (plan.work.targets.iter().filter_map(|t| t.primary.as_ref()))
            .chain(&plan.work.source_primary);
        let wanted: BTreeMap<String, (&ServerAddress, bool)> = replicas
            .map(|address| (address.name.clone(), (address, true)))
            .chain(primaries.map(|address| (address.name.clone(), (address, false))))
            .collect();
        servers.retain(|name, _| wanted.contains_key(name));
        for (name, (address, replica)) in wanted {
            let server = servers.entry(name).or_default();
            server.replica = replica;
            if server.address.as_ref() != Some(address) {
                server.address = Some(address.clone());
                server.conn = None;
            }
        }
        join_all(servers.values_mut().map(Watched::look)).await;
        let seen = judge(&plan, &servers);
        tell.send_if_modified(|last| {
            let differs = *last != seen;
            *last = seen;
            differs
        });
        sleep(PERIOD).await;
    }
}

fn judge(plan: &StreamPlan, servers: &BTreeMap<String, Watched>) -> Seen {
    let mut seen = Seen::default();
    let limit = plan.throttle_max_lag;
    for (name, server) in servers {
        if server.replica && plan.sources.iter().any(|s| s.address.name == *name) {
            seen.source_lag.insert(name.clone(), server.lag);
        }
        if !seen.because.is_empty() {
            continue;
        }
        if let Some(lag) = server.lag.filter(|lag| *lag > limit) {
            seen.because = format!(
                "{name} is {} s behind its primary, more than the {} s of `throttle`",
                lag.as_secs(),
                limit.as_secs()
            );
        } else if server.threads > BUSY_THREADS {
            seen.because = format!("{} statements run at once on {name}", server.threads);
        }
    }
    seen
}

/// A server that is looked at.
#[derive(Default)]
struct Watched {
    address: Option<ServerAddress>,
    replica: bool,
    conn: Option<(Connection, Box<dyn Flavor>)>,
    lag: Option<Duration>,
    threads: u64,
}

impl Watched {
    /// A server that cannot be looked at holds nobody up.
    async fn look(&mut self) {
        self.lag = None;
        self.threads = 0;
        let looked = timeout(PATIENCE, self.try_look()).await;
        if !matches!(looked, Ok(Ok(()))) {
            self.conn = None;
        }
    }

    async fn try_look(&mut self) -> Result<(), StreamError> {
        let Some(address) = &self.address else {
            return Ok(());
        };
        let (conn, flavor) = match &mut self.conn {
            Some(open) => open,
            None => self.conn.insert(open(address).await?),
        };
        if self.replica {
            self.lag = replication_lag(conn, &**flavor).await?;
        } else {
            let query = "SHOW GLOBAL STATUS LIKE 'Threads_running'";
            let rows = conn.query("reading the server's load", query).await?;
            let threads = rows.first().map(|row| text(row, 1));
            self.threads = threads.and_then(|t| t.parse().ok()).unwrap_or(0);
        }
        Ok(())
    }
}

async fn open(address: &ServerAddress) -> Result<(Connection, Box<dyn Flavor>), StreamError> {
    let mut conn = Connection::open(address).await?;
    let rows = conn
        .query("reading the server's version", "SELECT VERSION()")
        .await?;
    let version = rows.first().map(|row| text(row, 0)).unwrap_or_default();
    let version = ServerVersion::parse(&format!("Ver {version}")).ok_or_else(|| {
        StreamError::Refused(format!(
            "{address} has a version `{version}` that is not known"
        ))
    })?;
    Ok((conn, flavor::of(version)))
}

/// How far a replica is behind; `None`: it does not replicate.
async fn replication_lag(
    conn: &mut Connection,
    flavor: &dyn Flavor,
) -> Result<Option<Duration>, StreamError> {
    let query = flavor.replica_status_query();
    let rows = conn
        .named_rows("reading the replication's state", query)
        .await?;
    let Some(row) = rows.first() else {
        return Ok(None);
    };
    let status = flavor.replica_status(row);
    let lag = status.lag_seconds.filter(|_| status.healthy());
    Ok(lag.map(Duration::from_secs))
}

/// How far a server is behind its primary, asked once; `None`: it does not replicate, or does not
/// answer.
pub async fn lag_of(address: &ServerAddress) -> Option<Duration> {
    let asked = timeout(PATIENCE, async {
        let (mut conn, flavor) = open(address).await.ok()?;
        replication_lag(&mut conn, &*flavor).await.ok()?
    });
    asked.await.ok().flatten()
}
