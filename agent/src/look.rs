//! The live state, and what agents see when they look closely at their servers: what drift is found in.
//! Reads only, takes no lock, and ends in bounded time: a host that does not answer is left out, once.

use std::collections::{BTreeMap, BTreeSet};

use vtplan_planner::desired::Desired;
use vtplan_planner::live::ServerState;
use vtplan_planner::seen::Seen;
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{HostName, HostRecord, TabletAlias};

use crate::client::{AgentClients, CallError};
use crate::observe::{self, Gathered, ObserveError, Unseen};
use crate::turns;

/// What was seen.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Looked {
    pub gathered: Gathered,
    pub seen: BTreeMap<TabletAlias, Seen>,
}

/// Looks at everything.
pub async fn closely(
    cluster: &Cluster,
    agents: &AgentClients,
    desired: &Desired,
) -> Result<Looked, ObserveError> {
    let mut gathered = observe::gather(cluster, agents, Some(desired)).await?;
    let unseen: BTreeSet<HostName> = gathered.unseen.iter().map(|u| u.host.clone()).collect();
    let hosts = gathered.live.records.hosts.values();
    let asked: Vec<_> = hosts
        .filter(|host| !unseen.contains(&host.name))
        .cloned()
        .map(|host| inspect(agents, host))
        .collect();
    let answers = turns::all(asked).await;
    let mut seen = BTreeMap::new();
    let mut failed: BTreeMap<HostName, String> = BTreeMap::new();
    for (host, answer) in answers {
        match answer {
            Ok(tablets) => {
                let records = &gathered.live.records.tablets;
                let here = |alias: &TabletAlias| {
                    let record = records.get(alias);
                    record.is_none_or(|record| record.host == host.name)
                };
                seen.extend(tablets.into_iter().filter(|(alias, _)| here(alias)));
            }
            Err(error) => {
                failed.insert(host.name, error.to_string());
            }
        }
    }
    for tablet in gathered.live.records.tablets.values() {
        let observed = gathered.live.observed.tablets.get(&tablet.alias);
        if observed.is_none() && !unseen.contains(&tablet.host) {
            failed
                .entry(tablet.host.clone())
                .or_insert_with(|| format!("its agent tells nothing of {}", tablet.alias));
        }
        let runs = observed.is_some_and(|o| matches!(o.server, ServerState::Running(_)));
        if runs && !seen.contains_key(&tablet.alias) {
            failed.entry(tablet.host.clone()).or_insert_with(|| {
                format!(
                    "the server of {} could not be looked at closely",
                    tablet.alias
                )
            });
        }
    }
    let more = failed.into_iter().map(|(host, why)| Unseen { host, why });
    gathered.unseen.extend(more);
    gathered.unseen.sort_by(|a, b| a.host.cmp(&b.host));
    Ok(Looked { gathered, seen })
}

async fn inspect(
    agents: &AgentClients,
    host: HostRecord,
) -> (HostRecord, Result<BTreeMap<TabletAlias, Seen>, CallError>) {
    let answer = agents.of(&host).inspect().await;
    (host, answer)
}
