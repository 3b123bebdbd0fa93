//! One attempt at a comparison: from the servers that are there now to the end of the last table.

use std::collections::BTreeMap;
use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::time::Duration;

use futures::future::try_join_all;
use tokio::select;
use tokio::time::sleep;
use tracing::debug;
use vtplan_state::model::{FlavorKind, TableName, VDiffTable, WorkflowRecord, WorkflowSide};
use vtplan_state::store::unix_millis;

use super::VDiffError;
use super::pause::Streams;
use super::servers::{Access, reaches};
use super::table::{self, Comparison, Table};
use super::ticket::Ticket;
use crate::stream::Position;
use crate::stream::server::ServerAddress;
use crate::stream::sharder::Sharder;
use crate::stream::source::{SourceServer, SourceSnapshot};
use crate::stream::table::TableShape;
use crate::stream::wire::Connection;

/// How long a replica may take to have what the streams, or their targets, have.
const REPLICA_PATIENCE: Duration = Duration::from_secs(10);
/// How often a stop is asked for anew.
const EXTEND_EVERY: Duration = Duration::from_secs(2);

/// Compares what is left to compare. When it is done without an error, every table is.
pub async fn attempt(access: &Access<'_>, ticket: &mut Ticket) -> Result<(), VDiffError> {
    let workflow = check(access, ticket)?;
    ticket.tell("choosing servers to read from").await?;
    let (from, to) = (workflow.reads_from(), workflow.writes_to());
    let sources = readers(access, from).await?;
    let targets = readers(access, to).await?;
    let Some(orderer) = sources.first().map(|s| s.address().clone()) else {
        return Err(VDiffError::Failed("the workflow reads no shard".to_owned()));
    };
    let tables = tables(access, &workflow, &sources, &targets).await?;
    estimate(ticket, &workflow, &sources).await?;

    ticket
        .tell("stopping streams for a moment, to open snapshots")
        .await?;
    let mut streams = Streams::find(access, &workflow).await?;
    let opened = snapshots(access, &workflow, &mut streams, &sources, &targets, &tables).await;
    let went_on = streams.go_on().await;
    let (mut of_sources, mut of_targets) = opened?;
    went_on?;

    let begun = |found: &VDiffTable| found.done || found.compared_to.is_some();
    let fresh = !ticket.record.tables.values().any(begun);
    ticket.record.started_at = fresh.then(unix_millis);
    ticket.tell("comparing").await?;
    let names: Vec<String> = to.shards.iter().map(ToString::to_string).collect();
    for table in &tables {
        if (ticket.record.tables.get(&table.name)).is_some_and(|found| found.done) {
            continue;
        }
        let found = ticket.record.tables.get(&table.name).cloned();
        let comparison = Comparison {
            table,
            sources: &mut of_sources,
            targets: &mut of_targets,
            target_names: &names,
            orderer: orderer.clone(),
            found: found.unwrap_or_default(),
            ticket,
        };
        comparison.run().await?;
    }
    for snapshot in of_sources.into_iter().chain(of_targets).flatten() {
        snapshot.close().await;
    }
    Ok(())
}

/// The workflow, if it can be compared now.
fn check(access: &Access<'_>, ticket: &Ticket) -> Result<WorkflowRecord, VDiffError> {
    let record = &ticket.record;
    let failed = |why: String| Err(VDiffError::Failed(why));
    let Some(workflow) = access.records.workflow(&record.keyspace, &record.workflow) else {
        return failed(format!(
            "there is no workflow {}.{} any more",
            record.keyspace, record.workflow
        ));
    };
    if workflow.streams.epoch != record.epoch {
        return failed(
            "the workflow's streams have turned since it was asked for; ask for a new comparison"
                .to_owned(),
        );
    }
    if !workflow.copied {
        return failed(
            "the workflow has not copied every row yet; ask again when it has".to_owned(),
        );
    }
    if workflow.ending.is_some() {
        return failed("the workflow is being ended".to_owned());
    }
    if workflow.paused {
        return failed("the workflow is paused; resume it first".to_owned());
    }
    if workflow.switch.is_some() {
        return Err(VDiffError::NotYet(
            "traffic of the workflow is being switched".to_owned(),
        ));
    }
    if !workflow.streams.running {
        return Err(VDiffError::NotYet(
            "the workflow's streams stand still".to_owned(),
        ));
    }
    Ok(workflow.clone())
}

async fn readers(
    access: &Access<'_>,
    side: &WorkflowSide,
) -> Result<Vec<SourceServer>, VDiffError> {
    let looks = side
        .shards
        .iter()
        .map(|shard| access.reader(&side.keyspace, shard));
    try_join_all(looks).await
}

/// What is known of the tables on both sides.
async fn tables(
    access: &Access<'_>,
    workflow: &WorkflowRecord,
    sources: &[SourceServer],
    targets: &[SourceServer],
) -> Result<Vec<Table>, VDiffError> {
    let shapes = |servers: &[SourceServer]| {
        let looks: Vec<_> = servers.to_vec();
        let names = workflow.tables.clone();
        async move {
            let looks = looks.iter().map(|server| server.tables(&names));
            try_join_all(looks).await
        }
    };
    let (of_sources, of_targets) = (shapes(sources).await?, shapes(targets).await?);
    let to = workflow.writes_to();
    let none = Default::default();
    let vschema = access.records.vschemas.get(&to.keyspace).unwrap_or(&none);
    let mut tables = Vec::new();
    for (i, name) in workflow.tables.iter().enumerate() {
        let Some(shape) = of_sources.first().map(|shapes| shapes[i].clone()) else {
            continue;
        };
        let aligned = |of_servers: &[Vec<Arc<TableShape>>]| {
            of_servers
                .iter()
                .map(|shapes| table::align(&shape, &shapes[i]).map(Arc::new))
                .collect::<Result<Vec<_>, _>>()
        };
        let (sources, targets) = (aligned(&of_sources)?, aligned(&of_targets)?);
        let entry = vschema.tables.get(name.as_str());
        tables.push(Table {
            name: name.clone(),
            sharder: Sharder::new(&shape, vschema, &to.shards)?,
            reference: vschema.sharded && entry.is_some_and(|t| t.is_reference()),
            json: targets
                .first()
                .map(|target| table::json_columns(&shape, target))
                .unwrap_or_default(),
            sources,
            targets,
            shape,
        });
    }
    Ok(tables)
}

/// Puts estimates of the tables' rows and bytes into the record, for progress.
async fn estimate(
    ticket: &mut Ticket,
    workflow: &WorkflowRecord,
    sources: &[SourceServer],
) -> Result<(), VDiffError> {
    let mut sizes: BTreeMap<TableName, (u64, u64)> = BTreeMap::new();
    let keyspace = &workflow.reads_from().keyspace;
    for server in sources {
        let mut conn = Connection::open(server.address(), None).await?;
        if server.address().flavor == FlavorKind::MySql {
            let fresh = "SET SESSION information_schema_stats_expiry = 0";
            conn.run("counting the tables' rows", fresh).await?;
        }
        let query = format!(
            "SELECT TABLE_NAME, COALESCE(TABLE_ROWS, 0), \
             COALESCE(DATA_LENGTH, 0) + COALESCE(INDEX_LENGTH, 0) FROM information_schema.TABLES \
             WHERE TABLE_SCHEMA = {}",
            crate::flavor::literal(keyspace.as_str())
        );
        for row in conn.rows("counting the tables' rows", query).await? {
            let text = |i: usize| {
                let cell = row.get(i).and_then(Option::as_deref).unwrap_or_default();
                String::from_utf8_lossy(cell).into_owned()
            };
            if let Ok(name) = TableName::new(text(0)) {
                let number = |i: usize| text(i).parse().unwrap_or(0);
                let size: &mut (u64, u64) = sizes.entry(name).or_default();
                *size = (size.0 + number(1), size.1 + number(2));
            }
        }
        conn.close().await;
    }
    for name in &workflow.tables {
        let found = ticket.record.tables.entry(name.clone()).or_default();
        (found.rows_total, found.bytes_total) = sizes.get(name).copied().unwrap_or_default();
    }
    Ok(())
}

type Opened = Vec<Option<SourceSnapshot>>;

/// Snapshots of both sides at one moment of the workflow. The streams are stopped after it.
async fn snapshots(
    access: &Access<'_>,
    workflow: &WorkflowRecord,
    streams: &mut Streams,
    sources: &[SourceServer],
    targets: &[SourceServer],
    tables: &[Table],
) -> Result<(Opened, Opened), VDiffError> {
    let stopped = streams.stop().await?;
    debug!("streams have stopped");
    let (from, to) = (workflow.reads_from(), workflow.writes_to());
    let opening = sources.iter().enumerate().map(async |(i, server)| {
        let shapes: Vec<_> = tables.iter().map(|t| t.sources[i].clone()).collect();
        let primary = access.primary(&from.keyspace, &from.shards[i])?;
        open(server, &primary, &stopped[i], &shapes).await
    });
    let of_sources = while_stopped(streams, try_join_all(opening)).await?;
    let positions: Vec<Position> = of_sources.iter().map(|s| s.position().clone()).collect();
    debug!("the side that is read has its snapshots");
    streams.run_to(&positions).await?;
    debug!("streams are at their positions");
    let opening = targets.iter().enumerate().map(async |(i, server)| {
        let shapes: Vec<_> = tables.iter().map(|t| t.targets[i].clone()).collect();
        let primary = access.primary(&to.keyspace, &to.shards[i])?;
        let written = SourceServer::connect(&primary, &to.keyspace).await?;
        let written = [written.position().await?];
        open(server, &primary, &written, &shapes).await
    });
    let of_targets = while_stopped(streams, try_join_all(opening)).await?;
    debug!("the side that is written has its snapshots");
    // The snapshots are of what the streams stood at only if they stood there all the time.
    streams.check_at(&positions).await?;
    let some = |opened: Vec<SourceSnapshot>| opened.into_iter().map(Some).collect();
    Ok((some(of_sources), some(of_targets)))
}

/// A snapshot that has all of some positions, of the server that was chosen or else of the primary.
async fn open(
    server: &SourceServer,
    primary: &ServerAddress,
    positions: &[Position],
    shapes: &[Arc<TableShape>],
) -> Result<SourceSnapshot, VDiffError> {
    let mut server = server.clone();
    for position in positions {
        if !reaches(&server, position, REPLICA_PATIENCE).await? {
            let keyspace = shapes.first().map(|s| s.keyspace.clone());
            let Some(keyspace) = keyspace else { continue };
            server = SourceServer::connect(primary, &keyspace).await?;
        }
    }
    let snapshot = server.snapshot(shapes).await?;
    if positions.iter().all(|p| snapshot.position().contains(p)) {
        return Ok(snapshot);
    }
    Err(VDiffError::NotYet(format!(
        "{} is at {} and lacks what streams have read already",
        server.address(),
        snapshot.position()
    )))
}

/// Does something while streams stay stopped.
async fn while_stopped<T>(
    streams: &mut Streams,
    work: impl Future<Output = Result<T, VDiffError>>,
) -> Result<T, VDiffError> {
    let mut work = pin!(work);
    loop {
        select! {
            done = &mut work => return done,
            () = sleep(EXTEND_EVERY) => streams.extend().await?,
        }
    }
}
