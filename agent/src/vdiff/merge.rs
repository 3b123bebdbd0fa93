//! Merging the rows of several shards on either side, each in key order, and telling where they
//! differ.
//!
//! **No keys are compared while rows match.** A row that is read belongs to one shard of the other
//! side, which the sharder says. The smallest key of all that is left stands at the head of its
//! shard on the one side, and, if it was moved as it should, at the head of its shard on the
//! other: so as long as all rows match there is always a row at some head that is equal to the head
//! of its other shard. It goes, and the next takes its place. When no such row is left, the smallest
//! key among the heads is looked for, and its row is one that differs: nothing smaller can come.

use std::cmp::Ordering;

use tokio::sync::mpsc;
use tokio::time::Instant;
use vtplan_state::model::VDiffTable;

use super::VDiffError;
use super::order::Order;
use crate::stream::row::{Row, RowBatch, RowRef};
use crate::stream::sharder::{Sharder, Shards};
use crate::stream::table::TableShape;
use crate::stream::{Cell, StreamError};

/// What a reader sends: rows, then `None`.
pub type Fed = Result<Option<RowBatch>, StreamError>;

/// After so many rows others get to run.
const ROWS_BETWEEN_YIELDS: u64 = 20_000;

/// Rows of one shard on their way.
pub struct Feed {
    rows: mpsc::Receiver<Fed>,
    batch: RowBatch,
    /// The head's place in the batch.
    at: usize,
    /// Rows of the batch from here on are beyond the key that is to be reached.
    limit: usize,
    over: bool,
    /// Where the head belongs on the other side, once it was looked up.
    belongs: Option<Shards>,
}

impl Feed {
    pub fn new(rows: mpsc::Receiver<Fed>) -> Self {
        Self {
            rows,
            batch: RowBatch::default(),
            at: 0,
            limit: 0,
            over: false,
            belongs: None,
        }
    }

    /// The next row, unless it is beyond the key that is to be reached.
    fn head(&self) -> Option<RowRef<'_>> {
        (self.at < self.limit).then(|| self.batch.row(self.at))
    }

    fn needs_more(&self) -> bool {
        !self.over && self.at >= self.batch.len()
    }

    fn advance(&mut self) {
        self.at += 1;
        self.belongs = None;
    }
}

/// What a merge came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reached {
    /// Everything up to and with this key was compared, and nothing beyond it.
    Key(Row),
    End,
}

/// What is compared.
pub struct Merge<'a> {
    /// As the side that is read has it; rows of both sides have its columns.
    pub shape: &'a TableShape,
    /// Says where rows belong on the other side.
    pub sharder: &'a Sharder,
    /// Columns whose values are JSON on one side at least.
    pub json: &'a [usize],
    pub sources: Vec<Feed>,
    pub targets: Vec<Feed>,
    /// Names of the targets' shards, for samples.
    pub target_names: &'a [String],
    pub order: Order,
}

impl Merge<'_> {
    /// Compares for about as long as it has time, up to a key behind which one can begin again.
    /// Counts and samples go into `found`.
    pub async fn run(
        &mut self,
        found: &mut VDiffTable,
        until: Instant,
    ) -> Result<Reached, VDiffError> {
        for feed in self.feeds() {
            feed.limit = feed.batch.len();
        }
        let mut barrier: Option<Row> = None;
        let mut told = found.rows_compared;
        loop {
            let matched = self.advance_matching(found)?;
            if found.rows_compared - told > ROWS_BETWEEN_YIELDS {
                told = found.rows_compared;
                tokio::task::yield_now().await;
            }
            let filled = self.fill(barrier.as_deref()).await?;
            if barrier.is_none() && Instant::now() >= until {
                barrier = self.set_barrier().await?;
            }
            if matched || filled {
                continue;
            }
            if !self.settle_smallest(found).await? {
                break;
            }
        }
        match barrier {
            Some(key) if self.feeds().any(|f| !f.over || f.at < f.batch.len()) => {
                Ok(Reached::Key(key))
            }
            _ => Ok(Reached::End),
        }
    }

    fn feeds(&mut self) -> impl Iterator<Item = &mut Feed> {
        self.sources.iter_mut().chain(&mut self.targets)
    }

    /// Passes over rows that match. Whether there was one.
    fn advance_matching(&mut self, found: &mut VDiffTable) -> Result<bool, VDiffError> {
        let before = found.rows_compared;
        for source in &mut self.sources {
            // Long runs of rows are not interrupted to look at the other sources; each ends with
            // its batch at the latest.
            while source.at < source.limit {
                let row = source.batch.row(source.at);
                let shards = match source.belongs {
                    Some(shards) => shards,
                    None => {
                        let shards = self.sharder.shards_of(self.shape, |c| row.get(c))?;
                        source.belongs = Some(shards);
                        shards
                    }
                };
                let same = |feed: &Feed| feed.head().is_some_and(|r| same(row, r, self.json));
                match shards {
                    Shards::One(shard) if same(&self.targets[shard]) => {
                        self.targets[shard].advance();
                    }
                    Shards::All if self.targets.iter().all(same) => {
                        self.targets.iter_mut().for_each(Feed::advance);
                    }
                    _ => break,
                }
                source.advance();
                found.rows_compared += 1;
            }
        }
        Ok(found.rows_compared > before)
    }

    /// Waits for rows wherever there are none at hand. Whether any came.
    async fn fill(&mut self, barrier: Option<&[Cell]>) -> Result<bool, VDiffError> {
        let mut came = false;
        let Self {
            sources,
            targets,
            order,
            shape,
            ..
        } = self;
        for feed in sources.iter_mut().chain(targets) {
            while feed.needs_more() {
                match feed.rows.recv().await {
                    Some(Ok(Some(batch))) => {
                        feed.limit = match barrier {
                            Some(key) => up_to(&batch, 0, key, shape, order).await?,
                            None => batch.len(),
                        };
                        feed.batch = batch;
                        feed.at = 0;
                        feed.belongs = None;
                        came = true;
                    }
                    Some(Ok(None)) => {
                        feed.over = true;
                        came = true;
                    }
                    Some(Err(error)) => return Err(error.into()),
                    None => {
                        return Err(VDiffError::NotYet("a reader was cut off".to_owned()));
                    }
                }
            }
        }
        Ok(came)
    }

    /// Chooses the key to come to: the largest that has been read anywhere, so that nothing beyond
    /// it has been compared yet. `None`: no row has been read.
    async fn set_barrier(&mut self) -> Result<Option<Row>, VDiffError> {
        let Self {
            sources,
            targets,
            order,
            shape,
            ..
        } = self;
        let mut barrier: Option<Row> = None;
        for feed in sources.iter().chain(targets.iter()) {
            let Some(last) = feed.batch.last() else {
                continue;
            };
            let key = last.pick(&shape.key);
            let larger = match &barrier {
                Some(largest) => order.compare(&key, largest).await? == Ordering::Greater,
                None => true,
            };
            if larger {
                barrier = Some(key);
            }
        }
        let Some(key) = &barrier else {
            return Ok(None);
        };
        for feed in sources.iter_mut().chain(targets) {
            feed.limit = up_to(&feed.batch, feed.at, key, shape, order).await?;
        }
        Ok(barrier)
    }

    /// Deals with the smallest key among the heads, none of which match. `false`: there are none.
    async fn settle_smallest(&mut self, found: &mut VDiffTable) -> Result<bool, VDiffError> {
        let Some((sources, targets)) = self.smallest().await? else {
            return Ok(false);
        };
        let names = self.target_names;
        let Some(&source) = sources.first() else {
            for target in targets {
                let row = self.targets[target].batch.row(self.targets[target].at);
                // A row whose own values belong nowhere is in the way wherever it is.
                let belongs = self.sharder.shards_of(self.shape, |c| row.get(c)).ok();
                match belongs {
                    Some(Shards::One(shard)) if shard != target => {
                        found.misplaced += 1;
                        let on = (names[target].as_str(), names[shard].as_str());
                        sample::misplaced(found, self.shape, row, on);
                    }
                    _ => {
                        found.extra += 1;
                        sample::extra(found, self.shape, row);
                    }
                }
                self.targets[target].advance();
            }
            return Ok(true);
        };
        let row = self.sources[source]
            .batch
            .row(self.sources[source].at)
            .to_row();
        let belongs = {
            let row = self.sources[source].batch.row(self.sources[source].at);
            self.sharder.shards_of(self.shape, |c| row.get(c))?
        };
        found.rows_compared += 1;
        let wanted: Vec<usize> = match belongs {
            Shards::One(shard) => vec![shard],
            Shards::All => (0..self.targets.len()).collect(),
            Shards::None => Vec::new(),
        };
        let elsewhere: Vec<usize> = targets
            .iter()
            .copied()
            .filter(|t| !wanted.contains(t))
            .collect();
        for &target in &wanted {
            if targets.contains(&target) {
                let other = self.targets[target].batch.row(self.targets[target].at);
                if !same_cells(&row, other, self.json) {
                    found.differing += 1;
                    sample::differing(found, self.shape, &row, other);
                }
                self.targets[target].advance();
            } else if elsewhere.is_empty() {
                found.missing += 1;
                sample::missing(found, self.shape, &row);
            }
        }
        if wanted.is_empty() && elsewhere.is_empty() {
            // It is on a shard that its own values do not belong to, and would be gone.
            found.missing += 1;
            sample::missing(found, self.shape, &row);
        }
        for target in elsewhere {
            let other = self.targets[target].batch.row(self.targets[target].at);
            found.misplaced += 1;
            let right = wanted.first().map_or("none", |&w| names[w].as_str());
            let on = (names[target].as_str(), right);
            sample::misplaced(found, self.shape, other, on);
            self.targets[target].advance();
        }
        self.sources[source].advance();
        Ok(true)
    }

    /// The sources and the targets at whose heads the smallest key stands.
    async fn smallest(&mut self) -> Result<Option<(Vec<usize>, Vec<usize>)>, VDiffError> {
        let Self {
            sources,
            targets,
            order,
            shape,
            ..
        } = self;
        let key = |feed: &Feed| feed.head().map(|row| row.pick(&shape.key));
        let heads = (sources.iter().enumerate().map(|(i, f)| (true, i, key(f))))
            .chain(targets.iter().enumerate().map(|(i, f)| (false, i, key(f))));
        let mut least: Option<Row> = None;
        let (mut of_sources, mut of_targets) = (Vec::new(), Vec::new());
        for (is_source, place, key) in heads {
            let Some(key) = key else { continue };
            let ordering = match &least {
                Some(least) => order.compare(&key, least).await?,
                None => Ordering::Less,
            };
            if ordering == Ordering::Less {
                of_sources.clear();
                of_targets.clear();
                least = Some(key);
            }
            if ordering != Ordering::Greater {
                if is_source {
                    of_sources.push(place);
                } else {
                    of_targets.push(place);
                }
            }
        }
        Ok(least.map(|_| (of_sources, of_targets)))
    }
}

/// How many rows of a batch have keys up to and with `key`. Those before `from` do.
async fn up_to(
    batch: &RowBatch,
    from: usize,
    key: &[Cell],
    shape: &TableShape,
    order: &mut Order,
) -> Result<usize, StreamError> {
    let (mut low, mut high) = (from, batch.len());
    // Most batches are on one side of it as a whole.
    if let Some(last) = batch.last()
        && order.compare(&last.pick(&shape.key), key).await? != Ordering::Greater
    {
        return Ok(high);
    }
    while low < high {
        let middle = low + (high - low) / 2;
        let found = batch.row(middle).pick(&shape.key);
        if order.compare(&found, key).await? == Ordering::Greater {
            high = middle;
        } else {
            low = middle + 1;
        }
    }
    Ok(low)
}

/// Whether two rows are the same.
#[inline]
fn same(a: RowRef<'_>, b: RowRef<'_>, json: &[usize]) -> bool {
    (0..a.len()).all(|c| {
        let (x, y) = (a.get(c), b.get(c));
        x == y || (json.contains(&c) && same_json(x, y))
    })
}

fn same_cells(a: &[Cell], b: RowRef<'_>, json: &[usize]) -> bool {
    a.iter().enumerate().all(|(c, x)| {
        let (x, y) = (x.as_deref(), b.get(c));
        x == y || (json.contains(&c) && same_json(x, y))
    })
}

/// Whether two texts are the same JSON: order of members and blanks do not count.
fn same_json(a: Option<&[u8]>, b: Option<&[u8]>) -> bool {
    let (Some(a), Some(b)) = (a, b) else {
        return false;
    };
    let read = |text| serde_json::from_slice::<serde_json::Value>(text).ok();
    matches!((read(a), read(b)), (Some(a), Some(b)) if a == b)
}

/// What is kept of what was found.
mod sample {
    use vtplan_state::model::{VDiffSample, VDiffTable};

    use crate::stream::row::{Cell, RowRef};
    use crate::stream::table::TableShape;

    /// For each way to differ.
    const KEPT: usize = 10;
    /// Characters of a value that are shown.
    const SHOWN: usize = 100;

    fn keep(
        found: &mut VDiffTable,
        what: &str,
        shape: &TableShape,
        row: &[Cell],
        values: impl FnOnce() -> (Option<String>, Option<String>),
    ) {
        if found.samples.iter().filter(|s| s.found == what).count() >= KEPT {
            return;
        }
        let (source, target) = values();
        found.samples.push(VDiffSample {
            found: what.to_owned(),
            key: shape.key_text(row),
            source,
            target,
        });
    }

    fn values(shape: &TableShape, row: &[Cell], columns: impl Fn(usize) -> bool) -> String {
        let parts = (row.iter().enumerate())
            .filter(|(c, _)| columns(*c))
            .map(|(c, cell)| {
                let text = shape.columns[c].readable(cell.as_deref());
                let mut shown: String = text.chars().take(SHOWN).collect();
                if shown.len() < text.len() {
                    shown.push_str("...");
                }
                format!("{}={shown}", shape.columns[c].name)
            });
        parts.collect::<Vec<_>>().join(", ")
    }

    pub fn missing(found: &mut VDiffTable, shape: &TableShape, row: &[Cell]) {
        keep(found, "missing", shape, row, || {
            (Some(values(shape, row, |_| true)), None)
        });
    }

    pub fn extra(found: &mut VDiffTable, shape: &TableShape, row: RowRef<'_>) {
        let row = row.to_row();
        keep(found, "extra", shape, &row, || {
            (None, Some(values(shape, &row, |_| true)))
        });
    }

    pub fn differing(found: &mut VDiffTable, shape: &TableShape, row: &[Cell], other: RowRef<'_>) {
        let other = other.to_row();
        let differs = |c: usize| row[c] != other[c];
        keep(found, "differing", shape, row, || {
            (
                Some(values(shape, row, differs)),
                Some(values(shape, &other, differs)),
            )
        });
    }

    /// `on`: the shard that the row is on, and the one that it belongs to.
    pub fn misplaced(
        found: &mut VDiffTable,
        shape: &TableShape,
        row: RowRef<'_>,
        on: (&str, &str),
    ) {
        let row = row.to_row();
        keep(found, "misplaced", shape, &row, || {
            let (there, right) = on;
            (None, Some(format!("on shard {there}, belongs to {right}")))
        });
    }
}

#[cfg(test)]
#[path = "merge_tests.rs"]
mod tests;
