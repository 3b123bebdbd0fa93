//! A tablet of this host: its server is kept running, and in the role that the records give it.
//!
//! Each tablet has a task of its own ([`task`]) that compares what should be with what is, about
//! once a second and whenever the records change: [`server`] gets the mysqld up, [`accounts`]
//! makes vtplan's accounts, [`role`] makes it a primary or a replica. What others ask of a tablet
//! over gRPC is in [`requests`], [`fence`], [`tables`] and [`canonical`]; [`backup`] copies its
//! data; [`deviations`] and [`inspect`]
//! are for those who look for drift. What is otherwise where the server was there before vtplan is in
//! [`adopted`].

pub mod accounts;
mod adopted;
pub mod backup;
pub mod canonical;
mod deviations;
pub mod fence;
mod inspect;
mod left;
pub mod requests;
pub mod role;
pub mod role_file;
pub mod server;
pub mod tables;
pub mod task;
mod writes;

use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::{Notify, RwLock};
use tokio::time::Instant;
use vtplan_planner::live::{ObservedRole, ServerState};
use vtplan_planner::seen::Deviation;
use vtplan_state::model::{TabletAlias, TabletRecord};

use crate::disk::{self, Space};
use crate::error::AgentError;
use crate::flavor::Flavor;
use crate::host::Host;
use crate::mysqld::TabletDir;
use crate::proto::v1::TabletHealth;
use crate::sql::{ConnectError, Endpoint, Sql};

/// A tablet of this host.
pub struct Tablet {
    host: Arc<Host>,
    alias: TabletAlias,
    dir: TabletDir,
    record: Mutex<TabletRecord>,
    /// Of the server; until an adopted one has been seen, of the host's program.
    flavor: Mutex<Arc<dyn Flavor>>,
    status: Mutex<Status>,
    /// What was found last not to be as the agent sets the server up; see [`deviations`].
    deviations: Mutex<Option<Vec<Deviation>>>,
    /// Held for writing while the role changes, for reading while statements run that only a
    /// primary may run.
    role: Arc<RwLock<RoleState>>,
    /// Held while a scratch database is in use, for which an administrator may write on a server
    /// that is read-only. Taken before `role`.
    scratch: tokio::sync::Mutex<()>,
    /// Makes the task look at once.
    wake: Notify,
}

/// What of a role is not on disk.
#[derive(Default)]
pub struct RoleState {
    /// A primary takes no writes for now because a reparent asked for it.
    hold: Option<Hold>,
    /// The term for which this agent has made sure that the tablet is primary, and let the admin
    /// write, although other accounts may not.
    open: Option<u64>,
}

/// A promise that nothing is written.
struct Hold {
    term: u64,
    until: Instant,
    /// Keeps the admin's commits back too, where `read_only` does not.
    commits: Option<Sql>,
}

impl Hold {
    fn holds(&self, term: u64) -> bool {
        self.term == term && Instant::now() < self.until
    }

    /// Lets commits go on.
    async fn end(self) {
        if let Some(commits) = self.commits {
            commits.close().await;
        }
    }
}

/// What the task saw last.
#[derive(Debug, Clone, PartialEq)]
pub struct Status {
    pub server: ServerState,
    /// What keeps the tablet from being as its record says; empty: nothing.
    pub problem: String,
    /// A primary that takes no writes because its shard's record says so.
    pub fenced: bool,
    pub disk: Space,
}

impl Tablet {
    pub fn new(host: Arc<Host>, record: TabletRecord) -> Self {
        let dir = TabletDir::new(&host.tablets_dir, &record.alias);
        Self {
            alias: record.alias.clone(),
            dir,
            record: Mutex::new(record),
            status: Mutex::new(Status {
                server: ServerState::Creating {
                    message: "not looked at yet".to_owned(),
                },
                problem: String::new(),
                fenced: false,
                disk: Space::default(),
            }),
            flavor: Mutex::new(host.flavor.clone()),
            role: Arc::default(),
            scratch: tokio::sync::Mutex::default(),
            deviations: Mutex::default(),
            wake: Notify::new(),
            host,
        }
    }

    pub fn alias(&self) -> &TabletAlias {
        &self.alias
    }

    pub fn record(&self) -> TabletRecord {
        let record = self.record.lock().unwrap_or_else(PoisonError::into_inner);
        record.clone()
    }

    /// How to talk to its server.
    pub(crate) fn flavor(&self) -> Arc<dyn Flavor> {
        let flavor = self.flavor.lock().unwrap_or_else(PoisonError::into_inner);
        flavor.clone()
    }

    /// Where its server listens.
    fn endpoint(&self) -> Endpoint {
        match self.record().adopted() {
            Some(address) => Endpoint::Tcp(address),
            None => Endpoint::Socket(self.dir.socket()),
        }
    }

    pub fn status(&self) -> Status {
        let status = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        status.clone()
    }

    /// Takes what was seen, and tells those who follow health when it differs.
    fn set_status(&self, server: ServerState, problem: String) {
        self.set_status_of(server, problem, false);
    }

    fn set_status_of(&self, server: ServerState, problem: String, fenced: bool) {
        let status = Status {
            server,
            problem,
            fenced,
            disk: if self.is_adopted() {
                // Its data is on a disk that nobody here sees.
                Space::default()
            } else {
                disk::space(self.dir.path()).unwrap_or_default()
            },
        };
        let mut current = self.status.lock().unwrap_or_else(PoisonError::into_inner);
        // Free space changes all the time, and nobody waits for it.
        let told = current.server != status.server
            || current.problem != status.problem
            || current.fenced != status.fenced;
        *current = status;
        drop(current);
        if told {
            self.host.health_changes.send_modify(|n| *n += 1);
        }
    }

    pub fn health(&self) -> TabletHealth {
        let (record, status) = (self.record(), self.status());
        let mut health = TabletHealth {
            alias: record.alias.to_string(),
            keyspace: record.keyspace.to_string(),
            shard: record.shard.to_string(),
            tablet_type: record.tablet_type.to_string(),
            lag_seconds: -1,
            disk_free_bytes: status.disk.free_bytes,
            disk_total_bytes: status.disk.total_bytes,
            error: status.problem,
            ..TabletHealth::default()
        };
        match status.server {
            ServerState::Creating { message } | ServerState::Down { message } => {
                health.error = message;
            }
            ServerState::Running(server) => {
                health.position = server.position;
                health.server_version = server.version;
                match server.role {
                    ObservedRole::Primary { term } => {
                        health.tablet_type = "primary".to_owned();
                        health.term = term;
                        // It answers reads, and gates know from the records that it takes no
                        // writes.
                        health.serving = !server.read_only || status.fenced;
                        health.lag_seconds = 0;
                    }
                    ObservedRole::Replica {
                        healthy,
                        lag_seconds,
                        error,
                        ..
                    } => {
                        health.serving = healthy && lag_seconds.is_some();
                        health.lag_seconds =
                            lag_seconds.map_or(-1, |s| i64::try_from(s).unwrap_or(i64::MAX));
                        if health.error.is_empty() {
                            health.error = error;
                        }
                    }
                    ObservedRole::Idle => {
                        if health.error.is_empty() {
                            health.error = "the shard has no primary yet".to_owned();
                        }
                    }
                }
            }
        }
        health
    }

    /// A connection as vtplan's administrator.
    pub(crate) async fn connect(&self, database: Option<&str>) -> Result<Sql, AgentError> {
        let credentials = &self.host.credentials;
        let endpoint = self.endpoint();
        let connected = Sql::connect(
            &endpoint,
            &credentials.admin_user,
            Some(&credentials.admin_password),
            database,
        );
        connected.await.map_err(|e| {
            let why = match e {
                ConnectError::NotListening => format!("nobody listens at {endpoint}"),
                ConnectError::Failed(why) => why,
                ConnectError::Denied if self.is_adopted() => format!(
                    "{endpoint} denies access to `{}`, vtplan's administrator: make the account there \
                     with `vtplan import accounts`",
                    credentials.admin_user
                ),
                ConnectError::Denied => "access is denied".to_owned(),
            };
            AgentError::Refused(format!("tablet {} does not answer: {why}", self.alias))
        })
    }
}
