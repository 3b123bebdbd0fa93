//! The same statements through the gate and on the server itself give the same answers.

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Params, Row, Value};

use super::lab::on_each;

/// An answer as a client sees it: columns, rows, counts, or the error.
async fn answer(conn: &mut Conn, sql: &str) -> String {
    match conn.query_iter(sql).await {
        Ok(mut result) => {
            let mut text = String::new();
            while let Some(columns) = result.columns() {
                for column in columns.iter() {
                    text += &format!(
                        "{}.{} {:?} {:?} {}, ",
                        column.table_str(),
                        column.name_str(),
                        column.column_type(),
                        column.flags(),
                        column.character_set()
                    );
                }
                let rows: Vec<Row> = result.collect().await.unwrap();
                text += &format!(
                    "{:?}\n",
                    rows.into_iter().map(Row::unwrap).collect::<Vec<_>>()
                );
            }
            let counts = (result.affected_rows(), result.last_insert_id());
            text + &format!("{counts:?} {:?}", result.info())
        }
        Err(mysql_async::Error::Server(error)) => {
            format!("{} {} {}", error.code, error.state, error.message)
        }
        Err(error) => panic!("{sql}: {error}"),
    }
}

const STATEMENTS: &[&str] = &[
    "DROP TABLE IF EXISTS eq",
    "CREATE TABLE eq (id INT AUTO_INCREMENT PRIMARY KEY, a VARCHAR(20), b DECIMAL(10,3), c DOUBLE, d DATETIME(3), e BLOB, f TEXT)",
    "INSERT INTO eq (a, b, c, d, e) VALUES ('x', 1.5, 2.25, '2026-01-02 03:04:05.678', X'00ff'), ('ünï', -7, NULL, NULL, NULL)",
    "SELECT LAST_INSERT_ID()",
    "SELECT ROW_COUNT()",
    "SELECT * FROM eq",
    "SELECT FOUND_ROWS()",
    "SELECT a, COUNT(*), SUM(b) FROM eq GROUP BY a ORDER BY a",
    "SELECT id FROM eq WHERE 1 = 0",
    "SELECT 1, 'a', NULL, 1.5, NOW() IS NULL",
    "SELECT DATABASE()",
    "INSERT INTO eq (id, a) VALUES (1, 'twice')",
    "SELECT nothing FROM eq",
    "SELECT * FROM no_such_table",
    "SELEC 1",
    "UPDATE eq SET a = 'y' WHERE id <= 2",
    "UPDATE eq SET a = 'y' WHERE id <= 2",
    "INSERT IGNORE INTO eq (id, a) VALUES (1, 'twice'), (5, 'five')",
    "SHOW WARNINGS",
    "SELECT CAST('abc' AS SIGNED)",
    "SHOW WARNINGS",
    "SHOW COUNT(*) WARNINGS",
    "ALTER TABLE eq ADD COLUMN g INT DEFAULT 3",
    "SHOW CREATE TABLE eq",
    "SHOW TABLES LIKE 'eq%'",
    "SHOW COLUMNS FROM eq",
    "SELECT table_name FROM information_schema.tables WHERE table_schema = 'commerce' AND table_name = 'eq'",
    "REPLACE INTO eq (id, a) VALUES (1, 'new')",
    "DELETE FROM eq WHERE id = 5",
    "SELECT * FROM eq WHERE a LIKE '%\\'%' /* a comment; with a semicolon */",
    "SELECT ';' AS semicolon",
    "DROP PROCEDURE IF EXISTS two_results",
    "CREATE PROCEDURE two_results() BEGIN SELECT id FROM eq ORDER BY id; SELECT 'second'; UPDATE eq SET g = 4; END",
    "CALL two_results()",
    "DROP PROCEDURE two_results",
    "SET @x = 5",
    "SELECT @x + 1",
    "SET SESSION sql_mode = 'ANSI_QUOTES'",
    "SELECT \"a\" FROM eq ORDER BY id LIMIT 1",
    "SET SESSION sql_mode = DEFAULT",
    "SET NAMES latin1",
    "SELECT @@character_set_client, @@character_set_results, @@collation_connection",
    "SET NAMES utf8mb4",
    "SET no_such_variable = 1",
    "SET autocommit = 0",
    "SELECT @@autocommit",
    "UPDATE eq SET a = 'rolled back'",
    "ROLLBACK",
    "SELECT a FROM eq ORDER BY id",
    "SET autocommit = 1",
    "BEGIN",
    "INSERT INTO eq (a) VALUES ('in transaction')",
    "SAVEPOINT s1",
    "DELETE FROM eq",
    "ROLLBACK TO SAVEPOINT s1",
    "SELECT COUNT(*) FROM eq",
    "COMMIT",
    "SELECT COUNT(*) FROM eq",
    "ROLLBACK TO SAVEPOINT gone",
    "CREATE TEMPORARY TABLE tmp1 (a INT)",
    "INSERT INTO tmp1 VALUES (1), (2)",
    "SELECT * FROM tmp1",
    "DROP TEMPORARY TABLE tmp1",
    "EXPLAIN SELECT * FROM eq WHERE id = 1",
    "ANALYZE TABLE eq",
    "TRUNCATE TABLE eq",
    "DROP TABLE eq",
    "",
];

const FUNCTIONS: [&str; 4] = [
    "LAST_INSERT_ID()",
    "ROW_COUNT()",
    "FOUND_ROWS()",
    "SHOW COUNT",
];

#[tokio::test]
async fn an_unsharded_keyspace_answers_as_its_server_does() {
    on_each(
        "an_unsharded_keyspace_answers_as_its_server_does",
        async |lab| {
            // One after the other on the same server: each set begins and ends with no table.
            let mut gate = lab.client("commerce").await;
            let mut through = Vec::new();
            for sql in STATEMENTS {
                through.push(answer(&mut gate, sql).await);
            }
            let mut server = lab.direct(100, "commerce").await;
            let mut differ = Vec::new();
            for (sql, got) in STATEMENTS.iter().zip(through) {
                let mut there = answer(&mut server, sql).await;
                // Of a table that is missing the gate says where, as there are many servers.
                if there.starts_with("1146 ") {
                    there += " (keyspace commerce, shard 0, tablet zone1-0000000100)";
                }
                // The gate writes what these functions say into the statement: the value is the
                // same, the type of the column that of a literal.
                let of_function = FUNCTIONS.iter().any(|f| sql.contains(f));
                let values = |answer: &str| match answer.split_once('[') {
                    Some((_, rows)) if of_function => rows.to_owned(),
                    _ => answer.to_owned(),
                };
                if values(&got) != values(&there) {
                    differ.push(format!("{sql}\n  gate:   {got}\n  server: {there}"));
                }
            }
            assert!(differ.is_empty(), "{:?}: {}", lab.flavor, differ.join("\n"));
        },
    )
    .await;
}

fn parameters() -> Vec<Value> {
    vec![
        Value::NULL,
        Value::Int(-5),
        Value::UInt(u64::MAX),
        Value::Float(1.5),
        Value::Double(-2.25),
        Value::Bytes(b"text with ' and \\".to_vec()),
        Value::Bytes(vec![0, 255, 10]),
        Value::Bytes(Vec::new()),
        Value::Date(2026, 2, 28, 23, 59, 58, 123_456),
        Value::Date(2026, 2, 28, 0, 0, 0, 0),
        Value::Time(true, 1, 2, 3, 4, 500_000),
        Value::Time(false, 0, 0, 0, 0, 0),
    ]
}

#[tokio::test]
async fn prepared_statements_take_all_types_and_answer_as_the_server_does() {
    on_each("prepared_statements_take_all_types", async |lab| {
        let (mut gate, mut server) = (
            lab.client("commerce").await,
            lab.direct(100, "commerce").await,
        );
        let values = parameters();
        let marks = vec!["?"; values.len()].join(", ");
        let sql = format!("SELECT {marks}");
        // Twice: the second time nothing needs to be prepared any more.
        for round in 0..2 {
            let through: Vec<Row> = gate
                .exec(&sql, Params::Positional(values.clone()))
                .await
                .unwrap();
            let there: Vec<Row> = server
                .exec(&sql, Params::Positional(values.clone()))
                .await
                .unwrap();
            let plain =
                |rows: Vec<Row>| -> Vec<Vec<Value>> { rows.into_iter().map(Row::unwrap).collect() };
            assert_eq!(plain(through), plain(there), "round {round}");
        }
        gate.query_drop("CREATE TABLE IF NOT EXISTS ps (id INT PRIMARY KEY, t TEXT)")
            .await
            .unwrap();
        gate.exec_drop("REPLACE INTO ps VALUES (?, ?)", (1, "one"))
            .await
            .unwrap();
        let rows: Vec<(i32, String)> = gate
            .exec("SELECT id, t FROM ps WHERE id IN (?, ?)", (1, 2))
            .await
            .unwrap();
        assert_eq!(rows, [(1, "one".to_owned())]);
        let error = gate
            .exec_drop("SELECT * FROM missing WHERE a = ?", (1,))
            .await;
        let Err(mysql_async::Error::Server(error)) = error else {
            panic!("{error:?}");
        };
        assert_eq!(error.code, 1146);
        gate.query_drop("DROP TABLE ps").await.unwrap();
    })
    .await;
}

#[tokio::test]
async fn messages_over_16_mib_pass_both_ways() {
    on_each("messages_over_16_mib_pass_both_ways", async |lab| {
        let mut gate = lab.client("commerce").await;
        let long = "x".repeat(20 << 20);
        let row: Option<(u64, String)> = gate
            .query_first(format!("SELECT LENGTH('{long}'), '{long}'"))
            .await
            .unwrap();
        let (length, text) = row.unwrap();
        assert!(length == 20 << 20 && text == long);
        let row: Option<String> = gate.exec_first("SELECT ?", (long.as_str(),)).await.unwrap();
        assert!(row.unwrap() == long);
        // 48 MiB is what this gate allows.
        let too_long = format!("SELECT LENGTH('{}')", "x".repeat(49 << 20));
        let error = gate.query_drop(too_long).await;
        let Err(mysql_async::Error::Server(error)) = error else {
            panic!("{error:?}");
        };
        assert_eq!(error.code, 1153);
        let mut next = lab.client("commerce").await;
        let one: Option<i32> = next.query_first("SELECT 1").await.unwrap();
        assert_eq!(one, Some(1));
    })
    .await;
}

#[tokio::test]
async fn statements_of_one_message_answer_one_after_the_other() {
    on_each("statements_of_one_message", async |lab| {
        let mut gate = lab.client("commerce").await;
        let sql = "SELECT 1; SELECT 'a;b'; SET @m = 3; SELECT @m; SELECT 4;";
        let mut result = gate.query_iter(sql).await.unwrap();
        let mut got = Vec::new();
        loop {
            let rows: Vec<Row> = result.collect().await.unwrap();
            got.push(rows.len());
            if result.is_empty() {
                break;
            }
        }
        drop(result);
        assert_eq!(got.iter().sum::<usize>(), 4, "{got:?}");
        // The rest is not run after an error.
        let error = gate
            .query_drop("SELECT 1; SELECT * FROM missing; CREATE TABLE never (a INT)")
            .await;
        let Err(mysql_async::Error::Server(error)) = error else {
            panic!("{error:?}");
        };
        assert_eq!(error.code, 1146);
        let never: Option<String> = gate.query_first("SHOW TABLES LIKE 'never'").await.unwrap();
        assert_eq!(never, None);
    })
    .await;
}
