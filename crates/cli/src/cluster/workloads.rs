//! Workloads by name: from `deployment/ollama`, or a name that no pod has, to the labels of its pods.

use super::pods::refused;
use anyhow::bail;
use firstlight_contract::names::annotation;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::LabelSelector;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::core::Selector;
use kube::{Client, Error};
use serde_json::Value;

/// A kind of workload: what owns pods by a selector.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Kind {
    group: &'static str,
    name: &'static str,
    /// What kubectl prints before the name.
    word: &'static str,
    /// What it takes beside that.
    also: [&'static str; 2],
}

/// A Deployment.
pub(super) static DEPLOYMENT: Kind =
    Kind { group: "apps", name: "Deployment", word: "deployment", also: ["deployments", "deploy"] };
static STATEFUL_SET: Kind =
    Kind { group: "apps", name: "StatefulSet", word: "statefulset", also: ["statefulsets", "sts"] };
static DAEMON_SET: Kind =
    Kind { group: "apps", name: "DaemonSet", word: "daemonset", also: ["daemonsets", "ds"] };
static REPLICA_SET: Kind =
    Kind { group: "apps", name: "ReplicaSet", word: "replicaset", also: ["replicasets", "rs"] };
static JOB: Kind = Kind { group: "batch", name: "Job", word: "job", also: ["jobs", "job"] };
static KINDS: [&Kind; 5] = [&DEPLOYMENT, &STATEFUL_SET, &DAEMON_SET, &REPLICA_SET, &JOB];

/// What was named on the command line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Named {
    /// A pod, and nothing else.
    Pod(String),
    /// A pod, or a Deployment where no pod has the name.
    Any(String),
    /// A workload.
    Workload(&'static Kind, String),
}

/// A workload that is there.
#[derive(Debug)]
pub(super) struct Workload {
    /// Such as `deployment ollama`.
    pub(super) name: String,
    /// The labels of its pods.
    pub(super) selector: String,
    /// Whether it carries our annotation itself; the webhook copies that to its pods.
    pub(super) annotated: bool,
}

/// Reads `NAME`, or `KIND/NAME` as kubectl prints it (`deployment.apps/ollama` too).
pub(super) fn named(text: &str) -> anyhow::Result<Named> {
    let Some((kind, name)) = text.split_once('/') else { return Ok(Named::Any(text.to_owned())) };
    let word = kind.split('.').next().unwrap_or_default().to_ascii_lowercase();
    if ["pod", "pods", "po"].contains(&word.as_str()) {
        return Ok(Named::Pod(name.to_owned()));
    }
    let is_meant = |kind: &&&Kind| kind.word == word || kind.also.contains(&word.as_str());
    let Some(found) = KINDS.iter().find(is_meant) else {
        let known: Vec<&str> = KINDS.iter().map(|kind| kind.word).collect();
        bail!("{text}: {kind} is none of pod, {}; -l SELECTOR finds pods of any owner", known.join(", "))
    };
    Ok(Named::Workload(found, name.to_owned()))
}

/// A workload of this name; `None` if there is none.
pub(super) async fn find(
    client: &Client,
    namespace: &str,
    kind: &Kind,
    name: &str,
) -> anyhow::Result<Option<Workload>> {
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(kind.group, "v1", kind.name));
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
    let called = format!("{} {name}", kind.word);
    let object = match api.get(name).await {
        Ok(object) => object,
        Err(Error::Api(status)) if status.code == 404 => return Ok(None),
        Err(error) => return Err(refused(error, &format!("get {called} in namespace {namespace}"))),
    };
    let annotated = object.metadata.annotations.iter().flatten().any(|(key, _)| key == annotation::GPU);
    match selector(object.data.pointer("/spec/selector")) {
        Some(selector) => Ok(Some(Workload { name: called, selector, annotated })),
        None => bail!("{called} in namespace {namespace} has no selector; name its pods, or use -l SELECTOR"),
    }
}

/// The text of a label selector; `None` where it selects nothing or cannot be read.
fn selector(found: Option<&Value>) -> Option<String> {
    let selector: LabelSelector = serde_json::from_value(found?.clone()).ok()?;
    let text = Selector::try_from(selector).ok()?.to_string();
    (!text.is_empty()).then_some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_workload_is_named_as_kubectl_names_it() {
        assert_eq!(named("ollama").unwrap(), Named::Any("ollama".to_owned()));
        assert_eq!(named("po/ollama-0").unwrap(), Named::Pod("ollama-0".to_owned()));
        for text in ["deploy/ollama", "deployment/ollama", "deployment.apps/ollama", "Deployments/ollama"] {
            assert_eq!(named(text).unwrap(), Named::Workload(&DEPLOYMENT, "ollama".to_owned()), "{text}");
        }
        let error = named("cronjob/x").unwrap_err().to_string();
        assert_eq!(
            error,
            "cronjob/x: cronjob is none of pod, deployment, statefulset, daemonset, replicaset, job; \
             -l SELECTOR finds pods of any owner"
        );
    }

    #[test]
    fn labels_and_expressions_select() {
        let both = json!({"matchLabels": {"app": "ollama"},
            "matchExpressions": [{"key": "tier", "operator": "In", "values": ["a", "b"]}]});
        assert_eq!(selector(Some(&both)).unwrap(), "app=ollama,tier in (a,b)");
        assert_eq!(selector(Some(&json!({}))), None);
        assert_eq!(selector(None), None);
    }
}
