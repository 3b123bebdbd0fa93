//! What of a server is not as its agent sets it up: variables that its option file gives it, and
//! vtplan's own accounts; and what workflows have put there ([`super::left`]). Found by comparing, not by remembering; put right only when asked, and only
//! what is still as whoever asks has seen it.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, PoisonError};

use vtplan_planner::live::ServerState;
use vtplan_planner::seen::Deviation;

use super::Tablet;
use crate::error::AgentError;
use crate::flavor::literal;
use crate::sql::{ConnectError, Sql};

/// The options that are compared, with the names of their variables where these differ. Others are
/// paths, or what a server rounds or lowers by itself.
const COMPARED: [(&str, &str); 25] = [
    ("report_host", "report_host"),
    ("report_port", "report_port"),
    ("skip_name_resolve", "skip_name_resolve"),
    ("character_set_server", "character_set_server"),
    ("default_time_zone", "time_zone"),
    ("binlog_format", "binlog_format"),
    ("binlog_row_image", "binlog_row_image"),
    ("binlog_row_metadata", "binlog_row_metadata"),
    ("sync_binlog", "sync_binlog"),
    (
        "innodb_flush_log_at_trx_commit",
        "innodb_flush_log_at_trx_commit",
    ),
    (
        "log_bin_trust_function_creators",
        "log_bin_trust_function_creators",
    ),
    ("innodb_buffer_pool_size", "innodb_buffer_pool_size"),
    ("max_connections", "max_connections"),
    ("max_allowed_packet", "max_allowed_packet"),
    ("performance_schema", "performance_schema"),
    ("gtid_strict_mode", "gtid_strict_mode"),
    ("gtid_domain_id", "gtid_domain_id"),
    ("gtid_mode", "gtid_mode"),
    ("enforce_gtid_consistency", "enforce_gtid_consistency"),
    ("log_slave_updates", "log_slave_updates"),
    ("log_replica_updates", "log_replica_updates"),
    ("slave_net_timeout", "slave_net_timeout"),
    ("replica_net_timeout", "replica_net_timeout"),
    ("binlog_expire_logs_seconds", "binlog_expire_logs_seconds"),
    ("relay_log_recovery", "relay_log_recovery"),
];

/// Those that a running server does not change.
const FIXED: [&str; 9] = [
    "report_host",
    "report_port",
    "skip_name_resolve",
    "performance_schema",
    "gtid_mode",
    "enforce_gtid_consistency",
    "log_slave_updates",
    "log_replica_updates",
    "relay_log_recovery",
];

/// A server may make its buffer pool this much larger than asked for: whole chunks.
const POOL_CHUNK: u64 = 128 << 20;

impl Tablet {
    /// What deviates, as it was found last; looked for now where it never was, or when `anew`. Nothing
    /// of a server that does not run.
    pub async fn deviations(&self, anew: bool) -> Result<Vec<Deviation>, AgentError> {
        if !matches!(self.status().server, ServerState::Running(_)) {
            self.remember_deviations(None);
            return Ok(Vec::new());
        }
        let known = self
            .deviations
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .clone();
        if let Some(known) = known.filter(|_| !anew) {
            return Ok(known);
        }
        let mut sql = self.connect(None).await?;
        let found = self.find_deviations(&mut sql).await?;
        sql.close().await;
        self.remember_deviations(Some(found.clone()));
        Ok(found)
    }

    pub(super) fn remember_deviations(&self, found: Option<Vec<Deviation>>) {
        *self
            .deviations
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = found;
    }

    /// Puts right what is still as in `seen`.
    ///
    /// # Errors
    /// When something of it was changed again meanwhile: nothing is overwritten that nobody has seen.
    pub async fn mend(self: &Arc<Self>, seen: &[Deviation]) -> Result<(), AgentError> {
        let now = self.deviations(true).await?;
        for deviation in seen {
            let name = deviation.name();
            let changed = now.iter().any(|d| d.name() == name && d != deviation);
            if changed {
                return Err(AgentError::Refused(format!(
                    "{name} on tablet {} was changed again since it was looked at; plan again",
                    self.alias
                )));
            }
        }
        let left: Vec<&Deviation> = seen.iter().filter(|d| now.contains(d)).collect();
        let mut sql = self.connect(None).await?;
        let mut accounts = Vec::new();
        let mut of_workflows = Vec::new();
        for deviation in left {
            match deviation {
                Deviation::Variable { name, expected, .. } => {
                    let statement = format!("SET GLOBAL {name} = {}", value(expected));
                    sql.run(&format!("setting {name}"), &statement).await?;
                }
                Deviation::Account { name, .. } => accounts.push(name),
                other => of_workflows.push(other),
            }
        }
        if !accounts.is_empty() {
            let _scratch = self.scratch.lock().await;
            self.make_accounts().await?;
            self.with_admin_writes(&mut sql, async |sql| {
                for account in accounts {
                    self.take_back(sql, account).await?;
                }
                Ok(())
            })
            .await?;
        }
        if !of_workflows.is_empty() {
            self.clear_left(&mut sql, &of_workflows).await?;
        }
        sql.close().await;
        self.deviations(true).await.map(drop)
    }

    async fn find_deviations(&self, sql: &mut Sql) -> Result<Vec<Deviation>, AgentError> {
        let variables = sql.variables("SHOW GLOBAL VARIABLES").await?;
        let mut expected = if self.is_adopted() {
            self.needed_variables()
        } else {
            self.set_up_variables()
        };
        if self.flavor().facts(&variables).semi_sync_source {
            for statement in self.flavor().set_semi_sync_source(true) {
                let set = statement
                    .strip_prefix("SET GLOBAL ")
                    .and_then(|set| set.split_once(" = "));
                if let Some((name, value)) = set {
                    expected.insert(name.to_owned(), value.trim_matches('\'').to_owned());
                }
            }
        }
        let mut found: Vec<Deviation> = Vec::new();
        for (name, expected) in expected {
            let Some(is) = variables.get(&name) else {
                continue;
            };
            if !same(&name, &expected, is) {
                found.push(Deviation::Variable {
                    needs_restart: FIXED.contains(&name.as_str()),
                    name,
                    expected,
                    found: is.clone(),
                });
            }
        }
        let credentials = &self.host.credentials;
        for (user, password) in [
            (&credentials.gate_user, &credentials.gate_password),
            (&credentials.repl_user, &credentials.repl_password),
        ] {
            if let Some(wrong) = self.account(sql, user, password).await? {
                found.push(Deviation::Account {
                    name: format!("{}@'%'", literal(user)),
                    found: wrong,
                });
            }
        }
        found.extend(self.find_left(sql).await?);
        found.sort();
        Ok(found)
    }

    /// What the option file of a server that vtplan made says.
    fn set_up_variables(&self) -> BTreeMap<String, String> {
        let my_cnf = self.flavor().my_cnf(&self.server_conf(&self.record()));
        let extra = self.host.settings.extra.keys();
        let extra: BTreeSet<String> = extra
            .map(|name| name.replace('-', "_").to_lowercase())
            .collect();
        expected(&my_cnf, &extra)
    }

    /// What is wrong with an account of ours, if anything.
    async fn account(
        &self,
        sql: &mut Sql,
        user: &str,
        password: &str,
    ) -> Result<Option<String>, AgentError> {
        let query = format!(
            "SELECT User FROM mysql.user WHERE User = {} AND Host = '%'",
            literal(user)
        );
        if sql
            .column("looking for an account", &query)
            .await?
            .is_empty()
        {
            return Ok(Some("it does not exist".to_owned()));
        }
        let mut wrong = Vec::new();
        match Sql::connect(&self.endpoint(), user, Some(password), None).await {
            Ok(connected) => connected.close().await,
            Err(ConnectError::Denied) => wrong.push("it has another password".to_owned()),
            // ER_ACCOUNT_HAS_BEEN_LOCKED, in MySQL's and MariaDB's words.
            Err(ConnectError::Failed(why)) if why.to_lowercase().contains("locked") => {
                wrong.push("it is locked".to_owned());
            }
            // Too many connections, and the like: about the server.
            Err(_) => {}
        }
        let (lacks, over) = self.grants(sql, user).await?;
        if !lacks.is_empty() {
            wrong.push(format!("it lacks {}", in_words(&lacks)));
        }
        if !over.is_empty() {
            wrong.push(format!("it has {} besides", in_words(&over)));
        }
        Ok((!wrong.is_empty()).then(|| wrong.join("; ")))
    }

    /// What an account lacks, and what it has besides.
    async fn grants(&self, sql: &mut Sql, user: &str) -> Result<(Grants, Grants), AgentError> {
        let account = format!("{}@'%'", literal(user));
        let query = format!("SHOW GRANTS FOR {account}");
        let shown = sql.column("reading an account's grants", &query).await?;
        let there = grants(shown.iter().map(String::as_str));
        let keyspace = self.record().keyspace;
        let statements = self.flavor().accounts(&self.host.credentials, &keyspace);
        let ours = format!(" TO {account}");
        let ours = statements.iter().filter(|s| s.contains(&ours));
        let wanted = grants(ours.map(String::as_str));
        let wanted = as_shown(wanted, &there);
        Ok((
            wanted.difference(&there).cloned().collect(),
            there.difference(&wanted).cloned().collect(),
        ))
    }

    /// Takes from an account of ours what it should not have, and unlocks it.
    async fn take_back(&self, sql: &mut Sql, account: &str) -> Result<(), AgentError> {
        let what = "taking an account's grants back";
        let credentials = &self.host.credentials;
        for user in [&credentials.gate_user, &credentials.repl_user] {
            if format!("{}@'%'", literal(user)) != account {
                continue;
            }
            sql.run(what, &format!("ALTER USER {account} ACCOUNT UNLOCK"))
                .await?;
            let (_, over) = self.grants(sql, user).await?;
            for (scope, privilege) in over {
                let on = match scope.as_str() {
                    "" => String::new(),
                    scope => format!(" ON {scope}"),
                };
                sql.run(what, &format!("REVOKE {privilege}{on} FROM {account}"))
                    .await?;
            }
        }
        Ok(())
    }
}

/// What is granted: where, and what.
type Grants = BTreeSet<(String, String)>;

/// Where a list of privileges is all that there are in a database, MySQL shows `ALL PRIVILEGES`.
fn as_shown(wanted: Grants, there: &Grants) -> Grants {
    let all = |scope: &str| {
        let all = (scope.to_owned(), "ALL PRIVILEGES".to_owned());
        (scope != "*.*" && there.contains(&all)).then_some(all)
    };
    let shown = wanted.into_iter();
    shown
        .map(|(scope, privilege)| all(&scope).unwrap_or((scope, privilege)))
        .collect()
}

fn in_words(grants: &Grants) -> String {
    let words: Vec<String> = grants
        .iter()
        .map(|(scope, privilege)| match scope.as_str() {
            "" => privilege.clone(),
            scope => format!("{privilege} on {scope}"),
        })
        .collect();
    words.join(", ")
}

/// Reads `GRANT a, b ON x TO ...` statements, as they are run and as servers show them.
fn grants<'a>(statements: impl Iterator<Item = &'a str>) -> Grants {
    let mut found = Grants::new();
    for statement in statements {
        let Some(rest) = statement.strip_prefix("GRANT ") else {
            continue;
        };
        let (granted, scope) = match rest.split_once(" ON ") {
            Some((granted, rest)) => (granted, rest.split(" TO ").next().unwrap_or_default()),
            // A role.
            None => (rest.split(" TO ").next().unwrap_or_default(), ""),
        };
        for privilege in granted.split(", ") {
            if privilege != "USAGE" {
                found.insert((scope.trim().to_owned(), privilege.trim().to_owned()));
            }
        }
        if statement.contains(" WITH GRANT OPTION") {
            found.insert((scope.trim().to_owned(), "GRANT OPTION".to_owned()));
        }
    }
    found
}

/// What the option file says of the variables that are compared.
fn expected(my_cnf: &str, extra: &BTreeSet<String>) -> BTreeMap<String, String> {
    let mut expected = BTreeMap::new();
    for line in my_cnf.lines() {
        let line = line.trim();
        if line.is_empty() || line.starts_with(['#', '[']) {
            continue;
        }
        let (name, value) = line.split_once('=').unwrap_or((line, "ON"));
        let name = name.trim().replace('-', "_").to_lowercase();
        let compared = COMPARED.iter().find(|(option, _)| *option == name);
        let variable = match compared {
            Some((_, variable)) => (*variable).to_owned(),
            // Paths and lists have many spellings.
            None if extra.contains(&name) && is_plain(value.trim()) => name,
            None => continue,
        };
        // The last one wins.
        expected.insert(variable, value.trim().to_owned());
    }
    expected
}

fn is_plain(value: &str) -> bool {
    number(value).is_some() || boolean(value).is_some()
}

fn same(name: &str, expected: &str, found: &str) -> bool {
    if let (Some(expected), Some(found)) = (number(expected), number(found)) {
        return match name {
            // Servers lower it themselves where there may be few open files.
            "max_connections" => found <= expected,
            "innodb_buffer_pool_size" => (expected..expected + POOL_CHUNK).contains(&found),
            _ => expected == found,
        };
    }
    if let (Some(expected), Some(found)) = (boolean(expected), boolean(found)) {
        return expected == found;
    }
    expected.eq_ignore_ascii_case(found)
}

fn boolean(value: &str) -> Option<bool> {
    match value.to_ascii_uppercase().as_str() {
        "ON" | "1" | "TRUE" | "YES" => Some(true),
        "OFF" | "0" | "FALSE" | "NO" => Some(false),
        _ => None,
    }
}

/// A number, with or without `K`, `M` or `G`.
fn number(value: &str) -> Option<u64> {
    let (digits, shift) = match value.chars().last()?.to_ascii_uppercase() {
        'K' => (&value[..value.len() - 1], 10),
        'M' => (&value[..value.len() - 1], 20),
        'G' => (&value[..value.len() - 1], 30),
        _ => (value, 0),
    };
    digits.parse::<u64>().ok()?.checked_mul(1 << shift)
}

/// A variable's value in a statement.
fn value(text: &str) -> String {
    match (number(text), boolean(text)) {
        (Some(number), _) => number.to_string(),
        (None, Some(on)) => if on { "ON" } else { "OFF" }.to_owned(),
        (None, None) => literal(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_option_file_says_last_is_expected() {
        let text = "# comment\n[mysqld]\ndatadir = /d\nsync_binlog = 1\ndefault_time_zone = +00:00\n\
                    skip_name_resolve = ON\nsync-binlog = 100\nlong_query_time = 2\nplugin_dir = /x\n";
        let extra = ["sync_binlog", "long_query_time", "plugin_dir"];
        let extra = extra.map(str::to_owned).into();
        let expected: Vec<_> = expected(text, &extra).into_iter().collect();
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(
            expected,
            [
                pair("long_query_time", "2"),
                pair("skip_name_resolve", "ON"),
                pair("sync_binlog", "100"),
                pair("time_zone", "+00:00"),
            ]
        );
    }

    #[test]
    fn values_are_compared_as_servers_mean_them() {
        for (name, expected, found, equal) in [
            ("x", "ON", "1", true),
            ("x", "OFF", "ON", false),
            ("x", "1G", "1073741824", true),
            ("binlog_format", "ROW", "row", true),
            ("sync_binlog", "1", "0", false),
            ("max_connections", "500", "214", true),
            ("max_connections", "500", "5000", false),
            ("innodb_buffer_pool_size", "64M", "134217728", true),
            ("innodb_buffer_pool_size", "64M", "33554432", false),
            ("time_zone", "+00:00", "SYSTEM", false),
        ] {
            assert_eq!(
                same(name, expected, found),
                equal,
                "{name} {expected} {found}"
            );
        }
    }

    #[test]
    fn grants_are_the_same_in_statements_and_as_servers_show_them() {
        let run = [
            "GRANT SELECT, INSERT ON `my\\_shop`.* TO 'vt_app'@'%'",
            "GRANT PROCESS ON *.* TO 'vt_app'@'%'",
        ];
        let shown = [
            "GRANT PROCESS ON *.* TO `vt_app`@`%` IDENTIFIED BY PASSWORD '*AB'",
            "GRANT INSERT, SELECT ON `my\\_shop`.* TO `vt_app`@`%`",
            "GRANT USAGE ON *.* TO `vt_app`@`%`",
        ];
        assert_eq!(grants(run.into_iter()), grants(shown.into_iter()));
        let all = grants(["GRANT ALL PRIVILEGES ON `my\\_shop`.* TO `vt_app`@`%`"].into_iter());
        let shown = as_shown(grants(run.into_iter()), &all);
        let left: Vec<_> = shown.difference(&all).collect();
        assert_eq!(left, [&("*.*".to_owned(), "PROCESS".to_owned())]);
        let more = ["GRANT SUPER ON *.* TO `vt_app`@`%` WITH GRANT OPTION"];
        let more = grants(more.into_iter());
        assert_eq!(in_words(&more), "GRANT OPTION on *.*, SUPER on *.*");
    }
}
