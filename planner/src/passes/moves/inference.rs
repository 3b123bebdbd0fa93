//! Finds all moves: those that run first, for what they hold cannot be part of another.

use vtplan_state::model::{KeyspaceName, Side, WorkflowKind};

use super::{Move, Moves, move_tables, reshard, running, shards_in_words};
use crate::passes::draft::Draft;
use crate::passes::previous::Previous;
use crate::passes::view::View;

/// With `destroy`, what runs is ended where its traffic is, and nothing begins.
pub(crate) fn infer<'a>(
    view: &View<'a>,
    draft: &mut Draft,
    previous: &Previous,
    destroy: bool,
) -> Moves<'a> {
    let mut moves = Moves::default();
    if destroy {
        for record in view.live.records.all_workflows() {
            moves.add(Move::of_record(record, record.writes));
        }
        return moves;
    }
    running::find(view, draft, &mut moves);
    let mut found = reshard::find(view, draft, previous, &mut moves);
    found.extend(move_tables::find(view, draft, previous, &moves));
    refuse_together(draft, &moves, &found);
    for found in found {
        moves.add(found);
    }
    // Places in the list are by name, whether or not some have begun.
    let mut sorted = std::mem::take(&mut moves.list);
    sorted.sort_by(|a, b| (&a.target.keyspace, &a.name).cmp(&(&b.target.keyspace, &b.name)));
    let mut all = Moves {
        refused: moves.refused,
        ..Moves::default()
    };
    for one in sorted {
        all.add(one);
    }
    all
}

/// A keyspace's shards and its tables do not move at the same time.
fn refuse_together(draft: &mut Draft, running: &Moves, found: &[Move]) {
    for new in found {
        for keyspace in [&new.source.keyspace, &new.target.keyspace] {
            let clash = |other: &Move| {
                other.touches(keyspace)
                    && (other.kind == WorkflowKind::Reshard) != (new.kind == WorkflowKind::Reshard)
            };
            if let Some(other) = running.all().iter().find(|m| clash(m)) {
                refuse_beside(draft, new, other, keyspace);
                break;
            }
            if new.kind == WorkflowKind::MoveTables && found.iter().any(clash) {
                draft.error(
                    "one-after-the-other",
                    keyspace.as_str(),
                    format!(
                        "the spec gives `{keyspace}` other shards, and moves tables ({}) between \
                         `{}` and `{}`: both at once would move rows while their places change",
                        super::list(&new.tables),
                        new.source.keyspace,
                        new.target.keyspace
                    ),
                    "make it two changes of the spec, and apply one after the other",
                );
                break;
            }
        }
    }
}

fn refuse_beside(draft: &mut Draft, new: &Move, other: &Move, keyspace: &KeyspaceName) {
    let what = match new.kind {
        WorkflowKind::MoveTables => format!(
            "the spec moves {} from `{}` to `{}`",
            super::list(&new.tables),
            new.source.keyspace,
            new.target.keyspace
        ),
        WorkflowKind::Reshard => format!(
            "the spec gives `{keyspace}` {} in place of {}",
            shards_in_words(&new.target.shards),
            super::list(&new.source.shards)
        ),
    };
    draft.error(
        "workflow-conflict",
        other.full_name(),
        format!("{what}, while this workflow moves data in `{keyspace}`"),
        ways_out(other),
    );
}

/// Both ways in which a running workflow can be got out of the way.
pub(crate) fn ways_out(workflow: &Move) -> String {
    let (source, target) = (&workflow.source, &workflow.target);
    let (on, back) = match workflow.kind {
        WorkflowKind::MoveTables => {
            let tables = super::list(&workflow.tables);
            (
                format!(
                    "{tables} in `{}` alone, which has {}",
                    target.keyspace,
                    shards_in_words(&target.shards)
                ),
                format!("{tables} in `{}` alone", source.keyspace),
            )
        }
        WorkflowKind::Reshard => (
            format!(
                "{} in `{}`",
                shards_in_words(&target.shards),
                target.keyspace
            ),
            shards_in_words(&source.shards),
        ),
    };
    let reverse = match workflow.record.map(|record| record.writes) {
        Some(Side::Target) => "`vtplan workflow reverse` and `cancel`",
        _ => "`vtplan workflow cancel`",
    };
    format!(
        "let it end first: with {on}, the spec lets it go on to its end; with {back}, the spec \
         takes it back (by hand: {reverse}). Then apply this change"
    )
}
