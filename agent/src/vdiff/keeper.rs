//! Which comparisons this agent carries out: those that are asked for and whose workflow's lock it
//! gets.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use tokio::select;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, sleep_until};
use tracing::{info, warn};
use vtplan_state::model::{
    KeyspaceName, Revision, VDiffRecord, VDiffState, VDiffTable, WorkflowName,
};
use vtplan_state::store::lock::TryLock;
use vtplan_state::store::{Lock, LockGuard, LockRecord, StoreError};

use super::VDiffError;
use super::attempt::attempt;
use super::servers::Access;
use super::ticket::Ticket;
use crate::host::Host;

/// How long a lock outlives its holder.
const LOCK_TTL: Duration = Duration::from_secs(10);
/// How often comparisons that somebody else carries out are looked at: he may end.
const LOOK_EVERY: Duration = Duration::from_secs(2);
/// The least time between two looks.
const LOOKS_APART: Duration = Duration::from_millis(100);
/// Pauses between attempts.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
const LONGEST_PAUSE: Duration = Duration::from_secs(10);
/// Attempts in a row without any progress before a comparison is given up.
const ATTEMPTS: u32 = 20;

type Workflow = (KeyspaceName, WorkflowName);
/// Of a workflow, and whether all that was asked for was carried out.
type Ended = (Workflow, bool);

/// Carries out comparisons until the agent ends. May be dropped at any moment.
pub async fn run(host: Arc<Host>) {
    let mut tasks: JoinSet<Ended> = JoinSet::new();
    let mut working: BTreeSet<Workflow> = BTreeSet::new();
    loop {
        if let Err(error) = follow(&host, &mut tasks, &mut working).await {
            warn!(%error, "comparisons cannot be looked for");
            sleep(LOOK_EVERY).await;
        }
    }
}

/// Looks for comparisons, and waits for something to change. Returns when it should look anew.
async fn follow(
    host: &Arc<Host>,
    tasks: &mut JoinSet<Ended>,
    working: &mut BTreeSet<Workflow>,
) -> Result<(), StoreError> {
    let store = host.cluster.store();
    let looked = Instant::now();
    let prefix = host.cluster.keys().all_vdiffs();
    let listing = store.list(&prefix).await?;
    let mut wanted = BTreeSet::new();
    for entry in &listing.entries {
        match entry.json::<VDiffRecord>() {
            Ok(record) if is_open(&record) => {
                wanted.insert((record.keyspace, record.workflow));
            }
            Ok(_) => {}
            Err(error) => warn!(%error, "a comparison's record cannot be read"),
        }
    }
    for workflow in &wanted {
        if working.insert(workflow.clone()) {
            let (host, workflow) = (host.clone(), workflow.clone());
            tasks.spawn(async move {
                let worked = work(&host, &workflow).await;
                let done = worked.unwrap_or_else(|error| {
                    warn!(keyspace = %workflow.0, workflow = %workflow.1, %error, "comparing");
                    false
                });
                (workflow, done)
            });
        }
    }
    let mut events = store.watch(&prefix, listing.revision + 1).await?;
    let mut again: Option<Instant> = None;
    loop {
        select! {
            () = sleep_until(again.unwrap_or(looked)), if again.is_some() => return Ok(()),
            event = events.next() => {
                event.transpose()?;
                // Each write of a comparison under way is one too: not all are looked at.
                sleep_until(looked + LOOKS_APART).await;
                return Ok(());
            }
            Some(ended) = tasks.join_next() => {
                let mut pause = LOOK_EVERY;
                match ended {
                    Ok((workflow, done)) => {
                        working.remove(&workflow);
                        if done {
                            // Another one may have been asked for just then.
                            pause = LOOKS_APART;
                        }
                    }
                    // Which one it was is not known.
                    Err(_) if tasks.is_empty() => working.clear(),
                    Err(_) => {}
                }
                if !wanted.is_empty() {
                    let then = Instant::now() + pause;
                    again = Some(again.map_or(then, |at| at.min(then)));
                }
            }
        }
    }
}

fn is_open(record: &VDiffRecord) -> bool {
    matches!(record.state, VDiffState::Requested | VDiffState::Running)
}

/// Carries out the comparisons of a workflow, if nobody else does. Whether it did.
async fn work(host: &Arc<Host>, (keyspace, workflow): &Workflow) -> Result<bool, VDiffError> {
    let store = host.cluster.store();
    let key = host.cluster.keys().vdiff_lock(keyspace, workflow);
    let who = format!("agent of host {}", host.name);
    let note = LockRecord::new(host.name.to_string(), who, "comparing".to_owned());
    let TryLock::Acquired(lock) = Lock::try_acquire(store, &key, LOCK_TTL, &note).await? else {
        return Ok(false);
    };
    let done = select! {
        done = carry_out_all(host, &lock, keyspace, workflow) => done,
        () = lock.lost() => Err(VDiffError::Superseded),
    };
    lock.release().await?;
    done.map(|()| true)
}

async fn carry_out_all(
    host: &Arc<Host>,
    lock: &LockGuard,
    keyspace: &KeyspaceName,
    workflow: &WorkflowName,
) -> Result<(), VDiffError> {
    while let Some((record, revision)) = next(host, keyspace, workflow).await? {
        let ticket = Ticket::new(host.cluster.clone(), lock, record, revision);
        carry_out(host, ticket).await?;
    }
    Ok(())
}

/// The comparison of a workflow that was asked for first.
async fn next(
    host: &Host,
    keyspace: &KeyspaceName,
    workflow: &WorkflowName,
) -> Result<Option<(VDiffRecord, Revision)>, VDiffError> {
    let prefix = host.cluster.keys().vdiffs(keyspace, workflow);
    let listing = host.cluster.store().list(&prefix).await?;
    let mut first: Option<(VDiffRecord, Revision)> = None;
    for entry in &listing.entries {
        let record: VDiffRecord = entry.json()?;
        let sooner = |(f, _): &(VDiffRecord, Revision)| record.requested_at < f.requested_at;
        if is_open(&record) && first.as_ref().is_none_or(sooner) {
            first = Some((record, entry.mod_revision));
        }
    }
    Ok(first)
}

/// Carries out one comparison to its end.
async fn carry_out(host: &Host, mut ticket: Ticket) -> Result<(), VDiffError> {
    let id = ticket.record.id.clone();
    info!(id, workflow = %ticket.record.workflow, "comparing");
    let mut without_progress = 0;
    loop {
        let before = progress(&ticket.record);
        let attempted = async {
            // Not from the agent's watch: that may be older than the comparison.
            let records = host.cluster.load_records().await?;
            let access = Access {
                records: &records,
                here: &host.name,
                credentials: &host.credentials,
            };
            attempt(&access, &mut ticket).await
        };
        let error = match attempted.await {
            Ok(()) => {
                ticket.end(VDiffState::Done, "").await?;
                info!(id, passed = ticket.record.passed(), "compared");
                return Ok(());
            }
            Err(error @ VDiffError::Superseded) => return Err(error),
            Err(error) => error,
        };
        without_progress = if progress(&ticket.record) > before {
            0
        } else {
            without_progress + 1
        };
        if !error.may_pass() || without_progress >= ATTEMPTS {
            warn!(id, %error, "cannot be compared");
            return ticket.end(VDiffState::Failed, &error.to_string()).await;
        }
        warn!(id, %error, "the comparison is tried again");
        ticket.tell(&format!("{error}; it is tried again")).await?;
        let pause = FIRST_PAUSE * 2u32.saturating_pow(without_progress.min(8));
        sleep(pause.min(LONGEST_PAUSE)).await;
    }
}

/// Rises with what was compared.
fn progress(record: &VDiffRecord) -> u64 {
    let of_table = |t: &VDiffTable| t.rows_compared + u64::from(t.done);
    record.tables.values().map(of_table).sum()
}
