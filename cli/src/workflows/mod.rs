//! Workflows for people and programs.
//!
//! - [`find`]: by the names that people give.
//! - [`document`]: what is printed as JSON, and made into text by [`crate::render::workflow`].
//! - [`look`]: what agents tell of streams, and what plans and comparisons have to do with a workflow.

pub mod document;
pub mod look;

use vtplan_planner::spec::diag::closest;
use vtplan_state::model::{Records, Side, WorkflowRecord};

use crate::context::ticked;
use crate::error::CliError;

/// The workflow that `name` means: `customer.commerce2customer`, or its last part where no other
/// workflow has that. While writes are switched, the name of the reverse workflow means it too.
pub fn find<'a>(
    name: &str,
    records: &'a Records,
    cluster: &str,
) -> Result<&'a WorkflowRecord, CliError> {
    let named: Vec<_> = records
        .all_workflows()
        .filter(|w| names(w).iter().any(|n| n == name))
        .collect();
    match named.as_slice() {
        [one] => Ok(one),
        [] => Err(unknown(name, records, cluster)),
        several => {
            let full: Vec<String> = several.iter().map(|w| w.full_name()).collect();
            Err(CliError::new(
                "ambiguous-workflow",
                format!(
                    "several workflows of cluster {cluster} are called `{name}`: {}",
                    ticked(&full)
                ),
            )
            .help(format!("name it in full, such as `{}`", full[0])))
        }
    }
}

/// All that a workflow may be called.
fn names(workflow: &WorkflowRecord) -> Vec<String> {
    let mut names = vec![workflow.full_name(), workflow.name.to_string()];
    if workflow.writes == Side::Target {
        let reverse = workflow.reverse_name();
        names.push(format!("{}.{reverse}", workflow.source.keyspace));
        names.push(reverse);
    }
    names
}

fn unknown(name: &str, records: &Records, cluster: &str) -> CliError {
    let full: Vec<String> = records.all_workflows().map(|w| w.full_name()).collect();
    let all: Vec<String> = records.all_workflows().flat_map(names).collect();
    let error = CliError::new(
        "no-such-workflow",
        format!("there is no workflow `{name}` in cluster {cluster}"),
    );
    match closest(name, all.iter().map(String::as_str)) {
        Some(near) => error.help(format!("did you mean `{near}`?")),
        None if full.is_empty() => error.help(
            "no workflow is under way; applying a spec that moves tables or changes shards starts one",
        ),
        None => error.help(format!("there are {}", ticked(&full))),
    }
}
