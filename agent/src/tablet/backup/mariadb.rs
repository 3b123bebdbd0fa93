//! MariaDB: `mariadb-backup` copies the files, follows the redo log, and at the end keeps commits back for
//! the moment in which it reads the position.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::io::{AsyncBufReadExt as _, BufReader};
use tokio::process::Command;
use vtplan_state::model::BackupMethod;

use super::{Copied, tail};
use crate::conductor::failpoint;
use crate::error::AgentError;
use crate::mysqld::Program;
use crate::tablet::Tablet;

/// Lines of the tool that are remembered for an error.
const REMEMBERED: usize = 40;

/// The program, which comes in a package of its own.
pub(crate) fn mariadb_backup(server: &Program) -> Result<PathBuf, AgentError> {
    ["mariadb-backup", "mariabackup"]
        .iter()
        .find_map(|name| server.companion(name))
        .ok_or_else(|| {
            AgentError::Refused(
                "the program mariadb-backup is missing; install the package mariadb-backup"
                    .to_owned(),
            )
        })
}

/// The position in the file that the tool writes: name, offset and GTID position of the binlog.
pub(crate) fn position_of(data: &Path) -> Result<String, AgentError> {
    // Renamed in 11.1.
    let names = ["mariadb_backup_binlog_info", "xtrabackup_binlog_info"];
    let text = names
        .iter()
        .find_map(|name| fs::read_to_string(data.join(name)).ok());
    let Some(text) = text else {
        return Err(AgentError::Refused(
            "mariadb-backup has told no position: the server writes no binlog".to_owned(),
        ));
    };
    let parts: Vec<&str> = text.trim_end().split('\t').collect();
    let position = parts.get(2).copied().unwrap_or_default();
    Ok(position.split_whitespace().collect())
}

impl Tablet {
    pub(super) async fn copy_mariadb(&self, data: &Path) -> Result<Copied, AgentError> {
        let tool = mariadb_backup(&self.host.program)?;
        let credentials = &self.host.credentials;
        let login = format!(
            "\n[mariadb-backup]\nuser = {}\npassword = {}\nsocket = {}\n",
            credentials.admin_user,
            credentials.admin_password,
            self.dir.socket().display()
        );
        let options = self.write_backup_cnf(&login)?;
        let done = run(&tool, &options, data).await;
        let _ = fs::remove_file(&options);
        done.map_err(|e| self.without_passwords(e))?;
        Ok(Copied {
            method: BackupMethod::MariadbBackup,
            position: position_of(data)?,
        })
    }
}

async fn run(tool: &Path, options: &Path, data: &Path) -> Result<(), AgentError> {
    let failed = |e| AgentError::io(tool, "it cannot be started", e);
    let mut child = Command::new(tool)
        .arg(format!("--defaults-file={}", options.display()))
        .arg("--backup")
        .arg(format!("--target-dir={}", data.display()))
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .map_err(failed)?;
    failpoint::hit("backup.copying").await;
    let mut said: Vec<String> = Vec::new();
    if let Some(stderr) = child.stderr.take() {
        let mut lines = BufReader::new(stderr).split(b'\n');
        while let Ok(Some(line)) = lines.next_segment().await {
            if said.len() == REMEMBERED {
                said.remove(0);
            }
            said.push(String::from_utf8_lossy(&line).into_owned());
        }
    }
    let status = child.wait().await.map_err(failed)?;
    if status.success() {
        return Ok(());
    }
    // The line that says why comes before others that say that it gives up.
    let errors: Vec<String> = (said.iter())
        .filter(|line| line.to_uppercase().contains("ERROR") && !is_of_a_file(line))
        .cloned()
        .collect();
    let why = if errors.is_empty() { said } else { errors };
    Err(AgentError::Sql {
        what: format!("mariadb-backup ({status})"),
        why: tail(&why.join("\n")),
    })
}

/// Lines that say which files are copied, whatever these are called.
fn is_of_a_file(line: &str) -> bool {
    ["Copying ", "...done", "Streaming "]
        .iter()
        .any(|word| line.contains(word))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_position_is_the_third_word_of_the_tools_file() {
        let dir = tempfile::tempdir().unwrap();
        assert!(position_of(dir.path()).is_err());
        let file = dir.path().join("xtrabackup_binlog_info");
        fs::write(&file, "binlog.000001\t9184\t0-5-42,1-7-3\n").unwrap();
        assert_eq!(position_of(dir.path()).unwrap(), "0-5-42,1-7-3");
        fs::write(&file, "binlog.000001\t328\t\n").unwrap();
        assert_eq!(position_of(dir.path()).unwrap(), "");
    }
}
