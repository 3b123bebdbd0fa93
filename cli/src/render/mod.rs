//! What commands print.
//!
//! - [`view`]: a plan as a tree of objects, which [`text`] and [`markdown`] write down; [`moves`]: its
//!   workflows.
//! - [`step`]: one step in words (the planner's), [`summary`] a whole plan in one line.
//! - [`fit`]: what a plan needs of disks.
//! - [`dot`], [`json`]: a plan for Graphviz and for programs.
//! - [`picture`]: a running cluster. [`workflow`], [`vdiff`]: data on its way, and comparisons of it.
//! - [`sarif`]: findings of `lint` for code scanning.
//! - [`work`]: how far a step has come.
//! - [`drift`]: how a cluster has left its spec.
//! - [`workload`]: what a plan does to the statements that run.
//! - [`table`]: columns. [`when`]: times and durations.

pub mod dot;
pub mod drift;
pub mod fit;
pub mod json;
pub mod markdown;
pub mod moves;
pub mod picture;
pub mod sarif;
pub mod summary;
pub mod table;
pub mod text;
pub mod vdiff;
pub mod view;
pub mod when;
pub mod work;
pub mod workflow;
pub mod workload;

pub use vtplan_planner::words as step;

use vtplan_planner::document::Against;

/// What a plan was compared with, if not the cluster itself. In a sentence.
pub fn compared_with(against: &Against) -> Option<String> {
    match against {
        Against::Live => None,
        Against::Export { revision } => Some(format!(
            "an export of the live state, taken at revision {revision} of its records"
        )),
        Against::Spec { .. } => Some("another spec, not with a cluster".to_owned()),
    }
}

#[cfg(test)]
mod tests;
