//! The state store of a running cluster is deleted while applications read and write: nobody notices but
//! those who ask for the records, and these are rebuilt from what the agents keep.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mysql_async::prelude::Queryable;
use vtplan_state::store::{self, Op, OpenMode, Txn};
use vtplan_tests::lab::{Lab, example};
use vtplan_tests::servers::{Server, skip};

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_file_is_rebuilt_from_the_agent_and_no_query_fails() {
    scene(Lab::new("shop", Server::MariaDb)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_emptied_etcd_is_rebuilt_from_the_agents_and_no_query_fails() {
    let test = "an_emptied_etcd_is_rebuilt_from_the_agents_and_no_query_fails";
    match Lab::with_etcd("shop", Server::MariaDb) {
        Some(lab) => scene(lab).await,
        None => skip(test, "there is no etcd on PATH"),
    }
}

/// What a person or a disk does to the store.
async fn lose_store(lab: &Lab) {
    if lab.etcd.is_none() {
        let file = lab.state_url();
        let file = file.strip_prefix("sqlite:").expect("a file");
        std::fs::remove_file(file).expect("the store's file");
        return;
    }
    let store = store::open(&lab.state_url(), OpenMode::MustExist).await;
    let everything = Op::DeletePrefix {
        prefix: "/vtplan/".to_owned(),
    };
    let emptied = store.expect("etcd").txn(Txn::new().then(everything)).await;
    emptied.expect("etcd answers");
}

async fn scene(mut lab: Lab) {
    lab.start_agent("db1", "zone1");
    let spec = example("commerce.yaml").display().to_string();
    lab.run(&["apply", &spec, "--auto-approve"]).expect(0);
    lab.start_gate("zone1");
    let servers = lab.mysqld_pids();

    let stop = Arc::new(AtomicBool::new(false));
    let pool = lab.client("zone1", "commerce");
    let writers: Vec<_> = (0..3)
        .map(|writer| {
            let (pool, stop) = (pool.clone(), stop.clone());
            tokio::spawn(async move { write(pool, writer, &stop).await })
        })
        .collect();

    lose_store(&lab).await;
    let data = lab.agent_data("db1").display().to_string();
    // Meanwhile nothing is stopped, opened or closed.
    lab.until("the store is known to be lost", |lab| {
        let log = lab.agents.get_mut("db1").expect("the agent").log();
        let told = log.contains("no longer holds") || log.contains("was deleted");
        told.then_some(())
    });
    tokio::time::sleep(std::time::Duration::from_secs(2)).await;
    assert_eq!(lab.mysqld_pids(), servers);
    lab.run(&["status"]).expect(1);

    let args = [
        "import",
        "cluster",
        "--data-dir",
        &data,
        "--spec",
        "back/shop.yaml",
    ];
    let import = lab.run(&args).expect(0);
    assert!(
        import.stdout.contains("Cluster shop is back"),
        "{}",
        import.stdout
    );
    assert!(
        import.stdout.contains("3 of 3 tablets seen"),
        "{}",
        import.stdout
    );
    assert_eq!(import.stderr, "");
    let again = lab
        .run(&["import", "cluster", "--data-dir", &data])
        .expect(1);
    assert!(again.stderr.contains("--replace"), "{}", again.stderr);

    // The agent and the gate come back by themselves, and nothing has changed.
    for spec in [spec.as_str(), "back/shop.yaml"] {
        let planned = lab.until("the agent is registered", |lab| {
            let planned = lab.run(&["plan", spec, "--detailed-exitcode"]);
            (planned.code != 1).then_some(planned)
        });
        let planned = planned.expect(0);
        assert!(planned.stdout.contains("No changes"), "{}", planned.stdout);
    }
    lab.until("the gate is registered", |lab| {
        let shown = lab.run(&["status"]);
        shown.stdout.contains("gate-zone1").then_some(())
    });

    // What follows the records goes on: an agent that starts anew adopts its servers.
    lab.agents.get_mut("db1").expect("the agent").kill9();
    lab.start_agent("db1", "zone1");
    lab.until("the new agent sees its servers", |lab| {
        let planned = lab.run(&["plan", &spec, "--detailed-exitcode"]);
        (planned.code == 0).then_some(())
    });
    assert_eq!(lab.mysqld_pids(), servers);

    stop.store(true, Ordering::Relaxed);
    let mut written = 0;
    for writer in writers {
        written += writer.await.expect("no query failed");
    }
    let found: Vec<u64> = lab
        .query("zone1", "commerce", "select count(*) from product")
        .await
        .expect("a query");
    assert_eq!(found, [written]);
    pool.disconnect().await.expect("the gate is there");
}

/// Writes and reads through the gate; any query that fails is an end with a panic.
async fn write(pool: mysql_async::Pool, writer: u64, stop: &AtomicBool) -> u64 {
    let mut conn = pool.get_conn().await.expect("a connection");
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        let sku = format!("SKU-{writer}-{written}");
        let insert = format!("insert into product values ('{sku}', 'x', 1)");
        conn.query_drop(insert).await.expect("an insert");
        written += 1;
        let select = format!("select sku from product where sku = '{sku}'");
        let found: Vec<String> = conn.query(select).await.expect("a select");
        assert_eq!(found, [sku]);
        tokio::time::sleep(std::time::Duration::from_millis(10)).await;
    }
    written
}
