//! A small client of the MySQL protocol, for what streams do with servers: send long statements,
//! read millions of rows without touching each value, read binlogs. Messages are taken from the
//! buffer that the operating system filled; nothing is allocated for a row.
//!
//! - [`buffer`]: bytes on their way in, cut into messages.
//! - [`login`]: the handshake.
//! - [`statements`]: several at once, and files.
//! - [`codec`]: integers and strings of the protocol.

mod buffer;
pub(crate) mod codec;
mod login;
mod statements;

pub(crate) use statements::Outcome;

use std::io;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpStream, UnixStream};
use tokio::time::timeout;

use super::error::StreamError;
use super::row::{Cell, Row};
use super::server::{SESSION, ServerAddress};
use buffer::Inbuf;
use codec::Reader;

/// How long a server may take to let one in.
const CONNECT_PATIENCE: Duration = Duration::from_secs(15);
/// A peer that is gone is noticed after about the first plus three of the second, also while
/// one waits for a long statement.
const KEEPALIVE_IDLE: Duration = Duration::from_secs(10);
const KEEPALIVE_EVERY: Duration = Duration::from_secs(5);
/// The longest part of a message.
const PART: usize = 0xff_ffff;
/// A longer statement is not copied to stand behind its header.
const COPIED: usize = 64 << 10;
const COM_QUERY: u8 = 3;
const SERVER_MORE_RESULTS_EXISTS: u16 = 8;

/// What a statement without rows did.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Done {
    /// Rows inserted, deleted, or found by an UPDATE (whether it changed them or not); of all
    /// statements, if there were several.
    pub affected: u64,
    pub warnings: u32,
}

/// Why an exchange with a server failed.
#[derive(Debug)]
pub enum WireError {
    Lost(String),
    Sql { code: u16, message: String },
}

impl From<io::Error> for WireError {
    fn from(error: io::Error) -> Self {
        Self::Lost(error.to_string())
    }
}

impl WireError {
    pub(crate) fn about(self, server: &str, what: &str) -> StreamError {
        match self {
            Self::Lost(why) => StreamError::Broken {
                server: server.to_owned(),
                what: what.to_owned(),
                why,
            },
            Self::Sql { code, message } => StreamError::Sql {
                server: server.to_owned(),
                what: what.to_owned(),
                code,
                message,
            },
        }
    }
}

#[derive(Debug)]
enum Stream {
    Tcp(TcpStream),
    Unix(UnixStream),
}

impl Stream {
    async fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        match self {
            Self::Tcp(s) => s.read(into).await,
            Self::Unix(s) => s.read(into).await,
        }
    }

    async fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self {
            Self::Tcp(s) => s.write_all(bytes).await,
            Self::Unix(s) => s.write_all(bytes).await,
        }
    }
}

/// A connection, with the session that [`SESSION`] makes. Several statements may be sent at once,
/// with `;` between them. A future that is dropped before its end leaves the connection unusable;
/// the next call says so.
#[derive(Debug)]
pub struct Connection {
    server: String,
    stream: Stream,
    inbuf: Inbuf,
    sequence: u8,
    thread_id: u32,
    /// An answer is on its way.
    pending: bool,
}

impl Connection {
    /// Connects, over the socket where there is one.
    pub async fn open(
        address: &ServerAddress,
        database: Option<&str>,
    ) -> Result<Self, StreamError> {
        let failed = |why: String| StreamError::Connect {
            server: address.name.clone(),
            why,
        };
        let opened = async {
            let stream = dial(address).await?;
            let mut conn = Self {
                server: address.name.clone(),
                stream,
                inbuf: Inbuf::default(),
                sequence: 0,
                thread_id: 0,
                pending: false,
            };
            conn.log_in(&address.user, &address.password, database)
                .await?;
            Ok::<_, WireError>(conn)
        };
        let mut conn = match timeout(CONNECT_PATIENCE, opened).await {
            Err(_) => return Err(failed("it does not answer".to_owned())),
            Ok(Err(WireError::Lost(why))) => return Err(failed(why)),
            Ok(Err(WireError::Sql { code, message })) => {
                return Err(failed(format!("{message} (error {code})")));
            }
            Ok(Ok(conn)) => conn,
        };
        conn.run("preparing the session", SESSION).await?;
        Ok(conn)
    }

    /// What the server calls the connection, for `KILL`.
    pub fn thread_id(&self) -> u32 {
        self.thread_id
    }

    /// The server's name in messages.
    pub fn server(&self) -> &str {
        &self.server
    }

    /// Runs a statement, or several, that give no rows. `what` says in an error what failed: "copying
    /// rows". After an error in one of several, the later ones were not run.
    pub async fn run(
        &mut self,
        what: &str,
        statement: impl AsRef<[u8]>,
    ) -> Result<Done, StreamError> {
        let done = self.try_run(statement.as_ref()).await;
        done.map_err(|e| e.about(&self.server, what))
    }

    async fn try_run(&mut self, statement: &[u8]) -> Result<Done, WireError> {
        self.send(COM_QUERY, statement).await?;
        let mut total = Done::default();
        loop {
            let message = self.message().await?;
            let payload = self.inbuf.get(message);
            let (done, status) = match payload.first() {
                Some(0) => parse_ok(payload)?,
                Some(0xff) => return Err(self.ended(parse_error(payload))),
                // Rows nobody asked for.
                _ => {
                    let mut reader = Reader::new(payload);
                    let columns = reader.lenenc()?;
                    self.skip(columns).await?;
                    self.skip_end().await?;
                    (Done::default(), self.skip_rows().await?)
                }
            };
            total.affected += done.affected;
            total.warnings += done.warnings;
            if status & SERVER_MORE_RESULTS_EXISTS == 0 {
                self.pending = false;
                return Ok(total);
            }
        }
    }

    /// The rows of a query, all at once.
    pub async fn rows(
        &mut self,
        what: &str,
        query: impl AsRef<[u8]>,
    ) -> Result<Vec<Row>, StreamError> {
        let rows = async {
            let columns = self.start_rows(query.as_ref()).await?;
            let mut rows = Vec::new();
            while let Some(row) = self.next_row().await? {
                rows.push(parse_row(self.inbuf.get(row), columns)?);
            }
            Ok(rows)
        };
        let rows: Result<Vec<Row>, WireError> = rows.await;
        rows.map_err(|e| e.about(&self.server, what))
    }

    /// The first value of a query's first row, as text; `None` if it has none or is NULL.
    pub async fn value(
        &mut self,
        what: &str,
        query: impl AsRef<[u8]>,
    ) -> Result<Option<String>, StreamError> {
        let rows = self.rows(what, query).await?;
        let first = rows.into_iter().next().and_then(|r| r.into_iter().next());
        Ok(first
            .flatten()
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned()))
    }

    /// Sends a query; the number of columns of its rows, which [`Self::next_row`] gives then.
    pub(crate) async fn start_rows(&mut self, query: &[u8]) -> Result<usize, WireError> {
        self.send(COM_QUERY, query).await?;
        let message = self.message().await?;
        let payload = self.inbuf.get(message);
        let columns = match payload.first() {
            Some(0xff) => return Err(self.ended(parse_error(payload))),
            Some(0) | None => {
                return Err(WireError::Lost("a query gave no rows".to_owned()));
            }
            _ => Reader::new(payload).lenenc()?,
        };
        self.skip(columns).await?;
        self.skip_end().await?;
        usize::try_from(columns).map_err(|_| WireError::Lost("it has too many columns".to_owned()))
    }

    /// The next row's message, to be taken with [`Self::payload`] before the next call. `None`: the
    /// answer is over.
    pub(crate) async fn next_row(&mut self) -> Result<Option<Range<usize>>, WireError> {
        loop {
            if let Some(row) = self.buffered_row()? {
                return Ok(row);
            }
            self.fill().await?;
        }
    }

    /// As [`Self::next_row`], if it has arrived. Outer `None`: it has not.
    #[inline]
    pub(crate) fn buffered_row(&mut self) -> Result<Option<Option<Range<usize>>>, WireError> {
        let Some(message) = self.inbuf.next() else {
            return Ok(None);
        };
        let payload = self.inbuf.get(message.clone());
        match payload.first() {
            Some(0xfe) if payload.len() < 9 => {
                self.pending = false;
                Ok(Some(None))
            }
            Some(0xff) => {
                let error = parse_error(payload);
                Err(self.ended(error))
            }
            _ => Ok(Some(Some(message))),
        }
    }

    /// Waits for more bytes. Nothing is lost if the future is dropped.
    pub(crate) async fn fill(&mut self) -> Result<(), WireError> {
        let read = self.stream.read(self.inbuf.room()).await?;
        if read == 0 {
            return Err(WireError::Lost(
                "the server closed the connection".to_owned(),
            ));
        }
        self.inbuf.filled(read);
        Ok(())
    }

    #[inline]
    pub(crate) fn payload(&self, message: Range<usize>) -> &[u8] {
        self.inbuf.get(message)
    }

    /// Sends a command whose answer is a stream of messages without end.
    pub(crate) async fn start_stream(
        &mut self,
        command: u8,
        arguments: &[u8],
    ) -> Result<(), WireError> {
        self.send(command, arguments).await
    }

    /// The next message. Nothing is lost if the future is dropped.
    pub(crate) async fn message(&mut self) -> Result<Range<usize>, WireError> {
        loop {
            if let Some(message) = self.inbuf.next() {
                return Ok(message);
            }
            self.fill().await?;
        }
    }

    async fn send(&mut self, command: u8, arguments: &[u8]) -> Result<(), WireError> {
        if self.pending {
            return Err(WireError::Lost(
                "an earlier answer was not read to its end".to_owned(),
            ));
        }
        self.pending = true;
        self.sequence = 0;
        if arguments.len() + 1 < PART {
            let copied = match arguments.len() {
                length if length < COPIED => length,
                _ => 0,
            };
            let mut out = Vec::with_capacity(copied + 5);
            self.put_header(arguments.len() + 1, &mut out);
            out.push(command);
            out.extend_from_slice(&arguments[..copied]);
            self.stream.write_all(&out).await?;
            self.stream.write_all(&arguments[copied..]).await?;
            return Ok(());
        }
        let (first, mut rest) = arguments.split_at(PART - 1);
        let mut header = Vec::with_capacity(5);
        self.put_header(PART, &mut header);
        header.push(command);
        self.stream.write_all(&header).await?;
        self.stream.write_all(first).await?;
        loop {
            let part = rest.len().min(PART);
            header.clear();
            self.put_header(part, &mut header);
            self.stream.write_all(&header).await?;
            self.stream.write_all(&rest[..part]).await?;
            rest = &rest[part..];
            if part < PART {
                return Ok(());
            }
        }
    }

    fn put_header(&mut self, length: usize, out: &mut Vec<u8>) {
        let length = (length as u32).to_le_bytes();
        out.extend_from_slice(&length[..3]);
        out.push(self.sequence);
        self.sequence = self.sequence.wrapping_add(1);
    }

    /// An error of the server ends an answer.
    fn ended(&mut self, error: WireError) -> WireError {
        self.pending = false;
        error
    }

    async fn skip(&mut self, messages: u64) -> Result<(), WireError> {
        for _ in 0..messages {
            self.message().await?;
        }
        Ok(())
    }

    /// The end of the descriptions of columns.
    async fn skip_end(&mut self) -> Result<(), WireError> {
        let message = self.message().await?;
        match self.inbuf.get(message) {
            [0xfe, ..] => Ok(()),
            _ => Err(WireError::Lost(
                "its answer is not as it should be".to_owned(),
            )),
        }
    }

    /// The rows of an answer; its last message's status.
    async fn skip_rows(&mut self) -> Result<u16, WireError> {
        loop {
            let message = self.message().await?;
            let payload = self.inbuf.get(message);
            match payload.first() {
                Some(0xfe) if payload.len() < 9 => {
                    let mut reader = Reader::new(&payload[1..]);
                    reader.u16()?;
                    return Ok(reader.u16()?);
                }
                Some(0xff) => return Err(self.ended(parse_error(payload))),
                _ => {}
            }
        }
    }

    /// Says goodbye, so that the server does not log an aborted connection.
    pub async fn close(mut self) {
        // Nothing depends on it.
        if !self.pending {
            let _ = timeout(Duration::from_secs(1), self.send(1, &[])).await;
        }
    }
}

async fn dial(address: &ServerAddress) -> Result<Stream, WireError> {
    if let Some(socket) = &address.socket
        && let Ok(stream) = UnixStream::connect(socket).await
    {
        return Ok(Stream::Unix(stream));
    }
    let stream = TcpStream::connect((address.host.as_str(), address.port)).await?;
    stream.set_nodelay(true)?;
    let keepalive = socket2::TcpKeepalive::new()
        .with_time(KEEPALIVE_IDLE)
        .with_interval(KEEPALIVE_EVERY);
    socket2::SockRef::from(&stream).set_tcp_keepalive(&keepalive)?;
    Ok(Stream::Tcp(stream))
}

fn parse_ok(payload: &[u8]) -> Result<(Done, u16), WireError> {
    let mut reader = Reader::new(&payload[1..]);
    let affected = reader.lenenc()?;
    reader.lenenc()?;
    let status = reader.u16()?;
    let warnings = u32::from(reader.u16()?);
    Ok((Done { affected, warnings }, status))
}

/// An ERR message.
pub(crate) fn parse_error(payload: &[u8]) -> WireError {
    let code = match payload {
        [_, low, high, ..] => u16::from_le_bytes([*low, *high]),
        _ => 0,
    };
    let rest = payload.get(3..).unwrap_or_default();
    let text = match rest {
        [b'#', _, _, _, _, _, text @ ..] => text,
        text => text,
    };
    WireError::Sql {
        code,
        message: String::from_utf8_lossy(text).into_owned(),
    }
}

fn parse_row(payload: &[u8], columns: usize) -> Result<Row, WireError> {
    let mut reader = Reader::new(payload);
    let mut row = Vec::with_capacity(columns);
    for _ in 0..columns {
        let cell: Cell = reader.lenenc_text()?.map(Bytes::copy_from_slice);
        row.push(cell);
    }
    Ok(row)
}
