//! Changes on one target: takes the transactions of the source as they come, in groups that
//! [`super::commit`] writes, records positions that bring no rows, and stops where `stop_at` says.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use vtplan_state::store::unix_millis;

use super::DUPLICATE_PATIENCE;
use super::commit::{Committer, Done, Transaction, is_duplicate};
use crate::flavor::literal;
use crate::stream::error::StreamError;
use crate::stream::position::Position;

/// A group's most, in bytes of statements and in transactions.
const GROUP_BYTES: usize = 2 << 20;
const GROUP_TRANSACTIONS: usize = 1000;
/// What is taken together at most to get past a row that is in the way, bytes.
const WAITING_BYTES: usize = 16 << 20;
/// How often `stop_at` is looked at while nothing is committed.
const LOOK: Duration = Duration::from_millis(50);
/// How long a position without rows may go unrecorded, when nobody waits for it.
const IDLE_COMMIT: Duration = Duration::from_millis(100);

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
                self.bytes += transaction.ops.text.len();
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
            let size = first.ops.text.len();
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
        let mut unrecorded: Option<Instant> = None;
        loop {
            queue.fill();
            if queue.pending.is_empty() && !queue.closed {
                let hurry = *self.hurry.borrow();
                let left = unrecorded.map(|since| {
                    let most = if hurry { Duration::ZERO } else { IDLE_COMMIT };
                    most.saturating_sub(since.elapsed())
                });
                queue.wait(left.unwrap_or(LOOK).min(LOOK)).await;
                queue.fill();
            }
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
            let has_ops = work.iter().any(|t| !t.ops.list.is_empty());
            let last = work.last().map(|t| t.timestamp);
            if has_ops
                || (due && queue.pending.is_empty())
                || (queue.closed && queue.pending.is_empty())
            {
                if unrecorded.is_some() {
                    let done = match self.committer.commit(&work).await {
                        Err(error) if is_duplicate(&error) && self.committer.is_shared() => {
                            self.make_way(work, &mut queue, limit.as_ref()).await?
                        }
                        done => done?,
                    };
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

    /// Applies transactions that meet a row that is in their way, and that may belong to another
    /// stream: one that is behind, and will delete it; or one that is ahead, and inserted it after
    /// this stream deletes it, in transactions that are yet to come here. So they are tried alone,
    /// then together with more and more of those that follow, of which only the outcome counts.
    async fn make_way(
        &mut self,
        work: Vec<Transaction>,
        queue: &mut Queue,
        limit: Option<&Position>,
    ) -> Result<Done, StreamError> {
        let mut waiting = VecDeque::from(work);
        let mut since = Instant::now();
        let mut total = Done::default();
        while !waiting.is_empty() {
            let mut size = 1;
            let stuck = loop {
                let count = size.min(waiting.len());
                let some = &waiting.make_contiguous()[..count];
                match self.committer.commit_net(some).await {
                    Ok(done) => {
                        waiting.drain(..count);
                        since = Instant::now();
                        total.changes += done.changes;
                        total.bytes += done.bytes;
                        total.stop = done.stop;
                        break None;
                    }
                    Err(error) if is_duplicate(&error) => {
                        if count == waiting.len() {
                            break Some(error);
                        }
                        size *= 2;
                    }
                    Err(error) => return Err(error),
                }
            };
            let Some(error) = stuck else {
                continue;
            };
            if since.elapsed() > DUPLICATE_PATIENCE {
                return Err(self.committer.name_duplicate(&waiting[0], error));
            }
            (self.told)(Applied {
                message: format!("waiting for another stream: {error}"),
                ..self.state()
            });
            queue.wait(Duration::from_millis(20)).await;
            queue.fill();
            let bytes: usize = waiting.iter().map(|t| t.ops.text.len()).sum();
            if bytes < WAITING_BYTES {
                let more = queue.group(limit);
                let known = &self.committer.position;
                waiting.extend(more.into_iter().filter(|t| !known.contains_gtid(&t.gtid)));
            }
        }
        Ok(total)
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
        Ok(self.committer.position.contains(&stop) && beyond)
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
            sleep(LOOK).await;
            let stop = self.committer.look().await?;
            let stays = match stop.as_deref() {
                None => false,
                Some("") => true,
                Some(at) => self.committer.position.contains(&self.parse(at)?),
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
