//! The client's side of the handshake.
//!
//! Source: "Connection Phase" of MySQL's source documentation.

use mysql_common::scramble::{scramble_native, scramble_sha256};

use super::codec::Reader;
use super::{Connection, Stream, WireError, parse_error};

const LONG_PASSWORD: u32 = 1;
const FOUND_ROWS: u32 = 1 << 1;
const LONG_FLAG: u32 = 1 << 2;
const CONNECT_WITH_DB: u32 = 1 << 3;
/// Whoever says so sends a file's content when the server asks, see [`Connection::load`].
const LOCAL_FILES: u32 = 1 << 7;
const PROTOCOL_41: u32 = 1 << 9;
const TRANSACTIONS: u32 = 1 << 13;
const SECURE_CONNECTION: u32 = 1 << 15;
const MULTI_STATEMENTS: u32 = 1 << 16;
const MULTI_RESULTS: u32 = 1 << 17;
const PLUGIN_AUTH: u32 = 1 << 19;

const NATIVE: &[u8] = b"mysql_native_password";
const SHA2: &[u8] = b"caching_sha2_password";
/// The collation `binary`, which both flavors have.
const BINARY: u8 = 63;
/// The salt of a password.
const NONCE_LEN: usize = 20;

impl Connection {
    pub(super) async fn log_in(
        &mut self,
        user: &str,
        password: &str,
        database: Option<&str>,
    ) -> Result<(), WireError> {
        let message = self.message().await?;
        let greeting = self.payload(message);
        if greeting.first() == Some(&0xff) {
            return Err(parse_error(greeting));
        }
        let (thread_id, mut nonce, plugin) = parse_greeting(greeting)?;
        // What cannot be proven by the server's default plugin it asks for with a switch.
        let plugin = if plugin == NATIVE { NATIVE } else { SHA2 };
        self.thread_id = thread_id;
        let first = proof(plugin, password, &nonce)?;
        let mut capabilities = LONG_PASSWORD
            | FOUND_ROWS
            | LONG_FLAG
            | LOCAL_FILES
            | PROTOCOL_41
            | TRANSACTIONS
            | SECURE_CONNECTION
            | MULTI_STATEMENTS
            | MULTI_RESULTS
            | PLUGIN_AUTH;
        if database.is_some() {
            capabilities |= CONNECT_WITH_DB;
        }
        let mut answer = Vec::new();
        answer.extend_from_slice(&capabilities.to_le_bytes());
        answer.extend_from_slice(&(1u32 << 30).to_le_bytes());
        answer.push(BINARY);
        answer.extend_from_slice(&[0; 23]);
        answer.extend_from_slice(user.as_bytes());
        answer.push(0);
        // Proofs have 0, 20 or 32 bytes.
        answer.push(first.len() as u8);
        answer.extend_from_slice(&first);
        if let Some(database) = database {
            answer.extend_from_slice(database.as_bytes());
            answer.push(0);
        }
        answer.extend_from_slice(plugin);
        answer.push(0);
        self.sequence = 1;
        self.answer(&answer).await?;

        let mut asked_key = false;
        loop {
            let message = self.message().await?;
            let payload = self.payload(message);
            let answer = match payload {
                [0, ..] => return Ok(()),
                [0xff, ..] => return Err(parse_error(payload)),
                [0xfe, rest @ ..] => {
                    let mut reader = Reader::new(rest);
                    let plugin = reader.nul_bytes()?.to_vec();
                    let salt = reader.rest();
                    nonce = salt.strip_suffix(&[0]).unwrap_or(salt).to_vec();
                    proof(&plugin, password, &nonce)?
                }
                // caching_sha2_password: the server knows the password already.
                [1, 3] => {
                    self.sequence = self.sequence.wrapping_add(1);
                    continue;
                }
                // It does not: it must see it, over something private.
                [1, 4] if matches!(self.stream, Stream::Unix(_)) => {
                    let mut answer = password.as_bytes().to_vec();
                    answer.push(0);
                    answer
                }
                [1, 4] => {
                    asked_key = true;
                    vec![2]
                }
                [1, pem @ ..] if asked_key => encrypted(password, &nonce, pem)?,
                _ => {
                    return Err(WireError::Lost(
                        "it asks for something unknown during the handshake".to_owned(),
                    ));
                }
            };
            self.sequence = self.sequence.wrapping_add(1);
            self.answer(&answer).await?;
        }
    }

    async fn answer(&mut self, payload: &[u8]) -> Result<(), WireError> {
        let mut out = Vec::with_capacity(payload.len() + 4);
        self.put_header(payload.len(), &mut out);
        out.extend_from_slice(payload);
        Ok(self.stream.write_all(&out).await?)
    }
}

/// The connection's number, the nonce, the plugin.
fn parse_greeting(payload: &[u8]) -> Result<(u32, Vec<u8>, &[u8]), WireError> {
    let mut reader = Reader::new(payload);
    if reader.u8()? != 10 {
        return Err(WireError::Lost(
            "it does not speak the MySQL protocol".to_owned(),
        ));
    }
    reader.nul_bytes()?;
    let thread_id = reader.u32()?;
    let mut nonce = reader.bytes(8)?.to_vec();
    // A filler, capabilities, collation, status, capabilities.
    reader.bytes(1 + 2 + 1 + 2 + 2)?;
    let length = usize::from(reader.u8()?);
    reader.bytes(10)?;
    let rest = reader.bytes(length.saturating_sub(8).max(13))?;
    nonce.extend_from_slice(rest.strip_suffix(&[0]).unwrap_or(rest));
    nonce.truncate(NONCE_LEN);
    Ok((thread_id, nonce, reader.nul_bytes().unwrap_or(NATIVE)))
}

fn proof(plugin: &[u8], password: &str, nonce: &[u8]) -> Result<Vec<u8>, WireError> {
    if password.is_empty() {
        return Ok(Vec::new());
    }
    let proof = match plugin {
        NATIVE => scramble_native(nonce, password.as_bytes()).map(|p| p.to_vec()),
        SHA2 => scramble_sha256(nonce, password.as_bytes()).map(|p| p.to_vec()),
        other => {
            return Err(WireError::Lost(format!(
                "it wants authentication by `{}`, which is not known",
                String::from_utf8_lossy(other)
            )));
        }
    };
    Ok(proof.unwrap_or_default())
}

/// The password for a server that sees it over the network, with its public key.
fn encrypted(password: &str, nonce: &[u8], pem: &[u8]) -> Result<Vec<u8>, WireError> {
    let text = String::from_utf8_lossy(pem);
    let is_key =
        text.contains("-----BEGIN PUBLIC KEY-----") && text.contains("-----END PUBLIC KEY-----");
    if !is_key || nonce.is_empty() {
        return Err(WireError::Lost("its public key is not one".to_owned()));
    }
    let mut masked = password.as_bytes().to_vec();
    masked.push(0);
    for (i, byte) in masked.iter_mut().enumerate() {
        *byte ^= nonce[i % nonce.len()];
    }
    Ok(mysql_common::crypto::encrypt(&masked, pem))
}
