//! Comparing one table from snapshots of both sides.

use std::sync::Arc;
use std::time::Duration;

use futures::future::{try_join, try_join_all};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio::time::Instant;
use vtplan_state::model::{TableName, VDiffTable};

use super::VDiffError;
use super::digest::{self, Digest, Placement, Range, Ranges};
use super::merge::{Fed, Feed, Merge, Reached};
use super::order::Order;
use super::ticket::Ticket;
use crate::stream::row::Row;
use crate::stream::server::ServerAddress;
use crate::stream::sharder::Sharder;
use crate::stream::source::SourceSnapshot;
use crate::stream::table::{ColumnKind, TableShape};

/// Bytes of rows that are handed on together.
const BATCH_BYTES: usize = 512 << 10;
/// Batches that are read ahead from each server.
const AHEAD: usize = 3;
/// How often what was found goes into the record.
const TOLD_EVERY: Duration = Duration::from_secs(1);

/// A table of both sides.
pub struct Table {
    pub name: TableName,
    /// As the side that is read has it.
    pub shape: Arc<TableShape>,
    /// As each source has it, and each target: with the columns of `shape`, in its order.
    pub sources: Vec<Arc<TableShape>>,
    pub targets: Vec<Arc<TableShape>>,
    /// Where rows belong among the targets.
    pub sharder: Sharder,
    /// Every source has all of its rows: one is enough.
    pub reference: bool,
    /// Columns that are JSON on one side.
    pub json: Vec<usize>,
}

impl Table {
    /// Whether servers can make the same checksums of the same rows.
    fn has_checksums(&self) -> bool {
        let possible = |shape: &Arc<TableShape>| digest::is_possible(shape, &self.sharder);
        let shapes = || self.sources.iter().chain(&self.targets);
        let signs_alike = |shape: &Arc<TableShape>| {
            (shape.columns.iter().zip(&self.shape.columns)).all(|(a, b)| a.unsigned == b.unsigned)
        };
        self.json.is_empty() && shapes().all(possible) && shapes().all(signs_alike)
    }
}

/// The columns of `source` as `target` has them.
///
/// # Errors
/// When it lacks one, or would put rows in another order.
pub fn align(source: &TableShape, target: &TableShape) -> Result<TableShape, VDiffError> {
    let failed = |why: String| {
        VDiffError::Failed(format!(
            "table `{}` cannot be compared: {why}; make both sides' definitions alike",
            source.name
        ))
    };
    let mut columns = Vec::with_capacity(source.columns.len());
    for column in &source.columns {
        let place = target.column(&column.name).ok_or_else(|| {
            failed(format!(
                "the side that is written has no column `{}`",
                column.name
            ))
        })?;
        columns.push(target.columns[place].clone());
    }
    if target.columns.len() != columns.len() {
        let more = target
            .columns
            .iter()
            .find(|c| source.column(&c.name).is_none());
        return Err(failed(format!(
            "only the side that is written has a column `{}`",
            more.map_or("", |c| &c.name)
        )));
    }
    for &key in &source.key {
        let (here, there) = (&source.columns[key], &columns[key]);
        if !here.equal_is_bytewise() && here.collation != there.collation {
            return Err(failed(format!(
                "its key column `{}` has collation {} on one side and {} on the other, which order \
                 rows differently",
                here.name,
                here.collation.as_deref().unwrap_or("binary"),
                there.collation.as_deref().unwrap_or("binary")
            )));
        }
    }
    Ok(TableShape {
        columns,
        key: source.key.clone(),
        ..target.clone()
    })
}

/// Columns that are JSON on one side and text on the other.
pub fn json_columns(a: &TableShape, b: &TableShape) -> Vec<usize> {
    let is_json = |shape: &TableShape, c: usize| shape.columns[c].kind == ColumnKind::Json;
    (0..a.columns.len())
        .filter(|&c| is_json(a, c) != is_json(b, c))
        .collect()
}

/// A reader's task, which gives the snapshot back at the end of the table.
struct Reader(JoinHandle<Option<SourceSnapshot>>);

impl Drop for Reader {
    fn drop(&mut self) {
        self.0.abort();
    }
}

/// Reads the rows of a range.
fn read(mut snapshot: SourceSnapshot, shape: Arc<TableShape>, range: Range) -> (Feed, Reader) {
    let (send, receive) = mpsc::channel::<Fed>(AHEAD);
    let task = tokio::spawn(async move {
        let (after, up_to) = (range.after.as_deref(), range.up_to.as_deref());
        let mut rows = match snapshot.read(&shape, after, up_to).await {
            Ok(rows) => rows,
            Err(error) => {
                // Nobody listens any more: the comparison has ended.
                let _ = send.send(Err(error)).await;
                return None;
            }
        };
        loop {
            let batch = rows.next_batch(BATCH_BYTES).await;
            let over = matches!(batch, Ok(None));
            let broken = batch.is_err();
            if send.send(batch).await.is_err() || broken {
                return None;
            }
            if over {
                drop(rows);
                return Some(snapshot);
            }
        }
    });
    (Feed::new(receive), Reader(task))
}

/// One table's comparison. The snapshots are there for the next table when it is over.
pub struct Comparison<'a> {
    pub table: &'a Table,
    pub sources: &'a mut [Option<SourceSnapshot>],
    pub targets: &'a mut [Option<SourceSnapshot>],
    pub target_names: &'a [String],
    pub orderer: ServerAddress,
    pub ticket: &'a mut Ticket,
    /// What was found so far.
    pub found: VDiffTable,
}

impl Comparison<'_> {
    /// Compares from where the record says on, and keeps the record current.
    pub async fn run(mut self) -> Result<(), VDiffError> {
        let mut after = match &self.found.compared_to {
            Some(text) => Some(decode_key(text).ok_or_else(|| {
                VDiffError::Failed(format!(
                    "the record's key for table `{}` cannot be read: ask for a new comparison",
                    self.table.name
                ))
            })?),
            None => None,
        };
        if !self.ticket.record.every_value && self.table.has_checksums() {
            let source = snapshot(&mut self.sources[0])?;
            let ranges = Ranges::new(source, &self.table.sources[0]).await?;
            if after.is_none() && ranges.is_small() && self.is_alike_as_a_whole().await? {
                return self.end().await;
            }
            loop {
                let (reached, all_alike) = self.window(&ranges, after).await?;
                after = reached;
                if after.is_none() {
                    return self.end().await;
                }
                self.tell().await?;
                // Checksums that differ everywhere save nothing.
                if !all_alike {
                    break;
                }
            }
        }
        let rest = Range { after, up_to: None };
        self.rows(rest).await?;
        self.end().await
    }

    async fn end(&mut self) -> Result<(), VDiffError> {
        self.found.done = true;
        self.tell().await
    }

    async fn tell(&mut self) -> Result<(), VDiffError> {
        tell(self.ticket, &self.table.name, &self.found).await
    }

    /// How many sources are read.
    fn read_from(&self) -> usize {
        match self.table.reference {
            true => 1,
            false => self.sources.len(),
        }
    }

    /// Compares checksums of the next ranges, and the rows of those whose checksums differ. The key
    /// that it came to (`None`: the end), and whether checksums are of use in this table.
    async fn window(
        &mut self,
        ranges: &Ranges,
        after: Option<Row>,
    ) -> Result<(Option<Row>, bool), VDiffError> {
        let first = snapshot(&mut self.sources[0])?;
        let window = ranges
            .window(first, &self.table.sources[0], after.clone())
            .await?;
        let alike = self.digests(&window).await?;
        let mut differ = 0;
        let mut to = after;
        for (range, alike) in window.iter().zip(alike) {
            if let Some(rows) = alike {
                self.found.rows_compared += rows;
            } else {
                differ += 1;
                self.rows(range.clone()).await?;
            }
            if let Some(key) = &range.up_to {
                self.found.compared_to = Some(encode_key(key));
            }
            to = range.up_to.clone();
        }
        Ok((to, 2 * differ <= window.len()))
    }

    /// Whether both sides have the same checksum of all rows. If not, ranges tell where they differ.
    async fn is_alike_as_a_whole(&mut self) -> Result<bool, VDiffError> {
        let whole = [Range::default()];
        let [Some(rows)] = self.digests(&whole).await?[..] else {
            return Ok(false);
        };
        self.found.rows_compared += rows;
        Ok(true)
    }

    /// For each range how many rows it has, if both sides have the same checksum of them. All servers are
    /// at work at once.
    async fn digests(&mut self, ranges: &[Range]) -> Result<Vec<Option<u64>>, VDiffError> {
        let (table, read_from) = (self.table, self.read_from());
        let of_server = async |place: &mut Option<SourceSnapshot>,
                               shape: &TableShape,
                               placement: Option<Placement<'_>>| {
            let snapshot = snapshot(place)?;
            let mut digests = Vec::with_capacity(ranges.len());
            for range in ranges {
                digests.push(digest::digest(snapshot, shape, range, placement.as_ref()).await?);
            }
            Ok::<_, VDiffError>(digests)
        };
        let sources = (self.sources.iter_mut().zip(&table.sources))
            .take(read_from)
            .map(|(place, shape)| of_server(place, shape, None));
        let targets = (self.targets.iter_mut().zip(&table.targets))
            .enumerate()
            .map(|(shard, (place, shape))| {
                let placement = Placement {
                    sharder: &table.sharder,
                    shape: &table.shape,
                    shard,
                };
                of_server(place, shape, Some(placement))
            });
        let (of_sources, of_targets) =
            try_join(try_join_all(sources), try_join_all(targets)).await?;
        let alike = (0..ranges.len()).map(|i| {
            let all = |sides: &[Vec<Digest>]| {
                let digests = sides.iter().map(|of_server| of_server[i]);
                digests.fold(Digest::default(), Digest::and)
            };
            let source = all(&of_sources);
            let alike = match table.reference {
                true => of_targets.iter().all(|target| target[i] == source),
                false => all(&of_targets) == source,
            };
            alike.then_some(source.rows)
        });
        Ok(alike.collect())
    }

    /// Compares the rows of a range, and keeps the record current.
    async fn rows(&mut self, range: Range) -> Result<(), VDiffError> {
        let (table, read_from) = (self.table, self.read_from());
        let gone = || VDiffError::NotYet("a snapshot is gone".to_owned());
        let mut readers = Vec::new();
        let mut start = |snapshot: &mut Option<SourceSnapshot>, shape: &Arc<TableShape>| {
            let snapshot = snapshot.take().ok_or_else(gone)?;
            let (feed, reader) = read(snapshot, shape.clone(), range.clone());
            readers.push(reader);
            Ok::<_, VDiffError>(feed)
        };
        let mut merge = Merge {
            shape: &table.shape,
            sharder: &table.sharder,
            json: &table.json,
            sources: (self.sources.iter_mut().zip(&table.sources))
                .take(read_from)
                .map(|(snapshot, shape)| start(snapshot, shape))
                .collect::<Result<_, _>>()?,
            targets: (self.targets.iter_mut().zip(&table.targets))
                .map(|(snapshot, shape)| start(snapshot, shape))
                .collect::<Result<_, _>>()?,
            target_names: self.target_names,
            order: Order::new(&table.shape, Some(self.orderer.clone())),
        };
        loop {
            let until = Instant::now() + TOLD_EVERY;
            match merge.run(&mut self.found, until).await? {
                Reached::End => break,
                Reached::Key(key) => {
                    self.found.compared_to = Some(encode_key(&key));
                    tell(self.ticket, &table.name, &self.found).await?;
                }
            }
        }
        drop(merge);
        let places = (self.sources.iter_mut().take(read_from)).chain(&mut *self.targets);
        for (place, mut reader) in places.zip(readers) {
            // It has sent its last, so it is about to end.
            *place = (&mut reader.0).await.ok().flatten();
        }
        Ok(())
    }
}

fn snapshot(place: &mut Option<SourceSnapshot>) -> Result<&mut SourceSnapshot, VDiffError> {
    let gone = || VDiffError::NotYet("a snapshot is gone".to_owned());
    place.as_mut().ok_or_else(gone)
}

async fn tell(ticket: &mut Ticket, name: &TableName, found: &VDiffTable) -> Result<(), VDiffError> {
    let tables = &mut ticket.record.tables;
    tables.insert(name.clone(), found.clone());
    ticket.save().await
}

/// A key as it stands in the record: a JSON array of values in hexadecimal, `null` for NULL.
pub fn encode_key(key: &[crate::stream::Cell]) -> String {
    let cells: Vec<String> = key
        .iter()
        .map(|cell| match cell {
            None => "null".to_owned(),
            Some(bytes) => {
                let digits: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
                format!("\"{digits}\"")
            }
        })
        .collect();
    format!("[{}]", cells.join(","))
}

fn decode_key(text: &str) -> Option<Row> {
    let cells: Vec<Option<String>> = serde_json::from_str(text).ok()?;
    let bytes = |digits: String| {
        if !digits.len().is_multiple_of(2) || !digits.is_ascii() {
            return None;
        }
        (0..digits.len() / 2)
            .map(|i| u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).ok())
            .collect::<Option<Vec<u8>>>()
    };
    cells
        .into_iter()
        .map(|cell| match cell {
            None => Some(None),
            Some(digits) => bytes(digits).map(|b| Some(b.into())),
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_key_is_read_back_as_it_was_written() {
        let key: Row = vec![
            Some(b"5"[..].into()),
            None,
            Some(b""[..].into()),
            Some(vec![0xff, 0].into()),
        ];
        let text = encode_key(&key);
        assert_eq!(text, r#"["35",null,"","ff00"]"#);
        assert_eq!(decode_key(&text), Some(key));
        assert_eq!(decode_key("nonsense"), None);
        assert_eq!(decode_key(r#"["0"]"#), None);
    }
}
