//! Files that commands write.

use std::fs::OpenOptions;
use std::io::{self, BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::Path;

use crate::error::CliError;

/// Writes a file of the given mode. Whoever reads it meanwhile sees the old one or the new one, and so
/// does whoever comes after a crash. `what`: `plan file`.
pub fn replace(
    path: &Path,
    mode: u32,
    what: &str,
    write: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> Result<(), CliError> {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(format!(".{}.new", std::process::id()));
    let new = path.with_file_name(name);
    let write = || {
        let file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(mode)
            .open(&new)?;
        let mut writer = BufWriter::with_capacity(1 << 16, file);
        write(&mut writer)?;
        let file = writer
            .into_inner()
            .map_err(io::IntoInnerError::into_error)?;
        file.sync_all()?;
        std::fs::rename(&new, path)
    };
    write().map_err(|e| {
        // Best effort; the error that is told is the first one.
        let _ = std::fs::remove_file(&new);
        CliError::new(
            "io",
            format!("cannot write the {what} `{}`", path.display()),
        )
        .because(&e)
    })
}
