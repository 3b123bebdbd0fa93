//! `vtplan down`: stops what `up` started.

use clap::Args;

use super::Outcome;
use crate::args::{Format, Global};
use crate::error::CliError;

const EXAMPLES: &str = "\
Examples:
  vtplan down                Stop the gate, the agent and the MySQL servers; data stays
  vtplan down --purge        Delete the data and the state too";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct DownArgs {
    /// Delete the tablets' data, the state and the logs
    #[arg(long)]
    pub purge: bool,
    /// Do not ask before deleting
    #[arg(long, requires = "purge")]
    pub yes: bool,
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn run(_args: DownArgs, _global: &Global) -> Outcome {
    Err(CliError::new("unfinished", "`down` is not there yet"))
}
