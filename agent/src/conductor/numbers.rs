//! Sequences that must give no number twice: what columns hold already, and raising sequences above
//! it.

use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::timeout;
use vtplan_planner::plan::{Action, NumberedColumn, SequenceRaise};
use vtplan_state::model::{HeldObject, KeyspaceName, Records, TableName, VSchemaKeyspace};
use vtplan_state::store::{Compare, Op, Txn};

use super::gates;
use super::held::while_held;
use super::step::{Outcome, execute, quoted};
use super::workflow::record::primary;
use super::world::{Sql, Target};
use super::write::Fenced;
use crate::observe::Gathered;

/// How long gates may take to end what is under way on tables that get a sequence.
const DRAIN: Duration = Duration::from_secs(5);
/// How long raising may take then.
const APPLY: Duration = Duration::from_secs(5);

/// Makes a sequence ready to give numbers.
pub async fn init_sequence(
    to: Fenced<'_>,
    action: &Action,
    seen: &Gathered,
) -> Result<(), Outcome> {
    let Action::InitSequence {
        keyspace,
        shard,
        table,
        next_id,
        cache,
        above,
    } = action
    else {
        return Ok(());
    };
    let name = quoted(table.as_str());
    // A row that is there stays as it is: it may have given out ids.
    let statement = format!(
        "INSERT INTO {name} (id, next_id, cache) VALUES (0, {next_id}, {cache}) ON DUPLICATE KEY UPDATE id = id"
    );
    let sql = Sql {
        statements: vec![statement],
        foreign_key_checks: true,
    };
    execute(to, keyspace, shard, sql, seen).await?;
    if above.is_empty() {
        return Ok(());
    }
    let records = &seen.live.records;
    let primary = primary(records, keyspace, shard)?;
    raise_one(to, records, &primary, table, above).await
}

/// Raises sequences above the highest values of their columns. Never lowers one.
pub async fn raise(
    to: Fenced<'_>,
    records: &Records,
    raises: &[SequenceRaise],
) -> Result<(), Outcome> {
    let calls = raises.iter().map(|raise| async move {
        let sequence = primary(records, &raise.keyspace, &raise.shard)?;
        raise_one(to, records, &sequence, &raise.table, &raise.above).await
    });
    try_join_all(calls).await?;
    Ok(())
}

/// Raises one sequence, on its primary.
pub async fn raise_one(
    to: Fenced<'_>,
    records: &Records,
    sequence: &Target,
    table: &TableName,
    above: &[NumberedColumn],
) -> Result<(), Outcome> {
    let mut asked = Vec::new();
    for column in above {
        for shard in records.shards_of(&column.keyspace) {
            if shard.primary.is_some() {
                let primary = primary(records, &column.keyspace, &shard.shard)?;
                asked.push(highest(to, primary, column));
            }
        }
    }
    let highest = try_join_all(asked).await?.into_iter().flatten().max();
    let Some(next) = highest.map(|highest| highest.saturating_add(1)) else {
        return Ok(());
    };
    let statement = format!(
        "UPDATE {} SET next_id = {next} WHERE id = 0 AND next_id < {next}",
        quoted(table.as_str())
    );
    let sql = Sql {
        statements: vec![statement],
        foreign_key_checks: true,
    };
    to.world.execute_sql(sequence, sql).await?;
    Ok(())
}

/// The highest value of a column on a server; `None`: no positive one, or no such table.
async fn highest(
    to: Fenced<'_>,
    on: Target,
    column: &NumberedColumn,
) -> Result<Option<u64>, Outcome> {
    let there = format!(
        "SELECT COUNT(*) AS tables_there FROM information_schema.tables \
         WHERE table_schema = {} AND table_name = {}",
        crate::flavor::literal(column.keyspace.as_str()),
        crate::flavor::literal(column.table.as_str())
    );
    let rows = to.world.query(&on, &there).await?;
    let count = rows.first().and_then(|row| row.get("tables_there"));
    if count.is_none_or(|count| count == "0") {
        return Ok(None);
    }
    // As an integer, whatever the column is: a sequence is one.
    let query = format!(
        "SELECT CAST(CEILING(MAX({})) AS CHAR) AS highest FROM {}",
        quoted(&column.column),
        quoted(column.table.as_str())
    );
    let rows = to.world.query(&on, &query).await?;
    let Some(highest) = rows.first().and_then(|row| row.get("highest")) else {
        return Ok(None);
    };
    match highest.parse::<i128>() {
        Ok(value) if value <= 0 => Ok(None),
        Ok(value) => u64::try_from(value)
            .map(Some)
            .map_err(|_| too_high(column, highest)),
        Err(_) => Err(too_high(column, highest)),
    }
}

fn too_high(column: &NumberedColumn, highest: &str) -> Outcome {
    Outcome::Impossible(format!(
        "column {} of table {}.{} holds `{highest}`, which no sequence can go above; correct that row, or take another column",
        column.column, column.keyspace, column.table
    ))
}

/// Applies a VSchema by which tables with rows take their numbers from sequences: with these tables
/// held, so that no number is given by the table itself after its highest was read.
pub async fn apply_vschema_raising(
    to: Fenced<'_>,
    keyspace: &KeyspaceName,
    before: &Option<VSchemaKeyspace>,
    after: &VSchemaKeyspace,
    raises: &[SequenceRaise],
) -> Result<(), Outcome> {
    let cluster = to.world.cluster();
    let keys = cluster.keys();
    let key = keys.vschema(keyspace);
    let entry = cluster.store().get(&key).await?;
    let old: Option<VSchemaKeyspace> = entry.as_ref().map(|e| e.json()).transpose()?;
    if old.as_ref() == Some(after) {
        return Ok(());
    }
    if old != *before {
        return Err(Outcome::Retry(format!(
            "the VSchema of {keyspace} was changed meanwhile"
        )));
    }
    let id = format!("vschema/{keyspace}");
    let objects = raises.iter().flat_map(|raise| &raise.above);
    let objects = objects
        .map(|column| HeldObject::Table {
            keyspace: column.keyspace.clone(),
            table: column.table.clone(),
        })
        .collect();
    let unchanged = match entry {
        Some(entry) => Compare::ModRevision(key.clone(), entry.mod_revision),
        None => Compare::Absent(key.clone()),
    };
    let apply = async {
        let records = cluster.load_records().await?;
        raise(to, &records, raises).await?;
        to.world.failpoint("conductor.vschema:raised").await;
        let txn = Txn::new()
            .when(unchanged)
            .when(Compare::Exists(keys.keyspace(keyspace)))
            .then(Op::put(key, after));
        let revision = to.txn(txn, "the VSchema was changed meanwhile").await?;
        gates::serve_by(to, revision).await?;
        Ok::<(), Outcome>(())
    };
    let in_time = async {
        timeout(APPLY, apply).await.unwrap_or_else(|_| {
            Err(Outcome::Retry(format!(
                "gates did not follow the VSchema of {keyspace} within {} s",
                APPLY.as_secs()
            )))
        })
    };
    while_held(to, &id, objects, DRAIN, in_time).await
}
