//! Times and durations as people read them.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use vtplan_state::model::UnixMillis;

/// `250 ms`, `40 s`, `3 min 20 s`, `2 h 5 min`, `3 d 4 h`.
pub fn duration(d: Duration) -> String {
    let s = d.as_secs();
    let two = |big: u64, big_unit: &str, small: u64, small_unit: &str| {
        if small == 0 {
            format!("{big} {big_unit}")
        } else {
            format!("{big} {big_unit} {small} {small_unit}")
        }
    };
    match s {
        0 if d.is_zero() => "0 s".to_owned(),
        0 => format!("{} ms", d.as_millis().max(1)),
        1..60 => format!("{s} s"),
        60..3_600 => two(s / 60, "min", s % 60, "s"),
        3_600..86_400 => two(s / 3_600, "h", s % 3_600 / 60, "min"),
        _ => two(s / 86_400, "d", s % 86_400 / 3_600, "h"),
    }
}

/// The time now, as records have it.
pub fn now() -> UnixMillis {
    millis(SystemTime::now())
}

/// A time as records have it.
pub fn millis(at: SystemTime) -> UnixMillis {
    let since = at.duration_since(UNIX_EPOCH);
    // A clock before 1970 is shown as 1970.
    since.map_or(0, |d| d.as_millis() as UnixMillis)
}

/// `2026-03-01 14:05:09 UTC`.
pub fn utc(at: UnixMillis) -> String {
    let seconds = at / 1000;
    let (days, day) = (seconds / 86_400, seconds % 86_400);
    let (year, month, date) = civil(days);
    format!(
        "{year:04}-{month:02}-{date:02} {:02}:{:02}:{:02} UTC",
        day / 3_600,
        day % 3_600 / 60,
        day % 60
    )
}

/// `3 min ago`; `just now` within a second, also for a clock a little ahead of ours.
pub fn ago(at: UnixMillis, now: UnixMillis) -> String {
    let passed = now.saturating_sub(at);
    if passed < 1000 {
        return "just now".to_owned();
    }
    let seconds = passed / 1000;
    // One unit is enough to say how long ago something was.
    let rounded = match seconds {
        0..60 => seconds,
        60..3_600 => seconds / 60 * 60,
        3_600..86_400 => seconds / 3_600 * 3_600,
        _ => seconds / 86_400 * 86_400,
    };
    format!("{} ago", duration(Duration::from_secs(rounded)))
}

/// The proleptic Gregorian date of a number of days since 1970-01-01 (the algorithm of Howard
/// Hinnant's `civil_from_days`, for days that are not negative).
fn civil(days: u64) -> (u64, u64, u64) {
    let z = days + 719_468;
    let era = z / 146_097;
    let day_of_era = z % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let shifted = (5 * day_of_year + 2) / 153;
    let date = day_of_year - (153 * shifted + 2) / 5 + 1;
    let month = if shifted < 10 {
        shifted + 3
    } else {
        shifted - 9
    };
    (year_of_era + era * 400 + u64::from(month <= 2), month, date)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates_are_those_of_the_calendar() {
        assert_eq!(utc(0), "1970-01-01 00:00:00 UTC");
        assert_eq!(utc(951_782_400_000), "2000-02-29 00:00:00 UTC");
        assert_eq!(utc(1_709_251_199_999), "2024-02-29 23:59:59 UTC");
        assert_eq!(utc(4_102_444_800_000), "2100-01-01 00:00:00 UTC");
    }

    #[test]
    fn durations_have_two_units_at_most() {
        let of = |ms| duration(Duration::from_millis(ms));
        assert_eq!(of(0), "0 s");
        assert_eq!(of(250), "250 ms");
        assert_eq!(of(59_999), "59 s");
        assert_eq!(of(60_000), "1 min");
        assert_eq!(of(3_723_000), "1 h 2 min");
        assert_eq!(of(90_000_000), "1 d 1 h");
        assert_eq!(ago(1_000, 1_900), "just now");
        assert_eq!(ago(5_000, 4_000), "just now");
        assert_eq!(ago(0, 125_000), "2 min ago");
    }
}
