//! Several statements at once, each with what came of it; and rows that a client sends as a file.
//!
//! Source: "COM_QUERY Response" and "LOCAL INFILE Request" of MySQL's source documentation.

use bytes::Bytes;

use super::codec::Reader;
use super::{
    COM_QUERY, Connection, Done, SERVER_MORE_RESULTS_EXISTS, WireError, parse_error, parse_ok,
    parse_row,
};
use crate::flavor::TextRow;
use crate::stream::row::Row;

/// What a server asks for a file with.
const WANTS_FILE: u8 = 0xfb;
/// What is sent of a file in one message, bytes.
const FILE_PART: usize = 256 << 10;

/// What came of one statement of several.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Rows that were inserted, deleted, or found to update.
    pub affected: u64,
    pub rows: Vec<Row>,
}

impl Connection {
    /// Runs statements up to the first that fails: which one that is, counted from 0, and why.
    pub(crate) async fn outcomes(
        &mut self,
        statements: &[u8],
    ) -> Result<Vec<Outcome>, (usize, WireError)> {
        let mut outcomes = Vec::new();
        let sent = self.send(COM_QUERY, statements).await;
        sent.map_err(|error| (0, error))?;
        loop {
            let (outcome, more) = self
                .outcome()
                .await
                .map_err(|error| (outcomes.len(), error))?;
            outcomes.push(outcome);
            if !more {
                self.pending = false;
                return Ok(outcomes);
            }
        }
    }

    async fn outcome(&mut self) -> Result<(Outcome, bool), WireError> {
        let message = self.message().await?;
        let payload = self.inbuf.get(message);
        let columns = match payload.first() {
            Some(0) => {
                let (done, status) = parse_ok(payload)?;
                let outcome = Outcome {
                    affected: done.affected,
                    rows: Vec::new(),
                };
                return Ok((outcome, status & SERVER_MORE_RESULTS_EXISTS != 0));
            }
            Some(0xff) => {
                let error = parse_error(payload);
                return Err(self.ended(error));
            }
            Some(&WANTS_FILE) | None => {
                return Err(WireError::Lost("it asks for a file".to_owned()));
            }
            Some(_) => Reader::new(payload).lenenc()?,
        };
        self.skip(columns).await?;
        self.skip_end().await?;
        let columns = usize::try_from(columns)
            .map_err(|_| WireError::Lost("it has too many columns".to_owned()))?;
        let mut outcome = Outcome::default();
        loop {
            let message = self.message().await?;
            let payload = self.inbuf.get(message);
            match payload {
                [0xfe, rest @ ..] if payload.len() < 9 => {
                    let mut reader = Reader::new(rest);
                    reader.u16()?;
                    let status = reader.u16()?;
                    return Ok((outcome, status & SERVER_MORE_RESULTS_EXISTS != 0));
                }
                [0xff, ..] => {
                    let error = parse_error(payload);
                    return Err(self.ended(error));
                }
                _ => outcome.rows.push(parse_row(payload, columns)?),
            }
        }
    }

    /// The rows of a query, by the names of their columns in lower case.
    pub(crate) async fn named_rows(&mut self, query: &[u8]) -> Result<Vec<TextRow>, WireError> {
        self.send(COM_QUERY, query).await?;
        let message = self.message().await?;
        let payload = self.inbuf.get(message);
        let columns = match payload.first() {
            Some(0xff) => {
                let error = parse_error(payload);
                return Err(self.ended(error));
            }
            Some(0 | &WANTS_FILE) | None => {
                return Err(WireError::Lost("a query gave no rows".to_owned()));
            }
            Some(_) => Reader::new(payload).lenenc()?,
        };
        let mut names = Vec::new();
        for _ in 0..columns {
            let message = self.message().await?;
            let mut reader = Reader::new(self.inbuf.get(message));
            // Catalog, schema, table, the table's own name, name.
            let mut name = None;
            for _ in 0..5 {
                name = reader.lenenc_text()?;
            }
            names.push(String::from_utf8_lossy(name.unwrap_or_default()).to_lowercase());
        }
        self.skip_end().await?;
        let mut rows = Vec::new();
        while let Some(row) = self.next_row().await? {
            let cells = parse_row(self.inbuf.get(row), names.len())?;
            let text = |cell: Bytes| String::from_utf8_lossy(&cell).into_owned();
            let cells = cells.into_iter().map(|cell| cell.map(text));
            rows.push(names.iter().cloned().zip(cells).collect());
        }
        Ok(rows)
    }

    /// Runs a `LOAD DATA LOCAL` with what is to be the file's content. Only here does a server get
    /// what it asks for.
    ///
    /// # Errors
    /// The server's own, and a connection that is lost.
    pub async fn load(&mut self, statement: &[u8], content: &[u8]) -> Result<Done, WireError> {
        self.send(COM_QUERY, statement).await?;
        let message = self.message().await?;
        let payload = self.inbuf.get(message);
        match payload.first() {
            Some(&WANTS_FILE) => {}
            Some(0xff) => {
                let error = parse_error(payload);
                return Err(self.ended(error));
            }
            _ => return Err(WireError::Lost("it does not ask for rows".to_owned())),
        }
        // The request had number 1. The empty message says that the file is over.
        self.sequence = 2;
        for part in content.chunks(FILE_PART).chain([&[][..]]) {
            let mut header = Vec::with_capacity(4);
            self.put_header(part.len(), &mut header);
            self.stream.write_all(&header).await?;
            self.stream.write_all(part).await?;
        }
        let message = self.message().await?;
        let payload = self.inbuf.get(message);
        match payload.first() {
            Some(0) => {
                let (done, _) = parse_ok(payload)?;
                self.pending = false;
                Ok(done)
            }
            Some(0xff) => {
                let error = parse_error(payload);
                Err(self.ended(error))
            }
            _ => Err(WireError::Lost("its answer to rows is none".to_owned())),
        }
    }
}
