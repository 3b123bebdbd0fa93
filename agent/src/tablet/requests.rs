//! What a conductor asks of a tablet: statements on a primary, holding its writes, waiting for a
//! position.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedRwLockReadGuard;
use tokio::time::{Instant, sleep};

use super::{Hold, RoleState, Tablet};
use crate::error::AgentError;
use crate::flavor::TextRow;
use crate::sql::Sql;

/// How long writes are held when a caller does not say.
const DEFAULT_HOLD: Duration = Duration::from_secs(60);
/// How often a position is looked at.
const POLL: Duration = Duration::from_millis(20);

impl Tablet {
    /// Runs statements in the keyspace's database, as the administrator. Returns how many rows
    /// they affected.
    ///
    /// # Errors
    /// When the tablet is not primary of exactly `term`, or a statement fails; the ones before it
    /// have been run.
    pub async fn execute(
        self: &Arc<Self>,
        term: u64,
        statements: Vec<String>,
        foreign_key_checks: bool,
    ) -> Result<u64, AgentError> {
        let role = self.role.clone().read_owned().await;
        self.check_primary(term)?;
        // A task of its own, because a caller that goes away does not end what the server does:
        // the role must not change before it has.
        let tablet = self.clone();
        let run = tokio::spawn(async move {
            tablet
                .execute_holding(role, term, &statements, foreign_key_checks)
                .await
        });
        run.await
            .unwrap_or_else(|e| Err(AgentError::Refused(format!("the work was cut off: {e}"))))
    }

    async fn execute_holding(
        &self,
        role: OwnedRwLockReadGuard<RoleState>,
        term: u64,
        statements: &[String],
        foreign_key_checks: bool,
    ) -> Result<u64, AgentError> {
        let keyspace = self.record().keyspace;
        let mut sql = self.connect(Some(keyspace.as_str())).await?;
        let facts = self.facts(&mut sql).await?;
        self.check_admin_writes(&role, &facts, term)?;
        let checks = u8::from(foreign_key_checks);
        sql.run(
            "setting foreign_key_checks",
            &format!("SET SESSION foreign_key_checks = {checks}"),
        )
        .await?;
        let mut affected = 0;
        for statement in statements {
            affected += sql.run_single(&shown(statement), statement).await?;
        }
        sql.close().await;
        Ok(affected)
    }

    /// Answers a query in the keyspace's database, as the administrator.
    ///
    /// # Errors
    /// When the tablet is not primary of exactly `term`, or the server refuses the query.
    pub async fn query(&self, term: u64, query: &str) -> Result<Vec<TextRow>, AgentError> {
        self.check_primary(term)?;
        let keyspace = self.record().keyspace;
        let mut sql = self.connect(Some(keyspace.as_str())).await?;
        let rows = sql.rows(&shown(query), query).await?;
        // The tablet may have lost its role before the server looked.
        self.check_primary(term)?;
        sql.close().await;
        Ok(rows)
    }

    /// Holds a primary's writes for at most `hold_for` (zero: a minute), or lets them through
    /// again. Returns its position; while writes are held nothing comes after it.
    pub async fn set_read_only(
        &self,
        term: u64,
        read_only: bool,
        hold_for: Duration,
    ) -> Result<String, AgentError> {
        let mut role = self.lock_role().await?;
        self.check_primary(term)?;
        let mut sql = self.connect(None).await?;
        if read_only {
            let hold_for = if hold_for.is_zero() {
                DEFAULT_HOLD
            } else {
                hold_for
            };
            // First, so that the tablet's task does not take it back at once.
            let earlier = role.hold.replace(Hold {
                term,
                until: Instant::now() + hold_for,
                commits: None,
            });
            if let Some(earlier) = earlier {
                earlier.end().await;
            }
            let held = async {
                self.set_read_only_now(&mut sql).await?;
                self.hold_commits().await
            };
            match (held.await, &mut role.hold) {
                (Ok(commits), Some(hold)) => hold.commits = commits,
                (Ok(_), None) => {}
                (Err(error), _) => {
                    role.hold = None;
                    self.wake.notify_one();
                    return Err(error);
                }
            }
        } else {
            // The tablet's task lets writes through again, as after any pause.
            if let Some(hold) = role.hold.take() {
                hold.end().await;
            }
            self.wake.notify_one();
        }
        let position = self.facts(&mut sql).await?.position;
        sql.close().await;
        Ok(position)
    }

    /// Where `read_only` does not bind administrators, as whom streams write: a connection that keeps
    /// all commits back for as long as it lives.
    async fn hold_commits(&self) -> Result<Option<Sql>, AgentError> {
        let Some(statements) = self.flavor().hold_commits() else {
            return Ok(None);
        };
        let mut sql = self.connect(None).await?;
        sql.run_all("keeping commits back", statements).await?;
        Ok(Some(sql))
    }

    /// Waits until everything in `position` has been executed. Returns whether it has, and the
    /// tablet's position.
    pub async fn wait_for_position(
        &self,
        position: &str,
        patience: Duration,
    ) -> Result<(bool, String), AgentError> {
        let give_up = Instant::now() + patience;
        let mut sql = self.connect(None).await?;
        loop {
            let have = self.facts(&mut sql).await?.position;
            let reached = self.flavor().contains(&have, position);
            if reached || Instant::now() >= give_up {
                sql.close().await;
                return Ok((reached, have));
            }
            sleep(POLL).await;
        }
    }

    /// Runs `work` on a connection whose writes are not logged, and that `super_read_only` does not
    /// bind. The caller holds `scratch`.
    pub(super) async fn with_admin_writes<T>(
        &self,
        sql: &mut Sql,
        work: impl AsyncFnOnce(&mut Sql) -> Result<T, AgentError>,
    ) -> Result<T, AgentError> {
        let what = "preparing unlogged writes";
        let flavor = &self.flavor();
        let bound = self.facts(sql).await?.super_read_only;
        sql.run(what, "SET SESSION sql_log_bin = 0").await?;
        if bound && let Some(statement) = flavor.set_admin_writable() {
            sql.run(what, statement).await?;
        }
        let done = work(sql).await;
        if bound && let Some(statement) = flavor.set_admin_read_only() {
            sql.run(what, statement).await?;
        }
        sql.run(what, "SET SESSION sql_log_bin = 1").await?;
        done
    }
}

/// The beginning of a statement, for messages.
fn shown(statement: &str) -> String {
    let line: String = statement.split_whitespace().collect::<Vec<_>>().join(" ");
    match line.char_indices().nth(80) {
        Some((end, _)) => format!("`{}...`", &line[..end]),
        None => format!("`{line}`"),
    }
}
