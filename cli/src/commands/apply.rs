//! `vtplan apply`: makes a cluster what a spec says.

use std::path::PathBuf;

use clap::Args;

use super::Outcome;
use crate::args::{Format, Global};
use crate::error::CliError;

const EXAMPLES: &str = "\
Examples:
  vtplan apply shop.yaml
  vtplan apply shop.plan                    A plan that was saved with `plan --out`
  vtplan apply shop.yaml --auto-approve     Without asking (CI); nothing destructive is done
  vtplan apply --attach                     Watch the plan that runs

Ctrl-C asks whether to detach, to stop after the running steps, or to go on.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ApplyArgs {
    /// Spec files or folders (together one spec), or one plan file
    #[arg(value_name = "SPEC|PLANFILE", required_unless_present = "attach")]
    pub inputs: Vec<PathBuf>,
    /// Do not ask; destructive steps still need --approve-destructive
    #[arg(long)]
    pub auto_approve: bool,
    /// Approve the destructive steps too
    #[arg(long)]
    pub approve_destructive: bool,
    /// Start it and return; the agents carry it out
    #[arg(long, conflicts_with = "attach")]
    pub detach: bool,
    /// Watch the plan that runs
    #[arg(long)]
    pub attach: bool,
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn run(_args: ApplyArgs, _global: &Global) -> Outcome {
    Err(CliError::new("unfinished", "`apply` is not there yet"))
}
