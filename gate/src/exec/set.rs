//! `SET`. A server checks and evaluates it; the values that came out are kept in the session and
//! applied to whichever connection runs its next statement.

use std::sync::Arc;

use vtplan_state::model::FlavorKind;

use super::{Failure, Request, backend_failure};
use crate::backend::settings::literal;
use crate::backend::{BackendError, Settings};
use crate::plan::{QueryPlan, SetAssignment, SetValue, SetVariable, SqlModes};
use crate::protocol::SqlError;
use crate::session::Session;
use crate::topology::Snapshot;

/// Variables that concern one moment or one statement of one connection: the session then keeps
/// that connection.
const OF_A_CONNECTION: [&str; 11] = [
    "timestamp",
    "insert_id",
    "last_insert_id",
    "identity",
    "rand_seed1",
    "rand_seed2",
    "pseudo_thread_id",
    "gtid_next",
    "gtid_seq_no",
    "server_id",
    "sql_log_bin",
];

const CHARSET: [&str; 3] = [
    "character_set_client",
    "character_set_results",
    "collation_connection",
];

fn quoted(text: &str) -> String {
    format!("'{}'", text.replace('\\', "\\\\").replace('\'', "''"))
}

fn value_sql(value: &SetValue) -> String {
    match value {
        SetValue::Default => "DEFAULT".to_owned(),
        SetValue::Null => "NULL".to_owned(),
        SetValue::Text(text) => quoted(text),
        SetValue::Number(number) => number.clone(),
        SetValue::Expression(sql) => sql.clone(),
    }
}

/// The text that a server takes for one assignment.
fn assignment_sql(assignment: &SetAssignment) -> String {
    let value = value_sql(&assignment.value);
    match &assignment.variable {
        SetVariable::User(name) => format!("@`{}` = {value}", name.replace('`', "``")),
        SetVariable::Session(name) => format!("SESSION {name} = {value}"),
        SetVariable::Global(name) => format!("GLOBAL {name} = {value}"),
        SetVariable::Names { collation: None } => format!("NAMES {value}"),
        SetVariable::Names {
            collation: Some(collation),
        } => format!("NAMES {value} COLLATE {}", quoted(collation)),
        SetVariable::CharacterSet => format!("CHARACTER SET {value}"),
        // Words, checked by the planner.
        SetVariable::TransactionIsolation { .. } => match &assignment.value {
            SetValue::Text(level) => format!("SESSION TRANSACTION ISOLATION LEVEL {level}"),
            _ => format!("SESSION TRANSACTION ISOLATION LEVEL {value}"),
        },
        SetVariable::TransactionReadOnly { .. } => {
            let mode = if is_on(&assignment.value) == Some(true) {
                "READ ONLY"
            } else {
                "READ WRITE"
            };
            format!("SESSION TRANSACTION {mode}")
        }
    }
}

fn is_on(value: &SetValue) -> Option<bool> {
    let word = match value {
        SetValue::Text(text) | SetValue::Number(text) => text.as_str(),
        SetValue::Default => return Some(true),
        SetValue::Expression(text) => text.trim(),
        SetValue::Null => return None,
    };
    match word.to_ascii_lowercase().as_str() {
        "1" | "on" | "true" => Some(true),
        "0" | "off" | "false" => Some(false),
        _ => None,
    }
}

/// What one assignment leaves to be kept.
enum Kept {
    /// Variables whose values are read back.
    Variables(Vec<String>),
    Nothing,
}

impl Session {
    pub(crate) async fn set(
        &mut self,
        snapshot: &Snapshot,
        plan: &QueryPlan,
        assignments: &[SetAssignment],
        request: &Request<'_>,
    ) -> Result<(), Failure> {
        let mut for_server = Vec::new();
        let mut autocommit = None;
        for assignment in assignments {
            match &assignment.variable {
                SetVariable::Global(name) => {
                    return Err(SqlError::new(
                        1227,
                        b"42000",
                        format!(
                            "Access denied; SET GLOBAL {name} through the gate would change one of many \
                             servers; set it in their configuration"
                        ),
                    )
                    .into());
                }
                SetVariable::Session(name) if name == "autocommit" => {
                    let Some(on) = is_on(&assignment.value) else {
                        let message = format!(
                            "Variable 'autocommit' can't be set to the value of '{}'",
                            value_sql(&assignment.value)
                        );
                        return Err(SqlError::new(1231, b"42000", message).into());
                    };
                    autocommit = Some(on);
                }
                SetVariable::TransactionIsolation { next_only: true }
                | SetVariable::TransactionReadOnly { next_only: true } => {
                    if self.in_transaction() {
                        return Err(SqlError::new(
                            1568,
                            b"25001",
                            "Transaction characteristics can't be changed while a transaction is in progress",
                        )
                        .into());
                    }
                    let sql = assignment_sql(assignment);
                    let sql = sql.strip_prefix("SESSION ").unwrap_or(&sql);
                    self.next_transaction.push(format!("SET {sql}"));
                }
                _ => for_server.push(assignment),
            }
        }
        if !for_server.is_empty() {
            self.set_on_server(snapshot, plan, &for_server, request)
                .await?;
        }
        if let Some(on) = autocommit {
            self.set_autocommit(on).await?;
        }
        self.put_ok(request.more).await.map_err(Failure::Client)
    }

    async fn set_autocommit(&mut self, on: bool) -> Result<(), Failure> {
        if on && !self.autocommit {
            self.commit_all().await?;
        }
        self.autocommit = on;
        let value = (!on).then(|| "0".to_owned());
        self.settings = self.settings.with("autocommit", value);
        Ok(())
    }

    async fn set_on_server(
        &mut self,
        snapshot: &Snapshot,
        plan: &QueryPlan,
        assignments: &[&SetAssignment],
        request: &Request<'_>,
    ) -> Result<(), Failure> {
        let mut variables = Vec::new();
        for assignment in assignments {
            match self.kept_of(snapshot, &assignment.variable) {
                Kept::Variables(names) => variables.extend(names),
                Kept::Nothing => self.reserved = true,
            }
        }
        let texts: Vec<String> = assignments.iter().map(|a| assignment_sql(a)).collect();
        // Two forms of SET stand alone; the others can share a statement, and then count only
        // together.
        let alone = texts.iter().any(|t| t.starts_with("SESSION TRANSACTION "));
        let statements = if alone {
            texts.iter().map(|t| format!("SET {t}")).collect()
        } else {
            vec![format!("SET {}", texts.join(", "))]
        };
        let shard = self.any_shard(snapshot)?;
        let mut held = self.acquire(snapshot, &shard, plan, request.sql).await?;
        let outcome = async {
            let conn = &mut held.pooled.conn;
            for statement in &statements {
                conn.execute(statement).await?;
            }
            if variables.is_empty() {
                return Ok(None);
            }
            let names: Vec<String> = variables.iter().map(|n| selected(n)).collect();
            let sql = format!("SELECT {}", names.join(", "));
            conn.query(sql.as_bytes()).await.map(Some)
        };
        let result = match outcome.await {
            Ok(result) => result,
            Err(BackendError::Sql(error)) => {
                // Some of them may have been set: the connection is not trusted any more, unless
                // it is the session's own.
                if self.must_keep(&held) {
                    self.keep(held);
                }
                return Err(error.into());
            }
            Err(error) => {
                let failure = backend_failure(&held.tablet.alias, error);
                return Err(if held.kept {
                    Failure::Fatal(failure)
                } else {
                    Failure::Sql(failure)
                });
            }
        };
        if let Some(result) = result {
            let row = result.rows.first();
            for (at, name) in variables.iter().enumerate() {
                let value = row.and_then(|r| r.get(at)).and_then(|v| v.as_deref());
                let (kind, charset) = result.columns.get(at).copied().unwrap_or_default();
                if name == "sql_mode" {
                    self.modes = modes(value.unwrap_or_default());
                }
                self.settings = self
                    .settings
                    .with(name, Some(literal(value, kind, charset)));
            }
            held.pooled.conn.settings = self.settings.clone();
        }
        self.put_back(held);
        Ok(())
    }

    fn kept_of(&self, snapshot: &Snapshot, variable: &SetVariable) -> Kept {
        let mariadb = snapshot
            .records
            .hosts
            .values()
            .any(|h| h.flavor == FlavorKind::MariaDb);
        let prefix = if mariadb { "tx" } else { "transaction" };
        Kept::Variables(match variable {
            SetVariable::User(name) => vec![format!("@{name}")],
            SetVariable::Session(name) if OF_A_CONNECTION.contains(&name.as_str()) => {
                return Kept::Nothing;
            }
            SetVariable::Session(name) => match name.as_str() {
                // They follow from each other.
                "character_set_connection" => vec!["collation_connection".to_owned()],
                _ => vec![name.clone()],
            },
            SetVariable::Global(_) => Vec::new(),
            SetVariable::Names { .. } | SetVariable::CharacterSet => {
                CHARSET.map(str::to_owned).to_vec()
            }
            SetVariable::TransactionIsolation { .. } => vec![format!("{prefix}_isolation")],
            SetVariable::TransactionReadOnly { .. } => vec![format!("{prefix}_read_only")],
        })
    }
}

fn selected(name: &str) -> String {
    match name.strip_prefix('@') {
        Some(user) => format!("@`{}`", user.replace('`', "``")),
        None => format!("@@SESSION.{name}"),
    }
}

fn modes(sql_mode: &[u8]) -> SqlModes {
    let has = |mode: &str| {
        sql_mode
            .split(|b| *b == b',')
            .any(|m| m.eq_ignore_ascii_case(mode.as_bytes()))
    };
    SqlModes {
        ansi_quotes: has("ANSI_QUOTES"),
        no_backslash_escapes: has("NO_BACKSLASH_ESCAPES"),
    }
}

/// The settings of a session that has set nothing.
pub fn none() -> Arc<Settings> {
    Arc::new(Settings::default())
}
