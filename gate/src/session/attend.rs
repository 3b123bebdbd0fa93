//! While a statement waits or runs, its client may go, and others may interrupt it.

use std::future::Future;
use std::io;
use std::time::Duration;

use bytes::BytesMut;

use super::Session;
use crate::exec::Failure;
use crate::protocol::framing::read_more;
use crate::protocol::{SqlError, Stream};

/// What a client may send ahead of an answer before the gate stops to look.
const AHEAD: usize = 64 << 10;

/// How long the end of a statement on a server may take, for a client that is gone.
const KILL: Duration = Duration::from_secs(5);

/// Waits until the client is gone. What it sends ahead is kept in `ahead`. May be cancelled.
pub(crate) async fn gone(client: &mut Stream, ahead: &mut BytesMut) -> io::Error {
    loop {
        if ahead.len() > AHEAD {
            // One that sends so much is not gone; its socket holds the rest.
            std::future::pending::<()>().await;
        }
        if let Err(error) = client.arrival().await {
            return error;
        }
        if let Err(error) = read_more(client, ahead).await {
            return io::Error::other(error.to_string());
        }
    }
}

impl Session {
    /// Waits for something on which no server works, unless the client goes or the statement is
    /// interrupted.
    pub(crate) async fn attended<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        let handle = self.handle.clone();
        tokio::select! {
            biased;
            done = work => Ok(done),
            error = gone(&mut self.stream, &mut self.inbuf) => Err(Failure::Client(error)),
            () = handle.interrupted() => {
                Err(SqlError::new(1317, b"70100", "Query execution was interrupted").into())
            }
        }
    }

    /// Waits for servers, unless the client goes. They are told when the session ends.
    pub(crate) async fn unless_gone<T>(
        &mut self,
        work: impl Future<Output = T>,
    ) -> Result<T, Failure> {
        tokio::select! {
            biased;
            done = work => Ok(done),
            error = gone(&mut self.stream, &mut self.inbuf) => Err(Failure::Client(error)),
        }
    }

    /// Ends what still runs on servers for a client that is gone: a server would notice only when
    /// it answers, and keep the statement's locks until then.
    pub(super) async fn end_abandoned(&mut self) {
        for (pool, thread) in self.handle.running.list() {
            let held = |h: &super::Held| h.pooled.conn.thread_id == thread;
            if self.held.iter().any(held) {
                continue;
            }
            let kill = format!("KILL {thread}");
            let killed = tokio::time::timeout(KILL, pool.execute_apart(&kill)).await;
            if !matches!(killed, Ok(Ok(()))) {
                // It has ended by itself, or its server is gone.
                tracing::debug!(session = self.handle.id, thread, "nothing to end");
            }
        }
    }
}
