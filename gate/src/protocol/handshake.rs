//! The connection phase on the server's side: greeting, TLS, the client's answer, authentication.

use std::io;

use tokio::io::AsyncWriteExt as _;
use tokio_rustls::TlsAcceptor;

use super::auth::{self, NONCE_LEN};
use super::codec::{Reader, Truncated};
use super::constants::{caps, status};
use super::error::SqlError;
use super::framing::{FramingError, put_with, read_exact_packet};
use super::stream::Stream;

/// No message of the connection phase is longer (connection attributes are at most 64 KiB).
pub const MAX_HANDSHAKE: usize = 256 * 1024;

/// What the gate can do for its clients. `LONG_PASSWORD` also tells MariaDB clients that there are
/// none of MariaDB's extended capabilities.
const OFFERED: u32 = caps::LONG_PASSWORD
    | caps::FOUND_ROWS
    | caps::LONG_FLAG
    | caps::CONNECT_WITH_DB
    | caps::IGNORE_SPACE
    | caps::PROTOCOL_41
    | caps::TRANSACTIONS
    | caps::SECURE_CONNECTION
    | caps::MULTI_STATEMENTS
    | caps::MULTI_RESULTS
    | caps::PS_MULTI_RESULTS
    | caps::PLUGIN_AUTH
    | caps::CONNECT_ATTRS
    | caps::PLUGIN_AUTH_LENENC_DATA
    | caps::DEPRECATE_EOF;

/// A challenge. The client goes on using the last one for `COM_CHANGE_USER`.
pub type Nonce = [u8; NONCE_LEN];

/// Double hashes of a user's password; see `vtplan_state::model::UserRecord`.
#[derive(Clone, Default)]
pub struct Verifiers {
    pub native: Vec<u8>,
    pub sha2: Vec<u8>,
}

impl std::fmt::Debug for Verifiers {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Verifiers(..)")
    }
}

/// What a client said of itself, in the handshake or in `COM_CHANGE_USER`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ClientHello {
    pub capabilities: u32,
    /// Collation id: what `SET NAMES` the connection begins with.
    pub collation: u8,
    pub user: String,
    proof: Vec<u8>,
    pub database: Option<String>,
    plugin: Option<String>,
    /// Connection attribute `program_name`.
    pub program: Option<String>,
}

/// Why a client did not get in.
#[derive(Debug, thiserror::Error)]
pub enum HandshakeError {
    #[error(transparent)]
    Framing(#[from] FramingError),
    /// The client has been told.
    #[error("{0}")]
    Refused(SqlError),
}

impl From<io::Error> for HandshakeError {
    fn from(error: io::Error) -> Self {
        Self::Framing(error.into())
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

impl ClientHello {
    /// Reads a handshake response (4.1 form).
    pub fn parse(payload: &[u8]) -> Result<Self, Truncated> {
        let mut reader = Reader::new(payload);
        let capabilities = reader.u32()?;
        let _max_packet = reader.u32()?;
        let collation = reader.u8()?;
        reader.bytes(23)?;
        let user = text(reader.nul_bytes()?);
        let proof = if capabilities & caps::PLUGIN_AUTH_LENENC_DATA != 0 {
            reader.lenenc_bytes()?.to_vec()
        } else if capabilities & caps::SECURE_CONNECTION != 0 {
            let length = reader.u8()?;
            reader.bytes(length.into())?.to_vec()
        } else {
            reader.nul_bytes()?.to_vec()
        };
        let mut hello = Self {
            capabilities: capabilities & (OFFERED | caps::SSL),
            collation,
            user,
            proof,
            ..Self::default()
        };
        if capabilities & caps::CONNECT_WITH_DB != 0 {
            hello.database = Some(text(reader.nul_bytes()?)).filter(|d| !d.is_empty());
        }
        hello.parse_tail(&mut reader)?;
        Ok(hello)
    }

    /// Reads a `COM_CHANGE_USER`, whose capabilities are those of the connection.
    pub fn parse_change_user(payload: &[u8], capabilities: u32) -> Result<Self, Truncated> {
        let mut reader = Reader::new(payload);
        reader.u8()?;
        let user = text(reader.nul_bytes()?);
        let length = reader.u8()?;
        let proof = reader.bytes(length.into())?.to_vec();
        let database = Some(text(reader.nul_bytes()?)).filter(|d| !d.is_empty());
        let collation = if reader.is_empty() {
            0
        } else {
            // Two bytes; no collation that clients begin with has an id above 255.
            reader.u16()? as u8
        };
        let mut hello = Self {
            capabilities,
            collation,
            user,
            proof,
            database,
            ..Self::default()
        };
        hello.parse_tail(&mut reader)?;
        Ok(hello)
    }

    /// Plugin and attributes.
    fn parse_tail(&mut self, reader: &mut Reader<'_>) -> Result<(), Truncated> {
        if self.capabilities & caps::PLUGIN_AUTH != 0 && !reader.is_empty() {
            self.plugin = Some(text(reader.nul_bytes()?)).filter(|p| !p.is_empty());
        }
        if self.capabilities & caps::CONNECT_ATTRS != 0 && !reader.is_empty() {
            let mut attributes = Reader::new(reader.lenenc_bytes()?);
            while !attributes.is_empty() {
                let (key, value) = (attributes.lenenc_bytes()?, attributes.lenenc_bytes()?);
                if key == b"program_name" {
                    self.program = Some(text(value));
                }
            }
        }
        Ok(())
    }
}

/// One client's way in.
pub struct Handshake<'a> {
    pub connection_id: u32,
    pub server_version: &'a str,
    pub tls: Option<&'a TlsAcceptor>,
    /// The client's address, for messages.
    pub peer: &'a str,
    /// The verifiers of a user; `None`: there is no such user.
    pub users: &'a (dyn Fn(&str) -> Option<Verifiers> + Sync),
}

impl Handshake<'_> {
    /// Greets, and returns the stream (maybe turned to TLS) and what the client said. Its user is
    /// proven; the OK packet, with sequence number `sequence`, has yet to be sent.
    pub async fn run(
        &self,
        mut stream: Stream,
        sequence: &mut u8,
    ) -> Result<(Stream, ClientHello, Nonce), HandshakeError> {
        let nonce = auth::nonce();
        let mut out = Vec::new();
        put_with(&mut out, sequence, |out| self.put_greeting(out, &nonce));
        stream.write_all(&out).await?;

        let mut payload = read_exact_packet(&mut stream, sequence, MAX_HANDSHAKE).await;
        let capabilities = payload
            .as_ref()
            .ok()
            .and_then(|p| Some(u32::from_le_bytes(*p.first_chunk()?)))
            .unwrap_or_default();
        // An SSL request is the fixed first part of the response.
        if capabilities & caps::SSL != 0 && payload.as_ref().is_ok_and(|p| p.len() == 32) {
            stream = match (stream, self.tls) {
                (Stream::Tcp(tcp), Some(tls)) => Stream::Tls(Box::new(tls.accept(tcp).await?)),
                (mut stream, _) => {
                    let error = SqlError::handshake("TLS was not offered");
                    return refuse(&mut stream, sequence, error).await;
                }
            };
            payload = read_exact_packet(&mut stream, sequence, MAX_HANDSHAKE).await;
        }
        let payload = match payload {
            Ok(payload) => payload,
            Err(FramingError::OutOfOrder) => {
                return refuse(&mut stream, sequence, SqlError::out_of_order()).await;
            }
            Err(FramingError::TooLarge(_)) => {
                let error = SqlError::handshake("the response is too long");
                return refuse(&mut stream, sequence, error).await;
            }
            Err(error) => return Err(error.into()),
        };
        let hello = match ClientHello::parse(&payload) {
            Ok(hello) if hello.capabilities & caps::PROTOCOL_41 != 0 => hello,
            Ok(_) => {
                let error = SqlError::handshake("clients before MySQL 4.1 are not supported");
                return refuse(&mut stream, sequence, error).await;
            }
            Err(error) => {
                return refuse(&mut stream, sequence, SqlError::handshake(error)).await;
            }
        };
        let nonce = self
            .authenticate(&mut stream, sequence, &hello, nonce)
            .await?;
        Ok((stream, hello, nonce))
    }

    fn put_greeting(&self, out: &mut Vec<u8>, nonce: &Nonce) {
        let offered = match self.tls {
            Some(_) => OFFERED | caps::SSL,
            None => OFFERED,
        };
        let offered = offered.to_le_bytes();
        out.push(10);
        out.extend_from_slice(self.server_version.as_bytes());
        out.push(0);
        out.extend_from_slice(&self.connection_id.to_le_bytes());
        out.extend_from_slice(&nonce[..8]);
        out.push(0);
        out.extend_from_slice(&offered[..2]);
        out.push(45);
        out.extend_from_slice(&status::AUTOCOMMIT.to_le_bytes());
        out.extend_from_slice(&offered[2..]);
        out.push(NONCE_LEN as u8 + 1);
        out.extend_from_slice(&[0; 10]);
        out.extend_from_slice(&nonce[8..]);
        out.push(0);
        out.extend_from_slice(auth::SHA2.as_bytes());
        out.push(0);
    }

    /// Proves the user, with a switch of the plugin where that is needed. On success the OK packet
    /// is due; on failure the client has been told.
    pub async fn authenticate(
        &self,
        stream: &mut Stream,
        sequence: &mut u8,
        hello: &ClientHello,
        mut nonce: Nonce,
    ) -> Result<Nonce, HandshakeError> {
        let user = (self.users)(&hello.user);
        // The same steps for users that do not exist, so that nobody learns who does.
        let known = user.is_some();
        let verifiers = user.unwrap_or_else(|| Verifiers {
            native: vec![0; 20],
            sha2: vec![0; 32],
        });
        let plugin = match hello.plugin.as_deref() {
            None if hello.capabilities & caps::PLUGIN_AUTH == 0 => Some(auth::NATIVE),
            Some(auth::NATIVE) => Some(auth::NATIVE),
            Some(auth::SHA2) => Some(auth::SHA2),
            _ => None,
        };
        let check = |plugin: &str, proof: &[u8], nonce: &[u8]| match plugin {
            auth::NATIVE => auth::check_native(proof, nonce, &verifiers.native),
            _ => auth::check_sha2(proof, nonce, &verifiers.sha2),
        };
        let mut plugin_used = plugin.unwrap_or(auth::SHA2);
        let mut proven = plugin.is_some() && check(plugin_used, &hello.proof, &nonce);
        let mut with_password = !matches!(hello.proof.as_slice(), [] | [0]);
        // A client whose own default is another plugin has sent no proof, or one for nothing.
        let may_switch = hello.capabilities & caps::PLUGIN_AUTH != 0;
        if !proven
            && may_switch
            && (plugin.is_none() || !with_password)
            && !verifiers.sha2.is_empty()
        {
            nonce = auth::nonce();
            plugin_used = plugin.unwrap_or(auth::SHA2);
            let mut out = Vec::new();
            put_with(&mut out, sequence, |out| {
                out.push(0xfe);
                out.extend_from_slice(plugin_used.as_bytes());
                out.push(0);
                out.extend_from_slice(&nonce);
                out.push(0);
            });
            stream.write_all(&out).await?;
            stream.flush().await?;
            let proof = read_exact_packet(stream, sequence, MAX_HANDSHAKE).await?;
            proven = check(plugin_used, &proof, &nonce);
            with_password = !matches!(proof.as_slice(), [] | [0]);
        }
        if !proven || !known {
            let error = SqlError::new(
                1045,
                b"28000",
                format!(
                    "Access denied for user '{}'@'{}' (using password: {})",
                    hello.user,
                    self.peer,
                    if with_password { "YES" } else { "NO" }
                ),
            );
            return refuse(stream, sequence, error).await;
        }
        if plugin_used == auth::SHA2 && with_password {
            // "Fast authentication succeeded": the OK packet follows.
            let mut out = Vec::new();
            put_with(&mut out, sequence, |out| out.extend_from_slice(&[1, 3]));
            stream.write_all(&out).await?;
        }
        Ok(nonce)
    }
}

/// Tells the client and ends.
async fn refuse<T>(
    stream: &mut Stream,
    sequence: &mut u8,
    error: SqlError,
) -> Result<T, HandshakeError> {
    let mut out = Vec::new();
    super::messages::put_error(&mut out, sequence, &error);
    // It may be gone already; that changes nothing.
    let _ = stream.write_all(&out).await;
    let _ = stream.shutdown().await;
    Err(HandshakeError::Refused(error))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn no_bytes_make_the_parsers_panic(bytes: Vec<u8>, capabilities: u32) {
            let mut response = capabilities.to_le_bytes().to_vec();
            response.extend_from_slice(&[0; 28]);
            response.extend_from_slice(&bytes);
            let _ = ClientHello::parse(&bytes);
            let _ = ClientHello::parse(&response);
            let _ = ClientHello::parse_change_user(&bytes, capabilities);
        }
    }
}
