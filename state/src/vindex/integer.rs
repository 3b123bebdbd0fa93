//! How a value becomes the 64-bit number that numeric vindexes take.

use super::VindexValue;

/// The value as an unsigned number, as Vitess casts it: decimal digits, spaces and tabs around
/// them allowed, no sign. `None` for anything else, negative numbers among them.
pub(super) fn unsigned(value: &VindexValue<'_>) -> Option<u64> {
    match value {
        VindexValue::UInt(number) => Some(*number),
        VindexValue::Int(number) => u64::try_from(*number).ok(),
        VindexValue::Decimal(text) => parse(text.as_bytes()),
        VindexValue::Bytes(bytes) => parse(bytes),
        VindexValue::Null => None,
    }
}

fn parse(text: &[u8]) -> Option<u64> {
    let space = |b: &u8| matches!(b, b' ' | b'\t');
    let start = text.iter().position(|b| !space(b))?;
    let end = text.iter().rposition(|b| !space(b))? + 1;
    let digits = &text[start..end];
    digits.iter().try_fold(0u64, |number, b| {
        let digit = b.checked_sub(b'0').filter(|d| *d < 10)?;
        number.checked_mul(10)?.checked_add(u64::from(digit))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::borrow::Cow;

    fn text(text: &str) -> VindexValue<'_> {
        VindexValue::Bytes(Cow::Borrowed(text.as_bytes()))
    }

    #[test]
    fn strings_that_hold_numbers_are_numbers() {
        assert_eq!(unsigned(&text("123")), Some(123));
        assert_eq!(unsigned(&text(" 123\t")), Some(123));
        assert_eq!(unsigned(&text("18446744073709551615")), Some(u64::MAX));
        for bad in [
            "",
            " ",
            "12a",
            "1 2",
            "-1",
            "+1",
            "1.5",
            "18446744073709551616",
        ] {
            assert_eq!(unsigned(&text(bad)), None, "{bad:?}");
        }
        assert_eq!(unsigned(&VindexValue::Int(-1)), None);
        assert_eq!(unsigned(&VindexValue::Null), None);
    }
}
