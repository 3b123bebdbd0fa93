//! The gate's client side: one connection to a mysqld, with what is known of its state (database,
//! settings, prepared statements), so that it can be lent to one session after another.

mod connect;
pub mod settings;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Instant;

use bytes::BytesMut;
use tokio::io::AsyncWriteExt as _;

use crate::protocol::codec::Reader;
use crate::protocol::constants::{com, status};
use crate::protocol::framing::{
    FramingError, HEADER, Message, put_message, put_with, read_message, read_more, take_buffer,
};
use crate::protocol::messages::{OkPacket, parse_error};
use crate::protocol::prepare::PrepareOk;
use crate::protocol::{SqlError, Stream};

pub use connect::{Address, ConnectError, Login};
pub use settings::Settings;

/// No answer that the gate itself reads (not passes through) has a longer message.
const MAX_ANSWER: usize = 1 << 30;

/// Prepared statements that one connection keeps.
const MAX_STATEMENTS: usize = 128;

/// What is fixed when a connection is opened, as it changes how the server answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Variant {
    pub deprecate_eof: bool,
    pub found_rows: bool,
    pub ignore_space: bool,
    /// The collation id that the client began with.
    pub collation: u8,
    /// Whether a database is selected. One that is cannot be unselected.
    pub has_database: bool,
}

/// A failure of the connection itself, or the server's refusal.
#[derive(Debug, thiserror::Error)]
pub enum BackendError {
    /// The connection cannot be used any more.
    #[error("{0}")]
    Lost(String),
    #[error("{0}")]
    Sql(SqlError),
}

impl From<FramingError> for BackendError {
    fn from(error: FramingError) -> Self {
        Self::Lost(error.to_string())
    }
}

impl From<std::io::Error> for BackendError {
    fn from(error: std::io::Error) -> Self {
        Self::Lost(error.to_string())
    }
}

/// A statement that the server has prepared.
#[derive(Debug, Clone, Copy)]
pub struct Prepared {
    pub id: u32,
    last_use: u64,
}

/// A value of a small result.
pub type Value = Option<Vec<u8>>;

/// A small result that the gate reads for itself.
#[derive(Debug, Default)]
pub struct SmallResult {
    /// Type and collation id of each column.
    pub columns: Vec<(u8, u16)>,
    pub rows: Vec<Vec<Value>>,
    pub ok: OkPacket,
}

/// A connection to a server.
#[derive(Debug)]
pub struct Conn {
    pub stream: Stream,
    pub inbuf: BytesMut,
    pub variant: Variant,
    /// Database that is selected.
    pub database: Option<Arc<str>>,
    /// Settings that were applied.
    pub settings: Arc<Settings>,
    /// Status flags of the last answer.
    pub status: u16,
    /// The server's id of the connection, for `KILL QUERY`.
    pub thread_id: u32,
    pub last_use: Instant,
    /// The thread whose reactor watches the stream.
    pub home: usize,
    statements: HashMap<Arc<[u8]>, Prepared>,
    uses: u64,
    /// Restores the character set that the connection began with after a reset.
    restore: String,
}

impl Conn {
    pub fn in_transaction(&self) -> bool {
        self.status & status::IN_TRANS != 0
    }

    /// Reads one message of an answer.
    pub async fn read(&mut self, sequence: &mut u8) -> Result<Message, BackendError> {
        let message = read_message(&mut self.stream, &mut self.inbuf, sequence, MAX_ANSWER).await?;
        Ok(message)
    }

    /// The sequence number that an answer begins with: one more than the last packet of the command
    /// had, and a long command has several.
    async fn first_sequence(&mut self) -> Result<u8, BackendError> {
        while self.inbuf.len() < HEADER {
            read_more(&mut self.stream, &mut self.inbuf).await?;
        }
        Ok(self.inbuf[HEADER - 1])
    }

    /// Sends what was prepared with [`put_command`].
    pub async fn send(&mut self, bytes: &[u8]) -> Result<(), BackendError> {
        Ok(self.stream.write_all(bytes).await?)
    }

    /// Reads an answer that is an OK or ERR packet.
    pub async fn read_ok(&mut self) -> Result<OkPacket, BackendError> {
        let mut sequence = self.first_sequence().await?;
        let message = self.read(&mut sequence).await?;
        match message.payload().first() {
            Some(0) => {
                let ok = OkPacket::parse(message.payload())
                    .map_err(|e| BackendError::Lost(e.to_string()))?;
                self.status = ok.status;
                Ok(ok)
            }
            Some(0xff) => Err(BackendError::Sql(parse_error(message.payload()))),
            // An EOF packet is how COM_SET_OPTION and old servers say OK.
            Some(0xfe) => Ok(OkPacket::default()),
            _ => Err(BackendError::Lost("its answer makes no sense".to_owned())),
        }
    }

    /// Runs a statement that answers OK.
    pub async fn execute(&mut self, sql: &str) -> Result<OkPacket, BackendError> {
        let mut out = Vec::with_capacity(sql.len() + 5);
        put_command(&mut out, com::QUERY, sql.as_bytes());
        self.send(&out).await?;
        self.read_ok().await
    }

    /// Runs a query whose rows fit into memory.
    pub async fn query(&mut self, sql: &[u8]) -> Result<SmallResult, BackendError> {
        let mut out = Vec::with_capacity(sql.len() + 5);
        put_command(&mut out, com::QUERY, sql);
        self.send(&out).await?;
        self.read_result().await
    }

    /// Reads the answer of a query whose rows fit into memory, or of another statement.
    pub async fn read_result(&mut self) -> Result<SmallResult, BackendError> {
        let broken = |_| BackendError::Lost("its answer makes no sense".to_owned());
        let mut sequence = self.first_sequence().await?;
        let first = self.read(&mut sequence).await?;
        match first.payload().first() {
            Some(0xff) => return Err(BackendError::Sql(parse_error(first.payload()))),
            Some(0) => {
                let ok = OkPacket::parse(first.payload()).map_err(broken)?;
                self.status = ok.status;
                return Ok(SmallResult {
                    ok,
                    ..SmallResult::default()
                });
            }
            _ => {}
        }
        let count = Reader::new(first.payload()).lenenc().map_err(broken)?;
        let mut result = SmallResult::default();
        for _ in 0..count {
            let message = self.read(&mut sequence).await?;
            let mut reader = Reader::new(message.payload());
            for _ in 0..6 {
                reader.lenenc_bytes().map_err(broken)?;
            }
            reader.u8().map_err(broken)?;
            let charset = reader.u16().map_err(broken)?;
            reader.u32().map_err(broken)?;
            result.columns.push((reader.u8().map_err(broken)?, charset));
        }
        if !self.variant.deprecate_eof {
            self.read(&mut sequence).await?;
        }
        loop {
            let message = self.read(&mut sequence).await?;
            let payload = message.payload();
            match payload.first() {
                Some(0xff) => return Err(BackendError::Sql(parse_error(payload))),
                Some(0xfe) if payload.len() < 0xff_ff_ff => {
                    if self.variant.deprecate_eof {
                        result.ok = OkPacket::parse(payload).map_err(broken)?;
                    } else {
                        let mut reader = Reader::new(&payload[1..]);
                        result.ok.warnings = reader.u16().map_err(broken)?;
                        result.ok.status = reader.u16().map_err(broken)?;
                    }
                    self.status = result.ok.status;
                    return Ok(result);
                }
                _ => {
                    let mut reader = Reader::new(payload);
                    let row: Result<Vec<Value>, _> = (0..count)
                        .map(|_| reader.text_value().map(|v| v.map(<[u8]>::to_vec)))
                        .collect();
                    result.rows.push(row.map_err(broken)?);
                }
            }
        }
    }

    /// Whether the connection is already as a session wants it.
    pub fn suits(&self, database: Option<&Arc<str>>, settings: &Settings) -> bool {
        self.settings.hash() == settings.hash() && self.database.as_ref() == database
    }

    /// Brings database and settings to what a session wants; does nothing when they are. `keep`:
    /// the session has other state on the connection, which must not be reset.
    /// After an error the connection must not be used for anything else.
    pub async fn bring(
        &mut self,
        database: Option<&Arc<str>>,
        settings: &Arc<Settings>,
        keep: bool,
    ) -> Result<(), BackendError> {
        if self.suits(database, settings) {
            return Ok(());
        }
        let mut out = Vec::new();
        let mut answers = 0;
        if self.settings.hash() != settings.hash() {
            if keep {
                if let Some(sql) = settings.statement_after(&self.settings) {
                    put_command(&mut out, com::QUERY, sql.as_bytes());
                    answers += 1;
                }
            } else if !self.settings.is_empty() {
                put_command(&mut out, com::RESET_CONNECTION, &[]);
                put_command(&mut out, com::QUERY, self.restore.as_bytes());
                answers += 2;
                self.statements.clear();
            }
            if !keep && !settings.is_empty() {
                put_command(&mut out, com::QUERY, settings.set_statement().as_bytes());
                answers += 1;
            }
        }
        if let Some(database) = database
            && self.database.as_ref() != Some(database)
        {
            put_command(&mut out, com::INIT_DB, database.as_bytes());
            answers += 1;
        }
        self.send(&out).await?;
        for _ in 0..answers {
            self.read_ok().await?;
        }
        self.settings = settings.clone();
        self.database = database.cloned();
        Ok(())
    }

    /// Prepares a statement and returns the packets of the answer (the first read, the others as
    /// they came).
    pub async fn prepare_fresh(
        &mut self,
        sql: &Arc<[u8]>,
    ) -> Result<(PrepareOk, Vec<Message>), BackendError> {
        let mut out = Vec::with_capacity(sql.len() + 16);
        if let Some(old) = self.statements.remove(sql) {
            put_command(&mut out, com::STMT_CLOSE, &old.id.to_le_bytes());
        }
        if self.statements.len() >= MAX_STATEMENTS {
            let oldest = self.statements.iter().min_by_key(|(_, s)| s.last_use);
            if let Some((text, old)) = oldest.map(|(t, s)| (t.clone(), *s)) {
                put_command(&mut out, com::STMT_CLOSE, &old.id.to_le_bytes());
                self.statements.remove(&text);
            }
        }
        put_command(&mut out, com::STMT_PREPARE, sql);
        self.send(&out).await?;
        let mut sequence = self.first_sequence().await?;
        let first = self.read(&mut sequence).await?;
        if first.payload().first() == Some(&0xff) {
            return Err(BackendError::Sql(parse_error(first.payload())));
        }
        let ok = PrepareOk::parse(first.payload())
            .map_err(|_| BackendError::Lost("its answer makes no sense".to_owned()))?;
        let mut rest = Vec::new();
        for _ in 0..ok.packets_after(self.variant.deprecate_eof) {
            rest.push(self.read(&mut sequence).await?);
        }
        self.uses += 1;
        self.statements.insert(
            sql.clone(),
            Prepared {
                id: ok.statement_id,
                last_use: self.uses,
            },
        );
        Ok((ok, rest))
    }

    /// The id of a prepared statement, which is prepared if this connection has not yet.
    pub async fn prepared(&mut self, sql: &Arc<[u8]>) -> Result<u32, BackendError> {
        self.uses += 1;
        if let Some(statement) = self.statements.get_mut(sql) {
            statement.last_use = self.uses;
            return Ok(statement.id);
        }
        Ok(self.prepare_fresh(sql).await?.0.statement_id)
    }

    /// Forgets a statement that the server says it does not know.
    pub fn forget(&mut self, sql: &Arc<[u8]>) {
        self.statements.remove(sql);
    }
}

/// Appends a command.
pub fn put_command(out: &mut Vec<u8>, command: u8, body: &[u8]) {
    if body.len() + 1 >= crate::protocol::constants::MAX_PACKET {
        let mut payload = Vec::with_capacity(body.len() + 1);
        payload.push(command);
        payload.extend_from_slice(body);
        put_message(out, &mut 0, &payload);
        return;
    }
    put_with(out, &mut 0, |out| {
        out.push(command);
        out.extend_from_slice(body);
    });
}

/// A buffer to read answers into.
fn inbuf() -> BytesMut {
    take_buffer()
}
