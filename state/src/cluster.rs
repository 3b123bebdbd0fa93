//! One cluster's records in a store, read, written and watched as types.
//!
//! [`Cluster`] is the way in; [`records`] makes [`Records`] of keys and values, [`watch`] keeps them
//! current, [`plans`] is the approved plans and the history.

mod plans;
mod records;
mod watch;

use std::collections::BTreeMap;
use std::sync::Arc;

use rand::RngExt;
use rand::distr::Alphanumeric;

use crate::model::keys::{Keys, ROOT};
use crate::model::{
    CellName, ClusterRecord, Credentials, GateName, GateRecord, RECORD_FORMAT, Records,
};
use crate::store::{Compare, Op, Store, StoreError, Txn, unix_millis};

pub use plans::PlanView;
pub use records::decode;
pub use watch::{RecordsWatch, Snapshot};

/// A cluster in a store. Cheap to clone.
#[derive(Clone)]
pub struct Cluster {
    store: Arc<dyn Store>,
    keys: Keys,
}

impl std::fmt::Debug for Cluster {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Cluster")
            .field("name", &self.name())
            .field("store", &self.store.url())
            .finish()
    }
}

impl Cluster {
    /// The cluster `name`, whether or not the store holds anything of it. Does no IO.
    pub fn new(store: Arc<dyn Store>, name: &str) -> Result<Self, StoreError> {
        Self::check_name(name)?;
        Ok(Self {
            store,
            keys: Keys::new(name),
        })
    }

    /// Refuses what cannot be a cluster's name.
    pub fn check_name(name: &str) -> Result<(), StoreError> {
        // A name is a part of keys, as a cell's is, so the same characters are safe in it.
        let checked = CellName::new(name).map_err(|error| StoreError::BadClusterName {
            name: name.to_owned(),
            why: error.why,
        });
        checked.map(|_| ())
    }

    /// The cluster `name`, if the store holds it. [`StoreError::NewerFormat`] if a newer vtplan
    /// wrote it.
    pub async fn open(store: Arc<dyn Store>, name: &str) -> Result<Option<Self>, StoreError> {
        let cluster = Self::new(store, name)?;
        Ok(cluster.record().await?.map(|_| cluster))
    }

    /// The cluster `name`, made if the store does not hold it. `created_by` is vtplan's version.
    pub async fn ensure_created(
        store: Arc<dyn Store>,
        name: &str,
        created_by: &str,
    ) -> Result<Self, StoreError> {
        let cluster = Self::new(store, name)?;
        while cluster.record().await?.is_none() {
            let record = ClusterRecord {
                name: name.to_owned(),
                format: RECORD_FORMAT,
                created_at: unix_millis(),
                created_by: created_by.to_owned(),
                generation: 0,
            };
            let (key, restoring) = (cluster.keys.cluster(), cluster.keys.restoring());
            if cluster.store.get(&restoring).await?.is_some() {
                return Err(StoreError::Restoring {
                    url: cluster.store.url().to_owned(),
                    name: name.to_owned(),
                });
            }
            let txn = Txn::new()
                .when(Compare::Absent(key.clone()))
                .when(Compare::Absent(restoring))
                .then(Op::put(key, &record));
            cluster.store.txn(txn).await?;
        }
        Ok(cluster)
    }

    pub fn store(&self) -> &Arc<dyn Store> {
        &self.store
    }

    pub fn keys(&self) -> &Keys {
        &self.keys
    }

    pub fn name(&self) -> &str {
        self.keys.cluster_name()
    }

    /// The cluster's own record; `None` if the store holds nothing of it.
    pub async fn record(&self) -> Result<Option<ClusterRecord>, StoreError> {
        let entry = self.store.get(&self.keys.cluster()).await?;
        entry
            .map(|entry| records::cluster_record(&entry, self.store.url()))
            .transpose()
    }

    /// Everything that plans are made from, at one revision.
    pub async fn load_records(&self) -> Result<Records, StoreError> {
        Ok(self.load_snapshot().await?.records)
    }

    /// The same, with the newest change of what gates route by: a gate that serves by an older revision
    /// is behind. A deletion leaves nothing, and is not told.
    pub async fn load_snapshot(&self) -> Result<Snapshot, StoreError> {
        let prefixes = records::prefixes(&self.keys);
        let prefixes: Vec<&str> = prefixes.iter().map(String::as_str).collect();
        let listing = self.store.list_many(&prefixes).await?;
        records::snapshot(&self.keys, &listing, self.store.url())
    }

    /// The gates that are alive.
    pub async fn gates(&self) -> Result<BTreeMap<GateName, GateRecord>, StoreError> {
        let listing = self.store.list(&self.keys.gates()).await?;
        Ok(decode(&self.keys, &listing, self.store.url())?.gates)
    }

    /// The records, kept current in the background for as long as the returned watch lives.
    pub async fn watch_records(&self) -> Result<RecordsWatch, StoreError> {
        RecordsWatch::start(self.clone()).await
    }

    /// The accounts of agents, gates and replicas on the servers, if they have been made.
    pub async fn credentials(&self) -> Result<Option<Credentials>, StoreError> {
        let entry = self.store.get(&self.keys.credentials()).await?;
        entry.map(|entry| entry.json()).transpose()
    }

    /// The accounts, made with generated passwords by whoever asks first.
    pub async fn ensure_credentials(&self) -> Result<Credentials, StoreError> {
        loop {
            if let Some(credentials) = self.credentials().await? {
                return Ok(credentials);
            }
            let key = self.keys.credentials();
            let txn = Txn::new()
                .when(Compare::Absent(key.clone()))
                .then(Op::put(key, &generate_credentials()));
            self.store.txn(txn).await?;
        }
    }
}

/// All clusters of a store, by name. Those of a newer format are in it too.
pub async fn list_clusters(store: &Arc<dyn Store>) -> Result<Vec<ClusterRecord>, StoreError> {
    let listing = store.list(ROOT).await?;
    let own_record = |key: &str| {
        let name = key
            .strip_prefix(ROOT)
            .and_then(|k| k.strip_suffix("/cluster"));
        name.is_some_and(|name| !name.contains('/'))
    };
    let entries = listing
        .entries
        .iter()
        .filter(|entry| own_record(&entry.key));
    entries.map(|entry| entry.json()).collect()
}

/// Vitess's names for the accounts. The passwords have 142 bits; MySQL allows a replica's no more
/// than 32 characters.
fn generate_credentials() -> Credentials {
    let password = || -> String {
        rand::rng()
            .sample_iter(Alphanumeric)
            .take(24)
            .map(char::from)
            .collect()
    };
    Credentials {
        admin_user: "vt_dba".to_owned(),
        admin_password: password(),
        gate_user: "vt_app".to_owned(),
        gate_password: password(),
        repl_user: "vt_repl".to_owned(),
        repl_password: password(),
        agent_token: password(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generated_passwords_differ_and_need_no_quoting() {
        let (a, b) = (generate_credentials(), generate_credentials());
        let all = [
            &a.admin_password,
            &a.gate_password,
            &a.repl_password,
            &a.agent_token,
            &b.admin_password,
        ];
        let distinct: std::collections::BTreeSet<_> = all.iter().collect();
        assert_eq!(distinct.len(), all.len());
        for password in all {
            assert_eq!(password.len(), 24);
            assert!(
                password.bytes().all(|b| b.is_ascii_alphanumeric()),
                "{password}"
            );
        }
    }
}
