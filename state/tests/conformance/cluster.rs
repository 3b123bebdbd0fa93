//! Records of a cluster, read and watched as types.

use std::sync::Arc;

use tokio::time::timeout;
use vtplan_state::cluster::{Cluster, RecordsWatch, Snapshot, list_clusters};
use vtplan_state::model::{
    CellName, CellRecord, Durability, HistoryRecord, KeyspaceName, KeyspaceRecord, PlanRecord,
    RECORD_FORMAT, Records, ShardRecord, StepProgress, StepState,
};
use vtplan_state::store::{Op, StoreError, Txn};

use crate::kv::commit;
use crate::lab::{Lab, PATIENCE};

crate::on_both_stores!(
    a_cluster_is_made_once_and_found_by_name,
    a_cluster_of_a_newer_format_is_refused,
    records_are_loaded_without_plans_history_locks_and_credentials,
    watched_records_are_those_of_the_store_after_every_change,
    a_record_that_cannot_be_read_stops_the_updates_until_it_is_mended,
    credentials_are_made_once,
    the_history_is_in_the_order_of_writing,
    a_plan_is_read_with_its_progress,
);

async fn shop(lab: &Lab) -> Cluster {
    let store = lab.store().await;
    Cluster::ensure_created(store, "shop", "0.1.0")
        .await
        .unwrap()
}

fn keyspace(name: &str) -> KeyspaceRecord {
    KeyspaceRecord {
        name: KeyspaceName::new(name).unwrap(),
        durability: Durability::SemiSync,
    }
}

fn shard(keyspace: &str, shard: &str, term: u64) -> ShardRecord {
    ShardRecord {
        keyspace: KeyspaceName::new(keyspace).unwrap(),
        shard: shard.parse().unwrap(),
        primary: None,
        term,
        serving: true,
        serving_reads: Default::default(),
        fenced: false,
    }
}

fn put_keyspace(cluster: &Cluster, name: &str) -> Op {
    let record = keyspace(name);
    Op::put(cluster.keys().keyspace(&record.name), &record)
}

fn put_shard(cluster: &Cluster, record: &ShardRecord) -> Op {
    Op::put(
        cluster.keys().shard(&record.keyspace, &record.shard),
        record,
    )
}

async fn a_cluster_is_made_once_and_found_by_name(lab: &Lab) {
    let store = lab.store().await;
    assert!(list_clusters(&store).await.unwrap().is_empty());
    assert!(
        Cluster::open(store.clone(), "shop")
            .await
            .unwrap()
            .is_none()
    );
    let first = shop(lab).await.record().await.unwrap().unwrap();
    let other = Cluster::ensure_created(lab.store().await, "shop", "9.9.9")
        .await
        .unwrap();
    assert_eq!(other.record().await.unwrap(), Some(first));
    Cluster::ensure_created(store.clone(), "shop2", "0.1.0")
        .await
        .unwrap();
    let names: Vec<_> = list_clusters(&store)
        .await
        .unwrap()
        .into_iter()
        .map(|c| c.name)
        .collect();
    assert_eq!(names, ["shop", "shop2"]);
    assert!(
        Cluster::open(store.clone(), "shop")
            .await
            .unwrap()
            .is_some()
    );
    for bad in ["", "a/b", "-a", "a b"] {
        let error = Cluster::new(store.clone(), bad).unwrap_err();
        assert!(
            matches!(error, StoreError::BadClusterName { .. }),
            "{error}"
        );
    }
}

async fn a_cluster_of_a_newer_format_is_refused(lab: &Lab) {
    let cluster = shop(lab).await;
    let mut record = cluster.record().await.unwrap().unwrap();
    record.format = RECORD_FORMAT + 1;
    let mut json = serde_json::to_value(&record).unwrap();
    json["a_newer_field"] = true.into();
    let txn = Txn::new().then(Op::put(cluster.keys().cluster(), &json));
    commit(cluster.store(), txn).await;
    let is_newer = |error: StoreError| {
        let text = error.to_string();
        assert!(matches!(error, StoreError::NewerFormat { .. }), "{text}");
    };
    is_newer(Cluster::open(lab.store().await, "shop").await.unwrap_err());
    is_newer(
        Cluster::ensure_created(lab.store().await, "shop", "1")
            .await
            .unwrap_err(),
    );
    is_newer(cluster.load_records().await.unwrap_err());
    is_newer(cluster.watch_records().await.unwrap_err());
}

async fn records_are_loaded_without_plans_history_locks_and_credentials(lab: &Lab) {
    let cluster = shop(lab).await;
    assert_eq!(cluster.load_records().await.unwrap().keyspaces.len(), 0);
    let (store, keys) = (cluster.store(), cluster.keys());
    let cell = CellRecord {
        name: CellName::new("zone1").unwrap(),
    };
    let all = Txn::new()
        .then(Op::put(keys.cell(&cell.name), &cell))
        .then(put_keyspace(&cluster, "customer"))
        .then(put_shard(&cluster, &shard("customer", "-80", 1)))
        .then(put_shard(&cluster, &shard("customer", "80-", 2)))
        // None of these can be read as a record of `Records`.
        .then(Op::put(keys.plan("p1"), &"a plan"))
        .then(Op::put(keys.apply_lock(), &"a lock"))
        .then(Op::put(keys.history_entry(1, 1), &"an entry"))
        .then(Op::put(keys.credentials(), &"secret"))
        .then(Op::put(format!("{}unheard-of", keys.prefix()), &"later"));
    let revision = commit(store, all).await;
    // Another cluster whose name starts the same.
    let other = Cluster::ensure_created(lab.store().await, "shop2", "1")
        .await
        .unwrap();
    commit(store, Txn::new().then(put_keyspace(&other, "other"))).await;

    let records = cluster.load_records().await.unwrap();
    assert!(records.revision >= revision);
    assert_eq!(records.cluster.as_ref().unwrap().name, "shop");
    assert_eq!(records.cells.len(), 1);
    assert_eq!(records.keyspaces.len(), 1);
    let customer = KeyspaceName::new("customer").unwrap();
    let terms: Vec<_> = records.shards_of(&customer).map(|s| s.term).collect();
    assert_eq!(terms, [1, 2]);
}

async fn until(watch: &mut RecordsWatch, holds: impl Fn(&Snapshot) -> bool) -> Arc<Snapshot> {
    let wait = async {
        let mut snapshot = watch.current_and_seen();
        while !holds(&snapshot) {
            snapshot = watch.changed().await;
        }
        snapshot
    };
    timeout(PATIENCE, wait).await.expect("a snapshot in time")
}

async fn watched_records_are_those_of_the_store_after_every_change(lab: &Lab) {
    let cluster = shop(lab).await;
    let mut watch = cluster.watch_records().await.unwrap();
    let writer = shop(lab).await;
    let gate_like = writer.keys().cell(&CellName::new("zone1").unwrap());
    let cell = CellRecord {
        name: CellName::new("zone1").unwrap(),
    };
    for round in 0..20_u64 {
        // Both shards change together: never seen apart.
        let txn = Txn::new()
            .then(put_keyspace(&writer, "customer"))
            .then(put_shard(&writer, &shard("customer", "-80", round)))
            .then(put_shard(&writer, &shard("customer", "80-", round)));
        let flipped = commit(writer.store(), txn).await;
        let snapshot = until(&mut watch, |s| s.revision >= flipped).await;
        assert_eq!(snapshot.serving_revision, flipped);
        let terms: Vec<_> = snapshot.shards.values().map(|s| s.term).collect();
        assert_eq!(terms, [round, round]);
        // What gates do not route by does not move what they acknowledge.
        let txn = Txn::new().then(Op::put(gate_like.clone(), &cell));
        let changed = commit(writer.store(), txn).await;
        let snapshot = until(&mut watch, |s| s.revision >= changed).await;
        assert_eq!(snapshot.serving_revision, flipped);
        if round == 10 {
            lab.compact().await;
        }
        let prefix = format!("{}keyspaces/", writer.keys().prefix());
        let gone = commit(writer.store(), Txn::new().then(Op::DeletePrefix { prefix })).await;
        let snapshot = until(&mut watch, |s| s.revision >= gone).await;
        let loaded = cluster.load_records().await.unwrap();
        let revision = snapshot.revision;
        assert_eq!(snapshot.records, Records { revision, ..loaded });
    }
    assert_eq!(watch.problem(), None);
}

async fn a_record_that_cannot_be_read_stops_the_updates_until_it_is_mended(lab: &Lab) {
    let cluster = shop(lab).await;
    let mut watch = cluster.watch_records().await.unwrap();
    let good = commit(
        cluster.store(),
        Txn::new().then(put_keyspace(&cluster, "a")),
    )
    .await;
    let before = until(&mut watch, |s| s.revision >= good).await;
    let bad_key = cluster.keys().keyspace(&KeyspaceName::new("b").unwrap());
    let txn = Txn::new()
        .then(Op::put(bad_key.clone(), &"of a newer version"))
        .then(put_keyspace(&cluster, "c"));
    commit(cluster.store(), txn).await;
    let told = async {
        while watch.problem().is_none() {
            tokio::time::sleep(std::time::Duration::from_millis(20)).await;
        }
    };
    timeout(PATIENCE, told).await.unwrap();
    assert!(
        watch.problem().unwrap().contains(&bad_key),
        "{:?}",
        watch.problem()
    );
    assert_eq!(watch.current(), before);
    let mended = commit(cluster.store(), Txn::new().then(Op::delete(bad_key))).await;
    let after = until(&mut watch, |s| s.revision >= mended).await;
    assert_eq!(after.keyspaces.len(), 2);
    assert_eq!(watch.problem(), None);
}

async fn credentials_are_made_once(lab: &Lab) {
    let mut askers = Vec::new();
    for _ in 0..4 {
        let cluster = shop(lab).await;
        askers.push(tokio::spawn(async move {
            cluster.ensure_credentials().await.unwrap()
        }));
    }
    let mut all = Vec::new();
    for asker in askers {
        all.push(asker.await.unwrap());
    }
    assert!(all.windows(2).all(|pair| pair[0] == pair[1]));
    assert_eq!(
        shop(lab).await.credentials().await.unwrap().as_ref(),
        Some(&all[0])
    );
    assert_eq!(format!("{:?}", all[0]), "Credentials(..)");
}

async fn the_history_is_in_the_order_of_writing(lab: &Lab) {
    let cluster = shop(lab).await;
    // The clocks of writers differ.
    for (number, at) in [50, 40, 60, 60, 10].into_iter().enumerate() {
        let record = HistoryRecord {
            at,
            who: "me@here".to_owned(),
            plan: None,
            action: "apply".to_owned(),
            object: number.to_string(),
            summary: "Did it.".to_owned(),
            outcome: "done".to_owned(),
        };
        commit(
            cluster.store(),
            Txn::new().then(cluster.history_op(&record)),
        )
        .await;
    }
    let history = cluster.history().await.unwrap();
    let objects: Vec<_> = history
        .iter()
        .map(|(_, entry)| entry.object.as_str())
        .collect();
    assert_eq!(objects, ["0", "1", "2", "3", "4"]);
    assert!(history.windows(2).all(|pair| pair[0].0 < pair[1].0));
}

async fn a_plan_is_read_with_its_progress(lab: &Lab) {
    let cluster = shop(lab).await;
    assert_eq!(cluster.plan_view("p1").await.unwrap(), None);
    let plan = |id: &str| -> PlanRecord {
        serde_json::from_value(serde_json::json!({
            "id": id, "spec_digest": "", "desired": null, "plan": { "steps": [] },
            "base_revision": 1, "approved_by": "me@here", "approved_at": 1,
            "destructive_approved": false, "status": { "state": "running" },
        }))
        .unwrap()
    };
    let step = |step: &str| StepProgress {
        step: step.to_owned(),
        state: StepState::Running,
        message: String::new(),
        started_at: 1,
        ended_at: None,
        attempt: 1,
        work: None,
    };
    let keys = cluster.keys();
    let txn = Txn::new()
        .then(Op::put(keys.plan("p1"), &plan("p1")))
        .then(Op::put(keys.plan("p10"), &plan("p10")))
        .then(cluster.step_op("p1", &step("create-shard:a/-80")))
        .then(cluster.step_op("p10", &step("create-shard:b/-80")));
    let revision = commit(cluster.store(), txn).await;
    let view = cluster.plan_view("p1").await.unwrap().unwrap();
    assert_eq!(view.record, plan("p1"));
    assert_eq!(view.record_revision, revision);
    assert_eq!(view.control, None);
    assert_eq!(
        view.steps.keys().collect::<Vec<_>>(),
        ["create-shard:a/-80"]
    );
    assert_eq!(cluster.active_plan().await.unwrap(), None);
}
