//! `SHOW` statements that the gate answers by itself, with the columns that Vitess gives.

use std::collections::BTreeMap;

use vtplan_state::model::{KeyspaceName, TabletType, VSchemaKeyspace};

use super::{Failure, Request};
use crate::plan::{Show, ShowFilter};
use crate::protocol::SqlError;
use crate::protocol::constants::types;
use crate::protocol::messages::{Column, OkPacket, Rows};
use crate::session::{Diagnostics, Session, SessionHandle};
use crate::topology::Snapshot;

/// Whether `text` matches a pattern of `LIKE`, case ignored.
pub fn like(pattern: &str, text: &str) -> bool {
    fn go(p: &[char], t: &[char]) -> bool {
        match p {
            [] => t.is_empty(),
            ['%', rest @ ..] => (0..=t.len()).any(|skip| go(rest, &t[skip..])),
            ['_', rest @ ..] => !t.is_empty() && go(rest, &t[1..]),
            ['\\', c, rest @ ..] | [c, rest @ ..] => t.first() == Some(c) && go(rest, &t[1..]),
        }
    }
    let chars = |s: &str| -> Vec<char> { s.to_lowercase().chars().collect() };
    go(&chars(pattern), &chars(text))
}

impl Session {
    pub(crate) async fn show(
        &mut self,
        snapshot: &Snapshot,
        show: &Show,
        request: &Request<'_>,
    ) -> Result<(), Failure> {
        let rows = match show {
            Show::Keyspaces { column, filter } => {
                let mut rows = Rows::text(&[column]);
                let names = snapshot.catalog.keyspaces().map(|k| k.name.to_string());
                rows.rows = names.map(|n| vec![Some(n)]).collect();
                filtered(rows, filter)
            }
            Show::VitessShards(filter) => {
                let mut rows = Rows::text(&["Shards"]);
                let shards = snapshot.records.shards.values();
                rows.rows = shards
                    .map(|s| vec![Some(format!("{}/{}", s.keyspace, s.shard))])
                    .collect();
                filtered(rows, filter)
            }
            Show::VitessTablets(filter) => filtered(tablets(snapshot), filter),
            Show::VitessTarget => {
                let mut rows = Rows::text(&["Target"]);
                rows.rows.push(vec![Some(self.target.to_string())]);
                rows
            }
            Show::RoutingRules(filter) => {
                let mut rows = Rows::text(&["From", "To"]);
                let rules = snapshot.records.routing.rules.iter();
                rows.rows = rules
                    .filter(|rule| match filter {
                        ShowFilter::All => true,
                        ShowFilter::Like(pattern) => like(pattern, &rule.from_table),
                    })
                    .map(|r| vec![Some(r.from_table.clone()), Some(r.to_tables.join(", "))])
                    .collect();
                rows.rows.sort();
                rows
            }
            Show::VschemaTables => {
                let (_, vschema) = self.vschema(snapshot, None)?;
                let mut rows = Rows::text(&["Tables"]);
                rows.rows = vschema
                    .tables
                    .keys()
                    .map(|t| vec![Some(t.clone())])
                    .collect();
                rows
            }
            Show::VschemaVindexes { keyspace, table } => match table {
                Some(table) => {
                    let (name, vschema) = self.vschema(snapshot, keyspace.as_deref())?;
                    table_vindexes(&name, vschema, table)?
                }
                None => all_vindexes(snapshot, keyspace.as_deref()),
            },
            Show::Warnings {
                errors_only,
                count_only,
            } => return self.show_warnings(*errors_only, *count_only, request).await,
            Show::Processlist { full } => self.processlist(snapshot, *full),
        };
        self.put_rows(&rows, request).await
    }

    /// Answers with rows of the gate's own.
    pub(crate) async fn put_rows(
        &mut self,
        rows: &Rows,
        request: &Request<'_>,
    ) -> Result<(), Failure> {
        let end = OkPacket {
            status: self.status(request.more),
            ..OkPacket::default()
        };
        self.values.found_rows = rows.rows.len() as u64;
        self.values.row_count = -1;
        self.out.clear();
        rows.put(
            &mut self.out,
            &mut self.sequence,
            self.capabilities,
            request.binary(),
            &end,
        );
        self.flush().await.map_err(Failure::Client)
    }

    fn vschema<'a>(
        &self,
        snapshot: &'a Snapshot,
        keyspace: Option<&str>,
    ) -> Result<(KeyspaceName, &'a VSchemaKeyspace), SqlError> {
        let name = match keyspace {
            Some(name) => KeyspaceName::new(name).ok(),
            None => self.target.keyspace.clone(),
        };
        let Some(name) = name else {
            return Err(SqlError::new(1046, b"3D000", "No database selected"));
        };
        match snapshot.records.vschemas.get(&name) {
            Some(vschema) => Ok((name, vschema)),
            None => Err(SqlError::new(
                1105,
                b"HY000",
                format!("VT05003: unknown database '{name}' in vschema"),
            )),
        }
    }

    fn processlist(&self, snapshot: &Snapshot, full: bool) -> Rows {
        let mut rows = Rows::text(&["User", "Host", "db", "Command", "Time", "State", "Info"]);
        rows.columns.insert(0, Column::number("Id"));
        for session in self.shared.sessions.list() {
            let info = session.info();
            let text = info.statement.map(|s| {
                if full {
                    s
                } else {
                    s.chars().take(100).collect()
                }
            });
            rows.rows.push(vec![
                Some(session.id.to_string()),
                Some(info.user),
                Some(session.peer.clone()),
                Some(info.target).filter(|t| !t.is_empty()),
                Some(if text.is_some() { "Query" } else { "Sleep" }.to_owned()),
                Some(info.since.as_secs().to_string()),
                Some(state(snapshot, &session, info.held_by)),
                text,
            ]);
        }
        rows
    }

    /// Warnings and errors of the last statement: from the connection that ran it, while it is
    /// at hand, else what was read from it before it was given back.
    async fn show_warnings(
        &mut self,
        errors_only: bool,
        count_only: bool,
        request: &Request<'_>,
    ) -> Result<(), Failure> {
        if matches!(
            self.diagnostics,
            Diagnostics::Pinned(_) | Diagnostics::Held(..)
        ) {
            self.harvest().await;
        }
        let all: &[[String; 3]] = match &self.diagnostics {
            Diagnostics::Stored(list) => list,
            _ => &[],
        };
        let wanted = all.iter().filter(|w| !errors_only || w[0] == "Error");
        let mut rows = Rows::default();
        if count_only {
            let name = if errors_only {
                "@@session.error_count"
            } else {
                "@@session.warning_count"
            };
            rows.columns.push(Column::number(name));
            rows.rows.push(vec![Some(wanted.count().to_string())]);
        } else {
            rows = Rows::text(&["Level", "Code", "Message"]);
            // As servers describe them: NOT NULL, the code an unsigned INT.
            for column in &mut rows.columns {
                column.flags = 0x01;
            }
            rows.columns[1].column_type = types::LONG;
            rows.columns[1].charset = 63;
            rows.columns[1].flags = 0xa1;
            rows.rows = wanted
                .map(|w| w.iter().cloned().map(Some).collect())
                .collect();
        }
        self.put_rows(&rows, request).await
    }
}

/// What a session has to do with holds.
fn state(snapshot: &Snapshot, session: &SessionHandle, held_by: Option<String>) -> String {
    if let Some(hold) = held_by {
        return format!("Held by {hold}");
    }
    let holds = snapshot.holds.iter();
    let kept: Vec<&str> = holds
        .filter(|hold| session.activity.blocks(hold))
        .map(|hold| hold.record.id.as_str())
        .collect();
    if kept.is_empty() {
        String::new()
    } else {
        format!("Keeps {} from going on", kept.join(", "))
    }
}

fn filtered(mut rows: Rows, filter: &ShowFilter) -> Rows {
    if let ShowFilter::Like(pattern) = filter {
        rows.rows
            .retain(|row| row.iter().flatten().any(|value| like(pattern, value)));
    }
    rows
}

fn tablets(snapshot: &Snapshot) -> Rows {
    let mut rows = Rows::text(&[
        "Cell",
        "Keyspace",
        "Shard",
        "TabletType",
        "State",
        "Alias",
        "Hostname",
        "PrimaryTermStartTime",
    ]);
    for record in snapshot.records.tablets.values() {
        let primary = snapshot.records.is_primary(record);
        let kind = if primary {
            TabletType::Primary
        } else {
            record.tablet_type
        };
        let state = snapshot
            .tablets
            .get(&record.alias)
            .map_or("UNKNOWN".to_owned(), |t| t.state());
        let host = snapshot.records.hosts.get(&record.host);
        rows.rows.push(vec![
            Some(record.alias.cell.to_string()),
            Some(record.keyspace.to_string()),
            Some(record.shard.to_string()),
            Some(kind.as_str().to_uppercase()),
            Some(state),
            Some(record.alias.to_string()),
            Some(host.map_or_else(|| record.host.to_string(), |h| h.address.clone())),
            Some(String::new()),
        ]);
    }
    rows
}

fn params(params: &BTreeMap<String, String>) -> String {
    let list: Vec<String> = params.iter().map(|(k, v)| format!("{k}={v}")).collect();
    list.join("; ")
}

fn all_vindexes(snapshot: &Snapshot, keyspace: Option<&str>) -> Rows {
    let mut rows = Rows::text(&["Keyspace", "Name", "Type", "Params", "Owner"]);
    for (name, vschema) in &snapshot.records.vschemas {
        if keyspace.is_some_and(|k| k != name.as_str()) {
            continue;
        }
        for (vindex, definition) in &vschema.vindexes {
            rows.rows.push(vec![
                Some(name.to_string()),
                Some(vindex.clone()),
                Some(definition.vindex_type.clone()),
                Some(params(&definition.params)),
                Some(definition.owner.clone().unwrap_or_default()),
            ]);
        }
    }
    rows
}

fn table_vindexes(
    keyspace: &KeyspaceName,
    vschema: &VSchemaKeyspace,
    table: &str,
) -> Result<Rows, SqlError> {
    let Some(found) = vschema.tables.get(table) else {
        return Err(SqlError::new(
            1105,
            b"HY000",
            format!("VT05005: table '{table}' does not exist in keyspace '{keyspace}'"),
        ));
    };
    let mut rows = Rows::text(&["Columns", "Name", "Type", "Params", "Owner"]);
    for vindex in &found.column_vindexes {
        let columns: Vec<&str> = vindex.column_names().collect();
        let definition = vschema.vindexes.get(&vindex.name);
        rows.rows.push(vec![
            Some(columns.join(", ")),
            Some(vindex.name.clone()),
            Some(definition.map_or_else(String::new, |d| d.vindex_type.clone())),
            Some(definition.map_or_else(String::new, |d| params(&d.params))),
            Some(definition.and_then(|d| d.owner.clone()).unwrap_or_default()),
        ]);
    }
    Ok(rows)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn like_follows_mysql() {
        for (pattern, text, expected) in [
            ("%", "", true),
            ("cust%", "Customer", true),
            ("c_st", "cost", true),
            ("c_st", "coost", false),
            ("%-80", "customer/-80", true),
            ("a\\%", "a%", true),
            ("a\\%", "ab", false),
            ("", "a", false),
        ] {
            assert_eq!(like(pattern, text), expected, "{text} LIKE {pattern}");
        }
    }
}
