//! Which backups are not kept any longer.

use vtplan_state::model::{BackupRecord, BackupScheduleRecord, BackupState};

/// How many records of failed backups are kept of each shard.
const FAILED_KEPT: usize = 5;

/// The backups of a shard that no schedule keeps. `backups` are all of the shard, the oldest first;
/// `schedules` those for its keyspace. What a person asked for stays until a person removes it, and
/// neither goes the newest good one, nor anything where a schedule keeps all.
pub fn removable<'a>(
    backups: &[&'a BackupRecord],
    schedules: &[&BackupScheduleRecord],
    now: u64,
) -> Vec<&'a BackupRecord> {
    if schedules.is_empty() {
        return Vec::new();
    }
    let last_good = backups.iter().rev().find(|b| b.is_good());
    let complete = backups.iter().rev();
    let complete = complete
        .filter(|b| b.state == BackupState::Complete && b.requested_by.is_none())
        .enumerate();
    let mut found: Vec<&BackupRecord> = complete
        .filter(|(place, backup)| {
            last_good.is_none_or(|good| good.id != backup.id)
                && !schedules.iter().any(|s| keeps(s, *place, backup, now))
        })
        .map(|(_, backup)| *backup)
        .collect();
    // Without any good one, what is there is better than nothing.
    if last_good.is_none() {
        found.clear();
    }
    found.reverse();
    found
}

/// Whether a schedule keeps the backup at a place among all, the newest first.
fn keeps(schedule: &BackupScheduleRecord, place: usize, backup: &BackupRecord, now: u64) -> bool {
    let last = schedule.keep_last;
    let days = schedule.keep_days;
    last.is_none() && days.is_none()
        || last.is_some_and(|last| place < last as usize)
        || days.is_some_and(|days| backup.at() + u64::from(days) * 86_400 >= now)
}

/// Records of failed backups that nobody needs any more. `backups` are all of a shard, the oldest first.
pub fn forgettable<'a>(backups: &[&'a BackupRecord]) -> Vec<&'a BackupRecord> {
    let failed = backups.iter().rev();
    let failed = failed.filter(|b| b.state == BackupState::Failed);
    failed.skip(FAILED_KEPT).copied().collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use vtplan_state::model::{BackupCheck, KeyspaceName, ShardName};

    const DAY: u64 = 86_400;

    fn backup(day: u64, state: BackupState) -> BackupRecord {
        let keyspace = KeyspaceName::new("commerce").unwrap();
        let mut backup = BackupRecord::new(
            day.to_string(),
            keyspace,
            ShardName::unsharded(),
            None,
            day * DAY,
        );
        backup.state = state;
        backup
    }

    fn schedule(keep_last: Option<u32>, keep_days: Option<u32>) -> BackupScheduleRecord {
        BackupScheduleRecord {
            keyspaces: vec!["*".into()],
            cron: "@daily".into(),
            keep_last,
            keep_days,
            since: 0,
        }
    }

    fn removed(backups: &[BackupRecord], schedules: &[BackupScheduleRecord]) -> Vec<String> {
        let backups: Vec<&BackupRecord> = backups.iter().collect();
        let schedules: Vec<&BackupScheduleRecord> = schedules.iter().collect();
        let found = removable(&backups, &schedules, 10 * DAY);
        found.iter().map(|b| b.id.clone()).collect()
    }

    #[test]
    fn what_no_schedule_keeps_goes_and_never_the_last_good_one() {
        use BackupState::{Complete, Failed, Taking};
        let all: Vec<_> = (1..=5).map(|day| backup(day, Complete)).collect();
        assert_eq!(removed(&all, &[schedule(Some(2), None)]), ["1", "2", "3"]);
        assert_eq!(removed(&all, &[schedule(None, Some(7))]), ["1", "2"]);
        // Either keeps.
        assert_eq!(removed(&all, &[schedule(Some(1), Some(7))]), ["1", "2"]);
        let two = [schedule(Some(2), None), schedule(None, Some(9))];
        assert!(removed(&all, &two).is_empty());
        assert!(removed(&all, &[schedule(None, None)]).is_empty());
        assert!(removed(&all, &[]).is_empty());
        // All are too old: the newest stays.
        assert_eq!(
            removed(&all, &[schedule(None, Some(1))]),
            ["1", "2", "3", "4"]
        );

        let mut all = all;
        all[4].state = Failed;
        all.push(backup(6, Taking));
        assert_eq!(removed(&all, &[schedule(Some(1), None)]), ["1", "2", "3"]);
        all[3].check = Some(BackupCheck {
            requested_at: 0,
            ended_at: Some(1),
            bytes_read: 0,
            damage: vec!["x".into()],
        });
        // The newest is damaged: the one before it is the last good one.
        assert_eq!(removed(&all, &[schedule(Some(1), None)]), ["1", "2"]);
        all[2].requested_by = Some("ada".into());
        assert_eq!(removed(&all, &[schedule(Some(1), None)]), ["1", "2"]);
    }

    #[test]
    fn of_failed_ones_the_newest_are_remembered() {
        let all: Vec<_> = (1..=7)
            .map(|day| backup(day, BackupState::Failed))
            .collect();
        let all: Vec<&BackupRecord> = all.iter().collect();
        let found: Vec<&str> = forgettable(&all).iter().map(|b| b.id.as_str()).collect();
        assert_eq!(found, ["2", "1"]);
    }
}
