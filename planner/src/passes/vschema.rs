//! VSchemas: applied where they differ, after the tables they speak of are there, and after the
//! sequences that they take numbers from. Another primary vindex would mean that rows are on the
//! wrong shards, so it is refused for a table that is there on several shards.

use vtplan_state::model::{KeyspaceName, TableName, VSchemaKeyspace, VSchemaTable};

use super::draft::{Draft, Order, Phase};
use super::tables::{self, holds_table};
use super::tablets::ShardWork;
use super::view::View;
use crate::desired::DesiredKeyspace;
use crate::ids;
use crate::plan::{Action, Risk, StepId};

pub(crate) fn steps(view: &View, draft: &mut Draft, shards: &[ShardWork]) {
    for (name, keyspace) in &view.desired.keyspaces {
        let before = view.live.records.vschemas.get(name);
        if before == Some(&keyspace.vschema) {
            continue;
        }
        if let Some(before) = before {
            refuse_new_primary_vindexes(view, draft, name, keyspace, before);
        }
        let mut after = vec![ids::create_keyspace(name)];
        for work in shards.iter().filter(|work| work.keyspace == name) {
            after.push(ids::create_shard(name, work.shard));
            after.push(ids::init_primary(name, work.shard));
            after.extend(tables::creations(work));
        }
        after.extend(sequences(view, keyspace));
        draft.step(
            Order::new(Phase::VSchemas, 0, 0).at(view.keyspace_index(name), 0),
            Action::ApplyVschema {
                keyspace: name.clone(),
                before: before.cloned(),
                after: keyspace.vschema.clone(),
                raise: Vec::new(),
            },
            Risk::Safe,
            match before {
                None => format!("{name} has no VSchema yet"),
                Some(_) => format!("the spec has another VSchema for {name}"),
            },
            after,
        );
    }
}

/// The steps that make ready the sequences that a keyspace's tables take numbers from.
fn sequences(view: &View, keyspace: &DesiredKeyspace) -> Vec<StepId> {
    let mut steps = Vec::new();
    for table in keyspace.vschema.tables.values() {
        let Some(auto) = &table.auto_increment else {
            continue;
        };
        let (of, sequence) = match auto.sequence.split_once('.') {
            Some((of, sequence)) => (Some(of), sequence),
            None => (None, auto.sequence.as_str()),
        };
        for (name, other) in &view.desired.keyspaces {
            if of.is_some_and(|of| of.trim_matches('`') != name.as_str()) {
                continue;
            }
            let sequence = sequence.trim_matches('`');
            let Some((table, _)) = other.tables.get_key_value(sequence) else {
                continue;
            };
            for shard in &other.shards {
                steps.push(ids::create_table(name, shard, table));
                steps.push(ids::init_sequence(name, shard, table));
            }
        }
    }
    steps
}

fn refuse_new_primary_vindexes(
    view: &View,
    draft: &mut Draft,
    name: &KeyspaceName,
    keyspace: &DesiredKeyspace,
    before: &VSchemaKeyspace,
) {
    if keyspace.shards.len() < 2 {
        return;
    }
    for (table, new) in &keyspace.vschema.tables {
        let Some(old) = before.tables.get(table) else {
            continue;
        };
        let (was, is) = (placement(before, old), placement(&keyspace.vschema, new));
        if was == is {
            continue;
        }
        let Ok(table) = TableName::new(table.as_str()) else {
            continue;
        };
        if !holds_table(view, name, keyspace, &table) {
            continue;
        }
        draft.error(
            "primary-vindex-changed",
            format!("{name}.{table}"),
            format!(
                "the spec places the table's rows by {is}, and they are placed by {was}: its rows \
                 would be looked for on the wrong shards"
            ),
            "set it back; or make a keyspace with the new vindex, copy the table there and use \
                 it instead (later versions do this with MoveTables)",
        );
    }
}

/// What says on which shard a row of a table is, as text.
fn placement(vschema: &VSchemaKeyspace, table: &VSchemaTable) -> String {
    if let Some(pinned) = &table.pinned {
        return format!("pinning it to keyspace id {pinned}");
    }
    if table.is_reference() {
        return "having all of them on every shard".to_owned();
    }
    let Some(primary) = table.column_vindexes.first() else {
        return "no vindex".to_owned();
    };
    let columns: Vec<&str> = primary.column_names().collect();
    let columns = columns.join(", ");
    match vschema.vindexes.get(&primary.name) {
        None => format!("the vindex {} of {columns}", primary.name),
        Some(vindex) => {
            let params: Vec<String> = vindex
                .params
                .iter()
                .map(|(key, value)| format!(" {key}={value}"))
                .collect();
            format!("{}({columns}){}", vindex.vindex_type, params.concat())
        }
    }
}
