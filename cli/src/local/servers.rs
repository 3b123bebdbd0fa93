//! The tablets' MySQL servers of an agent's data folder.

use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::process::Process;
use crate::error::CliError;

/// A server that runs.
#[derive(Debug)]
pub struct Server {
    /// The tablet's alias.
    pub tablet: String,
    pub process: Process,
}

/// The running servers of the tablets under `data_dir`.
pub fn running(data_dir: &Path) -> Vec<Server> {
    let mut servers = Vec::new();
    for tablet in folders(&data_dir.join("tablets")) {
        // The folder is in the command line as the agent wrote it: absolute.
        let Ok(folder) = std::path::absolute(&tablet) else {
            continue;
        };
        for pid in pids(&tablet) {
            let process = Process::find(pid).filter(|p| p.was_started_with(&folder));
            if let (Some(process), Some(name)) = (process, tablet.file_name()) {
                servers.push(Server {
                    tablet: name.to_string_lossy().into_owned(),
                    process,
                });
                break;
            }
        }
    }
    servers.sort_by(|a, b| a.tablet.cmp(&b.tablet));
    servers
}

/// How long a server may take to write what it has in memory before it is killed.
const PATIENCE: Duration = Duration::from_secs(120);

/// Stops servers side by side, each as a shutdown by hand would.
pub async fn stop(servers: &[Server]) -> Result<(), CliError> {
    for server in servers {
        server.process.signal(Signal::SIGTERM);
    }
    for server in servers {
        if !server.process.ended_within(PATIENCE).await {
            return Err(CliError::new(
                "server-stays",
                format!(
                    "the MySQL server of tablet {} (process {}) did not stop within {} s",
                    server.tablet,
                    server.process.pid,
                    PATIENCE.as_secs()
                ),
            )
            .help(
                "its error log is in the tablet's folder; run `vtplan down` again to go on waiting",
            ));
        }
    }
    Ok(())
}

/// The ids in a tablet's pid files.
fn pids(tablet: &Path) -> Vec<i32> {
    let mut pids = Vec::new();
    for folder in [tablet.to_owned(), tablet.join("data")] {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            let path = entry.path();
            if path.extension().is_some_and(|e| e == "pid")
                && let Ok(text) = std::fs::read_to_string(&path)
                && let Ok(pid) = text.trim().parse()
            {
                pids.push(pid);
            }
        }
    }
    pids
}

fn folders(dir: &Path) -> Vec<PathBuf> {
    std::fs::read_dir(dir)
        .into_iter()
        .flatten()
        .flatten()
        .map(|e| e.path())
        .filter(|p| p.is_dir())
        .collect()
}
