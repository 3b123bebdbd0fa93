//! Asking for approvals.

use owo_colors::OwoColorize as _;
use vtplan_agent::submit::{self, SubmitError};
use vtplan_planner::desired::ApprovePoint;
use vtplan_planner::plan::Plan;
use vtplan_state::cluster::Cluster;

use crate::error::CliError;
use crate::output::{can_ask, who};
use crate::progress::{ask, submit_error};
use crate::render::step::describe;
use crate::render::table::count;
use crate::waits::Wait;

/// How the approval of a plan is asked for.
pub struct Asking {
    pub auto_approve: bool,
    pub approve_destructive: bool,
    /// Steps that take back what was done by hand are approved too.
    pub approve_drift: bool,
    pub question: &'static str,
    /// The only answer that approves.
    pub word: &'static str,
}

/// Asks for the approval of a plan. `None`: it was not given. Else whether the destructive steps
/// were approved too.
pub async fn approve(plan: &Plan, asking: &Asking) -> Result<Option<bool>, CliError> {
    let destructive: Vec<String> = plan.destructive().map(describe).collect();
    let by_hand: Vec<String> = plan.drift().map(describe).collect();
    let needs_terminal = !asking.auto_approve || !destructive.is_empty();
    if !asking.auto_approve && !can_ask() {
        return Err(CliError::new(
            "needs-approval",
            "the plan needs an approval, and there is no terminal to ask on",
        )
        .help(
            "review it with `vtplan plan`, then give `--auto-approve`; or save it with \
             `vtplan plan --out FILE` and apply exactly that with `vtplan apply FILE --auto-approve`",
        ));
    }
    if !destructive.is_empty() && !asking.approve_destructive && (asking.auto_approve || !can_ask())
    {
        return Err(CliError::new(
            "destructive-not-approved",
            format!(
                "the plan deletes data in {}, which was not approved: nothing was done",
                count(destructive.len(), "step")
            ),
        )
        .details(list(&destructive))
        .help("approve it with `--approve-destructive`"));
    }
    if !by_hand.is_empty() && !asking.approve_drift && (asking.auto_approve || !can_ask()) {
        return Err(CliError::new(
            "drift-not-approved",
            format!(
                "the plan takes back in {} what was changed by hand, which was not approved: nothing \
                 was done",
                count(by_hand.len(), "step")
            ),
        )
        .details(list(&by_hand))
        .help(
            "`vtplan drift SPEC` says what was found; approve it with `--approve-drift`, or put into \
             the spec what is to stay",
        ));
    }
    if needs_terminal && !asking.auto_approve {
        let question = format!(
            "\n{} Only `{}` is accepted: ",
            asking.question.bold(),
            asking.word
        );
        if ask(&question).await?.as_deref() != Some(asking.word) {
            return Ok(None);
        }
    }
    if !by_hand.is_empty() && !asking.approve_drift {
        let question = format!(
            "\n{}\n{}Take it back? Only `{}` is accepted: ",
            "This was changed by hand:".yellow().bold(),
            list(&by_hand),
            asking.word
        );
        if ask(&question).await?.as_deref() != Some(asking.word) {
            return Ok(None);
        }
    }
    if !destructive.is_empty() && !asking.approve_destructive {
        let question = format!(
            "\n{}\n{}Delete this data? Only `{}` is accepted: ",
            "This deletes data:".red().bold(),
            list(&destructive),
            asking.word
        );
        if ask(&question).await?.as_deref() != Some(asking.word) {
            return Ok(None);
        }
    }
    Ok(Some(!destructive.is_empty()))
}

fn list(lines: &[String]) -> String {
    lines.iter().map(|l| format!("  ! {l}\n")).collect()
}

/// Asks whether a workflow may go on from a point where the spec wants an approval.
pub async fn approve_point(wait: &Wait, point: ApprovePoint) -> Result<bool, CliError> {
    let then = match point {
        ApprovePoint::SwitchReads => "Reads of replicas and rdonlys are switched then.",
        ApprovePoint::SwitchWrites => "Writes are switched then; they wait for a moment.",
        ApprovePoint::Complete => "There is no way back without a new move then.",
    };
    let question = format!(
        "\n{} waits for an approval of {}. {then}\n{} Only `yes` is accepted: ",
        wait.full_name().bold(),
        point.as_str().bold(),
        "Approve it?".bold()
    );
    Ok(ask(&question).await?.as_deref() == Some("yes"))
}

/// Writes the approval of a point into the workflow's record. `false`: there is no such workflow
/// yet, or it is approved already.
pub async fn write_point(
    cluster: &Cluster,
    wait: &Wait,
    point: ApprovePoint,
) -> Result<bool, CliError> {
    match submit::approve(cluster, &wait.keyspace, &wait.workflow, &[point], &who()).await {
        Ok(new) => Ok(!new.is_empty()),
        Err(SubmitError::NoSuchWorkflow { .. }) => Ok(false),
        Err(error) => Err(submit_error(error, cluster.name())),
    }
}
