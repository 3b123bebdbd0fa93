//! One attempt at a stream: claim it on every target, copy what is not copied, follow.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use futures::future::{join_all, pending, try_join_all};
use tokio::select;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tokio::time::{Instant, sleep, timeout};

use super::choose::{Choice, has_come_to};
use super::copy::{CopyTarget, Copying, SNAPSHOT_AGE};
use super::error::StreamError;
use super::follow::Following;
use super::plan::StreamPlan;
use super::position::Position;
use super::progress::Progress;
use super::server::ServerAddress;
use super::source::SourceServer;
use super::table::TableShape;
use super::target::apply::Told;
use super::target::commit::{Committer, Writing};
use super::target::connection::{Connection, number, text};
use super::target::tables::{MovedTable, Present};
use super::target::vt_tables::{self, Claim, Claiming, CopyState, Recorded};
use super::throttle::{Seen, Throttle};
use crate::conductor::failpoint;
use crate::flavor::literal;
use crate::proto::v1::StreamTable;

/// For how long the tablet that is read may not replicate before another is taken.
const SOURCE_PATIENCE: Duration = Duration::from_secs(5);

/// How an attempt ended.
#[derive(Debug)]
pub enum Ended {
    /// It may go well the next time.
    Passing(StreamError),
    /// It will not, until somebody changes something.
    Failed(StreamError),
    /// An earlier attempt has failed, and nobody has resumed the stream.
    StandsInError(String),
}

/// An attempt.
pub struct Attempt<'a> {
    pub plan: &'a StreamPlan,
    pub plans: watch::Receiver<Arc<StreamPlan>>,
    pub token: u64,
    pub progress: &'a Arc<Progress>,
    pub throttle: &'a Throttle,
    pub choice: &'a Choice,
    /// Whether an error that stands in `_vt` is to be passed over.
    pub try_again: bool,
}

/// A target that is claimed.
struct Target {
    address: ServerAddress,
    shard: String,
    claim: Claim,
    recorded: Recorded,
}

/// Why an attempt ends, and whether the tablet that was read had to do with it.
struct Failure {
    error: StreamError,
    tablet: Option<String>,
}

impl From<StreamError> for Failure {
    fn from(error: StreamError) -> Self {
        Self {
            error,
            tablet: None,
        }
    }
}

impl Attempt<'_> {
    pub async fn run(&self) -> Ended {
        let targets = match self.claim().await {
            Ok(targets) => targets,
            Err(error) if error.is_retriable() => return Ended::Passing(error),
            Err(error) => return Ended::Failed(error),
        };
        self.show(&targets);
        let standing = targets.iter().find(|t| t.recorded.state == "error");
        if let Some(standing) = standing
            && !self.try_again
        {
            return Ended::StandsInError(standing.recorded.message.clone());
        }
        if !self.plan.work.moves {
            let because = self.plan.paused_because.clone();
            self.set_state("stopped", &because);
            pending::<()>().await;
        }
        let mut targets = targets;
        let Err(failure) = self.stream(&mut targets).await;
        let goes_on = match &failure.tablet {
            Some(tablet) => self.choice.failed(self.plan, tablet, &failure.error),
            None => failure.error.is_retriable(),
        };
        if goes_on || vt_tables::is_superseded(&failure.error) {
            Ended::Passing(failure.error)
        } else {
            Ended::Failed(failure.error)
        }
    }

    /// Claims the stream on every target, so that nothing that was under way before commits any
    /// more, on this side or for an earlier epoch on the other.
    async fn claim(&self) -> Result<Vec<Target>, StreamError> {
        let work = &self.plan.work;
        if work.id.epoch > 1 {
            let primary = work
                .source_primary
                .as_ref()
                .ok_or_else(|| no_primary(work.from_keyspace.as_str(), &work.id.source_shard))?;
            let mut conn = Connection::open(primary).await?;
            vt_tables::seal(&mut conn, &work.id.workflow, work.id.epoch).await?;
        }
        let tables: Vec<String> = work.tables.iter().map(ToString::to_string).collect();
        let claims = work.targets.iter().map(async |target| {
            let shard = target.shard.to_string();
            let address = target.primary.clone();
            let address = address.ok_or_else(|| no_primary(work.to_keyspace.as_str(), &shard))?;
            let mut conn = Connection::open(&address).await?;
            vt_tables::create(&mut conn).await?;
            let claiming = Claiming {
                id: &work.id,
                created_at: work.created_at,
                fence: self.token,
                start: work.start.as_deref(),
                tables: &tables,
                stopped: !work.moves,
            };
            let (claim, recorded) = vt_tables::claim(&mut conn, &claiming).await?;
            Ok::<Target, StreamError>(Target {
                address,
                shard,
                claim,
                recorded,
            })
        });
        let targets = try_join_all(claims).await?;
        failpoint::hit("stream.claimed").await;
        Ok(targets)
    }

    /// Shows what is recorded.
    fn show(&self, targets: &[Target]) {
        self.progress.update(|status| {
            status.copied = targets.iter().all(|t| t.recorded.copied);
            for (shown, target) in status.targets.iter_mut().zip(targets) {
                shown.alias.clone_from(&target.address.name);
                shown.position.clone_from(&target.recorded.pos);
            }
            let mut tables: Vec<String> = self
                .plan
                .work
                .tables
                .iter()
                .map(ToString::to_string)
                .collect();
            tables.sort();
            let shown = tables.into_iter().map(|table| {
                let states = || targets.iter().filter_map(|t| t.recorded.tables.get(&table));
                let known = status.tables.iter().find(|t| t.table == table);
                let (rows, bytes) = (
                    states().map(|s| s.rows_copied).sum(),
                    states().map(|s| s.bytes_copied).sum(),
                );
                StreamTable {
                    rows_copied: rows,
                    rows_total: known.map_or(0, |t| t.rows_total).max(rows),
                    bytes_copied: bytes,
                    bytes_total: known.map_or(0, |t| t.bytes_total).max(bytes),
                    copied: status.copied || (states().count() > 0 && states().all(|s| s.done)),
                    table,
                }
            });
            let shown = shown.collect();
            status.tables = shown;
        });
    }

    fn set_state(&self, state: &str, message: &str) {
        self.progress.update(|status| {
            status.state = state.to_owned();
            status.message = message.to_owned();
        });
    }

    /// Copies and follows, on and on.
    async fn stream(&self, targets: &mut [Target]) -> Result<Infallible, Failure> {
        let mut tasks = JoinSet::new();
        let hurry = self.hurry(&mut tasks);
        let all_copied = targets.iter().all(|t| t.recorded.copied);
        let (server, _) = self.choose().await?;
        let name = server.address().to_string();
        let by_server = |error| Failure {
            error,
            tablet: Some(name.clone()),
        };
        let mut floor = None;
        if targets.iter().all(|t| t.recorded.pos.is_empty()) {
            let work = &self.plan.work;
            let primary = work.source_primary.as_ref();
            let primary = primary
                .ok_or_else(|| no_primary(work.from_keyspace.as_str(), &work.id.source_shard))?;
            let come = has_come_to(&server, primary, &work.from_keyspace).await;
            floor = Some(come.map_err(by_server)?);
        }
        let tables = self.tables(&server, targets).await.map_err(by_server)?;
        if !all_copied {
            self.begin_copy(&server, targets).await?;
            let measured = self.progress.copying();
            while !(self.copy_once(targets, &tables, &hurry, floor.as_ref())).await? {}
            // Whoever sees that it is copied sees also how long that took.
            drop(measured);
            self.end_copy(targets).await?;
        }
        set_all(targets, "state = 'following', message = ''").await?;
        self.set_state("following", "");
        let (server, is_primary) = self.choose().await?;
        let name = server.address().to_string();
        let by_server = |error| Failure {
            error,
            tablet: Some(name.clone()),
        };
        let committers = self.committers(&server, targets, &tables).await?;
        let everything = vec![vec![Present::Everything; tables.len()]; targets.len()];
        let following = Following {
            source: &server,
            tables: &tables,
            present: everything,
            until: None,
            hurry,
            seen: self.throttle.seen(),
            told: self.told(targets.len()),
            folder: &self.progress.folder,
        };
        let ended = select! {
            ended = following.run(committers) => match ended {
                Ok(_) => StreamError::Refused("following ended by itself".to_owned()),
                Err(error) => error,
            },
            error = stops_replicating(&name, self.throttle.seen()), if !is_primary => error,
        };
        Err(by_server(ended))
    }

    async fn choose(&self) -> Result<(SourceServer, bool), StreamError> {
        let chosen = self.choice.choose(self.plan).await?;
        let name = chosen.0.address().to_string();
        self.progress.update(|status| status.source_tablet = name);
        Ok(chosen)
    }

    /// The tables, as they are on both sides.
    async fn tables(
        &self,
        source: &SourceServer,
        targets: &[Target],
    ) -> Result<Arc<[MovedTable]>, StreamError> {
        let work = &self.plan.work;
        let shapes = source.tables(&work.tables).await?;
        let shards: Vec<_> = work.targets.iter().map(|t| t.shard.clone()).collect();
        let on_targets = try_join_all(targets.iter().map(async |target| {
            let server = SourceServer::connect(&target.address, &work.to_keyspace).await?;
            server.tables(&work.tables).await
        }))
        .await?;
        let moved = |shape: &Arc<TableShape>, on_target: &Arc<TableShape>| {
            MovedTable::new(
                shape.clone(),
                on_target.clone(),
                &work.vschema,
                &shards,
                work.is_first,
                (work.streams > 1).then_some(&work.from_vschema),
            )
        };
        // Each target is compared; what is used is the first's.
        for on_target in on_targets.iter().skip(1) {
            for (shape, on_target) in shapes.iter().zip(on_target) {
                moved(shape, on_target)?;
            }
        }
        let first = on_targets.first().map_or(&[][..], Vec::as_slice);
        let pairs = shapes.iter().zip(first);
        pairs
            .map(|(shape, on_target)| moved(shape, on_target))
            .collect()
    }

    /// Before anything is copied: the targets must be empty. Then the sizes of the tables are asked
    /// for.
    async fn begin_copy(
        &self,
        source: &SourceServer,
        targets: &[Target],
    ) -> Result<(), StreamError> {
        let work = &self.plan.work;
        self.set_state("copying", "");
        try_join_all(targets.iter().map(async |target| {
            let mut conn = Connection::open(&target.address).await?;
            let state = "state = 'copying', message = ''";
            conn.run("beginning to copy", target.claim.set(state))
                .await?;
            for table in &work.tables {
                let state = target.recorded.tables.get(table.as_str());
                if state.is_none_or(|state| *state == CopyState::default()) {
                    self.check_empty(&mut conn, target, table.as_str()).await?;
                }
            }
            Ok::<(), StreamError>(())
        }))
        .await?;
        // Only to show how far it is; a source that does not say is no reason not to copy.
        if let Ok(Ok(sizes)) = timeout(Duration::from_secs(5), self.sizes(source)).await {
            self.progress.update(|status| {
                let mut all = 0;
                for table in &mut status.tables {
                    let size = sizes.iter().find(|(name, ..)| *name == table.table);
                    if let Some((_, rows, bytes, indexes)) = size {
                        table.rows_total = table.rows_copied.max(*rows);
                        table.bytes_total = table.bytes_copied.max(*bytes);
                        all += bytes + indexes;
                    }
                }
                status.table_bytes = all;
            });
        }
        Ok(())
    }

    async fn check_empty(
        &self,
        conn: &mut Connection,
        target: &Target,
        table: &str,
    ) -> Result<(), StreamError> {
        let what = "looking whether the target's tables are empty";
        let keyspace = &self.plan.work.to_keyspace;
        let query = format!(
            "SELECT 1 FROM {}.{} LIMIT 1",
            crate::flavor::identifier(keyspace.as_str()),
            crate::flavor::identifier(table)
        );
        if conn.query(what, &query).await?.is_empty() {
            return Ok(());
        }
        // Another stream of the workflow may have begun; it found the table empty.
        let id = &target.claim.id;
        let query = format!(
            "SELECT COUNT(*) FROM _vt.copy_state WHERE workflow = {} AND epoch = {} \
             AND table_name = {} AND source_shard <> {} AND lastpk IS NOT NULL",
            literal(&id.workflow),
            id.epoch,
            literal(table),
            literal(&id.source_shard)
        );
        let others = conn.query(what, &query).await?;
        if others.first().is_some_and(|row| number(row, 0) > 0) {
            return Ok(());
        }
        Err(StreamError::Refused(format!(
            "target tables not empty: table `{table}` on {keyspace}/{} has rows already, which would mix with those that are to be copied; remove them (or the table's rows are wanted: then cancel the workflow), then resume the workflow",
            target.shard
        )))
    }

    /// Rows and bytes of the tables, as the server estimates them.
    /// Of all tables: name, rows, bytes of rows, bytes of indexes.
    async fn sizes(
        &self,
        source: &SourceServer,
    ) -> Result<Vec<(String, u64, u64, u64)>, StreamError> {
        let mut conn = Connection::open(source.address()).await?;
        if source.address().flavor == vtplan_state::model::FlavorKind::MySql {
            let fresh = "SET SESSION information_schema_stats_expiry = 0";
            conn.run("reading sizes of tables", fresh).await?;
        }
        let query = format!(
            "SELECT table_name, table_rows, data_length, index_length \
             FROM information_schema.tables \
             WHERE table_schema = {}",
            literal(self.plan.work.from_keyspace.as_str())
        );
        let rows = conn.query("reading sizes of tables", &query).await?;
        let sizes = rows
            .iter()
            .map(|row| (text(row, 0), number(row, 1), number(row, 2), number(row, 3)));
        Ok(sizes.collect())
    }

    /// One snapshot: follow up to it, then copy until all is copied (`true`) or it is too old.
    /// `floor`: what it must have at least.
    async fn copy_once(
        &self,
        targets: &mut [Target],
        tables: &Arc<[MovedTable]>,
        hurry: &watch::Receiver<bool>,
        floor: Option<&Position>,
    ) -> Result<bool, Failure> {
        let (server, _) = self.choose().await?;
        let name = server.address().to_string();
        let by_server = |error| Failure {
            error,
            tablet: Some(name.clone()),
        };
        let shapes: Vec<_> = tables.iter().map(|t| t.source.clone()).collect();
        let mut snapshot = server.snapshot(&shapes).await.map_err(by_server)?;
        let until = Instant::now() + SNAPSHOT_AGE;
        let position = snapshot.position().clone();
        if let Some(floor) = floor.filter(|floor| !position.contains(floor)) {
            return Err(by_server(StreamError::Behind {
                server: name.clone(),
                position: floor.to_string(),
                has: position.to_string(),
            }));
        }
        self.catch_up(&server, targets, tables, hurry, &position)
            .await
            .map_err(by_server)?;
        let mut copy_targets = self.copy_targets(targets, tables);
        let copying = Copying {
            tables,
            snapshot: &mut snapshot,
            targets: &mut copy_targets,
            shared_targets: self.plan.work.streams > 1,
            seen: self.throttle.seen(),
            until,
        };
        let whole = copying.run().await.map_err(by_server)?;
        for (target, copied) in targets.iter_mut().zip(copy_targets) {
            for (table, state) in tables.iter().zip(copied.states) {
                target
                    .recorded
                    .tables
                    .insert(table.name().to_owned(), state);
            }
        }
        Ok(whole)
    }

    /// Brings every target to exactly a position.
    async fn catch_up(
        &self,
        server: &SourceServer,
        targets: &mut [Target],
        tables: &Arc<[MovedTable]>,
        hurry: &watch::Receiver<bool>,
        position: &Position,
    ) -> Result<(), StreamError> {
        let text = position.to_string();
        let begun = |target: &Target| !target.recorded.pos.is_empty();
        let behind: Vec<&Target> = targets.iter().filter(|t| begun(t)).collect();
        if !behind.is_empty() {
            let present = behind.iter().map(|target| {
                let tables = tables.iter().map(|table| {
                    let state = target.recorded.tables.get(table.name());
                    match state {
                        Some(state) if state.done => Present::Everything,
                        Some(CopyState {
                            lastpk: Some(key), ..
                        }) => Present::UpTo(key.clone()),
                        _ => Present::Nothing,
                    }
                });
                tables.collect()
            });
            let present = present.collect();
            let mut committers = Vec::new();
            for target in &behind {
                let committer = self.committer(server, target, tables).await?;
                if !position.contains(&committer.position) {
                    return Err(StreamError::Behind {
                        server: server.address().to_string(),
                        position: committer.position.to_string(),
                        has: text,
                    });
                }
                committers.push(committer);
            }
            let places: Vec<usize> = (0..targets.len()).filter(|&i| begun(&targets[i])).collect();
            let told = self.told(targets.len());
            let following = Following {
                source: server,
                tables,
                present,
                until: Some(position),
                hurry: hurry.clone(),
                seen: self.throttle.seen(),
                told: places.iter().map(|&i| told[i].clone()).collect(),
                folder: &self.progress.folder,
            };
            following.run(committers).await?;
        }
        set_all(targets, &format!("pos = {}", literal(&text))).await?;
        for target in targets.iter_mut() {
            target.recorded.pos.clone_from(&text);
            target.recorded.applied.clear();
        }
        self.progress.update(|status| {
            for target in &mut status.targets {
                target.position.clone_from(&text);
            }
        });
        Ok(())
    }

    fn copy_targets(&self, targets: &[Target], tables: &[MovedTable]) -> Vec<CopyTarget> {
        let targets = targets.iter().map(|target| {
            let states = tables.iter().map(|table| {
                let state = target.recorded.tables.get(table.name());
                state.cloned().unwrap_or_default()
            });
            let progress = self.progress.clone();
            CopyTarget {
                address: target.address.clone(),
                shard: target.shard.clone(),
                claim: target.claim.clone(),
                states: states.collect(),
                told: Arc::new(move |chunk| {
                    let (rows, bytes) = (chunk.inserts.rows, chunk.inserts.bytes);
                    progress.count(rows, bytes);
                    progress.update(|status| {
                        let table = status.tables.iter_mut().find(|t| *t.table == *chunk.table);
                        status.measured_rows += rows;
                        status.measured_bytes += bytes;
                        if let Some(table) = table {
                            table.rows_copied += rows;
                            table.bytes_copied += bytes;
                            table.rows_total = table.rows_total.max(table.rows_copied);
                            table.bytes_total = table.bytes_total.max(table.bytes_copied);
                        }
                    });
                }),
            }
        });
        targets.collect()
    }

    /// Records that every row is copied.
    async fn end_copy(&self, targets: &[Target]) -> Result<(), StreamError> {
        failpoint::hit("stream.before-copied").await;
        set_all(targets, "copied = 1, state = 'following'").await?;
        self.progress.update(|status| {
            status.copied = true;
            for table in &mut status.tables {
                table.copied = true;
                table.rows_total = table.rows_copied;
                table.bytes_total = table.bytes_copied;
            }
        });
        failpoint::hit("stream.copied").await;
        Ok(())
    }

    async fn committers(
        &self,
        server: &SourceServer,
        targets: &[Target],
        tables: &Arc<[MovedTable]>,
    ) -> Result<Vec<Committer>, StreamError> {
        try_join_all(
            targets
                .iter()
                .map(|target| self.committer(server, target, tables)),
        )
        .await
    }

    async fn committer(
        &self,
        server: &SourceServer,
        target: &Target,
        tables: &Arc<[MovedTable]>,
    ) -> Result<Committer, StreamError> {
        let flavor = server.address().flavor;
        let position = Position::parse(flavor, &target.recorded.pos)?;
        let mut applied = target.recorded.applied.clone();
        applied.retain(|gtid| {
            Position::parse(flavor, gtid).is_ok_and(|gtid| !position.contains(&gtid))
        });
        let writing = Writing {
            address: target.address.clone(),
            shard: target.shard.clone(),
            claim: target.claim.clone(),
            tables: tables.clone(),
            shared_target: self.plan.work.streams > 1,
        };
        Committer::open(writing, position, applied).await
    }

    /// What appliers tell goes into the progress.
    fn told(&self, targets: usize) -> Vec<Told> {
        let told = (0..targets).map(|place| {
            let progress = self.progress.clone();
            let told: Told = Arc::new(move |applied| {
                if applied.rows > 0 {
                    progress.count(applied.rows, applied.bytes);
                }
                progress.update(|status| {
                    if let Some(target) = status.targets.get_mut(place) {
                        target.position = applied.position;
                        if let Some(lag) = applied.lag_ms {
                            target.lag_ms = i64::try_from(lag).unwrap_or(i64::MAX);
                        }
                    }
                    let lags = status.targets.iter().map(|t| t.lag_ms);
                    status.lag_ms = lags.max().unwrap_or(-1);
                    match (applied.stopped, status.state.as_str()) {
                        (true, _) => {
                            status.state = "stopped".to_owned();
                            status.message = "stopped for a comparison".to_owned();
                        }
                        (false, state) => {
                            if state == "stopped" {
                                status.state = "following".to_owned();
                            }
                            status.message = applied.message;
                        }
                    }
                });
            });
            told
        });
        told.collect()
    }

    /// Whether positions are waited for, as the plan says it from now on.
    fn hurry(&self, tasks: &mut JoinSet<()>) -> watch::Receiver<bool> {
        let mut plans = self.plans.clone();
        let (tell, hurry) = watch::channel(plans.borrow().hurry);
        let (mut seen, progress) = (self.throttle.seen(), self.progress.clone());
        tasks.spawn(async move {
            loop {
                let (now, throttled) = (plans.borrow().hurry, seen.borrow().because.clone());
                tell.send_if_modified(|hurry| std::mem::replace(hurry, now) != now);
                progress.update(|status| {
                    status.throttled = if now { String::new() } else { throttled };
                });
                let open = select! {
                    changed = plans.changed() => changed.is_ok(),
                    changed = seen.changed() => changed.is_ok(),
                };
                if !open {
                    return;
                }
            }
        });
        hurry
    }
}

fn no_primary(keyspace: &str, shard: &str) -> StreamError {
    StreamError::Connect {
        server: format!("the primary of {keyspace}/{shard}"),
        why: "the shard has none now, or its host is not known".to_owned(),
    }
}

/// Changes the stream's row on every target.
async fn set_all(targets: &[Target], assignments: &str) -> Result<(), StreamError> {
    let set = join_all(targets.iter().map(async |target| {
        let mut conn = Connection::open(&target.address).await?;
        let set = target.claim.set(assignments);
        conn.run("recording the stream's state", set).await?;
        Ok::<(), StreamError>(())
    }))
    .await;
    set.into_iter().collect()
}

/// Ends when the tablet that is read no longer replicates, and so has nothing new to tell.
async fn stops_replicating(name: &str, mut seen: watch::Receiver<Seen>) -> StreamError {
    let stands = |seen: &Seen| seen.source_lag.get(name) == Some(&None);
    loop {
        if seen.wait_for(stands).await.is_err() {
            pending::<()>().await;
        }
        let goes_on = async { seen.wait_for(|seen| !stands(seen)).await.is_ok() };
        select! {
            open = goes_on => if !open {
                pending::<()>().await;
            },
            () = sleep(SOURCE_PATIENCE) => {
                return StreamError::Broken {
                    server: name.to_owned(),
                    what: "following".to_owned(),
                    why: "it does not replicate any more, so it has nothing new".to_owned(),
                };
            }
        }
    }
}
