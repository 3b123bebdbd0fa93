//! Rows, changes of rows, and values as literals of SQL.
//!
//! **The contract of a value** ([`Cell`]), between all that read and write rows. `None` is NULL;
//! otherwise the bytes that the server gives for [`ColumnShape::select_expression`] in the text
//! protocol under `SET NAMES binary` and `time_zone = '+00:00'`. The binlog's values are turned into
//! the same bytes. So:
//!
//! - numbers are decimal text without padding; FLOAT and DOUBLE have the shortest text that
//!   identifies the double
//! - text is in its column's own character set; CHAR has no trailing spaces
//! - BINARY is padded to its length; BIT is its bytes, the highest first
//! - ENUM and SET are numbers: the place of the member (0: the error value), the bits of the members
//! - TIMESTAMP is in UTC; all times have exactly the digits of the fraction that the column has
//! - JSON of MySQL is its text as the server formats it; GEOMETRY is the server's internal bytes
//!   (SRID, then WKB)
//! - generated columns have no value: servers make them

use bytes::Bytes;

use super::table::{ColumnKind, ColumnShape};
use super::wire::codec::{Reader, Truncated};

/// A value. See the module's description.
pub type Cell = Option<Bytes>;

/// The values of a row, one for each of [`super::TableShape::columns`].
pub type Row = Vec<Cell>;

/// What a transaction did to one row. `table` is a place in the list of tables that the reader was
/// given.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    Insert {
        table: usize,
        row: Row,
    },
    Update {
        table: usize,
        before: Row,
        after: Row,
    },
    Delete {
        table: usize,
        row: Row,
    },
}

impl Change {
    pub fn table(&self) -> usize {
        match self {
            Self::Insert { table, .. }
            | Self::Update { table, .. }
            | Self::Delete { table, .. } => *table,
        }
    }
}

/// Rows that were read together, in one buffer.
#[derive(Debug, Clone, Default)]
pub struct RowBatch {
    data: Vec<u8>,
    /// Where each value stands in `data`, row after row; `NULL` for none.
    cells: Vec<(u32, u32)>,
    columns: usize,
}

/// The place of a value that is NULL.
const NULL: (u32, u32) = (u32::MAX, 0);

impl RowBatch {
    /// An empty batch of rows with this many columns.
    pub fn new(columns: usize) -> Self {
        Self {
            data: Vec::new(),
            cells: Vec::new(),
            columns,
        }
    }

    pub(super) fn with_capacity(columns: usize, bytes: usize) -> Self {
        Self {
            // A row may be longer than what is left when it comes.
            data: Vec::with_capacity(bytes + bytes / 8),
            ..Self::new(columns)
        }
    }

    /// Appends a row as the text protocol has it. It is copied whole; only where the values
    /// stand is noted.
    pub(super) fn push_text_row(&mut self, payload: &[u8]) -> Result<(), Truncated> {
        let base = self.data.len();
        let mut reader = Reader::new(payload);
        for _ in 0..self.columns {
            let place = match reader.lenenc_text()? {
                None => NULL,
                Some(value) => {
                    let start = base + payload.len() - reader.rest().len() - value.len();
                    (offset(start), offset(value.len()))
                }
            };
            self.cells.push(place);
        }
        self.data.extend_from_slice(payload);
        Ok(())
    }

    /// Number of rows.
    pub fn len(&self) -> usize {
        self.cells.len().checked_div(self.columns).unwrap_or(0)
    }

    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// Bytes of the values, with a few for each that say its length.
    pub fn bytes(&self) -> usize {
        self.data.len()
    }

    /// # Panics
    /// If there are not that many rows.
    pub fn row(&self, index: usize) -> RowRef<'_> {
        let start = index * self.columns;
        RowRef {
            data: &self.data,
            cells: &self.cells[start..start + self.columns],
        }
    }

    pub fn last(&self) -> Option<RowRef<'_>> {
        self.len().checked_sub(1).map(|last| self.row(last))
    }

    pub fn rows(&self) -> impl ExactSizeIterator<Item = RowRef<'_>> + '_ {
        (0..self.len()).map(|i| self.row(i))
    }

    /// Appends a row.
    ///
    /// # Panics
    /// If it has another number of columns, or the batch would be over 4 GiB.
    pub fn push<'a>(&mut self, cells: impl IntoIterator<Item = Option<&'a [u8]>>) {
        let before = self.cells.len();
        for cell in cells {
            let place = match cell {
                None => NULL,
                Some(bytes) => {
                    let start = self.data.len();
                    self.data.extend_from_slice(bytes);
                    (offset(start), offset(bytes.len()))
                }
            };
            self.cells.push(place);
        }
        assert_eq!(self.cells.len() - before, self.columns);
    }
}

fn offset(n: usize) -> u32 {
    u32::try_from(n)
        .ok()
        .filter(|n| *n < u32::MAX)
        .expect("a batch ends long before 4 GiB")
}

/// A row of a [`RowBatch`].
#[derive(Debug, Clone, Copy)]
pub struct RowRef<'a> {
    data: &'a [u8],
    cells: &'a [(u32, u32)],
}

impl<'a> RowRef<'a> {
    /// Number of columns.
    pub fn len(&self) -> usize {
        self.cells.len()
    }

    pub fn is_empty(&self) -> bool {
        self.cells.is_empty()
    }

    /// # Panics
    /// If there are not that many columns.
    pub fn get(&self, column: usize) -> Option<&'a [u8]> {
        let (start, length) = self.cells[column];
        (start != u32::MAX).then(|| &self.data[start as usize..start as usize + length as usize])
    }

    pub fn cells(&self) -> impl ExactSizeIterator<Item = Option<&'a [u8]>> + use<'a> {
        let (data, cells) = (self.data, self.cells);
        (0..cells.len()).map(move |i| RowRef { data, cells }.get(i))
    }

    /// A copy that stands by itself.
    pub fn to_row(&self) -> Row {
        self.cells()
            .map(|c| c.map(Bytes::copy_from_slice))
            .collect()
    }

    /// The values of some columns, such as [`super::TableShape::key`].
    pub fn pick(&self, columns: &[usize]) -> Row {
        columns
            .iter()
            .map(|&c| self.get(c).map(Bytes::copy_from_slice))
            .collect()
    }
}

/// Appends a value as a literal that gives back the same value when it is written to a column of
/// this shape, or compared with one, in a session with [`super::server::SESSION`].
pub fn write_literal(column: &ColumnShape, value: Option<&[u8]>, out: &mut Vec<u8>) {
    let Some(value) = value else {
        out.extend_from_slice(b"NULL");
        return;
    };
    match &column.kind {
        _ if column.is_number() => {
            // The text of a number is a literal as it stands; a DOUBLE's stays one.
            out.extend_from_slice(value);
            let float = matches!(column.kind, ColumnKind::Float | ColumnKind::Double);
            if float && !value.contains(&b'e') {
                out.extend_from_slice(b"e0");
            }
        }
        ColumnKind::Date
        | ColumnKind::Time { .. }
        | ColumnKind::DateTime { .. }
        | ColumnKind::Timestamp { .. } => {
            out.push(b'\'');
            out.extend_from_slice(value);
            out.push(b'\'');
        }
        // Without a character set it would be the bytes themselves.
        ColumnKind::Uuid | ColumnKind::Inet4 | ColumnKind::Inet6 => {
            out.extend_from_slice(b"_latin1");
            write_quoted(value, out);
        }
        // As a number: a comparison with bytes would be one of texts.
        ColumnKind::Bit { .. } => {
            let number = value.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
            out.extend_from_slice(number.to_string().as_bytes());
        }
        ColumnKind::Geometry | ColumnKind::Vector => write_hex(value, out),
        ColumnKind::Json => {
            let quote = |text: &[u8], out: &mut Vec<u8>| {
                out.extend_from_slice(b"_utf8mb4");
                write_quoted(text, out);
            };
            super::json_literal::write(value, quote, out);
        }
        _ => match column.charset.as_deref() {
            Some(charset @ ("utf8mb4" | "utf8mb3" | "latin1" | "ascii")) => {
                out.push(b'_');
                out.extend_from_slice(charset.as_bytes());
                write_quoted(value, out);
            }
            // A byte of a character may look like a quote or a backslash.
            Some(charset) => {
                out.push(b'_');
                out.extend_from_slice(charset.as_bytes());
                out.push(b' ');
                if value.is_empty() {
                    out.extend_from_slice(b"''");
                } else {
                    write_hex(value, out);
                }
            }
            None => {
                out.extend_from_slice(b"_binary");
                write_quoted(value, out);
            }
        },
    }
}

fn write_quoted(value: &[u8], out: &mut Vec<u8>) {
    out.reserve(value.len() + 2);
    out.push(b'\'');
    let mut rest = value;
    while let Some(at) = rest.iter().position(|b| matches!(b, b'\'' | b'\\')) {
        out.extend_from_slice(&rest[..at]);
        out.extend_from_slice(&[b'\\', rest[at]]);
        rest = &rest[at + 1..];
    }
    out.extend_from_slice(rest);
    out.push(b'\'');
}

fn write_hex(value: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    if value.is_empty() {
        out.extend_from_slice(b"''");
        return;
    }
    out.reserve(2 + 2 * value.len());
    out.extend_from_slice(b"0x");
    for byte in value {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
}
