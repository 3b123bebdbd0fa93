//! The order of keys, as the server has it in its index.
//!
//! Numbers, times and bytes are put in order here. Texts are the server's to order, by the column's
//! collation: it is asked, with the two values as literals of that collation. Only rows that do not
//! match are put in order, so that is rare.

use std::cmp::Ordering;

use crate::stream::server::ServerAddress;
use crate::stream::table::{ColumnKind, ColumnShape, TableShape};
use crate::stream::wire::Connection;
use crate::stream::{Cell, StreamError, write_literal};

/// Puts keys of one table in order.
pub struct Order {
    columns: Vec<ColumnShape>,
    /// Who decides about texts.
    server: Option<ServerAddress>,
    conn: Option<Connection>,
}

impl Order {
    /// `server`: any that has the table's collations; needed for keys with texts.
    pub fn new(table: &TableShape, server: Option<ServerAddress>) -> Self {
        Self {
            columns: table
                .key
                .iter()
                .map(|&c| table.columns[c].clone())
                .collect(),
            server,
            conn: None,
        }
    }

    /// Compares two keys, each with a value for every column of the table's key.
    ///
    /// # Errors
    /// When the server that has to decide cannot be asked.
    pub async fn compare(&mut self, a: &[Cell], b: &[Cell]) -> Result<Ordering, StreamError> {
        for i in 0..self.columns.len() {
            let (a, b) = (a[i].as_deref(), b[i].as_deref());
            if a == b {
                continue;
            }
            // A key's columns are never NULL; were they, NULL would come first.
            let (Some(x), Some(y)) = (a, b) else {
                return Ok(a.cmp(&b));
            };
            let ordering = match local(&self.columns[i].kind, x, y) {
                Some(ordering) => ordering,
                None => self.ask(i, x, y).await?,
            };
            if ordering != Ordering::Equal {
                return Ok(ordering);
            }
        }
        Ok(Ordering::Equal)
    }

    async fn ask(&mut self, column: usize, a: &[u8], b: &[u8]) -> Result<Ordering, StreamError> {
        let column = &self.columns[column];
        let Some(server) = &self.server else {
            return Err(StreamError::Refused(format!(
                "there is no server to order values of column `{}`",
                column.name
            )));
        };
        let mut query = b"SELECT CASE WHEN ".to_vec();
        for (value, after) in [
            (a, &b" < "[..]),
            (b, b" THEN -1 WHEN "),
            (a, b" = "),
            (b, b" THEN 0 ELSE 1 END"),
        ] {
            write_literal(column, Some(value), &mut query);
            if let Some(collation) = &column.collation {
                query.extend_from_slice(b" COLLATE ");
                query.extend_from_slice(collation.as_bytes());
            }
            query.extend_from_slice(after);
        }
        if self.conn.is_none() {
            self.conn = Some(Connection::open(server, None).await?);
        }
        let Some(conn) = &mut self.conn else {
            return Ok(Ordering::Equal);
        };
        let what = format!("ordering values of column `{}`", column.name);
        let answer = match conn.value(&what, &query).await {
            Ok(answer) => answer,
            Err(error) => {
                self.conn = None;
                return Err(error);
            }
        };
        Ok(match answer.as_deref() {
            Some("-1") => Ordering::Less,
            Some("0") => Ordering::Equal,
            _ => Ordering::Greater,
        })
    }
}

/// The order of two values that do not need the server.
fn local(kind: &ColumnKind, a: &[u8], b: &[u8]) -> Option<Ordering> {
    let text = |v| std::str::from_utf8(v).ok();
    match kind {
        ColumnKind::TinyInt
        | ColumnKind::SmallInt
        | ColumnKind::MediumInt
        | ColumnKind::Int
        | ColumnKind::BigInt
        | ColumnKind::Year
        | ColumnKind::Enum { .. }
        | ColumnKind::Set { .. } => {
            let number = |v| text(v)?.parse::<i128>().ok();
            Some(number(a)?.cmp(&number(b)?))
        }
        ColumnKind::Decimal { .. } => Some(decimal(a, b)),
        ColumnKind::Float | ColumnKind::Double => {
            let number = |v| text(v)?.parse::<f64>().ok();
            number(a)?.partial_cmp(&number(b)?)
        }
        ColumnKind::Time { .. } => Some(time(a, b)),
        // Texts of one length whose order is that of what they say, or bytes as they stand.
        ColumnKind::Date
        | ColumnKind::DateTime { .. }
        | ColumnKind::Timestamp { .. }
        | ColumnKind::Bit { .. }
        | ColumnKind::Binary { .. }
        | ColumnKind::VarBinary { .. }
        | ColumnKind::Blob => Some(a.cmp(b)),
        ColumnKind::Char { .. }
        | ColumnKind::VarChar { .. }
        | ColumnKind::Text
        | ColumnKind::Json
        | ColumnKind::Geometry
        | ColumnKind::Vector
        | ColumnKind::Uuid
        | ColumnKind::Inet4
        | ColumnKind::Inet6 => None,
    }
}

/// Orders decimal texts with the same number of digits behind the point: `-12.50`, `3.10`.
fn decimal(a: &[u8], b: &[u8]) -> Ordering {
    signed(a, b, |digits| {
        let whole = digits.iter().position(|&c| c == b'.');
        whole.unwrap_or(digits.len())
    })
}

/// Orders times: `-838:59:59.00`, `07:00:00.00`.
fn time(a: &[u8], b: &[u8]) -> Ordering {
    signed(a, b, |digits| {
        let hours = digits.iter().position(|&c| c == b':');
        hours.unwrap_or(digits.len())
    })
}

/// Orders texts that may begin with a minus, and are ordered by the length of their first part and
/// then by their characters.
fn signed(a: &[u8], b: &[u8], first_part: impl Fn(&[u8]) -> usize) -> Ordering {
    let split = |v: &'_ [u8]| -> (bool, usize) {
        let negative = v.first() == Some(&b'-');
        (negative, usize::from(negative))
    };
    let ((a_negative, a_from), (b_negative, b_from)) = (split(a), split(b));
    let (a, b) = (&a[a_from..], &b[b_from..]);
    let by_size = (first_part(a), a).cmp(&(first_part(b), b));
    match (a_negative, b_negative) {
        (false, false) => by_size,
        (true, true) => by_size.reverse(),
        (true, false) => Ordering::Less,
        (false, true) => Ordering::Greater,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_ordered_by_what_they_mean() {
        let cases: [(ColumnKind, &[&str]); 7] = [
            (
                ColumnKind::Int,
                &["-100", "-99", "-1", "0", "9", "10", "2147483647"],
            ),
            (
                ColumnKind::BigInt,
                &["-9223372036854775808", "0", "18446744073709551615"],
            ),
            (
                ColumnKind::Decimal {
                    precision: 10,
                    scale: 2,
                },
                &["-12.50", "-3.11", "-3.10", "0.00", "3.10", "3.11", "12.50"],
            ),
            (
                ColumnKind::Double,
                &["-1e20", "-1.5", "0", "1e-5", "2", "10"],
            ),
            (
                ColumnKind::Time { fraction: 0 },
                &[
                    "-838:59:59",
                    "-07:00:00",
                    "00:00:00",
                    "23:59:59",
                    "100:00:00",
                ],
            ),
            (
                ColumnKind::Date,
                &["0000-00-00", "1999-12-31", "2000-01-01"],
            ),
            (ColumnKind::VarBinary { length: 9 }, &["", "a", "aa", "b"]),
        ];
        for (kind, values) in cases {
            for (i, a) in values.iter().enumerate() {
                for (j, b) in values.iter().enumerate() {
                    let found = local(&kind, a.as_bytes(), b.as_bytes());
                    assert_eq!(found, Some(i.cmp(&j)), "{kind:?}: {a} and {b}");
                }
            }
        }
    }

    #[test]
    fn texts_are_the_servers_to_order() {
        assert_eq!(local(&ColumnKind::Text, b"a", b"B"), None);
    }
}
