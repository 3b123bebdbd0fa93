//! `vtplan plan`: what a spec would change.

use std::path::PathBuf;

use clap::Args;

use super::Outcome;
use crate::args::{Global, PlanFormat};
use crate::error::CliError;

const EXAMPLES: &str = "\
Examples:
  vtplan plan shop.yaml
  vtplan plan shop.yaml --out shop.plan && vtplan apply shop.plan
  vtplan plan specs/ --format markdown         For a comment on a pull request
  vtplan plan shop.yaml --detailed-exitcode    Exit with 2 if there are changes";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct PlanArgs {
    /// Spec files, or folders of them; together they are one spec
    #[arg(value_name = "SPEC", required = true)]
    pub specs: Vec<PathBuf>,
    /// Save the plan, for `vtplan apply FILE`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: PlanFormat,
    /// Exit with 2 if there are changes, with 0 if there are none
    #[arg(long)]
    pub detailed_exitcode: bool,
}

pub async fn run(_args: PlanArgs, _global: &Global) -> Outcome {
    Err(CliError::new("unfinished", "`plan` is not there yet"))
}
