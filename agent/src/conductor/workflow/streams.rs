//! What agents tell of a workflow's streams.

use std::collections::BTreeMap;
use std::time::Duration;

use futures::future::join_all;
use vtplan_state::model::{Records, ShardName, Side, StepWork, WorkflowRecord};

use crate::conductor::step::{Outcome, Progress};
use crate::conductor::write::Fenced;
use crate::proto::v1;

/// A stream, as the agent that runs it sees it.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamSeen {
    pub epoch: u64,
    /// The side that it reads.
    pub from_side: Side,
    pub from_shard: ShardName,
    pub state: StreamState,
    /// Why it is in this state, or what it tries again after.
    pub message: String,
    /// How far the targets are behind the source. `None`: not known.
    pub lag: Option<Duration>,
    /// Whether every row is on its target.
    pub copied: bool,
    pub work: StepWork,
    /// What the agent has seen of the copy. `None`: nothing.
    pub measured: Option<Measured>,
    /// Of the copy, at the rate of now.
    pub seconds_left: Option<u64>,
    /// Why it goes slower than it could; empty: it does not.
    pub throttled: String,
}

/// How much was copied in which time.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Measured {
    pub rows: u64,
    /// As tables count them on the server that is read.
    pub bytes: u64,
    pub milliseconds: u64,
}

impl Measured {
    /// Streams count the bytes of values; on a server a row takes more, and indexes come to that.
    fn of(status: &v1::StreamStatus, copied: u64) -> Option<Self> {
        if status.measured_rows == 0 || status.measured_ms == 0 {
            return None;
        }
        // More than that is a table that was emptied before and has not been made smaller since.
        const MOST: u64 = 8;
        let (table, values) = (status.table_bytes, copied.max(1));
        let bytes =
            u128::from(status.measured_bytes) * u128::from(table.max(values)) / u128::from(values);
        let bytes = u64::try_from(bytes).unwrap_or(u64::MAX);
        Some(Self {
            rows: status.measured_rows,
            bytes: bytes.min(status.measured_bytes.saturating_mul(MOST)),
            milliseconds: status.measured_ms,
        })
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum StreamState {
    Starting,
    Copying,
    Following,
    Stopped,
    /// Until somebody lets it try again.
    Error,
}

impl StreamSeen {
    /// Reads an agent's message; the error says what is not understood.
    pub fn read(status: v1::StreamStatus) -> Result<Self, String> {
        let from_side = match status.from_side.as_str() {
            "source" => Side::Source,
            "target" => Side::Target,
            other => return Err(format!("a stream from side `{other}`")),
        };
        let state = match status.state.as_str() {
            "starting" => StreamState::Starting,
            "copying" => StreamState::Copying,
            "following" => StreamState::Following,
            "stopped" => StreamState::Stopped,
            "error" => StreamState::Error,
            other => return Err(format!("a stream in state `{other}`")),
        };
        let from_shard = (status.from_shard.parse())
            .map_err(|_| format!("a stream from shard `{}`", status.from_shard))?;
        let mut work = StepWork::default();
        for table in &status.tables {
            work.rows_done += table.rows_copied;
            work.rows_total += table.rows_total.max(table.rows_copied);
            work.bytes_done += table.bytes_copied;
            work.bytes_total += table.bytes_total.max(table.bytes_copied);
        }
        // Rates are never negative, and far below the range's end.
        work.rows_per_second = status.rows_per_second.max(0.0) as u64;
        let measured = Measured::of(&status, work.bytes_done);
        Ok(Self {
            measured,
            epoch: status.epoch,
            from_side,
            from_shard,
            state,
            message: status.message,
            lag: u64::try_from(status.lag_ms).ok().map(Duration::from_millis),
            copied: status.copied,
            work,
            seconds_left: u64::try_from(status.seconds_left).ok(),
            throttled: status.throttled,
        })
    }
}

/// The streams of a workflow's epoch.
#[derive(Debug, Clone)]
pub struct Streams {
    /// By the shard that they read.
    found: BTreeMap<ShardName, StreamSeen>,
    /// Those that no agent tells of, as `commerce/0`.
    missing: Vec<String>,
    /// Why agents could not be asked.
    unseen: Vec<String>,
    keyspace: String,
}

/// Asks all agents for the streams of the record's epoch.
pub async fn look(to: Fenced<'_>, records: &Records, workflow: &WorkflowRecord) -> Streams {
    let asked = records.hosts.values().map(|host| {
        to.world
            .observe_streams(host, &workflow.target.keyspace, &workflow.name)
    });
    let wanted = &workflow.streams;
    let side = workflow.reads_from();
    let mut streams = Streams {
        found: BTreeMap::new(),
        missing: Vec::new(),
        unseen: Vec::new(),
        keyspace: side.keyspace.to_string(),
    };
    for answer in join_all(asked).await {
        match answer {
            Ok(seen) => {
                for stream in seen {
                    if stream.epoch == wanted.epoch
                        && stream.from_side == wanted.from
                        && side.shards.contains(&stream.from_shard)
                    {
                        streams.found.insert(stream.from_shard.clone(), stream);
                    }
                }
            }
            Err(error) => streams.unseen.push(error.to_string()),
        }
    }
    let missing = side
        .shards
        .iter()
        .filter(|s| !streams.found.contains_key(*s));
    streams.missing = missing.map(|s| format!("{}/{s}", side.keyspace)).collect();
    streams
}

/// As [`look`], but a stream that has stopped with an error ends the step. `first`: the step has
/// just begun, so that whoever started it may have removed the cause: streams try again.
pub async fn look_for_errors(
    to: Fenced<'_>,
    records: &Records,
    workflow: &WorkflowRecord,
    first: bool,
) -> Result<Streams, Outcome> {
    let streams = look(to, records, workflow).await;
    let Some(error) = streams.error() else {
        return Ok(streams);
    };
    if !first {
        return Err(Outcome::Impossible(error));
    }
    let asked = records.hosts.values().map(|host| {
        to.world
            .resume_streams(host, &workflow.target.keyspace, &workflow.name)
    });
    // An agent that cannot be asked: then its streams are not seen either.
    join_all(asked).await;
    Err(Outcome::Going(Progress {
        message: format!("trying again after: {error}"),
        work: None,
    }))
}

impl Streams {
    /// What has stopped with an error.
    pub fn error(&self) -> Option<String> {
        let of = |s: &&StreamSeen| s.state == StreamState::Error;
        let stream = self.found.values().find(of)?;
        Some(format!(
            "the stream from {}/{} has stopped: {}",
            self.keyspace, stream.from_shard, stream.message
        ))
    }

    /// Whether every row of every stream is on its target.
    pub fn copied(&self) -> bool {
        self.missing.is_empty() && self.found.values().all(|s| s.copied)
    }

    /// What all streams together have been seen to copy, with their times added up. `None` where some
    /// were not seen from beginning to end, for what is left of them may be of another pace.
    pub fn measured(&self) -> Option<Measured> {
        let mut all = Measured::default();
        for stream in self.found.values() {
            let Some(measured) = stream.measured else {
                // A shard that has no rows took no time.
                if stream.work.rows_done == 0 {
                    continue;
                }
                return None;
            };
            all.rows = all.rows.saturating_add(measured.rows);
            all.bytes = all.bytes.saturating_add(measured.bytes);
            all.milliseconds = all.milliseconds.saturating_add(measured.milliseconds);
        }
        (all.milliseconds > 0).then_some(all)
    }

    /// What keeps the streams from being at most `most` behind, if anything does.
    pub fn not_close(&self, most: Duration) -> Option<String> {
        if let Some(missing) = self.missing.first() {
            return Some(self.no_stream(missing));
        }
        self.found.values().find_map(|stream| {
            let from = format!("{}/{}", self.keyspace, stream.from_shard);
            let because = if stream.message.is_empty() {
                String::new()
            } else {
                format!(": {}", stream.message)
            };
            match (stream.state, stream.lag) {
                (StreamState::Following, Some(lag)) if lag <= most => None,
                (StreamState::Following, Some(lag)) => Some(format!(
                    "the stream from {from} is {:.1} s behind, and may be {:.1} s at most{because}",
                    lag.as_secs_f64(),
                    most.as_secs_f64()
                )),
                (StreamState::Following, None) => Some(format!(
                    "it is not known how far behind the stream from {from} is{because}"
                )),
                (StreamState::Starting, _) => {
                    Some(format!("the stream from {from} starts{because}"))
                }
                (StreamState::Copying, _) => {
                    Some(format!("the stream from {from} still copies{because}"))
                }
                (StreamState::Stopped, _) => {
                    Some(format!("the stream from {from} stands still{because}"))
                }
                (StreamState::Error, _) => {
                    Some(format!("the stream from {from} has stopped{because}"))
                }
            }
        })
    }

    fn no_stream(&self, from: &str) -> String {
        match self.unseen.first() {
            Some(why) => format!("the stream from {from} is not seen: {why}"),
            None => format!("no agent runs the stream from {from} yet"),
        }
    }

    /// How far the copy is.
    pub fn progress(&self) -> Progress {
        let mut work = StepWork::default();
        for stream in self.found.values() {
            work.rows_done += stream.work.rows_done;
            work.rows_total += stream.work.rows_total;
            work.bytes_done += stream.work.bytes_done;
            work.bytes_total += stream.work.bytes_total;
            work.rows_per_second += stream.work.rows_per_second;
        }
        // The numbers are told as numbers.
        let mut notes = Vec::new();
        if let Some(missing) = self.missing.first() {
            notes.push(self.no_stream(missing));
        }
        for stream in self.found.values() {
            for why in [&stream.message, &stream.throttled] {
                if !why.is_empty() {
                    notes.push(format!("{}/{}: {why}", self.keyspace, stream.from_shard));
                }
            }
        }
        Progress {
            message: notes.join("; "),
            work: Some(work),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(rows: u64, bytes: u64, ms: u64, table_bytes: u64) -> v1::StreamStatus {
        v1::StreamStatus {
            measured_rows: rows,
            measured_bytes: bytes,
            measured_ms: ms,
            table_bytes,
            ..v1::StreamStatus::default()
        }
    }

    #[test]
    fn bytes_are_counted_as_tables_count_them() {
        let bytes = |status, copied| Measured::of(&status, copied).map(|m| m.bytes);
        // Half of the values were seen: half of what the tables take.
        assert_eq!(bytes(status(5, 500, 10, 3_000), 1_000), Some(1_500));
        // Statistics that know nothing yet, and those of a table that was emptied.
        assert_eq!(bytes(status(5, 500, 10, 0), 1_000), Some(500));
        assert_eq!(bytes(status(5, 500, 10, 1 << 40), 1_000), Some(4_000));
        // Nothing was seen.
        assert_eq!(bytes(status(0, 0, 0, 3_000), 1_000), None);
    }
}
