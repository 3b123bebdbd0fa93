//! `vtplan workflow vdiff`: asks for a full comparison, watches it, prints what it found.

use std::time::{Duration, Instant};

use clap::Args;
use futures::StreamExt as _;
use indicatif::{ProgressBar, ProgressStyle};
use vtplan_agent::submit;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{VDiffRecord, VDiffState, WorkflowRecord};

use super::named;
use crate::args::{Format, Global};
use crate::commands::Outcome;
use crate::context::store_error;
use crate::error::{CliError, Exit};
use crate::output::{err, live_progress, out, who};
use crate::progress::{interrupted, submit_error};
use crate::render::table::number;
use crate::render::{self, when};
use crate::workflows::document::VDiffDocument;
use crate::workflows::look;

pub const EXAMPLES: &str = "\
Examples:
  vtplan workflow vdiff customer.commerce2customer
  vtplan workflow vdiff commerce2customer --last       The report of the last one; one that runs is watched
  vtplan workflow vdiff commerce2customer --every-value
  vtplan workflow vdiff commerce2customer --format json

Servers make checksums of ranges of their rows; where these differ the rows are compared. That a row
differs and goes unnoticed has a probability of about one in two billion; none with --every-value.
Traffic goes on while it compares. Exits with 1 if any row differs. Ctrl-C leaves it running.";

#[derive(Args, Debug)]
pub struct VdiffArgs {
    /// `KEYSPACE.WORKFLOW`, or the name alone
    #[arg(value_name = "WORKFLOW")]
    pub workflow: String,
    /// Begin none: watch the last one, or print its report
    #[arg(long)]
    pub last: bool,
    /// Read and compare every value, also where checksums of both sides are equal: slower, and exact
    #[arg(long, conflicts_with = "last")]
    pub every_value: bool,
    /// Start it and return; the agents carry it out
    #[arg(long, conflicts_with = "last")]
    pub detach: bool,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn run(cluster: &Cluster, args: &VdiffArgs, global: &Global) -> Outcome {
    let workflow = named(cluster, &args.workflow).await?;
    let json = args.format == Format::Json;
    let id = if args.last {
        last(cluster, &workflow).await?
    } else {
        let (keyspace, name) = (&workflow.target.keyspace, &workflow.name);
        submit::request_vdiff(cluster, keyspace, name, args.every_value, &who())
            .await
            .map_err(|e| submit_error(e, cluster.name()))?
    };
    let come_back = format!(
        "`vtplan workflow vdiff {} --last` shows it",
        workflow.full_name()
    );
    if args.detach {
        if json {
            print_json(&document(&read(cluster, &workflow, &id).await?));
        } else {
            out(&format!("VDiff {id} is asked for; {come_back}.\n"));
        }
        return Ok(Exit::Done);
    }
    let mut show = Show::pick(json || global.quiet);
    let watched = tokio::select! {
        // Whoever reads the first line may interrupt it.
        biased;
        () = interrupted() => {
            show.end();
            err(&format!("VDiff {id} goes on; {come_back}.\n"));
            return Ok(Exit::Interrupted);
        }
        watched = watch(cluster, &workflow, &id, &mut show) => watched,
    };
    show.end();
    let record = watched?;
    let report = document(&record);
    if json {
        print_json(&report);
    } else {
        out(&render::vdiff::report(&report, when::now()));
    }
    Ok(if record.passed() {
        Exit::Done
    } else {
        Exit::Failed
    })
}

fn document(record: &VDiffRecord) -> VDiffDocument {
    VDiffDocument::new(record)
}

fn print_json(report: &VDiffDocument) {
    let document = serde_json::json!({ "format": 1, "vdiff": report });
    out(&format!("{document:#}\n"));
}

async fn last(cluster: &Cluster, workflow: &WorkflowRecord) -> Result<String, CliError> {
    let newest = look::newest_vdiff(cluster, workflow).await?;
    newest.map(|v| v.id).ok_or_else(|| {
        let name = workflow.full_name();
        CliError::new("no-vdiff", format!("{name} was not compared yet"))
            .help(format!("`vtplan workflow vdiff {name}` begins it"))
    })
}

async fn read(
    cluster: &Cluster,
    workflow: &WorkflowRecord,
    id: &str,
) -> Result<VDiffRecord, CliError> {
    let key = cluster
        .keys()
        .vdiff(&workflow.target.keyspace, &workflow.name, id);
    let entry = cluster.store().get(&key).await;
    let entry = entry.map_err(|e| store_error(&e))?.ok_or_else(|| {
        CliError::new(
            "no-vdiff",
            format!(
                "the VDiff {id} of {} is gone: the workflow has ended",
                workflow.full_name()
            ),
        )
    })?;
    entry.json().map_err(|e| store_error(&e))
}

/// How often a comparison is looked at though nothing is said of it, at least.
const LOOK: Duration = Duration::from_secs(2);

/// Watches a comparison until it is over.
async fn watch(
    cluster: &Cluster,
    workflow: &WorkflowRecord,
    id: &str,
    show: &mut Show,
) -> Result<VDiffRecord, CliError> {
    let (store, keyspace) = (cluster.store(), &workflow.target.keyspace);
    let prefix = cluster.keys().vdiffs(keyspace, &workflow.name);
    let listing = store.list(&prefix).await.map_err(|e| store_error(&e))?;
    let events = store.watch(&prefix, listing.revision + 1).await;
    let mut events = events.map_err(|e| store_error(&e))?;
    loop {
        let record = read(cluster, workflow, id).await?;
        if matches!(record.state, VDiffState::Done | VDiffState::Failed) {
            return Ok(record);
        }
        show.now(&document(&record));
        if let Ok(Some(event)) = tokio::time::timeout(LOOK, events.next()).await {
            event.map_err(|e| store_error(&e))?;
        }
    }
}

/// Ways to show a comparison that runs.
enum Show {
    Nothing,
    Bar(ProgressBar),
    /// A line when something changes, at most one in a while.
    Lines {
        last: String,
        at: Option<Instant>,
    },
}

impl Show {
    fn pick(nothing: bool) -> Self {
        if nothing {
            Self::Nothing
        } else if live_progress() {
            let style = ProgressStyle::with_template(
                "  [{bar:28}] {pos} of {len} rows  {elapsed}  {wide_msg}",
            );
            let style = style.expect("the template is right").progress_chars("=> ");
            let bar = ProgressBar::new(0).with_style(style);
            bar.enable_steady_tick(Duration::from_millis(200));
            Self::Bar(bar)
        } else {
            Self::Lines {
                last: String::new(),
                at: None,
            }
        }
    }

    fn now(&mut self, report: &VDiffDocument) {
        const PAUSE: Duration = Duration::from_secs(5);
        let message = match report.state {
            VDiffState::Requested if report.message.is_empty() => "no agent has begun it yet",
            _ => report.message.lines().next().unwrap_or_default(),
        };
        match self {
            Self::Nothing => {}
            Self::Bar(bar) => {
                bar.set_length(report.rows_total());
                bar.set_position(report.rows_compared);
                bar.set_message(message.to_owned());
            }
            Self::Lines { last, at } => {
                let mut line = format!(
                    "VDiff {}: {} of {} rows",
                    report.id,
                    number(report.rows_compared),
                    number(report.rows_total())
                );
                if !message.is_empty() {
                    line.push_str(&format!(": {message}"));
                }
                if *last != line && at.is_none_or(|at| at.elapsed() >= PAUSE) {
                    err(&format!("{line}\n"));
                    *last = line;
                    *at = Some(Instant::now());
                }
            }
        }
    }

    fn end(&mut self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}
