//! Finding the server program and what it is.

use std::env;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

use crate::error::AgentError;
use crate::flavor::ServerVersion;

/// Folders where packages put servers that are not on an ordinary user's `PATH`.
const SYSTEM_DIRS: [&str; 3] = ["/usr/sbin", "/usr/local/sbin", "/usr/libexec"];

/// A server program that can be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Program {
    /// Absolute.
    pub path: PathBuf,
    pub version: ServerVersion,
}

impl Program {
    /// The program at `path`, or the first `mariadbd` or `mysqld` on `PATH`.
    ///
    /// # Errors
    /// When there is none, it does not run, or it is too old.
    pub async fn find(path: Option<&Path>) -> Result<Self, AgentError> {
        let path = match path {
            Some(path) => on_path(path).ok_or_else(|| AgentError::MysqldMissing {
                looked: format!("there is no program {}", path.display()),
            })?,
            None => ["mariadbd", "mysqld"]
                .iter()
                .find_map(|name| on_path(Path::new(name)))
                .ok_or_else(|| AgentError::MysqldMissing {
                    looked: "neither mariadbd nor mysqld is on PATH".to_owned(),
                })?,
        };
        Self::examine(path).await
    }

    async fn examine(path: PathBuf) -> Result<Self, AgentError> {
        let unusable = |why: String| AgentError::MysqldUnusable {
            program: path.display().to_string(),
            why,
        };
        let output = Command::new(&path)
            .args(["--no-defaults", "--version"])
            .stdin(Stdio::null())
            .output()
            .await
            .map_err(|e| unusable(format!("it cannot be started: {e}")))?;
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let Some(version) = ServerVersion::parse(&text) else {
            let shown = format!("{text}{}", String::from_utf8_lossy(&output.stderr));
            return Err(unusable(format!(
                "`--version` prints no version of a server: {}",
                shown.trim()
            )));
        };
        if !version.is_supported() {
            return Err(AgentError::MysqldTooOld {
                program: path.display().to_string(),
                found: version.to_string(),
            });
        }
        Ok(Self { path, version })
    }

    /// A program that belongs to the server (`mariadb-install-db`): beside it, in the same
    /// installation, or on `PATH`.
    pub fn companion(&self, name: &str) -> Option<PathBuf> {
        let real = self
            .path
            .canonicalize()
            .unwrap_or_else(|_| self.path.clone());
        let bin = real.parent()?;
        let prefix = bin.parent().unwrap_or(bin);
        [
            bin.to_owned(),
            prefix.join("bin"),
            prefix.join("scripts"),
            prefix.join("sbin"),
        ]
        .into_iter()
        .map(|dir| dir.join(name))
        .find(|p| p.is_file())
        .or_else(|| on_path(Path::new(name)))
    }
}

/// The absolute path of a program: looked up on `PATH` when it is a bare name.
fn on_path(program: &Path) -> Option<PathBuf> {
    if program.components().count() > 1 || program.is_absolute() {
        return program
            .is_file()
            .then(|| std::path::absolute(program).ok())
            .flatten();
    }
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(SYSTEM_DIRS.iter().map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|p| p.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt as _;

    fn script(dir: &Path, output: &str) -> PathBuf {
        let path = dir.join("mysqld");
        std::fs::write(&path, format!("#!/bin/sh\necho '{output}'\n")).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
        path
    }

    #[tokio::test]
    async fn a_missing_program_is_named_with_what_to_install() {
        let error = Program::find(Some(Path::new("/nowhere/mysqld")))
            .await
            .unwrap_err()
            .to_string();
        assert!(error.contains("/nowhere/mysqld"), "{error}");
        assert!(error.contains("apt install mariadb-server-core"), "{error}");
    }

    #[tokio::test]
    async fn an_old_server_and_what_is_no_server_are_refused() {
        let dir = tempfile::tempdir().unwrap();
        let old = script(dir.path(), "mysqld  Ver 5.7.44 for Linux on x86_64");
        let error = Program::find(Some(&old)).await.unwrap_err().to_string();
        assert!(error.contains("MySQL 5.7.44, which is too old"), "{error}");
        let other = script(dir.path(), "hello");
        let error = Program::find(Some(&other)).await.unwrap_err().to_string();
        assert!(
            error.contains("prints no version of a server: hello"),
            "{error}"
        );
    }
}
