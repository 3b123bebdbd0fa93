//! A backup's record, written by whoever holds its shard's lock and nobody else; but for requests, which
//! are a person's.

use vtplan_state::cluster::Cluster;
use vtplan_state::model::{BackupRecord, BackupState, Revision};
use vtplan_state::store::{Compare, LockGuard, Op, StoreError, Txn, TxnOutcome, unix_millis};

use crate::error::AgentError;

/// Seconds since 1970.
pub fn now() -> u64 {
    unix_millis() / 1000
}

/// The right to write a backup's record, with the record.
pub struct Ticket {
    cluster: Cluster,
    key: String,
    lock: Compare,
    /// At which it was written last; `None`: it is not there yet.
    revision: Option<Revision>,
    pub record: BackupRecord,
}

impl Ticket {
    pub fn new(
        cluster: &Cluster,
        lock: &LockGuard,
        record: BackupRecord,
        revision: Option<Revision>,
    ) -> Self {
        let keys = cluster.keys();
        Self {
            key: keys.backup(&record.keyspace, &record.shard, &record.id),
            lock: lock.compare(),
            cluster: cluster.clone(),
            revision,
            record,
        }
    }

    /// Writes the record as it is.
    ///
    /// # Errors
    /// The lock was taken over, or somebody else has changed the record.
    pub async fn save(&mut self) -> Result<(), AgentError> {
        let unchanged = match self.revision {
            Some(revision) => Compare::ModRevision(self.key.clone(), revision),
            None => Compare::Absent(self.key.clone()),
        };
        let txn = Txn::new()
            .when(self.lock.clone())
            .when(unchanged)
            .then(Op::put(self.key.clone(), &self.record));
        match self.cluster.store().txn(txn).await {
            Ok(TxnOutcome::Committed(revision)) => {
                self.revision = Some(revision);
                Ok(())
            }
            Ok(TxnOutcome::Refused) => Err(self.superseded()),
            Err(error) => self.find_own(error).await,
        }
    }

    /// After a write of which it is not known whether it was done: goes on if it was.
    async fn find_own(&mut self, error: StoreError) -> Result<(), AgentError> {
        let entry = self.cluster.store().get(&self.key).await?;
        match entry {
            Some(entry) if entry.json::<BackupRecord>()? == self.record => {
                self.revision = Some(entry.mod_revision);
                Ok(())
            }
            _ => Err(error.into()),
        }
    }

    /// Deletes the record.
    ///
    /// # Errors
    /// As [`Ticket::save`].
    pub async fn delete(self) -> Result<(), AgentError> {
        let txn = Txn::new()
            .when(self.lock.clone())
            .then(Op::delete(self.key.clone()));
        match self.cluster.store().txn(txn).await?.committed() {
            Some(_) => Ok(()),
            None => Err(self.superseded()),
        }
    }

    /// Ends it as one that failed.
    pub async fn fail(&mut self, reason: &str) -> Result<(), AgentError> {
        self.record.state = BackupState::Failed;
        reason.clone_into(&mut self.record.reason);
        self.record.ended_at = Some(now());
        self.save().await
    }

    fn superseded(&self) -> AgentError {
        AgentError::Refused(format!(
            "backup {} is another agent's now, or was changed by a person",
            self.record.path()
        ))
    }
}
