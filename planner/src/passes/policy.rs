//! The spec's policy: what it requires and forbids stops a plan. Rules of `lint` are asked about the
//! desired state; what a plan may not do is asked of its steps. Of an approved plan that is carried
//! out, what is left does no more than the whole did.

use super::draft::Draft;
use crate::desired::Desired;
use crate::document::change;
use crate::lint::rule;
use crate::plan::{Action, Risk, Step};

/// Reports what goes against the policy.
pub(crate) fn check(desired: &Desired, draft: &mut Draft) {
    let policy = &desired.policy;
    if policy.is_empty() {
        return;
    }
    for (said, name) in policy.bound_rules() {
        let Some(rule) = rule(name) else { continue };
        for found in (rule.check)(desired) {
            if policy.binds(name, &found.object) {
                draft.error(
                    "policy",
                    found.object,
                    format!("{}: the policy {said}", found.message),
                    help(rule.help, &said),
                );
            }
        }
    }
    let mut errors = Vec::new();
    for step in draft.steps() {
        for name in &policy.forbid {
            if is(step, name) {
                let object = object_of(step);
                if policy.is_excepted(name, &object) {
                    continue;
                }
                errors.push((
                    object,
                    format!(
                        "the plan would {}, because {}: the policy forbids `{name}`",
                        crate::words::describe(step),
                        step.reason
                    ),
                    help(
                        "set the spec back to where this is not needed",
                        &format!("forbids `{name}`"),
                    ),
                ));
            }
        }
    }
    for (object, problem, help) in errors {
        draft.error("policy", object, problem, help);
    }
}

fn help(what: &str, said: &str) -> String {
    format!(
        "{what}; or change `policy` in the spec, which {said} (`policy.except` takes an object and a \
         reason)"
    )
}

/// Whether a step is what a policy forbids by this name.
fn is(step: &Step, name: &str) -> bool {
    match name {
        "data-loss" => step.risk == Risk::Destructive,
        "drop-table" => matches!(step.action, Action::DropTable { .. }),
        "delete-keyspace" => matches!(step.action, Action::DeleteKeyspace { .. }),
        "delete-tablet" => matches!(step.action, Action::DeleteTablet { .. }),
        "delete-user" => matches!(step.action, Action::DeleteUser { .. }),
        "reparent" => matches!(step.action, Action::Reparent { .. }),
        _ => false,
    }
}

/// The object by which an exception names a step's work: a table as `keyspace.table`.
fn object_of(step: &Step) -> String {
    match &step.action {
        Action::DropTable {
            keyspace, table, ..
        } => format!("{keyspace}.{table}"),
        action => change::of(action).object.name,
    }
}
