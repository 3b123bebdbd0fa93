//! Keys, values, transactions.

use std::sync::Arc;

use vtplan_state::store::{
    Compare, Entry, LeaseId, MAX_TXN_OPS, Op, Store, StoreError, Txn, TxnOutcome,
};

use crate::helper::{self, Helper};
use crate::lab::Lab;

crate::on_both_stores!(
    a_value_is_read_back_with_its_revisions,
    a_listing_has_exactly_what_starts_with_the_prefix,
    several_prefixes_are_listed_at_one_revision,
    a_transaction_does_all_or_nothing,
    compares_hold_as_documented,
    revisions_rise_and_a_deleted_key_is_created_anew,
    a_prefix_is_deleted_whole,
    transactions_that_no_store_takes_are_refused,
    counters_of_tasks_and_processes_lose_nothing,
);

pub fn put(key: &str, value: &str) -> Txn {
    Txn::new().then(Op::put(key, &value))
}

pub async fn commit(store: &Arc<dyn Store>, txn: Txn) -> u64 {
    let outcome = store.txn(txn).await.unwrap();
    outcome.committed().expect("all compares hold")
}

async fn keys(store: &Arc<dyn Store>, prefix: &str) -> Vec<String> {
    let listing = store.list(prefix).await.unwrap();
    listing.entries.into_iter().map(|e| e.key).collect()
}

async fn a_value_is_read_back_with_its_revisions(lab: &Lab) {
    let store = lab.store().await;
    assert_eq!(store.get("k").await.unwrap(), None);
    let created = commit(&store, put("k", "one")).await;
    let other = lab.store().await;
    let modified = commit(&other, put("k", "zwei \u{1f600} \0")).await;
    assert!(modified > created);
    let entry = store.get("k").await.unwrap().unwrap();
    assert_eq!(entry.json::<String>().unwrap(), "zwei \u{1f600} \0");
    assert_eq!(
        (entry.create_revision, entry.mod_revision),
        (created, modified)
    );
    assert!(matches!(entry.json::<u32>(), Err(StoreError::Record { key, .. }) if key == "k"));
    let large = "x".repeat(1_000_000);
    commit(&store, put("large", &large)).await;
    let entry = other.get("large").await.unwrap().unwrap();
    assert_eq!(entry.json::<String>().unwrap(), large);
}

async fn a_listing_has_exactly_what_starts_with_the_prefix(lab: &Lab) {
    let store = lab.store().await;
    let all = [
        "p",
        "p/",
        "p/a",
        "p/a/b",
        "p/\u{10ffff}",
        "p0",
        "o",
        "P/a",
        "p/\u{e9}",
        "p%/",
    ];
    for key in all {
        commit(&store, put(key, key)).await;
    }
    assert_eq!(
        keys(&store, "p/").await,
        ["p/", "p/a", "p/a/b", "p/\u{e9}", "p/\u{10ffff}"]
    );
    assert_eq!(keys(&store, "p/a").await, ["p/a", "p/a/b"]);
    assert_eq!(keys(&store, "p/\u{10ffff}").await, ["p/\u{10ffff}"]);
    assert_eq!(keys(&store, "q").await, Vec::<String>::new());
    let mut sorted = all.to_vec();
    sorted.sort_unstable();
    assert_eq!(keys(&store, "").await, sorted);
    let last = commit(&store, put("z", "z")).await;
    assert!(store.list("p/").await.unwrap().revision >= last);
}

async fn several_prefixes_are_listed_at_one_revision(lab: &Lab) {
    let store = lab.store().await;
    for key in ["a/1", "b/1", "c/1", "c/2", "d/1"] {
        commit(&store, put(key, key)).await;
    }
    let listing = store.list_many(&["c/", "a/", "x/"]).await.unwrap();
    let keys: Vec<_> = listing.entries.iter().map(|e| e.key.as_str()).collect();
    assert_eq!(keys, ["a/1", "c/1", "c/2"]);

    // Two keys that are always written together are never seen apart.
    let (writer, reader) = (lab.store().await, lab.store().await);
    let writing = tokio::spawn(async move {
        for number in 0..100 {
            let txn = Txn::new()
                .then(Op::put("left/x", &number))
                .then(Op::put("right/x", &number));
            commit(&writer, txn).await;
        }
    });
    while !writing.is_finished() {
        let listing = reader.list_many(&["left/", "right/"]).await.unwrap();
        let values: Vec<&Vec<u8>> = listing.entries.iter().map(|e| &e.value).collect();
        assert!(
            values.windows(2).all(|pair| pair[0] == pair[1]),
            "{values:?}"
        );
    }
    writing.await.unwrap();
}

async fn a_transaction_does_all_or_nothing(lab: &Lab) {
    let store = lab.store().await;
    let first = commit(&store, put("a", "1")).await;
    let txn = Txn::new()
        .when(Compare::ModRevision("a".to_owned(), first))
        .when(Compare::Absent("a".to_owned()))
        .then(Op::put("a", &"2"))
        .then(Op::put("b", &"2"));
    assert_eq!(store.txn(txn).await.unwrap(), TxnOutcome::Refused);
    assert_eq!(keys(&store, "").await, ["a"]);
    // One op that cannot be done: none is.
    let txn =
        Txn::new()
            .then(Op::put("b", &"2"))
            .then(Op::put_leased("c", &"2", Some(LeaseId(424_242))));
    let error = store.txn(txn).await.unwrap_err();
    assert!(matches!(error, StoreError::LeaseEnded { .. }), "{error}");
    assert_eq!(keys(&store, "").await, ["a"]);
    let txn = Txn::new()
        .when(Compare::ModRevision("a".to_owned(), first))
        .then(Op::delete("a"))
        .then(Op::put("b", &"2"))
        .then(Op::put("c", &"2"));
    let at = commit(&store, txn).await;
    let listing = store.list("").await.unwrap();
    let seen: Vec<_> = listing
        .entries
        .iter()
        .map(|e| (&*e.key, e.mod_revision))
        .collect();
    assert_eq!(seen, [("b", at), ("c", at)]);
}

async fn compares_hold_as_documented(lab: &Lab) {
    let store = lab.store().await;
    let created = commit(&store, put("k", "1")).await;
    let modified = commit(&store, put("k", "2")).await;
    let key = || "k".to_owned();
    let none = || "none".to_owned();
    for (compare, holds) in [
        (Compare::ModRevision(key(), modified), true),
        (Compare::ModRevision(key(), created), false),
        (Compare::ModRevision(none(), 0), false),
        (Compare::ModRevision(none(), modified), false),
        (Compare::CreateRevision(key(), created), true),
        (Compare::CreateRevision(key(), modified), false),
        (Compare::CreateRevision(none(), 0), false),
        (Compare::Exists(key()), true),
        (Compare::Exists(none()), false),
        (Compare::Absent(none()), true),
        (Compare::Absent(key()), false),
    ] {
        let txn = Txn::new().when(compare.clone());
        let outcome = store.txn(txn).await.unwrap();
        assert_eq!(outcome.committed().is_some(), holds, "{compare:?}");
    }
}

async fn revisions_rise_and_a_deleted_key_is_created_anew(lab: &Lab) {
    let store = lab.store().await;
    let mut last = 0;
    for _ in 0..5 {
        let created = commit(&store, put("k", "1")).await;
        let modified = commit(&store, put("k", "2")).await;
        let deleted = commit(&store, Txn::new().then(Op::delete("k"))).await;
        assert!(last < created && created < modified && modified < deleted);
        last = deleted;
    }
    let again = commit(&store, put("k", "3")).await;
    let entry = store.get("k").await.unwrap().unwrap();
    assert_eq!((entry.create_revision, entry.mod_revision), (again, again));
    // To delete what is not there is not an error.
    commit(&store, Txn::new().then(Op::delete("none"))).await;
}

async fn a_prefix_is_deleted_whole(lab: &Lab) {
    let store = lab.store().await;
    for key in ["p", "p/a", "p/b/c", "p0", "q/a"] {
        commit(&store, put(key, key)).await;
    }
    let prefix = "p/".to_owned();
    let txn = Txn::new()
        .then(Op::DeletePrefix { prefix })
        .then(Op::put("r", &"r"));
    commit(&store, txn).await;
    assert_eq!(keys(&store, "").await, ["p", "p0", "q/a", "r"]);
}

async fn transactions_that_no_store_takes_are_refused(lab: &Lab) {
    let store = lab.store().await;
    let prefix = |prefix: &str| Op::DeletePrefix {
        prefix: prefix.to_owned(),
    };
    let bad = [
        Txn::new().then(Op::put("a", &1)).then(Op::delete("a")),
        Txn::new().then(Op::put("a/b", &1)).then(prefix("a/")),
        Txn::new().then(Op::put("", &1)),
        Txn::new().then(prefix("")),
        Txn {
            compares: Vec::new(),
            ops: (0..=MAX_TXN_OPS)
                .map(|n| Op::put(format!("n/{n}"), &n))
                .collect(),
        },
    ];
    for txn in bad {
        let error = store.txn(txn.clone()).await.unwrap_err();
        assert!(
            matches!(error, StoreError::Failed { .. }),
            "{txn:?}: {error}"
        );
    }
    let most = Txn {
        compares: (0..MAX_TXN_OPS)
            .map(|n| Compare::Absent(format!("n/{n}")))
            .collect(),
        ops: (0..MAX_TXN_OPS)
            .map(|n| Op::put(format!("n/{n}"), &n))
            .collect(),
    };
    commit(&store, most).await;
    assert_eq!(keys(&store, "n/").await.len(), MAX_TXN_OPS);
}

async fn counters_of_tasks_and_processes_lose_nothing(lab: &Lab) {
    let store = lab.store().await;
    let processes: Vec<_> = (0..2).map(|_| Helper::start("counter", &lab.url)).collect();
    let mut tasks = Vec::new();
    for handle in [store.clone(), store.clone(), lab.store().await] {
        tasks.push(tokio::spawn(async move {
            helper::count(&handle, "counter", 40).await;
        }));
    }
    for task in tasks {
        task.await.unwrap();
    }
    for process in processes {
        process.ends_well();
    }
    let entry: Entry = store.get("counter").await.unwrap().unwrap();
    assert_eq!(entry.json::<u32>().unwrap(), 5 * 40);
}
