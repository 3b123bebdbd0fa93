//! Writing an imported spec and the files that it names. Nothing that is there is overwritten.

use std::fs::{self, OpenOptions};
use std::io::{ErrorKind, Write as _};
use std::path::{Path, PathBuf};

use vtplan_planner::desired::Desired;
use vtplan_planner::spec::{self, Language};

use crate::error::CliError;
use crate::planning::invalid_spec;

/// In which language a spec at `path` is.
pub fn language(path: &Path) -> Result<Language, CliError> {
    Language::of(path).ok_or_else(|| {
        let message = format!("`{}` is no name for a spec", path.display());
        CliError::new("usage", message).help("name it .yaml or .kdl")
    })
}

/// Writes `desired` as the spec `path` with its files beside it, and gives all paths.
pub fn write(path: &Path, desired: &Desired, notes: &[String]) -> Result<Vec<PathBuf>, CliError> {
    let written = spec::write(desired, notes, path, language(path)?)
        .map_err(|errors| invalid_spec(&errors))?;
    let folder = path.parent().unwrap_or(Path::new(""));
    let mut files: Vec<(PathBuf, &str)> = written
        .files
        .iter()
        .map(|(file, text)| (folder.join(file), text.as_str()))
        .collect();
    files.push((path.to_owned(), &written.text));
    if let Some((there, _)) = files.iter().find(|(file, _)| file.exists()) {
        let message = format!("`{}` is there already", there.display());
        return Err(CliError::new("exists", message)
            .help("nothing was written; name the spec in a folder of its own"));
    }
    for (file, text) in &files {
        write_new(file, text)?;
    }
    Ok(files.into_iter().map(|(file, _)| file).collect())
}

fn write_new(path: &Path, text: &str) -> Result<(), CliError> {
    let write = || {
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder)?;
        }
        let mut file = OpenOptions::new().write(true).create_new(true).open(path)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()
    };
    write().map_err(|e| {
        if e.kind() != ErrorKind::AlreadyExists {
            // Half a file would be in the way of the next run. The first error is the one to tell.
            let _ = fs::remove_file(path);
        }
        CliError::new("io", format!("cannot write `{}`", path.display())).because(&e)
    })
}
