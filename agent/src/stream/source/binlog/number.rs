//! Numbers of the binlog as the text that servers print.

use crate::stream::wire::codec::{Reader, Truncated};

/// Digits left of the point up to which a double is printed without an exponent, and zeros right
/// of it.
const PLAIN_DIGITS: i32 = 15;

/// Appends a double as servers print it: the fewest digits that identify it, with an exponent
/// if it is very large or small.
///
/// Source: `my_gcvt` in the servers' `dtoa.c`.
pub(in crate::stream) fn write_double(number: f64, out: &mut Vec<u8>) {
    if number == 0.0 {
        out.extend_from_slice(if number.is_sign_negative() {
            b"-0"
        } else {
            b"0"
        });
        return;
    }
    // `1.2345e-7`: the same digits, in another shape.
    let text = format!("{number:e}");
    let (mantissa, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    let exponent: i32 = exponent.parse().unwrap_or(0);
    let mantissa = match mantissa.strip_prefix('-') {
        Some(rest) => {
            out.push(b'-');
            rest
        }
        None => mantissa,
    };
    let digits: Vec<u8> = mantissa.bytes().filter(|b| *b != b'.').collect();
    // How many digits are left of the point.
    let point = exponent + 1;
    if (-PLAIN_DIGITS + 1..=PLAIN_DIGITS).contains(&point) {
        match usize::try_from(point) {
            Ok(point @ 1..) => {
                if digits.len() <= point {
                    out.extend_from_slice(&digits);
                    out.extend(std::iter::repeat_n(b'0', point - digits.len()));
                } else {
                    out.extend_from_slice(&digits[..point]);
                    out.push(b'.');
                    out.extend_from_slice(&digits[point..]);
                }
            }
            _ => {
                out.extend_from_slice(b"0.");
                out.extend(std::iter::repeat_n(b'0', point.unsigned_abs() as usize));
                out.extend_from_slice(&digits);
            }
        }
    } else {
        out.push(digits[0]);
        if digits.len() > 1 {
            out.push(b'.');
            out.extend_from_slice(&digits[1..]);
        }
        out.extend_from_slice(format!("e{exponent}").as_bytes());
    }
}

/// Bytes that so many decimal digits take.
const BYTES_OF_DIGITS: [usize; 10] = [0, 1, 1, 2, 2, 3, 3, 4, 4, 4];

/// Appends a DECIMAL.
///
/// Source: `decimal2bin` in the servers' `decimal.c`: groups of nine digits in four bytes each, the
/// first bit flipped, all bits flipped in a negative number.
pub(super) fn write_decimal(
    reader: &mut Reader<'_>,
    precision: u8,
    scale: u8,
    out: &mut Vec<u8>,
) -> Result<(), Truncated> {
    let (precision, scale) = (usize::from(precision), usize::from(scale));
    let whole = precision.checked_sub(scale).ok_or(Truncated)?;
    let length = |digits: usize| digits / 9 * 4 + BYTES_OF_DIGITS[digits % 9];
    let mut bytes = reader.bytes(length(whole) + length(scale))?.to_vec();
    let Some(first) = bytes.first_mut() else {
        return Err(Truncated);
    };
    let negative = *first & 0x80 == 0;
    *first ^= 0x80;
    if negative {
        for byte in &mut bytes {
            *byte = !*byte;
        }
        out.push(b'-');
    }
    let mut reader = Reader::new(&bytes);
    let mut group = |digits: usize| reader.uint_be(BYTES_OF_DIGITS[digits]);
    let start = out.len();
    let mut number = group(whole % 9)?;
    for _ in 0..whole / 9 {
        if out.len() > start {
            out.extend_from_slice(format!("{number:09}").as_bytes());
        } else if number > 0 {
            out.extend_from_slice(number.to_string().as_bytes());
        }
        number = group(9)?;
    }
    if out.len() > start {
        out.extend_from_slice(format!("{number:09}").as_bytes());
    } else {
        out.extend_from_slice(number.to_string().as_bytes());
    }
    if scale > 0 {
        out.push(b'.');
        for _ in 0..scale / 9 {
            out.extend_from_slice(format!("{:09}", group(9)?).as_bytes());
        }
        let rest = scale % 9;
        if rest > 0 {
            let width = rest;
            out.extend_from_slice(format!("{:0width$}", group(rest)?).as_bytes());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn double(number: f64) -> String {
        let mut out = Vec::new();
        write_double(number, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn doubles_are_printed_as_servers_do() {
        for (number, text) in [
            (0.0, "0"),
            (1.0, "1"),
            (-1.5, "-1.5"),
            (0.1, "0.1"),
            (1e14, "100000000000000"),
            (1e15, "1e15"),
            (123_456_789_012_345.0, "123456789012345"),
            (1e-15, "0.000000000000001"),
            (1.5e-20, "1.5e-20"),
            (f64::MAX, "1.7976931348623157e308"),
            (f64::MIN_POSITIVE, "2.2250738585072014e-308"),
        ] {
            assert_eq!(double(number), text);
        }
    }
}
