//! Taking one backup: copy, read through, publish. Whatever goes wrong, the record says so, and nothing is
//! left of it.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::select;
use tokio::time::sleep;
use tracing::{info, warn};
use vtplan_state::cluster::Cluster;
use vtplan_state::model::BackupState;

use super::location::{self, DATA, Location, Place};
use super::manifest::{MANIFEST_FORMAT, Manifest, files_of};
use super::seed;
use super::ticket::{Ticket, now};
use crate::error::AgentError;
use crate::mysqld::folder;
use crate::tablet::Tablet;

/// What stays free where backups go, bytes: it may be the disk of servers too.
const KEPT_FREE: u64 = 256 << 20;
/// How often a record tells how far its backup is.
const TELL: Duration = Duration::from_secs(2);

/// Takes the backup of `ticket` of a tablet. Returns whether it is complete; if not, its record says why.
///
/// # Errors
/// The record cannot be written: somebody else has it now.
pub async fn take(
    tablet: &Tablet,
    ticket: &mut Ticket,
    cluster: &Cluster,
) -> Result<bool, AgentError> {
    let place = Place::of(cluster.name(), &ticket.record);
    let (keyspace, shard) = (&ticket.record.keyspace, &ticket.record.shard);
    let incarnation = seed::incarnation_of(cluster, keyspace, shard).await?;
    let tablet_record = tablet.record();
    let record = &mut ticket.record;
    record.state = BackupState::Taking;
    record.tablet = Some(tablet_record.alias.clone());
    record.host = Some(tablet_record.host.clone());
    record.flavor = Some(tablet_record.flavor);
    record.version = tablet.server_version();
    record.begun_at = Some(now());
    record.incarnation = incarnation;
    "copying".clone_into(&mut record.reason);
    ticket.save().await?;
    info!(backup = %ticket.record.path(), tablet = %tablet.alias(), "taking a backup");
    let location = match location::open(&ticket.record.location) {
        Ok(location) => Arc::<dyn Location>::from(location),
        Err(error) => {
            ticket.fail(&error.to_string()).await?;
            return Ok(false);
        }
    };
    let taken = attempt(tablet, ticket, &location, &place).await;
    let Err(error) = taken else {
        let record = &ticket.record;
        info!(backup = %record.path(), bytes = record.bytes, "the backup is complete");
        return Ok(true);
    };
    warn!(backup = %ticket.record.path(), %error, "the backup failed");
    clean(tablet, &location, &place).await;
    ticket.fail(&error.to_string()).await?;
    Ok(false)
}

/// Removes what is left of tries, after ending who may still be writing there.
pub async fn clean(tablet: &Tablet, location: &Arc<dyn Location>, place: &Place) {
    for staging in location.remains(place) {
        tablet.end_copying(&staging).await;
    }
    let (location, place) = (location.clone(), place.clone());
    match blocking(move || {
        location
            .clean(&place)
            .map_err(|e| at(&location.show(&place), e))
    })
    .await
    {
        Ok(0) => {}
        Ok(count) => info!(
            count,
            "removed what was left of backups that were not finished"
        ),
        Err(error) => warn!(%error, "what is left of a backup cannot be removed"),
    }
}

async fn attempt(
    tablet: &Tablet,
    ticket: &mut Ticket,
    location: &Arc<dyn Location>,
    place: &Place,
) -> Result<(), AgentError> {
    let shown = location.show(place);
    let io = |e| at(&shown, e);
    let needed = tablet.copied_bytes().map_err(io)?.saturating_add(KEPT_FREE);
    let free_bytes = location.free_bytes().map_err(io)?;
    if free_bytes < needed {
        return Err(AgentError::DiskFull {
            path: PathBuf::from(&shown),
            what: format!(
                "the backup needs {} MiB, of which {} stay free",
                needed >> 20,
                KEPT_FREE >> 20
            ),
            free_bytes,
        });
    }
    let (of, at_place) = (location.clone(), place.clone());
    let failed = shown.clone();
    let staging = blocking(move || of.begin(&at_place).map_err(|e| at(&failed, e))).await?;
    let data = staging.join(DATA);

    let copying = tablet.copy_data(&data);
    let copied = watched(ticket, location, copying, || {
        folder::size(&staging).unwrap_or(0)
    })
    .await?;

    "reading what was copied".clone_into(&mut ticket.record.reason);
    if ticket.record.requested_by.is_some() {
        ticket.save().await?;
    }
    let read = Arc::new(AtomicU64::new(0));
    let (count, folder) = (read.clone(), data.clone());
    let reading = blocking(move || {
        let mut told = |bytes| {
            count.fetch_add(bytes, Ordering::Relaxed);
        };
        files_of(&folder, &mut told).map_err(|e| at(&folder.display().to_string(), e))
    });
    let (files, empty_folders) =
        watched(ticket, location, reading, || read.load(Ordering::Relaxed)).await?;

    let tablet = tablet.record();
    let manifest = Manifest {
        vtplan_backup: MANIFEST_FORMAT,
        id: place.id.clone(),
        cluster: place.cluster.clone(),
        keyspace: place.keyspace.clone(),
        shard: place.shard.clone(),
        tablet: tablet.alias,
        flavor: tablet.flavor,
        version: ticket.record.version.clone(),
        method: copied.method,
        position: copied.position.clone(),
        begun_at: ticket.record.at(),
        empty_folders,
        files,
    };
    let (text, sha256) = manifest.to_text();
    // Before it is there for good: a record that cannot be written any more has no backup.
    ticket.save().await?;
    let (of, at_place) = (location.clone(), place.clone());
    blocking(move || of.publish(&at_place, &text).map_err(|e| at(&shown, e))).await?;
    let record = &mut ticket.record;
    record.state = BackupState::Complete;
    record.reason.clear();
    record.method = Some(copied.method);
    record.position = copied.position;
    record.bytes = manifest.bytes();
    record.files = manifest.files.len() as u64;
    record.manifest_sha256 = sha256;
    record.ended_at = Some(now());
    ticket.save().await
}

/// Does some work while the record tells how far it is; ends it when it is about to fill the disk, or when
/// the record is somebody else's.
async fn watched<T>(
    ticket: &mut Ticket,
    location: &Arc<dyn Location>,
    work: impl Future<Output = Result<T, AgentError>>,
    bytes: impl Fn() -> u64,
) -> Result<T, AgentError> {
    let mut work = std::pin::pin!(work);
    loop {
        select! {
            done = &mut work => return done,
            () = sleep(TELL) => {}
        }
        let free_bytes = location.free_bytes().unwrap_or(u64::MAX);
        if free_bytes < KEPT_FREE {
            return Err(AgentError::DiskFull {
                path: PathBuf::from(&ticket.record.location),
                what: "the backup was given up before it took all of it".to_owned(),
                free_bytes,
            });
        }
        // Each write of a record goes to all agents and gates: only where a person may look on.
        let now = bytes();
        if now != ticket.record.bytes && ticket.record.requested_by.is_some() {
            ticket.record.bytes = now;
            ticket.save().await?;
        }
    }
}

fn at(path: &str, error: std::io::Error) -> AgentError {
    AgentError::io(Path::new(path), "the backup cannot be written", error)
}

/// Runs what blocks for long on a thread of its own.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, AgentError> + Send + 'static,
) -> Result<T, AgentError> {
    match tokio::task::spawn_blocking(work).await {
        Ok(result) => result,
        Err(e) => Err(AgentError::Refused(format!("the work was cut off: {e}"))),
    }
}
