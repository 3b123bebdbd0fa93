//! Answers that the gate makes by itself.

use std::io;

use tokio::io::AsyncWriteExt as _;

use super::Session;
use crate::protocol::SqlError;
use crate::protocol::constants::{caps, status};
use crate::protocol::framing::CHUNK;
use crate::protocol::messages::{OkPacket, put_ok};

impl Session {
    /// Sends what is in the output buffer.
    pub(crate) async fn flush(&mut self) -> io::Result<()> {
        self.stream.write_all(&self.out).await?;
        self.out.clear();
        if self.out.capacity() > 4 * CHUNK {
            self.out = Vec::new();
        }
        if self.stream.is_tls() {
            self.stream.flush().await?;
        }
        Ok(())
    }

    /// Whether the client has a capability.
    pub(crate) fn has(&self, capability: u32) -> bool {
        self.capabilities & capability != 0
    }

    /// Status flags for an answer that the gate makes. `more`: another answer follows.
    pub(crate) fn status(&self, more: bool) -> u16 {
        self.status_with(false, more)
    }

    pub(crate) fn status_with(&self, in_transaction: bool, more: bool) -> u16 {
        let mut flags = 0;
        if self.autocommit {
            flags |= status::AUTOCOMMIT;
        }
        if in_transaction || self.in_transaction() {
            flags |= status::IN_TRANS;
        }
        if more {
            flags |= status::MORE_RESULTS_EXISTS;
        }
        if self
            .transaction
            .as_ref()
            .is_some_and(|t| t.read_only == Some(true))
        {
            flags |= status::IN_TRANS_READONLY;
        }
        flags
    }

    /// Answers OK.
    pub(crate) async fn put_ok(&mut self, more: bool) -> io::Result<()> {
        let ok = OkPacket {
            status: self.status(more),
            ..OkPacket::default()
        };
        self.out.clear();
        put_ok(&mut self.out, &mut self.sequence, &ok);
        self.flush().await
    }

    /// Answers with an error.
    pub(crate) async fn put_sql_error(&mut self, error: &SqlError) -> io::Result<()> {
        self.out.clear();
        crate::protocol::messages::put_error(&mut self.out, &mut self.sequence, error);
        self.flush().await
    }

    /// Whether the client's EOF form is the new one.
    pub(crate) fn deprecate_eof(&self) -> bool {
        self.has(caps::DEPRECATE_EOF)
    }
}
