//! Workloads: the statements that run, by kind, and what a plan does to them.
//!
//! - [`read`]: a file of statements, or a recorded digest, into kinds with their counts.
//! - [`log`]: the lines of a query log. [`digest`]: the document that `vtplan workload export` writes.
//! - [`fetch`]: what a gate counted.
//! - [`judge`]: the routes of each kind before and after a plan, by the gate's own planner.
//!
//! Values of statements are never kept: what is kept of a statement is the name of its kind.

pub mod digest;
pub mod fetch;
pub mod judge;
pub mod log;
pub mod read;

use std::collections::HashMap;

use vtplan_gate::plan::{SqlModes, Target, Unreadable, normalize};
use vtplan_planner::workload::{Measured, UNREAD_SAMPLES, Unread};

/// Kinds that are kept; statements of others are only counted.
pub const MAX_KINDS: usize = 100_000;

/// Bytes of the names of kinds that are kept.
const MAX_BYTES: usize = 256 << 20;

/// A kind of statements as it was found.
#[derive(Debug, Clone, PartialEq)]
pub struct Counted {
    pub statement: String,
    pub target: Target,
    pub count: u64,
    pub measured: Option<Measured>,
}

/// The statements of a file.
#[derive(Debug, Default)]
pub struct Workload {
    pub kinds: Vec<Counted>,
    at: HashMap<Target, HashMap<String, usize>>,
    bytes: usize,
    /// Statements of kinds beyond the limits.
    pub left_out: u64,
    pub unread: u64,
    pub unread_samples: Vec<Unread>,
}

/// A kind of a [`Workload`], or why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Found {
    Kind(usize),
    /// There are too many kinds.
    LeftOut,
    Unreadable(Unreadable),
}

impl Workload {
    /// The kind of a statement.
    pub fn find(&mut self, target: &Target, sql: &[u8], measured: Option<Measured>) -> Found {
        let statement = match normalize(sql, SqlModes::default()) {
            Ok(statement) => statement,
            Err(why) => return Found::Unreadable(why),
        };
        let of_target = match self.at.get_mut(target) {
            Some(kinds) => kinds,
            None => self.at.entry(target.clone()).or_default(),
        };
        if let Some(at) = of_target.get(&statement) {
            return Found::Kind(*at);
        }
        if self.kinds.len() >= MAX_KINDS || self.bytes + statement.len() > MAX_BYTES {
            return Found::LeftOut;
        }
        self.bytes += statement.len();
        of_target.insert(statement.clone(), self.kinds.len());
        self.kinds.push(Counted {
            statement,
            target: target.clone(),
            count: 0,
            measured,
        });
        Found::Kind(self.kinds.len() - 1)
    }

    /// Counts statements of what was found. `line` and `sql` are told of what cannot be read.
    pub fn count(&mut self, found: Found, count: u64, line: Option<u64>, sql: &[u8]) {
        match found {
            Found::Kind(at) => {
                let kind = &mut self.kinds[at];
                kind.count = kind.count.saturating_add(count);
            }
            Found::LeftOut => self.left_out = self.left_out.saturating_add(count),
            Found::Unreadable(Unreadable::Empty) => {}
            Found::Unreadable(why) => self.unreadable(count, line, why.to_string(), sql),
        }
    }

    /// Counts texts that are no statement.
    pub fn unreadable(&mut self, count: u64, line: Option<u64>, why: String, sql: &[u8]) {
        self.unread = self.unread.saturating_add(count);
        if self.unread_samples.len() < UNREAD_SAMPLES {
            let text = beginning(sql);
            self.unread_samples.push(Unread { line, why, text });
        }
    }
}

/// The beginning of a text that is no statement, without what may be a value: its first words, as far
/// as they are only letters.
fn beginning(sql: &[u8]) -> String {
    let start = sql.get(..200).unwrap_or(sql);
    let text = String::from_utf8_lossy(start);
    let words = text.split_whitespace().take(3);
    let plain = words
        .take_while(|w| w.len() <= 20 && w.bytes().all(|b| b.is_ascii_alphabetic() || b == b'_'));
    plain.collect::<Vec<_>>().join(" ")
}
