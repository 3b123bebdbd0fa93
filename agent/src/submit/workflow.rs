//! What a person asks of one workflow: operations, which become plans, and the few fields of its
//! record that are theirs.

use vtplan_planner::desired::{ApprovePoint, Desired};
use vtplan_planner::make_operation_plan;
use vtplan_planner::plan::{Plan, WorkflowOperation};
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{
    Ending, HistoryRecord, KeyspaceName, VDiffRecord, VDiffState, WorkflowName, WorkflowRecord,
};
use vtplan_state::store::{Compare, Op, Txn, TxnOutcome, unix_millis};

use super::{Approval, PlanHandle, SubmitError, id, submit};
use crate::client::AgentClients;
use crate::observe::{self, Gathered};

/// The plan of an operation, to be shown before it is approved.
#[derive(Debug, Clone)]
pub struct OperationPlan {
    pub plan: Plan,
    /// The spec that was applied last, which the plan's record keeps.
    pub desired: Desired,
    /// What it was made from.
    pub gathered: Gathered,
}

/// Plans an operation on a workflow, by what is live.
///
/// # Errors
/// [`SubmitError::NoPlan`] when the workflow cannot do it now; the errors say why and what to do.
pub async fn plan_operation(
    cluster: &Cluster,
    agents: &AgentClients,
    operation: &WorkflowOperation,
) -> Result<OperationPlan, SubmitError> {
    let gathered = observe::gather(cluster, agents, None).await?;
    let plan = make_operation_plan(&gathered.live, operation).map_err(SubmitError::NoPlan)?;
    Ok(OperationPlan {
        plan,
        desired: desired(cluster, &gathered)?,
        gathered,
    })
}

/// Makes the approved plan of an operation the active one. See [`submit`].
pub async fn operation(
    cluster: &Cluster,
    agents: &AgentClients,
    operation: &WorkflowOperation,
    planned: &OperationPlan,
    who: &str,
    destructive: bool,
) -> Result<PlanHandle, SubmitError> {
    let approval = Approval {
        desired: &planned.desired,
        plan: &planned.plan,
        who,
        destructive,
        destroy: false,
        operation: Some(operation),
    };
    submit(cluster, agents, approval).await
}

/// The spec that was applied last; where none was, one that names the cluster alone.
fn desired(cluster: &Cluster, gathered: &Gathered) -> Result<Desired, SubmitError> {
    let Some(spec) = &gathered.live.records.spec else {
        return Ok(Desired {
            drift: Default::default(),
            cluster: cluster.name().to_owned(),
            cells: Vec::new(),
            keyspaces: Default::default(),
            changes: Default::default(),
            backups: None,
            policy: Default::default(),
            gates: Default::default(),
            users: Default::default(),
        });
    };
    serde_json::from_value(spec.desired.clone()).map_err(|error| SubmitError::Unreadable {
        id: "of the spec that was applied last".to_owned(),
        why: error.to_string(),
    })
}

/// Approves points of `changes.approve` for a workflow. Returns those that were not approved yet.
pub async fn approve(
    cluster: &Cluster,
    keyspace: &KeyspaceName,
    workflow: &WorkflowName,
    points: &[ApprovePoint],
    who: &str,
) -> Result<Vec<ApprovePoint>, SubmitError> {
    let mut new = Vec::new();
    let names: Vec<&str> = points.iter().map(|point| point.as_str()).collect();
    let note = Note {
        what: "an approval",
        action: "workflow-approve",
        summary: format!("Approved {}", names.join(", ")),
        who,
    };
    change(cluster, keyspace, workflow, note, |record| {
        new = points.to_vec();
        new.retain(|point| record.approved.insert(point.as_str().to_owned()));
        !new.is_empty()
    })
    .await?;
    Ok(new)
}

/// Makes a workflow's streams stand still, or go on. Returns whether that changes anything.
pub async fn set_paused(
    cluster: &Cluster,
    keyspace: &KeyspaceName,
    workflow: &WorkflowName,
    paused: bool,
    who: &str,
) -> Result<bool, SubmitError> {
    let (action, summary) = match paused {
        true => ("workflow-pause", "Paused the streams"),
        false => ("workflow-resume", "Resumed the streams"),
    };
    let note = Note {
        what: "a pause",
        action,
        summary: summary.to_owned(),
        who,
    };
    change(cluster, keyspace, workflow, note, |record| {
        std::mem::replace(&mut record.paused, paused) != paused
    })
    .await
}

/// Asks for a full comparison of a workflow; agents carry it out. Returns its id: the progress and
/// the result stand in its record, `vdiffs/<keyspace>/<workflow>/<id>`. `every_value`: see
/// [`VDiffRecord::every_value`].
pub async fn request_vdiff(
    cluster: &Cluster,
    keyspace: &KeyspaceName,
    workflow: &WorkflowName,
    every_value: bool,
    who: &str,
) -> Result<String, SubmitError> {
    let keys = cluster.keys();
    let key = keys.workflow(keyspace, workflow);
    let (record, _) = load(cluster, keyspace, workflow).await?;
    refuse_ending(&record, "a comparison")?;
    if !record.copied {
        return Err(SubmitError::NotCopied {
            keyspace: keyspace.clone(),
            workflow: workflow.clone(),
        });
    }
    let at = unix_millis();
    let id = id::new_plan_id(at, rand::random());
    let vdiff = VDiffRecord {
        id: id.clone(),
        keyspace: keyspace.clone(),
        workflow: workflow.clone(),
        epoch: record.streams.epoch,
        requested_at: at,
        state: VDiffState::Requested,
        every_value,
        tables: Default::default(),
        message: String::new(),
        ended_at: None,
        started_at: None,
    };
    let note = Note {
        what: "a comparison",
        action: "workflow-vdiff",
        summary: format!("Asked for the comparison {id}"),
        who,
    };
    let txn = Txn::new()
        .when(Compare::Exists(key))
        .then(Op::put(keys.vdiff(keyspace, workflow, &id), &vdiff))
        .then(cluster.history_op(&note.record(&record)));
    match cluster.store().txn(txn).await? {
        TxnOutcome::Committed(_) => Ok(id),
        TxnOutcome::Refused => Err(no_such(keyspace, workflow)),
    }
}

/// What is written into the history.
struct Note<'a> {
    /// For messages: `a pause`.
    what: &'static str,
    action: &'static str,
    summary: String,
    who: &'a str,
}

impl Note<'_> {
    fn record(&self, workflow: &WorkflowRecord) -> HistoryRecord {
        HistoryRecord {
            at: unix_millis(),
            who: self.who.to_owned(),
            plan: None,
            action: self.action.to_owned(),
            object: workflow.full_name(),
            summary: self.summary.clone(),
            outcome: "done".to_owned(),
        }
    }
}

/// Changes a workflow's record by compare-and-put, however often others write it meanwhile.
/// `edit` says whether it has changed anything.
async fn change(
    cluster: &Cluster,
    keyspace: &KeyspaceName,
    workflow: &WorkflowName,
    note: Note<'_>,
    mut edit: impl FnMut(&mut WorkflowRecord) -> bool,
) -> Result<bool, SubmitError> {
    let key = cluster.keys().workflow(keyspace, workflow);
    loop {
        let (mut record, unchanged) = load(cluster, keyspace, workflow).await?;
        refuse_ending(&record, note.what)?;
        if !edit(&mut record) {
            return Ok(false);
        }
        let txn = Txn::new()
            .when(unchanged)
            .then(Op::put(key.clone(), &record))
            .then(cluster.history_op(&note.record(&record)));
        if let TxnOutcome::Committed(_) = cluster.store().txn(txn).await? {
            return Ok(true);
        }
    }
}

async fn load(
    cluster: &Cluster,
    keyspace: &KeyspaceName,
    workflow: &WorkflowName,
) -> Result<(WorkflowRecord, Compare), SubmitError> {
    let key = cluster.keys().workflow(keyspace, workflow);
    let Some(entry) = cluster.store().get(&key).await? else {
        return Err(no_such(keyspace, workflow));
    };
    Ok((entry.json()?, Compare::ModRevision(key, entry.mod_revision)))
}

fn no_such(keyspace: &KeyspaceName, workflow: &WorkflowName) -> SubmitError {
    SubmitError::NoSuchWorkflow {
        keyspace: keyspace.clone(),
        workflow: workflow.clone(),
    }
}

fn refuse_ending(record: &WorkflowRecord, what: &'static str) -> Result<(), SubmitError> {
    let how = match record.ending {
        None => return Ok(()),
        Some(Ending::Completing) => "completed",
        Some(Ending::Cancelling) => "cancelled",
    };
    Err(SubmitError::Ending {
        keyspace: record.target.keyspace.clone(),
        workflow: record.name.clone(),
        how,
        what,
    })
}
