//! SQL tokens as MySQL's client and server cut them, with byte offsets.

/// What a token is. Comments and blanks are no tokens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TokenKind {
    /// A word or number.
    Word,
    /// `` `name` ``
    QuotedName,
    /// `'text'` or `"text"`
    Text,
    /// `/*! ... */`: SQL for MySQL only.
    VersionedComment,
    /// One character.
    Symbol(char),
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Token {
    pub kind: TokenKind,
    pub start: usize,
    pub end: usize,
}

/// A quote or comment that is never closed, and where it opens.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Unclosed {
    pub what: &'static str,
    pub at: usize,
}

/// Cuts a text into tokens; if something is never closed, those before it.
pub fn tokens(sql: &str) -> (Vec<Token>, Option<Unclosed>) {
    let bytes = sql.as_bytes();
    let mut out = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let start = at;
        let next = bytes.get(at + 1).copied();
        let kind = match bytes[at] {
            b if b.is_ascii_whitespace() => {
                at += 1;
                continue;
            }
            b'#' => {
                at = line_end(bytes, at);
                continue;
            }
            // `--` starts a comment only before a blank or the end.
            b'-' if next == Some(b'-') && bytes.get(at + 2).is_none_or(u8::is_ascii_whitespace) => {
                at = line_end(bytes, at);
                continue;
            }
            b'/' if next == Some(b'*') => {
                let Some(close) = sql[at + 2..].find("*/") else {
                    let what = "comment";
                    return (out, Some(Unclosed { what, at }));
                };
                let versioned =
                    matches!(bytes.get(at + 2), Some(b'!')) || sql[at + 2..].starts_with("M!");
                at += 2 + close + 2;
                if !versioned {
                    continue;
                }
                TokenKind::VersionedComment
            }
            quote @ (b'\'' | b'"' | b'`') => {
                let Some(end) = quoted(bytes, at, quote) else {
                    let what = if quote == b'`' { "name" } else { "text" };
                    return (out, Some(Unclosed { what, at }));
                };
                at = end;
                if quote == b'`' {
                    TokenKind::QuotedName
                } else {
                    TokenKind::Text
                }
            }
            b if is_word(b) => {
                while at < bytes.len() && is_word(bytes[at]) {
                    at += 1;
                }
                TokenKind::Word
            }
            b => {
                at += 1;
                TokenKind::Symbol(char::from(b))
            }
        };
        out.push(Token {
            kind,
            start,
            end: at,
        });
    }
    (out, None)
}

/// Bytes above 127 are parts of letters outside ASCII, which names may hold.
fn is_word(b: u8) -> bool {
    b.is_ascii_alphanumeric() || matches!(b, b'_' | b'$') || b >= 0x80
}

fn line_end(bytes: &[u8], from: usize) -> usize {
    let rest = bytes[from..].iter().position(|b| *b == b'\n');
    rest.map_or(bytes.len(), |n| from + n + 1)
}

/// The offset after a quoted token. The quote is doubled inside; texts know backslashes.
fn quoted(bytes: &[u8], start: usize, quote: u8) -> Option<usize> {
    let mut at = start + 1;
    loop {
        match *bytes.get(at)? {
            b'\\' if quote != b'`' => at += 2,
            b if b == quote => {
                if bytes.get(at + 1) == Some(&quote) {
                    at += 2;
                } else {
                    return Some(at + 1);
                }
            }
            _ => at += 1,
        }
    }
}

/// The name in a word or a quoted name; the text in a text.
pub fn unquote(token: &str) -> String {
    let Some(quote @ ('`' | '\'' | '"')) = token.chars().next() else {
        return token.to_owned();
    };
    let inner = &token[1..token.len() - 1];
    let doubled: String = [quote, quote].iter().collect();
    inner.replace(&doubled, &quote.to_string())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(sql: &str) -> Vec<&str> {
        let (tokens, unclosed) = tokens(sql);
        assert_eq!(unclosed, None);
        tokens.iter().map(|t| &sql[t.start..t.end]).collect()
    }

    #[test]
    fn quotes_and_comments_hide_what_is_in_them() {
        assert_eq!(
            texts("a 'it''s; \\'x' `b``;c` -- ;\n# ;\n/* ; */ d--1 \"y;\";"),
            [
                "a",
                "'it''s; \\'x'",
                "`b``;c`",
                "d",
                "-",
                "-",
                "1",
                "\"y;\"",
                ";"
            ]
        );
    }

    #[test]
    fn what_is_not_closed_is_found_where_it_opens() {
        for (sql, at) in [("a 'b", 2), ("a /* b", 2), ("`", 0), ("'a\\", 0)] {
            assert_eq!(tokens(sql).1.unwrap().at, at, "{sql}");
        }
    }

    #[test]
    fn names_are_unquoted() {
        assert_eq!(unquote("`a``b`"), "a`b");
        assert_eq!(unquote("größe"), "größe");
    }
}
