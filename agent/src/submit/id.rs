//! Names of plans: `20261121-145033-3f2a`, so that they sort by the time they were approved.

use vtplan_state::model::UnixMillis;

/// A name for a plan that was approved at `at` (UTC). `tie` tells apart those of one second.
pub fn new_plan_id(at: UnixMillis, tie: u16) -> String {
    let (year, month, day, seconds) = civil(at);
    format!(
        "{year:04}{month:02}{day:02}-{:02}{:02}{:02}-{tie:04x}",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// `on 2026-11-21 at 14:50:33 UTC`.
pub fn when(at: UnixMillis) -> String {
    let (year, month, day, seconds) = civil(at);
    format!(
        "on {year:04}-{month:02}-{day:02} at {:02}:{:02}:{:02} UTC",
        seconds / 3600,
        seconds / 60 % 60,
        seconds % 60
    )
}

/// Year, month, day, and seconds of the day in UTC: the proleptic Gregorian calendar, counted in
/// eras of 400 years that start on a 1st of March, so that the leap day is the last of its year.
fn civil(at: UnixMillis) -> (u64, u64, u64, u64) {
    let seconds = at / 1000;
    let days = seconds / 86_400 + 719_468;
    let era = days / 146_097;
    let day_of_era = days % 146_097;
    let year_of_era =
        (day_of_era - day_of_era / 1460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let march_month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * march_month + 2) / 5 + 1;
    let month = if march_month < 10 {
        march_month + 3
    } else {
        march_month - 9
    };
    let year = era * 400 + year_of_era + u64::from(month <= 2);
    (year, month, day, seconds % 86_400)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_the_utc_time_and_sort_by_it() {
        assert_eq!(new_plan_id(0, 0), "19700101-000000-0000");
        assert_eq!(new_plan_id(951_782_399_000, 1), "20000228-235959-0001");
        assert_eq!(new_plan_id(951_782_400_000, 1), "20000229-000000-0001");
        assert_eq!(
            new_plan_id(1_795_272_633_123, 0x3f2a),
            "20261121-145033-3f2a"
        );
        assert_eq!(when(1_795_272_633_123), "on 2026-11-21 at 14:50:33 UTC");
    }
}
