//! What of a server is not as its agent sets it up: variables that were set by hand, vtplan's accounts
//! that were changed; and what is left there of workflows that are over. One step a server; what its agent
//! mends at once by itself (`read_only`, semi-sync, replication) is not among it.

use super::draft::{Draft, Phase, rank};
use super::tablets::ShardWork;
use super::view::View;
use crate::ids;
use crate::moving::Moving;
use crate::plan::{Action, Risk};
use crate::seen::Deviation;

pub(crate) fn steps(view: &View, draft: &mut Draft, shards: &[ShardWork]) {
    let moving = Moving::new(&view.live.records);
    for work in shards {
        for (tablet, _) in &work.kept {
            let Some(observed) = view.observed(&tablet.alias) else {
                continue;
            };
            // Agents tell of them for servers that run.
            if observed.deviations.is_empty() || view.host_of(tablet).is_none() {
                continue;
            }
            let deviations: Vec<Deviation> = observed
                .deviations
                .iter()
                .filter(|d| d.can_be_mended() && moving.should_go(&tablet.keyspace, d))
                .cloned()
                .collect();
            if deviations.is_empty() {
                continue;
            }
            let risk = deviations.iter().map(risk).max().unwrap_or(Risk::Safe);
            draft.step(
                work.order(Phase::Build, rank::MEND_SERVER, tablet.alias.uid as usize),
                Action::MendServer {
                    alias: tablet.alias.clone(),
                    keyspace: tablet.keyspace.clone(),
                    shard: tablet.shard.clone(),
                    deviations: deviations.clone(),
                },
                risk,
                reason(&deviations),
                vec![
                    ids::create_tablet(&tablet.alias),
                    ids::init_primary(work.keyspace, work.shard),
                ],
            );
        }
    }
}

fn risk(deviation: &Deviation) -> Risk {
    match deviation {
        Deviation::Variable { .. } | Deviation::Account { .. } | Deviation::Streams { .. } => {
            Risk::Safe
        }
        // Who was refused is let through.
        Deviation::Fence { .. } => Risk::Disruptive,
        // Its rows are nowhere else on this server.
        Deviation::Parked { .. } => Risk::Destructive,
    }
}

fn reason(deviations: &[Deviation]) -> String {
    let names = |of: &dyn Fn(&Deviation) -> bool| {
        let those = deviations.iter().filter(|d| of(d));
        let names: Vec<String> = those.map(Deviation::name).collect();
        names.join(", ")
    };
    let is_setting =
        |d: &Deviation| matches!(d, Deviation::Variable { .. } | Deviation::Account { .. });
    let parts = [
        ("changed by hand on the server: ", names(&is_setting)),
        (
            "left of workflows that are over: ",
            names(&|d| !is_setting(d)),
        ),
    ];
    let parts = parts.iter().filter(|(_, names)| !names.is_empty());
    let parts: Vec<String> = parts
        .map(|(what, names)| format!("{what}{names}"))
        .collect();
    parts.join("; ")
}
