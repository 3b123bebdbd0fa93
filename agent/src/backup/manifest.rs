//! What a backup consists of: each file with its size and SHA-256. It is written last, and its own SHA-256
//! stands in the backup's record.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::path::{Component, Path};

use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use vtplan_state::model::{BackupMethod, FlavorKind, TabletAlias};

use super::location::{Location, Place};

/// The format of manifests that this version writes.
pub const MANIFEST_FORMAT: u32 = 1;
/// How much is read at a time, bytes.
const CHUNK: usize = 1 << 20;
/// How many damaged files are named.
const NAMED: usize = 20;

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    /// [`MANIFEST_FORMAT`].
    pub vtplan_backup: u32,
    pub id: String,
    pub cluster: String,
    pub keyspace: String,
    pub shard: String,
    pub tablet: TabletAlias,
    pub flavor: FlavorKind,
    pub version: String,
    pub method: BackupMethod,
    /// As in the backup's record.
    pub position: String,
    pub begun_at: u64,
    /// Folders that hold no file, relative to `data/`.
    #[serde(default)]
    pub empty_folders: Vec<String>,
    /// Sorted by path.
    pub files: Vec<ManifestFile>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ManifestFile {
    /// Relative to `data/`, with slashes.
    pub path: String,
    pub bytes: u64,
    /// Hex.
    pub sha256: String,
}

impl Manifest {
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// As it is written, with its SHA-256, hex.
    pub fn to_text(&self) -> (Vec<u8>, String) {
        let mut text = serde_json::to_vec_pretty(self).expect("a manifest serializes");
        text.push(b'\n');
        let digest = hex::encode(Sha256::digest(&text));
        (text, digest)
    }

    /// Reads a manifest. `sha256`: what the backup's record has of it; empty: not known.
    ///
    /// # Errors
    /// It is not the one of the record, or no manifest that this version knows.
    pub fn parse(text: &[u8], sha256: &str) -> Result<Self, String> {
        let found = hex::encode(Sha256::digest(text));
        if !sha256.is_empty() && found != sha256 {
            return Err(format!(
                "manifest.json has the SHA-256 {found}, the record says {sha256}"
            ));
        }
        let manifest: Self = serde_json::from_slice(text)
            .map_err(|e| format!("manifest.json cannot be read: {e}"))?;
        if manifest.vtplan_backup != MANIFEST_FORMAT {
            return Err(format!(
                "manifest.json has format {}, this vtplan knows {MANIFEST_FORMAT}",
                manifest.vtplan_backup
            ));
        }
        let paths = manifest.files.iter().map(|f| &f.path);
        for path in paths.chain(&manifest.empty_folders) {
            let mut parts = Path::new(path).components();
            if path.is_empty() || !parts.all(|part| matches!(part, Component::Normal(_))) {
                return Err(format!(
                    "manifest.json names {path:?}, which is no file of it"
                ));
            }
        }
        Ok(manifest)
    }
}

/// Reads all files of a folder, and puts them on disk. Returns them, and the folders that have none.
/// `told` is called with the bytes that were read.
pub fn files_of(
    folder: &Path,
    told: &mut dyn FnMut(u64),
) -> io::Result<(Vec<ManifestFile>, Vec<String>)> {
    let (mut files, mut folders) = (Vec::new(), BTreeSet::new());
    walk(folder, "", &mut files, &mut folders, told)?;
    files.sort_by(|a, b| a.path.cmp(&b.path));
    for file in &files {
        let mut parent = Path::new(&file.path).parent();
        while let Some(path) = parent {
            folders.remove(&*path.to_string_lossy());
            parent = path.parent();
        }
    }
    Ok((files, folders.into_iter().collect()))
}

fn walk(
    folder: &Path,
    name: &str,
    files: &mut Vec<ManifestFile>,
    folders: &mut BTreeSet<String>,
    told: &mut dyn FnMut(u64),
) -> io::Result<()> {
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        let own = entry.file_name();
        let own = own.to_str().ok_or_else(|| {
            let path = entry.path();
            io::Error::other(format!("{} has a name that is not UTF-8", path.display()))
        })?;
        let path = match name {
            "" => own.to_owned(),
            _ => format!("{name}/{own}"),
        };
        let kind = entry.file_type()?;
        if kind.is_dir() {
            walk(&entry.path(), &path, files, folders, told)?;
            folders.insert(path);
        } else if kind.is_file() {
            let mut file = fs::File::open(entry.path())?;
            let (bytes, sha256) = digest(&mut file, told)?;
            file.sync_all()?;
            files.push(ManifestFile {
                path,
                bytes,
                sha256,
            });
        }
    }
    fs::File::open(folder)?.sync_all()
}

/// Reads to the end. Returns the size and the SHA-256, hex.
pub fn digest(from: &mut dyn Read, told: &mut dyn FnMut(u64)) -> io::Result<(u64, String)> {
    let mut digest = Sha256::new();
    let mut buffer = vec![0; CHUNK];
    let mut bytes = 0;
    loop {
        let read = match from.read(&mut buffer) {
            Ok(0) => return Ok((bytes, hex::encode(digest.finalize()))),
            Ok(read) => read,
            Err(e) if e.kind() == io::ErrorKind::Interrupted => continue,
            Err(e) => return Err(e),
        };
        digest.update(&buffer[..read]);
        bytes += read as u64;
        told(read as u64);
    }
}

/// Compares a backup's files with its manifest. Returns what is wrong, a line for each file.
pub fn damage(
    location: &dyn Location,
    place: &Place,
    sha256: &str,
    told: &mut dyn FnMut(u64),
) -> Vec<String> {
    let text = match location.manifest(place) {
        Ok(Some(text)) => text,
        Ok(None) => return vec![format!("there is no {}", location.show(place))],
        Err(e) => return vec![format!("manifest.json cannot be read: {e}")],
    };
    let manifest = match Manifest::parse(&text, sha256) {
        Ok(manifest) => manifest,
        Err(why) => return vec![why],
    };
    let mut damage = Vec::new();
    for file in &manifest.files {
        let path = &file.path;
        let read = location
            .open(place, Path::new(path))
            .and_then(|mut from| digest(&mut *from, told));
        match read {
            Ok((bytes, _)) if bytes != file.bytes => {
                damage.push(format!("{path}: {bytes} bytes, and not {}", file.bytes));
            }
            Ok((_, found)) if found != file.sha256 => {
                damage.push(format!("{path}: its SHA-256 is not that of the manifest"));
            }
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::NotFound => {
                damage.push(format!("{path}: it is missing"));
            }
            Err(e) => damage.push(format!("{path}: it cannot be read: {e}")),
        }
    }
    if damage.len() > NAMED {
        let more = damage.len() - NAMED;
        damage.truncate(NAMED);
        damage.push(format!("and {more} more files"));
    }
    damage
}

#[cfg(test)]
mod tests {
    use super::super::location::{self, DATA};
    use super::*;

    fn manifest(files: Vec<ManifestFile>, empty_folders: Vec<String>) -> Manifest {
        Manifest {
            vtplan_backup: MANIFEST_FORMAT,
            id: "1".into(),
            cluster: "shop".into(),
            keyspace: "commerce".into(),
            shard: "0".into(),
            tablet: "zone1-0000000100".parse().unwrap(),
            flavor: FlavorKind::MariaDb,
            version: "10.11.6".into(),
            method: BackupMethod::MariadbBackup,
            position: "0-100-7".into(),
            begun_at: 1,
            empty_folders,
            files,
        }
    }

    #[test]
    fn a_file_that_is_changed_cut_or_gone_is_named_and_nothing_else() {
        let root = tempfile::tempdir().unwrap();
        let location = location::open(&format!("file://{}", root.path().display())).unwrap();
        let place = Place {
            cluster: "shop".into(),
            keyspace: "commerce".into(),
            shard: "0".into(),
            id: "1".into(),
        };
        let staging = location.begin(&place).unwrap();
        let data = staging.join(DATA);
        fs::create_dir_all(data.join("mysql/empty")).unwrap();
        for (name, text) in [
            ("a", ""),
            ("b", "bytes"),
            ("mysql/c", "more bytes"),
            ("d", "x"),
        ] {
            fs::write(data.join(name), text).unwrap();
        }
        let mut read = 0;
        let (files, folders) = files_of(&data, &mut |n| read += n).unwrap();
        assert_eq!(read, 16);
        assert_eq!(folders, ["mysql/empty"]);
        let manifest = manifest(files, folders);
        assert_eq!(manifest.bytes(), 16);
        let (text, sha256) = manifest.to_text();
        location.publish(&place, &text).unwrap();
        assert_eq!(Manifest::parse(&text, &sha256), Ok(manifest));
        let look = |sha: &str| damage(&*location, &place, sha, &mut |_| {});
        assert!(look(&sha256).is_empty());

        let data = root.path().join("shop/commerce/0/1/data");
        fs::write(data.join("b"), "bytez").unwrap();
        fs::write(data.join("mysql/c"), "more").unwrap();
        fs::remove_file(data.join("d")).unwrap();
        let found = look(&sha256);
        assert_eq!(found.len(), 3, "{found:?}");
        assert!(found[0].starts_with("b: its SHA-256"));
        assert!(found[1].starts_with("d: it is missing"));
        assert!(found[2].starts_with("mysql/c: 4 bytes, and not 10"));
        assert!(look(&"0".repeat(64))[0].contains("the record says"));
        location.remove(&place).unwrap();
        assert!(look(&sha256)[0].contains("there is no"));
    }

    #[test]
    fn a_manifest_names_nothing_outside_of_the_backup() {
        for path in ["../a", "/etc/passwd", "a/../../b", ""] {
            let file = ManifestFile {
                path: path.into(),
                bytes: 0,
                sha256: String::new(),
            };
            let (text, _) = manifest(vec![file], Vec::new()).to_text();
            assert!(Manifest::parse(&text, "").is_err(), "{path}");
        }
    }
}
