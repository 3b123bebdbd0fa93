//! `vtplan schema`: the JSON Schema of specs.

use clap::Args;

use super::Outcome;
use crate::args::Global;
use crate::error::CliError;

const EXAMPLES: &str = "\
Examples:
  vtplan schema > vtplan.schema.json";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct SchemaArgs {}

pub fn run(_args: SchemaArgs, _global: &Global) -> Outcome {
    Err(CliError::new("unfinished", "`schema` is not there yet"))
}
