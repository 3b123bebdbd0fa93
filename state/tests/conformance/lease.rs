//! Leases, and records that are kept registered.

use std::time::Duration;

use vtplan_state::store::{Change, Compare, LeaseId, LeaseKeeper, Op, StoreError, Txn, WatchEvent};

use crate::kv::{commit, put};
use crate::lab::Lab;
use crate::watch::next;

crate::on_both_stores!(
    a_lease_that_ends_deletes_its_keys_and_watches_are_told,
    a_lease_that_is_kept_alive_stays,
    a_revoked_lease_is_over,
    a_key_that_is_put_anew_leaves_its_lease,
    kept_records_come_back_when_their_lease_was_lost,
    a_name_that_is_taken_cannot_be_claimed,
    records_that_somebody_deleted_come_back_while_their_lease_lives,
);

const SHORT: Duration = Duration::from_secs(1);
const LONG: Duration = Duration::from_secs(60);

fn leased(key: &str, lease: LeaseId) -> Op {
    Op::put_leased(key, &"leased", Some(lease))
}

async fn a_lease_that_ends_deletes_its_keys_and_watches_are_told(lab: &Lab) {
    let store = lab.store().await;
    let lease = store.grant(SHORT).await.unwrap();
    commit(&store, put("l/stays", "1")).await;
    let txn = Txn::new()
        .then(leased("l/a", lease))
        .then(leased("l/b", lease));
    let at = commit(&store, txn).await;
    let mut events = lab.store().await.watch("l/", at + 1).await.unwrap();
    let WatchEvent::Changes { revision, changes } = next(&mut events).await else {
        panic!("not changes");
    };
    assert!(revision > at);
    let mut gone: Vec<_> = changes
        .into_iter()
        .map(|change| match change {
            Change::Delete { key } => key,
            Change::Put(entry) => panic!("{entry:?}"),
        })
        .collect();
    gone.sort_unstable();
    assert_eq!(gone, ["l/a", "l/b"]);
    assert_eq!(store.list("l/").await.unwrap().entries.len(), 1);
    assert!(!store.keep_alive(lease).await.unwrap());
    let error = store
        .txn(Txn::new().then(leased("l/c", lease)))
        .await
        .unwrap_err();
    assert!(matches!(error, StoreError::LeaseEnded { .. }), "{error}");
}

async fn a_lease_that_is_kept_alive_stays(lab: &Lab) {
    let store = lab.store().await;
    // Long enough for a slow machine; the sum of the pauses is longer.
    let lease = store.grant(Duration::from_secs(4)).await.unwrap();
    commit(&store, Txn::new().then(leased("l/a", lease))).await;
    for _ in 0..7 {
        tokio::time::sleep(Duration::from_millis(700)).await;
        assert!(store.keep_alive(lease).await.unwrap());
    }
    assert!(store.get("l/a").await.unwrap().is_some());
}

async fn a_revoked_lease_is_over(lab: &Lab) {
    let store = lab.store().await;
    let lease = store.grant(LONG).await.unwrap();
    commit(&store, Txn::new().then(leased("l/a", lease))).await;
    store.revoke(lease).await.unwrap();
    assert_eq!(store.get("l/a").await.unwrap(), None);
    assert!(!store.keep_alive(lease).await.unwrap());
    // Twice is not an error.
    store.revoke(lease).await.unwrap();
}

async fn a_key_that_is_put_anew_leaves_its_lease(lab: &Lab) {
    let store = lab.store().await;
    let lease = store.grant(LONG).await.unwrap();
    let other = store.grant(LONG).await.unwrap();
    for key in ["l/free", "l/moved", "l/own"] {
        commit(&store, Txn::new().then(leased(key, lease))).await;
    }
    commit(&store, put("l/free", "1")).await;
    commit(&store, Txn::new().then(leased("l/moved", other))).await;
    store.revoke(lease).await.unwrap();
    let listing = store.list("l/").await.unwrap();
    let keys: Vec<_> = listing.entries.iter().map(|e| e.key.as_str()).collect();
    assert_eq!(keys, ["l/free", "l/moved"]);
}

async fn kept_records_come_back_when_their_lease_was_lost(lab: &Lab) {
    let store = lab.store().await;
    let keeper = LeaseKeeper::start(lab.store().await, SHORT).await.unwrap();
    keeper.put("hosts/a", &"a").await.unwrap();
    keeper.put("hosts/b", &"b").await.unwrap();
    keeper.put("hosts/b", &"c").await.unwrap();
    keeper.put("hosts/d", &"d").await.unwrap();
    keeper.remove("hosts/d").await.unwrap();
    assert!(keeper.is_valid());
    let before = store.list("hosts/").await.unwrap();
    // The lease ends under the keeper's feet, as for a process that was paused.
    let txn = Txn::new().then(Op::put_leased("probe", &1, None));
    commit(&store, txn).await;
    end_leases(lab, &store).await;
    let mut events = store.watch("hosts/", before.revision + 1).await.unwrap();
    loop {
        next(&mut events).await;
        let now = store.list("hosts/").await.unwrap();
        let values = |l: &vtplan_state::store::Listing| -> Vec<(String, String)> {
            let entries = l.entries.iter();
            entries
                .map(|e| (e.key.clone(), e.json().unwrap()))
                .collect()
        };
        if !now.entries.is_empty() {
            assert_eq!(values(&now), values(&before));
            assert!(now.entries[0].create_revision > before.entries[0].create_revision);
            break;
        }
    }
    keeper.stop().await.unwrap();
    assert!(store.list("hosts/").await.unwrap().entries.is_empty());
}

/// Ends all leases, whoever has them.
async fn end_leases(lab: &Lab, store: &std::sync::Arc<dyn vtplan_state::store::Store>) {
    if let Some(server) = &lab.etcd {
        let endpoint = format!("127.0.0.1:{}", server.client_port);
        let mut client = etcd_client::Client::connect([endpoint], None)
            .await
            .unwrap();
        for lease in client.leases().await.unwrap().leases() {
            client.lease_revoke(lease.id()).await.unwrap();
        }
        return;
    }
    // Leases are numbered from 1.
    for number in 1..10 {
        store.revoke(LeaseId(number)).await.unwrap();
    }
}

async fn a_name_that_is_taken_cannot_be_claimed(lab: &Lab) {
    let first = LeaseKeeper::start(lab.store().await, LONG).await.unwrap();
    let second = LeaseKeeper::start(lab.store().await, LONG).await.unwrap();
    assert!(first.claim("hosts/a", &"first").await.unwrap());
    assert!(!second.claim("hosts/a", &"second").await.unwrap());
    first.stop().await.unwrap();
    assert!(second.claim("hosts/a", &"second").await.unwrap());
    // What is left behind is taken over by its revision, once.
    let store = lab.store().await;
    let left = store.get("hosts/a").await.unwrap().unwrap().mod_revision;
    let third = LeaseKeeper::start(store.clone(), LONG).await.unwrap();
    let as_left = || Compare::ModRevision("hosts/a".to_owned(), left);
    assert!(
        third
            .put_when("hosts/a", &"third", as_left())
            .await
            .unwrap()
    );
    assert!(
        !second
            .put_when("hosts/a", &"second", as_left())
            .await
            .unwrap()
    );
    second.stop().await.unwrap();
    assert!(store.get("hosts/a").await.unwrap().is_some());
}

async fn records_that_somebody_deleted_come_back_while_their_lease_lives(lab: &Lab) {
    let store = lab.store().await;
    let keeper = LeaseKeeper::start(store.clone(), SHORT).await.unwrap();
    keeper.put("hosts/a", &"a").await.unwrap();
    keeper.put("hosts/b", &"b").await.unwrap();
    keeper.remove("hosts/b").await.unwrap();
    let prefix = "hosts/".to_owned();
    let at = commit(&store, Txn::new().then(Op::DeletePrefix { prefix })).await;
    let mut events = store.watch("hosts/", at + 1).await.unwrap();
    let WatchEvent::Changes { changes, .. } = next(&mut events).await else {
        panic!("not changes");
    };
    let [Change::Put(entry)] = &changes[..] else {
        panic!("{changes:?}");
    };
    assert_eq!(
        (entry.key.as_str(), entry.json::<String>().unwrap()),
        ("hosts/a", "a".into())
    );
    // Its lease is the keeper's, as before.
    keeper.stop().await.unwrap();
    assert!(store.list("hosts/").await.unwrap().entries.is_empty());
}
