//! The folder that `up` keeps its things in.

use std::path::{Path, PathBuf};

use crate::error::CliError;

/// `.vtplan/` beside the state file, or in the working directory when the state is in etcd.
#[derive(Debug, Clone)]
pub struct Home {
    dir: PathBuf,
    /// The SQLite file, if the state is in one.
    state_file: Option<PathBuf>,
}

impl Home {
    pub fn of(state_url: &str) -> Self {
        let Some(file) = sqlite_path(state_url) else {
            return Self {
                dir: ".vtplan".into(),
                state_file: None,
            };
        };
        let parent = file.parent().unwrap_or(Path::new(""));
        let dir = if parent.file_name().is_some_and(|n| n == ".vtplan") {
            parent.to_owned()
        } else {
            parent.join(".vtplan")
        };
        Self {
            dir,
            state_file: Some(file),
        }
    }

    pub fn dir(&self) -> &Path {
        &self.dir
    }

    pub fn state_file(&self) -> Option<&Path> {
        self.state_file.as_deref()
    }

    /// Where tablets' data is unless `--data-dir` says otherwise.
    pub fn data_dir(&self) -> PathBuf {
        self.dir.join("data")
    }

    pub fn logs(&self) -> PathBuf {
        self.dir.join("logs")
    }

    /// What is known of the processes that run.
    pub fn run(&self) -> PathBuf {
        self.dir.join("run")
    }

    /// Makes the folders.
    pub fn prepare(&self) -> Result<(), CliError> {
        for dir in [self.logs(), self.run()] {
            std::fs::create_dir_all(&dir).map_err(|e| {
                CliError::new("io", format!("cannot make the folder `{}`", dir.display()))
                    .because(&e)
                    .help("run it as the user whose folder it is, or in another folder")
            })?;
        }
        Ok(())
    }
}

/// The file that a `sqlite:` URL names.
pub fn sqlite_path(url: &str) -> Option<PathBuf> {
    let path = url.strip_prefix("sqlite:")?;
    let path = path.strip_prefix("//").unwrap_or(path);
    (!path.is_empty()).then(|| PathBuf::from(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_folder_is_beside_the_state_file() {
        let dir = |url| Home::of(url).dir().display().to_string();
        assert_eq!(dir("sqlite:.vtplan/state.db"), ".vtplan");
        assert_eq!(dir("sqlite:/srv/shop/.vtplan/s.db"), "/srv/shop/.vtplan");
        assert_eq!(dir("sqlite:state.db"), ".vtplan");
        assert_eq!(dir("sqlite:///srv/state.db"), "/srv/.vtplan");
        assert_eq!(dir("etcd://localhost:2379"), ".vtplan");
    }
}
