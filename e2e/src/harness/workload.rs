//! Manifests of the tests, as somebody would write them who has never heard of Firstlight.

use serde_json::{Value, json};

/// Ollama as of today.
pub const OLLAMA: &str = "localhost/ollama:0.33.1";
/// The last Ollama whose server opens the driver by absolute path.
pub const OLD_OLLAMA: &str = "localhost/ollama:0.12.3";
/// A static shell.
pub const BUSYBOX: &str = "localhost/busybox:1";
/// A program linked against musl, beside a static shell.
pub const MUSL: &str = "localhost/musl:1";

/// A Deployment of one Ollama pod.
pub fn ollama(name: &str, image: &str) -> Value {
    json!({
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": {"app": name}},
            "template": {"metadata": {"labels": {"app": name}}, "spec": ollama_pod(image)},
        },
    })
}

/// The pod of [`ollama`].
pub fn ollama_pod(image: &str) -> Value {
    json!({
        "terminationGracePeriodSeconds": 1,
        "containers": [{
            "name": "ollama",
            "image": image,
            "ports": [{"name": "http", "containerPort": 11434}],
            "readinessProbe": {"httpGet": {"path": "/", "port": "http"}, "periodSeconds": 1},
        }],
    })
}

/// A bare pod.
pub fn pod(name: &str, spec: &Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": name, "labels": {"app": name}}, "spec": spec})
}

/// A pod that runs one line of shell and then waits.
pub fn shell_pod(name: &str, image: &str, line: &str) -> Value {
    let command = ["sh", "-c", &format!("{line}; sleep 3600")];
    let container = json!({"name": "shell", "image": image, "command": command});
    pod(name, &json!({"terminationGracePeriodSeconds": 1, "containers": [container]}))
}

/// The same object with annotations.
#[must_use]
pub fn annotated(mut object: Value, annotations: &[(&str, &str)]) -> Value {
    if let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut) {
        let map: serde_json::Map<_, _> =
            annotations.iter().map(|(key, value)| ((*key).to_owned(), json!(value))).collect();
        metadata.insert("annotations".to_owned(), Value::Object(map));
    }
    object
}
