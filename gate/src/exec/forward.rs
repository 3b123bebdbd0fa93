//! The hot path: a command goes to one server, the answer's bytes go to the client as they come.

use bytes::Buf as _;
use tokio::io::AsyncWriteExt as _;

use crate::backend::{BackendError, Conn};
use crate::protocol::Stream;
use crate::protocol::framing::read_more;
use crate::protocol::scan::{Answer, ScanError, Scanner};

/// What broke, and on which side.
#[derive(Debug)]
pub enum ForwardError {
    /// The server's side. `passed`: bytes of the answer have gone to the client already.
    Backend {
        why: String,
        passed: bool,
    },
    /// The server asked for a local file.
    LocalInfile,
    Client(std::io::Error),
}

/// Reads one answer from `conn` and writes it to `client`. Returns what the answer said and the
/// sequence number that the next packet to the client has.
pub async fn forward_answer(
    conn: &mut Conn,
    client: &mut Stream,
    mut scanner: Scanner,
) -> Result<(Answer, u8), ForwardError> {
    let mut passed = false;
    loop {
        if !conn.inbuf.is_empty() {
            let used = match scanner.feed(&mut conn.inbuf) {
                Ok(used) => used,
                Err(ScanError::LocalInfile) => return Err(ForwardError::LocalInfile),
                Err(error) => return Err(backend(error, passed)),
            };
            if used > 0 {
                let written = client.write_all(&conn.inbuf[..used]).await;
                written.map_err(ForwardError::Client)?;
                passed = true;
                if used == conn.inbuf.len() {
                    conn.inbuf.clear();
                } else {
                    conn.inbuf.advance(used);
                }
            }
            if scanner.is_done() {
                break;
            }
        }
        if let Err(error) = read_more(&mut conn.stream, &mut conn.inbuf).await {
            return Err(backend(error, passed));
        }
    }
    if client.is_tls() {
        client.flush().await.map_err(ForwardError::Client)?;
    }
    let next = scanner.next_sequence();
    let answer = scanner.into_answer();
    if answer.error.is_none() {
        conn.status = answer.ok.status;
    }
    Ok((answer, next))
}

fn backend(why: impl std::fmt::Display, passed: bool) -> ForwardError {
    ForwardError::Backend {
        why: why.to_string(),
        passed,
    }
}

impl From<BackendError> for ForwardError {
    fn from(error: BackendError) -> Self {
        backend(error, false)
    }
}
