//! A close look at a server, for those who look for drift: what it holds besides what the records ask
//! for, and its tables on replicas too. Reads only.

use std::collections::BTreeMap;

use vtplan_planner::seen::{Seen, SeenTable, fingerprint};
use vtplan_state::model::TableName;

use super::Tablet;
use super::server::SCRATCH_PREFIX;
use super::tables::show_create;
use crate::error::AgentError;
use crate::flavor::{TextRow, identifier, literal};
use crate::sql::Sql;

/// Databases that every server has.
const OF_THE_SERVER: [&str; 5] = [
    "information_schema",
    "performance_schema",
    "mysql",
    "sys",
    "_vt",
];

/// Accounts that servers have by themselves. The agent locks `root`.
const ACCOUNTS_OF_THE_SERVER: [&str; 7] = [
    "root@localhost",
    "mysql@localhost",
    "mariadb.sys@localhost",
    "mysql.sys@localhost",
    "mysql.session@localhost",
    "mysql.infoschema@localhost",
    "PUBLIC@",
];

impl Tablet {
    /// Looks closely at the server.
    ///
    /// # Errors
    /// When it does not run, or does not answer.
    pub async fn inspect(&self) -> Result<Seen, AgentError> {
        let mut sql = self.connect(None).await?;
        let keyspace = self.record().keyspace;
        let databases = "SELECT schema_name AS name FROM information_schema.schemata";
        let databases = sql.column("listing databases", databases).await?;
        let mut seen = Seen {
            source: self
                .replication(&mut sql)
                .await?
                .map(|status| status.source())
                .filter(|source| !self.is_known_source(source)),
            stray_accounts: if self.is_adopted() {
                // They were there before vtplan, as the other databases were.
                Vec::new()
            } else {
                self.stray_accounts(&mut sql).await?
            },
            ..Seen::default()
        };
        for name in &databases {
            let known = self.is_adopted()
                || OF_THE_SERVER.contains(&name.as_str())
                || name == keyspace.as_str()
                || name.starts_with(SCRATCH_PREFIX);
            if !known {
                seen.stray_databases.push(name.clone());
            }
        }
        seen.stray_databases.sort();
        if databases.iter().any(|name| name == keyspace.as_str()) {
            seen.tables = tables(&mut sql, keyspace.as_str()).await?;
        }
        sql.close().await;
        Ok(seen)
    }

    async fn stray_accounts(&self, sql: &mut Sql) -> Result<Vec<String>, AgentError> {
        let own = self.host.credentials.clone();
        let query = "SELECT User AS user, Host AS host FROM mysql.user";
        let rows = sql.rows("listing accounts", query).await?;
        let mut strays: Vec<String> = rows
            .iter()
            .map(|row| (text(row, "user"), text(row, "host")))
            .filter(|(user, host)| {
                let ours = [&own.admin_user, &own.gate_user, &own.repl_user];
                let is_ours = *host == "%" && ours.iter().any(|own| *own == user);
                !is_ours && !ACCOUNTS_OF_THE_SERVER.contains(&format!("{user}@{host}").as_str())
            })
            .map(|(user, host)| format!("{}@{}", literal(user), literal(host)))
            .collect();
        strays.sort();
        Ok(strays)
    }
}

async fn tables(
    sql: &mut Sql,
    keyspace: &str,
) -> Result<BTreeMap<TableName, SeenTable>, AgentError> {
    let what = "listing the keyspace's tables";
    sql.run(what, &format!("USE {}", identifier(keyspace)))
        .await?;
    let query = format!(
        "SELECT table_name AS name, UNIX_TIMESTAMP(create_time) AS at \
         FROM information_schema.tables \
         WHERE table_schema = {} AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')",
        literal(keyspace)
    );
    let mut tables = BTreeMap::new();
    for row in sql.rows(what, &query).await? {
        let name = text(&row, "name");
        let Ok(table) = TableName::new(name) else {
            continue;
        };
        let Some(definition) = show_create(sql, name).await? else {
            continue;
        };
        let at = text(&row, "at").split('.').next().unwrap_or_default();
        let seen = SeenTable {
            fingerprint: fingerprint(&definition),
            changed_at: at.parse().ok(),
        };
        tables.insert(table, seen);
    }
    Ok(tables)
}

pub(super) fn text<'a>(row: &'a TextRow, column: &str) -> &'a str {
    row.get(column).and_then(Option::as_deref).unwrap_or("")
}
