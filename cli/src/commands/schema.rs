//! `vtplan schema`: the JSON Schema of specs.

use clap::Args;
use vtplan_planner::spec;

use super::Outcome;
use crate::args::Global;
use crate::error::Exit;
use crate::output::out;

const EXAMPLES: &str = "\
Examples:
  vtplan schema > vtplan.schema.json

With the YAML language server, name it in a spec's first line:
  # yaml-language-server: $schema=vtplan.schema.json";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct SchemaArgs {}

pub fn run(_args: SchemaArgs, _global: &Global) -> Outcome {
    out(&format!("{:#}\n", spec::json_schema()));
    Ok(Exit::Done)
}
