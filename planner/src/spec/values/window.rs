//! Change windows: `Sat 02:00-05:00 Europe/Berlin`.

use jiff::Timestamp;
use jiff::civil::Weekday;
use jiff::tz::{TimeZone, TimeZoneDatabase};

use crate::spec::diag::closest;

const DAYS: [&str; 7] = ["Mon", "Tue", "Wed", "Thu", "Fri", "Sat", "Sun"];

/// When changes may start. Times are wall-clock times of the zone.
#[derive(Debug, Clone, PartialEq)]
pub struct Window {
    /// Bit 0 is Monday: the days on which it opens.
    days: u8,
    /// Minutes after midnight.
    from: u16,
    /// Minutes after midnight; not above `from`: of the next day.
    to: u16,
    zone: TimeZone,
}

impl Window {
    /// Reads `[DAYS] HH:MM-HH:MM [ZONE]`. Days are `Sat`, `Mon-Fri` or `Sat,Sun`, every day when
    /// left out; the zone is a name of the IANA database, UTC when left out. A window whose end
    /// is not after its start closes on the next day.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut words = text.split_whitespace().peekable();
        let mut days = 0b111_1111;
        if let Some(word) = words.peek()
            && !word.starts_with(|c: char| c.is_ascii_digit())
        {
            days = parse_days(word)?;
            words.next();
        }
        let Some(hours) = words.next() else {
            return Err(
                "a window is days, hours and a time zone, such as `Sat 02:00-05:00 Europe/Berlin`"
                    .into(),
            );
        };
        let Some((from, to)) = hours.split_once('-') else {
            return Err(format!("`{hours}` has no end; write `02:00-05:00`"));
        };
        let (from, to) = (parse_time(from, false)?, parse_time(to, true)?);
        if from == to {
            return Err("it opens and closes at the same minute".into());
        }
        let zone = match words.next() {
            Some(name) => find_zone(name)?,
            None => TimeZone::UTC,
        };
        if let Some(extra) = words.next() {
            return Err(format!("`{extra}` is too much; the time zone comes last"));
        }
        Ok(Self {
            days,
            from,
            to,
            zone,
        })
    }

    /// Whether it is open at a time, in milliseconds since the Unix epoch.
    pub fn contains(&self, unix_millis: i64) -> bool {
        let Ok(at) = Timestamp::from_millisecond(unix_millis) else {
            return false;
        };
        let local = at.to_zoned(self.zone.clone());
        // Hours and minutes of a day fit.
        let minute =
            u16::from(local.hour().unsigned_abs()) * 60 + u16::from(local.minute().unsigned_abs());
        let opens = |day: Weekday| self.days & (1 << day.to_monday_zero_offset()) != 0;
        let today = local.weekday();
        if self.from < self.to {
            return opens(today) && (self.from..self.to).contains(&minute);
        }
        (opens(today) && minute >= self.from) || (opens(today.previous()) && minute < self.to)
    }
}

fn parse_days(text: &str) -> Result<u8, String> {
    let day = |name: &str| {
        let at = DAYS.iter().position(|d| d.eq_ignore_ascii_case(name));
        at.ok_or_else(|| match closest(name, DAYS) {
            Some(best) => format!("`{name}` is not a day; did you mean `{best}`?"),
            None => format!("`{name}` is not a day; the days are {}", DAYS.join(", ")),
        })
    };
    let mut days = 0;
    for part in text.split(',') {
        let (from, to) = match part.split_once('-') {
            Some((from, to)) => (day(from)?, day(to)?),
            None => (day(part)?, day(part)?),
        };
        // `Sat-Mon` goes over the end of the week.
        let mut at = from;
        loop {
            days |= 1 << at;
            if at == to {
                break;
            }
            at = (at + 1) % 7;
        }
    }
    Ok(days)
}

/// Minutes after midnight. `24:00` is an end only.
fn parse_time(text: &str, end: bool) -> Result<u16, String> {
    let parsed = text.split_once(':').and_then(|(hour, minute)| {
        let digits = |s: &str| s.bytes().all(|b| b.is_ascii_digit());
        if !(1..=2).contains(&hour.len()) || minute.len() != 2 || !digits(hour) || !digits(minute) {
            return None;
        }
        let (hour, minute): (u16, u16) = (hour.parse().ok()?, minute.parse().ok()?);
        match (hour, minute) {
            (24, 0) if end => Some(24 * 60),
            (0..24, 0..60) => Some(hour * 60 + minute),
            _ => None,
        }
    });
    parsed.ok_or_else(|| format!("`{text}` is not a time of day; write `02:00`"))
}

fn find_zone(name: &str) -> Result<TimeZone, String> {
    let zones = TimeZoneDatabase::bundled();
    zones.get(name).map_err(|_| {
        let names: Vec<String> = zones.available().map(|n| n.to_string()).collect();
        let mut why = format!("`{name}` is not a time zone");
        if let Some(best) = closest(name, names.iter().map(String::as_str)) {
            why.push_str(&format!("; did you mean `{best}`?"));
        } else {
            why.push_str("; write a name such as `Europe/Berlin` or `UTC`");
        }
        why
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> i64 {
        text.parse::<Timestamp>().unwrap().as_millisecond()
    }

    #[test]
    fn a_window_is_open_in_its_zone_only() {
        let window = Window::parse("Sat 02:00-05:00 Europe/Berlin").unwrap();
        // 2025-07-05 is a Saturday; Berlin is two hours ahead of UTC then.
        assert!(window.contains(at("2025-07-05T00:00:00Z")));
        assert!(window.contains(at("2025-07-05T02:59:00Z")));
        assert!(!window.contains(at("2025-07-05T03:00:00Z")));
        assert!(!window.contains(at("2025-07-04T23:59:00Z")));
        assert!(!window.contains(at("2025-07-06T01:00:00Z")));
    }

    #[test]
    fn a_window_over_midnight_belongs_to_the_day_it_opens() {
        let window = Window::parse("Fri 22:00-04:00").unwrap();
        assert!(window.contains(at("2025-07-04T23:00:00Z")));
        assert!(window.contains(at("2025-07-05T03:59:00Z")));
        assert!(!window.contains(at("2025-07-05T23:00:00Z")));
        assert!(!window.contains(at("2025-07-04T03:00:00Z")));
    }

    #[test]
    fn what_is_no_window_is_refused_with_the_reason() {
        for text in [
            "",
            "Sat",
            "Sat 02:00",
            "Sat 2-5",
            "Sat 02:00-25:00",
            "Sat 02:00-02:00 UTC",
            "Sot 02:00-05:00",
            "Sat 02:00-05:00 Europe/Berlyn",
            "Sat 02:00-05:00 UTC now",
            "24:00-03:00",
        ] {
            assert!(Window::parse(text).is_err(), "{text}");
        }
        let why = Window::parse("Sat 02:00-05:00 Europe/Berlyn").unwrap_err();
        assert!(why.contains("did you mean `Europe/Berlin`"), "{why}");
        for text in [
            "02:00-05:00",
            "Mon-Fri,Sun 0:00-24:00 America/New_York",
            "Sat-Mon 01:00-02:00",
        ] {
            assert!(Window::parse(text).is_ok(), "{text}");
        }
    }
}
