//! What a step that has acted waits for, in words, and whether it waits in vain.

use vtplan_planner::live::{ObservedRole, ServerState};
use vtplan_planner::plan::Action;
use vtplan_state::model::{HostName, KeyspaceName, ShardName, TabletAlias};

use crate::observe::Gathered;

/// What is seen of a step that is not done.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Waiting {
    pub message: String,
    /// A server that the step is about does not start.
    pub down: bool,
}

impl Waiting {
    fn on(message: impl Into<String>) -> Self {
        Self {
            message: message.into(),
            down: false,
        }
    }
}

/// What a step waits for.
pub fn waits_for(action: &Action, seen: &Gathered) -> Waiting {
    match action {
        Action::CreateTablet {
            alias,
            host: Some(host),
            ..
        } => server(seen, alias, host),
        Action::InitPrimary {
            keyspace,
            shard,
            primary,
        } => followers(seen, keyspace, shard, primary),
        Action::Reparent {
            keyspace,
            shard,
            to,
            ..
        } => followers(seen, keyspace, shard, to),
        Action::DeleteTablet {
            host,
            release: Some(server),
            ..
        } => Waiting::on(format!("host {host} takes what is vtplan's off {server}")),
        Action::DeleteTablet { host, .. } => {
            Waiting::on(format!("host {host} stops the server and removes its data"))
        }
        Action::CreateTable { .. }
        | Action::AlterTable { .. }
        | Action::DropTable { .. }
        | Action::InitSequence { .. }
        | Action::MendServer { .. } => Waiting::on("done; waiting to see it"),
        _ => Waiting::default(),
    }
}

fn server(seen: &Gathered, alias: &TabletAlias, host: &HostName) -> Waiting {
    match seen.live.observed.tablets.get(alias).map(|t| &t.server) {
        None => match seen.unseen.iter().find(|unseen| unseen.host == *host) {
            Some(unseen) => Waiting::on(unseen.why.clone()),
            None if !seen.live.records.hosts.contains_key(host) => Waiting::on(format!(
                "no agent is alive on host {host}; start `vtplan agent` there"
            )),
            None => Waiting::on(format!("host {host} takes it up")),
        },
        Some(ServerState::Creating { message }) => Waiting::on(message.clone()),
        Some(ServerState::Down { message }) => {
            let tablet = seen.live.records.tablets.get(alias);
            Waiting {
                message: match tablet.and_then(|tablet| tablet.adopted()) {
                    Some(_) => message.clone(),
                    None => {
                        format!("the server of tablet {alias} on host {host} is down: {message}")
                    }
                },
                down: true,
            }
        }
        Some(ServerState::Running(_)) => Waiting::on("the server runs"),
    }
}

/// What is missing until a primary takes writes and its shard's tablets replicate from it.
fn followers(
    seen: &Gathered,
    keyspace: &KeyspaceName,
    shard: &ShardName,
    primary: &TabletAlias,
) -> Waiting {
    let mut missing = Vec::new();
    // The primary of a shard that is fenced, or does not serve, is read-only and one all the same.
    let fenced = (seen.live.records.shard(keyspace, shard)).is_some_and(|s| !s.takes_writes());
    for tablet in seen.live.records.tablets_of(keyspace, shard) {
        let alias = &tablet.alias;
        let state = seen.live.observed.tablets.get(alias).map(|t| &t.server);
        let Some(ServerState::Running(running)) = state else {
            missing.push(server(seen, alias, &tablet.host).message);
            continue;
        };
        match &running.role {
            ObservedRole::Primary { .. } if alias == primary && (fenced || !running.read_only) => {}
            _ if alias == primary => missing.push(format!("{alias} becomes primary")),
            ObservedRole::Replica {
                source,
                healthy: true,
                ..
            } if source == primary => {}
            ObservedRole::Replica { error, .. } if !error.is_empty() => {
                missing.push(format!("{alias} does not replicate: {error}"));
            }
            _ => missing.push(format!("{alias} starts to replicate from {primary}")),
        }
    }
    const SHOWN: usize = 3;
    if missing.len() > SHOWN {
        let more = missing.len() - SHOWN;
        missing.truncate(SHOWN);
        missing.push(format!("{more} more"));
    }
    Waiting::on(missing.join("; "))
}
