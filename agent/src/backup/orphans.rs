//! Processes that copy into a folder and whose agent is gone: `mariadb-backup` goes on when nobody reads
//! what it says any more.

use std::fs;
use std::path::Path;
use std::time::Duration;

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::time::{Instant, sleep};
use tracing::warn;

/// How long they may take to be gone.
const PATIENCE: Duration = Duration::from_secs(10);

/// Kills the processes of this machine whose command line names a folder, and waits until they are gone.
pub async fn end(folder: &Path) {
    let give_up = Instant::now() + PATIENCE;
    loop {
        let found = named(folder);
        if found.is_empty() || Instant::now() >= give_up {
            return;
        }
        for pid in found {
            warn!(%pid, folder = %folder.display(), "ending what a killed agent left running");
            // It may have ended by itself.
            let _ = kill(pid, Signal::SIGKILL);
        }
        sleep(Duration::from_millis(50)).await;
    }
}

/// A system without /proc shows none.
fn named(folder: &Path) -> Vec<Pid> {
    let wanted = format!("={}/", folder.display());
    let own = std::process::id();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    processes
        .filter_map(|process| {
            let pid: u32 = process.file_name().to_str()?.parse().ok()?;
            let line = fs::read(process.path().join("cmdline")).ok()?;
            let mut arguments = line.split(|b| *b == 0);
            let names = arguments.any(|a| String::from_utf8_lossy(a).contains(&wanted));
            (names && pid != own).then(|| Pid::from_raw(i32::try_from(pid).unwrap_or(i32::MAX)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn what_works_in_a_folder_is_ended_and_nothing_else() {
        let dir = tempfile::tempdir().unwrap();
        let sleeper = |folder: &Path| {
            std::process::Command::new("sh")
                .args(["-c", "while :; do sleep 0.05; done", "x"])
                .arg(format!("--target-dir={}/data", folder.display()))
                .spawn()
                .unwrap()
        };
        let mine = dir.path().join("1.tmp");
        let mut orphan = sleeper(&mine);
        let mut other = sleeper(&dir.path().join("2.tmp"));
        // Between fork and exec a process still has this one's command line.
        while named(&mine).is_empty() {
            sleep(Duration::from_millis(5)).await;
        }
        end(&mine).await;
        assert!(!orphan.wait().unwrap().success());
        assert!(other.try_wait().unwrap().is_none());
        other.kill().unwrap();
        other.wait().unwrap();
    }
}
