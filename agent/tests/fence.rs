//! Fences on real servers: what the gates' own account cannot write while data moves, and what it
//! still can.

mod common;

use common::{Account, Lab, alias, flavors, running};
use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vtplan_agent::proto::v1::{
    ExecuteSqlRequest, PrepareFenceRequest, RemoveFenceRequest, SetFenceRequest,
    SetReadOnlyRequest, WaitForPositionRequest,
};
use vtplan_planner::live::ObservedRole;
use vtplan_state::model::{Durability, TabletType};

const KS: &str = "my_commerce";
const WORKFLOW: &str = "customer.my_commerce2customer";

async fn shard_of_two(lab: &mut Lab) {
    lab.start().await;
    lab.put_keyspace(Durability::SemiSync).await;
    for uid in [100, 101] {
        let tablet = lab.tablet(uid, TabletType::Replica);
        lab.put_tablet(&tablet).await;
    }
}

fn prepare(uid: u32, term: u64, closed: bool) -> PrepareFenceRequest {
    PrepareFenceRequest {
        alias: alias(uid).to_string(),
        term,
        keyspace: KS.to_owned(),
        workflow: WORKFLOW.to_owned(),
        tables: vec!["customer".to_owned(), "corder".to_owned()],
        closed,
        writes_at: "customer".to_owned(),
        timeout_ms: 60_000,
        decided: 0,
        look: false,
    }
}

fn set(uid: u32, term: u64, closed: bool) -> SetFenceRequest {
    SetFenceRequest {
        alias: alias(uid).to_string(),
        term,
        keyspace: KS.to_owned(),
        workflow: WORKFLOW.to_owned(),
        closed,
        timeout_ms: 60_000,
        decided: 0,
    }
}

fn set_shard(uid: u32, term: u64, closed: bool) -> SetFenceRequest {
    SetFenceRequest {
        workflow: String::new(),
        ..set(uid, term, closed)
    }
}

async fn call_set(lab: &Lab, ask: SetFenceRequest) -> Result<String, tonic::Status> {
    let answer = lab.client().await.set_fence(ask).await;
    answer.map(|a| a.into_inner().position)
}

/// Everything that writes to a table in some way.
async fn assert_closed(lab: &Lab, uid: u32) {
    let other = format!("REPLACE INTO {KS}.product VALUES (1, 'p')");
    lab.write(uid, &other).await.unwrap();
    for write in [
        "INSERT INTO {t} VALUES (1000, 'x')",
        "INSERT IGNORE INTO {t} VALUES (1000, 'x')",
        "REPLACE INTO {t} VALUES (1, 'x')",
        "INSERT INTO {t} VALUES (1, 'x') ON DUPLICATE KEY UPDATE name = 'y'",
        "UPDATE {t} SET name = 'x'",
        "UPDATE IGNORE {t} SET id = id + 5000",
        "DELETE FROM {t}",
        "DELETE IGNORE FROM {t} WHERE id = 1",
        "INSERT INTO {t} SELECT id + 900, name FROM {ks}.product",
    ] {
        for table in ["customer", "corder"] {
            let write = write
                .replace("{t}", &format!("{KS}.{table}"))
                .replace("{ks}", KS);
            let done = lab.write(uid, &write).await;
            let error = done.expect_err(&write).to_string();
            assert!(error.contains("1290"), "{write}: {error}");
            let told = format!("table `{table}` is moving: keyspace `customer` has its writes");
            assert!(error.contains(&told), "{write}: {error}");
        }
    }
    // Streams write as the admin.
    let mut admin = lab.connect(uid, Account::Admin).await;
    let write = format!("REPLACE INTO {KS}.customer VALUES (77, 'streamed')");
    admin.query_drop(write).await.unwrap();
    admin.disconnect().await.unwrap();
}

async fn assert_open(lab: &Lab, uid: u32, id: u32) {
    for table in ["customer", "corder"] {
        for write in [
            format!("INSERT INTO {KS}.{table} VALUES ({id}, 'open')"),
            format!("UPDATE {KS}.{table} SET name = 'still' WHERE id = {id}"),
            format!("DELETE FROM {KS}.{table} WHERE id = {id}"),
            format!("INSERT INTO {KS}.{table} VALUES ({id}, 'open')"),
        ] {
            lab.write(uid, &write).await.unwrap();
        }
    }
}

async fn wait_for_closing(lab: &Lab, uid: u32) {
    let closing = "SELECT CAST(COUNT(*) > 0 AS CHAR) FROM information_schema.processlist \
                   WHERE info LIKE 'UPDATE \\_vt.fence%'";
    lab.wait_for_value(uid, closing, "1").await;
}

async fn begin(lab: &Lab, uid: u32, write: &str) -> Conn {
    let mut conn = lab.connect(uid, Account::Gate).await;
    conn.query_drop("BEGIN").await.unwrap();
    conn.query_drop(write).await.unwrap();
    conn
}

#[tokio::test(flavor = "multi_thread")]
async fn moved_tables_take_no_writes_of_the_gates_account_while_their_fence_is_closed() {
    for (flavor, mysqld) in flavors() {
        println!("on {flavor}");
        let mut lab = Lab::new(flavor, mysqld).await;
        shard_of_two(&mut lab).await;
        lab.put_shard(Some(100), 1).await;
        lab.wait_for_shard(100, 1, &[101]).await;
        for table in ["customer", "corder", "product", "log"] {
            let create =
                format!("CREATE TABLE {KS}.{table} (id int PRIMARY KEY, name varchar(100))");
            lab.write(100, &create).await.unwrap();
        }
        // A table may have triggers of its own.
        for statement in [
            format!(
                "CREATE TRIGGER {KS}.mine BEFORE INSERT ON {KS}.customer FOR EACH ROW \
                 REPLACE INTO {KS}.log VALUES (NEW.id, 'seen')"
            ),
            format!("INSERT INTO {KS}.customer VALUES (1, 'a'), (2, 'b')"),
            format!("INSERT INTO {KS}.corder VALUES (1, 'a'), (2, 'b')"),
        ] {
            lab.write(100, &statement).await.unwrap();
        }
        let tables =
            |seen: &std::collections::BTreeMap<String, vtplan_planner::live::ObservedTablet>| {
                let tables = seen[&alias(100).to_string()].tables.clone().unwrap();
                tables
                    .into_iter()
                    .map(|(name, t)| (name, t.definition))
                    .collect::<Vec<_>>()
            };
        let before = tables(&lab.observe(true).await);

        let error = call_set(&lab, set(100, 1, true)).await.unwrap_err();
        assert!(error.message().contains("prepared first"), "{error}");
        waits_for_tables_in_use(&lab).await;
        for look in [true, false, true] {
            let mut client = lab.client().await;
            let ask = |closed| PrepareFenceRequest {
                look,
                ..prepare(100, 1, closed)
            };
            let there = client.prepare_fence(ask(false)).await.unwrap();
            assert!(there.into_inner().done);
            if look {
                let other = client.prepare_fence(ask(true)).await.unwrap();
                assert!(!other.into_inner().done, "it is open, not closed");
            }
        }
        assert_open(&lab, 100, 3).await;
        assert_eq!(tables(&lab.observe(true).await), before);

        closing_waits_for_who_wrote_before(&lab).await;
        assert_closed(&lab, 100).await;

        // It outlives the server,
        kill(Pid::from_raw(lab.pid(100)), Signal::SIGKILL).unwrap();
        lab.wait("the server's end is not seen", |seen| {
            running(seen, 100).is_none()
        })
        .await;
        lab.wait_for_shard(100, 1, &[101]).await;
        assert_closed(&lab, 100).await;
        // and a failover: rows that the admin wrote came through replication.
        lab.put_shard(Some(101), 2).await;
        lab.wait_for_shard(101, 2, &[100]).await;
        assert_closed(&lab, 101).await;
        let streamed = format!("SELECT name FROM {KS}.customer WHERE id = 77");
        lab.wait_for_value(100, &streamed, "streamed").await;
        let error = call_set(&lab, set(100, 1, false)).await.unwrap_err();
        assert!(error.message().contains("not primary"), "{error}");
        let error = call_set(&lab, set(101, 1, false)).await.unwrap_err();
        assert!(error.message().contains("for term 2"), "{error}");

        call_set(&lab, set(101, 2, false)).await.unwrap();
        assert_open(&lab, 101, 5).await;
        call_set(&lab, set(101, 2, true)).await.unwrap();
        let remove = RemoveFenceRequest {
            alias: alias(101).to_string(),
            term: 2,
            keyspace: KS.to_owned(),
            workflow: WORKFLOW.to_owned(),
            timeout_ms: 60_000,
            decided: 0,
            look: false,
        };
        lab.write(101, &format!("DROP TABLE {KS}.corder"))
            .await
            .unwrap();
        for (look, done) in [(true, false), (false, true), (false, true), (true, true)] {
            let mut client = lab.client().await;
            let ask = RemoveFenceRequest {
                look,
                ..remove.clone()
            };
            let gone = client.remove_fence(ask).await.unwrap();
            assert_eq!(gone.into_inner().done, done);
        }
        let insert = format!("INSERT INTO {KS}.customer VALUES (6, 'free')");
        lab.write(101, &insert).await.unwrap();
        let left = "SELECT CAST(COUNT(*) AS CHAR) FROM information_schema.triggers \
                    WHERE trigger_name LIKE '\\_vt\\_%'";
        for uid in [101, 100] {
            lab.wait_for_value(uid, left, "0").await;
            // The row stays, open, against what was asked for before and comes late.
            let rows = "SELECT CAST(COUNT(*) AS CHAR) FROM _vt.fence WHERE closed = 1";
            lab.wait_for_value(uid, rows, "0").await;
        }
        lab.end().await;
    }
}

/// Triggers are made when a table's transactions have ended, and others go on meanwhile. A statement
/// that was prepared just before a trigger was there runs with it.
async fn waits_for_tables_in_use(lab: &Lab) {
    let mut open = begin(
        lab,
        100,
        &format!("INSERT INTO {KS}.customer VALUES (500, 'x')"),
    )
    .await;
    let mut client = lab.client().await;
    let short = PrepareFenceRequest {
        timeout_ms: 1,
        ..prepare(100, 1, false)
    };
    let error = client.prepare_fence(short).await.unwrap_err();
    assert!(error.message().contains("does not end"), "{error}");
    let preparing = tokio::spawn(async move { client.prepare_fence(prepare(100, 1, false)).await });
    lab.write(
        100,
        &format!("INSERT INTO {KS}.customer VALUES (501, 'through')"),
    )
    .await
    .unwrap();
    assert!(!preparing.is_finished());
    let making = "SELECT CAST(COUNT(*) > 0 AS CHAR) FROM information_schema.processlist \
                  WHERE info LIKE 'CREATE TRIGGER%'";
    lab.wait_for_value(100, making, "1").await;
    let mut other = lab.connect(100, Account::Gate).await;
    let insert = format!("INSERT INTO {KS}.customer VALUES (?, 'prepared')");
    let insert = other.prep(insert).await.unwrap();
    open.query_drop("COMMIT").await.unwrap();
    assert!(preparing.await.unwrap().unwrap().into_inner().done);
    for id in [510, 511] {
        other.exec_drop(&insert, (id,)).await.unwrap();
    }
    for conn in [open, other] {
        conn.disconnect().await.unwrap();
    }
}

async fn closing_waits_for_who_wrote_before(lab: &Lab) {
    // One that does not end in time: the fence stays open.
    let insert = format!("INSERT INTO {KS}.customer VALUES (600, 'before')");
    let mut open = begin(lab, 100, &insert).await;
    let short = SetFenceRequest {
        timeout_ms: 1000,
        ..set(100, 1, true)
    };
    let error = call_set(lab, short).await.unwrap_err();
    assert!(error.message().contains("not ended in time"), "{error}");
    assert_open(lab, 100, 4).await;

    let mut client = lab.client().await;
    let closing = tokio::spawn(async move { client.set_fence(set(100, 1, true)).await });
    wait_for_closing(lab, 100).await;
    assert!(!closing.is_finished());
    // It may write on, and what it writes counts.
    let more = format!("INSERT INTO {KS}.corder VALUES (600, 'before')");
    open.query_drop(more).await.unwrap();
    open.query_drop("COMMIT").await.unwrap();
    open.disconnect().await.unwrap();
    let position = closing.await.unwrap().unwrap().into_inner().position;
    let wait = WaitForPositionRequest {
        alias: alias(101).to_string(),
        position,
        timeout_ms: 60_000,
    };
    let mut client = lab.client().await;
    let waited = client.wait_for_position(wait).await.unwrap().into_inner();
    assert!(waited.reached);
    for table in ["customer", "corder"] {
        let query = format!("SELECT name FROM {KS}.{table} WHERE id = 600");
        assert_eq!(lab.read(101, &query).await, "before");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_takes_writes_of_the_gates_account_exactly_when_its_record_says_so() {
    for (flavor, mysqld) in flavors() {
        println!("on {flavor}");
        let mut lab = Lab::new(flavor, mysqld).await;
        shard_of_two(&mut lab).await;
        // A shard that does not serve is fenced from its beginning, and a whole shard all the same.
        lab.put_shard_as(Some(100), 1, false, false).await;
        lab.wait_for_fenced(100, 1, &[101]).await;
        let create = ExecuteSqlRequest {
            alias: alias(100).to_string(),
            term: 1,
            statements: vec!["CREATE TABLE t (id int PRIMARY KEY)".to_owned()],
            foreign_key_checks: true,
        };
        let mut client = lab.client().await;
        client.execute_sql(create).await.unwrap();
        assert_streams_alone_write(&lab, 100, 1).await;
        let health = lab.health().await;
        let primary = health.iter().find(|h| h.tablet_type == "primary").unwrap();
        assert!(primary.serving, "{primary:?}");

        lab.stop_agent().await;
        lab.start().await;
        lab.wait_for_fenced(100, 1, &[101]).await;
        assert_streams_alone_write(&lab, 100, 2).await;
        kill(Pid::from_raw(lab.pid(100)), Signal::SIGKILL).unwrap();
        lab.wait("the server's end is not seen", |seen| {
            running(seen, 100).is_none()
        })
        .await;
        lab.wait_for_fenced(100, 1, &[101]).await;
        assert_streams_alone_write(&lab, 100, 3).await;

        let error = call_set(&lab, set_shard(100, 1, false)).await.unwrap_err();
        assert!(error.message().contains("its record says"), "{error}");
        lab.put_shard_as(Some(100), 1, true, false).await;
        call_set(&lab, set_shard(100, 1, false)).await.unwrap();
        let insert = |id: u32| format!("INSERT INTO {KS}.t VALUES ({id})");
        lab.write(100, &insert(10)).await.unwrap();

        // What is open when it is fenced is never committed.
        let error = call_set(&lab, set_shard(100, 1, true)).await.unwrap_err();
        assert!(error.message().contains("its record says"), "{error}");
        let mut open = begin(&lab, 100, &insert(11)).await;
        lab.put_shard_as(Some(100), 1, true, true).await;
        let position = call_set(&lab, set_shard(100, 1, true)).await.unwrap();
        open.query_drop("COMMIT").await.unwrap_err();
        drop(open);
        assert_eq!(lab.read(100, "SELECT @@global.read_only").await, "1");
        let again = call_set(&lab, set_shard(100, 1, true)).await.unwrap();
        assert_eq!(position, again);
        assert_streams_alone_write(&lab, 100, 11).await;
        lab.wait_for_fenced(100, 1, &[101]).await;

        // A failover while fenced.
        lab.put_shard_as(Some(101), 2, true, true).await;
        lab.wait_for_fenced(101, 2, &[100]).await;
        assert_streams_alone_write(&lab, 101, 12).await;
        lab.put_shard_as(Some(101), 2, true, false).await;
        call_set(&lab, set_shard(101, 2, false)).await.unwrap();
        lab.write(101, &insert(13)).await.unwrap();
        let seen = lab.observe(false).await;
        let server = running(&seen, 101).unwrap();
        assert_eq!(server.role, ObservedRole::Primary { term: 2 });
        lab.end().await;
    }
}

/// The gates' account does not write, the admin does, and a replica gets it.
async fn assert_streams_alone_write(lab: &Lab, uid: u32, id: u32) {
    let insert = format!("INSERT INTO {KS}.t VALUES ({id})");
    let error = lab.write(uid, &insert).await.unwrap_err().to_string();
    assert!(error.contains("read-only"), "{error}");
    let mut admin = lab.connect(uid, Account::Admin).await;
    admin.query_drop(insert).await.unwrap();
    admin.disconnect().await.unwrap();
    let replica = if uid == 100 { 101 } else { 100 };
    let query = format!("SELECT CAST(COUNT(*) AS CHAR) FROM {KS}.t WHERE id = {id}");
    lab.wait_for_value(replica, &query, "1").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_primary_that_is_held_for_a_reparent_takes_no_writes_of_streams_either() {
    for (flavor, mysqld) in flavors() {
        println!("on {flavor}");
        let mut lab = Lab::new(flavor, mysqld).await;
        shard_of_two(&mut lab).await;
        lab.put_shard(Some(100), 1).await;
        lab.wait_for_shard(100, 1, &[101]).await;
        let create = format!("CREATE TABLE {KS}.t (id int PRIMARY KEY)");
        lab.write(100, &create).await.unwrap();
        let hold = SetReadOnlyRequest {
            alias: alias(100).to_string(),
            term: 1,
            read_only: true,
            hold_ms: 60_000,
        };
        let mut client = lab.client().await;
        let held = client.set_read_only(hold).await.unwrap();
        let mut stream = lab.connect(100, Account::Admin).await;
        let insert = format!("INSERT INTO {KS}.t VALUES (1)");
        let write = tokio::spawn(async move { stream.query_drop(insert).await });
        let wait = WaitForPositionRequest {
            alias: alias(101).to_string(),
            position: held.into_inner().position,
            timeout_ms: 60_000,
        };
        let waited = client.wait_for_position(wait).await.unwrap().into_inner();
        assert!(waited.reached);
        lab.put_shard(Some(101), 2).await;
        lab.wait_for_shard(101, 2, &[100]).await;
        write.await.unwrap().unwrap_err();
        lab.write(101, &format!("INSERT INTO {KS}.t VALUES (2)"))
            .await
            .unwrap();
        for uid in [100, 101] {
            let query = format!("SELECT CAST(COALESCE(SUM(id), 0) AS CHAR) FROM {KS}.t");
            lab.wait_for_value(uid, &query, "2").await;
        }

        // One that is not moved after all lets streams write again.
        let hold = SetReadOnlyRequest {
            alias: alias(101).to_string(),
            term: 2,
            read_only: true,
            hold_ms: 60_000,
        };
        client.set_read_only(hold.clone()).await.unwrap();
        let release = SetReadOnlyRequest {
            read_only: false,
            ..hold
        };
        client.set_read_only(release).await.unwrap();
        lab.wait_for_shard(101, 2, &[100]).await;
        let mut stream = lab.connect(101, Account::Admin).await;
        let insert = format!("INSERT INTO {KS}.t VALUES (3)");
        stream.query_drop(insert).await.unwrap();
        lab.end().await;
    }
}
