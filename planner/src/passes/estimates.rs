//! What steps are expected to take, from the sizes that are known and from how fast earlier copies of
//! this cluster were. Rough by nature: they are for a person who wonders whether to fetch a coffee,
//! and no decision hangs on them.

use vtplan_state::model::{FlavorKind, Measurement, RatesRecord, TabletType};

use crate::live::ObservedTable;
use crate::plan::{Action, Basis, Estimate, Rate};

/// What a server rewrites of a table in a second, bytes.
const REWRITE_BYTES_PER_SECOND: u64 = 20 << 20;

/// What a stream copies from one shard in a second, bytes, where nothing was measured yet. Plans say so.
const COPY_BYTES_PER_SECOND: u64 = 40 << 20;

/// What a comparison reads of each side in a second, bytes, where nothing was measured yet.
const COMPARE_BYTES_PER_SECOND: u64 = 100 << 20;

/// Of rows as small as that their number says how long they take, bytes.
const SMALL_ROW: u64 = 256;

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
        ..Estimate::default()
    }
}

/// Rows per second that a lookup is filled with, of each shard.
const FILLED_ROWS_PER_SECOND: u64 = 2000;

/// A lookup that gets the rows of a table; shards go one after the other.
pub(crate) fn of_filling<'a>(tables: impl Iterator<Item = &'a ObservedTable>) -> Estimate {
    let rows: u64 = tables.map(|table| table.rows).sum();
    Estimate {
        seconds: 1 + rows / FILLED_ROWS_PER_SECOND,
        rows: Some(rows),
        write_pause_ms: Some(WRITE_PAUSE_MS),
        ..Estimate::default()
    }
}

/// What a workflow is about: rows and bytes of its tables on one side.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Size {
    pub rows: u64,
    pub bytes: u64,
    /// Of the shard with most bytes, and the one with most rows: shards are read at the same time.
    pub largest: u64,
    pub longest: u64,
}

impl Size {
    /// What copying or comparing all of it takes at a rate.
    pub(crate) fn at(self, rate: Rate) -> Estimate {
        let by_bytes = self.largest / rate.bytes_per_second.max(1);
        let by_rows = rate.rows_per_second.map(|rows| self.longest / rows.max(1));
        Estimate {
            seconds: 1 + by_bytes.max(by_rows.unwrap_or(0)),
            rate: Some(rate),
            ..self.known()
        }
    }

    pub(crate) fn dropped(self) -> Estimate {
        Estimate {
            seconds: 2,
            ..self.known()
        }
    }

    fn known(self) -> Estimate {
        Estimate {
            rows: Some(self.rows),
            bytes: Some(self.bytes),
            ..Estimate::default()
        }
    }
}

/// The flavors of the servers that a workflow reads and writes, as far as they are known.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Flavors {
    pub source: Option<FlavorKind>,
    pub target: Option<FlavorKind>,
}

/// How fast streams copy one shard.
pub(crate) fn copy_rate(rates: &RatesRecord, flavors: Flavors) -> Rate {
    rate(&rates.copies, flavors, COPY_BYTES_PER_SECOND)
}

/// How fast one shard is compared.
pub(crate) fn compare_rate(rates: &RatesRecord, flavors: Flavors) -> Rate {
    rate(&rates.vdiffs, flavors, COMPARE_BYTES_PER_SECOND)
}

/// The median of what was measured between servers of these flavors; of whatever was measured, where
/// none was between these.
fn rate(measured: &[Measurement], flavors: Flavors, assumed: u64) -> Rate {
    let same = |known: Option<FlavorKind>, of: FlavorKind| known.is_none_or(|known| known == of);
    let alike: Vec<&Measurement> = measured
        .iter()
        .filter(|m| same(flavors.source, m.source) && same(flavors.target, m.target))
        .collect();
    let used = match alike.is_empty() {
        true => measured.iter().collect(),
        false => alike,
    };
    let bytes = used.iter().filter_map(|m| m.bytes_per_second()).collect();
    let Some(bytes_per_second) = median(bytes) else {
        return Rate {
            bytes_per_second: assumed,
            rows_per_second: None,
            basis: Basis::Assumed,
            measurements: 0,
        };
    };
    Rate {
        bytes_per_second,
        // Wide rows come slowly because of their bytes, and say nothing of how many could come.
        rows_per_second: used
            .iter()
            .filter(|m| m.bytes / m.rows.max(1) <= SMALL_ROW)
            .filter_map(|m| m.rows_per_second())
            .max(),
        basis: Basis::Measured,
        measurements: u32::try_from(used.len()).unwrap_or(u32::MAX),
    }
}

fn median(mut of: Vec<u64>) -> Option<u64> {
    of.sort_unstable();
    let upper = *of.get(of.len() / 2)?;
    let lower = of[(of.len() - 1) / 2];
    Some(lower.midpoint(upper))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(mib: u64, rows: u64, source: FlavorKind) -> Measurement {
        Measurement {
            workflow: String::new(),
            epoch: 1,
            at: 0,
            rows,
            bytes: mib << 20,
            shard_milliseconds: 1000,
            shards: 1,
            source,
            target: source,
        }
    }

    fn copies(copies: Vec<Measurement>) -> RatesRecord {
        RatesRecord {
            copies,
            vdiffs: Vec::new(),
        }
    }

    #[test]
    fn a_rate_is_assumed_until_one_was_measured() {
        let rate = copy_rate(&RatesRecord::default(), Flavors::default());
        assert_eq!(
            (rate.basis, rate.bytes_per_second),
            (Basis::Assumed, 40 << 20)
        );
    }

    #[test]
    fn one_copy_that_went_strangely_does_not_count_for_much() {
        let mariadb = |mib| measured(mib, 10, FlavorKind::MariaDb);
        let rates = copies(vec![mariadb(60), mariadb(1), mariadb(62)]);
        let rate = copy_rate(&rates, Flavors::default());
        assert_eq!((rate.measurements, rate.bytes_per_second), (3, 60 << 20));
        // Comparisons were not measured.
        assert_eq!(
            compare_rate(&rates, Flavors::default()).basis,
            Basis::Assumed
        );
    }

    #[test]
    fn servers_of_the_same_flavors_come_first() {
        let rates = copies(vec![
            measured(60, 10, FlavorKind::MariaDb),
            measured(20, 10, FlavorKind::MySql),
        ]);
        let of = |source| Flavors {
            source: Some(source),
            target: None,
        };
        let rate = copy_rate(&rates, of(FlavorKind::MySql));
        assert_eq!((rate.measurements, rate.bytes_per_second), (1, 20 << 20));
        let mixed = Flavors {
            source: Some(FlavorKind::MySql),
            target: Some(FlavorKind::MariaDb),
        };
        assert_eq!(copy_rate(&rates, mixed).measurements, 2);
    }

    #[test]
    fn tiny_rows_are_bound_by_their_number() {
        // Others of wide rows do not count for that.
        let rates = copies(vec![
            measured(10, 100_000, FlavorKind::MariaDb),
            measured(110, 100_000, FlavorKind::MariaDb),
        ]);
        let rate = copy_rate(&rates, Flavors::default());
        assert_eq!(rate.rows_per_second, Some(100_000));
        let size = |rows| Size {
            rows,
            bytes: 60 << 20,
            largest: 60 << 20,
            longest: rows,
        };
        assert_eq!(size(1_000).at(rate).seconds, 2);
        assert_eq!(size(10_000_000).at(rate).seconds, 101);
    }
}
