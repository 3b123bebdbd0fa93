//! Values as they stand in a statement or are bound to it, and what a vindex is given for them.
//!
//! A value may be routed by only when MySQL would compare (or store) it as the text or number that
//! the vindex sees. Where it might not, as for `'05'` and a number column, the answer is
//! [`Key::Unclear`], and the caller asks every shard or refuses.

use std::borrow::Cow;

use vtplan_state::vindex::VindexValue;

use super::scan::{Kind, Lexer, Slot};
use super::types::{BindValue, SqlModes};

/// A value without its spelling.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Scalar<'a> {
    Null,
    Int(i64),
    UInt(u64),
    /// A decimal or floating point number, or an integer beyond 64 bits.
    Decimal(Cow<'a, str>),
    Text(Cow<'a, [u8]>),
    /// Hex and bit literals, which are a number beside numbers and bytes beside strings.
    Binary(Vec<u8>),
    /// A string in another character set, whose bytes are not those that are stored.
    Foreign,
}

/// What a column holds, as far as comparing with it goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum ColumnClass {
    Integer,
    Text,
    Binary,
    /// The VSchema does not say: values are taken as they are written, as Vitess does.
    Unknown,
    /// Dates, decimals, ...: one value has several spellings.
    Other,
}

impl ColumnClass {
    /// From a VSchema's column type (`INT64`, `VARCHAR`, `bigint`, ...).
    pub(super) fn of(column_type: Option<&str>) -> Self {
        let Some(name) = column_type else {
            return Self::Unknown;
        };
        let name = name.to_ascii_uppercase();
        let name = name.split('(').next().unwrap_or_default().trim();
        match name {
            "" | "NULL_TYPE" => Self::Unknown,
            "VARCHAR" | "CHAR" | "TEXT" | "TINYTEXT" | "MEDIUMTEXT" | "LONGTEXT" => Self::Text,
            "VARBINARY" | "BINARY" | "BLOB" | "TINYBLOB" | "MEDIUMBLOB" | "LONGBLOB" => {
                Self::Binary
            }
            _ if ["INT", "UINT", "TINYINT", "SMALLINT", "MEDIUMINT", "BIGINT"]
                .iter()
                .any(|p| {
                    name.strip_prefix(p).is_some_and(|rest| {
                        rest.is_empty()
                            || rest == " UNSIGNED"
                            || rest.bytes().all(|b| b.is_ascii_digit())
                    })
                }) =>
            {
                Self::Integer
            }
            _ => Self::Other,
        }
    }
}

/// What is known of where a value's rows are.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Key<'a> {
    Value(VindexValue<'a>),
    /// NULL: `=` never holds.
    Null,
    /// The vindex cannot be asked.
    Unclear,
}

/// What a vindex is given for a value of a column. `stored`: the value is written to the column,
/// rather than compared with it.
pub(super) fn key<'a>(scalar: Scalar<'a>, class: ColumnClass, stored: bool) -> Key<'a> {
    use ColumnClass::{Binary, Integer, Other, Text, Unknown};
    match (scalar, class) {
        (Scalar::Null, _) => Key::Null,
        (Scalar::Foreign, _) | (_, Other) => Key::Unclear,
        (Scalar::Int(n), Integer | Unknown) => Key::Value(VindexValue::Int(n)),
        (Scalar::UInt(n), Integer | Unknown) => Key::Value(VindexValue::UInt(n)),
        // Compared with a string, a number makes both floating point; stored, it is its digits.
        (Scalar::Int(n), Text | Binary) if stored => bytes(n.to_string().into_bytes().into()),
        (Scalar::UInt(n), Text | Binary) if stored => bytes(n.to_string().into_bytes().into()),
        (Scalar::Int(_) | Scalar::UInt(_), Text | Binary) => Key::Unclear,
        (Scalar::Decimal(text), Integer) => integral(&text),
        (Scalar::Decimal(_), _) => Key::Unclear,
        (Scalar::Text(text), Integer) => match std::str::from_utf8(&text) {
            Ok(text) => integral(text.trim_matches([' ', '\t', '\n', '\r'])),
            Err(_) => Key::Unclear,
        },
        (Scalar::Text(text), Unknown) if !unambiguous(&text) => Key::Unclear,
        // `'a'` and `'a '` may be equal, depending on the collation.
        (Scalar::Text(text), Text | Unknown) if !stored && text.ends_with(b" ") => Key::Unclear,
        (Scalar::Text(text), Text | Binary | Unknown) => bytes(text),
        (Scalar::Binary(value), Text | Binary) => bytes(value.into()),
        (Scalar::Binary(value), Integer) => match number_of(&value) {
            Some(number) => Key::Value(VindexValue::UInt(number)),
            None => Key::Unclear,
        },
        (Scalar::Binary(_), Unknown) => Key::Unclear,
    }
}

fn bytes(value: Cow<'_, [u8]>) -> Key<'_> {
    Key::Value(VindexValue::Bytes(value))
}

/// A number's text as an integer; unclear if it is none.
fn integral<'a>(text: &str) -> Key<'a> {
    let (negative, digits) = match text.as_bytes() {
        [b'-', ..] => (true, &text[1..]),
        [b'+', ..] => (false, &text[1..]),
        _ => (false, text),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let plain = !whole.is_empty() && whole.bytes().all(|b| b.is_ascii_digit());
    if !plain || !fraction.bytes().all(|b| b == b'0') {
        return Key::Unclear;
    }
    match (whole.parse::<u64>(), negative) {
        (Ok(n), false) => Key::Value(VindexValue::UInt(n)),
        (Ok(n), true) => match 0i64.checked_sub_unsigned(n) {
            Some(n) => Key::Value(VindexValue::Int(n)),
            None => Key::Unclear,
        },
        (Err(_), _) => Key::Unclear,
    }
}

/// Whether a string means the same row in a number column as in a string column: it is either
/// no number, or a number as MySQL would print it.
fn unambiguous(text: &[u8]) -> bool {
    let Ok(text) = std::str::from_utf8(text) else {
        return true;
    };
    let digits = text.strip_prefix('-').unwrap_or(text);
    let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    if plain {
        return digits == "0" && text == "0" || !digits.starts_with('0');
    }
    let trimmed = text.trim_matches([' ', '\t', '\n', '\r']);
    trimmed.is_empty()
        || trimmed.parse::<f64>().is_err()
        // Rust reads these as numbers, MySQL does not.
        || trimmed.bytes().any(|b| b.is_ascii_alphabetic() && !matches!(b, b'e' | b'E'))
}

fn number_of(value: &[u8]) -> Option<u64> {
    let first = value.iter().position(|b| *b != 0).unwrap_or(value.len());
    let value = &value[first..];
    (value.len() <= 8).then(|| value.iter().fold(0, |n, b| n << 8 | u64::from(*b)))
}

/// The value with a minus before it; `None` where that is no plain number.
pub(super) fn negate(scalar: Scalar<'_>) -> Option<Scalar<'_>> {
    Some(match scalar {
        Scalar::Null => Scalar::Null,
        Scalar::Int(n) => Scalar::Int(n.checked_neg()?),
        Scalar::UInt(n) => Scalar::Int(0i64.checked_sub_unsigned(n)?),
        Scalar::Decimal(text) => Scalar::Decimal(Cow::Owned(match text.strip_prefix('-') {
            Some(positive) => positive.to_owned(),
            None => format!("-{text}"),
        })),
        Scalar::Text(_) | Scalar::Binary(_) | Scalar::Foreign => return None,
    })
}

/// The value of a literal in a statement. Not for parameters.
pub(super) fn of_slot<'a>(sql: &'a [u8], slot: &Slot, modes: SqlModes) -> Scalar<'a> {
    let text = slot.text(sql);
    match slot.kind {
        Kind::Integer | Kind::Decimal => number(text, slot.kind),
        Kind::String => string(text, modes),
        Kind::Hex => hex(text).map_or(Scalar::Foreign, Scalar::Binary),
        Kind::Bit => bits(text).map_or(Scalar::Foreign, Scalar::Binary),
        _ => Scalar::Foreign,
    }
}

fn number(text: &[u8], kind: Kind) -> Scalar<'_> {
    let Ok(text) = std::str::from_utf8(text) else {
        return Scalar::Foreign;
    };
    if kind == Kind::Integer {
        if let Ok(n) = text.parse() {
            return Scalar::Int(n);
        }
        if let Ok(n) = text.parse() {
            return Scalar::UInt(n);
        }
    }
    Scalar::Decimal(Cow::Borrowed(text))
}

pub(super) fn of_bind(value: &BindValue) -> Scalar<'_> {
    match value {
        BindValue::Null => Scalar::Null,
        BindValue::Int(n) => Scalar::Int(*n),
        BindValue::UInt(n) => Scalar::UInt(*n),
        BindValue::Float(n) => Scalar::Decimal(Cow::Owned(n.to_string())),
        BindValue::Double(n) => Scalar::Decimal(Cow::Owned(n.to_string())),
        BindValue::Bytes(bytes) => Scalar::Text(Cow::Borrowed(bytes)),
    }
}

/// A string token: one or several quoted parts, maybe with an introducer before.
fn string(text: &[u8], modes: SqlModes) -> Scalar<'_> {
    let first_quote = text
        .iter()
        .position(|b| matches!(b, b'\'' | b'"'))
        .unwrap_or(0);
    let introducer = text[..first_quote].trim_ascii().to_ascii_lowercase();
    match introducer.as_slice() {
        b"" | b"n" | b"_utf8" | b"_utf8mb3" | b"_utf8mb4" | b"_binary" => {}
        _ => return Scalar::Foreign,
    }
    match unquote(&text[first_quote..], modes) {
        Some(value) => Scalar::Text(value),
        None => Scalar::Foreign,
    }
}

/// The value of one or several quoted parts side by side.
pub(super) fn unquote(text: &[u8], modes: SqlModes) -> Option<Cow<'_, [u8]>> {
    let quote = *text.first()?;
    let body = text.get(1..text.len().checked_sub(1)?)?;
    // The usual string has nothing to undo.
    if text.last() == Some(&quote) && !body.iter().any(|b| *b == quote || *b == b'\\') {
        return Some(Cow::Borrowed(body));
    }
    let mut value = Vec::with_capacity(text.len());
    let mut at = 0;
    while at < text.len() {
        let quote = text[at];
        if !matches!(quote, b'\'' | b'"' | b'`') {
            // White space or a comment between two parts.
            let next = Lexer::new(&text[at..], modes).next()?;
            if next.start == 0 {
                return None;
            }
            at += next.start;
            continue;
        }
        at += 1;
        loop {
            let b = *text.get(at)?;
            at += 1;
            if b == quote {
                if text.get(at) != Some(&quote) {
                    break;
                }
                at += 1;
                value.push(quote);
            } else if b == b'\\' && quote != b'`' && !modes.no_backslash_escapes {
                let escaped = *text.get(at)?;
                at += 1;
                unescape(escaped, &mut value);
            } else {
                value.push(b);
            }
        }
    }
    Some(Cow::Owned(value))
}

fn unescape(escaped: u8, value: &mut Vec<u8>) {
    match escaped {
        b'0' => value.push(0),
        b'b' => value.push(8),
        b'n' => value.push(b'\n'),
        b'r' => value.push(b'\r'),
        b't' => value.push(b'\t'),
        b'Z' => value.push(0x1a),
        // Kept for LIKE patterns.
        b'%' | b'_' => value.extend([b'\\', escaped]),
        other => value.push(other),
    }
}

/// The digits of `x'..'` or `0x..`, behind an introducer maybe.
fn digits(text: &[u8]) -> Option<&[u8]> {
    if let Some(end) = text.strip_suffix(b"'") {
        let start = end.iter().position(|b| *b == b'\'')?;
        return Some(&end[start + 1..]);
    }
    let start = text.windows(2).position(|w| matches!(w, b"0x" | b"0b"))?;
    Some(&text[start + 2..])
}

fn hex(text: &[u8]) -> Option<Vec<u8>> {
    let digits = digits(text)?;
    let digit = |b: &u8| {
        char::from(*b)
            .to_digit(16)
            .and_then(|d| u8::try_from(d).ok())
    };
    let mut value = Vec::with_capacity(digits.len() / 2 + 1);
    let (odd, pairs) = digits.split_at(digits.len() % 2);
    for b in odd {
        value.push(digit(b)?);
    }
    for pair in pairs.chunks(2) {
        value.push(digit(&pair[0])? << 4 | digit(&pair[1])?);
    }
    Some(value)
}

fn bits(text: &[u8]) -> Option<Vec<u8>> {
    let digits = digits(text)?;
    let mut value = vec![0u8; digits.len().div_ceil(8)];
    for (i, b) in digits.iter().rev().enumerate() {
        let bit = b.checked_sub(b'0').filter(|bit| *bit < 2)?;
        let at = value.len() - 1 - i / 8;
        value[at] |= bit << (i % 8);
    }
    Some(value)
}

/// Writes a bound value as a literal that means the same.
pub(super) fn write_bind(value: &BindValue, modes: SqlModes, out: &mut Vec<u8>) {
    match value {
        BindValue::Null => out.extend(b"NULL"),
        BindValue::Int(n) => out.extend(n.to_string().bytes()),
        BindValue::UInt(n) => out.extend(n.to_string().bytes()),
        // With an exponent, so that it is a floating point number and no decimal.
        BindValue::Float(n) => out.extend(format!("{n:e}").bytes()),
        BindValue::Double(n) => out.extend(format!("{n:e}").bytes()),
        BindValue::Bytes(bytes) => write_bytes(bytes, modes, out),
    }
}

/// Writes bytes as a string, or where they are no text as a hexadecimal literal.
pub(crate) fn write_bytes(bytes: &[u8], modes: SqlModes, out: &mut Vec<u8>) {
    if std::str::from_utf8(bytes).is_err() {
        out.extend(b"x'");
        for b in bytes {
            out.extend(format!("{b:02x}").bytes());
        }
        out.push(b'\'');
        return;
    }
    out.push(b'\'');
    for b in bytes {
        match b {
            b'\'' => out.extend(b"''"),
            b'\\' if !modes.no_backslash_escapes => out.extend(b"\\\\"),
            0 if !modes.no_backslash_escapes => out.extend(b"\\0"),
            other => out.push(*other),
        }
    }
    out.push(b'\'');
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::plan::scan::{Fingerprint, fingerprint};
    use proptest::prelude::*;

    fn scalar(sql: &str) -> Scalar<'_> {
        let mut print = Fingerprint::default();
        fingerprint(sql.as_bytes(), SqlModes::default(), &mut print);
        of_slot(sql.as_bytes(), &print.slots[0], SqlModes::default())
    }

    fn text(value: &str) -> Scalar<'_> {
        Scalar::Text(Cow::Borrowed(value.as_bytes()))
    }

    #[test]
    fn literals_have_the_value_that_mysql_gives_them() {
        for (sql, value) in [
            ("12", Scalar::Int(12)),
            ("18446744073709551615", Scalar::UInt(u64::MAX)),
            ("1.50", Scalar::Decimal("1.50".into())),
            ("'a''b'", text("a'b")),
            (r"'a\'b\n\%\x'", text("a'b\n\\%x")),
            ("'a' /* c */ \"b\"", text("ab")),
            ("_utf8mb4 'é'", text("é")),
            ("_latin1 'a'", Scalar::Foreign),
            ("x'0aff'", Scalar::Binary(vec![10, 255])),
            ("0xaff", Scalar::Binary(vec![10, 255])),
            ("b'100000001'", Scalar::Binary(vec![1, 1])),
        ] {
            assert_eq!(scalar(sql), value, "{sql}");
        }
    }

    #[test]
    fn keys_are_clear_only_where_spelling_cannot_matter() {
        use ColumnClass::{Integer, Text, Unknown};
        let int = |n| Key::Value(VindexValue::Int(n));
        let uint = |n| Key::Value(VindexValue::UInt(n));
        let bytes = |s: &'static str| Key::Value(VindexValue::Bytes(s.as_bytes().into()));
        for (sql, class, expected) in [
            ("5", Unknown, int(5)),
            ("'5'", Unknown, bytes("5")),
            ("'05'", Unknown, Key::Unclear),
            ("' 5'", Unknown, Key::Unclear),
            ("'5e0'", Unknown, Key::Unclear),
            ("'5e1f'", Unknown, bytes("5e1f")),
            ("'nan'", Unknown, bytes("nan")),
            ("'05'", Integer, uint(5)),
            ("'5.0'", Integer, uint(5)),
            ("5.5", Integer, Key::Unclear),
            ("'abc'", Integer, Key::Unclear),
            ("0x10", Integer, uint(16)),
            ("0x10", Unknown, Key::Unclear),
            ("'05'", Text, bytes("05")),
            ("5", Text, Key::Unclear),
            ("'a '", Text, Key::Unclear),
        ] {
            assert_eq!(key(scalar(sql), class, false), expected, "{sql} {class:?}");
        }
        assert_eq!(key(scalar("5"), Text, true), bytes("5"));
        assert_eq!(ColumnClass::of(Some("INT64")), Integer);
        assert_eq!(ColumnClass::of(Some("bigint(20) unsigned")), Integer);
        assert_eq!(ColumnClass::of(Some("INTERVAL")), ColumnClass::Other);
        assert_eq!(ColumnClass::of(Some("DATETIME")), ColumnClass::Other);
    }

    proptest! {
        #[test]
        fn a_bound_text_reads_back_as_itself(value: Vec<u8>, raw: bool) {
            let modes = SqlModes { ansi_quotes: false, no_backslash_escapes: raw };
            let mut sql = Vec::new();
            write_bind(&BindValue::Bytes(value.clone().into()), modes, &mut sql);
            let mut print = Fingerprint::default();
            fingerprint(&sql, modes, &mut print);
            prop_assert_eq!(print.slots.len(), 1);
            let read = of_slot(&sql, &print.slots[0], modes);
            match std::str::from_utf8(&value) {
                Ok(_) => prop_assert_eq!(read, Scalar::Text(value.into())),
                Err(_) => prop_assert_eq!(read, Scalar::Binary(value)),
            }
        }
    }
}
