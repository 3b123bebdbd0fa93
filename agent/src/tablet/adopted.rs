//! A tablet whose server was there before vtplan, and stays when vtplan goes. Its folder holds no data,
//! only what the agent remembers (`tablet.json`, `role.json`, `accounts.json`); the server is reached
//! over TCP. It gets a role as any other, and keeps its process, its options, its other databases
//! and accounts.

use std::collections::BTreeMap;
use std::sync::{Arc, PoisonError};
use std::time::Duration;

use tokio::time::sleep;
use tracing::{info, warn};
use vtplan_planner::live::ServerState;
use vtplan_state::model::{FlavorKind, ServerAddress};

use super::Tablet;
use super::role_file::RoleFile;
use super::server::{Server, blocking};
use crate::error::AgentError;
use crate::fence::tables::TRIGGER_PREFIX;
use crate::flavor::{self, ReplicaStatus, ServerVersion, Source, identifier, literal};
use crate::sql::{Endpoint, Sql};

/// How often a server that does not answer is asked before it is left as it is.
const RELEASE_TRIES: u32 = 3;
/// Pause in between.
const RELEASE_PAUSE: Duration = Duration::from_secs(1);

impl Tablet {
    pub(super) fn is_adopted(&self) -> bool {
        !self.record().server.is_made()
    }

    /// Does what is next for the server to be looked after; `None`: it answers.
    pub(super) async fn take_up(
        &self,
        server: &mut Server,
    ) -> Result<Option<ServerState>, AgentError> {
        if server.sql().is_some() {
            return Ok(None);
        }
        let mut sql = self.connect(None).await?;
        let version = self.recognize(&mut sql).await?;
        if self.dir.exists() {
            self.check_marker()?;
        } else {
            let (dir, marker) = (self.dir.clone(), self.new_marker(version));
            blocking(move || dir.create_empty(&marker)).await?;
        }
        if !self.has_accounts()? {
            self.make_accounts().await?;
        }
        self.drop_scratch(&mut sql).await?;
        server.set_connection(sql);
        info!(tablet = %self.alias, at = %self.endpoint(), "looking after an adopted server");
        Ok(None)
    }

    /// Finds out which server it is. Returns its version.
    async fn recognize(&self, sql: &mut Sql) -> Result<String, AgentError> {
        let query = "SELECT VERSION() AS version";
        let text = sql.column("reading the server's version", query).await?;
        let text = text.into_iter().next().unwrap_or_default();
        let endpoint = self.endpoint();
        let Some(version) = ServerVersion::parse(&format!("Ver {text}")) else {
            return Err(AgentError::Refused(format!(
                "{endpoint} says that its version is `{text}`, which is neither MariaDB's nor MySQL's"
            )));
        };
        if !version.is_supported() {
            return Err(AgentError::Refused(format!(
                "{endpoint} runs {version}, which is too old: vtplan works with MariaDB 10.6, MySQL 8.0 \
                 and newer"
            )));
        }
        let recorded = self.record().flavor;
        if version.flavor != recorded {
            return Err(AgentError::Refused(format!(
                "{endpoint} runs {version}, and host {} has {recorded}: name with `host` one whose agent \
                 was started with {}",
                self.host.name, version.flavor
            )));
        }
        let flavor = Arc::from(flavor::of(version));
        *self.flavor.lock().unwrap_or_else(PoisonError::into_inner) = flavor;
        Ok(version.to_string())
    }

    /// Makes the accounts of gates and replicas, beside those that are there. The administrator's was
    /// made when the server was imported.
    pub(super) async fn make_accounts_beside(&self) -> Result<(), AgentError> {
        let what = "making vtplan's accounts";
        let credentials = &self.host.credentials;
        let admin = format!("{}@'%'", literal(&credentials.admin_user));
        let flavor = self.flavor();
        let mut statements = flavor.accounts(credentials, &self.record().keyspace);
        statements.retain(|statement| !statement.contains(&admin));
        let mut sql = self.connect(None).await?;
        self.with_admin_writes(&mut sql, async |sql| sql.run_all(what, statements).await)
            .await
            .map_err(|e| self.without_passwords(e))?;
        sql.close().await;
        self.note_accounts()
    }

    /// Loads what semi-sync needs into a server whose option file does not.
    pub(super) async fn provide_semi_sync(
        &self,
        sql: &mut Sql,
        wanted: bool,
    ) -> Result<(), AgentError> {
        let statements = self.flavor().install_semi_sync();
        if !wanted || !self.is_adopted() || statements.is_empty() {
            return Ok(());
        }
        self.with_admin_writes(sql, async |sql| {
            for statement in &statements {
                match sql.run("loading semi-sync", statement).await {
                    // ER_UDF_EXISTS, ER_PLUGIN_INSTALLED: it is there.
                    Err(AgentError::Sql { why, .. })
                        if why.ends_with("(error 1125)") || why.ends_with("(error 1968)") => {}
                    other => drop(other?),
                }
            }
            Ok(())
        })
        .await
    }

    /// The variables that vtplan needs to be as they are, whatever else its owner has set.
    pub(super) fn needed_variables(&self) -> BTreeMap<String, String> {
        let mut needed = vec![("binlog_format", "ROW"), ("binlog_row_image", "FULL")];
        if self.flavor().kind() == FlavorKind::MySql {
            needed.extend([("gtid_mode", "ON"), ("enforce_gtid_consistency", "ON")]);
        }
        let owned = |(name, value): (&str, &str)| (name.to_owned(), value.to_owned());
        needed.into_iter().map(owned).collect()
    }

    /// A server that has no role yet and replicates is nobody's primary.
    pub(super) fn check_no_replica_yet(
        &self,
        file: &RoleFile,
        status: &ReplicaStatus,
    ) -> Result<(), AgentError> {
        if !self.is_adopted() || file.term > 0 {
            return Ok(());
        }
        Err(AgentError::Refused(format!(
            "{} is to be primary, and replicates from {}: it is left as it is",
            self.endpoint(),
            status.source()
        )))
    }

    /// Whether a server that has no role yet replicates from its primary, as its owner set it up. Gives
    /// the source's address as the server has it.
    pub(super) async fn check_replicates(
        &self,
        sql: &mut Sql,
        primary: Option<&Source>,
    ) -> Result<String, AgentError> {
        let refused = |why: String| {
            Err(AgentError::Refused(format!(
                "{} {why}: it is left as it is",
                self.endpoint()
            )))
        };
        let Some(status) = self.replication(sql).await? else {
            return refused(
                "does not replicate, so what it holds may be other than what its primary does"
                    .into(),
            );
        };
        if !status.by_gtid {
            return refused("replicates by positions in files, not by GTID".into());
        }
        let Some(primary) = primary else {
            return refused("replicates, and its primary's address is not known".into());
        };
        let source = status.source();
        if (status.source_host.as_str(), status.source_port) == (&primary.host, primary.port) {
            return Ok(source);
        }
        // A server has many names: what counts is who answers.
        let address = Endpoint::Tcp(ServerAddress {
            machine: primary.host.clone(),
            port: primary.port,
        });
        let credentials = &self.host.credentials;
        let (user, password) = (&credentials.admin_user, &credentials.admin_password);
        let Ok(mut other) = Sql::connect(&address, user, Some(password), None).await else {
            return refused(format!(
                "replicates from {source}, and whether that is its primary {address} cannot be told, for \
                 that does not answer"
            ));
        };
        let server_id = self.facts(&mut other).await?.server_id;
        other.close().await;
        if server_id == status.source_server_id {
            return Ok(source);
        }
        refused(format!(
            "replicates from {source} (server_id {}), not from its primary {address} (server_id {server_id})",
            status.source_server_id
        ))
    }

    /// Whether a source is one under whose address the server was found to replicate.
    pub(super) fn is_known_source(&self, source: &str) -> bool {
        let file = RoleFile::read(&self.dir).unwrap_or_default();
        file.found_at.as_deref() == Some(source)
    }

    /// Takes what is vtplan's off the server, and leaves it. One that does not answer keeps it.
    pub(super) async fn release(&self) -> Result<(), AgentError> {
        let mut tries = 1;
        while let Err(error) = self.take_off().await {
            if tries == RELEASE_TRIES {
                warn!(
                    tablet = %self.alias, server = %self.endpoint(), %error,
                    "released, with vtplan's accounts, triggers and `_vt` still on it"
                );
                break;
            }
            tries += 1;
            sleep(RELEASE_PAUSE).await;
        }
        let dir = self.dir.clone();
        blocking(move || dir.delete()).await?;
        info!(tablet = %self.alias, server = %self.endpoint(), "released");
        Ok(())
    }

    async fn take_off(&self) -> Result<(), AgentError> {
        let what = "taking what is vtplan's off a server";
        let mut sql = self.connect(None).await?;
        self.recognize(&mut sql).await?;
        let status = self.replication(&mut sql).await?;
        let mut statements = Vec::new();
        if status.is_none() {
            // Replicas get these from their primary, and lose them with it.
            let keyspace = self.record().keyspace;
            let query = format!(
                "SELECT trigger_name FROM information_schema.triggers WHERE trigger_schema = {} \
                 AND LEFT(trigger_name, {}) = {}",
                literal(keyspace.as_str()),
                TRIGGER_PREFIX.len(),
                literal(TRIGGER_PREFIX)
            );
            let database = identifier(keyspace.as_str());
            for name in sql.column(what, &query).await? {
                let trigger = identifier(&name);
                statements.push(format!("DROP TRIGGER IF EXISTS {database}.{trigger}"));
            }
            statements.push("DROP DATABASE IF EXISTS _vt".to_owned());
        }
        let credentials = &self.host.credentials;
        let mut users = vec![&credentials.gate_user];
        if !self.is_used_to_replicate(&mut sql, status.as_ref()).await? {
            users.push(&credentials.repl_user);
        }
        // The last one: it is the one that does this.
        users.push(&credentials.admin_user);
        for user in users {
            statements.push(format!("DROP USER IF EXISTS {}@'%'", literal(user)));
        }
        if status.is_some() {
            sql.run(what, "SET SESSION sql_log_bin = 0").await?;
        }
        // MySQL's super_read_only is put back by the same connection: its rights last as long.
        let flavor = self.flavor();
        let bound = self.facts(&mut sql).await?.super_read_only;
        if bound && let Some(statement) = flavor.set_admin_writable() {
            sql.run(what, statement).await?;
        }
        sql.run_all(what, &statements).await?;
        if bound && let Some(statement) = flavor.set_admin_read_only() {
            // It may not be allowed any more.
            let _ = sql.run(what, statement).await;
        }
        sql.close().await;
        Ok(())
    }

    /// Whether the server replicates as vtplan's account, or others do so from it.
    async fn is_used_to_replicate(
        &self,
        sql: &mut Sql,
        status: Option<&ReplicaStatus>,
    ) -> Result<bool, AgentError> {
        let user = &self.host.credentials.repl_user;
        if status.is_some_and(|status| status.user == *user) {
            return Ok(true);
        }
        let query = format!(
            "SELECT id FROM information_schema.processlist WHERE user = {} AND command LIKE 'Binlog Dump%'",
            literal(user)
        );
        let dumps = sql.column("looking for replicas", &query).await?;
        Ok(!dumps.is_empty())
    }
}
