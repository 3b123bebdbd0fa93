//! Foreign keys as statements have them, and in which order tables are created by them: those that
//! a foreign key names come before those that have it. Where foreign keys go in a circle none of the
//! circle waits for another; the statements run without checks of foreign keys, so that is only a
//! matter of being pleasant.

use std::collections::BTreeMap;

use vtplan_state::model::{KeyspaceName, TableName};

use crate::desired::DesiredKeyspace;

/// A table and those that have to be created before it.
pub(crate) struct Ordered<'a> {
    pub name: &'a TableName,
    pub after: Vec<&'a TableName>,
}

/// The tables of a keyspace, each after those that it waits for, else by name.
pub(crate) fn in_order<'a>(
    keyspace: &KeyspaceName,
    desired: &'a DesiredKeyspace,
) -> Vec<Ordered<'a>> {
    let mut waits: BTreeMap<&TableName, Vec<&TableName>> = BTreeMap::new();
    for (name, table) in &desired.tables {
        let mut parents: Vec<&TableName> = references(&table.statement)
            .into_iter()
            .filter(|(db, _)| db.as_ref().is_none_or(|db| db == keyspace.as_str()))
            .filter_map(|(_, parent)| desired.tables.get_key_value(parent.as_str()))
            .map(|(parent, _)| parent)
            .filter(|parent| *parent != name)
            .collect();
        parents.sort();
        parents.dedup();
        waits.insert(name, parents);
    }
    let mut ordered: Vec<Ordered> = Vec::with_capacity(waits.len());
    while !waits.is_empty() {
        let ready: Vec<&TableName> = waits
            .iter()
            .filter(|(_, parents)| parents.iter().all(|p| !waits.contains_key(*p)))
            .map(|(name, _)| *name)
            .collect();
        let circle = ready.is_empty();
        // In a circle, or behind one: the first goes without waiting for those that are left.
        let next = if circle {
            waits.keys().copied().take(1).collect()
        } else {
            ready
        };
        for name in next {
            let mut after = waits.remove(name).unwrap_or_default();
            if circle {
                after.retain(|parent| !waits.contains_key(*parent));
            }
            ordered.push(Ordered { name, after });
        }
    }
    ordered
}

/// A `REFERENCES` clause of a statement.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct ForeignKey {
    /// The constraint's name, where it is given.
    pub name: Option<String>,
    /// The database of the table that it names, where it is given.
    pub db: Option<String>,
    /// The table that it names.
    pub parent: String,
    /// What makes the server change rows of the child by itself: `ON DELETE CASCADE`, ...
    pub cascades: Vec<String>,
}

/// The tables that `REFERENCES` clauses of a statement name, with the database where it is given.
pub(crate) fn references(statement: &str) -> Vec<(Option<String>, String)> {
    let keys = foreign_keys(statement).into_iter();
    keys.map(|key| (key.db, key.parent)).collect()
}

/// The foreign keys of a `CREATE TABLE` statement, a person's or a server's.
pub(crate) fn foreign_keys(statement: &str) -> Vec<ForeignKey> {
    let tokens = tokens(statement);
    let mut found: Vec<ForeignKey> = Vec::new();
    let mut name = None;
    for (at, token) in tokens.iter().enumerate() {
        if token.is_word("foreign") {
            let named = at >= 2 && tokens[at - 2].is_word("constraint");
            name = named.then(|| tokens[at - 1].name()).flatten();
        } else if token.is_word("references") {
            let Some(first) = tokens.get(at + 1).and_then(Token::name) else {
                continue;
            };
            let second = match tokens.get(at + 2) {
                Some(Token::Dot) => tokens.get(at + 3).and_then(Token::name),
                _ => None,
            };
            let (db, parent) = match second {
                Some(second) => (Some(first), second),
                None => (None, first),
            };
            found.push(ForeignKey {
                name: name.take(),
                db,
                parent,
                cascades: Vec::new(),
            });
        } else if let (Some(key), Some(cascade)) = (found.last_mut(), cascade(&tokens[at..])) {
            key.cascades.push(cascade);
        }
    }
    found
}

/// `ON DELETE CASCADE` and its like, in capitals, where tokens begin with it.
fn cascade(tokens: &[Token]) -> Option<String> {
    let [on, of, action, rest @ ..] = tokens else {
        return None;
    };
    if !on.is_word("on") {
        return None;
    }
    let of = ["DELETE", "UPDATE"].into_iter().find(|w| of.is_word(w))?;
    if action.is_word("cascade") {
        return Some(format!("ON {of} CASCADE"));
    }
    let to = rest.first().filter(|_| action.is_word("set"))?;
    let to = ["NULL", "DEFAULT"].into_iter().find(|w| to.is_word(w))?;
    Some(format!("ON {of} SET {to}"))
}

enum Token {
    Word(String),
    /// In back quotes.
    Quoted(String),
    Dot,
    Other,
}

impl Token {
    fn is_word(&self, word: &str) -> bool {
        matches!(self, Self::Word(text) if text.eq_ignore_ascii_case(word))
    }

    fn name(&self) -> Option<String> {
        match self {
            Self::Word(text) | Self::Quoted(text) => Some(text.clone()),
            _ => None,
        }
    }
}

/// As much of a tokenizer as it takes to tell names from strings and comments.
fn tokens(statement: &str) -> Vec<Token> {
    let mut tokens = Vec::new();
    let mut rest = statement;
    while let Some(c) = rest.chars().next() {
        let length = match c {
            c if c.is_whitespace() => c.len_utf8(),
            '#' => rest.find('\n').unwrap_or(rest.len()),
            '-' if rest.starts_with("-- ") || rest.starts_with("--\n") => {
                rest.find('\n').unwrap_or(rest.len())
            }
            '/' if rest.starts_with("/*") => rest.find("*/").map_or(rest.len(), |at| at + 2),
            '\'' | '"' => {
                tokens.push(Token::Other);
                string_length(rest, c)
            }
            '`' => {
                let length = string_length(rest, c);
                let inner = rest[1..length].trim_end_matches('`').replace("``", "`");
                tokens.push(Token::Quoted(inner));
                length
            }
            '.' => {
                tokens.push(Token::Dot);
                1
            }
            c if c.is_alphanumeric() || matches!(c, '_' | '$') => {
                let word = |c: char| c.is_alphanumeric() || matches!(c, '_' | '$');
                let length = rest.find(|c| !word(c)).unwrap_or(rest.len());
                tokens.push(Token::Word(rest[..length].to_owned()));
                length
            }
            c => {
                tokens.push(Token::Other);
                c.len_utf8()
            }
        };
        rest = &rest[length..];
    }
    tokens
}

/// Bytes of a quoted text with its quotes; a doubled quote, and in strings a backslash, escape.
fn string_length(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, c)) = chars.next() {
        if c == '\\' && quote != '`' {
            chars.next();
        } else if c == quote {
            if chars.peek().is_some_and(|(_, next)| *next == quote) {
                chars.next();
            } else {
                return at + 1;
            }
        }
    }
    text.len()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found_and_only_those() {
        let found = references(
            "create table t ( -- references a\n a int comment 'it''s references b', /* references c */\n \
             `references` int, foreign key (a) REFERENCES `par``ent` (id), constraint x foreign key (b) \
             references shop.other(id))",
        );
        let found: Vec<String> = found
            .into_iter()
            .map(|(db, table)| format!("{}:{table}", db.unwrap_or_default()))
            .collect();
        assert_eq!(found, [":par`ent", "shop:other"]);
    }

    #[test]
    fn cascading_actions_belong_to_their_key() {
        let found = foreign_keys(
            "CREATE TABLE t (a int, at timestamp ON UPDATE CURRENT_TIMESTAMP, b int REFERENCES x (id) \
             on delete set null, CONSTRAINT c CHECK (a > 0), FOREIGN KEY (a) REFERENCES y (id) ON DELETE \
             RESTRICT, CONSTRAINT `k``1` FOREIGN KEY i (a) REFERENCES z (id) ON DELETE CASCADE ON UPDATE \
             SET DEFAULT COMMENT 'on delete cascade')",
        );
        let found: Vec<String> = found
            .into_iter()
            .map(|key| {
                let name = key.name.unwrap_or_default();
                format!("{name}:{}:{}", key.parent, key.cascades.join("+"))
            })
            .collect();
        assert_eq!(
            found,
            [
                ":x:ON DELETE SET NULL",
                ":y:",
                "k`1:z:ON DELETE CASCADE+ON UPDATE SET DEFAULT"
            ]
        );
    }
}
