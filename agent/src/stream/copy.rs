//! The copy: the rows of a snapshot, read once in the order of their keys, written to each target in
//! chunks by several connections. All targets have chunks with the same ends, so that after a
//! crash they can be brought to the same key by reading a few chunks again for those that were
//! behind.

use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::sync::{Semaphore, watch};
use tokio::time::Instant;

use super::error::StreamError;
use super::row::Cell;
use super::server::ServerAddress;
use super::source::SourceSnapshot;
use super::target::inserts::{Form, Inserts};
use super::target::tables::MovedTable;
use super::target::vt_tables::{Claim, CopyState, encode_key};
use super::target::writer::{Chunk, Committed, Writers};
use super::throttle::{self, Seen};

/// What of memory rows may take on their way from the source to the targets, bytes of statements.
const MEMORY: usize = 32 << 20;
/// A chunk's size on each target, about, bytes of values.
const CHUNK: usize = 1 << 20;
/// Chunks of all targets together are not larger than this.
const BATCH: usize = 6 << 20;
/// A snapshot is not used for longer: while it is open the source keeps every older version of
/// every row.
pub const SNAPSHOT_AGE: Duration = Duration::from_secs(300);

/// A target while it is copied to.
pub struct CopyTarget {
    pub address: ServerAddress,
    pub shard: String,
    pub claim: Claim,
    /// By table, in the order of the tables.
    pub states: Vec<CopyState>,
    pub told: Committed,
}

/// What copying needs.
pub struct Copying<'a> {
    pub tables: &'a Arc<[MovedTable]>,
    pub snapshot: &'a mut SourceSnapshot,
    pub targets: &'a mut [CopyTarget],
    /// Whether other streams write to the targets too.
    pub shared_targets: bool,
    pub seen: watch::Receiver<Seen>,
    /// When the snapshot is too old.
    pub until: Instant,
}

/// Rows that are next to be read, and for whom.
struct Segment {
    targets: Vec<usize>,
    after: Option<Vec<Cell>>,
    /// Where it ends before the table does, and the number of the chunk that ended there.
    up_to: Option<(Vec<Cell>, u64)>,
    number: u64,
}

impl Copying<'_> {
    /// Copies until every table is done (`true`) or the snapshot is too old. What it has copied by
    /// then is committed, and stands in the targets' states.
    pub async fn run(mut self) -> Result<bool, StreamError> {
        let mut writers: Vec<Writers> = self
            .targets
            .iter()
            .map(|target| {
                Writers::start(
                    target.address.clone(),
                    target.shard.clone(),
                    target.claim.clone(),
                    self.tables.clone(),
                    self.shared_targets,
                    target.told.clone(),
                )
            })
            .collect();
        let memory = Arc::new(Semaphore::new(MEMORY));
        let mut all = true;
        'tables: for table in 0..self.tables.len() {
            while let Some(segment) = next_segment(self.targets, table) {
                all = self
                    .copy_segment(table, segment, &mut writers, &memory)
                    .await?;
                if !all {
                    break 'tables;
                }
            }
        }
        for writers in &mut writers {
            writers.finish().await?;
        }
        Ok(all)
    }

    /// `false`: it ended because of the snapshot's age.
    async fn copy_segment(
        &mut self,
        table: usize,
        segment: Segment,
        writers: &mut [Writers],
        memory: &Arc<Semaphore>,
    ) -> Result<bool, StreamError> {
        let moved = &self.tables[table];
        let name: Arc<str> = moved.name().into();
        let up_to = segment.up_to.as_ref().map(|(key, _)| key.as_slice());
        let mut rows = self
            .snapshot
            .read(&moved.source, segment.after.as_deref(), up_to)
            .await?;
        let batch_bytes = (CHUNK * self.targets.len()).min(BATCH);
        let mut number = segment.number;
        let mut last = segment.after.clone();
        let mut whole = true;
        loop {
            if Instant::now() >= self.until {
                whole = false;
                break;
            }
            select! {
                () = throttle::yield_to(&mut self.seen) => {}
                // The snapshot does not wait for ever.
                () = tokio::time::sleep_until(self.until) => continue,
            }
            let Some(batch) = rows.next_batch(batch_bytes).await? else {
                break;
            };
            let Some(row) = batch.last() else {
                continue;
            };
            let key = row.pick(&moved.source.key);
            if segment.up_to.is_none() {
                number += 1;
            }
            let inserts = moved.inserts(&batch, self.targets.len())?;
            drop(batch);
            for (target, inserts) in inserts.into_iter().enumerate() {
                if inserts.rows == 0 || !segment.targets.contains(&target) {
                    continue;
                }
                let size = u32::try_from(inserts.text.len().min(MEMORY / 2)).unwrap_or(u32::MAX);
                let permit = memory.clone().acquire_many_owned(size);
                // It is never closed.
                let permit = permit.await.ok();
                let mut chunk = chunk(&name, table, inserts, Some(&key), number);
                chunk.permit = permit;
                note(&mut self.targets[target].states[table], &chunk, &key);
                writers[target].send(chunk).await?;
            }
            last = Some(key);
        }
        // All are brought to the same key, also those that had no rows in the last chunks.
        let done = whole && segment.up_to.is_none();
        let (end, number) = match segment.up_to {
            Some((key, number)) if whole => (Some(key), number),
            _ => (last, number),
        };
        for &target in &segment.targets {
            let state = &mut self.targets[target].states[table];
            let mut chunk = chunk(
                &name,
                table,
                Inserts::new(Form::Insert),
                end.as_deref(),
                number,
            );
            chunk.done = done;
            if let Some(key) = &end {
                note(state, &chunk, key);
            }
            state.done = done;
            writers[target].send(chunk).await?;
        }
        Ok(whole)
    }
}

/// What is to be read next of a table, and for which targets. Targets that are behind the one
/// that is furthest are brought to where it is, one at a time.
fn next_segment(targets: &[CopyTarget], table: usize) -> Option<Segment> {
    let states = targets.iter().map(|t| &t.states[table]).enumerate();
    let open: Vec<(usize, &CopyState)> = states.filter(|(_, state)| !state.done).collect();
    let (_, furthest) = open.iter().max_by_key(|(_, state)| state.chunk)?;
    let behind = open.iter().find(|(_, state)| state.chunk < furthest.chunk);
    Some(match (behind, &furthest.lastpk) {
        (Some((target, state)), Some(key)) => Segment {
            targets: vec![*target],
            after: state.lastpk.clone(),
            up_to: Some((key.clone(), furthest.chunk)),
            number: state.chunk,
        },
        _ => Segment {
            targets: open.iter().map(|(target, _)| *target).collect(),
            after: furthest.lastpk.clone(),
            up_to: None,
            number: furthest.chunk,
        },
    })
}

fn chunk(
    table: &Arc<str>,
    table_number: usize,
    inserts: Inserts,
    key: Option<&[Cell]>,
    number: u64,
) -> Chunk {
    Chunk {
        table: table.clone(),
        table_number,
        inserts,
        lastpk: key.map(encode_key),
        number,
        done: false,
        permit: None,
    }
}

fn note(state: &mut CopyState, chunk: &Chunk, key: &[Cell]) {
    state.lastpk = Some(key.to_vec());
    state.chunk = chunk.number;
    state.rows_copied += chunk.inserts.rows;
    state.bytes_copied += chunk.inserts.bytes;
}
