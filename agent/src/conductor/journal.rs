//! What the conductor writes down of a plan: the progress of steps, the history, the end.

use std::time::Duration;

use vtplan_planner::plan::Step;
use vtplan_state::model::{
    HistoryRecord, PlanRecord, PlanStatus, Revision, SpecRecord, StepProgress,
};
use vtplan_state::store::{Compare, Op, StoreError, Txn};

use super::write::{Fenced, WriteError};
use crate::submit::{self, StoredPlan};

/// How many records are written in one transaction; well below what stores allow.
const BATCH: usize = 64;

/// The records of one plan under way.
#[derive(Clone, Copy)]
pub struct Journal<'a> {
    pub to: Fenced<'a>,
    pub plan: &'a StoredPlan,
}

impl Journal<'_> {
    fn id(&self) -> &str {
        &self.plan.record.id
    }

    /// The progress that is written down, from before a takeover too.
    pub async fn load(&self) -> Result<Vec<StepProgress>, StoreError> {
        let cluster = self.to.world.cluster();
        let listing = cluster
            .store()
            .list(&cluster.keys().plan_steps(self.id()))
            .await?;
        listing.entries.iter().map(|entry| entry.json()).collect()
    }

    pub async fn progress(&self, steps: &[StepProgress]) -> Result<(), WriteError> {
        let cluster = self.to.world.cluster();
        for batch in steps.chunks(BATCH) {
            let mut txn = Txn::new();
            for step in batch {
                txn = txn.then(cluster.step_op(self.id(), step));
            }
            self.to.txn(txn, "").await?;
        }
        Ok(())
    }

    /// A step's end, with its place in the history.
    pub async fn finished(&self, step: &Step, progress: &StepProgress) -> Result<(), WriteError> {
        let cluster = self.to.world.cluster();
        let history = HistoryRecord {
            at: self.to.world.now(),
            who: self.plan.record.approved_by.clone(),
            plan: Some(self.id().to_owned()),
            action: step.id.clone(),
            object: object(&step.id).to_owned(),
            summary: step.reason.clone(),
            outcome: "done".into(),
        };
        let txn = Txn::new()
            .then(cluster.step_op(self.id(), progress))
            .then(cluster.history_op(&history));
        self.to.txn(txn, "").await?;
        Ok(())
    }

    /// Ends the plan: its status, the spec when all is done, and no plan is active any more. Tried
    /// until it is known to be done or the lock is lost.
    pub async fn end(&self, status: PlanStatus) -> Result<(), WriteError> {
        self.to.world.failpoint("conductor.before-end").await;
        let mut revision = self.plan.mod_revision;
        let mut pause = Duration::from_millis(100);
        loop {
            match self.to.txn(self.end_txn(&status, revision), "").await {
                Ok(_) => return Ok(()),
                Err(WriteError::Superseded) => return Err(WriteError::Superseded),
                Err(WriteError::Changed(_)) => match self.revision_if_active().await {
                    Ok(None) => return Ok(()),
                    Ok(Some(now)) => revision = now,
                    Err(error) => warn(&error),
                },
                Err(WriteError::Store(error)) => warn(&error),
            }
            tokio::time::sleep(pause).await;
            pause = (pause * 2).min(Duration::from_secs(2));
        }
    }

    fn end_txn(&self, status: &PlanStatus, revision: Revision) -> Txn {
        let cluster = self.to.world.cluster();
        let keys = cluster.keys();
        let record = PlanRecord {
            status: status.clone(),
            ..self.plan.record.clone()
        };
        let at = self.to.world.now();
        let history = HistoryRecord {
            at,
            who: record.approved_by.clone(),
            plan: Some(record.id.clone()),
            action: "apply".into(),
            object: cluster.name().to_owned(),
            summary: format!("Plan of {} steps", self.plan.plan.steps.len()),
            outcome: match status {
                PlanStatus::Running => "running".into(),
                PlanStatus::Done { .. } => "done".into(),
                PlanStatus::Failed { message, .. } => format!("failed: {message}"),
                PlanStatus::Waiting { message, .. } => format!("waiting: {message}"),
                PlanStatus::Stopped { .. } => "stopped".into(),
            },
        };
        let mut txn = Txn::new()
            .when(Compare::ModRevision(keys.plan(self.id()), revision))
            .when(Compare::Exists(keys.active_plan()))
            .then(Op::put(keys.plan(self.id()), &record))
            .then(Op::delete(keys.active_plan()))
            .then(Op::delete(keys.plan_control(self.id())))
            .then(cluster.history_op(&history));
        if matches!(status, PlanStatus::Done { .. }) && record.destroy {
            txn = txn.then(Op::delete(keys.spec()));
        } else if matches!(status, PlanStatus::Done { .. }) && record.operation.is_none() {
            let spec = SpecRecord {
                digest: record.spec_digest.clone(),
                // Desired states are our own types: maps with string keys, no failing serializers.
                desired: serde_json::to_value(&self.plan.desired)
                    .expect("a desired state serializes"),
                applied_by: record.approved_by.clone(),
                applied_at: at,
                begun: None,
            };
            txn = txn.then(Op::put(keys.spec(), &spec));
        }
        txn
    }

    /// The revision of the plan's record while this plan is the active one.
    async fn revision_if_active(&self) -> Result<Option<Revision>, StoreError> {
        let cluster = self.to.world.cluster();
        let active = submit::active(cluster).await?;
        if active.is_none_or(|active| active.id != self.id()) {
            return Ok(None);
        }
        let entry = cluster.store().get(&cluster.keys().plan(self.id())).await?;
        Ok(entry.map(|entry| entry.mod_revision))
    }
}

fn warn(error: &StoreError) {
    tracing::warn!(%error, "the end of the plan is not written yet");
}

/// What a step's id is about: the part after the kind.
fn object(id: &str) -> &str {
    id.split_once(':').map_or(id, |(_, object)| object)
}
