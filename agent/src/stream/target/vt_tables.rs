//! `_vt` on the primary of each target shard: how far each stream has come there. Whatever writes
//! rows writes its position here in the same transaction. The tables are replicated like any other,
//! so a reparent of the target loses nothing.
//!
//! **`_vt.vreplication`**, a row for each (workflow, source shard, epoch) that feeds this shard:
//!
//! | column | meaning |
//! |---|---|
//! | `workflow` | [`WorkflowRecord::full_name`]: `customer.commerce2customer` |
//! | `source_shard` | the shard of the side that is read, `-80` |
//! | `epoch` | [`StreamsWanted::epoch`] |
//! | `created_at` | [`WorkflowRecord::created_at`]: rows of an older workflow of the same name are dropped when a stream is claimed |
//! | `fence` | the fencing token of the stream's lock. A transaction of a stream commits only while its own token stands here |
//! | `claim` | rises each time the stream is begun anew, by the same holder too: what it had under way before commits nothing |
//! | `sealed` | 1: a later epoch (which flows the other way) has begun; nothing of this epoch commits any more |
//! | `state` | `copying`, `following`, `stopped` (by `stop_at`), `error` |
//! | `copied` | 1: every row of this stream is on this target. From then on `pos` is all there is to know |
//! | `message` | why it is in state `error`, or what it is trying again after |
//! | `pos` | GTID set of the source: this shard holds exactly the source's rows as of it |
//! | `parked` | number of rows of this stream that rows of other streams keep out of their tables, see [`super::parked`]. Until it is 0, `pos` is where the stream is, and not what the tables hold |
//! | `stop_at`, `stop_until` | see below |
//!
//! A row with an empty `source_shard` and epoch 0 says that the workflow which was created then has
//! ended: an agent that was away meanwhile begins no stream of it anew.
//!
//! **`_vt.copy_state`**, a row for each table of such a stream while there is a copy: `lastpk` (the
//! key up to which rows are here; JSON array of hexadecimal cells; NULL: none yet), `chunk` (rises
//! with `lastpk`, to compare the targets of a stream), `rows_copied`, `bytes_copied`, `done`.
//!
//! **`_vt.vreplication_worker`**: the source transactions beyond `pos` that parallel workers have
//! committed already, a row for each worker. Once all workers of a group are through, `pos` holds
//! them and these rows mean nothing more. What `pos` says is therefore exact only while `state` is
//! `stopped`, or while a stream stands still.
//!
//! **Stopping streams at a position** (for a comparison). Whoever compares sets, on each target's
//! primary and for each stream (row) of the workflow's epoch:
//!
//! ```sql
//! UPDATE _vt.vreplication
//!   SET stop_at = '', stop_until = UNIX_TIMESTAMP(NOW(3)) * 1000 + 30000
//!   WHERE workflow = 'customer.commerce2customer' AND source_shard = '-80' AND epoch = 1;
//! ```
//!
//! - `stop_at` NULL: the stream runs. `''`: it stops after the transaction that it is in the middle
//!   of. A position: it applies what is in that position and nothing else, then stops; what it
//!   has beyond it already stays, so stop it with `''` first.
//! - `stop_until`: milliseconds since 1970 by this server's clock
//!   (`UNIX_TIMESTAMP(NOW(3)) * 1000`); later than that `stop_at` counts as NULL. Whoever compares
//!   pushes it forward for as long as it needs the stop.
//! - It has stopped when `state = 'stopped'`; then `pos` is where, exactly, and no worker is
//!   under way. For a position it is there when `pos` contains it; with a position ahead of
//!   it the state is `following` (it is running to it), and so it is while rows are parked. The stream looks with each commit, and about
//!   every 50 ms when there is nothing to commit or while it is stopped.
//! - It goes on when `stop_at` is NULL or has expired, and then sets its state again itself.
//! - Only streams that have copied all (`copied = 1`) look at it.
//!
//! Times here are the target server's, so no two clocks are compared.
//!
//! [`WorkflowRecord::full_name`]: vtplan_state::model::WorkflowRecord::full_name
//! [`WorkflowRecord::created_at`]: vtplan_state::model::WorkflowRecord::created_at
//! [`StreamsWanted::epoch`]: vtplan_state::model::StreamsWanted::epoch

use std::collections::{BTreeMap, BTreeSet};

use super::connection::{Connection, bytes, number, text};
use crate::flavor::literal;
use crate::stream::error::StreamError;
use crate::stream::row::Cell;
use crate::stream::row::Row;

/// What makes the database and its tables; run in this order, may be run again.
pub const CREATE: [&str; 4] = [
    "CREATE DATABASE IF NOT EXISTS _vt",
    "CREATE TABLE IF NOT EXISTS _vt.vreplication (
        workflow VARBINARY(255) NOT NULL,
        source_shard VARBINARY(128) NOT NULL,
        epoch BIGINT UNSIGNED NOT NULL,
        created_at BIGINT UNSIGNED NOT NULL,
        fence BIGINT UNSIGNED NOT NULL,
        claim BIGINT UNSIGNED NOT NULL,
        sealed TINYINT NOT NULL DEFAULT 0,
        state VARBINARY(16) NOT NULL,
        copied TINYINT NOT NULL DEFAULT 0,
        message BLOB NOT NULL,
        pos LONGBLOB NOT NULL,
        parked BIGINT UNSIGNED NOT NULL DEFAULT 0,
        stop_at LONGBLOB NULL,
        stop_until BIGINT UNSIGNED NOT NULL DEFAULT 0,
        PRIMARY KEY (workflow, source_shard, epoch)
    ) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS _vt.copy_state (
        workflow VARBINARY(255) NOT NULL,
        source_shard VARBINARY(128) NOT NULL,
        epoch BIGINT UNSIGNED NOT NULL,
        table_name VARBINARY(255) NOT NULL,
        lastpk LONGBLOB NULL,
        chunk BIGINT UNSIGNED NOT NULL DEFAULT 0,
        rows_copied BIGINT UNSIGNED NOT NULL DEFAULT 0,
        bytes_copied BIGINT UNSIGNED NOT NULL DEFAULT 0,
        done TINYINT NOT NULL DEFAULT 0,
        PRIMARY KEY (workflow, source_shard, epoch, table_name)
    ) ENGINE=InnoDB",
    "CREATE TABLE IF NOT EXISTS _vt.vreplication_worker (
        workflow VARBINARY(255) NOT NULL,
        source_shard VARBINARY(128) NOT NULL,
        epoch BIGINT UNSIGNED NOT NULL,
        worker INT UNSIGNED NOT NULL,
        applied LONGBLOB NOT NULL,
        PRIMARY KEY (workflow, source_shard, epoch, worker)
    ) ENGINE=InnoDB",
];

/// Which rows of `_vt` are a stream's.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StreamId {
    /// The workflow's full name.
    pub workflow: String,
    /// The shard that is read.
    pub source_shard: String,
    pub epoch: u64,
}

impl StreamId {
    /// The condition that selects the stream's rows in any of the tables.
    pub fn condition(&self) -> String {
        format!(
            "workflow = {} AND source_shard = {} AND epoch = {}",
            literal(&self.workflow),
            literal(&self.source_shard),
            self.epoch
        )
    }
}

/// What is recorded of a stream on one target, as of when it was claimed.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Recorded {
    pub state: String,
    pub copied: bool,
    pub message: String,
    /// GTID set; empty before anything was copied.
    pub pos: String,
    /// By table; empty when the epoch began without a copy.
    pub tables: BTreeMap<String, CopyState>,
    /// Transactions beyond `pos` that are applied already.
    pub applied: BTreeSet<String>,
}

/// How far a table is copied to one target.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct CopyState {
    /// The key up to which rows are there.
    pub lastpk: Option<Vec<Cell>>,
    pub chunk: u64,
    pub rows_copied: u64,
    pub bytes_copied: u64,
    pub done: bool,
}

/// A stream's right to write on one target.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Claim {
    pub id: StreamId,
    created_at: u64,
    fence: u64,
    claim: u64,
}

/// What a stream wants when it claims.
#[derive(Debug, Clone)]
pub struct Claiming<'a> {
    pub id: &'a StreamId,
    pub created_at: u64,
    /// The fencing token of the stream's lock.
    pub fence: u64,
    /// Where an epoch without a copy begins; `None`: with a copy of `tables`.
    pub start: Option<&'a str>,
    pub tables: &'a [String],
    /// Record that it stands still.
    pub stopped: bool,
}

/// The error of a [`Claim::check`] that fails: a number that is out of range.
const ER_DATA_OUT_OF_RANGE: u16 = 1690;

impl Claim {
    /// A statement that fails (and so ends the packet before its COMMIT) if the stream is not this
    /// claim's any more. Its row is what [`Claim::stop_of`] reads. Until the transaction ends
    /// nobody else can claim.
    pub fn check(&self) -> String {
        format!(
            "SELECT IF(COALESCE(SUM(IF(sealed = 0 AND fence = {} AND claim = {}, 1, 0)), 0) = 1, 0, \
             EXP(1000 + COALESCE(MAX(fence), 0))), \
             MAX(IF(stop_until > UNIX_TIMESTAMP(NOW(3)) * 1000, stop_at, NULL)) \
             FROM _vt.vreplication WHERE {} LOCK IN SHARE MODE",
            self.fence,
            self.claim,
            self.id.condition()
        )
    }

    /// `stop_at` as it stands, without a lock.
    pub fn look(&self) -> String {
        format!(
            "SELECT 0, IF(stop_until > UNIX_TIMESTAMP(NOW(3)) * 1000, stop_at, NULL) \
             FROM _vt.vreplication WHERE {}",
            self.id.condition()
        )
    }

    /// What the row of [`Claim::check`] or [`Claim::look`] says of `stop_at`.
    pub fn stop_of(rows: &[Row]) -> Option<String> {
        let stop = bytes(rows.first()?, 1)?;
        Some(String::from_utf8_lossy(stop).into_owned())
    }

    /// Where rows of a table are parked, see [`super::parked`].
    pub fn shadow(&self, table: &str) -> String {
        shadow(
            &self.id.workflow,
            self.created_at,
            &self.id.source_shard,
            table,
        )
    }

    /// A transaction with nothing but changes of the stream's own row.
    pub fn set(&self, assignments: &str) -> String {
        format!(
            "BEGIN; {}; {}; COMMIT",
            self.check(),
            self.update(assignments)
        )
    }

    /// Changes the stream's own row.
    pub fn update(&self, assignments: &str) -> String {
        format!(
            "UPDATE _vt.vreplication SET {assignments} WHERE {}",
            self.id.condition()
        )
    }
}

/// The table where a stream parks rows of a table, quoted, with its database. It is nobody
/// else's: neither another workflow's, nor that of one of the same name that began at another time.
pub fn shadow(workflow: &str, created_at: u64, source_shard: &str, table: &str) -> String {
    let of = format!("{workflow}\0{created_at}\0{source_shard}\0{table}");
    format!(
        "_vt.parked_{:016x}",
        xxhash_rust::xxh64::xxh64(of.as_bytes(), 0)
    )
}

/// Whether an error says that the stream is not the claim's any more.
pub fn is_superseded(error: &StreamError) -> bool {
    error.code() == Some(ER_DATA_OUT_OF_RANGE)
}

/// Makes the tables where they are not there.
pub async fn create(conn: &mut Connection) -> Result<(), StreamError> {
    let what = "looking for the tables of _vt";
    let query = "SELECT COUNT(*) FROM information_schema.tables WHERE table_schema = '_vt' \
                 AND table_name IN ('vreplication', 'copy_state', 'vreplication_worker')";
    let found = conn.query(what, query).await?;
    if found.first().is_some_and(|row| number(row, 0) == 3) {
        return Ok(());
    }
    for statement in CREATE {
        conn.run("making the tables of _vt", statement).await?;
    }
    Ok(())
}

/// Takes a stream's rows on one target: whatever held them before commits nothing from here on, and
/// what it has committed is in the answer.
///
/// # Errors
/// Somebody with a newer token has it; the epoch is over.
pub async fn claim(
    conn: &mut Connection,
    wanted: &Claiming<'_>,
) -> Result<(Claim, Recorded), StreamError> {
    let claimed = claim_in_transaction(conn, wanted).await;
    if claimed.is_err() {
        // If this fails too, the connection goes, and with it the transaction.
        let _ = conn.run("undoing a claim", "ROLLBACK").await;
    }
    claimed
}

async fn claim_in_transaction(
    conn: &mut Connection,
    wanted: &Claiming<'_>,
) -> Result<(Claim, Recorded), StreamError> {
    let what = "claiming the stream in _vt";
    let (id, condition) = (wanted.id, wanted.id.condition());
    conn.run(what, "BEGIN").await?;
    drop_streams(conn, &wanted.id.workflow, wanted.created_at, "").await?;
    let ended = format!(
        "SELECT created_at FROM _vt.vreplication \
         WHERE workflow = {} AND source_shard = '' AND epoch = 0 FOR UPDATE",
        literal(&id.workflow)
    );
    if let Some(row) = conn.query(what, &ended).await?.first()
        && number(row, 0) >= wanted.created_at
    {
        return Err(StreamError::Superseded {
            server: conn.name().to_owned(),
            why: "the workflow has ended".to_owned(),
        });
    }
    let query = format!(
        "SELECT fence, claim, sealed, created_at FROM _vt.vreplication WHERE {condition} FOR UPDATE"
    );
    let found = conn.query(what, &query).await?;
    let mut claim = Claim {
        id: id.clone(),
        created_at: wanted.created_at,
        fence: wanted.fence,
        claim: 1,
    };
    match found.first() {
        None => begin(conn, wanted).await?,
        Some(row) => {
            let superseded = |why: &str| {
                Err(StreamError::Superseded {
                    server: conn.name().to_owned(),
                    why: why.to_owned(),
                })
            };
            if number(row, 3) > wanted.created_at {
                return superseded("a newer workflow of the same name has begun");
            }
            if number(row, 0) > wanted.fence {
                return superseded("another agent runs it");
            }
            if number(row, 2) != 0 {
                return superseded("a later epoch has begun");
            }
            claim.claim = number(row, 1) + 1;
            let state = if wanted.stopped {
                "state = IF(state = 'error', state, 'stopped'), "
            } else {
                ""
            };
            let update = format!(
                "UPDATE _vt.vreplication SET {state}fence = {}, claim = {} WHERE {condition}",
                claim.fence, claim.claim
            );
            conn.run(what, update).await?;
        }
    }
    let recorded = read(conn, id).await?;
    conn.run(what, "COMMIT").await?;
    Ok((claim, recorded))
}

/// The rows of workflows of a name that began before a time.
async fn drop_streams(
    conn: &mut Connection,
    workflow: &str,
    before: u64,
    which: &str,
) -> Result<(), StreamError> {
    let what = "dropping what an older workflow left in _vt";
    let query = format!(
        "SELECT source_shard, epoch FROM _vt.vreplication WHERE workflow = {} \
         AND created_at < {before} {which}",
        literal(workflow)
    );
    for row in conn.query(what, &query).await? {
        let older = StreamId {
            workflow: workflow.to_owned(),
            source_shard: text(&row, 0),
            epoch: number(&row, 1),
        };
        for table in ["copy_state", "vreplication_worker", "vreplication"] {
            let delete = format!("DELETE FROM _vt.{table} WHERE {}", older.condition());
            conn.run(what, delete).await?;
        }
    }
    Ok(())
}

async fn begin(conn: &mut Connection, wanted: &Claiming<'_>) -> Result<(), StreamError> {
    let what = "beginning the stream in _vt";
    let id = wanted.id;
    let names = format!(
        "{}, {}, {}",
        literal(&id.workflow),
        literal(&id.source_shard),
        id.epoch
    );
    let copied = u8::from(wanted.start.is_some());
    let state = match (wanted.stopped, wanted.start) {
        (true, _) => "stopped",
        (false, Some(_)) => "following",
        (false, None) => "copying",
    };
    let insert = format!(
        "INSERT INTO _vt.vreplication \
         (workflow, source_shard, epoch, created_at, fence, claim, state, copied, message, pos) \
         VALUES ({names}, {}, {}, 1, '{state}', {copied}, '', {})",
        wanted.created_at,
        wanted.fence,
        literal(wanted.start.unwrap_or_default())
    );
    conn.run(what, insert).await?;
    if wanted.start.is_none() {
        for table in wanted.tables {
            let insert = format!(
                "INSERT INTO _vt.copy_state (workflow, source_shard, epoch, table_name) \
                 VALUES ({names}, {})",
                literal(table)
            );
            conn.run(what, insert).await?;
        }
    }
    Ok(())
}

/// What is recorded of a stream.
async fn read(conn: &mut Connection, id: &StreamId) -> Result<Recorded, StreamError> {
    let what = "reading _vt";
    let condition = id.condition();
    let query =
        format!("SELECT state, copied, message, pos FROM _vt.vreplication WHERE {condition}");
    let mut recorded = Recorded::default();
    if let Some(row) = conn.query(what, &query).await?.first() {
        recorded.state = text(row, 0);
        recorded.copied = number(row, 1) != 0;
        recorded.message = text(row, 2);
        recorded.pos = text(row, 3);
    }
    let query = format!(
        "SELECT table_name, lastpk, chunk, rows_copied, bytes_copied, done \
         FROM _vt.copy_state WHERE {condition}"
    );
    for row in conn.query(what, &query).await? {
        let lastpk = bytes(&row, 1).map(decode_key).transpose()?;
        let state = CopyState {
            lastpk,
            chunk: number(&row, 2),
            rows_copied: number(&row, 3),
            bytes_copied: number(&row, 4),
            done: number(&row, 5) != 0,
        };
        recorded.tables.insert(text(&row, 0), state);
    }
    let query = format!("SELECT applied FROM _vt.vreplication_worker WHERE {condition}");
    for row in conn.query(what, &query).await? {
        recorded.applied.extend(decode_applied(&text(&row, 0)));
    }
    Ok(recorded)
}

/// Ends earlier epochs of a workflow on a server that is now read: nothing that still runs for
/// them commits there any more.
pub async fn seal(conn: &mut Connection, workflow: &str, before: u64) -> Result<(), StreamError> {
    let what = "ending the earlier streams in _vt";
    let query = "SELECT COUNT(*) FROM information_schema.tables \
                 WHERE table_schema = '_vt' AND table_name = 'vreplication'";
    let found = conn.query(what, query).await?;
    if found.first().is_none_or(|row| number(row, 0) == 0) {
        return Ok(());
    }
    let condition = format!(
        "workflow = {} AND epoch < {before} AND sealed = 0",
        literal(workflow)
    );
    let query = format!("SELECT COUNT(*) FROM _vt.vreplication WHERE {condition}");
    let open = conn.query(what, &query).await?;
    if open.first().is_some_and(|row| number(row, 0) > 0) {
        let update = format!("UPDATE _vt.vreplication SET sealed = 1 WHERE {condition}");
        conn.run(what, update).await?;
    }
    Ok(())
}

/// Removes what is recorded of the streams of a workflow that is over, or of an older one of the
/// same name. The mark that it has ended stays.
pub async fn forget(
    conn: &mut Connection,
    workflow: &str,
    created_at: u64,
) -> Result<(), StreamError> {
    let query = "SELECT COUNT(*) FROM information_schema.tables \
                 WHERE table_schema = '_vt' AND table_name = 'vreplication'";
    let found = conn.query("looking for _vt", query).await?;
    if found.first().is_none_or(|row| number(row, 0) == 0) {
        return Ok(());
    }
    conn.run("beginning to clean _vt", "BEGIN").await?;
    drop_streams(
        conn,
        workflow,
        created_at.saturating_add(1),
        "AND source_shard <> ''",
    )
    .await?;
    conn.run("cleaning _vt", "COMMIT").await?;
    Ok(())
}

/// A key as it stands in `copy_state.lastpk`.
pub fn encode_key(key: &[Cell]) -> String {
    let cells: Vec<String> = key
        .iter()
        .map(|cell| match cell {
            None => "null".to_owned(),
            Some(bytes) => {
                let digits: String = bytes.iter().map(|b| format!("{b:02x}")).collect();
                format!("\"{digits}\"")
            }
        })
        .collect();
    format!("[{}]", cells.join(","))
}

fn decode_key(text: &[u8]) -> Result<Vec<Cell>, StreamError> {
    let damaged = || {
        StreamError::Refused(format!(
            "the key `{}` in _vt.copy_state was not written by vtplan",
            String::from_utf8_lossy(text)
        ))
    };
    let cells: Vec<Option<String>> = serde_json::from_slice(text).map_err(|_| damaged())?;
    let unhex = |digits: String| {
        let pairs = digits.as_bytes().chunks(2);
        pairs
            .map(|pair| {
                let pair = std::str::from_utf8(pair).ok()?;
                u8::from_str_radix(pair, 16).ok()
            })
            .collect::<Option<Vec<u8>>>()
            .map(bytes::Bytes::from)
    };
    cells
        .into_iter()
        .map(|cell| cell.map(|c| unhex(c).ok_or_else(damaged)).transpose())
        .collect()
}

/// Transactions' names, those with a common beginning together: `0-100-=5,7;0-101-=8`.
pub fn encode_applied<'a>(gtids: impl IntoIterator<Item = &'a str>) -> String {
    let mut sources: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for gtid in gtids {
        // MySQL's end in `:NUMBER`, MariaDB's in `-NUMBER`.
        let at = gtid.rfind([':', '-']).map_or(0, |at| at + 1);
        let (source, number) = gtid.split_at(at);
        sources.entry(source).or_default().push(number);
    }
    let parts: Vec<String> = sources
        .iter()
        .map(|(source, numbers)| format!("{source}={}", numbers.join(",")))
        .collect();
    parts.join(";")
}

fn decode_applied(text: &str) -> Vec<String> {
    text.split(';')
        .filter_map(|part| part.split_once('='))
        .flat_map(|(source, numbers)| numbers.split(',').map(move |n| format!("{source}{n}")))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_read_back() {
        let key = vec![
            Some(vec![0, 255, b'x'].into()),
            None,
            Some(Vec::new().into()),
        ];
        let text = encode_key(&key);
        assert_eq!(text, r#"["00ff78",null,""]"#);
        assert_eq!(decode_key(text.as_bytes()).unwrap(), key);
        assert!(decode_key(b"5").is_err());
    }

    #[test]
    fn names_of_transactions_are_read_back() {
        let uuid = "3e11fa47-71ca-11e1-9e33-c80aa9429562";
        let mysql = [
            format!("{uuid}:5"),
            format!("{uuid}:7"),
            format!("{uuid}:blue:1"),
        ];
        let mariadb = [
            "0-100-5".to_owned(),
            "0-100-7".to_owned(),
            "1-101-5".to_owned(),
        ];
        for gtids in [mysql, mariadb] {
            let text = encode_applied(gtids.iter().map(String::as_str));
            let mut read = decode_applied(&text);
            read.sort();
            let mut wanted = gtids.to_vec();
            wanted.sort();
            assert_eq!(read, wanted, "{text}");
        }
        assert_eq!(decode_applied(""), Vec::<String>::new());
    }
}
