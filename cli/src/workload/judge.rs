//! The routes of a workload's kinds before and after a plan. The gate's own planner is asked, once for
//! each kind, with the catalog that gates would make of the records.

use std::num::NonZero;
use std::thread;

use vtplan_gate::plan::{Catalog, Route as GateRoute, Target, route_of};
use vtplan_planner::live::Live;
use vtplan_planner::plan::Plan;
use vtplan_planner::simulate;
use vtplan_planner::workload::{Change, Kind, Report, Route, RouteKind};
use vtplan_state::model::Records;

use super::{Counted, Workload};

/// `ER_PARSE_ERROR`.
const NOT_PARSED: u16 = 1064;

/// What a plan does to a workload: the records are those of `live`, and those that the whole plan leaves.
pub fn report(mut workload: Workload, live: &Live, plan: &Plan) -> Report {
    let before = Catalog::build(&live.records);
    let after = Catalog::build(&records_after(live, plan));
    let kinds = std::mem::take(&mut workload.kinds);
    let mut judged = Vec::with_capacity(kinds.len());
    for (kind, counted) in routes(&kinds, &before, &after).into_iter().zip(kinds) {
        let parsed = [&kind.before, &kind.after]
            .iter()
            .any(|r| r.error != Some(NOT_PARSED));
        if parsed {
            judged.push(kind);
        } else {
            let why = kind.after.why.unwrap_or_default();
            let sql = counted.statement.as_bytes();
            workload.unreadable(counted.count, None, why, sql);
        }
    }
    Report::new(
        judged,
        workload.left_out,
        workload.unread,
        workload.unread_samples,
    )
}

/// The records when all steps are done: moves completed, their rules gone, shards serving.
fn records_after(live: &Live, plan: &Plan) -> Records {
    let mut live = live.clone();
    simulate::apply_all(&mut live, &plan.steps);
    live.records
}

/// In the order of `kinds`, by all processors.
fn routes(kinds: &[Counted], before: &Catalog, after: &Catalog) -> Vec<Kind> {
    let threads = thread::available_parallelism().map_or(1, NonZero::get);
    let chunk = kinds.len().div_ceil(threads).max(256);
    let judge = |kinds: &[Counted]| -> Vec<Kind> {
        kinds
            .iter()
            .map(|kind| judge(kind, before, after))
            .collect()
    };
    thread::scope(|scope| {
        let chunks: Vec<_> = kinds
            .chunks(chunk)
            .map(|kinds| scope.spawn(move || judge(kinds)))
            .collect();
        let mut all = Vec::with_capacity(kinds.len());
        for chunk in chunks {
            match chunk.join() {
                Ok(kinds) => all.extend(kinds),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
        all
    })
}

fn judge(kind: &Counted, before: &Catalog, after: &Catalog) -> Kind {
    let of = |catalog| route(&route_of(catalog, &kind.target, &kind.statement));
    let (before, after) = (of(before), of(after));
    Kind {
        statement: kind.statement.clone(),
        target: (kind.target != Target::default()).then(|| kind.target.to_string()),
        count: kind.count,
        measured: kind.measured,
        change: Change::of(&before, &after),
        before,
        after,
    }
}

/// A route as reports have it.
fn route(route: &GateRoute) -> Route {
    let plain = |kind, keyspace: &dyn ToString, text: String| Route {
        kind,
        keyspace: Some(keyspace.to_string()),
        shards: None,
        writes: false,
        error: None,
        text,
        why: None,
    };
    match route {
        GateRoute::Gate => Route {
            keyspace: None,
            ..plain(RouteKind::Gate, &"", "the gate itself".to_owned())
        },
        GateRoute::AnyShard { keyspace } => plain(
            RouteKind::AnyShard,
            keyspace,
            format!("any one shard of {keyspace}"),
        ),
        GateRoute::Unsharded { keyspace } => plain(
            RouteKind::Unsharded,
            keyspace,
            format!("the one shard of {keyspace}"),
        ),
        GateRoute::OneShard { keyspace, by } => plain(
            RouteKind::OneShard,
            keyspace,
            format!("one shard of {keyspace}, by {by}"),
        ),
        GateRoute::SomeShards {
            keyspace,
            by,
            writes,
        } => Route {
            writes: *writes,
            ..plain(
                RouteKind::SomeShards,
                keyspace,
                format!("{}the shards of several {by} in {keyspace}", to(*writes)),
            )
        },
        GateRoute::AllShards {
            keyspace,
            shards,
            writes,
            why,
        } => Route {
            writes: *writes,
            shards: Some(*shards),
            why: Some(why.clone()),
            ..plain(
                RouteKind::AllShards,
                keyspace,
                format!("{}all {shards} shards of {keyspace}", to(*writes)),
            )
        },
        GateRoute::OneShardOrRefused {
            keyspace,
            construct,
        } => Route {
            why: Some(format!("{UNSUPPORTED}{construct}")),
            ..plain(
                RouteKind::OneShardOrRefused,
                keyspace,
                format!("one shard of {keyspace} or, where values are of several, refused"),
            )
        },
        GateRoute::Refused { errno, message } => Route {
            keyspace: None,
            error: Some(*errno),
            why: Some(supports(message)),
            ..plain(
                RouteKind::Refused,
                &"",
                format!("refused with error {errno}"),
            )
        },
    }
}

const UNSUPPORTED: &str = "the gate does not support ";

/// What the gate's message says, as a part of a report.
fn supports(message: &str) -> String {
    let inner = message.strip_prefix("This version of vtplan doesn't yet support '");
    match inner.and_then(|inner| inner.strip_suffix('\'')) {
        Some(construct) => format!("{UNSUPPORTED}{construct}"),
        None => message.to_owned(),
    }
}

fn to(writes: bool) -> &'static str {
    if writes { "writes to " } else { "" }
}
