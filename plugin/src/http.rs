//! Port 9400: metrics, health, readiness, reports.

use crate::book::Book;
use crate::clock;
use crate::grants::Store;
use crate::inventory::Snapshot;
use crate::metrics::Metrics;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use firstlight_diagnosis::Report;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use tokio::sync::watch;

/// What the handlers look at.
#[derive(Clone, Debug)]
pub struct View {
    /// Grants.
    pub book: Arc<Book>,
    /// Grants on the disk.
    pub store: Arc<Store>,
    /// Node-level metrics.
    pub metrics: Arc<Metrics>,
    /// The devices of each pool.
    pub pools: Arc<BTreeMap<String, watch::Receiver<Arc<Snapshot>>>>,
}

#[derive(Serialize)]
struct PodReport {
    containers: Vec<ContainerReport>,
}

#[derive(Serialize)]
struct ContainerReport {
    container: String,
    report: Report,
}

/// The routes.
pub fn router(view: View) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/reports/{namespace}/{pod}", get(report))
        .with_state(view)
}

async fn metrics(State(view): State<View>) -> Response {
    let mut text = Vec::new();
    if let Err(error) = view.metrics.encode(&mut text) {
        return (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response();
    }
    // Made of label values that were UTF-8.
    let mut text = String::from_utf8(text).unwrap_or_default();
    view.book.write_series(&mut text);
    ([(header::CONTENT_TYPE, "text/plain; version=0.0.4")], text).into_response()
}

async fn ready(State(view): State<View>) -> Response {
    match view.unready() {
        None => "ok\n".into_response(),
        Some(reason) => (StatusCode::SERVICE_UNAVAILABLE, format!("{reason}\n")).into_response(),
    }
}

impl View {
    /// Why this node cannot take pods of one of the pools; `None` if it can.
    pub fn unready(&self) -> Option<String> {
        if self.pools.is_empty() {
            return Some("no pool is configured; add one to the pools of the configuration".to_owned());
        }
        for (pool, snapshot) in self.pools.iter() {
            if let Some(reason) = snapshot.borrow().unusable() {
                return Some(format!("pool {pool}: {reason}"));
            }
            if self.metrics.registered.with_label_values(&[pool.as_str()]).get() < 1.0 {
                return Some(format!("pool {pool} is not registered with the kubelet"));
            }
        }
        None
    }
}

async fn report(State(view): State<View>, Path((namespace, pod)): Path<(String, String)>) -> Response {
    let Some(reports) = view.book.reports(&view.store, &namespace, &pod, clock::now_ns()) else {
        let text = format!("pod {namespace}/{pod} has no grant on this node\n");
        return (StatusCode::NOT_FOUND, text).into_response();
    };
    let containers =
        reports.into_iter().map(|(container, report)| ContainerReport { container, report }).collect();
    match serde_json::to_string(&PodReport { containers }) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
