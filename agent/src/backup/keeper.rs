//! What this agent does about backups: it takes those that are asked for or due of shards that it has a
//! fit tablet of, looks through and removes those that it sees the files of, and ends those whose agent is
//! gone. One thing at a time, so that a host has one server copied at once, each under its shard's lock.
//!
//! Which of several agents takes a backup follows from how long they wait: an agent whose tablet is not
//! the best of the shard (rdonly, then replica, then primary) gives those of better ones time.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use tokio::select;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::warn;
use vtplan_planner::backups::Standing;
use vtplan_state::cluster::Snapshot;
use vtplan_state::model::{BackupRecord, BackupState, KeyspaceName, Records, ShardName};
use vtplan_state::store::lock::TryLock;
use vtplan_state::store::{Lock, LockRecord};

use super::ticket::now;
use super::work::Locked;
use crate::error::AgentError;
use crate::host::Host;
use crate::tablet::Tablet;
use crate::tablet::backup::Rank;
use crate::tablets::Tablets;

/// How long a shard's lock outlives its holder.
const LOCK_TTL: Duration = Duration::from_secs(10);
/// How often it is looked whether something is due.
const LOOK: Duration = Duration::from_secs(1);
/// How long an agent whose tablet is a replica, or the primary, gives those with better ones: when a person
/// waits, and when nobody does. An agent that copies another shard may come to it.
const STEP_BACK: [Duration; 2] = [Duration::from_secs(5), Duration::from_secs(10)];
const STEP_BACK_OF_SCHEDULES: [Duration; 2] = [Duration::from_secs(60), Duration::from_secs(600)];
/// How long it leaves a backup alone that it could not do anything about.
pub(super) const PAUSE: Duration = Duration::from_secs(5);
/// After so long without the agent that has the files, others look whether they see them.
const ELSEWHERE: Duration = Duration::from_secs(10);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Work {
    /// To end it: an agent began to take it, and perhaps is no more.
    Stale,
    /// To take it: a person asked for it.
    Requested,
    Remove,
    Check,
    /// To take one: a schedule has fired.
    Due,
}

/// Something to do, as a key to remember it by.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Job {
    pub work: Work,
    pub keyspace: KeyspaceName,
    pub shard: ShardName,
    /// Of the backup; empty: there is none yet.
    pub id: String,
}

impl Job {
    fn of(work: Work, backup: &BackupRecord) -> Self {
        Self {
            work,
            keyspace: backup.keyspace.clone(),
            shard: backup.shard.clone(),
            id: backup.id.clone(),
        }
    }
}

/// What a keeper remembers.
#[derive(Default)]
struct Memory {
    /// Since when each job is there to be done.
    since: BTreeMap<Job, Instant>,
    not_before: BTreeMap<Job, Instant>,
}

/// Does what is to be done until the agent ends. May be dropped at any moment.
pub async fn keep(
    host: Arc<Host>,
    tablets: Arc<Tablets>,
    mut records: watch::Receiver<Arc<Snapshot>>,
) {
    let mut memory = Memory::default();
    loop {
        let snapshot = records.borrow_and_update().clone();
        if host.is_own(snapshot.cluster.as_ref()) && host.has_lease() {
            let jobs = jobs(&host, &tablets, &snapshot);
            memory.since.retain(|job, _| jobs.contains(job));
            memory.not_before.retain(|job, _| jobs.contains(job));
            let keeper = Keeper {
                host: &host,
                tablets: &tablets,
                records: &snapshot,
            };
            for job in keeper.best_first(jobs) {
                let since = *memory.since.entry(job.clone()).or_insert_with(Instant::now);
                if (memory.not_before.get(&job)).is_some_and(|at| Instant::now() < *at) {
                    continue;
                }
                if !keeper.waits_for_others(&job, since) {
                    if let Err(error) = keeper.work(&job).await {
                        warn!(keyspace = %job.keyspace, shard = %job.shard, backup = job.id, %error, "backups");
                    }
                    memory.not_before.insert(job, Instant::now() + PAUSE);
                    // The records have changed by it.
                    break;
                }
            }
        }
        select! {
            () = sleep(LOOK) => {}
            changed = records.changed() => if changed.is_err() { return },
        }
    }
}

/// What there is to do for this agent.
fn jobs(host: &Host, tablets: &Tablets, records: &Records) -> Vec<Job> {
    let mut jobs: Vec<Job> = Vec::new();
    let mut shards: Vec<(KeyspaceName, ShardName)> = (tablets.all().iter())
        .map(|tablet| tablet.record())
        .map(|record| (record.keyspace, record.shard))
        .collect();
    shards.sort();
    shards.dedup();
    let has = |backup: &BackupRecord| {
        let shard = (backup.keyspace.clone(), backup.shard.clone());
        shards.binary_search(&shard).is_ok()
    };
    for backup in records.backups.values() {
        let is_mine = backup.host.as_ref() == Some(&host.name);
        let is_alone = || match &backup.host {
            Some(name) => !records.hosts.contains_key(name),
            None => true,
        };
        let asked = backup.check.as_ref().is_some_and(|c| c.ended_at.is_none());
        let work = match backup.state {
            BackupState::Requested if has(backup) => Work::Requested,
            BackupState::Taking if is_mine || has(backup) => Work::Stale,
            BackupState::Removing if is_mine || is_alone() => Work::Remove,
            BackupState::Complete if asked && (is_mine || is_alone()) => Work::Check,
            _ => continue,
        };
        jobs.push(Job::of(work, backup));
    }
    let now = now();
    for (keyspace, shard) in &shards {
        let standing = Standing::of(records, keyspace, shard);
        if standing.is_some_and(|s| s.is_due(now)) {
            jobs.push(Job {
                work: Work::Due,
                keyspace: keyspace.clone(),
                shard: shard.clone(),
                id: String::new(),
            });
        }
    }
    jobs
}

pub(super) struct Keeper<'a> {
    pub host: &'a Arc<Host>,
    pub tablets: &'a Tablets,
    pub records: &'a Records,
}

impl Keeper<'_> {
    /// The best tablet of a shard here, or why none is fit.
    pub(super) fn tablet(
        &self,
        keyspace: &KeyspaceName,
        shard: &ShardName,
    ) -> Result<(Rank, Arc<Tablet>), String> {
        let mut best: Option<(Rank, Arc<Tablet>)> = None;
        let mut why = Vec::new();
        for tablet in self.tablets.all() {
            let record = tablet.record();
            if (&record.keyspace, &record.shard) != (keyspace, shard) {
                continue;
            }
            match tablet.fit_for_backup() {
                Ok(rank) if best.as_ref().is_none_or(|(than, _)| rank < *than) => {
                    best = Some((rank, tablet));
                }
                Ok(_) => {}
                Err(reason) => why.push(reason),
            }
        }
        best.ok_or_else(|| why.join("; "))
    }

    /// In the order of their urgency, and of those alike the ones first that this agent has the best tablets
    /// for.
    fn best_first(&self, jobs: Vec<Job>) -> Vec<Job> {
        let rank = |job: &Job| match job.work {
            Work::Requested | Work::Due => {
                let tablet = self.tablet(&job.keyspace, &job.shard);
                tablet.map_or(Rank::Primary, |(rank, _)| rank)
            }
            _ => Rank::Rdonly,
        };
        let mut jobs: Vec<(Work, Rank, Job)> = (jobs.into_iter())
            .map(|job| (job.work, rank(&job), job))
            .collect();
        jobs.sort();
        jobs.into_iter().map(|(_, _, job)| job).collect()
    }

    /// Whether others should have the chance to do it first.
    fn waits_for_others(&self, job: &Job, since: Instant) -> bool {
        let patience = match job.work {
            Work::Requested | Work::Due => {
                let records = self.records;
                let shard = records.shard(&job.keyspace, &job.shard);
                let primary = shard.and_then(|s| s.primary.as_ref());
                let mut all_adopted = true;
                let mut best_elsewhere = None;
                for tablet in records.tablets_of(&job.keyspace, &job.shard) {
                    all_adopted &= tablet.adopted().is_some();
                    if tablet.host != self.host.name && records.hosts.contains_key(&tablet.host) {
                        let rank = match primary == Some(&tablet.alias) {
                            true => Rank::Primary,
                            false => Rank::of(tablet.tablet_type),
                        };
                        best_elsewhere = Some(best_elsewhere.map_or(rank, |best| rank.min(best)));
                    }
                }
                match self.tablet(&job.keyspace, &job.shard) {
                    Ok((rank, _)) if best_elsewhere.is_some_and(|best| best < rank) => {
                        let [replica, primary] = match job.work {
                            Work::Due => STEP_BACK_OF_SCHEDULES,
                            _ => STEP_BACK,
                        };
                        match rank {
                            Rank::Primary => primary,
                            _ => replica,
                        }
                    }
                    Ok(_) => Duration::ZERO,
                    // Nobody can, and one has to say so.
                    Err(_) if all_adopted => Duration::ZERO,
                    Err(_) => return true,
                }
            }
            Work::Stale | Work::Remove | Work::Check => {
                let backup = self.records.backups_of(&job.keyspace, &job.shard);
                let backup = backup.into_iter().find(|b| b.id == job.id);
                match backup.and_then(|b| b.host.as_ref()) == Some(&self.host.name) {
                    true => Duration::ZERO,
                    false => ELSEWHERE,
                }
            }
        };
        since.elapsed() < patience
    }

    /// Does a job, unless somebody else does.
    async fn work(&self, job: &Job) -> Result<(), AgentError> {
        let cluster = &self.host.cluster;
        let key = cluster.keys().backup_lock(&job.keyspace, &job.shard);
        let who = format!("agent of host {}", self.host.name);
        let note = LockRecord::new(self.host.name.to_string(), who, "backups".to_owned());
        let guard = match Lock::try_acquire(cluster.store(), &key, LOCK_TTL, &note).await? {
            TryLock::Acquired(guard) => guard,
            TryLock::Held(_) => return Ok(()),
        };
        let prefix = cluster.keys().backups(&job.keyspace, &job.shard);
        let listing = cluster.store().list(&prefix).await?;
        let mut backups = Vec::new();
        for entry in &listing.entries {
            backups.push((entry.json::<BackupRecord>()?, entry.mod_revision));
        }
        let locked = Locked { guard, backups };
        let done = select! {
            done = self.work_locked(job, &locked) => done,
            () = locked.guard.lost() => Err(AgentError::Refused(
                "the lock of the shard's backups was lost".to_owned(),
            )),
        };
        locked.guard.release().await?;
        done
    }
}
