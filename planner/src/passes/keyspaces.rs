//! Keyspaces of the spec: their records, and what a commit in them waits for. A durability that
//! asks for more replicas than the spec gives a shard would stop all writes, so it is refused.

use std::collections::BTreeSet;

use vtplan_state::model::{CellName, Durability, KeyspaceName, TabletType};

use super::draft::{Draft, Order, Phase};
use super::tablets::ShardWork;
use super::view::View;
use crate::desired::DesiredKeyspace;
use crate::plan::{Action, Risk};

pub(crate) fn create(view: &View, draft: &mut Draft) {
    if let Some(cluster) = &view.live.records.cluster
        && cluster.name != view.desired.cluster
    {
        draft.error(
            "other-cluster",
            &view.desired.cluster,
            format!(
                "the spec is for the cluster `{}`, but this state is of the cluster `{}`",
                view.desired.cluster, cluster.name
            ),
            "name the state of the spec's own cluster with --state and --cluster, or correct \
             `cluster` in the spec",
        );
    }
    for (name, keyspace) in &view.desired.keyspaces {
        check_durability(name, keyspace, draft);
        if view.live.records.keyspaces.contains_key(name) {
            continue;
        }
        draft.step(
            Order::new(Phase::Build, 0, 0).at(view.keyspace_index(name), 0),
            Action::CreateKeyspace {
                keyspace: name.clone(),
                durability: keyspace.durability,
            },
            Risk::Safe,
            format!("the spec has the keyspace {name}"),
            Vec::new(),
        );
    }
}

/// Comes after the shards' new tablets run, for a commit that waits for a replica needs one.
pub(crate) fn set_durability(view: &View, draft: &mut Draft, shards: &[ShardWork]) {
    for (name, keyspace) in &view.desired.keyspaces {
        let Some(record) = view.live.records.keyspaces.get(name) else {
            continue;
        };
        if record.durability == keyspace.durability {
            continue;
        }
        let after = shards
            .iter()
            .filter(|shard| shard.keyspace == name)
            .flat_map(ShardWork::creations)
            .collect();
        draft.step(
            Order::new(Phase::Build, 0, 0).at(view.keyspace_index(name), u32::MAX),
            Action::SetDurability {
                keyspace: name.clone(),
                from: record.durability,
                to: keyspace.durability,
            },
            Risk::Safe,
            format!(
                "the spec wants durability {} for {name}",
                keyspace.durability
            ),
            after,
        );
    }
}

fn check_durability(name: &KeyspaceName, keyspace: &DesiredKeyspace, draft: &mut Draft) {
    for shard in &keyspace.shards {
        let tablets: Vec<_> = keyspace
            .tablets
            .iter()
            .filter(|t| {
                let pinned_to = t.pin.as_ref().and_then(|pin| pin.shard.as_ref());
                t.count > 0 && pinned_to.is_none_or(|s| s == shard)
            })
            .collect();
        let object = format!("{name}/{shard}");
        if !tablets.iter().any(|t| t.tablet_type == TabletType::Replica) {
            draft.error(
                "no-replica",
                object,
                "the spec gives the shard no tablet of type replica, and only such a one can be \
                 its primary",
                format!("give `{name}` at least one `replica` in a cell"),
            );
            continue;
        }
        let count: u32 = tablets.iter().map(|t| t.count).sum();
        let cells: BTreeSet<&CellName> = tablets.iter().map(|t| &t.cell).collect();
        let (enough, wants) = match keyspace.durability {
            Durability::None => (true, ""),
            Durability::SemiSync => (count >= 2, "a second tablet"),
            Durability::CrossCell => (cells.len() >= 2, "a tablet in a second cell"),
        };
        if !enough {
            draft.error(
                "durability-needs-replicas",
                object,
                format!(
                    "with durability `{}` every commit waits for {wants} of the shard, and the \
                     spec gives it none: nothing could be written",
                    keyspace.durability
                ),
                format!("give `{name}` {wants}, or set `durability: none`"),
            );
        }
    }
}
