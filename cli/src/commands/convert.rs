//! `vtplan convert`: YAML to KDL and back.

use std::path::PathBuf;

use clap::{Args, ValueEnum};

use super::Outcome;
use crate::args::Global;
use crate::error::CliError;

const EXAMPLES: &str = "\
Examples:
  vtplan convert shop.yaml --to kdl
  vtplan convert shop.kdl --to yaml --out shop.yaml";

#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq)]
pub enum Syntax {
    Yaml,
    Kdl,
}

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ConvertArgs {
    /// Spec file
    #[arg(value_name = "SPEC")]
    pub spec: PathBuf,
    /// What to turn it into
    #[arg(long, value_enum, value_name = "SYNTAX")]
    pub to: Syntax,
    /// Write to this file, not to stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

pub fn run(_args: ConvertArgs, _global: &Global) -> Outcome {
    Err(CliError::new("unfinished", "`convert` is not there yet"))
}
