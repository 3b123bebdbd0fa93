//! Starts a workflow: its record with the rules that keep the tables where they are, in one
//! transaction; then, when every live gate routes by them, the streams.

use std::collections::BTreeMap;

use vtplan_planner::plan::Action;
use vtplan_state::model::{
    KeyspaceName, ShardName, TableName, VSchemaKeyspace, VSchemaTable, WorkflowKind, WorkflowRecord,
};
use vtplan_state::store::{Compare, Op, Txn};

use super::record::{self, Loaded};
use crate::conductor::gates;
use crate::conductor::step::{Outcome, quoted};
use crate::conductor::world::Target;
use crate::conductor::write::Fenced;

pub async fn start(to: Fenced<'_>, action: &Action) -> Result<(), Outcome> {
    let Action::StartWorkflow {
        workflow,
        workflow_kind,
        source,
        target,
        tables,
        throttle_max_lag_seconds,
        vschema,
    } = action
    else {
        return Ok(());
    };
    let keyspace = &target.keyspace;
    let there = record::load(to, keyspace, workflow).await?;
    let loaded = match there {
        Some(there) => {
            let r = &there.record;
            if r.kind != *workflow_kind
                || r.source != *source
                || r.target != *target
                || r.tables != *tables
            {
                return Err(Outcome::Impossible(format!(
                    "the name {} is taken by another workflow ({}); end that one first with `vtplan workflow cancel` or `complete`",
                    r.full_name(),
                    r.traffic_state()
                )));
            }
            there
        }
        None => {
            let mut record = WorkflowRecord::new(
                workflow.clone(),
                *workflow_kind,
                source.clone(),
                target.clone(),
                tables.clone(),
            );
            record.throttle_max_lag_seconds = *throttle_max_lag_seconds;
            record.created_at = to.world.now();
            create(to, record, vschema).await?
        }
    };
    let mut loaded = loaded;
    run_streams(to, &mut loaded).await
}

/// Writes the record, with what gates need to keep the tables where they are.
async fn create(
    to: Fenced<'_>,
    workflow: WorkflowRecord,
    entries: &BTreeMap<String, VSchemaTable>,
) -> Result<Loaded, Outcome> {
    check_empty(to, &workflow).await?;
    let keys = to.world.cluster().keys();
    let keyspace = &workflow.target.keyspace;
    let key = keys.workflow(keyspace, &workflow.name);
    let serving = record::serving(to, &workflow).await?;
    let mut txn = Txn::new()
        .when(Compare::Absent(key.clone()))
        .when(Compare::Exists(keys.keyspace(&workflow.source.keyspace)))
        .then(Op::put(key, &workflow));
    if workflow.source.keyspace != *keyspace {
        txn = txn.when(Compare::Exists(keys.keyspace(keyspace)));
    }
    if workflow.kind == WorkflowKind::MoveTables {
        (txn, _) = serving.route_by(to, txn, &workflow, None);
        txn = with_entries(to, txn, keyspace, entries).await?;
    }
    to.txn(
        txn,
        "the workflow, its keyspaces or the routing rules were changed meanwhile",
    )
    .await?;
    record::load_existing(to, keyspace, &workflow.name).await
}

/// Adds to a transaction what gives a VSchema these tables.
async fn with_entries(
    to: Fenced<'_>,
    txn: Txn,
    keyspace: &KeyspaceName,
    entries: &BTreeMap<String, VSchemaTable>,
) -> Result<Txn, Outcome> {
    let cluster = to.world.cluster();
    let key = cluster.keys().vschema(keyspace);
    let entry = cluster.store().get(&key).await?;
    let (mut vschema, unchanged) = match entry {
        Some(entry) => (
            entry.json()?,
            Compare::ModRevision(key.clone(), entry.mod_revision),
        ),
        None => (VSchemaKeyspace::default(), Compare::Absent(key.clone())),
    };
    let before = vschema.clone();
    for (name, table) in entries {
        vschema.tables.insert(name.clone(), table.clone());
    }
    if vschema == before {
        return Ok(txn);
    }
    Ok(txn.when(unchanged).then(Op::put(key, &vschema)))
}

/// Rows that are in the way: what is copied would mix with them.
async fn check_empty(to: Fenced<'_>, workflow: &WorkflowRecord) -> Result<(), Outcome> {
    let records = to.world.cluster().load_records().await?;
    for (shard, primary) in record::primaries(&records, &workflow.target)? {
        let full = first_with_rows(to, &primary, &workflow.tables).await?;
        if let Some(table) = full {
            return Err(Outcome::Impossible(not_empty(workflow, &shard, &table)));
        }
    }
    Ok(())
}

fn not_empty(workflow: &WorkflowRecord, shard: &ShardName, table: &TableName) -> String {
    let (keyspace, source) = (&workflow.target.keyspace, &workflow.source.keyspace);
    format!(
        "table {table} of {keyspace}/{shard} has rows already, and those of {source} would mix with them; empty or drop it there, when its rows are not needed, and apply again"
    )
}

async fn first_with_rows(
    to: Fenced<'_>,
    primary: &Target,
    tables: &[TableName],
) -> Result<Option<TableName>, Outcome> {
    for table in tables {
        let query = format!("SELECT 1 FROM {} LIMIT 1", quoted(table.as_str()));
        if !to.world.query(primary, &query).await?.is_empty() {
            return Ok(Some(table.clone()));
        }
    }
    Ok(None)
}

/// Lets a workflow's streams run, once every live gate routes as it says. Streams that do, or are
/// not to, are left as they are.
pub async fn run_streams(to: Fenced<'_>, loaded: &mut Loaded) -> Result<(), Outcome> {
    let record = &loaded.record;
    if record.streams.running || record.switch.is_some() || record.ending.is_some() {
        return Ok(());
    }
    let serving = record::serving(to, record).await?;
    gates::acknowledge(to, serving.revision).await?;
    let mut next = loaded.record.clone();
    next.streams.running = true;
    loaded.write(to, next, Txn::new()).await?;
    Ok(())
}
