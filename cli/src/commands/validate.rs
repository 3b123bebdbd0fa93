//! `vtplan validate`: checks specs.

use std::path::PathBuf;

use clap::Args;

use super::Outcome;
use crate::args::{Format, Global};
use crate::error::CliError;

const EXAMPLES: &str = "\
Examples:
  vtplan validate shop.yaml
  vtplan validate specs/ --format json";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ValidateArgs {
    /// Spec files, or folders of them; together they are one spec
    #[arg(value_name = "SPEC", required = true)]
    pub specs: Vec<PathBuf>,
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub fn run(_args: ValidateArgs, _global: &Global) -> Outcome {
    Err(CliError::new("unfinished", "`validate` is not there yet"))
}
