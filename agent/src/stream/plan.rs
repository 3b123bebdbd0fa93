//! What the records say of one stream: what it reads, what it writes to, whether it moves.

use std::collections::BTreeMap;
use std::time::Duration;

use vtplan_state::model::{
    Credentials, HostName, HostRecord, KeyspaceName, Records, ShardName, TableName, TabletRecord,
    TabletType, UnixMillis, VSchemaKeyspace, WorkflowRecord,
};

use super::progress::StreamKey;
use super::server::ServerAddress;
use super::target::vt_tables::StreamId;

/// A stream as the records want it.
#[derive(Debug, Clone, PartialEq)]
pub struct StreamPlan {
    pub key: StreamKey,
    /// What it moves, and where; the stream begins anew when any of it changes.
    pub work: Work,
    /// Tablets of the shard that is read: those to prefer first, the primary last.
    pub sources: Vec<SourceTablet>,
    /// Servers that replicate from the targets' primaries.
    pub target_replicas: Vec<ServerAddress>,
    pub throttle_max_lag: Duration,
    /// A switch of writes is under way: positions are waited for.
    pub hurry: bool,
    /// Why it is not to move; empty: it is.
    pub paused_because: String,
}

#[derive(Debug, Clone, PartialEq)]
pub struct Work {
    pub id: StreamId,
    pub created_at: UnixMillis,
    /// Where to follow from; `None`: it begins with a copy.
    pub start: Option<String>,
    pub tables: Vec<TableName>,
    pub from_keyspace: KeyspaceName,
    pub to_keyspace: KeyspaceName,
    /// In the order of the shards.
    pub targets: Vec<TargetShard>,
    /// Of the keyspace that is written.
    pub vschema: VSchemaKeyspace,
    /// Of the keyspace that is read: by which columns its rows are spread over its shards.
    pub from_vschema: VSchemaKeyspace,
    /// How many streams write to the same targets.
    pub streams: usize,
    /// The first of these: it carries the rows that belong on every shard.
    pub is_first: bool,
    /// The primary of the shard that is read, on which earlier epochs ended.
    pub source_primary: Option<ServerAddress>,
    pub moves: bool,
}

#[derive(Debug, Clone, PartialEq)]
pub struct TargetShard {
    pub shard: ShardName,
    /// `None`: the shard has none, or its host was never seen.
    pub primary: Option<ServerAddress>,
}

#[derive(Debug, Clone, PartialEq)]
pub struct SourceTablet {
    pub address: ServerAddress,
    pub is_primary: bool,
}

/// The hosts that were ever seen: servers go on running when their agent, and its record, is gone.
pub type Hosts = BTreeMap<HostName, HostRecord>;

/// Every stream that there should be, of all workflows that are not being ended.
pub fn streams(records: &Records) -> Vec<StreamKey> {
    let mut keys = Vec::new();
    for workflow in records.all_workflows() {
        if workflow.ending.is_some() {
            continue;
        }
        keys.extend(workflow.reads_from().shards.iter().map(|shard| StreamKey {
            keyspace: workflow.target.keyspace.clone(),
            workflow: workflow.name.clone(),
            from: workflow.streams.from,
            shard: shard.clone(),
        }));
    }
    keys
}

impl StreamPlan {
    /// The stream's plan; `None`: there should be no such stream.
    pub fn of(
        records: &Records,
        hosts: &Hosts,
        here: &HostName,
        credentials: &Credentials,
        key: &StreamKey,
    ) -> Option<Self> {
        let workflow = records.workflow(&key.keyspace, &key.workflow)?;
        let from = workflow.reads_from();
        let to = workflow.writes_to();
        if workflow.ending.is_some()
            || workflow.streams.from != key.from
            || !from.shards.contains(&key.shard)
        {
            return None;
        }
        let address = |tablet: &TabletRecord| {
            let host = records.hosts.get(&tablet.host);
            let host = host.or_else(|| hosts.get(&tablet.host))?;
            Some(ServerAddress::of_tablet(tablet, host, here, credentials))
        };
        let primary = |keyspace: &KeyspaceName, shard: &ShardName| {
            let alias = records.shard(keyspace, shard)?.primary.as_ref()?;
            address(records.tablets.get(alias)?)
        };
        let mut sources: Vec<(u8, SourceTablet)> = records
            .tablets_of(&from.keyspace, &key.shard)
            .filter_map(|tablet| {
                let is_primary = records.is_primary(tablet);
                let address = address(tablet)?;
                let rank = match tablet.tablet_type {
                    _ if is_primary => 2,
                    TabletType::Rdonly => 0,
                    _ => 1,
                };
                Some((
                    rank,
                    SourceTablet {
                        address,
                        is_primary,
                    },
                ))
            })
            .collect();
        sources.sort_by(|a, b| (a.0, &a.1.address.name).cmp(&(b.0, &b.1.address.name)));
        let targets: Vec<TargetShard> = to
            .shards
            .iter()
            .map(|shard| TargetShard {
                shard: shard.clone(),
                primary: primary(&to.keyspace, shard),
            })
            .collect();
        let target_replicas = to
            .shards
            .iter()
            .flat_map(|shard| records.tablets_of(&to.keyspace, shard))
            .filter(|tablet| !records.is_primary(tablet))
            .filter_map(address)
            .collect();
        let paused_because = paused_because(workflow);
        Some(Self {
            key: key.clone(),
            work: Work {
                id: StreamId {
                    workflow: workflow.full_name(),
                    source_shard: key.shard.to_string(),
                    epoch: workflow.streams.epoch,
                },
                created_at: workflow.created_at,
                start: workflow.streams.start.get(&key.shard).cloned(),
                tables: workflow.tables.clone(),
                from_keyspace: from.keyspace.clone(),
                to_keyspace: to.keyspace.clone(),
                targets,
                vschema: vschema(records, &to.keyspace, &workflow.tables),
                from_vschema: vschema(records, &from.keyspace, &workflow.tables),
                streams: from.shards.len(),
                is_first: from.shards.first() == Some(&key.shard),
                source_primary: primary(&from.keyspace, &key.shard),
                moves: paused_because.is_empty(),
            },
            sources: sources.into_iter().map(|(_, source)| source).collect(),
            target_replicas,
            throttle_max_lag: Duration::from_secs(workflow.throttle_max_lag_seconds.max(1)),
            hurry: workflow.switch.is_some(),
            paused_because,
        })
    }
}

/// What of a VSchema says where rows of the tables go.
fn vschema(records: &Records, keyspace: &KeyspaceName, tables: &[TableName]) -> VSchemaKeyspace {
    let whole = records.vschemas.get(keyspace).cloned();
    let mut vschema = whole.unwrap_or_default();
    vschema
        .tables
        .retain(|name, _| tables.iter().any(|table| table.as_str() == name));
    vschema
}

fn paused_because(workflow: &WorkflowRecord) -> String {
    if workflow.paused {
        format!(
            "paused by hand; `vtplan workflow resume {}` lets it go on",
            workflow.full_name()
        )
    } else if !workflow.streams.running {
        "streams are stopped while traffic is switched".to_owned()
    } else {
        String::new()
    }
}
