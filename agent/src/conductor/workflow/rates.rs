//! Keeps how fast a copy or a comparison was, for the estimates of later plans.
//!
//! What was measured is written in the transaction that records the step's work as done, on the
//! condition that this was not recorded before: a step that runs twice, or a conductor that takes
//! over in the middle, writes it once.

use vtplan_state::model::{
    FlavorKind, KeyspaceName, Measurement, RatesRecord, Records, VDiffRecord, WorkflowRecord,
    WorkflowSide,
};
use vtplan_state::store::{Compare, Op, StoreError, Txn};

use super::streams::Streams;
use crate::conductor::write::Fenced;

/// A transaction that keeps a copy's measurement, if there is one to keep.
pub async fn of_copy(
    to: Fenced<'_>,
    records: &Records,
    workflow: &WorkflowRecord,
    streams: &Streams,
) -> Result<Txn, StoreError> {
    let measured = streams.measured();
    let found = measured.and_then(|copied| {
        Some(Measurement {
            rows: copied.rows,
            bytes: copied.bytes,
            shard_milliseconds: copied.milliseconds,
            ..blank(to, records, workflow)?
        })
    });
    keep(to, found, RatesRecord::with_copy).await
}

/// A transaction that keeps a comparison's measurement, if there is one to keep.
pub async fn of_vdiff(
    to: Fenced<'_>,
    workflow: &WorkflowRecord,
    vdiff: &VDiffRecord,
) -> Result<Txn, StoreError> {
    let records = to.world.cluster().load_records().await?;
    let (Some(began), Some(ended)) = (vdiff.started_at, vdiff.ended_at) else {
        return Ok(Txn::new());
    };
    let shards = workflow.reads_from().shards.len() as u64;
    let found = blank(to, &records, workflow).map(|blank| Measurement {
        rows: vdiff.tables.values().map(|t| t.rows_compared).sum(),
        bytes: vdiff.tables.values().map(|t| t.bytes_total).sum(),
        // Of all shards at the same time.
        shard_milliseconds: ended.saturating_sub(began).saturating_mul(shards),
        ..blank
    });
    keep(to, found, RatesRecord::with_vdiff).await
}

async fn keep(
    to: Fenced<'_>,
    found: Option<Measurement>,
    with: fn(&RatesRecord, Measurement) -> Option<RatesRecord>,
) -> Result<Txn, StoreError> {
    let txn = Txn::new();
    let Some(found) = found else {
        return Ok(txn);
    };
    let key = to.world.cluster().keys().rates();
    let entry = to.world.cluster().store().get(&key).await?;
    let (rates, unchanged) = match &entry {
        None => (RatesRecord::default(), Compare::Absent(key.clone())),
        Some(entry) => (
            entry.json()?,
            Compare::ModRevision(key.clone(), entry.mod_revision),
        ),
    };
    Ok(match with(&rates, found) {
        Some(next) => txn.when(unchanged).then(Op::put(key, &next)),
        None => txn,
    })
}

/// `None`: nobody knows what servers these are.
fn blank(to: Fenced<'_>, records: &Records, workflow: &WorkflowRecord) -> Option<Measurement> {
    let from = workflow.reads_from();
    Some(Measurement {
        workflow: workflow.full_name(),
        epoch: workflow.streams.epoch,
        at: to.world.now(),
        rows: 0,
        bytes: 0,
        shard_milliseconds: 0,
        shards: u32::try_from(from.shards.len()).unwrap_or(u32::MAX),
        source: flavor(records, from)?,
        target: flavor(records, workflow.writes_to())?,
    })
}

fn flavor(records: &Records, side: &WorkflowSide) -> Option<FlavorKind> {
    let of_side = |keyspace: &KeyspaceName| *keyspace == side.keyspace;
    let mut tablets = records.tablets.values();
    let tablet = tablets.find(|t| of_side(&t.keyspace) && side.shards.contains(&t.shard));
    tablet.map(|tablet| tablet.flavor)
}
