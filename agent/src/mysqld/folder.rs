//! A tablet's folder: what stands where in it, and how it comes and goes.
//!
//! `TABLETS_DIR/<alias>/` holds `data/`, `tmp/`, `my.cnf`, `mysql.sock`, `error.log`, the server's
//! `mysqld.pid`, and three files of the agent: `tablet.json` (whose folder it is), `role.json` (see
//! [`crate::tablet::role`]) and `spawned.pid`. A folder is made as `<alias>.tmp` and renamed when it
//! is whole; it is renamed to `<alias>.deleted` before it is removed. So a folder with an alias as
//! its name is always a whole one.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};

use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use vtplan_state::model::{TabletAlias, TabletRecord, UnixMillis};

use crate::disk;
use crate::error::AgentError;

/// The longest path of a Unix socket, bytes, without its closing zero.
const MAX_SOCKET_PATH: usize = 107;

/// What must be free for a new tablet besides its fresh data: its logs and first tables.
const SPARE_BYTES: u64 = 128 << 20;

/// What a running server makes besides its fresh data and its redo log before it holds any rows:
/// temporary tablespaces, the first binlog. Measured were 11 MiB (MariaDB 10.11) and 5 MiB (MySQL 9.7).
const TEMPORARY_BYTES: u64 = 16 << 20;

/// What a tablet's folder has besides what was copied, once its server runs, bytes.
pub fn beside_template(redo_log_bytes: u64) -> u64 {
    redo_log_bytes.saturating_add(TEMPORARY_BYTES)
}

/// Endings of folders that are not whole.
const TMP: &str = "tmp";
const DELETED: &str = "deleted";

/// `tablet.json`: whose folder it is. A folder is only ever removed when the cluster it was made
/// for has dropped the tablet.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Marker {
    pub cluster: String,
    /// When the cluster was made: another one of the same name is another cluster.
    pub cluster_created_at: UnixMillis,
    pub tablet: TabletRecord,
    /// The version of the server that the folder was made for.
    pub server_version: String,
    /// The cluster's generation in which the tablet was seen in the records last.
    #[serde(default)]
    pub generation: u64,
}

/// The place of a tablet's folder.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TabletDir {
    tablets_dir: PathBuf,
    alias: TabletAlias,
    path: PathBuf,
}

impl TabletDir {
    pub fn new(tablets_dir: &Path, alias: &TabletAlias) -> Self {
        Self {
            tablets_dir: tablets_dir.to_owned(),
            alias: alias.clone(),
            path: tablets_dir.join(alias.to_string()),
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }
    pub fn exists(&self) -> bool {
        self.path.is_dir()
    }
    pub fn data(&self) -> PathBuf {
        self.path.join("data")
    }
    pub fn socket(&self) -> PathBuf {
        self.path.join("mysql.sock")
    }
    pub fn my_cnf(&self) -> PathBuf {
        self.path.join("my.cnf")
    }
    pub fn error_log(&self) -> PathBuf {
        self.path.join("error.log")
    }
    pub fn role_file(&self) -> PathBuf {
        self.path.join("role.json")
    }
    /// There from when a server's data was made of a backup until the server knows where to go on.
    pub fn seeded_file(&self) -> PathBuf {
        self.path.join("seeded.json")
    }
    pub fn accounts_file(&self) -> PathBuf {
        self.path.join("accounts.json")
    }
    /// Where the process id stands: as the server wrote it, and as the agent that started it did.
    pub fn pid_files(&self) -> [PathBuf; 2] {
        [self.path.join("mysqld.pid"), self.spawned_pid()]
    }
    pub fn spawned_pid(&self) -> PathBuf {
        self.path.join("spawned.pid")
    }

    fn beside(&self, ending: &str) -> PathBuf {
        self.tablets_dir.join(format!("{}.{ending}", self.alias))
    }

    /// Makes the folder with a copy of `template` as its data. Takes long: for a blocking thread.
    pub fn create(&self, template: &Path, marker: &Marker, sync: bool) -> Result<(), AgentError> {
        self.check_socket()?;
        self.check_space(template)?;
        let made = self.fill(template, marker, sync);
        if made.is_err() {
            self.give_up();
        }
        made
    }

    fn check_socket(&self) -> Result<(), AgentError> {
        let socket = self.socket();
        if socket.as_os_str().len() > MAX_SOCKET_PATH {
            return Err(AgentError::Refused(format!(
                "the path of the server's socket, {}, is longer than the {MAX_SOCKET_PATH} bytes that a socket may have: give the agent a --data-dir with a shorter path",
                socket.display()
            )));
        }
        Ok(())
    }

    /// Begins the folder: `data` in what this gives is for the caller to make. Nobody else reaches it.
    pub fn begin(&self) -> Result<PathBuf, AgentError> {
        self.check_socket()?;
        let tmp = self.beside(TMP);
        let begun = remove(&tmp)
            .and_then(|()| fs::create_dir(&tmp))
            // Until the accounts have passwords nobody else may reach the server's socket.
            .and_then(|()| set_mode(&tmp, 0o700));
        begun.map_err(|e| self.not_made(&tmp, e))?;
        Ok(tmp)
    }

    /// Makes what was begun the folder.
    pub fn finish(&self, marker: &Marker) -> Result<(), AgentError> {
        let tmp = self.beside(TMP);
        fs::create_dir(tmp.join("tmp")).map_err(|e| self.not_made(&tmp, e))?;
        write_json(&tmp.join("tablet.json"), marker)?;
        fs::rename(&tmp, &self.path)
            .and_then(|()| sync_dir(&self.tablets_dir))
            .map_err(|e| self.not_made(&self.path, e))
    }

    /// Removes what was begun: it is in the way of the next try, and on a full disk of everybody.
    pub fn give_up(&self) {
        let _ = fs::remove_dir_all(self.beside(TMP));
    }

    fn not_made(&self, path: &Path, error: io::Error) -> AgentError {
        let what = format!("the folder of tablet {} cannot be made", self.alias);
        AgentError::io(path, what, error)
    }

    /// Makes the folder of a tablet whose data is elsewhere: it holds what the agent remembers.
    pub fn create_empty(&self, marker: &Marker) -> Result<(), AgentError> {
        let tmp = self.beside(TMP);
        let failed = |e| {
            let what = format!("the folder of tablet {} cannot be made", self.alias);
            AgentError::io(&tmp, what, e)
        };
        remove(&tmp).map_err(failed)?;
        fs::create_dir(&tmp).map_err(failed)?;
        set_mode(&tmp, 0o700).map_err(failed)?;
        write_json(&tmp.join("tablet.json"), marker)?;
        fs::rename(&tmp, &self.path)
            .and_then(|()| sync_dir(&self.tablets_dir))
            .map_err(failed)
    }

    /// A disk that a new tablet fills up stops the servers that are on it: better not begun.
    fn check_space(&self, template: &Path) -> Result<(), AgentError> {
        let unknown = |e| {
            let what = format!("the folder of tablet {} cannot be made", self.alias);
            AgentError::io(template, what, e)
        };
        let needed = size(template).map_err(unknown)? + SPARE_BYTES;
        let free_bytes = disk::space(&self.tablets_dir).map_err(unknown)?.free_bytes;
        if free_bytes >= needed {
            return Ok(());
        }
        Err(AgentError::DiskFull {
            path: self.path.clone(),
            what: format!(
                "the folder of tablet {} needs {} MiB",
                self.alias,
                needed >> 20
            ),
            free_bytes,
        })
    }

    fn fill(&self, template: &Path, marker: &Marker, sync: bool) -> Result<(), AgentError> {
        let tmp = self.begin()?;
        copy_dir(template, &tmp.join("data"), sync).map_err(|e| self.not_made(&tmp, e))?;
        self.finish(marker)
    }

    /// Lets other users come to the socket, once the accounts have passwords.
    pub fn open_to_others(&self) -> Result<(), AgentError> {
        set_mode(&self.path, 0o711)
            .map_err(|e| AgentError::io(&self.path, "its mode cannot be set", e))
    }

    /// Whose folder it is; `None` when it does not say.
    pub fn marker(&self) -> Result<Option<Marker>, AgentError> {
        read_json(&self.path.join("tablet.json"))
    }

    /// Writes down anew whose folder it is.
    pub fn set_marker(&self, marker: &Marker) -> Result<(), AgentError> {
        write_json(&self.path.join("tablet.json"), marker)
    }

    /// Removes the folder; its server must have stopped. Takes long: for a blocking thread.
    pub fn delete(&self) -> Result<(), AgentError> {
        let deleted = self.beside(DELETED);
        let done = || {
            remove(&deleted)?;
            match fs::rename(&self.path, &deleted) {
                Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
                other => other?,
            }
            remove(&deleted)
        };
        done().map_err(|e| {
            let what = format!("the folder of tablet {} cannot be removed", self.alias);
            AgentError::io(&self.path, what, e)
        })
    }
}

/// What a tablets folder holds.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Found {
    /// Whole folders, by alias.
    pub tablets: Vec<TabletAlias>,
    /// Folders that were being made or removed when an agent ended.
    pub remains: Vec<PathBuf>,
}

/// Looks through a tablets folder. What has no name that an agent gives is passed over.
pub fn scan(tablets_dir: &Path) -> Result<Found, AgentError> {
    let failed = |e| AgentError::io(tablets_dir, "the tablets' folders cannot be listed", e);
    let mut found = Found::default();
    for entry in fs::read_dir(tablets_dir).map_err(failed)? {
        let entry = entry.map_err(failed)?;
        let name = entry.file_name();
        let Some(name) = name.to_str() else { continue };
        if !entry.path().is_dir() {
            continue;
        }
        match name.rsplit_once('.') {
            Some((alias, TMP | DELETED)) if alias.parse::<TabletAlias>().is_ok() => {
                found.remains.push(entry.path());
            }
            _ => found.tablets.extend(name.parse::<TabletAlias>().ok()),
        }
    }
    found.tablets.sort();
    Ok(found)
}

/// Removes a folder that may not be there.
pub fn remove(path: &Path) -> io::Result<()> {
    match fs::remove_dir_all(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

/// The size of everything in a folder, bytes.
pub fn size(dir: &Path) -> io::Result<u64> {
    let mut total = 0;
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        total += if entry.file_type()?.is_dir() {
            size(&entry.path())?
        } else {
            entry.metadata()?.len()
        };
    }
    Ok(total)
}

/// Copies a folder with everything in it. `sync`: it is on disk when this returns.
fn copy_dir(from: &Path, to: &Path, sync: bool) -> io::Result<()> {
    fs::create_dir(to)?;
    for entry in fs::read_dir(from)? {
        let entry = entry?;
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if entry.file_type()?.is_dir() {
            copy_dir(&source, &target, sync)?;
        } else {
            fs::copy(&source, &target)?;
            if sync {
                fs::File::open(&target)?.sync_all()?;
            }
        }
    }
    fs::set_permissions(to, fs::metadata(from)?.permissions())?;
    if sync { sync_dir(to) } else { Ok(()) }
}

/// Makes the names in a folder last over a loss of power.
pub fn sync_dir(dir: &Path) -> io::Result<()> {
    fs::File::open(dir)?.sync_all()
}

fn set_mode(path: &Path, mode: u32) -> io::Result<()> {
    fs::set_permissions(path, fs::Permissions::from_mode(mode))
}

/// Reads a small JSON file; `None` when it is not there.
pub fn read_json<T: DeserializeOwned>(path: &Path) -> Result<Option<T>, AgentError> {
    let text = match fs::read(path) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(None),
        other => other.map_err(|e| AgentError::io(path, "it cannot be read", e))?,
    };
    let value = serde_json::from_slice(&text)
        .map_err(|e| AgentError::io(path, "it is damaged", io::Error::other(e)))?;
    Ok(Some(value))
}

/// Writes a small JSON file so that at any moment either the old or the new one is there.
pub fn write_json<T: Serialize>(path: &Path, value: &T) -> Result<(), AgentError> {
    let tmp = path.with_extension("json.tmp");
    let write = || {
        let text = serde_json::to_vec_pretty(value).map_err(io::Error::other)?;
        fs::write(&tmp, text)?;
        fs::File::open(&tmp)?.sync_all()?;
        fs::rename(&tmp, path)?;
        path.parent().map_or(Ok(()), sync_dir)
    };
    write().map_err(|e| AgentError::io(path, "it cannot be written", e))
}

#[cfg(test)]
mod tests {
    use super::*;
    use vtplan_state::model::{CellName, FlavorKind, HostName, KeyspaceName, ShardName};

    fn marker(alias: &TabletAlias) -> Marker {
        Marker {
            cluster: "test".to_owned(),
            cluster_created_at: 1,
            tablet: TabletRecord {
                alias: alias.clone(),
                keyspace: KeyspaceName::new("commerce").unwrap(),
                shard: ShardName::unsharded(),
                tablet_type: vtplan_state::model::TabletType::Replica,
                host: HostName::new("h1").unwrap(),
                mysql_port: 17100,
                flavor: FlavorKind::MariaDb,
                server: Default::default(),
            },
            server_version: "10.11.6".to_owned(),
            generation: 0,
        }
    }

    fn alias() -> TabletAlias {
        TabletAlias::new(CellName::new("zone1").unwrap(), 100)
    }

    #[test]
    fn a_folder_is_whole_or_not_there() {
        let dir = tempfile::tempdir().unwrap();
        let template = dir.path().join("template");
        let tablets = dir.path().join("tablets");
        fs::create_dir_all(template.join("mysql")).unwrap();
        fs::create_dir(&tablets).unwrap();
        fs::write(template.join("mysql/user.frm"), "x").unwrap();
        let folder = TabletDir::new(&tablets, &alias());

        // What an agent left behind that was killed while copying is no tablet, and not in the way.
        fs::create_dir_all(tablets.join("zone1-0000000100.tmp/data")).unwrap();
        let found = scan(&tablets).unwrap();
        assert_eq!((found.tablets.len(), found.remains.len()), (0, 1));
        folder.create(&template, &marker(&alias()), true).unwrap();
        assert!(folder.data().join("mysql/user.frm").is_file());
        assert_eq!(folder.marker().unwrap(), Some(marker(&alias())));
        let found = scan(&tablets).unwrap();
        assert_eq!(found.tablets, [alias()]);
        assert!(found.remains.is_empty());

        folder.delete().unwrap();
        folder.delete().unwrap();
        assert_eq!(scan(&tablets).unwrap(), Found::default());
    }

    #[test]
    fn a_failed_copy_leaves_nothing() {
        let dir = tempfile::tempdir().unwrap();
        let folder = TabletDir::new(dir.path(), &alias());
        let error = folder
            .create(&dir.path().join("no-template"), &marker(&alias()), false)
            .unwrap_err();
        assert!(error.to_string().contains("zone1-0000000100"), "{error}");
        assert_eq!(scan(dir.path()).unwrap(), Found::default());
    }

    #[test]
    fn a_tablet_that_the_disk_has_no_room_for_is_not_begun() {
        let dir = tempfile::tempdir().unwrap();
        let (template, tablets) = (dir.path().join("template"), dir.path().join("tablets"));
        fs::create_dir(&template).unwrap();
        fs::create_dir(&tablets).unwrap();
        // Larger than any disk, and takes no room on this one.
        let huge = fs::File::create(template.join("ibdata1")).unwrap();
        huge.set_len(1 << 43).unwrap();
        let folder = TabletDir::new(&tablets, &alias());
        let error = folder.create(&template, &marker(&alias()), false);
        let error = error.unwrap_err().to_string();
        assert!(error.contains("zone1-0000000100 needs"), "{error}");
        assert!(error.contains("the disk is full") && error.contains("bytes free"));
        assert_eq!(scan(&tablets).unwrap(), Found::default());
    }

    #[test]
    fn a_path_too_long_for_a_socket_is_refused_with_what_to_do() {
        let dir = tempfile::tempdir().unwrap();
        let folder = TabletDir::new(&dir.path().join("x".repeat(100)), &alias());
        let error = folder
            .create(dir.path(), &marker(&alias()), false)
            .unwrap_err()
            .to_string();
        assert!(error.contains("--data-dir"), "{error}");
    }
}
