//! What steps are expected to take, from the sizes that are known. Rough by nature: they are for
//! a person who wonders whether to fetch a coffee, and no decision hangs on them.

use vtplan_state::model::TabletType;

use crate::live::ObservedTable;
use crate::plan::{Action, Estimate};

/// What a server rewrites of a table in a second, bytes.
const REWRITE_BYTES_PER_SECOND: u64 = 20 << 20;

/// What a stream copies from one shard in a second, bytes. Plans say so.
pub(crate) const COPY_BYTES_PER_SECOND: u64 = 40 << 20;

/// What a comparison reads of each side in a second, bytes.
const COMPARE_BYTES_PER_SECOND: u64 = 100 << 20;

/// How long writes wait in a switch, milliseconds: gates drain, servers are fenced, streams catch up.
const WRITE_PAUSE_MS: u64 = 200;

/// For steps whose time does not depend on how much data there is.
pub(crate) fn estimate(action: &Action) -> Estimate {
    let (seconds, write_pause_ms) = match action {
        Action::CreateTablet { .. } => (5, None),
        Action::DeleteTablet { .. } => (3, None),
        Action::InitPrimary { .. } => (2, None),
        Action::Reparent { .. } => (5, Some(1000)),
        Action::SetDurability { .. }
        | Action::ChangeTabletType { .. }
        | Action::MendServer { .. }
        | Action::MendRouting { .. }
        | Action::MendShard { .. }
        | Action::EndHold { .. } => (1, None),
        Action::CreateTable { .. } | Action::InitSequence { .. } | Action::DropTable { .. } => {
            (1, None)
        }
        Action::StartWorkflow { .. } | Action::CancelWorkflow { .. } => (1, None),
        Action::CompleteWorkflow { .. } => (2, None),
        Action::Soak { seconds, .. } => (*seconds, None),
        Action::SwitchTraffic { tablet_types, .. } => {
            let writes = tablet_types.contains(&TabletType::Primary);
            (2, writes.then_some(WRITE_PAUSE_MS))
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

/// What a workflow is about: rows and bytes of its tables on one side.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Size {
    pub rows: u64,
    pub bytes: u64,
    /// Bytes of the largest shard: shards are read at the same time.
    pub largest: u64,
}

impl Size {
    fn estimate(self, bytes_per_second: u64) -> Estimate {
        Estimate {
            seconds: 1 + self.largest / bytes_per_second,
            rows: Some(self.rows),
            bytes: Some(self.bytes),
            write_pause_ms: None,
        }
    }

    pub(crate) fn copied(self) -> Estimate {
        self.estimate(COPY_BYTES_PER_SECOND)
    }

    pub(crate) fn compared(self) -> Estimate {
        self.estimate(COMPARE_BYTES_PER_SECOND)
    }

    pub(crate) fn dropped(self) -> Estimate {
        Estimate {
            seconds: 2,
            ..self.estimate(u64::MAX)
        }
    }
}
