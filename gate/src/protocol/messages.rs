//! Messages that the gate itself writes to clients, and short ones that it reads from servers.

use super::codec::{Reader, Truncated, put_lenenc, put_lenenc_bytes};
use super::constants::{caps, types};
use super::error::SqlError;
use super::framing::put_with;

/// What an OK packet says.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct OkPacket {
    pub affected_rows: u64,
    pub last_insert_id: u64,
    pub status: u16,
    pub warnings: u16,
    /// How many rows an UPDATE has found, changed or not. Only read, never written.
    pub matched: Option<u64>,
}

impl OkPacket {
    /// Reads the payload of an OK packet (header `0x00`, or `0xfe` at the end of rows).
    pub fn parse(payload: &[u8]) -> Result<Self, Truncated> {
        let mut reader = Reader::new(payload);
        reader.u8()?;
        let mut ok = Self {
            affected_rows: reader.lenenc()?,
            last_insert_id: reader.lenenc()?,
            status: reader.u16()?,
            warnings: reader.u16()?,
            matched: None,
        };
        if !reader.rest().is_empty() {
            ok.matched = reader.lenenc_bytes().ok().and_then(matched);
        }
        Ok(ok)
    }

    fn put_payload(&self, out: &mut Vec<u8>, header: u8) {
        out.push(header);
        put_lenenc(out, self.affected_rows);
        put_lenenc(out, self.last_insert_id);
        out.extend_from_slice(&self.status.to_le_bytes());
        out.extend_from_slice(&self.warnings.to_le_bytes());
    }
}

/// Of `Rows matched: 3  Changed: 2  Warnings: 0`, in whatever language.
fn matched(info: &[u8]) -> Option<u64> {
    let start = info.iter().position(u8::is_ascii_digit)?;
    let digits = info[start..].iter().take_while(|b| b.is_ascii_digit());
    let digits: Vec<u8> = digits.copied().collect();
    std::str::from_utf8(&digits).ok()?.parse().ok()
}

pub fn put_ok(out: &mut Vec<u8>, sequence: &mut u8, ok: &OkPacket) {
    put_with(out, sequence, |out| ok.put_payload(out, 0));
}

/// The end of rows, in the form that the client's capabilities ask for.
pub fn put_rows_end(out: &mut Vec<u8>, sequence: &mut u8, capabilities: u32, ok: &OkPacket) {
    put_with(out, sequence, |out| {
        if capabilities & caps::DEPRECATE_EOF != 0 {
            ok.put_payload(out, 0xfe);
        } else {
            put_eof(out, ok);
        }
    });
}

fn put_eof(out: &mut Vec<u8>, ok: &OkPacket) {
    out.push(0xfe);
    out.extend_from_slice(&ok.warnings.to_le_bytes());
    out.extend_from_slice(&ok.status.to_le_bytes());
}

pub fn put_error(out: &mut Vec<u8>, sequence: &mut u8, error: &SqlError) {
    put_with(out, sequence, |out| {
        out.push(0xff);
        out.extend_from_slice(&error.code.to_le_bytes());
        out.push(b'#');
        out.extend_from_slice(&error.state);
        out.extend_from_slice(error.message.as_bytes());
    });
}

/// Reads the payload of an ERR packet. One that makes no sense becomes an error all the same.
pub fn parse_error(payload: &[u8]) -> SqlError {
    let mut reader = Reader::new(payload);
    let head = reader.u8().and_then(|_| reader.u16());
    let Ok(code) = head else {
        return SqlError::malformed("the server sent a truncated error");
    };
    let mut rest = reader.rest();
    let mut state = *b"HY000";
    if let Some((&b'#', tail)) = rest.split_first()
        && let Some((given, tail)) = tail.split_first_chunk::<5>()
    {
        state = *given;
        rest = tail;
    }
    SqlError {
        code,
        state,
        message: String::from_utf8_lossy(rest).into_owned(),
    }
}

/// A column of a result that the gate makes.
#[derive(Debug, Clone)]
pub struct Column {
    pub name: String,
    pub column_type: u8,
    pub charset: u16,
    pub length: u32,
    pub flags: u16,
}

impl Column {
    /// A text column, utf8mb4.
    pub fn text(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            column_type: types::VAR_STRING,
            charset: 45,
            length: 1024,
            flags: 0,
        }
    }

    /// A 64-bit integer column.
    pub fn number(name: impl Into<String>) -> Self {
        Self {
            name: name.into(),
            column_type: types::LONGLONG,
            charset: 63,
            length: 20,
            flags: 0x80,
        }
    }

    /// Appends the column's definition (the 4.1 form) as one message.
    pub fn put(&self, out: &mut Vec<u8>, sequence: &mut u8) {
        put_with(out, sequence, |out| {
            put_lenenc_bytes(out, b"def");
            for _ in ["schema", "table", "original table"] {
                put_lenenc_bytes(out, b"");
            }
            put_lenenc_bytes(out, self.name.as_bytes());
            put_lenenc_bytes(out, b"");
            out.push(0x0c);
            out.extend_from_slice(&self.charset.to_le_bytes());
            out.extend_from_slice(&self.length.to_le_bytes());
            out.push(self.column_type);
            out.extend_from_slice(&self.flags.to_le_bytes());
            out.extend_from_slice(&[0, 0, 0]);
        });
    }
}

/// A result that the gate makes: columns, and rows of texts (`None` is NULL).
#[derive(Debug, Clone, Default)]
pub struct Rows {
    pub columns: Vec<Column>,
    pub rows: Vec<Vec<Option<String>>>,
}

impl Rows {
    /// Rows of text columns.
    pub fn text(columns: &[&str]) -> Self {
        Self {
            columns: columns.iter().map(|c| Column::text(*c)).collect(),
            rows: Vec::new(),
        }
    }

    /// Appends the result; `binary` rows for a prepared statement. All values of a binary row are
    /// texts but those of number columns.
    pub fn put(
        &self,
        out: &mut Vec<u8>,
        sequence: &mut u8,
        capabilities: u32,
        binary: bool,
        end: &OkPacket,
    ) {
        put_with(out, sequence, |out| {
            put_lenenc(out, self.columns.len() as u64)
        });
        for column in &self.columns {
            column.put(out, sequence);
        }
        if capabilities & caps::DEPRECATE_EOF == 0 {
            put_with(out, sequence, |out| put_eof(out, end));
        }
        for row in &self.rows {
            put_with(out, sequence, |out| {
                if binary {
                    self.put_binary_row(out, row);
                } else {
                    for value in row {
                        match value {
                            Some(text) => put_lenenc_bytes(out, text.as_bytes()),
                            None => out.push(0xfb),
                        }
                    }
                }
            });
        }
        put_rows_end(out, sequence, capabilities, end);
    }

    fn put_binary_row(&self, out: &mut Vec<u8>, row: &[Option<String>]) {
        out.push(0);
        let bitmap = out.len();
        out.resize(bitmap + (row.len() + 9) / 8, 0);
        for (i, value) in row.iter().enumerate() {
            match value {
                None => out[bitmap + (i + 2) / 8] |= 1 << ((i + 2) % 8),
                Some(text) if self.columns[i].column_type == types::LONGLONG => {
                    let number: i64 = text.parse().unwrap_or_default();
                    out.extend_from_slice(&number.to_le_bytes());
                }
                Some(text) if self.columns[i].column_type == types::LONG => {
                    let number: u32 = text.parse().unwrap_or_default();
                    out.extend_from_slice(&number.to_le_bytes());
                }
                Some(text) => put_lenenc_bytes(out, text.as_bytes()),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::BytesMut;
    use proptest::prelude::*;

    use super::super::framing::take_message;
    use super::*;

    #[test]
    fn an_error_is_read_back() {
        let error = SqlError::new(1045, b"28000", "Access denied");
        let (mut out, mut seq) = (Vec::new(), 0);
        put_error(&mut out, &mut seq, &error);
        let mut buf = BytesMut::from(out.as_slice());
        let message = take_message(&mut buf, &mut 0, 1000).unwrap().unwrap();
        assert_eq!(parse_error(message.payload()), error);
    }

    proptest! {
        #[test]
        fn an_ok_packet_is_read_back(affected: u64, id: u64, status: u16, warnings: u16) {
            let ok = OkPacket { affected_rows: affected, last_insert_id: id, status, warnings, matched: None };
            let mut out = Vec::new();
            ok.put_payload(&mut out, 0);
            prop_assert_eq!(OkPacket::parse(&out), Ok(ok));
        }

        #[test]
        fn no_bytes_make_the_parsers_panic(bytes: Vec<u8>) {
            let _ = OkPacket::parse(&bytes);
            let _ = parse_error(&bytes);
        }
    }
}
