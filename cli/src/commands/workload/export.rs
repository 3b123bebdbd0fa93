//! `vtplan workload export`: what the gates counted, as one document.

use std::path::PathBuf;

use clap::Args;
use futures::future::join_all;
use owo_colors::OwoColorize as _;
use vtplan_agent::observe;
use vtplan_gate::http::workload::Page;
use vtplan_state::model::CellName;

use crate::args::Global;
use crate::commands::Outcome;
use crate::context;
use crate::error::{CliError, Exit};
use crate::files;
use crate::output::{err, stream};
use crate::render::table::{count, number};
use crate::workload::digest::Digest;
use crate::workload::fetch;

const EXAMPLES: &str = "\
Examples:
  vtplan workload export --out workload.json
  vtplan workload export --cell zone1
  vtplan workload export --gate 10.0.0.5:15001     Of one gate, without the store

For each kind of statement: how often it ran, errors, times, rows, shards asked, since the gates
were started. It holds no values of statements, but names of tables and columns. Each gate counts
the 5,000 kinds that run most. `vtplan schema workload` describes the document.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    /// Only of the gates of this cell
    #[arg(long, value_name = "CELL")]
    pub cell: Option<CellName>,
    /// Only of these gates, by the address of their HTTP port
    #[arg(long, value_name = "HOST:PORT", conflicts_with = "cell")]
    pub gate: Vec<String>,
    /// Write it to a file rather than to stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

pub async fn run(args: ExportArgs, global: &Global) -> Outcome {
    let urls = urls(&args, global).await?;
    let answers = join_all(urls.iter().map(|(_, url)| fetch::page(url))).await;
    let mut pages: Vec<Page> = Vec::new();
    let mut unseen = Vec::new();
    let mut failures = Vec::new();
    for ((name, _), answer) in urls.iter().zip(answers) {
        match answer {
            Ok(page) => pages.push(page),
            Err(why) => {
                unseen.push(name.clone());
                failures.push(format!("gate {name}: {why}"));
            }
        }
    }
    if pages.is_empty() {
        let mut error = CliError::new("no-gate-answers", "no gate tells what it counted");
        for failure in failures {
            error = error.cause(failure);
        }
        return Err(error.help(
            "`vtplan status` says which gates run; one is asked directly with `--gate HOST:PORT`, the \
             address of its HTTP port",
        ));
    }
    if !global.quiet {
        for failure in &failures {
            let warning = "warning:".yellow().bold().to_string();
            err(&format!(
                "{warning} what it counted is missing: {failure}\n"
            ));
        }
    }
    let digest = Digest::merge(pages, unseen).map_err(|clusters| {
        CliError::new(
            "other-cluster",
            format!(
                "the gates are of several clusters: {}",
                context::ticked(&clusters)
            ),
        )
        .help("ask those of one cluster")
    })?;
    let Some(path) = &args.out else {
        stream(|writer| digest.write(writer));
        return Ok(Exit::Done);
    };
    files::replace(path, 0o644, "workload", |writer| digest.write(writer))?;
    if !global.quiet {
        let statements: u64 = digest.kinds.iter().map(|k| k.count).sum();
        err(&format!(
            "Wrote {} ({} statements) of {} of cluster {} to `{}`.\n",
            count(digest.kinds.len(), "kind"),
            number(statements),
            count(digest.gates.len(), "gate"),
            digest.cluster,
            path.display()
        ));
    }
    Ok(Exit::Done)
}

/// The gates to ask: what they are called, and where.
async fn urls(args: &ExportArgs, global: &Global) -> Result<Vec<(String, String)>, CliError> {
    if !args.gate.is_empty() {
        let urls = args.gate.iter();
        let urls = urls.map(|address| {
            let host = address.trim_start_matches("http://").trim_end_matches('/');
            (address.clone(), format!("http://{host}"))
        });
        return Ok(urls.collect());
    }
    let cluster = context::cluster(global).await?;
    let live = observe::gather_records_only(&cluster)
        .await
        .map_err(|observe::ObserveError::Store(e)| context::store_error(&e))?;
    let gates = live.records.gates.values();
    let gates = gates.filter(|gate| args.cell.as_ref().is_none_or(|cell| gate.cell == *cell));
    let urls: Vec<_> = gates
        .map(|g| (g.name.to_string(), g.http_url.clone()))
        .collect();
    if urls.is_empty() {
        let of = match &args.cell {
            Some(cell) => format!("cell {cell} of cluster {}", cluster.name()),
            None => format!("cluster {}", cluster.name()),
        };
        return Err(CliError::new("no-gate", format!("no gate of {of} runs"))
            .help("gates are started by `vtplan up` or `vtplan gate`"));
    }
    Ok(urls)
}
