//! A statement's text without its literals and comments, fit to be shown and logged.

/// The longest text that is shown.
const MAX: usize = 1000;

/// Replaces literals by `?`, leaves out comments, shortens white space. What looks like the start
/// of a literal that never ends is left out with all that follows: no value is ever shown.
pub fn normalize(sql: &[u8]) -> String {
    let mut out = Vec::with_capacity(sql.len().min(MAX));
    let mut at = 0;
    while at < sql.len() && out.len() < MAX {
        let byte = sql[at];
        match byte {
            b'\'' | b'"' => {
                at = end_of_string(sql, at);
                out.push(b'?');
            }
            b'`' => {
                let end = sql[at + 1..].iter().position(|b| *b == b'`');
                let end = end.map_or(sql.len(), |e| at + 1 + e + 1);
                out.extend_from_slice(&sql[at..end]);
                at = end;
            }
            b'/' if sql.get(at + 1) == Some(&b'*') => {
                let end = sql[at + 2..].windows(2).position(|w| w == b"*/");
                at = end.map_or(sql.len(), |e| at + 2 + e + 2);
                space(&mut out);
            }
            b'#' => at = end_of_line(sql, at),
            b'-' if sql[at..].starts_with(b"--")
                && sql.get(at + 2).is_none_or(u8::is_ascii_whitespace) =>
            {
                at = end_of_line(sql, at);
            }
            b'0'..=b'9' => {
                let number = sql[at..]
                    .iter()
                    .position(|b| !b.is_ascii_alphanumeric() && *b != b'.');
                at = number.map_or(sql.len(), |n| at + n);
                out.push(b'?');
            }
            b if b.is_ascii_whitespace() => {
                at += 1;
                space(&mut out);
            }
            b if is_word(b) => {
                let word = sql[at..].iter().position(|b| !is_word(*b));
                let end = word.map_or(sql.len(), |n| at + n);
                // X'..', N'..', _utf8'..': the letters belong to the literal.
                if !matches!(sql.get(end), Some(b'\'')) {
                    out.extend_from_slice(&sql[at..end]);
                }
                at = end;
            }
            b => {
                out.push(b);
                at += 1;
            }
        }
    }
    out.truncate(MAX);
    String::from_utf8_lossy(&out).trim().to_owned()
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'$' | b'@') || byte >= 0x80
}

fn space(out: &mut Vec<u8>) {
    if out.last().is_some_and(|b| *b != b' ') {
        out.push(b' ');
    }
}

fn end_of_line(sql: &[u8], at: usize) -> usize {
    let end = sql[at..].iter().position(|b| *b == b'\n');
    end.map_or(sql.len(), |e| at + e)
}

fn end_of_string(sql: &[u8], start: usize) -> usize {
    let quote = sql[start];
    let mut at = start + 1;
    while at < sql.len() {
        if sql[at] == b'\\' {
            at += 2;
        } else if sql[at] == quote {
            if sql.get(at + 1) != Some(&quote) {
                return at + 1;
            }
            at += 2;
        } else {
            at += 1;
        }
    }
    sql.len()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn literals_and_comments_are_gone() {
        let sql = b"SELECT /* secret */ `a1`, x'6162', b FROM t1 -- hidden\n WHERE c = 'it''s \\' x' AND d IN (1, 2.5e3) # y";
        assert_eq!(
            normalize(sql),
            "SELECT `a1`, ?, b FROM t1 WHERE c = ? AND d IN (?, ?)"
        );
        assert_eq!(normalize(b"SELECT 'never ends"), "SELECT ?");
    }

    proptest! {
        #[test]
        fn a_string_is_never_shown(value in "[a-z]{12}", before in "[ a-z0-9=,()]{0,20}") {
            let sql = format!("{before} '{value}'");
            prop_assert!(!normalize(sql.as_bytes()).contains(&value));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            normalize(&bytes);
        }
    }
}
