//! The JSON Schema takes what is valid and refuses what is not.

mod schema_check;

use std::path::Path;

use serde_json::Value;
use vtplan_planner::spec;

fn problems(yaml: &str) -> Vec<String> {
    let value: Value = serde_yaml::from_str(yaml).unwrap();
    schema_check::problems(&spec::json_schema(), &value)
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
  c: { tablets: [{ cell: zone1, server: "db1.example:3306", type: rdonly, host: db1 }, { cell: zone1, server: "[::1]" }] }
  b: { shards: 1, vschema: b.json, schema: { sql: "" }, tablets: { zone1: { replica: 1 } } }
changes: { vdiff: skip, soak: 1h30m, max_write_pause: 500ms, approve: [switch_reads], window: "02:00-03:00", throttle: { max_lag: 0 } }
backups: { location: "gs://b/x", schedules: [{ cron: "@daily", keyspaces: ["*", a], keep: { last: 1, days: 2 } }] }
lint: { rules: [{ name: no-window, level: warning }], ignore: [{ rule: few-replicas, object: a, file: "*.yaml", reason: x }] }
policy: { require: [primary-key], forbid: [data-loss, few-replicas], except: [{ rule: data-loss, object: "a*", reason: x }] }
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
        "keyspaces: { a: { tablets: [{ cell: zone1, server: \"mysql://db1\" }] } }",
        "backups: {}",
        "users: { a: { password: x } }",
        "lint: { rules: [{ name: no-such-rule, level: off }] }",
        "lint: { ignore: [{ rule: few-replicas }] }",
        "policy: { require: [few-replicas] }",
        "policy: { forbid: [everything] }",
    ] {
        assert!(!problems(yaml).is_empty(), "{yaml}");
    }
}
