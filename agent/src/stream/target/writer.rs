//! Chunks of copied rows on one target: several connections insert at the same time, and commit in
//! the order of the chunks, each with the key up to which the target then has everything.

use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::sync::{Mutex, OwnedSemaphorePermit, mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep};

use super::connection::Connection;
use super::vt_tables::Claim;
use super::{COPY_DUPLICATE_PATIENCE, DUPLICATE, duplicate};
use crate::conductor::failpoint;
use crate::flavor::literal;
use crate::stream::error::StreamError;
use crate::stream::server::ServerAddress;

/// Connections to one target.
const WRITERS: usize = 4;
/// How often a chunk that the server rolled back for another transaction's sake is tried.
const ATTEMPTS: u32 = 20;

/// Rows of one table on their way to one target.
#[derive(Debug)]
pub struct Chunk {
    pub table: Arc<str>,
    /// The INSERT; empty if there are no rows.
    pub insert: Vec<u8>,
    pub rows: u64,
    pub bytes: u64,
    /// The key up to which the target has all rows then, as [`super::vt_tables::encode_key`] writes
    /// it; `None`: it stays as it is.
    pub lastpk: Option<String>,
    /// [`super::vt_tables::CopyState::chunk`].
    pub number: u64,
    /// The table's last.
    pub done: bool,
    /// What it takes of the memory that streams may use; given back when it is committed.
    pub permit: Option<OwnedSemaphorePermit>,
}

/// Told when a chunk is committed: which target, and the chunk without its rows.
pub type Committed = Arc<dyn Fn(&Chunk) + Send + Sync>;

/// The writers of one target. They end when they are dropped, in the middle of what they do.
pub struct Writers {
    chunks: Option<mpsc::Sender<(u64, Chunk)>>,
    next: u64,
    tasks: JoinSet<Result<(), StreamError>>,
}

struct Shared {
    address: ServerAddress,
    shard: String,
    claim: Claim,
    chunks: Mutex<mpsc::Receiver<(u64, Chunk)>>,
    /// How many chunks are committed.
    committed: watch::Sender<u64>,
    told: Committed,
    /// Whether other streams write to the target too.
    shared_target: bool,
}

impl Writers {
    pub fn start(
        address: ServerAddress,
        shard: String,
        claim: Claim,
        shared_target: bool,
        told: Committed,
    ) -> Self {
        let (chunks, receiver) = mpsc::channel(WRITERS);
        let shared = Arc::new(Shared {
            address,
            shard,
            claim,
            chunks: Mutex::new(receiver),
            committed: watch::Sender::new(0),
            told,
            shared_target,
        });
        let mut tasks = JoinSet::new();
        for _ in 0..WRITERS {
            tasks.spawn(write(shared.clone()));
        }
        Self {
            chunks: Some(chunks),
            next: 0,
            tasks,
        }
    }

    /// Hands a chunk over; waits while there are too many.
    ///
    /// # Errors
    /// What made an earlier chunk fail.
    pub async fn send(&mut self, chunk: Chunk) -> Result<(), StreamError> {
        let number = self.next;
        self.next += 1;
        if let Some(chunks) = &self.chunks {
            select! {
                sent = chunks.send((number, chunk)) => if sent.is_ok() { return Ok(()) },
                Some(ended) = self.tasks.join_next() => flatten(ended)?,
            }
        }
        // All writers have ended, so one of them has failed.
        self.finish().await
    }

    /// Waits until all that was sent is committed.
    pub async fn finish(&mut self) -> Result<(), StreamError> {
        self.chunks = None;
        while let Some(ended) = self.tasks.join_next().await {
            flatten(ended)?;
        }
        Ok(())
    }
}

fn flatten(
    ended: Result<Result<(), StreamError>, tokio::task::JoinError>,
) -> Result<(), StreamError> {
    ended.unwrap_or_else(|e| Err(StreamError::Refused(format!("a writer was cut off: {e}"))))
}

async fn write(shared: Arc<Shared>) -> Result<(), StreamError> {
    let mut conn = None;
    let mut committed = shared.committed.subscribe();
    loop {
        // Taken in order, so whoever has the next to be committed waits for nobody.
        let taken = shared.chunks.lock().await.recv().await;
        let Some((number, mut chunk)) = taken else {
            return Ok(());
        };
        let mut writer = ChunkWriter {
            shared: &shared,
            conn: &mut conn,
            committed: &mut committed,
        };
        writer.write(number, &mut chunk).await?;
        shared.committed.send_replace(number + 1);
        chunk.insert = Vec::new();
        (shared.told)(&chunk);
    }
}

struct ChunkWriter<'a> {
    shared: &'a Shared,
    conn: &'a mut Option<Connection>,
    committed: &'a mut watch::Receiver<u64>,
}

impl ChunkWriter<'_> {
    async fn write(&mut self, number: u64, chunk: &mut Chunk) -> Result<(), StreamError> {
        let began = Instant::now();
        let mut attempts = 0;
        loop {
            let error = match self.attempt(number, chunk).await {
                Ok(()) => return Ok(()),
                Err(error) => error,
            };
            attempts += 1;
            let again = match error.code() {
                // ER_LOCK_WAIT_TIMEOUT, ER_LOCK_DEADLOCK.
                Some(1205 | 1213) => attempts < ATTEMPTS,
                Some(code) if DUPLICATE.contains(&code) => {
                    // Another stream may be about to delete the row, if it has moved from shard to
                    // shard on the source.
                    if !self.shared.shared_target {
                        return Err(duplicate(&chunk.table, &self.shared.shard, error));
                    }
                    if began.elapsed() > COPY_DUPLICATE_PATIENCE {
                        let error = duplicate(&chunk.table, &self.shared.shard, error);
                        return Err(StreamError::InTheWay(error.to_string()));
                    }
                    sleep(Duration::from_millis(200)).await;
                    true
                }
                _ => false,
            };
            if !again {
                return Err(error);
            }
            if let Some(conn) = self.conn.as_mut() {
                conn.run("undoing a chunk", "ROLLBACK").await?;
            }
        }
    }

    async fn attempt(&mut self, number: u64, chunk: &Chunk) -> Result<(), StreamError> {
        let what = format!("copying rows of `{}`", chunk.table);
        let conn = match self.conn.as_mut() {
            Some(conn) => conn,
            None => {
                let opened = Connection::open(&self.shared.address).await?;
                self.conn.insert(opened)
            }
        };
        let mut packet = b"BEGIN;".to_vec();
        packet.extend_from_slice(&chunk.insert);
        if *self.committed.borrow() != number && !chunk.insert.is_empty() {
            conn.run(&what, std::mem::take(&mut packet)).await?;
            // An error: the sender is in `shared`, which outlives this.
            let _ = self.committed.wait_for(|done| *done >= number).await;
        } else if !chunk.insert.is_empty() {
            packet.push(b';');
        } else {
            let _ = self.committed.wait_for(|done| *done >= number).await;
        }
        failpoint::hit("stream.before-chunk-commit").await;
        let end = format!(
            "{}; {}; COMMIT",
            self.shared.claim.check(),
            self.shared.record(chunk)
        );
        packet.extend_from_slice(end.as_bytes());
        conn.run(&what, packet).await?;
        Ok(())
    }
}

impl Shared {
    fn record(&self, chunk: &Chunk) -> String {
        let mut set = format!(
            "rows_copied = rows_copied + {}, bytes_copied = bytes_copied + {}, chunk = {}",
            chunk.rows, chunk.bytes, chunk.number
        );
        if let Some(lastpk) = &chunk.lastpk {
            set.push_str(&format!(", lastpk = {}", literal(lastpk)));
        }
        if chunk.done {
            set.push_str(", done = 1");
        }
        format!(
            "UPDATE _vt.copy_state SET {set} WHERE {} AND table_name = {}",
            self.claim.id.condition(),
            literal(&chunk.table)
        )
    }
}
