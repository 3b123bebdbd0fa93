//! What workflows and tablets have left behind, with nothing that knows of it.

use super::{Drift, Finding, Input, Kind, Moving};

pub(super) fn find(input: &Input<'_>, moving: &Moving<'_>, found: &mut Drift) {
    let records = &input.live.records;
    for alias in input.live.observed.tablets.keys() {
        if !records.tablets.contains_key(alias) {
            found.findings.push(
                Finding::new(
                    Kind::OrphanTablet,
                    alias.to_string(),
                    "no server without a record",
                    "an agent has a server, or a folder, of it",
                )
                .by_person(
                    "its agent removes it when the store says that the tablet is gone; if it lasts, see \
                     the agent's log",
                ),
            );
        }
    }
    for shard in records.shards.values() {
        let switching = moving.keyspaces.contains(&shard.keyspace);
        let object = format!("{}/{}", shard.keyspace, shard.shard);
        if !switching && (shard.fenced || !shard.serving_reads.is_empty()) {
            let is = if shard.fenced {
                "it is fenced"
            } else {
                "its reads are routed apart from its writes"
            };
            found.findings.push(
                Finding::new(
                    Kind::OrphanShardState,
                    object,
                    "a shard that no workflow switches is not fenced, and serves reads and writes alike",
                    is,
                )
                .by_person(
                    "the shard's record in the store was written by hand: set it back there (`etcdctl`, \
                     or `sqlite3` for a local store)",
                ),
            );
        }
        let Some(seen) = shard.primary.as_ref().and_then(|p| input.seen.get(p)) else {
            continue;
        };
        of_server(
            moving,
            &format!("{}/{}", shard.keyspace, shard.shard),
            shard.keyspace.as_str(),
            seen,
            found,
        );
    }
    for (id, hold) in &records.holds {
        // Fences are made under holds of their own: `fence/<workflow>`.
        let workflow = id.strip_prefix("fence/").unwrap_or(id);
        let known = moving.workflows.contains(workflow);
        if !known && input.active.is_none() {
            found.findings.push(
                Finding::new(
                    Kind::OrphanHold,
                    id.as_str(),
                    "no writes are held back",
                    "gates hold writes back",
                )
                .by_person("delete the record of the hold in the store"),
            );
            if let Some(last) = found.findings.last_mut() {
                last.since = Some(hold.since / 1000);
            }
        }
    }
}

fn of_server(
    moving: &Moving<'_>,
    shard: &str,
    keyspace: &str,
    seen: &crate::seen::Seen,
    found: &mut Drift,
) {
    for fence in &seen.fences {
        let known = moving.workflows.contains(&fence.workflow)
            || (fence.workflow.is_empty()
                && moving.keyspaces.iter().any(|k| k.as_str() == keyspace));
        // An open fence without triggers keeps nobody out.
        if known || (fence.triggers == 0 && !fence.closed) {
            continue;
        }
        let what = if fence.closed { "closed" } else { "open" };
        found.findings.push(
            Finding::new(
                Kind::OrphanFence,
                shard,
                "no fence on tables",
                match fence.workflow.as_str() {
                    "" => format!("{} triggers of a fence", fence.triggers),
                    of => format!("a {what} fence of workflow {of}"),
                },
            )
            .by_person(format!(
                "drop the triggers whose names begin with `_vt_fence_` on the primary of {shard}, and \
                 the rows of `_vt.fence`, as the admin account"
            )),
        );
    }
    for workflow in &seen.streams {
        if !moving.workflows.contains(workflow) {
            found.findings.push(
                Finding::new(
                    Kind::OrphanStream,
                    format!("{shard}:{workflow}"),
                    "no streams of a workflow that there is not",
                    "`_vt` has positions of its streams",
                )
                .by_person(format!(
                    "delete its rows from `_vt.vreplication` and `_vt.copy_state` on the primary of {shard}"
                )),
            );
        }
    }
    let moves = moving.keyspaces.iter().any(|k| k.as_str() == keyspace);
    for table in seen.parked.iter().filter(|_| !moves) {
        found.findings.push(
            Finding::new(
                Kind::OrphanStream,
                format!("{shard}:_vt.{table}"),
                "no parked rows of a workflow that there is not",
                "a table of parked rows is there",
            )
            .by_person(format!("drop `_vt`.`{table}` on the primary of {shard}")),
        );
    }
}
