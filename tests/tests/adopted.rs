//! Servers that were there before vtplan: imported, adopted as they run, served by a gate, sharded by a
//! change of the spec, and released with their data.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use mysql_async::prelude::Queryable as _;
use tokio::runtime::Handle;
use tokio::task::block_in_place;
use vtplan_tests::handmade::{DBA, HandMade};
use vtplan_tests::lab::{Lab, Output};
use vtplan_tests::servers::Server;

const ROWS: u64 = 2000;
const COUNT: &str = "SELECT COUNT(*) FROM orders";

#[tokio::test(flavor = "multi_thread")]
async fn a_mariadb_pair_made_by_hand_is_adopted_sharded_and_released_and_never_restarted() {
    scene(Server::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_mysql_pair_made_by_hand_is_adopted_sharded_and_released_and_never_restarted() {
    let test = "a_mysql_pair_made_by_hand_is_adopted_sharded_and_released_and_never_restarted";
    if let Some(server) = Server::mysql(test) {
        scene(server).await;
    }
}

async fn scene(server: Server) {
    let mut lab = Lab::new("shop", server.clone());
    lab.env
        .insert("VTPLAN_IMPORT_PASSWORD".into(), DBA.1.into());
    let servers = pair(&mut lab, &server).await;
    let pids = servers.each_ref().map(|server| server.proc.pid());

    let spec = import(&lab, &servers);
    lab.start_agent("db1", "zone1");
    let applied = lab.run(&["apply", &spec, "--auto-approve"]).expect(0);
    assert!(
        applied.stdout.contains("2 servers to adopt"),
        "{}",
        applied.stdout
    );
    lab.start_gate("zone1");
    nothing_differs(&mut lab, &spec);
    served(&mut lab).await;

    // Neither an agent that dies nor a store that is lost is noticed by the servers.
    lab.agents.get_mut("db1").expect("the agent").kill9();
    let store = lab.state_url();
    let store = store.strip_prefix("sqlite:").expect("a file");
    std::fs::remove_file(store).expect("the store's file");
    let data = lab.agent_data("db1").display().to_string();
    let back = lab
        .run(&["import", "cluster", "--data-dir", &data])
        .expect(0);
    assert!(
        back.stdout.contains("Cluster shop is back"),
        "{}",
        back.stdout
    );
    lab.start_agent("db1", "zone1");
    lab.until("the gate is registered again", |lab| {
        let shown = lab.run(&["status"]);
        shown.stdout.contains("gate-zone1").then_some(())
    });
    nothing_differs(&mut lab, &spec);

    shard(&mut lab, &spec).await;
    released(&servers).await;
    let now = servers.each_ref().map(|server| server.proc.pid());
    assert_eq!(now, pids);
    for mut server in servers {
        assert!(server.proc.is_alive());
    }
}

/// A primary with data and a replica of it.
async fn pair(lab: &mut Lab, server: &Server) -> [HandMade; 2] {
    let folder = |name: &str| lab.dir().join(name);
    let first = HandMade::start(server, &folder("first"), 31, &[]).await;
    let second = HandMade::start(server, &folder("second"), 32, &["--read-only"]).await;
    second.replicate_from(&first).await;
    for statement in [
        "CREATE DATABASE shop",
        "CREATE DATABASE wiki",
        "CREATE TABLE wiki.page (id int PRIMARY KEY, body text)",
        "INSERT INTO wiki.page VALUES (1, 'left alone')",
        "CREATE TABLE shop.orders (id bigint NOT NULL PRIMARY KEY, customer int NOT NULL, \
         total decimal(10,2) NOT NULL DEFAULT 0, at timestamp NOT NULL DEFAULT current_timestamp, \
         KEY customer (customer)) COMMENT 'made by hand'",
        "CREATE VIEW shop.totals AS SELECT customer, SUM(total) AS total FROM shop.orders \
         GROUP BY customer",
    ] {
        first.run(statement).await;
    }
    let rows: Vec<String> = (1..=ROWS)
        .map(|id| format!("({id}, {}, {id}.5)", id % 97))
        .collect();
    let insert = "INSERT INTO shop.orders (id, customer, total) VALUES";
    first.run(&format!("{insert} {}", rows.join(", "))).await;
    let query = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = 'shop'";
    lab.until("the replica has the tables", |_| {
        let there = now(second.query::<u64>(query));
        (there == [2]).then_some(())
    });
    [first, second]
}

fn now<T>(future: impl Future<Output = T>) -> T {
    block_in_place(|| Handle::current().block_on(future))
}

/// Imports the pair; gives the path of the spec.
fn import(lab: &Lab, [first, second]: &[HandMade; 2]) -> String {
    // The replica is given first: who is primary is found.
    let (one, two) = (first.address(), second.address());
    let mut args = vec!["import", "servers", &two, &one, "--user", DBA.0];
    args.extend(["--cluster", "shop", "--out", "shop/shop.yaml"]);
    let undecided = lab.run(&args).expect(1);
    assert!(
        undecided.stderr.contains("shop, wiki"),
        "{}",
        undecided.stderr
    );
    args.extend(["--database", "shop", "--adopt"]);
    let imported = lab.run(&args).expect(0);
    assert!(!imported.stderr.contains(DBA.1) && !imported.stdout.contains(DBA.1));
    assert!(
        imported.stderr.contains("it has views"),
        "{}",
        imported.stderr
    );

    let path = lab.dir().join("shop/shop.yaml");
    let spec = std::fs::read_to_string(&path).expect("the spec");
    let body = spec.split_once("\n\n").expect("comments, then the spec").1;
    let body = body.replace(&one, "ONE").replace(&two, "TWO");
    assert_eq!(
        body,
        "vtplan: 1\ncluster: shop\ncells: [zone1]\n\nkeyspaces:\n  shop:\n    durability: none\n    \
         tablets:\n      - { cell: zone1, server: \"ONE\" }\n      - { cell: zone1, server: \"TWO\" }\n    \
         schema: schema/shop.sql\n\ngates:\n  zone1: { count: 1, mysql_port: 15306 }\n"
    );
    let schema = std::fs::read_to_string(lab.dir().join("shop/schema/shop.sql")).expect("a schema");
    assert!(schema.contains("COMMENT='made by hand'"), "{schema}");
    // Applications connect as somebody.
    let users = "\nusers:\n  app: { password_env: VTPLAN_APP_PASSWORD }\n";
    let backups = format!(
        "\nbackups: {{ location: \"file://{}\" }}\n",
        lab.dir().display()
    );
    lab.write("shop/shop.yaml", &(spec + users + &backups))
}

/// The plan is empty and there is no drift.
fn nothing_differs(lab: &mut Lab, spec: &str) {
    let planned = lab.until("the cluster is seen", |lab| {
        let planned = lab.run(&["plan", spec, "--detailed-exitcode"]);
        let unseen = planned.code == 1 || planned.stdout.contains("cannot be seen");
        (!unseen).then_some(planned)
    });
    let planned = planned.expect(0);
    assert!(planned.stdout.contains("No changes"), "{}", planned.stdout);
    let drift = lab.run(&["drift", spec]).expect(0);
    assert!(drift.stdout.contains("No drift"), "{}", drift.stdout);
}

/// Queries, of the replica too, and a write that comes to it.
async fn served(lab: &mut Lab) {
    let counted: Vec<u64> = lab.query("zone1", "shop", COUNT).await.expect("a query");
    assert_eq!(counted, [ROWS]);
    let insert = "INSERT INTO orders (id, customer) VALUES (1000000, 1)";
    lab.query::<u64>("zone1", "shop", insert)
        .await
        .expect("a write");
    // vtplan sees nothing of their files, and says so.
    let refused = lab.run(&["backup", "run", "shop"]).expect(1);
    assert!(
        refused.stdout.contains("vtplan does not see its files"),
        "{}",
        refused.stdout
    );
    lab.until("the replica serves the write", |lab| {
        let there = now(lab.query::<u64>("zone1", "shop@replica", COUNT)).ok()?;
        (there == [ROWS + 1]).then_some(())
    });
}

/// Gives the keyspace two shards with servers of vtplan's own, while an application writes.
async fn shard(lab: &mut Lab, spec: &str) {
    let text = std::fs::read_to_string(spec).expect("the spec");
    let (head, rest) = text.split_once("    tablets:").expect("tablets");
    let (_, tail) = rest.split_once("    schema:").expect("a schema");
    let sharded = "    shards: [-80, 80-]\n    tablets: { zone1: { replica: 1 } }\n    \
         vindexes: { xxhash: { type: xxhash } }\n    \
         tables: { orders: { vindexes: [{ column: customer, name: xxhash }] } }\n    schema:";
    lab.write("shop/shop.yaml", &format!("{head}{sharded}{tail}"));

    let stop = Arc::new(AtomicBool::new(false));
    let pool = lab.client("zone1", "shop");
    let writer = tokio::spawn(write(pool.clone(), stop.clone()));
    let applied: Output = block_in_place(|| lab.run(&["apply", spec, "--auto-approve"]));
    let applied = applied.expect(0);
    for said in ["2 servers to release", "no data is deleted"] {
        assert!(applied.stdout.contains(said), "{}", applied.stdout);
    }
    stop.store(true, Ordering::Relaxed);
    let written = writer.await.expect("no write failed");
    let rows: Vec<u64> = lab
        .query("zone1", "shop", "SELECT id FROM orders")
        .await
        .expect("a query");
    assert_eq!(rows.len() as u64, ROWS + 1 + written);
    nothing_differs(lab, spec);
    let _ = pool.disconnect().await;
}

async fn write(pool: mysql_async::Pool, stop: Arc<AtomicBool>) -> u64 {
    let mut conn = pool.get_conn().await.expect("a connection");
    let mut written = 0;
    while !stop.load(Ordering::Relaxed) {
        let insert = format!(
            "INSERT INTO orders (id, customer) VALUES ({}, {})",
            2_000_000 + written,
            written % 89
        );
        conn.query_drop(insert).await.expect("a write");
        written += 1;
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    written
}

/// The servers have their data, and nothing of vtplan's.
async fn released([first, second]: &[HandMade; 2]) {
    for server in [first, second] {
        let databases: Vec<String> = server.query("SHOW DATABASES").await;
        assert!(
            !databases.iter().any(|name| name.starts_with("_vt")),
            "{databases:?}"
        );
        let query = "SELECT User FROM mysql.user WHERE User LIKE 'vt%'";
        let accounts: Vec<String> = server.query(query).await;
        assert!(accounts.is_empty(), "{accounts:?}");
        let rows: Vec<u64> = server.query("SELECT COUNT(*) FROM shop.orders").await;
        assert!(rows[0] > ROWS);
        let pages: Vec<String> = server.query("SELECT body FROM wiki.page").await;
        assert_eq!(pages, ["left alone"]);
    }
    // They replicate as before.
    first
        .run("INSERT INTO wiki.page VALUES (2, 'written')")
        .await;
    let end = Instant::now() + vtplan_tests::lab::PATIENCE;
    while second.query::<u64>("SELECT COUNT(*) FROM wiki.page").await != [2] {
        assert!(
            Instant::now() < end,
            "the released replica does not replicate"
        );
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_keeps_servers_from_being_adopted_is_named_with_the_way_out() {
    let mut lab = Lab::new("shop", Server::MariaDb);
    let folder = lab.dir().to_owned();
    let start = async |name: &str, id, options: &[&str]| {
        HandMade::start(&Server::MariaDb, &folder.join(name), id, options).await
    };
    let plain = start("plain", 41, &["--skip-log-bin", "--binlog-format=MIXED"]).await;
    let first = start("first", 42, &[]).await;
    let second = start("second", 43, &[]).await;
    first.run("CREATE DATABASE shop").await;
    plain.run("CREATE DATABASE blog").await;
    second
        .run(&format!(
            "CHANGE MASTER TO MASTER_HOST = '127.0.0.1', MASTER_PORT = {}, MASTER_USER = '{}', \
             MASTER_PASSWORD = '{}', MASTER_USE_GTID = no",
            first.port,
            DBA.0,
            DBA.1.replace('\'', "''")
        ))
        .await;
    second.run("START SLAVE").await;
    let query = "SELECT COUNT(*) FROM information_schema.processlist WHERE command = 'Binlog Dump'";
    lab.until("the replica is connected", |_| {
        (now(first.query::<u64>(query)) == [1]).then_some(())
    });

    let silent = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let web = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let place =
        |listener: &std::net::TcpListener| listener.local_addr().expect("an address").to_string();
    let (silent_at, web_at) = (place(&silent), place(&web));
    std::thread::spawn(move || {
        use std::io::Write as _;
        while let Ok((mut stream, _)) = web.accept() {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
        }
    });
    let closed = std::net::TcpListener::bind("127.0.0.1:0").expect("a listener");
    let closed_at = place(&closed);
    drop(closed);

    let import = |lab: &Lab, servers: &[&str], password: &str| {
        let mut command = vec![
            "import",
            "servers",
            "--user",
            DBA.0,
            "--out",
            "new/shop.yaml",
        ];
        command.extend(servers);
        let output = lab
            .command(&command)
            .env("VTPLAN_IMPORT_PASSWORD", password)
            .output();
        let output = output.expect("vtplan starts");
        assert_eq!(output.status.code(), Some(1));
        assert!(!lab.dir().join("new").exists(), "something was written");
        let text = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!text.contains(password), "{text}");
        text
    };
    // All servers at once: the silent one keeps none of the others from being told of.
    let all = [silent_at.as_str(), &web_at, &closed_at, &first.address()];
    let text = import(&lab, &all, "not it");
    for said in [
        format!("{silent_at}: it accepts connections and says nothing"),
        format!("{web_at}: what answers there is no MySQL server: it begins with `HTTP/1.1"),
        format!("{closed_at}: cannot connect"),
        format!("{}: it denies access to `dba`", first.address()),
        "4 servers could not be looked at".to_owned(),
    ] {
        assert!(text.contains(&said), "no `{said}` in\n{text}");
    }
    let by_name = format!("localhost:{}", first.port);
    let all = [
        &*plain.address(),
        &first.address(),
        &second.address(),
        &by_name,
    ];
    let text = import(&lab, &all, DBA.1);
    for said in [
        "it writes no binlog (log_bin is OFF)",
        "and restart it (this cannot be set while it runs): log_bin = binlog",
        "by positions in files, not by GTID",
        "CHANGE MASTER TO MASTER_USE_GTID = slave_pos",
        "it is the same server as",
    ] {
        assert!(text.contains(said), "no `{said}` in\n{text}");
    }
    let servers: BTreeSet<&str> = text.lines().filter(|l| l.contains("help:")).collect();
    assert!(servers.len() >= 3, "{text}");
}
