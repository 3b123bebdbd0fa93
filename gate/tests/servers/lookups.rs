//! Lookup vindexes: what a table that owns some answers is what one server answers, and at any moment
//! each of its rows is found by its lookups.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Params, Row};

use super::lab::{Flavor, LOOKUPS, Lab, skip};

async fn on_each<F: Future<Output = ()>>(name: &str, test: impl Fn(Arc<Lab>) -> F) {
    for flavor in [Flavor::MariaDb, Flavor::MySql] {
        match Lab::get(flavor, &LOOKUPS) {
            Some(lab) => test(lab).await,
            None => skip(name, "VTPLAN_TEST_MYSQLD names no MySQL server"),
        }
    }
}

/// What a statement gives: its rows in any order, or how many it has changed, or the error's code.
async fn outcome(conn: &mut Conn, sql: &str, params: &Params) -> String {
    let rows: Result<Vec<Row>, _> = match params {
        Params::Empty => conn.query(sql).await,
        params => conn.exec(sql, params.clone()).await,
    };
    match rows {
        Ok(rows) => {
            let rows = rows.into_iter().map(|row| format!("{:?}", row.unwrap()));
            let mut rows: Vec<String> = rows.collect();
            rows.sort();
            format!("{rows:?} {}", conn.affected_rows())
        }
        Err(mysql_async::Error::Server(error)) => format!("error {}", error.code),
        Err(error) => panic!("{sql}: {error}"),
    }
}

/// Runs a statement on both and holds their answers against each other.
async fn same(gate: &mut Conn, plain: &mut Conn, sql: &str) {
    let ours = outcome(gate, sql, &Params::Empty).await;
    let theirs = outcome(plain, sql, &Params::Empty).await;
    assert_eq!(ours, theirs, "{sql}");
}

/// A lookup as its table has it: values, and the keyspace id.
type Entries = BTreeSet<(String, Vec<u8>)>;

async fn entries(lab: &Lab, uids: &[u32], database: &str, sql: &str) -> Entries {
    let mut all = Entries::new();
    for uid in uids {
        let mut conn = lab.admin(*uid, database).await;
        let rows: Vec<(String, Vec<u8>)> = conn.query(sql).await.unwrap();
        all.extend(rows);
    }
    all
}

fn id_of(customer: i64) -> Vec<u8> {
    use vtplan_state::vindex::{Destination, VindexValue, build};
    let definition = serde_json::from_str(r#"{ "type": "xxhash" }"#).unwrap();
    let vindex = build(&definition).unwrap();
    match vindex.map(&[VindexValue::Int(customer)]) {
        Destination::Id(id) => id.0,
        other => panic!("{other:?}"),
    }
}

type Customer = (i64, Option<String>, String, Option<i64>, Option<String>);

/// Every row is in its lookups; no unique value is there twice. Gives what lookups have beside, which
/// is what somebody who died has left.
async fn check(lab: &Lab) -> usize {
    let mut rows: Vec<Customer> = Vec::new();
    for uid in [200, 300] {
        let mut conn = lab.admin(uid, "customer").await;
        let sql =
            "SELECT customer_id, LOWER(email), LOWER(name), city, LOWER(street) FROM customer";
        rows.extend(conn.query::<Customer, _>(sql).await.unwrap());
    }
    let emails = entries(
        lab,
        &[100],
        "commerce",
        "SELECT LOWER(email), keyspace_id FROM email_idx",
    )
    .await;
    let names = entries(
        lab,
        &[200, 300],
        "customer",
        "SELECT LOWER(name), keyspace_id FROM name_idx",
    )
    .await;
    let addresses = entries(
        lab,
        &[200, 300],
        "customer",
        "SELECT LOWER(CONCAT(city, '/', street)), keyspace_id FROM address_idx",
    )
    .await;
    let mut wanted: BTreeMap<&str, Entries> = BTreeMap::new();
    for (customer, email, name, city, street) in rows {
        let id = id_of(customer);
        if let Some(email) = email {
            let twice = !wanted
                .entry("email")
                .or_default()
                .insert((email, id.clone()));
            assert!(!twice, "{customer}");
        }
        wanted.entry("name").or_default().insert((name, id.clone()));
        if let (Some(city), Some(street)) = (city, street) {
            let address = wanted.entry("address").or_default();
            address.insert((format!("{city}/{street}"), id));
        }
    }
    let mut beside = 0;
    for (lookup, has) in [
        ("email", &emails),
        ("name", &names),
        ("address", &addresses),
    ] {
        let wanted = wanted.remove(lookup).unwrap_or_default();
        let missing: Vec<_> = wanted.difference(has).collect();
        assert!(missing.is_empty(), "{lookup} has not {missing:?}");
        if lookup != "name" {
            let values: BTreeSet<_> = wanted.iter().map(|(value, _)| value).collect();
            assert_eq!(values.len(), wanted.len(), "{lookup} has a value twice");
        }
        beside += has.difference(&wanted).count();
    }
    beside
}

async fn empty(lab: &Lab) {
    for (uid, database, tables) in [
        (100, "commerce", &["email_idx"][..]),
        (100, "plain", &["customer"]),
        (200, "customer", &["customer", "name_idx", "address_idx"]),
        (300, "customer", &["customer", "name_idx", "address_idx"]),
    ] {
        let mut conn = lab.admin(uid, database).await;
        for table in tables {
            conn.query_drop(format!("DELETE FROM {table}"))
                .await
                .unwrap();
        }
    }
}

const STATEMENTS: &[&str] = &[
    "INSERT INTO customer (customer_id, email, name, city, street) VALUES (1, 'a@x', 'ann', 1, 'main')",
    "INSERT INTO customer (customer_id, email, name, city, street) VALUES (2, 'b@x', 'bob', 1, 'side'), (3, NULL, 'bob', NULL, NULL), (4, 'd@x', 'dan', 2, 'main')",
    "SELECT * FROM customer WHERE email = 'a@x'",
    "SELECT * FROM customer WHERE email = 'A@X'",
    "SELECT * FROM customer WHERE email IN ('a@x', 'd@x', 'nobody')",
    "SELECT * FROM customer WHERE email = 'nobody'",
    "SELECT * FROM customer WHERE email = NULL",
    "SELECT * FROM customer WHERE email IS NULL",
    "SELECT * FROM customer WHERE name = 'bob'",
    "SELECT * FROM customer WHERE name = 'bob' AND customer_id = 2",
    "SELECT * FROM customer WHERE city = 1 AND street = 'side'",
    "SELECT * FROM customer WHERE (city, street) IN ((1, 'side'), (2, 'main'), (3, 'x'))",
    "SELECT * FROM customer WHERE (street, city) = ('main', 2)",
    "SELECT * FROM customer WHERE city = 1",
    "SELECT c.name FROM customer c WHERE c.email = 'a@x' FOR UPDATE",
    "SELECT COUNT(*) FROM customer WHERE email = 'a@x'",
    // A value that another row has, on whatever shard.
    "INSERT INTO customer (customer_id, email, name, city, street) VALUES (9, 'a@x', 'zed', 9, 'main')",
    "INSERT INTO customer (customer_id, email, name, city, street) VALUES (9, 'A@X', 'zed', 9, 'main')",
    "INSERT INTO customer (customer_id, email, name, city, street) VALUES (9, 'z@x', 'zed', 1, 'main')",
    "INSERT INTO customer (customer_id, email, name, city, street) VALUES (10, 'z@x', 'z', 9, 'a'), (11, 'z@x', 'z', 9, 'b')",
    "INSERT INTO customer (customer_id, email, name, city, street) VALUES (10, 'y@x', 'z', 9, 'a'), (1, 'w@x', 'z', 9, 'b')",
    "SELECT * FROM customer WHERE email IN ('z@x', 'y@x', 'w@x')",
    "INSERT IGNORE INTO customer (customer_id, email, name, city, street) VALUES (10, 'a@x', 'z', 9, 'a'), (11, 'k@x', 'k', 9, 'b'), (1, 'q@x', 'q', 9, 'q')",
    "SELECT * FROM customer WHERE email IN ('k@x', 'a@x', 'q@x')",
    "INSERT INTO customer (customer_id, email, name, city, street) VALUES (11, 'kk@x', 'k', 9, 'c') ON DUPLICATE KEY UPDATE customer_id = VALUES(customer_id)",
    "SELECT * FROM customer WHERE email IN ('k@x', 'kk@x')",
    "REPLACE INTO customer (customer_id, email, name, city, street) VALUES (11, 'r@x', 'r', 9, 'r')",
    "SELECT * FROM customer WHERE email IN ('k@x', 'r@x')",
    "SELECT * FROM customer WHERE name IN ('k', 'r')",
    "UPDATE customer SET email = 'a2@x' WHERE customer_id = 1",
    "UPDATE customer SET email = 'a2@x' WHERE customer_id = 1",
    "UPDATE customer SET email = 'A2@x' WHERE customer_id = 1",
    "SELECT * FROM customer WHERE email = 'a2@X'",
    "UPDATE customer SET email = 'b@x' WHERE customer_id = 1",
    "UPDATE customer SET email = 'same@x' WHERE customer_id IN (1, 2, 4)",
    "UPDATE customer SET name = 'all' WHERE customer_id IN (1, 2, 4)",
    "SELECT * FROM customer WHERE name = 'all'",
    "UPDATE customer SET name = 'ann', city = 5 WHERE email = 'a2@x'",
    "SELECT * FROM customer WHERE city = 5 AND street = 'main'",
    "SELECT * FROM customer WHERE city = 1 AND street = 'main'",
    "UPDATE customer SET email = NULL WHERE name = 'all'",
    "SELECT * FROM customer WHERE email IN ('b@x', 'd@x')",
    "SELECT * FROM customer WHERE email IS NULL",
    "UPDATE customer SET street = NULL WHERE name = 'all'",
    "UPDATE customer SET name = 'bo''b\\\\' WHERE customer_id = 2",
    "SELECT * FROM customer WHERE name = 'bo''b\\\\'",
    "UPDATE customer SET email = 'p@x'",
    "DELETE FROM customer WHERE email = 'a2@x'",
    "DELETE FROM customer WHERE email = 'a2@x'",
    "INSERT INTO customer (customer_id, email, name, city, street) VALUES (20, 'a2@x', 'ann', 5, 'main')",
    "SELECT * FROM customer WHERE email = 'a2@x'",
    "DELETE FROM customer WHERE name IN ('ann', 'all') ",
    "SELECT * FROM customer",
    "DELETE FROM customer ORDER BY customer_id LIMIT 100 /* each shard for itself is refused */",
    "DELETE FROM customer",
    "SELECT * FROM customer",
];

#[tokio::test]
async fn a_table_with_lookups_answers_as_one_server_does() {
    on_each("a_table_with_lookups_answers", async |lab| {
        let _alone = lab.alone.lock().await;
        empty(&lab).await;
        let mut gate = lab.client("customer").await;
        let mut plain = lab.admin(100, "plain").await;
        for sql in STATEMENTS.iter().filter(|s| !s.contains("refused")) {
            same(&mut gate, &mut plain, sql).await;
            assert_eq!(check(&lab).await, 0, "{sql}");
        }
        // The same within transactions, and with what is undone.
        for sql in [
            "BEGIN",
            "INSERT INTO customer (customer_id, email, name, city, street) VALUES (1, 'a@x', 'ann', 1, 'main'), (2, 'b@x', 'bob', 1, 'side')",
            "SELECT * FROM customer WHERE email = 'a@x'",
            "SELECT * FROM customer WHERE name = 'bob' FOR UPDATE",
            "UPDATE customer SET name = 'bert' WHERE email = 'b@x'",
            "SELECT * FROM customer WHERE name = 'bert'",
            "SELECT * FROM customer WHERE name = 'bob'",
            "INSERT INTO customer (customer_id, email, name, city, street) VALUES (3, 'a@x', 'zed', 3, 'main')",
            "SAVEPOINT one",
            "DELETE FROM customer WHERE email = 'a@x'",
            "SELECT * FROM customer WHERE email = 'a@x'",
            "ROLLBACK TO SAVEPOINT one",
            "SELECT * FROM customer WHERE email = 'a@x'",
            "COMMIT",
            "SELECT * FROM customer",
            "BEGIN",
            "DELETE FROM customer WHERE customer_id = 1",
            "INSERT INTO customer (customer_id, email, name, city, street) VALUES (1, 'a@x', 'ann', 1, 'main')",
            "UPDATE customer SET email = 'c@x' WHERE customer_id = 1",
            "UPDATE customer SET email = 'a@x' WHERE customer_id = 1",
            "COMMIT",
            "SELECT * FROM customer WHERE email = 'a@x'",
            "BEGIN",
            "UPDATE customer SET name = 'gone' WHERE email = 'a@x'",
            "DELETE FROM customer WHERE name = 'bert'",
            "ROLLBACK",
            "SELECT * FROM customer WHERE name IN ('bert', 'gone', 'ann')",
            "SET autocommit = 0",
            "INSERT INTO customer (customer_id, email, name, city, street) VALUES (5, 'e@x', 'eve', 5, 'main')",
            "SELECT * FROM customer WHERE email = 'e@x'",
            "COMMIT",
            "DELETE FROM customer WHERE email = 'e@x'",
            "ROLLBACK",
            "SET autocommit = 1",
            "SELECT * FROM customer WHERE name = 'eve'",
        ] {
            same(&mut gate, &mut plain, sql).await;
        }
        assert_eq!(check(&lab).await, 0);
        // With parameters.
        for (sql, params) in [
            ("SELECT * FROM customer WHERE email = ?", Params::from(("a@x",))),
            ("SELECT * FROM customer WHERE city = ? AND street = ?", (1, "main").into()),
            ("UPDATE customer SET name = ? WHERE email = ?", ("x'y", "a@x").into()),
            ("SELECT * FROM customer WHERE name IN (?, ?)", ("x'y", "eve").into()),
            (
                "INSERT INTO customer (customer_id, email, name, city, street) VALUES (?, ?, ?, ?, ?)",
                (7, "g@x", "gus", 7, Option::<String>::None).into(),
            ),
            ("DELETE FROM customer WHERE email = ?", ("g@x",).into()),
        ] {
            let ours = outcome(&mut gate, sql, &params).await;
            let theirs = outcome(&mut plain, sql, &params).await;
            assert_eq!(ours, theirs, "{sql}");
        }
        assert_eq!(check(&lab).await, 0);
        // The sequence gives the sharding key.
        gate.query_drop("DELETE FROM customer").await.unwrap();
        assert_eq!(check(&lab).await, 0);
        let sql = "INSERT INTO customer (email, name, city, street) VALUES ('s1@x', 's', 8, 'a'), ('s2@x', 's', 8, 'b')";
        gate.query_drop(sql).await.unwrap();
        let found: Vec<i64> = gate
            .query("SELECT customer_id FROM customer WHERE email = 's2@x'")
            .await
            .unwrap();
        assert_eq!(found.len(), 1);
        assert_eq!(check(&lab).await, 0);
    })
    .await;
}

#[tokio::test]
async fn what_lookups_cannot_follow_is_refused_by_name() {
    on_each("what_lookups_cannot_follow", async |lab| {
        let _alone = lab.alone.lock().await;
        empty(&lab).await;
        let mut gate = lab.client("customer").await;
        let sql = "INSERT INTO customer (customer_id, email, name, city, street) VALUES (1, 'a@x', 'ann', 1, 'm'), (2, 'b@x', 'bob', 1, 's')";
        gate.query_drop(sql).await.unwrap();
        for (sql, code, part) in [
            ("UPDATE customer SET name = NULL WHERE customer_id = 1", 1048, "Column 'name' cannot be null"),
            ("INSERT INTO customer (customer_id, email, city, street) VALUES (3, 'c', 1, 'c')", 1364, "'name'"),
            ("UPDATE customer SET name = CONCAT(name, 'x')", 1235, "expression for column `name`"),
            ("UPDATE customer SET name = 'x' LIMIT 1", 1235, "LIMIT"),
            ("UPDATE IGNORE customer SET email = 'x'", 1235, "UPDATE IGNORE"),
            ("UPDATE customer SET name = 'x' WHERE RAND() < 1", 1235, "RAND()"),
            ("DELETE a FROM customer a JOIN customer b ON a.customer_id = b.customer_id", 1235, "joined"),
            ("INSERT INTO customer (customer_id, email, name, city, street) VALUES (3, LOWER('C'), 'c', 1, 'c')", 1235, "LOWER"),
            ("REPLACE INTO customer (customer_id, email, name, city, street) VALUES (3, 'a@x', 'c', 1, 'c')", 1235, "another sharding key"),
            ("INSERT INTO customer (customer_id, email, name, city, street) VALUES (3, 'a@x', 'c', 1, 'c') ON DUPLICATE KEY UPDATE customer_id = VALUES(customer_id)", 1235, "another sharding key"),
            ("INSERT INTO customer (customer_id, email, name, city, street) VALUES (1, 'z@x', 'c', 1, 'c') ON DUPLICATE KEY UPDATE email = VALUES(email)", 1235, "by_email"),
        ] {
            match gate.query_drop(sql).await {
                Err(mysql_async::Error::Server(error)) => {
                    assert_eq!(error.code, code, "{sql}: {error}");
                    assert!(error.message.contains(part), "{sql}: {error}");
                }
                other => panic!("{sql}: {other:?}"),
            }
            assert_eq!(check(&lab).await, 0, "{sql}");
        }
        // A value that the transaction itself has freed goes to another row only after its commit.
        gate.query_drop("BEGIN").await.unwrap();
        gate.query_drop("DELETE FROM customer WHERE customer_id = 1").await.unwrap();
        let sql = "INSERT INTO customer (customer_id, email, name, city, street) VALUES (8, 'a@x', 'ann', 1, 'n')";
        let refused = gate.query_drop(sql).await.unwrap_err().to_string();
        assert!(refused.contains("commit between"), "{refused}");
        gate.query_drop("COMMIT").await.unwrap();
        gate.query_drop(sql).await.unwrap();
        assert_eq!(check(&lab).await, 0);
        let vindexes: Vec<Row> = gate.query("SHOW VSCHEMA VINDEXES").await.unwrap();
        assert!(vindexes.iter().any(|row| format!("{row:?}").contains("by_email")));
    })
    .await;
}

#[tokio::test]
async fn what_somebody_left_behind_is_taken_over() {
    on_each("what_somebody_left_behind", async |lab| {
        let _alone = lab.alone.lock().await;
        empty(&lab).await;
        let mut index = lab.admin(100, "commerce").await;
        // 8 and 10 are on one shard, 1 and 2 on the other.
        for (email, owner) in [("a@x", 1), ("b@x", 8), ("c@x", 1)] {
            let sql = "INSERT INTO email_idx VALUES (?, ?)";
            index.exec_drop(sql, (email, id_of(owner))).await.unwrap();
        }
        let mut gate = lab.client("customer").await;
        for email in ["a@x", "b@x"] {
            let sql = "SELECT customer_id FROM customer WHERE email = ?";
            let rows: Vec<i64> = gate.exec(sql, (email,)).await.unwrap();
            assert!(rows.is_empty());
        }
        for sql in [
            "INSERT INTO customer (customer_id, email, name, city, street) VALUES (10, 'a@x', 'n', 1, 'a'), (2, 'b@x', 'n', 1, 'b'), (1, 'c@x', 'n', 1, 'c')",
            "SELECT customer_id FROM customer WHERE email = 'a@x'",
        ] {
            gate.query_drop(sql).await.unwrap();
        }
        assert_eq!(check(&lab).await, 0);
    })
    .await;
}

#[tokio::test]
async fn of_several_writers_of_a_value_one_wins() {
    on_each("of_several_writers_of_a_value", async |lab| {
        let _alone = lab.alone.lock().await;
        empty(&lab).await;
        let mut tasks = Vec::new();
        for writer in 0..6i64 {
            let mut gate = lab.client_of((writer % 2) as usize, "customer").await;
            tasks.push(async move {
                let mut won = Vec::new();
                for round in 0..40i64 {
                    let id = round * 10 + writer;
                    let sql = format!(
                        "INSERT INTO customer (customer_id, email, name, city, street) VALUES ({id}, 'r{round}@x', 'n{}', {round}, 'main')",
                        round % 3
                    );
                    match gate.query_drop(sql).await {
                        Ok(()) => won.push(round),
                        Err(mysql_async::Error::Server(e)) if [1062, 1213, 1205].contains(&e.code) => {}
                        Err(error) => panic!("{error}"),
                    }
                    // Values come and go.
                    if round % 4 == writer % 4 && round > 0 {
                        let sql = format!("DELETE FROM customer WHERE email = 'r{}@x'", round - 1);
                        let _ = gate.query_drop(sql).await;
                    }
                    if round % 5 == 1 {
                        let sql = format!("UPDATE customer SET email = 'r{}@x' WHERE customer_id = {id}", round + 1);
                        let _ = gate.query_drop(sql).await;
                    }
                }
                won
            });
        }
        let won = futures::future::join_all(tasks).await;
        assert!(won.iter().map(Vec::len).sum::<usize>() >= 20);
        check(&lab).await;
        // All that is left is found.
        let mut gate = lab.client("customer").await;
        let rows: Vec<(i64, String)> = gate.query("SELECT customer_id, email FROM customer").await.unwrap();
        for (id, email) in rows {
            let sql = "SELECT customer_id FROM customer WHERE email = ?";
            let found: Vec<i64> = gate.exec(sql, (&email,)).await.unwrap();
            assert_eq!(found, [id], "{email}");
        }
    })
    .await;
}
