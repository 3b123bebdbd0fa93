//! `vtplan state`: files of all records, in and out of stores, and files that are none.

mod support;

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use support::{Place, put};
use vtplan_state::model::{KeyspaceName, KeyspaceRecord, UserRecord};
use vtplan_state::store::Op;

async fn shop(place: &Place) {
    let cluster = place.cluster("shop").await;
    cluster.ensure_credentials().await.expect("credentials");
    let name = KeyspaceName::new("commerce").expect("a name");
    let keyspace = KeyspaceRecord {
        name: name.clone(),
        durability: Default::default(),
    };
    let user = UserRecord::from_password("app", "secret");
    let ops = vec![
        Op::put(cluster.keys().keyspace(&name), &keyspace),
        Op::put(cluster.keys().user("app"), &user),
    ];
    put(&cluster, ops).await;
}

fn mode(place: &Place, file: &str) -> u32 {
    let metadata = fs::metadata(place.path(file)).expect("a file");
    metadata.permissions().mode() & 0o777
}

#[tokio::test]
async fn records_are_saved_and_put_back() {
    let place = Place::new();
    shop(&place).await;
    check!(place, "export", ["state", "export", "--out", "shop.json"]);
    assert_eq!(mode(&place, "shop.json"), 0o600);
    let (_, stdout, _) = place.output(&["state", "export"]);
    assert_eq!(
        stdout,
        fs::read_to_string(place.path("shop.json")).expect("a file")
    );

    check!(
        place,
        "import-into-records",
        ["state", "import", "shop.json"]
    );
    check!(
        place,
        "import-replace",
        ["state", "import", "shop.json", "--replace"]
    );
    let other = ["state", "import", "shop.json", "--state", "sqlite:other.db"];
    check!(
        place,
        "import-elsewhere",
        [other[0], other[1], other[2], other[3], other[4]]
    );
    let (code, there, _) = place.output(&["state", "export", "--state", "sqlite:other.db"]);
    assert_eq!(code, 0);
    assert!(there.contains("\"users/app\""), "{there}");
    let (_, history, _) = place.output(&["history"]);
    assert!(
        history.contains("Put back 4 records as of revision 3"),
        "{history}"
    );
    let args = ["state", "import", "shop.json", "--cluster", "shop2"];
    check!(
        place,
        "import-other-cluster",
        [args[0], args[1], args[2], args[3], args[4]]
    );
}

#[tokio::test]
async fn a_file_that_is_not_whole_or_no_export_changes_nothing() {
    let place = Place::with_examples();
    shop(&place).await;
    let (_, before, _) = place.output(&["state", "export"]);
    let newer = before.replace("\"vtplan_state_export\": 1", "\"vtplan_state_export\": 2");
    place.write("cut.json", &before[..before.len() / 2]);
    place.write("changed.json", &before.replace("semi_sync", "none"));
    place.write("newer.json", &newer);
    place.write("empty.json", "");
    fs::write(place.path("binary"), [0u8, 159, 146, 150, 10, 255]).expect("a file");
    for (name, file) in [
        ("bad-cut", "cut.json"),
        ("bad-changed", "changed.json"),
        ("bad-newer", "newer.json"),
        ("bad-empty", "empty.json"),
        ("bad-binary", "binary"),
        ("bad-spec", "specs/commerce.yaml"),
        ("bad-folder", "specs"),
        ("bad-missing", "nowhere.json"),
    ] {
        check!(place, name, ["state", "import", file, "--replace"]);
    }
    check!(
        place,
        "bad-json",
        ["state", "import", "cut.json", "--format", "json"]
    );
    assert_eq!(place.output(&["state", "export"]).1, before);
    check!(
        place,
        "bad-out",
        ["state", "export", "--out", "no/such/folder.json"]
    );
    // Nothing is made where there is no store.
    let args = ["state", "export", "--state", "sqlite:none.db"];
    check!(place, "no-store", [args[0], args[1], args[2], args[3]]);
    assert!(!place.path("none.db").exists());
}

#[tokio::test]
async fn backups_are_quiet_and_old_ones_go() {
    let place = Place::new();
    shop(&place).await;
    for name in ["20240101-000000", "20240102-000000", "20240103-000000"] {
        place.write(&format!("backups/vtplan-shop-{name}.json"), "old");
    }
    let quiet = place.run(&["state", "backup", "--dir", "backups", "--keep", "2", "-q"]);
    assert_eq!(
        quiet,
        "exit code: 0\n----- stdout -----\n----- stderr -----\n"
    );
    let mut left: Vec<String> = fs::read_dir(place.path("backups"))
        .expect("the folder")
        .map(|entry| entry.expect("an entry").file_name().display().to_string())
        .collect();
    left.sort();
    assert_eq!(left.len(), 2, "{left:?}");
    assert_eq!(left[0], "vtplan-shop-20240103-000000.json");
    let newest = format!("backups/{}", left[1]);
    assert_eq!(mode(&place, &newest), 0o600);
    let (code, _, stderr) = place.output(&["state", "import", &newest, "--replace"]);
    assert_eq!((code, stderr.as_str()), (0, ""));

    let (code, stdout, _) =
        place.output(&["state", "backup", "--dir", "new/folder", "--format", "json"]);
    assert_eq!(code, 0);
    let document: serde_json::Value = serde_json::from_str(&stdout).expect("JSON");
    assert_eq!(document["cluster"], "shop");
    assert_eq!(mode(&place, "new/folder"), 0o700);
    place.write("file", "");
    check!(
        place,
        "backup-into-a-file",
        ["state", "backup", "--dir", "file"]
    );
    check!(
        place,
        "backup-keep-none",
        ["state", "backup", "--dir", "backups", "--keep", "0"]
    );
}

#[tokio::test]
async fn a_store_that_lost_its_records_is_not_taken_for_a_new_one() {
    let place = Place::with_examples();
    let cluster = place.cluster("shop").await;
    let keys = cluster.keys();
    // A host that registers again.
    let host = format!("{}hosts/db1", keys.prefix());
    put(
        &cluster,
        vec![Op::delete(keys.cluster()), Op::put(host, &1)],
    )
    .await;
    check!(place, "lost-plan", ["plan", "specs/commerce.yaml"]);
    let args = ["apply", "specs/commerce.yaml", "--auto-approve"];
    let (code, _, stderr) = place.output(&args);
    assert_eq!(code, 1);
    assert!(stderr.contains("vtplan import cluster"), "{stderr}");
}
