//! Processes, and how to be sure that a process id still means the same one.

use std::path::Path;
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use serde::{Deserialize, Serialize};

/// A process: its id, and when it started, so that another one that got the same id later is not
/// taken for it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Process {
    pub pid: i32,
    /// As the system tells it; only compared.
    pub started: String,
}

impl Process {
    /// The process that has this id now. `None`: there is none, or it is a zombie.
    pub fn find(pid: i32) -> Option<Self> {
        let started = start_mark(pid)?;
        Some(Self { pid, started })
    }

    /// Whether it still runs.
    pub fn is_alive(&self) -> bool {
        start_mark(self.pid).as_ref() == Some(&self.started)
    }

    /// Sends a signal, if it still runs. Between the look and the signal the id could only change
    /// hands if the process ended and every other id was used up in between.
    pub fn signal(&self, signal: Signal) {
        if self.is_alive() {
            // It may have ended in this moment, which is what was wanted.
            let _ = kill(Pid::from_raw(self.pid), signal);
        }
    }

    /// Waits until it has ended. `false`: it still runs after `patience`.
    pub async fn ended_within(&self, patience: Duration) -> bool {
        let end = Instant::now() + patience;
        while self.is_alive() {
            if Instant::now() >= end {
                return false;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        true
    }

    /// Whether its command line names `path`: whether it is the server of that folder.
    pub fn was_started_with(&self, path: &Path) -> bool {
        let path = path.display().to_string();
        command_line(self.pid).is_some_and(|line| line.contains(&path))
    }
}

/// Linux: the 22nd field of `/proc/PID/stat` (proc_pid_stat(5)), clock ticks since boot. The
/// second field is a name in parentheses that may hold anything, so fields are counted after the
/// last one.
fn start_mark(pid: i32) -> Option<String> {
    if let Ok(stat) = std::fs::read_to_string(format!("/proc/{pid}/stat")) {
        let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
        if matches!(fields.first(), Some(&"Z" | &"X")) {
            return None;
        }
        return fields.get(19).map(|f| (*f).to_owned());
    }
    if Path::new("/proc/self/stat").exists() {
        return None;
    }
    ps(pid, "lstart=")
}

fn command_line(pid: i32) -> Option<String> {
    if let Ok(bytes) = std::fs::read(format!("/proc/{pid}/cmdline")) {
        return Some(String::from_utf8_lossy(&bytes).replace('\0', " "));
    }
    ps(pid, "command=")
}

/// For systems without `/proc`.
fn ps(pid: i32, field: &str) -> Option<String> {
    let output = std::process::Command::new("ps")
        .args(["-o", field, "-p", &pid.to_string()])
        .output()
        .ok()?;
    let text = String::from_utf8_lossy(&output.stdout).trim().to_owned();
    (output.status.success() && !text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_process_with_the_same_id_but_another_start_is_another_process() {
        let mut child = std::process::Command::new("sleep")
            .arg("60")
            .spawn()
            .expect("sleep starts");
        let process = Process::find(child.id().cast_signed()).expect("it runs");
        assert!(process.is_alive());
        let recycled = Process {
            pid: process.pid,
            started: "1".to_owned(),
        };
        assert!(!recycled.is_alive());
        recycled.signal(Signal::SIGKILL);
        assert!(!process.ended_within(Duration::from_millis(100)).await);
        process.signal(Signal::SIGTERM);
        // A zombie, which has not been waited for, counts as ended.
        assert!(process.ended_within(Duration::from_secs(20)).await);
        child.wait().expect("it ended");
        assert_eq!(Process::find(process.pid), None);
    }
}
