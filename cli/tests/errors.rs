//! Errors that need no servers: what failed, on which object, why, what to do.

mod support;

use std::net::TcpListener;

use support::{Place, put};
use vtplan_state::model::{ClusterRecord, HistoryRecord};
use vtplan_state::store::{LockRecord, Op};

#[test]
fn a_spec_with_mistakes_shows_all_of_them() {
    let place = Place::with_examples();
    let text = std::fs::read_to_string(place.path("specs/commerce.yaml")).expect("the example");
    let text = text
        .replace("rdonly: 1", "rdonyl: 1")
        .replace("cells: [zone1]", "cells: [zone2]");
    place.write("specs/bad.yaml", &text);
    check!(place, "spec-mistakes", ["plan", "specs/bad.yaml"]);
    check!(
        place,
        "spec-mistakes-json",
        ["plan", "specs/bad.yaml", "--format", "json"]
    );
    check!(place, "spec-missing", ["plan", "none.yaml"]);
    check!(place, "spec-empty-folder", ["plan", "specs/schema"]);
}

#[test]
fn without_a_store_commands_say_how_to_start() {
    let place = Place::with_examples();
    for args in [
        &["status"][..],
        &["show"],
        &["history"],
        &["lock", "show"],
        &["destroy"],
        &["apply", "--attach"],
    ] {
        let (code, stdout, stderr) = place.output(args);
        assert_eq!((code, stdout.as_str()), (1, ""), "{args:?}");
        assert!(stderr.contains("no state store"), "{args:?}: {stderr}");
        assert!(stderr.contains("vtplan up"), "{args:?}: {stderr}");
    }
    check!(place, "no-store", ["status"]);
    check!(place, "no-store-json", ["status", "--format", "json"]);
    check!(place, "no-store-down", ["down"]);
    check!(
        place,
        "no-store-apply",
        ["apply", "specs/commerce.yaml", "--auto-approve"]
    );
    assert!(
        !place.path(".vtplan").exists(),
        "a failed command made a store"
    );
}

#[test]
fn stores_that_cannot_be_used_are_told() {
    let place = Place::with_examples();
    check!(place, "state-no-url", ["status", "--state", "state.db"]);
    check!(place, "state-no-path", ["status", "--state", "sqlite:"]);
    check!(
        place,
        "state-other-scheme",
        ["status", "--state", "consul://localhost:8500"]
    );
    place.write(
        "notes.txt",
        "this is no database, but long enough to be taken for one\n"
            .repeat(100)
            .as_str(),
    );
    check!(
        place,
        "state-no-database",
        ["status", "--state", "sqlite:notes.txt"]
    );
    check!(
        place,
        "state-is-folder",
        ["status", "--state", "sqlite:specs"]
    );
}

#[test]
fn an_etcd_that_does_not_answer_is_told_with_its_address() {
    let place = Place::with_examples();
    let (code, _, stderr) = place.output(&["status", "--state", "etcd://127.0.0.1:1"]);
    assert_eq!(code, 1);
    assert!(stderr.contains("cannot reach the state store"), "{stderr}");
    assert!(stderr.contains("127.0.0.1:1"), "{stderr}");
    assert!(stderr.contains("hint:"), "{stderr}");
}

#[tokio::test]
async fn a_store_of_a_newer_version_is_refused() {
    let place = Place::with_examples();
    let cluster = place.cluster("shop").await;
    let record = ClusterRecord {
        name: "shop".to_owned(),
        format: 2,
        created_at: 1,
        created_by: "9.0.0".to_owned(),
        generation: 0,
    };
    put(&cluster, vec![Op::put(cluster.keys().cluster(), &record)]).await;
    check!(place, "store-newer-status", ["status"]);
    check!(place, "store-newer-plan", ["plan", "specs/commerce.yaml"]);
    check!(
        place,
        "store-newer-apply",
        ["apply", "specs/commerce.yaml", "--auto-approve"]
    );
}

#[tokio::test]
async fn another_cluster_is_never_touched() {
    let place = Place::with_examples();
    place.cluster("orders").await;
    check!(place, "other-cluster-plan", ["plan", "specs/commerce.yaml"]);
    check!(
        place,
        "other-cluster-apply",
        ["apply", "specs/commerce.yaml", "--auto-approve"]
    );
    check!(place, "other-cluster-up", ["up", "specs/commerce.yaml"]);
    check!(
        place,
        "other-cluster-flag",
        ["plan", "specs/commerce.yaml", "--cluster", "orders"]
    );
    check!(
        place,
        "other-cluster-status",
        ["status", "--cluster", "shop"]
    );
    place.cluster("shop").await;
    check!(place, "several-clusters", ["status"]);
    check!(
        place,
        "several-clusters-named",
        ["status", "--cluster", "orders"]
    );
}

#[tokio::test]
async fn without_an_agent_a_plan_is_made_but_not_applied() {
    let place = Place::with_examples();
    place.cluster("shop").await;
    check!(
        place,
        "no-agent",
        ["apply", "specs/commerce.yaml", "--auto-approve"]
    );
    check!(
        place,
        "no-agent-json",
        [
            "apply",
            "specs/commerce.yaml",
            "--auto-approve",
            "--format",
            "json"
        ]
    );
    check!(place, "nothing-to-attach-to", ["apply", "--attach"]);
    check!(place, "destroy-empty", ["destroy", "--auto-approve"]);
}

#[tokio::test]
async fn an_empty_cluster_has_a_picture() {
    let place = Place::with_examples();
    place.cluster("shop").await;
    check!(place, "status-empty", ["status"]);
    check!(place, "status-empty-json", ["status", "--format", "json"]);
    check!(place, "show-empty", ["show"]);
    check!(place, "show-unknown", ["show", "comerce"]);
    check!(place, "show-near", ["show", "spce"]);
    check!(place, "show-no-plan", ["show", "plan"]);
    check!(place, "show-no-plans", ["show", "plans"]);
    check!(place, "show-dot", ["show", "spec", "--format", "dot"]);
    check!(place, "show-no-spec", ["show", "spec"]);
    check!(place, "history-empty", ["history"]);
}

#[tokio::test]
async fn the_lock_is_shown_and_released_and_that_is_recorded() {
    let place = Place::with_examples();
    let cluster = place.cluster("shop").await;
    check!(place, "lock-free", ["lock", "show"]);
    check!(place, "lock-free-release", ["lock", "release", "--yes"]);
    let lock = LockRecord {
        holder: "db1".to_owned(),
        who: "ada@desk".to_owned(),
        what: "plan 20261121-145033-3f2a".to_owned(),
        since: 1_795_272_633_123,
    };
    put(&cluster, vec![Op::put(cluster.keys().apply_lock(), &lock)]).await;
    check!(place, "lock-held", ["lock", "show"]);
    let (_, json, _) = place.output(&["lock", "show", "--format", "json"]);
    let json: serde_json::Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["lock"]["holder"], "db1");
    check!(place, "lock-release-unasked", ["lock", "release"]);
    check!(place, "lock-release", ["lock", "release", "--yes"]);
    check!(place, "lock-free-again", ["lock", "show"]);
    let (_, history, _) = place.output(&["history", "--format", "json"]);
    let history: serde_json::Value = serde_json::from_str(&history).expect("JSON");
    assert_eq!(history["entries"][0]["action"], "lock-release");
}

#[tokio::test]
async fn history_shows_the_newest_entries() {
    let place = Place::with_examples();
    let cluster = place.cluster("shop").await;
    for n in 1..=4u64 {
        let entry = HistoryRecord {
            at: 1_795_272_633_123 + n,
            who: "ada@desk".to_owned(),
            plan: None,
            action: "create-keyspace".to_owned(),
            object: format!("keyspace{n}"),
            summary: format!("Created keyspace{n}"),
            outcome: if n == 3 {
                "failed: no disk\nmore"
            } else {
                "done"
            }
            .to_owned(),
        };
        put(&cluster, vec![cluster.history_op(&entry)]).await;
    }
    check!(place, "history", ["history", "--limit", "2"]);
    let (_, all, _) = place.output(&["history", "-n", "0"]);
    assert_eq!(all.lines().count(), 5);
}

#[test]
fn up_says_why_it_cannot() {
    let place = Place::with_examples();
    check!(place, "up-no-name", ["up"]);
    let taken = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = taken.local_addr().expect("its address").port().to_string();
    let (code, _, stderr) = place.output(&["up", "specs/commerce.yaml", "--agent-port", &port]);
    assert_eq!(code, 1);
    assert!(stderr.contains(&format!("port {port}")), "{stderr}");
    assert!(stderr.contains("--agent-port"), "{stderr}");
    check!(place, "up-bad-spec", ["up", "none.yaml"]);
}

#[test]
fn a_process_that_dies_at_its_start_is_shown_with_its_last_words() {
    let place = Place::with_examples();
    let free = TcpListener::bind("127.0.0.1:0").expect("a port");
    let port = free.local_addr().expect("its address").port().to_string();
    drop(free);
    let args = [
        "up",
        "specs/commerce.yaml",
        "--agent-port",
        &port,
        "--mysqld",
        "/none/mysqld",
    ];
    let (code, stdout, stderr) = place.output(&args);
    assert_eq!((code, stdout.as_str()), (1, ""));
    assert!(stderr.contains("the agent ended at its start"), "{stderr}");
    assert!(stderr.contains("/none/mysqld"), "{stderr}");
    assert!(stderr.contains(".vtplan/logs/agent.log"), "{stderr}");
    check!(place, "down-after-failed-up", ["down"]);
    check!(place, "purge-unasked", ["down", "--purge"]);
    check!(place, "purge", ["down", "--purge", "--yes"]);
    assert!(
        !place.path(".vtplan").exists(),
        "`--purge` left something behind"
    );
}

#[test]
fn agents_and_gates_say_why_they_cannot_start() {
    let place = Place::with_examples();
    check!(place, "agent-no-cluster", ["agent"]);
    check!(place, "gate-no-cluster", ["gate"]);
    check!(
        place,
        "agent-no-mysqld",
        ["agent", "--cluster", "shop", "--mysqld", "/none/mysqld"]
    );
    check!(
        place,
        "agent-bad-listen",
        ["agent", "--cluster", "shop", "--listen", "15999"]
    );
    let (code, _, stderr) = place.output(&[
        "agent",
        "--cluster",
        "shop",
        "--advertise",
        "no-such-host.invalid",
    ]);
    assert_eq!(code, 1);
    assert!(stderr.contains("no-such-host.invalid"), "{stderr}");
    assert!(stderr.contains("--advertise"), "{stderr}");
}
