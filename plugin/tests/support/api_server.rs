//! As much of an API server as the agent talks to: pods of a node by list and watch, patches of their status,
//! Events. Everything that arrives is kept.

use axum::body::Body;
use axum::extract::{Path, Query, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use axum::routing::{get, patch, post};
use axum::{Json, Router};
use futures::StreamExt as _;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use tokio::sync::broadcast;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnboundedReceiverStream;

#[derive(Debug)]
pub struct Shared {
    pub pods: BTreeMap<String, Value>,
    pub selectors: Vec<String>,
    pub patches: Vec<(String, Value)>,
    pub events: Vec<Value>,
    version: u64,
    /// All changes, with the version that each made.
    past: Vec<(u64, String)>,
    changes: broadcast::Sender<String>,
    /// Feeds open watches; kept so that they end with the server.
    feeds: JoinSet<()>,
}

/// The server.
#[derive(Debug)]
pub struct ApiServer {
    pub shared: Arc<Mutex<Shared>>,
    pub address: SocketAddr,
    _server: JoinSet<()>,
}

type App = Arc<Mutex<Shared>>;

impl ApiServer {
    pub async fn start() -> Self {
        let shared = Arc::new(Mutex::new(Shared {
            pods: BTreeMap::new(),
            selectors: Vec::new(),
            patches: Vec::new(),
            events: Vec::new(),
            version: 1,
            past: Vec::new(),
            changes: broadcast::channel(4096).0,
            feeds: JoinSet::new(),
        }));
        let router = Router::new()
            .route("/api/v1/pods", get(list))
            .route("/api/v1/namespaces/{namespace}/pods/{pod}/status", patch(patch_status))
            .route("/apis/events.k8s.io/v1/namespaces/{namespace}/events", post(create_event))
            .with_state(Arc::clone(&shared));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut server = JoinSet::new();
        server.spawn(async move { axum::serve(listener, router).await.unwrap() });
        Self { shared, address, _server: server }
    }

    /// A client of this server.
    pub fn client(&self) -> kube::Client {
        let _ = rustls::crypto::ring::default_provider().install_default();
        let url = format!("http://{}", self.address).parse().unwrap();
        kube::Client::try_from(kube::Config::new(url)).unwrap()
    }

    fn change(&self, kind: &str, mut pod: Value) {
        let mut shared = self.shared.lock().unwrap();
        shared.version += 1;
        pod["metadata"]["resourceVersion"] = json!(shared.version.to_string());
        let name = pod["metadata"]["name"].as_str().unwrap().to_owned();
        if kind == "DELETED" {
            shared.pods.remove(&name);
        } else {
            shared.pods.insert(name, pod.clone());
        }
        let change = format!("{}\n", json!({"type": kind, "object": pod}));
        let version = shared.version;
        shared.past.push((version, change.clone()));
        let _ = shared.changes.send(change);
    }

    /// A pod with one container `ollama` that asks for one device of `resource`.
    pub fn create_pod(&self, name: &str, uid: &str, resource: &str) {
        self.change("ADDED", pod(name, uid, resource));
    }

    pub fn delete_pod(&self, name: &str) {
        let pod = self.shared.lock().unwrap().pods[name].clone();
        self.change("DELETED", pod);
    }

    /// The conditions that were written on this pod: status and reason.
    pub fn conditions(&self, pod: &str) -> Vec<(String, String)> {
        let shared = self.shared.lock().unwrap();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        shared
            .patches
            .iter()
            .filter(|(name, _)| name == pod)
            .map(|(_, patch)| &patch["status"]["conditions"][0])
            .map(|condition| (text(&condition["status"]), text(&condition["reason"])))
            .collect()
    }

    /// The reasons of all Events.
    pub fn events(&self) -> Vec<String> {
        let shared = self.shared.lock().unwrap();
        shared.events.iter().map(|event| event["reason"].as_str().unwrap().to_owned()).collect()
    }
}

pub fn pod(name: &str, uid: &str, resource: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {
            "name": name, "namespace": "default", "uid": uid, "creationTimestamp": "2024-01-01T00:00:00Z",
            "annotations": {"firstlight.dev/gpu": "simulated", "firstlight.dev/injected": "0.1.0"},
            "managedFields": [{"manager": "kubectl", "operation": "Update", "fieldsV1": {"f:spec": {}}}],
        },
        "spec": {
            "nodeName": "node-a",
            "containers": [{
                "name": "ollama", "image": "ollama/ollama",
                "env": [{"name": "LD_PRELOAD", "value": "/opt/firstlight/lib/libcuda.so.1"}],
                "resources": {"limits": {resource: "1"}, "requests": {resource: "1"}},
            }],
        },
        "status": {"phase": "Pending"},
    })
}

async fn list(State(app): State<App>, Query(query): Query<BTreeMap<String, String>>) -> Response {
    let mut shared = app.lock().unwrap();
    shared.selectors.extend(query.get("fieldSelector").cloned());
    if query.get("watch").is_none_or(|watch| watch != "true") {
        let items: Vec<&Value> = shared.pods.values().collect();
        let version = shared.version.to_string();
        return Json(json!({
            "apiVersion": "v1", "kind": "PodList", "metadata": {"resourceVersion": version}, "items": items,
        }))
        .into_response();
    }
    let mut changes = shared.changes.subscribe();
    let (sender, receiver) = tokio::sync::mpsc::unbounded_channel::<String>();
    // What happened between the list and this watch.
    let listed: u64 = query.get("resourceVersion").and_then(|version| version.parse().ok()).unwrap_or(0);
    for (_, change) in shared.past.iter().filter(|(version, _)| *version > listed) {
        let _ = sender.send(change.clone());
    }
    shared.feeds.spawn(async move {
        while let Ok(change) = changes.recv().await {
            if sender.send(change).is_err() {
                return;
            }
        }
    });
    let lines = UnboundedReceiverStream::new(receiver).map(Ok::<_, std::convert::Infallible>);
    Body::from_stream(lines).into_response()
}

async fn patch_status(
    State(app): State<App>,
    Path((_, name)): Path<(String, String)>,
    Json(patch): Json<Value>,
) -> Response {
    let mut shared = app.lock().unwrap();
    let Some(pod) = shared.pods.get(&name).cloned() else {
        return status(StatusCode::NOT_FOUND, "NotFound");
    };
    if patch["metadata"]["uid"] != pod["metadata"]["uid"] {
        return status(StatusCode::CONFLICT, "Conflict");
    }
    shared.patches.push((name, patch));
    Json(pod).into_response()
}

async fn create_event(State(app): State<App>, Json(event): Json<Value>) -> Response {
    let mut shared = app.lock().unwrap();
    let name = &event["metadata"]["name"];
    if shared.events.iter().any(|known| known["metadata"]["name"] == *name) {
        return status(StatusCode::CONFLICT, "AlreadyExists");
    }
    shared.events.push(event.clone());
    Json(event).into_response()
}

fn status(code: StatusCode, reason: &str) -> Response {
    let body = json!({
        "kind": "Status", "apiVersion": "v1", "status": "Failure", "reason": reason, "code": code.as_u16(),
        "message": reason,
    });
    (code, Json(body)).into_response()
}
