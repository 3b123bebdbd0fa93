//! `vtplan workflow switch`, `reverse`, `complete` and `cancel`: a plan for one workflow, shown,
//! approved and carried out as that of a spec is.

use clap::Args;
use vtplan_agent::submit::{self, Approval};
use vtplan_planner::plan::{Operation, WorkflowOperation};
use vtplan_state::cluster::Cluster;
use vtplan_state::model::WorkflowRecord;

use super::named;
use crate::args::{Format, Global};
use crate::commands::Outcome;
use crate::commands::apply::approve::{Asking, approve};
use crate::commands::apply::ending::{Ended, say_waiting};
use crate::commands::apply::{Ways, no_agent, print_plan, running, start, stop};
use crate::context;
use crate::error::Exit;
use crate::output::{err, out, who};
use crate::progress::submit_error;

pub const SWITCH_EXAMPLES: &str = "\
Examples:
  vtplan workflow switch customer.commerce2customer
  vtplan workflow switch cust2cust --reads-only      Of replicas and rdonlys alone

Writes wait for less than a second. A switch that takes longer is undone by itself.";

pub const REVERSE_EXAMPLES: &str = "\
Examples:
  vtplan workflow reverse customer.commerce2customer
  vtplan workflow reverse cust2cust --auto-approve --supersede

What was written to the target since the switch is on the source: nothing is lost.
The next `vtplan apply` of a spec that wants the move switches again.";

pub const COMPLETE_EXAMPLES: &str = "\
Examples:
  vtplan workflow complete customer.commerce2customer
  vtplan workflow complete commerce2customer --auto-approve --approve-destructive";

pub const CANCEL_EXAMPLES: &str = "\
Examples:
  vtplan workflow cancel customer.commerce2customer
  vtplan workflow cancel cust2cust --supersede       While a plan works on it

The next `vtplan apply` of a spec that wants the move begins it anew.";

#[derive(Args, Debug)]
pub struct OperateArgs {
    /// `KEYSPACE.WORKFLOW`, or the name alone
    #[arg(value_name = "WORKFLOW")]
    pub workflow: String,
    #[command(flatten)]
    pub how: How,
}

#[derive(Args, Debug)]
pub struct SwitchArgs {
    /// `KEYSPACE.WORKFLOW`, or the name alone
    #[arg(value_name = "WORKFLOW")]
    pub workflow: String,
    /// Switch reads of replicas and rdonlys alone; writes stay where they are
    #[arg(long)]
    pub reads_only: bool,
    #[command(flatten)]
    pub how: How,
}

#[derive(Args, Debug)]
pub struct How {
    /// Do not ask; destructive steps still need --approve-destructive
    #[arg(long)]
    pub auto_approve: bool,
    /// Approve the destructive steps too
    #[arg(long)]
    pub approve_destructive: bool,
    /// Stop a plan that is being carried out first
    #[arg(long)]
    pub supersede: bool,
    /// Start it and return; the agents carry it out
    #[arg(long)]
    pub detach: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn run(
    cluster: &Cluster,
    operation: Operation,
    name: &str,
    how: &How,
    global: &Global,
) -> Outcome {
    let json = how.format == Format::Json;
    let workflow = named(cluster, name).await?;
    if how.supersede
        && let Some(active) = running(cluster).await?
    {
        stop(cluster, &active, json, global).await?;
    }
    let agents = context::agents(cluster).await?;
    let asked = WorkflowOperation {
        keyspace: workflow.target.keyspace.clone(),
        workflow: workflow.name.clone(),
        operation,
    };
    let planned = submit::plan_operation(cluster, &agents, &asked)
        .await
        .map_err(|e| submit_error(e, cluster.name()))?;
    if planned.plan.is_empty() {
        if json {
            out("{\"format\":1,\"type\":\"result\",\"status\":\"done\"}\n");
        } else {
            out(&format!(
                "Nothing is to be done. {}\n",
                goal(operation, &workflow)
            ));
        }
        return Ok(Exit::Done);
    }
    if planned.gathered.live.records.hosts.is_empty() {
        return Err(no_agent(cluster.name()));
    }
    print_plan(&planned.plan, json, global);
    let asking = Asking {
        auto_approve: how.auto_approve,
        approve_destructive: how.approve_destructive,
        approve_drift: false,
        question: question(operation),
        word: "yes",
    };
    let Some(destructive) = approve(&planned.plan, &asking).await? else {
        err("Nothing was changed.\n");
        return Ok(Exit::Failed);
    };
    let approval = Approval {
        desired: &planned.desired,
        plan: &planned.plan,
        who: &who(),
        destructive,
        destroy: false,
        operation: Some(&asked),
    };
    let ways = Ways {
        detach: how.detach,
        json,
        global,
    };
    match start(cluster, approval, &goal(operation, &workflow), &ways).await? {
        Ended::Over(exit) => Ok(exit),
        Ended::Waiting(paused) => {
            let again = format!("vtplan workflow {} {name}", verb(operation));
            say_waiting(cluster, &paused, &again, json).await
        }
    }
}

const fn verb(operation: Operation) -> &'static str {
    match operation {
        Operation::Switch => "switch",
        Operation::SwitchReads => "switch --reads-only",
        Operation::Reverse => "reverse",
        Operation::Complete => "complete",
        Operation::Cancel => "cancel",
    }
}

const fn question(operation: Operation) -> &'static str {
    match operation {
        Operation::Switch | Operation::SwitchReads => "Switch the traffic?",
        Operation::Reverse => "Switch the traffic back?",
        Operation::Complete => "Complete the workflow?",
        Operation::Cancel => "Cancel the workflow?",
    }
}

/// What is so when it is done.
fn goal(operation: Operation, workflow: &WorkflowRecord) -> String {
    let name = workflow.full_name();
    match operation {
        Operation::Switch => format!("All traffic of {name} goes to its target."),
        Operation::SwitchReads => {
            format!("Reads of replicas and rdonlys of {name} go to its target.")
        }
        Operation::Reverse => format!("All traffic of {name} goes to its source."),
        Operation::Complete => format!("Workflow {name} is completed."),
        Operation::Cancel => format!("Workflow {name} is cancelled."),
    }
}
