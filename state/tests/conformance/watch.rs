//! Watches.

use std::collections::BTreeMap;
use std::sync::Arc;

use futures::StreamExt;
use tokio::time::timeout;
use vtplan_state::store::{Change, Op, Store, Txn, WatchEvent, WatchStream};

use crate::kv::{commit, put};
use crate::lab::{Lab, PATIENCE};

crate::on_both_stores!(
    a_watch_tells_every_change_from_its_revision_on,
    a_transaction_is_told_as_one_event,
    a_watch_sees_every_event_once_in_order_under_concurrent_writers,
    a_watch_from_a_compacted_revision_starts_over_from_a_listing,
    a_reader_that_lags_behind_a_compaction_starts_over,
);

pub async fn next(events: &mut WatchStream) -> WatchEvent {
    let event = timeout(PATIENCE, events.next()).await;
    event.expect("an event in time").expect("no end").unwrap()
}

fn deleted(key: &str) -> Change {
    Change::Delete {
        key: key.to_owned(),
    }
}

async fn entry(store: &Arc<dyn Store>, key: &str) -> Change {
    Change::Put(store.get(key).await.unwrap().unwrap())
}

async fn a_watch_tells_every_change_from_its_revision_on(lab: &Lab) {
    let store = lab.store().await;
    commit(&store, put("w/old", "1")).await;
    let from = commit(&store, put("w/a", "1")).await;
    let first = entry(&store, "w/a").await;
    commit(&store, put("x/a", "other prefix")).await;
    let mut events = store.watch("w/", from).await.unwrap();
    let told = |revision, change: &Change| WatchEvent::Changes {
        revision,
        changes: vec![change.clone()],
    };
    assert_eq!(next(&mut events).await, told(from, &first));
    // Later ones, by another handle.
    let other = lab.store().await;
    let second = commit(&other, put("w/a", "2")).await;
    assert_eq!(
        next(&mut events).await,
        told(second, &entry(&store, "w/a").await)
    );
    let third = commit(&other, Txn::new().then(Op::delete("w/a"))).await;
    assert_eq!(next(&mut events).await, told(third, &deleted("w/a")));
    commit(&other, Txn::new().then(Op::delete("w/none"))).await;
    commit(&other, put("w", "not under the prefix")).await;
    let last = commit(&other, put("w/b", "3")).await;
    assert_eq!(
        next(&mut events).await,
        told(last, &entry(&store, "w/b").await)
    );
}

async fn a_transaction_is_told_as_one_event(lab: &Lab) {
    let store = lab.store().await;
    commit(&store, put("w/gone", "1")).await;
    let from = store.list("w/").await.unwrap().revision + 1;
    let mut events = store.watch("w/", from).await.unwrap();
    let txn = Txn::new()
        .then(Op::put("w/a", &"1"))
        .then(Op::put("v/b", &"1"))
        .then(Op::put("w/c", &"1"))
        .then(Op::delete("w/gone"));
    let at = commit(&store, txn).await;
    let WatchEvent::Changes { revision, changes } = next(&mut events).await else {
        panic!("not changes");
    };
    assert_eq!(revision, at);
    let mut keys: Vec<_> = changes.iter().map(key).collect();
    keys.sort_unstable();
    assert_eq!(keys, ["w/a", "w/c", "w/gone"]);
}

fn key(change: &Change) -> &str {
    match change {
        Change::Put(entry) => &entry.key,
        Change::Delete { key } => key,
    }
}

async fn a_watch_sees_every_event_once_in_order_under_concurrent_writers(lab: &Lab) {
    const WRITERS: usize = 4;
    const WRITES: u64 = 40;
    let store = lab.store().await;
    let from = store.list("w/").await.unwrap().revision + 1;
    let mut watches = vec![
        store.watch("w/", from).await.unwrap(),
        lab.store().await.watch("w/", from).await.unwrap(),
    ];
    let mut writers = Vec::new();
    for writer in 0..WRITERS {
        let store = lab.store().await;
        writers.push(tokio::spawn(async move {
            for number in 0..WRITES {
                commit(
                    &store,
                    Txn::new().then(Op::put(format!("w/{writer}"), &number)),
                )
                .await;
            }
        }));
    }
    // One starts in the middle, from the beginning.
    watches.push(store.watch("w/", from).await.unwrap());
    for events in &mut watches {
        let mut seen: BTreeMap<String, Vec<u64>> = BTreeMap::new();
        let mut last = 0;
        for _ in 0..WRITERS as u64 * WRITES {
            let WatchEvent::Changes { revision, changes } = next(events).await else {
                panic!("nothing was compacted");
            };
            assert!(revision > last);
            last = revision;
            let [Change::Put(entry)] = &changes[..] else {
                panic!("{changes:?}");
            };
            let numbers = seen.entry(entry.key.clone()).or_default();
            numbers.push(entry.json().unwrap());
        }
        assert_eq!(seen.len(), WRITERS);
        for numbers in seen.values() {
            assert_eq!(*numbers, (0..WRITES).collect::<Vec<_>>());
        }
    }
    for writer in writers {
        writer.await.unwrap();
    }
}

async fn a_watch_from_a_compacted_revision_starts_over_from_a_listing(lab: &Lab) {
    let store = lab.store().await;
    let from = commit(&store, put("w/a", "1")).await;
    commit(&store, put("w/b", "1")).await;
    commit(&store, Txn::new().then(Op::delete("w/a"))).await;
    lab.compact().await;
    let mut events = store.watch("w/", from).await.unwrap();
    let WatchEvent::Resync(listing) = next(&mut events).await else {
        panic!("not a listing");
    };
    let keys: Vec<_> = listing.entries.iter().map(|e| e.key.as_str()).collect();
    assert_eq!(keys, ["w/b"]);
    let at = commit(&store, put("w/c", "1")).await;
    assert!(at > listing.revision);
    let WatchEvent::Changes { revision, .. } = next(&mut events).await else {
        panic!("listed twice");
    };
    assert_eq!(revision, at);
}

/// Either it still has the events, or it gets a listing: what it knows at the end is right.
async fn a_reader_that_lags_behind_a_compaction_starts_over(lab: &Lab) {
    let store = lab.store().await;
    let from = commit(&store, put("w/0", "0")).await;
    let mut events = store.watch("w/", from).await.unwrap();
    next(&mut events).await;
    for number in 1..30 {
        commit(&store, put(&format!("w/{number}"), "1")).await;
        let before = format!("w/{}", number - 1);
        commit(&store, Txn::new().then(Op::delete(before))).await;
    }
    lab.compact().await;
    let last = commit(&store, put("w/last", "1")).await;
    let mut known: BTreeMap<String, ()> = BTreeMap::from([("w/0".to_owned(), ())]);
    let mut at = from;
    while at < last {
        match next(&mut events).await {
            WatchEvent::Resync(listing) => {
                at = listing.revision;
                known = listing.entries.into_iter().map(|e| (e.key, ())).collect();
            }
            WatchEvent::Changes { revision, changes } => {
                assert!(revision > at);
                at = revision;
                for change in changes {
                    match change {
                        Change::Put(entry) => drop(known.insert(entry.key, ())),
                        Change::Delete { key } => drop(known.remove(&key)),
                    }
                }
            }
        }
    }
    assert_eq!(known.into_keys().collect::<Vec<_>>(), ["w/29", "w/last"]);
}
