//! `vtplan plan`: what a spec would change.

use std::path::PathBuf;

use clap::{Args, ValueEnum};
use vtplan_gate::plan::Target;
use vtplan_planner::document::{Against, Document};
use vtplan_planner::plan::Plan;
use vtplan_planner::spec::ProcessSecrets;
use vtplan_planner::workload::{Change, Report};

use super::Outcome;
use crate::against;
use crate::args::{Global, PlanFormat};
use crate::error::{CliError, Exit};
use crate::output::{err, out, stream};
use crate::plan_file::PlanFile;
use crate::planning;
use crate::render;
use crate::render::markdown::Heading;
use crate::render::table::count;
use crate::workload::{judge, read};

const EXAMPLES: &str = "\
Examples:
  vtplan plan shop.yaml
  vtplan plan shop.yaml --out shop.plan && vtplan apply shop.plan
  vtplan plan specs/ --format markdown         For a comment on a pull request
  vtplan plan shop.yaml --format json          As `vtplan schema plan` describes it
  vtplan plan specs/ --against live.json       With an export, without access to the cluster
  vtplan plan specs/ --against ../main/specs/  With another spec
  vtplan plan specs/ --workload queries.log    Also what it does to the queries of a log
  vtplan plan shop.yaml --detailed-exitcode    Exit with 2 if there are changes";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct PlanArgs {
    /// Spec files, or folders of them; together they are one spec
    #[arg(value_name = "SPEC", required = true)]
    pub specs: Vec<PathBuf>,
    /// Compare with another spec, or with an export of the live state, rather than with the
    /// cluster; nothing is asked of store and agents
    #[arg(long, value_name = "SPEC|EXPORT", conflicts_with = "out")]
    pub against: Vec<PathBuf>,
    /// Save the plan, for `vtplan apply FILE`
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: PlanFormat,
    /// With Markdown: a name in the marker, to tell the comments of several plans apart
    #[arg(long, value_name = "NAME", value_parser = marker)]
    pub marker: Option<String>,
    /// Tell what the plan does to the statements of a query log, or of what `vtplan workload export`
    /// wrote: where each kind goes before and after, and how often it ran. `-` reads stdin
    #[arg(long, value_name = "FILE")]
    pub workload: Option<PathBuf>,
    /// The keyspace of statements in a log that no `USE` comes before
    #[arg(long, value_name = "KEYSPACE", requires = "workload")]
    pub workload_keyspace: Option<Target>,
    /// Exit with 1 when the plan makes statements of the workload worse: `refused`, those that it has
    /// refused; `worse`, also those for which more servers are asked; `more-shards`, also those that go
    /// to all shards, of which there are more
    #[arg(long, value_enum, value_name = "WHAT", requires = "workload")]
    pub workload_fail_on: Option<FailOn>,
    /// Exit with 2 if there are changes, with 0 if there are none
    #[arg(long)]
    pub detailed_exitcode: bool,
}

/// What of a workload makes `plan` fail.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum FailOn {
    // Statements that are refused, which they were not.
    Refused,
    // Also those for which more servers are asked.
    Worse,
    // Also those that go to all shards, when these become more.
    MoreShards,
}

impl FailOn {
    fn includes(self, change: Change) -> bool {
        let worst = match self {
            Self::Refused => Change::Refused,
            Self::Worse => Change::Worse,
            Self::MoreShards => Change::MoreShards,
        };
        change <= worst
    }
}

/// What is said around a plan.
#[derive(Debug)]
pub struct How {
    pub marker: Option<String>,
    pub against: Against,
    pub workload: Option<Report>,
}

impl Default for How {
    fn default() -> Self {
        Self {
            marker: None,
            against: Against::Live,
            workload: None,
        }
    }
}

/// A name that can stand in an HTML comment.
pub fn marker(name: &str) -> Result<String, String> {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.' | '/');
    if name.is_empty() || name.len() > 100 || !name.chars().all(fits) || name.contains("--") {
        return Err(
            "it is made of letters, digits, `.`, `/`, `_` and single `-`, at most 100".to_owned(),
        );
    }
    Ok(name.to_owned())
}

pub async fn run(args: PlanArgs, global: &Global) -> Outcome {
    let (plan, how) = match make(&args, global).await {
        Ok(made) => made,
        Err(error) => {
            // What there is no plan for is to be reviewed too.
            if args.format == PlanFormat::Markdown {
                out(&error.markdown(args.marker.as_deref()));
            }
            return Err(error);
        }
    };
    print(&plan, args.format, &how, global);
    if let Some(path) = &args.out
        && args.format == PlanFormat::Text
        && !global.quiet
    {
        err(&format!(
            "\nSaved to `{0}`; apply it with `vtplan apply {0}`.\n",
            path.display()
        ));
    }
    if let (Some(fail_on), Some(report)) = (args.workload_fail_on, &how.workload) {
        let bad = report.bad().iter().filter(|k| fail_on.includes(k.change));
        let bad = bad.count();
        if bad > 0 {
            // Stdout has the plan already, whatever its format.
            err(&gets_worse(bad).text());
            return Ok(Exit::Failed);
        }
    }
    Ok(if args.detailed_exitcode && !plan.is_empty() {
        Exit::Changes
    } else {
        Exit::Done
    })
}

fn gets_worse(kinds: usize) -> CliError {
    let kinds = count(kinds, "kind");
    CliError::new(
        "workload-worse",
        format!("the plan makes {kinds} of the workload's statements worse"),
    )
    .help("see above which; without `--workload-fail-on` they are only told")
}

/// Makes the plan, and saves it where that is asked for.
async fn make(args: &PlanArgs, global: &Global) -> Result<(Plan, How), CliError> {
    let marker = args.marker.clone();
    // What is wrong with it is told before hosts are asked.
    let target = args.workload_keyspace.clone().unwrap_or_default();
    let path = args.workload.as_deref();
    let workload = path.map(|path| read::read(path, &target)).transpose()?;
    if !args.against.is_empty() {
        let loaded = planning::load_spec(global, &args.specs, &ProcessSecrets)?;
        let compared = against::plan(global, &loaded.desired, &args.against)?;
        let workload = workload.map(|w| judge::report(w, &compared.live, &compared.plan));
        let how = How {
            marker,
            against: compared.against,
            workload,
        };
        return Ok((compared.plan, how));
    }
    // Without a password the plan is the same but for the user it belongs to, and says so.
    let planned = planning::plan_spec(global, &args.specs, &ProcessSecrets).await?;
    if let Some(path) = &args.out {
        PlanFile::new(planned.plan.clone(), planned.desired).write(path)?;
    }
    let workload = workload.map(|w| judge::report(w, &planned.live, &planned.plan));
    let how = How {
        marker,
        against: Against::Live,
        workload,
    };
    Ok((planned.plan, how))
}

/// Prints a plan as it was asked for.
pub fn print(plan: &Plan, format: PlanFormat, how: &How, global: &Global) {
    match format {
        PlanFormat::Text => {
            let options = render::text::Options {
                reasons: global.verbose > 0,
                compared_with: render::compared_with(&how.against),
            };
            let report = how.workload.as_ref();
            let worse = report.map(|r| render::workload::worse(r, global.verbose > 0));
            let summary = report.map(render::workload::summary);
            let apart = if plan.is_empty() && report.is_some() {
                "\n"
            } else {
                ""
            };
            out(&format!(
                "{}{}{apart}{}",
                worse.unwrap_or_default(),
                render::text::plan(plan, &options),
                summary.unwrap_or_default()
            ));
        }
        PlanFormat::Json => {
            let document = Document {
                plan,
                against: how.against.clone(),
                workload: how.workload.as_ref(),
            };
            stream(|writer| render::json::write(&document, writer));
        }
        PlanFormat::Markdown => {
            let heading = Heading {
                marker: how.marker.as_deref(),
                against: &how.against,
                workload: how.workload.as_ref(),
            };
            out(&render::markdown::plan(plan, &heading));
        }
        PlanFormat::Dot => out(&render::dot::plan(plan)),
    }
}
