//! How far something that copies or compares has come.

use std::time::Duration;

use vtplan_state::model::StepWork;

use super::table::{number, rows};
use super::text::bytes_text;
use super::when;

/// `1,200 of 5,000 rows, 1.2 MiB of 5.1 MiB, 300 rows/s`. Empty: nothing is known to be counted.
pub fn words(work: &StepWork) -> String {
    let mut parts = Vec::new();
    let of = |done: String, total: u64, all: String| match total {
        0 => done,
        _ => format!("{done} of {all}"),
    };
    if work.rows_done > 0 || work.rows_total > 0 {
        let total = work.rows_total.max(work.rows_done);
        parts.push(match work.rows_total {
            0 => rows(work.rows_done),
            _ => format!("{} of {}", number(work.rows_done), rows(total)),
        });
    }
    if work.bytes_done > 0 {
        let total = work.bytes_total.max(work.bytes_done);
        parts.push(of(
            bytes_text(work.bytes_done),
            work.bytes_total,
            bytes_text(total),
        ));
    }
    if work.rows_per_second > 0 {
        parts.push(format!("{} rows/s", number(work.rows_per_second)));
    }
    if let Some(left) = left(work) {
        parts.push(format!("{} left", when::duration(left)));
    }
    parts.join(", ")
}

/// The time that is left at this rate. The rate of the first rows says nothing.
fn left(work: &StepWork) -> Option<Duration> {
    let rows = work.rows_total.checked_sub(work.rows_done)?;
    if work.rows_done < work.rows_total / 100 {
        return None;
    }
    (rows > 0)
        .then(|| rows.checked_div(work.rows_per_second))
        .flatten()
        .map(Duration::from_secs)
}

/// What of all is done, in percent; at most 100. `None`: not known.
pub fn percent(work: &StepWork) -> Option<u64> {
    let (done, total) = match (work.bytes_total, work.rows_total) {
        (0, 0) => return None,
        (0, _) => (work.rows_done, work.rows_total),
        _ => (work.bytes_done, work.bytes_total),
    };
    Some((done.saturating_mul(100) / total).min(100))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_is_said() {
        assert_eq!(words(&StepWork::default()), "");
        let mut work = StepWork {
            rows_done: 1200,
            ..StepWork::default()
        };
        assert_eq!(words(&work), "1,200 rows");
        work.rows_total = 6000;
        work.bytes_done = 2 << 20;
        work.bytes_total = 10 << 20;
        work.rows_per_second = 480;
        assert_eq!(
            words(&work),
            "1,200 of 6,000 rows, 2.0 MiB of 10.0 MiB, 480 rows/s, 10 s left"
        );
        assert_eq!(percent(&work), Some(20));
        // An estimate that was too low.
        work.rows_done = 7000;
        work.bytes_done = 11 << 20;
        assert_eq!(
            words(&work),
            "7,000 of 7,000 rows, 11.0 MiB of 11.0 MiB, 480 rows/s"
        );
        assert_eq!(percent(&work), Some(100));
    }
}
