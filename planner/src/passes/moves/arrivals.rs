//! Whether a table that the spec has in a keyspace comes there, or was there before.

use vtplan_state::model::{KeyspaceName, ShardName, TableName};

use super::list;
use crate::desired::OnRemove;
use crate::live::ObservedTable;
use crate::passes::draft::Draft;
use crate::passes::previous::Previous;
use crate::passes::view::{Tables, View};

/// Whether a keyspace that is to have a table did not have it before. That its VSchema names the table
/// does not say so: it may have been written in advance. One that is there nonetheless, and empty, is
/// what an earlier start of the move has made. `from`: the keyspaces that the table leaves.
pub(super) fn is_new(
    view: &View,
    draft: &mut Draft,
    previous: &Previous,
    keyspace: &KeyspaceName,
    table: &TableName,
    from: &[&KeyspaceName],
) -> bool {
    let mut there: Vec<(&ShardName, &ObservedTable)> = Vec::new();
    let mut unseen = None;
    // Those that do not serve are on their way out.
    let shards = view.live.records.shards_of(keyspace).filter(|s| s.serving);
    for record in shards {
        match view.tables(Some(record)) {
            Tables::Fresh => {}
            Tables::Known(tables) => there.extend(tables.get(table).map(|t| (&record.shard, t))),
            Tables::Unknown => unseen = Some(&record.shard),
        }
    }
    let full = there.iter().find(|(_, seen)| seen.rows > 0);
    let routed = is_routed(view, keyspace, table);
    let had = previous.has_table(keyspace, table);
    if had && (routed || full.is_some()) {
        if full.is_none() && unseen.is_none() {
            refuse_empty_twin(view, draft, previous, keyspace, table, from);
        }
        return false;
    }
    let desired = view.desired.keyspaces.get(keyspace);
    let mut shards = view.live.records.shards_of(keyspace);
    if desired.is_some_and(|d| d.is_adopted()) && shards.all(|s| s.primary.is_none()) {
        draft.error(
            "target-unseen",
            keyspace.as_str(),
            format!(
                "`{table}` comes to this keyspace from another one, and what the servers hold that it \
                 adopts is not known yet"
            ),
            "apply a spec that adopts the servers first, then the one that moves tables there",
        );
        return false;
    }
    if let Some(shard) = unseen {
        // As it was in use before the shard went away.
        if routed && full.is_some() {
            return false;
        }
        draft.error(
            "target-unseen",
            format!("{keyspace}/{shard}"),
            format!(
                "`{table}` comes to this keyspace from another one, and what the shard holds \
                 cannot be read from its primary"
            ),
            "bring the primary's host and server back, then plan again",
        );
        return false;
    }
    let stays_behind = || {
        from.iter()
            .any(|from| leaves_rows(view, previous, from, table))
    };
    if full.is_some() && routed && !stays_behind() {
        return false;
    }
    for (shard, seen) in there.iter().filter(|(_, seen)| seen.rows > 0) {
        draft.error(
            "target-not-empty",
            format!("{keyspace}/{shard}:{table}"),
            format!(
                "the table comes to `{keyspace}` from another keyspace ({}), and about {} rows are \
                 here already, though no workflow runs",
                list(from),
                seen.rows
            ),
            format!(
                "if these rows can go, drop `{table}` in {keyspace}/{shard} by hand, and plan \
                 again; if it is another table, give it another name; if those it would be copied \
                 from can go, say `on_remove: drop` in that keyspace"
            ),
        );
    }
    full.is_none()
}

/// Both keyspaces had the table, one loses it with rows in it, and the other's is empty.
fn refuse_empty_twin(
    view: &View,
    draft: &mut Draft,
    previous: &Previous,
    keyspace: &KeyspaceName,
    table: &TableName,
    from: &[&KeyspaceName],
) {
    let leaving = from
        .iter()
        .find(|from| previous.has_table(from, table) && leaves_rows(view, previous, from, table));
    let Some(leaving) = leaving else { return };
    draft.error(
        "move-or-not",
        format!("{keyspace}.{table}"),
        format!(
            "the spec no longer has `{table}` in `{leaving}`, where it has rows, and has it in \
             `{keyspace}`, where it was before and is empty: it is not said whether the rows are \
             to come here"
        ),
        format!(
            "if they are: first take `{table}` out of `{keyspace}` with `on_remove: drop` there and \
             apply, then make this change. If not: keep `{table}` in `{leaving}`, or say \
             `on_remove: drop` there"
        ),
    );
}

/// Whether a keyspace that loses a table would keep rows of it.
fn leaves_rows(
    view: &View,
    previous: &Previous,
    keyspace: &KeyspaceName,
    table: &TableName,
) -> bool {
    let desired = view.desired.keyspaces.get(keyspace);
    let on_remove = desired.map_or_else(|| previous.keyspace(keyspace), |d| d.on_remove);
    if on_remove == OnRemove::Drop || previous.table(keyspace, table) == OnRemove::Drop {
        return false;
    }
    let mut shards = view.live.records.shards_of(keyspace).filter(|s| s.serving);
    shards.any(|record| match view.tables(Some(record)) {
        Tables::Known(tables) => tables.get(table).is_some_and(|seen| seen.rows > 0),
        Tables::Fresh | Tables::Unknown => false,
    })
}

pub(super) fn is_routed(view: &View, keyspace: &KeyspaceName, table: &TableName) -> bool {
    let vschema = view.live.records.vschemas.get(keyspace);
    vschema.is_some_and(|vschema| vschema.tables.contains_key(table.as_str()))
}
