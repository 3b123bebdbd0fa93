//! Workflows that there are, and where the spec wants each to end. One that the spec wants neither
//! to go on nor to be taken back is in the way of the change: that is refused, with both ways out.

use std::collections::BTreeSet;

use vtplan_state::model::{Ending, KeyspaceName, ShardName, Side, WorkflowKind, WorkflowRecord};

use super::inference::ways_out;
use super::{Move, Moves};
use crate::passes::draft::Draft;
use crate::passes::view::View;

pub(super) fn find<'a>(view: &View<'a>, draft: &mut Draft, moves: &mut Moves<'a>) {
    for record in view.live.records.all_workflows() {
        let goal = match record.kind {
            WorkflowKind::MoveTables => of_tables(view, record),
            WorkflowKind::Reshard => of_shards(view, record),
        };
        let goal = match goal {
            Ok(goal) => goal,
            Err(why) => {
                let workflow = Move::of_record(record, record.writes);
                draft.error(
                    "workflow-conflict",
                    record.full_name(),
                    format!("{why}, while this workflow is under way"),
                    ways_out(&workflow),
                );
                moves.refuse(&record.source.keyspace);
                moves.refuse(&record.target.keyspace);
                record.writes
            }
        };
        refuse_other_ending(draft, record, goal);
        note(draft, record);
        moves.add(Move::of_record(record, goal));
    }
}

fn of_tables(view: &View, record: &WorkflowRecord) -> Result<Side, String> {
    let (source, target) = (&record.source.keyspace, &record.target.keyspace);
    let has = |keyspace: &KeyspaceName| {
        let desired = view.desired.keyspaces.get(keyspace);
        move |table| desired.is_some_and(|d| d.tables.contains_key(table))
    };
    let (at_source, at_target) = (has(source), has(target));
    let tables = || record.tables.iter();
    let goal = if tables().all(|t| at_target(t) && !at_source(t)) {
        Side::Target
    } else if tables().all(|t| at_source(t) && !at_target(t)) {
        Side::Source
    } else {
        let say = |table| match (at_source(table), at_target(table)) {
            (true, true) => format!("`{table}` in both"),
            (true, false) => format!("`{table}` in `{source}`"),
            (false, true) => format!("`{table}` in `{target}`"),
            (false, false) => format!("`{table}` in neither"),
        };
        let each: Vec<String> = tables().map(say).collect();
        return Err(format!(
            "of `{source}` and `{target}`, the spec has {}",
            each.join(", ")
        ));
    };
    for side in [&record.source, &record.target] {
        let Some(desired) = view.desired.keyspaces.get(&side.keyspace) else {
            continue;
        };
        let wanted: BTreeSet<&ShardName> = desired.shards.iter().collect();
        if wanted != side.shards.iter().collect() {
            return Err(format!(
                "the spec gives `{}` {} in place of {}",
                side.keyspace,
                super::shards_in_words(wanted),
                super::list(&side.shards)
            ));
        }
    }
    Ok(goal)
}

fn of_shards(view: &View, record: &WorkflowRecord) -> Result<Side, String> {
    let keyspace = &record.target.keyspace;
    let Some(desired) = view.desired.keyspaces.get(keyspace) else {
        return Err(format!("the spec no longer has the keyspace `{keyspace}`"));
    };
    let all = |shards: &[ShardName]| shards.iter().all(|shard| desired.shards.contains(shard));
    if all(&record.target.shards) {
        Ok(Side::Target)
    } else if all(&record.source.shards) {
        Ok(Side::Source)
    } else {
        Err(format!(
            "the spec gives `{keyspace}` {}",
            super::shards_in_words(&desired.shards)
        ))
    }
}

/// What is being ended goes to that end.
fn refuse_other_ending(draft: &mut Draft, record: &WorkflowRecord, goal: Side) {
    let (is, end, verb, other) = match (record.ending, goal) {
        (Some(Ending::Completing), Side::Source) => (
            "completed",
            "complete",
            "takes it back",
            "a new move the other way",
        ),
        (Some(Ending::Cancelling), Side::Target) => {
            ("cancelled", "cancel", "wants it", "a new move")
        }
        _ => return,
    };
    draft.error(
        "workflow-is-ending",
        record.full_name(),
        format!("the workflow is being {is} and cannot turn round any more, and the spec {verb}"),
        format!(
            "let it end with `vtplan workflow {end} {}`; the spec is then {other}",
            record.full_name()
        ),
    );
}

fn note(draft: &mut Draft, record: &WorkflowRecord) {
    if record.paused {
        draft.note(
            record.full_name(),
            "is paused: its streams stand still until `vtplan workflow resume`",
        );
    }
    if let Some(why) = &record.switch_failure {
        draft.note(
            record.full_name(),
            format!("its last switch of writes was undone: {why}"),
        );
    }
}
