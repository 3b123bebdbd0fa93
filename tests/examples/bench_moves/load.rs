//! Writing clients of a gate.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Instant;

use mysql_async::Pool;
use mysql_async::prelude::Queryable as _;

/// Clients that write through the gate, and the longest time that a statement took.
pub struct Load {
    stop: Arc<AtomicBool>,
    pub longest: Arc<AtomicU64>,
    clients: Vec<tokio::task::JoinHandle<(u64, Vec<String>)>>,
}

impl Load {
    pub fn start(pool: &Pool, clients: u64, rows: u64) -> Load {
        let stop = Arc::new(AtomicBool::new(false));
        let longest = Arc::new(AtomicU64::new(0));
        let clients = (0..clients)
            .map(|number| {
                let (pool, stop, longest) = (pool.clone(), stop.clone(), longest.clone());
                tokio::spawn(async move {
                    let mut conn = pool.get_conn().await.expect("the gate");
                    let (mut done, mut failures) = (0u64, Vec::new());
                    while !stop.load(Ordering::Relaxed) {
                        let id = (done * 104_729 + number * 7919) % rows + 1;
                        let begun = Instant::now();
                        let result = conn
                            .exec_drop("update sbtest1 set k = k + 1 where id = ?", (id,))
                            .await;
                        longest.fetch_max(begun.elapsed().as_micros() as u64, Ordering::Relaxed);
                        if let Err(error) = result {
                            failures.push(error.to_string());
                        }
                        done += 1;
                    }
                    (done, failures)
                })
            })
            .collect();
        Load {
            stop,
            longest,
            clients,
        }
    }

    pub async fn finish(self) -> (u64, Vec<String>) {
        self.stop.store(true, Ordering::Relaxed);
        let (mut done, mut failures) = (0, Vec::new());
        for client in self.clients {
            let (more, failed) = client.await.expect("a client panicked");
            done += more;
            failures.extend(failed);
        }
        (done, failures)
    }
}
