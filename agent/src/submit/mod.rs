//! From an approval to a plan under way: what `vtplan apply` asks of the store.
//!
//! [`submit`] checks an approved plan against the cluster as it is and makes it the active one, in
//! one transaction; the agents' conductor carries it out. [`attach`] follows it from anywhere,
//! [`request_stop`] ends it early, [`list`] and [`load`] read what was and is.
//!
//! [`operation`] is the same for what is asked of one workflow by hand; [`approve`], [`set_paused`]
//! and [`request_vdiff`] change what a person decides of a workflow; [`request_backup`],
//! [`request_check`] and [`remove_backup`] are for backups.

mod attach;
mod backup;
pub(crate) mod id;
mod stored;
mod workflow;

use thiserror::Error;
use vtplan_planner::desired::{Desired, PasswordSource};
use vtplan_planner::live::Live;
use vtplan_planner::plan::{Action, Plan, PlanError, WorkflowOperation};
use vtplan_planner::{make_destroy_plan, make_operation_plan, make_plan};
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{
    ActivePlan, ClusterRecord, HistoryRecord, KeyspaceName, PlanControl, PlanRecord, PlanStatus,
    RECORD_FORMAT, SpecRecord, UnixMillis, WorkflowName,
};
use vtplan_state::store::{Compare, Op, StoreError, Txn, TxnOutcome, unix_millis};

use crate::client::AgentClients;
use crate::observe::{self, ObserveError};

pub use attach::{PlanPicture, PlanUpdate, attach};
pub use backup::{remove_backup, request_backup, request_check};
pub use stored::{PlanSummary, StoredPlan, active, list, load};
pub use workflow::{OperationPlan, approve, operation, plan_operation, request_vdiff, set_paused};

/// What a person or a script approved.
#[derive(Debug, Clone, Copy)]
pub struct Approval<'a> {
    pub desired: &'a Desired,
    pub plan: &'a Plan,
    /// `user@host`.
    pub who: &'a str,
    /// Whether the destructive steps are approved too.
    pub destructive: bool,
    /// Whether the plan is one of `make_destroy_plan`; `desired` is of no account then, but for
    /// the cluster's name.
    pub destroy: bool,
    /// The plan is one of `make_operation_plan` for this; `desired` is then the spec that was
    /// applied last.
    pub operation: Option<&'a WorkflowOperation>,
}

/// A plan that is the active one now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlanHandle {
    pub id: String,
}

/// Why a plan was not started. Nothing was changed then.
#[derive(Debug, Error)]
pub enum SubmitError {
    #[error(
        "plan {id} is being carried out, started by {by} {}; watch it with `vtplan apply --attach`, or stop it and wait",
        id::when(*since)
    )]
    AlreadyRunning {
        id: String,
        by: String,
        since: UnixMillis,
    },
    #[error("the spec is for cluster `{spec}`, but this is cluster `{cluster}`")]
    OtherCluster { spec: String, cluster: String },
    #[error("the plan is stale: {why}; run `vtplan plan` again and apply the new plan")]
    Stale { why: String },
    #[error("there can be no plan any more: {}", list_of(.0, 5))]
    NoPlan(Vec<PlanError>),
    #[error(
        "no agent is alive in cluster `{cluster}`, so nobody can carry the plan out; start one with `vtplan up` on a single machine, or `vtplan agent` on each database host"
    )]
    NoAgent { cluster: String },
    #[error(
        "the plan has no host for {}; start `vtplan agent` on hosts of those cells and plan again",
        list_of(.0, 5)
    )]
    Unplaced(Vec<String>),
    #[error("the password of {} cannot be read; set it and apply again", list_of(.0, 5))]
    NoPassword(Vec<String>),
    #[error(
        "the plan deletes data ({}), and that was not approved; approve it with `--approve-destructive`",
        list_of(.0, 3)
    )]
    DestructiveNotApproved(Vec<String>),
    #[error(
        "the spec is too large for the state store: {bytes} bytes as JSON, and {limit} is the most; move the largest keyspaces into a cluster of their own"
    )]
    SpecTooLarge { bytes: usize, limit: usize },
    #[error("there is no plan {id} in cluster `{cluster}`; `vtplan show plans` lists them")]
    NoSuchPlan { id: String, cluster: String },
    #[error("plan {id} is over: there is nothing to stop")]
    Over { id: String },
    #[error(
        "there is no workflow {workflow} in keyspace {keyspace}; `vtplan workflow list` shows those there are"
    )]
    NoSuchWorkflow {
        keyspace: KeyspaceName,
        workflow: WorkflowName,
    },
    #[error("workflow {keyspace}.{workflow} is being ended ({how}): {what} has no effect any more")]
    Ending {
        keyspace: KeyspaceName,
        workflow: WorkflowName,
        /// `completed` or `cancelled`.
        how: &'static str,
        what: &'static str,
    },
    #[error("workflow {keyspace}.{workflow} has not copied all rows yet; compare when it has")]
    NotCopied {
        keyspace: KeyspaceName,
        workflow: WorkflowName,
    },
    #[error("plan {id} cannot be read: {why}; was it written by another version of vtplan?")]
    Unreadable { id: String, why: String },
    #[error(transparent)]
    Observe(#[from] ObserveError),
    #[error(transparent)]
    Store(#[from] StoreError),
}

fn list_of<T: std::fmt::Display>(items: &[T], most: usize) -> String {
    let mut text = items
        .iter()
        .take(most)
        .map(ToString::to_string)
        .collect::<Vec<_>>()
        .join(", ");
    if items.len() > most {
        text = format!("{text} and {} more", items.len() - most);
    }
    text
}

/// The largest desired state that fits into the spec's record: etcd takes requests of 1.5 MiB.
const MAX_SPEC: usize = 700 << 10;

/// Makes an approved plan the active one. It is planned anew from what is live, and refused as
/// stale when that gives another plan.
pub async fn submit(
    cluster: &Cluster,
    agents: &AgentClients,
    approval: Approval<'_>,
) -> Result<PlanHandle, SubmitError> {
    let Approval { desired, plan, .. } = approval;
    for named in [&desired.cluster, &plan.cluster] {
        if named != cluster.name() {
            return Err(SubmitError::OtherCluster {
                spec: named.clone(),
                cluster: cluster.name().to_owned(),
            });
        }
    }
    refuse_if_active(cluster).await?;
    check_plan(approval)?;
    // As the plan was made: one of an operation does not ask servers about definitions.
    let asked = approval.operation.is_none().then_some(desired);
    let live = observe::gather(cluster, agents, asked).await?.live;
    if live.records.hosts.is_empty() {
        return Err(SubmitError::NoAgent {
            cluster: cluster.name().to_owned(),
        });
    }
    check_fresh(approval, &live)?;
    activate(cluster, approval, &live).await
}

async fn refuse_if_active(cluster: &Cluster) -> Result<(), SubmitError> {
    match active(cluster).await? {
        None => Ok(()),
        Some(ActivePlan { id, by, since }) => Err(SubmitError::AlreadyRunning { id, by, since }),
    }
}

/// What can be told from the approval alone.
fn check_plan(approval: Approval<'_>) -> Result<(), SubmitError> {
    let Approval { desired, plan, .. } = approval;
    let mut unplaced = Vec::new();
    let mut no_password = Vec::new();
    for step in &plan.steps {
        match &step.action {
            Action::CreateTablet {
                alias,
                keyspace,
                shard,
                host,
                mysql_port,
                ..
            } if host.is_none() || mysql_port.is_none() => {
                unplaced.push(format!("tablet {alias} of {keyspace}/{shard}"));
            }
            Action::CreateUser {
                user,
                verifier: None,
            } => no_password.push(user_source(desired, user)),
            _ => {}
        }
    }
    if !unplaced.is_empty() {
        return Err(SubmitError::Unplaced(unplaced));
    }
    if !no_password.is_empty() {
        return Err(SubmitError::NoPassword(no_password));
    }
    let destructive: Vec<String> = plan.destructive().map(|step| step.id.clone()).collect();
    if !destructive.is_empty() && !approval.destructive {
        return Err(SubmitError::DestructiveNotApproved(destructive));
    }
    Ok(())
}

fn user_source(desired: &Desired, user: &str) -> String {
    match desired.users.get(user).map(|user| &user.source) {
        Some(PasswordSource::Env(name)) => format!("user {user} (environment variable {name})"),
        Some(PasswordSource::File(path)) => format!("user {user} (file {path})"),
        None => format!("user {user}"),
    }
}

fn check_fresh(approval: Approval<'_>, live: &Live) -> Result<(), SubmitError> {
    let Approval { desired, plan, .. } = approval;
    let now = match approval.operation {
        Some(operation) => make_operation_plan(live, operation),
        None if approval.destroy => make_destroy_plan(&desired.cluster, live),
        None => make_plan(desired, live),
    };
    let now = now.map_err(SubmitError::NoPlan)?;
    let stale = |why: String| Err(SubmitError::Stale { why });
    if now.spec_digest != plan.spec_digest {
        return stale("it was made from another spec".into());
    }
    let differing: Vec<&str> = differences(plan, &now);
    if !differing.is_empty() {
        let steps = list_of(&differing, 5);
        return stale(format!(
            "the cluster has changed since it was made, and other steps are needed: {steps}"
        ));
    }
    if now.live_digest != plan.live_digest {
        return stale("the cluster has changed since it was made".into());
    }
    Ok(())
}

/// Steps that only one of the plans has, or that do something else in the other.
fn differences<'a>(old: &'a Plan, new: &'a Plan) -> Vec<&'a str> {
    let by_id = |plan: &'a Plan| -> std::collections::BTreeMap<&'a str, &'a Action> {
        plan.steps
            .iter()
            .map(|step| (step.id.as_str(), &step.action))
            .collect()
    };
    let (old, new) = (by_id(old), by_id(new));
    let mut ids: Vec<&str> = old
        .keys()
        .chain(new.keys())
        .copied()
        .filter(|id| old.get(id) != new.get(id))
        .collect();
    ids.sort_unstable();
    ids.dedup();
    ids
}

/// Makes a checked plan the active one.
pub(crate) async fn activate(
    cluster: &Cluster,
    approval: Approval<'_>,
    live: &Live,
) -> Result<PlanHandle, SubmitError> {
    let now = unix_millis();
    let desired = spec_value(approval.desired)?;
    let id = id::new_plan_id(now, rand::random());
    let active = ActivePlan {
        id: id.clone(),
        by: approval.who.to_owned(),
        since: now,
    };
    let record = PlanRecord {
        id: id.clone(),
        spec_digest: approval.plan.spec_digest.clone(),
        desired,
        // Plans are our own types: maps with string keys, no failing serializers.
        plan: serde_json::to_value(approval.plan).expect("a plan serializes"),
        chunks: 0,
        base_revision: approval.plan.base_revision,
        approved_by: approval.who.to_owned(),
        approved_at: now,
        destructive_approved: approval.destructive,
        destroy: approval.destroy,
        operation: approval.operation.map(|operation| {
            // As for plans.
            serde_json::to_value(operation).expect("an operation serializes")
        }),
        status: PlanStatus::Running,
    };
    let record = stored::write_chunks(cluster, record).await?;
    let started = start(cluster, &active, &record, approval.plan.steps.len(), live).await;
    if !matches!(started, Ok(())) && record.chunks > 0 {
        // Nobody refers to them. If this fails too, they only take space.
        let prefix = cluster.keys().plan_chunks(&id);
        let _ = cluster
            .store()
            .txn(Txn::new().then(Op::DeletePrefix { prefix }))
            .await;
    }
    started.map(|()| PlanHandle { id })
}

/// The transaction that makes the plan the active one.
async fn start(
    cluster: &Cluster,
    active: &ActivePlan,
    record: &PlanRecord,
    steps: usize,
    live: &Live,
) -> Result<(), SubmitError> {
    let keys = cluster.keys();
    let id = &active.id;
    let history = HistoryRecord {
        at: active.since,
        who: active.by.clone(),
        plan: Some(id.clone()),
        action: "apply".into(),
        object: cluster.name().to_owned(),
        summary: format!("Approved a plan of {steps} steps"),
        outcome: "started".into(),
    };
    let mut txn = Txn::new()
        .when(Compare::Absent(keys.active_plan()))
        .then(Op::put(keys.plan(id), record))
        .then(Op::put(keys.active_plan(), active))
        .then(cluster.history_op(&history));
    // From here on the spec that was applied last does not say any more what there should be.
    if record.operation.is_none()
        && let Some(entry) = cluster.store().get(&keys.spec()).await?
    {
        let applied: SpecRecord = entry.json()?;
        if applied.digest != record.spec_digest || record.destroy {
            let begun = Some(record.spec_digest.clone());
            let marked = SpecRecord { begun, ..applied };
            txn = txn
                .when(Compare::ModRevision(keys.spec(), entry.mod_revision))
                .then(Op::put(keys.spec(), &marked));
        }
    }
    if live.records.cluster.is_none() {
        let new = ClusterRecord {
            name: cluster.name().to_owned(),
            format: RECORD_FORMAT,
            created_at: active.since,
            created_by: env!("CARGO_PKG_VERSION").into(),
            generation: 0,
        };
        txn = txn
            .when(Compare::Absent(keys.cluster()))
            .when(Compare::Absent(keys.restoring()))
            .then(Op::put(keys.cluster(), &new));
    }
    match cluster.store().txn(txn).await {
        Ok(TxnOutcome::Committed(_)) => Ok(()),
        Ok(TxnOutcome::Refused) => {
            refuse_if_active(cluster).await?;
            Err(SubmitError::Stale {
                why: "somebody else changed the cluster at this moment".into(),
            })
        }
        // The answer may be all that was lost.
        Err(error) => match self::active(cluster).await {
            Ok(Some(now)) if now.id == *id => Ok(()),
            _ => Err(error.into()),
        },
    }
}

fn spec_value(desired: &Desired) -> Result<serde_json::Value, SubmitError> {
    // As for plans.
    let value = serde_json::to_value(desired).expect("a desired state serializes");
    let bytes = value.to_string().len();
    if bytes > MAX_SPEC {
        return Err(SubmitError::SpecTooLarge {
            bytes,
            limit: MAX_SPEC,
        });
    }
    Ok(value)
}

/// Records a spec that needs no steps as the last applied one: `vtplan apply` with an empty plan.
/// Nothing is written when it is recorded already.
pub async fn record_spec(
    cluster: &Cluster,
    desired: &Desired,
    plan: &Plan,
    who: &str,
) -> Result<(), SubmitError> {
    refuse_if_active(cluster).await?;
    let (store, keys) = (cluster.store(), cluster.keys());
    let old = store.get(&keys.spec()).await?;
    let recorded = old.as_ref().and_then(|e| e.json::<SpecRecord>().ok());
    if recorded.is_some_and(|spec| spec.digest == plan.spec_digest && spec.begun.is_none()) {
        return Ok(());
    }
    let record = SpecRecord {
        digest: plan.spec_digest.clone(),
        desired: spec_value(desired)?,
        applied_by: who.to_owned(),
        applied_at: unix_millis(),
        begun: None,
    };
    let unchanged = match old {
        Some(entry) => Compare::ModRevision(keys.spec(), entry.mod_revision),
        None => Compare::Absent(keys.spec()),
    };
    let txn = Txn::new()
        .when(unchanged)
        .when(Compare::Absent(keys.active_plan()))
        .then(Op::put(keys.spec(), &record));
    match store.txn(txn).await? {
        TxnOutcome::Committed(_) => Ok(()),
        TxnOutcome::Refused => Err(SubmitError::Stale {
            why: "somebody else applied a spec at this moment".into(),
        }),
    }
}

/// Asks the conductor to start no more steps of a plan; it ends when those under way have ended.
pub async fn request_stop(cluster: &Cluster, id: &str) -> Result<(), SubmitError> {
    let plan = stored::load_record(cluster, id).await?;
    if plan.status.is_over() {
        return Err(SubmitError::Over { id: id.to_owned() });
    }
    let keys = cluster.keys();
    let txn = Txn::new()
        .when(Compare::Exists(keys.active_plan()))
        .then(Op::put(keys.plan_control(id), &PlanControl::Stop));
    match cluster.store().txn(txn).await? {
        TxnOutcome::Committed(_) => Ok(()),
        TxnOutcome::Refused => Err(SubmitError::Over { id: id.to_owned() }),
    }
}
