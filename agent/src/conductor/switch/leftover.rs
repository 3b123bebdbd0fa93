//! Switches, and holds, that nobody looks after: their conductor was cut off.

use vtplan_state::cluster::Cluster;
use vtplan_state::model::{HoldRecord, KeyspaceName, WorkflowName, WorkflowRecord};
use vtplan_state::store::{Compare, Op, StoreError, Txn};

use super::drive::hold_id;
use super::settle;
use crate::conductor::step::Outcome;
use crate::conductor::write::{Fenced, WriteError};

/// What there is to settle.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Leftovers {
    pub switches: Vec<(KeyspaceName, WorkflowName)>,
    /// The keys of holds that belong to no switch, with the condition that they are as they were.
    pub holds: Vec<(String, Compare)>,
}

impl Leftovers {
    pub fn is_empty(&self) -> bool {
        self.switches.is_empty() && self.holds.is_empty()
    }
}

/// Looks for them. To a conductor that has just got the lock all that is found is left over; to
/// others it may be what the holder is at.
pub async fn find(cluster: &Cluster) -> Result<Leftovers, StoreError> {
    let keys = cluster.keys();
    let (workflows, holds) = (keys.workflows(), keys.holds());
    let listing = cluster.store().list_many(&[&workflows, &holds]).await?;
    let mut found = Leftovers::default();
    let mut owned = Vec::new();
    for entry in &listing.entries {
        if entry.key.starts_with(&workflows) {
            let record: WorkflowRecord = entry.json()?;
            if record.switch.is_some() {
                owned.push(hold_id(&record));
                found
                    .switches
                    .push((record.target.keyspace.clone(), record.name.clone()));
            }
        }
    }
    for entry in &listing.entries {
        if entry.key.starts_with(&holds) {
            let hold: HoldRecord = entry.json()?;
            if !owned.contains(&hold.id) {
                let unchanged = Compare::ModRevision(entry.key.clone(), entry.mod_revision);
                found.holds.push((entry.key.clone(), unchanged));
            }
        }
    }
    Ok(found)
}

/// Settles all that is left over.
///
/// # Errors
/// When something could not be settled now; the rest is.
pub async fn settle_all(to: Fenced<'_>) -> Result<(), Outcome> {
    let found = find(to.world.cluster()).await?;
    let mut failed = None;
    for (key, unchanged) in found.holds {
        let txn = Txn::new().when(unchanged).then(Op::delete(key));
        match to.txn(txn, "the hold was changed meanwhile").await {
            Err(WriteError::Superseded) => return Err(Outcome::Superseded),
            Err(error) => failed = Some(error.into()),
            Ok(_) => {}
        }
    }
    for (keyspace, workflow) in found.switches {
        match settle::settle(to, &keyspace, &workflow, "").await {
            Err(Outcome::Superseded) => return Err(Outcome::Superseded),
            Err(outcome) => failed = Some(outcome),
            Ok(_) => {}
        }
    }
    failed.map_or(Ok(()), Err)
}
