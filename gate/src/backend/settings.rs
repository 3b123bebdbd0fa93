//! What a session has set: variables with their values as SQL, to be applied to whichever
//! connection runs its next statement.

use std::collections::BTreeMap;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use std::sync::Arc;

use crate::protocol::constants::types;

/// Session variables (`sql_mode`) and user variables (`@x`), each with a literal.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Settings {
    values: BTreeMap<String, String>,
    hash: u64,
}

impl Settings {
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// Equal settings have equal hashes; 0 is that of none.
    pub fn hash(&self) -> u64 {
        self.hash
    }

    pub fn get(&self, name: &str) -> Option<&str> {
        self.values.get(name).map(String::as_str)
    }

    /// These settings with one more.
    #[must_use]
    pub fn with(&self, name: &str, value: Option<String>) -> Arc<Self> {
        let mut values = self.values.clone();
        match value {
            Some(value) => values.insert(name.to_owned(), value),
            None => values.remove(name),
        };
        let hash = if values.is_empty() {
            0
        } else {
            let mut hasher = DefaultHasher::new();
            values.hash(&mut hasher);
            hasher.finish().max(1)
        };
        Arc::new(Self { values, hash })
    }

    /// One statement that sets all of them.
    pub fn set_statement(&self) -> String {
        let set = self
            .values
            .iter()
            .map(|(name, value)| assignment(name, value));
        format!("SET {}", set.collect::<Vec<_>>().join(", "))
    }

    /// One statement that brings a connection from `before` to these settings without a reset;
    /// `None` when nothing differs.
    pub fn statement_after(&self, before: &Settings) -> Option<String> {
        let gone = before
            .values
            .keys()
            .filter(|k| !self.values.contains_key(*k));
        let gone = gone.map(|name| {
            let none = if name.starts_with('@') {
                "NULL"
            } else {
                "DEFAULT"
            };
            assignment(name, none)
        });
        let new = self
            .values
            .iter()
            .filter(|(k, v)| before.values.get(*k) != Some(*v));
        let new = new.map(|(name, value)| assignment(name, value));
        let all: Vec<_> = gone.chain(new).collect();
        (!all.is_empty()).then(|| format!("SET {}", all.join(", ")))
    }
}

/// `SESSION name=value`, or the same for a user variable.
fn assignment(name: &str, value: &str) -> String {
    match name.strip_prefix('@') {
        Some(user) => format!("@`{}`={value}", user.replace('`', "``")),
        None => format!("SESSION {name}={value}"),
    }
}

/// A value that a server gave, as a literal that stands for it. `kind` and `charset` are those of
/// the result's column.
pub fn literal(value: Option<&[u8]>, kind: u8, charset: u16) -> String {
    const BINARY: u16 = 63;
    let Some(bytes) = value else {
        return "NULL".to_owned();
    };
    let text = std::str::from_utf8(bytes);
    let numeric = matches!(
        kind,
        types::TINY
            | types::SHORT
            | types::INT24
            | types::LONG
            | types::LONGLONG
            | types::NEWDECIMAL
            | types::YEAR
    );
    match (kind, text) {
        (types::FLOAT | types::DOUBLE, Ok(text)) if text.contains(['e', 'E']) => text.to_owned(),
        (types::FLOAT | types::DOUBLE, Ok(text)) => format!("{text}e0"),
        (_, Ok(text)) if numeric => text.to_owned(),
        // Words and lists of words, such as an sql_mode.
        (_, Ok(text))
            if charset != BINARY
                && text
                    .bytes()
                    .all(|b| b.is_ascii_graphic() && b != b'\'' && b != b'\\') =>
        {
            format!("'{text}'")
        }
        _ => {
            let mut out = String::with_capacity(2 * bytes.len() + 12);
            if charset != BINARY {
                out.push_str("_utf8mb4 ");
            }
            out.push_str("X'");
            for byte in bytes {
                out.push_str(&format!("{byte:02x}"));
            }
            out.push('\'');
            out
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_settings_have_equal_hashes_and_none_has_zero() {
        let none = Settings::default();
        let a = none
            .with("sql_mode", Some("''".into()))
            .with("@x", Some("1".into()));
        let b = none
            .with("@x", Some("1".into()))
            .with("sql_mode", Some("''".into()));
        assert_eq!(a.hash(), b.hash());
        assert_ne!(a.hash(), none.hash());
        assert_eq!(
            a.with("@x", None).with("sql_mode", None).hash(),
            none.hash()
        );
        assert_eq!(a.set_statement(), "SET @`x`=1, SESSION sql_mode=''");
    }

    #[test]
    fn values_become_literals_that_no_text_can_break_out_of() {
        assert_eq!(literal(None, types::VAR_STRING, 45), "NULL");
        assert_eq!(literal(Some(b"12"), types::LONGLONG, 63), "12");
        assert_eq!(literal(Some(b"1.5"), types::DOUBLE, 63), "1.5e0");
        assert_eq!(literal(Some(b"A,B"), types::VAR_STRING, 45), "'A,B'");
        assert_eq!(
            literal(Some(b"a' or"), types::VAR_STRING, 45),
            "_utf8mb4 X'6127206f72'"
        );
        assert_eq!(literal(Some(b"a"), types::VAR_STRING, 63), "X'61'");
    }
}
