//! A workflow's record, read and written under the lock.

use std::collections::BTreeMap;

use vtplan_state::model::{
    KeyspaceName, Records, Revision, RoutingRules, ShardName, ShardRecord, Side, TabletAlias,
    WorkflowKind, WorkflowName, WorkflowRecord, WorkflowSide,
};
use vtplan_state::store::{Compare, Op, StoreError, Txn};

use super::routing;
use crate::conductor::step::Outcome;
use crate::conductor::world::Target;
use crate::conductor::write::{Fenced, WriteError};

/// A record as it was read or written last.
#[derive(Debug, Clone)]
pub struct Loaded {
    pub record: WorkflowRecord,
    /// At which it was written last. It rises with each change, whoever makes it.
    pub revision: Revision,
    key: String,
}

/// Reads the record; `None`: there is no such workflow.
pub async fn load(
    to: Fenced<'_>,
    keyspace: &KeyspaceName,
    workflow: &WorkflowName,
) -> Result<Option<Loaded>, StoreError> {
    let cluster = to.world.cluster();
    let key = cluster.keys().workflow(keyspace, workflow);
    let Some(entry) = cluster.store().get(&key).await? else {
        return Ok(None);
    };
    Ok(Some(Loaded {
        record: entry.json()?,
        revision: entry.mod_revision,
        key,
    }))
}

/// As [`load`], for a step that needs it to be there.
pub async fn load_existing(
    to: Fenced<'_>,
    keyspace: &KeyspaceName,
    workflow: &WorkflowName,
) -> Result<Loaded, Outcome> {
    load(to, keyspace, workflow)
        .await?
        .ok_or_else(|| Outcome::Retry(format!("workflow {keyspace}.{workflow} is not there")))
}

impl Loaded {
    /// Writes the record, if nobody has changed it since, together with `also`. Gives the
    /// transaction's revision.
    pub async fn write(
        &mut self,
        to: Fenced<'_>,
        next: WorkflowRecord,
        also: Txn,
    ) -> Result<Revision, WriteError> {
        let txn = also
            .when(Compare::ModRevision(self.key.clone(), self.revision))
            .then(Op::put(self.key.clone(), &next));
        let changed = format!("the record of {} was changed meanwhile", next.full_name());
        let revision = to.txn(txn, &changed).await?;
        self.record = next;
        self.revision = revision;
        Ok(revision)
    }

    /// Deletes the record, if nobody has changed it since, together with `also`.
    pub async fn delete(self, to: Fenced<'_>, also: Txn) -> Result<Revision, WriteError> {
        let txn = also
            .when(Compare::ModRevision(self.key.clone(), self.revision))
            .then(Op::delete(self.key));
        let name = self.record.full_name();
        to.txn(txn, &format!("the record of {name} was changed meanwhile"))
            .await
    }
}

/// What gates route a workflow's objects by, as it was read.
pub struct Serving {
    /// At which any of it was written last.
    pub revision: Revision,
    kind: Kind,
}

enum Kind {
    Rules(RoutingRules, Compare),
    Shards(Vec<(Side, ShardRecord, Compare)>),
}

/// Reads what gates route by: the rules for a MoveTables, the shards of both sides for a Reshard.
pub async fn serving(to: Fenced<'_>, workflow: &WorkflowRecord) -> Result<Serving, Outcome> {
    let cluster = to.world.cluster();
    let keys = cluster.keys();
    if workflow.kind == WorkflowKind::MoveTables {
        let key = keys.routing();
        let entry = cluster.store().get(&key).await?;
        return Ok(match entry {
            None => Serving {
                revision: 0,
                kind: Kind::Rules(RoutingRules::default(), Compare::Absent(key)),
            },
            Some(entry) => Serving {
                revision: entry.mod_revision,
                kind: Kind::Rules(entry.json()?, Compare::ModRevision(key, entry.mod_revision)),
            },
        });
    }
    let mut shards = Vec::new();
    let mut revision = 0;
    let wanted: Vec<(Side, &KeyspaceName, &ShardName)> = [Side::Source, Side::Target]
        .into_iter()
        .flat_map(|side| {
            let of = workflow.side(side);
            of.shards.iter().map(move |s| (side, &of.keyspace, s))
        })
        .collect();
    let names: Vec<String> = wanted.iter().map(|(_, ks, s)| keys.shard(ks, s)).collect();
    // All at once: a Reshard of many shards is to be switched quickly.
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let listing = cluster.store().list_many(&names).await?;
    let mut entries: BTreeMap<&str, _> = (listing.entries.iter())
        .map(|e| (e.key.as_str(), e))
        .collect();
    for ((side, keyspace, shard), name) in wanted.into_iter().zip(names) {
        let Some(entry) = entries.remove(name) else {
            return Err(Outcome::Retry(format!("shard {keyspace}/{shard} is gone")));
        };
        revision = revision.max(entry.mod_revision);
        let unchanged = Compare::ModRevision(entry.key.clone(), entry.mod_revision);
        shards.push((side, entry.json()?, unchanged));
    }
    Ok(Serving {
        revision,
        kind: Kind::Shards(shards),
    })
}

impl Serving {
    /// Adds to a transaction what makes gates route by `workflow`, on the condition that it is as
    /// it was read. `fence`: a side of a Reshard whose shards take no writes although they serve.
    /// Whether there was anything to add.
    pub fn route_by(
        &self,
        to: Fenced<'_>,
        txn: Txn,
        workflow: &WorkflowRecord,
        fence: Option<Side>,
    ) -> (Txn, bool) {
        match &self.kind {
            Kind::Rules(rules, _) => {
                let mut next = rules.clone();
                next.follow(workflow);
                self.put_rules(to, txn, next)
            }
            Kind::Shards(shards) => {
                let mut txn = txn;
                let mut changes = false;
                for (side, shard, unchanged) in shards {
                    let mut next = routing::with_serving(shard, workflow, *side);
                    next.fenced = fence == Some(*side);
                    if next != *shard {
                        let key = to.world.cluster().keys().shard(&next.keyspace, &next.shard);
                        txn = txn.when(unchanged.clone()).then(Op::put(key, &next));
                        changes = true;
                    }
                }
                (txn, changes)
            }
        }
    }

    /// Adds to a transaction what takes a MoveTables' rules away.
    pub fn forget(&self, to: Fenced<'_>, txn: Txn, workflow: &WorkflowRecord) -> Txn {
        match &self.kind {
            Kind::Rules(rules, _) => {
                let mut next = rules.clone();
                next.forget(workflow);
                let (txn, _) = self.put_rules(to, txn, next);
                txn
            }
            Kind::Shards(_) => txn,
        }
    }

    fn put_rules(&self, to: Fenced<'_>, txn: Txn, next: RoutingRules) -> (Txn, bool) {
        match &self.kind {
            Kind::Rules(rules, unchanged) if *rules != next => {
                let key = to.world.cluster().keys().routing();
                (txn.when(unchanged.clone()).then(Op::put(key, &next)), true)
            }
            _ => (txn, false),
        }
    }
}

/// The primaries of a side's shards, to be called.
pub fn primaries(
    records: &Records,
    side: &WorkflowSide,
) -> Result<BTreeMap<ShardName, Target>, Outcome> {
    let keyspace = &side.keyspace;
    side.shards
        .iter()
        .map(|shard| Ok((shard.clone(), primary(records, keyspace, shard)?)))
        .collect()
}

/// A shard's primary, to be called.
pub fn primary(
    records: &Records,
    keyspace: &KeyspaceName,
    shard: &ShardName,
) -> Result<Target, Outcome> {
    let record = records.shard(keyspace, shard);
    let named: Option<(&TabletAlias, u64)> =
        record.and_then(|r| Some((r.primary.as_ref()?, r.term)));
    let Some((alias, term)) = named else {
        return Err(Outcome::Retry(format!("{keyspace}/{shard} has no primary")));
    };
    let Some(tablet) = records.tablets.get(alias) else {
        return Err(Outcome::Retry(format!("tablet {alias} is gone")));
    };
    match records.hosts.get(&tablet.host) {
        Some(host) => Ok(Target {
            host: host.clone(),
            alias: alias.clone(),
            term,
        }),
        None => Err(Outcome::Retry(format!(
            "no agent is alive on host {}, which has {alias}, the primary of {keyspace}/{shard}; start `vtplan agent` there",
            tablet.host
        ))),
    }
}
