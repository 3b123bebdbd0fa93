//! Data folders from backups: each file is compared with the manifest while it is copied, and what
//! `mariadb-backup` has copied is prepared, so that a server starts on it at once.

use std::fs;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use sha2::{Digest as _, Sha256};
use tokio::process::Command;
use vtplan_state::model::BackupMethod;

use super::location::{Location, Place};
use super::manifest::Manifest;
use super::take::blocking;
use crate::error::AgentError;
use crate::mysqld::{Program, folder};
use crate::tablet::backup::mariadb_backup;

/// What stays free beside a restored folder, bytes.
const SPARE: u64 = 128 << 20;
const CHUNK: usize = 1 << 20;

/// Reads the manifest of a backup. `sha256`: what its record has of it; empty: no record is known.
///
/// # Errors
/// It is not there, as far as this machine sees, or is not the one of the record.
pub fn manifest(
    location: &dyn Location,
    place: &Place,
    sha256: &str,
) -> Result<Manifest, AgentError> {
    let shown = location.show(place);
    let text = location
        .manifest(place)
        .map_err(|e| AgentError::io(shown.as_ref(), "its manifest cannot be read", e))?;
    let text =
        text.ok_or_else(|| AgentError::Refused(format!("this machine sees no backup at {shown}")))?;
    Manifest::parse(&text, sha256).map_err(|why| AgentError::Refused(format!("{shown}: {why}")))
}

/// Makes `data`, a folder that is not there, what a server can be started on. Nothing is left of it when
/// that fails.
///
/// # Errors
/// A file is damaged or cannot be read, the disk is full, or the data cannot be prepared with `program`,
/// the server that is to run on it.
pub async fn restore(
    location: std::sync::Arc<dyn Location>,
    place: &Place,
    manifest: &Manifest,
    data: &Path,
    program: &Program,
) -> Result<(), AgentError> {
    let done = async {
        check_space(data, manifest.bytes())?;
        let (at, of, to) = (place.clone(), manifest.clone(), data.to_owned());
        blocking(move || copy(&*location, &at, &of, &to)).await?;
        match manifest.method {
            BackupMethod::MariadbBackup => prepare(data, program).await,
            BackupMethod::MysqlClone => Ok(()),
        }
    };
    let done = done.await;
    if done.is_err() {
        let _ = folder::remove(data);
    }
    done
}

fn check_space(data: &Path, bytes: u64) -> Result<(), AgentError> {
    let failed = |e| AgentError::io(data, "its disk cannot be looked at", e);
    let free_bytes = crate::disk::space(data).map_err(failed)?.free_bytes;
    let needed = bytes.saturating_add(SPARE);
    if free_bytes >= needed {
        return Ok(());
    }
    Err(AgentError::DiskFull {
        path: data.to_owned(),
        what: format!("the backup needs {} MiB", needed >> 20),
        free_bytes,
    })
}

fn copy(
    location: &dyn Location,
    place: &Place,
    manifest: &Manifest,
    data: &Path,
) -> Result<(), AgentError> {
    let failed = |path: &Path, e| AgentError::io(path, "it cannot be written", e);
    // What a server holds is for nobody else to read.
    let folder = |path: &Path| {
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(path)
    };
    folder(data).map_err(|e| failed(data, e))?;
    let mut folders = std::collections::BTreeSet::from([data.to_owned()]);
    for path in &manifest.empty_folders {
        folder(&data.join(path)).map_err(|e| failed(data, e))?;
    }
    for file in &manifest.files {
        let path = data.join(&file.path);
        if let Some(parent) = path.parent()
            && folders.insert(parent.to_owned())
        {
            folder(parent).map_err(|e| failed(parent, e))?;
        }
        let from = location.open(place, Path::new(&file.path));
        let mut from = from.map_err(|e| {
            let what = format!("{} cannot be read of the backup", file.path);
            AgentError::io(location.show(place).as_ref(), what, e)
        })?;
        let (bytes, sha256) = copy_file(&mut *from, &path).map_err(|e| failed(&path, e))?;
        if (bytes, &sha256) != (file.bytes, &file.sha256) {
            return Err(AgentError::Refused(format!(
                "the backup {} is damaged: its file {} is not what was written",
                location.show(place),
                file.path
            )));
        }
    }
    for dir in &folders {
        folder::sync_dir(dir).map_err(|e| failed(dir, e))?;
    }
    Ok(())
}

/// Returns the size and the SHA-256, hex.
fn copy_file(from: &mut dyn Read, path: &Path) -> io::Result<(u64, String)> {
    let mut options = fs::OpenOptions::new();
    let mut to = options
        .write(true)
        .create_new(true)
        .mode(0o640)
        .open(path)?;
    let mut digest = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut bytes = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => break,
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        digest.update(&buffer[..read]);
        to.write_all(&buffer[..read])?;
        bytes += read as u64;
    }
    to.sync_all()?;
    Ok((bytes, hex::encode(digest.finalize())))
}

/// Brings what was copied to the one moment of its position.
async fn prepare(data: &Path, program: &Program) -> Result<(), AgentError> {
    let tool = mariadb_backup(program)?;
    let output = Command::new(&tool)
        .arg("--prepare")
        .arg(format!("--target-dir={}", data.display()))
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|e| AgentError::io(&tool, "it cannot be started", e))?;
    if output.status.success() {
        return Ok(());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = said.lines().collect();
    let shown = lines[lines.len().saturating_sub(6)..].join("\n");
    Err(AgentError::Refused(format!(
        "mariadb-backup --prepare failed ({}): {shown}",
        output.status
    )))
}

/// The command that starts a server on a restored folder by itself, for a person who looks into it.
pub fn start_command(manifest: &Manifest, data: &Path, as_root: bool) -> String {
    use vtplan_state::model::FlavorKind;
    let program = match manifest.flavor {
        FlavorKind::MariaDb => "mariadbd",
        FlavorKind::MySql => "mysqld",
    };
    let socket: PathBuf = data.join("mysqld.sock");
    let user = if as_root { " --user=root" } else { "" };
    format!(
        "{program} --no-defaults --datadir={} --socket={} --skip-networking --skip-grant-tables{user}",
        data.display(),
        socket.display()
    )
}
