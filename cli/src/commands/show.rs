//! `vtplan show`: the cluster, a part of it, or a plan.

use clap::Args;

use super::Outcome;
use crate::args::{Global, PlanFormat};
use crate::error::CliError;

const EXAMPLES: &str = "\
Examples:
  vtplan show                          The cluster
  vtplan show commerce                 A keyspace, its VSchema too
  vtplan show customer/-80             A shard
  vtplan show zone1-0000000100         A tablet
  vtplan show plan                     The plan that runs, or the last one
  vtplan show shop.plan                A saved plan
  vtplan show spec --format json       The spec that was applied last";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ShowArgs {
    /// A keyspace, `KEYSPACE/SHARD`, a tablet, host, gate or cell, `spec`, `routing`, `users`,
    /// `plan`, a plan's id, or a plan file
    #[arg(value_name = "OBJECT")]
    pub object: Option<String>,
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: PlanFormat,
}

pub async fn run(_args: ShowArgs, _global: &Global) -> Outcome {
    Err(CliError::new("unfinished", "`show` is not there yet"))
}
