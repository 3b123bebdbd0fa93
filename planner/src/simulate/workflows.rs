//! What steps of workflows do to records, and to the tables that are seen.

use vtplan_state::model::{
    KeyspaceName, Side, StreamsWanted, TableName, TabletType, VSchemaKeyspace, WorkflowKind,
    WorkflowName, WorkflowRecord, WorkflowSide,
};

use super::tables;
use crate::live::Live;
use crate::plan::Action;

const READS: [TabletType; 2] = [TabletType::Replica, TabletType::Rdonly];

pub(super) fn apply(live: &mut Live, action: &Action) {
    match action {
        Action::StartWorkflow { .. } => start(live, action),
        Action::WaitForCopy { keyspace, workflow } => {
            copy_rows(live, keyspace, workflow);
            change(live, keyspace, workflow, |record| record.copied = true);
        }
        Action::Vdiff {
            keyspace, workflow, ..
        } => {
            change(live, keyspace, workflow, |record| {
                record.vdiff_passed = true
            });
        }
        Action::WaitForApproval {
            keyspace,
            workflow,
            point,
        } => change(live, keyspace, workflow, |record| {
            record.approved.insert(point.as_str().to_owned());
        }),
        Action::Soak {
            keyspace, workflow, ..
        } => change(live, keyspace, workflow, |record| record.soaked = true),
        Action::SwitchTraffic {
            keyspace,
            workflow,
            tablet_types,
            to,
            ..
        } => {
            change(live, keyspace, workflow, |record| {
                for tablet_type in tablet_types {
                    switch(record, *tablet_type, *to);
                }
            });
            route(live, keyspace, workflow);
        }
        Action::CompleteWorkflow {
            keyspace, workflow, ..
        } => end(live, keyspace, workflow, Side::Target),
        Action::CancelWorkflow {
            keyspace, workflow, ..
        } => end(live, keyspace, workflow, Side::Source),
        _ => {}
    }
}

fn change(
    live: &mut Live,
    keyspace: &KeyspaceName,
    workflow: &WorkflowName,
    change: impl FnOnce(&mut WorkflowRecord),
) {
    let workflows = live.records.workflows.get_mut(keyspace);
    if let Some(record) = workflows.and_then(|w| w.get_mut(workflow)) {
        change(record);
    }
}

fn start(live: &mut Live, action: &Action) {
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
        return;
    };
    let records = &mut live.records;
    let there = records.workflow(&target.keyspace, workflow).is_some();
    if there || !records.keyspaces.contains_key(&target.keyspace) {
        return;
    }
    let mut record = WorkflowRecord::new(
        workflow.clone(),
        *workflow_kind,
        source.clone(),
        target.clone(),
        tables.clone(),
    );
    record.throttle_max_lag_seconds = *throttle_max_lag_seconds;
    record.streams.running = true;
    let workflows = records.workflows.entry(target.keyspace.clone());
    workflows.or_default().insert(workflow.clone(), record);
    if !vschema.is_empty() {
        let entry = records.vschemas.entry(target.keyspace.clone());
        let of_target: &mut VSchemaKeyspace = entry.or_default();
        of_target.tables.extend(vschema.clone());
    }
    route(live, &target.keyspace, workflow);
}

/// What is seen of the target's tables: the rows spread evenly.
fn copy_rows(live: &mut Live, keyspace: &KeyspaceName, workflow: &WorkflowName) {
    let Some(record) = live.records.workflow(keyspace, workflow).cloned() else {
        return;
    };
    if record.copied {
        return;
    }
    for table in &record.tables {
        let (mut rows, mut bytes) = (0, 0);
        for shard in &record.source.shards {
            let there = tables(live, &record.source.keyspace, shard);
            if let Some(seen) = there.and_then(|tables| tables.get(table)) {
                rows += seen.rows;
                bytes += seen.bytes;
            }
        }
        let shards = record.target.shards.len().max(1) as u64;
        for shard in &record.target.shards {
            let there = tables(live, &record.target.keyspace, shard);
            if let Some(seen) = there.and_then(|tables| tables.get_mut(table)) {
                seen.rows = rows.div_ceil(shards);
                seen.bytes = bytes.div_ceil(shards);
            }
        }
    }
}

fn switch(record: &mut WorkflowRecord, tablet_type: TabletType, to: Side) {
    if tablet_type != TabletType::Primary {
        match to {
            Side::Target => record.reads_switched.insert(tablet_type),
            Side::Source => record.reads_switched.remove(&tablet_type),
        };
        return;
    }
    record.switch = None;
    record.switch_failure = None;
    if record.writes == to {
        return;
    }
    record.writes = to;
    record.switched_at = Some(0);
    record.vdiff_passed = false;
    record.soaked = false;
    if to == Side::Source {
        // Going there again is another decision.
        record.approved.clear();
    }
    let start = record.side(to).shards.iter();
    record.streams = StreamsWanted {
        epoch: record.streams.epoch + 1,
        from: to,
        running: true,
        start: start.map(|shard| (shard.clone(), String::new())).collect(),
    };
}

/// Routing rules, or serving shards, as a workflow's record says.
fn route(live: &mut Live, keyspace: &KeyspaceName, workflow: &WorkflowName) {
    let Some(record) = live.records.workflow(keyspace, workflow).cloned() else {
        return;
    };
    match record.kind {
        WorkflowKind::MoveTables => live.records.routing.follow(&record),
        WorkflowKind::Reshard => {
            for side in [Side::Source, Side::Target] {
                serve(live, &record, side);
            }
        }
    }
}

fn serve(live: &mut Live, record: &WorkflowRecord, side: Side) {
    let of = record.side(side);
    for shard in &of.shards {
        let key = (of.keyspace.clone(), shard.clone());
        let Some(shard) = live.records.shards.get_mut(&key) else {
            continue;
        };
        shard.serving = record.writes == side;
        shard.fenced = false;
        shard.serving_reads.clear();
        for tablet_type in READS {
            let switched = record.reads_switched.contains(&tablet_type);
            let serves = switched == (side == Side::Target);
            if serves != shard.serving {
                shard.serving_reads.insert(tablet_type, serves);
            }
        }
        let serving = shard.serving;
        if let Some(primary) = shard.primary.clone()
            && let Some(observed) = live.observed.tablets.get_mut(&primary)
            && let crate::live::ServerState::Running(server) = &mut observed.server
        {
            server.read_only = !serving;
        }
    }
}

/// The workflow ends at a side; the other one loses what it has of it.
fn end(live: &mut Live, keyspace: &KeyspaceName, workflow: &WorkflowName, at: Side) {
    let workflows = live.records.workflows.get_mut(keyspace);
    let Some(mut record) = workflows.and_then(|w| w.remove(workflow)) else {
        return;
    };
    live.records.workflows.retain(|_, w| !w.is_empty());
    match record.kind {
        WorkflowKind::MoveTables => {
            live.records.routing.forget(&record);
            forget_tables(live, record.side(at.other()), &record.tables);
        }
        WorkflowKind::Reshard => {
            record.writes = at;
            record.reads_switched = match at {
                Side::Target => READS.into(),
                Side::Source => Default::default(),
            };
            for side in [Side::Source, Side::Target] {
                serve(live, &record, side);
            }
        }
    }
}

fn forget_tables(live: &mut Live, of: &WorkflowSide, names: &[TableName]) {
    for shard in &of.shards {
        if let Some(tables) = tables(live, &of.keyspace, shard) {
            tables.retain(|name, _| !names.contains(name));
        }
    }
    if let Some(vschema) = live.records.vschemas.get_mut(&of.keyspace) {
        vschema
            .tables
            .retain(|name, _| names.iter().all(|gone| gone.as_str() != name));
    }
}
