//! Durations such as `1h30m` or `500ms`.

const UNITS: [(&str, u64); 6] = [
    ("ms", 1),
    ("s", 1000),
    ("m", 60_000),
    ("h", 3_600_000),
    ("d", 86_400_000),
    ("w", 604_800_000),
];

/// Milliseconds of a duration: numbers with units `w`, `d`, `h`, `m`, `s`, `ms`, each unit once
/// and the larger first; `0` needs no unit.
pub fn parse_ms(text: &str) -> Result<u64, String> {
    if text == "0" {
        return Ok(0);
    }
    let mut rest = text;
    let mut total: u64 = 0;
    let mut last = u64::MAX;
    while !rest.is_empty() {
        let digits = rest.bytes().take_while(u8::is_ascii_digit).count();
        if digits == 0 {
            return Err("a duration is numbers with units, such as `1h30m` or `500ms`".into());
        }
        let number: u64 = rest[..digits].parse().map_err(|_| too_long())?;
        rest = &rest[digits..];
        let letters = rest
            .find(|c: char| c.is_ascii_digit())
            .unwrap_or(rest.len());
        let unit = &rest[..letters];
        rest = &rest[letters..];
        let Some((_, ms)) = UNITS.iter().find(|(name, _)| *name == unit) else {
            return Err(if unit.is_empty() {
                format!("`{number}` has no unit; write `{number}s` for seconds")
            } else {
                format!("`{unit}` is not a unit; the units are w, d, h, m, s and ms")
            });
        };
        if *ms >= last {
            return Err("each unit is given once, the larger first".into());
        }
        last = *ms;
        let part = number.checked_mul(*ms).ok_or_else(too_long)?;
        total = total.checked_add(part).ok_or_else(too_long)?;
    }
    if text.is_empty() {
        return Err("it is empty".into());
    }
    // A hundred years: what is longer is a slip, and clocks overflow later on.
    if total > 100 * 366 * 86_400_000 {
        return Err(too_long());
    }
    Ok(total)
}

fn too_long() -> String {
    "that is longer than 100 years".into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_add_up() {
        for (text, ms) in [
            ("0", 0),
            ("0s", 0),
            ("500ms", 500),
            ("1h30m", 5_400_000),
            ("1d", 86_400_000),
            ("1w2d3h4m5s6ms", 788_645_006),
        ] {
            assert_eq!(parse_ms(text), Ok(ms), "{text}");
        }
    }

    #[test]
    fn what_is_no_duration_is_refused() {
        for text in [
            "",
            "1",
            "h",
            "1x",
            "1s1h",
            "1s1s",
            "-1s",
            "1.5h",
            "1 h",
            "9999999999999999999s",
            "200000d",
        ] {
            assert!(parse_ms(text).is_err(), "{text}");
        }
    }
}
