//! Reading a statement's tokens in one pass over its bytes, as MySQL's own lexer would: strings,
//! numbers, quoted names, comments, and comments that are code (`/*! ... */`).
//!
//! [`fingerprint`] is the hot path: the text without literals, and where they were.

use super::types::SqlModes;

/// What a token is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(super) enum Kind {
    /// A keyword or a name without quotes.
    Word,
    /// A name in backticks, or in double quotes under `ANSI_QUOTES`.
    Quoted,
    Integer,
    /// A number with a point or an exponent.
    Decimal,
    /// Also several that stand side by side, and one with an introducer (`_utf8mb4'x'`, `N'x'`).
    String,
    /// `x'1f'`, `0x1f`.
    Hex,
    /// `b'01'`, `0b01`.
    Bit,
    /// `?`.
    Param,
    /// `@x`.
    UserVariable,
    /// `@@x`, `@@session.x`.
    SystemVariable,
    Operator,
}

impl Kind {
    /// Whether it stands for a value that is left out of the fingerprint.
    pub(super) fn is_slot(self) -> bool {
        matches!(
            self,
            Self::Integer | Self::Decimal | Self::String | Self::Hex | Self::Bit | Self::Param
        )
    }
}

/// A token's place in the text, in bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Token {
    pub kind: Kind,
    pub start: usize,
    pub end: usize,
}

impl Token {
    pub(super) fn text<'a>(&self, sql: &'a [u8]) -> &'a [u8] {
        &sql[self.start..self.end]
    }
}

/// The tokens of a text, one after the other.
pub(super) struct Lexer<'a> {
    sql: &'a [u8],
    at: usize,
    modes: SqlModes,
    in_version_comment: bool,
    /// The last token was a `.` right after a name: what follows is a name.
    after_dot: bool,
    /// Some `/*!` comment was read: what the statement is depends on the server's version.
    pub version_comment: bool,
    /// A string, quoted name or comment did not end.
    pub unterminated: bool,
}

const WORD: [bool; 256] = {
    let mut table = [false; 256];
    let mut b = 0;
    while b < 256 {
        let c = b as u8;
        table[b] = c.is_ascii_alphanumeric() || c == b'_' || c == b'$' || c >= 0x80;
        b += 1;
    }
    table
};

fn is_word(b: u8) -> bool {
    WORD[usize::from(b)]
}

fn is_space(b: u8) -> bool {
    matches!(b, b' ' | b'\t' | b'\n' | b'\r' | 0x0b | 0x0c)
}

impl<'a> Lexer<'a> {
    pub(super) fn new(sql: &'a [u8], modes: SqlModes) -> Self {
        Self {
            sql,
            at: 0,
            modes,
            in_version_comment: false,
            after_dot: false,
            version_comment: false,
            unterminated: false,
        }
    }

    fn peek(&self, ahead: usize) -> u8 {
        self.sql.get(self.at + ahead).copied().unwrap_or(0)
    }

    fn is_quote(&self, b: u8) -> bool {
        b == b'\'' || (b == b'"' && !self.modes.ansi_quotes)
    }

    /// Skips white space and comments.
    fn skip(&mut self) {
        loop {
            match self.peek(0) {
                b if is_space(b) => self.at += 1,
                b'#' => self.skip_line(),
                b'-' if self.peek(1) == b'-' && self.starts_dash_comment() => self.skip_line(),
                b'/' if self.peek(1) == b'*' => self.skip_comment(),
                b'*' if self.in_version_comment && self.peek(1) == b'/' => {
                    self.at += 2;
                    self.in_version_comment = false;
                }
                _ => return,
            }
        }
    }

    /// `--` starts a comment only before white space, a control character or the end.
    fn starts_dash_comment(&self) -> bool {
        self.sql.get(self.at + 2).is_none_or(|b| *b <= b' ')
    }

    fn skip_line(&mut self) {
        let rest = &self.sql[self.at..];
        self.at += rest.iter().position(|b| *b == b'\n').unwrap_or(rest.len());
    }

    fn skip_comment(&mut self) {
        let maria = matches!(self.peek(2), b'M' | b'm') && self.peek(3) == b'!';
        if self.peek(2) == b'!' || maria {
            self.at += if maria { 4 } else { 3 };
            self.version_comment = true;
            self.in_version_comment = true;
            let digits = (0..6)
                .take_while(|i| self.peek(*i).is_ascii_digit())
                .count();
            if digits >= 5 {
                self.at += digits;
            }
            return;
        }
        let body = self.at + 2;
        match find(&self.sql[body..], b"*/") {
            Some(end) => self.at = body + end + 2,
            None => {
                self.at = self.sql.len();
                self.unterminated = true;
            }
        }
    }

    /// Goes past a quoted text that starts here. Doubled quotes and, in strings, backslashes
    /// escape.
    fn quoted(&mut self, backslash: bool) {
        let quote = self.sql[self.at];
        let mut at = self.at + 1;
        while let Some(&b) = self.sql.get(at) {
            if b == quote {
                if self.sql.get(at + 1) == Some(&quote) {
                    at += 2;
                    continue;
                }
                self.at = at + 1;
                return;
            }
            at += if b == b'\\' && backslash { 2 } else { 1 };
        }
        self.at = self.sql.len();
        self.unterminated = true;
    }

    /// Goes past a string, and others right after it, which are one with it.
    fn string(&mut self) {
        loop {
            self.quoted(!self.modes.no_backslash_escapes);
            let end = self.at;
            self.skip();
            if self.at >= self.sql.len() || !self.is_quote(self.peek(0)) || self.in_version_comment
            {
                self.at = end;
                return;
            }
        }
    }

    fn word(&mut self) {
        while is_word(self.peek(0)) && self.at < self.sql.len() {
            self.at += 1;
        }
    }

    fn digits(&mut self) {
        while self.peek(0).is_ascii_digit() {
            self.at += 1;
        }
    }

    /// A number, or a name that starts with a digit.
    fn number(&mut self) -> Kind {
        let start = self.at;
        if self.peek(0) == b'0' && matches!(self.peek(1), b'x' | b'b') {
            let hex = self.peek(1) == b'x';
            let digit = |b: u8| {
                if hex {
                    b.is_ascii_hexdigit()
                } else {
                    matches!(b, b'0' | b'1')
                }
            };
            self.at += 2;
            while digit(self.peek(0)) {
                self.at += 1;
            }
            if self.at > start + 2 && !is_word(self.peek(0)) {
                return if hex { Kind::Hex } else { Kind::Bit };
            }
            self.word();
            return Kind::Word;
        }
        self.digits();
        let mut kind = Kind::Integer;
        if self.peek(0) == b'.' {
            kind = Kind::Decimal;
            self.at += 1;
            self.digits();
        }
        let exponent = matches!(self.peek(0), b'e' | b'E');
        let sign = usize::from(matches!(self.peek(1), b'+' | b'-'));
        if exponent && self.peek(1 + sign).is_ascii_digit() {
            let integral = kind == Kind::Integer;
            self.at += 1 + sign;
            self.digits();
            kind = Kind::Decimal;
            // `1e5x` is a name.
            if integral && sign == 0 && is_word(self.peek(0)) {
                self.word();
                return Kind::Word;
            }
            return kind;
        }
        if kind == Kind::Integer && is_word(self.peek(0)) {
            self.word();
            return Kind::Word;
        }
        kind
    }

    fn variable(&mut self) -> Kind {
        self.at += 1;
        let kind = if self.peek(0) == b'@' {
            self.at += 1;
            Kind::SystemVariable
        } else {
            Kind::UserVariable
        };
        match self.peek(0) {
            b'`' => self.quoted(false),
            b'\'' | b'"' => self.quoted(!self.modes.no_backslash_escapes),
            _ => {
                while is_word(self.peek(0)) || self.peek(0) == b'.' {
                    self.at += 1;
                }
            }
        }
        kind
    }

    /// A word; with a string after it that belongs to it, a literal.
    fn word_or_literal(&mut self) -> Kind {
        let start = self.at;
        if self.peek(1) == b'\'' {
            let kind = match self.peek(0) {
                b'x' | b'X' => Some(Kind::Hex),
                b'b' | b'B' => Some(Kind::Bit),
                b'n' | b'N' => Some(Kind::String),
                _ => None,
            };
            if let Some(kind) = kind {
                self.at += 1;
                match kind {
                    Kind::String => self.string(),
                    _ => self.quoted(false),
                }
                return kind;
            }
        }
        self.word();
        if self.sql[start] == b'_' && is_charset(&self.sql[start + 1..self.at]) {
            let end = self.at;
            self.skip();
            if self.at < self.sql.len() {
                if self.is_quote(self.peek(0)) {
                    self.string();
                    return Kind::String;
                }
                let quoted = self.peek(1) == b'\'';
                match self.peek(0) {
                    b'x' | b'X' | b'b' | b'B' if quoted => return self.word_or_literal(),
                    b'0' if matches!(self.peek(1), b'x' | b'b') => return self.number(),
                    _ => {}
                }
            }
            self.at = end;
        }
        Kind::Word
    }

    fn operator(&mut self) {
        const LONG: [&[u8]; 13] = [
            b"<=>", b"->>", b"<=", b">=", b"<>", b"!=", b":=", b"||", b"&&", b"<<", b">>", b"->",
            b"..",
        ];
        let rest = &self.sql[self.at..];
        let length = LONG
            .iter()
            .find(|op| rest.starts_with(op))
            .map_or(1, |op| op.len());
        self.at += length;
    }
}

impl Iterator for Lexer<'_> {
    type Item = Token;

    fn next(&mut self) -> Option<Token> {
        self.skip();
        let start = self.at;
        let &first = self.sql.get(start)?;
        let after_dot = std::mem::take(&mut self.after_dot);
        let kind = match first {
            b if after_dot && is_word(b) => {
                self.word();
                Kind::Word
            }
            b'0'..=b'9' => self.number(),
            b if is_word(b) => self.word_or_literal(),
            b'\'' => {
                self.string();
                Kind::String
            }
            b'"' if !self.modes.ansi_quotes => {
                self.string();
                Kind::String
            }
            b'`' | b'"' => {
                self.quoted(false);
                Kind::Quoted
            }
            b'.' if self.peek(1).is_ascii_digit() && !self.follows_name(start) => self.number(),
            b'.' => {
                self.at += 1;
                self.after_dot = true;
                Kind::Operator
            }
            b'?' => {
                self.at += 1;
                Kind::Param
            }
            b'@' => self.variable(),
            _ => {
                self.operator();
                Kind::Operator
            }
        };
        Some(Token {
            kind,
            start,
            end: self.at.min(self.sql.len()),
        })
    }
}

impl Lexer<'_> {
    fn follows_name(&self, at: usize) -> bool {
        at.checked_sub(1)
            .is_some_and(|before| is_word(self.sql[before]) || self.sql[before] == b'`')
    }
}

fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    haystack.windows(needle.len()).position(|w| w == needle)
}

fn is_charset(name: &[u8]) -> bool {
    const CHARSETS: [&str; 41] = [
        "armscii8", "ascii", "big5", "binary", "cp1250", "cp1251", "cp1256", "cp1257", "cp850",
        "cp852", "cp866", "cp932", "dec8", "eucjpms", "euckr", "gb18030", "gb2312", "gbk",
        "geostd8", "greek", "hebrew", "hp8", "keybcs2", "koi8r", "koi8u", "latin1", "latin2",
        "latin5", "latin7", "macce", "macroman", "sjis", "swe7", "tis620", "ucs2", "ujis", "utf16",
        "utf16le", "utf32", "utf8", "utf8mb3",
    ];
    name.eq_ignore_ascii_case(b"utf8mb4")
        || CHARSETS
            .iter()
            .any(|c| name.eq_ignore_ascii_case(c.as_bytes()))
}

/// A value's place in a statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Slot {
    pub kind: Kind,
    pub start: u32,
    pub end: u32,
}

impl Slot {
    pub(super) fn text<'a>(&self, sql: &'a [u8]) -> &'a [u8] {
        &sql[self.start as usize..self.end as usize]
    }
}

/// See [`fingerprint`]. Kept between calls to spare allocations.
#[derive(Debug, Default)]
pub(super) struct Fingerprint {
    /// The text with one space for any space or comments, and a byte below 8 for each value.
    pub text: Vec<u8>,
    pub slots: Vec<Slot>,
    /// The plan depends on more than the fingerprint: do not keep it.
    pub unkept: bool,
}

/// Reads a statement into its fingerprint and slots. Statements with the same fingerprint have
/// the same tokens but for the values.
pub(super) fn fingerprint(sql: &[u8], modes: SqlModes, out: &mut Fingerprint) {
    out.text.clear();
    out.slots.clear();
    let mut lexer = Lexer::new(sql, modes);
    let mut end = 0;
    let mut control_bytes = false;
    for token in lexer.by_ref() {
        if token.start > end && end > 0 {
            out.text.push(b' ');
        }
        end = token.end;
        if token.kind.is_slot() {
            out.text.push(marker(token.kind));
            out.slots.push(Slot {
                kind: token.kind,
                start: u32::try_from(token.start).unwrap_or(u32::MAX),
                end: u32::try_from(token.end).unwrap_or(u32::MAX),
            });
        } else {
            let text = token.text(sql);
            // A control byte that is no marker must not pass for one.
            let odd = token.kind != Kind::Word && text.iter().any(|b| *b < 8);
            control_bytes |= odd;
            out.text.extend_from_slice(text);
        }
    }
    out.unkept = control_bytes
        || lexer.version_comment
        || lexer.unterminated
        || sql.len() >= u32::MAX as usize;
}

/// No statement holds these bytes outside of its strings, comments and quoted names.
fn marker(kind: Kind) -> u8 {
    match kind {
        Kind::Integer => 1,
        Kind::Decimal => 2,
        Kind::String => 3,
        Kind::Hex => 4,
        Kind::Bit => 5,
        _ => 6,
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn tokens(sql: &str) -> Vec<(Kind, String)> {
        Lexer::new(sql.as_bytes(), SqlModes::default())
            .map(|t| {
                (
                    t.kind,
                    String::from_utf8_lossy(t.text(sql.as_bytes())).into_owned(),
                )
            })
            .collect()
    }

    fn kinds(sql: &str) -> Vec<Kind> {
        tokens(sql).into_iter().map(|(kind, _)| kind).collect()
    }

    fn print(sql: &str) -> (String, Vec<String>) {
        let mut out = Fingerprint::default();
        fingerprint(sql.as_bytes(), SqlModes::default(), &mut out);
        let slots = out.slots.iter();
        let slots = slots.map(|s| String::from_utf8_lossy(s.text(sql.as_bytes())).into_owned());
        (String::from_utf8(out.text).unwrap(), slots.collect())
    }

    #[test]
    fn literals_of_every_kind_are_one_token() {
        use Kind::{Bit, Decimal, Hex, Integer, Param, String, Word};
        for (sql, kind) in [
            ("12", Integer),
            ("1.5", Decimal),
            (".5", Decimal),
            ("5.", Decimal),
            ("1e10", Decimal),
            ("1.5e-3", Decimal),
            ("0x1f", Hex),
            ("x'1F'", Hex),
            ("0b01", Bit),
            ("b'01'", Bit),
            ("'it''s'", String),
            (r"'it\'s'", String),
            ("\"a'b\"", String),
            ("'a' /* and */ 'b'", String),
            ("N'a'", String),
            ("_utf8mb4'a'", String),
            ("_latin1 'a'", String),
            ("_binary x'00'", Hex),
            ("?", Param),
            ("1abc", Word),
            ("0xyz", Word),
            ("_other", Word),
            ("größe", Word),
        ] {
            assert_eq!(kinds(sql), [kind], "{sql}");
        }
        assert_eq!(kinds("-5"), [Kind::Operator, Integer]);
        assert_eq!(kinds("1e5x"), [Word]);
        assert_eq!(kinds("t.1a"), [Word, Kind::Operator, Word]);
        assert_eq!(
            kinds("@a := @@global.x"),
            [Kind::UserVariable, Kind::Operator, Kind::SystemVariable]
        );
    }

    #[test]
    fn comments_are_skipped_and_code_in_comments_is_read() {
        assert_eq!(kinds("a -- b\nc # d\n e /* f */"), [Kind::Word; 3]);
        assert_eq!(kinds("5--3").len(), 4);
        assert_eq!(kinds("/*!40101 set */ x"), [Kind::Word; 2]);
        assert_eq!(kinds("/*M!100100 set */ x"), [Kind::Word; 2]);
    }

    #[test]
    fn quotes_follow_the_sql_mode() {
        let ansi = SqlModes {
            ansi_quotes: true,
            no_backslash_escapes: true,
        };
        let mut lexer = Lexer::new(br#""a" 'b\' c"#, ansi);
        let kinds: Vec<_> = lexer.by_ref().map(|t| t.kind).collect();
        assert_eq!(kinds, [Kind::Quoted, Kind::String, Kind::Word]);
    }

    #[test]
    fn a_fingerprint_leaves_out_values_comments_and_spaces() {
        let a = print("select  c from t where id=123 and n = 'x'");
        let b = print("/* trace 7 */ select c\nfrom t where id=9 and n = \"yy\" -- end");
        assert_eq!(a.0, b.0);
        assert_eq!(a.1, ["123", "'x'"]);
        assert_eq!(b.1, ["9", "\"yy\""]);
        assert_ne!(a.0, print("select c from t where id='1' and n = 'x'").0);
    }

    proptest! {
        #[test]
        fn tokens_never_overlap_and_cover_any_bytes(sql in proptest::collection::vec(any::<u8>(), 0..200), ansi: bool, raw: bool) {
            let modes = SqlModes { ansi_quotes: ansi, no_backslash_escapes: raw };
            let mut end = 0;
            for token in Lexer::new(&sql, modes) {
                prop_assert!(token.start >= end && token.end > token.start && token.end <= sql.len());
                end = token.end;
            }
        }

        #[test]
        fn fingerprint_and_values_make_the_statement_again(sql in "[a-z0-9 '\"`.,()=?@x_\\\\-]{0,60}") {
            let mut first = Fingerprint::default();
            fingerprint(sql.as_bytes(), SqlModes::default(), &mut first);
            prop_assume!(!first.unkept);
            let mut again = Vec::new();
            let mut slots = first.slots.iter();
            for b in &first.text {
                match b {
                    1..=6 => again.extend_from_slice(slots.next().unwrap().text(sql.as_bytes())),
                    _ => again.push(*b),
                }
            }
            prop_assert!(slots.next().is_none());
            let texts = |sql: &[u8]| Lexer::new(sql, SqlModes::default())
                .map(|t| (t.kind, t.text(sql).to_vec()))
                .collect::<Vec<_>>();
            prop_assert_eq!(texts(sql.as_bytes()), texts(&again));
        }
    }
}
