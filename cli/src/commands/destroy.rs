//! `vtplan destroy`: deletes everything in the cluster.

use std::collections::BTreeMap;

use clap::Args;
use owo_colors::OwoColorize as _;
use vtplan_agent::submit::Approval;
use vtplan_planner::desired::{ChangePolicy, Desired};
use vtplan_planner::make_destroy_plan;
use vtplan_state::cluster::Cluster;

use super::Outcome;
use super::apply::ending::{Ended, say_waiting};
use super::apply::{Ways, start};
use crate::args::{Format, Global};
use crate::context;
use crate::error::{CliError, Exit};
use crate::output::{ask, can_ask, err, out, who};
use crate::planning;

const EXAMPLES: &str = "\
Examples:
  vtplan destroy                    Shows what is deleted, then asks for the cluster's name
  vtplan destroy --auto-approve --cluster shop";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct DestroyArgs {
    /// Do not ask
    #[arg(long)]
    pub auto_approve: bool,
    /// Start it and return; the agents carry it out
    #[arg(long)]
    pub detach: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn run(args: DestroyArgs, global: &Global) -> Outcome {
    let json = args.format == Format::Json;
    let cluster = context::cluster(global).await?;
    let live = planning::live(global, Some(&cluster), None).await?;
    let plan = make_destroy_plan(cluster.name(), &live)
        .map_err(|e| planning::plan_errors(cluster.name(), &e))?;
    if plan.is_empty() {
        if json {
            out("{\"format\":1,\"type\":\"result\",\"status\":\"done\"}\n");
        } else {
            out(&format!(
                "Cluster {} is empty: nothing is left to delete.\n",
                cluster.name()
            ));
        }
        return Ok(Exit::Done);
    }
    if live.records.hosts.is_empty() {
        return Err(super::apply::no_agent(cluster.name()));
    }
    super::apply::print_plan(&plan, json, global);
    if !args.auto_approve && !confirmed(&cluster)? {
        err("Nothing was changed.\n");
        return Ok(Exit::Failed);
    }
    let approval = Approval {
        desired: &nothing(cluster.name()),
        plan: &plan,
        who: &who(),
        destructive: true,
        destroy: true,
        operation: None,
    };
    let ways = Ways {
        detach: args.detach,
        json,
        global,
    };
    match start(&cluster, approval, "", &ways).await? {
        Ended::Over(exit) => Ok(exit),
        Ended::Waiting(paused) => say_waiting(&cluster, &paused, "vtplan destroy", json).await,
    }
}

/// Asks for the cluster's name, which nobody types by habit.
fn confirmed(cluster: &Cluster) -> Result<bool, CliError> {
    let name = cluster.name();
    if !can_ask() {
        return Err(CliError::new(
            "needs-approval",
            format!(
                "destroying cluster {name} needs an approval, and there is no terminal to ask on"
            ),
        )
        .help("give `--auto-approve` to delete everything"));
    }
    let question = format!(
        "\n{}\nType the cluster's name, `{name}`, to delete it: ",
        "All data of the cluster is deleted.".red().bold()
    );
    Ok(ask(&question).as_deref() == Some(name))
}

/// The desired state of a cluster without anything.
fn nothing(cluster: &str) -> Desired {
    Desired {
        cluster: cluster.to_owned(),
        cells: Vec::new(),
        keyspaces: BTreeMap::new(),
        changes: ChangePolicy::default(),
        drift: Default::default(),
        backups: None,
        policy: Default::default(),
        gates: BTreeMap::new(),
        users: BTreeMap::new(),
    }
}
