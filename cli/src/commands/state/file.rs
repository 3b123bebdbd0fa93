//! The files that hold all records of a cluster.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read as _, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use vtplan_state::cluster::Cluster;
use vtplan_state::export::{Export, MAX_BYTES};

use crate::context;
use crate::error::CliError;

/// All records of a cluster as they stand.
pub async fn take(cluster: &Cluster) -> Result<Export, CliError> {
    let taken = Export::take(cluster).await;
    let taken = taken.map_err(|e| context::store_error(&e))?;
    taken.ok_or_else(|| {
        let name = cluster.name();
        CliError::new(
            "no-cluster",
            format!(
                "the state store {} no longer holds the cluster `{name}`",
                cluster.store().url()
            ),
        )
    })
}

/// Reads a file and checks all of it.
pub fn read(path: &Path) -> Result<Export, CliError> {
    let failed = |why: String| {
        let message = format!("cannot read `{}`", path.display());
        CliError::new("io", message).cause(why)
    };
    let text = read_bytes(path).map_err(|e| failed(e.to_string()))?;
    Export::parse(&text).map_err(|error| {
        CliError::new(
            "bad-export",
            format!("`{}` cannot be used: nothing was changed", path.display()),
        )
        .cause(error.to_string())
        .help("take a file that `vtplan state export` or `vtplan state backup` wrote")
    })
}

fn read_bytes(path: &Path) -> io::Result<Vec<u8>> {
    let file = File::open(path)?;
    if file.metadata()?.is_dir() {
        return Err(io::Error::other("it is a folder"));
    }
    let mut text = Vec::new();
    // Asked of what is read, not of the file's length: it may be a pipe, or grow.
    file.take(MAX_BYTES + 1).read_to_end(&mut text)?;
    if text.len() as u64 > MAX_BYTES {
        let why = format!("it is larger than {} MiB", MAX_BYTES >> 20);
        return Err(io::Error::other(why));
    }
    Ok(text)
}

/// Writes a file for its owner alone, in one step: at any moment the old one is there or the new one.
pub fn write(path: &Path, export: &Export) -> Result<(), CliError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}{NEW}", std::process::id()));
    let new = path.with_file_name(name);
    let write = || {
        let mut file = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(export.to_text().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        File::open(folder.unwrap_or(Path::new(".")))?.sync_all()
    };
    write().map_err(|e| {
        // Best effort; the error that is told is the first one.
        let _ = fs::remove_file(&new);
        CliError::new("io", format!("cannot write `{}`", path.display())).because(&e)
    })
}

/// What the names of files end with that are being written.
pub const NEW: &str = ".new";
