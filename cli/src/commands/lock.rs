//! `vtplan lock`: the apply lock, which whoever executes the active plan holds.

use clap::{Args, Subcommand};

use super::Outcome;
use crate::args::{Format, Global};
use crate::error::CliError;

#[derive(Args, Debug)]
pub struct LockArgs {
    #[command(subcommand)]
    command: LockCommand,
}

#[derive(Subcommand, Debug)]
enum LockCommand {
    /// Show who holds the apply lock, since when
    #[command(after_help = "Examples:\n  vtplan lock show\n  vtplan lock show --format json")]
    Show {
        #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
        format: Format,
    },
    /// Take the apply lock away from its holder, who can then write nothing more
    #[command(after_help = "Examples:\n  vtplan lock release\n  vtplan lock release --yes")]
    Release {
        /// Do not ask
        #[arg(long)]
        yes: bool,
        #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
        format: Format,
    },
}

impl LockArgs {
    pub fn wants_json(&self) -> bool {
        let (LockCommand::Show { format } | LockCommand::Release { format, .. }) = &self.command;
        *format == Format::Json
    }
}

pub async fn run(_args: LockArgs, _global: &Global) -> Outcome {
    Err(CliError::new("unfinished", "`lock` is not there yet"))
}
