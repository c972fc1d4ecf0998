//! As much of an API server as the webhook talks to: one Secret, one Deployment, one webhook configuration, with
//! `resourceVersion` as the real one treats it; pods and Deployments to list and watch, and Events. Everything that
//! is written is kept.

use axum::Router;
use axum::body::{Body, Bytes, to_bytes};
use axum::extract::{Path, Query, Request, State};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use firstlight_webhook::server::{Ends, Limits, Plain, Server};
use http::{HeaderMap, StatusCode, header};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};
use tokio::task::JoinSet;

pub const HOOK: &str = "hook.ns.svc";

#[derive(Debug)]
pub struct Objects {
    pub secret: Option<Value>,
    pub configuration: Value,
    version: u64,
    /// What was written: verb and kind.
    pub writes: Vec<String>,
    /// Each caBundle of the first webhook, and when it was written.
    bundles: Vec<(Instant, String)>,
    /// Answer everything with 500.
    pub broken: bool,
    /// Pods and Deployments of the namespace `ai`, whole.
    pub cluster: Vec<(&'static str, Value)>,
    /// What watches see: a resource, the kind of change, the object.
    pub changes: Vec<(&'static str, &'static str, Value)>,
    /// Events by name.
    pub events: BTreeMap<String, Value>,
}

type App = Arc<Mutex<Objects>>;

#[derive(Debug)]
pub struct ApiServer {
    pub objects: App,
    pub address: SocketAddr,
    _server: JoinSet<anyhow::Result<()>>,
}

impl ApiServer {
    pub async fn start() -> Self {
        let webhook = |name: &str| {
            json!({"name": name, "sideEffects": "None", "admissionReviewVersions": ["v1"],
                "clientConfig": {"service": {"namespace": "ns", "name": "hook", "port": 443}}})
        };
        let configuration = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "MutatingWebhookConfiguration",
            "metadata": {"name": "firstlight", "resourceVersion": "1"},
            "webhooks": [webhook("workloads.firstlight.dev"), webhook("pods.firstlight.dev")],
        });
        let objects = Arc::new(Mutex::new(Objects {
            secret: None,
            configuration,
            version: 1,
            writes: Vec::new(),
            bundles: Vec::new(),
            broken: false,
            cluster: Vec::new(),
            changes: Vec::new(),
            events: BTreeMap::new(),
        }));
        let hooks = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations/{name}";
        let router = Router::new()
            .route("/api/v1/namespaces/ns/secrets", post(create_secret))
            .route("/api/v1/namespaces/ns/secrets/{name}", get(get_secret).put(put_secret))
            .route("/apis/apps/v1/namespaces/ns/deployments/{name}", get(get_deployment))
            .route(hooks, get(get_hooks).patch(patch_hooks))
            .route("/api/v1/{resource}", get(list))
            .route("/apis/apps/v1/{resource}", get(list))
            .route("/apis/batch/v1/{resource}", get(list))
            .route("/apis/apps/v1/namespaces/ai/deployments/{name}", get(get_whole))
            .route("/apis/events.k8s.io/v1/namespaces/ai/events", post(create_event))
            .with_state(Arc::clone(&objects));
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (limits, ends) = (Limits::default(), Ends::default());
        let mut server = JoinSet::new();
        server.spawn(Server { listener, speech: Plain, router, limits, ends }.run());
        Self { objects, address, _server: server }
    }

    /// A kubeconfig for this server.
    pub fn kubeconfig(&self) -> String {
        format!(
            "{{apiVersion: v1, kind: Config, current-context: c, clusters: [{{name: c, cluster: {{server: \
             'http://{}'}}}}], contexts: [{{name: c, context: {{cluster: c, user: u}}}}], users: [{{name: u, \
             user: {{}}}}]}}",
            self.address
        )
    }

    /// The caBundle of the first webhook, as an API server knows it that is this much behind.
    pub fn bundle(&self, behind: Duration) -> String {
        let objects = self.objects.lock().unwrap();
        let known = objects.bundles.iter().rfind(|(at, _)| at.elapsed() >= behind);
        known.or(objects.bundles.first()).map(|(_, bundle)| bundle.clone()).unwrap_or_default()
    }

    pub fn secret(&self, key: &str) -> String {
        let objects = self.objects.lock().unwrap();
        let text =
            objects.secret.as_ref().and_then(|secret| secret["data"][key].as_str()).unwrap_or_default();
        String::from_utf8(STANDARD.decode(text).unwrap()).unwrap()
    }

    /// Changes the cluster, and tells the watches.
    pub fn change(&self, resource: &'static str, change: &'static str, object: &Value) {
        let mut objects = self.objects.lock().unwrap();
        let name = &object["metadata"]["name"];
        objects.cluster.retain(|(kind, old)| *kind != resource || old["metadata"]["name"] != *name);
        if change != "DELETED" {
            objects.cluster.push((resource, object.clone()));
        }
        objects.changes.push((resource, change, object.clone()));
    }

    pub fn writes(&self) -> Vec<String> {
        self.objects.lock().unwrap().writes.clone()
    }
}

impl Objects {
    fn stamp(&mut self, object: &mut Value) {
        self.version += 1;
        object["metadata"]["resourceVersion"] = json!(self.version.to_string());
    }

    fn bundles_written(&mut self) {
        let text = self.configuration["webhooks"][0]["clientConfig"]["caBundle"].as_str().unwrap_or_default();
        let text = String::from_utf8(STANDARD.decode(text).unwrap()).unwrap();
        self.bundles.push((Instant::now(), text));
    }
}

fn status(code: StatusCode) -> Response {
    let body = json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "reason": code.canonical_reason().unwrap().replace(' ', ""), "code": code.as_u16(), "message": code.to_string()});
    (code, [(header::CONTENT_TYPE, "application/json")], body.to_string()).into_response()
}

fn object(value: &Value) -> Response {
    ([(header::CONTENT_TYPE, "application/json")], value.to_string()).into_response()
}

fn parse(body: &Bytes) -> Value {
    serde_json::from_slice(body).unwrap()
}

async fn get_secret(State(app): State<App>) -> Response {
    let objects = app.lock().unwrap();
    match &objects.secret {
        _ if objects.broken => status(StatusCode::INTERNAL_SERVER_ERROR),
        Some(secret) => object(secret),
        None => status(StatusCode::NOT_FOUND),
    }
}

async fn create_secret(State(app): State<App>, body: Bytes) -> Response {
    let mut objects = app.lock().unwrap();
    if objects.secret.is_some() {
        return status(StatusCode::CONFLICT);
    }
    let mut secret = parse(&body);
    objects.stamp(&mut secret);
    objects.writes.push("create secret".to_owned());
    objects.secret = Some(secret.clone());
    object(&secret)
}

async fn put_secret(State(app): State<App>, body: Bytes) -> Response {
    let mut objects = app.lock().unwrap();
    let mut secret = parse(&body);
    let Some(known) = &objects.secret else { return status(StatusCode::NOT_FOUND) };
    if known["metadata"]["resourceVersion"] != secret["metadata"]["resourceVersion"] {
        return status(StatusCode::CONFLICT);
    }
    objects.stamp(&mut secret);
    objects.writes.push("update secret".to_owned());
    objects.secret = Some(secret.clone());
    object(&secret)
}

async fn get_deployment(Path(name): Path<String>) -> Response {
    object(&json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": {"name": name, "uid": "uid-of-the-deployment"}}))
}

async fn get_hooks(State(app): State<App>) -> Response {
    let objects = app.lock().unwrap();
    if objects.broken {
        return status(StatusCode::INTERNAL_SERVER_ERROR);
    }
    object(&objects.configuration)
}

async fn patch_hooks(State(app): State<App>, request: Request) -> Response {
    assert_eq!(request.headers()[header::CONTENT_TYPE], "application/strategic-merge-patch+json");
    let patch = parse(&to_bytes(request.into_body(), 1 << 20).await.unwrap());
    let mut objects = app.lock().unwrap();
    let mut changed = objects.configuration.clone();
    if patch["metadata"]["resourceVersion"] != changed["metadata"]["resourceVersion"] {
        return status(StatusCode::CONFLICT);
    }
    for change in patch["webhooks"].as_array().unwrap() {
        let hooks = changed["webhooks"].as_array_mut().unwrap();
        let hook = hooks.iter_mut().find(|hook| hook["name"] == change["name"]).unwrap();
        // The policy "ca-bundle" refuses everything else.
        assert_eq!(change["clientConfig"].as_object().unwrap().keys().collect::<Vec<_>>(), ["caBundle"]);
        hook["clientConfig"]["caBundle"] = change["clientConfig"]["caBundle"].clone();
    }
    objects.stamp(&mut changed);
    objects.configuration = changed;
    objects.writes.push("patch configuration".to_owned());
    objects.bundles_written();
    object(&json!({"apiVersion": "meta.k8s.io/v1", "kind": "PartialObjectMetadata",
        "metadata": objects.configuration["metadata"]}))
}

/// What is sent to somebody who asks for metadata only; nobody here asks for more.
fn metadata_of(object: &Value) -> Value {
    json!({"kind": "PartialObjectMetadata", "apiVersion": "meta.k8s.io/v1", "metadata": object["metadata"]})
}

/// Lists in pages of at most `limit`, or watches.
async fn list(
    State(app): State<App>,
    Path(resource): Path<String>,
    Query(query): Query<BTreeMap<String, String>>,
    headers: HeaderMap,
) -> Response {
    let wanted = headers[header::ACCEPT].to_str().unwrap();
    assert!(wanted.contains("as=PartialObjectMetadata"), "whole objects were asked for: {wanted}");
    let number = |key: &str| query.get(key).and_then(|text| text.parse::<usize>().ok());
    let objects = app.lock().unwrap();
    if objects.broken {
        return status(StatusCode::INTERNAL_SERVER_ERROR);
    }
    if query.get("watch").is_some_and(|watch| watch == "true") {
        // The resourceVersion of a list is the number of changes that went before.
        let seen = number("resourceVersion").unwrap_or_default();
        drop(objects);
        return Body::from_stream(changes(app, resource, seen)).into_response();
    }
    let start = number("continue").unwrap_or_default();
    let all: Vec<Value> = (objects.cluster.iter().filter(|(kind, _)| *kind == resource))
        .map(|(_, object)| metadata_of(object))
        .collect();
    let end = all.len().min(start + number("limit").unwrap());
    let next = if end < all.len() { end.to_string() } else { String::new() };
    object(
        &json!({"kind": "PartialObjectMetadataList", "apiVersion": "meta.k8s.io/v1", "items": all[start..end],
        "metadata": {"resourceVersion": objects.changes.len().to_string(), "continue": next}}),
    )
}

/// Changes of one resource from this one on, for ever.
fn changes(app: App, resource: String, seen: usize) -> impl futures::Stream<Item = anyhow::Result<String>> {
    futures::stream::unfold((app, resource, seen), |(app, resource, mut seen)| async move {
        loop {
            let change = app.lock().unwrap().changes.get(seen).cloned();
            let Some((kind, change, object)) = change else {
                tokio::time::sleep(Duration::from_millis(10)).await;
                continue;
            };
            seen += 1;
            if kind == resource {
                let mut object = metadata_of(&object);
                object["metadata"]["resourceVersion"] = json!(seen.to_string());
                let line = format!("{}\n", json!({"type": change, "object": object}));
                return Some((Ok(line), (app, resource, seen)));
            }
        }
    })
}

async fn get_whole(State(app): State<App>, Path(name): Path<String>) -> Response {
    let objects = app.lock().unwrap();
    let found =
        objects.cluster.iter().find(|(kind, one)| *kind == "deployments" && one["metadata"]["name"] == name);
    found.map_or_else(|| status(StatusCode::NOT_FOUND), |(_, whole)| object(whole))
}

async fn create_event(State(app): State<App>, body: Bytes) -> Response {
    let (mut objects, event) = (app.lock().unwrap(), parse(&body));
    objects.writes.push("create event".to_owned());
    let name = event["metadata"]["name"].as_str().unwrap().to_owned();
    if objects.events.contains_key(&name) {
        return status(StatusCode::CONFLICT);
    }
    objects.events.insert(name, event.clone());
    object(&event)
}
