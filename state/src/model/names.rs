//! Names as types, so that a cell cannot be passed where a keyspace is meant.

use std::borrow::Borrow;
use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

/// Why a text is not a name.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("`{text}` is not a {kind} name: {why}")]
pub struct NameError {
    pub kind: &'static str,
    pub text: String,
    pub why: &'static str,
}

macro_rules! name_type {
    ($(#[$doc:meta])* $type:ident, $kind:literal, $check:path) => {
        $(#[$doc])*
        #[derive(Clone, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(try_from = "String", into = "String")]
        pub struct $type(String);

        impl $type {
            /// Checks and takes a name.
            pub fn new(text: impl Into<String>) -> Result<Self, NameError> {
                let text = text.into();
                match $check(&text) {
                    Ok(()) => Ok(Self(text)),
                    Err(why) => Err(NameError { kind: $kind, text, why }),
                }
            }
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }
        impl TryFrom<String> for $type {
            type Error = NameError;
            fn try_from(text: String) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
        impl FromStr for $type {
            type Err = NameError;
            fn from_str(text: &str) -> Result<Self, NameError> {
                Self::new(text)
            }
        }
        impl From<$type> for String {
            fn from(name: $type) -> String {
                name.0
            }
        }
        impl Borrow<str> for $type {
            fn borrow(&self) -> &str {
                &self.0
            }
        }
        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.pad(&self.0)
            }
        }
        impl fmt::Debug for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                fmt::Debug::fmt(&self.0, f)
            }
        }
    };
}

fn plain(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() > 63 {
        return Err("it is longer than 63 bytes");
    }
    if !text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || b == b'_' || b == b'-')
    {
        return Err("only letters, digits, `_` and `-` are allowed");
    }
    if !text.as_bytes()[0].is_ascii_alphanumeric() {
        return Err("it must start with a letter or a digit");
    }
    Ok(())
}

/// A tablet alias is split at its last dash, so a cell name may hold dashes.
fn cell(text: &str) -> Result<(), &'static str> {
    plain(text)
}

/// Databases that belong to the servers or to vtplan. A keyspace is a database of the same name
/// on its servers, so it may not be one of these.
const RESERVED_DATABASES: [&str; 6] = [
    "mysql",
    "sys",
    "information_schema",
    "performance_schema",
    "_vt",
    "_vt_scratch",
];

fn keyspace(text: &str) -> Result<(), &'static str> {
    plain(text)?;
    if RESERVED_DATABASES
        .iter()
        .any(|r| r.eq_ignore_ascii_case(text))
    {
        return Err("that database belongs to the server");
    }
    Ok(())
}

fn host(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.len() > 253 {
        return Err("it is longer than 253 bytes");
    }
    if !text
        .bytes()
        .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'_' | b'-' | b'.'))
    {
        return Err("only letters, digits, `_`, `-` and `.` are allowed");
    }
    Ok(())
}

fn table(text: &str) -> Result<(), &'static str> {
    if text.is_empty() {
        return Err("it is empty");
    }
    if text.chars().count() > 64 {
        return Err("it is longer than 64 characters");
    }
    if text.contains(['\0', '/']) || text.ends_with(' ') {
        return Err("it holds a character that no table name may hold");
    }
    Ok(())
}

name_type!(
    /// A cell: a failure domain such as a data centre zone.
    CellName, "cell", cell);
name_type!(
    /// A keyspace: a logical database. On its servers it is the database of the same name.
    KeyspaceName, "keyspace", keyspace);
name_type!(
    /// The name under which an agent registers its host.
    HostName, "host", host);
name_type!(
    /// The name under which a gate registers.
    GateName, "gate", host);
name_type!(
    /// A table of a keyspace.
    TableName, "table", table);
name_type!(
    /// A workflow of a keyspace.
    WorkflowName, "workflow", plain);
