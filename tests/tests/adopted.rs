//! Servers that were there before vtplan: imported, adopted as they run, served by a gate, sharded by a
//! change of the spec, and released with their data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use mysql_async::prelude::Queryable as _;
use vtplan_tests::handmade::{DBA, HandMade};
use vtplan_tests::lab::Lab;
use vtplan_tests::servers::Server;

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_pair_made_by_hand_is_adopted_and_sharded() {
    scene(Server::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mysql_pair_made_by_hand_is_adopted_and_sharded() {
    let test = "a_mysql_pair_made_by_hand_is_adopted_and_sharded";
    if let Some(server) = Server::mysql(test) {
        scene(server).await;
    }
}

const ROWS: u64 = 2000;

/// A primary with data and a replica of it.
async fn pair(lab: &Lab, server: &Server) -> [HandMade; 2] {
    let first = HandMade::start(server, &lab.dir().join("first"), 31, &[]).await;
    let second = HandMade::start(server, &lab.dir().join("second"), 32, &["--read-only"]).await;
    second.replicate_from(&first).await;
    for statement in [
        "CREATE DATABASE shop",
        "CREATE DATABASE wiki",
        "CREATE TABLE wiki.page (id int PRIMARY KEY, text text)",
        "INSERT INTO wiki.page VALUES (1, 'left alone')",
        "CREATE TABLE shop.account (id int PRIMARY KEY, name varchar(40) NOT NULL)",
        // The child's name comes first.
        "CREATE TABLE shop.`address` (id int PRIMARY KEY, street varchar(40), account int, \
         KEY account (account), CONSTRAINT of_account FOREIGN KEY (account) REFERENCES account (id))",
        "ALTER TABLE shop.`address` DROP FOREIGN KEY of_account",
        "CREATE TABLE shop.orders (id bigint NOT NULL PRIMARY KEY, customer int NOT NULL, \
         total decimal(10,2) NOT NULL DEFAULT 0, at timestamp NOT NULL DEFAULT current_timestamp(), \
         KEY customer (customer)) COMMENT 'made by hand'",
        "CREATE VIEW shop.totals AS SELECT customer, SUM(total) AS total FROM shop.orders GROUP BY customer",
    ] {
        first.run(statement).await;
    }
    let rows: Vec<String> = (1..=ROWS)
        .map(|id| format!("({id}, {}, {id}.5)", id % 97))
        .collect();
    first
        .run(&format!(
            "INSERT INTO shop.orders (id, customer, total) VALUES {}",
            rows.join(", ")
        ))
        .await;
    [first, second]
}

async fn scene(server: Server) {
    let mut lab = Lab::new("shop", server.clone());
    lab.env
        .insert("VTPLAN_IMPORT_PASSWORD".into(), DBA.1.into());
    let servers = pair(&lab, &server).await;
    let [first, second] = &servers;
    let pids = [first.proc.pid(), second.proc.pid()];
    let (one, two) = (first.address(), second.address());
    lab.until("the replica has everything", |_| {
        let there = futures_now(second.query::<u64>(
            "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'shop'",
        ));
        (there == [4]).then_some(())
    });

    // The replica is given first: who is primary is found.
    let import = [
        "import",
        "servers",
        &two,
        &one,
        "--user",
        DBA.0,
        "--cluster",
        "shop",
        "--out",
        "shop/shop.yaml",
    ];
    let undecided = lab.run(&import).expect(1);
    assert!(
        undecided.stderr.contains("shop, wiki"),
        "{}",
        undecided.stderr
    );
    let mut with_database = import.to_vec();
    with_database.extend(["--database", "shop", "--adopt"]);
    let imported = lab.run(&with_database).expect(0);
    assert!(!imported.stderr.contains(DBA.1) && !imported.stdout.contains(DBA.1));
    println!("{}{}", imported.stdout, imported.stderr);
    let spec = std::fs::read_to_string(lab.dir().join("shop/shop.yaml")).expect("the spec");
    println!("{spec}");
    // Applications connect as somebody.
    let users = "\nusers:\n  app: { password_env: VTPLAN_APP_PASSWORD }\n";
    let path = lab.write("shop/shop.yaml", &(spec.clone() + users));

    lab.start_agent("db1", "zone1");
    let planned = lab.run(&["plan", &path]).expect(0);
    println!("{}", planned.stdout);
    let applied = lab.run(&["apply", &path, "--auto-approve"]).expect(0);
    println!("{}", applied.stdout);
    lab.start_gate("zone1");
    nothing_differs(&mut lab, &path);
    println!("{}", lab.run(&["status"]).stdout);
    println!("{}", lab.run(&["show"]).stdout);

    // Queries, on the replica too, and a write that comes to it.
    let count = "SELECT COUNT(*) FROM orders";
    let counted: Vec<u64> = lab.query("zone1", "shop", count).await.expect("a query");
    assert_eq!(counted, [ROWS]);
    let insert = "INSERT INTO orders (id, customer) VALUES (100000, 1)";
    lab.query::<u64>("zone1", "shop", insert)
        .await
        .expect("a write");
    lab.until("the replica serves it", |lab| {
        let there = futures_now(lab.query::<u64>("zone1", "shop@replica", count));
        (there.ok()? == [ROWS + 1]).then_some(())
    });
    assert_eq!([first.proc.pid(), second.proc.pid()], pids);
}

fn futures_now<T>(future: impl Future<Output = T>) -> T {
    tokio::task::block_in_place(|| tokio::runtime::Handle::current().block_on(future))
}

/// The plan is empty and there is no drift.
fn nothing_differs(lab: &mut Lab, spec: &str) {
    let planned = lab.until("nothing is left to do", |lab| {
        let planned = lab.run(&["plan", spec, "--detailed-exitcode"]);
        (planned.code != 1).then_some(planned)
    });
    let planned = planned.expect(0);
    assert!(planned.stdout.contains("No changes"), "{}", planned.stdout);
    let drift = lab.run(&["drift", spec]).expect(0);
    assert!(drift.stdout.contains("No drift"), "{}", drift.stdout);
}
