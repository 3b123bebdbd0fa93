//! Talks to agents: gRPC clients with bounded time, and errors that name the host, its address,
//! why it could not be done, and what to do.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde::de::DeserializeOwned;
use thiserror::Error;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::{Channel, Endpoint};
use tonic::{Code, Request, Status};
use vtplan_planner::live::{Canonical, ObservedHost, ObservedTablet};
use vtplan_planner::seen::{Deviation, Seen};
use vtplan_state::cluster::Cluster;
use vtplan_state::export::Export;
use vtplan_state::model::{HostName, HostRecord, KeyspaceName, TabletAlias, WorkflowName};
use vtplan_state::store::StoreError;

use crate::fence;
use crate::proto::v1;
use crate::proto::v1::agent_client::AgentClient as Stub;
use crate::proto::v1::{PrepareFenceRequest, RemoveFenceRequest, SetFenceRequest};
use crate::service::TOKEN_HEADER;

/// Why an agent could not be asked, or what it answered instead.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("agent of host {host} ({url}): {kind}")]
pub struct CallError {
    pub host: HostName,
    /// The address from its host record.
    pub url: String,
    pub kind: CallErrorKind,
}

#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CallErrorKind {
    #[error(
        "the name `{name}` does not resolve here ({why}); start that agent with `--advertise ADDRESS`, a name or IP address that every host can reach"
    )]
    NameDoesNotResolve { name: String, why: String },
    #[error("its address in the host record is not a URL: {0}")]
    BadUrl(String),
    #[error("cannot connect: {0}; is the agent running, and is its port open from this machine?")]
    Unreachable(String),
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// The agent, or the server behind it, does not do it now; it may later.
    #[error("{0}")]
    NotNow(String),
    /// The database server refuses the statement, or the request makes no sense: asking again
    /// gives the same answer.
    #[error("{0}")]
    Refused(String),
    #[error("its answer is not understood ({0}); do both run the same version of vtplan?")]
    BadAnswer(String),
}

impl CallErrorKind {
    /// Whether the agent itself could be asked.
    pub fn is_unreachable(&self) -> bool {
        matches!(
            self,
            Self::NameDoesNotResolve { .. }
                | Self::BadUrl(_)
                | Self::Unreachable(_)
                | Self::Timeout(_)
        )
    }
}

/// How long to wait for agents.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Timeouts {
    /// For the TCP and HTTP/2 connection.
    pub connect: Duration,
    /// For calls that only look: `Describe`, `Observe`.
    pub observe: Duration,
    /// For trying out definitions of tables.
    pub canonicalize: Duration,
    /// For statements, which may change a large table. An agent that is gone is noticed sooner.
    pub execute: Duration,
}

impl Default for Timeouts {
    fn default() -> Self {
        Self {
            connect: Duration::from_secs(3),
            observe: Duration::from_secs(10),
            canonicalize: Duration::from_secs(60),
            execute: Duration::from_secs(3600),
        }
    }
}

/// Clients for all agents of a cluster; connections are kept and made again when needed. Cheap to
/// clone.
#[derive(Debug, Clone, Default)]
pub struct AgentClients {
    timeouts: Timeouts,
    token: Arc<str>,
    channels: Arc<Mutex<HashMap<String, Channel>>>,
}

impl AgentClients {
    /// Clients that show `token`, the cluster's [`Credentials::agent_token`].
    ///
    /// [`Credentials::agent_token`]: vtplan_state::model::Credentials::agent_token
    pub fn new(timeouts: Timeouts, token: impl Into<Arc<str>>) -> Self {
        Self {
            timeouts,
            token: token.into(),
            channels: Arc::default(),
        }
    }

    /// Clients for the agents of a cluster. Where no agent ever was there is no token, and nobody
    /// to show it to.
    ///
    /// # Errors
    /// When the store cannot be read.
    pub async fn of_cluster(cluster: &Cluster, timeouts: Timeouts) -> Result<Self, StoreError> {
        let credentials = cluster.credentials().await?;
        Ok(Self::new(
            timeouts,
            credentials.map(|c| c.agent_token).unwrap_or_default(),
        ))
    }

    /// A client for a host's agent. Connects with the first call.
    pub fn of(&self, host: &HostRecord) -> AgentClient {
        AgentClient {
            host: host.name.clone(),
            url: host.agent_url.clone(),
            clients: self.clone(),
        }
    }
}

impl AgentClients {
    /// A client for an agent that has no record. `host` is for messages.
    pub fn at(&self, host: HostName, url: String) -> AgentClient {
        AgentClient {
            host,
            url,
            clients: self.clone(),
        }
    }
}

/// Puts the cluster's token into every call.
#[derive(Clone)]
pub struct ShowToken(pub Arc<str>);

/// A connection on which every call shows the token.
pub type Authorized = InterceptedService<Channel, ShowToken>;

impl Interceptor for ShowToken {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let token = self
            .0
            .parse()
            .map_err(|_| Status::invalid_argument("the agents' token in the store is damaged"))?;
        request.metadata_mut().insert(TOKEN_HEADER, token);
        Ok(request)
    }
}

/// One host's agent.
#[derive(Debug, Clone)]
pub struct AgentClient {
    host: HostName,
    url: String,
    clients: AgentClients,
}

/// Messages larger than gRPC's default of 4 MiB: all tables of a host's primaries.
const MAX_ANSWER: usize = 256 << 20;

/// What an agent sees.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct SeenHost {
    pub tablets: BTreeMap<TabletAlias, ObservedTablet>,
    pub room: ObservedHost,
}

impl AgentClient {
    pub fn host(&self) -> &HostName {
        &self.host
    }

    pub async fn describe(&self) -> Result<v1::DescribeResponse, CallError> {
        let limit = self.clients.timeouts.observe;
        let ask = request(v1::DescribeRequest {}, limit);
        self.call(limit, |mut stub| async move { stub.describe(ask).await })
            .await
    }

    /// The agent's copy of the cluster's records.
    pub async fn records(&self) -> Result<Export, CallError> {
        let limit = self.clients.timeouts.observe;
        let ask = request(v1::RecordsRequest {}, limit);
        let answer = self
            .call(limit, |mut stub| async move { stub.records(ask).await })
            .await?;
        Export::parse(answer.document.as_bytes())
            .map_err(|error| self.error(CallErrorKind::BadAnswer(error.to_string())))
    }

    /// What the agent sees of its tablets and its host. `tables`: with the definitions and statistics of the
    /// primaries' tables.
    /// `deviations`: looked for anew.
    pub async fn observe(&self, tables: bool, deviations: bool) -> Result<SeenHost, CallError> {
        let limit = self.clients.timeouts.observe;
        let ask = v1::ObserveRequest {
            tables,
            aliases: Vec::new(),
            deviations,
        };
        let ask = request(ask, limit);
        let answer = self
            .call(limit, |mut stub| async move { stub.observe(ask).await })
            .await?;
        let room = match answer.host.as_str() {
            "" => ObservedHost::default(),
            json => serde_json::from_str(json)
                .map_err(|error| self.error(CallErrorKind::BadAnswer(format!("room: {error}"))))?,
        };
        Ok(SeenHost {
            tablets: self.by_alias(answer.tablets)?,
            room,
        })
    }

    /// What the agent sees when it looks closely at its servers.
    pub async fn inspect(&self) -> Result<BTreeMap<TabletAlias, Seen>, CallError> {
        let limit = self.clients.timeouts.observe;
        let ask = v1::InspectRequest {
            aliases: Vec::new(),
        };
        let ask = request(ask, limit);
        let answer = self
            .call(limit, |mut stub| async move { stub.inspect(ask).await })
            .await?;
        self.by_alias(answer.tablets)
    }

    /// Puts right what of a server is not as the agent sets it up, if it is still as in `seen`.
    pub async fn mend_server(
        &self,
        alias: &TabletAlias,
        seen: &[Deviation],
    ) -> Result<(), CallError> {
        let limit = self.clients.timeouts.canonicalize;
        let json = seen.iter().map(serde_json::to_string);
        let deviations = json
            .collect::<Result<_, _>>()
            .map_err(|error| self.error(CallErrorKind::BadAnswer(error.to_string())))?;
        let ask = v1::MendServerRequest {
            alias: alias.to_string(),
            deviations,
        };
        let ask = request(ask, limit);
        self.call(limit, |mut stub| async move { stub.mend_server(ask).await })
            .await
            .map(drop)
    }

    /// Values by alias, each as JSON.
    fn by_alias<T: DeserializeOwned>(
        &self,
        tablets: HashMap<String, String>,
    ) -> Result<BTreeMap<TabletAlias, T>, CallError> {
        let parse = |(alias, json): (String, String)| {
            let alias = alias
                .parse::<TabletAlias>()
                .map_err(|error| self.error(CallErrorKind::BadAnswer(error.to_string())))?;
            let value = serde_json::from_str(&json).map_err(|error| {
                self.error(CallErrorKind::BadAnswer(format!("{alias}: {error}")))
            })?;
            Ok((alias, value))
        };
        tablets.into_iter().map(parse).collect()
    }

    /// What a server prints for `CREATE TABLE` statements, by statement.
    pub async fn canonicalize(
        &self,
        alias: &TabletAlias,
        statements: Vec<String>,
    ) -> Result<BTreeMap<String, Canonical>, CallError> {
        let limit = self.clients.timeouts.canonicalize;
        let ask = v1::CanonicalizeRequest {
            alias: alias.to_string(),
            statements: statements.clone(),
        };
        let ask = request(ask, limit);
        let answer = self
            .call(
                limit,
                |mut stub| async move { stub.canonicalize(ask).await },
            )
            .await?;
        if answer.tables.len() != statements.len() {
            let why = format!(
                "{} definitions for {} statements",
                answer.tables.len(),
                statements.len()
            );
            return Err(self.error(CallErrorKind::BadAnswer(why)));
        }
        let canonical = |table: v1::CanonicalTable| {
            if table.error.is_empty() {
                Canonical::Definition(table.definition)
            } else {
                Canonical::Refused(table.error)
            }
        };
        Ok(statements
            .into_iter()
            .zip(answer.tables.into_iter().map(canonical))
            .collect())
    }

    /// Runs statements on a shard's primary in its keyspace's database; refused unless the tablet
    /// is primary of exactly this term.
    pub async fn execute_sql(
        &self,
        alias: &TabletAlias,
        term: u64,
        statements: Vec<String>,
        foreign_key_checks: bool,
    ) -> Result<u64, CallError> {
        let limit = self.clients.timeouts.execute;
        let ask = v1::ExecuteSqlRequest {
            alias: alias.to_string(),
            term,
            statements,
            foreign_key_checks,
        };
        let ask = request(ask, limit);
        let answer = self
            .call(limit, |mut stub| async move { stub.execute_sql(ask).await })
            .await?;
        Ok(answer.affected_rows)
    }

    /// Answers a query in the keyspace's database of a shard's primary; refused unless the tablet
    /// is primary of exactly this term. Each row by the names of its columns, without NULLs.
    pub async fn query_sql(
        &self,
        alias: &TabletAlias,
        term: u64,
        query: &str,
    ) -> Result<Vec<HashMap<String, String>>, CallError> {
        let limit = self.clients.timeouts.canonicalize;
        let ask = v1::QuerySqlRequest {
            alias: alias.to_string(),
            term,
            query: query.to_owned(),
        };
        let ask = request(ask, limit);
        let answer = self
            .call(limit, |mut stub| async move { stub.query_sql(ask).await })
            .await?;
        Ok(answer.rows.into_iter().map(|row| row.values).collect())
    }

    /// Turns a primary's `read_only` on for at most `hold`, or off. Gives its executed GTID set
    /// after that.
    pub async fn set_read_only(
        &self,
        alias: &TabletAlias,
        term: u64,
        read_only: bool,
        hold: Duration,
    ) -> Result<String, CallError> {
        let limit = self.clients.timeouts.observe;
        let ask = v1::SetReadOnlyRequest {
            alias: alias.to_string(),
            term,
            read_only,
            hold_ms: hold.as_millis().try_into().unwrap_or(u64::MAX),
        };
        let ask = request(ask, limit);
        let answer = self
            .call(
                limit,
                |mut stub| async move { stub.set_read_only(ask).await },
            )
            .await?;
        Ok(answer.position)
    }

    /// Puts a fence on tables of a primary, open or closed, or sets the one that is there. Waits
    /// for the tables' open transactions for as long as `ask` says. Gives whether it is there.
    pub async fn prepare_fence(&self, ask: PrepareFenceRequest) -> Result<bool, CallError> {
        let limit = self.patience(ask.timeout_ms, fence::PREPARE_PATIENCE);
        let ask = request(ask, limit);
        let answer = self
            .call(
                limit,
                |mut stub| async move { stub.prepare_fence(ask).await },
            )
            .await?;
        Ok(answer.done)
    }

    /// Closes or opens a fence that was prepared, or, without a workflow, makes the whole shard's
    /// server as its record says. Gives the primary's position after that: everything that was
    /// written before the fence was closed is in it.
    pub async fn set_fence(&self, ask: SetFenceRequest) -> Result<String, CallError> {
        let limit = self.patience(ask.timeout_ms, fence::SET_PATIENCE);
        let ask = request(ask, limit);
        let answer = self
            .call(limit, |mut stub| async move { stub.set_fence(ask).await })
            .await?;
        Ok(answer.position)
    }

    /// Takes a workflow's fence off a primary; nothing when there is none. Gives whether it is gone.
    pub async fn remove_fence(&self, ask: RemoveFenceRequest) -> Result<bool, CallError> {
        let limit = self.patience(ask.timeout_ms, fence::PREPARE_PATIENCE);
        let ask = request(ask, limit);
        let answer = self
            .call(
                limit,
                |mut stub| async move { stub.remove_fence(ask).await },
            )
            .await?;
        Ok(answer.done)
    }

    /// How long a call may take that itself waits on the agent's side. `0`: as long as `default`.
    fn patience(&self, milliseconds: u64, default: Duration) -> Duration {
        let wait = fence::patience(milliseconds, default);
        wait + self.clients.timeouts.observe
    }

    /// Waits until a tablet has executed everything in `position`. `false`: not within `wait`.
    pub async fn wait_for_position(
        &self,
        alias: &TabletAlias,
        position: &str,
        wait: Duration,
    ) -> Result<bool, CallError> {
        let limit = wait + self.clients.timeouts.observe;
        let ask = v1::WaitForPositionRequest {
            alias: alias.to_string(),
            position: position.to_owned(),
            timeout_ms: wait.as_millis().try_into().unwrap_or(u64::MAX),
        };
        let ask = request(ask, limit);
        let answer = self
            .call(limit, |mut stub| async move {
                stub.wait_for_position(ask).await
            })
            .await?;
        Ok(answer.reached)
    }

    /// The streams whose lock the agent holds: of one workflow, or all.
    pub async fn observe_streams(
        &self,
        workflow: Option<(&KeyspaceName, &WorkflowName)>,
    ) -> Result<Vec<v1::StreamStatus>, CallError> {
        let limit = self.clients.timeouts.observe;
        let (keyspace, workflow) = workflow.unzip();
        let ask = v1::ObserveStreamsRequest {
            keyspace: keyspace.map(ToString::to_string).unwrap_or_default(),
            workflow: workflow.map(ToString::to_string).unwrap_or_default(),
        };
        let ask = request(ask, limit);
        let answer = self
            .call(
                limit,
                |mut stub| async move { stub.observe_streams(ask).await },
            )
            .await?;
        Ok(answer.streams)
    }

    /// Waits until a stream has committed a position on a target's primary, `ask.alias`, which is
    /// one of the agent's; at most for `ask.timeout_ms`.
    pub async fn wait_for_stream(
        &self,
        ask: v1::WaitForStreamRequest,
    ) -> Result<v1::WaitForStreamResponse, CallError> {
        let limit = Duration::from_millis(ask.timeout_ms) + self.clients.timeouts.observe;
        let ask = request(ask, limit);
        self.call(
            limit,
            |mut stub| async move { stub.wait_for_stream(ask).await },
        )
        .await
    }

    /// Lets the agent's streams of a workflow that are in state error try again. Returns how many
    /// those were.
    pub async fn resume_streams(
        &self,
        keyspace: &KeyspaceName,
        workflow: &WorkflowName,
    ) -> Result<u32, CallError> {
        let limit = self.clients.timeouts.observe;
        let ask = v1::ResumeStreamsRequest {
            keyspace: keyspace.to_string(),
            workflow: workflow.to_string(),
        };
        let ask = request(ask, limit);
        let answer = self
            .call(
                limit,
                |mut stub| async move { stub.resume_streams(ask).await },
            )
            .await?;
        Ok(answer.resumed)
    }

    /// What a tablet has executed.
    pub async fn position(&self, alias: &TabletAlias) -> Result<String, CallError> {
        let limit = self.clients.timeouts.observe;
        let ask = v1::WaitForPositionRequest {
            alias: alias.to_string(),
            position: String::new(),
            timeout_ms: 0,
        };
        let ask = request(ask, limit);
        let answer = self
            .call(limit, |mut stub| async move {
                stub.wait_for_position(ask).await
            })
            .await?;
        Ok(answer.position)
    }

    fn error(&self, kind: CallErrorKind) -> CallError {
        CallError {
            host: self.host.clone(),
            url: self.url.clone(),
            kind,
        }
    }

    /// One call with a limit of its own beside the deadline that is sent along, because a machine
    /// that vanished answers nothing at all.
    async fn call<T, F>(
        &self,
        limit: Duration,
        ask: impl FnOnce(Stub<Authorized>) -> F,
    ) -> Result<T, CallError>
    where
        F: Future<Output = Result<tonic::Response<T>, Status>>,
    {
        let channel = self.channel().await.map_err(|kind| self.error(kind))?;
        let stub = Stub::with_interceptor(channel, ShowToken(self.clients.token.clone()))
            .max_decoding_message_size(MAX_ANSWER)
            .max_encoding_message_size(MAX_ANSWER);
        let kind = match tokio::time::timeout(limit, ask(stub)).await {
            Ok(Ok(answer)) => return Ok(answer.into_inner()),
            Ok(Err(status)) => kind_of(&status, limit),
            Err(_) => CallErrorKind::Timeout(limit),
        };
        if kind.is_unreachable() {
            // The next call resolves the name and connects anew.
            self.channels().remove(&self.url);
        }
        Err(self.error(kind))
    }

    async fn channel(&self) -> Result<Channel, CallErrorKind> {
        if let Some(channel) = self.channels().get(&self.url) {
            return Ok(channel.clone());
        }
        let limit = self.clients.timeouts.connect;
        let endpoint = Endpoint::from_shared(self.url.clone())
            .map_err(|error| CallErrorKind::BadUrl(error.to_string()))?
            .connect_timeout(limit)
            .tcp_nodelay(true)
            .http2_keep_alive_interval(Duration::from_secs(10))
            .keep_alive_timeout(Duration::from_secs(10));
        let connected = tokio::time::timeout(limit, async {
            resolve(&endpoint).await?;
            endpoint
                .connect()
                .await
                .map_err(|error| CallErrorKind::Unreachable(chain(&error)))
        });
        let channel = connected
            .await
            .map_err(|_| CallErrorKind::Timeout(limit))??;
        self.channels().insert(self.url.clone(), channel.clone());
        Ok(channel)
    }

    fn channels(&self) -> std::sync::MutexGuard<'_, HashMap<String, Channel>> {
        // Nothing panics while it is held.
        self.clients
            .channels
            .lock()
            .unwrap_or_else(|poisoned| poisoned.into_inner())
    }
}

/// Whether the URL's name resolves, asked apart because the transport's own error does not say.
async fn resolve(endpoint: &Endpoint) -> Result<(), CallErrorKind> {
    let uri = endpoint.uri();
    let name = uri
        .host()
        .ok_or_else(|| CallErrorKind::BadUrl(format!("`{uri}` names no host")))?;
    let bare = name.trim_start_matches('[').trim_end_matches(']');
    let unresolved = |why: String| CallErrorKind::NameDoesNotResolve {
        name: bare.to_owned(),
        why,
    };
    match tokio::net::lookup_host((bare, uri.port_u16().unwrap_or(80))).await {
        Ok(mut addresses) => match addresses.next() {
            Some(_) => Ok(()),
            None => Err(unresolved("it has no address".into())),
        },
        Err(error) => Err(unresolved(error.to_string())),
    }
}

fn request<T>(message: T, limit: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(limit);
    request
}

fn kind_of(status: &Status, limit: Duration) -> CallErrorKind {
    let message = status.message().to_owned();
    match status.code() {
        Code::DeadlineExceeded => CallErrorKind::Timeout(limit),
        Code::Cancelled if message.contains("Timeout expired") => CallErrorKind::Timeout(limit),
        Code::Unavailable if std::error::Error::source(status).is_some() => {
            CallErrorKind::Unreachable(message)
        }
        Code::InvalidArgument | Code::OutOfRange => CallErrorKind::Refused(message),
        Code::Unimplemented => CallErrorKind::BadAnswer(message),
        _ => CallErrorKind::NotNow(message),
    }
}

/// An error with its causes on one line.
fn chain(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut next = error.source();
    while let Some(cause) = next {
        text = format!("{text}: {cause}");
        next = cause.source();
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use vtplan_state::model::{CellName, FlavorKind};

    fn host(url: &str) -> HostRecord {
        HostRecord {
            name: HostName::new("db1").unwrap(),
            cell: CellName::new("zone1").unwrap(),
            address: "127.0.0.1".into(),
            agent_url: url.into(),
            capacity: 10,
            first_mysql_port: 17000,
            flavor: FlavorKind::MariaDb,
            server_version: "10.11.6".into(),
            version: "0.1.0".into(),
            started_at: 0,
            tablets_dir: "/tmp/t".into(),
        }
    }

    #[tokio::test]
    async fn a_name_that_does_not_resolve_is_told_with_the_way_out() {
        let clients = AgentClients::default();
        let error = clients
            .of(&host("http://no-such-host.invalid:1"))
            .describe()
            .await
            .unwrap_err();
        let text = error.to_string();
        assert!(matches!(
            error.kind,
            CallErrorKind::NameDoesNotResolve { .. }
        ));
        assert!(text.contains("`no-such-host.invalid`"), "{text}");
        assert!(text.contains("--advertise"), "{text}");
        assert!(text.contains("db1"), "{text}");
    }

    #[tokio::test]
    async fn a_closed_port_is_unreachable_and_names_host_and_address() {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        drop(listener);
        let error = AgentClients::default()
            .of(&host(&url))
            .describe()
            .await
            .unwrap_err();
        assert!(
            matches!(error.kind, CallErrorKind::Unreachable(_)),
            "{error}"
        );
        assert!(error.to_string().contains(&url), "{error}");
    }

    #[tokio::test]
    async fn an_agent_that_never_answers_ends_in_a_timeout() {
        // Accepts connections and says nothing.
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let clients = AgentClients::new(
            Timeouts {
                connect: Duration::from_millis(200),
                observe: Duration::from_millis(200),
                canonicalize: Duration::from_millis(200),
                execute: Duration::from_millis(200),
            },
            "",
        );
        let error = clients.of(&host(&url)).describe().await.unwrap_err();
        assert!(matches!(error.kind, CallErrorKind::Timeout(_)), "{error}");
        drop(listener);
    }
}
