//! `vtplan validate`: checks specs.

use std::path::PathBuf;

use clap::Args;
use owo_colors::OwoColorize as _;
use serde::Serialize;
use vtplan_planner::desired::Desired;
use vtplan_planner::spec::{Diagnostic, NoSecrets};

use super::Outcome;
use crate::args::{Format, Global};
use crate::error::Exit;
use crate::output::out;
use crate::planning::load_spec;
use crate::render::table::count;

const EXAMPLES: &str = "\
Examples:
  vtplan validate shop.yaml
  vtplan validate specs/ --format json

Nothing is asked of the cluster, and no password is needed. Exit codes: 0 the spec is valid, 1 it
is not.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ValidateArgs {
    /// Spec files, or folders of them; together they are one spec
    #[arg(value_name = "SPEC", required = true)]
    pub specs: Vec<PathBuf>,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

/// What `--format json` prints for a valid spec; one that is not is an error with its `problems`.
#[derive(Serialize)]
struct Report<'a> {
    format: u32,
    valid: bool,
    cluster: &'a str,
    digest: &'a str,
    files: Vec<String>,
    warnings: &'a [Diagnostic],
}

pub fn run(args: ValidateArgs, global: &Global) -> Outcome {
    let loaded = load_spec(global, &args.specs, &NoSecrets)?;
    match args.format {
        Format::Json => {
            let report = Report {
                format: 1,
                valid: true,
                cluster: &loaded.desired.cluster,
                digest: &loaded.digest,
                files: loaded
                    .files
                    .iter()
                    .map(|f| f.display().to_string())
                    .collect(),
                warnings: &loaded.warnings,
            };
            let text = serde_json::to_string_pretty(&report).expect("a report serializes");
            out(&format!("{text}\n"));
        }
        Format::Text => {
            let warnings = match loaded.warnings.len() {
                0 => String::new(),
                n => format!(", {}", count(n, "warning")),
            };
            out(&format!(
                "{} {}{warnings}\n",
                "ok".green().bold(),
                summary(&loaded.desired)
            ));
            if !global.quiet {
                for file in &loaded.files {
                    out(&format!("   {}\n", file.display()));
                }
            }
        }
    }
    Ok(Exit::Done)
}

/// `cluster shop: 1 cell, 2 keyspaces, 3 shards, 9 tablets, 4 tables, 1 gate, 1 user`
fn summary(desired: &Desired) -> String {
    let keyspaces = desired.keyspaces.values();
    let shards: usize = keyspaces.clone().map(|k| k.shards.len()).sum();
    let tables: usize = keyspaces.clone().map(|k| k.tables.len()).sum();
    let tablets: u64 = keyspaces
        .map(|k| {
            let all = k.shards.len() as u64;
            let of = |t: &vtplan_planner::desired::DesiredTablets| match &t.pin {
                Some(pin) if pin.shard.is_some() => 1,
                _ => u64::from(t.count) * all,
            };
            k.tablets.iter().map(of).sum::<u64>()
        })
        .sum();
    let gates: u32 = desired.gates.values().map(|g| g.count).sum();
    let parts = [
        count(desired.cells.len(), "cell"),
        count(desired.keyspaces.len(), "keyspace"),
        count(shards, "shard"),
        count(usize::try_from(tablets).unwrap_or(usize::MAX), "tablet"),
        count(tables, "table"),
        count(gates as usize, "gate"),
        count(desired.users.len(), "user"),
    ];
    format!("cluster {}: {}", desired.cluster, parts.join(", "))
}
