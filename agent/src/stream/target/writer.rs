//! Chunks of copied rows on one target: several connections insert at the same time, and commit in
//! the order of the chunks, each with the key up to which the target then has everything. Rows
//! whose places rows of other streams have are parked ([`super::parked`]).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use tokio::select;
use tokio::sync::{Mutex, OwnedSemaphorePermit, mpsc, watch};
use tokio::task::JoinSet;

use super::commit::{is_duplicate, is_passing};
use super::connection::Connection;
use super::inserts::{Form, Inserts};
use super::parked;
use super::tables::MovedTable;
use super::vt_tables::Claim;
use super::{MOST_PARKED, duplicate};
use crate::conductor::failpoint;
use crate::flavor::literal;
use crate::stream::error::StreamError;
use crate::stream::server::ServerAddress;

/// Connections to one target.
const WRITERS: usize = 4;
/// ER_NOT_ALLOWED_COMMAND, ER_CLIENT_LOCAL_FILES_DISABLED, ER_LOAD_INFILE_CAPABILITY_DISABLED: the
/// server's `local_infile` is off.
const NO_LINES: [u16; 3] = [1148, 3948, 4166];
/// How often a chunk that the server rolled back for another transaction's sake is tried.
const ATTEMPTS: u32 = 20;

/// Rows of one table on their way to one target.
#[derive(Debug)]
pub struct Chunk {
    pub table: Arc<str>,
    /// Which it is of the tables that move.
    pub table_number: usize,
    pub inserts: Inserts,
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
    tables: Arc<[MovedTable]>,
    /// Whether other streams write to the target too.
    shared_target: bool,
    /// By table: whether lines came to nothing, so that no more are sent.
    no_lines: Box<[AtomicBool]>,
}

impl Writers {
    pub fn start(
        address: ServerAddress,
        shard: String,
        claim: Claim,
        tables: Arc<[MovedTable]>,
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
            no_lines: tables.iter().map(|_| AtomicBool::new(false)).collect(),
            tables,
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
        chunk.inserts.text = Vec::new();
        chunk.inserts.starts = Vec::new();
        (shared.told)(&chunk);
    }
}

/// What came of an attempt.
enum Sent {
    Committed,
    /// The server does not take lines, or not these; the transaction is open.
    LinesInVain,
}

struct ChunkWriter<'a> {
    shared: &'a Shared,
    conn: &'a mut Option<Connection>,
    committed: &'a mut watch::Receiver<u64>,
}

impl ChunkWriter<'_> {
    async fn write(&mut self, number: u64, chunk: &mut Chunk) -> Result<(), StreamError> {
        let mut attempts = 0;
        // Whether rows of other streams are in the way.
        let mut crowded = false;
        let given_up = &self.shared.no_lines[chunk.table_number];
        if given_up.load(Ordering::Relaxed) {
            self.as_insert(chunk);
        }
        let sent_lines = chunk.inserts.form == Form::Lines;
        loop {
            let made = match crowded {
                false => self.attempt(number, chunk).await,
                true => {
                    self.as_insert(chunk);
                    self.attempt_parking(number, chunk).await
                }
            };
            let error = match made {
                Ok(Sent::Committed) => {
                    // An INSERT has no trouble with what is one for lines.
                    if sent_lines && chunk.inserts.form == Form::Insert && !crowded {
                        given_up.store(true, Ordering::Relaxed);
                    }
                    return Ok(());
                }
                Ok(Sent::LinesInVain) => {
                    self.as_insert(chunk);
                    if let Some(conn) = self.conn.as_mut() {
                        conn.run("undoing a chunk", "ROLLBACK").await?;
                    }
                    continue;
                }
                Err(error) => error,
            };
            attempts += 1;
            let again = if is_duplicate(&error) {
                if !self.shared.shared_target || crowded {
                    return Err(duplicate(&chunk.table, &self.shared.shard, error));
                }
                crowded = true;
                true
            } else {
                is_passing(&error) && attempts < ATTEMPTS
            };
            if !again {
                return Err(error);
            }
            if let Some(conn) = self.conn.as_mut() {
                conn.run("undoing a chunk", "ROLLBACK").await?;
            }
        }
    }

    fn as_insert(&self, chunk: &mut Chunk) {
        if chunk.inserts.form == Form::Lines {
            let table = &self.shared.tables[chunk.table_number];
            chunk.inserts = table.as_insert(&chunk.inserts);
        }
    }

    async fn attempt(&mut self, number: u64, chunk: &Chunk) -> Result<Sent, StreamError> {
        let what = format!("copying rows of `{}`", chunk.table);
        let shared = self.shared;
        let conn = connection(self.conn, &shared.address).await?;
        let mut packet = Vec::new();
        match chunk.inserts.form {
            _ if chunk.inserts.rows == 0 => packet.extend_from_slice(b"BEGIN;"),
            Form::Lines => {
                let table = &shared.tables[chunk.table_number];
                conn.run(&what, "BEGIN").await?;
                match conn.load(&what, table.load(), &chunk.inserts.text).await {
                    Ok(done) if done.warnings == 0 && done.affected == chunk.inserts.rows => {}
                    Ok(_) => return Ok(Sent::LinesInVain),
                    Err(error) if error.code().is_some_and(|c| NO_LINES.contains(&c)) => {
                        return Ok(Sent::LinesInVain);
                    }
                    Err(error) => return Err(error),
                }
            }
            Form::Insert => {
                packet.extend_from_slice(b"BEGIN;");
                packet.extend_from_slice(&chunk.inserts.text);
                packet.push(b';');
                if *self.committed.borrow() != number {
                    packet.pop();
                    conn.run(&what, std::mem::take(&mut packet)).await?;
                }
            }
        }
        // An error: the sender is in `shared`, which outlives this.
        let _ = self.committed.wait_for(|done| *done >= number).await;
        failpoint::hit("stream.before-chunk-commit").await;
        let end = format!("{}; {}; COMMIT", shared.claim.check(), shared.record(chunk));
        packet.extend_from_slice(end.as_bytes());
        conn.run(&what, packet).await?;
        Ok(Sent::Committed)
    }

    /// The same, row by row where it has to be, when it is this chunk's turn: rows that have no
    /// place are parked.
    async fn attempt_parking(&mut self, number: u64, chunk: &Chunk) -> Result<Sent, StreamError> {
        // Nothing is locked while this waits: whoever is to be waited for may need it.
        let _ = self.committed.wait_for(|done| *done >= number).await;
        let (shared, what) = (self.shared, format!("copying rows of `{}`", chunk.table));
        let conn = connection(self.conn, &shared.address).await?;
        let table = &shared.tables[chunk.table_number];
        parked::make(&shared.claim, conn, table).await?;
        let begin = format!("BEGIN; {}", shared.claim.check());
        conn.run(&what, begin).await?;
        let rows = chunk.inserts.starts.len();
        let mut parked = 0;
        // Ranges of rows, the next at the end. Those with a row that has no place are halved.
        let mut ranges = vec![(0, rows)];
        while let Some((start, end)) = ranges.pop() {
            let range = start..end;
            if range.is_empty() {
                continue;
            }
            let insert = chunk.inserts.some(range.clone());
            match conn.run(&what, insert).await.map_err(StreamError::from) {
                Ok(_) => {}
                Err(error) if !is_duplicate(&error) => return Err(error),
                Err(error) if range.len() == 1 => {
                    parked += 1;
                    if parked > MOST_PARKED {
                        return Err(error);
                    }
                    let insert = chunk.inserts.some(range);
                    let insert = parked::redirected_insert(&shared.claim, table, &insert);
                    conn.run(&what, insert).await?;
                }
                Err(_) => {
                    let half = start + range.len() / 2;
                    ranges.extend([(half, end), (start, half)]);
                }
            }
        }
        failpoint::hit("stream.before-chunk-commit").await;
        let count = format!("parked = parked + {parked}");
        let end = format!(
            "{}; {}; COMMIT",
            shared.claim.update(&count),
            shared.record(chunk)
        );
        conn.run(&what, end).await?;
        Ok(Sent::Committed)
    }
}

async fn connection<'a>(
    conn: &'a mut Option<Connection>,
    address: &ServerAddress,
) -> Result<&'a mut Connection, StreamError> {
    match conn {
        Some(conn) => Ok(conn),
        None => Ok(conn.insert(Connection::open(address).await?)),
    }
}

impl Shared {
    fn record(&self, chunk: &Chunk) -> String {
        let mut set = format!(
            "rows_copied = rows_copied + {}, bytes_copied = bytes_copied + {}, chunk = {}",
            chunk.inserts.rows, chunk.inserts.bytes, chunk.number
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
