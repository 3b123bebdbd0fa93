//! Which streams this agent runs: for each stream that the records want it tries to get the lock,
//! and whoever has that runs the stream. Agents that host a tablet of the shard that is read try at
//! once, others some seconds later.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::sleep;
use tracing::{debug, info, warn};
use vtplan_state::cluster::Snapshot;
use vtplan_state::model::Records;
use vtplan_state::store::lock::{Lock, LockRecord};

use super::plan::{self, Hosts, StreamPlan};
use super::progress::{Progress, StreamKey, Streams};
use super::runner;
use super::target::connection::Connection;
use super::target::vt_tables;
use crate::host::Host;

/// After so long without a sign of life from its agent a stream is another's.
const LOCK_TTL: Duration = Duration::from_secs(6);
/// How long agents wait that have no tablet of the shard that is read.
const STEP_BACK: Duration = Duration::from_secs(4);
/// How often a lock that cannot be asked for is asked for.
const RETRY: Duration = Duration::from_secs(1);

/// A stream that this agent tries to get, or runs.
struct Kept {
    plan: watch::Sender<Arc<StreamPlan>>,
    task: tokio::task::AbortHandle,
}

/// Keeps to what the records say until it is dropped.
pub async fn keep(
    host: Arc<Host>,
    streams: Arc<Streams>,
    mut records: watch::Receiver<Arc<Snapshot>>,
) {
    let mut kept: BTreeMap<StreamKey, Kept> = BTreeMap::new();
    let mut tasks = JoinSet::new();
    let mut hosts = Hosts::new();
    loop {
        let snapshot = records.borrow_and_update().clone();
        if host.is_own(snapshot.cluster.as_ref()) {
            for (name, record) in &snapshot.hosts {
                hosts.insert(name.clone(), record.clone());
            }
            follow(&host, &streams, &snapshot, &hosts, &mut kept, &mut tasks);
        }
        loop {
            select! {
                changed = records.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    break;
                }
                Some(_) = tasks.join_next() => {}
            }
        }
    }
}

/// Starts, changes and ends tasks.
fn follow(
    host: &Arc<Host>,
    streams: &Arc<Streams>,
    records: &Records,
    hosts: &Hosts,
    kept: &mut BTreeMap<StreamKey, Kept>,
    tasks: &mut JoinSet<()>,
) {
    let mut wanted: BTreeMap<StreamKey, StreamPlan> = BTreeMap::new();
    for key in plan::streams(records) {
        let plan = StreamPlan::of(records, hosts, &host.name, &host.credentials, &key);
        if let Some(plan) = plan {
            wanted.insert(key, plan);
        }
    }
    kept.retain(|key, stream| {
        let stays = wanted.contains_key(key) && !stream.task.is_finished();
        if !stays {
            stream.task.abort();
            if records.workflow(&key.keyspace, &key.workflow).is_none() {
                tasks.spawn(forget(stream.plan.borrow().clone()));
            }
        }
        stays
    });
    for (key, plan) in wanted {
        match kept.get(&key) {
            Some(stream) => {
                stream.plan.send_if_modified(|current| {
                    let differs = **current != plan;
                    if differs {
                        *current = Arc::new(plan);
                    }
                    differs
                });
            }
            None => {
                let here = records
                    .tablets_of(&plan.work.from_keyspace, &key.shard)
                    .any(|tablet| tablet.host == host.name);
                let (tell, plan) = watch::channel(Arc::new(plan));
                let work = run(host.clone(), streams.clone(), key.clone(), plan, here);
                let task = tasks.spawn(work);
                kept.insert(key, Kept { plan: tell, task });
            }
        }
    }
}

/// Removes what `_vt` holds of a workflow that is over. What cannot be removed now is when a
/// workflow of that name begins.
async fn forget(plan: Arc<StreamPlan>) {
    let targets = plan.work.targets.iter().filter_map(|t| t.primary.as_ref());
    for address in targets.chain(&plan.work.source_primary) {
        let forgotten = async {
            let mut conn = Connection::open(address).await?;
            vt_tables::forget(&mut conn, &plan.work.id.workflow, plan.work.created_at).await
        };
        if let Err(error) = forgotten.await {
            debug!(%error, "what is left in _vt of a workflow stays");
        }
    }
}

/// Gets a stream's lock and runs it for as long as it has that, again and again.
async fn run(
    host: Arc<Host>,
    streams: Arc<Streams>,
    key: StreamKey,
    plan: watch::Receiver<Arc<StreamPlan>>,
    here: bool,
) {
    let store = host.cluster.store().clone();
    let lock =
        (host.cluster.keys()).stream_lock(&key.keyspace, &key.workflow, key.from, &key.shard);
    loop {
        if !here {
            sleep(STEP_BACK).await;
        }
        let what = format!(
            "the stream of workflow {}.{} from shard {}",
            key.keyspace, key.workflow, key.shard
        );
        let record = LockRecord::new(host.name.to_string(), "agent", what);
        let guard = match Lock::acquire(&store, &lock, LOCK_TTL, &record).await {
            Ok(guard) => guard,
            Err(error) => {
                warn!(%lock, %error, "a stream's lock cannot be taken");
                sleep(RETRY).await;
                continue;
            }
        };
        // Revisions begin anew in a store that took the place of one that was lost.
        let token = match host.cluster.record().await {
            Ok(Some(cluster)) => cluster.generation + guard.token(),
            Ok(None) => {
                warn!(%lock, "the store no longer holds the cluster");
                sleep(RETRY).await;
                continue;
            }
            Err(error) => {
                warn!(%lock, %error, "the cluster's record cannot be read");
                sleep(RETRY).await;
                continue;
            }
        };
        info!(%lock, token, "running a stream");
        let progress = Arc::new(Progress::new(
            runner::first_status(&plan.borrow()),
            host.tablets_dir.clone(),
        ));
        let _shown = Shown::new(&streams, &key, &progress);
        select! {
            never = runner::run(plan.clone(), token, progress.clone()) => match never {},
            () = guard.lost() => warn!(%lock, "a stream's lock is lost"),
        }
    }
}

/// A stream is to be seen for as long as this is.
struct Shown<'a> {
    streams: &'a Streams,
    key: &'a StreamKey,
    progress: &'a Arc<Progress>,
}

impl<'a> Shown<'a> {
    fn new(streams: &'a Streams, key: &'a StreamKey, progress: &'a Arc<Progress>) -> Self {
        streams.insert(key.clone(), progress.clone());
        Self {
            streams,
            key,
            progress,
        }
    }
}

impl Drop for Shown<'_> {
    fn drop(&mut self) {
        self.streams.remove(self.key, self.progress);
    }
}
