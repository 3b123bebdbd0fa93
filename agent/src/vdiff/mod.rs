//! VDiff: full comparisons of the two sides of a workflow.
//!
//! A comparison is a record (`vdiffs/<keyspace>/<workflow>/<id>`); whichever agent gets the workflow's
//! comparison lock carries it out ([`keeper`], [`attempt`]). A row is only called missing, extra or
//! differing if it is.
//!
//! 1. All streams of the workflow stop between two transactions ([`pause`]).
//! 2. A snapshot is opened on a server of each shard that is read ([`servers`] says which: an rdonly
//!    or a replica where one is healthy), at a position that has everything the streams have.
//! 3. The streams run to exactly these positions. What they wrote is then the same as what is in the
//!    snapshots, or there is a difference.
//! 4. A snapshot is opened on a server of each shard that is written to, once it has all of that. The
//!    streams go on: they stood still for this moment, not for the comparison.
//! 5. All servers make checksums of the same ranges of keys ([`digest`]); ranges with equal ones are
//!    done. It is left out when every value is to be compared, or values are written differently.
//! 6. The other ranges are read from all snapshots at once, in key order, and merged ([`merge`]).
//!    Where rows match there is nothing to do but to compare bytes; only around a row that does not,
//!    keys are put in order ([`order`]), by the server where its collations decide.
//!
//! After a window of ranges, and about once a second, the comparison comes to a key up to which
//! everything on all sides was compared ([`table`]). It goes into the record with what was found, in
//! one transaction that compares the lock's fencing token, so whoever takes over goes on behind it
//! with snapshots of its own.
//!
//! **Between flavors** values are the same bytes by the contract of [`crate::stream::row`]. What is
//! not is JSON, which MySQL prints in its own way and MariaDB keeps as it was written: there values
//! are compared as JSON.

pub mod attempt;
pub mod checksum;
pub mod digest;
pub mod keeper;
pub mod merge;
pub mod order;
pub mod pause;
pub mod servers;
pub mod table;
pub mod ticket;

use thiserror::Error;
use vtplan_state::store::StoreError;

use crate::stream::StreamError;

/// Why a comparison does not go on.
#[derive(Debug, Error)]
pub enum VDiffError {
    #[error(transparent)]
    Store(#[from] StoreError),
    #[error(transparent)]
    Stream(#[from] StreamError),
    /// Its record is gone or somebody else's: nothing more is to be written.
    #[error("the comparison was taken over or deleted")]
    Superseded,
    /// Not now: it is tried again.
    #[error("{0}")]
    NotYet(String),
    /// It cannot be done.
    #[error("{0}")]
    Failed(String),
}

impl VDiffError {
    fn may_pass(&self) -> bool {
        match self {
            Self::Store(_) | Self::NotYet(_) => true,
            Self::Stream(error) => error.is_retriable(),
            Self::Superseded | Self::Failed(_) => false,
        }
    }
}
