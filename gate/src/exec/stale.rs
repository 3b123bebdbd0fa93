//! Errors that come from routing by records that are not the newest: the statement is then tried
//! again, as if the gate had known.

use vtplan_state::model::TabletType;

use crate::plan::{Props, QueryPlan};
use crate::protocol::SqlError;
use crate::session::Held;

/// Why a statement that had no effect may do better when it is planned again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stale {
    /// The server takes no writes: its shard is given to another, or moves.
    Fenced,
    /// The table moves, or has moved, and takes no writes here.
    Moving,
    /// What it is about is not there (any more), or a tablet was removed.
    Moved,
    /// A server could not be reached.
    Gone,
}

impl Stale {
    /// What a server's error tells.
    pub fn of(error: &SqlError) -> Option<Self> {
        match error.code {
            // ER_OPTION_PREVENTS_STATEMENT is of other options too. The triggers that fence a
            // table give it as well.
            1290 if error.message.contains("read-only option") => Some(Self::Fenced),
            1290 if error.message.contains("is moving") => Some(Self::Moving),
            // ER_READ_ONLY_MODE
            1836 => Some(Self::Fenced),
            // ER_BAD_DB_ERROR, ER_NO_SUCH_TABLE
            1049 | 1146 => Some(Self::Moved),
            _ => None,
        }
    }

    /// The same for a plan: a replica takes no writes anyway.
    pub fn of_plan(plan: &QueryPlan, error: &SqlError) -> Option<Self> {
        let primary = plan.tablet_type == TabletType::Primary;
        Self::of(error).filter(|stale| primary || *stale == Self::Moved)
    }
}

/// Whether a statement that a server refused has had no effect there. A procedure may have.
pub fn is_whole(props: &Props) -> bool {
    props.is_read || props.is_dml || props.is_ddl
}

/// A server's error with what a client cannot know of a cluster: where it happened.
pub fn placed(mut error: SqlError, held: &Held) -> SqlError {
    if error.code == 1146 {
        error.message = format!(
            "{} (keyspace {}, shard {}, tablet {})",
            error.message, held.shard.keyspace, held.shard.shard, held.tablet.alias
        );
    }
    error
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_fence_is_waited_for() {
        let of = |code, message: &str| Stale::of(&SqlError::new(code, b"HY000", message));
        let option = "The MySQL server is running with the --super-read-only option so it";
        assert_eq!(of(1290, option), Some(Stale::Fenced));
        let own = "The gate is running read-only: it has lost its lease";
        assert_eq!(of(1290, own), None);
        assert_eq!(of(1290, "running with the --secure-file-priv option"), None);
        let moving = "table `t` is moving: keyspace `b` has its writes, `a` takes none";
        assert_eq!(of(1290, moving), Some(Stale::Moving));
        assert_eq!(of(1644, "an application's own"), None);
        assert_eq!(of(1146, "Table 'a.b' doesn't exist"), Some(Stale::Moved));
        assert_eq!(of(1062, "Duplicate entry"), None);
    }
}
