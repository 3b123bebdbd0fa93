//! `vtplan fmt`: formats specs.

use std::path::PathBuf;

use clap::Args;

use super::Outcome;
use crate::args::Global;
use crate::error::CliError;

const EXAMPLES: &str = "\
Examples:
  vtplan fmt shop.yaml
  vtplan fmt --check specs/";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct FmtArgs {
    /// Spec files, or folders of them
    #[arg(value_name = "SPEC", required = true)]
    pub specs: Vec<PathBuf>,
    /// Change nothing; exit with 1 if something would be
    #[arg(long)]
    pub check: bool,
}

pub fn run(_args: FmtArgs, _global: &Global) -> Outcome {
    Err(CliError::new("unfinished", "`fmt` is not there yet"))
}
