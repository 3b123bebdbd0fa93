//! All sessions of a gate, for `SHOW PROCESSLIST`, `KILL`, `/debug/status` and the gate's end.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::Notify;

use super::activity::Activity;
use crate::pool::Pool;

/// Server connections on which the session may have a statement, for `KILL`.
#[derive(Debug, Default)]
pub struct Running(Mutex<Vec<(Arc<Pool>, u32)>>);

impl Running {
    pub fn add(&self, pool: &Arc<Pool>, thread_id: u32) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.push((pool.clone(), thread_id));
    }

    pub fn remove(&self, pool: &Arc<Pool>, thread_id: u32) {
        let mut list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.retain(|(p, id)| *id != thread_id || !Arc::ptr_eq(p, pool));
    }

    pub fn list(&self) -> Vec<(Arc<Pool>, u32)> {
        let list = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        list.clone()
    }
}

/// What others see of a session.
#[derive(Debug)]
pub struct SessionHandle {
    pub id: u32,
    /// The client's address.
    pub peer: String,
    pub running: Running,
    pub activity: Activity,
    ended: AtomicBool,
    wake: Notify,
    /// `KILL QUERY` came for the statement that runs.
    interrupted: AtomicBool,
    interrupt: Notify,
    busy: AtomicBool,
    /// Milliseconds since the session began at which it turned busy or idle.
    changed_at: AtomicU64,
    began: Instant,
    text: Mutex<Texts>,
}

#[derive(Debug, Default)]
struct Texts {
    user: String,
    program: Option<String>,
    target: String,
    /// The template of the current or last statement: without literals.
    statement: Option<Arc<str>>,
    /// The hold that the statement waits for.
    held_by: Option<String>,
}

/// A moment of a session.
#[derive(Debug, Clone)]
pub struct SessionInfo {
    pub user: String,
    pub program: Option<String>,
    pub target: String,
    /// Of the statement that runs.
    pub statement: Option<String>,
    /// How long it has been running, or idle.
    pub since: Duration,
    /// The hold that the statement waits for.
    pub held_by: Option<String>,
}

impl SessionHandle {
    fn texts(&self) -> std::sync::MutexGuard<'_, Texts> {
        self.text.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn set_user(&self, user: &str, program: Option<String>) {
        let mut texts = self.texts();
        texts.user = user.to_owned();
        texts.program = program;
    }

    pub fn user(&self) -> String {
        self.texts().user.clone()
    }

    pub fn set_target(&self, target: String) {
        self.texts().target = target;
    }

    pub fn set_statement(&self, statement: Option<Arc<str>>) {
        self.texts().statement = statement;
    }

    pub fn set_held_by(&self, hold: Option<String>) {
        self.texts().held_by = hold;
    }

    pub fn busy(&self, busy: bool) {
        self.busy.store(busy, Ordering::Relaxed);
        if busy {
            self.interrupted.store(false, Ordering::Relaxed);
        }
        let at = self.began.elapsed().as_millis() as u64;
        self.changed_at.store(at, Ordering::Relaxed);
    }

    pub fn is_busy(&self) -> bool {
        self.busy.load(Ordering::Relaxed)
    }

    pub fn info(&self) -> SessionInfo {
        let texts = self.texts();
        let changed = Duration::from_millis(self.changed_at.load(Ordering::Relaxed));
        let statement = texts.statement.as_deref().map(str::to_owned);
        SessionInfo {
            user: texts.user.clone(),
            program: texts.program.clone(),
            target: texts.target.clone(),
            statement: statement.filter(|_| self.is_busy()),
            since: self.began.elapsed().saturating_sub(changed),
            held_by: texts.held_by.clone(),
        }
    }

    /// Ends the session: at once when it is idle, else after its statement.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        // A permit is kept if nobody waits.
        self.wake.notify_one();
    }

    pub fn is_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Interrupts what the session waits for at the gate. What runs on servers must be interrupted
    /// there.
    pub fn interrupt(&self) {
        self.interrupted.store(true, Ordering::Release);
        self.interrupt.notify_waiters();
    }

    /// Waits until the current statement is interrupted.
    pub async fn interrupted(&self) {
        loop {
            let notified = self.interrupt.notified();
            if self.interrupted.load(Ordering::Acquire) {
                return;
            }
            notified.await;
        }
    }

    /// Waits until the session is to end.
    pub async fn ended(&self) {
        self.wake.notified().await;
    }
}

/// See the module.
#[derive(Debug, Default)]
pub struct Registry {
    next_id: AtomicU32,
    count: AtomicUsize,
    sessions: Mutex<BTreeMap<u32, Arc<SessionHandle>>>,
}

impl Registry {
    fn lock(&self) -> std::sync::MutexGuard<'_, BTreeMap<u32, Arc<SessionHandle>>> {
        self.sessions.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn add(&self, peer: String) -> Arc<SessionHandle> {
        let id = self.next_id.fetch_add(1, Ordering::Relaxed).wrapping_add(1);
        let handle = Arc::new(SessionHandle {
            id,
            peer,
            running: Running::default(),
            activity: Activity::default(),
            interrupted: AtomicBool::new(false),
            interrupt: Notify::new(),
            ended: AtomicBool::new(false),
            wake: Notify::new(),
            busy: AtomicBool::new(true),
            changed_at: AtomicU64::new(0),
            began: Instant::now(),
            text: Mutex::default(),
        });
        self.count.fetch_add(1, Ordering::Relaxed);
        self.lock().insert(id, handle.clone());
        handle
    }

    pub fn remove(&self, id: u32) {
        if self.lock().remove(&id).is_some() {
            self.count.fetch_sub(1, Ordering::Relaxed);
        }
    }

    pub fn find(&self, id: u32) -> Option<Arc<SessionHandle>> {
        self.lock().get(&id).cloned()
    }

    pub fn list(&self) -> Vec<Arc<SessionHandle>> {
        self.lock().values().cloned().collect()
    }

    pub fn count(&self) -> usize {
        self.count.load(Ordering::Relaxed)
    }
}
