//! What holds for every spec, and for every text that is none.

use std::path::Path;

use proptest::prelude::*;
use vtplan_planner::spec::{self, Language, Loaded, NoSecrets, SpecErrors};

fn load_text(language: Language, text: &[u8]) -> Result<Loaded, SpecErrors> {
    let folder = tempfile::tempdir().unwrap();
    let name = match language {
        Language::Yaml => "a.yaml",
        Language::Kdl => "a.kdl",
    };
    let path = folder.path().join(name);
    std::fs::write(&path, text).unwrap();
    spec::load(&[path], &NoSecrets)
}

fn language() -> impl Strategy<Value = Language> {
    prop_oneof![Just(Language::Yaml), Just(Language::Kdl)]
}

/// Pieces that specs are made of, so that random texts come near to being specs.
fn fragment() -> impl Strategy<Value = String> {
    let words: &[&str] = &[
        "vtplan",
        "cluster",
        "cells",
        "keyspaces",
        "keyspace",
        "shards",
        "tablets",
        "zone1",
        "replica",
        "schema",
        "sql",
        "tables",
        "table",
        "vindexes",
        "vindex",
        "users",
        ":",
        ": ",
        "{",
        "}",
        "[",
        "]",
        "\n",
        "\n  ",
        "\n    ",
        "- ",
        "\"",
        "'",
        "#",
        " # c\n",
        "//",
        "/*",
        "*/",
        "/-",
        "=",
        ";",
        "1",
        "-80",
        "80-",
        "|\n",
        ">\n",
        "&a ",
        "*a",
        "!!x ",
        "#true",
        "\\",
        "\t",
        "\r\n",
        "---\n",
        "...",
        "? ",
        "<<: ",
        "ü",
        "\u{2028}",
        "\u{feff}",
        "CREATE TABLE t (a int);",
        "\"\"\"\n",
        "#\"",
        "(u8)",
        "~",
        "null",
        "0x1f",
        "1e9",
    ];
    prop_oneof![
        8 => proptest::sample::select(words).prop_map(str::to_owned),
        1 => "\\PC{0,6}",
    ]
}

fn noise() -> impl Strategy<Value = String> {
    proptest::collection::vec(fragment(), 0..40).prop_map(|parts| parts.concat())
}

// A generated spec: names are few, so that references hit and clash.
fn name() -> impl Strategy<Value = String> {
    proptest::sample::select(&["a", "b", "c1", "yes", "null_", "k-1", "0x10", "12"][..])
        .prop_map(str::to_owned)
}

fn free() -> impl Strategy<Value = String> {
    prop_oneof![
        name(),
        "[ -~]{0,12}",
        Just("line\nline\n\n  more \"\"\" \\ x".to_owned()),
        Just(" # no comment".to_owned()),
        Just("größe: {}".to_owned()),
        Just("tab\there\r\n".to_owned()),
        Just("\u{2028}\u{202e}".to_owned()),
    ]
}

fn quoted(text: &str) -> String {
    serde_json::to_string(text).unwrap()
}

/// A list in YAML's flow form.
fn flow(items: &[String]) -> String {
    format!("[{}]", items.join(", "))
}

fn tablets() -> impl Strategy<Value = String> {
    let counts = (name(), 0..4u32, 0..4u32)
        .prop_map(|(c, r, o)| format!("{{ {}: {{ replica: {r}, rdonly: {o} }} }}", quoted(&c)));
    let item = (name(), name(), proptest::option::of(1..9u32), 0..3u8).prop_map(
        |(cell, host, uid, kind)| {
            if kind == 0 {
                return format!("{{ cell: {}, replica: 2 }}", quoted(&cell));
            }
            if kind == 1 {
                let port = 3300 + uid.unwrap_or_default();
                return format!(
                    "{{ cell: {}, server: \"10.0.0.7:{port}\", type: rdonly, host: {} }}",
                    quoted(&cell),
                    quoted(&host)
                );
            }
            let uid = uid
                .map(|u| format!(", uid: {u}, mysql_port: 17{u}00"))
                .unwrap_or_default();
            format!(
                "{{ cell: {}, host: {}{uid}, shard: -80 }}",
                quoted(&cell),
                quoted(&host)
            )
        },
    );
    prop_oneof![
        counts,
        proptest::collection::vec(item, 1..5).prop_map(|items| flow(&items)),
    ]
}

fn table() -> impl Strategy<Value = String> {
    let vindex = (name(), name(), any::<bool>()).prop_map(|(v, c, one)| {
        let (v, c) = (quoted(&v), quoted(&c));
        if one {
            format!("{{ name: {v}, column: {c} }}")
        } else {
            format!("{{ columns: [{c}, {c}], name: {v} }}")
        }
    });
    let column = (name(), proptest::option::of(free())).prop_map(|(n, t)| match t {
        Some(t) => format!("{{ name: {}, type: {} }}", quoted(&n), quoted(&t)),
        None => quoted(&n),
    });
    prop_oneof![
        Just("~".to_owned()),
        (
            proptest::collection::vec(vindex, 0..3),
            proptest::collection::vec(column, 0..3),
            any::<bool>(),
            name(),
        )
            .prop_map(|(vindexes, columns, all, source)| {
                format!(
                    "{{ vindexes: {}, columns: {}, column_list_authoritative: {all}, type: reference, source: {}, pinned: \"80\", on_remove: drop, auto_increment: {{ column: id, sequence: s.s }} }}",
                    flow(&vindexes),
                    flow(&columns),
                    quoted(&source)
                )
            }),
    ]
}

fn keyspace() -> impl Strategy<Value = String> {
    let shards = prop_oneof![
        Just("2".to_owned()),
        Just("[-80, 80-]".to_owned()),
        Just("[\"0\"]".to_owned()),
        Just("[\"-\"]".to_owned()),
    ];
    let schema = prop_oneof![
        Just("a.sql".to_owned()),
        Just("[a.sql, \"b c.sql\"]".to_owned()),
        free().prop_map(|s| format!("{{ sql: {} }}", quoted(&s))),
        free().prop_map(|s| format!("[x.sql, {{ sql: {} }}, y.sql]", quoted(&s))),
    ];
    let vindex = (
        free(),
        proptest::collection::btree_map(free(), free(), 0..3),
    )
        .prop_map(|(kind, params)| {
            let params: Vec<_> = params
                .iter()
                .map(|(k, v)| format!("{}: {}", quoted(k), quoted(v)))
                .collect();
            format!(
                "{{ type: {}, params: {{ {} }} }}",
                quoted(&kind),
                params.join(", ")
            )
        });
    (
        shards,
        tablets(),
        schema,
        proptest::collection::btree_map(name(), table(), 0..3),
        proptest::collection::btree_map(name(), vindex, 0..3),
        any::<bool>(),
    )
        .prop_map(|(shards, tablets, schema, tables, vindexes, sharded)| {
            let map = |map: std::collections::BTreeMap<String, String>| {
                let all: Vec<_> = map.iter().map(|(k, v)| format!("{}: {v}", quoted(k))).collect();
                format!("{{ {} }}", all.join(", "))
            };
            format!(
                "{{ shards: {shards}, sharded: {sharded}, tablets: {tablets}, schema: {schema}, tables: {}, vindexes: {}, durability: none }}",
                map(tables),
                map(vindexes)
            )
        })
}

fn spec_yaml() -> impl Strategy<Value = String> {
    (
        proptest::collection::btree_map(name(), keyspace(), 0..4),
        proptest::collection::vec(name(), 0..3),
        proptest::collection::btree_map(free().prop_filter("a name", |n| {
            (1..=32).contains(&n.chars().count())
        }), Just("X_1"), 0..3),
    )
        .prop_map(|(keyspaces, cells, users)| {
            let cells: Vec<_> = cells.iter().map(|c| quoted(c)).collect();
            let mut out = format!("# head\nvtplan: 1\ncluster: shop\ncells: {}\n", flow(&cells));
            if !keyspaces.is_empty() {
                out.push_str("keyspaces:\n");
            }
            for (name, keyspace) in keyspaces {
                out.push_str(&format!("  {}: {keyspace} # side\n", quoted(&name)));
            }
            if !users.is_empty() {
                out.push_str("\n# before users\nusers:\n");
            }
            for (name, variable) in users {
                out.push_str(&format!("  {}: {{ password_env: {variable} }}\n", quoted(&name)));
            }
            out.push_str("changes: { approve: [complete], soak: 1h30m, window: 02:00-03:00 }\nbackups: { location: s3://b, schedules: [{ cron: 0 3 * * *, keyspaces: [a, \"*\"], keep: { last: 3 } }] }\nlint: { rules: [{ name: zero-soak, level: off }], ignore: [{ rule: few-replicas, object: \"a*\", reason: a test }] }\npolicy: { require: [soak], forbid: [data-loss], except: [{ rule: soak, object: changes, reason: why not }] }\ngates: { zone1: , z2: { count: 2 } }\n");
            out
        })
}

fn convert(text: &str, from: Language, to: Language) -> String {
    match spec::convert(Path::new("a"), text, from, to) {
        Ok(converted) => converted.text,
        Err(errors) => panic!("{errors}\n{text}"),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, ..ProptestConfig::default() })]

    #[test]
    fn no_text_makes_the_reader_panic(language in language(), text in noise()) {
        let _ = load_text(language, text.as_bytes());
        let _ = spec::format(Path::new("a"), &text, language);
        let _ = spec::convert(Path::new("a"), &text, language, Language::Yaml);
        let _ = spec::convert(Path::new("a"), &text, language, Language::Kdl);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(language in language(), bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        let _ = load_text(language, &bytes);
    }

    #[test]
    fn a_cut_spec_makes_no_panic(text in spec_yaml(), at in any::<proptest::sample::Index>()) {
        let mut at = at.index(text.len() + 1);
        while !text.is_char_boundary(at) {
            at -= 1;
        }
        let _ = load_text(Language::Yaml, &text.as_bytes()[..at]);
        let kdl = convert(&text, Language::Yaml, Language::Kdl);
        let mut at = at.min(kdl.len());
        while !kdl.is_char_boundary(at) {
            at -= 1;
        }
        let _ = load_text(Language::Kdl, &kdl.as_bytes()[..at]);
        let _ = spec::format(Path::new("a"), &kdl[..at], Language::Kdl);
    }

    /// `convert` itself refuses to write what would read differently, so that it succeeds is the
    /// property; there and back again must then give the same text.
    #[test]
    fn a_spec_is_the_same_in_both_spellings(text in spec_yaml()) {
        let kdl = convert(&text, Language::Yaml, Language::Kdl);
        let yaml = convert(&kdl, Language::Kdl, Language::Yaml);
        prop_assert_eq!(convert(&yaml, Language::Yaml, Language::Kdl), kdl);
    }

    #[test]
    fn formatting_twice_changes_nothing_more(text in spec_yaml()) {
        let once = spec::format(Path::new("a"), &text, Language::Yaml);
        let once = once.unwrap_or_else(|e| panic!("{e}\n{text}"));
        let twice = spec::format(Path::new("a"), &once, Language::Yaml).unwrap();
        prop_assert_eq!(&twice, &once);
        prop_assert!(once.contains("# head") && once.matches("# side").count() == text.matches("# side\n").count());
        let kdl = convert(&text, Language::Yaml, Language::Kdl);
        let formatted = spec::format(Path::new("a"), &kdl, Language::Kdl);
        let formatted = formatted.unwrap_or_else(|e| panic!("{e}\n{kdl}"));
        prop_assert_eq!(spec::format(Path::new("a"), &formatted, Language::Kdl).unwrap(), formatted);
    }

    /// Formatting what is YAML or KDL at all either fails or is final.
    #[test]
    fn formatting_noise_is_final(language in language(), text in noise()) {
        if let Ok(once) = spec::format(Path::new("a"), &text, language) {
            prop_assert_eq!(spec::format(Path::new("a"), &once, language).unwrap(), once);
        }
    }
}
