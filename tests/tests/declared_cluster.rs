//! The main job, from nothing to "No changes", on real servers: one host, SQLite store.

use std::collections::BTreeSet;

use mysql_async::prelude::Queryable;
use serde_json::{Value, json};
use vtplan_tests::lab::{Lab, example};
use vtplan_tests::process::{is_running, kill9};
use vtplan_tests::servers::Server;

const ROWS: &str = "
    insert into product (sku, description, price) values
        ('SKU-1001', 'Monitor', 100), ('SKU-1002', 'Keyboard', 30);
    insert into customer (customer_id, email) values
        (1, 'alice@domain.com'), (2, 'bob@domain.com'), (3, 'charlie@domain.com'),
        (4, 'dan@domain.com'), (5, 'eve@domain.com');
    insert into corder (order_id, customer_id, sku, price) values
        (1, 1, 'SKU-1001', 100), (2, 2, 'SKU-1002', 30), (3, 3, 'SKU-1002', 30),
        (4, 4, 'SKU-1002', 30), (5, 5, 'SKU-1002', 30)";

fn spec_text() -> String {
    let schema = example("schema/commerce.sql");
    let text = std::fs::read_to_string(example("commerce.yaml")).expect("the example");
    text.replace("schema/commerce.sql", &schema.display().to_string())
}

async fn cluster_comes_up_serves_and_follows_a_changed_spec(server: Server) {
    let mut lab = Lab::new("shop", server);
    let spec = lab.write("commerce.yaml", &spec_text());

    // Against nothing running: the whole plan, and nothing is left behind.
    let plan = lab.run(&["plan", &spec, "--detailed-exitcode"]).expect(2);
    for alias in ["zone1-0000000100", "zone1-0000000101", "zone1-0000000102"] {
        assert!(plan.stdout.contains(alias), "{}", plan.stdout);
    }
    assert!(!lab.dir().join("state.db").exists(), "`plan` made a store");
    let refused = lab.run(&["apply", &spec, "--auto-approve"]).expect(1);
    assert!(refused.stderr.contains("agent"), "{}", refused.stderr);

    lab.start_agent("host1", "zone1");
    lab.run(&["apply", &spec, "--auto-approve"]).expect(0);
    lab.start_gate("zone1");
    let again = lab.run(&["apply", &spec, "--auto-approve"]).expect(0);
    assert!(again.stdout.contains("No changes"), "{}", again.stdout);
    lab.run(&["plan", &spec, "--detailed-exitcode"]).expect(0);

    // Rows go in and out, and arrive at the replicas.
    let pool = lab.client("zone1", "commerce");
    let mut conn = pool.get_conn().await.expect("a connection to the gate");
    conn.query_drop(ROWS)
        .await
        .expect("the walkthrough's rows go in");
    let emails: Vec<String> = conn
        .query("select email from customer order by customer_id")
        .await
        .expect("a select");
    assert_eq!(emails.len(), 5);
    assert_eq!(emails[0], "alice@domain.com");
    drop(conn);
    for target in ["commerce@replica", "commerce@rdonly"] {
        let mut last = None;
        for _ in 0..600 {
            let count = lab
                .query::<u64>("zone1", target, "select count(*) from corder")
                .await;
            last = Some(count);
            if matches!(&last, Some(Ok(rows)) if rows == &[5]) {
                break;
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
        assert!(
            matches!(&last, Some(Ok(rows)) if rows == &[5]),
            "{target}: {last:?}"
        );
    }

    // A server that is killed comes back; a killed agent takes no server with it.
    let before = lab.mysqld_pids();
    assert_eq!(before.len(), 3, "{before:?}");
    kill9(before["zone1-0000000100"]);
    lab.until("the primary runs again", |lab| {
        let pids = lab.mysqld_pids();
        (pids.len() == 3 && pids["zone1-0000000100"] != before["zone1-0000000100"]).then_some(())
    });
    let pids = lab.mysqld_pids();
    lab.agents.get_mut("host1").expect("the agent").kill9();
    assert!(
        pids.values().all(|pid| is_running(*pid)),
        "a server died with its agent"
    );
    lab.start_agent("host1", "zone1");
    let mut inserted = Err(mysql_async::Error::Other("not tried".into()));
    for _ in 0..600 {
        inserted = async {
            let mut conn = pool.get_conn().await?;
            conn.query_drop("replace into product values ('SKU-1003', 'Mouse', 10)")
                .await
        }
        .await;
        if inserted.is_ok() {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    inserted.expect("writes go through after the primary came back");
    assert_eq!(
        lab.mysqld_pids(),
        pids,
        "the servers were adopted, not restarted"
    );

    // A changed spec: one more table and one more rdonly tablet.
    let schema = std::fs::read_to_string(example("schema/commerce.sql")).expect("the schema");
    let more = format!("{schema}\ncreate table review (id bigint primary key, body text);\n");
    let schema = lab.write("more.sql", &more);
    let changed = spec_text()
        .replace(
            &example("schema/commerce.sql").display().to_string(),
            &schema,
        )
        .replace("rdonly: 1", "rdonly: 2");
    let changed = lab.write("changed.yaml", &changed);
    let plan_file = lab.dir().join("plan.json").display().to_string();
    let plan = lab
        .run(&["plan", &changed, "--out", &plan_file, "--detailed-exitcode"])
        .expect(2);
    assert!(plan.stdout.contains("review"), "{}", plan.stdout);
    assert!(plan.stdout.contains("zone1-0000000103"), "{}", plan.stdout);
    lab.run(&["apply", &plan_file, "--auto-approve"]).expect(0);
    let stale = lab.run(&["apply", &plan_file, "--auto-approve"]).expect(1);
    assert!(
        stale.stderr.contains("changed"),
        "a stale plan file is refused: {}",
        stale.stderr
    );
    lab.run(&["plan", &changed, "--detailed-exitcode"])
        .expect(0);
    let rows: Vec<u64> = lab
        .query("zone1", "commerce", "select count(*) from review")
        .await
        .expect("a select");
    assert_eq!(rows, [0]);

    // What it was and who did it can be read.
    let status = lab.run(&["status"]).expect(0);
    assert!(
        status.stdout.contains("zone1-0000000103"),
        "{}",
        status.stdout
    );
    let history = lab.run(&["history"]).expect(0);
    assert!(
        history.stdout.contains("create-table"),
        "{}",
        history.stdout
    );

    // The way back: the tablet goes, the table (it may hold data) stays, and the plan says so.
    let back = lab.run(&["plan", &spec, "--detailed-exitcode"]).expect(2);
    assert!(back.stdout.contains("review"), "{}", back.stdout);
    lab.run(&["apply", &spec, "--auto-approve", "--approve-destructive"])
        .expect(0);
    assert_eq!(lab.mysqld_pids().len(), 3);
    let rows: Vec<u64> = lab
        .query("zone1", "commerce", "select count(*) from review")
        .await
        .expect("a select");
    assert_eq!(rows, [0], "a table is not dropped by omission");
    let _ = pool.disconnect().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_cluster_comes_up_on_mariadb() {
    cluster_comes_up_serves_and_follows_a_changed_spec(Server::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_declared_cluster_comes_up_on_mysql() {
    let Some(server) = Server::mysql("a_declared_cluster_comes_up_on_mysql") else {
        return;
    };
    cluster_comes_up_serves_and_follows_a_changed_spec(server).await;
}

async fn sharded_rows_go_where_vitess_puts_them(server: Server) {
    let mut lab = Lab::new("shop", server);
    lab.start_agent("host1", "zone1");
    let spec = example("sharded.yaml").display().to_string();
    lab.run(&["apply", &spec, "--auto-approve"]).expect(0);
    lab.start_gate("zone1");
    let pool = lab.client("zone1", "customer");
    let mut conn = pool.get_conn().await.expect("a connection to the gate");
    for email in ["alice", "bob", "charlie", "dan", "eve"] {
        let sql = format!("insert into customer (email) values ('{email}@domain.com')");
        conn.query_drop(sql)
            .await
            .expect("an insert takes its id from the sequence");
    }
    conn.query_drop(
        "insert into customer (email) values ('frank@domain.com'), ('grace@domain.com'),
         ('heidi@domain.com'), ('ivan@domain.com'), ('judy@domain.com')",
    )
    .await
    .expect("a multi-row insert");
    let ids = |target: &'static str| {
        let lab = &lab;
        async move {
            let sql = "select customer_id from customer order by customer_id";
            lab.query::<u64>("zone1", target, sql).await.expect(target)
        }
    };
    assert_eq!(ids("customer/-80").await, [8, 10]);
    assert_eq!(ids("customer:80-").await, [1, 2, 3, 4, 5, 6, 7, 9]);

    let mut all: Vec<u64> = conn
        .query("select customer_id from customer")
        .await
        .expect("scatter");
    all.sort_unstable();
    assert_eq!(all, (1..=10).collect::<Vec<u64>>());
    let some: Vec<String> = conn
        .query("select email from customer where customer_id in (8, 9)")
        .await
        .expect("IN");
    assert_eq!(some.len(), 2);
    conn.exec_drop(
        "update customer set email = ? where customer_id = ?",
        ("ivan@x", 9),
    )
    .await
    .expect("a routed update");
    assert_eq!(conn.affected_rows(), 1);
    let email: Option<String> = conn
        .exec_first("select email from customer where customer_id = ?", (9,))
        .await
        .expect("a routed select");
    assert_eq!(email.as_deref(), Some("ivan@x"));
    let refused = conn
        .query_drop("select email, count(*) from customer group by email")
        .await;
    let refused = refused.expect_err("not planned yet").to_string();
    assert!(refused.to_lowercase().contains("group by"), "{refused}");
    drop(conn);
    let _ = pool.disconnect().await;
    what_ran_is_counted_and_judged(&lab).await;
}

/// The spec of `sharded.yaml` with `customer` in a keyspace of its own, by `email`.
fn by_email(lab: &Lab) -> String {
    let schema = std::fs::read_to_string(example("schema/customer.sql")).expect("the schema");
    let (customer, corder) = schema.split_at(schema.find("CREATE TABLE corder").expect("corder"));
    let people = lab.write("people.sql", customer);
    let orders = lab.write("orders.sql", corder);
    let product = example("schema/product.sql").display().to_string();
    let text = std::fs::read_to_string(example("sharded.yaml")).expect("the example");
    let (before, after) = text.split_once("\n      customer:\n").expect("customer");
    let after = &after[after.find("      corder:").expect("corder")..];
    let more = format!(
        "\n  people:
    shards: [-80, 80-]
    durability: none
    tablets: {{ zone1: {{ replica: 1 }} }}
    schema: {people}
    vindexes: {{ xxhash: {{ type: xxhash }} }}
    tables:
      customer:
        vindexes: [{{ name: xxhash, column: email }}]
        auto_increment: {{ column: customer_id, sequence: commerce.customer_seq }}

changes:"
    );
    let text = format!("{before}\n{after}")
        .replace("schema/customer.sql", &orders)
        .replace("schema/product.sql", &product)
        .replacen("\nchanges:", &more, 1);
    lab.write("by-email.yaml", &text)
}

/// The gate counts what it runs, by kind; and a change of the spec is judged by it.
async fn what_ran_is_counted_and_judged(lab: &Lab) {
    // Without a keyspace: names lead to where a table is.
    let pool = lab.client("zone1", "");
    let mut conn = pool.get_conn().await.expect("a connection to the gate");
    for id in 1..=3 {
        let sql = format!("select email from customer where customer_id = {id}");
        let rows: Vec<String> = conn.query(sql).await.expect("a routed select");
        assert_eq!(rows.len(), 1);
    }
    for id in 4..=5 {
        let sql = "select email from customer where customer_id = ?";
        let rows: Vec<String> = conn.exec(sql, (id,)).await.expect("a routed select");
        assert_eq!(rows.len(), 1);
    }
    let sql = "select customer_id from customer where email = 'bob@domain.com'";
    let rows: Vec<u64> = conn.query(sql).await.expect("a scatter");
    assert_eq!(rows.len(), 1);
    conn.query_drop(
        "update customer set email = 'secret@domain.com' where customer_id in (1, 8, 9)",
    )
    .await
    .expect("an update over two shards");
    conn.query_drop("select count(*) from customer where customer_id = 7")
        .await
        .expect("a routed count");
    conn.query_drop("select price from product where sku = 'x'")
        .await
        .expect("of the unsharded keyspace");
    drop(conn);
    let _ = pool.disconnect().await;

    let file = lab.dir().join("workload.json").display().to_string();
    lab.run(&["workload", "export", "--out", &file]).expect(0);
    let text = std::fs::read_to_string(&file).expect("the export");
    assert!(!text.contains("secret"), "values are not exported");
    let document: Value = serde_json::from_str(&text).expect("JSON");
    let found = |target: &str, statement: &str| -> Value {
        let kinds = document["kinds"].as_array().expect("kinds").iter();
        let mut of = kinds.filter(|k| k["target"] == target && k["statement"] == statement);
        let kind = of
            .next()
            .unwrap_or_else(|| panic!("{target} {statement}: {text}"));
        assert!(of.next().is_none(), "a kind is there once");
        assert!(
            kind["total_us"].as_u64() >= kind["max_us"].as_u64(),
            "{kind}"
        );
        assert!(
            kind["last_seen"].as_u64() >= kind["first_seen"].as_u64(),
            "{kind}"
        );
        json!(["count", "errors", "rows", "shards"].map(|name| &kind[name]))
    };
    let by_id = "select email from customer where customer_id = ?";
    let by_email_sql = "select customer_id from customer where email = '?'";
    let update = "update customer set email = '?' where customer_id in (?, ? /*, ...*/)";
    let count = "select count(*) from customer where customer_id = ?";
    assert_eq!(found("", by_id), json!([5, 0, 5, 5]));
    assert_eq!(found("", by_email_sql), json!([1, 0, 1, 2]));
    assert_eq!(found("", update), json!([1, 0, 3, 2]));
    let refused = "select email, count(*) from customer group by email";
    assert_eq!(found("customer", refused), json!([1, 1, 0, 0]));
    assert_eq!(
        found("customer", "insert into customer (email) values ('?')"),
        json!([5, 0, 5, 5])
    );

    let spec = by_email(lab);
    let plan = lab
        .run(&["plan", &spec, "--workload", &file, "--format", "json"])
        .expect(0);
    let plan: Value = serde_json::from_str(&plan.stdout).expect("JSON");
    let with = |changes: &[&str]| -> BTreeSet<String> {
        let kinds = plan["workload"]["kinds"].as_array().expect("kinds").iter();
        let of = kinds.filter(|k| {
            k["target"].is_null() && changes.contains(&k["change"].as_str().expect("a change"))
        });
        of.map(|k| k["statement"].as_str().expect("a statement").to_owned())
            .collect()
    };
    // Point queries by id ask both shards; what cannot be put together from two is refused, and so is
    // a change of what rows are placed by.
    assert_eq!(with(&["worse"]), BTreeSet::from([by_id.to_owned()]));
    assert_eq!(
        with(&["refused"]),
        BTreeSet::from([count.to_owned(), update.to_owned()])
    );
    assert_eq!(with(&["better"]), BTreeSet::from([by_email_sql.to_owned()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn sharded_rows_go_where_vitess_puts_them_on_mariadb() {
    sharded_rows_go_where_vitess_puts_them(Server::MariaDb).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn sharded_rows_go_where_vitess_puts_them_on_mysql() {
    let name = "sharded_rows_go_where_vitess_puts_them_on_mysql";
    let Some(server) = Server::mysql(name) else {
        return;
    };
    sharded_rows_go_where_vitess_puts_them(server).await;
}
