//! `vtplan schema`: the JSON Schemas of what people write and what programs read.

use clap::{Args, ValueEnum};
use vtplan_planner::{document, spec};

use super::Outcome;
use crate::args::Global;
use crate::error::Exit;
use crate::output::out;
use crate::workload::digest;

const EXAMPLES: &str = "\
Examples:
  vtplan schema > vtplan.schema.json
  vtplan schema plan > plan.schema.json      Of what `plan --format json` prints
  vtplan schema workload                     Of what `workload export` prints

With the YAML language server, name it in a spec's first line:
  # yaml-language-server: $schema=vtplan.schema.json";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct SchemaArgs {
    /// What it describes
    #[arg(value_enum, default_value_t, value_name = "OF")]
    pub of: Of,
}

#[derive(ValueEnum, Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Of {
    /// Specs, in YAML
    #[default]
    Spec,
    /// Plans, as `plan --format json` prints them
    Plan,
    /// Workloads, as `workload export` prints them
    Workload,
}

pub fn run(args: SchemaArgs, _global: &Global) -> Outcome {
    let schema = match args.of {
        Of::Spec => spec::json_schema(),
        Of::Plan => document::schema::json_schema(),
        Of::Workload => digest::json_schema(),
    };
    out(&format!("{schema:#}\n"));
    Ok(Exit::Done)
}
