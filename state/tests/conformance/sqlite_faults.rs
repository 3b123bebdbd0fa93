//! What only a file can suffer: a missing, foreign, newer, damaged, read-only, deleted one; a process
//! killed while it writes; a reboot.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt;
use rusqlite::Connection;
use tokio::time::timeout;
use vtplan_state::store::{LeaseKeeper, Op, OpenMode, Store, StoreError, Txn, WatchEvent, open};

use crate::helper::Helper;
use crate::kv::{commit, put};
use crate::lab::{Lab, PATIENCE};

async fn refusal(url: &str, mode: OpenMode) -> StoreError {
    match open(url, mode).await {
        Ok(_) => panic!("{url} was opened"),
        Err(error) => error,
    }
}

fn path(lab: &Lab) -> &Path {
    Path::new(lab.url.strip_prefix("sqlite:").unwrap())
}

#[tokio::test]
async fn a_missing_file_is_made_only_on_request_and_for_the_owner_only() {
    let lab = Lab::sqlite();
    let folder = lab.folder().join("a/b");
    let url = format!("sqlite:{}/state.db", folder.display());
    let error = refusal(&url, OpenMode::MustExist).await;
    assert!(matches!(error, StoreError::NotThere { .. }), "{error}");
    assert!(!lab.folder().join("a").exists());
    let store = open(&url, OpenMode::Create).await.unwrap();
    commit(&store, put("k", "1")).await;
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&folder), 0o700);
    for file in ["state.db", "state.db-wal", "state.db-shm"] {
        assert_eq!(mode(&folder.join(file)), 0o600, "{file}");
    }
    let again = open(&url, OpenMode::MustExist).await.unwrap();
    assert!(again.get("k").await.unwrap().is_some());
}

#[tokio::test]
async fn an_empty_file_is_no_store_yet() {
    let lab = Lab::sqlite();
    fs::write(path(&lab), "").unwrap();
    let error = refusal(&lab.url, OpenMode::MustExist).await;
    assert!(matches!(error, StoreError::NotThere { .. }), "{error}");
    commit(&lab.store().await, put("k", "1")).await;
}

#[tokio::test]
async fn many_may_make_the_file_at_once() {
    for _ in 0..20 {
        let lab = Lab::sqlite();
        let opening = (0..8).map(|_| lab.store());
        let stores: Vec<Arc<dyn Store>> = futures::future::join_all(opening).await;
        for (number, store) in stores.iter().enumerate() {
            commit(store, put(&format!("k/{number}"), "1")).await;
        }
        assert_eq!(stores[0].list("k/").await.unwrap().entries.len(), 8);
    }
}

#[tokio::test]
async fn a_file_of_a_newer_format_is_refused_and_left_alone() {
    let lab = Lab::sqlite();
    drop(lab.store().await);
    let file = Connection::open(path(&lab)).unwrap();
    file.pragma_update(None, "user_version", 7).unwrap();
    drop(file);
    let error = refusal(&lab.url, OpenMode::Create).await;
    assert!(
        matches!(error, StoreError::NewerFormat { found: 7, .. }),
        "{error}"
    );
}

#[tokio::test]
async fn what_is_not_a_store_is_refused_with_the_reason() {
    let lab = Lab::sqlite();
    let refused = async |what: &str| {
        let error = refusal(&lab.url, OpenMode::Create).await.to_string();
        assert!(error.contains(what) && error.contains("--state"), "{error}");
    };
    let text = "keyspaces: nothing of a database ".repeat(100);
    fs::write(path(&lab), &text).unwrap();
    refused("not a state store").await;
    assert_eq!(fs::read_to_string(path(&lab)).unwrap(), text);
    fs::remove_file(path(&lab)).unwrap();

    let other = Connection::open(path(&lab)).unwrap();
    other.execute_batch("CREATE TABLE bookmarks (id)").unwrap();
    refused("another program's database").await;
    drop(other);

    let folder = format!("sqlite:{}", lab.folder().display());
    let error = refusal(&folder, OpenMode::Create).await.to_string();
    assert!(error.contains("not a file"), "{error}");
}

#[tokio::test]
async fn a_damaged_file_is_an_error_and_not_an_empty_listing() {
    let lab = Lab::sqlite();
    let store = lab.store().await;
    for number in 0..50 {
        commit(&store, put(&format!("k/{number}"), &"x".repeat(1000))).await;
    }
    drop(store);
    // The last connection to close writes everything from the log into the file.
    let closed = async {
        while path(&lab).with_extension("db-wal").exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, closed).await.unwrap();
    let mut bytes = fs::read(path(&lab)).unwrap();
    assert!(bytes.len() > 20_000);
    // The first page, with the header and the tables' definitions, stays.
    for byte in &mut bytes[4096..] {
        *byte ^= 0x5a;
    }
    fs::write(path(&lab), &bytes).unwrap();
    let error = match open(&lab.url, OpenMode::MustExist).await {
        Err(error) => error,
        Ok(store) => store.list("k/").await.unwrap_err(),
    };
    assert!(error.to_string().contains("damaged"), "{error}");
}

#[tokio::test]
async fn a_store_that_may_not_be_written_is_read_only() {
    let lab = Lab::sqlite();
    commit(&lab.store().await, put("k", "1")).await;
    let set = |path: &Path, mode| {
        fs::set_permissions(path, fs::Permissions::from_mode(mode)).unwrap();
    };
    for (folder_mode, file_mode) in [(0o755, 0o644), (0o755, 0o666), (0o777, 0o644)] {
        set(lab.folder(), folder_mode);
        for file in fs::read_dir(lab.folder()).unwrap() {
            set(&file.unwrap().path(), file_mode);
        }
        if !nix::unistd::Uid::effective().is_root() {
            // The owner of the folder: the modes for others do not hold.
            set(path(&lab), file_mode & 0o444);
        }
        let mut helper = Helper::start("read-only", &lab.url);
        for _ in 0..2 {
            let said = helper.hear();
            assert!(
                said.starts_with("read-only: "),
                "{folder_mode:o} {file_mode:o}: {said}"
            );
        }
        helper.ends_well();
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_process_killed_while_it_writes_leaves_whole_transactions() {
    let lab = Lab::sqlite();
    let store = lab.store().await;
    let mut last = 0;
    for _ in 0..5 {
        let mut writer = Helper::start("pairs", &lab.url);
        assert_eq!(writer.hear(), "writing");
        writer.kill();
        let listing = store.list("pair/").await.unwrap();
        let [a, b] = &listing.entries[..] else {
            panic!("{listing:?}");
        };
        assert_eq!(a.value, b.value);
        assert_eq!(a.mod_revision, b.mod_revision);
        assert_eq!(listing.revision, a.mod_revision);
        // The next revision is really the next one, and the lock of the dead is free.
        let next = commit(&store, put("k", "1")).await;
        assert_eq!(next, listing.revision + 1);
        assert!(next > last);
        last = next;
    }
}

#[tokio::test]
async fn leases_do_not_outlive_a_reboot() {
    let lab = Lab::sqlite();
    let store = lab.store().await;
    let lease = store.grant(Duration::from_secs(3600)).await.unwrap();
    let txn = Txn::new().then(Op::put_leased("hosts/a", &1, Some(lease)));
    commit(&store, txn).await;
    // Another boot id is what the next open would find after a reboot.
    let file = Connection::open(path(&lab)).unwrap();
    file.execute("UPDATE store SET boot_id = 'of the boot before'", [])
        .unwrap();
    let after = open(&lab.url, OpenMode::MustExist).await.unwrap();
    assert_eq!(after.get("hosts/a").await.unwrap(), None);
    assert!(!after.keep_alive(lease).await.unwrap());
}

#[tokio::test]
async fn a_file_that_was_taken_away_is_noticed() {
    let lab = Lab::sqlite();
    let store = lab.store().await;
    let from = commit(&store, put("k", "1")).await + 1;
    let mut events = store.watch("k", from).await.unwrap();
    for suffix in ["", "-wal", "-shm"] {
        fs::remove_file(format!("{}{suffix}", path(&lab).display())).unwrap();
    }
    let error = timeout(PATIENCE, events.next())
        .await
        .unwrap()
        .unwrap()
        .unwrap_err();
    assert!(error.to_string().contains("deleted or replaced"), "{error}");
    assert!(timeout(PATIENCE, events.next()).await.unwrap().is_none());
    let gone = store.txn(put("k", "2")).await.unwrap_err();
    assert!(matches!(gone, StoreError::Gone { .. }), "{gone}");
    store.get("k").await.unwrap_err();
    // A new process makes a new one.
    assert_eq!(lab.store().await.get("k").await.unwrap(), None);
}

/// A lease that nobody can have seen ending holds; a file that takes the lost one's place is used as
/// soon as it has come as far, and gives out nothing that the lost one gave out.
#[tokio::test]
async fn a_file_that_takes_the_place_of_a_lost_one_is_used_once_it_has_come_as_far() {
    let lab = Lab::sqlite();
    let store = lab.store().await;
    let ttl = Duration::from_secs(1);
    let keeper = LeaseKeeper::start(store.clone(), ttl).await.unwrap();
    keeper.put("hosts/a", &"a").await.unwrap();
    let lease = store.grant(PATIENCE).await.unwrap();
    let last = commit(&store, put("k", "1")).await;
    // Only the file itself: what SQLite keeps beside it must not get into the new one.
    fs::remove_file(path(&lab)).unwrap();
    let gone = async {
        while !matches!(store.get("k").await, Err(StoreError::Gone { .. })) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, gone).await.unwrap();
    tokio::time::sleep(ttl * 3).await;
    assert!(keeper.is_valid());

    let new = lab.store().await;
    assert_eq!(new.get("k").await.unwrap(), None);
    // An empty file changes nothing; one with a cluster is another store.
    let empty = store.get("k").await.unwrap_err();
    assert!(matches!(empty, StoreError::Gone { .. }), "{empty}");
    commit(&new, put("/vtplan/shop/cluster", "1")).await;
    let older = store.get("k").await.unwrap_err();
    assert!(
        older.to_string().contains("start this process anew"),
        "{older}"
    );
    new.continue_after(last + 1000).await.unwrap();
    let fresh = new.grant(PATIENCE).await.unwrap();
    assert!(fresh.0 > lease.0);
    let at = commit(&new, put("k", "2")).await;
    assert!(at > last + 1000);
    let registered = async {
        loop {
            match store.get("hosts/a").await {
                Ok(Some(_)) => return,
                _ => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        }
    };
    timeout(PATIENCE, registered).await.unwrap();
    assert!(keeper.is_valid() && !store.keep_alive(lease).await.unwrap());
    let mut events = store.watch("k", last + 1).await.unwrap();
    let Some(Ok(WatchEvent::Resync(listing))) = timeout(PATIENCE, events.next()).await.unwrap()
    else {
        panic!("not all anew");
    };
    assert_eq!(listing.entries[0].json::<String>().unwrap(), "2");
}
