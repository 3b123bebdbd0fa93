//! Filling lookups, and opening them when they are full.

use std::collections::BTreeSet;
use std::time::Duration;

use vtplan_planner::plan::Action;
use vtplan_state::model::{HeldObject, KeyspaceName, VSchemaKeyspace};
use vtplan_state::store::{Compare, Op, Txn};

use super::gates;
use super::held::while_held;
use super::step::Outcome;
use super::write::Fenced;
use crate::lookup::FillError;

/// How long gates may take to end what is under way on the owner.
const DRAIN: Duration = Duration::from_secs(5);

impl From<FillError> for Outcome {
    fn from(error: FillError) -> Self {
        match error {
            FillError::Trouble(why) => Self::Retry(why),
            FillError::Busy => Self::Retry("rows that are compared are being written".to_owned()),
            FillError::Refused(why) => Self::Impossible(why),
        }
    }
}

/// Fills a lookup and opens it.
pub async fn backfill(to: Fenced<'_>, action: &Action) -> Result<(), Outcome> {
    let Action::BackfillLookup {
        keyspace,
        lookup,
        table,
        before,
        after,
    } = action
    else {
        return Ok(());
    };
    let cluster = to.world.cluster();
    let keys = cluster.keys();
    let key = keys.vschema(keyspace);
    let entry = cluster.store().get(&key).await?;
    let Some(entry) = entry else {
        return Err(Outcome::Retry(format!("the VSchema of {keyspace} is gone")));
    };
    let mut vschema: VSchemaKeyspace = entry.json()?;
    let Some(there) = vschema.vindexes.get_mut(lookup) else {
        return Err(Outcome::Retry(format!(
            "lookup {keyspace}.{lookup} is gone"
        )));
    };
    if there == after {
        return Ok(());
    }
    if there != before {
        return Err(Outcome::Retry(format!(
            "lookup {keyspace}.{lookup} was changed meanwhile"
        )));
    }
    there.clone_from(after);
    // Whoever was planned before gates kept the lookup has ended when they have drained this.
    let id = format!("lookup/{keyspace}.{lookup}");
    let owner = HeldObject::Table {
        keyspace: keyspace.clone(),
        table: table.clone(),
    };
    while_held(to, &id, vec![owner], DRAIN, async { Ok(()) }).await?;
    // If a primary changes meanwhile, what was added to the one before may be lost.
    let mut txn = Txn::new().when(Compare::ModRevision(key.clone(), entry.mod_revision));
    let records = cluster.load_records().await?;
    let keyspaces: BTreeSet<&KeyspaceName> = records.keyspaces.keys().collect();
    for shard in keyspaces.into_iter().flat_map(|ks| records.shards_of(ks)) {
        let key = keys.shard(&shard.keyspace, &shard.shard);
        if let Some(entry) = cluster.store().get(&key).await? {
            txn = txn.when(Compare::ModRevision(key, entry.mod_revision));
        }
    }
    to.world.failpoint("conductor.lookup:filling").await;
    let filled = to.world.fill_lookup(&records, keyspace, lookup).await?;
    to.world.failpoint("conductor.lookup:filled").await;
    let txn = txn.then(Op::put(key, &vschema));
    let revision = to
        .txn(
            txn,
            "a primary or the VSchema changed while a lookup was filled",
        )
        .await?;
    tracing::info!(%keyspace, lookup, rows = filled.rows, added = filled.added, "a lookup is full");
    gates::acknowledge(to, revision).await
}
