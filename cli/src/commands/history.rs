//! `vtplan history`: who changed what.

use clap::Args;

use super::Outcome;
use crate::args::{Format, Global};
use crate::error::CliError;

const EXAMPLES: &str = "\
Examples:
  vtplan history
  vtplan history --limit 5 --format json";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct HistoryArgs {
    /// The newest N entries; 0: all
    #[arg(long, short = 'n', value_name = "N", default_value_t = 20)]
    pub limit: usize,
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn run(_args: HistoryArgs, _global: &Global) -> Outcome {
    Err(CliError::new("unfinished", "`history` is not there yet"))
}
