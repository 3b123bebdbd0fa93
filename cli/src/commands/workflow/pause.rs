//! `vtplan workflow pause` and `resume`.

use clap::Args;
use futures::future::join_all;
use vtplan_agent::submit;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::WorkflowRecord;

use super::named;
use crate::args::Format;
use crate::commands::Outcome;
use crate::context;
use crate::error::{CliError, Exit};
use crate::output::{out, who};
use crate::progress::submit_error;
use crate::workflows::look;

#[derive(Args, Debug)]
pub struct PauseArgs {
    /// `KEYSPACE.WORKFLOW`, or the name alone
    #[arg(value_name = "WORKFLOW")]
    pub workflow: String,
    /// How to print the result
    #[arg(long, value_enum, default_value_t, value_name = "FORMAT")]
    pub format: Format,
}

pub async fn pause(cluster: &Cluster, args: &PauseArgs) -> Outcome {
    let workflow = named(cluster, &args.workflow).await?;
    let changed = set(cluster, &workflow, true).await?;
    let name = workflow.full_name();
    let text = if changed {
        format!(
            "Paused {name}: its streams stand still and keep their positions. `vtplan workflow \
             resume {name}` lets them go on.\n"
        )
    } else {
        format!("{name} is paused already.\n")
    };
    print(args.format, &name, true, changed, None, &text);
    Ok(Exit::Done)
}

pub async fn resume(cluster: &Cluster, args: &PauseArgs) -> Outcome {
    let workflow = named(cluster, &args.workflow).await?;
    let changed = set(cluster, &workflow, false).await?;
    let resumed = try_again(cluster, &workflow).await?;
    let name = workflow.full_name();
    let text = match (changed, resumed) {
        (true, _) => format!("{name} goes on from where it was.\n"),
        (false, 0) => format!("{name} is not paused, and no stream of it stands in an error.\n"),
        (false, 1) => format!("1 stream of {name} that had stopped with an error tries again.\n"),
        (false, n) => format!("{n} streams of {name} that had stopped with an error try again.\n"),
    };
    print(args.format, &name, false, changed, Some(resumed), &text);
    Ok(Exit::Done)
}

async fn set(cluster: &Cluster, workflow: &WorkflowRecord, paused: bool) -> Result<bool, CliError> {
    let (keyspace, name) = (&workflow.target.keyspace, &workflow.name);
    submit::set_paused(cluster, keyspace, name, paused, &who())
        .await
        .map_err(|e| submit_error(e, cluster.name()))
}

/// Lets streams that stand in an error try again. Returns how many do; agents that do not answer
/// run none.
async fn try_again(cluster: &Cluster, workflow: &WorkflowRecord) -> Result<u32, CliError> {
    let records = cluster.load_records().await;
    let records = records.map_err(|e| context::store_error(&e))?;
    let agents = look::agents(cluster).await?;
    let asked = records.hosts.values().map(|host| {
        let client = agents.of(host);
        async move {
            let (keyspace, name) = (&workflow.target.keyspace, &workflow.name);
            client.resume_streams(keyspace, name).await.unwrap_or(0)
        }
    });
    Ok(join_all(asked).await.into_iter().sum())
}

fn print(
    format: Format,
    name: &str,
    paused: bool,
    changed: bool,
    streams_resumed: Option<u32>,
    text: &str,
) {
    match format {
        Format::Text => out(text),
        Format::Json => {
            let document = serde_json::json!({
                "format": 1, "workflow": name, "paused": paused, "changed": changed,
                "streams_resumed": streams_resumed,
            });
            out(&format!("{document:#}\n"));
        }
    }
}
