//! Where users' passwords are looked up.

use std::io;
use std::path::{Path, PathBuf};

use crate::desired::PasswordSource;

/// Gives what a spec only names. Implementations never print what they give.
pub trait Secrets {
    /// An environment variable.
    fn env(&self, name: &str) -> Option<String>;
    /// A file's text.
    fn file(&self, path: &Path) -> io::Result<String>;
}

/// The process's environment and files.
#[derive(Debug, Clone, Copy, Default)]
pub struct ProcessSecrets;

impl Secrets for ProcessSecrets {
    fn env(&self, name: &str) -> Option<String> {
        std::env::var(name).ok()
    }
    fn file(&self, path: &Path) -> io::Result<String> {
        std::fs::read_to_string(path)
    }
}

/// Has none: for checking a spec where its secrets are not (`validate`, a review in CI).
#[derive(Debug, Clone, Copy, Default)]
pub struct NoSecrets;

impl Secrets for NoSecrets {
    fn env(&self, _: &str) -> Option<String> {
        None
    }
    fn file(&self, _: &Path) -> io::Result<String> {
        Err(io::ErrorKind::NotFound.into())
    }
}

/// A password that could not be looked up: its user has no verifier in the desired state.
/// Displays as what is missing and what to do.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("the password of user `{user}` is missing: {why}")]
pub struct MissingSecret {
    pub user: String,
    pub source_name: PasswordSource,
    /// What is missing and how to give it.
    pub why: String,
}

/// Looks up one password. `base` is the folder of the file that names it.
pub(super) fn look_up(
    secrets: &dyn Secrets,
    source: &PasswordSource,
    base: &Path,
) -> Result<String, String> {
    match source {
        PasswordSource::Env(name) => match secrets.env(name) {
            Some(text) if !text.is_empty() => Ok(text),
            Some(_) => Err(format!("the environment variable `{name}` is empty")),
            None => Err(format!("set the environment variable `{name}`")),
        },
        PasswordSource::File(path) => {
            let path: PathBuf = base.join(path);
            let text = secrets
                .file(&path)
                .map_err(|e| format!("cannot read `{}`: {e}", path.display()))?;
            let text = text.strip_suffix('\n').unwrap_or(&text);
            let text = text.strip_suffix('\r').unwrap_or(text);
            if text.is_empty() {
                return Err(format!("the file `{}` is empty", path.display()));
            }
            Ok(text.to_owned())
        }
    }
}
