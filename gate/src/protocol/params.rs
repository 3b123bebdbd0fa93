//! The parameters of `COM_STMT_EXECUTE`: found, read as values, and written into a packet for
//! another statement id.

use std::fmt::Write as _;

use bytes::Bytes;

use super::codec::{Reader, Truncated};
use super::constants::{com, types};
use crate::plan::BindValue;

/// Why an execute packet is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum ParamError {
    #[error("the packet is truncated")]
    Truncated,
    #[error("no parameter types were ever sent")]
    NoTypes,
    #[error("parameter type {0} is unknown")]
    UnknownType(u8),
    #[error("a date or time has a wrong length")]
    BadTime,
}

impl From<Truncated> for ParamError {
    fn from(_: Truncated) -> Self {
        Self::Truncated
    }
}

/// The parts of an execute packet.
#[derive(Debug)]
pub struct Execute<'a> {
    nulls: &'a [u8],
    /// Two bytes a parameter, when the packet has them.
    pub types: Option<&'a [u8]>,
    values: &'a [u8],
}

impl<'a> Execute<'a> {
    /// Takes the payload of a `COM_STMT_EXECUTE` apart.
    pub fn parse(payload: &'a [u8], params: u16) -> Result<Self, ParamError> {
        let mut reader = Reader::new(payload);
        // Command, statement id, cursor flags, iteration count.
        reader.bytes(10)?;
        if params == 0 {
            return Ok(Self {
                nulls: &[],
                types: None,
                values: &[],
            });
        }
        let nulls = reader.bytes(usize::from(params).div_ceil(8))?;
        let types = match reader.u8()? {
            0 => None,
            _ => Some(reader.bytes(2 * usize::from(params))?),
        };
        Ok(Self {
            nulls,
            types,
            values: reader.rest(),
        })
    }

    /// The payload that executes statement `id` with the same parameters, without a cursor and
    /// with the types written out.
    pub fn put(&self, out: &mut Vec<u8>, id: u32, types: &[u8]) {
        out.push(com::STMT_EXECUTE);
        out.extend_from_slice(&id.to_le_bytes());
        out.extend_from_slice(&[0, 1, 0, 0, 0]);
        if !self.nulls.is_empty() {
            out.extend_from_slice(self.nulls);
            out.push(1);
            out.extend_from_slice(types);
            out.extend_from_slice(self.values);
        }
    }

    /// The parameters as values. `types` as in the packet that had them last; `long_data`: what
    /// was sent ahead, by parameter.
    pub fn values(
        &self,
        types: &[u8],
        long_data: &[(u16, Vec<u8>)],
    ) -> Result<Vec<BindValue>, ParamError> {
        if self.nulls.is_empty() {
            return Ok(Vec::new());
        }
        if types.is_empty() {
            return Err(ParamError::NoTypes);
        }
        let mut reader = Reader::new(self.values);
        let mut values = Vec::with_capacity(types.len() / 2);
        for (i, kind) in types.chunks_exact(2).enumerate() {
            let long = long_data.iter().find(|(p, _)| usize::from(*p) == i);
            values.push(if let Some((_, data)) = long {
                BindValue::Bytes(Bytes::copy_from_slice(data))
            } else if self.nulls[i / 8] & (1 << (i % 8)) != 0 {
                BindValue::Null
            } else {
                value(&mut reader, kind[0], kind[1] & 0x80 != 0)?
            });
        }
        Ok(values)
    }
}

fn value(reader: &mut Reader<'_>, kind: u8, unsigned: bool) -> Result<BindValue, ParamError> {
    Ok(match kind {
        types::NULL => BindValue::Null,
        types::TINY if unsigned => BindValue::UInt(reader.u8()?.into()),
        types::TINY => BindValue::Int((reader.u8()? as i8).into()),
        types::SHORT | types::YEAR if unsigned => BindValue::UInt(reader.u16()?.into()),
        types::SHORT | types::YEAR => BindValue::Int((reader.u16()? as i16).into()),
        types::LONG | types::INT24 if unsigned => BindValue::UInt(reader.u32()?.into()),
        types::LONG | types::INT24 => BindValue::Int((reader.u32()? as i32).into()),
        types::LONGLONG if unsigned => BindValue::UInt(reader.u64()?),
        types::LONGLONG => BindValue::Int(reader.u64()? as i64),
        types::FLOAT => BindValue::Float(f32::from_bits(reader.u32()?)),
        types::DOUBLE => BindValue::Double(f64::from_bits(reader.u64()?)),
        types::DATE | types::DATETIME | types::TIMESTAMP => {
            let length = reader.u8()?;
            BindValue::Bytes(date_time(reader.bytes(length.into())?, kind)?.into())
        }
        types::TIME => {
            let length = reader.u8()?;
            BindValue::Bytes(time(reader.bytes(length.into())?)?.into())
        }
        types::DECIMAL | types::VARCHAR | types::BIT | types::JSON..=types::GEOMETRY => {
            BindValue::Bytes(Bytes::copy_from_slice(reader.lenenc_bytes()?))
        }
        other => return Err(ParamError::UnknownType(other)),
    })
}

fn date_time(bytes: &[u8], kind: u8) -> Result<String, ParamError> {
    let mut reader = Reader::new(bytes);
    let (mut date, mut clock) = ((0, 0, 0), None);
    if !bytes.is_empty() {
        date = (reader.u16()?, reader.u8()?, reader.u8()?);
    }
    if bytes.len() >= 7 {
        clock = Some((reader.u8()?, reader.u8()?, reader.u8()?));
    }
    let micros = if bytes.len() == 11 { reader.u32()? } else { 0 };
    if !matches!(bytes.len(), 0 | 4 | 7 | 11) {
        return Err(ParamError::BadTime);
    }
    let mut text = format!("{:04}-{:02}-{:02}", date.0, date.1, date.2);
    if kind != types::DATE || clock.is_some() {
        let (h, m, s) = clock.unwrap_or_default();
        put(&mut text, format_args!(" {h:02}:{m:02}:{s:02}"));
        if micros > 0 {
            put(&mut text, format_args!(".{micros:06}"));
        }
    }
    Ok(text)
}

fn time(bytes: &[u8]) -> Result<String, ParamError> {
    if bytes.is_empty() {
        return Ok("00:00:00".to_owned());
    }
    if !matches!(bytes.len(), 8 | 12) {
        return Err(ParamError::BadTime);
    }
    let mut reader = Reader::new(bytes);
    let negative = reader.u8()? != 0;
    let days = u64::from(reader.u32()?);
    let hours = days * 24 + u64::from(reader.u8()?);
    let (minutes, seconds) = (reader.u8()?, reader.u8()?);
    let sign = if negative { "-" } else { "" };
    let mut text = format!("{sign}{hours:02}:{minutes:02}:{seconds:02}");
    if bytes.len() == 12 {
        let micros = reader.u32()?;
        put(&mut text, format_args!(".{micros:06}"));
    }
    Ok(text)
}

fn put(text: &mut String, args: std::fmt::Arguments<'_>) {
    // Writing to a String does not fail.
    let _ = text.write_fmt(args);
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn packet(nulls: &[u8], kinds: &[u8], values: &[u8]) -> Vec<u8> {
        let mut out = vec![com::STMT_EXECUTE, 1, 0, 0, 0, 1, 1, 0, 0, 0];
        out.extend_from_slice(nulls);
        out.push(1);
        out.extend_from_slice(kinds);
        out.extend_from_slice(values);
        out
    }

    #[test]
    fn values_of_all_kinds_are_read() {
        let kinds = [
            types::TINY,
            0,
            types::SHORT,
            0x80,
            types::NULL,
            0,
            types::DATETIME,
            0,
            types::TIME,
            0,
            types::VAR_STRING,
            0,
            types::DATE,
            0,
            types::BLOB,
            0,
        ];
        let values = [
            &[0xff][..],
            &[0xff, 0xff],
            &[11, 0xea, 7, 11, 21, 9, 8, 7, 5, 0, 0, 0],
            &[8, 1, 1, 0, 0, 0, 2, 3, 4],
            &[3, b'a', b'b', b'c'],
            &[4, 0xea, 7, 1, 2],
        ]
        .concat();
        let data = packet(&[0b100], &kinds, &values);
        let execute = Execute::parse(&data, 8).unwrap();
        let text = |t: &str| BindValue::Bytes(Bytes::copy_from_slice(t.as_bytes()));
        let got = execute.values(&kinds, &[(7, b"long".to_vec())]).unwrap();
        let expected = [
            BindValue::Int(-1),
            BindValue::UInt(65_535),
            BindValue::Null,
            text("2026-11-21 09:08:07.000005"),
            text("-26:03:04"),
            text("abc"),
            text("2026-01-02"),
            text("long"),
        ];
        assert_eq!(got, expected);
        let mut out = Vec::new();
        execute.put(&mut out, 77, &kinds);
        assert_eq!(out[1..5], [77, 0, 0, 0]);
        assert_eq!(out[5], 0, "no cursor");
        assert_eq!(out[10..], data[10..]);
    }

    proptest! {
        #[test]
        fn no_bytes_make_it_panic(payload: Vec<u8>, params: u16, kinds: Vec<u8>) {
            if let Ok(execute) = Execute::parse(&payload, params) {
                let mut kinds = kinds;
                kinds.resize(2 * usize::from(params), 0xfd);
                let _ = execute.values(&kinds, &[]);
            }
        }
    }
}
