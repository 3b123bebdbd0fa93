//! `vtplan drift`: how a cluster has left its spec. It only reads, takes no lock, and ends in bounded
//! time whatever hosts do. [`timer`]: running it again and again.

mod timer;

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use clap::{Args, ValueEnum};
use vtplan_agent::client::{AgentClients, Timeouts};
use vtplan_agent::look::{self, Looked};
use vtplan_agent::observe::ObserveError;
use vtplan_agent::submit;
use vtplan_planner::desired::Desired;
use vtplan_planner::drift::{self, Finding, Kind, Mender};
use vtplan_planner::spec::{self, ProcessSecrets};
use vtplan_state::cluster::Cluster;
use vtplan_state::model::HistoryRecord;

use super::Outcome;
use crate::args::Global;
use crate::context;
use crate::error::{CliError, Exit};
use crate::files;
use crate::output::out;
use crate::planning;
use crate::progress::submit_error;
use crate::render::drift::{self as render, DRIFT_FORMAT, Report, Told, UnseenHost};
use crate::render::when;

const EXAMPLES: &str = "\
Examples:
  vtplan drift shop.yaml
  vtplan drift specs/ --format json
  vtplan drift specs/ --format prometheus --out /var/lib/node_exporter/vtplan.prom
  vtplan drift specs/ --install-timer --every 15m    A systemd service and timer
  vtplan drift specs/ --crontab                      Or a line for a crontab

It compares the spec, the records and what agents see in the servers, and only reads. What agents
mend by themselves is told as long as it lasts; what `vtplan apply` mends is approved there; the rest
says what to do. `drift: { ignore: [...] }` in the spec passes over what is meant to be.

Exit codes:
  0    no drift
  1    error; or no drift in what was seen, and not everything could be seen
  2    drift";

#[derive(Args, Debug)]
#[command(after_help = EXAMPLES)]
pub struct DriftArgs {
    /// Spec files, or folders of them; together they are one spec
    #[arg(value_name = "SPEC", required = true)]
    pub specs: Vec<PathBuf>,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: DriftFormat,
    /// Write the report there, in place of what was there, rather than print it
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// How long to wait for each host, seconds
    #[arg(long, value_name = "SECONDS", default_value_t = 5, value_parser = clap::value_parser!(u64).range(1..=600))]
    pub timeout: u64,
    /// Write a systemd service and timer that run this, and say how to start them
    #[arg(long, conflicts_with = "crontab")]
    pub install_timer: bool,
    /// Print a line for a crontab that runs this
    #[arg(long)]
    pub crontab: bool,
    /// How often the timer or the crontab runs it: 5m, 1h, ...
    #[arg(long, value_name = "TIME", default_value = "15m", value_parser = timer::every)]
    pub every: u64,
    /// Where the units go
    #[arg(long, value_name = "FOLDER", default_value = "/etc/systemd/system")]
    pub unit_dir: PathBuf,
}

impl DriftArgs {
    pub fn wants_json(&self) -> bool {
        self.format == DriftFormat::Json && self.out.is_none()
    }
}

/// Output of `drift`.
#[derive(ValueEnum, Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum DriftFormat {
    // For people.
    #[default]
    Text,
    // For programs; stable.
    Json,
    // For an issue or a chat.
    Markdown,
    // For the textfile collector of node_exporter.
    Prometheus,
}

pub async fn run(args: DriftArgs, global: &Global) -> Outcome {
    // Without a password a user's is not compared.
    let desired = planning::load_spec(global, &args.specs, &ProcessSecrets)?.desired;
    if args.install_timer {
        return timer::install(&args, global, &desired.cluster);
    }
    if args.crontab {
        return timer::crontab(&args, global);
    }
    let report = report(&args, global, &desired).await?;
    let text = match args.format {
        DriftFormat::Text => render::text::report(&report),
        DriftFormat::Json => render::json(&report),
        DriftFormat::Markdown => render::markdown::report(&report),
        DriftFormat::Prometheus => render::prometheus::report(&report),
    };
    match &args.out {
        Some(path) => files::replace(path, 0o644, "report", |to| to.write_all(text.as_bytes()))?,
        None => out(&text),
    }
    Ok(if !report.findings.is_empty() {
        Exit::Changes
    } else if !report.unseen.is_empty() {
        Exit::Failed
    } else {
        Exit::Done
    })
}

async fn report(args: &DriftArgs, global: &Global, desired: &Desired) -> Result<Report, CliError> {
    let Some(store) = context::store_if_there(global).await? else {
        return Err(CliError::new(
            "no-store",
            format!("there is no state store at {}", global.state),
        )
        .help("drift is told of a cluster that runs; another store is named with `--state URL` or `VTPLAN_STATE`"));
    };
    context::check_spec_cluster(global, Some(&store), &desired.cluster).await?;
    let cluster = context::of(store, &desired.cluster)?;
    let limit = Duration::from_secs(args.timeout);
    let timeouts = Timeouts {
        connect: limit.min(Timeouts::default().connect),
        observe: limit,
        canonicalize: limit,
        ..Timeouts::default()
    };
    let agents = AgentClients::of_cluster(&cluster, timeouts)
        .await
        .map_err(|e| context::store_error(&e))?;
    let looked = look(&cluster, &agents, desired).await?;
    let active = active(&cluster).await?;
    let live = &looked.gathered.live;
    let found = drift::find(&drift::Input {
        desired,
        live,
        seen: &looked.seen,
        serving_revision: looked.gathered.serving_revision,
        active: active.as_ref(),
        now: when::now() / 1000,
    });
    let history = history(&cluster).await?;
    Ok(Report {
        format: DRIFT_FORMAT,
        cluster: desired.cluster.clone(),
        checked_at: when::now(),
        spec_digest: spec::digest(desired),
        revision: live.records.revision,
        hosts_seen: live
            .records
            .hosts
            .keys()
            .filter(|host| !looked.gathered.unseen.iter().any(|u| u.host == **host))
            .count(),
        tablets_seen: looked.seen.len(),
        findings: found
            .findings
            .into_iter()
            .map(|finding| told(finding, &history, &args.specs))
            .collect(),
        ignored: found.ignored,
        under_way: found.under_way,
        unseen: looked
            .gathered
            .unseen
            .iter()
            .map(|unseen| UnseenHost {
                host: unseen.host.to_string(),
                why: unseen.why.clone(),
            })
            .collect(),
    })
}

/// Looks; and once more for gates that are behind, which they all are for a moment after a change.
async fn look(
    cluster: &Cluster,
    agents: &AgentClients,
    desired: &Desired,
) -> Result<Looked, CliError> {
    const GATES_PATIENCE: Duration = Duration::from_secs(1);
    let mut looked = look::closely(cluster, agents, desired)
        .await
        .map_err(|ObserveError::Store(e)| context::store_error(&e))?;
    let newest = looked.gathered.serving_revision;
    let behind = looked.gathered.live.records.gates.values();
    let mut behind = behind.filter(|g| g.serving_revision < newest);
    if behind.next().is_some() {
        tokio::time::sleep(GATES_PATIENCE).await;
        let gates = cluster.gates().await;
        looked.gathered.live.records.gates = gates.map_err(|e| context::store_error(&e))?;
    }
    Ok(looked)
}

/// The ids of the steps of the plan that is being carried out.
async fn active(cluster: &Cluster) -> Result<Option<BTreeSet<String>>, CliError> {
    let active = submit::active(cluster)
        .await
        .map_err(|e| context::store_error(&e))?;
    let Some(active) = active else {
        return Ok(None);
    };
    let stored = submit::load(cluster, &active.id)
        .await
        .map_err(|e| submit_error(e, cluster.name()))?;
    let steps = stored.plan.steps.into_iter();
    Ok(Some(steps.map(|step| step.id).collect()))
}

/// The last that was done to each object.
async fn history(cluster: &Cluster) -> Result<BTreeMap<String, HistoryRecord>, CliError> {
    let history = cluster
        .history()
        .await
        .map_err(|e| context::store_error(&e))?;
    let entries = history.into_iter();
    Ok(entries
        .map(|(_, entry)| (entry.object.clone(), entry))
        .collect())
}

fn told(
    mut finding: Finding,
    history: &BTreeMap<String, HistoryRecord>,
    specs: &[PathBuf],
) -> Told {
    if finding.mended_by == Mender::Apply || finding.mend.contains("SPEC") {
        let specs: Vec<String> = specs.iter().map(|p| timer::shell(p)).collect();
        finding.mend = finding.mend.replace("SPEC", &specs.join(" "));
        if finding.kind == Kind::NotApplied {
            finding.mend = finding.mend.replace("vtplan apply", "vtplan plan");
        }
    }
    // `zone1-0000000100:sync_binlog` was changed with `zone1-0000000100`.
    let whole = finding.object.as_str();
    let part = whole.rsplit_once(':').map(|(object, _)| object);
    let last = history.get(whole).or_else(|| history.get(part?)).cloned();
    Told {
        finding,
        last_change: last,
    }
}
