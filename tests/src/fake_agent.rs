//! Agents without servers: the gRPC service on a port, with answers that were made before. Healthy ones
//! stand for many hosts; the others do what a host that is ill may do.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::net::{Ipv4Addr, SocketAddr};
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use futures::Stream;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;
use tonic::transport::Server;
use tonic::{Request, Response, Status};
use vtplan_agent::proto::v1;
use vtplan_agent::proto::v1::agent_server::{Agent, AgentServer};
use vtplan_agent::service::TOKEN_HEADER;
use vtplan_planner::live::{Live, ObservedTablet, ServerState};
use vtplan_planner::seen::{Seen, SeenTable, fingerprint};
use vtplan_state::model::{HostName, TabletAlias};

/// How an agent behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Manner {
    Healthy,
    /// Every answer comes so much later.
    Slow(Duration),
    /// It accepts connections and says nothing.
    Mute,
    /// It accepts connections and closes them at once.
    Closes,
    /// It closes its side of connections, and goes on reading.
    HalfCloses,
    /// It speaks another protocol than gRPC.
    Stranger,
    /// Its answers are of the right messages, and what is in them is not JSON.
    Garbage,
    /// Names of tablets that are none.
    WrongNames,
}

/// What an agent answers.
#[derive(Debug, Clone, Default)]
pub struct Answers {
    /// By alias: JSON.
    observed: HashMap<String, String>,
    seen: HashMap<String, String>,
    /// The agent's copy of the records, a document of [`vtplan_state::export::Export`].
    pub records: Option<String>,
}

impl Answers {
    pub fn add(&mut self, alias: &TabletAlias, observed: &ObservedTablet, seen: &Seen) {
        let json = "our own types serialize";
        let observed = serde_json::to_string(observed).expect(json);
        let seen = serde_json::to_string(seen).expect(json);
        self.observed.insert(alias.to_string(), observed);
        self.seen.insert(alias.to_string(), seen);
    }

    /// What is told of one of the tablets.
    ///
    /// # Panics
    /// When there is none.
    pub fn any(&self) -> (String, ObservedTablet, Seen) {
        let (alias, observed) = self.observed.iter().next().expect("a tablet");
        let read = "it was written by `add`";
        let observed = serde_json::from_str(observed).expect(read);
        let seen = serde_json::from_str(&self.seen[alias]).expect(read);
        (alias.clone(), observed, seen)
    }

    /// All servers as ones that do not run.
    pub fn put_down(&mut self) {
        let down = ObservedTablet {
            server: ServerState::Down {
                message: "it does not run".to_owned(),
            },
            tables: None,
            deviations: Vec::new(),
        };
        let json = serde_json::to_string(&down).expect("our own types serialize");
        for observed in self.observed.values_mut() {
            observed.clone_from(&json);
        }
    }

    /// Answers of another agent, as if they were this one's too.
    pub fn extend(&mut self, other: &Self) {
        let observed = other.observed.iter().map(|(k, v)| (k.clone(), v.clone()));
        self.observed.extend(observed);
        let seen = other.seen.iter().map(|(k, v)| (k.clone(), v.clone()));
        self.seen.extend(seen);
    }

    /// The answers of all hosts of a live state, as healthy agents would give them: replicas have their
    /// primaries' tables.
    pub fn of(live: &Live) -> BTreeMap<HostName, Self> {
        let mut of_shards = HashMap::new();
        for shard in live.records.shards.values() {
            let primary = shard.primary.as_ref();
            let observed = primary.and_then(|p| live.observed.tablets.get(p));
            let mut seen = Seen::default();
            for (name, table) in observed
                .and_then(|o| o.tables.as_ref())
                .into_iter()
                .flatten()
            {
                let table = SeenTable {
                    fingerprint: fingerprint(&table.definition),
                    changed_at: Some(1_700_000_000),
                };
                seen.tables.insert(name.clone(), table);
            }
            of_shards.insert((&shard.keyspace, &shard.shard), seen);
        }
        let mut answers: BTreeMap<HostName, Self> = BTreeMap::new();
        for tablet in live.records.tablets.values() {
            let of_host = answers.entry(tablet.host.clone()).or_default();
            let Some(observed) = live.observed.tablets.get(&tablet.alias) else {
                continue;
            };
            let mut observed = observed.clone();
            if let ServerState::Running(server) = &mut observed.server {
                server.position = "0-100-123456".to_owned();
            }
            if let Some(seen) = of_shards.get(&(&tablet.keyspace, &tablet.shard)) {
                of_host.add(&tablet.alias, &observed, seen);
            }
        }
        answers
    }
}

/// An agent that runs until this is dropped.
#[derive(Debug)]
pub struct FakeAgent {
    address: SocketAddr,
    task: JoinHandle<()>,
}

impl Drop for FakeAgent {
    fn drop(&mut self) {
        self.task.abort();
    }
}

impl FakeAgent {
    /// Starts one on a free port. It refuses callers that do not show `token`.
    ///
    /// # Errors
    /// When there is no port.
    pub async fn start(manner: Manner, answers: Answers, token: &str) -> io::Result<Self> {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await?;
        let address = listener.local_addr()?;
        let task = match manner {
            Manner::Mute => tokio::spawn(each(listener, |mut to| async move {
                let mut read = [0; 4096];
                while to.read(&mut read).await.is_ok_and(|n| n > 0) {}
            })),
            Manner::Closes => tokio::spawn(each(listener, |to| async move { drop(to) })),
            Manner::HalfCloses => tokio::spawn(each(listener, |mut to| async move {
                // Whether the other side is still there or not.
                let _ = to.shutdown().await;
                let mut read = [0; 4096];
                while to.read(&mut read).await.is_ok_and(|n| n > 0) {}
            })),
            Manner::Stranger => tokio::spawn(each(listener, |mut to| async move {
                // Whether the other side takes it or not.
                let _ = to
                    .write_all(b"HTTP/1.1 400 Bad Request\r\n\r\nhello\r\n")
                    .await;
            })),
            _ => {
                let service = Service {
                    manner,
                    answers: Arc::new(answers),
                    token: token.to_owned(),
                };
                let service = AgentServer::new(service).max_encoding_message_size(256 << 20);
                let served = Server::builder().add_service(service);
                let served = served.serve_with_incoming(TcpListenerStream::new(listener));
                tokio::spawn(async move { drop(served.await) })
            }
        };
        Ok(Self { address, task })
    }

    /// As in the host's record.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }
}

/// Does something with each connection.
async fn each<F>(listener: TcpListener, mut with: impl FnMut(tokio::net::TcpStream) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    while let Ok((connection, _)) = listener.accept().await {
        tokio::spawn(with(connection));
    }
}

struct Service {
    manner: Manner,
    answers: Arc<Answers>,
    token: String,
}

impl Service {
    async fn answer<T>(
        &self,
        request: &Request<T>,
        of: &HashMap<String, String>,
    ) -> Result<HashMap<String, String>, Status> {
        let shown = request.metadata().get(TOKEN_HEADER);
        if shown.is_none_or(|shown| shown.as_bytes() != self.token.as_bytes()) {
            return Err(Status::unauthenticated("the token is another one"));
        }
        self.wait().await;
        Ok(match self.manner {
            Manner::Garbage => of
                .iter()
                .map(|(alias, json)| (alias.clone(), json[..json.len() / 2].to_owned()))
                .collect(),
            Manner::WrongNames => of
                .iter()
                .map(|(alias, json)| (format!("../{alias}"), json.clone()))
                .collect(),
            _ => of.clone(),
        })
    }

    async fn wait(&self) {
        if let Manner::Slow(by) = self.manner {
            tokio::time::sleep(by).await;
        }
    }
}

fn not_here<T>() -> Result<Response<T>, Status> {
    Err(Status::unimplemented("this agent has no servers"))
}

#[tonic::async_trait]
impl Agent for Service {
    async fn describe(
        &self,
        _: Request<v1::DescribeRequest>,
    ) -> Result<Response<v1::DescribeResponse>, Status> {
        self.wait().await;
        Ok(Response::new(v1::DescribeResponse::default()))
    }

    async fn observe(
        &self,
        request: Request<v1::ObserveRequest>,
    ) -> Result<Response<v1::ObserveResponse>, Status> {
        let tablets = self.answer(&request, &self.answers.observed).await?;
        Ok(Response::new(v1::ObserveResponse {
            tablets,
            // It has nothing to tell of its disk.
            host: String::new(),
        }))
    }

    async fn inspect(
        &self,
        request: Request<v1::InspectRequest>,
    ) -> Result<Response<v1::InspectResponse>, Status> {
        let tablets = self.answer(&request, &self.answers.seen).await?;
        Ok(Response::new(v1::InspectResponse { tablets }))
    }

    /// Servers print every statement as it is.
    async fn canonicalize(
        &self,
        request: Request<v1::CanonicalizeRequest>,
    ) -> Result<Response<v1::CanonicalizeResponse>, Status> {
        self.wait().await;
        let statements = request.into_inner().statements.into_iter();
        let tables = statements.map(|definition| v1::CanonicalTable {
            definition,
            error: String::new(),
        });
        let tables = tables.collect();
        Ok(Response::new(v1::CanonicalizeResponse { tables }))
    }

    async fn records(
        &self,
        _: Request<v1::RecordsRequest>,
    ) -> Result<Response<v1::RecordsResponse>, Status> {
        self.wait().await;
        match self.answers.records.clone() {
            Some(document) => Ok(Response::new(v1::RecordsResponse { document })),
            None => Err(Status::not_found("this agent has no copy of the records")),
        }
    }

    async fn mend_server(
        &self,
        _: Request<v1::MendServerRequest>,
    ) -> Result<Response<v1::MendServerResponse>, Status> {
        not_here()
    }

    async fn execute_sql(
        &self,
        _: Request<v1::ExecuteSqlRequest>,
    ) -> Result<Response<v1::ExecuteSqlResponse>, Status> {
        not_here()
    }

    async fn query_sql(
        &self,
        _: Request<v1::QuerySqlRequest>,
    ) -> Result<Response<v1::QuerySqlResponse>, Status> {
        not_here()
    }

    async fn set_read_only(
        &self,
        _: Request<v1::SetReadOnlyRequest>,
    ) -> Result<Response<v1::SetReadOnlyResponse>, Status> {
        not_here()
    }

    async fn prepare_fence(
        &self,
        _: Request<v1::PrepareFenceRequest>,
    ) -> Result<Response<v1::PrepareFenceResponse>, Status> {
        not_here()
    }

    async fn set_fence(
        &self,
        _: Request<v1::SetFenceRequest>,
    ) -> Result<Response<v1::SetFenceResponse>, Status> {
        not_here()
    }

    async fn remove_fence(
        &self,
        _: Request<v1::RemoveFenceRequest>,
    ) -> Result<Response<v1::RemoveFenceResponse>, Status> {
        not_here()
    }

    async fn wait_for_position(
        &self,
        _: Request<v1::WaitForPositionRequest>,
    ) -> Result<Response<v1::WaitForPositionResponse>, Status> {
        not_here()
    }

    type StreamHealthStream =
        Pin<Box<dyn Stream<Item = Result<v1::HealthUpdate, Status>> + Send + 'static>>;

    async fn stream_health(
        &self,
        _: Request<v1::StreamHealthRequest>,
    ) -> Result<Response<Self::StreamHealthStream>, Status> {
        not_here()
    }

    async fn observe_streams(
        &self,
        _: Request<v1::ObserveStreamsRequest>,
    ) -> Result<Response<v1::ObserveStreamsResponse>, Status> {
        Ok(Response::new(v1::ObserveStreamsResponse::default()))
    }

    async fn wait_for_stream(
        &self,
        _: Request<v1::WaitForStreamRequest>,
    ) -> Result<Response<v1::WaitForStreamResponse>, Status> {
        not_here()
    }

    async fn resume_streams(
        &self,
        _: Request<v1::ResumeStreamsRequest>,
    ) -> Result<Response<v1::ResumeStreamsResponse>, Status> {
        not_here()
    }
}
