//! When a cron line has fired last.

use jiff::Timestamp;
use jiff::tz::TimeZone;

use crate::spec::values::cron::{self, Cron};

const DAY: u64 = 86_400;
/// A line that fires on the 29th of February fires again after at most eight years.
const DAYS: u64 = 8 * 366 + 1;

/// The newest time at or before `at` at which a cron line fires, in UTC; both in seconds since 1970.
/// `None`: it cannot be read, or has not fired within eight years.
pub fn last_firing(line: &str, at: u64) -> Option<u64> {
    let cron = cron::parse(line).ok()?;
    let today = at / DAY;
    // The highest set bit that is not above `limit`.
    let highest = |bits: u64, limit: u64| {
        let below = bits & (u64::MAX >> (63 - limit.min(63)));
        (below != 0).then(|| u64::from(63 - below.leading_zeros()))
    };
    for back in 0..DAYS.min(today + 1) {
        let day = today - back;
        if !fires_on(&cron, day)? {
            continue;
        }
        // On an earlier day any time will do.
        let limit = if back == 0 { at % DAY } else { DAY - 1 };
        let (hour, minute) = (limit / 3600, limit % 3600 / 60);
        let in_hour = |hour: u64, minute: u64| {
            let minute = highest(cron.minutes, minute)?;
            Some(day * DAY + hour * 3600 + minute * 60)
        };
        let now = (cron.hours & (1 << hour) != 0)
            .then(|| in_hour(hour, minute))
            .flatten();
        let before = || {
            let hour = highest(cron.hours, hour.checked_sub(1)?)?;
            in_hour(hour, 59)
        };
        if let Some(found) = now.or_else(before) {
            return Some(found);
        }
    }
    None
}

/// Whether a line fires on a day, counted from 1970.
fn fires_on(cron: &Cron, day: u64) -> Option<bool> {
    let second = i64::try_from(day * DAY).ok()?;
    let date = Timestamp::from_second(second)
        .ok()?
        .to_zoned(TimeZone::UTC)
        .date();
    let bit = |bits: u64, at: i8| bits & (1u64 << at.unsigned_abs()) != 0;
    let of_month = bit(cron.days_of_month, date.day());
    let of_week = bit(cron.days_of_week, date.weekday().to_sunday_zero_offset());
    let day = if cron.either_day {
        of_month || of_week
    } else {
        of_month && of_week
    };
    Some(day && bit(cron.months, date.month()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> u64 {
        let at: Timestamp = format!("{text}:00Z").parse().unwrap();
        u64::try_from(at.as_second()).unwrap()
    }

    #[test]
    fn the_last_firing_is_found_back_over_hours_days_months_and_leap_years() {
        for (line, now, last) in [
            ("* * * * *", "2026-11-28T22:15", "2026-11-28T22:15"),
            ("0 3 * * *", "2026-11-28T22:15", "2026-11-28T03:00"),
            ("0 3 * * *", "2026-11-28T02:59", "2026-11-27T03:00"),
            ("30 3 * * *", "2026-11-28T03:29", "2026-11-27T03:30"),
            ("30 3 * * *", "2026-11-28T03:30", "2026-11-28T03:30"),
            ("*/20 8-10 * * *", "2026-11-28T12:00", "2026-11-28T10:40"),
            ("@monthly", "2026-03-01T00:00", "2026-03-01T00:00"),
            ("@monthly", "2026-02-28T00:00", "2026-02-01T00:00"),
            ("@yearly", "2026-11-28T00:00", "2026-01-01T00:00"),
            // Saturday the 28th.
            ("0 0 * * mon", "2026-11-28T12:00", "2026-11-23T00:00"),
            ("0 0 * * 7", "2026-11-28T12:00", "2026-11-22T00:00"),
            // Either day will do where both are named.
            ("0 0 27 * mon", "2026-11-28T12:00", "2026-11-27T00:00"),
            ("0 0 */2 * mon", "2026-11-28T12:00", "2026-11-23T00:00"),
            ("0 0 29 2 *", "2028-02-28T00:00", "2024-02-29T00:00"),
        ] {
            assert_eq!(last_firing(line, at(now)), Some(at(last)), "{line} {now}");
        }
        assert_eq!(last_firing("0 3 * * *", 100), None);
        assert_eq!(last_firing("nonsense", at("2026-11-28T12:00")), None);
    }

    #[test]
    fn no_minute_between_a_firing_and_now_fires() {
        let start = at("2026-11-28T22:15");
        for line in ["7 3 * * *", "*/15 2,4 * * *", "59 23 1 * *", "0 0 * * 3"] {
            for hour in 0..200 {
                let now = start + hour * 3601;
                let last = last_firing(line, now).unwrap();
                assert!(last <= now);
                assert_eq!(last_firing(line, last), Some(last), "{line}");
                assert!(last_firing(line, last - 60).unwrap() < last);
            }
        }
    }
}
