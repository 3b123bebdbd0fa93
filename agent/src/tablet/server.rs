//! Getting a tablet's mysqld up and keeping it up: its folder, its process, a connection to it.

use std::fs;
use std::path::Path;
use std::time::Duration;

use tokio::time::Instant;
use tracing::{info, warn};
use vtplan_planner::live::ServerState;
use vtplan_state::model::{Records, TabletRecord};

use super::Tablet;
use crate::error::AgentError;
use crate::flavor::ServerConf;
use crate::mysqld::process::{log_length, log_tail};
use crate::mysqld::{Marker, Process};
use crate::sql::{ConnectError, Sql};

/// A server that ran for this long is not one that dies at start.
const STABLE: Duration = Duration::from_secs(60);
/// Pause before a server that died is started again: doubled each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// The same where nothing was started: what is in the way may go at any moment, and a look is cheap.
const LONGEST_WAIT: Duration = Duration::from_secs(3);
/// How long a server may take to shut down when its tablet is removed: its data goes anyhow.
const REMOVAL_PATIENCE: Duration = Duration::from_secs(30);
/// What scratch databases' names start with; see [`super::canonical`].
pub(super) const SCRATCH_PREFIX: &str = "_vt_scratch_";

/// What a task knows of its tablet's server.
#[derive(Default)]
pub struct Server {
    process: Option<Process>,
    sql: Option<Sql>,
    started_at: Option<Instant>,
    /// Where the error log of the running process begins.
    log_offset: u64,
    /// How often it died without having been stable.
    deaths: u32,
    /// Why it died last.
    last_death: String,
    not_before: Option<Instant>,
}

impl Server {
    pub fn sql(&mut self) -> Option<&mut Sql> {
        self.sql.as_mut()
    }

    pub(super) fn set_connection(&mut self, sql: Sql) {
        self.sql = Some(sql);
    }

    /// After an error a connection may be in the middle of something.
    pub fn drop_connection(&mut self) {
        self.sql = None;
    }
}

impl Tablet {
    /// Does what is next to get the server up. `None`: it answers, and is the right one.
    pub(super) async fn bring_up(
        &self,
        server: &mut Server,
        records: &Records,
    ) -> Result<Option<ServerState>, AgentError> {
        if self.is_adopted() {
            return self.take_up(server).await;
        }
        if !self.dir.exists() {
            if server.not_before.is_some_and(|at| Instant::now() < at) {
                return Err(self.died(server));
            }
            self.set_status(
                ServerState::Creating {
                    message: "its folder is being made".to_owned(),
                },
                String::new(),
            );
            if let Err(error) = self.make_folder(records).await {
                self.pause(server, LONGEST_WAIT);
                server.last_death = error.to_string();
                return Err(error);
            }
            server.deaths = 0;
            server.not_before = None;
        }
        if let Some(process) = &mut server.process
            && let Err(how) = process.check()
        {
            self.note_death(server, &how);
        }
        if server.process.is_none() {
            if let Some(process) = Process::find(&self.dir) {
                self.check_marker()?;
                info!(tablet = %self.alias, pid = process.pid(), "adopting the running server");
                server.process = Some(process);
            } else {
                if let Some(at) = server.not_before
                    && Instant::now() < at
                {
                    return Err(self.died(server));
                }
                self.start(server)?;
            }
        }
        if server.sql.is_none() {
            match self.connect_verified().await? {
                Ok(sql) => server.sql = Some(sql),
                Err(()) if server.deaths > 0 => {
                    return Ok(Some(ServerState::Down {
                        message: format!("starting; before: {}", server.last_death),
                    }));
                }
                Err(()) if self.has_accounts()? => {
                    return Ok(Some(ServerState::Down {
                        message: "starting".to_owned(),
                    }));
                }
                Err(()) => {
                    return Ok(Some(ServerState::Creating {
                        message: "its server is starting".to_owned(),
                    }));
                }
            }
        }
        if server.started_at.is_none_or(|at| at.elapsed() > STABLE) {
            server.deaths = 0;
        }
        Ok(None)
    }

    async fn make_folder(&self, records: &Records) -> Result<(), AgentError> {
        let (host, record) = (&self.host, self.record());
        if record.flavor != host.flavor.kind() {
            return Err(AgentError::Refused(format!(
                "tablet {} is to run {}, but the server program of host {} is {}",
                self.alias, record.flavor, host.name, host.program.version
            )));
        }
        if self.seed(records).await {
            return Ok(());
        }
        let template = host.templates.get(&host.program, &*host.flavor).await?;
        let marker = self.new_marker(host.program.version.to_string());
        let (dir, sync) = (self.dir.clone(), host.settings.durable);
        info!(tablet = %self.alias, folder = %dir.path().display(), "making the tablet's folder");
        blocking(move || dir.create(&template, &marker, sync)).await
    }

    /// What the tablet's folder says of itself.
    pub(super) fn new_marker(&self, server_version: String) -> Marker {
        let identity = &self.host.identity;
        Marker {
            cluster: identity.name.clone(),
            cluster_created_at: identity.created_at,
            tablet: self.record(),
            server_version,
            generation: identity.generation,
        }
    }

    /// A folder is only used for what it was made for.
    pub(super) fn check_marker(&self) -> Result<(), AgentError> {
        let refused = |why: String| {
            Err(AgentError::Refused(format!(
                "the folder {} {why}; move it away, or give the agent another --data-dir",
                self.dir.path().display()
            )))
        };
        let Some(marker) = self.dir.marker()? else {
            return refused("was not made by vtplan (it has no tablet.json)".to_owned());
        };
        let identity = &self.host.identity;
        if (&marker.cluster, marker.cluster_created_at) != (&identity.name, identity.created_at) {
            return refused(format!(
                "belongs to another cluster, a `{}` that the store knows nothing of",
                marker.cluster
            ));
        }
        let record = self.record();
        let made_for = (&marker.tablet.keyspace, &marker.tablet.shard);
        if made_for != (&record.keyspace, &record.shard) {
            return refused(format!("holds data of {}/{}", made_for.0, made_for.1));
        }
        if marker.tablet.server != record.server {
            return refused("is not of this server".to_owned());
        }
        if marker.tablet.flavor != self.flavor().kind() {
            return refused(format!(
                "holds data of {}, which {} cannot read",
                marker.server_version, self.host.program.version
            ));
        }
        Ok(())
    }

    fn start(&self, server: &mut Server) -> Result<(), AgentError> {
        self.check_marker()?;
        let (host, record) = (&self.host, self.record());
        let conf = self.server_conf(&record);
        self.remember_deviations(None);
        let path = self.dir.my_cnf();
        fs::write(&path, host.flavor.my_cnf(&conf))
            .map_err(|e| AgentError::io(&path, "it cannot be written", e))?;
        server.log_offset = log_length(&self.dir);
        let started = Process::spawn(
            &host.program.path,
            &self.dir,
            &host.bind_address,
            record.mysql_port,
        );
        let process = match started {
            Ok(process) => process,
            Err(error) => {
                self.pause(server, LONGEST_WAIT);
                server.last_death = error.to_string();
                return Err(error);
            }
        };
        info!(tablet = %self.alias, pid = process.pid(), port = record.mysql_port, "server started");
        server.process = Some(process);
        server.started_at = Some(Instant::now());
        Ok(())
    }

    /// What the server's option file is made from.
    pub(super) fn server_conf(&self, record: &TabletRecord) -> ServerConf<'_> {
        let host = &self.host;
        ServerConf {
            dir: self.dir.path(),
            server_id: record.alias.uid,
            port: record.mysql_port,
            bind_address: &host.bind_address,
            report_host: &host.address,
            as_root: host.as_root,
            settings: &host.settings,
        }
    }

    fn note_death(&self, server: &mut Server, how: &str) {
        warn!(tablet = %self.alias, how, "the server died");
        let error = AgentError::ServerDied {
            what: how.to_owned(),
            log_path: self.dir.error_log(),
            log: log_tail(&self.dir, server.log_offset),
        };
        server.last_death = error.to_string();
        if server.started_at.is_none_or(|at| at.elapsed() > STABLE) {
            server.deaths = 0;
        }
        server.process = None;
        server.sql = None;
        if server.deaths == 0 {
            // The first time it is started again at once.
            server.deaths = 1;
        } else {
            self.pause(server, LONGEST_PAUSE);
        }
    }

    fn pause(&self, server: &mut Server, longest: Duration) {
        let doubled = FIRST_PAUSE * 2u32.saturating_pow(server.deaths.min(8));
        server.not_before = Some(Instant::now() + doubled.min(longest));
        server.deaths += 1;
    }

    fn died(&self, server: &Server) -> AgentError {
        AgentError::Refused(server.last_death.clone())
    }

    /// A connection to the server, with its accounts made. The inner error: it does not answer yet.
    async fn connect_verified(&self) -> Result<Result<Sql, ()>, AgentError> {
        let credentials = &self.host.credentials;
        let endpoint = self.endpoint();
        let connect = || {
            Sql::connect(
                &endpoint,
                &credentials.admin_user,
                Some(&credentials.admin_password),
                None,
            )
        };
        let mut sql = match connect().await {
            Ok(sql) => sql,
            Err(ConnectError::NotListening) => return Ok(Err(())),
            Err(ConnectError::Failed(why)) => {
                return Err(AgentError::Refused(format!(
                    "the server of tablet {} cannot be talked to: {why}",
                    self.alias
                )));
            }
            Err(ConnectError::Denied) => {
                self.make_accounts().await?;
                self.connect(None).await?
            }
        };
        if !self.has_accounts()? {
            self.make_accounts().await?;
        }
        self.verify(&mut sql).await?;
        self.go_on_from_backup(&mut sql).await?;
        self.drop_scratch(&mut sql).await?;
        Ok(Ok(sql))
    }

    /// Whether what answers at the socket is this tablet's server.
    async fn verify(&self, sql: &mut Sql) -> Result<(), AgentError> {
        let flavor = &self.flavor();
        let facts = flavor.facts(&sql.variables(&flavor.facts_query()).await?);
        let server_id = self.alias.uid;
        let same_dir = canonical(&facts.datadir) == canonical(&self.dir.data());
        if facts.server_id != server_id || !same_dir {
            return Err(AgentError::Refused(format!(
                "the server at {} is not tablet {}: it has server_id {} and data folder {}",
                self.dir.socket().display(),
                self.alias,
                facts.server_id,
                facts.datadir.display()
            )));
        }
        Ok(())
    }

    /// Drops scratch databases that an agent left behind when it was killed.
    pub(super) async fn drop_scratch(&self, sql: &mut Sql) -> Result<(), AgentError> {
        let Ok(_scratch) = self.scratch.try_lock() else {
            return Ok(());
        };
        let query = format!(
            "SELECT schema_name FROM information_schema.schemata WHERE schema_name LIKE '{}%'",
            SCRATCH_PREFIX.replace('_', "\\_")
        );
        let names = sql.column("looking for scratch databases", &query).await?;
        if names.is_empty() {
            return Ok(());
        }
        self.with_admin_writes(sql, async |sql| {
            for name in &names {
                let statement = format!("DROP DATABASE {}", crate::flavor::identifier(name));
                sql.run("dropping a scratch database", &statement).await?;
            }
            Ok(())
        })
        .await
    }

    /// Stops the server and removes the folder.
    pub(super) async fn tear_down(&self, server: &mut Server) -> Result<(), AgentError> {
        server.sql = None;
        if self.is_adopted() {
            return self.release().await;
        }
        if server.process.is_none() {
            server.process = Process::find(&self.dir);
        }
        if let Some(process) = &mut server.process {
            info!(tablet = %self.alias, pid = process.pid(), "stopping the server of a removed tablet");
            process.stop(REMOVAL_PATIENCE).await?;
            server.process = None;
        }
        let dir = self.dir.clone();
        blocking(move || dir.delete()).await?;
        info!(tablet = %self.alias, "removed");
        Ok(())
    }

    /// Stops the server, whose tablet is another host's now, and leaves its folder.
    pub(super) async fn halt(&self, server: &mut Server) -> Result<(), AgentError> {
        server.sql = None;
        if self.is_adopted() {
            return Ok(());
        }
        if server.process.is_none() {
            server.process = Process::find(&self.dir);
        }
        if let Some(process) = &mut server.process {
            process.stop(Duration::from_secs(300)).await?;
            server.process = None;
        }
        Ok(())
    }
}

fn canonical(path: &Path) -> std::path::PathBuf {
    path.canonicalize().unwrap_or_else(|_| path.to_owned())
}

/// Runs what blocks for long on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AgentError> + Send + 'static,
) -> Result<T, AgentError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(AgentError::Refused(format!("the work was cut off: {e}"))),
    }
}
