//! Approved plans with their progress, and the history of who changed what.

use std::collections::BTreeMap;

use super::Cluster;
use crate::model::{ActivePlan, HistoryRecord, PlanControl, PlanRecord, Revision, StepProgress};
use crate::store::{Entry, Op, StoreError};

/// A plan with its progress, at one revision.
#[derive(Debug, Clone, PartialEq)]
pub struct PlanView {
    pub record: PlanRecord,
    /// Revision at which `record` was written last, to compare when its status is changed.
    pub record_revision: Revision,
    /// What a person asked for.
    pub control: Option<PlanControl>,
    /// By step id.
    pub steps: BTreeMap<String, StepProgress>,
    /// The store's revision at which it was read: watch [`Cluster::plan_prefix`] from the next.
    pub revision: Revision,
}

impl Cluster {
    /// The plan under way, with the revision at which its key was written.
    pub async fn active_plan(&self) -> Result<Option<(ActivePlan, Revision)>, StoreError> {
        let entry = self.store.get(&self.keys.active_plan()).await?;
        entry
            .map(|entry| Ok((entry.json()?, entry.mod_revision)))
            .transpose()
    }

    /// One plan's record.
    pub async fn plan(&self, id: &str) -> Result<Option<PlanRecord>, StoreError> {
        let entry = self.store.get(&self.keys.plan(id)).await?;
        entry.map(|entry| entry.json()).transpose()
    }

    /// The start of all keys of one plan. Keys of other plans may start so too.
    pub fn plan_prefix(&self, id: &str) -> String {
        self.keys.plan(id)
    }

    /// A plan with its progress.
    pub async fn plan_view(&self, id: &str) -> Result<Option<PlanView>, StoreError> {
        let listing = self.store.list(&self.plan_prefix(id)).await?;
        let (own, control) = (self.keys.plan(id), self.keys.plan_control(id));
        let steps_prefix = self.keys.plan_steps(id);
        let mut view: Option<PlanView> = None;
        // The plan's own key sorts before the keys under it.
        for entry in &listing.entries {
            if entry.key == own {
                view = Some(PlanView {
                    record: entry.json()?,
                    record_revision: entry.mod_revision,
                    control: None,
                    steps: BTreeMap::new(),
                    revision: listing.revision,
                });
            } else if let Some(view) = &mut view {
                if entry.key == control {
                    view.control = Some(entry.json()?);
                } else if let Some(step) = entry.key.strip_prefix(&steps_prefix) {
                    view.steps.insert(step.to_owned(), entry.json()?);
                }
            }
        }
        Ok(view)
    }

    /// Writes a step's progress; goes into a transaction with the conductor's compare.
    pub fn step_op(&self, plan: &str, progress: &StepProgress) -> Op {
        Op::put(self.keys.plan_step(plan, &progress.step), progress)
    }

    /// Appends to the history; goes into the transaction that does what it tells of.
    pub fn history_op(&self, record: &HistoryRecord) -> Op {
        let key = self.keys.history_entry(record.at, rand::random());
        Op::put(key, record)
    }

    /// The whole history, in the order in which it was written, with the revisions.
    pub async fn history(&self) -> Result<Vec<(Revision, HistoryRecord)>, StoreError> {
        let listing = self.store.list(&self.keys.history()).await?;
        let mut entries = listing.entries;
        // Revisions tell the order; the keys only part what one transaction wrote.
        entries.sort_by_key(|entry| entry.create_revision);
        let read = |entry: &Entry| Ok((entry.create_revision, entry.json()?));
        entries.iter().map(read).collect()
    }
}
