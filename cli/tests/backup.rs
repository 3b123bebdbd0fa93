//! `vtplan backup`: what it says of the records that there are, and what it refuses. Agents, which do the
//! work, are in `tests/tests/backups.rs`.

mod support;

use support::{Place, put};
use vtplan_state::model::{
    BackupCheck, BackupMethod, BackupPolicyRecord, BackupRecord, BackupState, FlavorKind,
    KeyspaceName, KeyspaceRecord, ShardName, ShardRecord,
};
use vtplan_state::store::Op;

const GOOD: &str = "20261128-221533-good";
const DAMAGED: &str = "20261127-030000-hurt";
const FAILED: &str = "20261126-030000-none";
const TAKING: &str = "20261128-231500-goes";
const GONE: &str = "20260101-030000-past";

fn backup(id: &str, state: BackupState, at: u64) -> BackupRecord {
    let keyspace = KeyspaceName::new("commerce").expect("a name");
    let mut backup = BackupRecord::new(id.into(), keyspace, ShardName::unsharded(), None, at);
    backup.state = state;
    backup.begun_at = Some(at);
    backup.tablet = Some("zone1-0000000102".parse().expect("a tablet"));
    backup.host = Some("db3".parse().expect("a host"));
    backup.flavor = Some(FlavorKind::MariaDb);
    backup.version = "10.11.6".into();
    backup.location = "file:///nowhere/backups".into();
    if state == BackupState::Complete {
        backup.method = Some(BackupMethod::MariadbBackup);
        backup.position = "0-100-4711".into();
        backup.ended_at = Some(at + 75);
        backup.bytes = 123_456_789;
        backup.files = 204;
        backup.manifest_sha256 = "0".repeat(64);
    }
    backup
}

async fn shop(place: &Place, location: Option<&str>) {
    let cluster = place.cluster("shop").await;
    let keys = cluster.keys();
    let name = KeyspaceName::new("commerce").expect("a name");
    let keyspace = KeyspaceRecord {
        name: name.clone(),
        durability: Default::default(),
    };
    let shard = ShardName::unsharded();
    let mut good = backup(GOOD, BackupState::Complete, 1_795_904_133);
    good.requested_by = Some("ada@desk".into());
    let check = |damage: Vec<String>| BackupCheck {
        requested_at: 1_795_904_300,
        ended_at: Some(1_795_904_360),
        bytes_read: 123_456_789,
        damage,
    };
    good.check = Some(check(Vec::new()));
    let mut damaged = backup(DAMAGED, BackupState::Complete, 1_795_748_400);
    damaged.check = Some(check(vec!["commerce/product.ibd: it is missing".into()]));
    let mut failed = backup(FAILED, BackupState::Failed, 1_795_662_000);
    failed.ended_at = Some(1_795_662_003);
    failed.reason =
        "mariadb-backup (exit status: 1) failed on the server: it hung up\nand more".into();
    let mut taking = backup(TAKING, BackupState::Taking, 1_795_907_700);
    taking.reason = "copying".into();
    taking.bytes = 45_000_000;
    let mut gone = backup(GONE, BackupState::Complete, 1_767_236_400);
    gone.keyspace = KeyspaceName::new("former").expect("a name");
    let mut ops = vec![
        Op::put(keys.keyspace(&name), &keyspace),
        Op::put(
            keys.shard(&name, &shard),
            &ShardRecord::new(name.clone(), shard, true),
        ),
    ];
    for backup in [&good, &damaged, &failed, &taking, &gone] {
        ops.push(Op::put(
            keys.backup(&backup.keyspace, &backup.shard, &backup.id),
            backup,
        ));
    }
    if let Some(location) = location {
        let policy = BackupPolicyRecord {
            location: location.into(),
            schedules: Vec::new(),
        };
        ops.push(Op::put(keys.backup_policy(), &policy));
    }
    put(&cluster, ops).await;
}

#[tokio::test]
async fn backups_are_listed_with_what_became_of_them() {
    let place = Place::new();
    shop(&place, None).await;
    check!(place, "list", ["backup", "list"]);
    check!(place, "list-shard", ["backup", "list", "former/0"]);
    check!(
        place,
        "list-json",
        ["backup", "list", "former", "--format", "json"]
    );
    check!(place, "list-none", ["backup", "list", "customer"]);
    check!(place, "list-bad-shard", ["backup", "list", "commerce/8-x"]);
}

#[tokio::test]
async fn what_cannot_be_taken_says_why_and_what_to_do() {
    let place = Place::new();
    shop(&place, None).await;
    check!(place, "run-no-location", ["backup", "run", "commerce"]);
    check!(place, "run-no-keyspace", ["backup", "run", "comerce"]);
    check!(place, "run-no-shard", ["backup", "run", "commerce/-80"]);
    let place = Place::new();
    shop(&place, Some("s3://bucket/shop")).await;
    check!(place, "run-s3", ["backup", "run", "commerce"]);
    let place = Place::new();
    shop(&place, Some("file:///nowhere/backups")).await;
    check!(
        place,
        "run-detach",
        ["backup", "run", "commerce", "--detach"]
    );
    let (_, history, _) = place.output(&["history"]);
    assert!(history.contains("Asked for the backup"), "{history}");
}

#[tokio::test]
async fn what_is_no_whole_backup_is_neither_verified_nor_extracted() {
    let place = Place::new();
    shop(&place, None).await;
    check!(
        place,
        "verify-unknown",
        ["backup", "verify", "20261128-221533-odd"]
    );
    check!(place, "verify-failed", ["backup", "verify", FAILED]);
    check!(
        place,
        "extract-taking",
        ["backup", "extract", TAKING, "out"]
    );
    check!(
        place,
        "extract-not-seen",
        ["backup", "extract", GOOD, "out"]
    );
    place.write("out/file", "");
    check!(place, "extract-there", ["backup", "extract", GOOD, "out"]);
    let args = [
        "backup",
        "extract",
        GOOD,
        "new",
        "--location",
        "file:///nowhere/backups",
    ];
    check!(
        place,
        "extract-unnamed",
        [args[0], args[1], args[2], args[3], args[4], args[5]]
    );
}

#[tokio::test]
async fn the_last_good_backup_and_one_that_is_taken_stay() {
    let place = Place::new();
    shop(&place, None).await;
    check!(place, "remove-last", ["backup", "remove", GOOD]);
    check!(place, "remove-taking", ["backup", "remove", TAKING]);
    // It has no files.
    check!(place, "remove-failed", ["backup", "remove", FAILED]);
    let forget = ["backup", "remove", DAMAGED, "--forget"];
    check!(
        place,
        "remove-forget",
        [forget[0], forget[1], forget[2], forget[3]]
    );
    let (_, left, _) = place.output(&["backup", "list", "commerce"]);
    assert_eq!(left.lines().count(), 3, "{left}");
    let (_, history, _) = place.output(&["history"]);
    assert!(history.contains("Forgot the backup"), "{history}");
}
