//! Asks a server for its binlog from a position on, as a replica does.
//!
//! Source: "Replication Protocol" of MySQL's and MariaDB's documentation; `Gtid_set::encode` of
//! MySQL.

use rand::RngExt as _;
use vtplan_state::model::FlavorKind;

use super::HEARTBEAT;
use crate::flavor::gtid::MySqlGtidSet;
use crate::stream::error::StreamError;
use crate::stream::position::Position;
use crate::stream::server::ServerAddress;
use crate::stream::wire::{Connection, WireError};

const COM_BINLOG_DUMP: u8 = 0x12;
const COM_BINLOG_DUMP_GTID: u8 = 0x1e;
/// The first position of every binlog file.
const FIRST: u32 = 4;
/// The server cannot send its binlog; the text says why.
const ER_SOURCE_FATAL_ERROR_READING_BINLOG: u16 = 1236;

const WHAT: &str = "following the binlog";

/// A connection on which the events after a position come.
pub(super) async fn start(
    address: &ServerAddress,
    from: &Position,
) -> Result<Connection, StreamError> {
    let mut conn = Connection::open(address, None).await?;
    check_position(&mut conn, address, from).await?;
    // Servers end the older one of two replicas with the same number. Real ones are far below.
    let server_id = rand::rng().random_range(0x8000_0000..u32::MAX);
    let heartbeat = HEARTBEAT.as_nanos();
    conn.run(
        WHAT,
        format!(
            "SET @master_heartbeat_period = {heartbeat}, @source_heartbeat_period = {heartbeat}, \
             @master_binlog_checksum = @@global.binlog_checksum, \
             @source_binlog_checksum = @@global.binlog_checksum"
        ),
    )
    .await?;
    let (command, arguments) = match from {
        Position::MariaDb(position) => {
            conn.run(
                WHAT,
                format!(
                    "SET @mariadb_slave_capability = 4, @slave_connect_state = '{position}', \
                     @slave_gtid_strict_mode = 1, @slave_gtid_ignore_duplicates = 0"
                ),
            )
            .await?;
            (COM_BINLOG_DUMP, dump_arguments(server_id))
        }
        Position::MySql(set) => {
            let uuid = random_uuid();
            conn.run(
                WHAT,
                format!("SET @slave_uuid = '{uuid}', @replica_uuid = '{uuid}'"),
            )
            .await?;
            (COM_BINLOG_DUMP_GTID, dump_gtid_arguments(server_id, set)?)
        }
    };
    conn.start_stream(command, &arguments)
        .await
        .map_err(|e| e.about(&address.name, WHAT))?;
    Ok(conn)
}

/// Looks whether the server has the position, and everything after it.
async fn check_position(
    conn: &mut Connection,
    address: &ServerAddress,
    from: &Position,
) -> Result<(), StreamError> {
    if from.flavor() != address.flavor {
        return Err(StreamError::Refused(format!(
            "`{from}` is a position of {}, and {address} runs {}",
            from.flavor(),
            address.flavor
        )));
    }
    let query = match address.flavor {
        FlavorKind::MariaDb => "SELECT @@global.gtid_binlog_pos, @@global.gtid_slave_pos",
        FlavorKind::MySql => "SELECT @@global.gtid_executed, @@global.gtid_purged",
    };
    let rows = conn.rows(WHAT, query).await?;
    let row = rows.into_iter().next().unwrap_or_default();
    let text = |i| crate::stream::source::shape::text(&row, i);
    let mut has = Position::parse(address.flavor, &text(0))?;
    let second = Position::parse(address.flavor, &text(1))?;
    if let (Position::MariaDb(has), Position::MariaDb(replicated)) = (&mut has, &second) {
        has.add_domains(replicated);
    }
    if !has.contains(from) {
        return Err(StreamError::Behind {
            server: address.name.clone(),
            position: from.to_string(),
            has: has.to_string(),
        });
    }
    if address.flavor == FlavorKind::MySql && !from.contains(&second) {
        return Err(StreamError::Purged {
            server: address.name.clone(),
            position: from.to_string(),
            why: format!("it purged {second}"),
        });
    }
    Ok(())
}

/// What an error means while the binlog is followed from a position.
pub(super) fn explain(error: WireError, server: &str, position: &Position) -> StreamError {
    if let WireError::Sql { code, message } = &error
        && *code == ER_SOURCE_FATAL_ERROR_READING_BINLOG
    {
        let text = message.to_lowercase();
        if text.contains("purged") || text.contains("could not find") {
            return StreamError::Purged {
                server: server.to_owned(),
                position: position.to_string(),
                why: message.clone(),
            };
        }
    }
    error.about(server, WHAT)
}

fn dump_arguments(server_id: u32) -> Vec<u8> {
    let mut out = Vec::new();
    out.extend_from_slice(&FIRST.to_le_bytes());
    // Flags.
    out.extend_from_slice(&0u16.to_le_bytes());
    out.extend_from_slice(&server_id.to_le_bytes());
    // No file: the server finds the right one.
    out
}

fn dump_gtid_arguments(server_id: u32, set: &MySqlGtidSet) -> Result<Vec<u8>, StreamError> {
    /// The position is a GTID set.
    const THROUGH_GTID: u16 = 4;
    let mut out = Vec::new();
    out.extend_from_slice(&THROUGH_GTID.to_le_bytes());
    out.extend_from_slice(&server_id.to_le_bytes());
    // No file.
    out.extend_from_slice(&0u32.to_le_bytes());
    out.extend_from_slice(&u64::from(FIRST).to_le_bytes());
    let set = encode(set)?;
    // A set has a few intervals.
    out.extend_from_slice(&(set.len() as u32).to_le_bytes());
    out.extend_from_slice(&set);
    Ok(out)
}

fn encode(set: &MySqlGtidSet) -> Result<Vec<u8>, StreamError> {
    let sources: Vec<_> = set.sources().filter(|(_, i)| !i.is_empty()).collect();
    let tagged = sources.iter().any(|(source, _)| source.contains(':'));
    let mut out = Vec::new();
    let count = sources.len() as u64;
    if tagged {
        // The format stands in the first and the last byte, the count between.
        let mut head = (count << 8).to_le_bytes();
        head[0] = 1;
        head[7] = 1;
        out.extend_from_slice(&head);
    } else {
        out.extend_from_slice(&count.to_le_bytes());
    }
    for (source, intervals) in sources {
        let (uuid, tag) = source.split_once(':').unwrap_or((source, ""));
        let bytes = uuid_bytes(uuid).ok_or_else(|| {
            StreamError::Refused(format!("`{uuid}` in a position of MySQL is not a UUID"))
        })?;
        out.extend_from_slice(&bytes);
        if tagged {
            // A length as MySQL's serialization library writes it: tags have 32 bytes at most.
            out.push((tag.len() as u8) << 1);
            out.extend_from_slice(tag.as_bytes());
        }
        out.extend_from_slice(&(intervals.len() as u64).to_le_bytes());
        for (first, last) in intervals {
            out.extend_from_slice(&first.to_le_bytes());
            // The first that is not in it any more.
            out.extend_from_slice(&last.saturating_add(1).to_le_bytes());
        }
    }
    Ok(out)
}

fn uuid_bytes(text: &str) -> Option<[u8; 16]> {
    let digits: String = text.chars().filter(|c| *c != '-').collect();
    if digits.len() != 32 || !digits.is_ascii() {
        return None;
    }
    let mut bytes = [0; 16];
    for (i, byte) in bytes.iter_mut().enumerate() {
        *byte = u8::from_str_radix(&digits[2 * i..2 * i + 2], 16).ok()?;
    }
    Some(bytes)
}

fn random_uuid() -> String {
    let random: u128 = rand::rng().random();
    let hex = format!("{random:032x}");
    format!(
        "{}-{}-4{}-8{}-{}",
        &hex[..8],
        &hex[8..12],
        &hex[13..16],
        &hex[17..20],
        &hex[20..]
    )
}
