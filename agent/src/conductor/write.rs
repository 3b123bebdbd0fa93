//! Writes of the conductor: each compares the lock's token and the state that it changes, so that
//! a superseded conductor writes nothing and a write that is done twice changes nothing.

use serde::Serialize;
use serde::de::DeserializeOwned;
use vtplan_state::model::Revision;
use vtplan_state::store::{Compare, Op, StoreError, Txn, TxnOutcome};

use super::world::World;

/// Why a write was not done, or may not have been done.
#[derive(Debug)]
pub enum WriteError {
    /// The lock is somebody else's now: this conductor is done.
    Superseded,
    /// The state is not the one that was to be changed. The message says what is there instead.
    Changed(String),
    /// It may have been done all the same.
    Store(StoreError),
}

impl From<StoreError> for WriteError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// The world, written to under the lock.
#[derive(Clone, Copy)]
pub struct Fenced<'a> {
    pub world: &'a dyn World,
    /// Holds exactly as long as this conductor has the lock.
    pub lock: &'a Compare,
}

impl<'a> Fenced<'a> {
    /// Commits `txn` if the lock is still held, and gives its revision. `changed` says what it means when it is, and
    /// another compare did not hold.
    pub async fn txn(&self, txn: Txn, changed: &str) -> Result<Revision, WriteError> {
        let store = self.world.cluster().store();
        self.world.failpoint("conductor.before-write").await;
        let outcome = store.txn(txn.when(self.lock.clone())).await?;
        self.world.failpoint("conductor.after-write").await;
        if let TxnOutcome::Committed(revision) = outcome {
            return Ok(revision);
        }
        if self.holds_lock().await? {
            Err(WriteError::Changed(changed.to_owned()))
        } else {
            Err(WriteError::Superseded)
        }
    }

    async fn holds_lock(&self) -> Result<bool, WriteError> {
        let Compare::CreateRevision(key, token) = self.lock else {
            return Ok(false);
        };
        let entry = self.world.cluster().store().get(key).await?;
        Ok(entry.is_some_and(|entry| entry.create_revision == *token))
    }

    /// Takes a record from the state that `change` accepts to the one that it gives. `change` gets
    /// the record as it is (`None`: absent) and says what it should be.
    ///
    /// `also`: what else must hold.
    pub async fn change<T>(
        &self,
        key: String,
        also: &[Compare],
        change: impl FnOnce(Option<T>) -> Result<Change<T>, String>,
    ) -> Result<(), WriteError>
    where
        T: Serialize + DeserializeOwned,
    {
        let entry = self.world.cluster().store().get(&key).await?;
        let old = entry.as_ref().map(|entry| entry.json()).transpose()?;
        let op = match change(old).map_err(WriteError::Changed)? {
            Change::Nothing => return Ok(()),
            Change::Put(new) => Op::put(key.clone(), &new),
            Change::Delete => Op::delete(key.clone()),
        };
        let unchanged = match &entry {
            Some(entry) => Compare::ModRevision(key.clone(), entry.mod_revision),
            None => Compare::Absent(key.clone()),
        };
        let mut txn = Txn::new().when(unchanged).then(op);
        txn.compares.extend_from_slice(also);
        self.txn(txn, &format!("{key} was changed by somebody else"))
            .await?;
        Ok(())
    }

    /// Makes a record where there is none. One that is equal is as good.
    pub async fn create<T>(
        &self,
        key: String,
        also: &[Compare],
        record: T,
    ) -> Result<(), WriteError>
    where
        T: Serialize + DeserializeOwned + PartialEq,
    {
        let name = key.clone();
        self.change(key, also, |old: Option<T>| match old {
            None => Ok(Change::Put(record)),
            Some(old) if old == record => Ok(Change::Nothing),
            Some(_) => Err(format!("{name} exists and says something else")),
        })
        .await
    }

    /// Deletes a record. One that is not there is as good.
    pub async fn delete(&self, key: String, also: &[Compare]) -> Result<(), WriteError> {
        self.change(key, also, |old: Option<serde_json::Value>| {
            Ok(match old {
                None => Change::Nothing,
                Some(_) => Change::Delete,
            })
        })
        .await
    }
}

/// What becomes of a record.
pub enum Change<T> {
    /// It is as it should be.
    Nothing,
    Put(T),
    Delete,
}
