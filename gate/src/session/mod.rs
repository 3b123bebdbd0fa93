//! What a client's connection holds: its target, settings, transaction, prepared statements and
//! the server connections that are its own for a while. One task serves one session.

mod acquire;
pub mod activity;
mod answer;
mod attend;
mod commands;
mod diagnostics;
mod gate_statement;
mod prepared;
pub mod registry;
mod statement;

use std::collections::HashMap;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;

use crate::backend::Settings;
use crate::exec::lookup::Loose;
use crate::gate::Shared;
use crate::plan::{Prepared, SessionValues, ShardId, SqlModes, Target};
use crate::pool::PooledConn;
use crate::protocol::Stream;
use crate::protocol::framing::{
    FramingError, Message, give_buffer, read_message, read_more, take_buffer,
};
use crate::protocol::handshake::Nonce;
use crate::protocol::messages::put_error;
use crate::protocol::scan::Answer;
use crate::topology::Tablet;
use vtplan_state::model::TabletType;

pub use activity::Activity;
pub(crate) use attend::gone;
pub use diagnostics::Diagnostics;
pub use registry::SessionHandle;

/// A transaction that the client has begun.
#[derive(Debug, Default)]
pub struct Transaction {
    /// `SET TRANSACTION ...` statements for it.
    pub characteristics: Vec<String>,
    pub read_only: Option<bool>,
    pub consistent_snapshot: bool,
    /// Those that exist, oldest first.
    pub savepoints: Vec<String>,
}

/// What a connection is for. Within a transaction a shard may have one of each, which commit one
/// after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Order {
    /// New rows of lookups. It commits first: see [`crate::exec::lookup`].
    First,
    /// The client's own statements.
    Normal,
    /// One statement outside of the client's transaction.
    Apart,
}

/// A server connection that is lent to the session.
#[derive(Debug)]
pub struct Held {
    pub order: Order,
    pub shard: Arc<ShardId>,
    pub tablet_type: TabletType,
    pub tablet: Arc<Tablet>,
    pub pooled: PooledConn,
    /// It is part of the session's explicit transaction.
    pub begun: bool,
    /// It was the session's own already before the current statement.
    pub kept: bool,
}

/// A prepared statement of the client.
#[derive(Debug)]
pub struct Statement {
    pub prepared: Prepared,
    pub params: u16,
    /// Types of the parameters as they were sent last, two bytes each.
    pub types: Vec<u8>,
    /// Parameters that were sent ahead of the next execution.
    pub long_data: Vec<(u16, Vec<u8>)>,
}

/// See the module.
pub struct Session {
    pub(crate) shared: Arc<Shared>,
    pub(crate) handle: Arc<SessionHandle>,
    pub(crate) stream: Stream,
    pub(crate) inbuf: BytesMut,
    pub(crate) out: Vec<u8>,
    /// Sequence number of the next packet to the client.
    pub(crate) sequence: u8,
    pub(crate) capabilities: u32,
    collation: u8,
    nonce: Nonce,
    pub(crate) target: Target,
    /// A system schema that was selected instead of the keyspace.
    database: Option<Arc<str>>,
    pub(crate) settings: Arc<Settings>,
    pub(crate) modes: SqlModes,
    pub(crate) autocommit: bool,
    pub(crate) transaction: Option<Transaction>,
    /// `SET TRANSACTION ...` for the next one.
    pub(crate) next_transaction: Vec<String>,
    pub(crate) held: Vec<Held>,
    /// Connections that are used from now on stay the session's own.
    pub(crate) reserved: bool,
    pub(crate) values: SessionValues,
    /// Rows of lookups that may have lost what they are about, to be looked at after the commit.
    pub(crate) loose: Vec<Loose>,
    /// The last statement's answer was an error that was passed through.
    pub(crate) last_failed: bool,
    /// The shard on whose connection `LOCK TABLES` was done.
    locked_on: Option<Arc<ShardId>>,
    statements: HashMap<u32, Statement>,
    next_statement: u32,
    pub(crate) diagnostics: Diagnostics,
}

/// What a session begins with.
pub struct NewSession {
    pub stream: Stream,
    pub sequence: u8,
    pub capabilities: u32,
    pub collation: u8,
    pub nonce: Nonce,
}

/// How long a connection with warnings waits for the client to ask for them.
const WARNINGS_WAIT: Duration = Duration::from_millis(100);

/// How long a client that broke the rules may take to read why it is sent away.
const LINGER: Duration = Duration::from_secs(2);

impl Session {
    pub fn new(shared: Arc<Shared>, handle: Arc<SessionHandle>, new: NewSession) -> Self {
        Self {
            shared,
            handle,
            stream: new.stream,
            inbuf: BytesMut::new(),
            out: Vec::new(),
            sequence: new.sequence,
            capabilities: new.capabilities,
            collation: new.collation,
            nonce: new.nonce,
            target: Target::default(),
            database: None,
            settings: crate::exec::set::none(),
            modes: SqlModes::default(),
            autocommit: true,
            transaction: None,
            next_transaction: Vec::new(),
            held: Vec::new(),
            reserved: false,
            values: SessionValues::default(),
            loose: Vec::new(),
            last_failed: false,
            locked_on: None,
            statements: HashMap::new(),
            next_statement: 1,
            diagnostics: Diagnostics::None,
        }
    }

    /// Serves the client until it goes, is killed, or the gate ends. What is open is rolled back,
    /// however it ends: connections that are dropped within a transaction are closed.
    pub async fn serve(mut self, database: Option<String>) {
        let begun = match database {
            Some(name) => self.use_database(&name),
            None => Ok(()),
        };
        let greeted = match begun {
            Ok(()) => self.put_ok(false).await.is_ok(),
            Err(error) => {
                let _ = self.put_sql_error(&error).await;
                false
            }
        };
        if greeted {
            self.commands().await;
        }
        self.end_abandoned().await;
        self.roll_back_all().await;
        for held in std::mem::take(&mut self.held) {
            self.give_back_clean(held);
        }
        if let Diagnostics::Pinned(held) = std::mem::take(&mut self.diagnostics) {
            self.give_back(*held);
        }
    }

    async fn commands(&mut self) {
        loop {
            let message = match self.next_command().await {
                Ok(Some(message)) => message,
                Ok(None) => return,
                Err(error) => {
                    if let Some(error) = error.for_client() {
                        self.out.clear();
                        put_error(&mut self.out, &mut self.sequence, &error);
                        if self.flush().await.is_ok() {
                            self.linger().await;
                        }
                    }
                    return;
                }
            };
            self.handle.busy(true);
            let goes_on = self.command(&message).await;
            self.handle.busy(false);
            if !goes_on || self.handle.is_ended() {
                return;
            }
        }
    }

    /// Reads on for a moment what the client is still sending: a connection that is closed with
    /// bytes unread is reset, and the client may then lose the error it was sent.
    async fn linger(&mut self) {
        let reading = async {
            // Only as much as one more message may have.
            let mut left = self.shared.config.max_allowed_packet;
            loop {
                self.inbuf.clear();
                if read_more(&mut self.stream, &mut self.inbuf).await.is_err() {
                    return;
                }
                left = left.saturating_sub(self.inbuf.len());
                if left == 0 {
                    return;
                }
            }
        };
        let _ = tokio::time::timeout(LINGER, reading).await;
    }

    /// Waits for the client's next command; `None`: the session is to end. While it waits it holds
    /// no buffers.
    async fn next_command(&mut self) -> Result<Option<Message>, FramingError> {
        let mut sequence = 0;
        self.sequence = 0;
        if self.inbuf.is_empty() {
            give_buffer(std::mem::take(&mut self.inbuf));
            self.out = Vec::new();
            loop {
                let pinned = matches!(self.diagnostics, Diagnostics::Pinned(_));
                tokio::select! {
                    biased;
                    ready = self.stream.readable() => {
                        ready?;
                        break;
                    }
                    () = self.handle.ended() => return Ok(None),
                    () = tokio::time::sleep(WARNINGS_WAIT), if pinned => {
                        self.harvest().await;
                    }
                }
            }
            self.inbuf = take_buffer();
        }
        let limit = self.shared.config.max_allowed_packet;
        tokio::select! {
            biased;
            message = read_message(&mut self.stream, &mut self.inbuf, &mut sequence, limit) => {
                // Of an error too: the client takes no answer with another number.
                self.sequence = sequence;
                message.map(Some)
            }
            () = self.handle.ended() => Ok(None),
        }
    }

    /// Whether anything is open that a COMMIT would end.
    pub(crate) fn in_transaction(&self) -> bool {
        self.transaction.is_some() || self.held.iter().any(|h| h.pooled.conn.in_transaction())
    }

    /// Notes what functions such as `ROW_COUNT()` say of the last statement.
    pub(crate) fn remember(&mut self, answer: &Answer) {
        if answer.error.is_some() {
            self.values.row_count = -1;
            self.last_failed = true;
            return;
        }
        match answer.rows {
            Some(rows) => {
                self.values.found_rows = rows;
                self.values.row_count = -1;
            }
            None => {
                self.values.row_count = answer.ok.affected_rows as i64;
                if answer.ok.last_insert_id != 0 {
                    self.values.last_insert_id = answer.ok.last_insert_id;
                }
            }
        }
    }

    /// Counts an error for the metrics.
    pub(crate) fn errors(&self, code: u16) {
        self.shared.metrics.error(code);
    }
}

/// Ends the client's side in an orderly way.
pub async fn close(stream: &mut Stream) -> io::Result<()> {
    tokio::io::AsyncWriteExt::shutdown(stream).await
}
