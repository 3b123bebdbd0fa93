//! MySQL: the server clones itself (`CLONE LOCAL DATA DIRECTORY`). What of the binlog is in a clone is not
//! told by that statement, and read from the clone: a server is started on it for a moment, which nobody
//! else reaches. It also brings the clone to where the next server starts at once, and shows that one does.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::time::{Instant, sleep};
use vtplan_state::model::BackupMethod;

use super::{Copied, tail};
use crate::conductor::failpoint;
use crate::error::AgentError;
use crate::flavor::literal;
use crate::mysqld::folder;
use crate::sql::{ConnectError, Endpoint, Sql};
use crate::tablet::Tablet;

/// How long the server on the clone may take until it answers: it may have a long redo log to go through.
const START: Duration = Duration::from_secs(1800);
const POLL: Duration = Duration::from_millis(100);
const PLUGIN: &str =
    "SELECT PLUGIN_STATUS FROM information_schema.PLUGINS WHERE PLUGIN_NAME = 'clone'";
const CLONING: &str = "SELECT ID FROM information_schema.PROCESSLIST WHERE INFO LIKE \
     'CLONE LOCAL DATA DIRECTORY%' AND ID <> CONNECTION_ID()";

impl Tablet {
    pub(super) async fn copy_mysql(&self, data: &Path) -> Result<Copied, AgentError> {
        let mut sql = self.connect(None).await?;
        self.provide_clone(&mut sql).await?;
        let target = literal(&data.display().to_string());
        let statement = format!("CLONE LOCAL DATA DIRECTORY = {target}");
        sql.run_for_long("cloning the server's data", &statement)
            .await?;
        sql.close().await;
        failpoint::hit("backup.copying").await;
        let position = self.start_on(data).await?;
        // The next server on it is another one, with keys of its own.
        for file in self.flavor().private_files() {
            match fs::remove_file(data.join(file)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
                    return Err(AgentError::io(&data.join(file), "it cannot be removed", e));
                }
                _ => {}
            }
        }
        for name in ["#clone", "#innodb_temp"] {
            let path = data.join(name);
            folder::remove(&path).map_err(|e| AgentError::io(&path, "it cannot be removed", e))?;
        }
        Ok(Copied {
            method: BackupMethod::MysqlClone,
            position,
        })
    }

    /// Loads the plugin, outside of the binlog.
    async fn provide_clone(&self, sql: &mut Sql) -> Result<(), AgentError> {
        let what = "loading the clone plugin";
        if sql
            .column(what, PLUGIN)
            .await?
            .iter()
            .any(|s| s == "ACTIVE")
        {
            return Ok(());
        }
        let _scratch = self.scratch.lock().await;
        self.with_admin_writes(sql, async |sql| {
            let statement = "INSTALL PLUGIN clone SONAME 'mysql_clone.so'";
            sql.run(what, statement).await.map(drop)
        })
        .await
    }

    /// Ends clones that were begun for somebody who is gone: a server makes one at a time.
    pub(super) async fn end_cloning(&self) -> Result<(), AgentError> {
        let what = "ending a clone";
        let mut sql = self.connect(None).await?;
        for id in sql.column(what, CLONING).await? {
            // It may have ended by itself.
            let _ = sql.run(what, &format!("KILL {id}")).await;
        }
        let give_up = Instant::now() + Duration::from_secs(30);
        while !sql.column(what, CLONING).await?.is_empty() && Instant::now() < give_up {
            sleep(POLL).await;
        }
        sql.close().await;
        Ok(())
    }

    /// Starts a server on a clone, and ends it again. Returns what of the binlog is in it.
    async fn start_on(&self, data: &Path) -> Result<String, AgentError> {
        let options = self.write_backup_cnf("")?;
        let beside = data.parent().unwrap_or(data);
        let (log, pid) = (beside.join("server.log"), beside.join("server.pid"));
        let socket = self.dir.path().join("backup.sock");
        let mut child = Command::new(&self.host.program.path)
            .arg(format!("--defaults-file={}", options.display()))
            .arg(format!("--datadir={}", data.display()))
            .arg(format!("--socket={}", socket.display()))
            .arg(format!("--log-error={}", log.display()))
            .arg(format!("--pid-file={}", pid.display()))
            .args([
                "--skip-networking",
                "--skip-log-bin",
                "--event-scheduler=OFF",
                "--innodb-buffer-pool-size=64M",
                "--super-read-only=ON",
            ])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .kill_on_drop(true)
            .spawn()
            .map_err(|e| AgentError::io(&self.host.program.path, "it cannot be started", e))?;
        let position = self.position_at(&mut child, socket.clone(), &log).await;
        let ended = end(&mut child, &log).await;
        for path in [options, log, pid, socket] {
            let _ = fs::remove_file(path);
        }
        let position = position?;
        ended?;
        Ok(position)
    }

    async fn position_at(
        &self,
        child: &mut Child,
        socket: PathBuf,
        log: &Path,
    ) -> Result<String, AgentError> {
        let credentials = &self.host.credentials;
        let endpoint = Endpoint::Socket(socket);
        let give_up = Instant::now() + START;
        loop {
            if let Ok(Some(status)) = child.try_wait() {
                return Err(died(
                    &format!("does not start on the clone ({status})"),
                    log,
                ));
            }
            let connected = Sql::connect(
                &endpoint,
                &credentials.admin_user,
                Some(&credentials.admin_password),
                None,
            );
            match connected.await {
                Ok(mut sql) => {
                    let facts = self.facts(&mut sql).await;
                    // A replica's clone knows where it replicated from.
                    let what = "making the clone nobody's replica";
                    sql.run(what, self.flavor().detach()).await?;
                    sql.close().await;
                    return Ok(facts?.position);
                }
                Err(ConnectError::NotListening) if Instant::now() < give_up => sleep(POLL).await,
                Err(ConnectError::NotListening) => {
                    return Err(died("does not answer on the clone", log));
                }
                Err(ConnectError::Denied) => {
                    return Err(died(
                        "on the clone denies access to vtplan's administrator",
                        log,
                    ));
                }
                Err(ConnectError::Failed(why)) => {
                    return Err(died(&format!("on the clone cannot be asked: {why}"), log));
                }
            }
        }
    }
}

/// Shuts a server down and waits for it: what is on disk afterwards is whole.
async fn end(child: &mut Child, log: &Path) -> Result<(), AgentError> {
    if let Some(pid) = child.id().and_then(|id| i32::try_from(id).ok()) {
        let _ = kill(Pid::from_raw(pid), Signal::SIGTERM);
    }
    match child.wait().await {
        Ok(status) if status.success() => Ok(()),
        Ok(status) => Err(died(
            &format!("on the clone did not end well ({status})"),
            log,
        )),
        Err(e) => Err(died(&format!("on the clone is lost: {e}"), log)),
    }
}

fn died(what: &str, log: &Path) -> AgentError {
    AgentError::ServerDied {
        what: what.to_owned(),
        log_path: log.to_owned(),
        log: tail(&fs::read_to_string(log).unwrap_or_default()),
    }
}
