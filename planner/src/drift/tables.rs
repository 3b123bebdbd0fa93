//! Tables on servers: those that the spec does not have, and replicas whose definitions are not their
//! primary's. Tables that are missing or differ on a primary are found by planning.

use std::collections::{BTreeMap, HashMap};

use vtplan_state::model::{ShardRecord, TableName};

use super::{Drift, Finding, Input, Kind};
use crate::live::{ObservedRole, ObservedTable, ServerState};
use crate::moving::Moving;
use crate::seen::{Seen, fingerprint};

pub(super) fn find(input: &Input<'_>, moving: &Moving<'_>, found: &mut Drift) {
    let records = &input.live.records;
    let mut replicas: BTreeMap<_, Vec<_>> = BTreeMap::new();
    for tablet in records.tablets.values() {
        let shard = (&tablet.keyspace, &tablet.shard);
        replicas.entry(shard).or_default().push(&tablet.alias);
    }
    let mut known = Known::new(found);
    for shard in records.shards.values() {
        let Some(primary) = &shard.primary else {
            continue;
        };
        let observed = input.live.observed.tablets.get(primary);
        let Some(tables) = observed.and_then(|o| o.tables.as_ref()) else {
            continue;
        };
        let seen = input.seen.get(primary);
        stray(input, moving, shard, tables, seen, &mut known, found);
        let prints: BTreeMap<&TableName, String> = tables
            .iter()
            .map(|(name, table)| (name, fingerprint(&table.definition)))
            .collect();
        for alias in replicas
            .get(&(&shard.keyspace, &shard.shard))
            .into_iter()
            .flatten()
        {
            let keeps_up = input.live.observed.tablets.get(*alias).is_some_and(|o| {
                matches!(&o.server, ServerState::Running(server) if matches!(
                    server.role,
                    ObservedRole::Replica { healthy: true, lag_seconds: Some(0), .. }
                ))
            });
            // One that is behind has its primary's earlier tables.
            if let Some(seen) = input.seen.get(*alias).filter(|_| keeps_up) {
                skew(shard, alias, &prints, seen, moving, found);
            }
        }
    }
}

/// What planning has found, by object: places in the findings.
struct Known {
    strays: HashMap<String, usize>,
    /// By shard, `commerce/-80`.
    differing: HashMap<String, Vec<(TableName, usize)>>,
}

impl Known {
    fn new(found: &Drift) -> Self {
        let mut known = Self {
            strays: HashMap::new(),
            differing: HashMap::new(),
        };
        for (at, finding) in found.findings.iter().enumerate() {
            match finding.kind {
                Kind::StrayTable => {
                    known.strays.insert(finding.object.clone(), at);
                }
                Kind::TableDiffers => {
                    if let Some((shard, table)) = finding.object.split_once(':')
                        && let Ok(table) = TableName::new(table)
                    {
                        let of_shard = known.differing.entry(shard.to_owned()).or_default();
                        of_shard.push((table, at));
                    }
                }
                _ => {}
            }
        }
        known
    }
}

fn stray(
    input: &Input<'_>,
    moving: &Moving<'_>,
    shard: &ShardRecord,
    tables: &BTreeMap<TableName, ObservedTable>,
    seen: Option<&Seen>,
    known: &mut Known,
    found: &mut Drift,
) {
    let keyspace = &shard.keyspace;
    // What planning has found was changed when the server says.
    let of_shard = known
        .differing
        .remove(&format!("{keyspace}/{}", shard.shard));
    for (table, at) in of_shard.into_iter().flatten() {
        found.findings[at].since = seen.and_then(|seen| seen.tables.get(&table)?.changed_at);
    }
    let Some(desired) = input.desired.keyspaces.get(keyspace) else {
        return;
    };
    for (name, table) in tables {
        if desired.tables.contains_key(name) || moving.has_table(keyspace, name) {
            continue;
        }
        let object = format!("{keyspace}/{}:{name}", shard.shard);
        let since = seen.and_then(|seen| seen.tables.get(name)?.changed_at);
        if let Some(at) = known.strays.get(&object) {
            found.findings[*at].since = since;
            continue;
        }
        let rows = match table.rows {
            0 => "it is there, empty".to_owned(),
            rows => format!("it is there, with about {rows} rows"),
        };
        let mut finding = Finding::new(Kind::StrayTable, object, "no such table", rows).by_person(
            format!(
                "put it into the schema of {keyspace}; or drop it: `DROP TABLE {}.{}` on {keyspace}/{} \
                 through a gate, or `on_remove: drop` for {keyspace} in the spec and `vtplan apply SPEC`",
                quoted(keyspace.as_str()),
                quoted(name.as_str()),
                shard.shard
            ),
        );
        finding.since = since;
        found.findings.push(finding);
    }
}

fn quoted(name: &str) -> String {
    format!("`{}`", name.replace('`', "``"))
}

fn skew(
    shard: &ShardRecord,
    alias: &vtplan_state::model::TabletAlias,
    primary: &BTreeMap<&TableName, String>,
    seen: &Seen,
    moving: &Moving<'_>,
    found: &mut Drift,
) {
    if Some(alias) == shard.primary.as_ref() {
        return;
    }
    let name = format!("{}/{}", shard.keyspace, shard.shard);
    let mut say = |table: &TableName, expected: &str, is: &str, since: Option<u64>| {
        let mut finding =
            Finding::new(Kind::TableSkew, format!("{alias}:{table}"), expected, is).by_person(
                format!(
                    "make it as the primary of {name} has it: set `SESSION sql_log_bin = 0` and alter the \
                     table on {alias} as the admin account; or delete the tablet and let `vtplan apply SPEC` \
                     create it anew"
                ),
            );
        finding.since = since;
        found.findings.push(finding);
    };
    for (table, print) in primary {
        if moving.has_table(&shard.keyspace, table) {
            continue;
        }
        match seen.tables.get(*table) {
            None => say(table, "the primary's table", "it is missing", None),
            Some(there) if there.fingerprint != *print => say(
                table,
                "the primary's definition",
                "another definition",
                there.changed_at,
            ),
            Some(_) => {}
        }
    }
    for (table, there) in &seen.tables {
        if !primary.contains_key(table) && !moving.has_table(&shard.keyspace, table) {
            say(
                table,
                "no such table, as on the primary",
                "it is there",
                there.changed_at,
            );
        }
    }
}
