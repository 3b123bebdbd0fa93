//! The checksum of a row: an expression of SQL that every server evaluates alike, whatever its flavor
//! and its `sql_mode`.
//!
//! ```text
//! row(r) = (value(1)·m1 ⊕ value(2)·m2 ⊕ …) mod P  ·  key(r)
//! key(r) = ((value(k1)·n1 ⊕ …) mod 2³²) | 1            over the columns of the key
//! ```
//!
//! `value` is a whole number itself, as one without a sign of 32 bits (of 64 bits: modulo P), and CRC32
//! of every other value. Each
//! column has multipliers of its own, odd numbers below 2³¹, and in the place of NULL a number of 63
//! or 64 bits. `P` is the prime 4000000007. No product leaves 64 bits, so that no server
//! says "out of range", and bit operators take numbers as they stand.
//!
//! Rows' checksums are put together by XOR, so what is asked of them is more than that a row that
//! differs has another one. "About" below is for what behaves like chance.
//!
//! - **One value differs** (NULL, `''` and `0` are three). CRC32s of two texts are alike with 2⁻³²; the
//!   sums before `mod P`, which then differ, are congruent with 2⁻³². As `key(r)` is not 0 and the
//!   product is not cut, the checksum differs if the remainder does: about 2⁻³¹ remains.
//! - **Values move between columns** of a row, or several change. The multipliers differ, so the sums
//!   do; each text is hashed alone, so `'ab', 'c'` is not `'a', 'bc'`. About 2⁻³².
//! - **Rows exchange values**, or many rows change alike. A hash that is linear, like XOR over CRC32s,
//!   does not see that. Here what a row contributes is multiplied with a number of its key: of two rows
//!   one changes from `a·x` to `a·x'` and the other from `b·y` to `b·y'`, with `a ≠ b`. For these to
//!   cancel, the bits in which they change have to be the same ones, out of more than 32. (A sum that
//!   only goes through CRC32 at the end, as it was here once, lets two rows exchange neighbouring
//!   numbers unseen once in 10,000 times: the decimal digits of sums change alike.)
//! - **A row's key differs**: both factors do.
//!
//! The tests below compute the same in Rust.

use crate::stream::table::{ColumnKind, ColumnShape, TableShape};

/// A prime below 2³², and not near it: small numbers with a sign, taken for numbers without, would be
/// like other small numbers modulo one that is.
const PRIME: u64 = 4_000_000_007;
/// Lowest 32 bits.
const LOW: u64 = 0xffff_ffff;
/// Where the numbers of key columns begin, behind those of all columns that a table can have.
const OF_KEYS: usize = 1 << 16;

/// The SQL of a row's checksum, a number of 64 bits.
pub fn row_checksum(table: &TableShape) -> String {
    let all: Vec<String> = (table.columns.iter().enumerate())
        .map(|(place, column)| value_checksum(column, place))
        .collect();
    let key: Vec<String> = (table.key.iter().enumerate())
        .map(|(place, column)| value_checksum(&table.columns[*column], OF_KEYS + place))
        .collect();
    // `^` binds more tightly than `*` in SQL, so each has parentheses. It makes a number without a
    // sign; so does `&`.
    let unsigned = if all.len() == 1 { "0^" } else { "" };
    let (all, key) = (all.join("^"), key.join("^"));
    format!("(({unsigned}{all})%{PRIME})*(({key}&{LOW})|1)")
}

/// The SQL of a value's part of it, in parentheses, a number of 64 bits. `place`: which column's
/// numbers to use.
pub fn value_checksum(column: &ColumnShape, place: usize) -> String {
    let numbers = Numbers::of(place);
    // With a sign in one place only: of two products `a` and `b` that have one, `-a ^ b` may be
    // `a ^ -b`.
    let signed = is_whole(column) && !column.unsigned && place.is_multiple_of(OF_KEYS);
    let value = match (is_whole(column), column.unsigned, &column.kind) {
        (true, false, ColumnKind::BigInt) => format!("(0^{})%{PRIME}", column.quoted()),
        (true, true, ColumnKind::BigInt) => format!("{}%{PRIME}", column.quoted()),
        (true, false, _) if !signed => format!("({}&{LOW})", column.quoted()),
        (true, ..) => column.quoted(),
        _ => format!("CRC32({})", column.select_expression()),
    };
    let signed = signed && column.kind != ColumnKind::BigInt;
    match column.nullable {
        true => {
            // Both with a sign or both without: servers make decimals of a mixture.
            let null = match signed {
                true => numbers.null,
                false => numbers.null | 1 << 63,
            };
            format!("IFNULL({value}*{},{null})", numbers.multiplier)
        }
        false => format!("({value}*{})", numbers.multiplier),
    }
}

/// Whether values are whole numbers, and nothing else.
pub fn is_whole(column: &ColumnShape) -> bool {
    use ColumnKind as Kind;
    let whole = matches!(
        column.kind,
        Kind::TinyInt | Kind::SmallInt | Kind::MediumInt | Kind::Int | Kind::BigInt
    );
    whole && !column.zerofill
}

/// A column's own.
#[derive(Debug, Clone, Copy)]
struct Numbers {
    /// Odd, of 31 bits.
    multiplier: u64,
    /// In the place of NULL: of 63 bits.
    null: u64,
}

impl Numbers {
    fn of(place: usize) -> Self {
        let seed = 2 * place as u64;
        Self {
            multiplier: (scattered(seed) >> 33) | 1 << 30 | 1,
            null: (scattered(seed + 1) >> 1) | 1 << 62 | 1,
        }
    }
}

/// Numbers that look like chance: SplitMix64.
fn scattered(n: u64) -> u64 {
    let mut z = (n.wrapping_add(1)).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

#[cfg(test)]
#[path = "checksum_tests.rs"]
mod tests;
