//! Room on disks.
//!
//! Counted is what the steps of the plan add while nothing of what they take away is gone yet: what
//! a workflow leaves at its source is dropped at its end, and no plan can rely on that room.

use std::collections::{BTreeMap, HashMap};

use vtplan_state::model::{
    HostName, KeyRange, KeyspaceName, ShardName, Side, TableName, TabletAlias, WorkflowKind,
    WorkflowSide,
};

use super::share::share;
use crate::fit::{Cause, DiskFit, DiskNeed, Verdict};
use crate::live::{ObservedDisk, ObservedTable};
use crate::passes::view::{Tables, View};
use crate::plan::{Action, Step};

/// Every byte of rows that a tablet gets is written twice: to its tables, whose size at the source is
/// that of rows with their indexes, and to its binlog, which all tablets have and which is kept. (A
/// binlog has no indexes, so this is rather too much than too little.)
const WRITTEN: u64 = 2;

/// What the folder of a new tablet takes where its host has not made one yet, bytes: fresh data, redo
/// log, temporary tablespaces. Measured were 77 MiB (MariaDB 10.11) and 148 MiB (MySQL 9.7).
const NEW_TABLET_BYTES: u64 = 160 << 20;

/// Above this part of what is free, a need is close to it: statistics of tables are about as far off.
const TIGHT_PERCENT: u64 = 90;

/// Each file system that the steps need room on.
pub(super) fn judge(view: &View, steps: &[Step]) -> Vec<DiskFit> {
    let mut needs = Needs::new(view, steps);
    for step in steps {
        needs.of_step(step);
    }
    if needs.by_disk.is_empty() {
        return Vec::new();
    }
    for record in view.live.records.all_workflows() {
        if !record.copied && record.streams.from == Side::Source && record.ending.is_none() {
            let (kind, tables) = (record.kind, &record.tables[..]);
            let cause = Cause::RunningCopy(record.full_name());
            needs.of_copy(&cause, kind, &record.source, &record.target, tables);
        }
    }
    needs.finish()
}

/// The name of a file system, or the host itself where its agent gives none.
type DiskKey<'a> = (&'a str, Option<&'a HostName>);

#[derive(Default)]
struct DiskNeeds<'a> {
    hosts: BTreeMap<&'a HostName, Option<&'a ObservedDisk>>,
    causes: BTreeMap<Cause, DiskNeed>,
}

struct Needs<'v, 's> {
    view: &'v View<'v>,
    /// The tablets that the steps create, by shard.
    created: HashMap<(&'s KeyspaceName, &'s ShardName), Vec<(&'s TabletAlias, &'s HostName)>>,
    by_disk: BTreeMap<DiskKey<'s>, DiskNeeds<'s>>,
}

impl<'v, 's> Needs<'v, 's>
where
    'v: 's,
{
    fn new(view: &'v View<'v>, steps: &'s [Step]) -> Self {
        let mut created: HashMap<_, Vec<_>> = HashMap::new();
        for step in steps {
            if let Action::CreateTablet {
                alias,
                keyspace,
                shard,
                host: Some(host),
                ..
            } = &step.action
            {
                let of_shard = created.entry((keyspace, shard)).or_default();
                of_shard.push((alias, host));
            }
        }
        Self {
            view,
            created,
            by_disk: BTreeMap::new(),
        }
    }

    fn of_step(&mut self, step: &'s Step) {
        match &step.action {
            Action::CreateTablet {
                alias,
                keyspace,
                shard,
                host: Some(host),
                ..
            } => {
                let room = self.view.live.observed.hosts.get(host);
                let own = room.and_then(|room| room.new_tablet_bytes);
                let data = written(self.data_of(keyspace, shard));
                let bytes = own.unwrap_or(NEW_TABLET_BYTES).saturating_add(data);
                self.add(&Cause::NewTablets, alias, host, bytes);
            }
            Action::StartWorkflow {
                workflow,
                workflow_kind,
                source,
                target,
                tables,
                ..
            } => {
                let cause = Cause::Copy(format!("{}.{workflow}", target.keyspace));
                self.of_copy(&cause, *workflow_kind, source, target, tables);
            }
            Action::AlterTable {
                keyspace,
                shard,
                table,
                ..
            } => {
                let cause = Cause::RebuiltTable(format!("{keyspace}/{shard}:{table}"));
                let bytes = step.estimate.bytes.unwrap_or(0);
                self.add_to_shard(&cause, keyspace, shard, bytes);
            }
            _ => {}
        }
    }

    /// What a shard holds now, and a new tablet of it gets, bytes.
    fn data_of(&self, keyspace: &KeyspaceName, shard: &ShardName) -> u64 {
        match self.tables(keyspace, shard) {
            Some(tables) => sum(tables.values().map(|table| table.bytes)),
            None => 0,
        }
    }

    fn tables(
        &self,
        keyspace: &KeyspaceName,
        shard: &ShardName,
    ) -> Option<&'v BTreeMap<TableName, ObservedTable>> {
        match self.view.tables(self.view.shard(keyspace, shard)) {
            Tables::Known(tables) => Some(tables),
            Tables::Fresh | Tables::Unknown => None,
        }
    }

    /// What of each table belongs on each target shard, less what is there of it already.
    fn of_copy(
        &mut self,
        cause: &Cause,
        kind: WorkflowKind,
        source: &'s WorkflowSide,
        target: &'s WorkflowSide,
        tables: &[TableName],
    ) {
        for to in &target.shards {
            let there = self.tables(&target.keyspace, to);
            let mut left: u64 = 0;
            for table in tables {
                let everywhere = self.is_reference(&target.keyspace, table);
                let mut due: u64 = 0;
                for from in &source.shards {
                    let seen = self.tables(&source.keyspace, from);
                    let bytes = seen.and_then(|t| t.get(table)).map_or(0, |t| t.bytes);
                    if everywhere {
                        due = due.max(bytes);
                        continue;
                    }
                    // Of a Reshard rows keep their ids; of a MoveTables they get new ones.
                    let of = match kind {
                        WorkflowKind::Reshard => from.key_range(),
                        WorkflowKind::MoveTables => &KeyRange::full(),
                    };
                    due = due.saturating_add(share(bytes, of, to.key_range()));
                }
                let done = there.and_then(|t| t.get(table)).map_or(0, |t| t.bytes);
                left = left.saturating_add(due.saturating_sub(done));
            }
            self.add_to_shard(cause, &target.keyspace, to, written(left));
        }
    }

    /// Whether every shard has all rows of a table.
    fn is_reference(&self, keyspace: &KeyspaceName, table: &TableName) -> bool {
        let desired = self.view.desired.keyspaces.get(keyspace);
        let live = self.view.live.records.vschemas.get(keyspace);
        let vschema = desired.map(|d| &d.vschema).or(live);
        let entry = vschema.and_then(|v| v.tables.get(table.as_str()));
        entry.is_some_and(|entry| entry.is_reference())
    }

    /// Every tablet of a shard, of now and to be, needs so much.
    fn add_to_shard(
        &mut self,
        cause: &Cause,
        keyspace: &'s KeyspaceName,
        shard: &'s ShardName,
        bytes: u64,
    ) {
        if bytes == 0 {
            return;
        }
        let view = self.view;
        let there = view.tablets_of(keyspace, shard).iter();
        let mut tablets: Vec<_> = there.map(|t| (&t.alias, &t.host)).collect();
        tablets.extend(self.created.get(&(keyspace, shard)).into_iter().flatten());
        for (alias, host) in tablets {
            self.add(cause, alias, host, bytes);
        }
    }

    fn add(&mut self, cause: &Cause, alias: &TabletAlias, host: &'s HostName, bytes: u64) {
        let room = self.view.live.observed.hosts.get(host);
        let disk = room.and_then(|room| room.disk.as_ref());
        let key = match disk.map(|disk| disk.id.as_str()) {
            None | Some("") => ("", Some(host)),
            Some(id) => (id, None),
        };
        let of_disk = self.by_disk.entry(key).or_default();
        of_disk.hosts.insert(host, disk);
        let need = of_disk
            .causes
            .entry(cause.clone())
            .or_insert_with(|| DiskNeed {
                cause: cause.clone(),
                bytes: 0,
                tablets: Vec::new(),
            });
        need.bytes = need.bytes.saturating_add(bytes);
        need.tablets.push(alias.clone());
    }

    fn finish(self) -> Vec<DiskFit> {
        let disks = self.by_disk.into_values().filter_map(DiskNeeds::fit);
        let mut disks: Vec<DiskFit> = disks.collect();
        disks.sort_by(|a, b| a.hosts.cmp(&b.hosts));
        disks
    }
}

impl DiskNeeds<'_> {
    /// `None`: nothing new is needed.
    fn fit(self) -> Option<DiskFit> {
        let runs = |cause: &Cause| matches!(cause, Cause::RunningCopy(_));
        if self.causes.keys().all(runs) {
            return None;
        }
        let mut needs: Vec<DiskNeed> = self.causes.into_values().collect();
        for need in &mut needs {
            need.tablets.sort();
        }
        needs.sort_by(|a, b| b.bytes.cmp(&a.bytes).then_with(|| a.cause.cmp(&b.cause)));
        let needed_bytes = sum(needs.iter().map(|need| need.bytes));
        // Agents of one machine do not look at the same moment.
        let seen = || self.hosts.values().copied().flatten();
        let free_bytes = seen().map(|disk| disk.free_bytes).min();
        Some(DiskFit {
            needed_bytes,
            free_bytes,
            total_bytes: seen().map(|disk| disk.total_bytes).min(),
            verdict: verdict(needed_bytes, free_bytes),
            needs,
            hosts: self.hosts.into_keys().cloned().collect(),
        })
    }
}

fn verdict(needed: u64, free: Option<u64>) -> Verdict {
    match free {
        None => Verdict::Unknown,
        Some(free) if needed > free => Verdict::DoesNotFit,
        Some(free) if needed > free / 100 * TIGHT_PERCENT => Verdict::Tight,
        Some(_) => Verdict::Fits,
    }
}

fn written(bytes: u64) -> u64 {
    bytes.saturating_mul(WRITTEN)
}

fn sum(bytes: impl Iterator<Item = u64>) -> u64 {
    bytes.fold(0, u64::saturating_add)
}
