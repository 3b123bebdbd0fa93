//! `vtplan workload`: the statements that run, as gates count them. A file for each command.

mod export;

use clap::{Args, Subcommand};

use super::Outcome;
use crate::args::Global;

const EXAMPLES: &str = "\
Examples:
  vtplan workload export --out workload.json
  vtplan plan specs/ --workload workload.json    What a change of the spec does to them";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct WorkloadArgs {
    #[command(subcommand)]
    pub command: WorkloadCommand,
}

#[derive(Subcommand, Debug)]
pub enum WorkloadCommand {
    /// Write what all gates counted to a file or to stdout
    Export(export::ExportArgs),
}

pub async fn run(args: WorkloadArgs, global: &Global) -> Outcome {
    match args.command {
        WorkloadCommand::Export(args) => export::run(args, global).await,
    }
}
