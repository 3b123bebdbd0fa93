//! The keys of a `CREATE TABLE` statement, as far as rules ask for them.

use crate::spec::lexer::{Token, TokenKind, tokens, unquote};

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Key {
    pub unique: bool,
    /// In order, in lower case. Parts that are no columns (expressions) end the list.
    pub columns: Vec<String>,
}

/// What a statement says of keys and of `AUTO_INCREMENT`.
#[derive(Debug, Default, PartialEq, Eq)]
pub(super) struct Keys {
    pub primary: bool,
    /// In lower case.
    pub auto_increment: Option<String>,
    pub keys: Vec<Key>,
}

/// Reads a statement. What cannot be understood is left out.
pub(super) fn of(statement: &str) -> Keys {
    let all = tokens(statement).0;
    let is = |token: &Token, symbol| token.kind == TokenKind::Symbol(symbol);
    let mut found = Keys::default();
    let Some(open) = all.iter().position(|t| is(t, '(')) else {
        return found;
    };
    let mut depth = 0;
    let mut item = open + 1;
    for (at, token) in all.iter().enumerate().skip(open + 1) {
        match token.kind {
            TokenKind::Symbol('(') => depth += 1,
            TokenKind::Symbol(',' | ')') if depth == 0 => {
                read_item(statement, &all[item..at], &mut found);
                item = at + 1;
                if is(token, ')') {
                    break;
                }
            }
            TokenKind::Symbol(')') => depth -= 1,
            _ => {}
        }
    }
    found
}

fn read_item(sql: &str, item: &[Token], found: &mut Keys) {
    let text = |token: &Token| &sql[token.start..token.end];
    let word = |at: usize, word: &str| {
        item.get(at)
            .is_some_and(|t| t.kind == TokenKind::Word && text(t).eq_ignore_ascii_case(word))
    };
    let has = |w: &str| (1..item.len()).any(|at| word(at, w));
    let Some(first) = item.first() else { return };
    let mut at = 0;
    if word(0, "CONSTRAINT") {
        at = 1;
        if !["PRIMARY", "UNIQUE", "FOREIGN", "CHECK"]
            .iter()
            .any(|w| word(1, w))
        {
            at = 2;
        }
    }
    let primary = word(at, "PRIMARY");
    let unique = primary || word(at, "UNIQUE");
    let plain = word(at, "KEY") || word(at, "INDEX");
    let named = first.kind == TokenKind::QuotedName;
    if !named && (unique || plain) {
        found.primary |= primary;
        let open = item.iter().position(|t| t.kind == TokenKind::Symbol('('));
        let columns = open.map(|open| columns(sql, &item[open + 1..]));
        found.keys.push(Key {
            unique,
            columns: columns.unwrap_or_default(),
        });
        return;
    }
    let other = ["FULLTEXT", "SPATIAL", "FOREIGN", "CHECK", "PERIOD", "LIKE"];
    if !named && (at > 0 || other.iter().any(|w| word(0, w))) {
        return;
    }
    let column = unquote(text(first)).to_lowercase();
    if has("AUTO_INCREMENT") {
        found.auto_increment = Some(column.clone());
    }
    if has("KEY") || has("UNIQUE") {
        found.primary |= has("PRIMARY");
        found.keys.push(Key {
            unique: has("PRIMARY") || has("UNIQUE"),
            columns: vec![column],
        });
    }
}

/// `a, b(10) DESC)` and on.
fn columns(sql: &str, tokens: &[Token]) -> Vec<String> {
    let mut columns = Vec::new();
    let mut depth = 0;
    let mut expected = true;
    for token in tokens {
        match token.kind {
            TokenKind::Symbol('(') if expected => break,
            TokenKind::Symbol('(') => depth += 1,
            TokenKind::Symbol(')') if depth == 0 => break,
            TokenKind::Symbol(')') => depth -= 1,
            TokenKind::Symbol(',') if depth == 0 => expected = true,
            TokenKind::Word | TokenKind::QuotedName if expected => {
                columns.push(unquote(&sql[token.start..token.end]).to_lowercase());
                expected = false;
            }
            _ => {}
        }
    }
    columns
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(unique: bool, columns: &[&str]) -> Key {
        let columns = columns.iter().map(ToString::to_string).collect();
        Key { unique, columns }
    }

    #[test]
    fn keys_are_found_however_they_are_written() {
        let keys = of(
            "CREATE TABLE t (`Id` bigint(20) NOT NULL AUTO_INCREMENT, a varchar(10) UNIQUE, \
             `key` int, d decimal(3,1) DEFAULT 0, b int COMMENT 'PRIMARY KEY, x', \
             PRIMARY KEY (`Id`), CONSTRAINT u UNIQUE KEY uk (a(5), b DESC), KEY k USING BTREE (b), \
             INDEX ((a + 1)), CONSTRAINT fk FOREIGN KEY (a) REFERENCES x (y), CHECK (b > 0)) \
             COMMENT='KEY'",
        );
        assert!(keys.primary);
        assert_eq!(keys.auto_increment.as_deref(), Some("id"));
        assert_eq!(
            keys.keys,
            [
                key(true, &["a"]),
                key(true, &["id"]),
                key(true, &["a", "b"]),
                key(false, &["b"]),
                key(false, &[]),
            ]
        );
        let keys = of("CREATE TABLE t (a int PRIMARY KEY, b int)");
        assert!(keys.primary);
        assert_eq!(keys.keys, [key(true, &["a"])]);
        assert_eq!(
            of("CREATE TABLE t (a int, primary_key int)"),
            Keys::default()
        );
    }
}
