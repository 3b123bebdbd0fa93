//! What steps are expected to take, from the sizes that are known. Rough by nature: they are for
//! a person who wonders whether to fetch a coffee, and no decision hangs on them.

use crate::live::ObservedTable;
use crate::plan::{Action, Estimate};

/// What a server rewrites of a table in a second, bytes.
const REWRITE_BYTES_PER_SECOND: u64 = 20 << 20;

/// For steps whose time does not depend on how much data there is.
pub(crate) fn estimate(action: &Action) -> Estimate {
    let (seconds, write_pause_ms) = match action {
        Action::CreateTablet { .. } => (5, None),
        Action::DeleteTablet { .. } => (3, None),
        Action::InitPrimary { .. } => (2, None),
        Action::Reparent { .. } => (5, Some(1000)),
        Action::SetDurability { .. } | Action::ChangeTabletType { .. } => (1, None),
        Action::CreateTable { .. } | Action::InitSequence { .. } | Action::DropTable { .. } => {
            (1, None)
        }
        _ => (0, None),
    };
    Estimate {
        seconds,
        write_pause_ms,
        ..Estimate::default()
    }
}

/// A table that is rewritten, or dropped.
pub(crate) fn of_table(table: &ObservedTable, rewritten: bool) -> Estimate {
    let seconds = if rewritten {
        1 + table.bytes / REWRITE_BYTES_PER_SECOND
    } else {
        1
    };
    Estimate {
        seconds,
        rows: Some(table.rows),
        bytes: Some(table.bytes),
        write_pause_ms: None,
    }
}
