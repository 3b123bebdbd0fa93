//! A tablet's role: what the records say it should be, and making its server that.
//!
//! A primary takes writes of the gates' account exactly when its shard's record says so
//! ([`ShardRecord::takes_writes`]); while it does not, it is a primary all the same, for replicas and
//! for the admin's account, as which streams write.
//!
//! A server starts read-only. It takes writes only after its agent, with a lease of its own in
//! hand, has read from the store that it is the primary of this very term. A tablet that was
//! primary becomes read-only before it does anything else.
//!
//! **Reparents.** A conductor that moves a primary reads the shard's record, calls `SetReadOnly` on
//! the old primary, waits for the new one, and writes the record on the condition that it has not
//! changed since it was read. Should the conductor die in between, the old primary takes writes
//! again after the time it was held for; before that the agent writes the shard's record anew,
//! unchanged, so that a conductor that comes back late is refused ([`Tablet::reclaim`]). So there
//! is no moment at which both are true: the old primary takes writes, and the record can still be
//! written by somebody who believes that it does not.

use std::time::Duration;

use tokio::time::{Instant, timeout};
use tracing::info;
use vtplan_planner::live::ObservedRole;
use vtplan_state::model::{Durability, Records, ShardRecord, TabletAlias, TabletRecord};
use vtplan_state::store::{Compare, Op, Txn};

use super::role_file::RoleFile;
use super::writes::COMMITS_PATIENCE;
use super::{RoleState, Tablet};
use crate::error::AgentError;
use crate::flavor::{Facts, ReplicaStatus, Source, identifier, literal};
use crate::mysqld::Marker;
use crate::sql::Sql;

/// How long a change of role waits for statements that only a primary may run.
const STATEMENTS_PATIENCE: Duration = Duration::from_secs(10);
/// Pause between attempts to start a replication that has stopped by itself.
const RESTART_PAUSE: Duration = Duration::from_secs(5);

/// What the records say a tablet should be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Wanted {
    /// The shard has no primary: nothing but not to take writes.
    Idle,
    /// The records do not have the tablet, and nobody has ordered that it goes: they were put back
    /// from a copy that is older.
    Unknown,
    Primary {
        term: u64,
        /// Whether commits wait for a replica.
        semi_sync: bool,
        /// It takes writes of the admin's account alone: streams write.
        fenced: bool,
    },
    Replica {
        term: u64,
        source: TabletAlias,
        /// `None`: the source's host is not registered.
        address: Option<Source>,
        /// Whether it acknowledges what it has received.
        semi_sync: bool,
    },
}

/// What the records say of `tablet`. `address_of` knows hosts that are not registered any more.
pub fn wanted(
    records: &Records,
    tablet: &TabletRecord,
    address_of: impl Fn(&vtplan_state::model::HostName) -> Option<String>,
) -> Wanted {
    let Some(shard) = records.shard(&tablet.keyspace, &tablet.shard) else {
        return Wanted::Idle;
    };
    let Some(primary) = &shard.primary else {
        return Wanted::Idle;
    };
    let durability = records
        .keyspaces
        .get(&tablet.keyspace)
        .map_or(Durability::default(), |k| k.durability);
    if *primary == tablet.alias {
        // Where no replica could ever acknowledge, every commit would hang for good; a shard that
        // is declared so is told of by the planner.
        let semi_sync = records
            .tablets_of(&tablet.keyspace, &tablet.shard)
            .any(|t| durability.acknowledged_by(t, primary));
        return Wanted::Primary {
            term: shard.term,
            semi_sync,
            fenced: !shard.takes_writes(),
        };
    }
    let address = records.tablets.get(primary).and_then(|source| {
        let host = records.hosts.get(&source.host).map(|h| h.address.clone());
        let host = host.or_else(|| address_of(&source.host));
        let address = source.address(host.as_deref())?;
        Some(Source {
            host: address.machine,
            port: address.port,
        })
    });
    Wanted::Replica {
        term: shard.term,
        source: primary.clone(),
        address,
        semi_sync: durability.acknowledged_by(tablet, primary),
    }
}

/// What a task remembers from one look to the next.
#[derive(Debug, Default)]
pub struct RoleMemory {
    restarted_at: Option<Instant>,
    /// The cluster's generation that the tablet's folder names.
    generation: Option<u64>,
}

impl Tablet {
    /// Does what is missing for the server to be what it should.
    pub(super) async fn make_role(
        &self,
        sql: &mut Sql,
        wanted: &Wanted,
        memory: &mut RoleMemory,
    ) -> Result<(), AgentError> {
        match wanted {
            Wanted::Unknown => Ok(()),
            // It may have served applications for years.
            Wanted::Idle if self.is_adopted() => Ok(()),
            Wanted::Idle => {
                let facts = self.facts(sql).await?;
                self.keep_read_only(sql, &facts).await
            }
            Wanted::Primary {
                term,
                semi_sync,
                fenced,
            } => {
                self.be_primary(sql, *term, *semi_sync, *fenced, memory)
                    .await
            }
            Wanted::Replica { .. } => self.be_replica(sql, wanted, memory).await,
        }
    }

    /// Puts down in which generation of the cluster the records have the tablet.
    pub(super) fn note_generation(
        &self,
        memory: &mut RoleMemory,
        records: &Records,
    ) -> Result<(), AgentError> {
        let Some(cluster) = records.cluster.as_ref() else {
            return Ok(());
        };
        if memory.generation == Some(cluster.generation) {
            return Ok(());
        }
        if let Some(marker) = self.dir.marker()?
            && marker.cluster == cluster.name
            && marker.cluster_created_at == cluster.created_at
            && marker.generation != cluster.generation
        {
            let marker = Marker {
                generation: cluster.generation,
                ..marker
            };
            self.dir.set_marker(&marker)?;
        }
        memory.generation = Some(cluster.generation);
        Ok(())
    }

    pub(super) async fn facts(&self, sql: &mut Sql) -> Result<Facts, AgentError> {
        let flavor = &self.flavor();
        Ok(flavor.facts(&sql.variables(&flavor.facts_query()).await?))
    }

    pub(super) async fn replication(
        &self,
        sql: &mut Sql,
    ) -> Result<Option<ReplicaStatus>, AgentError> {
        let flavor = &self.flavor();
        let rows = sql
            .rows(
                "reading the replication's state",
                flavor.replica_status_query(),
            )
            .await?;
        Ok(rows.first().map(|row| flavor.replica_status(row)))
    }

    /// Makes a server that should not take writes refuse them, as soon as nobody uses a scratch
    /// database on it.
    async fn keep_read_only(&self, sql: &mut Sql, facts: &Facts) -> Result<(), AgentError> {
        if facts.read_only && facts.super_read_only {
            return Ok(());
        }
        if facts.read_only && self.scratch.try_lock().is_err() {
            return Ok(());
        }
        self.set_read_only_now(sql).await
    }

    async fn be_primary(
        &self,
        sql: &mut Sql,
        term: u64,
        semi_sync: bool,
        fenced: bool,
        memory: &mut RoleMemory,
    ) -> Result<(), AgentError> {
        let file = RoleFile::read(&self.dir)?;
        file.check_term(term)?;
        let facts = self.facts(sql).await?;
        let replication = self.replication(sql).await?;
        if let Some(status) = &replication {
            self.check_no_replica_yet(&file, status)?;
        }
        let promoted = file.primary && file.term == term && replication.is_none();
        if promoted && !facts.read_only {
            if fenced {
                let mut role = self.lock_role().await?;
                self.fence_now(sql, COMMITS_PATIENCE).await?;
                role.hold = None;
                role.open = Some(term);
                info!(tablet = %self.alias, term, "fenced");
            }
            return self.keep_semi_sync(sql, &facts, semi_sync).await;
        }
        if promoted {
            let role = self.role.read().await;
            let held = role.hold.as_ref().is_some_and(|h| h.holds(term));
            let open = self.open_to_admin(&role, &facts, term);
            drop(role);
            if held || (fenced && open) {
                return self.keep_semi_sync(sql, &facts, semi_sync).await;
            }
        }

        let _scratch = timeout(STATEMENTS_PATIENCE, self.scratch.lock())
            .await
            .map_err(|_| self.busy("a scratch database is in use"))?;
        let mut role = self.lock_role().await?;
        // What was promised to a reparent may have come in meanwhile.
        if role.hold.as_ref().is_some_and(|h| h.holds(term)) {
            return Ok(());
        }
        let shard = self
            .reclaim(term, file.primary && file.term == term)
            .await?;
        // What the task was told may be old.
        let fenced = fenced || !shard.takes_writes();
        let next = RoleFile {
            term,
            primary: true,
            source: None,
            found_at: None,
        };
        next.write(&self.dir)?;
        if let Some(hold) = role.hold.take() {
            hold.end().await;
        }
        if let Some(status) = replication {
            self.end_replication(sql, &facts, &status, memory).await?;
        }
        self.make_database(sql, &facts).await?;
        if semi_sync && facts.semi_sync_source && self.is_adopted() {
            // It may wait for replicas, and give up waiting.
            sql.run_all(
                "setting semi-sync",
                self.flavor().set_semi_sync_source(true),
            )
            .await?;
        }
        self.keep_semi_sync(sql, &facts, semi_sync).await?;
        let flavor = &self.flavor();
        if fenced {
            sql.run_all("letting the admin write", flavor.set_fenced())
                .await?;
        } else {
            let statements = flavor.set_read_only(false);
            sql.run_all("turning read_only off", statements).await?;
        }
        role.hold = None;
        role.open = Some(term);
        info!(tablet = %self.alias, term, fenced, "primary");
        Ok(())
    }

    /// Makes sure, with the store, that the tablet is primary of the term. `again`: it was already,
    /// and may have promised a conductor not to take writes; then the shard's record is written
    /// anew, so that a conductor that relies on that promise is refused. Returns the record.
    async fn reclaim(&self, term: u64, again: bool) -> Result<ShardRecord, AgentError> {
        if !self.host.has_lease() {
            return Err(AgentError::Refused(format!(
                "tablet {} does not take writes yet: its agent's lease in the store has ended",
                self.alias
            )));
        }
        let record = self.record();
        let store = self.host.cluster.store();
        let key = (self.host.cluster.keys()).shard(&record.keyspace, &record.shard);
        let refused = || {
            AgentError::Refused(format!(
                "tablet {} is not (any more) primary of {}/{} for term {term}",
                self.alias, record.keyspace, record.shard
            ))
        };
        let entry = store.get(&key).await?.ok_or_else(refused)?;
        let shard: ShardRecord = entry.json()?;
        if shard.primary.as_ref() != Some(&self.alias) || shard.term != term {
            return Err(refused());
        }
        if again {
            let txn = Txn::new()
                .when(Compare::ModRevision(key.clone(), entry.mod_revision))
                .then(Op::put(key, &shard));
            if store.txn(txn).await?.committed().is_none() {
                return Err(refused());
            }
        }
        Ok(shard)
    }

    /// Applies everything that was received and then forgets the source.
    async fn end_replication(
        &self,
        sql: &mut Sql,
        facts: &Facts,
        status: &ReplicaStatus,
        memory: &mut RoleMemory,
    ) -> Result<(), AgentError> {
        let flavor = &self.flavor();
        let what = "ending replication";
        if !flavor.contains(&facts.position, &status.received) {
            if !status.sql_running {
                self.restart_replication(sql, memory).await?;
            } else if status.io_running || status.io_connecting {
                sql.run(what, flavor.stop_receiving()).await?;
            }
            return Err(AgentError::Refused(format!(
                "tablet {} becomes primary when it has applied what it received: it is at {}, it has received {}{}",
                self.alias,
                facts.position,
                status.received,
                if status.error.is_empty() {
                    String::new()
                } else {
                    format!("; {}", status.error)
                }
            )));
        }
        if status.io_running || status.io_connecting {
            // Looked at again afterwards: something more may have come in.
            sql.run(what, flavor.stop_receiving()).await?;
            let (facts, status) = (self.facts(sql).await?, self.replication(sql).await?);
            if let Some(status) = status
                && !flavor.contains(&facts.position, &status.received)
            {
                return Err(self.busy("the last transactions are being applied"));
            }
        }
        sql.run(what, flavor.stop_replication()).await?;
        sql.run(what, flavor.detach()).await?;
        Ok(())
    }

    /// The keyspace's database. Its creation is replicated, and waits for no replica: there may be
    /// none that replicates yet.
    async fn make_database(&self, sql: &mut Sql, facts: &Facts) -> Result<(), AgentError> {
        let keyspace = self.record().keyspace;
        let query = format!(
            "SELECT schema_name FROM information_schema.schemata WHERE schema_name = {}",
            literal(keyspace.as_str())
        );
        let what = "creating the keyspace's database";
        if !sql.column(what, &query).await?.is_empty() {
            return Ok(());
        }
        let flavor = &self.flavor();
        if facts.semi_sync_source {
            sql.run_all(what, flavor.set_semi_sync_source(false))
                .await?;
        }
        if let Some(statement) = flavor.set_admin_writable() {
            sql.run(what, statement).await?;
        }
        let create = format!(
            "CREATE DATABASE IF NOT EXISTS {}",
            identifier(keyspace.as_str())
        );
        sql.run(what, &create).await?;
        Ok(())
    }

    async fn keep_semi_sync(
        &self,
        sql: &mut Sql,
        facts: &Facts,
        wanted: bool,
    ) -> Result<(), AgentError> {
        let flavor = &self.flavor();
        if facts.semi_sync_replica {
            let off = flavor.set_semi_sync_replica(false);
            sql.run("turning acknowledgements off", &off).await?;
        }
        // Written even when it is on as far as was seen: creating the database turns it off.
        if wanted != facts.semi_sync_source || (wanted && facts.read_only) {
            self.provide_semi_sync(sql, wanted).await?;
            let statements = flavor.set_semi_sync_source(wanted);
            sql.run_all("setting semi-sync", statements).await?;
        }
        Ok(())
    }

    async fn be_replica(
        &self,
        sql: &mut Sql,
        wanted: &Wanted,
        memory: &mut RoleMemory,
    ) -> Result<(), AgentError> {
        let Wanted::Replica {
            term,
            source,
            address,
            semi_sync,
        } = wanted
        else {
            return Ok(());
        };
        let flavor = &self.flavor();
        let file = RoleFile::read(&self.dir)?;
        file.check_term(*term)?;
        let found_at = if self.is_adopted() && file.term == 0 {
            // Before anything is changed.
            Some(self.check_replicates(sql, address.as_ref()).await?)
        } else {
            file.found_at
                .clone()
                .filter(|_| file.source.as_ref() == Some(source))
        };
        let is_attached = found_at.is_some() || file.source.as_ref() == Some(source);
        let facts = self.facts(sql).await?;
        if file.primary || !facts.read_only {
            let mut role = self.lock_role().await?;
            let hold = role.hold.take();
            role.open = None;
            self.set_read_only_now(sql).await?;
            if file.primary && flavor.hold_commits().is_some() {
                // Streams write as the admin, whom read_only does not bind here; they come back to
                // the new primary.
                let keep = hold.as_ref().and_then(|h| h.commits.as_ref()).map(Sql::id);
                if let Err(error) = self.disconnect_admins(sql, keep).await {
                    role.hold = hold;
                    return Err(error);
                }
            }
            if let Some(hold) = hold {
                hold.end().await;
            }
        } else {
            self.keep_read_only(sql, &facts).await?;
        }
        if facts.semi_sync_source {
            let statements = flavor.set_semi_sync_source(false);
            sql.run_all("turning semi-sync off", statements).await?;
        }
        let next = RoleFile {
            term: *term,
            primary: false,
            source: Some(source.clone()),
            found_at: found_at.clone(),
        };
        next.write(&self.dir)?;

        let status = self.replication(sql).await?;
        let attached = |status: &ReplicaStatus| {
            let there = |a: &Source| {
                a.host == status.source_host && a.port == status.source_port
                    || found_at.as_ref() == Some(&status.source())
            };
            is_attached && address.as_ref().is_none_or(there)
        };
        if let Some(status) = &status
            && attached(status)
        {
            return self
                .keep_replicating(sql, &facts, status, *semi_sync, memory)
                .await;
        }
        let Some(address) = address else {
            return Err(AgentError::Refused(format!(
                "tablet {} cannot replicate from {source}: that tablet's host is not registered, so its address is not known; start the agent there",
                self.alias
            )));
        };
        let what = "setting up replication";
        if status.is_some() {
            sql.run(what, flavor.stop_replication()).await?;
        }
        let statements = flavor.attach(address, &self.host.credentials, status.is_none());
        sql.run_all(what, statements)
            .await
            .map_err(|e| self.without_passwords(e))?;
        self.provide_semi_sync(sql, *semi_sync).await?;
        if facts.semi_sync_replica != *semi_sync {
            sql.run(what, &flavor.set_semi_sync_replica(*semi_sync))
                .await?;
        }
        sql.run(what, flavor.start_replication()).await?;
        memory.restarted_at = Some(Instant::now());
        info!(tablet = %self.alias, %source, term, "replica");
        Ok(())
    }

    async fn keep_replicating(
        &self,
        sql: &mut Sql,
        facts: &Facts,
        status: &ReplicaStatus,
        semi_sync: bool,
        memory: &mut RoleMemory,
    ) -> Result<(), AgentError> {
        let flavor = &self.flavor();
        if facts.semi_sync_replica != semi_sync {
            self.provide_semi_sync(sql, semi_sync).await?;
            let what = "setting semi-sync";
            sql.run(what, &flavor.set_semi_sync_replica(semi_sync))
                .await?;
            // A replica tells its source when it connects.
            if status.io_running || status.io_connecting {
                sql.run(what, flavor.stop_receiving()).await?;
                sql.run(what, flavor.start_receiving()).await?;
            }
        }
        if !(status.io_running || status.io_connecting) || !status.sql_running {
            self.restart_replication(sql, memory).await?;
        }
        Ok(())
    }

    /// Starts threads that have stopped; not all the time, when they stop again at once.
    async fn restart_replication(
        &self,
        sql: &mut Sql,
        memory: &mut RoleMemory,
    ) -> Result<(), AgentError> {
        if memory
            .restarted_at
            .is_some_and(|at| at.elapsed() < RESTART_PAUSE)
        {
            return Ok(());
        }
        memory.restarted_at = Some(Instant::now());
        sql.run("starting replication", self.flavor().start_replication())
            .await?;
        Ok(())
    }

    /// What the server is, for those who observe it.
    pub(super) fn observed_role(
        &self,
        wanted: &Wanted,
        status: Option<&ReplicaStatus>,
    ) -> Result<ObservedRole, AgentError> {
        let file = RoleFile::read(&self.dir)?;
        Ok(match (status, &file.source) {
            (Some(status), Some(source)) => ObservedRole::Replica {
                source: source.clone(),
                healthy: status.healthy(),
                lag_seconds: status.lag_seconds,
                error: if status.source_purged {
                    format!(
                        "{}: the primary no longer has binlogs that this tablet needs, or this tablet has transactions that the primary lacks; delete the tablet and create it again",
                        status.error
                    )
                } else {
                    status.error.clone()
                },
            },
            (None, _) if file.primary => match wanted {
                // It was demoted, and replicates as soon as it can.
                Wanted::Replica { .. } => ObservedRole::Idle,
                _ => ObservedRole::Primary { term: file.term },
            },
            _ => ObservedRole::Idle,
        })
    }

    pub(super) async fn lock_role(
        &self,
    ) -> Result<tokio::sync::RwLockWriteGuard<'_, RoleState>, AgentError> {
        timeout(STATEMENTS_PATIENCE, self.role.write())
            .await
            .map_err(|_| self.busy("statements of a plan are still running on it"))
    }

    pub(super) fn busy(&self, why: &str) -> AgentError {
        AgentError::Refused(format!(
            "the role of tablet {} cannot change now: {why}; it is tried again",
            self.alias
        ))
    }
}
