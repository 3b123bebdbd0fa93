//! What goes wrong, and to whom: drawn from one seeded generator.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::sync::watch;
use tokio::time::Instant;
use vtplan_state::model::UnixMillis;

/// What befalls one call.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fault {
    /// The process dies before the call is done.
    DieBefore,
    /// The process dies after it is done.
    DieAfter,
    /// It is not done, and the caller learns that it failed.
    Fail,
    /// It is done, and the caller learns that it failed.
    LoseReply,
    /// The process stands still before the call is done.
    PauseBefore(Duration),
    /// The process stands still after it is done.
    PauseAfter(Duration),
}

/// The source of all chance in a simulation.
pub struct Chance {
    rng: Mutex<StdRng>,
    faults: Mutex<Faults>,
}

struct Faults {
    until: Instant,
    per_mille: u32,
}

impl Chance {
    pub fn new(seed: u64) -> Self {
        Self {
            rng: Mutex::new(StdRng::seed_from_u64(seed)),
            faults: Mutex::new(Faults {
                until: Instant::now(),
                per_mille: 0,
            }),
        }
    }

    /// A number from `low` up to, not including, `high`.
    pub fn number(&self, low: u64, high: u64) -> u64 {
        let mut rng = self.rng.lock().unwrap_or_else(PoisonError::into_inner);
        rng.random_range(low..high)
    }

    pub fn happens(&self, per_mille: u32) -> bool {
        self.number(0, 1000) < u64::from(per_mille)
    }

    pub fn millis(&self, low: u64, high: u64) -> Duration {
        Duration::from_millis(self.number(low, high))
    }

    /// What the clock of a host says that was set a moment ago: clocks of hosts are wrong, and jump to
    /// and fro by up to a day.
    pub fn clock(&self, started: Instant) -> UnixMillis {
        const DAY: u64 = 24 * 3600 * 1000;
        let jump = match self.happens(250) {
            true => self.number(0, 2 * DAY),
            false => DAY,
        };
        let elapsed = u64::try_from(started.elapsed().as_millis()).unwrap_or(u64::MAX);
        elapsed.saturating_add(jump)
    }

    pub fn pick<'a, T>(&self, of: &'a [T]) -> &'a T {
        let at = usize::try_from(self.number(0, of.len() as u64)).unwrap_or(0);
        &of[at]
    }

    /// From now on for so long, so many of a thousand calls go wrong.
    pub fn make_trouble(&self, lasting: Duration, per_mille: u32) {
        let mut faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        *faults = Faults {
            until: Instant::now() + lasting,
            per_mille,
        };
    }

    pub fn trouble_now(&self) -> u32 {
        let faults = self.faults.lock().unwrap_or_else(PoisonError::into_inner);
        if Instant::now() < faults.until {
            faults.per_mille
        } else {
            0
        }
    }

    /// Whether a write to the store is done only long after it seems to have failed.
    pub fn is_late(&self) -> bool {
        let per_mille = self.trouble_now() / 8;
        per_mille > 0 && self.happens(per_mille)
    }

    pub fn fault(&self) -> Option<Fault> {
        let per_mille = self.trouble_now();
        if per_mille == 0 || !self.happens(per_mille) {
            return None;
        }
        Some(match self.number(0, 10) {
            0 => Fault::DieBefore,
            1 => Fault::DieAfter,
            2 | 3 => Fault::Fail,
            4..=7 => Fault::LoseReply,
            8 => Fault::PauseBefore(self.millis(100, 25_000)),
            _ => Fault::PauseAfter(self.millis(100, 25_000)),
        })
    }
}

/// A process that can die and stand still.
pub struct Process {
    dead: watch::Sender<bool>,
    paused_until: Mutex<Instant>,
}

impl Process {
    pub fn new() -> Arc<Self> {
        Arc::new(Self {
            dead: watch::Sender::new(false),
            paused_until: Mutex::new(Instant::now()),
        })
    }

    pub fn kill(&self) {
        self.dead.send_replace(true);
    }

    /// Completes when the process is dead.
    pub async fn died(&self) {
        let mut dead = self.dead.subscribe();
        // The sender lives as long as `self`.
        let _ = dead.wait_for(|dead| *dead).await;
    }

    pub fn pause(&self, time: Duration) {
        let mut until = self
            .paused_until
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        *until = (*until).max(Instant::now() + time);
    }

    /// Goes on when the process does: never, when it is dead.
    pub async fn breathe(&self) {
        loop {
            if *self.dead.borrow() {
                std::future::pending::<()>().await;
            }
            let until = *self
                .paused_until
                .lock()
                .unwrap_or_else(PoisonError::into_inner);
            if Instant::now() >= until {
                return;
            }
            tokio::time::sleep_until(until).await;
        }
    }

    /// Does `work` as a call of this process: it takes time, and may meet a fault.
    pub async fn call<T, E>(
        &self,
        chance: &Chance,
        failure: impl Fn() -> E,
        work: impl FnOnce() -> Result<T, E>,
    ) -> Result<T, E> {
        self.breathe().await;
        tokio::time::sleep(chance.millis(0, 4)).await;
        self.breathe().await;
        let fault = chance.fault();
        match fault {
            Some(Fault::DieBefore) => self.kill(),
            Some(Fault::Fail) => return Err(failure()),
            Some(Fault::PauseBefore(time)) => self.pause(time),
            _ => {}
        }
        self.breathe().await;
        let result = work();
        match fault {
            Some(Fault::DieAfter) => self.kill(),
            Some(Fault::LoseReply) => return Err(failure()),
            Some(Fault::PauseAfter(time)) => self.pause(time),
            _ => {}
        }
        self.breathe().await;
        result
    }
}
