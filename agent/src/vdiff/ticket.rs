//! A comparison's record, written by whoever holds the workflow's comparison lock and nobody else.

use tracing::debug;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{Revision, VDiffRecord, VDiffState};
use vtplan_state::store::{Compare, LockGuard, Op, Txn, TxnOutcome, unix_millis};

use super::VDiffError;

/// The right to carry out a comparison, with its record.
pub struct Ticket {
    cluster: Cluster,
    key: String,
    /// Holds as long as the lock is this holder's.
    lock: Compare,
    revision: Revision,
    pub record: VDiffRecord,
}

impl Ticket {
    /// `revision`: at which the record was written last.
    pub fn new(
        cluster: Cluster,
        lock: &LockGuard,
        record: VDiffRecord,
        revision: Revision,
    ) -> Self {
        Self {
            key: (cluster.keys()).vdiff(&record.keyspace, &record.workflow, &record.id),
            lock: lock.compare(),
            cluster,
            revision,
            record,
        }
    }

    pub fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    /// Writes the record as it is.
    ///
    /// # Errors
    /// [`VDiffError::Superseded`] when the lock was taken over, or the record changed or deleted by
    /// somebody else.
    pub async fn save(&mut self) -> Result<(), VDiffError> {
        let txn = Txn::new()
            .when(self.lock.clone())
            .when(Compare::ModRevision(self.key.clone(), self.revision))
            .then(Op::put(self.key.clone(), &self.record));
        match self.cluster.store().txn(txn).await {
            Ok(TxnOutcome::Committed(revision)) => {
                self.revision = revision;
                Ok(())
            }
            Ok(TxnOutcome::Refused) => self.find_own().await,
            Err(error) => {
                // It may have been written.
                self.find_own().await?;
                Err(error.into())
            }
        }
    }

    /// After a write of which it is not known whether it was done: goes on from what is there, if it
    /// is this holder's.
    async fn find_own(&mut self) -> Result<(), VDiffError> {
        let store = self.cluster.store();
        let lock = match &self.lock {
            Compare::CreateRevision(key, token) => (key, *token),
            _ => return Err(VDiffError::Superseded),
        };
        let held = store.get(lock.0).await?;
        if held.is_none_or(|entry| entry.create_revision != lock.1) {
            return Err(VDiffError::Superseded);
        }
        let entry = store.get(&self.key).await?.ok_or(VDiffError::Superseded)?;
        if entry.json::<VDiffRecord>()? != self.record {
            return Err(VDiffError::Superseded);
        }
        self.revision = entry.mod_revision;
        Ok(())
    }

    /// Says what the comparison does or waits for, if that is news.
    pub async fn tell(&mut self, message: &str) -> Result<(), VDiffError> {
        if self.record.message == message && self.record.state == VDiffState::Running {
            return Ok(());
        }
        debug!(id = self.record.id, message, "comparison");
        self.record.state = VDiffState::Running;
        message.clone_into(&mut self.record.message);
        self.save().await
    }

    /// Ends the comparison.
    pub async fn end(&mut self, state: VDiffState, message: &str) -> Result<(), VDiffError> {
        self.record.state = state;
        message.clone_into(&mut self.record.message);
        self.record.ended_at = Some(unix_millis());
        self.save().await
    }
}
