//! Servers in their roles: whether they run, replicate from where they should, and take writes or not.
//! Agents keep all of this right by themselves, so what is found is what they cannot, or have not yet.

use std::collections::HashMap;

use vtplan_state::model::{
    Durability, HostRecord, KeyspaceName, ShardName, ShardRecord, TabletRecord,
};

use super::{Drift, Finding, Input, Kind};
use crate::live::{ObservedRole, RunningServer, ServerState};

pub(super) fn find(input: &Input<'_>, found: &mut Drift) {
    let live = input.live;
    let mut shards: HashMap<(&KeyspaceName, &ShardName), Vec<&TabletRecord>> = HashMap::new();
    for tablet in live.records.tablets.values() {
        let shard = (&tablet.keyspace, &tablet.shard);
        shards.entry(shard).or_default().push(tablet);
    }
    for tablet in live.records.tablets.values() {
        let (Some(host), Some(observed)) = (
            live.records.hosts.get(&tablet.host),
            live.observed.tablets.get(&tablet.alias),
        ) else {
            continue;
        };
        let alias = tablet.alias.to_string();
        let server = match &observed.server {
            ServerState::Running(server) => server,
            ServerState::Creating { message } | ServerState::Down { message } => {
                let last = message.trim().lines().next_back().unwrap_or_default();
                let finding = Finding::new(Kind::ServerDown, alias, "a server that runs", last);
                found.findings.push(match tablet.adopted() {
                    None => finding.by_agent(host.name.as_str()),
                    Some(server) => finding.by_person(format!(
                        "get the server at {server} to run and be reached from host {}; vtplan starts no \
                         server that it did not make",
                        host.name
                    )),
                });
                continue;
            }
        };
        let Some(shard) = live.records.shard(&tablet.keyspace, &tablet.shard) else {
            continue;
        };
        if shard.primary.is_none() {
            continue;
        }
        let of_shard = shards
            .get(&(&tablet.keyspace, &tablet.shard))
            .map_or(&[][..], Vec::as_slice);
        role(input, shard, tablet, host, server, found);
        modes(input, shard, tablet, host, server, of_shard, found);
    }
}

fn role(
    input: &Input<'_>,
    shard: &ShardRecord,
    tablet: &TabletRecord,
    host: &HostRecord,
    server: &RunningServer,
    found: &mut Drift,
) {
    let alias = tablet.alias.to_string();
    let Some(primary) = &shard.primary else {
        return;
    };
    let is_primary = *primary == tablet.alias;
    let agent = host.name.as_str();
    match &server.role {
        ObservedRole::Primary { term } if is_primary && *term == shard.term => {}
        ObservedRole::Replica {
            source,
            healthy,
            error,
            ..
        } if !is_primary => {
            if source != primary {
                found.findings.push(
                    Finding::new(
                        Kind::ReplicationSource,
                        alias,
                        primary.to_string(),
                        source.to_string(),
                    )
                    .by_agent(agent),
                );
                return;
            }
            if !healthy {
                let why = if error.is_empty() {
                    "it does not replicate, and gives no reason".to_owned()
                } else {
                    error.clone()
                };
                let finding = Finding::new(
                    Kind::Replication,
                    alias.clone(),
                    format!("it replicates from {primary}"),
                    why,
                );
                found.findings.push(if error.is_empty() {
                    finding.by_agent(agent)
                } else {
                    finding.by_person(format!(
                        "put right on {alias} what the error names, and its agent starts it again; or \
                         delete the tablet and let `vtplan apply SPEC` create it anew"
                    ))
                });
            }
            wrong_address(input, shard, tablet, found);
        }
        other => {
            let is = match other {
                ObservedRole::Primary { term } => format!("primary of term {term}"),
                ObservedRole::Replica { source, .. } => format!("replica of {source}"),
                ObservedRole::Idle => "neither primary nor replica".to_owned(),
            };
            let expected = if is_primary {
                format!("primary of term {}", shard.term)
            } else {
                format!("replica of {primary}")
            };
            let finding = Finding::new(Kind::Role, alias, expected, is);
            found.findings.push(finding.by_agent(agent));
        }
    }
}

/// A server that was told by hand to replicate from elsewhere.
fn wrong_address(input: &Input<'_>, shard: &ShardRecord, tablet: &TabletRecord, found: &mut Drift) {
    let records = &input.live.records;
    let primary = shard.primary.as_ref().and_then(|p| records.tablets.get(p));
    let (Some(seen), Some(primary)) = (input.seen.get(&tablet.alias), primary) else {
        return;
    };
    let host = records.hosts.get(&primary.host);
    let Some(address) = primary.address(host.map(|host| host.address.as_str())) else {
        return;
    };
    let expected = format!("{}:{}", address.machine, address.port);
    if let Some(source) = seen.source.as_ref().filter(|s| **s != expected) {
        found.findings.push(
            Finding::new(
                Kind::ReplicationSource,
                tablet.alias.to_string(),
                expected,
                source.clone(),
            )
            .by_agent(tablet.host.as_str()),
        );
    }
}

fn modes(
    input: &Input<'_>,
    shard: &ShardRecord,
    tablet: &TabletRecord,
    host: &HostRecord,
    server: &RunningServer,
    of_shard: &[&TabletRecord],
    found: &mut Drift,
) {
    let Some(primary) = &shard.primary else {
        return;
    };
    let alias = tablet.alias.to_string();
    let agent = host.name.as_str();
    let is_primary = *primary == tablet.alias;
    let takes_writes = is_primary && shard.takes_writes();
    if server.read_only == takes_writes {
        let word = |takes: bool| {
            if takes {
                "read_only off"
            } else {
                "read_only on"
            }
        };
        let finding = Finding::new(
            Kind::ReadOnly,
            alias.clone(),
            word(takes_writes),
            word(!server.read_only),
        );
        found.findings.push(finding.by_agent(agent));
    }
    let keyspace = input.live.records.keyspaces.get(&tablet.keyspace);
    let durability = keyspace.map_or(Durability::default(), |k| k.durability);
    let wanted = if is_primary {
        let mut others = of_shard.iter();
        others.any(|t| durability.acknowledged_by(t, primary))
    } else {
        durability.acknowledged_by(tablet, primary)
    };
    if server.semi_sync != wanted {
        let word = |on: bool| match (is_primary, on) {
            (true, true) => "commits wait for a replica",
            (true, false) => "commits wait for no replica",
            (false, true) => "it acknowledges what it receives",
            (false, false) => "it acknowledges nothing",
        };
        let finding = Finding::new(Kind::SemiSync, alias, word(wanted), word(server.semi_sync));
        found.findings.push(finding.by_agent(agent));
    }
}
