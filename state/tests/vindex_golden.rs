//! Vindexes against values that Vitess computed.

use std::borrow::Cow;
use std::collections::BTreeMap;

use vtplan_state::model::{KeyspaceId, VindexDefinition};
use vtplan_state::vindex::{
    Destination, FUNCTIONAL, LOOKUPS, Vindex, VindexError, VindexValue, build,
};

fn definition(vindex_type: &str, params: &[(&str, &str)]) -> VindexDefinition {
    VindexDefinition {
        vindex_type: vindex_type.to_owned(),
        params: params
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect(),
        owner: None,
        extra: BTreeMap::new(),
    }
}

fn vindex(vindex_type: &str, params: &[(&str, &str)]) -> std::sync::Arc<dyn Vindex> {
    build(&definition(vindex_type, params)).unwrap_or_else(|e| panic!("{vindex_type}: {e}"))
}

fn text(text: &str) -> VindexValue<'_> {
    VindexValue::Bytes(Cow::Borrowed(text.as_bytes()))
}

/// As SQL would give it: a number where it is one.
fn value(text_: &str) -> VindexValue<'_> {
    match (text_.parse(), text_.parse()) {
        (Ok(number), _) => VindexValue::Int(number),
        (_, Ok(number)) => VindexValue::UInt(number),
        _ => text(text_),
    }
}

fn shown(destination: &Destination) -> String {
    match destination {
        Destination::Id(id) => id.to_string(),
        Destination::Range(range) => format!(
            "range {}..{}",
            hex::encode(range.start()),
            hex::encode(range.end())
        ),
        Destination::None => "none".to_owned(),
    }
}

#[test]
fn every_golden_value_is_what_vitess_computes() {
    let golden: BTreeMap<String, BTreeMap<String, String>> =
        serde_json::from_str(include_str!("data/vindex_golden.json")).unwrap();
    let mut count = 0;
    for (name, values) in &golden {
        let multicol = name.starts_with("multicol");
        let vindex = match multicol {
            true => vindex("multicol", &[("column_count", "3")]),
            false => vindex(name, &[]),
        };
        for (input, expected) in values {
            let destination = if multicol {
                let columns = input.trim_end_matches(" (prefix)").split(',');
                vindex.map(&columns.map(value).collect::<Vec<_>>())
            } else {
                vindex.map(&[value(input)])
            };
            assert_eq!(&shown(&destination), expected, "{name} of {input:?}");
            // The same value as a string is the same row, where it can be.
            if !multicol && !input.starts_with('-') {
                assert_eq!(
                    &shown(&vindex.map(&[text(input)])),
                    expected,
                    "{name} of {input:?}"
                );
            }
            if let (Destination::Id(id), Some(back)) =
                (&destination, reversed(&*vindex, &destination))
            {
                assert_eq!(
                    vindex.map(&[back]),
                    Destination::Id(id.clone()),
                    "{name} of {input:?}"
                );
            }
            count += 1;
        }
    }
    assert!(count > 100, "only {count} golden values");
}

fn reversed(vindex: &dyn Vindex, destination: &Destination) -> Option<VindexValue<'static>> {
    match destination {
        Destination::Id(id) => vindex.reverse(id),
        _ => None,
    }
}

#[test]
fn collation_keys_of_difficult_texts_are_those_of_go() {
    let vindex = vindex("unicode_loose_md5", &[]);
    let mut count = 0;
    for line in include_str!("data/collation_vectors.txt").lines() {
        let (input, expected) = line.split_once(' ').unwrap();
        let input = hex::decode(input).unwrap();
        let destination = vindex.map(&[VindexValue::Bytes(Cow::Borrowed(&input))]);
        // The vectors were made without cutting trailing spaces.
        if input.last() != Some(&b' ') {
            let input = String::from_utf8(input).unwrap();
            assert_eq!(shown(&destination), expected, "{}", input.escape_unicode());
            count += 1;
        }
    }
    assert!(count > 250);
}

#[test]
fn customers_one_to_ten_fall_on_two_shards_as_in_the_walkthrough() {
    let vindex = vindex("xxhash", &[]);
    let low: Vec<i64> = (1..=10)
        .filter(|id| match vindex.map(&[VindexValue::Int(*id)]) {
            Destination::Id(KeyspaceId(id)) => id[0] < 0x80,
            _ => false,
        })
        .collect();
    assert_eq!(low, [8, 10]);
}

#[test]
fn values_that_a_function_is_not_defined_for_are_nowhere() {
    for name in ["hash", "numeric", "reverse_bits"] {
        let vindex = vindex(name, &[]);
        for bad in [text("abc"), text(""), text("1.5"), VindexValue::Null] {
            assert_eq!(vindex.map(&[bad]), Destination::None, "{name}");
        }
    }
    assert_eq!(
        vindex("numeric", &[]).map(&[VindexValue::Int(-1)]),
        Destination::None
    );
    let loose = vindex("unicode_loose_md5", &[]);
    let broken = VindexValue::Bytes(Cow::Borrowed(&[0xff]));
    assert_eq!(loose.map(&[broken]), Destination::None);
}

#[test]
fn a_static_map_is_followed_and_falls_back() {
    let json = r#"{"0": 1, "5": 9223372036854775808}"#;
    let plain = vindex("numeric_static_map", &[("json", json)]);
    let id = |vindex: &dyn Vindex, n| shown(&vindex.map(&[VindexValue::Int(n)]));
    assert_eq!(id(&*plain, 0), "0000000000000001");
    assert_eq!(id(&*plain, 5), "8000000000000000");
    assert_eq!(id(&*plain, 7), "0000000000000007");
    let params = [("json", json), ("fallback_type", "xxhash")];
    let fallback = vindex("numeric_static_map", &params);
    assert_eq!(id(&*fallback, 0), "0000000000000001");
    assert_eq!(id(&*fallback, 1), "d46405367612b4b7");
}

#[test]
fn multicol_takes_bytes_and_vindexes_by_column() {
    let params = [
        ("column_count", "3"),
        ("column_bytes", "1,,2"),
        ("column_vindex", "binary,,xxhash"),
    ];
    let vindex = vindex("multicol", &params);
    let map = |values: &[VindexValue<'_>]| shown(&vindex.map(values));
    // `a`; five bytes of hash(1); two of xxhash(2).
    assert_eq!(
        map(&[text("a"), value("1"), value("2")]),
        "61166b40b44a8b59"
    );
    assert_eq!(
        map(&[text("ab"), value("1"), value("2")]),
        "61166b40b44a8b59"
    );
    // A short column is padded, unless it is the last.
    assert_eq!(
        map(&[text(""), value("1")]),
        "range 00166b40b44a..00166b40b44b"
    );
    assert_eq!(map(&[text("\u{7f}")]), "range 7f..80");
    assert_eq!(
        shown(&vindex.map(&[VindexValue::Bytes(Cow::Borrowed(&[0xff]))])),
        "range ff.."
    );
    assert_eq!(map(&[text("a"), text("x")]), "none");
}

#[test]
fn cfc_hashes_its_components() {
    let plain = vindex("cfc", &[]);
    assert_eq!(shown(&plain.map(&[text("abc")])), "616263");
    let hashed = vindex("cfc", &[("hash", "md5"), ("offsets", "[1, 3]")]);
    // md5("a") starts with 0c, md5("bc") with 5360, md5("d") with 82.
    assert_eq!(shown(&hashed.map(&[text("abcd")])), "0c536082");
    assert_eq!(shown(&hashed.map(&[text("abc")])), "0c5360");
    assert_eq!(shown(&hashed.map(&[text("ab")])), "none");
}

#[test]
fn regions_are_a_prefix_before_the_hash() {
    let json = vindex(
        "region_json",
        &[
            ("region_map", r#"{"us": 1, "eu": 513}"#),
            ("region_bytes", "1"),
        ],
    );
    assert_eq!(
        shown(&json.map(&[value("1"), text("us")])),
        "01166b40b44aba4bd6"
    );
    assert_eq!(
        shown(&json.map(&[value("1"), text("eu")])),
        "01166b40b44aba4bd6"
    );
    assert_eq!(shown(&json.map(&[value("1"), text("mars")])), "none");
    let plain = vindex("region_experimental", &[("region_bytes", "2")]);
    assert_eq!(
        shown(&plain.map(&[value("255"), value("1")])),
        "00ff166b40b44aba4bd6"
    );
    assert_eq!(shown(&plain.map(&[value("255")])), "range 00ff..01");
}

#[test]
fn definitions_that_cannot_be_used_say_why() {
    let error = |vindex_type: &str, params: &[(&str, &str)]| {
        build(&definition(vindex_type, params))
            .err()
            .map_or_else(String::new, |e| e.to_string())
    };
    assert_eq!(
        error("xxhsah", &[]),
        "vindex type `xxhsah` is not known; did you mean `xxhash`?"
    );
    assert_eq!(
        error("hash", &[("x", "1")]),
        "parameter `x` of vindex type `hash` is not known: the type takes none"
    );
    assert_eq!(
        error("cfc", &[("ofsets", "[1]")]),
        "parameter `ofsets` of vindex type `cfc` is not known; did you mean `offsets`?"
    );
    for (name, params) in [
        ("cfc", vec![("hash", "sha1")]),
        ("cfc", vec![("hash", "md5")]),
        ("cfc", vec![("hash", "md5"), ("offsets", "[3,3]")]),
        ("cfc", vec![("hash", "md5"), ("offsets", "[0]")]),
        ("multicol", vec![]),
        ("multicol", vec![("column_count", "9")]),
        (
            "multicol",
            vec![("column_count", "2"), ("column_bytes", "8")],
        ),
        (
            "multicol",
            vec![("column_count", "2"), ("column_bytes", "1,1,1")],
        ),
        (
            "multicol",
            vec![("column_count", "1"), ("column_vindex", "null")],
        ),
        ("numeric_static_map", vec![]),
        ("numeric_static_map", vec![("json", "{\"a\": 1}")]),
        ("numeric_static_map", vec![("json_path", "/nonexistent")]),
        ("region_json", vec![("region_map", "{}")]),
        ("region_experimental", vec![("region_bytes", "3")]),
    ] {
        assert!(
            error(name, &params).starts_with("parameter `"),
            "{name} {params:?}"
        );
    }
}

#[test]
fn lookups_are_no_functions() {
    for name in LOOKUPS {
        assert!(matches!(
            build(&definition(name, &[])),
            Err(VindexError::NotFunctional { .. })
        ));
    }
    for name in FUNCTIONAL {
        assert!(!matches!(
            build(&definition(name, &[])),
            Err(VindexError::UnknownType { .. } | VindexError::NotFunctional { .. })
        ));
    }
}

proptest::proptest! {
    #[test]
    fn digits_of_a_number_give_the_same_id_as_the_number(number in proptest::num::i64::ANY, small in -1000i64..1000) {
        for vindex_type in ["hash", "xxhash"] {
            let vindex = vindex(vindex_type, &[]);
            let same = |value: VindexValue<'_>, digits: String| {
                let id = vindex.map_digits(digits.as_bytes()).expect("it takes digits");
                assert_eq!(vindex.map(&[value]), Destination::Id(KeyspaceId(id.to_vec())), "{vindex_type} {digits}");
            };
            for number in [number, small, 0, -1, i64::MIN, i64::MAX] {
                same(VindexValue::Int(number), number.to_string());
            }
            for number in [number.cast_unsigned(), u64::MAX] {
                same(VindexValue::UInt(number), number.to_string());
            }
        }
    }
}

#[test]
fn what_are_no_digits_is_left_to_the_whole_map() {
    let hash = vindex("hash", &[]);
    for text in ["", "a", "1.5", "18446744073709551616"] {
        assert_eq!(hash.map_digits(text.as_bytes()), None, "{text:?}");
    }
    assert_eq!(vindex("binary", &[]).map_digits(b"1"), None);
}
