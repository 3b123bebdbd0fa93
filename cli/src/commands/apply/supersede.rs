//! A plan of another spec that is being carried out: told, or stopped to make room.

use std::time::Duration;

use vtplan_agent::submit::{self, StoredPlan, SubmitError};
use vtplan_planner::plan::Plan;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::ActivePlan;

use super::{running, say};
use crate::args::Global;
use crate::context;
use crate::error::CliError;
use crate::output::err;
use crate::progress::{interrupted, submit_error};
use crate::render::step::workflow_of;
use crate::render::when;

/// Why another spec cannot be applied now: the plan under way, and the workflows it drives.
pub fn refusal(active: &ActivePlan, stored: &StoredPlan, cluster: &str) -> CliError {
    let what = match &stored.operation {
        Some(operation) => format!(
            "plan {}, an operation on workflow {}.{},",
            active.id, operation.keyspace, operation.workflow
        ),
        None => format!("plan {} of another spec", active.id),
    };
    let drives = workflows(&stored.plan);
    // An operation names its workflow already.
    let drives = if drives.is_empty() || stored.operation.is_some() {
        String::new()
    } else {
        format!(" and drives {}", drives.join(", "))
    };
    CliError::new(
        "plan-running",
        format!(
            "{what} is being carried out in cluster {cluster}{drives}; it was started by {} {}, at {}",
            active.by,
            when::ago(active.since, when::now()),
            when::utc(active.since)
        ),
    )
    .help(
        "watch it with `vtplan apply --attach`, or give `--supersede` to stop it and go to this \
         spec from where the cluster is then",
    )
}

/// `workflow customer.commerce2customer`, all that the plan has steps of.
fn workflows(plan: &Plan) -> Vec<String> {
    let names = plan.steps.iter().filter_map(workflow_of);
    let mut names: Vec<String> = names
        .map(|(keyspace, workflow)| format!("workflow {keyspace}.{workflow}"))
        .collect();
    names.sort();
    names.dedup();
    names
}

/// Asks the plan under way to stop, and waits until it has.
pub async fn stop(
    cluster: &Cluster,
    active: &ActivePlan,
    json: bool,
    global: &Global,
) -> Result<(), CliError> {
    match submit::request_stop(cluster, &active.id).await {
        Ok(()) | Err(SubmitError::Over { .. }) => {}
        Err(error) => return Err(submit_error(error, cluster.name())),
    }
    say(
        json,
        global,
        &format!(
            "Stopping plan {}: the steps under way end, no more are started.\n",
            active.id
        ),
    );
    let ended = async {
        let mut told = false;
        loop {
            match running(cluster).await? {
                Some(now) if now.id == active.id => {}
                _ => return Ok(()),
            }
            let hosts = format!("{}hosts/", cluster.keys().prefix());
            let alive = cluster.store().list(&hosts).await;
            if !told
                && alive
                    .map_err(|e| context::store_error(&e))?
                    .entries
                    .is_empty()
            {
                told = true;
                err("No agent is alive: the plan ends when one is. Ctrl-C leaves.\n");
            }
            tokio::time::sleep(Duration::from_millis(200)).await;
        }
    };
    tokio::select! {
        ended = ended => ended,
        () = interrupted() => Err(CliError::new(
            "interrupted",
            format!("plan {} was asked to stop and has not ended yet; nothing else was begun", active.id),
        )
        .help("watch it end with `vtplan apply --attach`")
        .interrupted()),
    }
}
