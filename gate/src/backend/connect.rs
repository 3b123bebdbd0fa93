//! Opening a connection: socket or TCP, the client's side of the handshake, and the check that it
//! is the right server.

use std::io;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::BytesMut;
use tokio::io::AsyncWriteExt as _;
use tokio::net::{TcpStream, UnixStream};

use super::{BackendError, Conn, Settings, Variant, inbuf};
use crate::pool::current_worker;
use crate::protocol::codec::{Reader, Truncated, put_lenenc_bytes};
use crate::protocol::constants::caps;
use crate::protocol::framing::{put_with, read_message};
use crate::protocol::messages::{OkPacket, parse_error};
use crate::protocol::{SqlError, Stream, auth};

/// Where a tablet's server is.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Address {
    /// The tablet, for messages.
    pub tablet: String,
    /// Unix socket on the tablet's host; used where it exists and the right server answers.
    pub socket: Option<String>,
    pub host: String,
    pub port: u16,
    /// What the server there must say its `server_id` is; `None`: an adopted one has its own.
    pub server_id: Option<u32>,
}

/// The gate's account on the servers.
#[derive(Clone, PartialEq, Eq)]
pub struct Login {
    pub user: String,
    pub password: String,
}

/// Why there is no connection.
#[derive(Debug, thiserror::Error)]
pub enum ConnectError {
    #[error("cannot connect to tablet {tablet} at {place}: {why}")]
    Unreachable {
        tablet: String,
        place: String,
        why: String,
    },
    #[error("the server of tablet {tablet} at {place} refused the gate: {error}")]
    Refused {
        tablet: String,
        place: String,
        error: SqlError,
    },
    #[error(
        "the server at {place} is not that of tablet {tablet}: its server_id is {found}, not {expected}"
    )]
    WrongServer {
        tablet: String,
        place: String,
        found: String,
        expected: u32,
    },
}

impl ConnectError {
    /// As a client sees it.
    pub fn to_sql(&self) -> SqlError {
        match self {
            // The database, or too many connections: the server's own code says it best.
            Self::Refused { error, .. } if matches!(error.code, 1040 | 1049 | 1203) => {
                error.clone()
            }
            _ => SqlError::new(2002, b"HY000", self.to_string()),
        }
    }
}

const MAX_MESSAGE: usize = 1 << 20;

impl Address {
    /// Opens a connection, over the socket where there is one.
    pub async fn connect(
        &self,
        login: &Login,
        database: Option<&Arc<str>>,
        variant: Variant,
        timeout: Duration,
    ) -> Result<Conn, ConnectError> {
        if let Some(socket) = &self.socket
            && let Ok(Ok(stream)) = tokio::time::timeout(timeout, UnixStream::connect(socket)).await
        {
            let over_socket = self
                .open(
                    Stream::Unix(stream),
                    socket,
                    login,
                    database,
                    variant,
                    timeout,
                )
                .await;
            match over_socket {
                Ok(conn) => return Ok(conn),
                // A host elsewhere may have the same path: the network address decides.
                Err(ConnectError::WrongServer { .. } | ConnectError::Unreachable { .. }) => {}
                Err(error) => return Err(error),
            }
        }
        let place = format!("{}:{}", self.host, self.port);
        let stream = async {
            let stream = TcpStream::connect((self.host.as_str(), self.port)).await?;
            stream.set_nodelay(true)?;
            Ok::<_, io::Error>(stream)
        };
        let stream = match tokio::time::timeout(timeout, stream).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(self.unreachable(&place, error)),
            Err(_) => return Err(self.unreachable(&place, "it does not answer")),
        };
        self.open(
            Stream::Tcp(stream),
            &place,
            login,
            database,
            variant,
            timeout,
        )
        .await
    }

    fn unreachable(&self, place: &str, why: impl std::fmt::Display) -> ConnectError {
        ConnectError::Unreachable {
            tablet: self.tablet.clone(),
            place: place.to_owned(),
            why: why.to_string(),
        }
    }

    async fn open(
        &self,
        stream: Stream,
        place: &str,
        login: &Login,
        database: Option<&Arc<str>>,
        variant: Variant,
        timeout: Duration,
    ) -> Result<Conn, ConnectError> {
        let greeted = async {
            let mut conn = greet(stream, login, database, variant).await?;
            let identity = conn
                .query(
                    b"SELECT @@server_id, @@character_set_client, @@character_set_results, \
                      @@collation_connection",
                )
                .await?;
            Ok::<_, BackendError>((conn, identity))
        };
        let failed = match tokio::time::timeout(timeout, greeted).await {
            Err(_) => return Err(self.unreachable(place, "it does not answer")),
            Ok(Err(failed)) => failed,
            Ok(Ok((mut conn, identity))) => {
                let text = |i: usize| -> Option<String> {
                    let value = identity.rows.first()?.get(i)?.as_deref()?;
                    Some(String::from_utf8_lossy(value).into_owned())
                };
                let found = text(0).unwrap_or_default();
                if let Some(expected) = self.server_id
                    && found != expected.to_string()
                {
                    return Err(ConnectError::WrongServer {
                        tablet: self.tablet.clone(),
                        place: place.to_owned(),
                        found,
                        expected,
                    });
                }
                let quoted = |i| text(i).map_or("NULL".to_owned(), |t| format!("'{t}'"));
                conn.restore = format!(
                    "SET SESSION character_set_client={}, SESSION character_set_results={}, \
                     SESSION collation_connection={}",
                    quoted(1),
                    quoted(2),
                    quoted(3)
                );
                return Ok(conn);
            }
        };
        Err(match failed {
            BackendError::Lost(why) => self.unreachable(place, why),
            BackendError::Sql(error) => ConnectError::Refused {
                tablet: self.tablet.clone(),
                place: place.to_owned(),
                error,
            },
        })
    }
}

/// A server's greeting, as far as it is used.
struct Greeting {
    thread_id: u32,
    nonce: Vec<u8>,
    plugin: String,
    capabilities: u32,
}

fn parse_greeting(payload: &[u8]) -> Result<Greeting, Truncated> {
    let mut reader = Reader::new(payload);
    reader.u8()?;
    reader.nul_bytes()?;
    let thread_id = reader.u32()?;
    let mut nonce = reader.bytes(8)?.to_vec();
    reader.u8()?;
    let low = reader.u16()?;
    reader.bytes(3)?;
    let high = reader.u16()?;
    let length = usize::from(reader.u8()?);
    reader.bytes(10)?;
    let rest = reader.bytes(length.saturating_sub(8).max(13))?;
    nonce.extend_from_slice(rest.strip_suffix(&[0]).unwrap_or(rest));
    nonce.truncate(auth::NONCE_LEN);
    let plugin = reader.nul_bytes().unwrap_or(auth::NATIVE.as_bytes());
    Ok(Greeting {
        thread_id,
        nonce,
        plugin: String::from_utf8_lossy(plugin).into_owned(),
        capabilities: u32::from(low) | u32::from(high) << 16,
    })
}

fn lost(why: impl std::fmt::Display) -> BackendError {
    BackendError::Lost(why.to_string())
}

fn proof(plugin: &str, password: &[u8], nonce: &[u8]) -> Result<Vec<u8>, BackendError> {
    match plugin {
        auth::NATIVE => Ok(auth::native_proof(password, nonce)),
        auth::SHA2 => Ok(auth::sha2_proof(password, nonce)),
        other => Err(lost(format!(
            "it wants authentication by `{other}`, which the gate does not know; use \
             caching_sha2_password or mysql_native_password"
        ))),
    }
}

/// The client's side of the connection phase.
async fn greet(
    mut stream: Stream,
    login: &Login,
    database: Option<&Arc<str>>,
    variant: Variant,
) -> Result<Conn, BackendError> {
    let mut buf = inbuf();
    let mut sequence = 0;
    let message = read_message(&mut stream, &mut buf, &mut sequence, MAX_MESSAGE).await?;
    if message.payload().first() == Some(&0xff) {
        return Err(BackendError::Sql(parse_error(message.payload())));
    }
    if message.payload().first() != Some(&10) {
        return Err(lost("it does not speak the MySQL protocol"));
    }
    let greeting = parse_greeting(message.payload()).map_err(lost)?;
    let mut capabilities = caps::LONG_PASSWORD
        | caps::LONG_FLAG
        | caps::PROTOCOL_41
        | caps::TRANSACTIONS
        | caps::SECURE_CONNECTION
        | caps::MULTI_RESULTS
        | caps::PS_MULTI_RESULTS
        | caps::PLUGIN_AUTH
        | caps::CONNECT_ATTRS;
    let mut flag = |on: bool, bit: u32| capabilities |= if on { bit } else { 0 };
    flag(database.is_some(), caps::CONNECT_WITH_DB);
    flag(variant.deprecate_eof, caps::DEPRECATE_EOF);
    flag(variant.found_rows, caps::FOUND_ROWS);
    flag(variant.ignore_space, caps::IGNORE_SPACE);
    if variant.deprecate_eof && greeting.capabilities & caps::DEPRECATE_EOF == 0 {
        return Err(lost("it is too old: it lacks CLIENT_DEPRECATE_EOF"));
    }
    let password = login.password.as_bytes();
    // What cannot be proven by the server's default plugin it asks for with a switch.
    let plugin = match greeting.plugin.as_str() {
        auth::NATIVE => auth::NATIVE,
        _ => auth::SHA2,
    };
    let first = proof(plugin, password, &greeting.nonce)?;
    let mut out = Vec::new();
    put_with(&mut out, &mut sequence, |out| {
        out.extend_from_slice(&capabilities.to_le_bytes());
        out.extend_from_slice(&(1u32 << 30).to_le_bytes());
        out.push(variant.collation);
        out.extend_from_slice(&[0; 23]);
        out.extend_from_slice(login.user.as_bytes());
        out.push(0);
        out.push(first.len() as u8);
        out.extend_from_slice(&first);
        if let Some(database) = database {
            out.extend_from_slice(database.as_bytes());
            out.push(0);
        }
        out.extend_from_slice(plugin.as_bytes());
        out.push(0);
        let mut attributes = Vec::new();
        put_lenenc_bytes(&mut attributes, b"program_name");
        put_lenenc_bytes(&mut attributes, b"vtplan-gate");
        put_lenenc_bytes(out, &attributes);
    });
    stream.write_all(&out).await?;
    let login_state = LoginState {
        nonce: greeting.nonce,
        password,
    };
    let ok = login_state
        .finish(&mut stream, &mut buf, &mut sequence)
        .await?;
    Ok(Conn {
        stream,
        inbuf: buf,
        variant,
        database: database.cloned(),
        settings: Arc::new(Settings::default()),
        status: ok.status,
        thread_id: greeting.thread_id,
        last_use: Instant::now(),
        home: current_worker(),
        statements: std::collections::HashMap::new(),
        uses: 0,
        restore: String::new(),
    })
}

struct LoginState<'a> {
    nonce: Vec<u8>,
    password: &'a [u8],
}

impl LoginState<'_> {
    /// Answers whatever the server asks until it says OK or ERR.
    async fn finish(
        mut self,
        stream: &mut Stream,
        buf: &mut BytesMut,
        sequence: &mut u8,
    ) -> Result<OkPacket, BackendError> {
        let mut asked_key = false;
        loop {
            let message = read_message(stream, buf, sequence, MAX_MESSAGE).await?;
            let payload = message.payload();
            let answer = match payload {
                [0, ..] => return OkPacket::parse(payload).map_err(lost),
                [0xff, ..] => return Err(BackendError::Sql(parse_error(payload))),
                [0xfe, rest @ ..] => {
                    let mut reader = Reader::new(rest);
                    let plugin = reader.nul_bytes().unwrap_or_default();
                    let nonce = reader.rest();
                    self.nonce = nonce.strip_suffix(&[0]).unwrap_or(nonce).to_vec();
                    proof(&String::from_utf8_lossy(plugin), self.password, &self.nonce)?
                }
                // caching_sha2_password: the server knows the password already.
                [1, 3] => continue,
                // It does not: it must see it, over something private.
                [1, 4] if stream.is_private() => {
                    let mut answer = self.password.to_vec();
                    answer.push(0);
                    answer
                }
                [1, 4] => {
                    asked_key = true;
                    vec![2]
                }
                [1, pem @ ..] if asked_key => auth::rsa_password(self.password, &self.nonce, pem)
                    .ok_or_else(|| lost("its public key is not one"))?,
                _ => return Err(lost("it asks for something unknown during the handshake")),
            };
            let mut out = Vec::new();
            put_with(&mut out, sequence, |out| out.extend_from_slice(&answer));
            stream.write_all(&out).await?;
        }
    }
}
