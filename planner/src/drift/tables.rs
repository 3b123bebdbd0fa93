//! Tables on servers: those that the spec does not have, and replicas whose definitions are not their
//! primary's. Tables that are missing or differ on a primary are found by planning.

use std::collections::BTreeMap;

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
    for shard in records.shards.values() {
        let Some(primary) = &shard.primary else {
            continue;
        };
        let observed = input.live.observed.tablets.get(primary);
        let Some(tables) = observed.and_then(|o| o.tables.as_ref()) else {
            continue;
        };
        let seen = input.seen.get(primary);
        stray(input, moving, shard, tables, seen, found);
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

fn stray(
    input: &Input<'_>,
    moving: &Moving<'_>,
    shard: &ShardRecord,
    tables: &BTreeMap<TableName, ObservedTable>,
    seen: Option<&Seen>,
    found: &mut Drift,
) {
    let keyspace = &shard.keyspace;
    let Some(desired) = input.desired.keyspaces.get(keyspace) else {
        return;
    };
    for (name, table) in tables {
        if desired.tables.contains_key(name) || moving.has_table(keyspace, name) {
            continue;
        }
        let object = format!("{keyspace}/{}:{name}", shard.shard);
        let known = |f: &Finding| f.kind == Kind::StrayTable && f.object == object;
        let since = seen.and_then(|seen| seen.tables.get(name)?.changed_at);
        if let Some(finding) = found.findings.iter_mut().find(|f| known(f)) {
            finding.since = since;
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
    // What planning has found was changed when the server says.
    for finding in &mut found.findings {
        if finding.kind == Kind::TableDiffers
            && let Some(table) = finding
                .object
                .strip_prefix(&format!("{keyspace}/{}:", shard.shard))
            && let Ok(table) = TableName::new(table)
        {
            finding.since = seen.and_then(|seen| seen.tables.get(&table)?.changed_at);
        }
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
