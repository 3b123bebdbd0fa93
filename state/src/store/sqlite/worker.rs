//! The threads of an opened store: SQLite's calls block, so each connection lives on a thread.

use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::time::{Duration, Instant};

use rusqlite::Connection;
use tokio::sync::{oneshot, watch};

use super::schema::FileId;
use super::{data, failed, sqlite_error};
use crate::model::Revision;
use crate::store::StoreError;

/// How often a store with watches looks for commits of other processes. Asking is one read of
/// shared memory.
const POLL: Duration = Duration::from_millis(10);

/// The same for a while after something was committed, here or elsewhere. What follows is mostly an
/// answer to it: a switch of traffic goes back and forth between processes, with writes waiting.
const POLL_SOON: Duration = Duration::from_millis(1);

/// How long after a commit the next is looked for so often.
const SOON: Duration = Duration::from_secs(2);

/// How often every open store looks for leases that have ended.
const TICK: Duration = Duration::from_millis(500);

type Job = Box<dyn FnOnce(&mut Connection) + Send>;

/// A connection on its thread, which ends with the last clone.
#[derive(Clone)]
pub struct Worker {
    jobs: mpsc::Sender<Job>,
    url: Arc<str>,
}

impl Worker {
    pub fn start(
        name: &str,
        mut connection: Connection,
        url: &Arc<str>,
    ) -> Result<Self, StoreError> {
        let (jobs, queue) = mpsc::channel::<Job>();
        spawn(name, url, move || {
            while let Ok(job) = queue.recv() {
                job(&mut connection);
            }
        })?;
        Ok(Self {
            jobs,
            url: url.clone(),
        })
    }

    /// Runs `work` on the thread. It runs to its end even if the caller stops waiting.
    pub async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Connection) -> Result<T, StoreError> + Send + 'static,
    ) -> Result<T, StoreError> {
        let (answer, answered) = oneshot::channel();
        let job: Job = Box::new(move |connection| {
            let _ = answer.send(work(connection));
        });
        let ended = || failed(&self.url, "its thread has ended".to_owned());
        self.jobs.send(job).map_err(|_| ended())?;
        answered.await.map_err(|_| ended())?
    }

    fn send(&self, job: Job) {
        // Without the thread nothing can be done, and callers are told by `run`.
        let _ = self.jobs.send(job);
    }
}

fn spawn(
    name: &str,
    url: &Arc<str>,
    work: impl FnOnce() + Send + 'static,
) -> Result<(), StoreError> {
    let thread = std::thread::Builder::new().name(name.to_owned());
    let spawned = thread.spawn(work);
    let why = |e| failed(url, format!("a thread cannot be started: {e}"));
    spawned.map(|_| ()).map_err(why)
}

/// What watches wait for.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Latest {
    pub revision: Revision,
    /// The file was taken away: nothing will come any more.
    pub broken: bool,
}

/// Tells watches of a revision.
pub fn tell(latest: &watch::Sender<Latest>, revision: Revision) {
    latest.send_if_modified(|latest| {
        let newer = revision > latest.revision;
        latest.revision = latest.revision.max(revision);
        newer
    });
}

/// The reading connection: it also polls for other processes' commits and ended leases.
pub struct Reader {
    pub worker: Worker,
    pub latest: watch::Sender<Latest>,
}

impl Reader {
    pub fn start(
        connection: Connection,
        url: &Arc<str>,
        file: FileId,
        writer: Worker,
    ) -> Result<Self, StoreError> {
        let latest = watch::Sender::new(Latest::default());
        let (jobs, queue) = mpsc::channel::<Job>();
        let mut poller = Poller {
            connection,
            latest: latest.clone(),
            file,
            writer,
            url: url.clone(),
            data_version: None,
            news: None,
        };
        spawn("vtplan-store-r", url, move || poller.run(&queue))?;
        Ok(Self {
            worker: Worker {
                jobs,
                url: url.clone(),
            },
            latest,
        })
    }

    /// An error if the file was taken away.
    pub fn check(&self) -> Result<(), StoreError> {
        if self.latest.borrow().broken {
            let why = "the file was deleted or replaced while it was open: put the records back with \
                `vtplan import cluster` or `vtplan state import`, or start this process anew";
            return Err(failed(&self.worker.url, why.to_owned()));
        }
        Ok(())
    }

    /// The newest revision that is known here, if the file was taken away.
    pub fn last_of_broken(&self) -> Option<Revision> {
        let latest = self.latest.borrow();
        latest.broken.then_some(latest.revision)
    }

    /// Whether there are leases that have ended and still stand in the file.
    pub async fn expired(&self) -> Result<bool, StoreError> {
        let url = self.worker.url.clone();
        let ask = move |connection: &mut Connection| {
            data::has_expired(connection).map_err(|e| sqlite_error(&url, &e))
        };
        self.worker.run(ask).await
    }
}

struct Poller {
    connection: Connection,
    latest: watch::Sender<Latest>,
    file: FileId,
    writer: Worker,
    url: Arc<str>,
    /// SQLite's `data_version` when the revision was read last: it changes with every commit of
    /// another connection.
    data_version: Option<i64>,
    /// The newest revision that was seen, and when it was seen first.
    news: Option<(Revision, Instant)>,
}

impl Poller {
    fn run(&mut self, queue: &mpsc::Receiver<Job>) {
        let mut ticked = Instant::now();
        loop {
            // Without receivers nobody waits for other processes' commits.
            let watched = self.latest.receiver_count() > 0;
            match queue.recv_timeout(if watched { self.pause() } else { TICK }) {
                Ok(job) => job(&mut self.connection),
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return,
            }
            if self.latest.receiver_count() > 0
                && let Err(error) = self.poll()
            {
                tracing::warn!(url = %self.url, %error, "the store was not polled");
            }
            if ticked.elapsed() >= TICK {
                ticked = Instant::now();
                self.tick();
            }
        }
    }

    /// How long to wait before looking again.
    fn pause(&mut self) -> Duration {
        let revision = self.latest.borrow().revision;
        match self.news {
            Some((seen, at)) if seen == revision => {
                if at.elapsed() < SOON {
                    POLL_SOON
                } else {
                    POLL
                }
            }
            _ => {
                self.news = Some((revision, Instant::now()));
                POLL_SOON
            }
        }
    }

    fn poll(&mut self) -> rusqlite::Result<()> {
        let version = "data_version";
        let now = self
            .connection
            .pragma_query_value(None, version, |row| row.get(0))?;
        if self.data_version != Some(now) {
            tell(&self.latest, data::revision(&self.connection)?);
            self.data_version = Some(now);
        }
        Ok(())
    }

    fn tick(&self) {
        if !self.file.is_in_place() {
            self.latest.send_if_modified(|latest| {
                let first = !latest.broken;
                latest.broken = true;
                first
            });
            return;
        }
        match data::has_expired(&self.connection) {
            Ok(false) => {}
            Ok(true) => {
                let (url, latest) = (self.url.clone(), self.latest.clone());
                self.writer.send(Box::new(move |connection| {
                    let swept = data::sweep(connection);
                    match swept.and_then(|()| data::revision(connection)) {
                        Ok(revision) => tell(&latest, revision),
                        Err(error) => tracing::warn!(%url, %error, "ended leases stay for now"),
                    }
                }));
            }
            Err(error) => tracing::warn!(url = %self.url, %error, "leases cannot be read"),
        }
    }
}
