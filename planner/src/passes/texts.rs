//! Definitions of tables where no server can be asked what it makes of a statement: an exported live
//! state, or another spec. A statement that a server was asked about at the time of the export is
//! known exactly; another one is compared with the statement that the table was made by, as text.

use std::collections::BTreeMap;

use vtplan_state::model::KeyspaceName;

use super::view::View;
use crate::live::Canonical;
use crate::spec::lexer::{Token, TokenKind, tokens, unquote};

/// How a new statement relates to the one that a table was made by.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum TextDifference {
    /// But for blanks, comments, quotes of names and case.
    None,
    /// Only an `AUTO_INCREMENT` goes: the column's new definition.
    AutoIncrementOff(String),
    Other,
}

/// The statement of which a server made this definition, as far as one was asked.
pub(crate) fn statement_of<'a>(
    view: &View<'a>,
    keyspace: &KeyspaceName,
    definition: &str,
) -> Option<&'a str> {
    let canonical: &BTreeMap<String, Canonical> = view.live.observed.canonical.get(keyspace)?;
    canonical
        .iter()
        .find(|(_, made)| matches!(made, Canonical::Definition(d) if d == definition))
        .map(|(statement, _)| statement.as_str())
}

/// Compares two `CREATE TABLE` statements.
pub(crate) fn compare(old: &str, new: &str) -> TextDifference {
    let (old_tokens, new_tokens) = (tokens(old).0, tokens(new).0);
    let (before, after) = (words(old, &old_tokens), words(new, &new_tokens));
    if before == after {
        return TextDifference::None;
    }
    let Some(at) = before.iter().position(|word| word == "auto_increment") else {
        return TextDifference::Other;
    };
    let mut without = before.clone();
    without.remove(at);
    if without != after {
        return TextDifference::Other;
    }
    TextDifference::AutoIncrementOff(column_around(old, &old_tokens, at))
}

/// Tokens as they are the same in equal statements.
fn words(sql: &str, tokens: &[Token]) -> Vec<String> {
    let text = |token: &Token| &sql[token.start..token.end];
    let mut words: Vec<String> = tokens
        .iter()
        .map(|token| match token.kind {
            TokenKind::QuotedName => unquote(text(token)).to_lowercase(),
            TokenKind::Text => text(token).to_owned(),
            _ => text(token).to_lowercase(),
        })
        .collect();
    while words.last().is_some_and(|word| word == ";") {
        words.pop();
    }
    words
}

/// The definition of the column that the token is part of, without it.
fn column_around(sql: &str, tokens: &[Token], at: usize) -> String {
    let symbol = |i: usize| match tokens[i].kind {
        TokenKind::Symbol(symbol) => Some(symbol),
        _ => None,
    };
    let mut depth = 0;
    let start = (0..at)
        .rev()
        .find(|i| match symbol(*i) {
            Some(')') => {
                depth += 1;
                false
            }
            Some('(') if depth > 0 => {
                depth -= 1;
                false
            }
            Some('(') => true,
            Some(',') => depth == 0,
            _ => false,
        })
        .map_or(0, |i| i + 1);
    let mut depth = 0;
    let end = (at..tokens.len())
        .find(|i| match symbol(*i) {
            Some('(') => {
                depth += 1;
                false
            }
            Some(')') if depth > 0 => {
                depth -= 1;
                false
            }
            Some(')') => true,
            Some(',') => depth == 0,
            _ => false,
        })
        .unwrap_or(tokens.len());
    let mut out = String::new();
    let mut last = None;
    for (i, token) in tokens.iter().enumerate().take(end).skip(start) {
        if i == at {
            continue;
        }
        if last.is_some_and(|last| last < token.start) {
            out.push(' ');
        }
        out.push_str(&sql[token.start..token.end]);
        last = Some(token.end);
    }
    // The key stays when a column is modified; naming it again would add one.
    out.replace(" PRIMARY KEY", "").replace(" primary key", "")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn statements_are_the_same_but_for_blanks_comments_quotes_and_case() {
        let same = compare(
            "CREATE TABLE t (id bigint, name varchar(3) DEFAULT 'A b');",
            "create  table `t` (\n  -- the key\n  ID BIGINT,\n  `name` varchar( 3 ) default 'A b'\n)",
        );
        assert_eq!(same, TextDifference::None);
        for other in [
            "CREATE TABLE t (id bigint, name varchar(3) DEFAULT 'a b')",
            "CREATE TABLE t (id bigint, name varchar(4) DEFAULT 'A b')",
            "CREATE TABLE t (idbigint, name varchar(3) DEFAULT 'A b')",
        ] {
            let old = "CREATE TABLE t (id bigint, name varchar(3) DEFAULT 'A b')";
            assert_eq!(compare(old, other), TextDifference::Other, "{other}");
        }
    }

    #[test]
    fn an_auto_increment_that_goes_is_told_from_one_that_comes() {
        let with =
            "CREATE TABLE t (id bigint(20) NOT NULL AUTO_INCREMENT PRIMARY KEY, d decimal(3,1))";
        let without = "CREATE TABLE t (id bigint(20) NOT NULL PRIMARY KEY, d decimal(3,1))";
        let column = "id bigint(20) NOT NULL".to_owned();
        assert_eq!(
            compare(with, without),
            TextDifference::AutoIncrementOff(column)
        );
        assert_eq!(compare(without, with), TextDifference::Other);
        let column = "`b`  AUTO_INCREMENT".to_owned();
        let more = format!("CREATE TABLE t (a int, {column}, c int)");
        assert_eq!(
            compare(&more, "CREATE TABLE t (a int, b, c int)"),
            TextDifference::AutoIncrementOff("`b`".to_owned())
        );
    }
}
