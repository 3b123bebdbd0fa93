//! A statement without its values: the name of its kind. Statements of one kind have the same text,
//! and the text can be planned like any statement.
//!
//! Numbers and parameters are written `?`, strings `'?'` (the grammar asks for a string in some
//! places), names that were quoted in backticks, comments not at all. Of a list of values after
//! `IN` and of rows that are alike two are kept and a comment stands for the others, so that lists of
//! any length are one kind, and are still apart from a single value, which may be routed better.

use std::fmt;

use super::scan::{Fingerprint, Kind, Lexer, fingerprint};
use super::types::SqlModes;

/// The longest text of a kind, bytes.
pub const MAX_KIND: usize = 64 << 10;

/// What stands for the other values of a list.
const MORE: &str = " /*, ...*/";

/// Why a text is no statement.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Unreadable {
    /// Nothing but comments and white space.
    Empty,
    /// It does not begin as statements do.
    NoStatement,
    /// A string, name or comment has no end.
    Unterminated,
    /// Bytes that are no text.
    Binary,
    /// A value that goes on as none does: `10.0.0.7`.
    Malformed,
    /// It is longer than [`MAX_KIND`] without its values.
    TooLong,
}

impl fmt::Display for Unreadable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Empty => "nothing but comments",
            Self::NoStatement => "it does not begin as an SQL statement does",
            Self::Unterminated => "a string, name or comment has no end",
            Self::Binary => "it holds bytes that are no text",
            Self::Malformed => "a value in it goes on as none does",
            Self::TooLong => "it is longer than 64 KiB without its values",
        })
    }
}

/// Words that a statement may begin with.
const VERBS: [&str; 57] = [
    "ALTER",
    "ANALYZE",
    "BEGIN",
    "BINLOG",
    "CACHE",
    "CALL",
    "CHANGE",
    "CHECK",
    "CHECKSUM",
    "CLONE",
    "COMMIT",
    "CREATE",
    "DEALLOCATE",
    "DELETE",
    "DESC",
    "DESCRIBE",
    "DO",
    "DROP",
    "EXECUTE",
    "EXPLAIN",
    "FLUSH",
    "GET",
    "GRANT",
    "HANDLER",
    "HELP",
    "INSERT",
    "INSTALL",
    "KILL",
    "LOAD",
    "LOCK",
    "OPTIMIZE",
    "PREPARE",
    "PURGE",
    "RELEASE",
    "RENAME",
    "REPAIR",
    "REPLACE",
    "RESET",
    "RESIGNAL",
    "REVOKE",
    "ROLLBACK",
    "SAVEPOINT",
    "SELECT",
    "SET",
    "SHOW",
    "SHUTDOWN",
    "SIGNAL",
    "START",
    "STOP",
    "TABLE",
    "TRUNCATE",
    "UNINSTALL",
    "UNLOCK",
    "UPDATE",
    "USE",
    "VALUES",
    "WITH",
];

/// Tells kinds apart fast, without their names: for reading a log, in which most statements are of a kind
/// that came before.
#[derive(Debug, Default)]
pub struct Prints {
    print: Fingerprint,
}

impl Prints {
    /// Statements with the same print have the same name.
    pub fn of(&mut self, sql: &[u8], modes: SqlModes) -> &[u8] {
        fingerprint(sql, modes, &mut self.print);
        &self.print.text
    }

    /// Whether the last print may be taken for another statement's.
    pub fn is_unclear(&self) -> bool {
        self.print.unkept
    }
}

/// The name of a statement's kind.
///
/// # Errors
/// Why the text is no statement.
pub fn normalize(sql: &[u8], modes: SqlModes) -> Result<String, Unreadable> {
    let mut pieces = Vec::new();
    let mut lexer = Lexer::new(sql, modes);
    let mut end = 0;
    for token in lexer.by_ref() {
        let gap = token.start > end && !pieces.is_empty();
        end = token.end;
        pieces.push(Piece::new(token.kind, token.text(sql), gap, modes)?);
    }
    if lexer.unterminated {
        return Err(Unreadable::Unterminated);
    }
    while pieces.last().is_some_and(|p| p.text == ";") {
        pieces.pop();
    }
    let Some(first) = pieces.iter().find(|p| p.text != "(") else {
        return Err(Unreadable::Empty);
    };
    let known = |word: &&str| first.text.eq_ignore_ascii_case(word);
    if first.kind != Kind::Word || !VERBS.iter().any(known) {
        return Err(Unreadable::NoStatement);
    }
    let odd = |pair: &[Piece]| {
        let strings = pair[0].kind == Kind::String && pair[1].kind == Kind::String;
        strings || pair[0].kind.is_slot() && pair[1].is(".")
    };
    if pieces.windows(2).any(odd) {
        return Err(Unreadable::Malformed);
    }
    shorten(&mut pieces);
    let mut text = String::new();
    for (at, piece) in pieces.iter().enumerate() {
        if at > 0 && piece.is_apart_from(&pieces[at - 1]) {
            text.push(' ');
        }
        text.push_str(&piece.text);
    }
    if text.len() > MAX_KIND {
        return Err(Unreadable::TooLong);
    }
    Ok(text)
}

#[derive(Debug, Clone, PartialEq)]
struct Piece {
    kind: Kind,
    text: String,
    /// White space or a comment stood before it.
    gap: bool,
}

impl Piece {
    fn new(kind: Kind, bytes: &[u8], gap: bool, modes: SqlModes) -> Result<Self, Unreadable> {
        let text = match kind {
            Kind::String => "'?'".to_owned(),
            _ if kind.is_slot() => "?".to_owned(),
            _ => {
                let text = std::str::from_utf8(bytes).map_err(|_| Unreadable::Binary)?;
                if text.chars().any(char::is_control) {
                    return Err(Unreadable::Binary);
                }
                match text.strip_prefix('"').and_then(|t| t.strip_suffix('"')) {
                    Some(name) if kind == Kind::Quoted && modes.ansi_quotes => {
                        format!("`{}`", name.replace("\"\"", "\"").replace('`', "``"))
                    }
                    _ => text.to_owned(),
                }
            }
        };
        Ok(Self { kind, text, gap })
    }

    fn is(&self, text: &str) -> bool {
        self.kind == Kind::Operator && self.text == text
    }

    fn is_word(&self, word: &str) -> bool {
        self.kind == Kind::Word && self.text.eq_ignore_ascii_case(word)
    }

    /// Whether a space is put before it: the same however the statement was laid out, except where
    /// a space may change what it means.
    fn is_apart_from(&self, before: &Self) -> bool {
        let compares = |p: &Self| {
            p.kind == Kind::Operator
                && ["=", "<", ">", "<=", ">=", "<>", "!=", "<=>"].contains(&p.text.as_str())
        };
        if self.text.starts_with(' ') || before.is("(") || self.is(")") || self.is(",") {
            return false;
        }
        // Two minuses and a space would begin a comment.
        let after_minus = before.is("-");
        before.is(",") || compares(self) && !after_minus || compares(before) || self.gap
    }
}

/// Leaves two values of each list after `IN`, and two of rows that are alike.
fn shorten(pieces: &mut Vec<Piece>) {
    let mut out: Vec<Piece> = Vec::with_capacity(pieces.len());
    let mut at = 0;
    while at < pieces.len() {
        let list = pieces[at].is("(") && out.last().is_some_and(|p| p.is_word("IN"));
        let rows = pieces[at].is("(")
            && out
                .last()
                .is_some_and(|p| p.is_word("VALUES") || p.is_word("VALUE"));
        let more = Piece {
            kind: Kind::Word,
            text: MORE.to_owned(),
            gap: false,
        };
        if list && let Some(items) = items(pieces, at + 1) {
            let close = items.end;
            out.push(pieces[at].clone());
            out.extend_from_slice(&pieces[at + 1..items.two]);
            out.push(more);
            at = close;
            continue;
        }
        if rows && let Some(items) = items(pieces, at) {
            out.extend_from_slice(&pieces[at..items.two]);
            out.push(more);
            at = items.end;
            continue;
        }
        out.push(pieces[at].clone());
        at += 1;
    }
    *pieces = out;
}

/// Where the second of several items ends, and where all do.
struct Items {
    two: usize,
    end: usize,
}

/// At least two items that are alike, each a value or a row of values in parentheses, with commas between
/// them, and nothing else up to the end of the list.
fn items(pieces: &[Piece], start: usize) -> Option<Items> {
    let row = pieces.get(start)?.is("(");
    let (mut at, mut number, mut two) = (start, 0, 0);
    let mut first: &[Piece] = &[];
    loop {
        let end = item_end(pieces, at)?;
        let item = &pieces[at..end];
        if number == 0 {
            first = item;
        } else if row && !alike(first, item) {
            return None;
        }
        number += 1;
        if number == 2 {
            two = end;
        }
        at = end;
        match pieces.get(at) {
            Some(p) if p.is(",") => at += 1,
            _ => break,
        }
    }
    let closed = row || pieces.get(at).is_some_and(|p| p.is(")"));
    (number >= 2 && closed).then_some(Items { two, end: at })
}

/// The end of a value, or of a row.
fn item_end(pieces: &[Piece], at: usize) -> Option<usize> {
    let first = pieces.get(at)?;
    if first.kind.is_slot() {
        return Some(at + 1);
    }
    if !first.is("(") {
        return None;
    }
    let mut depth = 0usize;
    for (i, piece) in pieces.iter().enumerate().skip(at) {
        if piece.is("(") {
            depth += 1;
        } else if piece.is(")") {
            depth -= 1;
            if depth == 0 {
                return Some(i + 1);
            }
        }
    }
    None
}

fn alike(a: &[Piece], b: &[Piece]) -> bool {
    a.len() == b.len() && a.iter().zip(b).all(|(a, b)| a.text == b.text)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn name(sql: &str) -> String {
        normalize(sql.as_bytes(), SqlModes::default()).unwrap_or_else(|e| format!("{e:?}"))
    }

    #[test]
    fn values_comments_and_layout_do_not_count() {
        let kind = "select `a`, b from t where id = ? and n = '?' and d >= ?";
        assert_eq!(
            name("select  `a` ,b from t where id=12 and n='it''s' and d>=1.5;"),
            kind
        );
        assert_eq!(
            name("/* trace */ select `a`,b\nfrom t where id = ? and n = \"x\" and d>= 0x1f -- end"),
            kind
        );
        assert_eq!(
            name("insert into t values(1,'a')"),
            "insert into t values(?, '?')"
        );
        assert_eq!(
            name("select count(*), count (*) from t"),
            "select count(*), count (*) from t"
        );
        assert_eq!(name("set @a:=5, b = -3"), "set @a:=?, b = -?");
        assert_eq!(name("select 5--3, '' --<"), "select ?--?, '?' --<");
    }

    #[test]
    fn lists_of_any_length_are_one_kind_apart_from_single_values() {
        let several =
            "select 1 from t where id in (?, ? /*, ...*/)".replace("select 1", "select ?");
        assert_eq!(name("select 1 from t where id in (1,2)"), several);
        assert_eq!(name("select 1 from t where id in (1, 2, 3, 4)"), several);
        assert_eq!(
            name("select 1 from t where id in (1)"),
            "select ? from t where id in (?)"
        );
        assert_eq!(
            name("select f(1,2,3) from t where (a, b) in ((1,2),(3,4),(5,6))"),
            "select f(?, ?, ?) from t where (a, b) in ((?, ?), (?, ?) /*, ...*/)"
        );
        assert_eq!(
            name(
                "insert into t (a, b) values (1, 'x'), (2, 'y'), (3, 'z') on duplicate key update a = 1"
            ),
            "insert into t (a, b) values (?, '?'), (?, '?') /*, ...*/ on duplicate key update a = ?"
        );
        // Rows that differ in more than values are no list.
        assert_eq!(
            name("insert into t values (1, NULL), (2, 3)"),
            "insert into t values (?, NULL), (?, ?)"
        );
        assert_eq!(
            name("select 1 from t where id in (select 2 from u)"),
            "select ? from t where id in (select ? from u)"
        );
    }

    #[test]
    fn what_is_no_statement_is_told() {
        for (sql, why) in [
            ("", Unreadable::Empty),
            ("-- nothing", Unreadable::Empty),
            ("hello world", Unreadable::NoStatement),
            ("12", Unreadable::NoStatement),
            ("select 'x", Unreadable::Unterminated),
            ("select 10.0.0.7", Unreadable::Malformed),
            ("select \u{1} from t", Unreadable::Binary),
        ] {
            assert_eq!(
                normalize(sql.as_bytes(), SqlModes::default()),
                Err(why),
                "{sql}"
            );
        }
        let binary = normalize(b"select \xff\xfe from t", SqlModes::default());
        assert_eq!(binary, Err(Unreadable::Binary));
        let long = format!("select {} from t", "a,".repeat(40_000));
        assert_eq!(name(&long), "TooLong");
    }

    #[test]
    fn a_quoted_name_is_read_the_same_in_every_mode() {
        let ansi = SqlModes {
            ansi_quotes: true,
            ..SqlModes::default()
        };
        let text = normalize(br#"select "a""b`c" from t where x = 'v'"#, ansi).unwrap();
        assert_eq!(text, "select `a\"b``c` from t where x = '?'");
        assert_eq!(name(&text), text);
    }

    proptest! {
        #[test]
        fn a_name_is_its_own_name(sql in "select [a-z0-9 '`.,()=<?@x-]{0,60}( in \\([0-9,]{0,9}\\))?") {
            if let Ok(text) = normalize(sql.as_bytes(), SqlModes::default()) {
                prop_assert_eq!(normalize(text.as_bytes(), SqlModes::default()), Ok(text));
            }
        }

        #[test]
        fn no_value_is_in_a_name(value in "[a-z]{12}", number in 10_000_000_000u64..) {
            let sql = format!("select a from t where b = '{value}' and c in ({number}, '{value}', {number})");
            let text = name(&sql);
            prop_assert!(!text.contains(&value) && !text.contains(&number.to_string()));
        }

        #[test]
        fn no_bytes_make_it_panic(bytes: Vec<u8>) {
            let _ = normalize(&bytes, SqlModes::default());
            let mut sql = b"select ".to_vec();
            sql.extend(&bytes);
            let _ = normalize(&sql, SqlModes::default());
        }
    }
}
