//! Stopping writes to a server, and getting those out of the way that keep it from happening.

use std::time::Duration;

use tokio::time::{Instant, sleep};
use tracing::info;

use super::Tablet;
use crate::error::AgentError;
use crate::flavor::literal;
use crate::sql::Sql;

/// How long commits are waited for before clients are disconnected.
pub(super) const COMMITS_PATIENCE: Duration = Duration::from_secs(5);

impl Tablet {
    /// Stops writes. Commits under way are waited for; clients that keep it from happening (a
    /// commit that waits for a replica, a lock on tables) are disconnected.
    pub(super) async fn set_read_only_now(&self, sql: &mut Sql) -> Result<(), AgentError> {
        let statements = self.flavor().set_read_only(true);
        self.stop_writes(sql, &statements, COMMITS_PATIENCE).await
    }

    /// As [`Tablet::set_read_only_now`], with the statements that do it.
    pub(super) async fn stop_writes(
        &self,
        sql: &mut Sql,
        statements: &[&'static str],
        patience: Duration,
    ) -> Result<(), AgentError> {
        let what = "turning read_only on";
        let seconds = patience.as_secs().clamp(1, COMMITS_PATIENCE.as_secs());
        sql.run(what, &format!("SET SESSION lock_wait_timeout = {seconds}"))
            .await?;
        if let Err(error) = sql.run_all(what, statements).await {
            info!(tablet = %self.alias, %error, "disconnecting clients to turn read_only on");
            let query = format!(
                "SELECT id FROM information_schema.processlist WHERE user = {}",
                literal(&self.host.credentials.gate_user)
            );
            for id in sql.column(what, &query).await? {
                // It may have gone by itself.
                let _ = sql.run(what, &format!("KILL {id}")).await;
            }
            sql.run_all(what, statements).await?;
        }
        Ok(())
    }

    /// Ends the admin's connections but this one and `keep`, and waits until they are gone: one whose
    /// commit is kept back would commit if it were let go before it has noticed.
    pub(super) async fn disconnect_admins(
        &self,
        sql: &mut Sql,
        keep: Option<u32>,
    ) -> Result<(), AgentError> {
        let what = "ending connections that write to a former primary";
        let query = format!(
            "SELECT id FROM information_schema.processlist WHERE user = {} AND id NOT IN ({}, {})",
            literal(&self.host.credentials.admin_user),
            sql.id(),
            keep.unwrap_or(0)
        );
        let ended = sql.column(what, &query).await?;
        for id in &ended {
            // It may have gone by itself.
            let _ = sql.run(what, &format!("KILL {id}")).await;
        }
        let give_up = Instant::now() + COMMITS_PATIENCE;
        loop {
            let there = sql.column(what, &query).await?;
            if !there.iter().any(|id| ended.contains(id)) {
                return Ok(());
            }
            if Instant::now() >= give_up {
                return Err(self.busy("connections of streams do not end"));
            }
            sleep(Duration::from_millis(10)).await;
        }
    }
}
