//! What only a server can suffer: it is killed and started again, it is away, it has lost data.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use tokio::time::timeout;
use vtplan_state::store::{Change, OpenMode, StoreError, WatchEvent, open};

use crate::helper::add_one;
use crate::kv::{commit, put};
use crate::lab::{Lab, PATIENCE};
use crate::watch::next;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_doubled_when_the_server_is_killed_under_writes_and_watches() {
    const WRITERS: usize = 3;
    let Some(mut lab) = Lab::etcd().await else {
        return;
    };
    let store = lab.store().await;
    let from = store.list("n/").await.unwrap().revision + 1;
    let mut events = lab.store().await.watch("n/", from).await.unwrap();
    let stop = Arc::new(AtomicBool::new(false));
    let mut writers = Vec::new();
    for _ in 0..WRITERS {
        let (store, stop) = (lab.store().await, stop.clone());
        writers.push(tokio::spawn(async move {
            let mut done = Vec::new();
            while !stop.load(Ordering::Relaxed) {
                done.push(add_one(&store, "n/counter").await);
            }
            done
        }));
    }
    for _ in 0..3 {
        tokio::time::sleep(Duration::from_millis(300)).await;
        let server = lab.etcd.as_mut().unwrap();
        server.kill();
        tokio::time::sleep(Duration::from_millis(100)).await;
        server.start().await;
        // Until writes go through again.
        add_one(&store, "n/other").await;
    }
    stop.store(true, Ordering::Relaxed);
    let mut done = Vec::new();
    for writer in writers {
        done.extend(timeout(PATIENCE, writer).await.unwrap().unwrap());
    }
    // Each number was committed by exactly one writer, and none that nobody knows of.
    done.sort_unstable();
    let total = done.len() as u64;
    assert!(total > 0);
    assert_eq!(done, (1..=total).collect::<Vec<_>>());
    let counter = store.get("n/counter").await.unwrap().unwrap();
    assert_eq!(counter.json::<u64>().unwrap(), total);
    // The watch, over three reconnects, has told each of them once and in order.
    let mut told = 0;
    while told < total {
        let WatchEvent::Changes { changes, .. } = next(&mut events).await else {
            panic!("nothing was compacted");
        };
        for change in changes {
            let Change::Put(entry) = change else {
                panic!("nothing was deleted");
            };
            if entry.key == "n/counter" {
                told += 1;
                assert_eq!(entry.json::<u64>().unwrap(), told);
            }
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_watch_over_a_restart_and_a_compaction_starts_over_from_a_listing() {
    let Some(mut lab) = Lab::etcd().await else {
        return;
    };
    let store = lab.store().await;
    let from = commit(&store, put("w/a", "1")).await;
    let watcher = lab.store().await;
    let mut events = watcher.watch("w/", from).await.unwrap();
    next(&mut events).await;
    let server = lab.etcd.as_mut().unwrap();
    server.kill();
    server.start().await;
    // The watch is not polled meanwhile, so it cannot have been told of these.
    commit(&store, put("w/b", "1")).await;
    commit(&store, put("w/a", "2")).await;
    lab.compact().await;
    let last = commit(&store, put("w/c", "1")).await;
    let mut at = from;
    while at < last {
        at = match next(&mut events).await {
            WatchEvent::Resync(listing) => listing.revision,
            WatchEvent::Changes { revision, .. } => revision,
        };
    }
    assert_eq!(at, last);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_that_lost_its_data_leads_to_a_fresh_listing() {
    let Some(mut lab) = Lab::etcd().await else {
        return;
    };
    let store = lab.store().await;
    for number in 0..20 {
        commit(&store, put("w/old", &number.to_string())).await;
    }
    let from = store.list("w/").await.unwrap().revision + 1;
    let mut events = store.watch("w/", from).await.unwrap();
    let told = tokio::spawn(async move { next(&mut events).await });
    tokio::time::sleep(Duration::from_millis(200)).await;
    let data = lab.folder().join("etcd");
    let server = lab.etcd.as_mut().unwrap();
    server.kill();
    std::fs::remove_dir_all(data).unwrap();
    server.start().await;
    let WatchEvent::Resync(listing) = timeout(PATIENCE, told).await.unwrap().unwrap() else {
        panic!("not a listing");
    };
    assert!(listing.entries.is_empty());
    // What the client remembers of the old data does not stand in its way, once it is connected.
    assert_eq!(store.get("w/old").await.unwrap(), None);
    commit(&store, put("w/new", "1")).await;
}

#[tokio::test]
async fn a_server_that_is_away_is_named_with_the_cause() {
    let Some(mut lab) = Lab::etcd().await else {
        return;
    };
    let store = lab.store().await;
    lab.etcd.as_mut().unwrap().kill();
    let (opened, read) = tokio::join!(open(&lab.url, OpenMode::MustExist), store.get("k"));
    let errors = [
        opened.map(|_| ()).unwrap_err(),
        read.map(|_| ()).unwrap_err(),
    ];
    for error in errors {
        assert!(matches!(error, StoreError::Unreachable { .. }), "{error}");
        let text = error.to_string();
        assert!(
            text.contains(&lab.url) && text.contains("refused"),
            "{text}"
        );
    }
}
