//! All records as one document, put back into the same store or another; and what those who follow the
//! records see while the store has lost them.

use tokio::time::timeout;
use vtplan_state::cluster::{Cluster, RecordsWatch};
use vtplan_state::export::{Export, Mode, RestoreError, Restored, restore};
use vtplan_state::model::{
    BackupPolicyRecord, BackupRecord, FlavorKind, KeyspaceName, KeyspaceRecord, Measurement,
    PlanControl, RatesRecord, ShardName,
};
use vtplan_state::store::{Lock, LockRecord, Op, StoreError, Txn, lock::TryLock};

use crate::kv::commit;
use crate::lab::{Lab, PATIENCE};

crate::on_both_stores!(
    records_are_put_back_as_they_were_there_and_in_another_store,
    records_that_are_there_are_replaced_only_when_that_is_said,
    a_restore_that_was_cut_off_is_finished_by_the_same_one,
    those_who_follow_keep_the_last_records_of_a_store_that_lost_them,
    tokens_of_locks_rise_over_a_restore_and_old_holders_write_nothing,
);

async fn shop(lab: &Lab) -> Cluster {
    let cluster = Cluster::ensure_created(lab.store().await, "shop", "0.1.0");
    let cluster = cluster.await.unwrap();
    cluster.ensure_credentials().await.unwrap();
    // More than one transaction takes, and one of more bytes than the others.
    for first in [0, 100, 200] {
        let mut txn = Txn::new();
        for number in first..first + 100 {
            let name = KeyspaceName::new(format!("ks{number}")).unwrap();
            txn = txn.then(Op::put(
                cluster.keys().keyspace(&name),
                &KeyspaceRecord {
                    name: name.clone(),
                    durability: Default::default(),
                },
            ));
        }
        commit(cluster.store(), txn).await;
    }
    let keys = cluster.keys();
    let put = Txn::new()
        .then(Op::put(keys.rates(), &rates()))
        .then(Op::put(keys.backup_policy(), &policy()))
        .then(Op::put(
            keys.backup(&backup().keyspace, &backup().shard, "b1"),
            &backup(),
        ));
    commit(cluster.store(), put).await;
    let large = "x".repeat(600_000);
    for number in 0..3 {
        let put = Op::put(cluster.keys().plan_chunk("p", number), &large);
        commit(cluster.store(), Txn::new().then(put)).await;
    }
    cluster
}

/// What was measured.
fn rates() -> RatesRecord {
    let copies = RatesRecord::default().with_copy(Measurement {
        workflow: "customer.commerce2customer".to_owned(),
        epoch: 1,
        at: 5,
        rows: 1_000,
        bytes: 1 << 20,
        shard_milliseconds: 50,
        shards: 1,
        source: FlavorKind::MariaDb,
        target: FlavorKind::MySql,
    });
    copies.expect("it says something")
}

fn policy() -> BackupPolicyRecord {
    BackupPolicyRecord {
        location: "file:///backups".to_owned(),
        schedules: Vec::new(),
    }
}

fn backup() -> BackupRecord {
    let keyspace = KeyspaceName::new("ks7").unwrap();
    BackupRecord::new("b1".into(), keyspace, ShardName::unsharded(), None, 5)
}

async fn taken(cluster: &Cluster) -> Export {
    Export::take(cluster).await.unwrap().expect("a cluster")
}

async fn put_back(
    cluster: &Cluster,
    export: &Export,
    mode: Mode,
) -> Result<Restored, RestoreError> {
    restore(cluster.store(), export, mode, "me@here").await
}

/// What a person does by mistake.
async fn wipe(cluster: &Cluster) {
    let prefix = cluster.keys().prefix().to_owned();
    commit(
        cluster.store(),
        Txn::new().then(Op::DeletePrefix { prefix }),
    )
    .await;
}

/// All but what a restore adds.
fn without_traces(export: &Export) -> String {
    let mut records = export.entries().clone();
    records.retain(|key, _| !key.starts_with("history/"));
    if let Some(own) = records.get_mut("cluster").and_then(|v| v.as_object_mut()) {
        own.remove("generation");
    }
    Export::of(export.cluster(), 0, records).to_text()
}

async fn records_are_put_back_as_they_were_there_and_in_another_store(lab: &Lab) {
    let cluster = shop(lab).await;
    let of_process = Op::put(format!("{}hosts/h1", cluster.keys().prefix()), &1);
    commit(cluster.store(), Txn::new().then(of_process)).await;
    let export = taken(&cluster).await;
    assert!(
        export
            .entries()
            .keys()
            .all(|key| !key.starts_with("hosts/"))
    );
    assert_eq!(taken(&cluster).await.to_text(), export.to_text());
    let text = export.to_text();
    let export = Export::parse(text.as_bytes()).unwrap();

    let other = Lab::sqlite();
    let other = Cluster::new(other.store().await, "shop").unwrap();
    let there = put_back(&other, &export, Mode::IntoEmpty).await.unwrap();
    assert_eq!(there.records, export.entries().len());
    assert!(there.generation > 0 && there.stopped_plan.is_none());
    let moved = taken(&other).await;
    assert_eq!(without_traces(&moved), without_traces(&export));
    assert!(moved.revision() > export.revision());
    assert_eq!(other.history().await.unwrap().len(), 1);
    // What agents keep of it is the same.
    let records = other.load_records().await.unwrap();
    assert_eq!(records.rates, rates());
    assert_eq!(records.backup_policy, Some(policy()));
    assert_eq!(records.backups.get("ks7/0/b1"), Some(&backup()));
    let credentials = other.ensure_credentials().await.unwrap();
    let copy = Export::of_records(&records, &credentials).unwrap();
    for key in ["rates", "backup-policy", "backups/ks7/0/b1"] {
        assert_eq!(copy.entries()[key], moved.entries()[key]);
    }

    wipe(&cluster).await;
    let back = put_back(&cluster, &moved, Mode::IntoEmpty).await.unwrap();
    assert!(back.generation > there.generation);
    assert_eq!(
        without_traces(&taken(&cluster).await),
        without_traces(&export)
    );
}

async fn records_that_are_there_are_replaced_only_when_that_is_said(lab: &Lab) {
    let cluster = shop(lab).await;
    let export = taken(&cluster).await;
    let later = Op::put(cluster.keys().user("later"), &1);
    let unread = Op::put(cluster.keys().plan("p"), &1);
    commit(cluster.store(), Txn::new().then(later).then(unread)).await;
    let before = taken(&cluster).await;

    let refused = put_back(&cluster, &export, Mode::IntoEmpty).await;
    assert!(matches!(
        refused.unwrap_err(),
        RestoreError::NotEmpty { records, .. } if records == before.entries().len()
    ));
    assert_eq!(taken(&cluster).await, before);

    let done = put_back(&cluster, &export, Mode::Replace).await.unwrap();
    assert!(!done.replaced_another);
    assert_eq!(
        without_traces(&taken(&cluster).await),
        without_traces(&export)
    );

    // A plan that was under way in the copy does not go on by itself.
    let active = serde_json::json!({ "id": "p", "by": "me", "since": 1 });
    let begun = Txn::new().then(Op::put(cluster.keys().active_plan(), &active));
    commit(cluster.store(), begun).await;
    let export = taken(&cluster).await;
    let done = put_back(&cluster, &export, Mode::Replace).await.unwrap();
    assert_eq!(done.stopped_plan.as_deref(), Some("p"));
    let control = cluster.store().get(&cluster.keys().plan_control("p")).await;
    let control: PlanControl = control.unwrap().unwrap().json().unwrap();
    assert_eq!(control, PlanControl::Stop);
}

async fn a_restore_that_was_cut_off_is_finished_by_the_same_one(lab: &Lab) {
    let cluster = shop(lab).await;
    let export = taken(&cluster).await;
    // As it stands between the first transaction and the last.
    let own = cluster.keys().cluster();
    let restoring = serde_json::json!({
        "digest": export.digest(), "by": "me@here", "since": 1, "generation": 5,
    });
    let cut = Txn::new()
        .then(Op::delete(own.clone()))
        .then(Op::put(cluster.keys().restoring(), &restoring));
    commit(cluster.store(), cut).await;

    let is_restoring = |error: &StoreError| matches!(error, StoreError::Restoring { .. });
    assert!(is_restoring(&Export::take(&cluster).await.unwrap_err()));
    let made = Cluster::ensure_created(cluster.store().clone(), "shop", "0.1.0").await;
    assert!(is_restoring(&made.unwrap_err()));
    let other = Export::of("shop", 1, export.entries().clone());
    assert!(matches!(
        put_back(&cluster, &other, Mode::IntoEmpty)
            .await
            .unwrap_err(),
        RestoreError::OtherUnfinished { .. }
    ));

    let done = put_back(&cluster, &export, Mode::IntoEmpty).await.unwrap();
    assert!(done.generation > 5);
    assert_eq!(
        without_traces(&taken(&cluster).await),
        without_traces(&export)
    );
}

async fn keyspaces(watch: &mut RecordsWatch, wanted: impl Fn(usize) -> bool) -> usize {
    let seen = async {
        loop {
            let count = watch.current_and_seen().keyspaces.len();
            if wanted(count) && watch.problem().is_none() {
                return count;
            }
            watch.changed().await;
        }
    };
    timeout(PATIENCE, seen).await.expect("the records follow")
}

async fn those_who_follow_keep_the_last_records_of_a_store_that_lost_them(lab: &Lab) {
    let cluster = shop(lab).await;
    let export = taken(&cluster).await;
    let mut watch = cluster.watch_records().await.unwrap();
    let before = watch.current();
    let told = async |watch: &RecordsWatch, hint: &str| {
        let told = async {
            while !watch.problem().is_some_and(|p| p.contains(hint)) {
                tokio::time::sleep(std::time::Duration::from_millis(10)).await;
            }
        };
        timeout(PATIENCE, told).await.expect(hint);
    };

    wipe(&cluster).await;
    told(&watch, "no longer holds").await;
    assert_eq!(watch.current(), before);
    // Somebody makes a cluster of that name: not the one that was followed.
    tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    let other = Cluster::ensure_created(lab.store().await, "shop", "0.1.0");
    other.await.unwrap();
    told(&watch, "another cluster").await;
    assert_eq!(watch.current(), before);

    // At no moment is a part of the records shown.
    let follower = tokio::spawn(async move {
        loop {
            let snapshot = watch.current_and_seen();
            assert_eq!(snapshot.keyspaces.len(), 300);
            if snapshot.cluster.as_ref().is_some_and(|c| c.generation > 0) {
                return watch;
            }
            watch.changed().await;
        }
    });
    let done = put_back(&cluster, &export, Mode::Replace).await.unwrap();
    assert!(done.replaced_another);
    let mut watch = timeout(PATIENCE, follower).await.unwrap().unwrap();
    let more = KeyspaceName::new("more").unwrap();
    let put = Op::put(
        cluster.keys().keyspace(&more),
        &KeyspaceRecord {
            name: more.clone(),
            durability: Default::default(),
        },
    );
    commit(cluster.store(), Txn::new().then(put)).await;
    assert_eq!(keyspaces(&mut watch, |count| count > 300).await, 301);
}

async fn tokens_of_locks_rise_over_a_restore_and_old_holders_write_nothing(lab: &Lab) {
    let cluster = shop(lab).await;
    let (key, record) = (
        cluster.keys().apply_lock(),
        LockRecord::new("h1", "me", "it"),
    );
    let hold = async |cluster: &Cluster| {
        let held = Lock::try_acquire(cluster.store(), &key, PATIENCE, &record).await;
        let TryLock::Acquired(guard) = held.unwrap() else {
            panic!("the lock is free");
        };
        let generation = cluster.record().await.unwrap().unwrap().generation;
        let token = generation + guard.token();
        (guard, token)
    };
    let (guard, token) = hold(&cluster).await;
    let export = taken(&cluster).await;
    put_back(&cluster, &export, Mode::Replace).await.unwrap();
    let late = Txn::new()
        .when(guard.compare())
        .then(Op::put(cluster.keys().user("late"), &1));
    assert!(
        cluster
            .store()
            .txn(late)
            .await
            .unwrap()
            .committed()
            .is_none()
    );
    let (_again, second) = hold(&cluster).await;
    assert!(second > token);

    // Also in a store that begins anew, and from the same old copy twice.
    let mut last = second;
    for _ in 0..2 {
        let fresh = Lab::sqlite();
        let fresh = Cluster::new(fresh.store().await, "shop").unwrap();
        put_back(&fresh, &export, Mode::IntoEmpty).await.unwrap();
        let (_guard, token) = hold(&fresh).await;
        assert!(token > last, "{token} after {last}");
        last = token;
        tokio::time::sleep(std::time::Duration::from_millis(5)).await;
    }
}
