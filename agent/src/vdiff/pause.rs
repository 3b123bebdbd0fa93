//! Stops a workflow's streams at exact positions, by what [`crate::stream::target::vt_tables`]
//! describes. A stop ends by itself soon after nobody asks for it any more.

use std::time::Duration;

use futures::future::try_join_all;
use tokio::time::{Instant, sleep};
use vtplan_state::model::{FlavorKind, ShardName, WorkflowRecord};

use super::VDiffError;
use super::servers::Access;
use crate::stream::Position;
use crate::stream::StreamError;
use crate::stream::server::ServerAddress;
use crate::stream::target::vt_tables::StreamId;
use crate::stream::wire::Connection;

/// For how long a stop is asked for at a time: how long streams stand still when whoever compares
/// is killed.
const STOP_FOR: Duration = Duration::from_secs(10);
/// How often it is asked for anew.
const EXTEND_EVERY: Duration = Duration::from_secs(2);
/// Pauses between looks: a stream that has nothing to do stands still at once.
const FIRST_POLL: Duration = Duration::from_millis(3);
const LONGEST_POLL: Duration = Duration::from_millis(20);
/// Streams that do not stop for so long are given up. The time begins anew when they get on.
const PATIENCE: Duration = Duration::from_secs(60);
/// The same where several streams write to a target. One may be unable to get on because a row that
/// has moved from shard to shard is in its way, which a stream that stands still is to delete: they
/// are let go, and stopped again at another moment.
const SHARED_PATIENCE: Duration = Duration::from_secs(3);

/// The streams of a workflow, stopped or about to be.
pub struct Streams {
    workflow: String,
    epoch: u64,
    sources: Vec<ShardName>,
    /// Which flavor positions are of.
    flavor: FlavorKind,
    targets: Vec<(ShardName, Connection)>,
}

/// What one stream says of itself on one target.
#[derive(Debug, Clone, Default)]
struct State {
    state: String,
    copied: bool,
    message: String,
    position: String,
    /// Whether rows of it are not in their places, see [`crate::stream::target::parked`].
    parked: bool,
}

impl Streams {
    /// Connects to the primaries that hold the streams' positions.
    ///
    /// # Errors
    /// Also when a stream is not there, has not copied everything, or has stopped with an error.
    pub async fn find(access: &Access<'_>, workflow: &WorkflowRecord) -> Result<Self, VDiffError> {
        let (from, to) = (workflow.reads_from(), workflow.writes_to());
        let mut flavor = FlavorKind::MariaDb;
        if let Some(first) = from.shards.first() {
            flavor = access.primary(&from.keyspace, first)?.flavor;
        }
        let mut targets = Vec::new();
        for shard in &to.shards {
            let address: ServerAddress = access.primary(&to.keyspace, shard)?;
            targets.push((shard.clone(), Connection::open(&address, None).await?));
        }
        let mut streams = Self {
            workflow: workflow.full_name(),
            epoch: workflow.streams.epoch,
            sources: from.shards.clone(),
            flavor,
            targets,
        };
        streams.states().await?;
        Ok(streams)
    }

    /// Stops all streams between two transactions. Gives for each source the positions at which its
    /// streams stopped, one for each target.
    pub async fn stop(&mut self) -> Result<Vec<Vec<Position>>, VDiffError> {
        for source in self.sources.clone() {
            self.ask(&source, Some("")).await?;
        }
        self.wait(|_, _, _| true).await
    }

    /// Lets each stream, stopped before, run to exactly a position, one for each source.
    pub async fn run_to(&mut self, positions: &[Position]) -> Result<(), VDiffError> {
        // Where nobody writes they stand there already.
        if self.check_at(positions).await.is_ok() {
            return Ok(());
        }
        for (source, position) in self.sources.clone().iter().zip(positions) {
            self.ask(source, Some(&position.to_string())).await?;
        }
        // While rows are parked the target has not all that is at the position.
        let reached = |source: usize, at: &Position, state: &State| {
            at.contains(&positions[source]) && !state.parked
        };
        self.wait(reached).await?;
        self.check_at(positions).await
    }

    /// Makes sure that all streams stand at exactly these positions, one for each source.
    ///
    /// # Errors
    /// When one does not: the stop has ended because this agent did not get to ask for it anew, or
    /// the stream was taken over by another agent at the wrong moment.
    pub async fn check_at(&mut self, positions: &[Position]) -> Result<(), VDiffError> {
        let states = self.states().await?;
        for ((of_source, position), source) in states.iter().zip(positions).zip(&self.sources) {
            for (state, (target, _)) in of_source.iter().zip(&self.targets) {
                let at = Position::parse(self.flavor, &state.position)?;
                let exact = at.contains(position) && position.contains(&at);
                if state.state != "stopped" || !exact || state.parked {
                    return Err(VDiffError::NotYet(format!(
                        "the stream from shard {source} to {target} does not stand still at \
                         {position}: it is {} at {at}",
                        state.state
                    )));
                }
            }
        }
        Ok(())
    }

    /// Keeps streams stopped while something else is waited for.
    pub async fn extend(&mut self) -> Result<(), VDiffError> {
        let what = "keeping streams stopped";
        let update = format!(
            "UPDATE _vt.vreplication SET stop_until = {} WHERE {} AND stop_at IS NOT NULL",
            until(),
            self.of_epoch()
        );
        Ok(self.run(what, &update).await?)
    }

    /// Runs a statement on all targets at once.
    async fn run(&mut self, what: &str, statement: &str) -> Result<(), StreamError> {
        let runs = (self.targets.iter_mut()).map(|(_, conn)| conn.run(what, statement));
        try_join_all(runs).await?;
        Ok(())
    }

    /// Lets the streams go on.
    pub async fn go_on(mut self) -> Result<(), VDiffError> {
        let update = format!(
            "UPDATE _vt.vreplication SET stop_at = NULL, stop_until = 0 WHERE {}",
            self.of_epoch()
        );
        let mut failed = None;
        for (_, conn) in &mut self.targets {
            // One that cannot be told goes on by itself soon.
            if let Err(error) = conn.run("letting streams go on", &update).await {
                failed = Some(error);
            }
        }
        for (_, conn) in self.targets {
            conn.close().await;
        }
        failed.map_or(Ok(()), |error| Err(error.into()))
    }

    fn of_epoch(&self) -> String {
        format!(
            "workflow = {} AND epoch = {}",
            crate::flavor::literal(&self.workflow),
            self.epoch
        )
    }

    fn id(&self, source: &ShardName) -> StreamId {
        StreamId {
            workflow: self.workflow.clone(),
            source_shard: source.to_string(),
            epoch: self.epoch,
        }
    }

    async fn ask(&mut self, source: &ShardName, stop_at: Option<&str>) -> Result<(), StreamError> {
        let stop_at = stop_at.map_or("NULL".to_owned(), crate::flavor::literal);
        let update = format!(
            "UPDATE _vt.vreplication SET stop_at = {stop_at}, stop_until = {} WHERE {}",
            until(),
            self.id(source).condition()
        );
        self.run("stopping streams", &update).await
    }

    /// Waits until all streams have stopped where `there` says they should. Gives their positions,
    /// by source and target.
    async fn wait(
        &mut self,
        there: impl Fn(usize, &Position, &State) -> bool,
    ) -> Result<Vec<Vec<Position>>, VDiffError> {
        let mut seen = String::new();
        let patience = match self.sources.len() {
            1 => PATIENCE,
            _ => SHARED_PATIENCE,
        };
        let mut give_up = Instant::now() + patience;
        let mut extended = Instant::now();
        let begun = Instant::now();
        loop {
            let states = self.states().await?;
            let mut positions = Vec::new();
            let mut waiting = None;
            let mut now = String::new();
            for (place, of_source) in states.iter().enumerate() {
                let mut row = Vec::new();
                for (state, (target, _)) in of_source.iter().zip(&self.targets) {
                    let position = Position::parse(self.flavor, &state.position)?;
                    now.push_str(&state.position);
                    if state.state != "stopped" || !there(place, &position, state) {
                        waiting =
                            Some((self.sources[place].clone(), target.clone(), state.clone()));
                    }
                    row.push(position);
                }
                positions.push(row);
            }
            let Some((source, target, state)) = waiting else {
                return Ok(positions);
            };
            if now != seen {
                seen = now;
                give_up = Instant::now() + patience;
            }
            if Instant::now() >= give_up {
                return Err(VDiffError::NotYet(format!(
                    "the stream from shard {source} to {target} does not stop: it is {} at {}{}{}",
                    state.state,
                    state.position,
                    match state.parked {
                        true =>
                            ", and rows of it wait for rows of other shards to leave their places",
                        false => "",
                    },
                    if state.message.is_empty() {
                        String::new()
                    } else {
                        format!(" ({})", state.message)
                    }
                )));
            }
            if extended.elapsed() > EXTEND_EVERY {
                self.extend().await?;
                extended = Instant::now();
            }
            sleep((begun.elapsed() / 10).clamp(FIRST_POLL, LONGEST_POLL)).await;
        }
    }

    /// What the streams say of themselves, by source and target.
    async fn states(&mut self) -> Result<Vec<Vec<State>>, VDiffError> {
        let what = "reading _vt.vreplication";
        let mut all = Vec::new();
        for source in self.sources.clone() {
            let query = format!(
                "SELECT state, copied, message, pos, parked FROM _vt.vreplication WHERE {}",
                self.id(&source).condition()
            );
            let mut of_source = Vec::new();
            for (target, conn) in &mut self.targets {
                let rows = match conn.rows(what, &query).await {
                    // There is no such database or table yet.
                    Err(error) if matches!(error.code(), Some(1049 | 1146)) => Vec::new(),
                    rows => rows?,
                };
                let Some(row) = rows.into_iter().next() else {
                    return Err(VDiffError::NotYet(format!(
                        "the stream from shard {source} to {target} has not begun"
                    )));
                };
                let text = |i: usize| {
                    let cell = row.get(i).and_then(Option::as_deref).unwrap_or_default();
                    String::from_utf8_lossy(cell).into_owned()
                };
                let state = State {
                    state: text(0),
                    copied: text(1) != "0",
                    message: text(2),
                    position: text(3),
                    parked: text(4) != "0",
                };
                if state.state == "error" {
                    return Err(VDiffError::Failed(format!(
                        "the stream from shard {source} to {target} has stopped with an error: {}",
                        state.message
                    )));
                }
                if !state.copied {
                    return Err(VDiffError::Failed(format!(
                        "the stream from shard {source} to {target} has not copied every row yet; \
                         ask again when it has"
                    )));
                }
                of_source.push(state);
            }
            all.push(of_source);
        }
        Ok(all)
    }
}

/// The moment, by the target's clock, until which a stop holds, as SQL.
fn until() -> String {
    format!("UNIX_TIMESTAMP(NOW(3)) * 1000 + {}", STOP_FOR.as_millis())
}
