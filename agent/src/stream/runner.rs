//! One stream, from when its lock is taken to when it is lost: it is begun, and begun again after
//! what passes; what does not pass is recorded in `_vt` and stands until a person resumes.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, pending};
use tokio::select;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};
use tracing::{info, warn};
use vtplan_state::model::Side;

use super::attempt::{Attempt, Ended};
use super::choose::Choice;
use super::plan::{StreamPlan, Work};
use super::progress::Progress;
use super::target::connection::Connection;
use super::throttle::Throttle;
use crate::flavor::literal;
use crate::proto::v1::{StreamStatus, StreamTarget};

/// Pause before another attempt: doubled each time, up to the longest.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
const LONGEST_PAUSE: Duration = Duration::from_secs(5);
/// An attempt that went well for so long is none of a series of failures.
const STABLE: Duration = Duration::from_secs(30);
/// How long recording an error may take.
const RECORD_PATIENCE: Duration = Duration::from_secs(10);

/// What is to be seen of a stream that is about to begin.
pub fn first_status(plan: &StreamPlan) -> StreamStatus {
    let from_side = match plan.key.from {
        Side::Source => "source",
        Side::Target => "target",
    };
    StreamStatus {
        keyspace: plan.key.keyspace.to_string(),
        workflow: plan.key.workflow.to_string(),
        epoch: plan.work.id.epoch,
        from_side: from_side.to_owned(),
        from_keyspace: plan.work.from_keyspace.to_string(),
        from_shard: plan.key.shard.to_string(),
        to_keyspace: plan.work.to_keyspace.to_string(),
        state: "starting".to_owned(),
        targets: (plan.work.targets.iter())
            .map(|target| StreamTarget {
                shard: target.shard.to_string(),
                alias: (target.primary.as_ref())
                    .map(|p| p.name.clone())
                    .unwrap_or_default(),
                lag_ms: -1,
                ..StreamTarget::default()
            })
            .collect(),
        seconds_left: -1,
        lag_ms: -1,
        ..StreamStatus::default()
    }
}

/// Runs a stream until it is dropped. `token` is its lock's fencing token.
pub async fn run(
    mut plan: watch::Receiver<Arc<StreamPlan>>,
    token: u64,
    progress: Arc<Progress>,
) -> Infallible {
    let throttle = Throttle::start(plan.clone());
    let choice = Choice::default();
    let mut resumed = progress.resumed();
    // Whether an error that stands in `_vt` is to be passed over.
    let mut try_again = false;
    let mut pause = FIRST_PAUSE;
    loop {
        let now = plan.borrow_and_update().clone();
        let began = Instant::now();
        let attempt = Attempt {
            plan: &now,
            plans: plan.clone(),
            token,
            progress: &progress,
            throttle: &throttle,
            choice: &choice,
            try_again,
        };
        let ended = select! {
            ended = attempt.run() => ended,
            () = changed(&mut plan, &now.work) => {
                let next = plan.borrow().clone();
                progress.update(|status| *status = carry_over(status, &next));
                choice.forget();
                try_again = true;
                pause = FIRST_PAUSE;
                continue;
            }
        };
        if began.elapsed() > STABLE {
            pause = FIRST_PAUSE;
        }
        let error = match ended {
            Ended::Passing(error) => {
                let text = error.to_string();
                warn!(stream = ?now.key, error = %text, "the stream is tried again");
                progress.update(|status| {
                    status.message = format!("{text}; it is tried again");
                    status.lag_ms = -1;
                });
                select! {
                    () = sleep(pause) => {}
                    () = changed(&mut plan, &now.work) => choice.forget(),
                }
                pause = (pause * 2).min(LONGEST_PAUSE);
                continue;
            }
            Ended::Failed(error) => {
                let text = error.to_string();
                warn!(stream = ?now.key, error = %text, "the stream has stopped");
                record(&now.work, token, &text).await;
                text
            }
            Ended::StandsInError(text) => text,
        };
        progress.update(|status| {
            status.state = "error".to_owned();
            status.message = error;
            status.lag_ms = -1;
        });
        resumed.mark_unchanged();
        select! {
            // An error: nobody can ask any more.
            asked = resumed.changed() => if asked.is_err() { pending::<()>().await },
            () = changed(&mut plan, &now.work) => {}
        }
        info!(stream = ?now.key, "the stream is resumed");
        choice.forget();
        try_again = true;
        pause = FIRST_PAUSE;
    }
}

/// Waits until a stream's work is another.
async fn changed(plan: &mut watch::Receiver<Arc<StreamPlan>>, work: &Work) {
    if plan.wait_for(|plan| plan.work != *work).await.is_err() {
        // Whoever tells of changes is gone, and will end this too.
        pending::<()>().await;
    }
}

/// What was known of a stream, for its next work.
fn carry_over(status: &StreamStatus, next: &StreamPlan) -> StreamStatus {
    let mut fresh = first_status(next);
    if fresh.epoch == status.epoch {
        fresh.tables.clone_from(&status.tables);
        fresh.copied = status.copied;
        fresh.measured_rows = status.measured_rows;
        fresh.measured_bytes = status.measured_bytes;
        fresh.measured_ms = status.measured_ms;
        fresh.table_bytes = status.table_bytes;
        for target in &mut fresh.targets {
            let known = status.targets.iter().find(|t| t.shard == target.shard);
            if let Some(known) = known {
                target.position.clone_from(&known.position);
            }
        }
    }
    fresh
}

/// Records an error on the targets that can be reached.
async fn record(work: &Work, token: u64, message: &str) {
    let update = format!(
        "UPDATE _vt.vreplication SET state = 'error', message = {} \
         WHERE {} AND fence = {token} AND sealed = 0",
        literal(message),
        work.id.condition()
    );
    let records = work.targets.iter().filter_map(|target| {
        let address = target.primary.clone()?;
        let update = update.clone();
        Some(async move {
            let mut conn = Connection::open(&address).await?;
            conn.run("recording an error", update).await?;
            Ok::<(), super::StreamError>(())
        })
    });
    let recorded = timeout(RECORD_PATIENCE, join_all(records)).await;
    if !recorded.is_ok_and(|all| all.iter().all(Result::is_ok)) {
        warn!(stream = %work.id.workflow, "the error could not be recorded on every target");
    }
}
