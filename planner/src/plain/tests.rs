use super::*;

/// A server that fits: MariaDB with one database of one table.
fn server(id: u32) -> PlainServer {
    let variables = [
        ("server_id", id.to_string()),
        ("hostname", format!("machine{id}")),
        ("port", "3306".to_owned()),
        ("datadir", "/var/lib/mysql/".to_owned()),
        ("pid_file", "/run/mysqld.pid".to_owned()),
        ("log_bin", "ON".to_owned()),
        ("binlog_format", "ROW".to_owned()),
        ("binlog_row_image", "FULL".to_owned()),
        ("log_slave_updates", "ON".to_owned()),
        ("gtid_strict_mode", "ON".to_owned()),
        ("lower_case_table_names", "0".to_owned()),
        ("time_zone", "SYSTEM".to_owned()),
        ("system_time_zone", "UTC".to_owned()),
        ("read_only", "OFF".to_owned()),
    ];
    let table = Table {
        definition: "CREATE TABLE `orders` (\n  `id` int(11) NOT NULL,\n  PRIMARY KEY (`id`)\n) ENGINE=InnoDB"
            .to_owned(),
        engine: "InnoDB".to_owned(),
        has_key: true,
    };
    let database = Database {
        tables: BTreeMap::from([("orders".to_owned(), table)]),
        others: BTreeMap::new(),
    };
    PlainServer {
        address: Some(format!("10.0.0.{id}:3306").parse().unwrap()),
        flavor: Some(FlavorKind::MariaDb),
        version: "10.11.6".to_owned(),
        variables: variables
            .into_iter()
            .map(|(name, value)| (name.to_owned(), value))
            .collect(),
        databases: BTreeMap::from([("shop".to_owned(), database)]),
        ..PlainServer::default()
    }
}

fn replica(id: u32, of: u32) -> PlainServer {
    let mut replica = server(id);
    replica.variables.insert("read_only".into(), "ON".into());
    replica.sources = vec![Source {
        // As the replica knows it, which need not be as it was given.
        host: format!("db{of}.internal"),
        port: 3306,
        server_id: of,
        by_gtid: true,
        healthy: true,
        ..Source::default()
    }];
    replica
}

fn try_import(servers: &[PlainServer], database: Option<&str>) -> Result<Imported, Vec<Problem>> {
    let wish = Wish {
        cluster: "shop",
        cell: CellName::new("zone1").unwrap(),
        database,
    };
    import(&wish, servers)
}

/// `CODE of SERVER` of each problem.
fn codes(servers: &[PlainServer]) -> Vec<String> {
    let problems = try_import(servers, None).unwrap_err();
    assert!(problems.iter().all(|p| !p.help.is_empty()));
    let code = |p: &Problem| format!("{} of {}", p.code, p.server);
    problems.iter().map(code).collect()
}

#[test]
fn a_primary_and_its_replicas_become_an_unsharded_keyspace_in_whatever_order_they_are_given() {
    let servers = [replica(3, 2), server(2), replica(1, 2)];
    let imported = try_import(&servers, None).unwrap();
    let keyspace = &imported.desired.keyspaces["shop"];
    let adopted: Vec<String> = (keyspace.tablets.iter())
        .map(|t| t.adopt.as_ref().unwrap().server.to_string())
        .collect();
    assert_eq!(adopted, ["10.0.0.2:3306", "10.0.0.1:3306", "10.0.0.3:3306"]);
    assert!(keyspace.tables.contains_key("orders"));
    assert!(imported.warnings.is_empty(), "{:?}", imported.warnings);

    for language in [crate::spec::Language::Yaml, crate::spec::Language::Kdl] {
        let dir = tempfile::tempdir().unwrap();
        let name = match language {
            crate::spec::Language::Yaml => "shop.yaml",
            crate::spec::Language::Kdl => "shop.kdl",
        };
        let path = dir.path().join(name);
        let written = crate::spec::write(&imported.desired, &[], &path, language).unwrap();
        for (file, text) in &written.files {
            let file = dir.path().join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(file, text).unwrap();
        }
        std::fs::write(&path, &written.text).unwrap();
        let loaded = crate::spec::load(&[path], &crate::spec::NoSecrets).unwrap();
        assert_eq!(loaded.desired, imported.desired, "{}", written.text);
    }
}

#[test]
fn a_server_that_was_given_by_two_addresses_is_found() {
    let mut again = server(1);
    again.address = Some("db1.internal:3306".parse().unwrap());
    assert_eq!(codes(&[server(1), again]), ["twice of db1.internal:3306"]);
    let mut mysql = server(1);
    mysql.variables.insert("server_uuid".into(), "u1".into());
    let mut other = server(2);
    other.variables.insert("server_uuid".into(), "u1".into());
    assert_eq!(codes(&[mysql, other]), ["twice of 10.0.0.2:3306"]);
}

#[test]
fn what_vtplan_could_not_keep_as_it_replicates_is_named() {
    let mut by_position = replica(2, 1);
    by_position.sources[0].by_gtid = false;
    assert_eq!(
        codes(&[server(1), by_position]),
        ["no-gtid of 10.0.0.2:3306"]
    );

    let mut broken = replica(2, 1);
    broken.sources[0].healthy = false;
    broken.sources[0].filters = vec!["replicate_do_db = shop".into()];
    assert_eq!(
        codes(&[server(1), broken]),
        [
            "filtered of 10.0.0.2:3306",
            "not-replicating of 10.0.0.2:3306"
        ]
    );

    let mut several = replica(2, 1);
    several.sources.push(several.sources[0].clone());
    assert_eq!(
        codes(&[server(1), several]),
        ["several-sources of 10.0.0.2:3306"]
    );

    assert_eq!(
        codes(&[replica(2, 1)])[0],
        "source-not-given of 10.0.0.2:3306"
    );
    assert_eq!(
        codes(&[server(1), replica(2, 1), replica(3, 2)]),
        ["chain of 10.0.0.3:3306"]
    );
    assert_eq!(
        codes(&[replica(1, 2), replica(2, 1)]),
        ["circle of 10.0.0.1:3306", "circle of 10.0.0.2:3306"]
    );
}

#[test]
fn what_a_server_lacks_is_told_with_what_mends_it() {
    let set = |name: &str, value: &str| {
        let mut server = server(1);
        server.variables.insert(name.into(), value.into());
        server
    };
    for (name, value, code) in [
        ("log_bin", "OFF", "log-bin"),
        ("binlog_format", "MIXED", "binlog-format"),
        ("binlog_row_image", "MINIMAL", "binlog-row-image"),
        ("lower_case_table_names", "1", "lower-case-table-names"),
    ] {
        assert_eq!(
            codes(&[set(name, value)]),
            [format!("{code} of 10.0.0.1:3306")]
        );
    }
    let restart = try_import(&[set("log_bin", "OFF")], None).unwrap_err();
    assert!(restart[0].help.contains("restart"), "{}", restart[0].help);
    let mut mysql = set("gtid_mode", "OFF");
    mysql.flavor = Some(FlavorKind::MySql);
    assert_eq!(codes(&[mysql]), ["gtid-mode of 10.0.0.1:3306"]);
    let mut follower = replica(2, 1);
    follower
        .variables
        .insert("log_slave_updates".into(), "OFF".into());
    assert_eq!(
        codes(&[server(1), follower]),
        ["log-slave-updates of 10.0.0.2:3306"]
    );
    let mut same = replica(2, 1);
    same.variables.insert("server_id".into(), "1".into());
    assert!(codes(&[server(1), same]).contains(&"server-id of 10.0.0.2:3306".to_owned()));
}

#[test]
fn tables_that_cannot_be_kept_are_errors_and_what_stays_behind_is_said() {
    let mut first = server(1);
    let shop = first.databases.get_mut("shop").unwrap();
    let orders = shop.tables.get_mut("orders").unwrap();
    orders.has_key = false;
    shop.others.insert("view", vec!["totals".into()]);
    let warnings = try_import(std::slice::from_ref(&first), None)
        .unwrap()
        .warnings;
    assert_eq!(warnings.len(), 2, "{warnings:?}");
    let shop = first.databases.get_mut("shop").unwrap();
    shop.tables.get_mut("orders").unwrap().engine = "MyISAM".into();
    assert_eq!(codes(&[first]), ["engine of 10.0.0.1:3306"]);
}

#[test]
fn of_several_databases_one_has_to_be_named_and_the_others_are_left_alone() {
    let mut first = server(1);
    first.databases.insert("wiki".into(), Database::default());
    assert_eq!(
        codes(std::slice::from_ref(&first)),
        ["which-database of 10.0.0.1:3306"]
    );
    let imported = try_import(std::slice::from_ref(&first), Some("shop")).unwrap();
    assert_eq!(imported.desired.keyspaces.len(), 1);
    assert!(
        imported.warnings[0].contains("wiki"),
        "{:?}",
        imported.warnings
    );
    assert_eq!(
        try_import(&[first.clone()], Some("blog")).unwrap_err()[0].code,
        "no-database"
    );

    let shop = first.databases.remove("shop").unwrap();
    first.databases = BTreeMap::from([("my$shop".to_owned(), shop)]);
    assert_eq!(codes(&[first]), ["bad-name of 10.0.0.1:3306"]);
    assert_eq!(
        codes(&[server(1), server(2)]),
        ["same-database of 10.0.0.2:3306"]
    );
}
