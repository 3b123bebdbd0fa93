//! `vtplan`: the command line.
//!
//! - `args`: what every command takes; each command's own arguments are in its file.
//! - [`commands`]: one file a command.
//! - [`render`]: plans and clusters as text, Markdown, Graphviz and JSON.
//! - [`context`]: opens the store and finds the cluster.
//! - [`error`]: what a failed command says, and exit codes.
//! - [`waits`]: approvals, soaks and windows that a plan waits for. [`workflows`]: workflows by name.
//! - [`workload`]: statements that run, and what a plan does to them.

mod against;
mod args;
mod commands;
mod context;
mod error;
mod files;
mod limits;
mod local;
mod logging;
mod output;
mod picture;
mod plan_file;
mod planning;
mod progress;
mod render;
mod waits;
mod workflows;
mod workload;

use std::process::ExitCode;

use clap::Parser;

use args::Cli;
use error::Exit;

fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage_error(&error),
    };
    limits::raise_open_files();
    output::set_color(&cli.global);
    let json = cli.command.wants_json();
    match commands::dispatch(cli) {
        Ok(exit) => exit.into(),
        Err(error) => {
            error.report(json);
            error.exit().into()
        }
    }
}

/// Help and version go to stdout with 0. A usage error is 1, not clap's 2, which is `plan
/// --detailed-exitcode`'s and `drift`'s word for "there are changes".
fn usage_error(error: &clap::Error) -> ExitCode {
    // Nothing more can be said if this cannot be printed.
    let _ = error.print();
    if error.use_stderr() {
        Exit::Failed.into()
    } else {
        Exit::Done.into()
    }
}
