//! Specs, and plans made from them.
//!
//! - [`spec`]: reads YAML and KDL into a [`desired::Desired`], with every problem at its place.
//! - [`desired`] and [`live`]: the two values that a plan is a function of.
//! - [`lint`]: what is valid and nevertheless unwise in a spec.
//! - [`plan`]: what a plan is; [`fit`]: whether there is room for it. [`passes`] make both.
//! - [`ids`]: the names of steps; [`words`]: steps as people read them.
//! - [`document`]: a plan for programs, and its JSON Schema.
//! - [`export`]: the live state as a file. [`against`]: plans without a cluster.
//! - [`vitess`]: a desired state from a Vitess cluster's listings.
//! - [`workload`]: what a plan does to the statements that run.
//! - [`backups`]: when they are due, overdue, and not kept any longer.
//! - [`drift`]: how a cluster has left its spec; [`seen`]: what agents look at closely for it.
//! - `moving`: what workflows have under way, and so what is left of others.
//! - [`simulate`]: what the live state is after a step, for tests of the law that a plan, cut
//!   anywhere, is continued by planning again.
//!
//! Everything from `desired` on is pure: no IO, no clock, no randomness, no async.

pub mod against;
pub mod backups;
pub mod desired;
pub mod document;
pub mod drift;
pub mod export;
pub mod fit;
pub mod ids;
pub mod lint;
pub mod live;
mod moving;
pub mod passes;
pub mod plain;
pub mod plan;
pub mod seen;
pub mod simulate;
pub mod spec;
pub mod vitess;
pub mod words;
pub mod workload;

pub use passes::{Survey, make_destroy_plan, make_operation_plan, make_plan, make_steps, survey};
