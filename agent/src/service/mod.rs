//! The agent's gRPC service: calls are passed on to tablets, answers made into messages.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::{Stream, StreamExt as _, stream};
use tokio::net::TcpListener;
use tokio::select;
use tokio::sync::watch;
use tokio::time::sleep;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tracing::error;
use vtplan_planner::live::ObservedTablet;
use vtplan_state::model::HostRecord;

use crate::error::AgentError;
use crate::fence::{self, Fence};
use crate::proto::v1::agent_server::{Agent, AgentServer};
use crate::proto::v1::{
    CanonicalTable, CanonicalizeRequest, CanonicalizeResponse, DescribeRequest, DescribeResponse,
    ExecuteSqlRequest, ExecuteSqlResponse, HealthUpdate, InspectRequest, InspectResponse,
    MendServerRequest, MendServerResponse, ObserveRequest, ObserveResponse, ObserveStreamsRequest,
    ObserveStreamsResponse, PrepareFenceRequest, PrepareFenceResponse, QueryRow, QuerySqlRequest,
    QuerySqlResponse, RecordsRequest, RecordsResponse, RemoveFenceRequest, RemoveFenceResponse,
    ResumeStreamsRequest, ResumeStreamsResponse, SetFenceRequest, SetFenceResponse,
    SetReadOnlyRequest, SetReadOnlyResponse, StreamHealthRequest, WaitForPositionRequest,
    WaitForPositionResponse, WaitForStreamRequest, WaitForStreamResponse,
};
use crate::records_copy::Copy;
use crate::room::Room;
use crate::stream::progress::Streams;
use crate::stream::wait::wait_for_stream;
use crate::tablet::Tablet;
use crate::tablets::Tablets;

/// The longest time between two messages about health.
const HEALTH_PERIOD: Duration = Duration::from_secs(1);
/// Messages may hold the definitions of many tables.
const MAX_MESSAGE: usize = 256 << 20;
/// How many of a host's servers are looked at closely at the same time.
const INSPECTED_AT_ONCE: usize = 16;

/// The metadata in which a caller shows [`vtplan_state::model::Credentials::agent_token`].
pub const TOKEN_HEADER: &str = "vtplan-token";

/// Compares in a time that does not tell where the first difference is.
fn same_bytes(a: &[u8], b: &[u8]) -> bool {
    a.len() == b.len() && a.iter().zip(b).fold(0, |differ, (a, b)| differ | (a ^ b)) == 0
}

/// Answers calls until `stopping` is true.
pub async fn serve(
    listener: TcpListener,
    service: AgentService,
    mut stopping: watch::Receiver<bool>,
) {
    let stopped = async move {
        // An error: the agent is gone, which is as good a reason to stop.
        let _ = stopping.wait_for(|s| *s).await;
    };
    let service = AgentServer::new(service)
        .max_decoding_message_size(MAX_MESSAGE)
        .max_encoding_message_size(MAX_MESSAGE);
    let served = Server::builder()
        .add_service(service)
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped)
        .await;
    if let Err(why) = served {
        error!(error = %why, "the gRPC service has ended");
    }
}

/// The service's state.
pub struct AgentService {
    pub cluster: String,
    /// What callers have to show, from the cluster's credentials.
    pub token: String,
    pub host: HostRecord,
    pub tablets: Arc<Tablets>,
    pub streams: Arc<Streams>,
    pub copy: Arc<Copy>,
    pub room: Room,
    /// Changes when a tablet's health has.
    pub health_changes: watch::Receiver<u64>,
}

impl AgentService {
    /// Refuses a caller that does not know the cluster's token. `Describe` and `StreamHealth`,
    /// which tell nothing of what servers hold, are open.
    fn authorize<T>(&self, request: &Request<T>) -> Result<(), Status> {
        let shown = request.metadata().get(TOKEN_HEADER).map(|v| v.as_bytes());
        if shown.is_some_and(|shown| same_bytes(shown, self.token.as_bytes())) {
            return Ok(());
        }
        Err(Status::unauthenticated(format!(
            "host {} refuses a caller without the token of cluster `{}`: callers find it in the \
             cluster's state store",
            self.host.name, self.cluster
        )))
    }

    fn tablet(&self, alias: &str) -> Result<Arc<Tablet>, Status> {
        self.tablets.get(alias).ok_or_else(|| {
            Status::not_found(format!("host {} has no tablet {alias}", self.host.name))
        })
    }
}

/// What a server refuses for good is told apart from what may pass, as the proto says.
fn failed(error: AgentError) -> Status {
    if error.is_refusal() {
        Status::invalid_argument(error.to_string())
    } else {
        Status::failed_precondition(error.to_string())
    }
}

#[tonic::async_trait]
impl Agent for AgentService {
    async fn describe(
        &self,
        _: Request<DescribeRequest>,
    ) -> Result<Response<DescribeResponse>, Status> {
        Ok(Response::new(DescribeResponse {
            cluster: self.cluster.clone(),
            host: self.host.name.to_string(),
            cell: self.host.cell.to_string(),
            version: self.host.version.clone(),
        }))
    }

    async fn records(
        &self,
        request: Request<RecordsRequest>,
    ) -> Result<Response<RecordsResponse>, Status> {
        self.authorize(&request)?;
        let copy = self.copy.newest().ok_or_else(|| {
            Status::not_found(format!(
                "host {} has no copy of the records",
                self.host.name
            ))
        })?;
        Ok(Response::new(RecordsResponse {
            document: copy.to_text(),
        }))
    }

    async fn observe(
        &self,
        request: Request<ObserveRequest>,
    ) -> Result<Response<ObserveResponse>, Status> {
        self.authorize(&request)?;
        let request = request.into_inner();
        let mut tablets = self.tablets.all();
        if !request.aliases.is_empty() {
            tablets.retain(|t| request.aliases.contains(&t.alias().to_string()));
        }
        let looks = tablets.iter().map(|tablet| async {
            let tables = if request.tables {
                // A primary whose tables cannot be read now is shown without; whoever needs them
                // asks again.
                tablet.tables().await.unwrap_or_default()
            } else {
                None
            };
            let observed = ObservedTablet {
                server: tablet.status().server,
                tables,
                // Where they cannot be read now, nothing is said to deviate.
                deviations: tablet
                    .deviations(request.deviations)
                    .await
                    .unwrap_or_default(),
            };
            let json =
                serde_json::to_string(&observed).map_err(|e| Status::internal(e.to_string()))?;
            Ok::<_, Status>((tablet.alias().to_string(), json))
        });
        let tablets = futures::future::try_join_all(looks).await?;
        let room = serde_json::to_string(&self.room.observe())
            .map_err(|e| Status::internal(e.to_string()))?;
        Ok(Response::new(ObserveResponse {
            tablets: tablets.into_iter().collect(),
            host: room,
        }))
    }

    async fn inspect(
        &self,
        request: Request<InspectRequest>,
    ) -> Result<Response<InspectResponse>, Status> {
        self.authorize(&request)?;
        let request = request.into_inner();
        let mut tablets = self.tablets.all();
        if !request.aliases.is_empty() {
            tablets.retain(|t| request.aliases.contains(&t.alias().to_string()));
        }
        let looks = tablets.iter().map(|tablet| async {
            let seen = tablet.inspect().await.ok()?;
            let json = serde_json::to_string(&seen).ok()?;
            Some((tablet.alias().to_string(), json))
        });
        // Each opens a connection or two, and reads definitions.
        let seen: Vec<_> = stream::iter(looks.collect::<Vec<_>>())
            .buffer_unordered(INSPECTED_AT_ONCE)
            .collect()
            .await;
        Ok(Response::new(InspectResponse {
            tablets: seen.into_iter().flatten().collect(),
        }))
    }

    async fn mend_server(
        &self,
        request: Request<MendServerRequest>,
    ) -> Result<Response<MendServerResponse>, Status> {
        self.authorize(&request)?;
        let request = request.into_inner();
        let tablet = self.tablet(&request.alias)?;
        let seen = request.deviations.iter().map(|json| {
            serde_json::from_str(json)
                .map_err(|e| Status::invalid_argument(format!("a deviation is not one: {e}")))
        });
        let seen = seen.collect::<Result<Vec<_>, _>>()?;
        // A task of its own, so that a caller that goes away does not cut accounts in half.
        let work = tokio::spawn(async move { tablet.mend(&seen).await });
        work.await
            .map_err(|e| Status::internal(e.to_string()))?
            .map_err(failed)?;
        Ok(Response::new(MendServerResponse {}))
    }

    async fn canonicalize(
        &self,
        request: Request<CanonicalizeRequest>,
    ) -> Result<Response<CanonicalizeResponse>, Status> {
        self.authorize(&request)?;
        let request = request.into_inner();
        let tablet = self.tablet(&request.alias)?;
        // A task of its own, so that a caller that goes away leaves no scratch database behind.
        let work = tokio::spawn(async move { tablet.canonicalize(&request.statements).await });
        let shown = work
            .await
            .map_err(|e| Status::internal(e.to_string()))?
            .map_err(failed)?;
        let tables = shown.into_iter().map(|shown| match shown {
            Ok(definition) => CanonicalTable {
                definition,
                error: String::new(),
            },
            Err(error) => CanonicalTable {
                definition: String::new(),
                error,
            },
        });
        Ok(Response::new(CanonicalizeResponse {
            tables: tables.collect(),
        }))
    }

    async fn execute_sql(
        &self,
        request: Request<ExecuteSqlRequest>,
    ) -> Result<Response<ExecuteSqlResponse>, Status> {
        self.authorize(&request)?;
        let r = request.into_inner();
        let affected_rows = self
            .tablet(&r.alias)?
            .execute(r.term, r.statements, r.foreign_key_checks)
            .await
            .map_err(failed)?;
        Ok(Response::new(ExecuteSqlResponse { affected_rows }))
    }

    async fn query_sql(
        &self,
        request: Request<QuerySqlRequest>,
    ) -> Result<Response<QuerySqlResponse>, Status> {
        self.authorize(&request)?;
        let r = request.into_inner();
        let rows = self.tablet(&r.alias)?.query(r.term, &r.query).await;
        let rows = rows.map_err(failed)?.into_iter().map(|row| QueryRow {
            values: (row.into_iter())
                .filter_map(|(name, value)| Some((name, value?)))
                .collect(),
        });
        Ok(Response::new(QuerySqlResponse {
            rows: rows.collect(),
        }))
    }

    async fn set_read_only(
        &self,
        request: Request<SetReadOnlyRequest>,
    ) -> Result<Response<SetReadOnlyResponse>, Status> {
        self.authorize(&request)?;
        let r = request.into_inner();
        let hold = Duration::from_millis(r.hold_ms);
        let position = self
            .tablet(&r.alias)?
            .set_read_only(r.term, r.read_only, hold)
            .await
            .map_err(failed)?;
        Ok(Response::new(SetReadOnlyResponse { position }))
    }

    async fn prepare_fence(
        &self,
        request: Request<PrepareFenceRequest>,
    ) -> Result<Response<PrepareFenceResponse>, Status> {
        self.authorize(&request)?;
        let r = request.into_inner();
        let patience = fence::patience(r.timeout_ms, fence::PREPARE_PATIENCE);
        let fence = Fence {
            keyspace: r.keyspace,
            workflow: r.workflow,
            decided: r.decided,
        };
        let patience = (!r.look).then_some(patience);
        let done = self
            .tablet(&r.alias)?
            .prepare_fence(r.term, fence, r.tables, r.writes_at, r.closed, patience)
            .await
            .map_err(failed)?;
        Ok(Response::new(PrepareFenceResponse { done }))
    }

    async fn set_fence(
        &self,
        request: Request<SetFenceRequest>,
    ) -> Result<Response<SetFenceResponse>, Status> {
        self.authorize(&request)?;
        let r = request.into_inner();
        let patience = fence::patience(r.timeout_ms, fence::SET_PATIENCE);
        let tablet = self.tablet(&r.alias)?;
        let position = if r.workflow.is_empty() {
            tablet.set_shard_fence(r.term, r.closed, patience).await
        } else {
            let fence = Fence {
                keyspace: r.keyspace,
                workflow: r.workflow,
                decided: r.decided,
            };
            tablet.set_fence(r.term, fence, r.closed, patience).await
        };
        let position = position.map_err(failed)?;
        Ok(Response::new(SetFenceResponse { position }))
    }

    async fn remove_fence(
        &self,
        request: Request<RemoveFenceRequest>,
    ) -> Result<Response<RemoveFenceResponse>, Status> {
        self.authorize(&request)?;
        let r = request.into_inner();
        let patience = fence::patience(r.timeout_ms, fence::PREPARE_PATIENCE);
        let fence = Fence {
            keyspace: r.keyspace,
            workflow: r.workflow,
            decided: r.decided,
        };
        let done = self
            .tablet(&r.alias)?
            .remove_fence(r.term, fence, (!r.look).then_some(patience))
            .await
            .map_err(failed)?;
        Ok(Response::new(RemoveFenceResponse { done }))
    }

    async fn wait_for_position(
        &self,
        request: Request<WaitForPositionRequest>,
    ) -> Result<Response<WaitForPositionResponse>, Status> {
        self.authorize(&request)?;
        let r = request.into_inner();
        let (reached, position) = self
            .tablet(&r.alias)?
            .wait_for_position(&r.position, Duration::from_millis(r.timeout_ms))
            .await
            .map_err(failed)?;
        Ok(Response::new(WaitForPositionResponse { reached, position }))
    }

    async fn observe_streams(
        &self,
        request: Request<ObserveStreamsRequest>,
    ) -> Result<Response<ObserveStreamsResponse>, Status> {
        self.authorize(&request)?;
        let r = request.into_inner();
        let mut streams = self.streams.statuses();
        streams.retain(|s| {
            r.workflow.is_empty() || (s.keyspace == r.keyspace && s.workflow == r.workflow)
        });
        Ok(Response::new(ObserveStreamsResponse { streams }))
    }

    async fn wait_for_stream(
        &self,
        request: Request<WaitForStreamRequest>,
    ) -> Result<Response<WaitForStreamResponse>, Status> {
        self.authorize(&request)?;
        let r = request.into_inner();
        let tablet = self.tablet(&r.alias)?;
        let answer = wait_for_stream(&tablet, &r).await.map_err(failed)?;
        Ok(Response::new(answer))
    }

    async fn resume_streams(
        &self,
        request: Request<ResumeStreamsRequest>,
    ) -> Result<Response<ResumeStreamsResponse>, Status> {
        self.authorize(&request)?;
        let r = request.into_inner();
        let resumed = self.streams.resume(&r.keyspace, &r.workflow);
        Ok(Response::new(ResumeStreamsResponse { resumed }))
    }

    type StreamHealthStream = Pin<Box<dyn Stream<Item = Result<HealthUpdate, Status>> + Send>>;

    async fn stream_health(
        &self,
        _: Request<StreamHealthRequest>,
    ) -> Result<Response<Self::StreamHealthStream>, Status> {
        let (tablets, changes) = (self.tablets.clone(), self.health_changes.clone());
        let updates = stream::unfold((true, changes), move |(first, mut changes)| {
            let tablets = tablets.clone();
            async move {
                if !first {
                    select! {
                        // An error: the agent ends, and so does the stream.
                        changed = changes.changed() => changed.ok()?,
                        () = sleep(HEALTH_PERIOD) => {}
                    }
                }
                changes.mark_unchanged();
                let update = HealthUpdate {
                    tablets: tablets.all().iter().map(|t| t.health()).collect(),
                };
                Some((Ok(update), (false, changes)))
            }
        });
        Ok(Response::new(updates.boxed()))
    }
}
