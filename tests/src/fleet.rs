//! A cluster of any size without servers: the records that carrying out a spec's first plan would have
//! left, in a store, and what agents would see then.

use std::path::Path;

use vtplan_planner::desired::Desired;
use vtplan_planner::live::Live;
use vtplan_planner::{make_plan, simulate, spec};
use vtplan_state::cluster::Cluster;
use vtplan_state::model::{
    CellName, ClusterRecord, FlavorKind, HostName, HostRecord, RECORD_FORMAT, Records, SpecRecord,
};
use vtplan_state::store::{Op, OpenMode, StoreError, Txn, open};

/// How many records one transaction writes; stores take 120 at most.
const AT_ONCE: usize = 100;

/// A host as its agent would register it. `agent_url` is empty.
pub fn host(name: &str, cell: &CellName, capacity: u32) -> HostRecord {
    HostRecord {
        name: HostName::new(name).expect("a host's name"),
        cell: cell.clone(),
        address: name.to_owned(),
        agent_url: String::new(),
        capacity,
        first_mysql_port: 17_100,
        flavor: FlavorKind::MariaDb,
        server_version: "10.11.6".to_owned(),
        version: env!("CARGO_PKG_VERSION").to_owned(),
        started_at: 0,
        tablets_dir: "/var/lib/vtplan/tablets".to_owned(),
    }
}

/// The live state after `desired` was applied over `hosts`.
///
/// # Panics
/// When there is no plan.
pub fn applied(desired: &Desired, hosts: impl IntoIterator<Item = HostRecord>) -> Live {
    let mut live = Live::default();
    let hosts = hosts.into_iter().map(|host| (host.name.clone(), host));
    live.records.hosts = hosts.collect();
    let plan = make_plan(desired, &live).expect("there is a plan");
    simulate::apply_all(&mut live, &plan.steps);
    live.records.cluster = Some(ClusterRecord {
        name: desired.cluster.clone(),
        format: RECORD_FORMAT,
        created_at: 1,
        created_by: env!("CARGO_PKG_VERSION").to_owned(),
        generation: 0,
    });
    live.records.spec = Some(SpecRecord {
        digest: spec::digest(desired),
        desired: serde_json::to_value(desired).expect("a desired state serializes"),
        applied_by: "fleet".to_owned(),
        applied_at: 1,
        begun: None,
    });
    live
}

/// Writes records into a new SQLite store, with credentials; returns the agents' token.
///
/// # Errors
/// When the store cannot be written.
pub async fn write(file: &Path, name: &str, records: &Records) -> Result<String, StoreError> {
    let store = open(&format!("sqlite:{}", file.display()), OpenMode::Create).await?;
    let cluster = Cluster::new(store, name)?;
    let ops = ops(&cluster, records);
    for ops in ops.chunks(AT_ONCE) {
        let mut txn = Txn::new();
        for op in ops {
            txn = txn.then(op.clone());
        }
        cluster.store().txn(txn).await?;
    }
    Ok(cluster.ensure_credentials().await?.agent_token)
}

fn ops(cluster: &Cluster, records: &Records) -> Vec<Op> {
    let keys = cluster.keys();
    let mut ops = Vec::new();
    ops.extend(records.cluster.iter().map(|r| Op::put(keys.cluster(), r)));
    ops.extend(records.spec.iter().map(|r| Op::put(keys.spec(), r)));
    ops.extend(records.cells.iter().map(|(n, r)| Op::put(keys.cell(n), r)));
    ops.extend(records.hosts.iter().map(|(n, r)| Op::put(keys.host(n), r)));
    let keyspaces = records.keyspaces.iter();
    ops.extend(keyspaces.map(|(n, r)| Op::put(keys.keyspace(n), r)));
    let vschemas = records.vschemas.iter();
    ops.extend(vschemas.map(|(n, r)| Op::put(keys.vschema(n), r)));
    let shards = records.shards.iter();
    ops.extend(shards.map(|((k, s), r)| Op::put(keys.shard(k, s), r)));
    let tablets = records.tablets.iter();
    ops.extend(tablets.map(|(n, r)| Op::put(keys.tablet(n), r)));
    ops
}
