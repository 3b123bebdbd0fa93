//! Where a gate sends the write of a row, by the records that it knows.

use vtplan_state::model::{HeldObject, KeyspaceName, Records, TableName};

use super::data::{Place, RowId, is_on};

/// The shard that a write of `t` goes to; `None`: the name is ambiguous, or nobody serves it.
pub fn route(records: &Records, row: &RowId) -> Option<Place> {
    let keyspace = keyspace_of(records, &row.0)?;
    let shard = records
        .shards_of(&keyspace)
        .find(|shard| shard.serving && is_on(&shard.shard, row.1))?;
    let shard = shard.shard.clone();
    Some((keyspace, shard))
}

fn keyspace_of(records: &Records, table: &TableName) -> Option<KeyspaceName> {
    let mut rules = records.routing.rules.iter();
    if let Some(rule) = rules.find(|rule| rule.from_table == table.as_str()) {
        let (keyspace, _) = rule.to_tables.first()?.split_once('.')?;
        return keyspace.parse().ok();
    }
    let mut has_it = records
        .vschemas
        .iter()
        .filter(|(_, vschema)| vschema.tables.contains_key(table.as_str()));
    match (has_it.next(), has_it.next()) {
        (Some((keyspace, _)), None) => Some(keyspace.clone()),
        _ => None,
    }
}

/// The holds that a write of a row at a place meets.
pub fn holds_on<'a>(records: &'a Records, at: &Place, row: &RowId) -> Vec<&'a str> {
    let meets = |object: &HeldObject| match object {
        HeldObject::Table { keyspace, table } => *keyspace == at.0 && *table == row.0,
        HeldObject::Shard { keyspace, shard } => *keyspace == at.0 && *shard == at.1,
    };
    let holds = records.holds.values();
    let met = holds.filter(|hold| hold.objects.iter().any(meets));
    met.map(|hold| hold.id.as_str()).collect()
}
