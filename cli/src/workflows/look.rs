//! What is known of a workflow beside its record.

use std::time::Duration;

use futures::future::join_all;
use vtplan_agent::client::{AgentClients, Timeouts};
use vtplan_agent::submit;
use vtplan_planner::plan::{Plan, Step};
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{
    PlanStatus, Records, RoutingRule, StepState, VDiffRecord, WorkflowKind, WorkflowRecord,
};

use super::document::{
    StepDocument, StreamDocument, VDiffDocument, WholeDocument, WorkflowDocument,
};
use crate::context::store_error;
use crate::error::CliError;
use crate::picture::Workflow;
use crate::progress::submit_error;
use crate::render::step::{describe, workflow_of};
use crate::render::when;
use crate::waits;

/// Clients that do not wait long: a host that is away must not hide what others tell.
pub async fn agents(cluster: &Cluster) -> Result<AgentClients, CliError> {
    let timeouts = Timeouts {
        observe: Duration::from_secs(3),
        ..Timeouts::default()
    };
    AgentClients::of_cluster(cluster, timeouts)
        .await
        .map_err(|e| store_error(&e))
}

/// Everything about one workflow.
pub async fn whole(
    cluster: &Cluster,
    records: &Records,
    workflow: &WorkflowRecord,
) -> Result<WholeDocument, CliError> {
    let vdiff = newest_vdiff(cluster, workflow).await?;
    let (steps, waits) = plans(cluster, records, workflow).await?;
    Ok(WholeDocument {
        format: 1,
        cluster: cluster.name().to_owned(),
        workflow: WorkflowDocument::new(workflow),
        streams: streams(cluster, records, workflow).await?,
        routing_rules: rules(records, workflow),
        vdiff: vdiff.map(|v| VDiffDocument::new(&v)),
        steps,
        waits,
    })
}

/// The workflow's streams as the agents tell of them, one for each shard that is read.
pub async fn streams(
    cluster: &Cluster,
    records: &Records,
    workflow: &WorkflowRecord,
) -> Result<Vec<StreamDocument>, CliError> {
    let agents = agents(cluster).await?;
    let asked = records.hosts.values().map(|host| {
        let client = agents.of(host);
        async move {
            let name = (&workflow.target.keyspace, &workflow.name);
            // A host that does not answer shows as streams that are not seen.
            let streams = client.observe_streams(Some(name)).await.unwrap_or_default();
            let of = |status| StreamDocument::new(client.host().as_str(), status);
            streams.into_iter().map(of).collect::<Vec<_>>()
        }
    });
    let mut told: Vec<StreamDocument> = join_all(asked).await.into_iter().flatten().collect();
    // Of two that tell of one stream the later epoch is the one that is wanted.
    told.sort_by(|a, b| (&a.from, b.epoch).cmp(&(&b.from, a.epoch)));
    told.dedup_by(|later, first| later.from == first.from);
    let side = workflow.reads_from();
    if workflow.ending.is_none() {
        for shard in &side.shards {
            let from = format!("{}/{shard}", side.keyspace);
            if !told.iter().any(|s| s.from == from) {
                let epoch = workflow.streams.epoch;
                told.push(StreamDocument::unseen(&side.keyspace, shard, epoch));
            }
        }
        told.sort_by(|a, b| a.from.cmp(&b.from));
    }
    Ok(told)
}

/// All workflows with what their streams tell, for a picture of the cluster.
pub async fn pictures(cluster: &Cluster, records: &Records) -> Result<Vec<Workflow>, CliError> {
    let mut pictures = Vec::new();
    for record in records.all_workflows() {
        let streams = streams(cluster, records, record).await?;
        pictures.push(Workflow::new(record, &streams));
    }
    Ok(pictures)
}

/// The rules about the tables that it moves.
pub fn rules(records: &Records, workflow: &WorkflowRecord) -> Vec<RoutingRule> {
    if workflow.kind != WorkflowKind::MoveTables {
        return Vec::new();
    }
    let sides = [&workflow.source.keyspace, &workflow.target.keyspace];
    let about = |rule: &&RoutingRule| {
        let name = rule.from_table.split('@').next().unwrap_or_default();
        let (keyspace, table) = match name.split_once('.') {
            Some((keyspace, table)) => (Some(keyspace), table),
            None => (None, name),
        };
        workflow.tables.iter().any(|t| t.as_str() == table)
            && keyspace.is_none_or(|k| sides.iter().any(|s| s.as_str() == k))
    };
    records
        .routing
        .rules
        .iter()
        .filter(about)
        .cloned()
        .collect()
}

/// The comparison that was asked for last.
pub async fn newest_vdiff(
    cluster: &Cluster,
    workflow: &WorkflowRecord,
) -> Result<Option<VDiffRecord>, CliError> {
    let prefix = cluster
        .keys()
        .vdiffs(&workflow.target.keyspace, &workflow.name);
    let listing = cluster.store().list(&prefix).await;
    let listing = listing.map_err(|e| store_error(&e))?;
    let mut newest: Option<VDiffRecord> = None;
    for entry in &listing.entries {
        let vdiff: VDiffRecord = entry.json().map_err(|e| store_error(&e))?;
        if newest
            .as_ref()
            .is_none_or(|n| (n.requested_at, &n.id) < (vdiff.requested_at, &vdiff.id))
        {
            newest = Some(vdiff);
        }
    }
    Ok(newest)
}

/// What the plan under way does with a workflow, or what the last one ended on.
async fn plans(
    cluster: &Cluster,
    records: &Records,
    workflow: &WorkflowRecord,
) -> Result<(Vec<StepDocument>, Vec<waits::WaitDocument>), CliError> {
    let plans = submit::list(cluster).await.map_err(|e| store_error(&e))?;
    let Some(last) = plans.last() else {
        return Ok((Vec::new(), Vec::new()));
    };
    let stored = submit::load(cluster, &last.id).await;
    let stored = stored.map_err(|e| submit_error(e, cluster.name()))?;
    let view = cluster.plan_view(&last.id).await;
    let steps = view.map_err(|e| store_error(&e))?;
    let steps = steps.map(|v| v.steps).unwrap_or_default();
    let state = |id: &str| steps.get(id).map(|s| s.state);
    match &last.status {
        PlanStatus::Running => {
            let of = |step: &Step| StepDocument {
                id: step.id.clone(),
                what: describe(step),
                message: steps[&step.id].message.clone(),
            };
            let running = |s: &&Step| state(&s.id) == Some(StepState::Running);
            let about = about(&stored.plan, workflow).into_iter();
            Ok((about.filter(running).map(of).collect(), Vec::new()))
        }
        PlanStatus::Waiting { .. } => {
            let name = workflow.full_name();
            let waits = waits::of_plan(&stored.plan, state)
                .iter()
                .filter(|w| w.full_name() == name)
                // An approval that was given since is not waited for any more.
                .filter(|w| {
                    w.point()
                        .is_none_or(|p| !workflow.approved.contains(p.as_str()))
                })
                .map(|w| w.document(records, when::now()))
                .collect();
            Ok((Vec::new(), waits))
        }
        _ => Ok((Vec::new(), Vec::new())),
    }
}

fn about<'a>(plan: &'a Plan, workflow: &WorkflowRecord) -> Vec<&'a Step> {
    let is = |step: &&Step| workflow_of(step) == Some((&workflow.target.keyspace, &workflow.name));
    plan.steps.iter().filter(is).collect()
}
