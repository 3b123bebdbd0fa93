//! Simulated servers that hold rows: who may write to them, their logs, `_vt`, fences.
//!
//! A row's value is the number of the write that made it. The one who acknowledges a write knows
//! which value was acknowledged last, so a write that a server takes without having that one shows
//! that something was lost, at the moment it happens.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use vtplan_state::model::{
    GateName, KeyspaceId, KeyspaceName, Records, Revision, ShardName, TableName,
};

use super::routes::route;
use crate::conductor::sim::servers::Refusal;
use crate::conductor::sim::store::MemStore;

/// A shard: its primary's server stands for it.
pub type Place = (KeyspaceName, ShardName);

/// A table's row.
pub type RowId = (TableName, u64);

/// Rows of each table, small enough to look at all of them after each event.
pub const ROWS: u64 = 6;

/// A stream's row in `_vt`: workflow, the shard that is read, epoch.
pub type StreamKey = (String, ShardName, u64);

pub struct Data {
    pub store: Arc<MemStore>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
pub struct Inner {
    pub servers: BTreeMap<Place, Server>,
    /// What each gate routes by.
    pub views: BTreeMap<GateName, Arc<Records>>,
    acked: BTreeMap<RowId, u64>,
    next: u64,
    pub writes: u64,
    stopped: bool,
}

#[derive(Default)]
pub struct Server {
    pub down: bool,
    pub read_only: bool,
    pub tables: BTreeMap<TableName, BTreeMap<u64, u64>>,
    pub log: Vec<Change>,
    pub fences: BTreeMap<String, FenceRow>,
    pub vt: BTreeMap<StreamKey, VtRow>,
    /// Workflows that have ended.
    pub ended: BTreeSet<String>,
    open: BTreeMap<u64, RowId>,
}

#[derive(Clone)]
pub struct Change {
    pub row: RowId,
    pub value: u64,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FenceRow {
    pub closed: bool,
    pub decided: Revision,
    pub tables: BTreeSet<TableName>,
}

#[derive(Debug, Clone)]
pub struct VtRow {
    pub token: u64,
    pub sealed: bool,
    pub copied: bool,
    pub pos: usize,
}

/// A transaction that is open on a server.
#[derive(Debug, Clone)]
pub struct OpenWrite {
    pub at: Place,
    pub row: RowId,
    id: u64,
}

/// The keyspace id of a row.
pub fn keyspace_id(row: u64) -> KeyspaceId {
    // Spread over all shards.
    KeyspaceId(vec![(row.wrapping_mul(0x9e) % 256) as u8, row as u8])
}

pub fn is_on(shard: &ShardName, row: u64) -> bool {
    shard.key_range().contains(&keyspace_id(row))
}

impl Server {
    /// Whether the gates' account can write to a table.
    pub fn takes(&self, table: &TableName) -> bool {
        !self.down
            && !self.read_only
            && self.tables.contains_key(table)
            && !(self.fences.values()).any(|f| f.closed && f.tables.contains(table))
    }

    fn put(&mut self, row: &RowId, value: u64) {
        if let Some(table) = self.tables.get_mut(&row.0) {
            table.insert(row.1, value);
        }
        let row = row.clone();
        self.log.push(Change { row, value });
    }

    fn has_open(&self, tables: &BTreeSet<TableName>) -> bool {
        self.open.values().any(|(table, _)| tables.contains(table))
    }

    /// The process ends: open transactions with it. It starts read-only.
    pub fn crash(&mut self) {
        self.down = true;
        self.read_only = true;
        self.open.clear();
    }
}

impl Data {
    pub fn new(store: Arc<MemStore>) -> Arc<Self> {
        Arc::new(Self {
            store,
            inner: Mutex::default(),
        })
    }

    /// For whoever changes nothing that is checked.
    pub fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Changes something, and checks that all is well after it.
    pub fn change<T>(&self, what: &str, change: impl FnOnce(&mut Inner) -> T) -> T {
        let mut inner = self.lock();
        let result = change(&mut inner);
        if let Some(violation) = self.violation(&inner) {
            drop(inner);
            self.store.violate(format!("after {what}: {violation}"));
        }
        result
    }

    /// Changes rows: not who may write them.
    fn quietly<T>(&self, change: impl FnOnce(&mut Inner) -> T) -> T {
        change(&mut self.lock())
    }

    /// Two servers that take writes of one row, both of which somebody routes to.
    fn violation(&self, inner: &Inner) -> Option<String> {
        let now = self.store.records().ok()?;
        let views: Vec<&Arc<Records>> = inner.views.values().chain([&now]).collect();
        for row in inner.acked.keys() {
            let mut owners = BTreeSet::new();
            for view in &views {
                if let Some(place) = route(view, row)
                    && inner.servers.get(&place).is_some_and(|s| s.takes(&row.0))
                {
                    owners.insert(place);
                }
            }
            if owners.len() > 1 {
                return Some(format!("row {row:?} is written at {owners:?}"));
            }
        }
        None
    }

    /// Rows as they are in the beginning, everywhere they belong.
    pub fn fill(&self, at: &[Place], tables: &[TableName]) {
        let mut inner = self.lock();
        for table in tables {
            for place in at {
                let server = inner.servers.entry(place.clone()).or_default();
                server.tables.entry(table.clone()).or_default();
            }
            for row in 0..ROWS {
                let id = (table.clone(), row);
                inner.acked.insert(id.clone(), 0);
                for place in at.iter().filter(|(_, shard)| is_on(shard, row)) {
                    if let Some(server) = inner.servers.get_mut(place) {
                        server.put(&id, 0);
                    }
                }
            }
        }
    }

    /// Empty tables.
    pub fn make(&self, at: &[Place], tables: &[TableName]) {
        let mut inner = self.lock();
        for place in at {
            let server = inner.servers.entry(place.clone()).or_default();
            for table in tables {
                server.tables.entry(table.clone()).or_default();
            }
        }
    }

    /// From now on no session begins to write.
    pub fn stop_writes(&self) {
        self.lock().stopped = true;
    }

    /// A gate's session writes a row, and has yet to commit.
    pub fn begin(&self, at: &Place, row: &RowId) -> Option<OpenWrite> {
        let mut inner = self.lock();
        inner.next += 1;
        let (id, stopped) = (inner.next, inner.stopped);
        let server = inner.servers.get_mut(at)?;
        if !server.takes(&row.0) || stopped {
            return None;
        }
        server.open.insert(id, row.clone());
        Some(OpenWrite {
            at: at.clone(),
            row: row.clone(),
            id,
        })
    }

    /// It commits; whether that is acknowledged.
    pub fn commit(&self, write: &OpenWrite) -> bool {
        self.quietly(|inner| {
            inner.next += 1;
            let value = inner.next;
            let acked = inner.acked.get(&write.row).copied();
            let Some(server) = inner.servers.get_mut(&write.at) else {
                return false;
            };
            let open = server.open.remove(&write.id).is_some();
            if !open || server.down || server.read_only {
                return false;
            }
            let there = server.tables.get(&write.row.0).and_then(|t| t.get(&write.row.1));
            if there.copied() != acked {
                let (at, row) = (&write.at, &write.row);
                self.store.violate(format!(
                    "{at:?} takes a write of {row:?} with {there:?}, not with the acknowledged {acked:?}"
                ));
            }
            server.put(&write.row, value);
            inner.acked.insert(write.row.clone(), value);
            inner.writes += 1;
            true
        })
    }

    pub fn roll_back(&self, write: &OpenWrite) {
        if let Some(server) = self.lock().servers.get_mut(&write.at) {
            server.open.remove(&write.id);
        }
    }

    /// Tries to close a fence on tables: not while transactions that wrote to them are open.
    pub fn set_fence(
        &self,
        at: &Place,
        workflow: &str,
        closed: bool,
        decided: Revision,
    ) -> Result<Option<String>, Refusal> {
        self.change("setting a fence", |inner| {
            let server = running(inner, at)?;
            let Some(fence) = server.fences.get(workflow) else {
                return Err(Refusal::NotNow("there is no fence".into()));
            };
            if fence.decided > decided {
                return Err(Refusal::NotNow("it was set since".into()));
            }
            if closed && !fence.closed && server.has_open(&fence.tables) {
                return Ok(None);
            }
            let position = server.log.len().to_string();
            if let Some(fence) = server.fences.get_mut(workflow) {
                fence.closed = closed;
                fence.decided = decided;
            }
            Ok(Some(position))
        })
    }

    /// Whether a fence is there as it is to be.
    pub fn has_fence(&self, at: &Place, workflow: &str, row: &FenceRow) -> Result<bool, Refusal> {
        let mut inner = self.lock();
        let fence = running(&mut inner, at)?.fences.get(workflow);
        Ok(fence.is_some_and(|fence| {
            fence.closed == row.closed && fence.decided <= row.decided && fence.tables == row.tables
        }))
    }

    /// Whether a fence is on tables.
    pub fn is_fenced(&self, at: &Place, workflow: &str) -> Result<bool, Refusal> {
        let mut inner = self.lock();
        let fence = running(&mut inner, at)?.fences.get(workflow);
        Ok(fence.is_some_and(|fence| !fence.tables.is_empty()))
    }

    pub fn prepare_fence(&self, at: &Place, workflow: &str, row: FenceRow) -> Result<(), Refusal> {
        self.change("preparing a fence", |inner| {
            let server = running(inner, at)?;
            match server.fences.get_mut(workflow) {
                Some(fence) if fence.decided > row.decided => {
                    return Err(Refusal::NotNow("it was set since".into()));
                }
                Some(fence) => *fence = row,
                None => {
                    server.fences.insert(workflow.to_owned(), row);
                }
            }
            Ok(())
        })
    }

    pub fn remove_fence(
        &self,
        at: &Place,
        workflow: &str,
        decided: Revision,
    ) -> Result<(), Refusal> {
        self.change("removing a fence", |inner| {
            let server = running(inner, at)?;
            if (server.fences.get(workflow)).is_some_and(|fence| fence.decided > decided) {
                return Err(Refusal::NotNow("it was set since".into()));
            }
            // What is left says that nothing older may make it anew.
            let left = FenceRow {
                closed: false,
                decided,
                tables: BTreeSet::new(),
            };
            server.fences.insert(workflow.to_owned(), left);
            Ok(())
        })
    }

    /// Makes a shard's server take writes or not, as the records in the store say now.
    pub fn follow_shard(&self, at: &Place) -> Result<bool, Refusal> {
        let records = (self.store.records()).map_err(|e| Refusal::NotNow(e.to_string()))?;
        let takes = records
            .shard(&at.0, &at.1)
            .is_some_and(|s| s.takes_writes());
        self.change("following a shard's record", |inner| {
            let server = running(inner, at)?;
            server.read_only = !takes;
            if !takes {
                // What is open could only roll back.
                server.open.clear();
            }
            Ok(takes)
        })
    }

    /// Takes a stream's rows over on a target; what it is to begin with where there are none.
    pub fn claim(&self, at: &Place, stream: &StreamKey, token: u64, start: Option<usize>) -> bool {
        let mut inner = self.lock();
        let Ok(server) = running(&mut inner, at) else {
            return false;
        };
        if server.ended.contains(&stream.0) {
            return false;
        }
        let row = server.vt.entry(stream.clone()).or_insert(VtRow {
            token,
            sealed: false,
            copied: start.is_some(),
            pos: start.unwrap_or_default(),
        });
        if row.sealed || row.token > token {
            return false;
        }
        row.token = token;
        true
    }

    /// A transaction of a stream: rows with its position.
    pub fn apply(
        &self,
        at: &Place,
        stream: &StreamKey,
        token: u64,
        changes: &[Change],
        pos: usize,
    ) -> bool {
        self.quietly(|inner| {
            let Ok(server) = running(inner, at) else {
                return false;
            };
            let Some(row) = server.vt.get_mut(stream) else {
                return false;
            };
            if row.token != token || row.sealed {
                return false;
            }
            row.pos = pos;
            row.copied = true;
            for change in changes.iter().filter(|c| is_on(&at.1, c.row.1)) {
                server.put(&change.row, change.value);
            }
            true
        })
    }

    /// What a stream reads: the changes after a position, some of them; the rows where it copies.
    pub fn read(
        &self,
        at: &Place,
        tables: &[TableName],
        after: Option<usize>,
        most: usize,
    ) -> Option<(Vec<Change>, usize)> {
        let mut inner = self.lock();
        let server = running(&mut inner, at).ok()?;
        let Some(after) = after else {
            let rows = server
                .tables
                .iter()
                .filter(|(name, _)| tables.contains(name));
            let rows = rows.flat_map(|(name, rows)| {
                rows.iter().map(|(id, value)| Change {
                    row: (name.clone(), *id),
                    value: *value,
                })
            });
            return Some((rows.collect(), server.log.len()));
        };
        let to = server.log.len().min(after + most);
        let changes = server.log.get(after..to)?.iter();
        let changes = changes.filter(|c| tables.contains(&c.row.0)).cloned();
        Some((changes.collect(), to))
    }

    /// The rows whose writable owner, by the records of now, is not there or lacks what was
    /// acknowledged.
    pub fn check_end(&self, records: &Records) -> Result<(), String> {
        let inner = self.lock();
        for (row, value) in &inner.acked {
            let Some(place) = route(records, row) else {
                return Err(format!("row {row:?} is routed nowhere"));
            };
            let server = inner.servers.get(&place).ok_or("no server")?;
            if !server.takes(&row.0) {
                return Err(format!(
                    "{place:?} takes no writes of row {row:?}: down {}, read-only {}, fences {:?}",
                    server.down, server.read_only, server.fences
                ));
            }
            let there = server.tables.get(&row.0).and_then(|t| t.get(&row.1));
            if there != Some(value) {
                return Err(format!(
                    "{place:?} has {there:?} of row {row:?}, acknowledged was {value}"
                ));
            }
        }
        Ok(())
    }

    /// Whether these servers hold what was acknowledged of these tables.
    pub fn check_equal(&self, at: &[Place], tables: &[TableName]) -> Result<(), String> {
        let inner = self.lock();
        for (row, value) in inner
            .acked
            .iter()
            .filter(|(row, _)| tables.contains(&row.0))
        {
            for place in at.iter().filter(|(_, shard)| is_on(shard, row.1)) {
                let server = inner.servers.get(place);
                let there = server.and_then(|s| s.tables.get(&row.0)?.get(&row.1));
                if there != Some(value) {
                    return Err(format!("{place:?} has {there:?} of {row:?}, not {value}"));
                }
            }
        }
        Ok(())
    }
}

pub fn running<'a>(inner: &'a mut Inner, at: &Place) -> Result<&'a mut Server, Refusal> {
    let server = inner.servers.get_mut(at).filter(|server| !server.down);
    server.ok_or_else(|| Refusal::NotNow(format!("the server of {at:?} is down")))
}
