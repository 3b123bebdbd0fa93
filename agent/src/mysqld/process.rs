//! A mysqld process: starting it so that it outlives the agent, finding one that an earlier agent
//! started, stopping it.

use std::fs;
use std::io::{self, Read as _, Seek as _, SeekFrom};
use std::net::TcpListener;
use std::os::unix::process::ExitStatusExt as _;
use std::path::Path;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};

use super::folder::TabletDir;
use crate::error::AgentError;

/// How often a process that should end is looked at.
const POLL: Duration = Duration::from_millis(50);
/// Lines of the error log that an error shows.
const SHOWN_LINES: usize = 15;
/// At most this much of the error log's end is read, bytes.
const SHOWN_BYTES: u64 = 64 << 10;

/// A server's process.
#[derive(Debug)]
pub struct Process {
    pid: Pid,
    /// When this agent started it: it has to be reaped.
    child: Option<Child>,
}

impl Process {
    pub fn pid(&self) -> i32 {
        self.pid.as_raw()
    }

    /// The running server of a tablet's folder, if an earlier agent left one.
    pub fn find(dir: &TabletDir) -> Option<Self> {
        dir.pid_files().iter().find_map(|file| {
            let pid: i32 = fs::read_to_string(file).ok()?.trim().parse().ok()?;
            let pid = Pid::from_raw(pid);
            (pid.as_raw() > 1 && is_alive(pid) && is_server_of(pid, dir))
                .then_some(Self { pid, child: None })
        })
    }

    /// Starts the server of a tablet's folder. It survives the agent, and what is typed at the
    /// agent's terminal does not reach it.
    ///
    /// # Errors
    /// When its port is taken (`bind_address` is where it will listen), or it cannot be started.
    pub fn spawn(
        program: &Path,
        dir: &TabletDir,
        bind_address: &str,
        port: u16,
    ) -> Result<Self, AgentError> {
        check_port(bind_address, port)?;
        let log = dir.error_log();
        let open_log = || {
            fs::OpenOptions::new()
                .create(true)
                .append(true)
                .open(&log)
                .map_err(|e| AgentError::io(&log, "the server's log cannot be opened", e))
        };
        use std::os::unix::process::CommandExt as _;
        let mut child = Command::new(program)
            .arg(format!("--defaults-file={}", dir.my_cnf().display()))
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stdout(open_log()?)
            .stderr(open_log()?)
            // A group of its own: Ctrl-C at the terminal and signals to the agent's group pass it by.
            .process_group(0)
            .spawn()
            .map_err(|e| AgentError::io(program, "the server cannot be started", e))?;
        let pid = Pid::from_raw(i32::try_from(child.id()).map_err(|_| {
            AgentError::Refused(format!("process id {} is out of range", child.id()))
        })?);
        if let Err(e) = fs::write(dir.spawned_pid(), format!("{pid}\n")) {
            // Without it an agent that comes next might not find the server.
            let _ = child.kill();
            let _ = child.wait();
            return Err(AgentError::io(
                &dir.spawned_pid(),
                "the server's process id cannot be written",
                e,
            ));
        }
        Ok(Self {
            pid,
            child: Some(child),
        })
    }

    /// Whether it still runs; how it ended when that is known.
    pub fn check(&mut self) -> Result<(), String> {
        if let Some(child) = &mut self.child {
            return match child.try_wait() {
                Ok(None) => Ok(()),
                Ok(Some(status)) => Err(describe(status)),
                Err(e) => Err(format!("is lost: {e}")),
            };
        }
        if is_alive(self.pid) {
            Ok(())
        } else {
            Err("has ended".to_owned())
        }
    }

    /// Asks it to end, and kills it when it has not after `patience`. Returns when it is gone.
    pub async fn stop(&mut self, patience: Duration) -> Result<(), AgentError> {
        self.signal(Signal::SIGTERM)?;
        let killed_at = Instant::now() + patience;
        while self.check().is_ok() {
            if Instant::now() >= killed_at {
                self.signal(Signal::SIGKILL)?;
            }
            sleep(POLL).await;
        }
        Ok(())
    }

    fn signal(&self, signal: Signal) -> Result<(), AgentError> {
        match kill(self.pid, signal) {
            Ok(()) | Err(Errno::ESRCH) => Ok(()),
            Err(e) => Err(AgentError::Refused(format!(
                "the server process {} cannot be stopped: {e}",
                self.pid
            ))),
        }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // The server lives on. If the agent does too, a thread waits for the server's end, so that
        // no zombie stays; it costs nothing but its stack.
        if let Some(mut child) = self.child.take()
            && !matches!(child.try_wait(), Ok(Some(_)))
        {
            let _ = std::thread::Builder::new()
                .name("reap".to_owned())
                .stack_size(64 << 10)
                .spawn(move || child.wait());
        }
    }
}

fn describe(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (Some(code), _) => format!("ended with exit code {code}"),
        (None, Some(signal)) => format!("was killed by signal {signal}"),
        (None, None) => "has ended".to_owned(),
    }
}

/// A process that has ended but was not reaped does not count as alive.
fn is_alive(pid: Pid) -> bool {
    if kill(pid, None) == Err(Errno::ESRCH) {
        return false;
    }
    // `PID (NAME) STATE ...`, where NAME may hold anything. Systems without /proc have no such file.
    match fs::read_to_string(format!("/proc/{pid}/stat")) {
        Ok(stat) => {
            let state = stat.rsplit_once(") ").map_or("", |(_, rest)| rest);
            !state.starts_with(['Z', 'X'])
        }
        Err(_) => true,
    }
}

/// Process ids are used again: the process must have been started with this tablet's option file.
fn is_server_of(pid: Pid, dir: &TabletDir) -> bool {
    let wanted = format!("--defaults-file={}", dir.my_cnf().display());
    match fs::read(format!("/proc/{pid}/cmdline")) {
        Ok(line) => line.split(|b| *b == 0).any(|arg| arg == wanted.as_bytes()),
        // A system without /proc: what answers at the socket is checked later.
        Err(_) => !Path::new("/proc/self").exists(),
    }
}

/// A server that cannot have its port dies after seconds, with a long log: better told before.
fn check_port(bind_address: &str, port: u16) -> Result<(), AgentError> {
    let address = if bind_address == "*" {
        "0.0.0.0"
    } else {
        bind_address
    };
    match TcpListener::bind((address, port)) {
        Err(e) if e.kind() == io::ErrorKind::AddrInUse => Err(AgentError::PortTaken {
            address: address.to_owned(),
            port,
        }),
        // Whatever else is wrong with it, the server will say.
        _ => Ok(()),
    }
}

/// How long the error log is now: what comes later is of the next start.
pub fn log_length(dir: &TabletDir) -> u64 {
    fs::metadata(dir.error_log()).map_or(0, |m| m.len())
}

/// The last lines of the error log, from `offset` on.
pub fn log_tail(dir: &TabletDir, offset: u64) -> String {
    let read = || -> io::Result<Vec<u8>> {
        let mut file = fs::File::open(dir.error_log())?;
        let length = file.metadata()?.len();
        let from = if offset <= length { offset } else { 0 };
        file.seek(SeekFrom::Start(
            from.max(length.saturating_sub(SHOWN_BYTES)),
        ))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(bytes)
    };
    let bytes = match read() {
        Ok(bytes) => bytes,
        Err(e) => return format!("(the log cannot be read: {e})"),
    };
    let text = String::from_utf8_lossy(&bytes);
    let lines: Vec<&str> = text.lines().filter(|l| !l.trim().is_empty()).collect();
    if lines.is_empty() {
        return "(nothing)".to_owned();
    }
    lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n")
}

/// Stops all servers whose folders are in an agent's data folder; the agent itself must have ended.
/// Returns how many ran.
///
/// # Errors
/// When one cannot be stopped, or an agent runs there (it would start them again).
pub async fn stop_servers(data_dir: &Path, patience: Duration) -> Result<usize, AgentError> {
    let data_dir =
        std::path::absolute(data_dir).map_err(|e| AgentError::io(data_dir, "it is no path", e))?;
    let tablets_dir = data_dir.join("tablets");
    if !tablets_dir.is_dir() {
        return Ok(0);
    }
    let _lock = crate::run::lock_data_dir(&data_dir)?;
    let mut servers: Vec<Process> = super::folder::scan(&tablets_dir)?
        .tablets
        .iter()
        .filter_map(|alias| Process::find(&TabletDir::new(&tablets_dir, alias)))
        .collect();
    let stopped = servers.iter_mut().map(|server| server.stop(patience));
    futures::future::try_join_all(stopped).await?;
    Ok(servers.len())
}

#[cfg(test)]
mod tests {
    use super::*;
    use vtplan_state::model::{CellName, TabletAlias};

    fn folder(dir: &Path) -> TabletDir {
        let alias = TabletAlias::new(CellName::new("zone1").unwrap(), 100);
        let folder = TabletDir::new(dir, &alias);
        fs::create_dir(folder.path()).unwrap();
        folder
    }

    #[test]
    fn a_process_that_is_not_the_tablets_server_is_not_adopted() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path());
        // This test itself is alive, but no server of that folder.
        fs::write(&folder.pid_files()[0], std::process::id().to_string()).unwrap();
        assert!(Process::find(&folder).is_none());
    }

    #[test]
    fn a_taken_port_is_named() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        for address in ["127.0.0.1", "*"] {
            let error = check_port(address, port).unwrap_err().to_string();
            assert!(error.contains(&format!("port {port}")), "{error}");
        }
        drop(listener);
        check_port("127.0.0.1", port).unwrap();
    }

    #[test]
    fn the_tail_of_a_log_starts_where_the_server_did() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path());
        assert!(log_tail(&folder, 0).contains("cannot be read"));
        fs::write(folder.error_log(), "old\n").unwrap();
        let offset = log_length(&folder);
        assert_eq!(log_tail(&folder, offset), "(nothing)");
        fs::write(folder.error_log(), "old\nnew\n\nnewer\n").unwrap();
        assert_eq!(log_tail(&folder, offset), "new\nnewer");
        // Somebody emptied the log.
        fs::write(folder.error_log(), "x\n").unwrap();
        assert_eq!(log_tail(&folder, offset), "x");
    }

    #[tokio::test]
    async fn a_server_is_found_again_by_another_agent_and_can_be_stopped() {
        let dir = tempfile::tempdir().unwrap();
        let folder = folder(dir.path());
        let script = dir.path().join("mysqld");
        fs::write(&script, "#!/bin/sh\nwhile :; do sleep 0.05; done\n").unwrap();
        use std::os::unix::fs::PermissionsExt as _;
        fs::set_permissions(&script, fs::Permissions::from_mode(0o755)).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        drop(listener);
        let first = Process::spawn(&script, &folder, "127.0.0.1", port).unwrap();
        let pid = first.pid();
        drop(first);
        // Between fork and exec the new process still has this one's command line.
        let mut second = loop {
            match Process::find(&folder) {
                Some(process) => break process,
                None => sleep(Duration::from_millis(5)).await,
            }
        };
        assert_eq!(second.pid(), pid);
        second.stop(Duration::from_secs(60)).await.unwrap();
        assert!(Process::find(&folder).is_none());
    }
}
