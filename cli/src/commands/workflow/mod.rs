//! `vtplan workflow`: data on its way, by hand.
//!
//! `list` and `show` look ([`look`]); [`vdiff`] compares; [`pause`] stops streams and lets them go on;
//! [`operate`] has what becomes a plan: switch, reverse, complete, cancel.

mod look;
mod operate;
mod pause;
mod vdiff;

use clap::{Args, Subcommand};
use vtplan_planner::plan::Operation;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::WorkflowRecord;

use super::Outcome;
use crate::args::{Format, Global};
use crate::context;
use crate::error::CliError;
use crate::workflows;

const EXAMPLES: &str = "\
Examples:
  vtplan workflow list
  vtplan workflow show customer.commerce2customer
  vtplan workflow vdiff commerce2customer        The name alone will do where only one has it
  vtplan workflow reverse commerce2customer      Traffic back to where the data came from

Applying a spec starts workflows and sees them through. These commands are for looking, and for the
bad night: the next `vtplan apply` goes on from what they did.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct WorkflowArgs {
    #[command(subcommand)]
    command: WorkflowCommand,
}

#[derive(Subcommand, Debug)]
enum WorkflowCommand {
    /// List workflows, how far they are and where traffic goes
    #[command(
        after_help = "Examples:\n  vtplan workflow list\n  vtplan workflow list --format json"
    )]
    List {
        /// How to print the result
        #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
        format: Format,
    },
    /// Show a workflow: its streams, routing rules, comparison, and what it waits for
    #[command(after_help = look::EXAMPLES)]
    Show(look::ShowArgs),
    /// Compare all rows of both sides
    #[command(after_help = vdiff::EXAMPLES)]
    Vdiff(vdiff::VdiffArgs),
    /// Make a workflow's streams stand still; positions are kept
    #[command(
        after_help = "Examples:\n  vtplan workflow pause customer.commerce2customer\n  vtplan workflow resume customer.commerce2customer"
    )]
    Pause(pause::PauseArgs),
    /// Let a workflow's streams go on, also those that stopped with an error
    #[command(after_help = "Examples:\n  vtplan workflow resume customer.commerce2customer")]
    Resume(pause::PauseArgs),
    /// Switch traffic to the target: reads, then writes
    #[command(after_help = operate::SWITCH_EXAMPLES)]
    Switch(operate::SwitchArgs),
    /// Switch all traffic back to the source; no write is lost
    #[command(after_help = operate::REVERSE_EXAMPLES)]
    Reverse(operate::OperateArgs),
    /// End a workflow whose traffic is switched: the source's tables are dropped
    #[command(after_help = operate::COMPLETE_EXAMPLES)]
    Complete(operate::OperateArgs),
    /// End a workflow whose traffic is at the source: the target's copies are dropped
    #[command(after_help = operate::CANCEL_EXAMPLES)]
    Cancel(operate::OperateArgs),
}

impl WorkflowArgs {
    pub fn wants_json(&self) -> bool {
        let format = match &self.command {
            WorkflowCommand::List { format } => *format,
            WorkflowCommand::Show(args) => args.format,
            WorkflowCommand::Vdiff(args) => args.format,
            WorkflowCommand::Pause(args) | WorkflowCommand::Resume(args) => args.format,
            WorkflowCommand::Switch(args) => args.how.format,
            WorkflowCommand::Reverse(args)
            | WorkflowCommand::Complete(args)
            | WorkflowCommand::Cancel(args) => args.how.format,
        };
        format == Format::Json
    }
}

pub async fn run(args: WorkflowArgs, global: &Global) -> Outcome {
    let cluster = context::cluster(global).await?;
    match args.command {
        WorkflowCommand::List { format } => look::list(&cluster, format).await,
        WorkflowCommand::Show(args) => look::show(&cluster, &args).await,
        WorkflowCommand::Vdiff(args) => vdiff::run(&cluster, &args, global).await,
        WorkflowCommand::Pause(args) => pause::pause(&cluster, &args).await,
        WorkflowCommand::Resume(args) => pause::resume(&cluster, &args).await,
        WorkflowCommand::Switch(args) => {
            let operation = if args.reads_only {
                Operation::SwitchReads
            } else {
                Operation::Switch
            };
            operate::run(&cluster, operation, &args.workflow, &args.how, global).await
        }
        WorkflowCommand::Reverse(args) => {
            operate::run(
                &cluster,
                Operation::Reverse,
                &args.workflow,
                &args.how,
                global,
            )
            .await
        }
        WorkflowCommand::Complete(args) => {
            operate::run(
                &cluster,
                Operation::Complete,
                &args.workflow,
                &args.how,
                global,
            )
            .await
        }
        WorkflowCommand::Cancel(args) => {
            operate::run(
                &cluster,
                Operation::Cancel,
                &args.workflow,
                &args.how,
                global,
            )
            .await
        }
    }
}

/// The workflow that is named.
async fn named(cluster: &Cluster, name: &str) -> Result<WorkflowRecord, CliError> {
    let records = cluster.load_records().await;
    let records = records.map_err(|e| context::store_error(&e))?;
    workflows::find(name, &records, cluster.name()).cloned()
}
