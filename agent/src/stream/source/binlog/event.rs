//! Events of a binlog, cut out of what the server sends.
//!
//! Source: `control_events.h`, `rows_event.h` of MySQL; `log_event.h` of MariaDB.

use crate::flavor::gtid::{MariaDbGtid, MySqlGtid};
use crate::stream::position::Gtid;
use crate::stream::wire::codec::{Reader, Truncated};

pub(super) mod kind {
    pub const QUERY: u8 = 2;
    pub const ROTATE: u8 = 4;
    pub const FORMAT_DESCRIPTION: u8 = 15;
    pub const XID: u8 = 16;
    pub const TABLE_MAP: u8 = 19;
    pub const WRITE_ROWS_V1: u8 = 23;
    pub const UPDATE_ROWS_V1: u8 = 24;
    pub const DELETE_ROWS_V1: u8 = 25;
    pub const INCIDENT: u8 = 26;
    pub const HEARTBEAT: u8 = 27;
    pub const WRITE_ROWS: u8 = 30;
    pub const UPDATE_ROWS: u8 = 31;
    pub const DELETE_ROWS: u8 = 32;
    pub const GTID: u8 = 33;
    pub const ANONYMOUS_GTID: u8 = 34;
    pub const XA_PREPARE: u8 = 38;
    pub const PARTIAL_UPDATE_ROWS: u8 = 39;
    pub const TRANSACTION_PAYLOAD: u8 = 40;
    pub const HEARTBEAT_V2: u8 = 41;
    pub const GTID_TAGGED: u8 = 42;
    /// From here on MariaDB's.
    pub const MARIADB_GTID: u8 = 162;
    pub const MARIADB_QUERY_COMPRESSED: u8 = 165;
    pub const MARIADB_ROWS_COMPRESSED_FIRST: u8 = 166;
    pub const MARIADB_ROWS_COMPRESSED_LAST: u8 = 171;
}

/// Bytes of every event's header.
const HEADER: usize = 19;

#[derive(Debug, Clone, Copy)]
pub(super) struct Event<'a> {
    pub timestamp: u32,
    pub kind: u8,
    pub server_id: u32,
    /// What follows the header, without a checksum.
    pub body: &'a [u8],
}

impl<'a> Event<'a> {
    /// Reads the event at the front of bytes; also how long it is. `checksums`: whether four
    /// bytes at the end are one.
    pub(super) fn parse(bytes: &'a [u8], checksums: bool) -> Result<(Self, usize), String> {
        let mut reader = Reader::new(bytes);
        let mut head = || -> Result<_, Truncated> {
            let timestamp = reader.u32()?;
            let kind = reader.u8()?;
            let server_id = reader.u32()?;
            let length = reader.u32()? as usize;
            reader.bytes(6)?;
            Ok((timestamp, kind, server_id, length))
        };
        let (timestamp, kind, server_id, length) =
            head().map_err(|_| "an event is shorter than its header".to_owned())?;
        let event = bytes
            .get(..length)
            .filter(|_| length >= HEADER)
            .ok_or_else(|| format!("an event of type {kind} says that it has {length} bytes"))?;
        let mut body = &event[HEADER..];
        // A description says itself whether there are checksums, and has one in any case.
        let has_checksum = checksums && kind != kind::FORMAT_DESCRIPTION;
        if has_checksum {
            let Some((front, sum)) = body.split_last_chunk() else {
                return Err(format!("an event of type {kind} has no checksum"));
            };
            body = front;
            // Servers make up rotations and heartbeats, some without a right sum.
            let made_up = matches!(kind, kind::ROTATE | kind::HEARTBEAT | kind::HEARTBEAT_V2);
            if !made_up && crc32fast::hash(&event[..length - 4]) != u32::from_le_bytes(*sum) {
                return Err(format!("an event of type {kind} has a wrong checksum"));
            }
        }
        let event = Self {
            timestamp,
            kind,
            server_id,
            body,
        };
        Ok((event, length))
    }

    /// Of a format description: whether the events that follow have checksums.
    pub(super) fn announces_checksums(&self) -> bool {
        // The algorithm and the sum are the last five bytes.
        let length = self.body.len();
        length >= 5 && self.body[length - 5] == 1
    }
}

/// A statement in the binlog.
#[derive(Debug, Clone, Copy)]
pub(super) struct Query<'a> {
    pub database: &'a [u8],
    pub statement: &'a [u8],
}

impl<'a> Query<'a> {
    pub(super) fn parse(body: &'a [u8]) -> Result<Self, Truncated> {
        let mut reader = Reader::new(body);
        // Thread, time.
        reader.bytes(8)?;
        let database = usize::from(reader.u8()?);
        // Error.
        reader.u16()?;
        let status = usize::from(reader.u16()?);
        reader.bytes(status)?;
        let database = reader.bytes(database)?;
        reader.u8()?;
        Ok(Self {
            database,
            statement: reader.rest(),
        })
    }
}

/// MariaDB: the transaction, and whether it is a single statement without an end of its own.
pub(super) fn mariadb_gtid(event: &Event<'_>) -> Result<(Gtid, MariaDbFlags), Truncated> {
    let mut reader = Reader::new(event.body);
    let sequence = reader.u64()?;
    let domain = reader.u32()?;
    let flags = reader.u8()?;
    let gtid = Gtid::MariaDb(MariaDbGtid {
        domain,
        server: event.server_id,
        sequence,
    });
    let flags = MariaDbFlags {
        standalone: flags & 1 != 0,
        prepared_xa: flags & 64 != 0,
        completed_xa: flags & 128 != 0,
    };
    Ok((gtid, flags))
}

#[derive(Debug, Clone, Copy)]
pub(super) struct MariaDbFlags {
    pub standalone: bool,
    pub prepared_xa: bool,
    pub completed_xa: bool,
}

pub(super) fn mysql_gtid(event: &Event<'_>) -> Result<Gtid, Truncated> {
    let mut reader = Reader::new(event.body);
    if event.kind == kind::GTID_TAGGED {
        return tagged_gtid(reader);
    }
    // Flags.
    reader.u8()?;
    let source = uuid(reader.bytes(16)?);
    let number = reader.u64()?;
    Ok(Gtid::MySql(MySqlGtid { source, number }))
}

/// The form of transactions with a tag, written by MySQL's serialization library: a version, the
/// size, the last field that must be understood, then fields with their numbers in front.
fn tagged_gtid(mut reader: Reader<'_>) -> Result<Gtid, Truncated> {
    reader.u8()?;
    varlen(&mut reader)?;
    varlen(&mut reader)?;
    let (mut source, mut number, mut tag) = (None, None, String::new());
    // Flags, UUID, number and tag come first.
    while !reader.is_empty() {
        match varlen(&mut reader)? {
            0 => {
                varlen(&mut reader)?;
            }
            1 => {
                let mut bytes = [0u8; 16];
                for byte in &mut bytes {
                    *byte = u8::try_from(varlen(&mut reader)?).map_err(|_| Truncated)?;
                }
                source = Some(uuid(&bytes));
            }
            2 => number = Some(varlen(&mut reader)? >> 1),
            3 => {
                let length = usize::try_from(varlen(&mut reader)?).map_err(|_| Truncated)?;
                tag = String::from_utf8_lossy(reader.bytes(length)?).to_ascii_lowercase();
            }
            _ => break,
        }
    }
    let mut source = source.ok_or(Truncated)?;
    if !tag.is_empty() {
        source = format!("{source}:{tag}");
    }
    Ok(Gtid::MySql(MySqlGtid {
        source,
        number: number.ok_or(Truncated)?,
    }))
}

/// A number whose first byte says by its lowest ones how many bytes follow.
fn varlen(reader: &mut Reader<'_>) -> Result<u64, Truncated> {
    let first = reader.u8()?;
    let more = first.trailing_ones() as usize;
    if more == 8 {
        return reader.u64();
    }
    let rest = reader.uint(more)?;
    let low = u64::from(first) >> (more + 1);
    Ok(low | rest << (7 - more))
}

fn uuid(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(36);
    for (i, byte) in bytes.iter().enumerate() {
        if matches!(i, 4 | 6 | 8 | 10) {
            text.push('-');
        }
        text.push_str(&format!("{byte:02x}"));
    }
    text
}
