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
use tracing::{info, warn};
use vtplan_planner::backups::{Standing, forgettable, removable};
use vtplan_state::cluster::Snapshot;
use vtplan_state::model::{
    BackupRecord, BackupState, HostName, KeyspaceName, Records, Revision, ShardName,
};
use vtplan_state::store::lock::TryLock;
use vtplan_state::store::{Lock, LockGuard, LockRecord, unix_millis};

use super::location::{self, Location, Place};
use super::manifest::{self, Manifest};
use super::take::{blocking, clean, take};
use super::ticket::{Ticket, now};
use crate::error::AgentError;
use crate::host::Host;
use crate::submit::id::new_plan_id;
use crate::tablet::Tablet;
use crate::tablet::backup::Rank;
use crate::tablets::Tablets;

/// How long a shard's lock outlives its holder.
const LOCK_TTL: Duration = Duration::from_secs(10);
/// How often it is looked whether something is due.
const LOOK: Duration = Duration::from_secs(1);
/// How long an agent gives those with better tablets, for each rank.
const STEP_BACK: Duration = Duration::from_secs(5);
/// How long it leaves a backup alone that it could not do anything about.
const PAUSE: Duration = Duration::from_secs(5);
/// After so long without the agent that has the files, others look whether they see them.
const ELSEWHERE: Duration = Duration::from_secs(10);

/// What is to be done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Work {
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
struct Job {
    work: Work,
    keyspace: KeyspaceName,
    shard: ShardName,
    /// Of the backup; empty: there is none yet.
    id: String,
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
            for job in jobs {
                let since = *memory.since.entry(job.clone()).or_insert_with(Instant::now);
                if (memory.not_before.get(&job)).is_some_and(|at| Instant::now() < *at) {
                    continue;
                }
                let keeper = Keeper {
                    host: &host,
                    tablets: &tablets,
                    records: &snapshot,
                };
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

/// What there is to do for this agent, the most urgent first.
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
    jobs.sort();
    jobs
}

struct Keeper<'a> {
    host: &'a Arc<Host>,
    tablets: &'a Tablets,
    records: &'a Records,
}

/// A shard's backups as they stand in the store, under its lock.
struct Locked {
    guard: LockGuard,
    /// The oldest first, with the revision at which each was written.
    backups: Vec<(BackupRecord, Revision)>,
}

impl Locked {
    fn find(&self, id: &str, state: BackupState) -> Option<(BackupRecord, Revision)> {
        let mut all = self.backups.iter();
        all.find(|(b, _)| b.id == id && b.state == state).cloned()
    }

    fn all(&self) -> Vec<&BackupRecord> {
        let mut all: Vec<&BackupRecord> = self.backups.iter().map(|(b, _)| b).collect();
        all.sort_by_key(|backup| backup.order());
        all
    }
}

impl Keeper<'_> {
    /// The best tablet of a shard here, or why none is fit.
    fn tablet(
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
                    Ok((Rank::Replica, _)) if best_elsewhere == Some(Rank::Rdonly) => STEP_BACK,
                    Ok((rank, _)) if best_elsewhere.is_some_and(|best| best < rank) => {
                        STEP_BACK * 2
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

    async fn work_locked(&self, job: &Job, locked: &Locked) -> Result<(), AgentError> {
        match job.work {
            Work::Stale => match locked.find(&job.id, BackupState::Taking) {
                Some((backup, revision)) => self.end_stale(locked, backup, revision).await,
                None => Ok(()),
            },
            Work::Requested => match locked.find(&job.id, BackupState::Requested) {
                Some((backup, revision)) => self.take(locked, backup, Some(revision)).await,
                None => Ok(()),
            },
            Work::Due => {
                let policy = self.records.backup_policy.iter();
                let standing = Standing {
                    schedules: (policy.flat_map(|p| &p.schedules))
                        .filter(|s| s.is_for(&job.keyspace))
                        .collect(),
                    backups: locked.all(),
                };
                if !standing.is_due(now()) {
                    return Ok(());
                }
                let (keyspace, shard) = (job.keyspace.clone(), job.shard.clone());
                let at = now();
                let id = new_plan_id(unix_millis(), rand::random());
                let backup = BackupRecord::new(id, keyspace, shard, None, at);
                self.take(locked, backup, None).await
            }
            Work::Remove => match locked.find(&job.id, BackupState::Removing) {
                Some((backup, revision)) => self.remove(locked, backup, revision).await,
                None => Ok(()),
            },
            Work::Check => match locked.find(&job.id, BackupState::Complete) {
                Some((backup, revision)) => self.check(locked, backup, revision).await,
                None => Ok(()),
            },
        }
    }

    fn ticket(
        &self,
        locked: &Locked,
        backup: BackupRecord,
        revision: impl Into<Option<Revision>>,
    ) -> Ticket {
        Ticket::new(&self.host.cluster, &locked.guard, backup, revision.into())
    }

    async fn take(
        &self,
        locked: &Locked,
        mut backup: BackupRecord,
        revision: Option<Revision>,
    ) -> Result<(), AgentError> {
        let (keyspace, shard) = (backup.keyspace.clone(), backup.shard.clone());
        let policy = self.records.backup_policy.as_ref();
        if backup.location.is_empty()
            && let Some(policy) = policy
        {
            backup.location.clone_from(&policy.location);
        }
        let mut ticket = self.ticket(locked, backup, revision);
        let complete = match self.tablet(&keyspace, &shard) {
            Ok((_, tablet)) => {
                // Whoever wrote there had the lock before.
                if let Ok(location) = location::open(&ticket.record.location) {
                    let place = Place::of(self.host.cluster.name(), &ticket.record);
                    clean(&tablet, &Arc::from(location), &place).await;
                }
                take(&tablet, &mut ticket, &self.host.cluster).await?
            }
            Err(why) => {
                ticket.record.begun_at = Some(now());
                let reason = format!("no tablet can be copied: {why}");
                ticket.fail(&reason).await?;
                false
            }
        };
        let taken = ticket.record;
        let mut all = locked.all();
        all.retain(|b| b.id != taken.id);
        all.push(&taken);
        self.keep_no_longer(locked, &all, complete).await
    }

    /// Lets go what no schedule keeps, once there is a newer one.
    async fn keep_no_longer(
        &self,
        locked: &Locked,
        all: &[&BackupRecord],
        complete: bool,
    ) -> Result<(), AgentError> {
        let revision_of = |id: &str| {
            let mut backups = locked.backups.iter();
            backups
                .find(|(b, _)| b.id == id)
                .map(|(_, revision)| *revision)
        };
        for backup in forgettable(all) {
            let ticket = self.ticket(locked, backup.clone(), revision_of(&backup.id));
            ticket.delete().await?;
        }
        let Some(taken) = all.last().filter(|_| complete) else {
            return Ok(());
        };
        let schedules = self.records.backup_policy.iter().flat_map(|p| &p.schedules);
        let schedules: Vec<_> = schedules.filter(|s| s.is_for(&taken.keyspace)).collect();
        for backup in removable(all, &schedules, now()) {
            let mut ticket = self.ticket(locked, backup.clone(), revision_of(&backup.id));
            ticket.record.state = BackupState::Removing;
            info!(backup = %backup.path(), "no schedule keeps it any longer");
            ticket.save().await?;
        }
        Ok(())
    }

    /// Ends a backup whose agent is gone: this one has its lock.
    async fn end_stale(
        &self,
        locked: &Locked,
        backup: BackupRecord,
        revision: Revision,
    ) -> Result<(), AgentError> {
        let place = Place::of(self.host.cluster.name(), &backup);
        let mut ticket = self.ticket(locked, backup, revision);
        let Ok(location) = location::open(&ticket.record.location) else {
            return ticket.fail("its agent has ended").await;
        };
        let location: Arc<dyn Location> = Arc::from(location);
        // It may have been whole already, and only its record was not written.
        if let Ok(Some(text)) = location.manifest(&place)
            && let Ok(manifest) = Manifest::parse(&text, "")
        {
            let record = &mut ticket.record;
            record.state = BackupState::Complete;
            record.reason.clear();
            record.method = Some(manifest.method);
            record.bytes = manifest.bytes();
            record.files = manifest.files.len() as u64;
            record.manifest_sha256 = manifest.to_text().1;
            record.position = manifest.position;
            record.ended_at = Some(now());
            return ticket.save().await;
        }
        let own = self.tablets.all().into_iter();
        let own = own.filter(|t| ticket.record.tablet.as_ref() == Some(t.alias()));
        for tablet in own {
            clean(&tablet, &location, &place).await;
        }
        let host = ticket.record.host.clone();
        let reason = format!(
            "the agent of host {} ended while it took it",
            host.as_ref().map_or("?", HostName::as_str)
        );
        warn!(backup = %ticket.record.path(), reason, "the backup failed");
        ticket.fail(&reason).await
    }

    async fn remove(
        &self,
        locked: &Locked,
        backup: BackupRecord,
        revision: Revision,
    ) -> Result<(), AgentError> {
        let path = backup.path();
        let Some((location, place)) = self.seen(&backup) else {
            return Ok(());
        };
        blocking(move || {
            let shown = location.show(&place);
            let removed = location.remove(&place);
            removed.map_err(|e| AgentError::io(shown.as_ref(), "it cannot be removed", e))
        })
        .await?;
        self.ticket(locked, backup, revision).delete().await?;
        info!(backup = path, "removed");
        Ok(())
    }

    /// Where a backup is, if this agent can say anything about its files: it has taken them, or sees them.
    fn seen(&self, backup: &BackupRecord) -> Option<(Box<dyn Location>, Place)> {
        let location = location::open(&backup.location).ok()?;
        let place = Place::of(self.host.cluster.name(), backup);
        let is_mine = backup.host.as_ref() == Some(&self.host.name);
        let is_there = || location.manifest(&place).ok().flatten().is_some();
        (is_mine || is_there()).then_some((location, place))
    }

    async fn check(
        &self,
        locked: &Locked,
        backup: BackupRecord,
        revision: Revision,
    ) -> Result<(), AgentError> {
        use std::sync::atomic::{AtomicU64, Ordering};
        let Some((location, place)) = self.seen(&backup) else {
            return Ok(());
        };
        let sha256 = backup.manifest_sha256.clone();
        let mut ticket = self.ticket(locked, backup, revision);
        let read = Arc::new(AtomicU64::new(0));
        let count = read.clone();
        let mut looking = std::pin::pin!(blocking(move || {
            let mut told = |bytes| {
                count.fetch_add(bytes, Ordering::Relaxed);
            };
            Ok(manifest::damage(&*location, &place, &sha256, &mut told))
        }));
        let damage = loop {
            select! {
                damage = &mut looking => break damage?,
                () = sleep(PAUSE) => {}
            }
            if let Some(check) = &mut ticket.record.check {
                check.bytes_read = read.load(Ordering::Relaxed);
            }
            ticket.save().await?;
        };
        if !damage.is_empty() {
            warn!(backup = %ticket.record.path(), first = damage[0], "the backup is damaged");
        }
        if let Some(check) = &mut ticket.record.check {
            check.bytes_read = read.load(Ordering::Relaxed);
            check.damage = damage;
            check.ended_at = Some(now());
        }
        ticket.save().await
    }
}
