//! One shard of three tablets on one host, on real servers: from records to replication, through
//! every kind of end of an agent or a server.

mod common;

use std::time::Duration;

use common::{Lab, alias, down_message, flavors, free_port, keyspace, mariadb, running};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use vtplan_agent::proto::v1::{
    CanonicalizeRequest, ExecuteSqlRequest, SetReadOnlyRequest, WaitForPositionRequest,
};
use vtplan_planner::live::ObservedRole;
use vtplan_state::export::{Export, Mode, restore};
use vtplan_state::model::{Durability, TabletType};
use vtplan_state::store::Op;

const KS: &str = "my_commerce";

async fn shard_of_three(lab: &mut Lab) {
    lab.start().await;
    lab.put_keyspace(Durability::SemiSync).await;
    lab.put_shard(None, 0).await;
    for (uid, kind) in [
        (100, TabletType::Replica),
        (101, TabletType::Replica),
        (102, TabletType::Rdonly),
    ] {
        let tablet = lab.tablet(uid, kind);
        lab.put_tablet(&tablet).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_shard_follows_its_records() {
    for (flavor, mysqld) in flavors() {
        println!("on {flavor}");
        let mut lab = Lab::new(flavor, mysqld).await;
        shard_of_three(&mut lab).await;
        lab.wait("the servers are not up", |seen| {
            [100, 101, 102].iter().all(|uid| {
                running(seen, *uid).is_some_and(|s| s.read_only && s.role == ObservedRole::Idle)
            })
        })
        .await;

        // The first primary: its database comes to be although no replica is attached yet.
        lab.put_shard(Some(100), 1).await;
        lab.wait_for_shard(100, 1, &[101, 102]).await;
        let seen = lab.observe(false).await;
        assert!(running(&seen, 100).unwrap().semi_sync);
        assert!(running(&seen, 101).unwrap().semi_sync);
        assert!(
            !running(&seen, 102).unwrap().semi_sync,
            "rdonly acknowledges"
        );

        // The gate's account writes on the primary, and on no replica.
        let create = format!("CREATE TABLE {KS}.t (id int PRIMARY KEY, v varchar(10))");
        lab.write(100, &create).await.unwrap();
        lab.write(100, &format!("INSERT INTO {KS}.t VALUES (1, 'a')"))
            .await
            .unwrap();
        for uid in [101, 102] {
            let query = format!("SELECT v FROM {KS}.t WHERE id = 1");
            lab.wait_for_value(uid, &query, "a").await;
            let refused = lab
                .write(uid, &format!("INSERT INTO {KS}.t VALUES (2, 'b')"))
                .await;
            assert!(refused.unwrap_err().to_string().contains("read-only"));
        }
        for elsewhere in [
            "CREATE TABLE mysql.t (id int)",
            "CREATE DATABASE other",
            // In a grant `_` would stand for any character.
            "CREATE DATABASE myXcommerce",
            "SET GLOBAL read_only = OFF",
        ] {
            lab.write(100, elsewhere).await.unwrap_err();
        }

        agent_restarts(&mut lab).await;
        servers_die(&lab).await;
        primary_moves(&lab).await;
        tables_and_statements(&lab).await;
        tablet_is_removed(&lab).await;
        lab.end().await;
    }
}

/// An agent that comes back finds its servers as they were.
async fn agent_restarts(lab: &mut Lab) {
    let pids = [100, 101, 102].map(|uid| lab.pid(uid));
    lab.stop_agent().await;
    lab.write(100, &format!("INSERT INTO {KS}.t VALUES (3, 'c')"))
        .await
        .unwrap();
    lab.start().await;
    lab.wait_for_shard(100, 1, &[101, 102]).await;
    assert_eq!([100, 101, 102].map(|uid| lab.pid(uid)), pids);
}

async fn servers_die(lab: &Lab) {
    for uid in [101, 100] {
        let pid = lab.pid(uid);
        kill(Pid::from_raw(pid), Signal::SIGKILL).unwrap();
        lab.wait("the server's end is not seen", |seen| {
            running(seen, uid).is_none()
        })
        .await;
        lab.wait_for_shard(100, 1, &[101, 102]).await;
        assert_ne!(lab.pid(uid), pid);
        let insert = format!("INSERT INTO {KS}.t VALUES ({}, 'd')", uid);
        lab.write(100, &insert).await.unwrap();
        let query = format!("SELECT v FROM {KS}.t WHERE id = {uid}");
        lab.wait_for_value(101, &query, "d").await;
    }
}

/// A planned reparent, and back.
async fn primary_moves(lab: &Lab) {
    let mut client = lab.client().await;
    for (from, to, term) in [(100, 101, 1), (101, 100, 2)] {
        let hold = SetReadOnlyRequest {
            alias: alias(from).to_string(),
            term,
            read_only: true,
            hold_ms: 60_000,
        };
        let position = client.set_read_only(hold.clone()).await.unwrap();
        let position = position.into_inner().position;
        let insert = format!("INSERT INTO {KS}.t VALUES ({}, 'e')", 10 + term);
        let refused = lab.write(from, &insert).await.unwrap_err().to_string();
        assert!(refused.contains("read-only"), "{refused}");
        let wait = WaitForPositionRequest {
            alias: alias(to).to_string(),
            position,
            timeout_ms: 60_000,
        };
        let waited = client.wait_for_position(wait).await.unwrap().into_inner();
        assert!(waited.reached, "{waited:?}");
        lab.put_shard(Some(to), term + 1).await;
        lab.wait_for_shard(to, term + 1, &[from, 102]).await;
        lab.write(to, &insert).await.unwrap();
        let query = format!("SELECT v FROM {KS}.t WHERE id = {}", 10 + term);
        lab.wait_for_value(from, &query, "e").await;
        lab.wait_for_value(102, &query, "e").await;

        // Whoever still acts for the old term is refused.
        let error = client.set_read_only(hold).await.unwrap_err();
        assert!(error.message().contains("not primary for term"), "{error}");
    }

    // A hold that nobody follows up ends by itself.
    let hold = SetReadOnlyRequest {
        alias: alias(100).to_string(),
        term: 3,
        read_only: true,
        hold_ms: 1,
    };
    client.set_read_only(hold).await.unwrap();
    lab.wait_for_shard(100, 3, &[101, 102]).await;
    // An old record does not bring an old primary back.
    lab.put_shard(Some(101), 1).await;
    tokio::time::sleep(Duration::from_millis(300)).await;
    let seen = lab.observe(false).await;
    assert!(running(&seen, 101).unwrap().read_only);
    lab.put_shard(Some(100), 3).await;
    lab.wait_for_shard(100, 3, &[101, 102]).await;
}

async fn tables_and_statements(lab: &Lab) {
    let mut client = lab.client().await;
    let execute = |term: u64, statement: &str| ExecuteSqlRequest {
        alias: alias(100).to_string(),
        term,
        statements: vec![statement.to_owned()],
        foreign_key_checks: true,
    };
    let create = "CREATE TABLE seq (id int PRIMARY KEY, next_id bigint, cache bigint) COMMENT 'vitess_sequence'";
    let refused = client.execute_sql(execute(2, create)).await.unwrap_err();
    assert!(refused.message().contains("term 2"), "{refused}");
    client.execute_sql(execute(3, create)).await.unwrap();
    let several = client
        .execute_sql(execute(3, "DELETE FROM seq; DELETE FROM seq"))
        .await;
    several.unwrap_err();

    let sequence = |seen: &std::collections::BTreeMap<_, vtplan_planner::live::ObservedTablet>| {
        let tables = seen[&alias(100).to_string()].tables.clone().unwrap();
        assert_eq!(
            tables.keys().map(|t| t.as_str()).collect::<Vec<_>>(),
            ["seq", "t"]
        );
        tables["seq"].sequence_ready
    };
    let seen = lab.observe(true).await;
    assert_eq!(sequence(&seen), Some(false));
    assert!(seen[&alias(101).to_string()].tables.is_none());
    let insert = "INSERT INTO seq VALUES (0, 1, 1000)";
    let done = client.execute_sql(execute(3, insert)).await.unwrap();
    assert_eq!(done.into_inner().affected_rows, 1);
    assert_eq!(sequence(&lab.observe(true).await), Some(true));

    // A replica can be asked what a server makes of statements, and nothing stays of it.
    for uid in [100, 101] {
        let request = CanonicalizeRequest {
            alias: alias(uid).to_string(),
            statements: vec![
                "create table b (id int primary key auto_increment, a_id int, foreign key (a_id) references a (id)) auto_increment=7".to_owned(),
                "create table a (id int primary key)".to_owned(),
                "create table c (id nonsense)".to_owned(),
                format!("create table {KS}.d (id int)"),
            ],
        };
        let shown = client.canonicalize(request).await.unwrap().into_inner();
        let [b, a, c, d] = shown.tables.as_slice() else {
            panic!("{shown:?}");
        };
        assert!(b.definition.contains("REFERENCES `a` (`id`)"), "{b:?}");
        assert!(!b.definition.contains("=7"), "{b:?}");
        assert!(a.definition.starts_with("CREATE TABLE `a` ("), "{a:?}");
        assert!(c.error.contains("nonsense"), "{c:?}");
        assert!(d.error.contains("without a database"), "{d:?}");
        let left = lab
            .read(
                uid,
                "SELECT COUNT(*) FROM information_schema.schemata WHERE schema_name LIKE '\\_vt\\_scratch%'",
            )
            .await;
        assert_eq!(left, "0");
    }
    lab.wait_for_shard(100, 3, &[101, 102]).await;
    let seen = lab.observe(false).await;
    let (primary, replica) = (running(&seen, 100).unwrap(), running(&seen, 101).unwrap());
    lab.wait("the replica has what the primary has not", |seen| {
        running(seen, 100).unwrap().position == running(seen, 101).unwrap().position
    })
    .await;
    assert!(primary.semi_sync && replica.semi_sync);
    // Administrators are bound again where the flavor can.
    if lab.flavor == vtplan_state::model::FlavorKind::MySql {
        assert_eq!(lab.read(101, "SELECT @@global.super_read_only").await, "1");
    }
}

async fn tablet_is_removed(lab: &Lab) {
    let pid = lab.pid(102);
    let key = lab.cluster.keys().tablet(&alias(102));
    lab.put(vec![Op::delete(key)]).await;
    lab.wait("the tablet is still there", |seen| {
        !seen.contains_key(&alias(102).to_string())
    })
    .await;
    assert!(!lab.tablet_dir(102).exists());
    assert!(!std::path::Path::new(&format!("/proc/{pid}")).exists());

    // A tablet that comes later gets all rows there are.
    let tablet = lab.tablet(103, TabletType::Replica);
    lab.put_tablet(&tablet).await;
    lab.wait_for_shard(100, 3, &[101, 103]).await;
    let count = format!("SELECT CAST(COUNT(*) AS CHAR) FROM {KS}.t");
    lab.wait_for_value(103, &count, "6").await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_come_up_says_why() {
    for (flavor, mysqld) in flavors() {
        println!("on {flavor}");
        let mut lab = Lab::new(flavor, mysqld).await;
        lab.config
            .server
            .extra
            .insert("no_such_option".to_owned(), "1".to_owned());
        lab.start().await;
        lab.put_tablet(&lab.tablet(100, TabletType::Replica)).await;
        lab.wait("the error log is not shown", |seen| {
            down_message(seen, 100).is_some_and(|m| {
                m.contains("exit code") && m.contains("no_such_option") && m.contains("error.log")
            })
        })
        .await;
        // The next agent has a better configuration, and the port is somebody else's.
        lab.stop_agent().await;
        lab.config.server.extra.clear();
        let mut tablet = lab.tablet(100, TabletType::Replica);
        let squatter = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        tablet.mysql_port = squatter.local_addr().unwrap().port();
        lab.put_tablet(&tablet).await;
        lab.start().await;
        let port = format!("port {}", tablet.mysql_port);
        lab.wait("the port is not named", |seen| {
            down_message(seen, 100).is_some_and(|m| m.contains(&port) && m.contains("taken"))
        })
        .await;
        assert!(lab.health().await[0].error.contains(&port));
        drop(squatter);
        lab.wait("the server does not start when the port is free", |seen| {
            running(seen, 100).is_some()
        })
        .await;
        lab.end().await;
    }
}

/// Whatever else lies in the tablets' folder stays.
#[tokio::test(flavor = "multi_thread")]
async fn a_folder_that_is_not_provably_dropped_stays() {
    let (flavor, mysqld) = mariadb();
    let mut lab = Lab::new(flavor, mysqld).await;
    lab.start().await;
    lab.put_tablet(&lab.tablet(100, TabletType::Replica)).await;
    lab.wait("the server is not up", |seen| running(seen, 100).is_some())
        .await;
    lab.stop_agent().await;
    // One without a marker, one of another cluster, and one that was half made.
    let unmarked = lab.tablet_dir(7);
    std::fs::create_dir(&unmarked).unwrap();
    let foreign = lab.tablet_dir(8);
    std::fs::create_dir(&foreign).unwrap();
    let marker = std::fs::read_to_string(lab.tablet_dir(100).join("tablet.json")).unwrap();
    let marker = marker
        .replace("\"cluster_created_at\": ", "\"cluster_created_at\": 1")
        .replace("0000000100", "0000000008");
    std::fs::write(foreign.join("tablet.json"), marker).unwrap();
    let half = lab.tablet_dir(9).with_extension("tmp");
    std::fs::create_dir(&half).unwrap();
    // Dropped while no agent ran.
    let key = lab.cluster.keys().tablet(&alias(100));
    lab.put(vec![Op::delete(key)]).await;
    lab.start().await;
    let give_up = std::time::Instant::now() + Duration::from_secs(120);
    while lab.tablet_dir(100).exists() {
        assert!(std::time::Instant::now() < give_up, "it is not removed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(unmarked.exists() && foreign.exists() && !half.exists());

    // An emptied store drops nothing, nor does a copy that is older than the tablet.
    let copy = Export::take(&lab.cluster).await.unwrap().unwrap();
    lab.put_tablet(&lab.tablet(101, TabletType::Replica)).await;
    lab.wait("the server is not up", |seen| running(seen, 101).is_some())
        .await;
    let prefix = lab.cluster.keys().prefix().to_owned();
    lab.put(vec![Op::DeletePrefix { prefix }]).await;
    tokio::time::sleep(Duration::from_millis(500)).await;
    let seen = lab.observe(false).await;
    assert!(running(&seen, 101).is_some(), "{seen:?}");
    assert!(lab.tablet_dir(101).exists());
    restore(&lab.store, &copy, Mode::IntoEmpty, "me@here")
        .await
        .unwrap();
    lab.put_tablet(&lab.tablet(102, TabletType::Replica)).await;
    lab.wait("the records are not followed", |seen| {
        running(seen, 102).is_some()
    })
    .await;
    let seen = lab.observe(false).await;
    assert!(running(&seen, 101).is_some(), "{seen:?}");
    // Once the records have had it, that it is gone from them means what it says.
    lab.put_tablet(&lab.tablet(101, TabletType::Replica)).await;
    let noted = || {
        let marker = std::fs::read_to_string(lab.tablet_dir(101).join("tablet.json"));
        let marker: serde_json::Value = serde_json::from_str(&marker.unwrap()).unwrap();
        marker["generation"].as_u64() > Some(0)
    };
    let give_up = std::time::Instant::now() + Duration::from_secs(120);
    while !noted() {
        assert!(std::time::Instant::now() < give_up, "it is not noted");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let key = lab.cluster.keys().tablet(&alias(101));
    lab.put(vec![Op::delete(key)]).await;
    while lab.tablet_dir(101).exists() {
        assert!(std::time::Instant::now() < give_up, "it is not removed");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_second_agent_on_one_data_folder_is_refused() {
    let (flavor, mysqld) = mariadb();
    let mut lab = Lab::new(flavor, mysqld).await;
    lab.start().await;
    let error = vtplan_agent::Agent::start(lab.config.clone(), lab.store.clone())
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("another agent"), "{error}");
    let mut other = lab.config.clone();
    other.data_dir = other.data_dir.with_extension("2");
    other.listen = lab.agent.as_ref().unwrap().record().agent_url["http://".len()..]
        .parse()
        .unwrap();
    let error = vtplan_agent::Agent::start(other.clone(), lab.store.clone())
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(error.contains("cannot listen on"), "{error}");
    other.listen.set_port(free_port());
    other.cluster = "tset".to_owned();
    let error = vtplan_agent::Agent::start(other, lab.store.clone())
        .await
        .err()
        .unwrap()
        .to_string();
    assert!(
        error.contains("`tset`") && error.contains("`test`"),
        "{error}"
    );
    assert_eq!(keyspace().as_str(), KS);
    lab.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_without_the_clusters_token_is_refused() {
    use vtplan_agent::client::ShowToken;
    use vtplan_agent::proto::v1::agent_client::AgentClient;
    use vtplan_agent::proto::v1::{ExecuteSqlRequest, ObserveRequest};

    let (flavor, mysqld) = mariadb();
    let mut lab = Lab::new(flavor, mysqld).await;
    lab.start().await;
    let channel = lab.channel().await;
    let refused = |status: tonic::Status| {
        assert_eq!(status.code(), tonic::Code::Unauthenticated, "{status}");
        assert!(status.message().contains("token"), "{status}");
    };
    let mut without = AgentClient::new(channel.clone());
    refused(
        without
            .observe(ObserveRequest::default())
            .await
            .unwrap_err(),
    );
    let guess = ShowToken("guess".into());
    let mut wrong = AgentClient::with_interceptor(channel, guess);
    refused(
        wrong
            .execute_sql(ExecuteSqlRequest::default())
            .await
            .unwrap_err(),
    );
    lab.client()
        .await
        .observe(ObserveRequest::default())
        .await
        .unwrap();
    lab.end().await;
}
