//! What the conductor reaches out to, as a trait: the real thing here, a simulated one in tests.

use std::time::Duration;

use async_trait::async_trait;
use vtplan_planner::desired::Desired;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{HostRecord, TabletAlias, UnixMillis};
use vtplan_state::store::unix_millis;

use super::failpoint;
use crate::client::{AgentClients, CallError};
use crate::observe::{Gathered, ObserveError, Observer};

/// Everything that a conductor reads and does. Calls may fail, may be done although they fail,
/// and may be done twice.
#[async_trait]
pub trait World: Send + Sync {
    fn cluster(&self) -> &Cluster;

    /// The live state, read after the call began.
    async fn gather(&self, desired: &Desired) -> Result<Gathered, ObserveError>;

    /// Runs statements on the tablet if it is primary of exactly this term.
    async fn execute_sql(&self, on: &Target, sql: Sql) -> Result<(), CallError>;

    /// Turns `read_only` of a primary of this term on for `hold`, or off. Gives its position.
    async fn set_read_only(
        &self,
        on: &Target,
        read_only: bool,
        hold: Duration,
    ) -> Result<String, CallError>;

    /// Whether a tablet has a position, after waiting for it for some time.
    async fn wait_for_position(
        &self,
        on: &Target,
        position: &str,
        wait: Duration,
    ) -> Result<bool, CallError>;

    /// The time, for people to read.
    fn now(&self) -> UnixMillis;

    /// Tells that a moment is reached at which a test may want to do harm. See [`failpoint`].
    async fn failpoint(&self, name: &str);
}

/// A tablet to be called, at the agent of its host, as primary of a term.
#[derive(Debug, Clone, PartialEq)]
pub struct Target {
    pub host: HostRecord,
    pub alias: TabletAlias,
    pub term: u64,
}

/// Statements for a keyspace's database.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sql {
    pub statements: Vec<String>,
    pub foreign_key_checks: bool,
}

/// The world as it is.
pub struct RealWorld {
    cluster: Cluster,
    agents: AgentClients,
    observer: Observer,
}

impl RealWorld {
    pub fn new(cluster: Cluster, agents: AgentClients) -> Self {
        Self {
            cluster,
            observer: Observer::new(agents.clone()),
            agents,
        }
    }
}

#[async_trait]
impl World for RealWorld {
    fn cluster(&self) -> &Cluster {
        &self.cluster
    }

    async fn gather(&self, desired: &Desired) -> Result<Gathered, ObserveError> {
        self.observer.gather(&self.cluster, Some(desired)).await
    }

    async fn execute_sql(&self, on: &Target, sql: Sql) -> Result<(), CallError> {
        self.agents
            .of(&on.host)
            .execute_sql(&on.alias, on.term, sql.statements, sql.foreign_key_checks)
            .await
            .map(|_| ())
    }

    async fn set_read_only(
        &self,
        on: &Target,
        read_only: bool,
        hold: Duration,
    ) -> Result<String, CallError> {
        self.agents
            .of(&on.host)
            .set_read_only(&on.alias, on.term, read_only, hold)
            .await
    }

    async fn wait_for_position(
        &self,
        on: &Target,
        position: &str,
        wait: Duration,
    ) -> Result<bool, CallError> {
        self.agents
            .of(&on.host)
            .wait_for_position(&on.alias, position, wait)
            .await
    }

    fn now(&self) -> UnixMillis {
        unix_millis()
    }

    async fn failpoint(&self, name: &str) {
        failpoint::hit(name).await;
    }
}
