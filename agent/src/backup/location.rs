//! Where backups go. `file://` is carried out: `ROOT/<cluster>/<keyspace>/<shard>/<id>/` holds `data/` and
//! `manifest.json`. It is made as `<id>.tmp` and renamed when it is whole and on disk.

use std::fs;
use std::io::{self, Read, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};

use vtplan_planner::backups;
use vtplan_state::model::BackupRecord;

use crate::error::AgentError;
use crate::mysqld::folder;

/// The manifest's name beside the data.
pub const MANIFEST: &str = "manifest.json";
/// The folder of a backup that holds the data.
pub const DATA: &str = "data";
/// Ending of what is being made, or removed.
const TMP: &str = "tmp";

/// What a backup is found by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    pub cluster: String,
    pub keyspace: String,
    pub shard: String,
    pub id: String,
}

impl Place {
    pub fn of(cluster: &str, backup: &BackupRecord) -> Self {
        Self {
            cluster: cluster.to_owned(),
            keyspace: backup.keyspace.to_string(),
            shard: backup.shard.to_string(),
            id: backup.id.clone(),
        }
    }
}

/// A store of backups. Calls block: for a thread of their own.
pub trait Location: Send + Sync {
    /// A new folder on this machine in which a backup is made, without anything of an earlier try.
    fn begin(&self, place: &Place) -> io::Result<PathBuf>;
    /// Makes what [`Location::begin`] gave, `data/` in it, the backup: on disk, and with its manifest last.
    fn publish(&self, place: &Place, manifest: &[u8]) -> io::Result<()>;
    /// Removes what is not a backup: what was begun and never published. Returns how much there was.
    fn clean(&self, place: &Place) -> io::Result<usize>;
    /// The folders that [`Location::clean`] would remove.
    fn remains(&self, place: &Place) -> Vec<PathBuf>;
    /// `None`: there is no such backup, as far as this machine sees.
    fn manifest(&self, place: &Place) -> io::Result<Option<Vec<u8>>>;
    /// A file of a backup's data, by its path in the manifest.
    fn open(&self, place: &Place, path: &Path) -> io::Result<Box<dyn Read + Send>>;
    /// Removes a backup; nothing, if it is not there.
    fn remove(&self, place: &Place) -> io::Result<()>;
    /// What may still be written, bytes.
    fn free_bytes(&self) -> io::Result<u64>;
    /// Where a person finds it.
    fn show(&self, place: &Place) -> String;
}

/// The store that a location names.
///
/// # Errors
/// This version does not carry it out.
pub fn open(location: &str) -> Result<Box<dyn Location>, AgentError> {
    let root = backups::folder(location).map_err(AgentError::Refused)?;
    Ok(Box::new(Folder {
        root: PathBuf::from(root),
    }))
}

/// A folder, which may be on a share.
struct Folder {
    root: PathBuf,
}

impl Folder {
    fn shard(&self, place: &Place) -> PathBuf {
        let mut path = self.root.clone();
        path.extend([&place.cluster, &place.keyspace, &place.shard]);
        path
    }

    fn backup(&self, place: &Place) -> PathBuf {
        self.shard(place).join(&place.id)
    }

    fn staging(&self, place: &Place) -> PathBuf {
        self.shard(place).join(format!("{}.{TMP}", place.id))
    }
}

impl Location for Folder {
    fn begin(&self, place: &Place) -> io::Result<PathBuf> {
        // What servers hold is for nobody else to read.
        fs::DirBuilder::new()
            .recursive(true)
            .mode(0o700)
            .create(self.shard(place))?;
        let staging = self.staging(place);
        folder::remove(&staging)?;
        fs::create_dir(&staging)?;
        fs::set_permissions(&staging, fs::Permissions::from_mode(0o700))?;
        Ok(staging)
    }

    fn publish(&self, place: &Place, manifest: &[u8]) -> io::Result<()> {
        let staging = self.staging(place);
        let mut file = fs::File::create(staging.join(MANIFEST))?;
        file.write_all(manifest)?;
        file.sync_all()?;
        folder::sync_dir(&staging)?;
        fs::rename(&staging, self.backup(place))?;
        // Folders above may be new too.
        let mut dir = self.shard(place);
        loop {
            folder::sync_dir(&dir)?;
            if dir == self.root || !dir.pop() {
                return Ok(());
            }
        }
    }

    fn remains(&self, place: &Place) -> Vec<PathBuf> {
        let entries = fs::read_dir(self.shard(place)).into_iter().flatten();
        let paths = entries.filter_map(|entry| Some(entry.ok()?.path()));
        let is_garbage = |path: &PathBuf| {
            path.is_dir()
                && (path.extension().is_some_and(|e| e == TMP) || !path.join(MANIFEST).is_file())
        };
        let mut found: Vec<PathBuf> = paths.filter(is_garbage).collect();
        found.sort();
        found
    }

    fn clean(&self, place: &Place) -> io::Result<usize> {
        let remains = self.remains(place);
        for path in &remains {
            folder::remove(path)?;
        }
        Ok(remains.len())
    }

    fn manifest(&self, place: &Place) -> io::Result<Option<Vec<u8>>> {
        match fs::read(self.backup(place).join(MANIFEST)) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(None),
            other => other.map(Some),
        }
    }

    fn open(&self, place: &Place, path: &Path) -> io::Result<Box<dyn Read + Send>> {
        let file = fs::File::open(self.backup(place).join(DATA).join(path))?;
        Ok(Box::new(file))
    }

    fn remove(&self, place: &Place) -> io::Result<()> {
        let (backup, going) = (self.backup(place), self.staging(place));
        folder::remove(&going)?;
        match fs::rename(&backup, &going) {
            Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(()),
            other => other?,
        }
        folder::remove(&going)
    }

    fn free_bytes(&self) -> io::Result<u64> {
        Ok(crate::disk::space(&self.root)?.free_bytes)
    }

    fn show(&self, place: &Place) -> String {
        self.backup(place).display().to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn place(id: &str) -> Place {
        Place {
            cluster: "shop".into(),
            keyspace: "commerce".into(),
            shard: "-80".into(),
            id: id.into(),
        }
    }

    #[test]
    fn a_backup_is_there_with_its_manifest_or_not_at_all() {
        let root = tempfile::tempdir().unwrap();
        let url = format!("file://{}", root.path().join("new").display());
        let location = open(&url).unwrap();
        let one = place("1");
        assert_eq!(location.manifest(&one).unwrap(), None);
        let staging = location.begin(&one).unwrap();
        fs::create_dir(staging.join(DATA)).unwrap();
        fs::write(staging.join("data/a"), "x").unwrap();
        assert_eq!(location.manifest(&one).unwrap(), None);
        assert_eq!(location.remains(&one), std::slice::from_ref(&staging));

        location.publish(&one, b"{}").unwrap();
        assert_eq!(location.manifest(&one).unwrap(), Some(b"{}".to_vec()));
        assert!(location.remains(&one).is_empty());
        let mut text = String::new();
        let mut file = location.open(&one, Path::new("a")).unwrap();
        file.read_to_string(&mut text).unwrap();
        assert_eq!(text, "x");

        // What another try left is cleaned, and the backup is not.
        location.begin(&place("2")).unwrap();
        let odd = root.path().join("new/shop/commerce/-80/3");
        fs::create_dir(&odd).unwrap();
        assert_eq!(location.clean(&one).unwrap(), 2);
        assert!(location.manifest(&one).unwrap().is_some());
        location.remove(&one).unwrap();
        location.remove(&one).unwrap();
        assert_eq!(location.manifest(&one).unwrap(), None);
    }

    #[test]
    fn what_is_not_carried_out_is_said() {
        let Err(error) = open("s3://bucket") else {
            panic!("it is refused");
        };
        assert!(error.to_string().contains("s3://bucket"), "{error}");
    }
}
