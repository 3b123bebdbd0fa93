//! The hot path: a command goes to one server, the answer's bytes go to the client as they come.

use bytes::{Buf as _, BytesMut};
use tokio::io::AsyncWriteExt as _;

use crate::backend::{BackendError, Conn};
use crate::protocol::framing::{HEADER, payload_length, read_more};
use crate::protocol::messages::parse_error;
use crate::protocol::scan::{Answer, ScanError, Scanner};
use crate::protocol::{SqlError, Stream};
use crate::session::gone;

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

/// What became of an answer.
#[derive(Debug)]
pub enum Forwarded {
    /// The client has it. What it said, and the sequence number that the next packet to the client
    /// has.
    Passed(Answer, u8),
    /// It is an error, which the client has not been told.
    Refused(SqlError),
}

/// Reads one answer from `conn` and writes it to `client`. While the server works, what the client
/// sends ahead is read into `ahead`, so that it is seen when the client goes.
pub async fn forward_answer(
    conn: &mut Conn,
    client: &mut Stream,
    ahead: &mut BytesMut,
    mut scanner: Scanner,
) -> Result<Forwarded, ForwardError> {
    let mut passed = false;
    loop {
        if !passed && let Some(refused) = take_refusal(&mut conn.inbuf) {
            match refused {
                Some(error) => return Ok(Forwarded::Refused(error)),
                // Not all of it is there.
                None => {
                    read(conn, client, ahead, passed).await?;
                    continue;
                }
            }
        }
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
        read(conn, client, ahead, passed).await?;
    }
    if client.is_tls() {
        client.flush().await.map_err(ForwardError::Client)?;
    }
    let next = scanner.next_sequence();
    let answer = scanner.into_answer();
    if answer.error.is_none() {
        conn.status = answer.ok.status;
    }
    Ok(Forwarded::Passed(answer, next))
}

/// Takes an error off the front of an answer. The outer `None`: it begins with something else; the
/// inner: there is too little to tell.
fn take_refusal(inbuf: &mut BytesMut) -> Option<Option<SqlError>> {
    if inbuf.is_empty() {
        return None;
    }
    match inbuf.get(HEADER) {
        None => Some(None),
        Some(0xff) => {
            let end = HEADER + payload_length(inbuf);
            if inbuf.len() < end {
                return Some(None);
            }
            let error = parse_error(&inbuf[HEADER..end]);
            inbuf.advance(end);
            Some(Some(error))
        }
        Some(_) => None,
    }
}

async fn read(
    conn: &mut Conn,
    client: &mut Stream,
    ahead: &mut BytesMut,
    passed: bool,
) -> Result<(), ForwardError> {
    tokio::select! {
        biased;
        read = read_more(&mut conn.stream, &mut conn.inbuf) => {
            read.map(drop).map_err(|error| backend(error, passed))
        }
        error = gone(client, ahead) => Err(ForwardError::Client(error)),
    }
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
