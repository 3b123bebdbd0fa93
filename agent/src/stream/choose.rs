//! Which tablet of the source's shard is read: a replica that is healthy and does not lag, so that the
//! primary has nothing to do with it; otherwise the primary.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use tokio::time::{Instant, sleep};
use vtplan_state::model::KeyspaceName;

use super::error::StreamError;
use super::plan::{SourceTablet, StreamPlan};
use super::position::Position;
use super::server::ServerAddress;
use super::source::SourceServer;
use super::throttle;

/// A replica that is further behind is not read, unless the workflow allows more.
const MAX_LAG: Duration = Duration::from_secs(10);

/// Which tablets did not do, so that others are tried first.
#[derive(Debug, Default)]
pub struct Choice {
    failures: Mutex<BTreeMap<String, Failures>>,
}

#[derive(Debug, Default)]
struct Failures {
    count: u32,
    /// Its binlogs do not go back far enough.
    purged: bool,
}

/// For how long a replica may take to come to where the primary was.
const COMING: Duration = Duration::from_secs(30);
const LOOK: Duration = Duration::from_millis(50);

/// Waits until a server has what a shard's primary has now. What a stream begins with is not older
/// than that: a replica that lags may not have the tables yet as they are, and their making would
/// come as a change of them later.
///
/// # Errors
/// The primary does not answer; the server does not come that far.
pub async fn has_come_to(
    server: &SourceServer,
    primary: &ServerAddress,
    keyspace: &KeyspaceName,
) -> Result<Position, StreamError> {
    let primary = SourceServer::connect(primary, keyspace).await?;
    let floor = primary.position().await?;
    let give_up = Instant::now() + COMING;
    loop {
        let at = server.position().await?;
        if at.contains(&floor) {
            return Ok(floor);
        }
        if Instant::now() >= give_up {
            return Err(StreamError::Behind {
                server: server.address().to_string(),
                position: floor.to_string(),
                has: at.to_string(),
            });
        }
        sleep(LOOK).await;
    }
}

impl Choice {
    /// The tablet to read from, and whether it is the primary.
    ///
    /// # Errors
    /// None of them answers, or none is fit.
    pub async fn choose(&self, plan: &StreamPlan) -> Result<(SourceServer, bool), StreamError> {
        let mut tablets: Vec<&SourceTablet> = plan.sources.iter().collect();
        tablets.sort_by_key(|tablet| self.count(&tablet.address.name));
        let mut why = Vec::new();
        for tablet in tablets {
            if !tablet.is_primary {
                let limit = MAX_LAG.max(plan.throttle_max_lag);
                match throttle::lag_of(&tablet.address).await {
                    Some(lag) if lag <= limit => {}
                    Some(lag) => {
                        why.push(format!("{} is {} s behind", tablet.address, lag.as_secs()));
                        continue;
                    }
                    None => {
                        why.push(format!("{} does not replicate", tablet.address));
                        continue;
                    }
                }
            }
            match SourceServer::connect(&tablet.address, &plan.work.from_keyspace).await {
                Ok(server) => return Ok((server, tablet.is_primary)),
                Err(error) => why.push(error.to_string()),
            }
        }
        if why.is_empty() {
            why.push("the shard has no tablets".to_owned());
        }
        Err(StreamError::Connect {
            server: format!(
                "any tablet of {}/{}",
                plan.work.from_keyspace, plan.work.id.source_shard
            ),
            why: why.join("; "),
        })
    }

    /// Notes what ended an attempt with a tablet. `false`: it is of no use to try another.
    pub fn failed(&self, plan: &StreamPlan, tablet: &str, error: &StreamError) -> bool {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        let noted = failures.entry(tablet.to_owned()).or_default();
        noted.count += 1;
        if matches!(error, StreamError::Purged { .. }) {
            noted.purged = true;
            // Another may have kept its binlogs for longer.
            return (plan.sources.iter()).any(|source| {
                failures
                    .get(&source.address.name)
                    .is_none_or(|noted| !noted.purged)
            });
        }
        error.is_retriable()
    }

    /// What failed before may do now.
    pub fn forget(&self) {
        let mut failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.clear();
    }

    fn count(&self, tablet: &str) -> u32 {
        let failures = self.failures.lock().unwrap_or_else(PoisonError::into_inner);
        failures.get(tablet).map_or(0, |noted| noted.count)
    }
}
