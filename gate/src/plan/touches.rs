//! What a statement is about, for holds: while tables or shards move, writes to them wait, and a
//! gate must know which of the open transactions have touched them. Names are kept by table where
//! the statement was read, else by the words in it, which may be more than it touches.

use vtplan_state::model::KeyspaceName;
use xxhash_rust::xxh64::xxh64;

use super::catalog::FoundTable;
use super::scan::Kind;
use super::statement::{Statement, Verb};

/// Of one statement, after routing rules were followed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Touches {
    pub list: Vec<Touch>,
    /// `LOCK TABLES`: it goes on touching them until `UNLOCK TABLES`.
    pub locks_tables: bool,
    /// `UNLOCK TABLES`.
    pub unlocks_tables: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Touch {
    Table(KeyspaceName, String),
    /// A statement that was not read: hashes ([`word`]) of the names in it, sorted.
    Words(KeyspaceName, Box<[u64]>),
    /// Anything of the keyspace, such as what a procedure does.
    Keyspace(KeyspaceName),
}

/// The hash of a name, by which [`Touch::Words`] knows it. Case does not count.
pub fn word(name: &str) -> u64 {
    xxh64(name.to_lowercase().as_bytes(), 0)
}

impl Touch {
    pub(super) fn table(found: &FoundTable) -> Self {
        Self::Table(found.keyspace.name.clone(), found.name.clone())
    }

    /// What a statement that goes to a keyspace as it is may touch.
    pub(super) fn unread(statement: &Statement<'_>, verb: Verb, keyspace: &KeyspaceName) -> Self {
        let named = match verb {
            // These may run anything.
            Verb::Other => statement.is(0, "LOAD") || statement.is(0, "HANDLER"),
            Verb::OtherDdl => false,
            _ => true,
        };
        if !named {
            return Self::Keyspace(keyspace.clone());
        }
        let mut words: Vec<u64> = (0..statement.tokens.len())
            .filter(|at| {
                let kind = statement.tokens[*at].kind;
                matches!(kind, Kind::Word | Kind::Quoted) && !statement.is_op(at + 1, ".")
            })
            .filter_map(|at| statement.name(at))
            .map(|name| word(&name))
            .collect();
        words.sort_unstable();
        words.dedup();
        Self::Words(keyspace.clone(), words.into())
    }
}
