//! vtplan's own accounts on a server. They are made on every server by itself, outside of the
//! binlog, so that a server can be reached before it replicates.

use serde::{Deserialize, Serialize};

use super::Tablet;
use crate::error::AgentError;
use crate::flavor::literal;
use crate::mysqld::folder::{read_json, write_json};
use crate::sql::{ConnectError, Sql};

/// Rises when [`crate::flavor::Flavor::accounts`] changes, so that existing servers get it.
const ACCOUNTS_VERSION: u32 = 1;

/// `accounts.json`: written when a server has all of its accounts.
#[derive(Debug, Serialize, Deserialize)]
struct AccountsFile {
    version: u32,
}

impl Tablet {
    /// Whether the server's accounts were made, by this or an earlier agent.
    pub(super) fn has_accounts(&self) -> Result<bool, AgentError> {
        let file: Option<AccountsFile> = read_json(&self.dir.accounts_file())?;
        Ok(file.is_some_and(|f| f.version == ACCOUNTS_VERSION))
    }

    /// Makes the accounts and locks the ones that a fresh server has. May be run again.
    pub(super) async fn make_accounts(&self) -> Result<(), AgentError> {
        if self.is_adopted() {
            return self.make_accounts_beside().await;
        }
        let what = "making vtplan's accounts";
        let mut sql = self.connect_as_anybody().await?;
        let flavor = &self.flavor();
        let facts = flavor.facts(&sql.variables(&flavor.facts_query()).await?);
        sql.run(what, "SET SESSION sql_log_bin = 0").await?;
        let bound = facts.super_read_only.then(|| flavor.set_admin_writable());
        if let Some(statement) = bound.flatten() {
            sql.run(what, statement).await?;
        }
        let keyspace = self.record().keyspace;
        let statements = flavor.accounts(&self.host.credentials, &keyspace);
        sql.run_all(what, statements)
            .await
            .map_err(|e| self.without_passwords(e))?;

        // Fresh servers have a root without a password; while it is open the folder's mode keeps
        // other users from the socket.
        sql.run_all(what, flavor.clear_accounts()).await?;
        let query = "SELECT CONCAT(User, '@', Host) FROM mysql.user WHERE User IN ('', 'root')";
        for account in sql.column(what, query).await? {
            let Some((user, host)) = account.split_once('@') else {
                continue;
            };
            let account = format!("{}@{}", literal(user), literal(host));
            let statement = if user.is_empty() {
                format!("DROP USER {account}")
            } else {
                format!("ALTER USER {account} ACCOUNT LOCK")
            };
            sql.run(what, &statement).await?;
        }
        if bound.is_some()
            && let Some(statement) = flavor.set_admin_read_only()
        {
            sql.run(what, statement).await?;
        }
        sql.close().await;
        self.connect(None).await?.close().await;
        self.note_accounts()?;
        self.dir.open_to_others()
    }

    /// Puts down that the server has its accounts.
    pub(super) fn note_accounts(&self) -> Result<(), AgentError> {
        let file = AccountsFile {
            version: ACCOUNTS_VERSION,
        };
        write_json(&self.dir.accounts_file(), &file)
    }

    /// As the administrator, or as root as long as there is none.
    async fn connect_as_anybody(&self) -> Result<Sql, AgentError> {
        let error = match self.connect(None).await {
            Ok(sql) => return Ok(sql),
            Err(error) => error,
        };
        match Sql::connect(&self.endpoint(), "root", None, None).await {
            Ok(sql) => Ok(sql),
            Err(ConnectError::Denied) => Err(AgentError::Refused(format!(
                "the server of tablet {} lets neither vtplan's administrator nor root in: its accounts were changed by hand",
                self.alias
            ))),
            Err(_) => Err(error),
        }
    }

    /// A server's complaint may quote the statement.
    pub(super) fn without_passwords(&self, error: AgentError) -> AgentError {
        let c = &self.host.credentials;
        match error {
            AgentError::Sql { what, mut why } => {
                for password in [&c.admin_password, &c.gate_password, &c.repl_password] {
                    why = why.replace(password.as_str(), "***");
                }
                AgentError::Sql { what, why }
            }
            other => other,
        }
    }
}
