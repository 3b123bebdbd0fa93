//! What goes wrong around a cluster, through the real binary: each fault is told with what it is
//! about, why and what to do, and passes when its cause does.

use std::io::Write as _;
use std::net::TcpListener;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use nix::sys::signal::Signal;
use tokio::time::timeout;
use vtplan_state::store::{OpenMode, open};
use vtplan_tests::lab::{Lab, Output};
use vtplan_tests::servers::{Server, skip};
use vtplan_tests::{Proc, Tmpfs};

/// One tablet, no schema file: as quick to make as can be.
const SMALL: &str = "\
vtplan: 1
cluster: shop
cells: [zone1]
keyspaces:
  commerce:
    durability: none
    tablets: { zone1: { replica: 1 } }
gates:
  zone1: { count: 1, mysql_port: 15306 }
users:
  app: { password_env: VTPLAN_APP_PASSWORD }
";

/// Asserts that a command failed, and that it says all of `parts`.
#[track_caller]
fn fails_with(output: Output, parts: &[&str]) {
    let output = output.expect(1);
    for part in parts {
        assert!(
            output.stderr.contains(part),
            "nothing of `{part}` in:\n{}",
            output.stderr
        );
    }
    assert!(
        !output.stderr.contains("panicked") && !output.stderr.contains("Debug"),
        "{}",
        output.stderr
    );
}

/// The apply lock's holder.
fn lock_holder(lab: &Lab) -> Option<String> {
    let shown = lab.run(&["lock", "show", "--format", "json"]);
    let shown: serde_json::Value = serde_json::from_str(&shown.stdout).ok()?;
    shown["lock"]["holder"].as_str().map(str::to_owned)
}

/// Asserts that a started command ends with 0.
#[track_caller]
fn succeeds(lab: &Lab, mut command: Proc) {
    let status = command.wait(vtplan_tests::lab::PATIENCE);
    assert!(
        status.is_some_and(|status| status.success()),
        "{} ended with {status:?}:\n{}\n{}",
        command.name,
        command.log(),
        lab.report()
    );
}

fn agent<'a>(more: &[&'a str]) -> Vec<&'a str> {
    let mut args = vec!["agent", "--cluster", "shop", "--listen", "127.0.0.1:0"];
    args.extend_from_slice(more);
    args
}

#[tokio::test]
async fn what_keeps_commands_from_starting_is_said_with_what_to_do() {
    let mut lab = Lab::new("shop", Server::MariaDb);
    let spec = lab.write("small.yaml", SMALL);
    fails_with(
        lab.run(&agent(&["--mysqld", "/nonexistent"])),
        &["/nonexistent", "apt install", "--mysqld PATH"],
    );
    fails_with(
        lab.run(&agent(&["--advertise", "db1.invalid"])),
        &["`db1.invalid` does not resolve", "--advertise"],
    );
    lab.run(&["status"]).expect(1);

    // A store that cannot be reached: the same for all commands, with its address.
    lab.env
        .insert("VTPLAN_STATE".into(), "etcd://127.0.0.1:1".into());
    let commands = [
        agent(&[]),
        vec!["plan", &spec],
        vec!["apply", &spec, "--auto-approve"],
        vec!["status"],
        vec!["gate", "--cluster", "shop", "--mysql-port", "0"],
    ];
    // At the same time: each tries for a while.
    let outputs: Vec<Output> = std::thread::scope(|scope| {
        let lab = &lab;
        let started: Vec<_> = commands
            .iter()
            .map(|args| scope.spawn(move || lab.run(args)))
            .collect();
        let ended = started.into_iter().map(|thread| thread.join());
        ended.map(|output| output.expect("it runs")).collect()
    });
    for output in outputs {
        fails_with(output, &["127.0.0.1:1", "VTPLAN_STATE"]);
    }
}

#[tokio::test]
async fn a_store_that_cannot_be_written_is_said_to_be() {
    let test = "a_store_that_cannot_be_written_is_said_to_be";
    let Some(disk) = Tmpfs::mount("size=8m") else {
        return skip(test, "a tmpfs may not be mounted here");
    };
    let mut lab = Lab::new("shop", Server::MariaDb);
    let spec = lab.write("small.yaml", SMALL);
    let file = disk.path().join("state.db");
    let url = format!("sqlite:{}", file.display());
    drop(open(&url, OpenMode::Create).await.expect("a store is made"));
    disk.remount("ro");
    lab.env.insert("VTPLAN_STATE".into(), url);
    let path = file.display().to_string();
    for args in [agent(&[]), vec!["apply", &spec, "--auto-approve"]] {
        fails_with(
            lab.run(&args),
            &[&path, "Read-only file system", "VTPLAN_STATE"],
        );
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn plans_wait_for_ports_and_gates_bear_their_clients() {
    let mut lab = Lab::new("shop", Server::MariaDb);
    lab.agent_args = vec!["--capacity".into(), "1".into()];
    let spec = lab.write("small.yaml", SMALL);
    lab.start_agent("host1", "zone1");

    // Specs that this cluster cannot be.
    let two = lab.write("two.yaml", &SMALL.replace("replica: 1", "replica: 2"));
    fails_with(
        lab.run(&["apply", &two, "--auto-approve"]),
        &["commerce/0", "zone1", "host1", "capacity", "vtplan agent"],
    );
    let other = lab.write(
        "other.yaml",
        &SMALL.replace("cluster: shop", "cluster: bar"),
    );
    fails_with(
        lab.run(&["apply", &other, "--auto-approve"]),
        &["`bar`", "`shop`", "--state"],
    );

    // A port that another program has: the plan waits, and says for what.
    let port = lab.first_tablet_port("host1");
    let taken = TcpListener::bind(("127.0.0.1", port)).expect("the tablet's port is free");
    let apply = lab.start("apply", &["apply", &spec, "--auto-approve"]);
    let words = format!("port {port} on 127.0.0.1 is taken");
    lab.until("the apply says what it waits for", |_| {
        apply.log().contains(&words).then_some(())
    });
    let status = lab.run(&["status"]).expect(0);
    assert!(status.stdout.contains(&words), "{}", status.stdout);

    // Somebody else is told who is at it, and since when.
    let changed = lab.write("changed.yaml", &SMALL.replace("count: 1", "count: 2"));
    fails_with(
        lab.run(&["apply", &changed, "--auto-approve"]),
        &[
            "being carried out",
            "started by",
            " ago, at ",
            "vtplan apply --attach",
        ],
    );
    let shown = lab.run(&["lock", "show"]).expect(0);
    for part in ["holder  host1", "doing   apply of plan", "since   "] {
        assert!(shown.stdout.contains(part), "{}", shown.stdout);
    }

    // A released lock is taken again, by the next agent or the same, and the plan goes on.
    let released = lab.run(&["lock", "release", "--yes"]).expect(0);
    assert!(released.stdout.contains("host1"), "{}", released.stdout);
    drop(taken);
    succeeds(&lab, apply);
    lab.run(&["plan", &spec, "--detailed-exitcode"]).expect(0);
    let history = lab.run(&["history"]).expect(0);
    assert!(
        history.stdout.contains("lock-release"),
        "{}",
        history.stdout
    );

    lab.start_gate("zone1");
    clients_that_are_refused_or_mad(&lab).await;
    a_client_that_is_cut_off_leaves_no_lock(&lab).await;
}

fn options(port: u16, password: &str, database: &str) -> mysql_async::Opts {
    mysql_async::OptsBuilder::default()
        .ip_or_hostname("127.0.0.1")
        .tcp_port(port)
        .user(Some("app"))
        .pass(Some(password))
        .db_name(Some(database))
        .prefer_socket(false)
        .into()
}

async fn clients_that_are_refused_or_mad(lab: &Lab) {
    let port = lab.gates["zone1"].mysql_port;
    let password = &lab.env["VTPLAN_APP_PASSWORD"];
    let pool = lab.client("zone1", "commerce");
    let mut conn = pool.get_conn().await.expect("a connection");
    let code = |result: mysql_async::Result<mysql_async::Conn>| match result {
        Err(mysql_async::Error::Server(error)) => (error.code, error.message),
        other => panic!("not refused by the server: {other:?}"),
    };
    let (number, message) = code(mysql_async::Conn::new(options(port, "wrong", "commerce")).await);
    assert_eq!(number, 1045, "{message}");
    assert!(
        message.contains("'app'") && !message.contains("wrong"),
        "{message}"
    );
    let (number, message) = code(mysql_async::Conn::new(options(port, password, "nope")).await);
    assert_eq!(number, 1049, "{message}");
    assert!(message.contains("'nope'"), "{message}");

    // Bytes that are no protocol, of all lengths, also in the place of an answer.
    let garbage: Vec<Vec<u8>> = vec![
        vec![],
        vec![0xff; 3],
        vec![0xff; 70_000],
        b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec(),
        (0..=255).cycle().take(5_000).collect(),
        vec![0; 40],
    ];
    for bytes in garbage {
        let mut socket = std::net::TcpStream::connect(("127.0.0.1", port)).expect("it listens");
        let limit = Some(Duration::from_secs(60));
        socket.set_write_timeout(limit).expect("a limit");
        // It may be refused before all of it is sent.
        let _ = socket.write_all(&bytes);
        let one: Option<u8> = conn.query_first("select 1").await.expect("others go on");
        assert_eq!(one, Some(1));
    }
    drop(conn);
    let _ = pool.disconnect().await;
}

/// A relay to the gate that can be cut: both its sockets are closed without a word.
async fn relay(to: u16) -> (u16, tokio::task::JoinHandle<()>) {
    let listener = tokio::net::TcpListener::bind(("127.0.0.1", 0))
        .await
        .expect("a free port");
    let port = listener.local_addr().expect("an address").port();
    let task = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.expect("a client");
        let mut server = tokio::net::TcpStream::connect(("127.0.0.1", to))
            .await
            .expect("the gate");
        let _ = tokio::io::copy_bidirectional(&mut client, &mut server).await;
    });
    (port, task)
}

async fn a_client_that_is_cut_off_leaves_no_lock(lab: &Lab) {
    let port = lab.gates["zone1"].mysql_port;
    let password = lab.env["VTPLAN_APP_PASSWORD"].as_str();
    let mut other = mysql_async::Conn::new(options(port, password, "commerce"))
        .await
        .expect("a connection");
    other
        .query_drop("create table if not exists t (id bigint primary key, n bigint)")
        .await
        .expect("a table");
    other
        .query_drop("replace into t values (1, 1)")
        .await
        .expect("a row");
    let (relay_port, relay) = relay(port).await;
    let mut conn = mysql_async::Conn::new(options(relay_port, password, "commerce"))
        .await
        .expect("a connection");
    conn.query_drop("begin").await.expect("begin");
    conn.query_drop("update t set n = 100 where id = 1")
        .await
        .expect("the row is locked");
    relay.abort();
    // Shorter than a server's own wait for a lock, so waiting for that is a failure too.
    let update = other.query_drop("update t set n = 2 where id = 1 and n = 1");
    timeout(Duration::from_secs(30), update)
        .await
        .unwrap_or_else(|_| panic!("the row is still locked\n{}", lab.report()))
        .expect("an update");
    assert_eq!(other.affected_rows(), 1, "what was cut off is rolled back");
    let _ = other.disconnect().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_tablet_that_finds_the_disk_full_is_made_when_there_is_room() {
    let test = "a_tablet_that_finds_the_disk_full_is_made_when_there_is_room";
    // Before the lab, so that it goes after the lab's processes.
    let Some(disk) = Tmpfs::mount("size=12m") else {
        return skip(test, "a tmpfs may not be mounted here");
    };
    let mut lab = Lab::new("shop", Server::MariaDb);
    std::fs::create_dir_all(lab.dir().join("hosts")).expect("a folder");
    std::os::unix::fs::symlink(disk.path(), lab.agent_data("host1")).expect("a link");
    let spec = lab.write("small.yaml", SMALL);
    let anyway = SMALL.replace("keyspaces:", "changes: { fit: warn }\nkeyspaces:");
    let anyway = lab.write("anyway.yaml", &anyway);
    lab.start_agent("host1", "zone1");
    let lab_folder = lab.agent_data("host1").display().to_string();
    // Nothing begins, unless the spec says that it may all the same.
    for args in [vec!["plan", &spec], vec!["apply", &spec, "--auto-approve"]] {
        let parts = ["host1", "its disk, which has", "1 new tablet", "fit: warn"];
        fails_with(lab.run(&args), &parts);
    }
    let apply = lab.start("apply", &["apply", &anyway, "--auto-approve"]);
    lab.until("the apply says that the disk is full", |_| {
        let log = apply.log();
        let folder = lab_folder.as_str();
        let parts = ["the disk is full", "bytes free", "make room there", folder];
        parts.iter().all(|part| log.contains(part)).then_some(())
    });
    disk.remount("size=2g");
    succeeds(&lab, apply);
    lab.run(&["plan", &anyway, "--detailed-exitcode"]).expect(0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_conductor_that_sleeps_past_its_lease_writes_nothing_more() {
    let test = "a_conductor_that_sleeps_past_its_lease_writes_nothing_more";
    let Some(mut lab) = Lab::with_etcd("shop", Server::MariaDb) else {
        return skip(test, "there is no etcd on PATH");
    };
    // The tablet's host conducts nothing: once it has had the lock, it hangs. Of the others, one
    // will sleep.
    let two = SMALL
        .replace("cells: [zone1]", "cells: [zone1, zone2]")
        .replace("tablets: { zone1", "tablets: { zone2");
    let spec = lab.write("small.yaml", &two);
    let hangs = [("VTPLAN_FAILPOINTS", "conductor.locked=pause")];
    lab.start_agent_with("tablets", "zone2", &hangs);
    let slow = [("VTPLAN_FAILPOINTS", "conductor.before-write=sleep:700")];
    for name in ["host-a", "host-b"] {
        lab.start_agent_with(name, "zone1", &slow);
    }
    let apply = lab.start("apply", &["apply", &spec, "--auto-approve"]);
    let sleeper = lab.until("one of the others conducts", |lab| {
        let holder = lock_holder(lab)?;
        if holder == "tablets" {
            lab.run(&["lock", "release", "--yes"]).expect(0);
            return None;
        }
        Some(holder)
    });
    lab.agents[&sleeper].signal(Signal::SIGSTOP);
    lab.until("the other one takes over", |lab| {
        let holder = lock_holder(lab)?;
        if holder == "tablets" {
            lab.run(&["lock", "release", "--yes"]).expect(0);
            return None;
        }
        (holder != sleeper).then_some(())
    });
    lab.agents[&sleeper].signal(Signal::SIGCONT);
    // If it slept in a request to the store, it learns of that one's end first.
    lab.until("the sleeper learns it", |lab| {
        let log = lab.agents[&sleeper].log();
        let learned = ["the apply lock is lost", "the conductor cannot work"];
        learned.iter().any(|l| log.contains(l)).then_some(())
    });
    succeeds(&lab, apply);
    lab.run(&["plan", &spec, "--detailed-exitcode"]).expect(0);
    let again = lab.run(&["apply", &spec, "--auto-approve"]).expect(0);
    assert!(again.stdout.contains("No changes"), "{}", again.stdout);

    // Each step was done once, and nothing failed.
    let history = lab
        .run(&["history", "--limit", "0", "--format", "json"])
        .expect(0);
    let history: serde_json::Value = serde_json::from_str(&history.stdout).expect("JSON");
    let entries = history["entries"].as_array().expect("entries");
    let mut done: Vec<&str> = entries
        .iter()
        .filter(|entry| entry["outcome"] == "done" && entry["action"] != "lock-release")
        .map(|entry| entry["action"].as_str().expect("an action"))
        .collect();
    let all = done.len();
    done.sort_unstable();
    done.dedup();
    assert!(all > 3 && done.len() == all, "{history:#}");
    assert!(
        entries
            .iter()
            .all(|e| e["outcome"] == "done" || e["outcome"] == "started"),
        "{history:#}"
    );
}
