//! The same sum in Rust, and what it is to tell apart.

use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
enum Value {
    /// Of a column of whole numbers of 64 bits, and of 32.
    Number(i64),
    Small(i32),
    Text(Vec<u8>),
    Null,
}

use Value::{Null, Number, Small, Text};

fn value_of(value: &Value, place: usize) -> u64 {
    let numbers = Numbers::of(place);
    match value {
        Number(n) => (n.cast_unsigned() % PRIME) * numbers.multiplier,
        Small(n) if place.is_multiple_of(OF_KEYS) => {
            (i64::from(*n) * numbers.multiplier.cast_signed()).cast_unsigned()
        }
        Small(n) => u64::from(n.cast_unsigned()) * numbers.multiplier,
        Text(bytes) => u64::from(crc32fast::hash(bytes)) * numbers.multiplier,
        Null => numbers.null,
    }
}

/// With the first column as the key.
fn checksum(row: &[Value]) -> u64 {
    let all = (row.iter().enumerate()).fold(0, |sum, (place, v)| sum ^ value_of(v, place));
    let key = value_of(&row[0], OF_KEYS);
    (all % PRIME) * (key & LOW | 1)
}

/// What a range's rows come to: their number too, for the checksum of one row may be 0.
fn of_rows(rows: &[Vec<Value>]) -> (usize, u64) {
    let sum = rows.iter().fold(0, |sum, row| sum ^ checksum(row));
    (rows.len(), sum)
}

fn text(bytes: &str) -> Value {
    Text(bytes.as_bytes().to_vec())
}

#[test]
fn every_column_has_numbers_of_its_own_that_no_value_can_make_up() {
    let places = || (0..1017).chain(OF_KEYS..OF_KEYS + 64);
    let multipliers: BTreeSet<u64> = places().map(|p| Numbers::of(p).multiplier).collect();
    assert_eq!(multipliers.len(), places().count());
    for place in places() {
        let Numbers { multiplier, null } = Numbers::of(place);
        assert!(multiplier % 2 == 1 && multiplier < 1 << 31);
        // No product leaves 64 bits, with a sign or without.
        assert!(u128::from(multiplier) * u128::from(PRIME) < 1 << 63);
        for null in [null, null | 1 << 63] {
            for value in [0, 1, LOW, null / multiplier] {
                assert_ne!(value.wrapping_mul(multiplier), null);
            }
            // Nor does a small number look like NULL behind `mod P`.
            let like_null = (0..70_000u64).any(|n| n * multiplier % PRIME == null % PRIME);
            assert!(!like_null, "{place}");
        }
    }
    assert!(u128::from(PRIME) * u128::from(LOW) < 1 << 64);
}

#[test]
fn nothing_empty_or_moved_looks_like_something_else() {
    let rows = [
        vec![Number(1), text("ab"), text("c")],
        vec![Number(1), text("a"), text("bc")],
        vec![Number(1), text("abc"), text("")],
        vec![Number(1), text(""), text("abc")],
        vec![Number(1), text("c"), text("ab")],
        vec![Number(1), Null, text("abc")],
        vec![Number(1), text("abc"), Null],
        vec![Number(1), text("0"), Null],
        vec![Number(1), text(""), Null],
        vec![Number(1), Null, text("")],
        vec![Number(1), Null, Null],
        vec![Number(1), text(""), text("")],
        vec![Number(1), text("0"), text("")],
        vec![Number(1), text("\0"), text("")],
        vec![Number(1), text("NULL"), text("")],
        // Of another table: their 0 is `''` above.
        vec![Number(2), Number(0), Number(0)],
        vec![Number(1), Number(0), Number(1)],
        vec![Number(1), Number(1), Number(0)],
        vec![Number(0), Number(1), Number(1)],
        vec![Number(1), Number(3), Number(-3)],
        vec![Number(1), Number(-3), Number(3)],
        vec![Small(1), Small(3), Small(-3)],
        vec![Small(1), Small(-3), Small(3)],
        vec![Small(-1), Small(1), Small(0)],
        vec![Small(i32::MIN), Small(i32::MAX), Small(0)],
        vec![Small(i32::MAX), Small(i32::MIN), Small(0)],
        vec![Number(-1), Number(0), Number(0)],
        vec![Number(i64::MIN), Number(0), Number(0)],
        vec![Number(i64::MAX), Number(0), Number(0)],
        vec![Number(1 << 32), Number(0), Number(0)],
        vec![Number(1 << 31), Number(0), Number(0)],
        vec![Number(-1 << 31), Number(0), Number(0)],
    ];
    let checksums: BTreeSet<u64> = rows.iter().map(|row| checksum(row)).collect();
    assert_eq!(checksums.len(), rows.len());
}

/// What each of many rows changes by, when a column's value goes from one to another: were it the same
/// for two of them, they could exchange these values unseen.
#[test]
fn two_rows_cannot_exchange_values_unseen() {
    for (one, other) in [
        (Number(5), Number(6)),
        (Number(0), Number(1)),
        (Number(0), Number(1 << 31)),
        (Number(-1), Number(1)),
        (Number(100), Number(200)),
        (Small(5), Small(6)),
        (Small(-1), Small(1)),
        (Small(0), Small(i32::MIN)),
        (Null, Number(0)),
        (text("a"), text("b")),
        (text("no"), text("yes")),
        (text(""), Null),
    ] {
        let mut changes = BTreeMap::new();
        for id in -20_000..20_000 {
            // Few values, so that nothing but the key tells most rows apart.
            let of = |value: &Value| checksum(&[Small(id), Small(id / 5_000), value.clone()]);
            let change = of(&one) ^ of(&other);
            assert_ne!(change, 0, "{id}: {one:?} and {other:?}");
            let before = changes.insert(change, id);
            assert_eq!(before, None, "{id}: {one:?} and {other:?}");
        }
    }
}

/// With numbers of 16 bits instead of 32, so that what goes unnoticed is seen to go unnoticed: no more
/// often than chance would have it.
#[test]
fn exchanges_between_rows_are_missed_no_more_often_than_by_chance() {
    const BITS: u32 = 16;
    const SMALL_PRIME: u64 = 65_521;
    const TRIES: u64 = 1 << 21;
    let low = (1 << BITS) - 1;
    let odd = |n: u64| (scattered(n) & (low >> 1)) | 1;
    let (m, n) = ([odd(1), odd(2), odd(3)], odd(4));
    let row = |values: [u64; 3]| {
        let all = values.iter().zip(m).fold(0, |sum, (v, m)| sum ^ (v * m));
        (all % SMALL_PRIME) * ((values[0] * n) & low | 1)
    };
    type Make = fn(u64) -> u64;
    // Small numbers, numbers that are near each other, and what hashes look like.
    let kinds: [Make; 3] = [|n| n % 8, |n| 1000 + n % 64, |n| n & 0xffff];
    for (kind, make) in kinds.into_iter().enumerate() {
        let mut missed = 0;
        for n in 0..TRIES {
            let chance = |i: u64| scattered(n * 8 + i);
            let ids = [chance(0) % 4096, chance(1) % 4096];
            let [a, b] = [2, 3].map(|i| make(chance(i)));
            let [x, y] = [4, 5].map(|i| make(chance(i)));
            if ids[0] == ids[1] || x == y {
                continue;
            }
            let before = row([ids[0], a, x]) ^ row([ids[1], b, y]);
            let after = row([ids[0], a, y]) ^ row([ids[1], b, x]);
            missed += u64::from(before == after);
        }
        let by_chance = 2 * (TRIES >> BITS);
        assert!(missed <= by_chance, "{kind}: {missed} of {TRIES}");
    }
}

fn any_value() -> impl Strategy<Value = Value> {
    prop_oneof![
        4 => (-3i64..4).prop_map(Number),
        4 => (-3i32..4).prop_map(Small),
        1 => any::<i32>().prop_map(Small),
        1 => any::<i64>().prop_map(Number),
        4 => "[ab]{0,3}".prop_map(|t| text(&t)),
        1 => any::<Vec<u8>>().prop_map(Text),
        2 => Just(Null),
    ]
}

/// Tables of few columns with keys that differ.
fn any_rows() -> impl Strategy<Value = Vec<Vec<Value>>> {
    (2usize..5).prop_flat_map(|columns| {
        let rest = proptest::collection::vec(any_value(), columns - 1);
        proptest::collection::btree_map(-50i32..50, rest, 2..12).prop_map(|rows| {
            let row = |(id, rest): (i32, Vec<Value>)| [vec![Small(id)], rest].concat();
            rows.into_iter().map(row).collect()
        })
    })
}

/// `''` has the CRC32 of the number 0, in columns of different types.
fn same_type(a: &Value, b: &Value) -> bool {
    *a == Null || *b == Null || std::mem::discriminant(a) == std::mem::discriminant(b)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(2048))]

    #[test]
    fn what_is_changed_in_one_row_or_between_two_is_seen(
        rows in any_rows(),
        value in any_value(),
        (i, j, c, d) in any::<(prop::sample::Index, prop::sample::Index, prop::sample::Index,
            prop::sample::Index)>(),
        way in 0..6,
    ) {
        let mut changed = rows.clone();
        let (i, j) = (i.index(rows.len()), j.index(rows.len()));
        let columns = rows[0].len();
        let (c, d) = (1 + c.index(columns - 1), 1 + d.index(columns - 1));
        match way {
            // A value, of its column's type.
            0 if same_type(&rows[i][c], &value) => changed[i][c] = value,
            // Two values of a row.
            1 if same_type(&rows[i][c], &rows[i][d]) => changed[i].swap(c, d),
            // A value of two rows.
            2 if same_type(&rows[i][c], &rows[j][c]) => {
                changed[i][c] = rows[j][c].clone();
                changed[j][c] = rows[i][c].clone();
            }
            // A column of all rows moves on by one.
            3 if rows.iter().all(|row| same_type(&row[c], &rows[0][c])) => {
                for (n, row) in changed.iter_mut().enumerate() {
                    row[c] = rows[(n + 1) % rows.len()][c].clone();
                }
            }
            // A row is lost.
            4 => drop(changed.remove(i)),
            // A row has another one's values, and the other one's key is new.
            5 => {
                changed[i][0] = Small(77);
            }
            _ => {}
        }
        prop_assert_eq!(of_rows(&rows) == of_rows(&changed), rows == changed);
    }
}
