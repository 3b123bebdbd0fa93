//! The jobs of a [`Keeper`], each under the lock of its shard's backups.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use tokio::select;
use tokio::time::sleep;
use tracing::{info, warn};
use vtplan_planner::backups::{Standing, forgettable, removable};
use vtplan_state::model::{BackupRecord, BackupState, HostName, Revision};
use vtplan_state::store::{LockGuard, unix_millis};

use super::keeper::{Job, Keeper, PAUSE, Work};
use super::location::{self, Location, Place};
use super::manifest::{self, Manifest};
use super::take::{blocking, clean, take};
use super::ticket::{Ticket, now};
use crate::error::AgentError;
use crate::submit::id::new_plan_id;

/// A shard's backups as they stand in the store, under its lock.
pub(super) struct Locked {
    pub guard: LockGuard,
    /// The oldest first, with the revision at which each was written.
    pub backups: Vec<(BackupRecord, Revision)>,
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
    /// Does a job, if it is still to be done.
    pub(super) async fn work_locked(&self, job: &Job, locked: &Locked) -> Result<(), AgentError> {
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
