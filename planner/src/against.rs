//! Planning without a cluster: a spec compared with an exported live state, or with another spec as if
//! that had just been applied.

use std::collections::{BTreeMap, BTreeSet};

use vtplan_state::model::{
    CellName, FlavorKind, GateName, GateRecord, HostName, HostRecord, SpecRecord, UserRecord,
};

use crate::desired::{Desired, Policy};
use crate::fit::Fit;
use crate::live::Live;
use crate::passes::make_plan;
use crate::plan::{Action, Note, Plan, PlanError};
use crate::{simulate, spec};

/// How many tablets a made-up host takes.
const CAPACITY: u32 = 10_000;

/// A plan that leads from an exported live state to `desired`.
///
/// # Errors
/// As [`make_plan`].
pub fn plan_against_export(desired: &Desired, live: &Live) -> Result<Plan, Vec<PlanError>> {
    let mut live = live.clone();
    let mut desired = desired.clone();
    live.observed.no_servers = true;
    // An export has no verifiers to compare with.
    let mut known = 0;
    for (name, user) in &mut desired.users {
        if live.records.users.contains_key(name) && user.verifier.take().is_some() {
            known += 1;
        }
    }
    let mut plan = make_plan(&desired, &live)?;
    if known > 0 {
        note(
            &mut plan,
            "passwords of users were not compared: an export does not have them",
        );
    }
    Ok(plan)
}

/// A plan that leads from what applying `old` to nothing gives to `desired`, and that state.
///
/// # Errors
/// Why one of the two could not be planned.
pub fn plan_against_spec(desired: &Desired, old: &Desired) -> Result<(Plan, Live), SpecErrors> {
    let mut live = Live::default();
    live.observed.no_servers = true;
    let (mut old, mut desired) = (old.clone(), desired.clone());
    // It was applied under the policy that it had, which is of no account any more.
    old.policy = Policy::default();
    for user in old.users.values_mut().chain(desired.users.values_mut()) {
        user.verifier = None;
    }
    add_hosts(&mut live, &[&old, &desired]);
    let plan = make_plan(&old, &live).map_err(SpecErrors::Old)?;
    simulate::apply_all(&mut live, &plan.steps);
    for name in old.users.keys() {
        let user = UserRecord {
            name: name.clone(),
            native_verifier: String::new(),
            sha2_verifier: String::new(),
        };
        live.records.users.insert(name.clone(), user);
    }
    for tablet in live.observed.tablets.values_mut() {
        for table in tablet.tables.iter_mut().flat_map(BTreeMap::values_mut) {
            // Nobody knows how many; but that there are none must not be taken for granted.
            table.rows = 1;
        }
    }
    live.records.spec = Some(SpecRecord {
        digest: plan.spec_digest,
        desired: serde_json::to_value(&old).expect("a desired state has only string keys"),
        applied_by: String::new(),
        applied_at: 0,
        begun: None,
    });
    let mut plan = make_plan(&desired, &live).map_err(SpecErrors::New)?;
    for step in &mut plan.steps {
        step.estimate.rows = None;
        step.estimate.bytes = None;
        if let Action::CreateTablet {
            host, mysql_port, ..
        } = &mut step.action
        {
            (*host, *mysql_port) = (None, None);
        }
    }
    // It was judged for hosts that are made up.
    plan.fit = Fit::default();
    plan.spec_digest = spec::digest(&desired);
    note(
        &mut plan,
        "two specs were compared, no cluster was asked: hosts, ports and sizes are not known, and \
         definitions of tables were compared as texts",
    );
    Ok((plan, live))
}

/// Why two specs could not be compared.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SpecErrors {
    /// The one to compare with cannot be planned from nothing.
    Old(Vec<PlanError>),
    New(Vec<PlanError>),
}

fn note(plan: &mut Plan, text: &str) {
    plan.notes.push(Note {
        object: plan.cluster.clone(),
        text: text.to_owned(),
    });
    plan.notes.sort();
}

/// Hosts with room for all tablets of both specs, the ones that they pin tablets to among them; and
/// the gates that they ask for.
fn add_hosts(live: &mut Live, specs: &[&Desired]) {
    let mut of_shard: BTreeMap<&CellName, u32> = BTreeMap::new();
    let mut all: BTreeMap<&CellName, u32> = BTreeMap::new();
    for desired in specs {
        for cell in &desired.cells {
            all.entry(cell).or_default();
        }
        let mut most: BTreeMap<&CellName, u32> = BTreeMap::new();
        for keyspace in desired.keyspaces.values() {
            let mut here: BTreeMap<&CellName, u32> = BTreeMap::new();
            for tablets in &keyspace.tablets {
                *here.entry(&tablets.cell).or_default() += tablets.count;
                let adopt = tablets.adopt.as_ref().and_then(|adopt| adopt.host.as_ref());
                if let Some(name) = tablets.pin.as_ref().map(|pin| &pin.host).or(adopt) {
                    let host = host(name.clone(), &tablets.cell);
                    live.records.hosts.insert(name.clone(), host);
                }
            }
            for (cell, count) in here {
                let most = most.entry(cell).or_default();
                *most = (*most).max(count);
                *all.entry(cell).or_default() += count * keyspace.shards.len() as u32;
            }
        }
        for (cell, count) in most {
            *of_shard.entry(cell).or_default() += count;
        }
        for (cell, gates) in &desired.gates {
            for number in 0..gates.count {
                let Ok(name) = GateName::new(format!("{cell}-{number}")) else {
                    continue;
                };
                live.records
                    .gates
                    .insert(name.clone(), gate(name, cell.clone()));
            }
        }
    }
    for (cell, total) in all {
        let apart = of_shard.get(cell).copied().unwrap_or_default();
        for number in 0..=apart + total / (CAPACITY / 2) {
            if let Ok(name) = HostName::new(format!("some-host-{number}-of-{cell}")) {
                let host = host(name.clone(), cell);
                live.records.hosts.insert(name, host);
            }
        }
    }
}

fn host(name: HostName, cell: &CellName) -> HostRecord {
    HostRecord {
        address: name.to_string(),
        name,
        cell: cell.clone(),
        agent_url: String::new(),
        capacity: CAPACITY,
        first_mysql_port: 17_100,
        flavor: FlavorKind::MariaDb,
        server_version: String::new(),
        version: String::new(),
        started_at: 0,
        tablets_dir: String::new(),
    }
}

fn gate(name: GateName, cell: CellName) -> GateRecord {
    GateRecord {
        name,
        cell,
        mysql_address: String::new(),
        http_url: String::new(),
        version: String::new(),
        started_at: 0,
        serving_revision: 0,
        drained: BTreeSet::default(),
    }
}
