//! Backups as text and JSON.

use std::time::{Duration, Instant};

use futures::StreamExt as _;
use owo_colors::OwoColorize as _;
use serde_json::{Value, json};
use vtplan_planner::words::bytes;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{BackupRecord, BackupState, Records};

use super::find;
use crate::context::store_error;
use crate::error::CliError;
use crate::output::err;
use crate::render::table::Table;
use crate::render::when;

/// The format of JSON that this version writes.
pub const FORMAT: u32 = 1;

pub fn json(backups: &[&BackupRecord]) -> Value {
    json!({ "format": FORMAT, "backups": backups })
}

/// A table of backups.
pub fn table(backups: &[&BackupRecord]) -> String {
    let mut table = Table::new([
        "ID", "SHARD", "STATE", "BEGUN", "TOOK", "SIZE", "OF", "BY", "",
    ]);
    for backup in backups {
        let state = backup.state.as_str();
        let state = match backup.state {
            BackupState::Complete if backup.is_good() => state.green().to_string(),
            BackupState::Complete => "damaged".red().to_string(),
            BackupState::Failed => state.red().to_string(),
            _ => state.yellow().to_string(),
        };
        let took = backup.ended_at.zip(backup.begun_at);
        let took =
            took.map(|(end, begin)| when::duration(Duration::from_secs(end.saturating_sub(begin))));
        table.row([
            backup.id.clone(),
            format!("{}/{}", backup.keyspace, backup.shard),
            state,
            when::utc(backup.at() * 1000),
            took.unwrap_or_default(),
            match backup.bytes {
                0 => String::new(),
                size => bytes(size),
            },
            of(backup),
            backup
                .requested_by
                .clone()
                .unwrap_or_else(|| "schedule".to_owned()),
            remark(backup),
        ]);
    }
    table.render(0)
}

/// `backup ID failed`, for messages.
pub fn what_it_is(backup: &BackupRecord) -> String {
    let what = match backup.state {
        BackupState::Requested => "is asked for, and not begun",
        BackupState::Taking => "is being taken",
        BackupState::Complete => "is complete",
        BackupState::Failed => "failed",
        BackupState::Removing => "is being removed",
    };
    format!("backup {} {what}", backup.id)
}

fn of(backup: &BackupRecord) -> String {
    let tablet = backup.tablet.as_ref().map(ToString::to_string);
    let flavor = backup.flavor.map(|f| format!(" ({f} {})", backup.version));
    format!(
        "{}{}",
        tablet.unwrap_or_default(),
        flavor.unwrap_or_default()
    )
}

fn remark(backup: &BackupRecord) -> String {
    let reason = backup.reason.lines().next().unwrap_or_default().to_owned();
    match (&backup.check, backup.state) {
        (Some(check), BackupState::Complete) => match check.ended_at {
            None => "being verified".to_owned(),
            Some(at) if check.damage.is_empty() => format!("verified {}", when::utc(at * 1000)),
            Some(_) => check.damage[0].clone(),
        },
        _ => reason,
    }
}

/// What stands below a table of complete backups: what belongs to which.
pub fn positions(backups: &[&BackupRecord]) -> String {
    let mut text = String::new();
    for backup in backups.iter().filter(|b| !b.position.is_empty()) {
        text.push_str(&format!("{}: position {}\n", backup.id, backup.position));
    }
    text
}

/// How often records are looked at though nothing is said of them.
const LOOK: Duration = Duration::from_secs(2);

/// Looks at records until `done` says what came of them, whenever backups change.
pub async fn follow<T>(
    cluster: &Cluster,
    mut done: impl FnMut(&Records) -> Option<T>,
) -> Result<T, CliError> {
    let store = cluster.store();
    let prefix = cluster.keys().all_backups();
    let listing = store.list(&prefix).await.map_err(|e| store_error(&e))?;
    let events = store.watch(&prefix, listing.revision + 1).await;
    let mut events = events.map_err(|e| store_error(&e))?;
    loop {
        if let Some(ended) = done(&find::records(cluster).await?) {
            return Ok(ended);
        }
        if let Ok(Some(event)) = tokio::time::timeout(LOOK, events.next()).await {
            event.map_err(|e| store_error(&e))?;
        }
    }
}

/// Lines on stderr about what goes on: news, and not all the time.
pub struct Lines {
    quiet: bool,
    last: String,
    at: Option<Instant>,
}

impl Lines {
    pub fn new(quiet: bool) -> Self {
        Self {
            quiet,
            last: String::new(),
            at: None,
        }
    }

    pub fn tell(&mut self, line: String) {
        const PAUSE: Duration = Duration::from_secs(3);
        if self.quiet || line == self.last || self.at.is_some_and(|at| at.elapsed() < PAUSE) {
            return;
        }
        err(&format!("{line}\n"));
        self.last = line;
        self.at = Some(Instant::now());
    }
}
