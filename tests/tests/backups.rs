//! Backups of real servers, under writes: what is in one is exactly what its position says, damage is
//! found, servers start on them, schedules fire, what is overdue is told, and nothing that is killed
//! leaves anything in the way.

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::io::{Seek as _, SeekFrom, Write as _};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use mysql_async::{Conn, OptsBuilder, Pool};
use serde_json::Value;
use tokio::task::JoinHandle;
use vtplan_state::model::{BackupRecord, BackupState};
use vtplan_state::store::{Op, Txn};
use vtplan_tests::inside::Inside;
use vtplan_tests::lab::{Lab, PATIENCE};
use vtplan_tests::process::Proc;
use vtplan_tests::servers::Server;

const CLIENTS: i64 = 4;
const HOSTS: [&str; 2] = ["host1", "host2"];

fn spec(replicas: u32, backups: &str) -> String {
    format!(
        r#"
vtplan: 1
cluster: shop
cells: [zone1]
keyspaces:
  commerce:
    tablets: {{ zone1: {{ replica: {replicas} }} }}
    schema: {{ sql: "CREATE TABLE ledger (id bigint PRIMARY KEY, pad varchar(200));" }}
gates: {{ zone1: {{ count: 1, mysql_port: 15306 }} }}
users: {{ app: {{ password_env: VTPLAN_APP_PASSWORD }} }}
backups: {backups}
"#
    )
}

/// Clients that insert a row a transaction, each the next of its own numbers. A number of transactions
/// is therefore one of rows.
struct Ledger {
    stop: Arc<AtomicBool>,
    clients: Vec<JoinHandle<Vec<i64>>>,
}

impl Ledger {
    fn start(pool: &Pool) -> Ledger {
        let stop = Arc::new(AtomicBool::new(false));
        let clients = (0..CLIENTS).map(|client| {
            let (pool, stop) = (pool.clone(), stop.clone());
            tokio::spawn(async move {
                let mut conn = pool.get_conn().await.expect("the gate");
                let mut acknowledged = Vec::new();
                while !stop.load(Ordering::Relaxed) {
                    let id = acknowledged.len() as i64 * CLIENTS + client;
                    let insert = "INSERT INTO ledger VALUES (?, REPEAT('x', 200))";
                    conn.exec_drop(insert, (id,)).await.expect("a row");
                    acknowledged.push(id);
                    tokio::time::sleep(Duration::from_millis(2)).await;
                }
                acknowledged
            })
        });
        Ledger {
            clients: clients.collect(),
            stop,
        }
    }

    async fn end(self) -> BTreeSet<i64> {
        self.stop.store(true, Ordering::Relaxed);
        let mut all = BTreeSet::new();
        for client in self.clients {
            all.extend(client.await.expect("a client"));
        }
        all
    }
}

/// How many transactions a position of a cluster that had one primary has: its last number.
fn transactions(position: &str) -> i64 {
    let number = position.rsplit(['-', ':']).next().expect("a position");
    number.parse().unwrap_or_else(|e| panic!("{position}: {e}"))
}

/// Asserts that rows are what so many transactions of the clients have written: of each client the first.
fn check_prefixes(rows: &BTreeSet<i64>, count: i64, acknowledged: &BTreeSet<i64>) {
    assert_eq!(
        rows.len() as i64,
        count,
        "exactly as many rows as the position says"
    );
    let mut of_client: BTreeMap<i64, Vec<i64>> = BTreeMap::new();
    for id in rows {
        assert!(acknowledged.contains(id), "{id} was never acknowledged");
        of_client
            .entry(id % CLIENTS)
            .or_default()
            .push(id / CLIENTS);
    }
    for (client, ids) in of_client {
        let all: Vec<i64> = (0..ids.len() as i64).collect();
        assert_eq!(ids, all, "client {client} has gaps");
    }
}

async fn rows(conn: &mut Conn) -> BTreeSet<i64> {
    let rows: Vec<i64> = (conn.query("SELECT id FROM commerce.ledger").await).expect("rows");
    rows.into_iter().collect()
}

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|e| panic!("{e}\n{text}"))
}

/// Takes a backup by hand.
fn take(lab: &Lab) -> BackupRecord {
    let output = lab
        .run(&["backup", "run", "commerce", "--format", "json"])
        .expect(0);
    let backup = json(&output.stdout)["backups"][0].clone();
    serde_json::from_value(backup).expect("a backup's record")
}

fn list(lab: &Lab) -> Vec<BackupRecord> {
    let output = lab.run(&["backup", "list", "--format", "json"]).expect(0);
    serde_json::from_value(json(&output.stdout)["backups"].clone()).expect("records")
}

/// What drift finds about backups.
fn overdue(lab: &Lab, spec: &str) -> Option<Value> {
    let output = lab.run(&["drift", spec, "--format", "json"]);
    let report = json(&output.stdout);
    let findings = report["findings"].as_array().expect("findings");
    let others = findings.iter().filter(|f| f["kind"] != "backup-overdue");
    assert_eq!(others.count(), 0, "{report:#}");
    findings.first().cloned()
}

fn folder_of(root: &Path, backup: &BackupRecord) -> PathBuf {
    root.join("shop/commerce/0").join(&backup.id)
}

/// The command that makes a data folder of a backup.
fn extract<'a>(server: &'a Server, backup: &'a BackupRecord, dir: &'a str) -> Vec<&'a str> {
    let mut args = vec!["backup", "extract", &backup.id, dir, "--format", "json"];
    if let Some(mysqld) = server.mysqld() {
        args.extend(["--mysqld", mysqld.to_str().expect("a path")]);
    }
    args
}

/// Starts the server that `backup extract` says how to start, and reads what it has.
async fn extracted(lab: &Lab, server: &Server, backup: &BackupRecord) -> BTreeSet<i64> {
    let dir = lab.dir().join("extracted");
    let dir = dir.to_str().expect("a path");
    let made = json(&lab.run(&extract(server, backup, dir)).expect(0).stdout);
    assert_eq!(made["position"], backup.position);
    let start = made["start"].as_str().expect("a command");
    let (program, options) = start.split_once(' ').expect("options");
    let program = match server {
        Server::MariaDb => program,
        Server::MySql(path) => path.to_str().expect("a path"),
    };
    let mut command = Command::new("sh");
    command.args(["-c", &format!("exec {program} {options}")]);
    let mut proc = Proc::start("extracted", command, &lab.dir().join("logs"));
    let socket = OptsBuilder::default()
        .socket(Some(format!("{dir}/mysqld.sock")))
        .user(Some("root"));
    let end = Instant::now() + PATIENCE;
    let mut conn = loop {
        match Conn::new(socket.clone()).await {
            Ok(conn) => break conn,
            Err(error) => assert!(Instant::now() < end, "{error}\n{}", proc.log()),
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    };
    let rows = rows(&mut conn).await;
    let _ = conn.disconnect().await;
    proc.terminate();
    fs::remove_dir_all(dir).expect("the extracted folder");
    rows
}

/// Changes one byte in the middle of a file.
fn damage(path: &Path) {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .open(path)
        .expect("a file");
    let middle = file.metadata().expect("its size").len() / 2;
    file.seek(SeekFrom::Start(middle)).expect("its middle");
    file.write_all(b"!").expect("a byte");
}

/// Makes the schedules ones that always were.
async fn always(inside: &Inside) {
    let records = inside.records().await;
    let mut policy = records.backup_policy.expect("a policy");
    for schedule in &mut policy.schedules {
        schedule.since = 0;
    }
    let key = inside.cluster.keys().backup_policy();
    put(inside, Op::put(key, &policy)).await;
}

/// Makes a backup one that was taken before the schedule has fired last.
async fn of_long_ago(inside: &Inside, backup: &BackupRecord) {
    let mut backup = backup.clone();
    backup.begun_at = Some(86_400);
    let keys = inside.cluster.keys();
    let key = keys.backup(&backup.keyspace, &backup.shard, &backup.id);
    put(inside, Op::put(key, &backup)).await;
}

async fn put(inside: &Inside, op: Op) {
    let done = inside.cluster.store().txn(Txn::new().then(op)).await;
    done.expect("the store").committed().expect("written");
}

/// The backup that a schedule has had taken, but for those that are known, when it has ended.
fn fired(lab: &mut Lab, known: &[&str]) -> BackupRecord {
    lab.until("the schedule has fired", |lab| {
        let mut all = list(lab).into_iter();
        all.find(|b| b.requested_by.is_none() && !b.is_open() && !known.contains(&b.id.as_str()))
    })
}

async fn backups_are_taken_kept_verified_and_used(server: Server) {
    let mut lab = Lab::new("shop", server.clone());
    let root = lab.dir().join("backups");
    let failpoints = lab.dir().join("failpoints");
    let kill = failpoints.display().to_string();
    let with_failpoints = [("VTPLAN_FAILPOINTS_FILE", kill.as_str())];
    let to_root = format!("{{ location: \"file://{}\" }}", root.display());
    let path = lab.write("shop.yaml", &spec(2, &to_root));
    for host in HOSTS {
        lab.start_agent_with(host, "zone1", &with_failpoints);
    }
    lab.run(&["apply", &path, "--auto-approve"]).expect(0);
    lab.start_gate("zone1");
    let inside = Inside::open(&lab, "shop").await;
    let primary = inside.primary("commerce", "0").await;
    let mut on_primary = inside.connect(&primary).await;
    let query = match &server {
        Server::MariaDb => "SELECT @@global.gtid_current_pos",
        Server::MySql(_) => "SELECT @@global.gtid_executed",
    };
    let position: Option<String> = on_primary.query_first(query).await.expect("a position");
    let base = transactions(&position.expect("a position"));
    lab.until("the gate is registered", |lab| {
        let status = lab.run(&["drift", &path]);
        (status.code == 0).then_some(())
    });

    // By hand, of the replica, while rows are written.
    let pool = lab.client("zone1", "commerce");
    let ledger = Ledger::start(&pool);
    tokio::time::sleep(Duration::from_millis(500)).await;
    let first = take(&lab);
    assert_eq!(first.state, BackupState::Complete);
    assert_ne!(first.tablet.as_ref(), Some(&primary.alias));
    assert_eq!(list(&lab), std::slice::from_ref(&first));
    let verified = lab.run(&["backup", "verify", &first.id]).expect(0);
    assert!(verified.stdout.contains("is whole"), "{}", verified.stdout);

    // An agent that is killed while it takes one leaves nothing, and its servers go on.
    fs::write(&failpoints, "backup.copying=kill").expect("the failpoint");
    let servers = lab.mysqld_pids();
    let detached = [
        "backup",
        "run",
        "commerce/0",
        "--detach",
        "--format",
        "json",
    ];
    lab.run(&detached).expect(0);
    let killed = lab.until("the agent has killed itself", |lab| {
        let mut agents = lab.agents.iter_mut();
        agents.find_map(|(name, agent)| (!agent.is_alive()).then(|| name.clone()))
    });
    assert_eq!(
        first.host.as_ref().map(|h| h.as_str()),
        Some(killed.as_str())
    );
    let left = fs::read_dir(root.join("shop/commerce/0")).expect("the shard's backups");
    assert_eq!(left.count(), 2, "one backup, and what was begun");
    // The other host's agent ends it.
    let failed = lab.until("what was begun has failed", |lab| {
        let ended = list(lab).pop().expect("the second");
        (ended.state == BackupState::Failed).then_some(ended)
    });
    let ended = format!("the agent of host {killed} ended");
    assert!(failed.reason.contains(&ended), "{failed:?}");
    lab.run(&["backup", "remove", &failed.id]).expect(0);
    lab.start_agent_with(&killed, "zone1", &with_failpoints);
    let second = take(&lab);
    let left = fs::read_dir(root.join("shop/commerce/0")).expect("the shard's backups");
    assert_eq!(
        left.count(),
        2,
        "two backups, and nothing of what was begun"
    );
    assert_eq!(lab.mysqld_pids(), servers);
    let acknowledged = ledger.end().await;

    // What is in a backup is what its position says.
    for backup in [&first, &second] {
        let rows = extracted(&lab, &server, backup).await;
        check_prefixes(&rows, transactions(&backup.position) - base, &acknowledged);
    }

    // A damaged file is named, and the backup is no longer one.
    let file = folder_of(&root, &first).join("data/ibdata1");
    damage(&file);
    let found = lab.run(&["backup", "verify", &first.id]).expect(1);
    assert!(
        found.stdout.contains("ibdata1: its SHA-256"),
        "{}",
        found.stdout
    );
    let dir = lab.dir().join("never");
    let dir = dir.to_str().expect("a path");
    let refused = lab.run(&extract(&server, &first, dir)).expect(1);
    assert!(refused.stderr.contains("ibdata1"), "{}", refused.stderr);
    assert!(!Path::new(dir).exists());
    lab.run(&["backup", "remove", &first.id]).expect(0);
    assert!(!folder_of(&root, &first).exists());
    let refused = lab.run(&["backup", "remove", &second.id]).expect(1);
    assert!(
        refused.stderr.contains("the last good one"),
        "{}",
        refused.stderr
    );

    // A schedule, to where nothing can be written.
    let blocked = lab.write("blocked", "no folder");
    let schedules = "schedules: [{ cron: \"@yearly\", keep: { last: 1 } }]";
    let to_blocked = format!("{{ location: \"file://{blocked}\", {schedules} }}");
    fs::write(&path, spec(3, &to_blocked)).expect("the spec");

    // A new replica starts from the backup, and goes on from its position.
    lab.run(&["apply", &path, "--auto-approve"]).expect(0);
    let logs: String = lab.agents.values().map(Proc::log).collect();
    assert!(logs.contains("goes on from the backup"), "{logs}");
    for replica in inside.replicas("commerce", "0").await {
        let mut conn = inside.connect(&replica).await;
        let end = Instant::now() + PATIENCE;
        while rows(&mut conn).await != acknowledged {
            assert!(Instant::now() < end, "{} has other rows", replica.alias);
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    // What it would have fired before it was there is not missing. As one that always was, it is made up
    // for, and fails; drift says so, and a backup by hand mends it.
    assert_eq!(overdue(&lab, &path), None);
    lab.run(&["backup", "remove", &second.id, "--force"])
        .expect(0);
    assert_eq!(overdue(&lab, &path), None);
    always(&inside).await;
    let failed = fired(&mut lab, &[]);
    assert_eq!(failed.state, BackupState::Failed, "{failed:?}");
    let finding = overdue(&lab, &path).expect("a finding");
    assert_eq!(finding["object"], "commerce/0");
    assert_eq!(finding["mend"], "vtplan backup run commerce/0");
    let found = finding["found"].as_str().expect("a text");
    assert!(
        found.contains(&failed.id) && found.contains("none that is good"),
        "{found}"
    );
    fs::remove_file(&blocked).expect("what was in the way");
    let third = take(&lab);
    assert_eq!(overdue(&lab, &path), None);

    // Each firing has one backup, and the schedule keeps the last one.
    lab.run(&["backup", "remove", &third.id, "--force"])
        .expect(0);
    lab.run(&["backup", "remove", &failed.id]).expect(0);
    let older = fired(&mut lab, &[]);
    assert!(older.is_good(), "{older:?}");
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(list(&lab), std::slice::from_ref(&older));
    of_long_ago(&inside, &older).await;
    let newer = fired(&mut lab, &[&older.id]);
    assert!(newer.is_good(), "{newer:?}");
    lab.until("the older one is gone", |lab| {
        (list(lab) == std::slice::from_ref(&newer)).then_some(())
    });
    let blocked = Path::new(&blocked);
    assert!(folder_of(blocked, &newer).exists() && !folder_of(blocked, &older).exists());
    let exported = lab.run(&["state", "export"]).expect(0).stdout;
    assert!(
        exported.contains("\"backup-policy\""),
        "the records have it"
    );
    assert!(exported.contains(&newer.id));
    pool.disconnect().await.expect("the gate");
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_are_taken_kept_verified_and_used_on_mariadb() {
    backups_are_taken_kept_verified_and_used(Server::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_are_taken_kept_verified_and_used_on_mysql() {
    let Some(server) = Server::mysql("backups_are_taken_kept_verified_and_used_on_mysql") else {
        return;
    };
    backups_are_taken_kept_verified_and_used(server).await;
}
