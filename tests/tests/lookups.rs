//! Lookup vindexes on a whole cluster: one that comes to a table in use while it is written, and gates
//! that die between their commits.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, Pool};
use vtplan_tests::inside::Inside;
use vtplan_tests::lab::{Lab, PATIENCE};
use vtplan_tests::servers::Server;

const CUSTOMER: &str = "create table customer (customer_id bigint primary key, email varchar(60) not null, \
     name varchar(20) not null, city int not null, key (email), key (name), key (city));\n";
const NAMES: &str = "create table name_idx (name varchar(20), keyspace_id varbinary(128), \
     primary key (name, keyspace_id));\n";

/// The spec, with vindexes and what the table has of them.
fn spec(lab: &Lab, name: &str, vindexes: &str, used: &str) -> String {
    let (commerce, customer) = (
        format!("{name}-commerce.sql"),
        format!("{name}-customer.sql"),
    );
    let lookups = !vindexes.is_empty();
    lab.write(
        &commerce,
        "create table product (id bigint primary key);\n\
         create table email_idx (email varchar(60) primary key, keyspace_id varbinary(128));\n\
         create table city_idx (city int primary key, keyspace_id varbinary(128));\n",
    );
    let names = if lookups { NAMES } else { "" };
    lab.write(&customer, &format!("{CUSTOMER}{names}"));
    let names = if lookups {
        "      name_idx: { vindexes: [{ name: loose, column: name }] }\n"
    } else {
        ""
    };
    lab.write(
        &format!("{name}.yaml"),
        &format!(
            "vtplan: 1\ncluster: shop\ncells: [zone1, zone2]\nkeyspaces:\n  commerce:\n    durability: none\n    \
             tablets: {{ zone1: {{ replica: 1 }} }}\n    schema: {commerce}\n  customer:\n    shards: [-80, 80-]\n    \
             durability: none\n    tablets: {{ zone1: {{ replica: 1 }} }}\n    schema: {customer}\n    vindexes:\n      \
             xxhash: {{ type: xxhash }}\n      loose: {{ type: unicode_loose_xxhash }}\n{vindexes}    tables:\n      \
             customer: {{ vindexes: [{{ name: xxhash, column: customer_id }}{used}] }}\n{names}\
             gates: {{ zone1: {{ count: 1 }}, zone2: {{ count: 1 }} }}\nusers:\n  app: {{ password_env: VTPLAN_APP_PASSWORD }}\n"
        ),
    )
}

const LOOKUPS: &str = "      by_email: { type: consistent_lookup_unique, owner: customer, \
     params: { table: commerce.email_idx, from: email, to: keyspace_id } }\n      \
     by_name: { type: consistent_lookup, owner: customer, params: { table: name_idx, from: name, to: keyspace_id } }\n";
const USED: &str = ", { name: by_email, column: email }, { name: by_name, column: name }";
const CITY: &str = "      by_city: { type: lookup_unique, owner: customer, \
     params: { table: commerce.city_idx, from: city, to: keyspace_id } }\n";

/// Writes rows of its own until it is told to stop; what a gate that dies leaves open it tries again.
async fn write(pool: Pool, writer: u64, stop: Arc<AtomicBool>, done: Arc<AtomicU64>) {
    let mut seed = writer * 7919 + 1;
    let mut below = move |end: u64| {
        seed ^= seed << 13;
        seed ^= seed >> 7;
        seed ^= seed << 17;
        seed % end
    };
    while !stop.load(Ordering::Relaxed) {
        let id = 1000 + below(200) * 2 + writer % 2;
        let (email, name) = (below(150), below(12));
        let sql = match below(5) {
            0 | 1 => format!(
                "insert into customer (customer_id, email, name, city) values ({id}, 'e{email}@w', 'n{name}', {id})"
            ),
            2 => format!("update customer set email = 'e{email}@w' where customer_id = {id}"),
            3 => format!("update customer set name = 'n{name}' where customer_id = {id}"),
            _ => format!("delete from customer where customer_id = {id}"),
        };
        let wrote = async {
            let mut conn = pool.get_conn().await?;
            conn.query_drop(&sql).await
        };
        match wrote.await {
            Ok(()) => {
                done.fetch_add(1, Ordering::Relaxed);
            }
            // Duplicates, deadlocks, waits for locks, rows that changed: nothing of it was done.
            Err(mysql_async::Error::Server(error))
                if [1062, 1213, 1205, 1020].contains(&error.code) => {}
            // The gate is dead, or not there again yet.
            Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
        }
    }
}

type Row = (i64, String, String);

/// The owner's rows, asked on its shards.
async fn rows(inside: &Inside) -> BTreeMap<i64, (String, String)> {
    let mut all = BTreeMap::new();
    let records = inside.records().await;
    let customer = "customer".parse().expect("a name");
    for shard in records.shards_of(&customer).filter(|s| s.serving) {
        let shard = shard.shard.to_string();
        let mut conn = inside.on_primary("customer", &shard).await;
        let sql = "select customer_id, email, name from customer.customer";
        let rows: Vec<Row> = conn.query(sql).await.expect("rows");
        for (id, email, name) in rows {
            assert!(
                all.insert(id, (email, name)).is_none(),
                "{id} is there twice"
            );
        }
    }
    all
}

/// Each row is found by its lookups, and no unique value is there twice.
async fn check(inside: &Inside, gate: &Pool, unique: bool) -> usize {
    let rows = rows(inside).await;
    let mut emails: BTreeMap<String, i64> = BTreeMap::new();
    let mut conn = gate.get_conn().await.expect("a connection to the gate");
    for (id, (email, name)) in &rows {
        if unique {
            let other = emails.insert(email.to_lowercase(), *id);
            assert_eq!(other, None, "{id} has the address of another");
        }
        let sql = "select customer_id from customer where email = ?";
        let found: Vec<i64> = conn.exec(sql, (email,)).await.expect("a read by address");
        assert!(
            found.contains(id),
            "{id} is not found by {email}: {found:?}"
        );
        let sql = "select customer_id from customer where name = ?";
        let found: Vec<i64> = conn.exec(sql, (name,)).await.expect("a read by name");
        assert!(found.contains(id), "{id} is not found by {name}");
    }
    rows.len()
}

async fn count(conn: &mut Conn, sql: &str) -> u64 {
    conn.query_first(sql)
        .await
        .expect("a count")
        .expect("a row")
}

/// Waits until a query of a server counts something.
async fn until(conn: &mut Conn, sql: &str, what: &str) {
    let end = Instant::now() + PATIENCE;
    while count(conn, sql).await == 0 {
        assert!(Instant::now() < end, "{what}: not within {PATIENCE:?}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

async fn lookups_are_filled_under_writes_and_survive_gates(server: Server) {
    let mut lab = Lab::new("shop", server);
    let before = spec(&lab, "before", "", "");
    lab.start_agent("host1", "zone1");
    lab.run(&["apply", &before, "--auto-approve"]).expect(0);
    lab.start_gate("zone1");
    lab.start_gate("zone2");
    let inside = Inside::open(&lab, "shop").await;
    let gate = lab.client("zone1", "customer");
    let mut conn = gate.get_conn().await.expect("a connection to the gate");
    for start in (0..600).step_by(200) {
        let rows: Vec<String> = (start..start + 200)
            .map(|i| format!("({}, 'Old{i}@x', 'n{}', {})", 10_000 + i, i % 12, i / 2))
            .collect();
        let sql = format!(
            "insert into customer (customer_id, email, name, city) values {}",
            rows.join(", ")
        );
        conn.query_drop(sql).await.expect("rows");
    }

    // What the plan says of it, and of the statements that it serves.
    let with = spec(&lab, "with", LOOKUPS, USED);
    lab.write(
        "log.sql",
        "select * from customer where email = 'x'\nselect * from customer where name = 'x'\n",
    );
    let log = lab.dir().join("log.sql").display().to_string();
    let plan = lab
        .run(&["plan", &with, "--workload", &log])
        .expect(0)
        .stdout;
    for part in [
        "~ lookup by_email",
        "now served by a lookup: all 2 shards of customer → one shard of customer, by lookup `by_email`",
        "write_only",
    ] {
        assert!(plan.contains(part), "{part}: {plan}");
    }

    // Filled while two gates write.
    let (stop, done) = (
        Arc::new(AtomicBool::new(false)),
        Arc::new(AtomicU64::new(0)),
    );
    let writers: Vec<_> = (0..4u64)
        .map(|writer| {
            let zone = if writer < 2 { "zone1" } else { "zone2" };
            let pool = lab.client(zone, "customer");
            tokio::spawn(write(pool, writer, stop.clone(), done.clone()))
        })
        .collect();
    let end = Instant::now() + PATIENCE;
    while done.load(Ordering::Relaxed) < 200 {
        assert!(Instant::now() < end, "nothing is written");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // Addresses must be unique before: those of the writers are not.
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("a writer");
    }
    let twice = lab.run(&["apply", &with, "--auto-approve"]);
    if twice.code != 0 {
        assert!(
            twice.stderr.contains("two rows of customer.customer")
                || twice.stdout.contains("two rows of customer.customer"),
            "{} {}",
            twice.stdout,
            twice.stderr
        );
        conn.query_drop("delete from customer where customer_id < 2000")
            .await
            .expect("the duplicates go");
    }
    stop.store(false, Ordering::Relaxed);
    let writers: Vec<_> = (0..4u64)
        .map(|writer| {
            let zone = if writer < 2 { "zone1" } else { "zone2" };
            let pool = lab.client(zone, "customer");
            tokio::spawn(write(pool, writer, stop.clone(), done.clone()))
        })
        .collect();
    lab.run(&["apply", &with, "--auto-approve"]).expect(0);
    let before_kills = done.load(Ordering::Relaxed);
    let again = lab.run(&["apply", &with, "--auto-approve"]).expect(0);
    assert!(again.stdout.contains("No changes"), "{}", again.stdout);

    // Gates die again and again while they write.
    for round in 0..6u64 {
        let zone = if round % 2 == 0 { "zone1" } else { "zone2" };
        tokio::time::sleep(Duration::from_millis(150 + 40 * round)).await;
        let port = lab.gates[zone].mysql_port;
        lab.gates.get_mut(zone).expect("the gate").proc.kill9();
        lab.restart_gate(zone, port);
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("a writer");
    }
    assert!(
        done.load(Ordering::Relaxed) > before_kills,
        "nothing was written"
    );
    let gate = lab.client("zone1", "customer");
    assert!(check(&inside, &gate, true).await >= 600);

    // Between the commit of a lookup and that of its owner: the owner's server lets no commit through.
    let mut low = inside.on_primary("customer", "-80").await;
    let mut index = inside.on_primary("commerce", "0").await;
    let mut conn = gate.get_conn().await.expect("a connection to the gate");
    conn.query_drop("begin").await.expect("begin");
    // 8 is on the shard -80.
    let sql =
        "insert into customer (customer_id, email, name, city) values (8, 'left@x', 'left', 8)";
    conn.query_drop(sql).await.expect("a row");
    low.query_drop("flush tables with read lock")
        .await
        .expect("a lock");
    let commit = tokio::spawn(async move { conn.query_drop("commit").await });
    let entry = "select count(*) from commerce.email_idx where email = 'left@x'";
    until(&mut index, entry, "the lookup commits first").await;
    lab.gates.get_mut("zone1").expect("the gate").proc.kill9();
    assert!(
        commit.await.expect("a task").is_err(),
        "the commit came through"
    );
    // The server has the command, but nobody to tell: here it ends with its connection.
    let waiting = "select id from information_schema.processlist where info = 'COMMIT'";
    let ids: Vec<u64> = low.query(waiting).await.expect("the waiting commit");
    for id in ids {
        let _ = low.query_drop(format!("kill {id}")).await;
    }
    let none = format!("select count(*) = 0 from ({waiting}) w");
    until(&mut low, &none, "the commit ends").await;
    low.query_drop("unlock tables").await.expect("unlocked");
    let port = lab.gates["zone1"].mysql_port;
    lab.restart_gate("zone1", port);
    let other = lab.client("zone2", "customer");
    let mut conn = other
        .get_conn()
        .await
        .expect("a connection to the other gate");
    let found: Vec<i64> = conn
        .query("select customer_id from customer where email = 'left@x'")
        .await
        .expect("a read");
    assert!(found.is_empty(), "{found:?}");
    // 9 is on the other shard: what was left is taken over, when the dead gate's transaction has ended.
    let sql =
        "insert into customer (customer_id, email, name, city) values (9, 'left@x', 'left', 9)";
    conn.query_drop(sql).await.expect("the value is free");
    check(&inside, &other, true).await;

    // Between the commit of a deletion and the end of its entry.
    let mut lock = inside.on_primary("commerce", "0").await;
    lock.query_drop("flush tables with read lock")
        .await
        .expect("a lock");
    let delete = tokio::spawn(async move {
        conn.query_drop("delete from customer where customer_id = 9")
            .await
    });
    let mut high = inside.on_primary("customer", "80-").await;
    let gone = "select count(*) = 0 from customer.customer where customer_id = 9";
    until(&mut high, gone, "the row goes first").await;
    assert_eq!(count(&mut index, entry).await, 1);
    lab.gates.get_mut("zone2").expect("the gate").proc.kill9();
    let _ = delete.await.expect("a task");
    lock.query_drop("unlock tables").await.expect("unlocked");
    let gate = lab.client("zone1", "customer");
    let mut conn = gate.get_conn().await.expect("a connection to the gate");
    let sql =
        "insert into customer (customer_id, email, name, city) values (10, 'LEFT@x', 'left', 10)";
    conn.query_drop(sql).await.expect("the value is free");
    check(&inside, &gate, true).await;
    let port = lab.gates["zone2"].mysql_port;
    lab.restart_gate("zone2", port);

    // Two old rows are of each city: the step names both.
    let cities = spec(
        &lab,
        "cities",
        &format!("{LOOKUPS}{CITY}"),
        &format!("{USED}, {{ name: by_city, column: city }}"),
    );
    let failed = lab.run(&["apply", &cities, "--auto-approve"]).expect(1);
    let said = format!("{}{}", failed.stdout, failed.stderr);
    assert!(
        said.contains("two rows of customer.customer have the value of the unique lookup by_city"),
        "{said}"
    );
    // Taken back. Keyspace ids stay what they are when a shard is split, also while both gates write.
    lab.run(&["apply", &with, "--auto-approve"]).expect(0);
    check(&inside, &gate, true).await;
    let split = std::fs::read_to_string(&with).expect("the spec");
    let split = split.replace("shards: [-80, 80-]", "shards: [-80, 80-c0, c0-]");
    let split = lab.write("split.yaml", &split);
    stop.store(false, Ordering::Relaxed);
    let writers: Vec<_> = (0..2u64)
        .map(|writer| {
            let zone = if writer == 0 { "zone1" } else { "zone2" };
            let pool = lab.client(zone, "customer");
            tokio::spawn(write(pool, writer, stop.clone(), done.clone()))
        })
        .collect();
    lab.run(&["apply", &split, "--auto-approve", "--approve-destructive"])
        .expect(0);
    stop.store(true, Ordering::Relaxed);
    for writer in writers {
        writer.await.expect("a writer");
    }
    check(&inside, &gate, true).await;
    // And gone.
    let before = std::fs::read_to_string(&before).expect("the spec");
    let before = before.replace("shards: [-80, 80-]", "shards: [-80, 80-c0, c0-]");
    let before = lab.write("after.yaml", &before);
    lab.run(&["apply", &before, "--auto-approve"]).expect(0);
    let mut conn = gate.get_conn().await.expect("a connection to the gate");
    let found: Vec<i64> = conn
        .query("select customer_id from customer where email = 'left@x'")
        .await
        .expect("a read of all shards");
    assert_eq!(found, [10]);
}

#[tokio::test(flavor = "multi_thread")]
async fn lookups_are_filled_under_writes_and_survive_gates_on_mariadb() {
    lookups_are_filled_under_writes_and_survive_gates(Server::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn lookups_are_filled_under_writes_and_survive_gates_on_mysql() {
    let name = "lookups_are_filled_under_writes_and_survive_gates_on_mysql";
    let Some(server) = Server::mysql(name) else {
        return;
    };
    lookups_are_filled_under_writes_and_survive_gates(server).await;
}
