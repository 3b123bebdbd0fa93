//! Changes on one target: takes the transactions of the source as they come, in groups that
//! [`super::commit`] writes, records positions that bring no rows, and stops where `stop_at` says.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use vtplan_state::store::unix_millis;

use super::commit::{Committer, Transaction};
use crate::flavor::literal;
use crate::stream::error::StreamError;
use crate::stream::position::Position;

/// A group's most, in bytes of statements and in transactions.
const GROUP_BYTES: usize = 2 << 20;
const GROUP_TRANSACTIONS: usize = 1000;
/// How often `stop_at` is looked at while nothing is committed.
const LOOK: Duration = Duration::from_millis(20);
/// How often while the stream stands still: somebody waits.
const LOOK_STANDING: Duration = Duration::from_millis(10);
/// How long a position without rows may go unrecorded, when nobody waits for it.
const IDLE_COMMIT: Duration = Duration::from_millis(100);
/// How often it is tried whether parked rows find their places, when nobody waits for them and when
/// somebody does.
const SETTLE: Duration = Duration::from_millis(50);
const SETTLE_SOON: Duration = Duration::from_millis(5);

/// What comes to a target.
#[derive(Debug)]
pub enum Item {
    /// A source transaction. It may have nothing for this target.
    Transaction(Transaction),
    /// There is nothing more at the source now.
    Idle,
}

/// What an applier tells.
#[derive(Debug, Clone, Default)]
pub struct Applied {
    pub position: String,
    /// Milliseconds behind what the source has told; `None`: unchanged.
    pub lag_ms: Option<u64>,
    pub rows: u64,
    pub bytes: u64,
    /// Stopped by `stop_at`.
    pub stopped: bool,
    /// What it waits for; empty: nothing.
    pub message: String,
}

pub type Told = Arc<dyn Fn(Applied) + Send + Sync>;

/// Applies to one target.
pub struct Applier {
    pub committer: Committer,
    /// Whether `stop_at` is followed: once all rows are copied.
    pub heeds_stop: bool,
    /// Whether somebody waits for positions.
    pub hurry: watch::Receiver<bool>,
    pub told: Told,
}

/// What an applier has to do.
struct Queue {
    items: mpsc::UnboundedReceiver<Item>,
    pending: VecDeque<Transaction>,
    bytes: usize,
    closed: bool,
    /// Everything was taken from the source.
    idle: bool,
}

impl Queue {
    fn push(&mut self, item: Item) {
        match item {
            Item::Transaction(transaction) => {
                self.bytes += transaction.bytes();
                self.pending.push_back(transaction);
                self.idle = false;
            }
            Item::Idle => self.idle = true,
        }
    }

    /// Takes what has come, up to a group's size.
    fn fill(&mut self) {
        while self.bytes < GROUP_BYTES && self.pending.len() < GROUP_TRANSACTIONS {
            match self.items.try_recv() {
                Ok(item) => self.push(item),
                Err(mpsc::error::TryRecvError::Disconnected) => {
                    self.closed = true;
                    return;
                }
                Err(mpsc::error::TryRecvError::Empty) => return,
            }
        }
    }

    async fn wait(&mut self, time: Duration) {
        match timeout(time, self.items.recv()).await {
            Ok(Some(item)) => self.push(item),
            Ok(None) => self.closed = true,
            Err(_) => {}
        }
    }

    /// The next group: what `stop` allows of what is pending.
    fn group(&mut self, stop: Option<&Position>) -> Vec<Transaction> {
        let mut group = Vec::new();
        let mut bytes = 0;
        while let Some(first) = self.pending.front() {
            let size = first.bytes();
            let full = bytes > 0 && bytes + size > GROUP_BYTES;
            if full || stop.is_some_and(|stop| !stop.contains_gtid(&first.gtid)) {
                break;
            }
            bytes += size;
            self.bytes -= size;
            group.extend(self.pending.pop_front());
        }
        group
    }
}

impl Applier {
    /// Applies what comes, until there is nothing more to come; then the position is recorded.
    /// Gives itself back, to go on with something else.
    pub async fn run(mut self, items: mpsc::UnboundedReceiver<Item>) -> Result<Self, StreamError> {
        let mut queue = Queue {
            items,
            pending: VecDeque::new(),
            bytes: 0,
            closed: false,
            idle: false,
        };
        let mut stop: Option<String> = None;
        let mut looked = Instant::now();
        let mut settled = looked;
        let mut unrecorded: Option<Instant> = None;
        loop {
            queue.fill();
            if queue.pending.is_empty() && !queue.closed {
                let hurry = *self.hurry.borrow();
                let left = unrecorded.map(|since| {
                    let most = if hurry { Duration::ZERO } else { IDLE_COMMIT };
                    most.saturating_sub(since.elapsed())
                });
                let most = match hurry && self.committer.parks() {
                    true => SETTLE_SOON,
                    false => LOOK,
                };
                queue.wait(left.unwrap_or(LOOK).min(most)).await;
                queue.fill();
            }
            self.settle(&mut settled).await?;
            if self.heeds_stop && looked.elapsed() >= LOOK {
                stop = self.committer.look().await?;
                looked = Instant::now();
            }
            if let Some(at) = stop.clone().filter(|_| self.heeds_stop)
                && self.is_at(&at, queue.pending.front())?
            {
                stop = self.stand_still().await?;
                looked = Instant::now();
                unrecorded = None;
                continue;
            }
            let limit = match stop.as_deref() {
                Some(at) if self.heeds_stop && !at.is_empty() => Some(self.parse(at)?),
                _ => None,
            };
            let group = queue.group(limit.as_ref());
            let mut moved = false;
            let mut work = Vec::with_capacity(group.len());
            for transaction in group {
                if self.committer.position.contains_gtid(&transaction.gtid) {
                    continue;
                }
                moved = true;
                work.push(transaction);
            }
            if moved {
                unrecorded.get_or_insert_with(Instant::now);
            }
            let hurry = *self.hurry.borrow();
            let due = unrecorded.is_some_and(|since| hurry || since.elapsed() >= IDLE_COMMIT);
            let has_ops = work.iter().any(|t| t.statements() > 0);
            let last = work.last().map(|t| t.timestamp);
            if has_ops
                || (due && queue.pending.is_empty())
                || (queue.closed && queue.pending.is_empty())
            {
                if unrecorded.is_some() {
                    let done = self.committer.commit(&work).await?;
                    stop = done.stop;
                    looked = Instant::now();
                    unrecorded = None;
                    self.tell(done.changes, done.bytes, lag(&queue, last), false);
                }
            } else {
                for transaction in &work {
                    self.committer.position.advance(&transaction.gtid);
                    self.committer.applied.remove(&transaction.gtid.to_string());
                }
                if queue.idle && queue.pending.is_empty() {
                    self.tell(0, 0, Some(0), false);
                    queue.idle = false;
                }
            }
            if queue.closed && queue.pending.is_empty() {
                return Ok(self);
            }
        }
    }

    /// Lets rows that wait for rows of other streams find their places.
    async fn settle(&mut self, settled: &mut Instant) -> Result<(), StreamError> {
        let often = match *self.hurry.borrow() {
            true => SETTLE_SOON,
            false => SETTLE,
        };
        if self.committer.parks() && settled.elapsed() >= often {
            self.committer.settle().await?;
            *settled = Instant::now();
            if let Some(overdue) = self.committer.overdue()
                && self.heeds_stop
            {
                return Err(overdue);
            }
            self.tell(0, 0, None, false);
        }
        Ok(())
    }

    fn parse(&self, position: &str) -> Result<Position, StreamError> {
        Position::parse(self.committer.position.flavor(), position)
    }

    /// Whether `stop_at` says to stand still here. `next` is what would be applied.
    fn is_at(&self, stop: &str, next: Option<&Transaction>) -> Result<bool, StreamError> {
        if stop.is_empty() {
            return Ok(true);
        }
        let stop = self.parse(stop)?;
        let beyond = next.is_none_or(|t| !stop.contains_gtid(&t.gtid));
        Ok(self.committer.position.contains(&stop) && beyond && !self.committer.parks())
    }

    /// Records that the stream stands still, and waits until it may go on. Returns `stop_at` as it
    /// is then.
    async fn stand_still(&mut self) -> Result<Option<String>, StreamError> {
        let stood = format!(
            "state = 'stopped', pos = {}",
            literal(&self.committer.position.to_string())
        );
        self.committer.set("standing still", &stood).await?;
        self.tell(0, 0, None, true);
        loop {
            sleep(LOOK_STANDING).await;
            let stop = self.committer.look().await?;
            let stays = match stop.as_deref() {
                None => false,
                Some("") => true,
                Some(at) => {
                    self.committer.position.contains(&self.parse(at)?) && !self.committer.parks()
                }
            };
            if !stays {
                let going = "state = 'following'";
                // Whoever asks for a stop just now still reads `stopped`, and must be right.
                let stop = self.committer.set("going on", going).await?;
                self.tell(0, 0, None, false);
                return Ok(stop);
            }
        }
    }

    fn tell(&self, rows: u64, bytes: u64, lag_ms: Option<u64>, stopped: bool) {
        (self.told)(Applied {
            lag_ms,
            rows,
            bytes,
            stopped,
            ..self.state()
        });
    }

    fn state(&self) -> Applied {
        Applied {
            position: self.committer.position.to_string(),
            message: self.committer.waits_for(),
            ..Applied::default()
        }
    }
}

/// How far behind a target is that has applied a transaction of that time.
fn lag(queue: &Queue, timestamp: Option<u64>) -> Option<u64> {
    if queue.pending.is_empty() && queue.items.is_empty() {
        return Some(0);
    }
    let committed = timestamp?.saturating_mul(1000);
    Some(unix_millis().saturating_sub(committed))
}
