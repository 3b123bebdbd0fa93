//! Values of every type on their way: what a SELECT gives, what the binlog gives, and what is read
//! back after it was written to another table are the same bytes, on both flavors and between
//! them.

mod common;

use std::collections::BTreeMap;

use common::flavors;
use common::server::{KS, Server};
use vtplan_agent::stream::source::SourceEvent;
use vtplan_agent::stream::target::lines;
use vtplan_agent::stream::{Cell, Change, ColumnKind, Row, TableShape, write_literal};
use vtplan_agent::vdiff::checksum;
use vtplan_state::model::FlavorKind;

/// A type, and literals of values.
struct Sample {
    column: String,
    values: Vec<String>,
    /// The other flavor has the type too, and keeps the same values in it.
    portable: bool,
    /// The other flavor writes the same value in its own way.
    respelled: bool,
}

fn sample(column: &str, values: &[&str]) -> Sample {
    Sample {
        column: column.to_owned(),
        values: values.iter().map(|v| (*v).to_owned()).collect(),
        portable: true,
        respelled: false,
    }
}

fn numbers() -> Vec<Sample> {
    let mut samples = Vec::new();
    for (name, bits) in [
        ("TINYINT", 8),
        ("SMALLINT", 16),
        ("MEDIUMINT", 24),
        ("INT", 32),
        ("BIGINT", 64),
    ] {
        let max = (1i128 << (bits - 1)) - 1;
        let (min, top) = ((-max - 1).to_string(), ((1i128 << bits) - 1).to_string());
        let max = max.to_string();
        samples.push(sample(name, &["0", "1", "-1", "42", &min, &max]));
        let unsigned = format!("{name} UNSIGNED");
        samples.push(sample(&unsigned, &["0", "1", &max, &top]));
        samples.push(sample(&format!("{name}(9) ZEROFILL"), &["0", "7", &max]));
    }
    for (precision, scale) in [
        (1, 0),
        (5, 2),
        (10, 0),
        (18, 9),
        (20, 3),
        (38, 20),
        (65, 30),
        (65, 0),
    ] {
        let whole = "9".repeat(precision - scale);
        let part = "9".repeat(scale);
        let most = format!("{whole}.{part}");
        let least = format!("-{most}");
        let small = if scale > 0 {
            format!("-0.{}1", "0".repeat(scale - 1))
        } else {
            "-1".to_owned()
        };
        let column = format!("DECIMAL({precision},{scale})");
        samples.push(sample(&column, &["0", "1", &small, &most, &least]));
    }
    samples.push(sample(
        "DECIMAL(9,9)",
        &["0", "0.000000001", "-0.999999999"],
    ));
    samples.push(sample(
        "DECIMAL(12,4) UNSIGNED ZEROFILL",
        &["0", "1.5", "99999999.9999"],
    ));
    let doubles = [
        "0",
        "1",
        "-1.5",
        "0.1",
        "1e14",
        "1e15",
        "123456789012345",
        "1234567890123456",
        "1.7976931348623157e308",
        "2.2250738585072014e-308",
        "5e-324",
        "0.000001",
        "1e-15",
        "1e-16",
        "3.141592653589793",
        "100000000000000000000",
        "-0e0",
        "0.30000000000000004",
        "123456.789e3",
        "9007199254740993",
        "1e22",
        "1e23",
        "4.35",
        "0.00001234567890123",
    ];
    samples.push(sample("DOUBLE", &doubles));
    samples.push(sample("DOUBLE(10,3)", &["0", "1.5", "-1234.567", "99.999"]));
    samples.push(sample("DOUBLE UNSIGNED ZEROFILL", &["0", "1.5"]));
    let floats = [
        "0",
        "1",
        "-1.5",
        "0.1",
        "16777216",
        "16777217",
        "3.4028234e38",
        "1.17549435e-38",
        "1.4e-45",
        "0.000001",
        "3.1415927",
        "-0e0",
        "123456.789",
        "1e10",
        "8388608.5",
    ];
    samples.push(sample("FLOAT", &floats));
    samples.push(sample("FLOAT(7,2)", &["0", "1.25", "-999.99"]));
    samples.push(sample("BIT(1)", &["b'0'", "b'1'"]));
    samples.push(sample("BIT(10)", &["0", "1", "1023", "512"]));
    samples.push(sample(
        "BIT(64)",
        &["0", "1", "18446744073709551615", "0x8000000000000000"],
    ));
    samples.push(sample("YEAR", &["0", "1901", "2024", "2155"]));
    samples.push(sample("BOOLEAN", &["TRUE", "FALSE"]));
    samples
}

fn times() -> Vec<Sample> {
    let mut samples = vec![sample(
        "DATE",
        &[
            "'0000-00-00'",
            "'2024-02-29'",
            "'9999-12-31'",
            "'1000-01-01'",
            "'2024-00-00'",
            "'2024-05-00'",
            "'2023-02-31'",
            "'0001-01-01'",
        ],
    )];
    for fraction in 0..=6 {
        let digits = &"123456"[..fraction];
        let dot = if fraction > 0 {
            format!(".{digits}")
        } else {
            String::new()
        };
        let nines = if fraction > 0 {
            format!(".{}", "9".repeat(fraction))
        } else {
            String::new()
        };
        samples.push(sample(
            &format!("TIME({fraction})"),
            &[
                "'00:00:00'",
                "'838:59:59'",
                "'-838:59:59'",
                &format!("'01:02:03{dot}'"),
                &format!("'-01:02:03{dot}'"),
                &format!("'-00:00:00{nines}'"),
                "'-00:00:01'",
                &format!("'100:00:00{nines}'"),
            ],
        ));
        samples.push(sample(
            &format!("DATETIME({fraction})"),
            &[
                "'0000-00-00 00:00:00'",
                &format!("'2024-02-29 12:34:56{dot}'"),
                &format!("'9999-12-31 23:59:59{nines}'"),
                "'1000-01-01 00:00:00'",
                "'2024-00-00 01:00:00'",
                "'2023-02-31 00:00:00'",
            ],
        ));
        samples.push(sample(
            &format!("TIMESTAMP({fraction}) NULL"),
            &[
                "'0000-00-00 00:00:00'",
                "'1970-01-01 00:00:01'",
                &format!("'2024-02-29 12:34:56{dot}'"),
                &format!("'2038-01-19 03:14:07{nines}'"),
            ],
        ));
    }
    samples
}

fn texts() -> Vec<Sample> {
    let tricky = [
        "''",
        "'a'",
        r"'it\'s'",
        r"'back\\slash'",
        r"'zero\0byte'",
        r"'new\nline\r\t\Z'",
        "'trail  '",
        "'  lead'",
        "'\"quoted\"'",
        "'%_'",
    ];
    let mut samples = Vec::new();
    for column in [
        "CHAR(20)",
        "VARCHAR(20)",
        "TINYTEXT",
        "TEXT",
        "MEDIUMTEXT",
        "LONGTEXT",
    ] {
        samples.push(sample(&format!("{column} CHARACTER SET utf8mb4"), &tricky));
    }
    samples.push(sample(
        "VARCHAR(300) CHARACTER SET utf8mb4",
        &["REPEAT('ä', 300)", "'x'"],
    ));
    samples.push(sample(
        "CHAR(255) CHARACTER SET utf8mb4",
        &["REPEAT('€', 255)", "'x'", "''"],
    ));
    samples.push(sample(
        "TEXT CHARACTER SET latin1",
        &["_utf8mb4'Grüße € é'", "''"],
    ));
    let bytes = [
        "''",
        "0x00",
        "0x0001020000",
        "'abc'",
        "0x275c00ff",
        "0xc3a4",
        "0x2020",
    ];
    for column in [
        "BINARY(5)",
        "VARBINARY(20)",
        "TINYBLOB",
        "BLOB",
        "MEDIUMBLOB",
        "LONGBLOB",
    ] {
        samples.push(sample(column, &bytes));
    }
    samples.push(sample(
        "BINARY(255)",
        &["REPEAT(0x00, 255)", "REPEAT(0xff, 255)", "'x'"],
    ));
    samples.push(sample("VARBINARY(5000)", &["REPEAT(0x275c, 2500)"]));
    samples.push(sample(
        "LONGBLOB",
        &["REPEAT(0x00275cff, 50000)", "REPEAT('x', 70000)"],
    ));
    samples.push(sample("LONGTEXT", &["REPEAT('€', 70000)"]));
    samples.push(sample(
        "ENUM('a','b','it''s','x,y','', '€') CHARACTER SET utf8mb4",
        &["'a'", r"'it\'s'", "'x,y'", "''", "6"],
    ));
    let many: Vec<String> = (0..300).map(|i| format!("'m{i}'")).collect();
    samples.push(sample(
        &format!("ENUM({})", many.join(",")),
        &["'m0'", "'m255'", "'m299'"],
    ));
    let set: Vec<String> = (0..64).map(|i| format!("'s{i}'")).collect();
    samples.push(sample(
        &format!("SET({})", set.join(",")),
        &["''", "'s0'", "'s63'", "'s0,s63,s5'", "18446744073709551615"],
    ));
    samples.push(sample("SET('a','b')", &["''", "'a,b'", "'b'"]));
    samples
}

fn geometry() -> Vec<Sample> {
    vec![
        sample(
            "GEOMETRY",
            &[
                "ST_GeomFromText('POINT(1 2)')",
                "ST_GeomFromText('POLYGON((0 0,10 0,10 10,0 10,0 0))')",
                "ST_GeomFromText('GEOMETRYCOLLECTION(POINT(1 1),LINESTRING(0 0,1 1,2 2))')",
            ],
        ),
        sample(
            "POINT",
            &[
                "ST_GeomFromText('POINT(-1.5 2.25)')",
                "ST_GeomFromText('POINT(0 0)', 0)",
            ],
        ),
        sample("LINESTRING", &["ST_GeomFromText('LINESTRING(0 0,1 1)')"]),
        sample("MULTIPOINT", &["ST_GeomFromText('MULTIPOINT(0 0,1 1)')"]),
        sample(
            "MULTIPOLYGON",
            &["ST_GeomFromText('MULTIPOLYGON(((0 0,1 0,1 1,0 0)))')"],
        ),
    ]
}

fn json(flavor: FlavorKind) -> Sample {
    let mut values: Vec<String> = [
        "{}",
        "[]",
        "null",
        "true",
        "1",
        "-1",
        "1.5",
        "1.0",
        "1e100",
        "18446744073709551615",
        "-9223372036854775808",
        "32767",
        "32768",
        "-32769",
        "65535",
        "65536",
        "4294967296",
        r#""text""#,
        r#"{"a": 1, "b": [1, 2, {"c": null}], "longer": false}"#,
        r#"["\"", "\\", "\u0001", "\n\t\b\f\r", "/", "ä€😀", "\u007f"]"#,
        r#"{"": "", "a": {"b": {"c": {"d": []}}}}"#,
        "[0.1, 1e-7, 123456789.123456789, 0.0, -0.0]",
        "[-2147483648, 2147483647, 2147483648, 4294967295]",
    ]
    .iter()
    .map(|t| format!("'{}'", t.replace('\\', "\\\\")))
    .collect();
    values.push("CONCAT('[', REPEAT('\"0123456789abcdef\",', 10000), '1]')".to_owned());
    values.push("CONCAT('{\"k\":\"', REPEAT('x', 300), '\"}')".to_owned());
    values.push("CONCAT('{\"k\":\"', REPEAT('y', 70000), '\", \"z\": 100000}')".to_owned());
    if flavor == FlavorKind::MySql {
        for value in [
            "JSON_ARRAY(CAST('2024-02-29' AS DATE), CAST('12:34:56.123' AS TIME(3)), \
             CAST('2024-02-29 01:02:03.000004' AS DATETIME(6)), CAST('-01:00:00' AS TIME))",
            "JSON_ARRAY(CAST(1.50 AS DECIMAL(10,2)), CAST(-12345678901234567890.5 AS DECIMAL(30,5)))",
            "JSON_OBJECT('b', _binary'bytes', 'bit', b'101')",
            "JSON_ARRAY(REPEAT(_binary'0123456789', 20))",
            "JSON_OBJECT('y', CAST(2024 AS YEAR))",
        ] {
            values.push(value.to_owned());
        }
    }
    Sample {
        column: "JSON".to_owned(),
        values,
        portable: true,
        respelled: true,
    }
}

fn of_flavor(flavor: FlavorKind) -> Vec<Sample> {
    let mut samples = match flavor {
        FlavorKind::MySql => vec![
            sample(
                "POINT SRID 4326",
                &["ST_GeomFromText('POINT(48 11)', 4326)"],
            ),
            sample(
                "VECTOR(3)",
                &[
                    "STRING_TO_VECTOR('[1,2,3.5]')",
                    "STRING_TO_VECTOR('[0,0,0]')",
                ],
            ),
        ],
        FlavorKind::MariaDb => vec![
            sample(
                "UUID",
                &[
                    "'123e4567-e89b-12d3-a456-426655440000'",
                    "'00000000-0000-0000-0000-000000000000'",
                    "'01890a5d-ac96-774b-bcce-b302099a8057'",
                    "'f81d4fae-7dec-41d1-a765-00a0c91e6bf6'",
                    "'ffffffff-ffff-ffff-ffff-ffffffffffff'",
                ],
            ),
            sample(
                "INET6",
                &[
                    "'::'",
                    "'2001:db8::ff00:42:8329'",
                    "'::ffff:192.0.2.1'",
                    "'::192.0.2.1'",
                    "'fe80::1'",
                    "'1:0:0:2::'",
                    "'::1'",
                ],
            ),
            sample("INET4", &["'0.0.0.0'", "'192.0.2.255'"]),
        ],
    };
    for sample in &mut samples {
        sample.portable = false;
    }
    samples
}

/// A column of each character set of the server, with what it can hold of some texts.
async fn charsets(server: &mut Server) -> Vec<Sample> {
    let rows = server
        .sql
        .rows(
            "listing character sets",
            "SELECT CHARACTER_SET_NAME FROM information_schema.CHARACTER_SETS",
        )
        .await
        .unwrap();
    let mut samples = Vec::new();
    for row in rows {
        let name = String::from_utf8(row[0].clone().unwrap().to_vec()).unwrap();
        if name == "binary" {
            continue;
        }
        let mut values = vec!["''".to_owned(), "'plain  '".to_owned()];
        for text in [
            r"\'\\",
            "äöü",
            "Привет",
            "日本語表示",
            "中文",
            "한국어",
            "ελληνικά",
            "€uro",
            "😀",
            "שלום",
            "ไทย",
        ] {
            // Only what comes through unchanged.
            let query = format!(
                "SELECT CONVERT(CONVERT(_utf8mb4'{text}' USING {name}) USING utf8mb4) = _utf8mb4'{text}' COLLATE utf8mb4_bin"
            );
            if server
                .sql
                .value("converting", &query)
                .await
                .unwrap()
                .as_deref()
                == Some("1")
            {
                values.push(format!("_utf8mb4'{text}'"));
            }
        }
        for kind in ["CHAR(20)", "VARCHAR(20)", "TEXT"] {
            samples.push(Sample {
                column: format!("{kind} CHARACTER SET {name}"),
                values: values.clone(),
                portable: true,
                respelled: false,
            });
        }
    }
    samples
}

/// Creates a table for each sample and writes its values; NULL too.
async fn fill(server: &mut Server, samples: &[Sample]) {
    for (i, sample) in samples.iter().enumerate() {
        server
            .run(&format!(
                "CREATE TABLE t{i} (id INT PRIMARY KEY, c {})",
                sample.column
            ))
            .await;
    }
}

async fn insert(server: &mut Server, samples: &[Sample]) {
    for (i, sample) in samples.iter().enumerate() {
        for (id, value) in sample.values.iter().chain([&"NULL".to_owned()]).enumerate() {
            server
                .run(&format!("INSERT INTO t{i} VALUES ({id}, {value})"))
                .await;
        }
    }
    // Both images of a row, and one that is gone.
    for (i, sample) in samples.iter().enumerate() {
        let last = sample.values.len();
        server
            .run(&format!(
                "UPDATE t{i} SET id = {} WHERE id = {last}",
                last + 1000
            ))
            .await;
        server
            .run(&format!("UPDATE t{i} SET id = 2000 WHERE id = 0"))
            .await;
        server
            .run(&format!("UPDATE t{i} SET id = 0 WHERE id = 2000"))
            .await;
    }
}

/// Applies changes to rows by their key, which is the first column.
fn apply(rows: &mut [BTreeMap<i64, Row>], change: Change) {
    let id = |row: &Row| -> i64 {
        let text = std::str::from_utf8(row[0].as_ref().unwrap()).unwrap();
        text.parse().unwrap()
    };
    match change {
        Change::Insert { table, row } => {
            assert_eq!(rows[table].insert(id(&row), row), None);
        }
        Change::Update {
            table,
            before,
            after,
        } => {
            assert_eq!(rows[table].remove(&id(&before)), Some(before));
            assert_eq!(rows[table].insert(id(&after), after), None);
        }
        Change::Delete { table, row } => {
            assert_eq!(rows[table].remove(&id(&row)), Some(row));
        }
    }
}

fn readable(cell: &Cell) -> String {
    match cell {
        None => "NULL".to_owned(),
        Some(bytes) => {
            let text = String::from_utf8_lossy(bytes);
            let short: String = text.chars().take(200).collect();
            format!(
                "{short:?} ({} bytes {:02x?})",
                bytes.len(),
                &bytes[..bytes.len().min(16)]
            )
        }
    }
}

fn assert_same(what: &str, column: &str, wanted: &[Row], found: &[Row]) {
    assert_eq!(wanted.len(), found.len(), "{what} {column}");
    for (wanted, found) in wanted.iter().zip(found) {
        for (w, f) in wanted.iter().zip(found) {
            assert!(
                w == f,
                "{what}: {column}: wanted {}, found {}",
                readable(w),
                readable(f)
            );
        }
    }
}

/// Writes rows to a table of another database, as literals.
async fn write(to: &mut Server, shape: &TableShape, rows: &[Row]) {
    for row in rows {
        let mut statement = format!("INSERT INTO copy.{} VALUES (", shape.name).into_bytes();
        for (i, cell) in row.iter().enumerate() {
            if i > 0 {
                statement.push(b',');
            }
            write_literal(&shape.columns[i], cell.as_deref(), &mut statement);
        }
        statement.push(b')');
        let what = format!(
            "writing {} {}",
            shape.columns[1].column_type,
            readable(&row[1])
        );
        to.writer.run(&what, statement).await.unwrap();
    }
}

/// Writes the same rows as lines, if they may go so. Whether they did.
async fn write_lines(to: &mut Server, from: &TableShape, copy: &TableShape, rows: &[Row]) -> bool {
    if !lines::fit(from, copy) {
        return false;
    }
    let mut text = Vec::new();
    for row in rows {
        lines::write(row.iter().map(Option::as_deref), &mut text);
    }
    let empty = format!("TRUNCATE copy.{}", copy.name);
    to.writer.run("emptying a copy", empty).await.unwrap();
    let statement = lines::statement(&copy.quoted(), "id, c");
    let done = to.writer.load(statement.as_bytes(), &text).await.unwrap();
    assert_eq!(
        (done.affected, done.warnings),
        (rows.len() as u64, 0),
        "{}",
        copy.columns[1].column_type
    );
    true
}

/// What VDiff relies on. `rows`: all of the table.
async fn checksums_tell_values_apart(server: &mut Server, shape: &TableShape, rows: &[Row]) {
    if matches!(
        shape.columns[1].kind,
        ColumnKind::Geometry | ColumnKind::Vector
    ) {
        return;
    }
    let checksum = checksum::value_checksum(&shape.columns[1], 1);
    let query = format!("SELECT id, {checksum} FROM {}", shape.quoted());
    let what = format!("checksums of {}", shape.columns[1].column_type);
    let found = server.writer.rows(&what, query).await.unwrap();
    let mut by_checksum = BTreeMap::new();
    for row in rows {
        let checksum = found.iter().find(|f| f[0] == row[0]).unwrap()[1].clone();
        let value = by_checksum
            .entry(checksum)
            .or_insert_with(|| row[1].clone());
        assert_eq!(
            readable(value),
            readable(&row[1]),
            "{}",
            shape.columns[1].column_type
        );
    }
}

/// The checksums of a table's rows, if servers can make any.
async fn checksums(server: &mut Server, shape: &TableShape) -> Option<Vec<Row>> {
    let kind = &shape.columns[1].kind;
    if matches!(kind, ColumnKind::Geometry | ColumnKind::Vector) {
        return None;
    }
    let checksum = checksum::row_checksum(shape);
    let query = format!("SELECT id, {checksum} FROM {} ORDER BY id", shape.quoted());
    let what = format!("checksums of rows with {}", shape.columns[1].column_type);
    Some(server.writer.rows(&what, query).await.unwrap())
}

#[tokio::test(flavor = "multi_thread")]
async fn values_of_every_type_come_through_unchanged() {
    let mut servers = Vec::new();
    for (flavor, mysqld) in flavors() {
        servers.push(Server::start(flavor, mysqld).await);
    }
    for from in 0..servers.len() {
        let flavor = servers[from].address.flavor;
        println!("from {flavor}");
        let mut samples = numbers();
        samples.extend(times());
        samples.extend(texts());
        samples.extend(geometry());
        samples.push(json(flavor));
        samples.extend(of_flavor(flavor));
        samples.extend(charsets(&mut servers[from]).await);
        fill(&mut servers[from], &samples).await;
        let names: Vec<String> = (0..samples.len()).map(|i| format!("t{i}")).collect();
        let shapes = servers[from].shapes(KS, &names).await;
        let source = servers[from].source(KS).await;
        let position = source.position().await.unwrap();
        let mut reader = source.follow(&position, &shapes).await.unwrap();
        insert(&mut servers[from], &samples).await;
        let wanted = servers[from].rows(KS, &shapes).await;

        let mut sums = Vec::new();
        for (i, shape) in shapes.iter().enumerate() {
            checksums_tell_values_apart(&mut servers[from], shape, &wanted[i]).await;
            sums.push(checksums(&mut servers[from], shape).await);
        }

        let end = source.position().await.unwrap();
        let mut followed = vec![BTreeMap::new(); shapes.len()];
        while !reader.position().contains(&end) {
            if let SourceEvent::Transaction(transaction) = reader.next().await.unwrap() {
                for change in transaction.changes {
                    apply(&mut followed, change);
                }
            }
        }
        for (i, sample) in samples.iter().enumerate() {
            assert_eq!(
                wanted[i].len(),
                sample.values.len() + 1,
                "{}",
                sample.column
            );
            let rows: Vec<Row> = followed[i].values().cloned().collect();
            assert_same("from the binlog", &sample.column, &wanted[i], &rows);
        }

        for server in &mut servers {
            let target = server.address.flavor;
            println!("from {flavor} to {target}");
            let mut copied = Vec::new();
            for (i, sample) in samples.iter().enumerate() {
                if target != flavor && !sample.portable {
                    continue;
                }
                let create = format!(
                    "CREATE TABLE copy.t{i} (id INT PRIMARY KEY, c {})",
                    sample.column
                );
                let created = server.sql.run("creating a copy", &create).await;
                match created {
                    Ok(_) => copied.push(i),
                    // A character set that only one of them has.
                    Err(e) if target != flavor && e.code() == Some(1115) => continue,
                    Err(e) => panic!("{create}: {e}"),
                }
                write(server, &shapes[i], &wanted[i]).await;
            }
            let names: Vec<String> = copied.iter().map(|i| format!("t{i}")).collect();
            let copies = server.shapes("copy", &names).await;
            let found = server.rows("copy", &copies).await;
            for (place, &i) in copied.iter().enumerate() {
                if target != flavor && samples[i].respelled {
                    assert_eq!(found[place].len(), wanted[i].len());
                    continue;
                }
                let what = format!("written to {target}");
                assert_same(&what, &samples[i].column, &wanted[i], &found[place]);
                // Flavors print some floating point numbers in other ways: rows are compared then.
                let kind = &shapes[i].columns[1].kind;
                if target == flavor || !matches!(kind, ColumnKind::Float | ColumnKind::Double) {
                    let sum = checksums(server, &copies[place]).await;
                    assert_eq!(sum, sums[i], "{what}: {}", samples[i].column);
                }
            }

            let mut as_lines = Vec::new();
            for (place, &i) in copied.iter().enumerate() {
                if write_lines(server, &shapes[i], &copies[place], &wanted[i]).await {
                    as_lines.push((i, copies[place].clone()));
                }
            }
            println!("{} of {} as lines", as_lines.len(), copied.len());
            assert!(as_lines.len() > copied.len() / 3);
            let (lined, loaded): (Vec<usize>, Vec<_>) = as_lines.into_iter().unzip();
            let found = server.rows("copy", &loaded).await;
            for (place, i) in lined.into_iter().enumerate() {
                let what = format!("written as lines to {target}");
                assert_same(&what, &samples[i].column, &wanted[i], &found[place]);
            }
            server.run("DROP DATABASE copy").await;
            server.run("CREATE DATABASE copy").await;
        }
    }
    for server in servers {
        server.lab.end().await;
    }
}
