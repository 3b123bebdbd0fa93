//! Connections to one tablet's server, shared by all sessions. A session holds one only while a
//! statement runs, within a transaction, or when it left state on it.

use std::cell::Cell;
use std::collections::VecDeque;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwap;
use tokio::sync::oneshot;

use crate::backend::{Address, Conn, ConnectError, Login, Settings, Variant};
use crate::protocol::SqlError;

thread_local! {
    static WORKER: Cell<usize> = const { Cell::new(usize::MAX) };
}

/// Which of the gate's threads this is. A connection is watched by the reactor of one thread and
/// is preferably lent to that thread's sessions.
pub fn current_worker() -> usize {
    WORKER.get()
}

/// Names the current thread. See [`current_worker`].
pub fn set_current_worker(worker: usize) {
    WORKER.set(worker);
}

/// Limits of a pool.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PoolLimits {
    /// Connections to one tablet, at most.
    pub max: usize,
    /// Idle connections that are kept however long they are idle.
    pub min_idle: usize,
    /// How long a session waits for a connection.
    pub wait: Duration,
    /// How long one more than `min_idle` stays open without use.
    pub idle: Duration,
    /// How long opening one may take.
    pub connect: Duration,
}

impl Default for PoolLimits {
    fn default() -> Self {
        Self {
            max: vtplan_state::model::GATE_CONNECTIONS as usize,
            min_idle: 2,
            wait: Duration::from_secs(10),
            idle: Duration::from_secs(60),
            connect: Duration::from_secs(5),
        }
    }
}

/// What a session needs of a connection.
#[derive(Debug, Clone, Copy)]
pub struct Want<'a> {
    pub variant: Variant,
    pub database: Option<&'a Arc<str>>,
    pub settings: &'a Settings,
}

/// Why a session got no connection.
#[derive(Debug, thiserror::Error)]
pub enum PoolError {
    #[error(
        "all {max} connections of the gate to tablet {tablet} are in use, and none became free within {waited:?}"
    )]
    Exhausted {
        tablet: String,
        max: usize,
        waited: Duration,
    },
    #[error(transparent)]
    Connect(#[from] ConnectError),
    #[error("tablet {0} was removed")]
    Closed(String),
}

impl PoolError {
    pub fn to_sql(&self) -> SqlError {
        match self {
            Self::Connect(error) => error.to_sql(),
            Self::Exhausted { .. } => SqlError::new(1203, b"42000", self.to_string()),
            Self::Closed(_) => SqlError::new(2002, b"HY000", self.to_string()),
        }
    }

    /// Whether another tablet may do better.
    pub fn is_connect(&self) -> bool {
        !matches!(self, Self::Exhausted { .. })
    }
}

/// The right to one of a pool's connections. Given back when dropped.
#[derive(Debug)]
struct Slot {
    /// `None`: it stands for nothing any more.
    pool: Option<Arc<Pool>>,
}

impl Slot {
    fn of(pool: &Arc<Pool>) -> Self {
        Self {
            pool: Some(pool.clone()),
        }
    }
}

/// A connection that is lent out. Dropping it closes it; [`PooledConn::release`] gives it back.
#[derive(Debug)]
pub struct PooledConn {
    pub conn: Box<Conn>,
    slot: Slot,
}

#[derive(Debug)]
enum Grant {
    Conn(PooledConn),
    Slot(Slot),
}

/// How a session gets its connection.
enum Decision {
    Use(PooledConn),
    Open(Slot),
    Wait(oneshot::Receiver<Grant>),
}

#[derive(Debug, Default)]
struct State {
    idle: Vec<PooledConn>,
    /// Connections that exist or are being opened.
    open: usize,
    waiting: VecDeque<oneshot::Sender<Grant>>,
    closed: bool,
}

/// See the module.
#[derive(Debug)]
pub struct Pool {
    address: ArcSwap<Address>,
    login: ArcSwap<Login>,
    limits: PoolLimits,
    state: Mutex<State>,
    /// How often a session had to wait, for the metrics.
    pub waits: AtomicU64,
    /// How often a connection was opened.
    pub connects: AtomicU64,
}

impl std::fmt::Debug for Login {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Login(..)")
    }
}

/// How full a pool is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct PoolStatus {
    pub open: usize,
    pub idle: usize,
    pub waiting: usize,
}

impl Pool {
    pub fn new(address: Address, login: Login, limits: PoolLimits) -> Arc<Self> {
        Arc::new(Self {
            address: ArcSwap::from_pointee(address),
            login: ArcSwap::from_pointee(login),
            limits,
            state: Mutex::default(),
            waits: AtomicU64::new(0),
            connects: AtomicU64::new(0),
        })
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        // Nothing panics while it is held, and a half-done change could at worst lose a count.
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn address(&self) -> Arc<Address> {
        self.address.load_full()
    }

    /// Follows a tablet that moved, or new credentials: idle connections to the old place go.
    pub fn update(&self, address: Address, login: Login) {
        if **self.address.load() == address && **self.login.load() == login {
            return;
        }
        self.address.store(Arc::new(address));
        self.login.store(Arc::new(login));
        let idle = std::mem::take(&mut self.lock().idle);
        drop(idle);
    }

    pub fn status(&self) -> PoolStatus {
        let state = self.lock();
        PoolStatus {
            open: state.open,
            idle: state.idle.len(),
            waiting: state.waiting.len(),
        }
    }

    /// A connection of the wanted variant, preferably with the wanted settings and of this thread.
    /// Its database and settings may be others still: see [`Conn::bring`].
    pub async fn checkout(self: &Arc<Self>, want: &Want<'_>) -> Result<PooledConn, PoolError> {
        let worker = current_worker();
        let wait = match self.decide(want, worker)? {
            Decision::Use(pooled) => return Ok(pooled),
            Decision::Open(slot) => return self.open(slot, want).await,
            Decision::Wait(receiver) => receiver,
        };
        self.waits.fetch_add(1, Ordering::Relaxed);
        let exhausted = || PoolError::Exhausted {
            tablet: self.address.load().tablet.clone(),
            max: self.limits.max,
            waited: self.limits.wait,
        };
        match tokio::time::timeout(self.limits.wait, wait).await {
            Err(_) => Err(exhausted()),
            Ok(Err(_)) => Err(PoolError::Closed(self.address.load().tablet.clone())),
            Ok(Ok(Grant::Slot(slot))) => self.open(slot, want).await,
            Ok(Ok(Grant::Conn(given))) => {
                let same = given.conn.variant == want.variant;
                let slot = match ready_or_slot(given, worker) {
                    Ok(given) if same => return Ok(given),
                    Ok(given) => given.slot,
                    Err(slot) => slot,
                };
                self.open(slot, want).await
            }
        }
    }

    /// What can be had without waiting.
    fn decide(self: &Arc<Self>, want: &Want<'_>, worker: usize) -> Result<Decision, PoolError> {
        loop {
            let mut state = self.lock();
            if state.closed {
                return Err(PoolError::Closed(self.address.load().tablet.clone()));
            }
            if let Some(at) = best(&state.idle, want, worker) {
                let found = state.idle.swap_remove(at);
                drop(state);
                if let Some(found) = ready(found, worker) {
                    return Ok(Decision::Use(found));
                }
                continue;
            }
            if state.open < self.limits.max {
                state.open += 1;
                drop(state);
                return Ok(Decision::Open(Slot::of(self)));
            }
            if !state.idle.is_empty() {
                // Of another variant: it makes room.
                let other = state.idle.swap_remove(0);
                return Ok(Decision::Open(other.slot));
            }
            let (sender, receiver) = oneshot::channel();
            state.waiting.push_back(sender);
            return Ok(Decision::Wait(receiver));
        }
    }

    async fn open(self: &Arc<Self>, slot: Slot, want: &Want<'_>) -> Result<PooledConn, PoolError> {
        self.connects.fetch_add(1, Ordering::Relaxed);
        let (address, login) = (self.address(), self.login.load_full());
        let conn = address
            .connect(&login, want.database, want.variant, self.limits.connect)
            .await?;
        Ok(PooledConn {
            conn: Box::new(conn),
            slot,
        })
    }

    /// Closes connections that were not used for long, and those that the server has closed.
    /// To be called from time to time.
    pub fn reap(&self) {
        let now = Instant::now();
        let mut gone = Vec::new();
        let mut state = self.lock();
        let mut at = 0;
        while at < state.idle.len() {
            let old = now.duration_since(state.idle[at].conn.last_use) >= self.limits.idle;
            if (old && state.idle.len() > self.limits.min_idle)
                || state.idle[at].conn.stream.is_stale()
            {
                gone.push(state.idle.swap_remove(at));
            } else {
                at += 1;
            }
        }
        drop(state);
        drop(gone);
    }

    /// Closes what is idle and refuses everybody: the tablet is gone.
    pub fn close(&self) {
        let mut state = self.lock();
        state.closed = true;
        let (idle, waiting) = (
            std::mem::take(&mut state.idle),
            std::mem::take(&mut state.waiting),
        );
        drop(state);
        drop((idle, waiting));
    }

    /// Runs one statement on a new connection of its own, for `KILL QUERY`: it must work when the
    /// pool is full.
    pub async fn execute_apart(&self, sql: &str) -> Result<(), SqlError> {
        let variant = Variant {
            deprecate_eof: true,
            found_rows: false,
            ignore_space: false,
            collation: 45,
            has_database: false,
        };
        let (address, login) = (self.address(), self.login.load_full());
        let mut conn = address
            .connect(&login, None, variant, self.limits.connect)
            .await
            .map_err(|e| e.to_sql())?;
        match conn.execute(sql).await {
            Ok(_) => Ok(()),
            Err(crate::backend::BackendError::Sql(error)) => Err(error),
            Err(error) => Err(SqlError::server_lost(&address.tablet, error)),
        }
    }
}

/// The idle connection that needs the least to be done before it is used.
fn best(idle: &[PooledConn], want: &Want<'_>, worker: usize) -> Option<usize> {
    let mut best: Option<(u8, usize)> = None;
    for (at, pooled) in idle.iter().enumerate().rev() {
        let conn = &pooled.conn;
        if conn.variant != want.variant {
            continue;
        }
        let settings = if conn.settings.hash() == want.settings.hash() {
            0
        } else if conn.settings.is_empty() {
            2
        } else {
            4
        };
        let cost = settings
            + u8::from(conn.home != worker)
            + 2 * u8::from(conn.database.as_ref() != want.database);
        if cost == 0 {
            return Some(at);
        }
        if best.is_none_or(|(least, _)| cost < least) {
            best = Some((cost, at));
        }
    }
    best.map(|(_, at)| at)
}

/// The connection, if it is alive, watched by this thread.
fn ready(pooled: PooledConn, worker: usize) -> Option<PooledConn> {
    ready_or_slot(pooled, worker).ok()
}

fn ready_or_slot(mut pooled: PooledConn, worker: usize) -> Result<PooledConn, Slot> {
    let conn = &mut pooled.conn;
    if conn.stream.is_stale() {
        return Err(pooled.slot);
    }
    if conn.home != worker {
        if conn.stream.rehome().is_err() {
            return Err(pooled.slot);
        }
        conn.home = worker;
    }
    Ok(pooled)
}

impl PooledConn {
    /// Gives the connection back. It must be between statements and outside a transaction.
    pub fn release(mut self) {
        if self.conn.in_transaction() || !self.conn.inbuf.is_empty() {
            return;
        }
        self.conn.last_use = Instant::now();
        let Some(pool) = self.slot.pool.clone() else {
            return;
        };
        let mut this = self;
        loop {
            let mut state = pool.lock();
            if state.closed {
                drop(state);
                return;
            }
            let Some(waiting) = state.waiting.pop_front() else {
                state.idle.push(this);
                return;
            };
            drop(state);
            match waiting.send(Grant::Conn(this)) {
                Ok(()) => return,
                Err(Grant::Conn(back)) => this = back,
                Err(Grant::Slot(_)) => return,
            }
        }
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        let Some(pool) = self.pool.take() else {
            return;
        };
        loop {
            let mut state = pool.lock();
            let Some(waiting) = state.waiting.pop_front() else {
                state.open = state.open.saturating_sub(1);
                return;
            };
            drop(state);
            match waiting.send(Grant::Slot(Slot::of(&pool))) {
                Ok(()) => return,
                // That one waits no longer. What came back is this very slot.
                Err(Grant::Slot(mut back)) => back.pool = None,
                Err(Grant::Conn(_)) => {}
            }
        }
    }
}
