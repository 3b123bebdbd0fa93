//! Prepared data folders: initialising one takes seconds, copying it does not. One is made for
//! each version of the server, when the first tablet needs it.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;
use tokio::sync::Mutex;
use tracing::info;

use super::folder;
use super::program::Program;
use crate::error::AgentError;
use crate::flavor::Flavor;

/// Lines of a failed initialisation that its error shows.
const SHOWN_LINES: usize = 20;

/// The templates of an agent. Several agents may share a folder of templates.
#[derive(Debug)]
pub struct Templates {
    dir: PathBuf,
    as_root: bool,
}

/// Held while one is made: the other tablets wait for it. One for the whole process, because the
/// name under which a template is made is the process's: two agents of one process that share a
/// folder would otherwise remove from under each other what they make.
static MAKING: Mutex<()> = Mutex::const_new(());

impl Templates {
    pub fn new(dir: PathBuf, as_root: bool) -> Self {
        Self { dir, as_root }
    }

    /// The one for this program, if it was made already.
    pub fn ready(&self, program: &Program) -> Option<PathBuf> {
        let template = self.path(program);
        template.is_dir().then_some(template)
    }

    fn path(&self, program: &Program) -> PathBuf {
        let name = program.version.to_string().replace(' ', "-").to_lowercase();
        self.dir.join(name)
    }

    /// The data folder to copy for a server of this program.
    pub async fn get(&self, program: &Program, flavor: &dyn Flavor) -> Result<PathBuf, AgentError> {
        let _making = MAKING.lock().await;
        let template = self.path(program);
        if template.is_dir() {
            return Ok(template);
        }
        let mut tmp = template.clone().into_os_string();
        tmp.push(format!(".{}.tmp", std::process::id()));
        let tmp = PathBuf::from(tmp);
        let made = self.make(program, flavor, &tmp, &template).await;
        if made.is_err() {
            // What is in the way of the next try, and on a full disk of everybody.
            let _ = folder::remove(&tmp);
        }
        made.map(|()| template)
    }

    async fn make(
        &self,
        program: &Program,
        flavor: &dyn Flavor,
        tmp: &Path,
        template: &Path,
    ) -> Result<(), AgentError> {
        info!(server = %program.version, folder = %template.display(), "preparing a data folder");
        let failed = |e| AgentError::io(tmp, "a data folder cannot be prepared", e);
        folder::remove(tmp).map_err(failed)?;
        fs::create_dir_all(&self.dir).map_err(failed)?;
        let (command, args) = flavor
            .initialize(program, tmp, self.as_root)
            .map_err(|why| AgentError::MysqldUnusable {
                program: program.path.display().to_string(),
                why,
            })?;
        let output = Command::new(&command)
            .args(&args)
            .stdin(Stdio::null())
            .kill_on_drop(true)
            .output()
            .await
            .map_err(|e| AgentError::io(&command, "it cannot be started", e))?;
        if !output.status.success() {
            let log = format!(
                "{}{}",
                String::from_utf8_lossy(&output.stdout),
                String::from_utf8_lossy(&output.stderr)
            );
            return Err(self.not_initialised(&command, &output.status.to_string(), &log));
        }
        for file in flavor.private_files() {
            match fs::remove_file(tmp.join(file)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e)),
                _ => {}
            }
        }
        let (from, to) = (tmp.to_owned(), template.to_owned());
        let renamed = tokio::task::spawn_blocking(move || {
            sync_all(&from)?;
            match fs::rename(&from, &to) {
                // Another agent that shares the folder was faster.
                Err(_) if to.is_dir() => folder::remove(&from),
                other => other,
            }
        });
        renamed
            .await
            .map_err(std::io::Error::other)
            .and_then(|r| r)
            .map_err(failed)
    }

    fn not_initialised(&self, command: &Path, status: &str, log: &str) -> AgentError {
        // As the C library, MariaDB's InnoDB and MySQL's say it.
        const FULL: [&str; 4] = [
            "no space left",
            "out of disk space",
            "failed with error 28",
            "os errno 28",
        ];
        let words = log.to_lowercase();
        if FULL.iter().any(|full| words.contains(full)) {
            return AgentError::io(
                &self.dir,
                "a data folder cannot be prepared",
                std::io::ErrorKind::StorageFull.into(),
            );
        }
        let lines: Vec<&str> = log.lines().filter(|l| !l.trim().is_empty()).collect();
        let shown = lines[lines.len().saturating_sub(SHOWN_LINES)..].join("\n");
        AgentError::MysqldUnusable {
            program: command.display().to_string(),
            why: format!("it cannot prepare a data folder ({status}); it says:\n{shown}"),
        }
    }
}

/// Puts a folder with everything in it on disk.
fn sync_all(dir: &Path) -> std::io::Result<()> {
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        let kind = entry.file_type()?;
        if kind.is_dir() {
            sync_all(&entry.path())?;
        } else if kind.is_file() {
            fs::File::open(entry.path())?.sync_all()?;
        }
    }
    folder::sync_dir(dir)
}
