//! Writes past the gates, with the gates' own account, to the primaries of both sides of a switch.
//!
//! It adds one to a column of one row, wherever a server lets it. Streams bring the row to the other
//! side. If ever two sides took writes for the row at once, or a write were lost on the way, the
//! value in the end is not the number of writes that were acknowledged.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use mysql_async::prelude::Queryable;
use mysql_async::{Conn, Opts};
use tokio::task::JoinHandle;

/// The row that is counted in; outside of what the random writer makes.
pub const PROBE_ID: i64 = 9_000_000_000_000;
/// Its sharding column.
pub const PROBE_OWNER: i64 = 1;

#[derive(Debug, Default)]
struct Counts {
    acknowledged: AtomicU64,
    /// Attempts of which it is not known whether they were done.
    unknown: AtomicU64,
}

/// A prober at work.
pub struct Prober {
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    tasks: Vec<JoinHandle<()>>,
}

impl Prober {
    /// `servers`: where the row is or comes to. Servers may be down at times.
    pub fn start(servers: Vec<Opts>) -> Prober {
        let stop = Arc::new(AtomicBool::new(false));
        let counts = Arc::new(Counts::default());
        let tasks = servers
            .into_iter()
            .map(|server| tokio::spawn(probe(server, stop.clone(), counts.clone())))
            .collect();
        Prober {
            stop,
            counts,
            tasks,
        }
    }

    /// Ends probing: the least and the greatest value that the row may have.
    pub async fn finish(self) -> (u64, u64) {
        self.stop.store(true, Ordering::Relaxed);
        for task in self.tasks {
            task.await.expect("a prober panicked");
        }
        let sure = self.counts.acknowledged.load(Ordering::Relaxed);
        (sure, sure + self.counts.unknown.load(Ordering::Relaxed))
    }
}

async fn probe(server: Opts, stop: Arc<AtomicBool>, counts: Arc<Counts>) {
    let sql = format!(
        "update item set price = price + 1 where id = {PROBE_ID} and owner = {PROBE_OWNER}"
    );
    let mut open: Option<Conn> = None;
    while !stop.load(Ordering::Relaxed) {
        tokio::time::sleep(Duration::from_millis(3)).await;
        let Some(mut conn) = (match open.take() {
            Some(conn) => Some(conn),
            None => Conn::new(server.clone()).await.ok(),
        }) else {
            continue;
        };
        match conn.query_drop(&sql).await {
            Ok(()) => {
                let changed = conn.affected_rows();
                counts.acknowledged.fetch_add(changed, Ordering::Relaxed);
                open = Some(conn);
            }
            // Refused by the server: not done.
            Err(mysql_async::Error::Server(_)) => open = Some(conn),
            Err(_) => {
                counts.unknown.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}
