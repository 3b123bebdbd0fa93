//! What is left in records of workflows that are over, or was written there by hand: routing rules, what
//! a switch sets in a shard, holds. What is left on servers is in [`super::servers`].

use super::draft::{Draft, Order, Phase, rank};
use super::tablets::ShardWork;
use super::view::View;
use crate::moving::{Moving, routing_wanted};
use crate::plan::{Action, Risk};

pub(crate) fn steps(view: &View, draft: &mut Draft, shards: &[ShardWork]) {
    let records = &view.live.records;
    let moving = Moving::new(records);
    let wanted = routing_wanted(records);
    // A switch writes the rules itself, in the transaction that flips.
    let switches = records.all_workflows().any(|w| w.switch.is_some());
    if wanted != records.routing && !switches {
        draft.step(
            Order::new(Phase::Left, 0, 0),
            Action::MendRouting {
                before: records.routing.clone(),
                after: wanted,
            },
            Risk::Disruptive,
            "the routing rules are not those of the workflows that there are".to_owned(),
            Vec::new(),
        );
    }
    for (index, hold) in records.holds.values().enumerate() {
        if moving.is_left_over(hold) {
            draft.step(
                Order::new(Phase::Left, 1, index),
                Action::EndHold {
                    hold: hold.id.clone(),
                    since: hold.since,
                },
                Risk::Disruptive,
                "gates hold writes back for a workflow that there is not".to_owned(),
                Vec::new(),
            );
        }
    }
    for work in shards {
        let Some(record) = records.shard(work.keyspace, work.shard) else {
            continue;
        };
        if moving.is_left_switched(record) {
            draft.step(
                work.order(Phase::Build, rank::MEND_SHARD, 0),
                Action::MendShard {
                    keyspace: work.keyspace.clone(),
                    shard: work.shard.clone(),
                    fenced: record.fenced,
                    serving_reads: record.serving_reads.clone(),
                },
                Risk::Disruptive,
                "it is as a switch of traffic leaves it, and no workflow switches it".to_owned(),
                Vec::new(),
            );
        }
    }
}
