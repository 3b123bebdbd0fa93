//! What an agent keeps of the cluster's records beside its tablets, `DATA_DIR/records.json`, so that they
//! can be rebuilt when the store is lost: all of what plans are made from and gates serve by, with the
//! accounts on the servers. Written for its owner alone whenever something in it has changed.

use std::collections::BTreeMap;
use std::fs::{self, File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use serde_json::Value;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};
use tracing::warn;
use vtplan_state::cluster::Snapshot;
use vtplan_state::export::Export;

use crate::error::AgentError;
use crate::host::Host;
use crate::mysqld::folder::sync_dir;

/// The least time between two writes. Of a large cluster's records it is more: writing them must
/// not be what an agent does all the time.
const PAUSE: Duration = Duration::from_millis(200);
const PAUSES_PER_WRITE: u32 = 20;
/// Pause after a write that failed.
const RETRY: Duration = Duration::from_secs(5);

/// The copy's place in an agent's data folder.
pub fn path(data_dir: &Path) -> PathBuf {
    data_dir.join("records.json")
}

/// The newest copy of this agent, for others to ask for.
#[derive(Default)]
pub struct Copy {
    newest: Mutex<Option<Arc<Export>>>,
}

impl Copy {
    /// `None` as long as the agent has seen no records.
    pub fn newest(&self) -> Option<Arc<Export>> {
        let newest = self.newest.lock().unwrap_or_else(PoisonError::into_inner);
        newest.clone()
    }
}

/// Keeps the copy current until the agent ends.
pub async fn keep(
    host: Arc<Host>,
    copy: Arc<Copy>,
    path: PathBuf,
    mut records: watch::Receiver<Arc<Snapshot>>,
) {
    let mut written: Option<BTreeMap<String, Value>> = None;
    loop {
        let snapshot = records.borrow_and_update().clone();
        let began = Instant::now();
        let export = host
            .is_own(snapshot.cluster.as_ref())
            .then(|| Export::of_records(&snapshot, &host.credentials))
            .flatten();
        // Most changes are of what is not in it, such as gates.
        if let Some(export) = export
            && written.as_ref() != Some(export.entries())
        {
            let export = Arc::new(export);
            let (saved, target) = (export.clone(), path.clone());
            let done = tokio::task::spawn_blocking(move || write(&target, &saved)).await;
            *copy.newest.lock().unwrap_or_else(PoisonError::into_inner) = Some(export.clone());
            match done {
                Ok(Ok(())) => written = Some(export.entries().clone()),
                Ok(Err(error)) => {
                    warn!(%error, "the copy of the records is not current");
                    sleep(RETRY).await;
                    continue;
                }
                // The runtime ends.
                Err(_) => return,
            }
        }
        sleep(PAUSE.max(began.elapsed() * PAUSES_PER_WRITE)).await;
        if records.changed().await.is_err() {
            return;
        }
    }
}

fn write(path: &Path, export: &Export) -> Result<(), AgentError> {
    let new = path.with_extension("json.tmp");
    let write = || -> io::Result<()> {
        let mut file: File = OpenOptions::new()
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&new)?;
        file.write_all(export.to_text().as_bytes())?;
        file.sync_all()?;
        fs::rename(&new, path)?;
        path.parent().map_or(Ok(()), sync_dir)
    };
    write().map_err(|e| AgentError::io(path, "it cannot be written", e))
}
