//! `vtplan convert`: YAML to KDL and back.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use owo_colors::OwoColorize as _;
use vtplan_planner::spec::{self, Language};

use super::Outcome;
use super::fmt::{read, replace};
use crate::args::Global;
use crate::error::{CliError, Exit};
use crate::output::{err, out};
use crate::planning::invalid_spec;
use crate::render::table::count;

const EXAMPLES: &str = "\
Examples:
  vtplan convert shop.yaml --to kdl
  vtplan convert shop.kdl --to yaml --out shop.yaml

What the spec says stays the same, to the last value. Its comments are left out, with a warning.";

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

pub fn run(args: ConvertArgs, global: &Global) -> Outcome {
    let to = match args.to {
        Syntax::Yaml => Language::Yaml,
        Syntax::Kdl => Language::Kdl,
    };
    let Some(from) = Language::of(&args.spec) else {
        let message = format!("`{}` is not a spec", args.spec.display());
        return Err(CliError::new("no-spec", message).help(
            "a spec's file ends in .yaml, .yml or .kdl; give the files of a folder one by one",
        ));
    };
    let text = read(&args.spec)?;
    let converted =
        spec::convert(&args.spec, &text, from, to).map_err(|errors| invalid_spec(&errors))?;
    match &args.out {
        Some(path) => {
            if let Some(written) = Language::of(path)
                && written != to
            {
                let message = format!(
                    "`{}` does not end like the syntax asked for",
                    path.display()
                );
                return Err(
                    CliError::new("usage", message).help("name it .yaml or .kdl to match `--to`")
                );
            }
            replace(path, &converted.text)?;
        }
        None => out(&converted.text),
    }
    if converted.comments_left_out > 0 && !global.quiet {
        err(&format!(
            "{} {} of `{}` left out\n",
            "warning:".yellow().bold(),
            count(converted.comments_left_out, "comment"),
            args.spec.display()
        ));
    }
    Ok(Exit::Done)
}
