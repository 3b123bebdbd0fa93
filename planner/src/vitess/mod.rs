//! A Vitess cluster's JSON listings, as `vtctldclient` prints them, as a desired state.
//!
//! [`Listings`] is their texts; [`read`] is their shapes, which differ between versions and tools;
//! [`import`] puts them together. What cannot be carried over is told in [`Imported::warnings`], and
//! what was guessed in [`Imported::guesses`].

mod build;
mod read;

use std::collections::BTreeMap;

use thiserror::Error;

use crate::desired::Desired;

pub use build::import;

/// The texts of the listings. What is `None` or empty was not given.
#[derive(Debug, Clone, Default)]
pub struct Listings {
    /// `GetTablets`.
    pub tablets: Option<Text>,
    /// `GetKeyspaces`.
    pub keyspaces: Option<Text>,
    /// `GetRoutingRules`.
    pub routing_rules: Option<Text>,
    /// `GetVSchema KEYSPACE`, by keyspace.
    pub vschemas: BTreeMap<String, Text>,
    /// `FindAllShardsInKeyspace KEYSPACE`, by keyspace.
    pub shards: BTreeMap<String, Text>,
    /// `GetSchema TABLET`, by keyspace.
    pub schemas: BTreeMap<String, Text>,
}

/// A listing with the name by which messages call it.
#[derive(Debug, Clone)]
pub struct Text {
    pub name: String,
    pub text: Vec<u8>,
}

/// What a desired state was made of.
#[derive(Debug, Clone, PartialEq)]
pub struct Imported {
    pub desired: Desired,
    /// What the listings do not say, and was chosen.
    pub guesses: Vec<String>,
    /// What the listings say and a spec does not.
    pub warnings: Vec<String>,
}

/// Why listings cannot be imported.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ImportError {
    #[error("`{file}` is cut off: the JSON in it ends after {lines} lines")]
    CutOff { file: String, lines: usize },
    #[error("`{file}` is not JSON: {why}")]
    NotJson { file: String, why: String },
    #[error("`{file}` is not what `{command}` prints: {why}")]
    Unexpected {
        file: String,
        command: &'static str,
        why: String,
    },
    #[error("there is no listing of tablets")]
    NoTablets,
    #[error("the listings have no tablet and no VSchema: there is nothing to import")]
    Nothing,
}
