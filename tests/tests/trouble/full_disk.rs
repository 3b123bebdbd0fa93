//! The disk of a target fills up while tables are moved to it: the stream says so in the server's words,
//! and once there is room everything goes on by itself and nothing is missing.

use mysql_async::prelude::Queryable;
use vtplan_tests::Tmpfs;
use vtplan_tests::inside::Inside;
use vtplan_tests::lab::{Lab, PATIENCE};
use vtplan_tests::servers::{Server, skip};

const WORKFLOW: &str = "store.shop2store";
const ROWS: u64 = 30_000;

fn spec(lab: &Lab, name: &str, moved: bool) -> String {
    let note = lab.write(
        "note.sql",
        "create table note (id bigint primary key, body varchar(2000));\n",
    );
    let (shop, store) = match moved {
        false => (format!("schema: {note}"), String::new()),
        true => (String::new(), format!("schema: {note}")),
    };
    lab.write(
        name,
        &format!(
            "vtplan: 1
cluster: shop
cells: [zone1, zone2]
users: {{ app: {{ password_env: VTPLAN_APP_PASSWORD }} }}
changes: {{ vdiff: required, fit: warn }}
keyspaces:
  shop:
    durability: none
    tablets: {{ zone1: {{ replica: 1 }} }}
    {shop}
  store:
    durability: none
    tablets: {{ zone2: {{ replica: 1 }} }}
    {store}
"
        ),
    )
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_target_whose_disk_is_full_is_said_to_be_and_goes_on_when_there_is_room() {
    let test = "a_target_whose_disk_is_full_is_said_to_be_and_goes_on_when_there_is_room";
    // Before the lab, so that it goes after the lab's processes.
    let Some(disk) = Tmpfs::mount("size=1g") else {
        return skip(test, "a tmpfs may not be mounted here");
    };
    let mut lab = Lab::new("shop", Server::MariaDb);
    std::fs::create_dir_all(lab.dir().join("hosts")).expect("a folder");
    std::os::unix::fs::symlink(disk.path(), lab.agent_data("target")).expect("a link");
    lab.start_agent("source", "zone1");
    lab.start_agent("target", "zone2");
    let begin = spec(&lab, "begin.yaml", false);
    lab.run(&["apply", &begin, "--auto-approve"]).expect(0);
    let inside = Inside::open(&lab, "shop").await;
    let mut source = inside.on_primary("shop", "0").await;
    for first in (0..ROWS).step_by(500) {
        let rows: Vec<String> = (first..first + 500)
            .map(|id| format!("({id}, repeat('{id:x}-', 200))"))
            .collect();
        let insert = format!("insert into note values {}", rows.join(","));
        source.query_drop(insert).await.expect("rows");
    }

    // Room for some of the rows.
    disk.remount(&format!("size={}", disk.used() + (16 << 20)));
    let there = spec(&lab, "there.yaml", true);
    let mut apply = lab.start(
        "apply",
        &["apply", &there, "--auto-approve", "--approve-destructive"],
    );
    let said = lab.until("the stream says that there is no room", |lab| {
        let shown = lab.run(&["workflow", "show", WORKFLOW]).stdout;
        assert!(apply.is_alive(), "{}", apply.log());
        let words = ["is full", "disk full", "No space left"];
        words
            .iter()
            .any(|word| shown.contains(word))
            .then_some(shown)
    });
    eprintln!("{said}");
    disk.remount("size=1g");
    // MariaDB looks for room once a minute only.
    let status = apply.wait(2 * PATIENCE).and_then(|status| status.code());
    assert_eq!(status, Some(0), "{}\n{}", apply.log(), lab.report());
    let mut target = inside.on_primary("store", "0").await;
    let wrong = "select count(*) from note where body is null or body <> repeat(concat(lower(hex(id)), '-'), 200)";
    let rows: Option<u64> = target
        .query_first("select count(*) from note")
        .await
        .expect("a count");
    let wrong: Option<u64> = target.query_first(wrong).await.expect("a count");
    assert_eq!((rows, wrong), (Some(ROWS), Some(0)));
}
