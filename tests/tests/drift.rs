//! Drift, caused by hand on a real cluster: each is found, nothing else is, and it goes by what the
//! report says: `apply`, the agents by themselves, or a person.

use std::collections::BTreeSet;
use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use mysql_async::Conn;
use mysql_async::prelude::Queryable as _;
use serde_json::Value;
use vtplan_state::model::{FlavorKind, HoldRecord, RoutingRule, RoutingRules, ShardRecord};
use vtplan_state::store::{Op, Txn};
use vtplan_tests::inside::Inside;
use vtplan_tests::lab::Lab;
use vtplan_tests::servers::Server;

const SPEC: &str = r#"
vtplan: 1
cluster: shop
cells: [zone1]
keyspaces:
  commerce:
    tablets: { zone1: { replica: 2 } }
    schema: { sql: "CREATE TABLE product (sku varbinary(128) PRIMARY KEY, price bigint);" }
    on_remove: drop
  customer:
    shards: [-80, 80-]
    tablets: { zone1: { replica: 2 } }
    schema: { sql: "CREATE TABLE customer (customer_id bigint PRIMARY KEY, email varbinary(128), KEY by_email (email));" }
    vindexes: { xxhash: { type: xxhash } }
    tables:
      customer:
        vindexes: [{ name: xxhash, column: customer_id }]
gates: { zone1: { count: 1, mysql_port: 15306 } }
users: { app: { password_env: VTPLAN_APP_PASSWORD } }
"#;

/// `drift` as JSON, with its exit code.
fn drift(lab: &Lab, spec: &str) -> (i32, Value) {
    let output = lab.run(&["drift", spec, "--format", "json"]);
    let report = serde_json::from_str(&output.stdout)
        .unwrap_or_else(|e| panic!("{e}\n{}\n{}", output.stdout, output.stderr));
    (output.code, report)
}

fn found(report: &Value) -> BTreeSet<String> {
    let findings = report["findings"].as_array().expect("findings");
    let pair = |f: &Value| {
        let text = |name: &str| f[name].as_str().expect("a text").to_owned();
        format!(
            "{} {} ({})",
            text("kind"),
            text("object"),
            text("mended_by")
        )
    };
    findings.iter().map(pair).collect()
}

#[track_caller]
fn expect(lab: &Lab, spec: &str, wanted: &[String]) -> Value {
    let (code, report) = drift(lab, spec);
    let wanted: BTreeSet<String> = wanted.iter().cloned().collect();
    assert_eq!(found(&report), wanted, "{report:#}");
    assert_eq!(report["unseen"], serde_json::json!([]), "{report:#}");
    assert_eq!(code, if wanted.is_empty() { 0 } else { 2 });
    report
}

async fn run(conn: &mut Conn, statements: &[&str]) {
    for statement in statements {
        let done = conn.query_drop(*statement).await;
        done.unwrap_or_else(|e| panic!("{statement}: {e}"));
    }
}

/// Writes on a replica, which its agent makes refuse writes again and again.
async fn write_on_replica(conn: &mut Conn, statement: &str) {
    run(conn, &["SET SESSION sql_log_bin = 0"]).await;
    for _ in 0..200 {
        // MariaDB lets the administrator write anyhow.
        let _ = conn.query_drop("SET GLOBAL super_read_only = OFF").await;
        if conn.query_drop(statement).await.is_ok() {
            return;
        }
    }
    panic!("{statement}: refused again and again");
}

async fn drift_by_hand_is_found_and_goes(server: Server) {
    let is_mariadb = matches!(server, Server::MariaDb);
    let mut lab = Lab::new("shop", server);
    let spec = lab.write("shop.yaml", SPEC);
    lab.start_agent("host1", "zone1");
    lab.run(&["apply", &spec, "--auto-approve"]).expect(0);
    lab.start_gate("zone1");
    let inside = Inside::open(&lab, "shop").await;

    // A gate listens before it is registered.
    while inside.records().await.gates.is_empty() {
        tokio::time::sleep(Duration::from_millis(50)).await;
    }

    // An untouched cluster has none, and looking leaves nothing behind.
    expect(&lab, &spec, &[]);
    let history = lab.run(&["history", "--limit", "0"]).expect(0).stdout;
    let text = lab.run(&["drift", &spec]).expect(0);
    assert!(text.stdout.contains("No drift."), "{}", text.stdout);
    assert_eq!(lab.run(&["history", "--limit", "0"]).stdout, history);

    // What `apply` mends.
    let commerce = inside.primary("commerce", "0").await.alias;
    let mut on_commerce = inside.on_primary("commerce", "0").await;
    run(
        &mut on_commerce,
        &[
            "CREATE TABLE stray (id bigint PRIMARY KEY)",
            "INSERT INTO stray VALUES (1)",
            "SET GLOBAL binlog_row_image = 'MINIMAL'",
            "SET SESSION sql_log_bin = 0",
            "DROP USER 'vt_repl'@'%'",
            "GRANT SELECT ON mysql.* TO 'vt_app'@'%'",
            "SET SESSION sql_log_bin = 1",
        ],
    )
    .await;
    let mut on_shard = inside.on_primary("customer", "-80").await;
    let alter = "ALTER TABLE customer ADD COLUMN note varchar(40), DROP KEY by_email";
    run(&mut on_shard, &[alter]).await;
    let keys = inside.cluster.keys();
    let delete = Txn::new()
        .then(Op::delete(keys.user("app")))
        .then(Op::delete(
            keys.vschema(&"customer".parse().expect("a name")),
        ));
    let done = inside.cluster.store().txn(delete).await;
    done.expect("the store").committed().expect("deleted");
    let by_apply = [
        "account COMMERCE:'vt_app'@'%' (apply)",
        "account COMMERCE:'vt_repl'@'%' (apply)",
        "stray-table commerce/0:stray (apply)",
        "table-differs customer/-80:customer (apply)",
        "user app (apply)",
        "variable COMMERCE:binlog_row_image (apply)",
        "vschema customer (apply)",
    ]
    .map(|f| f.replace("COMMERCE", &commerce.to_string()));
    let report = expect(&lab, &spec, &by_apply);
    let of = |kind: &str| {
        let findings = report["findings"].as_array().expect("findings");
        let one = findings.iter().find(|f| f["kind"] == kind);
        one.expect("it was found").clone()
    };
    let differs = of("table-differs");
    assert!(differs["diff"].as_str().is_some_and(|d| d.contains("note")));
    assert!(differs["since"].as_u64().is_some(), "{differs:#}");
    assert!(of("vschema")["last_change"]["who"].is_string());
    assert_eq!(of("variable")["found"], "MINIMAL");

    // It is marked in the plan, and not taken back without a word.
    let plan = lab.run(&["plan", &spec, "--format", "json"]).expect(0);
    let plan: Value = serde_json::from_str(&plan.stdout).expect("a plan");
    let plan = plan.get("plan").unwrap_or(&plan);
    let steps = plan["steps"].as_array().expect("steps");
    assert!(!steps.is_empty() && steps.iter().all(|s| s["origin"] == "drift"));
    let refused = lab
        .run(&["apply", &spec, "--auto-approve", "--approve-destructive"])
        .expect(1);
    assert!(
        refused.stderr.contains("--approve-drift"),
        "{}",
        refused.stderr
    );
    expect(&lab, &spec, &by_apply);
    let approved = ["--auto-approve", "--approve-destructive", "--approve-drift"];
    lab.run(&[&["apply", &spec][..], &approved[..]].concat())
        .expect(0);
    expect(&lab, &spec, &[]);

    // A record that is gone takes its tablet with it; another one comes.
    let replica = inside.replicas("customer", "80-").await.remove(0);
    let delete = Txn::new().then(Op::delete(keys.tablet(&replica.alias)));
    let done = inside.cluster.store().txn(delete).await;
    done.expect("the store").committed().expect("deleted");
    lab.until("the tablet is missing", |lab| {
        let (_, report) = drift(lab, &spec);
        let found = found(&report);
        // Its agent still removes what there was.
        (found.len() == 1 && found.iter().all(|f| f.starts_with("tablet-missing "))).then_some(())
    });
    lab.run(&[&["apply", &spec][..], &approved[..]].concat())
        .expect(0);
    expect(&lab, &spec, &[]);

    // What a person mends: strangers on a server, and a replica that has gone its own way.
    run(
        &mut on_commerce,
        &[
            "CREATE DATABASE scratch",
            "CREATE USER 'joe'@'%' IDENTIFIED BY 'Geheim-123'",
        ],
    )
    .await;
    let replica = inside.replicas("commerce", "0").await.remove(0);
    let mut on_replica = inside.connect(&replica).await;
    write_on_replica(&mut on_replica, "INSERT INTO product VALUES ('SKU-1', 1)").await;
    // The commit waits for no replica's word that it was applied.
    run(
        &mut on_commerce,
        &["INSERT INTO product VALUES ('SKU-1', 2)"],
    )
    .await;
    let name = |alias: &dyn std::fmt::Display, rest: &str| format!("{alias}{rest}");
    let strangers = |alias: &dyn std::fmt::Display| {
        [
            format!("stray-account {} (person)", name(alias, ":'joe'@'%'")),
            format!("stray-database {} (person)", name(alias, ":scratch")),
        ]
    };
    let mut by_person = strangers(&commerce).to_vec();
    by_person.extend(strangers(&replica.alias));
    by_person.push(format!("replication {} (person)", replica.alias));
    let wanted: BTreeSet<String> = by_person.iter().cloned().collect();
    lab.until("replication has stopped", |lab| {
        let (_, report) = drift(lab, &spec);
        (found(&report) == wanted).then_some(())
    });
    lab.run(&["plan", &spec, "--detailed-exitcode"]).expect(0);
    write_on_replica(&mut on_replica, "DELETE FROM product").await;
    run(&mut on_commerce, &["DROP USER 'joe'@'%'"]).await;
    let scratch: Vec<String> = by_person
        .iter()
        .filter(|f| f.starts_with("stray-database"))
        .cloned()
        .collect();
    let wanted: BTreeSet<String> = scratch.into_iter().collect();
    lab.until("it replicates again", |lab| {
        let (_, report) = drift(lab, &spec);
        (found(&report) == wanted).then_some(())
    });

    // A table that only a replica has in another way.
    let more = "ALTER TABLE product ADD COLUMN more int";
    write_on_replica(&mut on_replica, more).await;
    let skew = format!("table-skew {}:product (person)", replica.alias);
    let skewed: BTreeSet<String> = wanted.iter().cloned().chain([skew]).collect();
    let report = lab.until("the skew is seen", |lab| {
        let (_, report) = drift(lab, &spec);
        (found(&report) == skewed).then_some(report)
    });
    let findings = report["findings"].as_array().expect("findings");
    let skew = findings.iter().find(|f| f["kind"] == "table-skew");
    let mend = skew.expect("the skew")["mend"].to_string();
    assert!(mend.contains("sql_log_bin = 0"), "{mend}");
    let less = "ALTER TABLE product DROP COLUMN more";
    write_on_replica(&mut on_replica, less).await;

    // What is meant to be is passed over, with its reason.
    let ignore = "drift:\n  ignore:\n    - kind: stray-database\n      object: '*:scratch'\n      reason: for the analysts\n";
    let ignoring = lab.write("ignoring.yaml", &format!("{SPEC}{ignore}"));
    let report = expect(&lab, &ignoring, &[]);
    assert_eq!(report["ignored"].as_array().map(Vec::len), Some(2));
    assert_eq!(report["ignored"][0]["reason"], "for the analysts");
    run(&mut on_commerce, &["DROP DATABASE scratch"]).await;

    leftovers_are_found_and_mended(&mut lab, &spec, &inside, &mut on_commerce).await;
    roles_changed_by_hand_are_put_right_by_agents(&mut lab, &spec, &inside).await;

    // A host that does not answer is said, quickly, and is no drift.
    lab.agents.get_mut("host1").expect("the agent").kill9();
    let (code, report) = drift(&lab, &spec);
    assert_eq!(code, 1, "{report:#}");
    assert_eq!(found(&report), BTreeSet::new(), "{report:#}");
    assert_eq!(report["unseen"][0]["host"], "host1");
    lab.start_agent("host1", "zone1");
    lab.until("all is seen again", |lab| {
        let (code, _) = drift(lab, &spec);
        (code == 0).then_some(())
    });
    if is_mariadb {
        a_program_that_was_exchanged_is_told(&mut lab, &spec);
    }
}

/// The host has another version of the server than the servers that run on, as after an upgrade.
fn a_program_that_was_exchanged_is_told(lab: &mut Lab, spec: &str) {
    let program = lab.write(
        "mariadbd",
        "#!/bin/sh
case \"$*\" in
  *--version*) echo \"mariadbd  Ver 10.6.99-MariaDB for Linux on x86_64\";;
  *) PATH=$PATH:/usr/sbin exec mariadbd \"$@\";;
esac
",
    );
    let may_run = std::fs::Permissions::from_mode(0o755);
    std::fs::set_permissions(&program, may_run).expect("it may be run");
    lab.agents.get_mut("host1").expect("the agent").kill9();
    lab.agent_args = vec!["--mysqld".into(), program];
    lab.start_agent("host1", "zone1");
    let report = lab.until("the versions differ", |lab| {
        let (_, report) = drift(lab, spec);
        let found = found(&report);
        let versions = found.iter().all(|f| f.starts_with("server-version "));
        // Two tablets of each of three shards.
        (found.len() == 6 && versions).then_some(report)
    });
    let mend = report["findings"][0]["mend"].as_str().unwrap_or_default();
    assert!(mend.contains("restart the server"), "{mend}");
    lab.agents.get_mut("host1").expect("the agent").kill9();
    lab.agent_args.clear();
    lab.start_agent("host1", "zone1");
    lab.until("the versions are alike", |lab| {
        let (code, _) = drift(lab, spec);
        (code == 0).then_some(())
    });
}

/// A replica that was stopped, a primary that was made read-only, acknowledgements that were turned off.
async fn roles_changed_by_hand_are_put_right_by_agents(lab: &mut Lab, spec: &str, inside: &Inside) {
    let replica = inside.replicas("commerce", "0").await.remove(0);
    let mut on_replica = inside.connect(&replica).await;
    let mut on_primary = inside.on_primary("commerce", "0").await;
    let mysql = replica.flavor == FlavorKind::MySql;
    let (stop, semi_sync) = match mysql {
        true => ("STOP REPLICA", "rpl_semi_sync_source_enabled"),
        false => ("STOP SLAVE", "rpl_semi_sync_master_enabled"),
    };
    run(&mut on_replica, &[stop]).await;
    let off = format!("SET GLOBAL {semi_sync} = OFF");
    run(&mut on_primary, &["SET GLOBAL read_only = ON", &off]).await;
    let settings = format!("SELECT @@GLOBAL.read_only = 0 AND @@GLOBAL.{semi_sync} = 1");
    for attempt in 0.. {
        let right: Option<bool> = on_primary.query_first(&settings).await.expect("settings");
        if right == Some(true) {
            break;
        }
        assert!(attempt < 600, "the primary stays as it was set by hand");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    // It is acknowledged, so the replica has it.
    run(
        &mut on_primary,
        &["INSERT INTO commerce.product VALUES ('SKU-4', 4)"],
    )
    .await;
    lab.until("roles are as the records say", |lab| {
        let (code, _) = drift(lab, spec);
        (code == 0).then_some(())
    });
}

/// What workflows that are over might leave, on a primary and in records.
async fn leftovers_are_found_and_mended(
    lab: &mut Lab,
    spec: &str,
    inside: &Inside,
    on_commerce: &mut Conn,
) {
    let commerce = inside.primary("commerce", "0").await.alias;
    run(
        on_commerce,
        &[
            "CREATE TRIGGER commerce._vt_fence_0011223344556677_0_ins BEFORE INSERT ON commerce.product \
             FOR EACH ROW SIGNAL SQLSTATE 'HY000' SET MYSQL_ERRNO = 1290, MESSAGE_TEXT = 'moving'",
            "CREATE DATABASE IF NOT EXISTS _vt",
            "CREATE TABLE _vt.copy_state (workflow VARCHAR(191), lastpk TEXT)",
            "CREATE TABLE _vt.vreplication_worker (workflow VARCHAR(191), applied TEXT)",
            "CREATE TABLE _vt.vreplication (workflow VARCHAR(191), epoch BIGINT)",
            "INSERT INTO _vt.vreplication VALUES ('commerce.gone', 1), ('commerce.gone', 0)",
            "CREATE TABLE _vt.parked_0011223344556677 (id BIGINT PRIMARY KEY)",
        ],
    )
    .await;
    let keys = inside.cluster.keys();
    let rule = |from: &str| RoutingRule {
        from_table: from.to_owned(),
        to_tables: vec!["customer.customer".to_owned()],
    };
    let hold = HoldRecord {
        id: "fence/commerce.gone".to_owned(),
        since: 1_700_000_000_000,
        objects: Vec::new(),
        max_ms: 1000,
    };
    let shard = (
        "customer".parse().expect("a name"),
        "-80".parse().expect("a shard"),
    );
    let fenced = ShardRecord {
        fenced: true,
        ..inside.records().await.shards[&shard].clone()
    };
    let rules = RoutingRules {
        rules: vec![rule("elsewhere")],
    };
    let by_hand = Txn::new()
        .then(Op::put(keys.routing(), &rules))
        .then(Op::put(keys.hold(&hold.id), &hold))
        .then(Op::put(keys.shard(&shard.0, &shard.1), &fenced));
    let done = inside.cluster.store().txn(by_hand).await;
    done.expect("the store").committed().expect("written");
    let wanted: BTreeSet<String> = [
        "orphan-fence COMMERCE:triggers of a fence that is nobody's (apply)",
        "orphan-hold fence/commerce.gone (apply)",
        "orphan-shard-state customer/-80 (apply)",
        "orphan-stream COMMERCE:positions of workflow commerce.gone's streams (apply)",
        "orphan-stream COMMERCE:rows parked in _vt.parked_0011223344556677 (apply)",
        "routing-rules elsewhere (apply)",
    ]
    .map(|f| f.replace("COMMERCE", &commerce.to_string()))
    .into();
    lab.until("what was left is found", |lab| {
        // Agents that look for holds that nobody looks after may end it before all the rest is seen.
        let again = Txn::new().then(Op::put(keys.hold(&hold.id), &hold));
        let put = inside.cluster.store().txn(again);
        let put = tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(put));
        put.expect("the store");
        // Until its agent has fenced the shard's server that is drift too, and so is a gate's delay.
        let (_, report) = drift(lab, spec);
        (found(&report) == wanted).then_some(())
    });
    let refused = lab
        .run(&["apply", spec, "--auto-approve", "--approve-drift"])
        .expect(1);
    assert!(
        refused.stderr.contains("--approve-destructive"),
        "{}",
        refused.stderr
    );
    let approved = ["--auto-approve", "--approve-destructive", "--approve-drift"];
    lab.until("what was left is mended", |lab| {
        // Where the hold has just been ended the plan is stale.
        let done = lab.run(&[&["apply", spec][..], &approved[..]].concat());
        let stale = done.stderr.contains("the plan is stale");
        assert!(done.code == 0 || stale, "{}\n{}", done.stdout, done.stderr);
        (done.code == 0).then_some(())
    });
    lab.until("the shard takes writes again", |lab| {
        let (code, _) = drift(lab, spec);
        (code == 0).then_some(())
    });
    run(
        on_commerce,
        &["INSERT INTO commerce.product VALUES ('SKU-3', 3)"],
    )
    .await;
    let marks: Option<u64> = on_commerce
        .query_first("SELECT COUNT(*) FROM _vt.vreplication")
        .await
        .expect("the mark that it has ended");
    assert_eq!(marks, Some(1));
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_by_hand_is_found_and_goes_on_mariadb() {
    drift_by_hand_is_found_and_goes(Server::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn drift_by_hand_is_found_and_goes_on_mysql() {
    let Some(server) = Server::mysql("drift_by_hand_is_found_and_goes_on_mysql") else {
        return;
    };
    drift_by_hand_is_found_and_goes(server).await;
}
