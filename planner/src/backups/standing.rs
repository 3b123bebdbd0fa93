//! How a shard stands to the schedules that are for it.

use vtplan_state::model::{
    BackupRecord, BackupScheduleRecord, BackupState, KeyspaceName, Records, ShardName,
};

use super::firing::last_firing;

/// After a firing a backup may take so long, seconds, or twice as long as the last one, before its shard
/// counts as overdue.
const GRACE: u64 = 3600;
/// A backup that has failed is tried again after so long, seconds: doubled with each failure.
const FIRST_RETRY: u64 = 60;
const LONGEST_RETRY: u64 = 3600;

/// A shard, its backups, and the schedules that are for it.
#[derive(Debug, Clone)]
pub struct Standing<'a> {
    pub schedules: Vec<&'a BackupScheduleRecord>,
    /// The oldest first.
    pub backups: Vec<&'a BackupRecord>,
}

/// What is wrong with a shard's backups.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Overdue {
    pub expected: String,
    pub found: String,
    /// Seconds since 1970.
    pub since: u64,
}

impl<'a> Standing<'a> {
    /// `None`: no schedule is for the shard, or it holds nothing that is served yet (or any more).
    pub fn of(
        records: &'a Records,
        keyspace: &'a KeyspaceName,
        shard: &'a ShardName,
    ) -> Option<Self> {
        let record = records.shard(keyspace, shard)?;
        if record.primary.is_none() || !record.serving {
            return None;
        }
        let schedules = records.backup_policy.iter().flat_map(|p| &p.schedules);
        let schedules: Vec<_> = schedules.filter(|s| s.is_for(keyspace)).collect();
        if schedules.is_empty() {
            return None;
        }
        Some(Self {
            schedules,
            backups: records.backups_of(keyspace, shard),
        })
    }

    /// The newest that can be used.
    pub fn newest_good(&self) -> Option<&'a BackupRecord> {
        self.backups.iter().rev().find(|b| b.is_good()).copied()
    }

    /// Whether a backup should be begun now, in seconds since 1970: a schedule has fired since it holds,
    /// and no backup was begun since. So a firing that was missed is made up for once, and each has one
    /// backup, whoever looks.
    pub fn is_due(&self, now: u64) -> bool {
        let Some(fired) = self.fired(now) else {
            return false;
        };
        let mut failures: u32 = 0;
        let mut failed_at = 0;
        for backup in self.backups.iter().rev() {
            match backup.state {
                BackupState::Requested | BackupState::Taking => return false,
                BackupState::Complete | BackupState::Removing if backup.at() >= fired => {
                    return false;
                }
                BackupState::Failed if backup.at() >= fired => {
                    failures += 1;
                    failed_at = failed_at.max(backup.ended_at.unwrap_or(backup.at()));
                }
                _ => {}
            }
        }
        if failures == 0 {
            return true;
        }
        let pause = FIRST_RETRY.saturating_mul(1 << (failures - 1).min(16));
        now >= failed_at + pause.min(LONGEST_RETRY)
    }

    /// When one of the schedules has fired last while it held.
    fn fired(&self, now: u64) -> Option<u64> {
        let fired = self.schedules.iter().filter_map(|schedule| {
            last_firing(&schedule.cron, now).filter(|at| *at >= schedule.since)
        });
        fired.max()
    }

    /// What is wrong, if anything is: no good backup was begun since a firing that is long enough ago, or
    /// the last one failed.
    pub fn overdue(&self, now: u64) -> Option<Overdue> {
        let newest = self.newest_good();
        let took = newest.and_then(|b| Some(b.ended_at?.saturating_sub(b.begun_at?)));
        let grace = GRACE.max(took.unwrap_or(0).saturating_mul(2));
        let fired = self.fired(now.saturating_sub(grace));
        let is_old = |fired: &u64| newest.is_none_or(|b| b.at() < *fired);
        let open = self.backups.iter().rev().find(|b| b.is_open());
        let is_under_way = open.is_some_and(|b| b.at() + grace > now);
        let last = self.backups.iter().rev().find(|b| !b.is_open());
        let damaged = last.filter(|b| b.state == BackupState::Complete && !b.is_good());
        let failed = last.filter(|b| b.state == BackupState::Failed);
        let late = fired.filter(is_old).filter(|_| !is_under_way);
        if late.is_none() && damaged.is_none() && failed.is_none() {
            return None;
        }
        let expected = match late {
            Some(fired) => format!("a backup begun at or after {}", utc(fired)),
            None => "a last backup that is complete".to_owned(),
        };
        let mut found = match newest {
            Some(b) => format!("the newest good one is of {}", utc(b.at())),
            None => "none that is good".to_owned(),
        };
        if let Some(failed) = failed {
            let reason = failed.reason.lines().next().unwrap_or_default();
            found.push_str(&format!("; the last one, {}, failed: {reason}", failed.id));
        }
        if let Some(damaged) = damaged {
            found.push_str(&format!("; the last one, {}, is damaged", damaged.id));
        }
        let wrong = failed.or(damaged).copied();
        let since = late.or_else(|| Some(wrong?.ended_at.unwrap_or(wrong?.at())));
        Some(Overdue {
            expected,
            found,
            since: since.unwrap_or(now),
        })
    }
}

fn utc(seconds: u64) -> String {
    let at = i64::try_from(seconds).ok();
    let at = at.and_then(|at| jiff::Timestamp::from_second(at).ok());
    at.map(|at| at.strftime("%Y-%m-%d %H:%M:%S UTC").to_string())
        .unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vtplan_state::model::{BackupCheck, BackupPolicyRecord, ShardRecord};

    /// Midnight in UTC.
    const TODAY: u64 = 20_000 * 86_400;
    const HOUR: u64 = 3600;

    fn keyspace() -> KeyspaceName {
        KeyspaceName::new("commerce").unwrap()
    }

    fn records(since: u64) -> Records {
        let mut records = Records::default();
        let shard = ShardName::unsharded();
        let mut record = ShardRecord::new(keyspace(), shard.clone(), true);
        record.primary = Some("zone1-0000000100".parse().unwrap());
        records.shards.insert((keyspace(), shard), record);
        records.backup_policy = Some(BackupPolicyRecord {
            location: "file:///b".into(),
            schedules: vec![BackupScheduleRecord {
                keyspaces: vec!["commerce".into()],
                cron: "0 3 * * *".into(),
                keep_last: None,
                keep_days: None,
                since,
            }],
        });
        records
    }

    fn add(records: &mut Records, state: BackupState, begun: u64, took: u64) {
        let id = format!("{begun:012}");
        let mut backup = BackupRecord::new(id, keyspace(), ShardName::unsharded(), None, begun);
        backup.state = state;
        backup.begun_at = Some(begun);
        backup.ended_at = (!backup.is_open()).then_some(begun + took);
        backup.reason = "no space".into();
        records.backups.insert(backup.path(), backup);
    }

    fn due(records: &Records, now: u64) -> bool {
        let shard = ShardName::unsharded();
        Standing::of(records, &keyspace(), &shard).is_some_and(|s| s.is_due(now))
    }

    fn overdue(records: &Records, now: u64) -> Option<Overdue> {
        let shard = ShardName::unsharded();
        Standing::of(records, &keyspace(), &shard)?.overdue(now)
    }

    #[test]
    fn each_firing_has_one_backup_and_a_missed_one_is_made_up_for_once() {
        let mut records = records(TODAY - 9 * 86_400);
        let fires = TODAY + 3 * HOUR;
        // Days were missed: one backup is due.
        assert!(due(&records, fires - 1));
        add(&mut records, BackupState::Complete, fires - 1, 10);
        assert!(!due(&records, fires - 1));
        assert!(due(&records, fires));
        add(&mut records, BackupState::Taking, fires + 1, 0);
        assert!(!due(&records, fires + 1));
        add(&mut records, BackupState::Complete, fires + 1, 60);
        assert!(!due(&records, fires + 23 * HOUR));
        assert!(due(&records, fires + 24 * HOUR));
    }

    #[test]
    fn what_has_failed_is_tried_again_after_longer_and_longer() {
        let mut records = records(TODAY);
        let fires = TODAY + 3 * HOUR;
        add(&mut records, BackupState::Failed, fires, 10);
        assert!(!due(&records, fires + 10));
        assert!(due(&records, fires + 10 + 60));
        add(&mut records, BackupState::Failed, fires + 70, 10);
        assert!(!due(&records, fires + 80 + 119));
        assert!(due(&records, fires + 80 + 120));
    }

    #[test]
    fn a_schedule_that_is_new_has_not_missed_anything() {
        let fires = TODAY + 3 * HOUR;
        let records = records(fires + 1);
        assert!(!due(&records, fires + 2 * HOUR));
        assert_eq!(overdue(&records, fires + 20 * HOUR), None);
        let next = fires + 24 * HOUR;
        assert!(due(&records, next));
        assert_eq!(overdue(&records, next + HOUR - 1), None);
        let found = overdue(&records, next + HOUR).unwrap();
        assert_eq!(
            (found.since, found.found.as_str()),
            (next, "none that is good")
        );
        assert!(found.expected.contains("03:00:00 UTC"), "{found:?}");
    }

    #[test]
    fn a_backup_that_takes_long_is_given_longer() {
        let fires = TODAY + 3 * HOUR;
        let mut records = records(TODAY - 86_400);
        add(
            &mut records,
            BackupState::Complete,
            fires - 24 * HOUR,
            2 * HOUR,
        );
        assert_eq!(overdue(&records, fires + 4 * HOUR - 1), None);
        assert!(overdue(&records, fires + 4 * HOUR).is_some());
        // One that runs is not overdue, unless it hangs.
        add(&mut records, BackupState::Taking, fires, 0);
        assert_eq!(overdue(&records, fires + 4 * HOUR - 1), None);
        assert!(overdue(&records, fires + 4 * HOUR).is_some());
    }

    #[test]
    fn a_last_backup_that_failed_or_is_damaged_is_told_before_anything_is_late() {
        let fires = TODAY + 3 * HOUR;
        let mut records = records(TODAY - 86_400);
        add(&mut records, BackupState::Complete, fires, 10);
        assert_eq!(overdue(&records, fires + 20), None);
        add(&mut records, BackupState::Failed, fires + HOUR, 10);
        let found = overdue(&records, fires + 2 * HOUR).unwrap();
        assert!(found.found.contains("failed: no space"), "{found:?}");
        assert_eq!(found.since, fires + HOUR + 10);
        add(&mut records, BackupState::Complete, fires + 2 * HOUR, 10);
        assert_eq!(overdue(&records, fires + 3 * HOUR), None);
        let newest = records.backups.values_mut().next_back().unwrap();
        newest.check = Some(BackupCheck {
            requested_at: 1,
            ended_at: Some(2),
            bytes_read: 3,
            damage: vec!["ibdata1: is missing".into()],
        });
        let found = overdue(&records, fires + 3 * HOUR).unwrap();
        assert!(found.found.contains("is damaged"), "{found:?}");
    }

    #[test]
    fn shards_that_serve_nothing_and_keyspaces_without_a_schedule_are_left_out() {
        let mut records = records(0);
        let now = TODAY + 4 * HOUR;
        assert!(due(&records, now));
        for shard in records.shards.values_mut() {
            shard.serving = false;
        }
        assert!(!due(&records, now));
        for shard in records.shards.values_mut() {
            shard.serving = true;
        }
        records.backup_policy.as_mut().unwrap().schedules[0].keyspaces = vec!["other".into()];
        assert!(!due(&records, now));
        assert_eq!(overdue(&records, now), None);
    }
}
