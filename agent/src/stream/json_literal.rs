//! JSON documents of MySQL as literals.
//!
//! A document's text gives back the same document, with one exception: it may hold numbers of type
//! DECIMAL, which are printed with all their digits, and read back as doubles. These are put in
//! their places by `JSON_REPLACE`.

use crate::stream::source::write_double;

/// Appends a document.
pub(super) fn write(text: &[u8], quote: impl Fn(&[u8], &mut Vec<u8>), out: &mut Vec<u8>) {
    let decimals = decimals(text);
    if decimals.is_empty() {
        quote(text, out);
        return;
    }
    out.extend_from_slice(b"JSON_REPLACE(");
    quote(text, out);
    for (path, number) in decimals {
        let digits = number.iter().filter(|b| b.is_ascii_digit()).count();
        let scale = match number.iter().position(|b| *b == b'.') {
            Some(point) => number.len() - point - 1,
            None => 0,
        };
        out.push(b',');
        quote(&path, out);
        out.extend_from_slice(b",CAST(");
        out.extend_from_slice(number);
        out.extend_from_slice(format!(" AS DECIMAL({digits},{scale})))").as_bytes());
        // The function's own bracket comes last.
        out.pop();
    }
    out.push(b')');
}

/// Numbers that would not be read back as they are, with their paths.
fn decimals(text: &[u8]) -> Vec<(Vec<u8>, &[u8])> {
    // Nearly all documents are through here.
    let may_have = |i: usize| text[i] == b'.' || is_long(text, i);
    if !(0..text.len()).any(|i| text[i].is_ascii_digit() && may_have(i) || text[i] == b'.') {
        return Vec::new();
    }
    let mut scanner = Scanner {
        text,
        at: 0,
        path: b"$".to_vec(),
        found: Vec::new(),
    };
    // What is not JSON is for the server to refuse.
    let _ = scanner.value(0);
    scanner.found
}

/// Whether more digits begin here than a whole number has.
fn is_long(text: &[u8], at: usize) -> bool {
    text.get(at..at + 19)
        .is_some_and(|digits| digits.iter().all(u8::is_ascii_digit))
}

struct Scanner<'a> {
    text: &'a [u8],
    at: usize,
    path: Vec<u8>,
    found: Vec<(Vec<u8>, &'a [u8])>,
}

impl<'a> Scanner<'a> {
    fn peek(&mut self) -> Option<u8> {
        while self.text.get(self.at).is_some_and(u8::is_ascii_whitespace) {
            self.at += 1;
        }
        self.text.get(self.at).copied()
    }

    fn value(&mut self, depth: usize) -> Option<()> {
        if depth > 200 {
            return None;
        }
        match self.peek()? {
            b'{' => {
                self.at += 1;
                while self.peek()? != b'}' {
                    let key = self.string()?;
                    self.expect(b':')?;
                    let length = self.path.len();
                    self.path.push(b'.');
                    self.path.extend_from_slice(key);
                    self.value(depth + 1)?;
                    self.path.truncate(length);
                    if self.peek()? == b',' {
                        self.at += 1;
                    }
                }
                self.at += 1;
            }
            b'[' => {
                self.at += 1;
                let mut index = 0;
                while self.peek()? != b']' {
                    let length = self.path.len();
                    self.path.extend_from_slice(format!("[{index}]").as_bytes());
                    self.value(depth + 1)?;
                    self.path.truncate(length);
                    index += 1;
                    if self.peek()? == b',' {
                        self.at += 1;
                    }
                }
                self.at += 1;
            }
            b'"' => {
                self.string()?;
            }
            _ => self.scalar()?,
        }
        Some(())
    }

    fn expect(&mut self, wanted: u8) -> Option<()> {
        (self.peek()? == wanted).then(|| self.at += 1)
    }

    /// A string with its quotes.
    fn string(&mut self) -> Option<&'a [u8]> {
        let start = self.at;
        self.expect(b'"')?;
        loop {
            match *self.text.get(self.at)? {
                b'\\' => self.at += 2,
                b'"' => {
                    self.at += 1;
                    return self.text.get(start..self.at);
                }
                _ => self.at += 1,
            }
        }
    }

    fn scalar(&mut self) -> Option<()> {
        let rest = &self.text[self.at..];
        let length = rest
            .iter()
            .position(|b| !(b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-' | b'+')))
            .unwrap_or(rest.len());
        if length == 0 {
            return None;
        }
        self.at += length;
        let scalar = &rest[..length];
        if is_decimal(scalar) {
            self.found.push((self.path.clone(), scalar));
        }
        Some(())
    }
}

/// Whether a number's text is not what comes out after it was read as a whole number or a double.
fn is_decimal(scalar: &[u8]) -> bool {
    let plain = scalar
        .iter()
        .all(|b| b.is_ascii_digit() || matches!(b, b'.' | b'-'));
    let Some(text) = std::str::from_utf8(scalar).ok().filter(|_| plain) else {
        return false;
    };
    if text.parse::<i64>().is_ok() || text.parse::<u64>().is_ok() {
        return false;
    }
    let Ok(number) = text.parse::<f64>() else {
        return false;
    };
    let mut printed = Vec::new();
    write_double(number, &mut printed);
    if !printed.iter().any(|b| matches!(b, b'.' | b'e')) {
        printed.extend_from_slice(b".0");
    }
    printed != scalar
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn found(text: &str) -> Vec<(String, String)> {
        let text_of = |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap();
        let decimals = decimals(text.as_bytes()).into_iter();
        decimals.map(|(p, n)| (text_of(&p), text_of(n))).collect()
    }

    #[test]
    fn only_numbers_that_a_double_does_not_keep_are_found() {
        for same in [
            "1",
            "1.5",
            "-0.0",
            "[1, 2.5, 1e100]",
            "18446744073709551615",
            r#"{"a": "1.50"}"#,
            r#"["\"1.50"]"#,
            "",
        ] {
            assert_eq!(found(same), [], "{same}");
        }
        assert_eq!(found("1.50"), [("$".into(), "1.50".into())]);
        assert_eq!(
            found(r#"{"a\"b": [1, {"c": -12345678901234567890}], "d": 0.10}"#),
            [
                (r#"$."a\"b"[1]."c""#.into(), "-12345678901234567890".into()),
                (r#"$."d""#.into(), "0.10".into())
            ]
        );
    }

    proptest! {
        #[test]
        fn any_text_is_looked_through(text in "[\\[\\]{}\":,.0-9a\\\\ -]{0,60}") {
            decimals(text.as_bytes());
        }
    }
}
