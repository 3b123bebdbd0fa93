//! `workflow` and what `apply` does when a plan waits. The part of the agents is played by the
//! tests, which write the records that agents and the conductor would write.

mod support;

use std::collections::{BTreeMap, BTreeSet};
use std::io::{BufRead as _, BufReader, Read as _};
use std::process::Stdio;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde_json::Value;
use support::{Place, put};
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{
    KeyspaceName, PlanRecord, PlanStatus, RoutingRule, RoutingRules, Side, StepProgress, StepState,
    StreamsWanted, TableName, TabletType, VDiffRecord, VDiffSample, VDiffState, VDiffTable,
    WorkflowKind, WorkflowName, WorkflowRecord, WorkflowSide,
};
use vtplan_state::store::Op;

const ID: &str = "20261121-145033-3f2a";

fn side(keyspace: &str, shards: &[&str]) -> WorkflowSide {
    WorkflowSide {
        keyspace: KeyspaceName::new(keyspace).expect("a name"),
        shards: shards.iter().map(|s| s.parse().expect("a shard")).collect(),
    }
}

fn move_tables(from: &str, to: &str) -> WorkflowRecord {
    let table = |name: &str| TableName::new(name).expect("a name");
    WorkflowRecord {
        name: WorkflowName::new(format!("{from}2{to}")).expect("a name"),
        kind: WorkflowKind::MoveTables,
        source: side(from, &["0"]),
        target: side(to, &["0"]),
        tables: vec![table("corder"), table("customer")],
        throttle_max_lag_seconds: 5,
        created_at: 1_795_272_633_000,
        paused: false,
        streams: StreamsWanted {
            epoch: 1,
            from: Side::Source,
            running: true,
            start: BTreeMap::new(),
        },
        copied: true,
        reads_switched: BTreeSet::new(),
        writes: Side::Source,
        switch: None,
        switch_failure: None,
        switched_at: None,
        vdiff_passed: false,
        approved: BTreeSet::new(),
        soaked: false,
        ending: None,
    }
}

/// As [`move_tables`], with all traffic at the target.
fn switched(mut workflow: WorkflowRecord) -> WorkflowRecord {
    workflow.reads_switched = [TabletType::Replica, TabletType::Rdonly].into();
    workflow.writes = Side::Target;
    workflow.switched_at = Some(1_795_272_640_000);
    workflow.streams.from = Side::Target;
    workflow.streams.epoch = 2;
    workflow
}

fn put_workflow(cluster: &Cluster, workflow: &WorkflowRecord) -> Op {
    let keys = cluster.keys();
    Op::put(
        keys.workflow(&workflow.target.keyspace, &workflow.name),
        workflow,
    )
}

fn vdiff(workflow: &WorkflowRecord, state: VDiffState, missing: u64) -> VDiffRecord {
    let table = |missing: u64| VDiffTable {
        rows_compared: 5,
        rows_total: 5,
        missing,
        samples: (0..missing)
            .map(|n| VDiffSample {
                found: "missing".to_owned(),
                key: format!("customer_id={n}"),
                source: Some("email='alice@domain.com'".to_owned()),
                target: None,
            })
            .collect(),
        done: state == VDiffState::Done,
        ..VDiffTable::default()
    };
    VDiffRecord {
        id: "20261121-145100-00aa".to_owned(),
        keyspace: workflow.target.keyspace.clone(),
        workflow: workflow.name.clone(),
        epoch: workflow.streams.epoch,
        requested_at: 1_795_272_634_000,
        state,
        every_value: false,
        tables: workflow
            .tables
            .iter()
            .map(|t| {
                let missing = if t.as_str() == "customer" { missing } else { 0 };
                (t.clone(), table(missing))
            })
            .collect(),
        message: String::new(),
        ended_at: (state == VDiffState::Done).then_some(1_795_272_635_000),
        started_at: None,
    }
}

fn put_vdiff(cluster: &Cluster, vdiff: &VDiffRecord) -> Op {
    let key = cluster
        .keys()
        .vdiff(&vdiff.keyspace, &vdiff.workflow, &vdiff.id);
    Op::put(key, vdiff)
}

#[tokio::test]
async fn without_workflows_there_is_nothing_to_list_or_name() {
    let place = Place::new();
    check!(place, "no-cluster", ["workflow", "list"]);
    place.cluster("shop").await;
    check!(place, "list-none", ["workflow", "list"]);
    check!(
        place,
        "list-none-json",
        ["workflow", "list", "--format", "json"]
    );
    check!(
        place,
        "unknown-none",
        ["workflow", "show", "commerce2customer"]
    );
}

#[tokio::test]
async fn workflows_are_found_by_what_people_call_them() {
    let place = Place::new();
    let cluster = place.cluster("shop").await;
    let mut other = move_tables("commerce", "customer");
    other.target.keyspace = KeyspaceName::new("archive").expect("a name");
    let ops = [
        move_tables("commerce", "customer"),
        move_tables("commerce", "orders"),
        other,
    ];
    put(
        &cluster,
        ops.iter().map(|w| put_workflow(&cluster, w)).collect(),
    )
    .await;
    check!(
        place,
        "ambiguous",
        ["workflow", "show", "commerce2customer"]
    );
    check!(place, "near", ["workflow", "pause", "commerce2order"]);
    check!(place, "unknown", ["workflow", "cancel", "nightly"]);
    check!(
        place,
        "unknown-json",
        ["workflow", "vdiff", "nightly", "--format", "json"]
    );
    for name in ["commerce2orders", "orders.commerce2orders"] {
        let (code, stdout, stderr) = place.output(&["workflow", "show", name]);
        assert_eq!(code, 0, "{stderr}");
        assert!(
            stdout.starts_with("Workflow orders.commerce2orders "),
            "{stdout}"
        );
    }
    // Nothing flows back yet, so nothing is called that.
    let (code, ..) = place.output(&["workflow", "show", "commerce2orders_reverse"]);
    assert_eq!(code, 1);
}

#[tokio::test]
async fn list_says_where_traffic_goes_and_what_flows_back() {
    let place = Place::new();
    let cluster = place.cluster("shop").await;
    let mut copying = move_tables("commerce", "orders");
    copying.copied = false;
    let mut reads = move_tables("commerce", "archive");
    reads.reads_switched = [TabletType::Replica, TabletType::Rdonly].into();
    reads.paused = true;
    let mut reshard = move_tables("cust", "cust");
    reshard.kind = WorkflowKind::Reshard;
    reshard.source = side("customer", &["0"]);
    reshard.target = side("customer", &["-80", "80-"]);
    let all = [
        copying,
        reads,
        reshard,
        switched(move_tables("commerce", "crm")),
    ];
    put(
        &cluster,
        all.iter().map(|w| put_workflow(&cluster, w)).collect(),
    )
    .await;
    check!(place, "list", ["workflow", "list"]);
    check!(place, "status", ["status"]);
    check!(place, "show-near", ["show", "customer.cust2custo"]);
    let (_, json, _) = place.output(&["workflow", "list", "--format", "json"]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["format"], 1);
    let crm = &json["workflows"][1];
    assert_eq!(crm["name"], "crm.commerce2crm");
    assert_eq!(crm["reverse_workflow"], "commerce.commerce2crm_reverse");
    assert_eq!(crm["traffic_state"], "All Reads Switched. Writes Switched");
    assert_eq!(crm["state"], "following");
    // By the name of what flows back, too.
    let (code, stdout, _) = place.output(&["workflow", "show", "commerce2crm_reverse"]);
    assert_eq!(code, 0);
    assert!(stdout.starts_with("Workflow crm.commerce2crm "), "{stdout}");
}

#[tokio::test]
async fn show_has_all_that_is_known_of_a_workflow() {
    let place = Place::new();
    let cluster = place.cluster("shop").await;
    let mut workflow = switched(move_tables("commerce", "customer"));
    workflow.approved = ["switch_writes".to_owned()].into();
    workflow.switch_failure = Some("customer/0 did not catch up within 1 s".to_owned());
    let rule = |from: &str, to: &str| RoutingRule {
        from_table: from.to_owned(),
        to_tables: vec![to.to_owned()],
    };
    let rules = RoutingRules {
        rules: vec![
            rule("customer", "customer.customer"),
            rule("commerce.customer", "customer.customer"),
            rule("corder@replica", "customer.corder"),
            // Of others.
            rule("product", "commerce.product"),
            rule("archive.customer", "customer.customer"),
        ],
    };
    let ops = vec![
        put_workflow(&cluster, &workflow),
        Op::put(cluster.keys().routing(), &rules),
        put_vdiff(&cluster, &vdiff(&workflow, VDiffState::Done, 1)),
    ];
    put(&cluster, ops).await;
    check!(place, "show", ["workflow", "show", "commerce2customer"]);
    check!(
        place,
        "show-json",
        ["workflow", "show", "commerce2customer", "--format", "json"]
    );
}

#[tokio::test]
async fn pause_and_resume_are_kept_in_the_record() {
    let place = Place::new();
    let cluster = place.cluster("shop").await;
    let workflow = move_tables("commerce", "customer");
    put(&cluster, vec![put_workflow(&cluster, &workflow)]).await;
    let paused = || async {
        let records = cluster.load_records().await.expect("the store");
        let record = records.workflow(&workflow.target.keyspace, &workflow.name);
        record.expect("the workflow").paused
    };
    check!(place, "pause", ["workflow", "pause", "commerce2customer"]);
    assert!(paused().await);
    check!(
        place,
        "pause-again",
        ["workflow", "pause", "commerce2customer"]
    );
    check!(place, "resume", ["workflow", "resume", "commerce2customer"]);
    assert!(!paused().await);
    check!(
        place,
        "resume-again-json",
        [
            "workflow",
            "resume",
            "commerce2customer",
            "--format",
            "json"
        ]
    );
    let (_, history, _) = place.output(&["history"]);
    assert!(history.contains("workflow-pause"), "{history}");
}

#[tokio::test]
async fn a_comparison_is_asked_for_and_its_report_tells_what_differs() {
    let place = Place::new();
    let cluster = place.cluster("shop").await;
    let mut workflow = move_tables("commerce", "customer");
    workflow.copied = false;
    put(&cluster, vec![put_workflow(&cluster, &workflow)]).await;
    check!(
        place,
        "vdiff-too-early",
        ["workflow", "vdiff", "commerce2customer"]
    );
    workflow.copied = true;
    put(&cluster, vec![put_workflow(&cluster, &workflow)]).await;
    check!(
        place,
        "vdiff-none",
        ["workflow", "vdiff", "commerce2customer", "--last"]
    );
    check!(
        place,
        "vdiff-detach",
        ["workflow", "vdiff", "commerce2customer", "--detach"]
    );
    let prefix = cluster
        .keys()
        .vdiffs(&workflow.target.keyspace, &workflow.name);
    let asked = cluster.store().list(&prefix).await.expect("the store");
    assert_eq!(asked.entries.len(), 1);
    let asked: VDiffRecord = asked.entries[0].json().expect("a record");
    assert_eq!((asked.state, asked.epoch), (VDiffState::Requested, 1));
    let mut done = vdiff(&workflow, VDiffState::Done, 0);
    done.id = asked.id.clone();
    put(&cluster, vec![put_vdiff(&cluster, &done)]).await;
    check!(
        place,
        "vdiff-equal",
        ["workflow", "vdiff", "commerce2customer", "--last"]
    );
    let mut differs = vdiff(&workflow, VDiffState::Done, 2);
    differs.id = asked.id.clone();
    put(&cluster, vec![put_vdiff(&cluster, &differs)]).await;
    check!(
        place,
        "vdiff-differs",
        ["workflow", "vdiff", "commerce2customer", "--last"]
    );
    check!(
        place,
        "vdiff-differs-json",
        [
            "workflow",
            "vdiff",
            "commerce2customer",
            "--last",
            "--format",
            "json"
        ]
    );
    let mut failed = vdiff(&workflow, VDiffState::Failed, 0);
    failed.id = asked.id;
    failed.message = "customer/0: mysqld is down".to_owned();
    put(&cluster, vec![put_vdiff(&cluster, &failed)]).await;
    check!(
        place,
        "vdiff-failed",
        ["workflow", "vdiff", "commerce2customer", "--last"]
    );
}

#[tokio::test]
async fn a_comparison_goes_on_when_the_one_who_watches_it_is_interrupted() {
    let place = Place::new();
    let cluster = place.cluster("shop").await;
    let workflow = move_tables("commerce", "customer");
    put(&cluster, vec![put_workflow(&cluster, &workflow)]).await;
    let mut command = place.command(&["workflow", "vdiff", "commerce2customer"]);
    command.stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut watching = command.spawn().expect("vtplan starts");
    // It says that it waits once it can be interrupted.
    let mut said = String::new();
    let mut stderr = BufReader::new(watching.stderr.take().expect("a pipe"));
    stderr.read_line(&mut said).expect("UTF-8");
    let pid = Pid::from_raw(watching.id().cast_signed());
    kill(pid, Signal::SIGINT).expect("it runs");
    stderr.read_to_string(&mut said).expect("UTF-8");
    let status = watching.wait().expect("it ends");
    assert_eq!(status.code(), Some(130), "{said}");
    for part in [
        "goes on",
        "vtplan workflow vdiff customer.commerce2customer --last",
    ] {
        assert!(said.contains(part), "{said}");
    }
    let prefix = cluster
        .keys()
        .vdiffs(&workflow.target.keyspace, &workflow.name);
    let asked = cluster.store().list(&prefix).await.expect("the store");
    let asked: VDiffRecord = asked.entries[0].json().expect("a record");
    assert_eq!(asked.state, VDiffState::Requested);
}

/// The plan of a MoveTables whose copy is done, and which waits as `steps` say.
fn waiting_plan(steps: Value) -> PlanRecord {
    let plan = serde_json::json!({
        "format": 1, "cluster": "shop", "spec_digest": "d", "base_revision": 7,
        "live_digest": "l", "steps": steps, "notes": [],
    });
    PlanRecord {
        id: ID.to_owned(),
        spec_digest: "d".to_owned(),
        base_revision: 7,
        desired: serde_json::json!({
            "cluster": "shop", "cells": [], "keyspaces": {}, "backups": null, "gates": {},
            "users": {}, "changes": {
                "vdiff": "required", "soak_seconds": 0, "max_write_pause_ms": 1000,
                "approve": ["switch_writes"], "throttle_max_lag_seconds": 5,
            },
        }),
        plan,
        chunks: 0,
        destroy: false,
        approved_by: "ada@desk".to_owned(),
        approved_at: 1_795_272_633_000,
        destructive_approved: false,
        operation: None,
        status: PlanStatus::Running,
    }
}

fn step(id: &str, after: &[&str], rest: Value) -> Value {
    let mut step = serde_json::json!({
        "id": id, "depends_on": after, "risk": "safe", "estimate": {"seconds": 0}, "reason": "",
        "keyspace": "customer", "workflow": "commerce2customer",
    });
    let rest = rest.as_object().expect("an object").clone();
    step.as_object_mut().expect("an object").extend(rest);
    step
}

#[tokio::test]
async fn what_waits_exits_with_3_and_says_for_what_and_how_to_go_on() {
    let place = Place::new();
    let cluster = place.cluster("shop").await;
    let workflow = move_tables("commerce", "customer");
    let mut record = waiting_plan(serde_json::json!([
        step("copy", &[], serde_json::json!({"kind": "wait-for-copy"})),
        step(
            "approval",
            &["copy"],
            serde_json::json!({"kind": "wait-for-approval", "point": "switch_writes"})
        ),
        step(
            "soak",
            &["approval"],
            serde_json::json!({"kind": "soak", "seconds": 3600})
        ),
    ]));
    let keys = cluster.keys();
    let active = vtplan_state::model::ActivePlan {
        id: ID.to_owned(),
        by: "ada@desk".to_owned(),
        since: record.approved_at,
    };
    let copied = StepProgress {
        step: "copy".to_owned(),
        state: StepState::Done,
        message: String::new(),
        started_at: 1,
        ended_at: Some(2),
        attempt: 1,
        work: None,
    };
    let ops = vec![
        put_workflow(&cluster, &workflow),
        Op::put(keys.plan(ID), &record),
        Op::put(keys.active_plan(), &active),
        cluster.step_op(ID, &copied),
    ];
    put(&cluster, ops).await;
    let mut apply = place.command(&["apply", "--attach"]);
    apply.stdout(std::process::Stdio::piped());
    apply.stderr(std::process::Stdio::piped());
    let mut child = apply.spawn().expect("vtplan starts");
    // It is attached when it tells of the step.
    let mut stderr = std::io::BufReader::new(child.stderr.take().expect("a pipe"));
    let mut told = String::new();
    while !told.contains("done") {
        let read = std::io::BufRead::read_line(&mut stderr, &mut told).expect("UTF-8");
        assert!(read > 0, "it ended: {told}");
    }
    record.status = PlanStatus::Waiting {
        at: 2,
        message: "waiting for approval".to_owned(),
    };
    let ops = vec![
        Op::put(keys.plan(ID), &record),
        Op::delete(keys.active_plan()),
    ];
    put(&cluster, ops).await;
    let output = child.wait_with_output().expect("it ends");
    assert_eq!(output.status.code(), Some(3));
    insta::assert_snapshot!("waiting", String::from_utf8_lossy(&output.stdout));

    let (_, shown, _) = place.output(&["workflow", "show", "commerce2customer"]);
    assert!(
        shown.contains(
            "waits     customer.commerce2customer waits for an approval of switch_writes"
        ),
        "{shown}"
    );
    let (_, json, _) = place.output(&["workflow", "show", "commerce2customer", "--format", "json"]);
    let json: Value = serde_json::from_str(&json).expect("JSON");
    assert_eq!(json["waits"][0]["for"], "approval");
    assert_eq!(json["waits"][0]["point"], "switch_writes");
    let (_, plan, _) = place.output(&["show", "plan"]);
    assert!(plan.contains("waiting"), "{plan}");
}

#[tokio::test]
async fn another_spec_is_told_which_workflow_the_plan_that_runs_drives() {
    let place = Place::with_examples();
    let cluster = place.cluster("shop").await;
    let mut record = waiting_plan(serde_json::json!([step(
        "copy",
        &[],
        serde_json::json!({"kind": "wait-for-copy"})
    )]));
    let active = vtplan_state::model::ActivePlan {
        id: ID.to_owned(),
        by: "ada@desk".to_owned(),
        since: record.approved_at,
    };
    let keys = cluster.keys();
    let ops = vec![
        Op::put(keys.plan(ID), &record),
        Op::put(keys.active_plan(), &active),
    ];
    put(&cluster, ops).await;
    check!(
        place,
        "drives",
        ["apply", "specs/commerce.yaml", "--auto-approve"]
    );
    record.operation = Some(serde_json::json!({
        "keyspace": "customer", "workflow": "commerce2customer", "operation": "reverse",
    }));
    put(&cluster, vec![Op::put(keys.plan(ID), &record)]).await;
    check!(
        place,
        "drives-operation",
        ["apply", "specs/commerce.yaml", "--auto-approve"]
    );
}

#[tokio::test]
async fn only_points_that_there_are_can_be_approved() {
    let place = Place::with_examples();
    check!(
        place,
        "approve-unknown",
        ["apply", "specs/commerce.yaml", "--approve", "everything"]
    );
}
