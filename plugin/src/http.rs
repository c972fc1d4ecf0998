//! Port 9400: metrics, health, readiness, reports, pools.

mod pools;

use crate::book::Book;
use crate::clock;
use crate::grants::Store;
use crate::inventory::Snapshot;
use crate::ledgers;
use crate::metrics::Metrics;
use crate::prober::knowledge::Knowledge;
use crate::unaccounted::Unaccounted;
use axum::Router;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use firstlight_diagnosis::Report;
use serde::Serialize;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Instant;
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
    /// What the prober told of the cards.
    pub knowledge: Arc<Knowledge>,
}

#[derive(Serialize)]
struct PodReport {
    containers: Vec<ContainerReport>,
}

#[derive(Serialize)]
struct ContainerReport {
    container: String,
    report: Report,
    /// Of each device with a quota.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    memory: Vec<Memory>,
}

#[derive(Serialize)]
struct Memory {
    device: String,
    quota_bytes: u64,
    /// `None`: the ledger cannot be read.
    used_bytes: Option<u64>,
}

/// The routes.
pub fn router(view: View) -> Router {
    Router::new()
        .route("/metrics", get(metrics))
        .route("/healthz", get(async || "ok\n"))
        .route("/readyz", get(ready))
        .route("/reports/{namespace}/{pod}", get(report))
        .route("/pools", get(pools))
        .with_state(view)
}

async fn metrics(State(view): State<View>) -> Response {
    let mut text = Vec::new();
    if let Err(error) = view.metrics.encode(&mut text) {
        return (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response();
    }
    // Made of label values that were UTF-8.
    let mut text = String::from_utf8(text).unwrap_or_default();
    let ledgers = view.book.ledgers();
    let used = ledgers::used(&view.store, ledgers.iter().map(|(id, cards)| (id.clone(), cards.len())));
    view.book.write_series(&mut text, &used);
    let pools: Vec<_> = view.pools.values().map(|snapshot| Arc::clone(&snapshot.borrow())).collect();
    let told = view.knowledge.told(Instant::now());
    Unaccounted::of(pools.iter().map(|pool| &**pool), &told, &ledgers, &used).write_series(&mut text);
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

    /// What the containers of a pod use of their quotas, by container.
    fn memory(&self, namespace: &str, pod: &str) -> BTreeMap<String, Vec<Memory>> {
        let mut counted = self.book.counted();
        counted.retain(|one| one.namespace == namespace && one.pod == pod);
        let used = ledgers::used(&self.store, counted.iter().map(|one| (one.id.clone(), one.quotas.len())));
        let memory = |one: crate::book::series::Counted| {
            let used = used.get(&one.id);
            let quotas = one.quotas.into_iter().enumerate();
            let memory = quotas.filter_map(|(device, (uuid, quota))| {
                let used_bytes = used.and_then(|used| used.get(device)).copied();
                Some(Memory { device: uuid, quota_bytes: quota?, used_bytes })
            });
            (one.container, memory.collect())
        };
        counted.into_iter().map(memory).collect()
    }
}

async fn report(State(view): State<View>, Path((namespace, pod)): Path<(String, String)>) -> Response {
    let Some(reports) = view.book.reports(&view.store, &namespace, &pod, clock::now_ns()) else {
        let text = format!("pod {namespace}/{pod} has no grant on this node\n");
        return (StatusCode::NOT_FOUND, text).into_response();
    };
    let mut memory = view.memory(&namespace, &pod);
    let containers = reports
        .into_iter()
        .map(|(container, report)| {
            let memory = memory.remove(&container).unwrap_or_default();
            ContainerReport { container, report, memory }
        })
        .collect();
    json(&PodReport { containers })
}

async fn pools(State(view): State<View>) -> Response {
    json(&pools::Pools::of(&view))
}

fn json(answer: &impl Serialize) -> Response {
    match serde_json::to_string(answer) {
        Ok(json) => ([(header::CONTENT_TYPE, "application/json")], json).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}
