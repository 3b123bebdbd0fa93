//! `vtplan plan`: what a spec would change.

use std::path::PathBuf;

use clap::Args;
use vtplan_planner::plan::Plan;
use vtplan_planner::spec::ProcessSecrets;

use super::Outcome;
use crate::args::{Global, PlanFormat};
use crate::error::Exit;
use crate::output::{err, out};
use crate::plan_file::PlanFile;
use crate::planning;
use crate::render;

const EXAMPLES: &str = "\
Examples:
  vtplan plan shop.yaml
  vtplan plan shop.yaml --out shop.plan && vtplan apply shop.plan
  vtplan plan specs/ --format markdown         For a comment on a pull request
  vtplan plan shop.yaml --detailed-exitcode    Exit with 2 if there are changes";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct PlanArgs {
    /// Spec files, or folders of them; together they are one spec
    #[arg(value_name = "SPEC", required = true)]
    pub specs: Vec<PathBuf>,
    /// Save the plan, for `vtplan apply FILE`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: PlanFormat,
    /// Exit with 2 if there are changes, with 0 if there are none
    #[arg(long)]
    pub detailed_exitcode: bool,
}

pub async fn run(args: PlanArgs, global: &Global) -> Outcome {
    // Without a password the plan is the same but for the user it belongs to, and says so.
    let planned = planning::plan_spec(global, &args.specs, &ProcessSecrets).await?;
    let plan = &planned.plan;
    if let Some(path) = &args.out {
        PlanFile::new(plan.clone(), planned.desired).write(path)?;
    }
    print(plan, args.format, global);
    if let Some(path) = &args.out
        && args.format == PlanFormat::Text
        && !global.quiet
    {
        err(&format!(
            "\nSaved to `{0}`; apply it with `vtplan apply {0}`.\n",
            path.display()
        ));
    }
    Ok(if args.detailed_exitcode && !plan.is_empty() {
        Exit::Changes
    } else {
        Exit::Done
    })
}

/// Prints a plan as it was asked for.
pub fn print(plan: &Plan, format: PlanFormat, global: &Global) {
    match format {
        PlanFormat::Text => {
            let options = render::text::Options {
                reasons: global.verbose > 0,
            };
            out(&render::text::plan(plan, options));
        }
        PlanFormat::Json => out(&render::json::plan(plan)),
        PlanFormat::Markdown => out(&render::markdown::plan(plan)),
        PlanFormat::Dot => out(&render::dot::plan(plan)),
    }
}
