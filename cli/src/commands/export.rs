//! `vtplan export`: the live state as a file, for planning where there is no cluster.

use std::path::PathBuf;

use clap::Args;
use vtplan_agent::observe;
use vtplan_planner::desired::Desired;
use vtplan_planner::export::Export;

use super::Outcome;
use crate::args::Global;
use crate::context;
use crate::error::{CliError, Exit};
use crate::files;
use crate::output::{err, stream};
use crate::planning;
use crate::render::table::count;

const EXAMPLES: &str = "\
Examples:
  vtplan export --live --out live.json          From cron, where the cluster can be reached
  vtplan plan specs/ --against live.json        In CI, where it cannot

It holds no passwords nor verifiers, and no rows: records, what agents see of the servers, and
definitions of tables. It names hosts, ports and tables.";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ExportArgs {
    /// Export the live state: the records and what the agents see
    #[arg(long, required = true)]
    pub live: bool,
    /// Write it to a file rather than to stdout
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
}

pub async fn run(args: ExportArgs, global: &Global) -> Outcome {
    let cluster = context::cluster(global).await?;
    let records = observe::gather_records_only(&cluster)
        .await
        .map_err(|observe::ObserveError::Store(e)| context::store_error(&e))?;
    // Servers are asked about the statements of the applied spec: those that a later one keeps can
    // then be compared exactly.
    let spec = records.records.spec.as_ref();
    let applied: Option<Desired> = spec
        .map(|spec| serde_json::from_value(spec.desired.clone()))
        .transpose()
        .map_err(|e| {
            CliError::new(
                "bad-record",
                "the record of the applied spec cannot be read",
            )
            .because(&e)
            .help("apply a spec with this version of vtplan")
        })?;
    let gathered = planning::gather(global, &cluster, applied.as_ref()).await?;
    let unseen = gathered.unseen.iter().map(|u| u.host.clone()).collect();
    let export = Export::new(cluster.name(), gathered.live, unseen);
    let Some(path) = &args.out else {
        stream(|writer| export.write(writer));
        return Ok(Exit::Done);
    };
    files::replace(path, 0o644, "export", |writer| export.write(writer))?;
    if !global.quiet {
        err(&format!(
            "Exported cluster {} at revision {}, {}, to `{}`.\n",
            cluster.name(),
            export.revision,
            count(export.live.records.tablets.len(), "tablet"),
            path.display()
        ));
    }
    Ok(Exit::Done)
}
