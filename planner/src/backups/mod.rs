//! When backups are due, which are overdue and which may go: pure functions of the records and the time,
//! by which agents act and drift judges. [`firing`] reads schedules, [`standing`] says how a shard stands
//! to them, [`retention`] what they keep.

mod firing;
mod retention;
mod standing;

use vtplan_state::model::{BackupPolicyRecord, BackupScheduleRecord};

use crate::desired::{BackupPolicy, BackupSchedule};

pub use firing::last_firing;
pub use retention::{forgettable, removable};
pub use standing::{Overdue, Standing};

/// The folder of a `file://` location.
///
/// # Errors
/// Where this version takes no backups to.
pub fn folder(location: &str) -> Result<&str, String> {
    location.strip_prefix("file://").ok_or_else(|| {
        format!(
            "this version of vtplan takes backups to `file://` locations only, and not to {location}; \
             name a folder that agents see, such as a mounted share"
        )
    })
}

/// A policy as the spec has it.
pub fn policy(record: Option<&BackupPolicyRecord>) -> Option<BackupPolicy> {
    let record = record?;
    let schedules = record.schedules.iter().map(|schedule| BackupSchedule {
        keyspaces: schedule.keyspaces.clone(),
        cron: schedule.cron.clone(),
        keep_last: schedule.keep_last,
        keep_days: schedule.keep_days,
    });
    Some(BackupPolicy {
        location: record.location.clone(),
        schedules: schedules.collect(),
    })
}

/// A policy as a record. A schedule that `old` has with the same times for the same keyspaces holds since
/// then, another one since `now`, in seconds since 1970.
pub fn record(
    policy: &BackupPolicy,
    old: Option<&BackupPolicyRecord>,
    now: u64,
) -> BackupPolicyRecord {
    let schedules = policy.schedules.iter().map(|schedule| {
        let same = |old: &&BackupScheduleRecord| {
            old.cron == schedule.cron && old.keyspaces == schedule.keyspaces
        };
        let old = old.and_then(|old| old.schedules.iter().find(same));
        BackupScheduleRecord {
            keyspaces: schedule.keyspaces.clone(),
            cron: schedule.cron.clone(),
            keep_last: schedule.keep_last,
            keep_days: schedule.keep_days,
            since: old.map_or(now, |old| old.since),
        }
    });
    BackupPolicyRecord {
        location: policy.location.clone(),
        schedules: schedules.collect(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn schedule(cron: &str, keep_last: Option<u32>) -> BackupSchedule {
        BackupSchedule {
            keyspaces: vec!["*".into()],
            cron: cron.into(),
            keep_last,
            keep_days: None,
        }
    }

    #[test]
    fn a_schedule_that_was_there_holds_since_then_and_a_new_one_since_now() {
        let mut wanted = BackupPolicy {
            location: "file:///b".into(),
            schedules: vec![schedule("@daily", None)],
        };
        let first = record(&wanted, None, 100);
        assert_eq!(policy(Some(&first)), Some(wanted.clone()));
        wanted.schedules = vec![schedule("@hourly", None), schedule("@daily", Some(3))];
        let second = record(&wanted, Some(&first), 200);
        assert_eq!(second.schedules[0].since, 200);
        assert_eq!(second.schedules[1].since, 100);
        assert_eq!(policy(Some(&second)), Some(wanted));
    }

    #[test]
    fn only_folders_are_taken_to() {
        assert_eq!(folder("file:///var/b"), Ok("/var/b"));
        assert!(folder("s3://b").unwrap_err().contains("s3://b"));
    }
}
