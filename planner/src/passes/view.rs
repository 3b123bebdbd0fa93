//! The two inputs, indexed once: tablets by shard, names by place, and what can be said of each
//! tablet. Passes read; nothing here decides.

use std::collections::{BTreeMap, BTreeSet, HashMap};

use vtplan_state::model::{
    HostRecord, KeyspaceName, ShardName, ShardRecord, TableName, TabletAlias, TabletRecord,
};

use crate::desired::Desired;
use crate::live::{Live, ObservedRole, ObservedTable, ObservedTablet, RunningServer, ServerState};

/// What is known of a tablet that has a record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Health {
    /// Its host has no live agent, or the agent did not answer: nothing is planned that needs it.
    Unseen,
    /// Its creation is not through: its server has not run yet, or does not yet replicate.
    Starting,
    /// Its server should run and does not; its agent sees to that.
    Down,
    Up,
}

/// What is known of the tables of a shard.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Tables<'a> {
    /// The shard never had a primary, so it never held a table.
    Fresh,
    Known(&'a BTreeMap<TableName, ObservedTable>),
    /// The primary cannot be read.
    Unknown,
}

pub(crate) struct View<'a> {
    pub desired: &'a Desired,
    pub live: &'a Live,
    tablets: HashMap<&'a KeyspaceName, HashMap<&'a ShardName, Vec<&'a TabletRecord>>>,
    /// All keyspaces, of the spec and of the records, with their place by name.
    keyspaces: BTreeMap<&'a KeyspaceName, u32>,
}

impl<'a> View<'a> {
    pub(crate) fn new(desired: &'a Desired, live: &'a Live) -> Self {
        let mut tablets: HashMap<_, HashMap<_, Vec<&TabletRecord>>> = HashMap::new();
        for tablet in live.records.tablets.values() {
            tablets
                .entry(&tablet.keyspace)
                .or_default()
                .entry(&tablet.shard)
                .or_default()
                .push(tablet);
        }
        for of_shard in tablets.values_mut().flat_map(HashMap::values_mut) {
            of_shard.sort_by_key(|t| t.alias.uid);
        }
        let names: BTreeSet<&KeyspaceName> = desired
            .keyspaces
            .keys()
            .chain(live.records.keyspaces.keys())
            .chain(live.records.shards.keys().map(|(keyspace, _)| keyspace))
            .collect();
        let keyspaces = names.into_iter().zip(0..).collect();
        Self {
            desired,
            live,
            tablets,
            keyspaces,
        }
    }

    /// Place of a keyspace among all by name.
    pub(crate) fn keyspace_index(&self, keyspace: &KeyspaceName) -> u32 {
        self.keyspaces.get(keyspace).copied().unwrap_or(u32::MAX)
    }

    /// Place of a shard among those that the spec gives its keyspace, from 1.
    pub(crate) fn desired_index(&self, keyspace: &KeyspaceName, shard: &ShardName) -> u32 {
        let desired = self.desired.keyspaces.get(keyspace);
        let place = desired.map_or(0, |d| d.shards.iter().filter(|s| *s < shard).count());
        place as u32 + 1
    }

    /// Keyspaces that there are and the spec does not name.
    pub(crate) fn removed_keyspaces(&self) -> impl Iterator<Item = &'a KeyspaceName> {
        self.keyspaces
            .keys()
            .copied()
            .filter(|name| !self.desired.keyspaces.contains_key(*name))
    }

    /// A shard's tablets, by uid.
    pub(crate) fn tablets_of(
        &self,
        keyspace: &KeyspaceName,
        shard: &ShardName,
    ) -> &[&'a TabletRecord] {
        self.tablets
            .get(keyspace)
            .and_then(|shards| shards.get(shard))
            .map_or(&[], Vec::as_slice)
    }

    pub(crate) fn shard(
        &self,
        keyspace: &KeyspaceName,
        shard: &ShardName,
    ) -> Option<&'a ShardRecord> {
        self.live.records.shard(keyspace, shard)
    }

    pub(crate) fn host_of(&self, tablet: &TabletRecord) -> Option<&'a HostRecord> {
        self.live.records.hosts.get(&tablet.host)
    }

    pub(crate) fn observed(&self, alias: &TabletAlias) -> Option<&'a ObservedTablet> {
        self.live.observed.tablets.get(alias)
    }

    fn running(&self, alias: &TabletAlias) -> Option<&'a RunningServer> {
        match &self.observed(alias)?.server {
            ServerState::Running(server) => Some(server),
            _ => None,
        }
    }

    /// Whether a tablet is seen to take writes.
    pub(crate) fn takes_writes(&self, alias: &TabletAlias) -> bool {
        self.running(alias)
            .is_some_and(|server| matches!(server.role, ObservedRole::Primary { .. }))
    }

    /// See [`RunningServer::replicates_from`].
    pub(crate) fn replicates_from(&self, alias: &TabletAlias) -> Option<&'a str> {
        self.running(alias)?.replicates_from.as_deref()
    }

    /// Why a replica does not replicate, if it does not.
    pub(crate) fn replication_error(&self, alias: &TabletAlias) -> Option<&'a str> {
        match &self.running(alias)?.role {
            ObservedRole::Replica {
                healthy: false,
                error,
                ..
            } => Some(if error.is_empty() {
                "no reason was given"
            } else {
                error
            }),
            _ => None,
        }
    }

    /// The last line of what a server that is down left behind.
    pub(crate) fn last_words(&self, alias: &TabletAlias) -> &'a str {
        let server = self.observed(alias).map(|observed| &observed.server);
        let lines = match server {
            Some(ServerState::Down { message }) => message.trim().lines().next_back(),
            _ => None,
        };
        lines.unwrap_or("no reason was given")
    }

    /// See [`Health`]. While a shard has no primary, whatever does not run counts as starting:
    /// there was nothing yet that it could have run for.
    pub(crate) fn health(&self, tablet: &TabletRecord, shard: Option<&ShardRecord>) -> Health {
        if self.host_of(tablet).is_none() {
            return Health::Unseen;
        }
        let primary = shard.and_then(|s| s.primary.as_ref());
        let Some(observed) = self.observed(&tablet.alias) else {
            return if primary.is_none() {
                Health::Starting
            } else {
                Health::Unseen
            };
        };
        match (&observed.server, primary) {
            (ServerState::Creating { .. }, _) | (ServerState::Down { .. }, None) => {
                Health::Starting
            }
            (ServerState::Down { .. }, Some(_)) => Health::Down,
            (ServerState::Running(server), Some(primary))
                if server.role == ObservedRole::Idle
                    && *primary != tablet.alias
                    && self.takes_writes(primary) =>
            {
                Health::Starting
            }
            (ServerState::Running(_), _) => Health::Up,
        }
    }

    /// The primary that a shard's record names and that was not yet seen to take writes for the
    /// first time: its initialisation is not through.
    pub(crate) fn initialising(&self, shard: Option<&'a ShardRecord>) -> Option<&'a TabletAlias> {
        let shard = shard?;
        let primary = shard.primary.as_ref()?;
        let server = self.running(primary)?;
        let takes_writes = matches!(server.role, ObservedRole::Primary { .. });
        (shard.term <= 1 && !takes_writes).then_some(primary)
    }

    pub(crate) fn tables(&self, shard: Option<&'a ShardRecord>) -> Tables<'a> {
        let Some(record) = shard else {
            return Tables::Fresh;
        };
        let Some(primary) = &record.primary else {
            let tablets = self.tablets_of(&record.keyspace, &record.shard);
            return if record.term == 0 && tablets.iter().all(|t| t.server.is_made()) {
                Tables::Fresh
            } else {
                Tables::Unknown
            };
        };
        let tablet = self.live.records.tablets.get(primary);
        let its_own =
            tablet.is_some_and(|t| t.keyspace == record.keyspace && t.shard == record.shard);
        if !its_own {
            return Tables::Unknown;
        }
        if let Some(tables) = self.observed(primary).and_then(|o| o.tables.as_ref()) {
            return Tables::Known(tables);
        }
        // An adopted server had its tables before it was anybody's primary.
        if self.initialising(shard).is_some() && tablet.is_some_and(|t| t.server.is_made()) {
            return Tables::Fresh;
        }
        Tables::Unknown
    }

    /// Whether it is certain that a shard holds no table.
    pub(crate) fn holds_nothing(&self, keyspace: &KeyspaceName, shard: &'a ShardRecord) -> bool {
        if self.tablets_of(keyspace, &shard.shard).is_empty() {
            return true;
        }
        match self.tables(Some(shard)) {
            Tables::Fresh => shard.primary.is_none(),
            Tables::Known(tables) => tables.is_empty(),
            Tables::Unknown => false,
        }
    }
}
