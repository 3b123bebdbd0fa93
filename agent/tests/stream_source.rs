//! Reading from real servers of both flavors: snapshots whose position is exact under load, rows in
//! the order of every kind of key, binlogs with all that can stand in them, and what goes wrong.

mod common;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use common::flavors;
use common::server::{KS, Server};
use vtplan_agent::stream::source::{BinlogReader, SourceEvent, Transaction};
use vtplan_agent::stream::{Cell, Change, Connection, Position, Row, StreamError, TableShape};
use vtplan_state::model::{FlavorKind, TableName};

fn text(cell: &Cell) -> String {
    match cell {
        None => "NULL".to_owned(),
        Some(bytes) => String::from_utf8_lossy(bytes).into_owned(),
    }
}

/// Rows of a table by the text of their keys.
type Rows = BTreeMap<String, Row>;

fn keyed(shape: &TableShape, rows: &[Row]) -> Rows {
    rows.iter()
        .map(|row| (shape.key_text(row), row.clone()))
        .collect()
}

/// Applies changes; whatever does not fit what was there fails.
fn apply(shapes: &[Arc<TableShape>], rows: &mut [Rows], changes: &[Change]) {
    for change in changes {
        let shape = &shapes[change.table()];
        let rows = &mut rows[change.table()];
        match change {
            Change::Insert { row, .. } => {
                assert_eq!(rows.insert(shape.key_text(row), row.clone()), None);
            }
            Change::Update { before, after, .. } => {
                assert_eq!(rows.remove(&shape.key_text(before)).as_ref(), Some(before));
                assert_eq!(rows.insert(shape.key_text(after), after.clone()), None);
            }
            Change::Delete { row, .. } => {
                assert_eq!(rows.remove(&shape.key_text(row)).as_ref(), Some(row));
            }
        }
    }
}

/// Transactions up to a position, those that did nothing to the tables left out.
async fn read_to(
    reader: &mut BinlogReader,
    end: &Position,
) -> Result<Vec<Transaction>, StreamError> {
    let mut transactions = Vec::new();
    while !reader.position().contains(end) {
        match reader.next().await? {
            SourceEvent::Transaction(t) if !t.changes.is_empty() => transactions.push(t),
            SourceEvent::Ddl { statement, .. } => panic!("{statement}"),
            _ => {}
        }
    }
    Ok(transactions)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_snapshot_and_what_follows_its_position_are_the_table() {
    for (flavor, mysqld) in flavors() {
        println!("on {flavor}");
        let mut server = Server::start(flavor, mysqld).await;
        server
            .run("CREATE TABLE account (id INT PRIMARY KEY, amount INT NOT NULL)")
            .await;
        server
            .run("CREATE TABLE entry (id INT AUTO_INCREMENT PRIMARY KEY, account INT, amount INT)")
            .await;
        server
            .run("CREATE TABLE other (id INT AUTO_INCREMENT PRIMARY KEY)")
            .await;
        for id in 0..20 {
            server
                .run(&format!("INSERT INTO account VALUES ({id}, 100)"))
                .await;
        }
        let stop = Arc::new(AtomicBool::new(false));
        let mut writers = Vec::new();
        for seed in 0..4u64 {
            let (stop, address) = (stop.clone(), server.address.clone());
            writers.push(tokio::spawn(async move {
                let mut sql = Connection::open(&address, Some(KS)).await.unwrap();
                let mut n = seed;
                while !stop.load(Ordering::Relaxed) {
                    n = n
                        .wrapping_mul(6_364_136_223_846_793_005)
                        .wrapping_add(1_442_695_041);
                    let (a, b) = (n >> 33 & 7, 8 + (n >> 40 & 7));
                    let transaction = format!(
                        "BEGIN; UPDATE account SET amount = amount - 1 WHERE id = {a}; \
                         UPDATE account SET amount = amount + 1 WHERE id = {b}; \
                         INSERT INTO entry (account, amount) VALUES ({a}, -1), ({b}, 1); \
                         DELETE FROM entry ORDER BY id LIMIT 1; \
                         INSERT INTO other VALUES (NULL); COMMIT"
                    );
                    // Two that wait for each other.
                    if let Err(e) = sql.run("writing", &transaction).await {
                        assert_eq!(e.code(), Some(1213), "{e}");
                        sql.run("giving up", "ROLLBACK").await.unwrap();
                    }
                }
            }));
        }
        let shapes = server.shapes(KS, &["account", "entry"]).await;
        let source = server.source(KS).await;
        let mut last: Option<(Position, Vec<Rows>)> = None;
        for _ in 0..8 {
            let mut snapshot = source.snapshot(&shapes).await.unwrap();
            // The snapshot stays while more is written.
            tokio::time::sleep(Duration::from_millis(100)).await;
            let mut rows = Vec::new();
            for shape in &shapes {
                let mut found = Vec::new();
                let mut stream = snapshot.read(shape, None, None).await.unwrap();
                while let Some(batch) = stream.next_batch(100).await.unwrap() {
                    found.extend(batch.rows().map(|r| r.to_row()));
                }
                rows.push(keyed(shape, &found));
            }
            if let Some((from, mut before)) = last.take() {
                let mut reader = source.follow(&from, &shapes).await.unwrap();
                for transaction in read_to(&mut reader, snapshot.position()).await.unwrap() {
                    assert!(snapshot.position().contains(&transaction.position));
                    apply(&shapes, &mut before, &transaction.changes);
                }
                assert_eq!(before, rows);
            }
            last = Some((snapshot.position().clone(), rows));
            snapshot.close().await;
        }
        stop.store(true, Ordering::Relaxed);
        for writer in writers {
            writer.await.unwrap();
        }
        server.lab.end().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rows_come_in_the_order_of_their_key_and_go_on_after_any_of_them() {
    for (flavor, mysqld) in flavors() {
        println!("on {flavor}");
        let mut server = Server::start(flavor, mysqld).await;
        let tables = [
            (
                "negative",
                "a BIGINT PRIMARY KEY, v INT",
                "(-9223372036854775808, 1), (-1, 2), (0, 3), (5, 4), (9223372036854775807, 5)",
            ),
            (
                "unsign",
                "a BIGINT UNSIGNED PRIMARY KEY",
                "(0), (1), (9223372036854775808), (18446744073709551615)",
            ),
            (
                "pair",
                "v INT, a INT UNSIGNED, b VARCHAR(10), c DATE, PRIMARY KEY (a, b, c)",
                "(1, 1, 'a', '2024-01-01'), (2, 1, 'B', '0000-00-00'), (3, 1, 'b ', '2024-01-02'), (4, 2, '', '2024-01-01'), \
              (5, 2, '', '2024-01-02'), (6, 4294967295, 'ä', '9999-12-31'), (7, 1, 'a', '2024-01-03')",
            ),
            (
                "folded",
                "a VARCHAR(20) CHARACTER SET utf8mb4 COLLATE utf8mb4_general_ci PRIMARY KEY",
                r"('Äpfel'), ('apfelmus'), ('Zebra'), ('zebras'), (''), ('it\'s'), ('back\\slash'), ('日本')",
            ),
            (
                "old_charset",
                "a CHAR(10) CHARACTER SET latin1 PRIMARY KEY, v INT",
                "('Müller', 1), ('MZ', 2), ('ma', 3), ('€', 4)",
            ),
            (
                "wide",
                "a VARCHAR(10) CHARACTER SET utf16 PRIMARY KEY",
                r"('a'), ('B'), ('ü'), ('\''), ('日')",
            ),
            (
                "bytes",
                "a VARBINARY(8) PRIMARY KEY",
                "(''), (0x00), (0x0000), (0x27), (0x5c), (0x80), (0xff), (0x61), (0x41)",
            ),
            (
                "fixed",
                "a BINARY(4) PRIMARY KEY",
                "(0x00), (0x01), (0xff), (0x6162), (0x61620001)",
            ),
            (
                "decimals",
                "a DECIMAL(20,5) PRIMARY KEY",
                "(-10.5), (-9), (0), (0.00001), (100000000000000)",
            ),
            (
                "doubles",
                "a DOUBLE PRIMARY KEY",
                "(-1e300), (-0.1), (0), (1e-300), (0.1), (0.30000000000000004), (5e15)",
            ),
            (
                "floats",
                "a FLOAT PRIMARY KEY",
                "(-1e30), (-0.1), (0), (0.1), (16777216)",
            ),
            (
                "moments",
                "a DATETIME(3) PRIMARY KEY",
                "('0000-00-00 00:00:00'), ('2024-01-01 00:00:00.001'), ('2024-01-01'), ('9999-12-31 23:59:59.999')",
            ),
            (
                "stamps",
                "a TIMESTAMP(6) PRIMARY KEY",
                "('1970-01-01 00:00:01'), ('2024-01-01 00:00:00.000001'), ('2024-03-31 02:30:00')",
            ),
            (
                "spans",
                "a TIME(1) PRIMARY KEY",
                "('-838:59:59'), ('-00:00:00.5'), ('00:00:00'), ('00:00:00.1'), ('100:00:00')",
            ),
            (
                "choices",
                "a ENUM('z','y','x') PRIMARY KEY",
                "('z'), ('x'), ('y')",
            ),
            (
                "sets",
                "a SET('z','y','x') PRIMARY KEY",
                "('z'), ('x'), ('y,x'), ('z,y,x'), ('')",
            ),
            (
                "bits",
                "a BIT(20) PRIMARY KEY",
                "(0), (1), (255), (256), (1048575)",
            ),
            ("years", "a YEAR PRIMARY KEY", "(0), (1901), (2024), (2155)"),
            (
                "unique_only",
                "v INT, a INT NOT NULL, b CHAR(3) NOT NULL, n INT, UNIQUE (n), UNIQUE k (a, b)",
                "(1, 2, 'b', NULL), (2, 1, 'z', NULL), (3, 2, 'a', 7)",
            ),
            (
                "beginnings",
                "a TEXT NOT NULL, v INT, PRIMARY KEY (a(3))",
                "('abc1', 1), ('abd', 2), ('ab', 3), ('zzz9', 4)",
            ),
            ("nothing", "a INT PRIMARY KEY", ""),
        ];
        for (name, columns, rows) in tables {
            server
                .run(&format!("CREATE TABLE {name} ({columns})"))
                .await;
            if !rows.is_empty() {
                server
                    .run(&format!("INSERT INTO {name} VALUES {rows}"))
                    .await;
            }
        }
        let names: Vec<&str> = tables.iter().map(|(name, ..)| *name).collect();
        let shapes = server.shapes(KS, &names).await;
        assert_eq!(shapes[18].key_name, "k");
        let all = server.rows(KS, &shapes).await;
        let source = server.source(KS).await;
        let mut snapshot = source.snapshot(&shapes).await.unwrap();
        for (shape, wanted) in shapes.iter().zip(&all) {
            let key = |row: &Row| -> Row { shape.key.iter().map(|&k| row[k].clone()).collect() };
            let order: Vec<String> = shape
                .key
                .iter()
                .map(|&k| shape.columns[k].quoted())
                .collect();
            let marks: Vec<String> = shape
                .key
                .iter()
                .map(|&k| shape.columns[k].select_expression())
                .collect();
            let query = format!(
                "SELECT {} FROM {} ORDER BY {}",
                marks.join(","),
                shape.name,
                order.join(",")
            );
            let ordered = server.writer.rows("ordering", query).await.unwrap();
            let keys: Vec<Row> = wanted.iter().map(key).collect();
            assert_eq!(keys, ordered, "{}", shape.name);
            for from in 0..wanted.len() {
                for to in [None, Some(from), Some(wanted.len() - 1)] {
                    let up_to = to.map(|to| key(&wanted[to]));
                    let mut stream = snapshot
                        .read(shape, Some(&key(&wanted[from])), up_to.as_deref())
                        .await
                        .unwrap();
                    let mut rest = Vec::new();
                    while let Some(batch) = stream.next_batch(1).await.unwrap() {
                        assert_eq!(batch.len(), 1);
                        rest.push(batch.row(0).to_row());
                    }
                    let end = to.map_or(wanted.len(), |to| to + 1);
                    assert_eq!(
                        rest,
                        wanted[from + 1..end],
                        "{} after row {from} to {to:?}",
                        shape.name
                    );
                }
            }
        }
        snapshot.close().await;
        each_row_is_read_once(&mut server).await;
        tables_that_cannot_be_moved_are_told(&mut server).await;
        server.lab.end().await;
    }
}

async fn each_row_is_read_once(server: &mut Server) {
    server
        .run("CREATE TABLE many (a INT, b INT, v CHAR(100), PRIMARY KEY (a, b))")
        .await;
    for part in 0..5 {
        let rows: Vec<String> = (0..1000).map(|i| format!("({part}, {i}, 'x')")).collect();
        server
            .run(&format!("INSERT INTO many VALUES {}", rows.join(",")))
            .await;
    }
    let shapes = server.shapes(KS, &["many"]).await;
    let source = server.source(KS).await;
    let reads = async |server: &mut Server| -> u64 {
        let rows = server
            .sql
            .rows("counting", "SHOW GLOBAL STATUS LIKE 'Handler_read%'")
            .await
            .unwrap();
        rows.iter()
            .map(|r| text(&r[1]).parse::<u64>().unwrap())
            .sum()
    };
    let mut snapshot = source.snapshot(&shapes).await.unwrap();
    let before = reads(server).await;
    let overhead = reads(server).await - before;
    let before = reads(server).await;
    let middle = [Some("2".into()), Some("499".into())];
    let mut count = 0;
    for (after, up_to) in [(None, Some(&middle[..])), (Some(&middle[..]), None)] {
        let mut stream = snapshot.read(&shapes[0], after, up_to).await.unwrap();
        while let Some(batch) = stream.next_batch(10_000).await.unwrap() {
            count += batch.len() as u64;
        }
    }
    let read = reads(server).await - before - overhead;
    assert_eq!(count, 5000);
    // A step beyond the last row of each range.
    assert!((5000..5100).contains(&read), "{read} reads");
    snapshot.close().await;
}

async fn tables_that_cannot_be_moved_are_told(server: &mut Server) {
    let source = server.source(KS).await;
    for (name, create, wanted) in [
        (
            "keyless",
            "CREATE TABLE keyless (a INT)",
            "it has neither a primary key nor a unique key",
        ),
        (
            "nullable",
            "CREATE TABLE nullable (a INT, UNIQUE (a))",
            "it has neither a primary key",
        ),
        (
            "isam",
            "CREATE TABLE isam (a INT PRIMARY KEY) ENGINE=MyISAM",
            "no transactions",
        ),
        ("seen", "CREATE VIEW seen AS SELECT 1 AS a", "it is a view"),
        (
            "nowhere",
            "SELECT 1",
            "there is no table `nowhere` in keyspace my_commerce",
        ),
    ] {
        server.run(create).await;
        let error = source
            .tables(&[TableName::new(name).unwrap()])
            .await
            .unwrap_err();
        assert!(!error.is_retriable());
        let error = error.to_string();
        assert!(error.contains(wanted) && error.contains(name), "{error}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_binlog_is_followed_through_all_that_stands_in_it() {
    for (flavor, mysqld) in flavors() {
        println!("on {flavor}");
        let mut server = Server::start(flavor, mysqld).await;
        server
            .run(
                "CREATE TABLE t (id INT PRIMARY KEY, a VARCHAR(50), twice INT GENERATED ALWAYS AS (id * 2) VIRTUAL, \
                 at TIMESTAMP NULL, thrice INT GENERATED ALWAYS AS (id * 3) STORED, b LONGBLOB, \
                 KEY (twice), UNIQUE (thrice))",
            )
            .await;
        server.run("CREATE TABLE u (id INT PRIMARY KEY)").await;
        server
            .run("CREATE TABLE other (id INT PRIMARY KEY, a INT)")
            .await;
        let shapes = server.shapes(KS, &["t", "u"]).await;
        assert_eq!(shapes[0].columns.len(), 4);
        assert_eq!(shapes[0].generated.len(), 2);
        let source = server.source(KS).await;
        let start = source.position().await.unwrap();
        let mut reader = source.follow(&start, &shapes).await.unwrap();
        let mut rows = vec![Rows::new(), Rows::new()];

        server.run("INSERT INTO t (id, a, at) VALUES (1, 'one', NULL), (2, NULL, '2024-01-01 00:00:00')").await;
        server.run("SET time_zone = '+05:30'; INSERT INTO t (id, at) VALUES (3, '2024-01-01 05:30:00'); SET time_zone = '+00:00'").await;
        server
            .run("UPDATE t SET id = id + 10 ORDER BY id DESC")
            .await;
        server
            .run("REPLACE INTO t (id, a) VALUES (11, 'other')")
            .await;
        server
            .run("INSERT INTO t (id, a) VALUES (11, 'x') ON DUPLICATE KEY UPDATE a = 'changed'")
            .await;
        server.run("INSERT INTO other VALUES (1, 1)").await;
        server
            .run("ALTER TABLE other ADD COLUMN t INT, ALGORITHM=COPY")
            .await;
        server
            .run("CREATE TRIGGER x BEFORE INSERT ON t FOR EACH ROW SET @x = 1")
            .await;
        server.run("DROP TRIGGER x").await;
        server.run("CREATE TEMPORARY TABLE temp (id INT); INSERT INTO temp VALUES (1); DROP TEMPORARY TABLE temp").await;
        server.run("BEGIN; INSERT INTO u VALUES (1); SAVEPOINT s; INSERT INTO u VALUES (2); ROLLBACK TO s; INSERT INTO u VALUES (3); COMMIT").await;
        server
            .run("BEGIN; INSERT INTO u VALUES (9); ROLLBACK")
            .await;
        server.run("BEGIN; INSERT INTO u VALUES (4); INSERT INTO t (id) VALUES (100); DELETE FROM u WHERE id = 1; COMMIT").await;
        server.run("CREATE TABLE made AS SELECT * FROM u").await;
        server.run("FLUSH BINARY LOGS").await;
        server.run("INSERT INTO u VALUES (5)").await;
        server.run("XA START 'x'; INSERT INTO other (id) VALUES (77); XA END 'x'; XA PREPARE 'x'; XA COMMIT 'x'").await;
        if flavor == FlavorKind::MySql {
            server.run("SET binlog_transaction_compression = ON; INSERT INTO t (id, b) VALUES (200, REPEAT('zip', 100000)), (201, NULL); SET binlog_transaction_compression = OFF").await;
        }
        let end = source.position().await.unwrap();
        for transaction in read_to(&mut reader, &end).await.unwrap() {
            apply(&shapes, &mut rows, &transaction.changes);
        }
        same(&server, &shapes, &rows).await;

        // A transaction that is longer than what is kept in memory.
        server.run("BEGIN").await;
        for i in 0..60 {
            server
                .run(&format!(
                    "INSERT INTO t (id, b) VALUES ({}, REPEAT('0123456789', 100000))",
                    1000 + i
                ))
                .await;
        }
        server.run("INSERT INTO u VALUES (1000); COMMIT").await;
        let end = source.position().await.unwrap();
        let before = reader.position().clone();
        let parts = read_to(&mut reader, &end).await.unwrap();
        assert!(parts.len() > 2, "{} parts", parts.len());
        for (i, part) in parts.iter().enumerate() {
            assert_eq!(part.gtid, parts[0].gtid);
            assert_eq!(part.is_last, i == parts.len() - 1);
            assert_eq!(part.position == before, !part.is_last);
            apply(&shapes, &mut rows, &part.changes);
        }
        same(&server, &shapes, &rows).await;

        // Nothing happens: one hears of it all the same.
        let event = reader.next().await.unwrap();
        let position = reader.position().clone();
        assert_eq!(event, SourceEvent::Heartbeat { position });
        what_changes_a_table_stops(&mut server, &shapes).await;
        what_is_not_logged_whole_is_refused(&mut server, &shapes).await;
        trouble_with_the_server_is_told_apart(&mut server, &shapes, &start).await;
        server.lab.end().await;
    }
}

async fn same(server: &Server, shapes: &[Arc<TableShape>], rows: &[Rows]) {
    let found = server.rows(KS, shapes).await;
    for ((shape, found), rows) in shapes.iter().zip(found).zip(rows) {
        let found = keyed(shape, &found);
        let keys: Vec<_> = found.keys().collect();
        assert_eq!(keys, rows.keys().collect::<Vec<_>>());
        assert!(found == *rows, "table {}", shape.name);
    }
}

/// What comes first from here on that is not an empty transaction.
async fn next(
    server: &mut Server,
    shapes: &[Arc<TableShape>],
    statement: &str,
) -> Result<SourceEvent, StreamError> {
    let source = server.source(KS).await;
    let from = source.position().await.unwrap();
    let mut reader = source.follow(&from, shapes).await.unwrap();
    server.run(statement).await;
    loop {
        match reader.next().await? {
            SourceEvent::Heartbeat { .. } => {}
            SourceEvent::Transaction(t) if t.changes.is_empty() => {}
            SourceEvent::Ddl {
                position,
                statement,
                tables,
            } => {
                assert_eq!(position, from);
                return Ok(SourceEvent::Ddl {
                    position,
                    statement,
                    tables,
                });
            }
            other => return Ok(other),
        }
    }
}

async fn what_changes_a_table_stops(server: &mut Server, shapes: &[Arc<TableShape>]) {
    for (statement, wanted) in [
        ("ALTER TABLE t ADD COLUMN more INT", vec![0]),
        ("ALTER TABLE t DROP COLUMN more", vec![0]),
        ("CREATE INDEX i ON u (id)", vec![1]),
        ("DROP INDEX i ON my_commerce.u", vec![1]),
        ("RENAME TABLE u TO v, t TO u", vec![0, 1]),
        ("RENAME TABLE u TO t, v TO u", vec![0, 1]),
        ("TRUNCATE TABLE u", vec![1]),
        ("DROP TABLE u", vec![1]),
    ] {
        match next(server, shapes, statement).await.unwrap() {
            SourceEvent::Ddl {
                tables,
                statement: seen,
                ..
            } => {
                assert_eq!(tables, wanted, "{seen}");
            }
            other => panic!("{statement}: {other:?}"),
        }
    }
    server.run("CREATE TABLE u (id INT PRIMARY KEY)").await;
    // The statement itself was missed.
    for (change, back) in [
        (
            "ALTER TABLE u ADD COLUMN x INT",
            "ALTER TABLE u DROP COLUMN x",
        ),
        (
            "ALTER TABLE u MODIFY id BIGINT",
            "ALTER TABLE u MODIFY id INT",
        ),
        (
            "ALTER TABLE u MODIFY id INT UNSIGNED",
            "ALTER TABLE u MODIFY id INT",
        ),
        (
            "ALTER TABLE u CHANGE id other INT",
            "ALTER TABLE u CHANGE other id INT",
        ),
    ] {
        server.run(change).await;
        let error = next(
            server,
            shapes,
            "INSERT INTO u VALUES ROW(1)"
                .replace(
                    "ROW(1)",
                    if change.contains("ADD") {
                        "(1, 2)"
                    } else {
                        "(1)"
                    },
                )
                .as_str(),
        )
        .await
        .unwrap_err();
        assert!(
            matches!(&error, StreamError::DefinitionChanged { table, .. } if table == "u"),
            "{error}"
        );
        assert!(!error.is_retriable());
        server.run("DELETE FROM u").await;
        server.run(back).await;
    }
}

async fn what_is_not_logged_whole_is_refused(server: &mut Server, shapes: &[Arc<TableShape>]) {
    server.run("INSERT INTO u VALUES (5)").await;
    server.run("INSERT INTO t (id, a) VALUES (5000, 'x')").await;
    for (statement, wanted) in [
        (
            "SET binlog_row_image = MINIMAL; UPDATE t SET a = 'y' WHERE id = 5000; SET binlog_row_image = FULL",
            "binlog_row_image",
        ),
        (
            "SET binlog_format = STATEMENT; DELETE FROM u WHERE id = 5; SET binlog_format = ROW",
            "binlog_format",
        ),
        (
            "XA START 'y'; INSERT INTO u VALUES (6); XA END 'y'; XA PREPARE 'y'; XA ROLLBACK 'y'",
            "without XA",
        ),
    ] {
        let error = next(server, shapes, statement).await.unwrap_err();
        assert!(!error.is_retriable());
        assert!(error.to_string().contains(wanted), "{error}");
    }
}

async fn trouble_with_the_server_is_told_apart(
    server: &mut Server,
    shapes: &[Arc<TableShape>],
    start: &Position,
) {
    let flavor = server.address.flavor;
    let source = server.source(KS).await;
    let position = source.position().await.unwrap();

    // A connection that is cut while one waits.
    let mut reader = source.follow(&position, shapes).await.unwrap();
    server.run(&format!("KILL {}", reader.thread_id())).await;
    let error = loop {
        if let Err(error) = reader.next().await {
            break error;
        }
    };
    assert!(error.is_retriable(), "{error}");

    // What the server does not have yet.
    let ahead = match flavor {
        FlavorKind::MariaDb => "0-999-999999".to_owned(),
        FlavorKind::MySql => format!("{position},3e11fa47-71ca-11e1-9e33-c80aa9429562:1-5"),
    };
    let ahead = Position::parse(flavor, &ahead).unwrap();
    let error = source.follow(&ahead, shapes).await.unwrap_err();
    assert!(matches!(error, StreamError::Behind { .. }), "{error}");
    assert!(error.is_retriable());

    // What it has no more.
    server.run("FLUSH BINARY LOGS").await;
    let logs = server
        .sql
        .rows("listing", "SHOW BINARY LOGS")
        .await
        .unwrap();
    let newest = text(&logs.last().unwrap()[0]);
    loop {
        server
            .run(&format!("PURGE BINARY LOGS TO '{newest}'"))
            .await;
        let logs = server
            .sql
            .rows("listing", "SHOW BINARY LOGS")
            .await
            .unwrap();
        // A file that somebody still reads stays a little longer.
        if logs.len() == 1 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let error = match source.follow(start, shapes).await {
        Err(error) => error,
        Ok(mut reader) => loop {
            if let Err(error) = reader.next().await {
                break error;
            }
        },
    };
    assert!(matches!(error, StreamError::Purged { .. }), "{error}");
    assert!(!error.is_retriable());
    assert!(error.to_string().contains("copy anew"), "{error}");
    // From where nothing is missing it goes on.
    let mut reader = source.follow(&position, shapes).await.unwrap();
    server.run("INSERT INTO u VALUES (700)").await;
    let end = source.position().await.unwrap();
    assert_eq!(read_to(&mut reader, &end).await.unwrap().len(), 1);
}
