//! Asking many agents: so many at a time, and those that do not answer keep the others waiting for a
//! moment only, however many they are.

use std::pin::pin;
use std::time::Duration;

use futures::StreamExt as _;
use futures::stream::FuturesUnordered;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// How many are asked at the same time.
const CONCURRENT: usize = 64;
/// After this a call that has no answer yet lets the next one begin, and goes on waiting by itself.
const TURN: Duration = Duration::from_millis(250);

/// All results, in whatever order they come.
pub async fn all<F: Future>(calls: impl IntoIterator<Item = F>) -> Vec<F::Output> {
    let turns = Semaphore::new(CONCURRENT);
    let calls: FuturesUnordered<_> = calls.into_iter().map(|call| taken(&turns, call)).collect();
    calls.collect().await
}

async fn taken<F: Future>(turns: &Semaphore, call: F) -> F::Output {
    // Nobody closes it; if somebody did, all would be asked at once.
    let turn = turns.acquire().await.ok();
    let mut call = pin!(call);
    if let Ok(answer) = timeout(TURN, call.as_mut()).await {
        return answer;
    }
    drop(turn);
    call.await
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::atomic::{AtomicUsize, Ordering};
    use tokio::time::{Instant, sleep};

    #[tokio::test(start_paused = true)]
    async fn hosts_that_hang_keep_the_others_waiting_for_a_moment_only() {
        let limit = Duration::from_secs(5);
        let start = Instant::now();
        let calls = (0..10 * CONCURRENT).map(|_| async {
            sleep(limit).await;
            start.elapsed()
        });
        let ends = all(calls).await;
        assert_eq!(ends.len(), 10 * CONCURRENT);
        // One after the other they would take ten times the limit.
        assert!(ends.iter().all(|end| *end < limit + 11 * TURN), "{ends:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn of_those_that_answer_only_some_are_asked_at_once() {
        let (now, most) = (AtomicUsize::new(0), AtomicUsize::new(0));
        let calls = (0..1000).map(|_| async {
            most.fetch_max(now.fetch_add(1, Ordering::SeqCst) + 1, Ordering::SeqCst);
            sleep(TURN / 4).await;
            now.fetch_sub(1, Ordering::SeqCst);
        });
        all(calls).await;
        assert_eq!(most.into_inner(), CONCURRENT);
    }
}
