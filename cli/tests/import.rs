//! `vtplan import vitess`: specs from listings, whole, partial and broken; and `import cluster` where there
//! is nothing to import from.

mod support;

use std::fs;

use support::Place;

/// As `vtctldclient` prints it: all fields, enums as numbers.
fn tablet(uid: u32, keyspace: &str, shard: &str, kind: u32) -> String {
    format!(
        r#"{{"alias": {{"cell": "zone1", "uid": {uid}}}, "hostname": "localhost",
            "port_map": {{"grpc": 16100, "vt": 15100}}, "keyspace": "{keyspace}", "shard": "{shard}",
            "key_range": null, "type": {kind}, "db_name_override": "", "tags": {{}},
            "mysql_hostname": "localhost", "mysql_port": 17100, "primary_term_start_time": null,
            "default_conn_collation": 255}}"#
    )
}

const COMMERCE: &str = r#"{
  "sharded": false, "vindexes": {}, "require_explicit_routing": false, "foreign_key_mode": 0,
  "multi_tenant_spec": null,
  "tables": {
    "customer_seq": {
      "type": "sequence", "column_vindexes": [], "auto_increment": null, "columns": [],
      "pinned": "", "column_list_authoritative": false, "source": ""
    },
    "product": {
      "type": "", "column_vindexes": [], "auto_increment": null,
      "columns": [{"name": "sku", "type": 10262, "invisible": false}],
      "pinned": "", "column_list_authoritative": false, "source": ""
    }
  }
}"#;

const CUSTOMER: &str = r#"{
  "sharded": true, "foreign_key_mode": 2,
  "vindexes": {"xxhash": {"type": "xxhash", "params": {}, "owner": ""}},
  "tables": {
    "customer": {
      "type": "", "column_vindexes": [{"column": "customer_id", "name": "xxhash", "columns": []}],
      "auto_increment": {"column": "customer_id", "sequence": "commerce.customer_seq"}
    }
  }
}"#;

fn schema(tables: &[(&str, &str)]) -> String {
    let tables = tables.iter().map(|(name, statement)| {
        serde_json::json!({ "name": name, "schema": statement, "type": "BASE TABLE", "row_count": "5" })
    });
    let tables: Vec<_> = tables.collect();
    serde_json::json!({ "database_schema": "", "table_definitions": tables }).to_string()
}

/// A cluster in which a Reshard of `customer` is done, and its old shard still there.
fn listings(place: &Place) {
    let tablets = [
        tablet(100, "commerce", "0", 1),
        tablet(101, "commerce", "0", 2),
        tablet(102, "commerce", "0", 3),
        tablet(103, "commerce", "0", 8),
        tablet(200, "customer", "0", 1),
        tablet(300, "customer", "-80", 1),
        tablet(301, "customer", "-80", 2),
        tablet(400, "customer", "80-", 1),
    ];
    place.write("vitess/tablets.json", &format!("[{}]", tablets.join(",\n")));
    place.write(
        "vitess/keyspaces.json",
        r#"[{"name": "commerce", "keyspace": {"keyspace_type": 0, "durability_policy": "semi_sync"}},
            {"name": "customer", "keyspace": {"keyspace_type": 0, "durability_policy": "none"}}]"#,
    );
    place.write(
        "vitess/shards/customer.json",
        r#"{"-80": {"keyspace": "customer", "name": "-80", "shard": {"is_primary_serving": true}},
            "80-": {"keyspace": "customer", "name": "80-", "shard": {"is_primary_serving": true}},
            "0": {"keyspace": "customer", "name": "0", "shard": {"is_primary_serving": false}}}"#,
    );
    place.write(
        "vitess/routing_rules.json",
        r#"{"rules": [{"from_table": "customer", "to_tables": ["customer.customer"]},
                      {"from_table": "commerce.product", "to_tables": ["commerce.product"]}]}"#,
    );
    place.write("vitess/vschema/commerce.json", COMMERCE);
    place.write("vitess/vschema/customer.json", CUSTOMER);
    let product = "CREATE TABLE `product` (\n  `sku` varbinary(128) NOT NULL,\n  PRIMARY KEY (`sku`)\n) ENGINE=InnoDB";
    let seq = "CREATE TABLE `customer_seq` (\n  `id` bigint NOT NULL,\n  `next_id` bigint DEFAULT NULL,\n  `cache` bigint DEFAULT NULL,\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB COMMENT='vitess_sequence'";
    let commerce = schema(&[("product", product), ("customer_seq", seq)]);
    place.write("vitess/schema/commerce.json", &commerce);
    let customer = "CREATE TABLE `customer` (\n  `customer_id` bigint NOT NULL,\n  PRIMARY KEY (`customer_id`)\n) ENGINE=InnoDB";
    place.write(
        "vitess/schema/customer.json",
        &schema(&[("customer", customer)]),
    );
}

#[test]
fn a_vitess_cluster_becomes_a_spec_that_is_valid_and_formatted() {
    let place = Place::new();
    listings(&place);
    let import = |out| {
        [
            "import",
            "vitess",
            "vitess",
            "--cluster",
            "shop",
            "--out",
            out,
        ]
    };
    let [a, b, c, d, e, f, g] = import("yaml/shop.yaml");
    check!(place, "vitess", [a, b, c, d, e, f, g]);
    let spec = fs::read_to_string(place.path("yaml/shop.yaml")).expect("the spec");
    insta::assert_snapshot!("vitess-spec", spec);
    for file in [
        "schema/commerce.sql",
        "vschema/commerce.json",
        "vschema/customer.json",
    ] {
        let text = fs::read_to_string(place.path("yaml").join(file)).expect("a file");
        insta::assert_snapshot!(format!("vitess-{}", file.replace('/', "-")), text);
    }
    assert_eq!(place.output(&import("kdl/shop.kdl")).0, 0);
    let kdl = fs::read_to_string(place.path("kdl/shop.kdl")).expect("the spec");
    insta::assert_snapshot!("vitess-spec-kdl", kdl);
    for spec in ["yaml/shop.yaml", "kdl/shop.kdl"] {
        assert_eq!(place.output(&["validate", spec]).0, 0, "{spec}");
        assert_eq!(place.output(&["fmt", "--check", spec]).0, 0, "{spec}");
    }
    // What is there is not overwritten.
    check!(place, "vitess-again", [a, b, c, d, e, f, g]);
}

#[test]
fn what_the_listings_do_not_say_is_guessed_and_told() {
    let place = Place::new();
    // As another client prints it: other names, enums as words.
    place.write(
        "vitess/tablets.json",
        r#"{"tablets": [{"alias": {"cell": "zone1", "uid": 100}, "portMap": {"vt": 1}, "newField": 1,
            "keyspace": "commerce", "shard": "0", "type": "PRIMARY"}]}"#,
    );
    check!(
        place,
        "vitess-least",
        ["import", "vitess", "vitess", "--out", "out/shop.yaml"]
    );
    let json = [
        "import", "vitess", "vitess", "--out", "b/s.yaml", "--format", "json",
    ];
    let (code, stdout, _) = place.output(&json);
    let document: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!((code, &document["problems"]), (0, &0.into()));
    // Shards that do not cover the range: the spec is there to be corrected, and what is wrong is told.
    place.write(
        "vitess/shards/commerce.json",
        r#"{"-80": {"name": "-80", "shard": {"is_primary_serving": true}}}"#,
    );
    check!(
        place,
        "vitess-not-valid",
        ["import", "vitess", "vitess", "--out", "gap/shop.yaml"]
    );
}

#[test]
fn listings_that_are_broken_are_refused_and_nothing_is_written() {
    let place = Place::new();
    listings(&place);
    let whole = fs::read_to_string(place.path("vitess/tablets.json")).expect("a file");
    let cases = [
        ("cut", "tablets.json", whole[..whole.len() / 2].to_owned()),
        ("empty", "tablets.json", String::new()),
        ("binary", "tablets.json", "\u{0}\u{1}ELF".to_owned()),
        (
            "text",
            "tablets.json",
            "zone1-0000000100 commerce 0 primary".to_owned(),
        ),
        ("no-list", "tablets.json", "{}".to_owned()),
        (
            "no-alias",
            "tablets.json",
            r#"[{"hostname": "x"}]"#.to_owned(),
        ),
        (
            "bad-shard",
            "shards/customer.json",
            r#"{"80-40": {"shard": {"is_primary_serving": true}}}"#.to_owned(),
        ),
        (
            "srv",
            "vschema/commerce.json",
            r#"{"keyspaces": {"commerce": {}}}"#.to_owned(),
        ),
        (
            "vschema",
            "vschema/commerce.json",
            r#"{"tables": {"t": {"column_vindexes": 5}}}"#.to_owned(),
        ),
        (
            "schema",
            "schema/commerce.json",
            r#"{"table_definitions": [{"name": "t"}]}"#.to_owned(),
        ),
        ("rules", "routing_rules.json", r#"{"rules": 1}"#.to_owned()),
    ];
    let mut told = String::new();
    for (case, file, text) in cases {
        listings(&place);
        place.write(&format!("vitess/{file}"), &text);
        let (code, stdout, stderr) =
            place.output(&["import", "vitess", "vitess", "--out", "out/shop.yaml"]);
        assert_eq!((code, stdout.as_str()), (1, ""), "{case}");
        told += &format!("{case}\n{stderr}\n");
        assert!(!place.path("out").exists(), "{case}");
    }
    insta::assert_snapshot!("vitess-broken", told);
    check!(
        place,
        "vitess-no-folder",
        ["import", "vitess", "nowhere", "--out", "x.yaml"]
    );
    place.write("none/readme.txt", "");
    check!(
        place,
        "vitess-no-tablets",
        ["import", "vitess", "none", "--out", "x.yaml"]
    );
    check!(
        place,
        "vitess-no-spec-name",
        ["import", "vitess", "vitess", "--out", "x.txt"]
    );
}

#[test]
fn servers_are_imported_only_as_somebody_and_where_they_are() {
    let place = Place::new();
    let servers = ["import", "servers", "127.0.0.1:1", "--out", "a/shop.yaml"];
    check!(
        place,
        "servers-no-password",
        ["import", "servers", "127.0.0.1:1", "--out", "a/shop.yaml"]
    );
    place.write("password", "secret\n");
    let with_password = |more: &[&str]| {
        let mut args = servers.to_vec();
        args.extend(["--password-file", "password"]);
        args.extend(more);
        place.run(&args)
    };
    insta::assert_snapshot!("servers-refused", with_password(&[]));
    insta::assert_snapshot!("servers-twice", with_password(&["127.0.0.1:1"]));
    insta::assert_snapshot!("servers-bad-address", with_password(&["mysql://db1"]));
    assert!(!place.path("a").exists());
    assert!(!place.path(".vtplan").exists());
}

#[test]
fn the_administrators_statements_are_written_for_their_reader_alone() {
    use std::os::unix::fs::PermissionsExt as _;
    let place = Place::new();
    let spec = |tablets: &str| {
        format!(
            "vtplan: 1\ncluster: shop\ncells: [zone1]\nkeyspaces:\n  shop: {{ durability: none, tablets: {tablets} }}\n"
        )
    };
    place.write("made.yaml", &spec("{ zone1: { replica: 1 } }"));
    check!(
        place,
        "accounts-no-servers",
        ["import", "accounts", "made.yaml", "--sql", "admin.sql"]
    );
    place.write("shop.yaml", &spec("[{ cell: zone1, server: db1 }]"));
    let write = ["import", "accounts", "shop.yaml", "--sql", "admin.sql"];
    let (code, stdout, stderr) = place.output(&write);
    assert_eq!((code, stdout.as_str()), (0, ""), "{stderr}");
    let file = place.path("admin.sql");
    let mode = fs::metadata(&file).expect("the file").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    let text = fs::read_to_string(&file).expect("the file");
    let mut settings = insta::Settings::clone_current();
    settings.add_filter(r"BY '[^']+'", "BY '[PASSWORD]'");
    settings.bind(|| insta::assert_snapshot!("accounts-sql", text));
    // The same account every time.
    place.output(&write);
    assert_eq!(fs::read_to_string(&file).expect("the file"), text);
}

#[test]
fn a_cluster_is_imported_only_from_a_copy() {
    let place = Place::new();
    check!(place, "cluster-no-copy", ["import", "cluster"]);
    place.write(
        ".vtplan/data/records.json",
        "{\"vtplan_state_export\": 1, \"clu",
    );
    check!(place, "cluster-cut-copy", ["import", "cluster"]);
    assert!(!place.path(".vtplan/state.db").exists());
}
