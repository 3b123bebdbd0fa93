//! Following: the transactions of the source's binlog, read once for all targets, each of which
//! applies what is its own and passes over what it has.

use std::path::Path;
use std::sync::Arc;

use tokio::select;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinSet;

use super::error::StreamError;
use super::position::Position;
use super::source::{SourceEvent, SourceServer, Transaction};
use super::target::apply::{Applier, Item, Told};
use super::target::commit::{self, Committer};
use super::target::spill::Spill;
use super::target::tables::{MovedTable, Ops, Present};
use super::throttle::{self, Seen};

/// What of memory changes may take on their way from the source to the targets, bytes.
const MEMORY: usize = 32 << 20;
/// What a transaction takes of it beside its statements.
const OVERHEAD: usize = 256;

/// A transaction of more than this, bytes of statements for one target, goes to a file.
const LONG: usize = 8 << 20;
/// What is put there at once.
const PIECE: usize = 2 << 20;

/// By target, what has come of a transaction that comes in parts.
#[derive(Default)]
struct Parts {
    ops: Vec<Ops>,
    /// What came before `ops`, of a long one.
    spilled: Vec<Option<Box<Spill>>>,
    /// What there was after each part, by target.
    marks: Vec<Vec<Mark>>,
}

/// How much there was: pieces in the file, and of the statements behind them.
#[derive(Debug, Clone, Copy, Default)]
struct Mark {
    pieces: usize,
    statements: usize,
}

impl Parts {
    /// Puts away what has become too much.
    async fn spill(&mut self, folder: &Path) -> Result<(), StreamError> {
        for (ops, spilled) in self.ops.iter_mut().zip(&mut self.spilled) {
            let most = if spilled.is_some() { PIECE } else { LONG };
            if ops.text.len() < most {
                continue;
            }
            let spill = match spilled {
                Some(spill) => spill,
                None => spilled.insert(Box::new(Spill::new(folder)?)),
            };
            spill.push(std::mem::take(ops)).await?;
        }
        Ok(())
    }

    /// Notes what there is at the end of a part.
    fn mark(&mut self) {
        let marks = (self.ops.iter().zip(&self.spilled)).map(|(ops, spilled)| Mark {
            pieces: spilled.as_ref().map_or(0, |spill| spill.len()),
            statements: ops.list.len(),
        });
        self.marks.push(marks.collect());
    }

    /// Goes back to what there was after so many parts.
    async fn undo(&mut self, parts: usize) -> Result<(), StreamError> {
        if parts == 0 {
            *self = Self::default();
            return Ok(());
        }
        self.marks.truncate(parts);
        let Some(marks) = self.marks.last() else {
            return Ok(());
        };
        for ((ops, spilled), mark) in self.ops.iter_mut().zip(&mut self.spilled).zip(marks) {
            if let Some(spill) = spilled
                && spill.len() > mark.pieces
            {
                // What stood behind the pieces then is where the next one begins.
                *ops = spill.read(mark.pieces).await?;
                spill.truncate(mark.pieces);
            }
            if spilled.as_ref().is_some_and(|spill| spill.is_empty()) {
                *spilled = None;
            }
            ops.truncate(mark.statements);
        }
        Ok(())
    }
}

/// What following needs.
pub struct Following<'a> {
    pub source: &'a SourceServer,
    pub tables: &'a Arc<[MovedTable]>,
    /// By target, by table.
    pub present: Vec<Vec<Present>>,
    /// Exactly up to here; `None`: on and on.
    pub until: Option<&'a Position>,
    pub hurry: watch::Receiver<bool>,
    pub seen: watch::Receiver<Seen>,
    /// By target.
    pub told: Vec<Told>,
    /// Where long transactions are kept until all of them is there.
    pub folder: &'a Path,
}

impl Following<'_> {
    /// Follows from where the targets are. Gives their committers back once all of them are at
    /// [`Following::until`].
    ///
    /// # Errors
    /// What ends it. A changed definition of a table is told after all that was before it is
    /// applied.
    pub async fn run(mut self, committers: Vec<Committer>) -> Result<Vec<Committer>, StreamError> {
        let Some(from) = earliest(committers.iter().map(|c| &c.position)) else {
            return Ok(committers);
        };
        if self.until.is_some_and(|until| from.contains(until)) {
            return Ok(committers);
        }
        let shapes: Vec<_> = self.tables.iter().map(|t| t.source.clone()).collect();
        let mut reader = self.source.follow(&from, &shapes).await?;
        let mut queues = Vec::new();
        let mut appliers = JoinSet::new();
        for (place, committer) in committers.into_iter().enumerate() {
            let (queue, items) = mpsc::unbounded_channel();
            queues.push(queue);
            let applier = Applier {
                committer,
                heeds_stop: self.until.is_none(),
                hurry: self.hurry.clone(),
                told: self.told[place].clone(),
            };
            appliers.spawn(async move { (place, applier.run(items).await) });
        }
        let memory = Arc::new(Semaphore::new(MEMORY));
        let read = async {
            let mut parts = Parts::default();
            loop {
                if !*self.hurry.borrow() {
                    let mut hurry = self.hurry.clone();
                    select! {
                        () = throttle::yield_to(&mut self.seen) => {}
                        _ = hurry.wait_for(|hurry| *hurry) => {}
                    }
                }
                match reader.next().await? {
                    SourceEvent::Transaction(transaction) => {
                        if (self.until).is_some_and(|until| !until.contains_gtid(&transaction.gtid))
                        {
                            return Ok(());
                        }
                        // The position of a part that is not the last is the one before.
                        let reached = transaction.is_last
                            && (self.until)
                                .is_some_and(|until| transaction.position.contains(until));
                        self.hand_out(transaction, &mut parts, &queues, &memory)
                            .await?;
                        if reached {
                            return Ok(());
                        }
                    }
                    SourceEvent::Undo { parts: left, .. } => parts.undo(left).await?,
                    SourceEvent::Heartbeat { position } => {
                        for queue in &queues {
                            // One that has ended is told of below.
                            let _ = queue.send(Item::Idle);
                        }
                        if self.until.is_some_and(|until| position.contains(until)) {
                            return Ok(());
                        }
                    }
                    SourceEvent::Ddl {
                        statement, tables, ..
                    } => return Err(self.definition_changed(&statement, &tables)),
                }
            }
        };
        let ended: Result<(), StreamError> = select! {
            ended = read => ended,
            Some(failed) = appliers.join_next() => Err(match failed {
                Ok((_, Err(error))) => error,
                Ok((_, Ok(_))) => StreamError::Refused("an applier ended by itself".to_owned()),
                Err(cut) => StreamError::Refused(format!("an applier was cut off: {cut}")),
            }),
        };
        match &ended {
            Ok(()) | Err(StreamError::DefinitionChanged { .. }) => {}
            Err(_) => return ended.map(|()| Vec::new()),
        }
        drop(queues);
        let mut done: Vec<(usize, Committer)> = Vec::new();
        while let Some(applier) = appliers.join_next().await {
            let (place, applier) = applier
                .map_err(|e| StreamError::Refused(format!("an applier was cut off: {e}")))?;
            done.push((place, applier?.committer));
        }
        ended?;
        done.sort_by_key(|(place, _)| *place);
        Ok(done.into_iter().map(|(_, committer)| committer).collect())
    }

    /// Gives each target what is its own of a transaction, once all parts of it are there; waits
    /// while too much is under way.
    async fn hand_out(
        &self,
        transaction: Transaction,
        parts: &mut Parts,
        queues: &[mpsc::UnboundedSender<Item>],
        memory: &Arc<Semaphore>,
    ) -> Result<(), StreamError> {
        parts.ops.resize(queues.len(), Ops::default());
        parts.spilled.resize_with(queues.len(), || None);
        for change in &transaction.changes {
            let table = change.table();
            let number = u32::try_from(table).unwrap_or(u32::MAX);
            let present = |target: usize| &self.present[target][table];
            self.tables[table].change(number, change, present, &mut parts.ops)?;
            if parts.ops.iter().any(|ops| ops.text.len() >= PIECE) {
                parts.spill(self.folder).await?;
            }
        }
        if !transaction.is_last {
            parts.mark();
            return Ok(());
        }
        let parts = std::mem::take(parts);
        let whole = parts.ops.into_iter().zip(parts.spilled);
        for (queue, (mut ops, mut spilled)) in queues.iter().zip(whole) {
            if let Some(spill) = &mut spilled {
                spill.push(std::mem::take(&mut ops)).await?;
            }
            let size = (ops.text.len() + OVERHEAD).min(MEMORY / 2);
            let size = u32::try_from(size).unwrap_or(u32::MAX);
            // It is never closed.
            let permit = memory.clone().acquire_many_owned(size).await.ok();
            let _ = queue.send(Item::Transaction(commit::Transaction {
                gtid: transaction.gtid.clone(),
                timestamp: transaction.timestamp,
                ops,
                spilled,
                permit,
            }));
        }
        Ok(())
    }

    fn definition_changed(&self, statement: &str, tables: &[usize]) -> StreamError {
        let names: Vec<&str> = tables.iter().map(|&t| self.tables[t].name()).collect();
        StreamError::DefinitionChanged {
            server: self.source.address().to_string(),
            table: names.join("`, `"),
            why: format!("`{}`", shown(statement)),
        }
    }
}

/// The position that all others contain.
pub fn earliest<'a>(positions: impl Iterator<Item = &'a Position>) -> Option<Position> {
    positions
        .fold(
            None,
            |earliest: Option<&Position>, position| match earliest {
                Some(earliest) if position.contains(earliest) => Some(earliest),
                _ => Some(position),
            },
        )
        .cloned()
}

/// The beginning of a statement, on one line.
fn shown(statement: &str) -> String {
    let line: String = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(120) {
        Some((end, _)) => format!("{}...", &line[..end]),
        None => line,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::stream::target::tables::{Op, OpKind};

    /// Adds a statement of `size` bytes.
    async fn add(parts: &mut Parts, folder: &Path, target: usize, row: u64, size: usize) {
        let ops = &mut parts.ops[target];
        ops.text.extend(std::iter::repeat_n(row as u8, size));
        ops.list.push(Op {
            table: 0,
            end: ops.text.len() as u32,
            condition: ops.text.len() as u32,
            exact: true,
            kind: OpKind::Insert,
            row,
        });
        parts.spill(folder).await.unwrap();
    }

    /// The statements of a target, each by its row and its length.
    async fn all(parts: &Parts, target: usize) -> Vec<(u64, usize)> {
        let mut all = Vec::new();
        let mut pieces = Vec::new();
        if let Some(spill) = &parts.spilled[target] {
            for piece in 0..spill.len() {
                pieces.push(spill.read(piece).await.unwrap());
            }
        }
        pieces.push(parts.ops[target].clone());
        for ops in &pieces {
            for (op, text) in ops.statements() {
                assert!(text.iter().all(|b| *b == op.row as u8));
                all.push((op.row, text.len()));
            }
        }
        all
    }

    #[tokio::test]
    async fn what_is_undone_is_gone_from_memory_and_from_the_file() {
        let folder = tempfile::tempdir().unwrap();
        let folder = folder.path();
        // One target gets nearly all; so much that most goes to a file.
        for back_to in 0..9usize {
            let mut parts = Parts::default();
            parts.ops.resize(2, Ops::default());
            parts.spilled.resize_with(2, || None);
            let mut expected = [Vec::new(), Vec::new()];
            let mut row = 0;
            for part in 0..10 {
                for size in [700 << 10, 10, 900 << 10] {
                    row += 1;
                    let target = usize::from(size == 10);
                    add(&mut parts, folder, target, row, size).await;
                    if part < back_to {
                        expected[target].push((row, size));
                    }
                }
                parts.mark();
            }
            assert!(parts.spilled[0].is_some() && parts.spilled[1].is_none());
            parts.undo(back_to).await.unwrap();
            parts.ops.resize(2, Ops::default());
            parts.spilled.resize_with(2, || None);
            // And it goes on from there.
            for size in [1 << 20, 20] {
                row += 1;
                let target = usize::from(size == 20);
                add(&mut parts, folder, target, row, size).await;
                expected[target].push((row, size));
            }
            for (target, expected) in expected.iter().enumerate() {
                assert_eq!(&all(&parts, target).await, expected, "back to {back_to}");
            }
        }
    }
}
