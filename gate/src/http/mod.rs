//! `/metrics` (Prometheus), `/healthz`, `/debug/status` and `/debug/workload` (JSON).

pub mod metrics;
mod normalize;
pub mod workload;

use std::sync::Arc;

use axum::Router;
use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Json, Response};
use axum::routing::get;
use serde_json::{Value, json};

use crate::gate::Shared;

/// The routes.
pub fn router(shared: Arc<Shared>) -> Router {
    Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(healthz))
        .route("/debug/status", get(status))
        .route("/debug/workload", get(workload_page))
        .with_state(shared)
}

async fn metrics_page(State(shared): State<Arc<Shared>>) -> Response {
    let text = shared.metrics.encode(&shared);
    let kind = "application/openmetrics-text; version=1.0.0; charset=utf-8";
    ([(header::CONTENT_TYPE, kind)], text).into_response()
}

async fn healthz(State(shared): State<Arc<Shared>>) -> Response {
    match shared.topology.check_lease() {
        Ok(()) => (StatusCode::OK, "ok\n").into_response(),
        Err(error) => {
            let text = format!("{}\n", error.message);
            (StatusCode::SERVICE_UNAVAILABLE, text).into_response()
        }
    }
}

async fn workload_page(State(shared): State<Arc<Shared>>) -> Json<workload::Page> {
    Json(workload::Page::of(&shared))
}

async fn status(State(shared): State<Arc<Shared>>) -> Json<Value> {
    let snapshot = shared.topology.snapshot();
    let sessions: Vec<Value> = shared
        .sessions
        .list()
        .iter()
        .map(|session| {
            let info = session.info();
            json!({
                "id": session.id,
                "user": info.user,
                "peer": session.peer,
                "program": info.program,
                "target": info.target,
                "busy": session.is_busy(),
                "since_seconds": info.since.as_secs_f64(),
            })
        })
        .collect();
    let mut pools: Vec<Value> = snapshot
        .tablets
        .values()
        .map(|tablet| {
            let status = tablet.pool.status();
            json!({
                "tablet": tablet.alias.to_string(),
                "state": tablet.state(),
                "lag_seconds": tablet.lag(),
                "open": status.open,
                "idle": status.idle,
                "waiting": status.waiting,
            })
        })
        .collect();
    pools.sort_by_key(|p| p["tablet"].as_str().map(str::to_owned));
    let slowest = shared.metrics.slowest();
    let holds: Vec<Value> = snapshot
        .holds
        .iter()
        .map(|hold| {
            let sessions = shared.sessions.list();
            let under_way = sessions.iter().filter(|s| s.activity.blocks(hold));
            json!({
                "id": hold.record.id,
                "objects": hold.objects(),
                "sessions_under_way": under_way.map(|s| s.id).collect::<Vec<_>>(),
            })
        })
        .collect();
    Json(json!({
        "name": shared.config.name.as_str(),
        "cell": shared.config.cell.as_str(),
        "version": shared.config.version,
        "uptime_seconds": shared.started.elapsed().as_secs(),
        "serving_revision": snapshot.records.serving_revision,
        "takes_writes": shared.topology.check_lease().is_ok(),
        "statements": shared.metrics.statements_now(),
        "statements_per_second": shared.metrics.rate(),
        "errors": shared.metrics.errors_now(),
        "session_count": sessions.len(),
        "sessions": sessions,
        "pools": pools,
        "holds": holds,
        "held_statements": shared.metrics.held_now(),
        "slowest": slowest,
    }))
}
