//! Fences on a primary: see [`crate::fence`].

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::OwnedRwLockReadGuard;
use tokio::time::{Instant, sleep};
use vtplan_state::model::ShardRecord;

use super::role_file::RoleFile;
use super::{RoleState, Tablet};
use crate::error::AgentError;
use crate::fence::Fence;
use crate::fence::tables::{self, Hands, Wanted};
use crate::flavor::{Facts, literal};
use crate::sql::Sql;

/// Pause between looks at a server that is to take writes again.
const POLL: Duration = Duration::from_millis(20);

/// Runs work in a task of its own: a caller that goes away does not end what the server does.
async fn apart<T: Send + 'static>(
    work: impl Future<Output = Result<T, AgentError>> + Send + 'static,
) -> Result<T, AgentError> {
    tokio::spawn(work)
        .await
        .unwrap_or_else(|e| Err(AgentError::Refused(format!("the work was cut off: {e}"))))
}

impl Tablet {
    /// Puts a fence on tables, open or closed. Gives whether it is there. No `patience`: only looks.
    ///
    /// # Errors
    /// When the tablet is not primary of exactly `term`, a table is missing, or transactions that
    /// use the tables do not end within `patience`.
    pub async fn prepare_fence(
        self: &Arc<Self>,
        term: u64,
        fence: Fence,
        tables: Vec<String>,
        writes_at: String,
        closed: bool,
        patience: Option<Duration>,
    ) -> Result<bool, AgentError> {
        let wanted = Wanted {
            tables,
            writes_at,
            admin: self.host.credentials.admin_user.clone(),
            closed,
        };
        let date_ahead = self.flavor().date_ahead();
        let (role, mut hands) = self.as_admin(term, &fence.keyspace).await?;
        apart(async move {
            let done = match patience {
                None => tables::is_prepared(&mut hands.sql, &fence, &wanted).await?,
                Some(patience) => {
                    tables::prepare(&mut hands, &fence, &wanted, date_ahead, patience).await?
                }
            };
            hands.close().await;
            drop(role);
            Ok(done)
        })
        .await
    }

    /// Closes or opens a fence that was prepared. Gives the position after that, which has all that
    /// was written before it was closed.
    ///
    /// # Errors
    /// As [`Tablet::prepare_fence`]; and when there is no such fence. It is as it was then.
    pub async fn set_fence(
        self: &Arc<Self>,
        term: u64,
        fence: Fence,
        closed: bool,
        patience: Duration,
    ) -> Result<String, AgentError> {
        let (role, mut hands) = self.as_admin(term, &fence.keyspace).await?;
        let tablet = self.clone();
        apart(async move {
            tables::set(&mut hands, &fence, closed, patience).await?;
            let position = tablet.facts(&mut hands.sql).await?.position;
            hands.close().await;
            drop(role);
            Ok(position)
        })
        .await
    }

    /// Takes a fence away; nothing when there is none. Gives whether it is gone. No `patience`:
    /// leaves its triggers alone.
    ///
    /// # Errors
    /// As [`Tablet::prepare_fence`].
    pub async fn remove_fence(
        self: &Arc<Self>,
        term: u64,
        fence: Fence,
        patience: Option<Duration>,
    ) -> Result<bool, AgentError> {
        let (role, mut hands) = self.as_admin(term, &fence.keyspace).await?;
        apart(async move {
            let done = tables::remove(&mut hands, &fence, patience).await?;
            hands.close().await;
            drop(role);
            Ok(done)
        })
        .await
    }

    /// Removes triggers of fences that have no row in `_vt.fence`.
    ///
    /// # Errors
    /// As [`Tablet::prepare_fence`].
    pub(super) async fn remove_triggers_of_nobody(
        self: &Arc<Self>,
        term: u64,
        keyspace: &str,
        patience: Duration,
    ) -> Result<(), AgentError> {
        let (role, mut hands) = self.as_admin(term, keyspace).await?;
        let keyspace = keyspace.to_owned();
        apart(async move {
            let rows = "SELECT workflow FROM _vt.fence";
            let known = match hands.sql.column("looking at fences", rows).await {
                Err(error) if tables::is_nothing_there(&error) => Vec::new(),
                known => known?,
            };
            let names = tables::triggers_of_others(&mut hands.sql, &keyspace, &known).await?;
            tables::drop_triggers(&mut hands, &keyspace, &names, patience).await?;
            hands.close().await;
            drop(role);
            Ok(())
        })
        .await
    }

    /// Makes the server take writes or not, as the shard's record in the store says, without
    /// waiting for the tablet's task to see it. Gives the position after that; while it is closed,
    /// accounts other than the admin's commit nothing after it.
    ///
    /// Gates drain before a shard is fenced. A transaction that is open all the same cannot be
    /// committed once `read_only` is on: both flavors roll it back. Its connection is ended, so
    /// that its locks do not keep streams waiting. Commits under way are waited for, within
    /// `patience`; then every connection of the gates' account is ended.
    ///
    /// # Errors
    /// When the tablet is not primary of exactly `term`, or the record does not say what is asked.
    pub async fn set_shard_fence(
        self: &Arc<Self>,
        term: u64,
        closed: bool,
        patience: Duration,
    ) -> Result<String, AgentError> {
        let give_up = Instant::now() + patience;
        let shard = self.shard_now().await?;
        if shard.takes_writes() == closed {
            return Err(AgentError::Refused(format!(
                "shard {}/{} is to {} writes, but its record says that it {}",
                shard.keyspace,
                shard.shard,
                if closed { "refuse" } else { "take" },
                if closed { "takes them" } else { "does not" }
            )));
        }
        if closed {
            let mut role = self.lock_role().await?;
            self.check_primary(term)?;
            let mut sql = self.connect(None).await?;
            let facts = self.facts(&mut sql).await?;
            // A tablet that has not become primary yet is read-only for the admin too; its task
            // opens it for him.
            if !facts.read_only {
                self.fence_now(&mut sql, patience).await?;
                role.hold = None;
                role.open = Some(term);
            } else {
                self.end_open_transactions(&mut sql).await?;
            }
            let position = self.facts(&mut sql).await?.position;
            sql.close().await;
            return Ok(position);
        }
        let mut sql = self.connect(None).await?;
        loop {
            self.check_primary(term)?;
            let facts = self.facts(&mut sql).await?;
            if !facts.read_only {
                sql.close().await;
                return Ok(facts.position);
            }
            if Instant::now() >= give_up {
                return Err(AgentError::Refused(format!(
                    "tablet {} does not take writes yet: {}",
                    self.alias,
                    self.status().problem
                )));
            }
            self.wake.notify_one();
            sleep(POLL).await;
        }
    }

    /// The shard's record as the store has it now.
    pub(super) async fn shard_now(&self) -> Result<ShardRecord, AgentError> {
        let record = self.record();
        let key = (self.host.cluster.keys()).shard(&record.keyspace, &record.shard);
        let entry = self.host.cluster.store().get(&key).await?;
        let entry = entry.ok_or_else(|| {
            AgentError::Refused(format!(
                "the store has no shard {}/{}",
                record.keyspace, record.shard
            ))
        })?;
        Ok(entry.json()?)
    }

    /// Refuses writes of all accounts but the admin's. See [`Tablet::set_shard_fence`].
    pub(super) async fn fence_now(
        &self,
        sql: &mut Sql,
        patience: Duration,
    ) -> Result<(), AgentError> {
        let statements = self.flavor().set_fenced();
        self.stop_writes(sql, &statements, patience).await?;
        self.end_open_transactions(sql).await
    }

    /// Ends connections of the gates' account whose transactions hold locks: on a server that is
    /// read-only they could only roll back.
    async fn end_open_transactions(&self, sql: &mut Sql) -> Result<(), AgentError> {
        let what = "looking for open transactions";
        let query = format!(
            "SELECT p.id FROM information_schema.innodb_trx t \
             JOIN information_schema.processlist p ON p.id = t.trx_mysql_thread_id \
             WHERE p.user = {} AND (t.trx_rows_modified > 0 OR t.trx_rows_locked > 0)",
            literal(&self.host.credentials.gate_user)
        );
        for id in sql.column(what, &query).await? {
            // It may have gone by itself.
            let _ = sql.run(what, &format!("KILL {id}")).await;
        }
        Ok(())
    }

    /// Connections as the admin to a primary that lets him write. While the guard lives, the role
    /// does not change.
    async fn as_admin(
        &self,
        term: u64,
        keyspace: &str,
    ) -> Result<(OwnedRwLockReadGuard<RoleState>, Hands), AgentError> {
        let own = self.record().keyspace;
        if own.as_str() != keyspace {
            return Err(AgentError::Refused(format!(
                "tablet {} is of keyspace {own}, not of {keyspace}",
                self.alias
            )));
        }
        let role = self.role.clone().read_owned().await;
        self.check_primary(term)?;
        let mut sql = self.connect(None).await?;
        let facts = self.facts(&mut sql).await?;
        self.check_admin_writes(&role, &facts, term)?;
        let ender = self.connect(None).await?;
        Ok((role, Hands { sql, ender }))
    }

    /// Whether a primary of `term` lets the admin write: it takes writes, or is fenced.
    pub(super) fn check_admin_writes(
        &self,
        role: &OwnedRwLockReadGuard<RoleState>,
        facts: &Facts,
        term: u64,
    ) -> Result<(), AgentError> {
        if role.hold.is_some() {
            return Err(AgentError::Refused(format!(
                "tablet {} takes no writes: its shard is being reparented",
                self.alias
            )));
        }
        if facts.read_only && !self.open_to_admin(role, facts, term) {
            return Err(AgentError::Refused(format!(
                "tablet {} takes no writes now",
                self.alias
            )));
        }
        Ok(())
    }

    /// Whether a server that is read-only is a fenced primary of `term`, and not one that has yet
    /// to become it.
    pub(super) fn open_to_admin(&self, role: &RoleState, facts: &Facts, term: u64) -> bool {
        role.open == Some(term)
            && !(facts.super_read_only && self.flavor().set_admin_writable().is_some())
    }

    pub(super) fn check_primary(&self, term: u64) -> Result<(), AgentError> {
        let file = RoleFile::read(&self.dir)?;
        if file.primary && file.term == term {
            return Ok(());
        }
        Err(AgentError::Refused(format!(
            "tablet {} is not primary for term {term}: it {} for term {}",
            self.alias,
            if file.primary {
                "is primary"
            } else {
                "is no primary"
            },
            file.term
        )))
    }
}
