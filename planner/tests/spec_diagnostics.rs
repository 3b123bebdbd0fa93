//! What broken specs are answered with: each problem at its place, all at once.

use std::path::PathBuf;

use vtplan_planner::spec::{self, NoSecrets};

/// Writes files into a folder, loads it, and gives what is reported. Files that a spec names go
/// into subfolders.
fn report(files: &[(&str, &str)]) -> String {
    let folder = tempfile::tempdir().unwrap();
    for (name, text) in files {
        let path = folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }
    let prefix = format!("{}/", folder.path().display());
    let text = match spec::load(&[folder.path().to_owned()], &NoSecrets) {
        Ok(loaded) => {
            let warnings: String = loaded.warnings.iter().map(|w| w.render(false)).collect();
            format!("valid\n{warnings}")
        }
        Err(errors) => errors.render(false),
    };
    text.replace(&prefix, "")
        .replace(prefix.trim_end_matches('/'), "FOLDER")
}

/// A spec whose keyspaces section is given.
fn keyspaces(section: &str) -> String {
    format!("vtplan: 1\ncluster: shop\ncells: [zone1, zone2]\nkeyspaces:\n{section}")
}

macro_rules! snapshot {
    ($name:ident, $files:expr) => {
        #[test]
        fn $name() {
            insta::assert_snapshot!(stringify!($name), report($files));
        }
    };
}

snapshot!(
    unknown_fields_get_a_suggestion,
    &[(
        "a.yaml",
        "vtplan: 1\ncluster: shop\ncells: [zone1]\nkeyspace: {}\nkeyspaces:\n  commerce:\n    shard: 1\n    tablets: { zone1: { replcia: 2, rdonyl: 1 } }\n    wibble: 3\ngates:\n  zone1: { port: 1 }\n"
    )]
);

snapshot!(
    unknown_nodes_of_kdl_get_a_suggestion_in_kdl,
    &[(
        "a.kdl",
        "vtplan 1\ncluster \"shop\"\ncells \"zone1\"\nkeyspaces \"commerce\" {\n    shards 1\n}\nkeyspace \"customer\" {\n    tablets \"zone1\" replica=2 rdonyl=1\n    auto_increment #true\n    table \"t\" column_list_authoritative=#true\n}\n"
    )]
);

snapshot!(
    what_is_given_twice_is_named_at_both_places,
    &[
        (
            "a.yaml",
            "vtplan: 1\ncluster: shop\ncells: [zone1]\ncluster: other\nkeyspaces:\n  commerce:\n    tablets: { zone1: { replica: 2, replica: 3 } }\n    schema: sql/a.sql\n"
        ),
        (
            "b.yaml",
            "vtplan: 1\ncells: [zone1]\nkeyspaces:\n  commerce:\n    tablets: { zone1: { replica: 2 } }\nchanges: { soak: 1h }\n"
        ),
        (
            "c.kdl",
            "vtplan 1\nchanges {\n    soak \"2h\"\n    soak \"3h\"\n}\nuser \"app\" password-env=\"A\" password-env=\"B\"\nuser \"app\" password-env=\"C\"\n"
        ),
        (
            "sql/a.sql",
            "CREATE TABLE t (id int primary key);\nCREATE TABLE `t` (id int primary key);\n"
        ),
    ]
);

snapshot!(
    what_every_spec_needs_is_asked_for,
    &[("a.yaml", "keyspaces: {}\n")]
);
snapshot!(an_empty_folder_is_no_spec, &[]);
snapshot!(an_empty_file_is_no_spec, &[("a.yaml", "# nothing\n")]);
snapshot!(
    another_version_of_the_language_is_refused,
    &[("a.yaml", "vtplan: 2\ncluster: shop\ncells: [zone1]\n")]
);

snapshot!(
    wrong_types_are_named,
    &[(
        "a.yaml",
        "vtplan: \"1\"\ncluster: [shop]\ncells: zone1\nkeyspaces:\n  commerce:\n    shards: 80-\n    sharded: \"true\"\n    durability: semisync\n    tablets: 3\n    schema:\n    tables: [product]\nchanges: required\nusers:\n  app: secret\n"
    )]
);

snapshot!(
    scalars_are_checked_by_their_grammar,
    &[(
        "a.yaml",
        "vtplan: 1\ncluster: my shop\ncells: [zone/1]\nkeyspaces:\n  mysql:\n    shards: [-8, 8-x]\n  _vt: {}\n  customer:\n    shards: 0\n    tablets:\n      - { cell: zone1, host: db1, type: primary, uid: 0, mysql_port: 70000 }\nchanges:\n  vdiff: maybe\n  soak: 1\n  max_write_pause: 1x\n  approve: [switch_write, finish]\n  window: Sat 2-5\n  throttle: { max_lag: -1s }\nbackups:\n  location: /var/backups\n  schedules:\n    - cron: 0 3 * *\n      keep: { last: 0 }\n    - cron: 61 3 * * *\ngates:\n  zone1: { mysql_port: 0 }\nusers:\n  app: { password_env: \"hunter2!\" }\n"
    )]
);

snapshot!(
    passwords_written_by_mistake_are_not_shown,
    &[
        (
            "a.yaml",
            "vtplan: 1\ncluster: shop\ncells: [zone1]\nusers:\n  a: hunter2\n  b: { password: hunter2 }\n  c: { password_env: \"hunter2!\", password_file: x }\n  d: [hunter2]\n  e: {}\n"
        ),
        (
            "b.kdl",
            "user \"f\" password=\"hunter2\"\nuser \"g\" password-env=\"hunter2!\"\nuser \"h\"\n"
        ),
    ]
);

snapshot!(
    time_zones_and_locations_get_a_suggestion,
    &[(
        "a.yaml",
        "vtplan: 1\ncluster: shop\ncells: [zone1]\nchanges: { window: \"Sat 02:00-05:00 Europe/Berlyn\" }\nbackups: { location: \"s4://bucket\", schedules: [{ cron: \"@dayly\" }] }\n"
    )]
);

#[test]
fn shards_must_cover_the_range_once() {
    let spec = keyspaces(
        "  a: { shards: [-40, 80-], tablets: { zone1: { replica: 2 } }, sharded: false }\n  b: { shards: [-80, 40-], tablets: { zone1: { replica: 2 } } }\n  c: { shards: [-80, -80, 80-], tablets: { zone1: { replica: 2 } } }\n  d: { shards: [], tablets: { zone1: { replica: 2 } } }\n  e: { shards: [40-80], tablets: { zone1: { replica: 2 } } }\n",
    );
    insta::assert_snapshot!(report(&[("a.yaml", &spec)]));
}

#[test]
fn cells_must_exist() {
    let spec = keyspaces(
        "  a: { tablets: { zone3: { replica: 2 }, eu: { rdonly: 1 } } }\ngates: { zone: {} }\nbackups: { location: \"s3://b\", schedules: [{ cron: \"@daily\", keyspaces: [b, \"*\"] }] }\n",
    );
    insta::assert_snapshot!(report(&[("a.yaml", &spec)]));
}

#[test]
fn durability_must_be_possible() {
    let spec = keyspaces(
        "  one: { tablets: { zone1: { replica: 1 } } }\n  asked: { durability: semi_sync, shards: 2, tablets: { zone1: { replica: 1, rdonly: 3 } } }\n  cross: { durability: cross_cell, tablets: { zone1: { replica: 2 }, zone2: { rdonly: 1 } } }\n  none: { durability: none, tablets: { zone1: { rdonly: 2 } } }\n  nothing: { durability: none }\n  fine: { durability: none, tablets: { zone1: { replica: 1 } } }\n",
    );
    insta::assert_snapshot!(report(&[("a.yaml", &spec)]));
}

#[test]
fn pinned_tablets_must_not_collide() {
    let spec = keyspaces(
        "  a:\n    shards: 2\n    tablets:\n      - { cell: zone1, host: db1, shard: -80, uid: 100, mysql_port: 17100 }\n      - { cell: zone1, host: db2, shard: -80, uid: 100 }\n      - { cell: zone2, host: db1, shard: 80-, mysql_port: 17100 }\n      - { cell: zone1, host: db3, mysql_port: 17200 }\n      - { cell: zone1, host: db4, shard: 40-80 }\n      - { cell: zone1, replica: 2 }\n      - { cell: zone1, replica: 1 }\n      - { cell: zone1 }\n      - { cell: zone1, host: db5, replica: 2 }\n      - { cell: zone1, uid: 7, rdonly: 1 }\n",
    );
    insta::assert_snapshot!(report(&[("a.yaml", &spec)]));
}

#[test]
fn servers_are_adopted_once_and_are_all_that_an_unsharded_keyspace_has() {
    let spec = keyspaces(
        "  mixed:\n    durability: none\n    tablets:\n      - { cell: zone1, server: \"10.0.0.1:3306\" }\n      - { cell: zone1, replica: 1 }\n      - { cell: zone1, host: db1 }\n  sharded:\n    shards: [-80, 80-]\n    durability: none\n    tablets: [{ cell: zone1, server: 10.0.0.2 }]\n  twice:\n    durability: none\n    tablets: [{ cell: zone1, server: \"10.0.0.1:3306\" }]\n  lonely:\n    durability: semi_sync\n    tablets: [{ cell: zone1, server: db3 }, { cell: zone1, server: db4, type: rdonly }]\n  written:\n    tablets:\n      - { cell: zone9, server: \"db5:0\" }\n      - { cell: zone1, server: \"::1\" }\n      - { cell: zone1, server: \"db6\", uid: 100 }\n  fine:\n    tablets: [{ cell: zone1, server: db7, host: h1 }, { cell: zone1, server: \"[::1]:3307\" }]\n",
    );
    insta::assert_snapshot!(report(&[("a.yaml", &spec)]));
}

#[test]
fn schema_and_tables_must_agree() {
    let spec = keyspaces(
        "  commerce:\n    tablets: { zone1: { replica: 2 } }\n    schema: [sql/a.sql, sql/missing.sql]\n  customer:\n    shards: 2\n    tablets: { zone1: { replica: 2 } }\n    schema: sql/b.sql\n    vindexes: { xxhash: { type: xxhash }, h: { type: hahs }, l: { type: lookup, owner: custmer }, b: { type: xxhash, params: { size: 3 } } }\n    tables:\n      customer: { vindexes: [{ name: xxhsh, column: customer_id }, { name: xxhash, column: custmer_id }] }\n      corder:\n        vindexes: [{ name: xxhash }]\n        auto_increment: { column: order, sequence: commerce.order_seq }\n      gone: { vindexes: [{ name: xxhash, column: id }] }\n      country: { type: reference, source: commerce.countries }\n      seq: { type: sequence }\n      both: { pinned: \"80\", vindexes: [{ name: xxhash, columns: [a, b], column: a }] }\n",
    );
    insta::assert_snapshot!(report(&[
        ("a.yaml", &spec),
        (
            "sql/a.sql",
            "CREATE TABLE product (sku int);\nDROP TABLE x;\nALTER TABLE x ADD y int;\nCREATE TABLE t (a int, b text DEFAULT 'x;\n"
        ),
        (
            "sql/b.sql",
            "CREATE TABLE customer (customer_id bigint AUTO_INCREMENT PRIMARY KEY);\nCREATE TABLE corder (order_id bigint PRIMARY KEY, customer_id bigint);\nCREATE TABLE nowhere (id int PRIMARY KEY);\nCREATE TABLE country (id int PRIMARY KEY);\nCREATE TABLE both (a int PRIMARY KEY, b int);\n"
        ),
    ]));
}

/// A sharded keyspace `customer` with a lookup, and an unsharded one that may hold its table.
fn lookups(params: &str, vindexes: &str, tables: &str) -> String {
    keyspaces(&format!(
        "  commerce: {{ tablets: {{ zone1: {{ replica: 2 }} }}, schema: sql/commerce.sql }}\n  customer:\n    shards: 2\n    tablets: {{ zone1: {{ replica: 2 }} }}\n    schema: sql/customer.sql\n    vindexes:\n      xxhash: {{ type: xxhash }}\n      by_email: {{ type: consistent_lookup_unique, owner: customer, params: {params} }}\n      by_name: {{ type: lookup, owner: customer, params: {{ table: commerce.names, from: name, to: id }} }}\n{vindexes}    tables:\n      customer: {{ vindexes: [{{ name: xxhash, column: id }}, {{ name: by_email, column: email }}, {{ name: by_name, column: name }}] }}\n{tables}"
    ))
}

const CUSTOMER: &str = "CREATE TABLE customer (id bigint PRIMARY KEY, email varbinary(80), name varchar(20) NOT NULL, UNIQUE KEY (email), KEY (name));\nCREATE TABLE emails (email varbinary(80) PRIMARY KEY, keyspace_id varbinary(128));\n";
const EMAILS: &str = "      emails: { vindexes: [{ name: xxhash, column: email }] }\n";
const COMMERCE: &str =
    "CREATE TABLE names (name varchar(20), id varbinary(16), PRIMARY KEY (name, id));\n";

#[test]
fn a_lookup_that_is_right_is_nothing_to_speak_of() {
    let params = "{ table: emails, from: email, to: keyspace_id, ignore_nulls: true }";
    let spec = lookups(params, "", EMAILS);
    let text = report(&[
        ("a.yaml", &spec),
        ("sql/customer.sql", CUSTOMER),
        ("sql/commerce.sql", COMMERCE),
    ]);
    assert_eq!(text, "valid\n");
}

#[test]
fn lookups_need_a_table_that_can_hold_them() {
    let spec = lookups(
        "{ table: emails, from: email, to: keyspace_id }",
        "      nowhere: { type: lookup, params: { table: commerce.nmes, from: name, to: id } }\n      unknown: { type: lookup, params: { table: comerce.names, from: nme, to: ids } }\n      columns: { type: lookup, params: { table: commerce.names, from: nme, to: ids } }\n      both: { type: lookup_unique, owner: other, params: { table: emails, from: \"email,more\", to: keyspace_id, write_only: yes } }\n      hashed: { type: lookup_hash, owner: other, params: { table: emails, from: email, to: keyspace_id } }\n",
        "      emails: { vindexes: [{ name: xxhash, column: keyspace_id }] }\n      other: { vindexes: [{ name: by_email, column: email }, { name: columns, columns: [a, email] }] }\n      named: { vindexes: [{ name: xxhash, column: name }] }\n",
    );
    insta::assert_snapshot!(report(&[
        ("a.yaml", &spec),
        (
            "sql/customer.sql",
            "CREATE TABLE customer (id bigint PRIMARY KEY, email varchar(80), name varchar(20) NOT NULL);\nCREATE TABLE emails (email varbinary(80), keyspace_id binary(8), since date NOT NULL, UNIQUE KEY (email(10)));\nCREATE TABLE other (a int PRIMARY KEY, email varbinary(80));\nCREATE TABLE named (name varchar(20) PRIMARY KEY);\n"
        ),
        (
            "sql/commerce.sql",
            "CREATE TABLE names (name varchar(20) PRIMARY KEY, id varbinary(4));\n"
        ),
    ]));
}

#[test]
fn a_lookup_table_must_not_tell_more_apart_than_its_columns() {
    let spec = lookups(
        "{ table: emails, from: email, to: keyspace_id }",
        "",
        EMAILS,
    );
    insta::assert_snapshot!(report(&[
        ("a.yaml", &spec),
        (
            "sql/customer.sql",
            "CREATE TABLE customer (id bigint PRIMARY KEY, email varchar(80) NOT NULL, name varchar(20) NOT NULL, KEY (email), KEY (name));\nCREATE TABLE emails (email varchar(80) PRIMARY KEY, keyspace_id varbinary(8));\n"
        ),
        ("sql/commerce.sql", COMMERCE),
    ]));
}

#[test]
fn sequences_must_exist_in_an_unsharded_keyspace() {
    let spec = keyspaces(
        "  commerce: { tablets: { zone1: { replica: 2 } }, tables: { order_seq: { type: sequence }, product: } }\n  other: { tablets: { zone1: { replica: 2 } }, tables: { order_seq: { type: sequence } }, schema: sql/seq.sql }\n  customer:\n    shards: 2\n    tablets: { zone1: { replica: 2 } }\n    vindexes: { xxhash: { type: xxhash } }\n    tables:\n      a: { vindexes: [{ name: xxhash, column: id }], auto_increment: { column: id, sequence: commerce.oder_seq } }\n      b: { vindexes: [{ name: xxhash, column: id }], auto_increment: { column: id, sequence: commrce.order_seq } }\n      c: { vindexes: [{ name: xxhash, column: id }], auto_increment: { column: id, sequence: order_seq } }\n      d: { vindexes: [{ name: xxhash, column: id }], auto_increment: { column: id, sequence: commerce.product } }\n      e: { vindexes: [{ name: xxhash, column: id }], auto_increment: { column: id, sequence: nothing } }\n",
    );
    insta::assert_snapshot!(report(&[
        ("a.yaml", &spec),
        (
            "sql/seq.sql",
            "CREATE TABLE order_seq (id bigint PRIMARY KEY, next_id bigint);\n"
        ),
    ]));
}

#[test]
fn an_unsharded_keyspace_has_no_vindexes() {
    let spec = keyspaces(
        "  a: { tablets: { zone1: { replica: 2 } }, vindexes: { h: { type: hash } }, tables: { t: { vindexes: [{ name: h, column: id }] } } }\n  b: { tablets: { zone1: { replica: 2 } }, tables: { t: { vindexes: [{ name: h, column: id }] } } }\n  c: { tablets: { zone1: { replica: 2 } }, sharded: true, vindexes: { h: { type: hash } }, tables: { t: { vindexes: [{ name: h, column: id }] } } }\n",
    );
    insta::assert_snapshot!(report(&[("a.yaml", &spec)]));
}

#[test]
fn vschema_files_are_checked_where_they_are_wrong() {
    let spec = keyspaces(
        "  a: { shards: 2, tablets: { zone1: { replica: 2 } }, vschema: v/a.json, schema: v/a.sql }\n  b: { shards: 2, tablets: { zone1: { replica: 2 } }, vschema: v/b.json }\n  c: { tablets: { zone1: { replica: 2 } }, vschema: v/c.json, tables: { t: { type: sequence }, u: { on_remove: drop } } }\n  d: { tablets: { zone1: { replica: 2 } }, vschema: v/d.json }\n  e: { tablets: { zone1: { replica: 2 } }, vschema: v/e.json }\n",
    );
    insta::assert_snapshot!(report(&[
        ("a.yaml", &spec),
        (
            "v/a.json",
            "{\n  \"sharded\": true,\n  \"vindexes\": {\"hash\": {\"type\": \"hsah\"}},\n  \"tables\": {\n    \"t\": {\"column_vindexes\": [{\"column\": \"idd\", \"name\": \"hash\"}]},\n    \"u\": {\"columnVindexes\": [{\"column\": \"id\", \"name\": \"nothing\"}]}\n  }\n}\n"
        ),
        (
            "v/a.sql",
            "CREATE TABLE t (id int PRIMARY KEY);\nCREATE TABLE u (id int PRIMARY KEY);\nCREATE TABLE w (id int PRIMARY KEY);\n"
        ),
        ("v/b.json", "{\"tables\": {\"t\": {}}}\n"),
        ("v/c.json", "{\n  \"tables\": {\"t\": {},\n}\n"),
        ("v/d.json", "{\"keyspaces\": {\"d\": {}}}\n"),
        ("v/e.json", "{\"sharded\": \"yes\"}\n"),
    ]));
}

snapshot!(
    what_is_not_yaml_says_where,
    &[
        ("a.yaml", "vtplan: 1\nkeyspaces:\n\tcommerce: {}\n"),
        ("b.yaml", "vtplan: 1\ncells: [zone1\n"),
        ("c.yaml", "base: &base { replica: 2 }\nother: *base\n"),
        ("d.yaml", "vtplan: !!int 1\n"),
        ("e.yaml", "vtplan: 1\n---\nvtplan: 1\n"),
        ("f.yaml", "? [a, b]\n: 1\n"),
        ("g.yaml", "vtplan: @1\n"),
        ("h.yaml", "größe: { ähnlich: 1 }\n"),
    ]
);

snapshot!(
    what_is_not_kdl_says_where,
    &[
        ("a.kdl", "vtplan 1\nkeyspace \"a\" {\n    shards 1\n"),
        ("b.kdl", "vtplan 1\nkeyspace \"a\" sharded=true\n"),
        (
            "c.kdl",
            "vtplan (u8)1\ncluster \"a\" \"b\"\nkeyspace {\n}\nkeyspace \"a\" \"b\"\ncells \"zone1\" x=1\nchanges \"x\"\n"
        ),
    ]
);

#[test]
fn files_that_are_no_text_are_refused() {
    let folder = tempfile::tempdir().unwrap();
    let write = |name: &str, bytes: &[u8]| {
        let path = folder.path().join(name);
        std::fs::write(&path, bytes).unwrap();
        path
    };
    let paths: Vec<PathBuf> = vec![
        write("a.yaml", b"vtplan: 1\n\xff\xfe\n"),
        write("b.yaml", b"vtplan: \0\n"),
        write("c.txt", b"vtplan: 1\n"),
        folder.path().join("missing.yaml"),
    ];
    let errors = spec::load(&paths, &NoSecrets).unwrap_err();
    let prefix = format!("{}/", folder.path().display());
    insta::assert_snapshot!(errors.render(false).replace(&prefix, ""));
}

#[test]
fn deep_nesting_and_long_lines_are_answered_shortly() {
    let deep = "[".repeat(100_000);
    let deep_kdl = "a {".repeat(100_000);
    let long = format!("vtplan: 1\ncluster: {}\ncells: [zone1]\n", "x".repeat(5000));
    for (name, text) in [("a.yaml", deep), ("b.kdl", deep_kdl), ("c.yaml", long)] {
        let text = report(&[(name, &text)]);
        assert!(text.starts_with("error["), "{text}");
        assert!(text.lines().all(|l| l.len() < 6000), "{name}");
    }
}

#[test]
fn diagnostics_have_a_json_form() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("a.yaml");
    std::fs::write(&file, "vtplan: 1\nclster: shop\ncells: [zone1]\n").unwrap();
    let errors = spec::load(std::slice::from_ref(&file), &NoSecrets).unwrap_err();
    let json = serde_json::to_string_pretty(&errors.diagnostics).unwrap();
    let prefix = format!("{}/", folder.path().display());
    insta::assert_snapshot!(json.replace(&prefix, ""));
}
