//! An agent or a gate in the background: started detached, found again, stopped.

use std::fs::{self, File, OpenOptions};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::os::unix::process::CommandExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::Signal;
use serde::{Deserialize, Serialize};

use super::home::Home;
use super::process::Process;
use crate::error::CliError;

#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Kind {
    Agent,
    Gate,
}

impl Kind {
    pub const fn name(self) -> &'static str {
        match self {
            Self::Agent => "agent",
            Self::Gate => "gate",
        }
    }
}

/// What a person said to `up`, to be kept when they do not say it again: in another folder the
/// tablets would not be found, on other ports applications would not find the gate.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Told {
    /// Absolute.
    pub data_dir: Option<PathBuf>,
    pub mysqld: Option<PathBuf>,
    pub agent_port: Option<u16>,
    pub tablet_port: Option<u16>,
    pub capacity: Option<u32>,
    /// Bytes.
    pub buffer_pool: Option<u64>,
    pub mysql_port: Option<u16>,
    pub http_port: Option<u16>,
}

/// What `up` writes down of a process it started: `run/agent.json`, `run/gate.json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Service {
    pub kind: Kind,
    #[serde(flatten)]
    pub process: Process,
    pub cluster: String,
    pub cell: String,
    /// The host's or the gate's name in the store.
    pub name: String,
    /// What `up` was told when it started it.
    #[serde(default)]
    pub told: Told,
    pub log: PathBuf,
}

impl Service {
    fn path(home: &Home, kind: Kind) -> PathBuf {
        home.run().join(format!("{}.json", kind.name()))
    }

    /// What was written down last, whether it still runs or not.
    pub fn recorded(home: &Home, kind: Kind) -> Option<Self> {
        let text = fs::read(Self::path(home, kind)).ok()?;
        serde_json::from_slice(&text).ok()
    }

    /// The one that runs.
    pub fn running(home: &Home, kind: Kind) -> Option<Self> {
        Self::recorded(home, kind).filter(|s| s.process.is_alive())
    }

    /// Written to a file of its own first: a reader never sees half of it.
    pub fn write(&self, home: &Home) -> Result<(), CliError> {
        let path = Self::path(home, self.kind);
        let new = path.with_extension("json.new");
        let text = serde_json::to_vec_pretty(self).expect("a service's record serializes");
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, &path))
            .map_err(|e| {
                CliError::new("io", format!("cannot write `{}`", path.display())).because(&e)
            })
    }

    /// Asks it to end and waits. One that does not is killed: it keeps nothing but the store.
    pub async fn stop(&self) {
        self.process.signal(Signal::SIGTERM);
        if !self.process.ended_within(Duration::from_secs(30)).await {
            self.process.signal(Signal::SIGKILL);
            self.process.ended_within(Duration::from_secs(5)).await;
        }
    }
}

/// A process that was just started, with the place in its log where it begins.
pub struct Started {
    pub child: Child,
    pub process: Process,
    pub log: PathBuf,
    log_from: u64,
}

/// Starts `vtplan ARGS` in the background: in a process group of its own, so that Ctrl-C in this
/// terminal does not reach it, with its output appended to a log.
pub fn start(home: &Home, kind: Kind, args: &[String]) -> Result<Started, CliError> {
    let failed = |what: String, e: &dyn std::error::Error| CliError::new("io", what).because(e);
    let log = home.logs().join(format!("{}.log", kind.name()));
    let open = OpenOptions::new().create(true).append(true).open(&log);
    let file = open.map_err(|e| failed(format!("cannot open the log `{}`", log.display()), &e))?;
    let log_from = file.metadata().map_or(0, |m| m.len());
    let binary = std::env::current_exe()
        .map_err(|e| failed("cannot find the path of `vtplan` itself".into(), &e))?;
    let clone = file
        .try_clone()
        .map_err(|e| failed(format!("cannot open the log `{}`", log.display()), &e))?;
    let child = Command::new(&binary)
        .args(args)
        .stdin(Stdio::null())
        .stdout(clone)
        .stderr(file)
        .process_group(0)
        .spawn()
        .map_err(|e| failed(format!("cannot start `{}`", binary.display()), &e))?;
    let pid = child.id().cast_signed();
    // One that has ended already is found dead by whoever waits for it.
    let process = Process::find(pid).unwrap_or(Process {
        pid,
        started: String::new(),
    });
    Ok(Started {
        child,
        process,
        log,
        log_from,
    })
}

impl Started {
    /// Whether it has ended, and how.
    pub fn ended(&mut self) -> Option<String> {
        match self.child.try_wait() {
            Ok(Some(status)) => Some(status.to_string()),
            _ => None,
        }
    }

    /// The last lines that it wrote itself.
    pub fn last_lines(&self, count: usize) -> String {
        tail(&self.log, self.log_from, count)
    }
}

/// The last lines of a log, none from before `from`.
fn tail(log: &Path, from: u64, count: usize) -> String {
    const MOST: u64 = 64 << 10;
    let read = || -> std::io::Result<String> {
        let mut file = File::open(log)?;
        let length = file.metadata()?.len();
        file.seek(SeekFrom::Start(from.max(length.saturating_sub(MOST))))?;
        let mut bytes = Vec::new();
        file.take(MOST).read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    };
    let text = read().unwrap_or_default();
    let text = anstream::adapter::strip_str(&text).to_string();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(count)..].join("\n")
}

/// Keeps a second `up` or `down` out while one is at work.
pub fn lock(home: &Home) -> Result<Flock<File>, CliError> {
    let path = home.run().join("lock");
    let open = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = open.map_err(|e| {
        CliError::new("io", format!("cannot open `{}`", path.display())).because(&e)
    })?;
    Flock::lock(file, FlockArg::LockExclusiveNonblock).map_err(|_| {
        CliError::new(
            "busy",
            format!(
                "another `vtplan up` or `vtplan down` is at work in `{}`",
                home.dir().display()
            ),
        )
        .help("wait until it has ended")
    })
}
