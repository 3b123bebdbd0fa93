//! Three hosts in three cells on a real etcd: spread replicas, a conductor that is killed in the
//! middle of `apply`, a command line that is killed and attaches again, and the lock.

use std::collections::BTreeSet;
use std::time::Duration;

use mysql_async::prelude::Queryable;
use vtplan_tests::lab::{Lab, example};
use vtplan_tests::servers::{Server, skip};

const CELLS: [(&str, &str); 3] = [
    ("host-a", "zone1"),
    ("host-b", "zone2"),
    ("host-c", "zone3"),
];

fn lab(test: &str) -> Option<Lab> {
    let lab = Lab::with_etcd("shop", Server::MariaDb);
    if lab.is_none() {
        skip(test, "there is no etcd on PATH");
    }
    lab
}

#[tokio::test(flavor = "multi_thread")]
async fn apply_is_finished_by_another_agent_when_the_conductors_is_killed() {
    let test = "apply_is_finished_by_another_agent_when_the_conductors_is_killed";
    let Some(mut lab) = lab(test) else { return };
    for (name, cell) in CELLS {
        // Each conductor dies at the same moment, but only the first to hold the lock gets
        // there: the others are started without the failpoint below.
        lab.start_agent_with(
            name,
            cell,
            &[(
                "VTPLAN_FAILPOINTS",
                "conductor.after-step:init-primary=kill",
            )],
        );
    }
    let spec = example("three-hosts.yaml").display().to_string();

    // The command line is killed while the plan runs; the plan goes on.
    let mut apply = lab.start("apply", &["apply", &spec, "--auto-approve"]);
    lab.until("a tablet is there", |lab| {
        (!lab.mysqld_pids().is_empty()).then_some(())
    });
    apply.kill9();
    let dead = lab.until("a conductor dies at its failpoint", |lab| {
        let mut dead = None;
        for (name, agent) in &mut lab.agents {
            if !agent.is_alive() {
                dead = Some(name.clone());
            }
        }
        dead
    });

    // Another agent takes over, dies at the same place, and so on, until ones without the
    // failpoint are there.
    let (name, cell) = *CELLS
        .iter()
        .find(|(name, _)| *name == dead)
        .expect("a known agent");
    let attached = {
        for (other, other_cell) in CELLS.iter().filter(|(other, _)| *other != name) {
            lab.agents.get_mut(*other).expect("an agent").kill9();
            lab.start_agent(other, other_cell);
        }
        lab.start_agent(name, cell);
        lab.run(&["apply", &spec, "--auto-approve"])
    };
    attached.expect(0);
    lab.run(&["plan", &spec, "--detailed-exitcode"]).expect(0);

    // One replica of every shard on each host.
    let status = lab.run(&["status", "--format", "json"]).expect(0);
    let status: serde_json::Value = serde_json::from_str(&status.stdout).expect("JSON");
    let text = status.to_string();
    for (host, _) in CELLS {
        assert!(text.contains(host), "{text}");
    }

    for (_, cell) in CELLS {
        lab.start_gate(cell);
    }
    let keyspace = "commerce";
    let pool = lab.client("zone1", keyspace);
    let mut conn = pool
        .get_conn()
        .await
        .expect("a connection to the gate of zone1");
    conn.query_drop("insert into product values ('SKU-1', 'one', 1)")
        .await
        .expect("an insert");
    drop(conn);
    let _ = pool.disconnect().await;
    for (_, cell) in CELLS {
        let rows: Vec<String> = lab
            .query(cell, keyspace, "select sku from product")
            .await
            .expect("a select");
        assert_eq!(rows, ["SKU-1"], "the gate of {cell}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn the_conductors_agent_is_killed_and_the_next_one_needs_no_help() {
    let test = "the_conductors_agent_is_killed_and_the_next_one_needs_no_help";
    let Some(mut lab) = lab(test) else { return };
    // Whoever conducts stops for good in the middle of the plan, with its lock held and kept
    // alive. The next one finds that step done, so it does not get to this moment.
    let paused = [(
        "VTPLAN_FAILPOINTS",
        "conductor.after-step:create-shard=pause",
    )];
    for (name, cell) in CELLS {
        lab.start_agent_with(name, cell, &paused);
    }
    let spec = example("three-hosts.yaml").display().to_string();
    let mut apply = lab.start("apply", &["apply", &spec, "--auto-approve"]);
    let (first, cell) = lab.until("an agent conducts", |lab| {
        let lock = lab.run(&["lock", "show"]).stdout;
        let holder = lock.lines().find(|line| line.contains("holder"))?;
        CELLS.into_iter().find(|(name, _)| holder.contains(name))
    });
    lab.until("its shard is there", |lab| {
        (lab.run(&["show", "commerce/0"]).code == 0).then_some(())
    });
    // A second `apply` of something else is told who is at it, and since when.
    let other = lab.write(
        "other.yaml",
        &std::fs::read_to_string(&spec)
            .expect("the example")
            .replace("schema/", &format!("{}/", example("schema").display()))
            .replace("rdonly: 1", "rdonly: 0"),
    );
    let refused = lab.run(&["apply", &other, "--auto-approve"]).expect(1);
    assert!(refused.stderr.contains("started by"), "{}", refused.stderr);
    assert!(refused.stderr.contains("--attach"), "{}", refused.stderr);
    lab.agents.get_mut(first).expect("the first agent").kill9();
    lab.start_agent(first, cell);
    let status = apply.wait(Duration::from_secs(180));
    assert!(
        status.is_some_and(|s| s.success()),
        "{}\n{}",
        apply.log(),
        lab.report()
    );
    lab.run(&["plan", &spec, "--detailed-exitcode"]).expect(0);
    let hosts: BTreeSet<_> = lab.agents.keys().collect();
    assert_eq!(hosts.len(), 3);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_store_that_is_killed_and_restarted_loses_nothing() {
    let test = "a_store_that_is_killed_and_restarted_loses_nothing";
    let Some(mut lab) = lab(test) else { return };
    for (name, cell) in CELLS {
        lab.start_agent(name, cell);
    }
    let spec = example("three-hosts.yaml").display().to_string();
    let mut apply = lab.start("apply", &["apply", &spec, "--auto-approve"]);
    lab.until("a tablet is there", |lab| {
        (!lab.mysqld_pids().is_empty()).then_some(())
    });
    if let Some(etcd) = &mut lab.etcd {
        etcd.restart();
    }
    let status = apply.wait(Duration::from_secs(180));
    let again = lab.run(&["apply", &spec, "--auto-approve"]).expect(0);
    assert!(
        status.is_some_and(|s| s.success()) || again.code == 0,
        "{}\n{}",
        apply.log(),
        lab.report()
    );
    lab.run(&["plan", &spec, "--detailed-exitcode"]).expect(0);
}
