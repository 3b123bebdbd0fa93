//! Puts a server's events together to transactions.
//!
//! Nothing here waits: events go in, what they make comes out.

use std::collections::{HashMap, VecDeque};
use std::io::Read as _;
use std::sync::Arc;

use bytes::Bytes;
use vtplan_state::model::KeyspaceName;

use super::event::{self, Event, Query, kind};
use super::statement::{Statement, classify};
use super::table_map::{MappedColumn, TableMap};
use super::value::write_value;
use super::{SourceEvent, Transaction};
use crate::stream::position::{Gtid, Position};
use crate::stream::row::{Change, Row};
use crate::stream::table::TableShape;
use crate::stream::wire::codec::{Reader, Truncated};

/// The changes of a transaction are given in parts of about this many bytes.
const PART: usize = 2 << 20;
/// What one row that is in an event takes, beside its bytes.
const ROW_OVERHEAD: usize = 64;
/// What a compressed transaction may unpack to in one event.
const LARGEST_EVENT: usize = 2 << 30;

/// Why events cannot be put together.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Trouble {
    Unreadable(String),
    DefinitionChanged { table: String, why: String },
    Refused(String),
}

impl From<Truncated> for Trouble {
    fn from(error: Truncated) -> Self {
        Self::Unreadable(format!("an event is cut off: {error}"))
    }
}

pub(super) struct Assembler {
    keyspace: KeyspaceName,
    tables: Vec<Arc<TableShape>>,
    checksums: bool,
    /// By the number that row events name a table with. `None`: not one of ours.
    maps: HashMap<u64, Option<Mapped>>,
    position: Position,
    open: Option<Open>,
    out: VecDeque<SourceEvent>,
    /// Bytes of a part.
    pub(super) part: usize,
}

#[derive(Clone)]
struct Mapped {
    table: usize,
    columns: Arc<Vec<MappedColumn>>,
    /// The table map that it was made from: nearly always the next one is the same.
    body: Arc<[u8]>,
}

/// A transaction whose end has not come.
struct Open {
    gtid: Gtid,
    timestamp: u64,
    changes: Vec<Change>,
    bytes: usize,
    /// So many parts were given, and count.
    parts: usize,
    /// It has an end of its own; otherwise it is one statement.
    begun: bool,
    /// The older ones first.
    savepoints: Vec<Savepoint>,
    /// Names of XA transactions are followed by others that commit them.
    prepares: bool,
    touched: bool,
}

/// A name, and what was before it: so many parts, and so many of the changes behind them.
struct Savepoint {
    name: String,
    parts: usize,
    changes: usize,
}

impl Open {
    /// Gives what there is as parts. A part ends at each savepoint, so that going back to it is
    /// leaving out parts.
    fn give_parts(&mut self, position: &Position, out: &mut VecDeque<SourceEvent>) {
        let mut changes = std::mem::take(&mut self.changes).into_iter();
        let all = changes.len();
        let mut given = 0;
        let given_before = self.parts;
        let marks = (self.savepoints.iter().filter(|s| s.parts == given_before)).map(|s| s.changes);
        let ends: Vec<usize> = marks.chain([all]).collect();
        let mut parts_at = Vec::with_capacity(ends.len());
        for end in ends {
            if end > given {
                self.parts += 1;
                out.push_back(SourceEvent::Transaction(Transaction {
                    gtid: self.gtid.clone(),
                    position: position.clone(),
                    timestamp: self.timestamp,
                    changes: changes.by_ref().take(end - given).collect(),
                    is_last: false,
                }));
                given = end;
            }
            parts_at.push(self.parts);
        }
        let here = self.savepoints.iter_mut();
        let here = here.filter(|s| s.parts == given_before);
        for (savepoint, parts) in here.zip(parts_at) {
            (savepoint.parts, savepoint.changes) = (parts, 0);
        }
        self.bytes = 0;
    }

    /// Leaves out what came after so many parts.
    fn undo(&mut self, parts: usize, out: &mut VecDeque<SourceEvent>) {
        if parts < self.parts {
            let gtid = self.gtid.clone();
            out.push_back(SourceEvent::Undo { gtid, parts });
            self.parts = parts;
        }
    }
}

impl Assembler {
    pub(super) fn new(
        keyspace: KeyspaceName,
        tables: Vec<Arc<TableShape>>,
        position: Position,
    ) -> Self {
        Self {
            keyspace,
            tables,
            checksums: false,
            maps: HashMap::new(),
            position,
            open: None,
            out: VecDeque::new(),
            part: PART,
        }
    }

    /// Everything up to here was put out.
    pub(super) fn position(&self) -> &Position {
        &self.position
    }

    pub(super) fn next(&mut self) -> Option<SourceEvent> {
        self.out.pop_front()
    }

    /// Takes an event as the server sent it.
    pub(super) fn event(&mut self, bytes: &[u8]) -> Result<(), Trouble> {
        let (event, _) = Event::parse(bytes, self.checksums).map_err(Trouble::Unreadable)?;
        self.take(&event, true)
    }

    /// `outer`: the event is not within a compressed transaction.
    fn take(&mut self, event: &Event<'_>, outer: bool) -> Result<(), Trouble> {
        match event.kind {
            kind::FORMAT_DESCRIPTION => {
                self.checksums = event.announces_checksums();
                // A transaction that a crash cut off in the file before; numbers of tables
                // begin anew.
                self.abandon(true)?;
                self.maps.clear();
            }
            kind::HEARTBEAT | kind::HEARTBEAT_V2 => self.heartbeat(),
            kind::GTID | kind::GTID_TAGGED => {
                let gtid = event::mysql_gtid(event)?;
                self.begin(gtid, event.timestamp, false, false)?;
            }
            kind::MARIADB_GTID => {
                let (gtid, flags) = event::mariadb_gtid(event)?;
                let begun = !flags.standalone;
                let xa = flags.prepared_xa || flags.completed_xa;
                self.begin(gtid, event.timestamp, begun, xa)?;
            }
            kind::ANONYMOUS_GTID => {
                return Err(Trouble::Refused(
                    "it logs transactions without GTIDs; set its gtid_mode to ON".to_owned(),
                ));
            }
            kind::QUERY => self.query(event)?,
            kind::XID => self.commit(),
            kind::XA_PREPARE => self.prepared()?,
            kind::TABLE_MAP => self.table_map(event.body)?,
            kind::WRITE_ROWS_V1
            | kind::UPDATE_ROWS_V1
            | kind::DELETE_ROWS_V1
            | kind::WRITE_ROWS
            | kind::UPDATE_ROWS
            | kind::DELETE_ROWS
            | kind::PARTIAL_UPDATE_ROWS => self.rows(event)?,
            kind::TRANSACTION_PAYLOAD if outer => self.payload(event.body)?,
            kind::MARIADB_QUERY_COMPRESSED
            | kind::MARIADB_ROWS_COMPRESSED_FIRST..=kind::MARIADB_ROWS_COMPRESSED_LAST => {
                return Err(Trouble::Refused(
                    "its binlog is compressed; set its log_bin_compress to OFF, and cancel the workflow and start it again to copy anew".to_owned(),
                ));
            }
            kind::INCIDENT => {
                return Err(Trouble::Unreadable(
                    "the server lost some of what should be in its binlog (an incident event)"
                        .to_owned(),
                ));
            }
            _ => {}
        }
        Ok(())
    }

    /// There is nothing more at the moment.
    pub(super) fn heartbeat(&mut self) {
        let position = self.position.clone();
        self.out.push_back(SourceEvent::Heartbeat { position });
    }

    fn begin(&mut self, gtid: Gtid, timestamp: u32, begun: bool, xa: bool) -> Result<(), Trouble> {
        self.abandon(false)?;
        self.open = Some(Open {
            gtid,
            timestamp: u64::from(timestamp),
            changes: Vec::new(),
            bytes: 0,
            parts: 0,
            begun,
            savepoints: Vec::new(),
            prepares: xa,
            touched: false,
        });
        Ok(())
    }

    /// Forgets a transaction whose end is missing: it was not committed. `crashed`: nor was one
    /// that would have had a single event.
    fn abandon(&mut self, crashed: bool) -> Result<(), Trouble> {
        match self.open.take() {
            Some(open) if open.parts > 0 && !crashed => Err(Trouble::Unreadable(format!(
                "transaction {} has no end",
                open.gtid
            ))),
            Some(open) if !open.begun && !crashed => {
                // One event of a kind that is nothing to streams.
                self.finish(open);
                Ok(())
            }
            Some(mut open) => {
                open.undo(0, &mut self.out);
                Ok(())
            }
            None => Ok(()),
        }
    }

    fn commit(&mut self) {
        if let Some(open) = self.open.take() {
            self.finish(open);
        }
    }

    fn finish(&mut self, open: Open) {
        if self.position.contains_gtid(&open.gtid) {
            // The server sent it once more.
            return;
        }
        self.position.advance(&open.gtid);
        self.out.push_back(SourceEvent::Transaction(Transaction {
            gtid: open.gtid,
            position: self.position.clone(),
            timestamp: open.timestamp,
            changes: open.changes,
            is_last: true,
        }));
    }

    fn query(&mut self, event: &Event<'_>) -> Result<(), Trouble> {
        let query = Query::parse(event.body)?;
        let statement = classify(query.statement);
        let ours = query.database == self.keyspace.as_str().as_bytes();
        match statement {
            Statement::Begin | Statement::CreateAndFill => {
                if let Some(open) = &mut self.open {
                    open.begun = true;
                }
            }
            Statement::Commit => self.commit(),
            Statement::Rollback => {
                if let Some(mut open) = self.open.take() {
                    open.undo(0, &mut self.out);
                    open.changes.clear();
                    self.finish(open);
                }
            }
            Statement::Savepoint(name) => {
                if let Some(open) = &mut self.open {
                    // It takes the place of one of the same name.
                    open.savepoints.retain(|s| s.name != name);
                    open.savepoints.push(Savepoint {
                        name,
                        parts: open.parts,
                        changes: open.changes.len(),
                    });
                }
            }
            Statement::RollbackTo(name) => self.roll_back_to(&name)?,
            Statement::XaPart => {
                if let Some(open) = &mut self.open {
                    open.begun = true;
                    open.prepares = true;
                }
            }
            Statement::XaCommit | Statement::XaRollback => self.commit(),
            Statement::Tables(tables) => {
                let touched = self.places(&tables, ours);
                self.statement(query.statement, touched);
            }
            Statement::DropDatabase(name) => {
                let all = if name == self.keyspace.as_str() {
                    (0..self.tables.len()).collect()
                } else {
                    Vec::new()
                };
                self.statement(query.statement, all);
            }
            Statement::Writes if ours && self.mentions_ours(query.statement) => {
                return Err(Trouble::Refused(
                    "a session logged a write to a table that moves as a statement (binlog_format was not ROW): what it did cannot be followed; cancel the workflow and start it again to copy anew".to_owned(),
                ));
            }
            Statement::Writes | Statement::Other => self.statement(query.statement, Vec::new()),
        }
        Ok(())
    }

    /// A statement that is a transaction by itself, or one within.
    fn statement(&mut self, statement: &[u8], tables: Vec<usize>) {
        if !tables.is_empty() {
            self.out.push_back(SourceEvent::Ddl {
                position: self.position.clone(),
                statement: String::from_utf8_lossy(statement).into_owned(),
                tables,
            });
        }
        if self.open.as_ref().is_some_and(|open| !open.begun) {
            self.commit();
        }
    }

    fn places(&self, tables: &[(Option<String>, String)], ours: bool) -> Vec<usize> {
        let keyspace = self.keyspace.as_str();
        let in_keyspace = tables
            .iter()
            .filter(|(db, _)| db.as_ref().map_or(ours, |db| db == keyspace));
        let mut places: Vec<usize> = in_keyspace
            .filter_map(|(_, name)| self.tables.iter().position(|t| t.name.as_str() == name))
            .collect();
        places.sort_unstable();
        places.dedup();
        places
    }

    fn mentions_ours(&self, statement: &[u8]) -> bool {
        let text = String::from_utf8_lossy(statement);
        self.tables.iter().any(|t| text.contains(t.name.as_str()))
    }

    fn roll_back_to(&mut self, name: &str) -> Result<(), Trouble> {
        let Some(open) = &mut self.open else {
            return Ok(());
        };
        let Some(found) = open.savepoints.iter().position(|s| s.name == name) else {
            return Err(Trouble::Unreadable(format!(
                "transaction {} goes back to a savepoint that is not known",
                open.gtid
            )));
        };
        let Savepoint { parts, changes, .. } = open.savepoints[found];
        open.undo(parts, &mut self.out);
        open.changes.truncate(changes);
        open.savepoints.truncate(found + 1);
        Ok(())
    }

    fn prepared(&mut self) -> Result<(), Trouble> {
        if let Some(open) = &mut self.open {
            open.prepares = true;
        }
        self.refuse_xa()?;
        self.commit();
        Ok(())
    }

    fn refuse_xa(&self) -> Result<(), Trouble> {
        match &self.open {
            Some(open) if open.prepares && open.touched => Err(Trouble::Refused(format!(
                "the XA transaction {} wrote to a table that moves, which streams cannot follow; write without XA, and cancel the workflow and start it again to copy anew",
                open.gtid
            ))),
            _ => Ok(()),
        }
    }

    fn table_map(&mut self, body: &[u8]) -> Result<(), Trouble> {
        let map = TableMap::parse(body)?;
        if let Some(Some(known)) = self.maps.get(&map.id)
            && *known.body == *body
        {
            return Ok(());
        }
        let place = if map.database == self.keyspace.as_str().as_bytes() {
            self.tables
                .iter()
                .position(|t| t.name.as_str().as_bytes() == map.table)
        } else {
            None
        };
        let mapped = match place {
            None => None,
            Some(table) => {
                let shape = &self.tables[table];
                let columns = map
                    .matched(shape)
                    .map_err(|why| Trouble::DefinitionChanged {
                        table: shape.name.to_string(),
                        why,
                    })?;
                Some(Mapped {
                    table,
                    columns: Arc::new(columns),
                    body: body.into(),
                })
            }
        };
        // Tables that come and go leave their numbers behind.
        if self.maps.len() > 10_000 {
            self.maps.clear();
        }
        self.maps.insert(map.id, mapped);
        Ok(())
    }

    fn rows(&mut self, event: &Event<'_>) -> Result<(), Trouble> {
        let mut reader = Reader::new(event.body);
        let id = reader.uint(6)?;
        reader.u16()?;
        let Some(mapped) = self.maps.get(&id) else {
            // Rows without a table are sent with no table's number.
            return Ok(());
        };
        let Some(mapped) = mapped.clone() else {
            return Ok(());
        };
        let Some(open) = &mut self.open else {
            return Err(Trouble::Unreadable(
                "it has rows outside of a transaction".to_owned(),
            ));
        };
        open.touched = true;
        let shape = self.tables[mapped.table].clone();
        if event.kind == kind::PARTIAL_UPDATE_ROWS {
            return Err(Trouble::Refused(format!(
                "changes of table `{}` are logged in part only; set binlog_row_value_options to '', and cancel the workflow and start it again to copy anew",
                shape.name
            )));
        }
        if matches!(
            event.kind,
            kind::WRITE_ROWS | kind::UPDATE_ROWS | kind::DELETE_ROWS
        ) {
            let extra = usize::from(reader.u16()?);
            reader.bytes(extra.checked_sub(2).ok_or(Truncated)?)?;
        }
        let width = usize::try_from(reader.lenenc()?).map_err(|_| Truncated)?;
        if width != mapped.columns.len() {
            return Err(Trouble::DefinitionChanged {
                table: shape.name.to_string(),
                why: format!("rows have {width} columns"),
            });
        }
        let first = reader.bytes(width.div_ceil(8))?;
        let updates = matches!(event.kind, kind::UPDATE_ROWS | kind::UPDATE_ROWS_V1);
        let second = if updates {
            reader.bytes(width.div_ceil(8))?
        } else {
            first
        };
        self.refuse_xa()?;
        while !reader.is_empty() {
            let before = reader.rest().len();
            let row = image(&shape, &mapped.columns, first, &mut reader)?;
            let table = mapped.table;
            let change = match event.kind {
                kind::WRITE_ROWS | kind::WRITE_ROWS_V1 => Change::Insert { table, row },
                kind::DELETE_ROWS | kind::DELETE_ROWS_V1 => Change::Delete { table, row },
                _ => Change::Update {
                    table,
                    before: row,
                    after: image(&shape, &mapped.columns, second, &mut reader)?,
                },
            };
            let bytes = before - reader.rest().len();
            if bytes == 0 {
                // A table of no columns would have rows without end.
                return Err(Trouble::Unreadable("it has rows of no bytes".to_owned()));
            }
            self.add(change, bytes);
        }
        Ok(())
    }

    fn add(&mut self, change: Change, bytes: usize) {
        let Some(open) = &mut self.open else { return };
        open.changes.push(change);
        open.bytes += bytes + ROW_OVERHEAD;
        if open.bytes >= self.part {
            if self.position.contains_gtid(&open.gtid) {
                open.changes.clear();
                open.bytes = 0;
                return;
            }
            open.give_parts(&self.position, &mut self.out);
        }
    }

    /// A compressed transaction: its events, one after the other.
    fn payload(&mut self, body: &[u8]) -> Result<(), Trouble> {
        let mut reader = Reader::new(body);
        let (mut size, mut compression) = (None, 255);
        while !reader.is_empty() {
            let field = reader.lenenc()?;
            if field == 0 {
                break;
            }
            let length = usize::try_from(reader.lenenc()?).map_err(|_| Truncated)?;
            let mut value = Reader::new(reader.bytes(length)?);
            match field {
                1 => size = Some(value.lenenc()?),
                2 => compression = value.lenenc()?,
                _ => {}
            }
        }
        let size = size.and_then(|s| usize::try_from(s).ok());
        let data = reader.bytes(size.unwrap_or(reader.rest().len()))?;
        let broken =
            |e: std::io::Error| Trouble::Unreadable(format!("a compressed transaction: {e}"));
        let mut events: Box<dyn std::io::Read + '_> = match compression {
            0 => Box::new(zstd::stream::read::Decoder::with_buffer(data).map_err(broken)?),
            255 => Box::new(data),
            other => {
                return Err(Trouble::Unreadable(format!(
                    "a transaction is compressed in a way ({other}) that is not known"
                )));
            }
        };
        let mut buffer = Vec::new();
        loop {
            // One event after the other, so that a large transaction is never whole in memory.
            let mut head = [0; 19];
            buffer.clear();
            if (&mut events)
                .take(19)
                .read_to_end(&mut buffer)
                .map_err(broken)?
                == 0
            {
                return Ok(());
            }
            if buffer.len() < 19 {
                return Err(Truncated.into());
            }
            head.copy_from_slice(&buffer);
            let length = u32::from_le_bytes([head[9], head[10], head[11], head[12]]) as usize;
            let rest = length
                .checked_sub(19)
                .filter(|_| length <= LARGEST_EVENT)
                .ok_or(Truncated)?;
            (&mut events)
                .take(rest as u64)
                .read_to_end(&mut buffer)
                .map_err(broken)?;
            let (event, _) = Event::parse(&buffer, false).map_err(Trouble::Unreadable)?;
            self.take(&event, false)?;
        }
    }
}

/// Reads one row of an event. `present`: the columns that it has, a bit for each.
fn image(
    shape: &TableShape,
    columns: &[MappedColumn],
    present: &[u8],
    reader: &mut Reader<'_>,
) -> Result<Row, Trouble> {
    let is_set = |bits: &[u8], i: usize| bits.get(i / 8).is_some_and(|b| b >> (i % 8) & 1 != 0);
    let count = (0..columns.len()).filter(|&i| is_set(present, i)).count();
    let nulls = reader.bytes(count.div_ceil(8))?;
    // All values in one buffer, which the cells share.
    let mut data = Vec::with_capacity(128);
    let mut places: Vec<Option<(usize, usize)>> = vec![None; shape.columns.len()];
    let mut seen = 0;
    for (i, column) in columns.iter().enumerate() {
        if !is_set(present, i) {
            if let Ok(place) = column.place {
                return Err(Trouble::Refused(format!(
                    "changes of table `{}` are logged without column `{}`; set binlog_row_image to FULL, and cancel the workflow and start it again to copy anew",
                    shape.name, shape.columns[place].name
                )));
            }
            continue;
        }
        let is_null = is_set(nulls, seen);
        seen += 1;
        if is_null {
            continue;
        }
        let start = data.len();
        let column_shape = match column.place {
            Ok(place) => &shape.columns[place],
            Err(place) => &shape.generated[place].1,
        };
        write_value(column.wire, column_shape, reader, &mut data).map_err(|e| {
            Trouble::Unreadable(format!(
                "column `{}` of table `{}`: {}",
                column_shape.name, shape.name, e.0
            ))
        })?;
        match column.place {
            Ok(place) => places[place] = Some((start, data.len())),
            Err(_) => data.truncate(start),
        }
    }
    let data = Bytes::from(data);
    Ok(places
        .into_iter()
        .map(|place| place.map(|(start, end)| data.slice(start..end)))
        .collect())
}
