//! How fast data has been copied and compared in this cluster, for the estimates of plans.

use serde::{Deserialize, Serialize};

use super::{FlavorKind, UnixMillis};

/// How many measurements of a kind are kept: what a cluster did long ago, on other hardware, says
/// little of today.
pub const KEPT_MEASUREMENTS: usize = 10;

/// Less than that says more about how long a workflow takes to begin than about how fast it is, bytes.
const LEAST_BYTES: u64 = 256 << 10;

/// Key `rates`. Written by the conductor, in the transaction that records what was measured as done:
/// so each workflow is in it once, whoever finishes the step.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RatesRecord {
    /// Copies of workflows, the oldest first.
    #[serde(default)]
    pub copies: Vec<Measurement>,
    /// Full comparisons, the oldest first.
    #[serde(default)]
    pub vdiffs: Vec<Measurement>,
}

/// What one workflow's streams, or one comparison of it, have done in which time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurement {
    /// `WorkflowRecord::full_name`, and the epoch of its streams.
    pub workflow: String,
    pub epoch: u64,
    /// When it was over.
    pub at: UnixMillis,
    pub rows: u64,
    /// As statistics of servers count the tables' bytes, which is how estimates count them.
    pub bytes: u64,
    /// The time that the source's shards took, all added up: what is paused, or waits to begin, does
    /// not count; what is throttled does, for so it will be again.
    pub shard_milliseconds: u64,
    /// Shards of the source, which are read side by side.
    pub shards: u32,
    pub source: FlavorKind,
    pub target: FlavorKind,
}

impl Measurement {
    /// Of one shard. `None`: it says nothing.
    pub fn bytes_per_second(&self) -> Option<u64> {
        per_second(self.bytes, self.shard_milliseconds)
    }

    /// Of one shard. `None`: it says nothing.
    pub fn rows_per_second(&self) -> Option<u64> {
        per_second(self.rows, self.shard_milliseconds)
    }

    fn says_something(&self) -> bool {
        self.bytes >= LEAST_BYTES && self.bytes_per_second().is_some()
    }
}

fn per_second(amount: u64, milliseconds: u64) -> Option<u64> {
    let rate = u128::from(amount) * 1000 / u128::from(milliseconds.max(1));
    let rate = u64::try_from(rate).ok()?;
    (rate > 0 && milliseconds > 0).then_some(rate)
}

impl RatesRecord {
    pub fn is_empty(&self) -> bool {
        self.copies.is_empty() && self.vdiffs.is_empty()
    }

    /// The record with a copy more; `None`: it says nothing.
    #[must_use]
    pub fn with_copy(&self, measured: Measurement) -> Option<Self> {
        let copies = with(&self.copies, measured)?;
        Some(Self {
            copies,
            vdiffs: self.vdiffs.clone(),
        })
    }

    /// The record with a comparison more; `None`: it says nothing.
    #[must_use]
    pub fn with_vdiff(&self, measured: Measurement) -> Option<Self> {
        let vdiffs = with(&self.vdiffs, measured)?;
        Some(Self {
            copies: self.copies.clone(),
            vdiffs,
        })
    }
}

fn with(list: &[Measurement], measured: Measurement) -> Option<Vec<Measurement>> {
    if !measured.says_something() {
        return None;
    }
    let mut list = list.to_vec();
    list.push(measured);
    let old = list.len().saturating_sub(KEPT_MEASUREMENTS);
    Some(list.split_off(old))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn measured(epoch: u64, bytes: u64, shard_milliseconds: u64) -> Measurement {
        Measurement {
            workflow: "customer.commerce2customer".to_owned(),
            epoch,
            at: 0,
            rows: bytes / 100,
            bytes,
            shard_milliseconds,
            shards: 2,
            source: FlavorKind::MariaDb,
            target: FlavorKind::MySql,
        }
    }

    #[test]
    fn the_newest_measurements_are_kept() {
        let mut rates = RatesRecord::default();
        for epoch in 0..25 {
            let copies = rates.with_copy(measured(epoch, 1 << 20, 100));
            rates = copies.expect("it says something");
        }
        let epochs: Vec<u64> = rates.copies.iter().map(|m| m.epoch).collect();
        assert_eq!(epochs, (15..25).collect::<Vec<_>>());
        assert!(rates.vdiffs.is_empty());
    }

    #[test]
    fn what_says_nothing_is_not_kept() {
        let rates = RatesRecord::default();
        assert_eq!(rates.with_copy(measured(1, 100, 100)), None);
        assert_eq!(rates.with_vdiff(measured(1, 1 << 20, 0)), None);
        assert!(rates.with_vdiff(measured(1, 1 << 20, 1)).is_some());
    }

    #[test]
    fn a_rate_is_that_of_one_shard() {
        let one = measured(1, 10 << 20, 2_000);
        assert_eq!(one.bytes_per_second(), Some(5 << 20));
        assert_eq!(measured(1, u64::MAX, 1).bytes_per_second(), None);
    }
}
