//! What of a server is not as its agent sets it up: variables that were set by hand, vtplan's accounts
//! that were changed. One step a server; what its agent mends at once by itself (`read_only`, semi-sync,
//! replication) is not among it.

use super::draft::{Draft, Phase, rank};
use super::tablets::ShardWork;
use super::view::View;
use crate::ids;
use crate::plan::{Action, Risk};
use crate::seen::Deviation;

pub(crate) fn steps(view: &View, draft: &mut Draft, shards: &[ShardWork]) {
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
                .filter(|d| d.can_be_mended())
                .cloned()
                .collect();
            if deviations.is_empty() {
                continue;
            }
            let names: Vec<&str> = deviations.iter().map(Deviation::name).collect();
            draft.step(
                work.order(Phase::Build, rank::MEND_SERVER, tablet.alias.uid as usize),
                Action::MendServer {
                    alias: tablet.alias.clone(),
                    keyspace: tablet.keyspace.clone(),
                    shard: tablet.shard.clone(),
                    deviations: deviations.clone(),
                },
                Risk::Safe,
                format!("changed by hand on the server: {}", names.join(", ")),
                vec![
                    ids::create_tablet(&tablet.alias),
                    ids::init_primary(work.keyspace, work.shard),
                ],
            );
        }
    }
}
