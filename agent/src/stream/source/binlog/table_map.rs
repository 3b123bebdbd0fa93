//! Table maps: what row events are about, matched with the tables as they were when the stream
//! began.

use super::value::Wire;
use crate::stream::table::{ColumnKind, ColumnShape, TableShape};
use crate::stream::wire::codec::{Reader, Truncated};

/// A table map.
#[derive(Debug, Clone)]
pub(super) struct TableMap<'a> {
    pub id: u64,
    pub database: &'a [u8],
    pub table: &'a [u8],
    columns: usize,
    types: &'a [u8],
    metadata: &'a [u8],
    optional: &'a [u8],
}

/// A column of a row event.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct MappedColumn {
    pub wire: Wire,
    /// Its place in [`TableShape::columns`]; `Err`: in [`TableShape::generated`].
    pub place: Result<usize, usize>,
}

mod code {
    pub const TINY: u8 = 1;
    pub const SHORT: u8 = 2;
    pub const LONG: u8 = 3;
    pub const FLOAT: u8 = 4;
    pub const DOUBLE: u8 = 5;
    pub const TIMESTAMP: u8 = 7;
    pub const LONGLONG: u8 = 8;
    pub const INT24: u8 = 9;
    pub const DATE: u8 = 10;
    pub const TIME: u8 = 11;
    pub const DATETIME: u8 = 12;
    pub const YEAR: u8 = 13;
    pub const NEWDATE: u8 = 14;
    pub const VARCHAR: u8 = 15;
    pub const BIT: u8 = 16;
    pub const TIMESTAMP2: u8 = 17;
    pub const DATETIME2: u8 = 18;
    pub const TIME2: u8 = 19;
    pub const BLOB_COMPRESSED: u8 = 140;
    pub const VARCHAR_COMPRESSED: u8 = 141;
    pub const VECTOR: u8 = 242;
    pub const JSON: u8 = 245;
    pub const NEWDECIMAL: u8 = 246;
    pub const ENUM: u8 = 247;
    pub const SET: u8 = 248;
    pub const TINY_BLOB: u8 = 249;
    pub const BLOB: u8 = 252;
    pub const VAR_STRING: u8 = 253;
    pub const STRING: u8 = 254;
    pub const GEOMETRY: u8 = 255;
}

impl<'a> TableMap<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Truncated> {
        let mut reader = Reader::new(body);
        let id = reader.uint(6)?;
        reader.u16()?;
        let length = usize::from(reader.u8()?);
        let database = reader.bytes(length)?;
        reader.u8()?;
        let length = usize::from(reader.u8()?);
        let table = reader.bytes(length)?;
        reader.u8()?;
        let columns = usize::try_from(reader.lenenc()?).map_err(|_| Truncated)?;
        let types = reader.bytes(columns)?;
        let length = usize::try_from(reader.lenenc()?).map_err(|_| Truncated)?;
        let metadata = reader.bytes(length)?;
        // Which may be NULL.
        reader.bytes(columns.div_ceil(8))?;
        Ok(Self {
            id,
            database,
            table,
            columns,
            types,
            metadata,
            optional: reader.rest(),
        })
    }

    /// The columns of the events that follow. The error says what is not as in the shape.
    pub(super) fn matched(&self, shape: &TableShape) -> Result<Vec<MappedColumn>, String> {
        let expected = shape.columns.len() + shape.generated.len();
        if self.columns != expected {
            return Err(format!(
                "it has {} columns and had {expected}",
                self.columns
            ));
        }
        let names = self.names().unwrap_or_default();
        let unsigned = self.unsigned().unwrap_or_default();
        let mut metadata = Reader::new(self.metadata);
        let mut matched = Vec::with_capacity(expected);
        let (mut plain, mut generated, mut numeric) = (0, 0, 0);
        for i in 0..expected {
            let is_generated = shape
                .generated
                .get(generated)
                .is_some_and(|(at, _)| *at == i);
            let (column, place) = if is_generated {
                generated += 1;
                (&shape.generated[generated - 1].1, Err(generated - 1))
            } else {
                plain += 1;
                let column = shape.columns.get(plain - 1);
                (column.ok_or("its columns are others")?, Ok(plain - 1))
            };
            if let Some(name) = names.get(i)
                && *name != column.name.as_bytes()
            {
                return Err(format!(
                    "its column {} is `{}` and was `{}`",
                    i + 1,
                    String::from_utf8_lossy(name),
                    column.name
                ));
            }
            let code = self.types[i];
            if is_numeric(code) {
                let bit: Option<&u8> = unsigned.get(numeric / 8);
                let is_unsigned = bit.map(|b| b & (0x80 >> (numeric % 8)) != 0);
                numeric += 1;
                if is_unsigned.is_some_and(|u| u != column.unsigned) && code != code::YEAR {
                    return Err(format!("the sign of column `{}` changed", column.name));
                }
            }
            let wire = wire(code, &mut metadata)
                .map_err(|_| "its table map ends too early".to_owned())?
                .filter(|found| fits(code, found.0, found.1, column))
                .ok_or_else(|| {
                    format!(
                        "column `{}` was {} and has another type now",
                        column.name, column.column_type
                    )
                })?;
            matched.push(MappedColumn {
                wire: wire.0,
                place,
            });
        }
        Ok(matched)
    }

    /// A field of what may be at the end of a table map.
    fn optional(&self, wanted: u8) -> Option<&'a [u8]> {
        let mut reader = Reader::new(self.optional);
        while !reader.is_empty() {
            let field = reader.u8().ok()?;
            let length = usize::try_from(reader.lenenc().ok()?).ok()?;
            let value = reader.bytes(length).ok()?;
            if field == wanted {
                return Some(value);
            }
        }
        None
    }

    /// A bit for each numeric column.
    fn unsigned(&self) -> Option<&'a [u8]> {
        self.optional(1)
    }

    fn names(&self) -> Option<Vec<&'a [u8]>> {
        let mut reader = Reader::new(self.optional(4)?);
        let mut names = Vec::new();
        while !reader.is_empty() {
            names.push(reader.lenenc_text().ok()??);
        }
        Some(names)
    }
}

fn is_numeric(code: u8) -> bool {
    matches!(
        code,
        code::TINY
            | code::SHORT
            | code::INT24
            | code::LONG
            | code::LONGLONG
            | code::NEWDECIMAL
            | code::FLOAT
            | code::DOUBLE
            | code::YEAR
    )
}

/// How values of a type stand in rows, and the type within a type that STRING may be.
/// `None`: values of this type cannot be read.
fn wire(code: u8, metadata: &mut Reader<'_>) -> Result<Option<(Wire, u8)>, Truncated> {
    let wire = match code {
        code::TINY => Wire::Int(1),
        code::SHORT => Wire::Int(2),
        code::INT24 => Wire::Int(3),
        code::LONG => Wire::Int(4),
        code::LONGLONG => Wire::Int(8),
        code::FLOAT => {
            metadata.u8()?;
            Wire::Float
        }
        code::DOUBLE => {
            metadata.u8()?;
            Wire::Double
        }
        code::NEWDECIMAL => Wire::Decimal {
            precision: metadata.u8()?,
            scale: metadata.u8()?,
        },
        code::BIT => {
            let (bits, bytes) = (metadata.u8()?, metadata.u8()?);
            Wire::Bit {
                bytes: bytes.saturating_add(u8::from(bits > 0)),
            }
        }
        code::YEAR => Wire::Year,
        code::DATE | code::NEWDATE => Wire::Date,
        code::TIME => Wire::OldTime,
        code::DATETIME => Wire::OldDateTime,
        code::TIMESTAMP => Wire::OldTimestamp,
        code::TIME2 => Wire::Time {
            fraction: metadata.u8()?,
        },
        code::DATETIME2 => Wire::DateTime {
            fraction: metadata.u8()?,
        },
        code::TIMESTAMP2 => Wire::Timestamp {
            fraction: metadata.u8()?,
        },
        code::VARCHAR | code::VAR_STRING => Wire::Bytes {
            length: if metadata.u16()? > 255 { 2 } else { 1 },
        },
        code::TINY_BLOB..=code::BLOB | code::GEOMETRY | code::VECTOR => Wire::Bytes {
            length: metadata.u8()?,
        },
        code::JSON => Wire::Json {
            length: metadata.u8()?,
        },
        code::STRING => return string(metadata).map(Some),
        code::BLOB_COMPRESSED | code::VARCHAR_COMPRESSED => return Ok(None),
        _ => return Ok(None),
    };
    Ok(Some((wire, code)))
}

/// Two bytes say the type and the length; a length over 255 borrows two bits of the type.
fn string(metadata: &mut Reader<'_>) -> Result<(Wire, u8), Truncated> {
    let (first, second) = (metadata.u8()?, metadata.u8()?);
    let (code, length) = if first & 0x30 == 0x30 {
        (first, u16::from(second))
    } else {
        let high = u16::from((first & 0x30) ^ 0x30) << 4;
        (first | 0x30, u16::from(second) | high)
    };
    let wire = match code {
        code::ENUM | code::SET => Wire::Members(second),
        _ => Wire::Bytes {
            length: if length > 255 { 2 } else { 1 },
        },
    };
    Ok((wire, code))
}

/// Whether a column of this shape has values that stand so.
fn fits(code: u8, wire: Wire, within: u8, column: &ColumnShape) -> bool {
    use ColumnKind as K;
    match (&column.kind, wire) {
        (K::TinyInt, w) => w == Wire::Int(1),
        (K::SmallInt, w) => w == Wire::Int(2),
        (K::MediumInt, w) => w == Wire::Int(3),
        (K::Int, w) => w == Wire::Int(4),
        (K::BigInt, w) => w == Wire::Int(8),
        (&K::Decimal { precision, scale }, w) => w == Wire::Decimal { precision, scale },
        (K::Float, w) => w == Wire::Float,
        (K::Double, w) => w == Wire::Double,
        (K::Bit { bits }, Wire::Bit { bytes }) => bytes == bits.div_ceil(8),
        (K::Year, w) => w == Wire::Year,
        (K::Date, w) => w == Wire::Date,
        (&K::Time { fraction }, w) => {
            w == Wire::Time { fraction } || (fraction == 0 && w == Wire::OldTime)
        }
        (&K::DateTime { fraction }, w) => {
            w == Wire::DateTime { fraction } || (fraction == 0 && w == Wire::OldDateTime)
        }
        (&K::Timestamp { fraction }, w) => {
            w == Wire::Timestamp { fraction } || (fraction == 0 && w == Wire::OldTimestamp)
        }
        (K::Enum { .. }, Wire::Members(_)) => within == code::ENUM,
        (K::Set { .. }, Wire::Members(_)) => within == code::SET,
        (K::Json, Wire::Json { .. }) => true,
        (K::Geometry, Wire::Bytes { .. }) => code == code::GEOMETRY,
        (K::Vector, Wire::Bytes { .. }) => matches!(code, code::VECTOR | code::VARCHAR),
        (K::Char { .. } | K::Binary { .. } | K::Uuid | K::Inet4 | K::Inet6, Wire::Bytes { .. }) => {
            code == code::STRING
        }
        (K::VarChar { .. } | K::VarBinary { .. }, Wire::Bytes { .. }) => {
            matches!(code, code::VARCHAR | code::VAR_STRING)
        }
        (K::Text | K::Blob, Wire::Bytes { .. }) => (code::TINY_BLOB..=code::BLOB).contains(&code),
        _ => false,
    }
}
