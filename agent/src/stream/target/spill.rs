//! Statements of a long transaction, in a file until all of it is there. A transaction is applied only
//! once its end is known, so that the row of `_vt` that a target's transaction locks is not locked
//! for as long as the source takes; and it may be larger than the memory that streams have.
//!
//! The file has no name: whatever ends the agent, it is gone with it, and the transaction is read
//! again from the source.

use std::collections::BTreeSet;
use std::fs::File;
use std::io;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio::task::spawn_blocking;

use super::tables::{Op, OpKind, Ops};
use crate::stream::error::StreamError;

/// Bytes of an operation in the file: table, end, condition, kind and exactness, row.
const OP: usize = 4 + 4 + 4 + 1 + 8;
/// Bytes before a piece: the number of its operations, the length of its text.
const HEAD: usize = 4 + 4;

/// Pieces of a transaction for one target.
#[derive(Debug)]
pub struct Spill {
    file: Arc<File>,
    folder: PathBuf,
    pieces: Vec<Piece>,
    /// Of all pieces.
    pub statements: usize,
    pub bytes: usize,
    /// Which tables they are about, or were.
    pub tables: BTreeSet<u32>,
}

#[derive(Debug, Clone, Copy)]
struct Piece {
    /// Where it ends.
    end: u64,
    statements: usize,
    bytes: usize,
}

impl Spill {
    /// An empty one, in a folder of the agent.
    pub fn new(folder: &Path) -> Result<Self, StreamError> {
        let file = tempfile::tempfile_in(folder).map_err(|e| no_room(folder, &e))?;
        Ok(Self {
            file: Arc::new(file),
            folder: folder.to_owned(),
            pieces: Vec::new(),
            statements: 0,
            bytes: 0,
            tables: BTreeSet::new(),
        })
    }

    /// Number of pieces.
    pub fn len(&self) -> usize {
        self.pieces.len()
    }

    pub fn is_empty(&self) -> bool {
        self.pieces.is_empty()
    }

    /// Leaves out all but the first pieces.
    pub fn truncate(&mut self, pieces: usize) {
        for piece in self.pieces.drain(pieces.min(self.pieces.len())..) {
            self.statements -= piece.statements;
            self.bytes -= piece.bytes;
        }
    }

    /// Puts statements behind all others. What they touch is not kept: nothing is applied beside a
    /// long transaction.
    pub async fn push(&mut self, ops: Ops) -> Result<(), StreamError> {
        if ops.list.is_empty() {
            return Ok(());
        }
        let (statements, bytes) = (ops.list.len(), ops.text.len());
        self.tables.extend(ops.list.iter().map(|op| op.table));
        let at = self.pieces.last().map_or(0, |piece| piece.end);
        let file = self.file.clone();
        let written = spawn_blocking(move || {
            let head = encode_head(&ops);
            file.write_all_at(&head, at)?;
            let text = at + head.len() as u64;
            file.write_all_at(&ops.text, text)?;
            Ok(text + ops.text.len() as u64)
        });
        let written: io::Result<u64> = written.await.unwrap_or_else(|e| Err(io::Error::other(e)));
        let end = written.map_err(|e| no_room(&self.folder, &e))?;
        self.pieces.push(Piece {
            end,
            statements,
            bytes,
        });
        self.statements += statements;
        self.bytes += bytes;
        Ok(())
    }

    /// A piece, counted from 0.
    pub async fn read(&self, piece: usize) -> Result<Ops, StreamError> {
        let from = match piece {
            0 => 0,
            _ => self.pieces[piece - 1].end,
        };
        let length = usize::try_from(self.pieces[piece].end - from).unwrap_or(usize::MAX);
        let file = self.file.clone();
        let read = spawn_blocking(move || {
            let mut bytes = vec![0; length];
            file.read_exact_at(&mut bytes, from)?;
            decode(bytes).ok_or_else(|| io::Error::other("it does not hold what was written"))
        });
        let read: io::Result<Ops> = read.await.unwrap_or_else(|e| Err(io::Error::other(e)));
        read.map_err(|e| no_room(&self.folder, &e))
    }
}

fn no_room(folder: &Path, error: &io::Error) -> StreamError {
    StreamError::NoRoom {
        folder: folder.display().to_string(),
        why: error.to_string(),
    }
}

fn encode_head(ops: &Ops) -> Vec<u8> {
    let mut head = Vec::with_capacity(HEAD + OP * ops.list.len());
    let count = |n: usize| u32::try_from(n).unwrap_or(u32::MAX).to_le_bytes();
    head.extend_from_slice(&count(ops.list.len()));
    head.extend_from_slice(&count(ops.text.len()));
    for op in &ops.list {
        head.extend_from_slice(&op.table.to_le_bytes());
        head.extend_from_slice(&op.end.to_le_bytes());
        head.extend_from_slice(&op.condition.to_le_bytes());
        let kind = match op.kind {
            OpKind::Insert => 0,
            OpKind::Update => 1,
            OpKind::Delete => 2,
        };
        head.push(kind | u8::from(op.exact) << 7);
        head.extend_from_slice(&op.row.to_le_bytes());
    }
    head
}

fn decode(mut bytes: Vec<u8>) -> Option<Ops> {
    let number = |at: usize| Some(u32::from_le_bytes(bytes.get(at..at + 4)?.try_into().ok()?));
    let (count, length) = (number(0)? as usize, number(4)? as usize);
    let mut list = Vec::with_capacity(count);
    for at in (0..count).map(|i| HEAD + i * OP) {
        let kind = *bytes.get(at + 12)?;
        list.push(Op {
            table: number(at)?,
            end: number(at + 4)?,
            condition: number(at + 8)?,
            exact: kind & 0x80 != 0,
            kind: match kind & 0x7f {
                0 => OpKind::Insert,
                1 => OpKind::Update,
                _ => OpKind::Delete,
            },
            row: u64::from_le_bytes(bytes.get(at + 13..at + OP)?.try_into().ok()?),
        });
    }
    bytes.drain(..HEAD + count * OP);
    (bytes.len() == length).then(|| Ops {
        text: bytes,
        list,
        touched: Vec::new(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ops(statements: &[(&str, OpKind, bool)]) -> Ops {
        let mut ops = Ops::default();
        for (i, (text, kind, exact)) in statements.iter().enumerate() {
            ops.text.extend_from_slice(text.as_bytes());
            ops.list.push(Op {
                table: i as u32,
                end: ops.text.len() as u32,
                condition: ops.text.len() as u32 - 3,
                exact: *exact,
                kind: *kind,
                row: u64::MAX - i as u64,
            });
        }
        ops
    }

    #[tokio::test]
    async fn pieces_are_read_as_often_as_needed_as_they_were_written() {
        let folder = tempfile::tempdir().unwrap();
        let pieces = [
            ops(&[
                ("INSERT 1;", OpKind::Insert, true),
                ("DELETE 2;", OpKind::Delete, false),
            ]),
            ops(&[("UPDATE 3;", OpKind::Update, true)]),
        ];
        let mut spill = Spill::new(folder.path()).unwrap();
        for piece in &pieces {
            spill.push(piece.clone()).await.unwrap();
        }
        spill.push(Ops::default()).await.unwrap();
        assert_eq!((spill.len(), spill.statements, spill.bytes), (2, 3, 27));
        assert_eq!(spill.tables, BTreeSet::from([0, 1]));
        for place in [0, 1, 0] {
            let read = spill.read(place).await.unwrap();
            assert_eq!(format!("{read:?}"), format!("{:?}", pieces[place]));
        }
        spill.truncate(1);
        assert_eq!((spill.len(), spill.statements, spill.bytes), (1, 2, 18));
        spill.push(pieces[1].clone()).await.unwrap();
        let read = spill.read(1).await.unwrap();
        assert_eq!(format!("{read:?}"), format!("{:?}", pieces[1]));
        // It has no name that would stay behind.
        assert_eq!(folder.path().read_dir().unwrap().count(), 0);
    }

    #[test]
    fn a_folder_that_is_not_there_is_named() {
        let error = Spill::new(Path::new("/nowhere/at/all")).unwrap_err();
        assert!(error.is_retriable());
        assert!(error.to_string().contains("/nowhere/at/all"), "{error}");
    }
}
