//! What commands print.
//!
//! - [`view`]: a plan as a tree of objects, which [`text`] and [`markdown`] write down; [`moves`]: its
//!   workflows.
//! - [`step`]: one step in words, [`summary`] a whole plan in one line.
//! - [`dot`], [`json`]: a plan for Graphviz and for programs.
//! - [`picture`]: a running cluster. [`workflow`], [`vdiff`]: data on its way, and comparisons of it.
//! - [`work`]: how far a step has come.
//! - [`table`]: columns. [`when`]: times and durations.

pub mod dot;
pub mod json;
pub mod markdown;
pub mod moves;
pub mod picture;
pub mod step;
pub mod summary;
pub mod table;
pub mod text;
pub mod vdiff;
pub mod view;
pub mod when;
pub mod work;
pub mod workflow;

#[cfg(test)]
mod tests;
