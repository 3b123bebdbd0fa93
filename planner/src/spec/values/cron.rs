//! Cron lines: five fields, as in crontab(5), and the `@daily` kind of names.

use crate::spec::diag::closest;

struct Field {
    name: &'static str,
    min: u32,
    max: u32,
    names: &'static [&'static str],
}

const MONTHS: [&str; 12] = [
    "jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec",
];
const DAYS: [&str; 7] = ["sun", "mon", "tue", "wed", "thu", "fri", "sat"];

const FIELDS: [Field; 5] = [
    Field {
        name: "minute",
        min: 0,
        max: 59,
        names: &[],
    },
    Field {
        name: "hour",
        min: 0,
        max: 23,
        names: &[],
    },
    Field {
        name: "day of month",
        min: 1,
        max: 31,
        names: &[],
    },
    Field {
        name: "month",
        min: 1,
        max: 12,
        names: &MONTHS,
    },
    // 7 is Sunday too.
    Field {
        name: "day of week",
        min: 0,
        max: 7,
        names: &DAYS,
    },
];

const NICKNAMES: [(&str, &str); 6] = [
    ("@hourly", "0 * * * *"),
    ("@daily", "0 0 * * *"),
    ("@midnight", "0 0 * * *"),
    ("@weekly", "0 0 * * 0"),
    ("@monthly", "0 0 1 * *"),
    ("@yearly", "0 0 1 1 *"),
];

/// When a schedule runs: for each field a bit for each value at which it does.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cron {
    pub minutes: u64,
    pub hours: u64,
    pub days_of_month: u64,
    pub months: u64,
    /// Bit 0 is Sunday.
    pub days_of_week: u64,
    /// As cron has it: when both day fields are restricted, a day that fits either will do.
    pub either_day: bool,
}

/// Reads a cron line.
pub fn parse(text: &str) -> Result<Cron, String> {
    let line = match NICKNAMES.iter().find(|(name, _)| *name == text) {
        Some((_, line)) => line,
        None if text.starts_with('@') => {
            let names = NICKNAMES.map(|(name, _)| name);
            return Err(match closest(text, names) {
                Some(best) => format!("`{text}` is not known; did you mean `{best}`?"),
                None => format!("`{text}` is not known; there is {}", names.join(", ")),
            });
        }
        None => text,
    };
    let parts: Vec<&str> = line.split_whitespace().collect();
    if parts.len() != FIELDS.len() {
        return Err(format!(
            "it has {} fields; a cron line has 5: minute, hour, day of month, month, day of week",
            parts.len()
        ));
    }
    let mut bits = [0; 5];
    for (i, (field, part)) in FIELDS.iter().zip(&parts).enumerate() {
        bits[i] = field.parse(part)?;
    }
    let [minutes, hours, days_of_month, months, mut days_of_week] = bits;
    if days_of_week & (1 << 7) != 0 {
        days_of_week = (days_of_week & !(1 << 7)) | 1;
    }
    let cron = Cron {
        minutes,
        hours,
        days_of_month,
        months,
        days_of_week,
        either_day: !parts[2].starts_with('*') && !parts[4].starts_with('*'),
    };
    if !cron.either_day && !cron.has_a_date() {
        return Err("no month that it names has such a day, so it never runs".into());
    }
    Ok(cron)
}

impl Cron {
    fn has_a_date(&self) -> bool {
        const LENGTHS: [u32; 12] = [31, 29, 31, 30, 31, 30, 31, 31, 30, 31, 30, 31];
        LENGTHS.iter().enumerate().any(|(month, length)| {
            self.months & (1 << (month + 1)) != 0
                && (1..=*length).any(|day| self.days_of_month & (1 << day) != 0)
        })
    }
}

impl Field {
    /// A list of `*`, `n`, `a-b`, each with an optional `/step`.
    fn parse(&self, text: &str) -> Result<u64, String> {
        let mut bits = 0;
        for part in text.split(',') {
            let (range, step) = match part.split_once('/') {
                Some((range, step)) => {
                    let step: u32 = step
                        .parse()
                        .ok()
                        .filter(|s| (1..=self.max).contains(s))
                        .ok_or_else(|| format!("`{step}` is not a step of the {}", self.name))?;
                    (range, Some(step))
                }
                None => (part, None),
            };
            let (from, to) = if range == "*" {
                (self.min, if self.max == 7 { 6 } else { self.max })
            } else if let Some((from, to)) = range.split_once('-') {
                (self.value(from)?, self.value(to)?)
            } else {
                let at = self.value(range)?;
                (at, if step.is_some() { self.max } else { at })
            };
            if from > to {
                return Err(format!("the {} `{range}` ends before it starts", self.name));
            }
            for at in (from..=to).step_by(step.unwrap_or(1) as usize) {
                bits |= 1 << at;
            }
        }
        Ok(bits)
    }

    fn value(&self, text: &str) -> Result<u32, String> {
        let lower = text.to_ascii_lowercase();
        if let Some(at) = self.names.iter().position(|n| *n == lower) {
            return Ok(u32::try_from(at).expect("twelve names at most") + self.min);
        }
        let number = text.parse::<u32>().ok().filter(|_| {
            // `+5` parses as a number, but is none here.
            text.bytes().all(|b| b.is_ascii_digit())
        });
        number
            .filter(|n| (self.min..=self.max).contains(n))
            .ok_or_else(|| {
                format!(
                    "`{text}` is not a {}; it goes from {} to {}",
                    self.name, self.min, self.max
                )
            })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_read_as_cron_reads_them() {
        let cron = parse("*/15 3-5,22 1 jan-mar 7").unwrap();
        assert_eq!(cron.minutes, 1 | 1 << 15 | 1 << 30 | 1 << 45);
        assert_eq!(cron.hours, 1 << 3 | 1 << 4 | 1 << 5 | 1 << 22);
        assert_eq!(cron.months, 0b1110);
        assert_eq!(cron.days_of_week, 1);
        assert!(cron.either_day);
        assert_eq!(parse("@daily"), parse("0 0 * * *"));
        assert!(!parse("0 3 * * *").unwrap().either_day);
    }

    #[test]
    fn lines_that_never_run_or_mean_nothing_are_refused() {
        for text in [
            "",
            "* * * *",
            "60 * * * *",
            "* 24 * * *",
            "* * 0 * *",
            "* * * 13 *",
            "* * * * 8",
            "*/0 * * * *",
            "5-1 * * * *",
            "a * * * *",
            "0 0 31 2 *",
            "0 0 30 2 *",
            "@dayly",
            "+5 * * * *",
            "1,,2 * * * *",
        ] {
            assert!(parse(text).is_err(), "{text}");
        }
        assert!(parse("0 0 29 2 *").is_ok());
    }
}
