//! Values of row events as cells: see [`crate::stream::row`] for what a cell is.
//!
//! Source: `Field_*::pack` and `log_event.cc` of the servers.

use super::jsonb;
use super::number::{write_decimal, write_double};
use crate::stream::table::{ColumnKind, ColumnShape};
use crate::stream::wire::codec::{Reader, Truncated};

/// How a column's values stand in row events.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Wire {
    /// Bytes.
    Int(u8),
    Decimal {
        precision: u8,
        scale: u8,
    },
    Float,
    Double,
    Bit {
        bytes: u8,
    },
    Year,
    Date,
    OldTime,
    OldDateTime,
    OldTimestamp,
    Time {
        fraction: u8,
    },
    DateTime {
        fraction: u8,
    },
    Timestamp {
        fraction: u8,
    },
    /// ENUM and SET: bytes.
    Members(u8),
    /// The length before the bytes takes so many.
    Bytes {
        length: u8,
    },
    Json {
        length: u8,
    },
}

/// What cannot be read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct BadValue(pub(super) String);

impl From<Truncated> for BadValue {
    fn from(error: Truncated) -> Self {
        Self(error.to_string())
    }
}

/// Appends a value, as a cell's bytes.
pub(super) fn write_value(
    wire: Wire,
    column: &ColumnShape,
    reader: &mut Reader<'_>,
    out: &mut Vec<u8>,
) -> Result<(), BadValue> {
    match wire {
        Wire::Int(bytes) => {
            let number = reader.uint(usize::from(bytes))?;
            if column.unsigned {
                write_unsigned(number, out);
            } else {
                // Shifted up and down again, so that the sign comes along.
                let shift = 64 - 8 * u32::from(bytes);
                let signed = (number << shift).cast_signed() >> shift;
                if signed < 0 {
                    out.push(b'-');
                }
                write_unsigned(signed.unsigned_abs(), out);
            }
        }
        Wire::Decimal { precision, scale } => write_decimal(reader, precision, scale, out)?,
        Wire::Float => {
            let bits = reader.u32()?;
            // The server adds 0 when it prints one, which makes a negative zero a zero.
            write_double(f64::from(f32::from_bits(bits)) + 0.0, out);
        }
        Wire::Double => {
            let bits = reader.u64()?;
            write_double(f64::from_bits(bits) + 0.0, out);
        }
        Wire::Bit { bytes } => out.extend_from_slice(reader.bytes(usize::from(bytes))?),
        Wire::Year => match reader.u8()? {
            0 => out.extend_from_slice(b"0000"),
            year => write_unsigned(1900 + u64::from(year), out),
        },
        Wire::Date => {
            let date = reader.uint(3)?;
            write_date(date >> 9, date >> 5 & 15, date & 31, out);
        }
        Wire::OldTime => {
            let number = reader.uint(3)?;
            let signed = (number << 40).cast_signed() >> 40;
            let time = signed.unsigned_abs();
            write_sign(signed < 0, out);
            write_time(time / 10_000, time / 100 % 100, time % 100, out);
        }
        Wire::OldDateTime => {
            let number = reader.u64()?;
            let (date, time) = (number / 1_000_000, number % 1_000_000);
            write_date(date / 10_000, date / 100 % 100, date % 100, out);
            out.push(b' ');
            write_time(time / 10_000, time / 100 % 100, time % 100, out);
        }
        Wire::OldTimestamp => write_timestamp(reader.u32()?, 0, 0, out),
        Wire::Time { fraction } => write_time2(reader, fraction, out)?,
        Wire::DateTime { fraction } => {
            let packed = reader.uint_be(5)? & 0x7f_ffff_ffff;
            let micros = micros(reader, fraction)?;
            write_packed_datetime(packed, out);
            write_fraction(micros, fraction, out);
        }
        Wire::Timestamp { fraction } => {
            // Four bytes.
            let seconds = reader.uint_be(4)? as u32;
            let micros = micros(reader, fraction)?;
            write_timestamp(seconds, micros, fraction, out);
        }
        Wire::Members(bytes) => write_unsigned(reader.uint(usize::from(bytes))?, out),
        Wire::Bytes { length } => {
            let length = reader.uint(usize::from(length))?;
            let length = usize::try_from(length).map_err(|_| Truncated)?;
            write_bytes(column, reader.bytes(length)?, out);
        }
        Wire::Json { length } => {
            let length = reader.uint(usize::from(length))?;
            let length = usize::try_from(length).map_err(|_| Truncated)?;
            jsonb::write_text(reader.bytes(length)?, out).map_err(|why| BadValue(why.0))?;
        }
    }
    Ok(())
}

/// The bytes of a text or binary column, as a SELECT gives them.
fn write_bytes(column: &ColumnShape, bytes: &[u8], out: &mut Vec<u8>) {
    let pad = |length: usize, out: &mut Vec<u8>| {
        out.extend_from_slice(bytes);
        out.resize(out.len() + length.saturating_sub(bytes.len()), 0);
    };
    match &column.kind {
        ColumnKind::Char { .. } => {
            let space: &[u8] = match column.charset.as_deref() {
                Some("ucs2" | "utf16") => b"\0 ",
                Some("utf16le") => b" \0",
                Some("utf32") => b"\0\0\0 ",
                _ => b" ",
            };
            let mut text = bytes;
            while let Some(shorter) = text.strip_suffix(space) {
                text = shorter;
            }
            out.extend_from_slice(text);
        }
        ColumnKind::Binary { length } => pad(*length as usize, out),
        ColumnKind::Uuid => {
            let mut uuid = [0; 16];
            for (to, from) in uuid.iter_mut().zip(bytes) {
                *to = *from;
            }
            write_uuid(uuid, out);
        }
        ColumnKind::Inet4 => {
            let mut address = [0; 4];
            for (to, from) in address.iter_mut().zip(bytes) {
                *to = *from;
            }
            let text = std::net::Ipv4Addr::from(address).to_string();
            out.extend_from_slice(text.as_bytes());
        }
        ColumnKind::Inet6 => {
            let mut address = [0; 16];
            for (to, from) in address.iter_mut().zip(bytes) {
                *to = *from;
            }
            write_inet6(address, out);
        }
        _ => out.extend_from_slice(bytes),
    }
}

fn write_uuid(uuid: [u8; 16], out: &mut Vec<u8>) {
    for (i, byte) in uuid.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            out.push(b'-');
        }
        out.extend_from_slice(format!("{byte:02x}").as_bytes());
    }
}

/// As `inet_ntop` writes it: an address of version 4 within one of version 6 keeps its points.
fn write_inet6(address: [u8; 16], out: &mut Vec<u8>) {
    let v6 = std::net::Ipv6Addr::from(address);
    let compatible = address[..12] == [0; 12] && address[12..14] != [0, 0];
    let text = if compatible {
        let v4: [u8; 4] = [address[12], address[13], address[14], address[15]];
        format!("::{}", std::net::Ipv4Addr::from(v4))
    } else {
        v6.to_string()
    };
    out.extend_from_slice(text.as_bytes());
}

pub(super) fn write_unsigned(number: u64, out: &mut Vec<u8>) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = number;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

fn write_padded(number: u64, width: u32, out: &mut Vec<u8>) {
    let mut least = 10u64.pow(width - 1);
    while least > 1 && number < least {
        out.push(b'0');
        least /= 10;
    }
    write_unsigned(number, out);
}

fn write_sign(negative: bool, out: &mut Vec<u8>) {
    if negative {
        out.push(b'-');
    }
}

pub(super) fn write_date(year: u64, month: u64, day: u64, out: &mut Vec<u8>) {
    write_padded(year, 4, out);
    out.push(b'-');
    write_padded(month, 2, out);
    out.push(b'-');
    write_padded(day, 2, out);
}

pub(super) fn write_time(hours: u64, minutes: u64, seconds: u64, out: &mut Vec<u8>) {
    write_padded(hours, 2, out);
    out.push(b':');
    write_padded(minutes, 2, out);
    out.push(b':');
    write_padded(seconds, 2, out);
}

/// The bits of a DATETIME without its fraction.
pub(super) fn write_packed_datetime(packed: u64, out: &mut Vec<u8>) {
    let (date, time) = (packed >> 17, packed & 0x1_ffff);
    let months = date >> 5;
    write_date(months / 13, months % 13, date & 31, out);
    out.push(b' ');
    write_time(time >> 12, time >> 6 & 63, time & 63, out);
}

/// Appends `.` and so many digits of microseconds.
pub(super) fn write_fraction(micros: u64, digits: u8, out: &mut Vec<u8>) {
    let digits = u32::from(digits.min(6));
    if digits > 0 {
        out.push(b'.');
        write_padded(micros / 10u64.pow(6 - digits), digits, out);
    }
}

/// The bytes of a fraction, in microseconds.
fn micros(reader: &mut Reader<'_>, fraction: u8) -> Result<u64, Truncated> {
    let bytes = usize::from(fraction.min(6)).div_ceil(2);
    let number = reader.uint_be(bytes)?;
    Ok(number * 100u64.pow(3 - bytes as u32))
}

fn write_timestamp(seconds: u32, micros: u64, fraction: u8, out: &mut Vec<u8>) {
    if seconds == 0 && micros == 0 {
        // Not the first moment of 1970, which a TIMESTAMP cannot hold.
        write_date(0, 0, 0, out);
        out.push(b' ');
        write_time(0, 0, 0, out);
    } else {
        let (days, second) = (u64::from(seconds) / 86_400, u64::from(seconds) % 86_400);
        let (year, month, day) = civil(days);
        write_date(year, month, day, out);
        out.push(b' ');
        write_time(second / 3600, second / 60 % 60, second % 60, out);
    }
    write_fraction(micros, fraction, out);
}

/// The date of a day since 1970.
///
/// Source: "chrono-Compatible Low-Level Date Algorithms" by Howard Hinnant.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let day_of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * shifted_month + 2) / 5 + 1;
    let month = if shifted_month < 10 {
        shifted_month + 3
    } else {
        shifted_month - 9
    };
    let year = year_of_era + era * 400 + u64::from(month <= 2);
    (year, month, day)
}

fn write_time2(reader: &mut Reader<'_>, fraction: u8, out: &mut Vec<u8>) -> Result<(), Truncated> {
    let bytes = usize::from(fraction.min(6)).div_ceil(2);
    // One number over both parts, biased so that the bytes sort.
    let number = reader.uint_be(3 + bytes)?;
    let bias = 0x80_0000u64 << (8 * bytes);
    let negative = number < bias;
    let value = number.abs_diff(bias);
    let (time, rest) = (value >> (8 * bytes), value & ((1 << (8 * bytes)) - 1));
    write_sign(negative, out);
    write_time(time >> 12 & 1023, time >> 6 & 63, time & 63, out);
    write_fraction(rest * 100u64.pow(3 - bytes as u32), fraction, out);
    Ok(())
}

/// Appends a TIME in the 8 bytes that JSON holds it in: microseconds in the lower 24 bits.
pub(super) fn write_packed_time(packed: i64, out: &mut Vec<u8>) {
    let value = packed.unsigned_abs();
    let time = value >> 24;
    write_sign(packed < 0, out);
    write_time(time >> 12 & 1023, time >> 6 & 63, time & 63, out);
    write_fraction(value & 0xff_ffff, 6, out);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_since_1970_are_dates() {
        assert_eq!(civil(0), (1970, 1, 1));
        assert_eq!(civil(11_016), (2000, 2, 29));
        assert_eq!(civil(24_855), (2038, 1, 19));
        assert_eq!(civil(49_710), (2106, 2, 7));
    }

    #[test]
    fn a_number_is_padded_to_its_width() {
        let padded = |number, width| {
            let mut out = Vec::new();
            write_padded(number, width, &mut out);
            String::from_utf8(out).unwrap()
        };
        assert_eq!(padded(0, 4), "0000");
        assert_eq!(padded(7, 2), "07");
        assert_eq!(padded(10, 2), "10");
        assert_eq!(padded(838, 2), "838");
    }
}
