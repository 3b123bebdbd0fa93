//! MySQL's binary JSON as the text that a SELECT gives.
//!
//! Source: `json_binary.h` and `json_dom.cc` of MySQL.

use super::number::{write_decimal, write_double};
use super::value::{
    write_date, write_fraction, write_packed_datetime, write_packed_time, write_unsigned,
};
use crate::stream::wire::codec::{Reader, Truncated};

/// MySQL's own limit.
const DEEPEST: usize = 100;

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadJson(pub(super) String);

impl From<Truncated> for BadJson {
    fn from(_: Truncated) -> Self {
        Self("JSON ends too early".to_owned())
    }
}

/// Appends a document's text.
pub(super) fn write_text(bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BadJson> {
    let Some((&kind, value)) = bytes.split_first() else {
        // What a column holds that was given no value by a statement that ignores errors.
        out.extend_from_slice(b"null");
        return Ok(());
    };
    let mut writer = Writer {
        out,
        budget: bytes.len(),
    };
    writer.value(kind, value, 0)
}

struct Writer<'a> {
    out: &'a mut Vec<u8>,
    /// A document whose values overlap could be far longer as text: each byte may be used once.
    budget: usize,
}

impl Writer<'_> {
    fn spend(&mut self, bytes: usize) -> Result<(), BadJson> {
        self.budget = self
            .budget
            .checked_sub(bytes)
            .ok_or_else(|| BadJson("JSON has values that overlap".to_owned()))?;
        Ok(())
    }

    fn value(&mut self, kind: u8, value: &[u8], depth: usize) -> Result<(), BadJson> {
        self.spend(1)?;
        let out = &mut *self.out;
        let mut reader = Reader::new(value);
        match kind {
            0..=3 => {
                let shape = Shape {
                    object: kind < 2,
                    large: kind % 2 == 1,
                };
                self.container(value, shape, depth)?;
            }
            4 => out.extend_from_slice(match reader.u8()? {
                0 => b"null",
                1 => b"true",
                2 => b"false",
                other => return Err(BadJson(format!("JSON has a literal {other}"))),
            }),
            5 => write_signed(i64::from(reader.u16()?.cast_signed()), out),
            6 => write_unsigned(u64::from(reader.u16()?), out),
            7 => write_signed(i64::from(reader.u32()?.cast_signed()), out),
            8 => write_unsigned(u64::from(reader.u32()?), out),
            9 => write_signed(reader.u64()?.cast_signed(), out),
            10 => write_unsigned(reader.u64()?, out),
            11 => {
                let start = out.len();
                write_double(f64::from_bits(reader.u64()?), out);
                // It stays apart from a whole number.
                if !out[start..].iter().any(|b| matches!(b, b'.' | b'e')) {
                    out.extend_from_slice(b".0");
                }
            }
            12 => {
                let length = length(&mut reader)?;
                self.string(reader.bytes(length)?)?;
            }
            15 => {
                let kind = reader.u8()?;
                let length = length(&mut reader)?;
                write_opaque(kind, reader.bytes(length)?, out)?;
            }
            other => return Err(BadJson(format!("JSON has a value of type {other}"))),
        }
        Ok(())
    }
}

#[derive(Clone, Copy)]
struct Shape {
    object: bool,
    large: bool,
}

impl Writer<'_> {
    fn container(&mut self, value: &[u8], shape: Shape, depth: usize) -> Result<(), BadJson> {
        if depth > DEEPEST {
            return Err(BadJson("JSON is nested too deeply".to_owned()));
        }
        let width = if shape.large { 4 } else { 2 };
        let number = |reader: &mut Reader<'_>| -> Result<usize, Truncated> {
            usize::try_from(reader.uint(width)?).map_err(|_| Truncated)
        };
        let mut head = Reader::new(value);
        let count = number(&mut head)?;
        let size = number(&mut head)?;
        // Offsets count from here.
        let value = value.get(..size).ok_or(Truncated)?;
        let mut keys = Vec::new();
        if shape.object {
            for _ in 0..count {
                let at = number(&mut head)?;
                let length = usize::from(head.u16()?);
                let key = value.get(at..).and_then(|v| v.get(..length));
                keys.push(key.ok_or(Truncated)?);
            }
        }
        self.out.push(if shape.object { b'{' } else { b'[' });
        for i in 0..count {
            if i > 0 {
                self.out.extend_from_slice(b", ");
            }
            if let Some(key) = keys.get(i) {
                self.string(key)?;
                self.out.extend_from_slice(b": ");
            }
            let kind = head.u8()?;
            let entry = head.bytes(width)?;
            // Small values stand in the entry itself.
            let inlined = matches!(kind, 4..=6) || (shape.large && matches!(kind, 7 | 8));
            if inlined {
                self.value(kind, entry, depth + 1)?;
            } else {
                let at = number(&mut Reader::new(entry))?;
                self.value(kind, value.get(at..).ok_or(Truncated)?, depth + 1)?;
            }
        }
        self.out.push(if shape.object { b'}' } else { b']' });
        Ok(())
    }

    fn string(&mut self, text: &[u8]) -> Result<(), BadJson> {
        self.spend(text.len())?;
        write_string(text, self.out);
        Ok(())
    }
}

/// A length in groups of seven bits, the lowest first.
fn length(reader: &mut Reader<'_>) -> Result<usize, Truncated> {
    let mut length = 0usize;
    for group in 0..5 {
        let byte = reader.u8()?;
        length |= usize::from(byte & 0x7f) << (7 * group);
        if byte & 0x80 == 0 {
            return Ok(length);
        }
    }
    Err(Truncated)
}

fn write_signed(number: i64, out: &mut Vec<u8>) {
    if number < 0 {
        out.push(b'-');
    }
    write_unsigned(number.unsigned_abs(), out);
}

fn write_string(text: &[u8], out: &mut Vec<u8>) {
    out.push(b'"');
    for &byte in text {
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            0x08 => out.extend_from_slice(b"\\b"),
            0x0c => out.extend_from_slice(b"\\f"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.extend_from_slice(format!("\\u{byte:04x}").as_bytes()),
            other => out.push(other),
        }
    }
    out.push(b'"');
}

/// Values of SQL types within JSON.
fn write_opaque(kind: u8, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), BadJson> {
    let mut reader = Reader::new(bytes);
    match kind {
        // DECIMAL
        246 => {
            let precision = reader.u8()?;
            let scale = reader.u8()?;
            write_decimal(&mut reader, precision, scale, out)?;
        }
        // DATE
        10 => {
            let packed = reader.u64()? >> 24;
            let date = packed >> 17;
            out.push(b'"');
            write_date((date >> 5) / 13, (date >> 5) % 13, date & 31, out);
            out.push(b'"');
        }
        // TIMESTAMP, DATETIME
        7 | 12 => {
            let packed = reader.u64()?;
            out.push(b'"');
            write_packed_datetime(packed >> 24, out);
            write_fraction(packed & 0xff_ffff, 6, out);
            out.push(b'"');
        }
        // TIME
        11 => {
            out.push(b'"');
            write_packed_time(reader.u64()?.cast_signed(), out);
            out.push(b'"');
        }
        other => {
            out.extend_from_slice(format!("\"base64:type{other}:").as_bytes());
            write_base64(bytes, out);
            out.push(b'"');
        }
    }
    Ok(())
}

fn write_base64(bytes: &[u8], out: &mut Vec<u8>) {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    for (i, chunk) in bytes.chunks(3).enumerate() {
        // The server breaks lines after 76 characters.
        if i > 0 && i % 19 == 0 {
            out.extend_from_slice(b"\\n");
        }
        let byte = |i: usize| u32::from(chunk.get(i).copied().unwrap_or(0));
        let bits = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            if place <= chunk.len() {
                out.push(DIGITS[(bits >> (18 - 6 * place) & 63) as usize]);
            } else {
                out.push(b'=');
            }
        }
    }
}
