//! Ends workflows. Each thing is done only when what must come before it is, and may be done again:
//! once [`Ending`] stands in the record, there is one way to go.
//!
//! Complete: streams off, and no more of them on any server; then the source's tables dropped, behind their closed fence, so
//! that no stale gate ever writes to a table that is about to go; then fences and `_vt`; then, in
//! one transaction, rules, VSchema entries and the record. Cancel: reads back, and gates follow;
//! then the same with the sides swapped.

use futures::future::try_join_all;
use vtplan_state::model::{
    Ending, KeyspaceName, Records, Side, TabletType, VSchemaKeyspace, WorkflowKind, WorkflowName,
    WorkflowRecord,
};
use vtplan_state::store::{Compare, Op, Txn};

use super::record::{self, Loaded};
use super::vt;
use crate::conductor::gates;
use crate::conductor::step::{Outcome, quoted};
use crate::conductor::switch::{fences, settle};
use crate::conductor::world::{Sql, Target};
use crate::conductor::write::Fenced;

/// Ends a workflow whose traffic is at the target.
pub async fn complete(
    to: Fenced<'_>,
    keyspace: &KeyspaceName,
    workflow: &WorkflowName,
) -> Result<(), Outcome> {
    settle::before_anything(to, keyspace, workflow).await?;
    let Some(mut loaded) = record::load(to, keyspace, workflow).await? else {
        return Ok(());
    };
    let record = &loaded.record;
    let name = record.full_name();
    let reads = [TabletType::Replica, TabletType::Rdonly];
    match record.ending {
        Some(Ending::Completing) => {}
        Some(Ending::Cancelling) => {
            return Err(Outcome::Impossible(format!(
                "workflow {name} is being cancelled, so it cannot be completed"
            )));
        }
        None if record.writes != Side::Target
            || !reads.iter().all(|t| record.reads_switched.contains(t)) =>
        {
            return Err(Outcome::Impossible(format!(
                "workflow {name} cannot be completed before all its traffic is switched ({})",
                record.traffic_state()
            )));
        }
        None => {
            let mut next = record.clone();
            next.ending = Some(Ending::Completing);
            next.streams.running = false;
            loaded.write(to, next, Txn::new()).await?;
        }
    }
    to.world.failpoint("conductor.complete:ending").await;
    clear(to, loaded, Side::Source).await
}

/// Ends a workflow whose writes are at the source.
pub async fn cancel(
    to: Fenced<'_>,
    keyspace: &KeyspaceName,
    workflow: &WorkflowName,
) -> Result<(), Outcome> {
    settle::before_anything(to, keyspace, workflow).await?;
    let Some(mut loaded) = record::load(to, keyspace, workflow).await? else {
        return Ok(());
    };
    let record = &loaded.record;
    let name = record.full_name();
    let serving = record::serving(to, record).await?;
    let mut revision = serving.revision;
    match record.ending {
        Some(Ending::Cancelling) => {}
        Some(Ending::Completing) => {
            return Err(Outcome::Impossible(format!(
                "workflow {name} is being completed, so it cannot be cancelled"
            )));
        }
        None if record.writes != Side::Source => {
            return Err(Outcome::Impossible(format!(
                "workflow {name} cannot be cancelled while its writes are at {}; switch them back first with `vtplan workflow reverse {name}`",
                record.target.keyspace
            )));
        }
        None => {
            let mut next = record.clone();
            next.ending = Some(Ending::Cancelling);
            next.streams.running = false;
            next.reads_switched.clear();
            let (txn, changes) = serving.route_by(to, Txn::new(), &next, None);
            let written = loaded.write(to, next, txn).await?;
            if changes {
                revision = written;
            }
        }
    }
    to.world.failpoint("conductor.cancel:ending").await;
    gates::acknowledge(to, revision).await?;
    clear(to, loaded, Side::Target).await
}

/// Removes what there is of a workflow. `side` loses its tables: the one that nothing is routed to
/// any more, which streams wrote to last.
async fn clear(to: Fenced<'_>, loaded: Loaded, side: Side) -> Result<(), Outcome> {
    let record = loaded.record.clone();
    let moves_tables = record.kind == WorkflowKind::MoveTables;
    let records = to.world.cluster().load_records().await?;
    for side in [Side::Source, Side::Target] {
        on_all(to, &records, &record, side, vt::end(&record)).await?;
    }
    to.world.failpoint("conductor.end:sealed").await;
    if moves_tables {
        drop_tables(to, &records, &record, side).await?;
        to.world.failpoint("conductor.end:dropped").await;
        for side in [side, side.other()] {
            fences::remove(to, &records, &record, side, loaded.revision).await?;
        }
    }
    for side in [Side::Source, Side::Target] {
        on_all(to, &records, &record, side, vt::forget(&record)).await?;
    }
    to.world.failpoint("conductor.end:cleared").await;

    let keys = to.world.cluster().keys();
    let prefix = keys.vdiffs(&record.target.keyspace, &record.name);
    let mut txn = Txn::new().then(Op::DeletePrefix { prefix });
    if moves_tables {
        let serving = record::serving(to, &record).await?;
        txn = serving.forget(to, txn, &record);
        txn = without_entries(to, txn, &record, side).await?;
    }
    loaded.delete(to, txn).await?;
    Ok(())
}

/// Drops a side's tables, in one statement a server.
async fn drop_tables(
    to: Fenced<'_>,
    records: &Records,
    record: &WorkflowRecord,
    side: Side,
) -> Result<(), Outcome> {
    let tables: Vec<String> = (record.tables.iter())
        .map(|table| quoted(table.as_str()))
        .collect();
    let sql = Sql {
        statements: vec![format!("DROP TABLE IF EXISTS {}", tables.join(", "))],
        // They may refer to each other in any order.
        foreign_key_checks: false,
    };
    let calls = record::primaries(records, record.side(side))?
        .into_values()
        .map(|primary| {
            let sql = sql.clone();
            async move { to.world.execute_sql(&primary, sql).await }
        });
    try_join_all(calls).await?;
    Ok(())
}

/// Runs statements about `_vt` on a side's primaries that have it.
async fn on_all(
    to: Fenced<'_>,
    records: &Records,
    record: &WorkflowRecord,
    side: Side,
    sql: Sql,
) -> Result<(), Outcome> {
    let calls = record::primaries(records, record.side(side))?
        .into_values()
        .map(|primary| {
            let sql = sql.clone();
            async move {
                if !has_vt(to, &primary).await? {
                    return Ok(());
                }
                to.world.execute_sql(&primary, sql).await?;
                Ok::<(), Outcome>(())
            }
        });
    try_join_all(calls).await?;
    Ok(())
}

async fn has_vt(to: Fenced<'_>, primary: &Target) -> Result<bool, Outcome> {
    let rows = to.world.query(primary, vt::EXISTS).await?;
    let there = rows.first().and_then(|row| row.get("tables_there"));
    Ok(there.is_some_and(|count| count == "3"))
}

/// Adds to a transaction what takes the tables' entries out of a side's VSchema.
async fn without_entries(
    to: Fenced<'_>,
    txn: Txn,
    record: &WorkflowRecord,
    side: Side,
) -> Result<Txn, Outcome> {
    let cluster = to.world.cluster();
    let key = cluster.keys().vschema(&record.side(side).keyspace);
    let Some(entry) = cluster.store().get(&key).await? else {
        return Ok(txn);
    };
    let mut vschema: VSchemaKeyspace = entry.json()?;
    let before = vschema.tables.len();
    for table in &record.tables {
        vschema.tables.remove(table.as_str());
    }
    if vschema.tables.len() == before {
        return Ok(txn);
    }
    Ok(txn
        .when(Compare::ModRevision(key.clone(), entry.mod_revision))
        .then(Op::put(key, &vschema)))
}
