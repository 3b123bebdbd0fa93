//! Values that a server has given, as SQL and as what vindexes take.

use std::borrow::Cow;

use vtplan_state::vindex::VindexValue;

use crate::plan::{SqlModes, write_literal};
use crate::protocol::SqlError;

/// Type and collation of a column.
type Column = (u8, u16);

/// The collation of binary data.
const BINARY: u16 = 63;

fn is_integer(column: Column) -> bool {
    // TINY, SHORT, LONG, LONGLONG, INT24, YEAR.
    matches!(column.0, 1 | 2 | 3 | 8 | 9 | 13)
}

fn is_decimal(column: Column) -> bool {
    matches!(column.0, 0 | 246)
}

/// A value as SQL that means the same.
pub(super) fn literal(value: &[u8], column: Column, modes: SqlModes) -> Result<Vec<u8>, SqlError> {
    if is_integer(column) || is_decimal(column) {
        return Ok(value.to_vec());
    }
    // BIT, and strings and blobs that are binary.
    let bytes = column.0 == 16 || column.1 == BINARY && matches!(column.0, 15 | 247..=254);
    if !bytes && std::str::from_utf8(value).is_err() {
        return Err(SqlError::unsupported(
            "a lookup vindex of text in a session whose character set is not utf8mb4",
        ));
    }
    let mut out = Vec::with_capacity(value.len() + 2);
    if bytes {
        out.extend(b"x'");
        for b in value {
            out.extend(format!("{b:02x}").bytes());
        }
        out.push(b'\'');
    } else {
        write_literal(value, modes, &mut out);
    }
    Ok(out)
}

/// A value as a vindex takes it.
pub(super) fn vindex_value(value: Option<&[u8]>, column: Column) -> VindexValue<'_> {
    let Some(value) = value else {
        return VindexValue::Null;
    };
    let text = std::str::from_utf8(value).ok();
    if is_integer(column) {
        let signed = text.and_then(|t| t.parse().ok()).map(VindexValue::Int);
        let unsigned = || text.and_then(|t| t.parse().ok()).map(VindexValue::UInt);
        if let Some(number) = signed.or_else(unsigned) {
            return number;
        }
    }
    match text {
        Some(text) if is_decimal(column) => VindexValue::Decimal(Cow::Borrowed(text)),
        _ => VindexValue::Bytes(Cow::Borrowed(value)),
    }
}
