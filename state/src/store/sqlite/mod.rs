//! The embedded store: one SQLite file in WAL mode, shared by the processes of one machine.
//!
//! Each opened store has two threads with a connection each: one writes, one reads and looks for
//! what other processes committed ([`worker`]). Every transaction takes SQLite's write lock first,
//! so transactions of all processes come one after the other and each gets the next revision.
//! [`schema`] is the file, [`data`] what is done in it. The folder must be on a local disk: WAL
//! mode needs memory that the processes share. A process that is stopped (not killed) in the middle
//! of a transaction keeps the others from writing until it goes on.

mod data;
mod schema;
mod worker;

use std::path::{Path, PathBuf};
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Duration;

use async_trait::async_trait;
use futures::StreamExt;
use futures::stream;
use rusqlite::{Connection, ErrorCode};

use self::worker::{Reader, Worker};
use super::{
    Entry, LeaseId, Listing, OpenMode, Store, StoreError, Txn, TxnOutcome, WatchEvent, WatchStream,
};
use crate::model::Revision;

/// How long a transaction waits for those of other processes.
const BUSY_TIMEOUT: Duration = Duration::from_secs(10);

/// What can be set of a SQLite store.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SqliteOptions {
    /// How many revisions are kept at least for watches that lag behind; a watch that lags
    /// further starts over from a listing.
    pub keep_revisions: u64,
}

impl Default for SqliteOptions {
    fn default() -> Self {
        Self {
            keep_revisions: 10_000,
        }
    }
}

/// An opened SQLite store.
///
/// When its file is deleted it goes on with the file that takes its place, as soon as that has come
/// as far ([`Store::continue_after`]): then no lock's token and no lease of the old file is given
/// out again by the new one.
pub struct SqliteStore {
    url: Arc<str>,
    path: PathBuf,
    shared: RwLock<Arc<Shared>>,
    reopening: tokio::sync::Mutex<()>,
}

struct Shared {
    url: Arc<str>,
    writer: Worker,
    reader: Reader,
    keep_revisions: u64,
}

impl SqliteStore {
    /// Opens the file at `path`. Missing folders are made for the owner only (0700) and so is the
    /// file (0600): it holds the servers' passwords.
    pub async fn open(
        path: &Path,
        mode: OpenMode,
        options: SqliteOptions,
    ) -> Result<Self, StoreError> {
        let url: Arc<str> = format!("sqlite:{}", path.display()).into();
        // A relative path must mean the same file later.
        let path = std::path::absolute(path).map_err(|e| failed(&url, e.to_string()))?;
        let opened = open_file(&path, &url, mode).await?;
        let shared = Shared::start(opened, &url, options.keep_revisions)?;
        Ok(Self {
            path,
            shared: RwLock::new(Arc::new(shared)),
            reopening: tokio::sync::Mutex::default(),
            url,
        })
    }

    fn last(&self) -> Arc<Shared> {
        let shared = self.shared.read().unwrap_or_else(PoisonError::into_inner);
        shared.clone()
    }

    /// The file that is in place.
    async fn shared(&self) -> Result<Arc<Shared>, StoreError> {
        let shared = self.last();
        if shared.reader.last_of_broken().is_none() {
            return Ok(shared);
        }
        let _one_at_a_time = self.reopening.lock().await;
        let shared = self.last();
        let Some(known) = shared.reader.last_of_broken() else {
            return Ok(shared);
        };
        let mut opened = match open_file(&self.path, &self.url, OpenMode::MustExist).await {
            Err(StoreError::NotThere { url }) => return Err(StoreError::Gone { url }),
            other => other?,
        };
        let revision = data::revision(&opened.writer).map_err(|e| sqlite_error(&self.url, &e))?;
        if revision < known {
            // A file in which there is no cluster is as good as none: nobody can act by it.
            let transaction = opened.writer.transaction();
            let listing = transaction.and_then(|t| data::list(&t, &[crate::model::keys::ROOT]));
            let listing = listing.map_err(|e| sqlite_error(&self.url, &e))?;
            if !listing.entries.iter().any(|e| e.key.ends_with("/cluster")) {
                return Err(StoreError::Gone {
                    url: self.url.to_string(),
                });
            }
            shared.reader.check()?;
        }
        let new = Arc::new(Shared::start(opened, &self.url, shared.keep_revisions)?);
        tracing::warn!(url = %self.url, "the file was replaced; going on with the new one");
        *self.shared.write().unwrap_or_else(PoisonError::into_inner) = new.clone();
        Ok(new)
    }
}

async fn open_file(
    path: &Path,
    url: &Arc<str>,
    mode: OpenMode,
) -> Result<schema::Opened, StoreError> {
    let (path, opened_url) = (path.to_owned(), url.clone());
    let opened = tokio::task::spawn_blocking(move || schema::open(&path, &opened_url, mode));
    opened.await.map_err(|e| failed(url, e.to_string()))?
}

impl Shared {
    fn start(
        opened: schema::Opened,
        url: &Arc<str>,
        keep_revisions: u64,
    ) -> Result<Self, StoreError> {
        let writer = Worker::start("vtplan-store-w", opened.writer, url)?;
        let reader = Reader::start(opened.reader, url, opened.file, writer.clone())?;
        Ok(Self {
            url: url.clone(),
            writer,
            reader,
            keep_revisions,
        })
    }
}

impl Shared {
    async fn write<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection, &Arc<str>) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.reader.check()?;
        let url = self.url.clone();
        let told = self.reader.latest.clone();
        self.writer
            .run(move |connection| {
                let done = work(connection, &url)?;
                // Other connections' commits are seen by polling; our own need not wait for that.
                let revision = data::revision(connection).map_err(|e| sqlite_error(&url, &e))?;
                worker::tell(&told, revision);
                Ok(done)
            })
            .await
    }

    async fn read<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> rusqlite::Result<T> + Send + 'static,
    ) -> Result<T, StoreError> {
        self.reader.check()?;
        let url = self.url.clone();
        let writer = self.writer.clone();
        let (expired, writer_url) = (self.reader.expired(), url.clone());
        // What is under a lease that has ended must not be seen, even if nobody has deleted it yet.
        if expired.await? {
            let swept = writer.run(move |connection| {
                data::sweep(connection).map_err(|e| sqlite_error(&writer_url, &e))
            });
            if let Err(error) = swept.await {
                tracing::warn!(%error, "ended leases were not cleared");
            }
        }
        self.reader
            .worker
            .run(move |connection| work(connection).map_err(|e| sqlite_error(&url, &e)))
            .await
    }
}

#[async_trait]
impl Store for SqliteStore {
    fn url(&self) -> &str {
        &self.url
    }

    async fn get(&self, key: &str) -> Result<Option<Entry>, StoreError> {
        let key = key.to_owned();
        let shared = self.shared().await?;
        shared
            .read(move |connection| data::get(connection, &key))
            .await
    }

    async fn list(&self, prefix: &str) -> Result<Listing, StoreError> {
        self.list_many(&[prefix]).await
    }

    async fn list_many(&self, prefixes: &[&str]) -> Result<Listing, StoreError> {
        let prefixes: Vec<String> = prefixes.iter().map(|&p| p.to_owned()).collect();
        let shared = self.shared().await?;
        shared
            .read(move |connection| {
                let transaction = connection.transaction()?;
                data::list(&transaction, &prefixes)
            })
            .await
    }

    async fn txn(&self, txn: Txn) -> Result<TxnOutcome, StoreError> {
        txn.check(&self.url)?;
        let shared = self.shared().await?;
        let keep = shared.keep_revisions;
        shared
            .write(move |connection, url| data::txn(connection, url, &txn, keep))
            .await
    }

    async fn watch(&self, prefix: &str, from: Revision) -> Result<WatchStream, StoreError> {
        let shared = self.shared().await?;
        let watch = Watch {
            latest: shared.reader.latest.subscribe(),
            shared,
            prefix: prefix.to_owned(),
            next: from.max(1),
            ready: Vec::new().into_iter(),
            ended: false,
        };
        Ok(stream::unfold(watch, Watch::step).boxed())
    }

    async fn continue_after(&self, revision: Revision) -> Result<(), StoreError> {
        let shared = self.shared().await?;
        shared
            .write(move |connection, url| {
                data::continue_after(connection, revision).map_err(|e| sqlite_error(url, &e))
            })
            .await
    }

    async fn grant(&self, ttl: Duration) -> Result<LeaseId, StoreError> {
        let shared = self.shared().await?;
        shared
            .write(move |connection, url| {
                data::grant(connection, ttl).map_err(|e| sqlite_error(url, &e))
            })
            .await
    }

    async fn keep_alive(&self, lease: LeaseId) -> Result<bool, StoreError> {
        let shared = self.shared().await?;
        shared
            .write(move |connection, url| {
                data::keep_alive(connection, lease).map_err(|e| sqlite_error(url, &e))
            })
            .await
    }

    async fn revoke(&self, lease: LeaseId) -> Result<(), StoreError> {
        let shared = self.shared().await?;
        shared
            .write(move |connection, url| {
                data::revoke(connection, lease).map_err(|e| sqlite_error(url, &e))
            })
            .await
    }
}

/// One watch: reads the event log from where it stands whenever there is a newer revision. The log
/// is the buffer, so a slow reader costs no memory.
struct Watch {
    shared: Arc<Shared>,
    latest: tokio::sync::watch::Receiver<worker::Latest>,
    prefix: String,
    next: Revision,
    ready: std::vec::IntoIter<WatchEvent>,
    ended: bool,
}

impl Watch {
    async fn step(mut self) -> Option<(Result<WatchEvent, StoreError>, Self)> {
        loop {
            if let Some(event) = self.ready.next() {
                return Some((Ok(event), self));
            }
            if self.ended {
                return None;
            }
            if let Err(error) = self.fill().await {
                self.ended = true;
                return Some((Err(error), self));
            }
        }
    }

    /// Waits for something new and reads it.
    async fn fill(&mut self) -> Result<(), StoreError> {
        let next = self.next;
        let news = self
            .latest
            .wait_for(|latest| latest.broken || latest.revision >= next);
        if news.await.is_err() {
            return Err(failed(&self.shared.url, "its reader has ended".to_owned()));
        }
        self.shared.reader.check()?;
        let (url, prefix) = (self.shared.url.clone(), self.prefix.clone());
        let read = self.shared.reader.worker.run(move |connection| {
            data::events(connection, &prefix, next).map_err(|e| sqlite_error(&url, &e))
        });
        let (events, next) = read.await?;
        self.ready = events.into_iter();
        self.next = next;
        Ok(())
    }
}

fn failed(url: &str, why: String) -> StoreError {
    StoreError::Failed {
        url: url.to_owned(),
        why,
    }
}

/// An error of SQLite as one of a store, with what to do about it.
fn sqlite_error(url: &str, error: &rusqlite::Error) -> StoreError {
    let url = url.to_owned();
    let why = error.to_string();
    match error.sqlite_error_code() {
        Some(ErrorCode::ReadOnly) => StoreError::ReadOnly { url, why },
        Some(ErrorCode::CannotOpen) => StoreError::Unreachable { url, why },
        Some(ErrorCode::DatabaseBusy | ErrorCode::DatabaseLocked) => StoreError::Unreachable {
            url,
            why: format!(
                "another process has kept it locked for {} seconds ({why})",
                BUSY_TIMEOUT.as_secs()
            ),
        },
        Some(ErrorCode::NotADatabase) => StoreError::Failed {
            url,
            why: "the file is not a state store of vtplan: name another with `--state`".to_owned(),
        },
        Some(ErrorCode::DatabaseCorrupt) => StoreError::Failed {
            url,
            why: format!(
                "the file is damaged ({why}): put a copy of it in place; the servers and their \
                 data are not touched by this"
            ),
        },
        Some(ErrorCode::DiskFull) => StoreError::Failed {
            url,
            why: "the disk is full; nothing was written".to_owned(),
        },
        _ => StoreError::Failed { url, why },
    }
}
