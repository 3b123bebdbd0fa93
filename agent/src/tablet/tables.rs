//! The tables of a keyspace's database as a primary has them.

use std::collections::BTreeMap;

use vtplan_planner::live::{ObservedRole, ObservedTable, ServerState};
use vtplan_state::model::TableName;

use super::Tablet;
use crate::error::AgentError;
use crate::flavor::{identifier, literal};
use crate::sql::Sql;

/// Comment of a table that is a sequence, as Vitess has it.
const SEQUENCE_COMMENT: &str = "vitess_sequence";

impl Tablet {
    /// The tables of the keyspace's database; `None` when the tablet is no primary.
    pub async fn tables(&self) -> Result<Option<BTreeMap<TableName, ObservedTable>>, AgentError> {
        match self.status().server {
            ServerState::Running(server) if matches!(server.role, ObservedRole::Primary { .. }) => {
            }
            _ => return Ok(None),
        }
        let keyspace = self.record().keyspace;
        let mut sql = self.connect(Some(keyspace.as_str())).await?;
        let query = format!(
            "SELECT table_name AS name, table_rows AS n, \
             COALESCE(data_length, 0) + COALESCE(index_length, 0) AS bytes, \
             table_comment AS comment FROM information_schema.tables \
             WHERE table_schema = {} AND table_type IN ('BASE TABLE', 'SYSTEM VERSIONED')",
            literal(keyspace.as_str())
        );
        let mut tables = BTreeMap::new();
        for row in sql.rows("listing the keyspace's tables", &query).await? {
            let get = |column: &str| row.get(column).cloned().flatten().unwrap_or_default();
            let name = get("name");
            let Ok(table) = TableName::new(name.clone()) else {
                continue;
            };
            let Some(definition) = show_create(&mut sql, &name).await? else {
                continue;
            };
            let sequence = get("comment") == SEQUENCE_COMMENT;
            let sequence_ready = if sequence {
                Some(sequence_ready(&mut sql, &name).await?)
            } else {
                None
            };
            let rows = match get("n").parse().unwrap_or(0) {
                0 => u64::from(has_rows(&mut sql, &name).await?),
                estimated => estimated,
            };
            let observed = ObservedTable {
                definition,
                rows,
                bytes: get("bytes").parse().unwrap_or(0),
                sequence_ready,
            };
            tables.insert(table, observed);
        }
        sql.close().await;
        Ok(Some(tables))
    }
}

/// Whether a table has any row: an estimate of none may be an old one, and what holds nothing is
/// treated otherwise by plans.
async fn has_rows(sql: &mut Sql, table: &str) -> Result<bool, AgentError> {
    let query = format!("SELECT 1 FROM {} LIMIT 1", identifier(table));
    let what = format!("reading the table {table}");
    match sql.column(&what, &query).await {
        Ok(rows) => Ok(!rows.is_empty()),
        // It was dropped meanwhile (ER_NO_SUCH_TABLE).
        Err(AgentError::Sql { why, .. }) if why.ends_with("(error 1146)") => Ok(false),
        Err(error) => Err(error),
    }
}

/// Whether a sequence has the row that its values are taken from.
async fn sequence_ready(sql: &mut Sql, table: &str) -> Result<bool, AgentError> {
    let query = format!("SELECT id FROM {} WHERE id = 0", identifier(table));
    let what = format!("reading the sequence {table}");
    Ok(!sql.column(&what, &query).await?.is_empty())
}

/// `SHOW CREATE TABLE` of a table of the connection's database, without its auto-increment value.
/// `None`: it was dropped meanwhile.
pub(crate) async fn show_create(sql: &mut Sql, table: &str) -> Result<Option<String>, AgentError> {
    let what = format!("reading the definition of {table}");
    let query = format!("SHOW CREATE TABLE {}", identifier(table));
    match sql.rows(&what, &query).await {
        Ok(rows) => Ok(rows
            .first()
            .and_then(|row| row.get("create table").cloned().flatten())
            .map(|text| without_auto_increment(&text))),
        // ER_NO_SUCH_TABLE
        Err(AgentError::Sql { why, .. }) if why.ends_with("(error 1146)") => Ok(None),
        Err(error) => Err(error),
    }
}

/// A definition without the table option `AUTO_INCREMENT=n`, which changes as rows come in.
pub fn without_auto_increment(definition: &str) -> String {
    const OPTION: &str = " AUTO_INCREMENT=";
    // Columns and indexes stand in lines of their own, indented; the options follow the closing
    // parenthesis. What is quoted among them (COMMENT='...') comes after this one.
    let Some(options) = definition.find("\n)") else {
        return definition.to_owned();
    };
    let (columns, options) = definition.split_at(options);
    let unquoted = options.find('\'').unwrap_or(options.len());
    let Some(at) = options[..unquoted].find(OPTION) else {
        return definition.to_owned();
    };
    let digits = &options[at + OPTION.len()..];
    let after = digits
        .find(|c: char| !c.is_ascii_digit())
        .unwrap_or(digits.len());
    format!("{columns}{}{}", &options[..at], &digits[after..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_tables_own_auto_increment_value_is_left_out() {
        let create = |options: &str| {
            format!(
                "CREATE TABLE `t` (\n  `id` int NOT NULL AUTO_INCREMENT COMMENT ' AUTO_INCREMENT=1',\n  PRIMARY KEY (`id`)\n) {options}"
            )
        };
        for (with, without) in [
            (
                "ENGINE=InnoDB AUTO_INCREMENT=42 DEFAULT CHARSET=utf8mb4",
                "ENGINE=InnoDB DEFAULT CHARSET=utf8mb4",
            ),
            ("ENGINE=InnoDB AUTO_INCREMENT=42", "ENGINE=InnoDB"),
            ("ENGINE=InnoDB", "ENGINE=InnoDB"),
            (
                "ENGINE=InnoDB COMMENT='has AUTO_INCREMENT=3'",
                "ENGINE=InnoDB COMMENT='has AUTO_INCREMENT=3'",
            ),
        ] {
            assert_eq!(without_auto_increment(&create(with)), create(without));
        }
    }
}
