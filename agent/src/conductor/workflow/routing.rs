//! What shards of a Reshard serve, and where reads go, as a function of the workflow's record. The
//! rules of a MoveTables are [`RoutingRules::follow`].
//!
//! [`RoutingRules::follow`]: vtplan_state::model::RoutingRules::follow

use vtplan_state::model::{ShardRecord, Side, TabletType, WorkflowRecord};

const READ_TYPES: [TabletType; 2] = [TabletType::Replica, TabletType::Rdonly];

/// The side that reads of a type of tablets go to.
pub fn reads_at(workflow: &WorkflowRecord, tablet_type: TabletType) -> Side {
    match tablet_type {
        TabletType::Primary => workflow.writes,
        other if workflow.reads_switched.contains(&other) => Side::Target,
        _ => Side::Source,
    }
}

/// What a shard of a Reshard serves, by the workflow's record.
pub fn with_serving(shard: &ShardRecord, workflow: &WorkflowRecord, of: Side) -> ShardRecord {
    let serving = workflow.writes == of;
    let serving_reads = READ_TYPES
        .into_iter()
        .map(|tablet_type| (tablet_type, reads_at(workflow, tablet_type) == of))
        .filter(|(_, serves)| *serves != serving)
        .collect();
    ShardRecord {
        serving,
        serving_reads,
        ..shard.clone()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conductor::workflow::tests::move_tables;
    use vtplan_state::model::ShardName;

    #[test]
    fn for_each_type_of_tablets_exactly_one_side_serves() {
        let mut workflow = move_tables("customer", "customer", &[]);
        let shard = ShardRecord {
            keyspace: "customer".parse().unwrap(),
            shard: ShardName::unsharded(),
            primary: None,
            term: 0,
            serving: true,
            serving_reads: Default::default(),
            fenced: false,
        };
        for writes in [Side::Source, Side::Target] {
            for switched in [&[][..], &READ_TYPES[..1], &READ_TYPES[..]] {
                workflow.writes = writes;
                workflow.reads_switched = switched.iter().copied().collect();
                let source = with_serving(&shard, &workflow, Side::Source);
                let target = with_serving(&shard, &workflow, Side::Target);
                assert_eq!(target.serving, writes == Side::Target);
                for tablet_type in [READ_TYPES[0], READ_TYPES[1], TabletType::Primary] {
                    assert_ne!(source.serves(tablet_type), target.serves(tablet_type));
                    let at = reads_at(&workflow, tablet_type);
                    assert_eq!(target.serves(tablet_type), at == Side::Target);
                }
            }
        }
    }
}
