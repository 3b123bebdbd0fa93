//! Positions: what a server has executed, in its own notation.

use std::fmt;

use vtplan_state::model::FlavorKind;

use super::error::StreamError;
use crate::flavor::gtid::{MariaDbGtid, MariaDbPosition, MySqlGtid, MySqlGtidSet};

/// What a server has executed: all transactions of a GTID set. Prints as the server writes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Position {
    MariaDb(MariaDbPosition),
    MySql(MySqlGtidSet),
}

/// One transaction's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Gtid {
    MariaDb(MariaDbGtid),
    MySql(MySqlGtid),
}

impl Position {
    /// Reads a position as servers of the flavor write it; empty is the beginning.
    pub fn parse(flavor: FlavorKind, text: &str) -> Result<Self, StreamError> {
        let parsed = match flavor {
            FlavorKind::MariaDb => MariaDbPosition::parse(text).map(Self::MariaDb),
            FlavorKind::MySql => MySqlGtidSet::parse(text).map(Self::MySql),
        };
        parsed
            .ok_or_else(|| StreamError::Refused(format!("`{text}` is not a position of {flavor}")))
    }

    pub fn flavor(&self) -> FlavorKind {
        match self {
            Self::MariaDb(_) => FlavorKind::MariaDb,
            Self::MySql(_) => FlavorKind::MySql,
        }
    }

    pub fn is_empty(&self) -> bool {
        match self {
            Self::MariaDb(p) => p.is_empty(),
            Self::MySql(p) => p.is_empty(),
        }
    }

    /// Whether everything that is in `other` is in this one. Positions of different flavors
    /// contain each other never.
    pub fn contains(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::MariaDb(a), Self::MariaDb(b)) => a.contains(b),
            (Self::MySql(a), Self::MySql(b)) => a.contains(b),
            _ => false,
        }
    }

    pub fn contains_gtid(&self, gtid: &Gtid) -> bool {
        match (self, gtid) {
            (Self::MariaDb(p), Gtid::MariaDb(g)) => p.contains_gtid(g),
            (Self::MySql(p), Gtid::MySql(g)) => p.contains_gtid(g),
            _ => false,
        }
    }

    /// Adds a transaction that follows. One of the other flavor is passed over.
    pub fn advance(&mut self, gtid: &Gtid) {
        match (self, gtid) {
            (Self::MariaDb(p), Gtid::MariaDb(g)) => p.advance(g),
            (Self::MySql(p), Gtid::MySql(g)) => p.advance(g),
            _ => {}
        }
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MariaDb(p) => p.fmt(f),
            Self::MySql(p) => p.fmt(f),
        }
    }
}

impl fmt::Display for Gtid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::MariaDb(g) => g.fmt(f),
            Self::MySql(g) => g.fmt(f),
        }
    }
}
