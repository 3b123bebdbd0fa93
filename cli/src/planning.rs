//! From spec files to a plan: loading, observing, planning, and what can go wrong on the way.

use std::path::PathBuf;

use owo_colors::OwoColorize as _;
use vtplan_agent::observe::{self, Gathered};
use vtplan_planner::desired::Desired;
use vtplan_planner::live::Live;
use vtplan_planner::make_plan;
use vtplan_planner::plan::{Plan, PlanError};
use vtplan_planner::spec::{self, Loaded, Secrets};
use vtplan_state::cluster::Cluster;

use crate::args::Global;
use crate::context;
use crate::error::CliError;
use crate::output::err;
use crate::render::table::count;
use crate::render::text::indent_diff;

/// A plan, and what it was made from.
pub struct Planned {
    pub desired: Desired,
    pub plan: Plan,
    pub live: Live,
    /// `None`: the store does not exist yet.
    pub cluster: Option<Cluster>,
}

/// Reads a spec. Its warnings go to stderr.
pub fn load_spec(
    global: &Global,
    paths: &[PathBuf],
    secrets: &dyn Secrets,
) -> Result<Loaded, CliError> {
    let loaded = spec::load(paths, secrets).map_err(|errors| invalid_spec(&errors))?;
    if !global.quiet {
        for warning in &loaded.warnings {
            err(&warning.render(true));
        }
    }
    Ok(loaded)
}

/// All problems of a spec as one error.
pub fn invalid_spec(errors: &spec::SpecErrors) -> CliError {
    let number = count(errors.error_count(), "error");
    let mut details = String::new();
    for diagnostic in &errors.diagnostics {
        details.push_str(&diagnostic.render(true));
        details.push('\n');
    }
    CliError::new("invalid-spec", format!("the spec has {number}"))
        .details_first(details)
        .problems(&errors.diagnostics)
}

/// What there is of the cluster. A store that does not exist is an empty cluster.
pub async fn live(
    global: &Global,
    cluster: Option<&Cluster>,
    desired: Option<&Desired>,
) -> Result<Live, CliError> {
    let Some(cluster) = cluster else {
        return Ok(Live::default());
    };
    Ok(gather(global, cluster, desired).await?.live)
}

/// What there is of the cluster, and which hosts could not be asked. These are warned of.
pub async fn gather(
    global: &Global,
    cluster: &Cluster,
    desired: Option<&Desired>,
) -> Result<Gathered, CliError> {
    let gathered = observe::gather(cluster, &context::agents(cluster).await?, desired)
        .await
        .map_err(|e| match e {
            observe::ObserveError::Store(e) => context::store_error(&e),
        })?;
    if !global.quiet {
        for unseen in &gathered.unseen {
            let warning = "warning:".yellow().bold().to_string();
            err(&format!(
                "{warning} host {} cannot be seen: {}\n",
                unseen.host, unseen.why
            ));
        }
    }
    Ok(gathered)
}

/// Loads a spec, observes its cluster, and plans.
pub async fn plan_spec(
    global: &Global,
    paths: &[PathBuf],
    secrets: &(dyn Secrets + Sync),
) -> Result<Planned, CliError> {
    let loaded = load_spec(global, paths, secrets)?;
    plan_desired(global, loaded.desired).await
}

/// Observes the cluster that `desired` is for, and plans.
pub async fn plan_desired(global: &Global, desired: Desired) -> Result<Planned, CliError> {
    let store = context::store_if_there(global).await?;
    context::check_spec_cluster(global, store.as_ref(), &desired.cluster).await?;
    let cluster = store
        .map(|store| context::of(store, &desired.cluster))
        .transpose()?;
    let live = live(global, cluster.as_ref(), Some(&desired)).await?;
    let plan = make_plan(&desired, &live).map_err(|e| plan_errors(&desired.cluster, &e))?;
    Ok(Planned {
        desired,
        plan,
        live,
        cluster,
    })
}

/// Why there can be no plan, every reason.
pub fn plan_errors(cluster: &str, errors: &[PlanError]) -> CliError {
    let mut details = String::new();
    for error in errors {
        details.push_str(&format!(
            "  {} {}: {}\n",
            "✗".red().bold(),
            error.object.bold(),
            error.problem
        ));
        if let Some(diff) = &error.diff {
            details.push_str(&indent_diff(diff, "      "));
        }
        if !error.help.is_empty() {
            details.push_str(&format!("      {} {}\n", "hint:".cyan().bold(), error.help));
        }
    }
    let number = count(errors.len(), "problem");
    CliError::new(
        "no-plan",
        format!("cluster {cluster} cannot be brought to what the spec says: {number}"),
    )
    .details(details)
    .problems(errors)
}
