//! `vtplan destroy`: deletes everything in the cluster.

use clap::Args;

use super::Outcome;
use crate::args::{Format, Global};
use crate::error::CliError;

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
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn run(_args: DestroyArgs, _global: &Global) -> Outcome {
    Err(CliError::new("unfinished", "`destroy` is not there yet"))
}
