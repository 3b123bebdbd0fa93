//! Copied rows of a table on their way to one target.

use std::ops::Range;

use super::lines;
use super::tables::offset;

/// How rows are sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// As an INSERT with their values as literals.
    Insert,
    /// As lines for LOAD DATA, see [`lines`].
    Lines,
}

/// Rows of a table for one target.
#[derive(Debug, Clone)]
pub struct Inserts {
    pub form: Form,
    /// The INSERT, or the lines; empty for no row.
    pub text: Vec<u8>,
    /// Where the values of each row begin in an INSERT, after a comma or what comes before the
    /// first.
    pub starts: Vec<u32>,
    pub rows: u64,
    /// Of the values.
    pub bytes: u64,
}

impl Inserts {
    /// No row.
    pub fn new(form: Form) -> Self {
        Self {
            form,
            text: Vec::new(),
            starts: Vec::new(),
            rows: 0,
            bytes: 0,
        }
    }

    /// Appends a row as a line.
    pub fn push_line<'a>(&mut self, cells: impl Iterator<Item = Option<&'a [u8]>>) {
        self.rows += 1;
        lines::write(cells, &mut self.text);
    }

    /// Appends what comes before a row of an INSERT: `head` before the first one.
    pub fn start_row(&mut self, head: &[u8]) {
        match self.rows {
            0 => self.text.extend_from_slice(head),
            _ => self.text.push(b','),
        }
        self.starts.push(offset(self.text.len()));
        self.rows += 1;
    }

    /// An INSERT of some of the rows of an INSERT.
    pub fn some(&self, rows: Range<usize>) -> Vec<u8> {
        let start = |row: usize| self.starts.get(row).map(|&at| at as usize);
        let head = start(0).unwrap_or(self.text.len());
        let from = start(rows.start).unwrap_or(self.text.len());
        // What comes before the next row is a comma.
        let to = start(rows.end).map_or(self.text.len(), |next| next - 1);
        [&self.text[..head], &self.text[from..to]].concat()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_insert_of_some_rows_has_these_and_no_others() {
        let rows = ["(1,'a,b')", "(2,'')", "(3,NULL)"];
        let mut inserts = Inserts::new(Form::Insert);
        for row in rows {
            inserts.start_row(b"INSERT INTO `k`.`t` (`a`) VALUES ");
            inserts.text.extend_from_slice(row.as_bytes());
        }
        for from in 0..rows.len() {
            for to in from + 1..=rows.len() {
                let wanted = format!(
                    "INSERT INTO `k`.`t` (`a`) VALUES {}",
                    rows[from..to].join(",")
                );
                let some = inserts.some(from..to);
                assert_eq!(String::from_utf8_lossy(&some), wanted);
            }
        }
    }
}
