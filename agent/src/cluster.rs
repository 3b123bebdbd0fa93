//! The cluster that an agent belongs to: its record, made when the store holds none.

use std::time::{SystemTime, UNIX_EPOCH};

use vtplan_state::model::keys::{Keys, ROOT};
use vtplan_state::model::{ClusterRecord, RECORD_FORMAT, UnixMillis};
use vtplan_state::store::{Compare, Op, Store, StoreError, Txn};

use crate::error::AgentError;

/// The cluster's record; written when the store holds no cluster at all.
///
/// # Errors
/// When the store holds clusters, and this is none of them: a mistyped name would otherwise make
/// a second, empty one. Or when the records are of a newer format.
pub async fn ensure(store: &dyn Store, keys: &Keys) -> Result<ClusterRecord, AgentError> {
    loop {
        if let Some(entry) = store.get(&keys.cluster()).await? {
            let record: ClusterRecord = entry.json()?;
            if record.format > RECORD_FORMAT {
                return Err(StoreError::NewerFormat {
                    url: store.url().to_owned(),
                    found: record.format,
                    known: RECORD_FORMAT,
                }
                .into());
            }
            return Ok(record);
        }
        let others = other_clusters(store, keys).await?;
        if !others.is_empty() {
            return Err(AgentError::OtherCluster {
                wanted: keys.cluster_name().to_owned(),
                found: others.join(", "),
            });
        }
        let record = ClusterRecord {
            name: keys.cluster_name().to_owned(),
            format: RECORD_FORMAT,
            created_at: now(),
            created_by: env!("CARGO_PKG_VERSION").to_owned(),
        };
        let txn = Txn::new()
            .when(Compare::Absent(keys.cluster()))
            .then(Op::put(keys.cluster(), &record));
        if store.txn(txn).await?.committed().is_some() {
            return Ok(record);
        }
    }
}

/// The names of the clusters that the store holds, but for this one.
async fn other_clusters(store: &dyn Store, keys: &Keys) -> Result<Vec<String>, AgentError> {
    let listing = store.list(ROOT).await?;
    let mut names: Vec<String> = listing
        .entries
        .iter()
        .filter_map(|entry| entry.key.strip_prefix(ROOT)?.strip_suffix("/cluster"))
        .filter(|name| !name.contains('/') && *name != keys.cluster_name())
        .map(|name| format!("`{name}`"))
        .collect();
    names.sort();
    Ok(names)
}

/// Milliseconds since the Unix epoch.
pub fn now() -> UnixMillis {
    let since = SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
