//! The file: making it, recognising it, refusing what is not ours or too new.

use std::fs::{DirBuilder, OpenOptions};
use std::io::{Error as IoError, ErrorKind};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use rusqlite::{Connection, OpenFlags, TransactionBehavior, params};

use super::{BUSY_TIMEOUT, failed, sqlite_error};
use crate::store::{OpenMode, StoreError, clock};

/// Kept in the file's header (`PRAGMA application_id`): the letters `vtpl`.
const APPLICATION_ID: u32 = 0x7674_706c;

/// Kept in the file's header (`PRAGMA user_version`). A file with a higher one is refused.
pub const FORMAT: u32 = 1;

const TABLES: &str = "
    CREATE TABLE store (
        id INTEGER PRIMARY KEY CHECK (id = 1),
        revision INTEGER NOT NULL,   -- of the last transaction
        compacted INTEGER NOT NULL,  -- events up to this revision are no longer kept
        boot_id TEXT NOT NULL        -- in which time since booting the leases' ends count
    ) STRICT;
    CREATE TABLE kv (
        key TEXT NOT NULL UNIQUE,
        value BLOB NOT NULL,
        created INTEGER NOT NULL,
        modified INTEGER NOT NULL,
        lease INTEGER
    ) STRICT;
    CREATE INDEX kv_lease ON kv (lease) WHERE lease IS NOT NULL;
    CREATE TABLE event (
        id INTEGER PRIMARY KEY,
        revision INTEGER NOT NULL,
        key TEXT NOT NULL,
        value BLOB,                  -- NULL: the key was deleted
        created INTEGER NOT NULL
    ) STRICT;
    CREATE INDEX event_revision ON event (revision);
    CREATE TABLE lease (
        id INTEGER PRIMARY KEY AUTOINCREMENT,
        ttl_ms INTEGER NOT NULL,
        ends_ms INTEGER NOT NULL     -- since booting
    ) STRICT;
    CREATE INDEX lease_ends ON lease (ends_ms);
";

/// Which file was opened, to notice when another takes its place.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileId {
    pub path: PathBuf,
    device: u64,
    inode: u64,
}

impl FileId {
    fn of(path: &Path) -> std::io::Result<Self> {
        let meta = std::fs::metadata(path)?;
        Ok(Self {
            path: path.to_owned(),
            device: meta.dev(),
            inode: meta.ino(),
        })
    }

    /// Whether the path still leads to this file. Errors other than "not found" prove nothing.
    pub fn is_in_place(&self) -> bool {
        match Self::of(&self.path) {
            Ok(now) => now == *self,
            Err(error) => error.kind() != ErrorKind::NotFound,
        }
    }
}

/// Two connections to a file that is ready for use.
pub struct Opened {
    pub writer: Connection,
    pub reader: Connection,
    pub file: FileId,
}

/// Opens the file, makes it first if that is asked for.
pub fn open(path: &Path, url: &str, mode: OpenMode) -> Result<Opened, StoreError> {
    let path = std::path::absolute(path).map_err(|e| io_error(url, &e))?;
    match mode {
        OpenMode::Create => make_file(&path).map_err(|e| io_error(url, &e))?,
        OpenMode::MustExist => {
            if let Err(error) = std::fs::metadata(&path) {
                return Err(match error.kind() {
                    ErrorKind::NotFound | ErrorKind::NotADirectory => StoreError::NotThere {
                        url: url.to_owned(),
                    },
                    _ => io_error(url, &error),
                });
            }
        }
    }
    check_access(&path, url)?;
    let file = FileId::of(&path).map_err(|e| io_error(url, &e))?;
    let mut writer = connect(&path, url)?;
    prepare(&mut writer, url, mode)?;
    let reader = connect(&path, url)?;
    Ok(Opened {
        writer,
        reader,
        file,
    })
}

/// Makes an empty file and its folder, both for the owner only, unless they are there.
fn make_file(path: &Path) -> std::io::Result<()> {
    if path.exists() {
        return Ok(());
    }
    let folder = path.parent().unwrap_or(Path::new("/"));
    DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)?;
    // What SQLite keeps beside a file that was deleted is not the new one's, but it would be taken
    // for that. Nobody else may be at this: what is removed must not be a file's that is there.
    let folder = std::fs::File::open(folder)?;
    let _alone = Flock::lock(folder, FlockArg::LockExclusive).map_err(|(_, e)| IoError::from(e))?;
    if path.exists() {
        return Ok(());
    }
    for ending in ["-wal", "-shm"] {
        let mut beside = path.as_os_str().to_owned();
        beside.push(ending);
        match std::fs::remove_file(&beside) {
            Err(error) if error.kind() == ErrorKind::NotFound => {}
            other => other?,
        }
    }
    let made = OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(0o600)
        .open(path);
    match made {
        Err(error) if error.kind() == ErrorKind::AlreadyExists => Ok(()),
        made => made.map(|_| ()),
    }
}

/// SQLite reports a folder that it may not write in various ways: asked for beforehand.
fn check_access(path: &Path, url: &str) -> Result<(), StoreError> {
    use nix::unistd::{AccessFlags, access};
    let meta = std::fs::metadata(path).map_err(|e| io_error(url, &e))?;
    if !meta.is_file() {
        let why = "the path is not a file; name one inside of it, such as `state.db`".to_owned();
        return Err(failed(url, why));
    }
    OpenOptions::new()
        .read(true)
        .write(true)
        .open(path)
        .map_err(|e| io_error(url, &e))?;
    let folder = path.parent().unwrap_or(Path::new("/"));
    access(folder, AccessFlags::W_OK | AccessFlags::X_OK).map_err(|e| {
        let why = format!("its folder {} cannot be written: {e}", folder.display());
        StoreError::ReadOnly {
            url: url.to_owned(),
            why,
        }
    })
}

fn connect(path: &Path, url: &str) -> Result<Connection, StoreError> {
    let flags = OpenFlags::SQLITE_OPEN_READ_WRITE | OpenFlags::SQLITE_OPEN_NO_MUTEX;
    let set_up = || {
        let connection = Connection::open_with_flags(path, flags)?;
        connection.busy_timeout(BUSY_TIMEOUT)?;
        // What is committed stays committed when the machine loses power: servers act on it.
        connection.pragma_update(None, "synchronous", "FULL")?;
        Ok(connection)
    };
    set_up().map_err(|e| sqlite_error(url, &e))
}

fn header(connection: &Connection) -> rusqlite::Result<(u32, u32)> {
    let number = |name| connection.pragma_query_value(None, name, |row| row.get(0));
    Ok((number("application_id")?, number("user_version")?))
}

fn prepare(connection: &mut Connection, url: &str, mode: OpenMode) -> Result<(), StoreError> {
    let sqlite = |e: rusqlite::Error| sqlite_error(url, &e);
    // In one transaction, so that a file which another process makes meanwhile is not seen half made.
    let reading = connection.transaction().map_err(sqlite)?;
    let known = recognise(&reading, url)?;
    drop(reading);
    if !known {
        if mode == OpenMode::MustExist {
            return Err(StoreError::NotThere {
                url: url.to_owned(),
            });
        }
        switch_to_wal(connection).map_err(sqlite)?;
    }
    let boot_id = clock::boot_id().map_err(|e| io_error(url, &e))?;
    // Also tells a file that cannot be written.
    let transaction = connection
        .transaction_with_behavior(TransactionBehavior::Immediate)
        .map_err(sqlite)?;
    if !recognise(&transaction, url)? {
        let make = || {
            transaction.execute_batch(TABLES)?;
            transaction.execute("INSERT INTO store VALUES (1, 0, 0, ?1)", params![boot_id])?;
            transaction.pragma_update(None, "application_id", APPLICATION_ID)?;
            transaction.pragma_update(None, "user_version", FORMAT)
        };
        make().map_err(sqlite)?;
    }
    // Leases of the time before the machine was booted are over: their processes are.
    let end_leases = || {
        let set = "UPDATE store SET boot_id = ?1 WHERE boot_id <> ?1";
        if transaction.execute(set, params![boot_id])? > 0 {
            transaction.execute("UPDATE lease SET ends_ms = 0", [])?;
        }
        Ok(())
    };
    end_leases().map_err(sqlite)?;
    transaction.commit().map_err(sqlite)
}

/// Whether the file is a store of this format; `false` if it is empty.
fn recognise(connection: &Connection, url: &str) -> Result<bool, StoreError> {
    let sqlite = |e: rusqlite::Error| sqlite_error(url, &e);
    let (application, format) = header(connection).map_err(sqlite)?;
    if application == APPLICATION_ID {
        if format == 0 {
            return Err(failed(url, "its header says format 0".to_owned()));
        }
        if format > FORMAT {
            return Err(StoreError::NewerFormat {
                url: url.to_owned(),
                found: format,
                known: FORMAT,
            });
        }
        return Ok(true);
    }
    let tables: i64 = connection
        .query_row("SELECT count(*) FROM sqlite_schema", [], |row| row.get(0))
        .map_err(sqlite)?;
    if application != 0 || format != 0 || tables > 0 {
        let why = "the file is another program's database: name another file with `--state`";
        return Err(failed(url, why.to_owned()));
    }
    Ok(false)
}

/// Two processes may do this at once, and SQLite does not wait here as it does elsewhere.
fn switch_to_wal(connection: &Connection) -> rusqlite::Result<()> {
    let started = Instant::now();
    loop {
        match connection.pragma_update(None, "journal_mode", "WAL") {
            Err(error)
                if error.sqlite_error_code() == Some(rusqlite::ErrorCode::DatabaseBusy)
                    && started.elapsed() < BUSY_TIMEOUT =>
            {
                std::thread::sleep(Duration::from_millis(20));
            }
            done => return done,
        }
    }
}

fn io_error(url: &str, error: &IoError) -> StoreError {
    let (url, why) = (url.to_owned(), error.to_string());
    match error.kind() {
        ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem => StoreError::ReadOnly {
            url,
            why: format!("{why}; run it as the user who made the store"),
        },
        _ => StoreError::Unreachable { url, why },
    }
}
