//! `vtplan completions`: a shell's completion script.

use clap::{Args, CommandFactory as _};
use clap_complete::Shell;

use super::Outcome;
use crate::args::{Cli, Global};
use crate::error::Exit;
use crate::output::out;

const EXAMPLES: &str = "\
Examples:
  vtplan completions bash > ~/.local/share/bash-completion/completions/vtplan
  vtplan completions zsh > \"${fpath[1]}/_vtplan\"
  vtplan completions fish > ~/.config/fish/completions/vtplan.fish";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct CompletionsArgs {
    #[arg(value_enum, value_name = "SHELL")]
    shell: Shell,
}

pub fn run(args: CompletionsArgs, _global: &Global) -> Outcome {
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut Cli::command(), "vtplan", &mut script);
    out(&String::from_utf8_lossy(&script));
    Ok(Exit::Done)
}
