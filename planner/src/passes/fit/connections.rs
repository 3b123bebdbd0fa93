//! Connections to servers: what streams open on the primaries of both sides of a workflow, and what
//! gates may open everywhere.

use std::collections::{BTreeMap, HashMap};

use vtplan_state::model::{
    GATE_CONNECTIONS, HostName, KeyspaceName, ShardName, TabletAlias, WorkflowSide,
};

use crate::fit::{ConnectionFit, Verdict};
use crate::passes::view::View;
use crate::plan::{Action, Step};
use crate::seen::Deviation;

/// What a stream has open on a server that it writes to, at most: four that write, one that tells how
/// far it is, one that looks at the lag.
const STREAM_WRITES: u32 = 6;

/// What a stream, or a comparison, has open on a server that it reads.
const STREAM_READS: u32 = 4;

/// What agents have open on any server: their own, other agents' looks at it, replicas.
const AGENTS: u32 = 10;

/// The servers for which it may be too much.
pub(super) fn judge(view: &View, steps: &[Step]) -> Vec<ConnectionFit> {
    let servers = Servers::new(view, steps);
    let gates = gates(view).saturating_mul(GATE_CONNECTIONS);
    let mut needed: BTreeMap<&TabletAlias, u32> = BTreeMap::new();
    for step in steps {
        let Action::StartWorkflow { source, target, .. } = &step.action else {
            continue;
        };
        // Before the switch streams read the source, after it they write to it.
        for (side, other) in [(source, target), (target, source)] {
            let streams = other.shards.len().try_into().unwrap_or(u32::MAX);
            let open = STREAM_WRITES.saturating_mul(streams) + STREAM_READS;
            for primary in servers.primaries(side) {
                let needed = needed.entry(primary).or_insert(AGENTS);
                *needed = needed.saturating_add(open);
            }
        }
    }
    if more_gates(view, steps)
        && let Some(least) = servers.least()
    {
        needed.entry(least).or_insert(AGENTS);
    }
    let judged = needed.into_iter().filter_map(|(tablet, needed)| {
        let limit = servers.limit(tablet)?;
        let verdict = match needed {
            _ if needed > limit => Verdict::DoesNotFit,
            _ if needed.saturating_add(gates) > limit => Verdict::Tight,
            _ => return None,
        };
        Some(ConnectionFit {
            tablet: tablet.clone(),
            needed,
            gates,
            limit,
            verdict,
        })
    });
    judged.collect()
}

/// How many gates there are to be, or are already.
fn gates(view: &View) -> u32 {
    let wanted = view.desired.gates.values().map(|gates| gates.count);
    let wanted = wanted.fold(0, u32::saturating_add);
    let alive = view.live.records.gates.len().try_into().unwrap_or(u32::MAX);
    wanted.max(alive)
}

/// Whether a cell gets more gates than it had.
fn more_gates(view: &View, steps: &[Step]) -> bool {
    let configured = &view.live.records.gate_configs;
    steps.iter().any(|step| match &step.action {
        Action::ConfigureGates { cell, count, .. } => {
            configured.get(cell).is_none_or(|had| had.count < *count)
        }
        _ => false,
    })
}

/// The servers that there are, and that the steps create.
struct Servers<'v, 's> {
    view: &'v View<'v>,
    created: HashMap<&'s TabletAlias, &'s HostName>,
    first: HashMap<(&'s KeyspaceName, &'s ShardName), &'s TabletAlias>,
}

impl<'v, 's> Servers<'v, 's>
where
    'v: 's,
{
    fn new(view: &'v View<'v>, steps: &'s [Step]) -> Self {
        let (mut created, mut first) = (HashMap::new(), HashMap::new());
        for step in steps {
            match &step.action {
                Action::CreateTablet {
                    alias,
                    host: Some(host),
                    ..
                } => drop(created.insert(alias, host)),
                Action::InitPrimary {
                    keyspace,
                    shard,
                    primary,
                } => drop(first.insert((keyspace, shard), primary)),
                _ => {}
            }
        }
        Self {
            view,
            created,
            first,
        }
    }

    fn primaries<'a>(&'a self, side: &'s WorkflowSide) -> impl Iterator<Item = &'s TabletAlias> + 'a
    where
        's: 'a,
    {
        side.shards.iter().filter_map(move |shard| {
            let record = self.view.shard(&side.keyspace, shard);
            let first = self.first.get(&(&side.keyspace, shard)).copied();
            record.and_then(|record| record.primary.as_ref()).or(first)
        })
    }

    /// `max_connections`. `None`: unknown.
    fn limit(&self, tablet: &TabletAlias) -> Option<u32> {
        let record = self.view.live.records.tablets.get(tablet);
        let host = record.map(|record| &record.host);
        let host = host.or(self.created.get(tablet).copied())?;
        let set_up = self.view.live.observed.hosts.get(host)?.max_connections;
        let by_hand = self.view.observed(tablet).and_then(|observed| {
            observed.deviations.iter().find_map(|d| match d {
                Deviation::Variable { name, found, .. } if name == "max_connections" => {
                    found.parse().ok()
                }
                _ => None,
            })
        });
        by_hand.or(set_up)
    }

    /// One of those that may have the fewest connections: gates may connect to any.
    fn least(&self) -> Option<&'s TabletAlias> {
        let there = self.view.live.records.tablets.keys();
        let all = there.chain(self.created.keys().copied());
        let known = all.filter_map(|tablet| Some((self.limit(tablet)?, tablet)));
        known.min().map(|(_, tablet)| tablet)
    }
}
