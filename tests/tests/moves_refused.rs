//! What stands in the way of a move is named, with what to do, and nothing is half done for it.

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, OptsBuilder};
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{KeyspaceName, ShardName};
use vtplan_state::store::{self, OpenMode};
use vtplan_tests::lab::{Lab, Output};
use vtplan_tests::servers::Server;

const NOTE: &str =
    "create table note (id bigint not null primary key, owner bigint, body varchar(50))";

struct Field {
    lab: Lab,
}

impl Field {
    async fn new() -> Field {
        let mut lab = Lab::new("shop", Server::MariaDb);
        lab.start_agent("host1", "zone1");
        Field { lab }
    }

    /// A spec with these tables in `shop`, and (where `shards` are given) these in `store`.
    fn spec(&self, name: &str, shop: &str, shards: &str, store: &str, changes: &str) -> String {
        let tablets = "durability: none\n    tablets: { zone1: { replica: 1 } }";
        let schema = |keyspace: &str, sql: &str| match sql {
            "" => String::new(),
            _ => format!(
                "schema: {}",
                self.lab
                    .write(&format!("{name}-{keyspace}.sql"), &format!("{sql};\n"))
            ),
        };
        let mut text = format!(
            "vtplan: 1
cluster: shop
cells: [zone1]
users: {{ app: {{ password_env: VTPLAN_APP_PASSWORD }} }}
gates: {{ zone1: {{ count: 1 }} }}
changes: {{ {changes} }}
keyspaces:
  shop:
    {tablets}
    {}
",
            schema("shop", shop)
        );
        if !shards.is_empty() {
            text += &format!(
                "  store:
    shards: [{shards}]
    sharded: true
    {tablets}
    {}
    vindexes: {{ xxhash: {{ type: xxhash }} }}
    {}
",
                schema("store", store),
                match store {
                    "" => "",
                    _ => "tables: { note: { vindexes: [{ column: owner, name: xxhash }] } }",
                }
            );
        }
        self.lab.write(&format!("{name}.yaml"), &text)
    }

    fn apply(&self, spec: &str) -> Output {
        let args = ["apply", spec, "--auto-approve", "--approve-destructive"];
        tokio::task::block_in_place(|| self.lab.run(&args))
    }

    /// What `workflow show` prints once it says these words, in whatever case.
    fn shows(&mut self, words: &str) -> Output {
        tokio::task::block_in_place(|| {
            self.lab
                .until(&format!("the workflow shows `{words}`"), |lab| {
                    let shown = lab.run(&["workflow", "show", "store.shop2store"]).expect(0);
                    shown.stdout.to_lowercase().contains(words).then_some(shown)
                })
        })
    }

    /// The server of a shard's primary, as vtplan's administrator.
    async fn server(&self, keyspace: &str, shard: &str) -> Conn {
        let store = store::open(&self.lab.state_url(), OpenMode::MustExist)
            .await
            .expect("the store");
        let cluster = Cluster::open(store, "shop")
            .await
            .expect("readable")
            .expect("a cluster");
        let accounts = cluster
            .credentials()
            .await
            .expect("readable")
            .expect("accounts");
        let records = cluster.load_records().await.expect("records");
        let keyspace: KeyspaceName = keyspace.parse().expect("a name");
        let shard: ShardName = shard.parse().expect("a shard");
        let record = records.shard(&keyspace, &shard).expect("the shard");
        let primary = record.primary.as_ref().expect("a primary");
        let opts = OptsBuilder::default()
            .ip_or_hostname("127.0.0.1")
            .tcp_port(records.tablets[primary].mysql_port)
            .user(Some(accounts.admin_user))
            .pass(Some(accounts.admin_password))
            .db_name(Some(keyspace.as_str()))
            .prefer_socket(false);
        Conn::new(opts).await.expect("the server answers")
    }

    async fn on(&self, keyspace: &str, shard: &str, sql: &str) {
        let mut conn = self.server(keyspace, shard).await;
        conn.query_drop(sql).await.expect(sql);
    }
}

#[track_caller]
fn says(output: &Output, words: &[&str]) {
    let all = format!("{}\n{}", output.stdout, output.stderr);
    for word in words {
        assert!(all.contains(word), "`{word}` is not said in:\n{all}");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn rows_that_cannot_move_are_named() {
    let mut field = Field::new().await;
    let begin = field.spec("begin", NOTE, "-80, 80-", "", "vdiff: required");
    field.apply(&begin).expect(0);
    field.lab.start_gate("zone1");
    field
        .on(
            "shop",
            "0",
            "insert into note values (1, 1, 'a'), (7, null, 'nobody'), (9, 2, 'b')",
        )
        .await;

    // The sharding column is NULL in one row.
    let there = field.spec("there", "", "-80, 80-", NOTE, "vdiff: required");
    let refused = field.apply(&there);
    assert_eq!(refused.code, 1, "{}{}", refused.stdout, refused.stderr);
    says(&refused, &["note", "owner", "7"]);

    // Mended at the source, the same spec goes through.
    field
        .on("shop", "0", "update note set owner = 3 where id = 7")
        .await;
    field.lab.run(&["workflow", "resume", "store.shop2store"]);
    field.apply(&there).expect(0);
    let rows: Vec<u64> = field
        .lab
        .query("zone1", "store", "select id from note")
        .await
        .expect("rows");
    assert_eq!(rows.len(), 3);

    // Two shards have a row with the same key: one server cannot hold both.
    field
        .on(
            "store",
            "-80",
            "replace into note values (100, 1000000, 'left')",
        )
        .await;
    field
        .on(
            "store",
            "80-",
            "replace into note values (100, 1000001, 'right')",
        )
        .await;
    let merged = field.spec("merged", "", "\"-\"", NOTE, "vdiff: required");
    let refused = field.apply(&merged);
    assert_eq!(refused.code, 1, "{}{}", refused.stdout, refused.stderr);
    says(&refused, &["note", "100", "uplicate"]);
    let back = field.apply(&there);
    assert_eq!(back.code, 0, "{}{}", back.stdout, back.stderr);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn what_happens_to_the_source_or_target_meanwhile_stops_the_move_with_words() {
    let mut field = Field::new().await;
    let begin = field.spec("begin", NOTE, "-80, 80-", "", "");
    field.apply(&begin).expect(0);
    field.lab.start_gate("zone1");
    field
        .on(
            "shop",
            "0",
            "insert into note values (1, 1, 'a'), (2, 2, 'b')",
        )
        .await;

    // There is a table of that name with rows in it.
    field.on("store", "-80", NOTE).await;
    field
        .on("store", "-80", "insert into note values (50, 5, 'other')")
        .await;
    let waits = "vdiff: skip, approve: [switch_writes]";
    let there = field.spec("there", "", "-80, 80-", NOTE, waits);
    let refused = field.apply(&there);
    assert_eq!(refused.code, 1, "{}{}", refused.stdout, refused.stderr);
    says(&refused, &["store", "note", "-80"]);
    field.on("store", "-80", "drop table note").await;
    field.apply(&there).expect(3);

    // Another change of the same tables while the workflow runs.
    let elsewhere = field.spec("elsewhere", "", "-40, 40-", NOTE, waits);
    let refused = field.apply(&elsewhere);
    assert_eq!(refused.code, 1, "{}{}", refused.stdout, refused.stderr);
    says(&refused, &["shop2store"]);

    // DDL at the source.
    field
        .on("shop", "0", "alter table note add column more int")
        .await;
    field
        .on("shop", "0", "insert into note values (3, 3, 'c', 4)")
        .await;
    let shown = field.shows("alter table");
    says(&shown, &["note"]);
    let refused = field.lab.run(&[
        "apply",
        &there,
        "--auto-approve",
        "--approve",
        "switch_writes",
    ]);
    assert_eq!(refused.code, 1, "{}{}", refused.stdout, refused.stderr);

    // Back to the start, with the column away again.
    field
        .on("shop", "0", "alter table note drop column more")
        .await;
    field.apply(&begin).expect(0);
    let mut rows: Vec<u64> = field
        .lab
        .query("zone1", "shop", "select id from note")
        .await
        .expect("rows");
    rows.sort_unstable();
    assert_eq!(rows, [1, 2, 3]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn purged_binlogs_are_told_and_the_copy_can_begin_anew() {
    let mut field = Field::new().await;
    let begin = field.spec("begin", NOTE, "-80, 80-", "", "");
    field.apply(&begin).expect(0);
    field.lab.start_gate("zone1");
    field
        .on(
            "shop",
            "0",
            "insert into note values (1, 1, 'a'), (2, 2, 'b')",
        )
        .await;
    let there = field.spec(
        "there",
        "",
        "-80, 80-",
        NOTE,
        "vdiff: skip, approve: [switch_writes]",
    );
    field.apply(&there).expect(3);
    field
        .lab
        .run(&["workflow", "pause", "store.shop2store"])
        .expect(0);
    let mut source = field.server("shop", "0").await;
    source
        .query_drop("insert into note values (3, 3, 'c')")
        .await
        .expect("insert");
    source.query_drop("flush binary logs").await.expect("flush");
    source
        .query_drop("insert into note values (4, 4, 'd')")
        .await
        .expect("insert");
    source.query_drop("flush binary logs").await.expect("flush");
    let logs: Vec<mysql_async::Row> = source.query("show binary logs").await.expect("logs");
    let last: String = logs.last().expect("a log").get(0).expect("its name");
    // A dump thread that is just ending may still hold a file.
    for _ in 0..50 {
        source
            .query_drop(format!("purge binary logs to '{last}'"))
            .await
            .expect("purge");
        let logs: Vec<mysql_async::Row> = source.query("show binary logs").await.expect("logs");
        if logs.len() == 1 {
            break;
        }
        tokio::time::sleep(std::time::Duration::from_millis(100)).await;
    }
    drop(source);
    field
        .lab
        .run(&["workflow", "resume", "store.shop2store"])
        .expect(0);
    let shown = field.shows("purged");
    says(&shown, &["cancel"]);
    // As it says: cancelled, and applied again, it is copied anew.
    field
        .lab
        .run(&[
            "workflow",
            "cancel",
            "store.shop2store",
            "--auto-approve",
            "--approve-destructive",
        ])
        .expect(0);
    let there = field.spec("again", "", "-80, 80-", NOTE, "vdiff: required");
    field.apply(&there).expect(0);
    let mut rows: Vec<u64> = field
        .lab
        .query("zone1", "store", "select id from note")
        .await
        .expect("rows");
    rows.sort_unstable();
    assert_eq!(rows, [1, 2, 3, 4]);
}
