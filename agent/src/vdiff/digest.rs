//! Checksums of key ranges, which servers make of their own rows: where both sides' are equal no row
//! need be sent. What a row's checksum is and how well it tells rows apart: [`super::checksum`]. A
//! range's is the number of its rows and the XOR of their checksums.
//!
//! **Rows on the wrong shard** would not show in a sum over shards. So servers of sharded tables send
//! for each row its checksum and its sharding columns, and the sharder is asked for each.

use super::checksum::{is_whole, row_checksum};
use crate::stream::row::Cell;
use crate::stream::sharder::{Sharder, Shards};
use crate::stream::source::{SourceSnapshot, write_range};
use crate::stream::table::{ColumnKind, ColumnShape, TableShape};
use crate::stream::{Row, StreamError};

/// Sharding columns that a row may have.
const MOST_COLUMNS: usize = 7;

/// What a range's rows come to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Digest {
    pub rows: u64,
    pub checksum: u64,
    /// A row is on a shard that is not its own.
    pub misplaced: bool,
}

impl Digest {
    /// Of the rows of both.
    pub fn and(self, other: Self) -> Self {
        Self {
            rows: self.rows + other.rows,
            checksum: self.checksum ^ other.checksum,
            misplaced: self.misplaced || other.misplaced,
        }
    }
}

/// Rows beyond one key, up to and with another.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Range {
    pub after: Option<Row>,
    pub up_to: Option<Row>,
}

/// The placement that is to be looked at, of a target's rows.
pub struct Placement<'a> {
    pub sharder: &'a Sharder,
    /// As the sharder knows it.
    pub shape: &'a TableShape,
    /// The target's place among the shards.
    pub shard: usize,
}

impl Placement<'_> {
    /// Whether a row with these values of its sharding columns is where it belongs. What cannot be
    /// mapped is told of when its row is looked at.
    fn is_right<'a>(&self, value: impl Fn(usize) -> Option<&'a [u8]>) -> bool {
        let belongs = self.sharder.shards_of(self.shape, value);
        matches!(belongs, Ok(Shards::One(shard)) if shard == self.shard)
    }

    /// Whether so many numbers, with commas between them, are the sharding column's values of rows
    /// that are where they belong. A text that was cut off has fewer.
    fn has_all(&self, column: usize, numbers: &[u8], rows: u64) -> bool {
        let mut count = 0;
        let right = numbers.split(|&b| b == b',').all(|number| {
            count += 1;
            match self.sharder.shards_of_number(number) {
                Some(belongs) => belongs == Shards::One(self.shard),
                None => self.is_right(|c| (c == column).then_some(number)),
            }
        });
        (right && count == rows) || (rows == 0 && numbers.is_empty())
    }
}

/// Whether checksums can be made of a table's rows: functions do not take values of every type, and
/// rows have to be placed by a few columns.
pub fn is_possible(table: &TableShape, sharder: &Sharder) -> bool {
    let taken = |c: &ColumnShape| !matches!(c.kind, ColumnKind::Geometry | ColumnKind::Vector);
    table.columns.iter().all(taken) && sharder.columns().len() <= MOST_COLUMNS
}

/// The checksum of a range on one server.
///
/// # Errors
/// The server's own, and a connection that is lost.
pub async fn digest(
    snapshot: &mut SourceSnapshot,
    table: &TableShape,
    range: &Range,
    placement: Option<&Placement<'_>>,
) -> Result<Digest, StreamError> {
    let what = format!("comparing checksums of table `{}`", table.name);
    let columns = placement.map_or(&[][..], |p| p.sharder.columns());
    let checksum = row_checksum(table);
    let mut query = b"SELECT ".to_vec();
    // Whole numbers in one long text cost both ends less than rows do.
    let number_of = match columns {
        [column] if is_whole(&table.columns[*column]) => Some(*column),
        _ => None,
    };
    if columns.is_empty() || number_of.is_some() {
        query.extend_from_slice(format!("COUNT(*), BIT_XOR({checksum})").as_bytes());
        if let Some(column) = number_of {
            let numbers = format!(", GROUP_CONCAT({})", table.columns[column].quoted());
            query.extend_from_slice(numbers.as_bytes());
        }
    } else {
        query.extend_from_slice(checksum.as_bytes());
        for &column in columns {
            let expression = table.columns[column].select_expression();
            query.extend_from_slice(b", ");
            query.extend_from_slice(expression.as_bytes());
        }
    }
    write_range(
        table,
        range.after.as_deref(),
        range.up_to.as_deref(),
        &mut query,
    );
    let mut digest = Digest::default();
    let Some(placement) = placement.filter(|_| !columns.is_empty() && number_of.is_none()) else {
        let count = 2 + usize::from(number_of.is_some());
        snapshot
            .each_row::<3>(&what, &query, count, |[rows, checksum, numbers]| {
                digest.rows = number(*rows);
                digest.checksum = number(*checksum);
                if let (Some(placement), Some(column)) = (placement, number_of) {
                    let numbers = numbers.unwrap_or_default();
                    digest.misplaced = !placement.has_all(column, numbers, digest.rows);
                }
            })
            .await?;
        return Ok(digest);
    };
    let count = columns.len() + 1;
    snapshot
        .each_row::<{ MOST_COLUMNS + 1 }>(&what, &query, count, |cells| {
            digest.rows += 1;
            digest.checksum ^= number(cells[0]);
            let value = |column: usize| {
                let place = columns.iter().position(|&c| c == column)?;
                cells[place + 1]
            };
            digest.misplaced |= !placement.is_right(value);
        })
        .await?;
    Ok(digest)
}

fn number(cell: Option<&[u8]>) -> u64 {
    let digits = cell.unwrap_or_default();
    (digits.iter()).fold(0u64, |n, d| {
        n.wrapping_mul(10).wrapping_add(u64::from(d & 15))
    })
}

/// Cuts what is left of a table into ranges, a window of them at a time.
pub struct Ranges {
    /// Rows of each, about.
    rows: u64,
    /// Whether the table is read in a few seconds.
    is_small: bool,
    cut: Cut,
}

enum Cut {
    /// Numbers at equal distances, up to the largest of the side that is read.
    ByNumber { step: i128, largest: i128 },
    /// Keys that a server finds at equal distances.
    ByServer,
}

/// Bytes of a range's rows, about: little enough to be sent again one by one.
const RANGE_BYTES: u64 = 8 << 20;
const LEAST_ROWS: u64 = 1_000;
/// Of a table that is read in a few seconds: there is little to go on from after an interruption, and
/// without a condition, which servers look at for each row, they read it in two thirds of the time.
const SMALL_ROWS: u64 = 2_500_000;
const SMALL_BYTES: u64 = 1 << 30;
/// So that a text of their sharding columns' numbers is not cut off.
const MOST_ROWS: u64 = 200_000;
/// Of a table that is not small: a row that differs costs the rows of its range.
const LEAST_RANGES: u64 = 8;
/// Ranges of a window, where no server has to be asked for them.
const WINDOW: usize = 48;
/// Where a server is.
const ASKED_WINDOW: usize = 16;

impl Ranges {
    /// Learns from a server, the first of the side that is read, how rows lie.
    pub async fn new(
        snapshot: &mut SourceSnapshot,
        table: &TableShape,
    ) -> Result<Self, StreamError> {
        let what = format!("looking at table `{}`", table.name);
        let name = |text: &str| crate::flavor::literal(text);
        let query = format!(
            "SELECT COALESCE(TABLE_ROWS, 0), COALESCE(AVG_ROW_LENGTH, 0) \
             FROM information_schema.TABLES WHERE TABLE_SCHEMA = {} AND TABLE_NAME = {}",
            name(table.keyspace.as_str()),
            name(table.name.as_str())
        );
        let found = snapshot.rows(&what, query.as_bytes()).await?;
        let found = found.into_iter().next().unwrap_or_default();
        let of = |i: usize| number(found.get(i).and_then(|c: &Cell| c.as_deref()));
        let (estimated, length) = (of(0), of(1).max(1));
        let rows = (RANGE_BYTES / length)
            .min(estimated / LEAST_RANGES)
            .clamp(LEAST_ROWS, MOST_ROWS);
        let cut = match by_number(table) {
            Some(column) => {
                let column = column.quoted();
                let query = format!(
                    "SELECT MIN({column}), MAX({column}) FROM {}",
                    table.quoted()
                );
                let found = snapshot.rows(&what, query.as_bytes()).await?;
                let found = found.into_iter().next().unwrap_or_default();
                let of = |i: usize| integer(found.get(i)?.as_deref()?);
                let (smallest, largest) = (of(0).unwrap_or(0), of(1).unwrap_or(0));
                let ranges = i128::from(estimated.div_ceil(rows).max(1));
                let step = ((largest - smallest) / ranges).max(1) + 1;
                Cut::ByNumber { step, largest }
            }
            None => Cut::ByServer,
        };
        Ok(Self {
            rows,
            is_small: estimated <= SMALL_ROWS && estimated.saturating_mul(length) <= SMALL_BYTES,
            cut,
        })
    }

    /// Whether the whole table is worth one look before it is cut up.
    pub fn is_small(&self) -> bool {
        self.is_small
    }

    /// The next ones beyond a key. The last of all has no end.
    pub async fn window(
        &self,
        snapshot: &mut SourceSnapshot,
        table: &TableShape,
        after: Option<Row>,
    ) -> Result<Vec<Range>, StreamError> {
        let most = match self.cut {
            Cut::ByNumber { .. } => WINDOW,
            Cut::ByServer => ASKED_WINDOW,
        };
        let mut ranges = Vec::new();
        let mut after = after;
        while ranges.len() < most {
            let up_to = self.end(snapshot, table, after.as_deref()).await?;
            let over = up_to.is_none();
            ranges.push(Range {
                after: after.take(),
                up_to: up_to.clone(),
            });
            after = up_to;
            if over {
                break;
            }
        }
        Ok(ranges)
    }

    async fn end(
        &self,
        snapshot: &mut SourceSnapshot,
        table: &TableShape,
        after: Option<&[Cell]>,
    ) -> Result<Option<Row>, StreamError> {
        match self.cut {
            Cut::ByNumber { step, largest } => {
                let from = match after {
                    Some(key) => key.first().and_then(|c| integer(c.as_deref()?)),
                    None => {
                        let column = table.columns[table.key[0]].quoted();
                        let query = format!("SELECT MIN({column}) FROM {}", table.quoted());
                        let found = snapshot.rows("looking for the first key", &query).await?;
                        let cell = found.into_iter().next().and_then(|r| r.into_iter().next());
                        cell.flatten().and_then(|c| integer(&c)).map(|n| n - 1)
                    }
                };
                let end = from.map(|from| from + step).filter(|end| *end < largest);
                Ok(end.map(|end| vec![Some(end.to_string().into_bytes().into())]))
            }
            Cut::ByServer => {
                let mut query = b"SELECT ".to_vec();
                let key = table.key.iter().map(|&c| &table.columns[c]);
                let expressions: Vec<String> =
                    key.clone().map(ColumnShape::select_expression).collect();
                query.extend_from_slice(expressions.join(", ").as_bytes());
                write_range(table, after, None, &mut query);
                let order: Vec<String> = key.map(ColumnShape::quoted).collect();
                let order = format!(
                    " ORDER BY {} LIMIT 1 OFFSET {}",
                    order.join(", "),
                    self.rows
                );
                query.extend_from_slice(order.as_bytes());
                let found = snapshot.rows("looking for a range's end", &query).await?;
                Ok(found.into_iter().next())
            }
        }
    }
}

/// The key, if it is one whole number.
fn by_number(table: &TableShape) -> Option<&ColumnShape> {
    let [column] = table.key[..] else {
        return None;
    };
    let column = &table.columns[column];
    is_whole(column).then_some(column)
}

fn integer(cell: &[u8]) -> Option<i128> {
    std::str::from_utf8(cell).ok()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_read_from_their_digits() {
        assert_eq!(number(Some(b"0")), 0);
        assert_eq!(number(Some(b"4294967295")), 4_294_967_295);
        assert_eq!(number(None), 0);
        assert_eq!(integer(b"-12"), Some(-12));
    }
}
