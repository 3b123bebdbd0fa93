//! What the conductor reaches out to, as a trait: the real thing here, a simulated one in tests.

use std::collections::HashMap;
use std::time::Duration;

use async_trait::async_trait;
use vtplan_planner::desired::Desired;
use vtplan_planner::seen::Deviation;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{
    HostRecord, KeyspaceName, Records, Revision, ShardName, TableName, TabletAlias, UnixMillis,
    WorkflowName,
};
use vtplan_state::store::unix_millis;

use super::failpoint;
use super::workflow::streams::StreamSeen;
use crate::client::{AgentClients, CallError, CallErrorKind};
use crate::lookup::{FillError, Filled};
use crate::observe::{Gathered, ObserveError, Observer};
use crate::proto::v1;

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

    /// What a tablet has executed.
    async fn position(&self, on: &Target) -> Result<String, CallError>;

    /// Answers a query in the keyspace's database of the tablet, if it is primary of exactly this
    /// term. Each row by the names of its columns, without NULLs.
    async fn query(
        &self,
        on: &Target,
        query: &str,
    ) -> Result<Vec<HashMap<String, String>>, CallError>;

    /// The streams of a workflow that a host's agent runs.
    async fn observe_streams(
        &self,
        host: &HostRecord,
        keyspace: &KeyspaceName,
        workflow: &WorkflowName,
    ) -> Result<Vec<StreamSeen>, CallError>;

    /// Lets a host's streams of a workflow that have stopped with an error try again.
    async fn resume_streams(
        &self,
        host: &HostRecord,
        keyspace: &KeyspaceName,
        workflow: &WorkflowName,
    ) -> Result<(), CallError>;

    /// Whether a stream has committed a position on the primary of one of its targets, after
    /// waiting for it for some time.
    async fn wait_for_stream(
        &self,
        on: &Target,
        stream: &StreamName,
        position: &str,
        wait: Duration,
    ) -> Result<bool, CallError>;

    /// Puts a fence on tables of a primary, open or closed. Gives whether it is there: the work ends
    /// `within` a time, in which no transaction should be open on the tables. `None`: only looks.
    async fn prepare_fence(
        &self,
        on: &Target,
        fence: &FenceName,
        tables: &TablesToFence,
        set: FenceSetting,
        within: Option<Duration>,
    ) -> Result<bool, CallError>;

    /// Closes or opens a fence. Gives the primary's position, which has all that was committed
    /// before.
    async fn set_fence(
        &self,
        on: &Target,
        fence: &FenceName,
        set: FenceSetting,
        wait: Duration,
    ) -> Result<String, CallError>;

    /// Takes the fence on tables away. `decided`: as in [`FenceSetting`]. Gives whether it is gone;
    /// `within` is as for [`World::prepare_fence`], `None`: triggers are left alone.
    async fn remove_fence(
        &self,
        on: &Target,
        fence: &FenceName,
        decided: Revision,
        within: Option<Duration>,
    ) -> Result<bool, CallError>;

    /// Puts right what of a server is not as its agent sets it up, if it is still as in `seen`. The
    /// target's term does not matter.
    async fn mend_server(&self, on: &Target, seen: &[Deviation]) -> Result<(), CallError>;

    /// Adds the rows of its owner to a lookup, where they are missing, on the primaries of `records`.
    async fn fill_lookup(
        &self,
        records: &Records,
        keyspace: &KeyspaceName,
        lookup: &str,
    ) -> Result<Filled, FillError>;

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

/// A stream as it is named in `_vt`.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct StreamName {
    /// The workflow's target keyspace, where its record is.
    pub keyspace: KeyspaceName,
    pub workflow: WorkflowName,
    pub epoch: u64,
    /// The shard that it reads.
    pub from: ShardName,
}

/// A fence on one primary.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct FenceName {
    /// Of the primary.
    pub keyspace: KeyspaceName,
    /// The full name of the workflow whose tables are fenced. `None`: the whole shard, as its
    /// record says.
    pub workflow: Option<String>,
}

/// What a fence is set to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FenceSetting {
    pub closed: bool,
    /// The revision of the record that says so. A setting that is older than the one before it is
    /// refused: one that was sent by a conductor that is not any more, or that got lost for a while.
    pub decided: Revision,
}

/// What a fence is put on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TablesToFence {
    pub tables: Vec<TableName>,
    /// For the message of refused writes: the keyspace that has, or gets, the writes.
    pub writes_at: KeyspaceName,
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

    async fn position(&self, on: &Target) -> Result<String, CallError> {
        self.agents.of(&on.host).position(&on.alias).await
    }

    async fn query(
        &self,
        on: &Target,
        query: &str,
    ) -> Result<Vec<HashMap<String, String>>, CallError> {
        let agent = self.agents.of(&on.host);
        agent.query_sql(&on.alias, on.term, query).await
    }

    async fn observe_streams(
        &self,
        host: &HostRecord,
        keyspace: &KeyspaceName,
        workflow: &WorkflowName,
    ) -> Result<Vec<StreamSeen>, CallError> {
        let agent = self.agents.of(host);
        let streams = agent.observe_streams(Some((keyspace, workflow))).await?;
        let read = streams.into_iter().map(StreamSeen::read);
        read.collect::<Result<_, _>>().map_err(|why| CallError {
            host: host.name.clone(),
            url: host.agent_url.clone(),
            kind: CallErrorKind::BadAnswer(why),
        })
    }

    async fn resume_streams(
        &self,
        host: &HostRecord,
        keyspace: &KeyspaceName,
        workflow: &WorkflowName,
    ) -> Result<(), CallError> {
        let agent = self.agents.of(host);
        agent.resume_streams(keyspace, workflow).await.map(drop)
    }

    async fn wait_for_stream(
        &self,
        on: &Target,
        stream: &StreamName,
        position: &str,
        wait: Duration,
    ) -> Result<bool, CallError> {
        let ask = v1::WaitForStreamRequest {
            alias: on.alias.to_string(),
            keyspace: stream.keyspace.to_string(),
            workflow: stream.workflow.to_string(),
            epoch: stream.epoch,
            from_shard: stream.from.to_string(),
            position: position.to_owned(),
            timeout_ms: millis(wait),
        };
        let answer = self.agents.of(&on.host).wait_for_stream(ask).await?;
        Ok(answer.reached)
    }

    async fn prepare_fence(
        &self,
        on: &Target,
        fence: &FenceName,
        tables: &TablesToFence,
        set: FenceSetting,
        within: Option<Duration>,
    ) -> Result<bool, CallError> {
        let ask = v1::PrepareFenceRequest {
            alias: on.alias.to_string(),
            term: on.term,
            keyspace: fence.keyspace.to_string(),
            workflow: fence.workflow.clone().unwrap_or_default(),
            tables: tables.tables.iter().map(ToString::to_string).collect(),
            closed: set.closed,
            writes_at: tables.writes_at.to_string(),
            timeout_ms: within.map_or(0, |within| millis(within).max(1)),
            decided: set.decided,
            look: within.is_none(),
        };
        self.agents.of(&on.host).prepare_fence(ask).await
    }

    async fn set_fence(
        &self,
        on: &Target,
        fence: &FenceName,
        set: FenceSetting,
        wait: Duration,
    ) -> Result<String, CallError> {
        let ask = v1::SetFenceRequest {
            alias: on.alias.to_string(),
            term: on.term,
            keyspace: fence.keyspace.to_string(),
            workflow: fence.workflow.clone().unwrap_or_default(),
            closed: set.closed,
            timeout_ms: millis(wait).max(1),
            decided: set.decided,
        };
        self.agents.of(&on.host).set_fence(ask).await
    }

    async fn remove_fence(
        &self,
        on: &Target,
        fence: &FenceName,
        decided: Revision,
        within: Option<Duration>,
    ) -> Result<bool, CallError> {
        let Some(workflow) = fence.workflow.clone() else {
            return Ok(true);
        };
        let ask = v1::RemoveFenceRequest {
            alias: on.alias.to_string(),
            term: on.term,
            keyspace: fence.keyspace.to_string(),
            workflow,
            timeout_ms: within.map_or(0, |within| millis(within).max(1)),
            decided,
            look: within.is_none(),
        };
        self.agents.of(&on.host).remove_fence(ask).await
    }

    async fn mend_server(&self, on: &Target, seen: &[Deviation]) -> Result<(), CallError> {
        self.agents.of(&on.host).mend_server(&on.alias, seen).await
    }

    async fn fill_lookup(
        &self,
        records: &Records,
        keyspace: &KeyspaceName,
        lookup: &str,
    ) -> Result<Filled, FillError> {
        let trouble = |why: String| FillError::Trouble(why);
        let credentials = self.cluster.credentials().await;
        let credentials = credentials.map_err(|e| trouble(e.to_string()))?;
        let credentials =
            credentials.ok_or_else(|| trouble("the cluster has no credentials".to_owned()))?;
        crate::lookup::fill(records, &credentials, keyspace, lookup).await
    }

    fn now(&self) -> UnixMillis {
        unix_millis()
    }

    async fn failpoint(&self, name: &str) {
        failpoint::hit(name).await;
    }
}

fn millis(time: Duration) -> u64 {
    time.as_millis().try_into().unwrap_or(u64::MAX)
}
