//! The JSON Schema takes what is valid and refuses what is not. The checker below knows the
//! keywords that the schema uses, and fails on others.

use std::path::Path;

use serde_json::{Value, json};
use vtplan_planner::spec;

/// Why a value does not fit, as paths with reasons.
fn check(schema: &Value, value: &Value, path: &str, out: &mut Vec<String>) {
    let before = out.len();
    for (keyword, rule) in schema.as_object().unwrap() {
        let fits = match keyword.as_str() {
            "$schema" | "title" | "description" => true,
            "type" => {
                let is = |t: &Value| match t.as_str().unwrap() {
                    "object" => value.is_object(),
                    "array" => value.is_array(),
                    "string" => value.is_string(),
                    "number" => value.is_number(),
                    "integer" => value.is_i64() || value.is_u64(),
                    "boolean" => value.is_boolean(),
                    "null" => value.is_null(),
                    other => panic!("{other}"),
                };
                match rule.as_array() {
                    Some(types) => types.iter().any(is),
                    None => is(rule),
                }
            }
            "enum" => rule.as_array().unwrap().contains(value),
            "minimum" => value.as_f64().is_none_or(|v| v >= rule.as_f64().unwrap()),
            "maximum" => value.as_f64().is_none_or(|v| v <= rule.as_f64().unwrap()),
            "minLength" => value
                .as_str()
                .is_none_or(|s| s.chars().count() as u64 >= rule.as_u64().unwrap()),
            "pattern" => {
                let pattern = regex::Regex::new(rule.as_str().unwrap()).unwrap();
                value.as_str().is_none_or(|s| pattern.is_match(s))
            }
            "anyOf" => rule.as_array().unwrap().iter().any(|one| {
                let mut why = Vec::new();
                check(one, value, path, &mut why);
                why.is_empty()
            }),
            "items" => {
                for (i, item) in value.as_array().into_iter().flatten().enumerate() {
                    check(rule, item, &format!("{path}[{i}]"), out);
                }
                true
            }
            "properties" => {
                for (name, one) in rule.as_object().unwrap() {
                    if let Some(value) = value.get(name) {
                        check(one, value, &format!("{path}.{name}"), out);
                    }
                }
                true
            }
            "required" => {
                let mut names = rule.as_array().unwrap().iter();
                value.is_object() && names.all(|n| value.get(n.as_str().unwrap()).is_some())
                    || !value.is_object()
            }
            "additionalProperties" => {
                let known = schema.get("properties").and_then(Value::as_object);
                for (name, value) in value.as_object().into_iter().flatten() {
                    if known.is_some_and(|k| k.contains_key(name)) {
                        continue;
                    }
                    let path = format!("{path}.{name}");
                    match rule {
                        Value::Bool(false) => out.push(format!("{path}: not allowed")),
                        rule => check(rule, value, &path, out),
                    }
                }
                true
            }
            "propertyNames" => {
                for name in value.as_object().into_iter().flat_map(|o| o.keys()) {
                    check(rule, &json!(name), &format!("{path}.{name}"), out);
                }
                true
            }
            other => panic!("the schema uses `{other}`, which this test does not know"),
        };
        if !fits {
            out.push(format!("{path}: {keyword}"));
        }
    }
    // Reasons of parts are enough; one of the whole would repeat them.
    out.truncate(out.len().max(before));
}

fn problems(yaml: &str) -> Vec<String> {
    let value: Value = serde_yaml::from_str(yaml).unwrap();
    let mut out = Vec::new();
    check(&spec::json_schema(), &value, "spec", &mut out);
    out
}

#[test]
fn the_yaml_examples_fit_the_schema() {
    let examples = Path::new(env!("CARGO_MANIFEST_DIR")).join("../specs/examples");
    let mut seen = 0;
    for entry in std::fs::read_dir(examples).unwrap() {
        let path = entry.unwrap().path();
        if path.extension().is_some_and(|e| e == "yaml") {
            let text = std::fs::read_to_string(&path).unwrap();
            assert_eq!(problems(&text), Vec::<String>::new(), "{}", path.display());
            seen += 1;
        }
    }
    assert!(seen >= 3);
}

#[test]
fn every_field_of_the_language_fits_the_schema() {
    let yaml = r#"
vtplan: 1
cluster: shop
cells: [zone1]
keyspaces:
  a:
    shards: [-80, 80-]
    sharded: true
    durability: cross_cell
    tablets:
      - { cell: zone1, host: db1.example, type: rdonly, shard: -80, uid: 100, mysql_port: 17100 }
      - { cell: zone1, replica: 2, rdonly: 1 }
    schema: [a.sql, { sql: "CREATE TABLE t (a int)" }]
    vindexes: { x: { type: region_experimental, owner: t, params: { region_bytes: 1 } } }
    tables:
      t:
        type: reference
        source: b.t
        vindexes: [{ name: x, column: a }, { name: x, columns: [a, b] }]
        auto_increment: { column: a, sequence: b.s }
        columns: [a, { name: b, type: VARCHAR }]
        column_list_authoritative: true
        pinned: "80"
        on_remove: drop
      u:
    require_explicit_routing: true
    on_remove: keep
  b: { shards: 1, vschema: b.json, schema: { sql: "" }, tablets: { zone1: { replica: 1 } } }
changes: { vdiff: skip, soak: 1h30m, max_write_pause: 500ms, approve: [switch_reads], window: "02:00-03:00", throttle: { max_lag: 0 } }
backups: { location: "gs://b/x", schedules: [{ cron: "@daily", keyspaces: ["*", a], keep: { last: 1, days: 2 } }] }
gates: { zone1: }
users: { app: { password_file: secret }, b: { password_env: B } }
"#;
    assert_eq!(problems(yaml), Vec::<String>::new());
}

#[test]
fn mistakes_do_not_fit_the_schema() {
    for yaml in [
        "vtplan: 2",
        "keyspace: {}",
        "cells: zone1",
        "keyspaces: { a: { shards: 0 } }",
        "keyspaces: { a: { shards: [8-] } }",
        "keyspaces: { a: { tablets: { zone1: { replcia: 2 } } } }",
        "keyspaces: { \"my shop\": {} }",
        "changes: { soak: 1x }",
        "gates: { zone1: { mysql_port: 0 } }",
        "backups: {}",
        "users: { a: { password: x } }",
    ] {
        assert!(!problems(yaml).is_empty(), "{yaml}");
    }
}
