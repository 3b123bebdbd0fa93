//! The routes of a workload's kinds before and after a plan. The gate's own planner is asked, once for
//! each kind, with the catalog that gates would make of the records.

use std::collections::BTreeSet;
use std::num::NonZero;
use std::thread;

use vtplan_gate::plan::{Catalog, Route as GateRoute, Target, route_of, tables_of};
use vtplan_planner::live::Live;
use vtplan_planner::plan::{Action, Plan};
use vtplan_planner::simulate;
use vtplan_planner::workload::{Change, Kind, Report, Route, RouteKind};
use vtplan_state::model::{KeyspaceName, Records, WorkflowKind};

use super::{Counted, Workload};

/// `ER_PARSE_ERROR`.
const NOT_PARSED: u16 = 1064;
/// `ER_NO_SUCH_TABLE`.
const NO_TABLE: u16 = 1146;

/// What a plan does to a workload: the records are those of `live`, and those that the whole plan leaves.
pub fn report(mut workload: Workload, live: &Live, plan: &Plan) -> Report {
    let before = Catalog::build(&live.records);
    let after = After {
        catalog: Catalog::build(&records_after(live, plan)),
        gone: tables_gone(plan),
    };
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

/// What there is when the plan is done.
struct After {
    catalog: Catalog,
    /// Tables that it drops. A gate does not know the tables of an unsharded keyspace: it leaves it to the
    /// server to say that there is none of the name.
    gone: BTreeSet<(KeyspaceName, String)>,
}

impl After {
    fn route(&self, kind: &Counted) -> Route {
        let found = route_of(&self.catalog, &kind.target, &kind.statement);
        if let (GateRoute::Unsharded { .. }, false) = (&found, self.gone.is_empty()) {
            let tables = tables_of(&self.catalog, &kind.target, &kind.statement);
            if let Some((keyspace, table)) = tables.iter().find(|t| self.gone.contains(*t)) {
                return route(&GateRoute::Refused {
                    errno: NO_TABLE,
                    message: format!("`{keyspace}` has no table `{table}` any more"),
                });
            }
        }
        route(&found)
    }
}

/// Tables that a plan drops, also at the source when they have moved, and does not make again.
fn tables_gone(plan: &Plan) -> BTreeSet<(KeyspaceName, String)> {
    let mut gone = BTreeSet::new();
    let mut made = BTreeSet::new();
    for step in &plan.steps {
        match &step.action {
            Action::DropTable {
                keyspace, table, ..
            } => {
                gone.insert((keyspace.clone(), table.to_string()));
            }
            Action::CreateTable {
                keyspace, table, ..
            } => {
                made.insert((keyspace.clone(), table.to_string()));
            }
            Action::CompleteWorkflow {
                workflow_kind: WorkflowKind::MoveTables,
                source,
                tables,
                ..
            } => gone.extend(
                tables
                    .iter()
                    .map(|table| (source.keyspace.clone(), table.to_string())),
            ),
            _ => {}
        }
    }
    gone.retain(|table| !made.contains(table));
    gone
}

/// In the order of `kinds`, by all processors.
fn routes(kinds: &[Counted], before: &Catalog, after: &After) -> Vec<Kind> {
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

fn judge(kind: &Counted, before: &Catalog, after: &After) -> Kind {
    let before = route(&route_of(before, &kind.target, &kind.statement));
    let after = after.route(kind);
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
        lookup: None,
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
        GateRoute::OneShard {
            keyspace,
            by,
            lookup,
        } => Route {
            lookup: lookup.clone(),
            ..plain(
                RouteKind::OneShard,
                keyspace,
                format!("one shard of {keyspace}, by {by}"),
            )
        },
        GateRoute::SomeShards {
            keyspace,
            by,
            lookup,
            writes,
        } => Route {
            writes: *writes,
            lookup: lookup.clone(),
            ..plain(
                RouteKind::SomeShards,
                keyspace,
                match lookup {
                    Some(_) => format!("{}the shards that {by} tells in {keyspace}", to(*writes)),
                    None => format!("{}the shards of several {by} in {keyspace}", to(*writes)),
                },
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
