//! The commands, a file each: its arguments and what it does.

pub mod agent;
pub mod apply;
pub mod backup;
pub mod completions;
pub mod convert;
pub mod destroy;
pub mod down;
pub mod drift;
pub mod export;
pub mod fmt;
pub mod gate;
pub mod history;
pub mod import;
pub mod lint;
pub mod lock;
pub mod plan;
pub mod schema;
pub mod show;
pub mod state;
pub mod status;
pub mod up;
pub mod validate;
pub mod workflow;
pub mod workload;

use std::future::Future;

use crate::args::{Cli, Command};
use crate::error::{CliError, Exit};
use crate::logging;

/// What a command ends with.
pub type Outcome = Result<Exit, CliError>;

pub fn dispatch(cli: Cli) -> Outcome {
    let global = cli.global;
    // Processes that stay log what they do; they say so themselves.
    if !matches!(cli.command, Command::Agent(_) | Command::Gate(_)) {
        logging::start_quiet(&global);
    }
    match cli.command {
        Command::Up(args) => block_on(up::run(args, &global)),
        Command::Down(args) => block_on(down::run(args, &global)),
        Command::Agent(args) => block_on(agent::run(args, &global)),
        Command::Gate(args) => block_on(gate::run(args, &global)),
        Command::Validate(args) => validate::run(args, &global),
        Command::Lint(args) => lint::run(args, &global),
        Command::Fmt(args) => fmt::run(args, &global),
        Command::Convert(args) => convert::run(args, &global),
        Command::Schema(args) => schema::run(args, &global),
        Command::Plan(args) => block_on(plan::run(args, &global)),
        Command::Export(args) => block_on(export::run(args, &global)),
        Command::Apply(args) => block_on(apply::run(args, &global)),
        Command::Show(args) => block_on(show::run(args, &global)),
        Command::History(args) => block_on(history::run(args, &global)),
        Command::Status(args) => block_on(status::run(args, &global)),
        Command::Drift(args) => block_on(drift::run(args, &global)),
        Command::Destroy(args) => block_on(destroy::run(args, &global)),
        Command::Workflow(args) => block_on(workflow::run(args, &global)),
        Command::Workload(args) => block_on(workload::run(args, &global)),
        Command::Import(args) => block_on(import::run(args, &global)),
        Command::Backup(args) => block_on(backup::run(args, &global)),
        Command::State(args) => block_on(state::run(args, &global)),
        Command::Lock(args) => block_on(lock::run(args, &global)),
        Command::Completions(args) => completions::run(args, &global),
    }
}

/// Runs an async command on a runtime of its own. What still runs in the background when it is
/// done (a prompt's blocked read) does not hold the process.
fn block_on(command: impl Future<Output = Outcome>) -> Outcome {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .map_err(|e| CliError::new("runtime", "cannot start the async runtime").because(&e))?;
    let outcome = runtime.block_on(command);
    runtime.shutdown_background();
    outcome
}
