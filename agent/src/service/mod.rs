//! The agent's gRPC service.

use std::pin::Pin;
use std::time::Duration;

use futures::{Stream, StreamExt as _};
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio_stream::wrappers::{IntervalStream, TcpListenerStream};
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use tracing::error;
use vtplan_state::model::HostRecord;

use crate::proto::v1::agent_server::{Agent, AgentServer};
use crate::proto::v1::{
    CanonicalizeRequest, CanonicalizeResponse, DescribeRequest, DescribeResponse,
    ExecuteSqlRequest, ExecuteSqlResponse, HealthUpdate, ObserveRequest, ObserveResponse,
    SetReadOnlyRequest, SetReadOnlyResponse, StreamHealthRequest, WaitForPositionRequest,
    WaitForPositionResponse,
};

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
    let served = Server::builder()
        .add_service(AgentServer::new(service))
        .serve_with_incoming_shutdown(TcpListenerStream::new(listener), stopped)
        .await;
    if let Err(why) = served {
        error!(error = %why, "the gRPC service has ended");
    }
}

/// The service's state.
pub struct AgentService {
    cluster: String,
    host: HostRecord,
}

impl AgentService {
    pub fn new(cluster: String, host: HostRecord) -> Self {
        Self { cluster, host }
    }

    fn unknown(&self, alias: &str) -> Status {
        Status::not_found(format!("host {} has no tablet {alias}", self.host.name))
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

    async fn observe(
        &self,
        _: Request<ObserveRequest>,
    ) -> Result<Response<ObserveResponse>, Status> {
        Ok(Response::new(ObserveResponse::default()))
    }

    async fn canonicalize(
        &self,
        request: Request<CanonicalizeRequest>,
    ) -> Result<Response<CanonicalizeResponse>, Status> {
        Err(self.unknown(&request.get_ref().alias))
    }

    async fn execute_sql(
        &self,
        request: Request<ExecuteSqlRequest>,
    ) -> Result<Response<ExecuteSqlResponse>, Status> {
        Err(self.unknown(&request.get_ref().alias))
    }

    async fn set_read_only(
        &self,
        request: Request<SetReadOnlyRequest>,
    ) -> Result<Response<SetReadOnlyResponse>, Status> {
        Err(self.unknown(&request.get_ref().alias))
    }

    async fn wait_for_position(
        &self,
        request: Request<WaitForPositionRequest>,
    ) -> Result<Response<WaitForPositionResponse>, Status> {
        Err(self.unknown(&request.get_ref().alias))
    }

    type StreamHealthStream = Pin<Box<dyn Stream<Item = Result<HealthUpdate, Status>> + Send>>;

    async fn stream_health(
        &self,
        _: Request<StreamHealthRequest>,
    ) -> Result<Response<Self::StreamHealthStream>, Status> {
        let every = tokio::time::interval(Duration::from_secs(1));
        let updates = IntervalStream::new(every).map(|_| Ok(HealthUpdate::default()));
        Ok(Response::new(updates.boxed()))
    }
}
