//! What servers are: their variables, accounts, databases and versions.

use std::collections::HashSet;

use vtplan_state::model::{HostRecord, TabletRecord};

use super::{Drift, Finding, Input, Kind};
use crate::live::ServerState;
use crate::moving::Moving;
use crate::seen::Deviation;

pub(super) fn find(input: &Input<'_>, moving: &Moving<'_>, found: &mut Drift) {
    let records = &input.live.records;
    // What planning puts right is there already.
    let steps = found.findings.iter().filter(|f| f.step.is_some());
    let known: HashSet<_> = steps
        .map(|f| (f.kind, f.object.clone(), f.found.clone()))
        .collect();
    for tablet in records.tablets.values() {
        let (Some(host), Some(observed)) = (
            records.hosts.get(&tablet.host),
            input.live.observed.tablets.get(&tablet.alias),
        ) else {
            continue;
        };
        if let ServerState::Running(server) = &observed.server {
            version(tablet, host, &server.version, found);
        }
        let object = tablet.alias.to_string();
        let deviations = observed.deviations.iter();
        for deviation in deviations.filter(|d| moving.should_go(&tablet.keyspace, d)) {
            let mut one = of_deviation(&object, deviation);
            if !tablet.server.is_made() && !deviation.can_be_mended() {
                one = one.by_person(
                    "set it in the option file of that server, and restart it when its owner can bear it",
                );
            }
            let name = (one.kind, one.object, one.found);
            if !known.contains(&name) {
                (_, one.object, one.found) = name;
                found.findings.push(one);
            }
        }
        strays(input, tablet, found);
    }
}

/// What deviates, without how it is mended.
pub(super) fn of_deviation(object: &str, deviation: &Deviation) -> Finding {
    match deviation {
        Deviation::Variable {
            name,
            expected,
            found,
            needs_restart,
        } => {
            let finding = Finding::new(
                Kind::Variable,
                format!("{object}:{name}"),
                expected.as_str(),
                found.as_str(),
            );
            if *needs_restart {
                finding.by_person(format!(
                    "restart the server of {object}: stop its mysqld, and the agent starts it again"
                ))
            } else {
                finding.by_person("vtplan apply SPEC")
            }
        }
        Deviation::Account { name, found } => Finding::new(
            Kind::Account,
            format!("{object}:{name}"),
            "the account as vtplan makes it",
            found.as_str(),
        )
        .by_person("vtplan apply SPEC"),
        Deviation::Fence { .. } | Deviation::Streams { .. } | Deviation::Parked { .. } => {
            let kind = match deviation {
                Deviation::Fence { .. } => Kind::OrphanFence,
                _ => Kind::OrphanStream,
            };
            let (is, expected) = deviation.found_and_expected();
            let object = format!("{object}:{}", deviation.name());
            Finding::new(kind, object, expected, is).by_person("vtplan apply SPEC")
        }
    }
}

fn version(tablet: &TabletRecord, host: &HostRecord, running: &str, found: &mut Drift) {
    // An adopted server is of whatever version it is.
    if running == host.server_version || !tablet.server.is_made() {
        return;
    }
    found.findings.push(
        Finding::new(
            Kind::ServerVersion,
            tablet.alias.to_string(),
            format!("{} {}, as host {} has it", tablet.flavor, host.server_version, host.name),
            running,
        )
        .by_person(format!(
            "restart the server of {}: stop its mysqld, and the agent starts it with the host's program",
            tablet.alias
        )),
    );
}

fn strays(input: &Input<'_>, tablet: &TabletRecord, found: &mut Drift) {
    let Some(seen) = input.seen.get(&tablet.alias) else {
        return;
    };
    let object = &tablet.alias;
    for database in &seen.stray_databases {
        found.findings.push(
            Finding::new(
                Kind::StrayDatabase,
                format!("{object}:{database}"),
                format!("the database of {} alone", tablet.keyspace),
                "it is there",
            )
            .by_person(format!(
                "if nobody needs it: `DROP DATABASE {database}` on the primary of {}/{}, as the admin \
                 account",
                tablet.keyspace, tablet.shard
            )),
        );
    }
    for account in &seen.stray_accounts {
        found.findings.push(
            Finding::new(
                Kind::StrayAccount,
                format!("{object}:{account}"),
                "vtplan's accounts alone",
                "it is there",
            )
            .by_person(format!(
                "if nobody needs it: `DROP USER {account}` on the primary of {}/{}, as the admin account",
                tablet.keyspace, tablet.shard
            )),
        );
    }
}
