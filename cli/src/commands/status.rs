//! `vtplan status`: what runs and how it is.

use clap::Args;

use super::Outcome;
use crate::args::{Format, Global};
use crate::error::CliError;

const EXAMPLES: &str = "\
Examples:
  vtplan status
  vtplan status --watch
  vtplan status --format json";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct StatusArgs {
    /// Show it anew every second until Ctrl-C
    #[arg(long, short)]
    pub watch: bool,
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn run(_args: StatusArgs, _global: &Global) -> Outcome {
    Err(CliError::new("unfinished", "`status` is not there yet"))
}
