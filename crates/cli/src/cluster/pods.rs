//! The pods that asked for a GPU.

use super::connect::root;
use anyhow::{anyhow, bail};
use firstlight_contract::names::{DEFAULT_POOL, PROBER, RESOURCE_PREFIX, annotation, condition};
use firstlight_diagnosis::Cause;
use k8s_openapi::api::core::v1::{Pod, PodCondition};
use kube::api::{Api, ListParams};
use kube::{Client, Error};
use serde::Serialize;

/// Pods that one request lists.
const PAGE: u32 = 500;

/// What the cluster says of one pod.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(super) struct PodStatus {
    pub(super) namespace: String,
    pub(super) pod: String,
    /// Status of the condition, `Unknown` where there is none.
    pub(super) ready: String,
    /// Reason of the condition; without one, why there is none.
    pub(super) reason: String,
    /// The pool that was asked for.
    pub(super) pool: String,
    /// Whether the webhook changed the pod.
    pub(super) injected: bool,
    pub(super) phase: String,
    pub(super) node: String,
    pub(super) message: String,
}

impl PodStatus {
    /// `None` for a pod that has nothing to do with us.
    pub(super) fn of(pod: &Pod) -> Option<Self> {
        let (annotated, limit) = (mark(pod, annotation::GPU), limit(pod));
        let injected = mark(pod, annotation::INJECTED).is_some();
        let found = condition_of(pod, condition::GPU_READY);
        if annotated.is_none() && limit.is_none() && !injected && found.is_none() {
            return None;
        }
        let waiting = condition_of(pod, "PodScheduled").filter(|found| found.status == "False");
        let said = found.or(waiting);
        let default = if is_passed_over(pod) { Cause::NotInjected.reason() } else { "NoVerdictYet" };
        let passed_over = mark(pod, annotation::INJECTION).filter(|_| is_passed_over(pod));
        let text =
            |text: Option<&String>, default: &str| text.map_or_else(|| default.to_owned(), Clone::clone);
        let pool = match annotated {
            Some("true") => Some(DEFAULT_POOL),
            Some(pool) => Some(pool),
            None => limit,
        };
        Some(Self {
            namespace: text(pod.metadata.namespace.as_ref(), ""),
            pod: text(pod.metadata.name.as_ref(), ""),
            ready: text(found.map(|found| &found.status), "Unknown"),
            reason: text(said.and_then(|said| said.reason.as_ref()), default),
            pool: pool.unwrap_or("-").to_owned(),
            injected,
            phase: text(pod.status.as_ref().and_then(|status| status.phase.as_ref()), "-"),
            node: text(pod.spec.as_ref().and_then(|spec| spec.node_name.as_ref()), "-"),
            message: said.and_then(|said| said.message.as_deref()).or(passed_over).unwrap_or("").to_owned(),
        })
    }

    /// Worst first: failures, pods that the webhook passed over, those without a verdict, successes; within
    /// them by name.
    pub(super) fn rank(&self) -> (u8, String, String) {
        let rank = match self.ready.as_str() {
            "False" => 0,
            "True" => 3,
            _ if self.reason == Cause::NotInjected.reason() => 1,
            _ => 2,
        };
        (rank, self.namespace.clone(), self.pod.clone())
    }
}

/// A condition of a pod.
pub(super) fn condition_of<'a>(pod: &'a Pod, kind: &str) -> Option<&'a PodCondition> {
    let conditions = pod.status.as_ref()?.conditions.as_ref()?;
    conditions.iter().find(|found| found.type_ == kind)
}

/// Whether the pod is annotated, and the webhook neither changed it nor had to: nobody gave it a device.
pub(super) fn is_passed_over(pod: &Pod) -> bool {
    mark(pod, annotation::GPU).is_some() && mark(pod, annotation::INJECTED).is_none() && limit(pod).is_none()
}

/// An annotation.
pub(super) fn mark<'a>(pod: &'a Pod, key: &str) -> Option<&'a str> {
    pod.metadata.annotations.as_ref()?.get(key).map(String::as_str)
}

/// The pool whose resource one of the containers asks for.
fn limit(pod: &Pod) -> Option<&str> {
    let spec = pod.spec.as_ref()?;
    let containers = spec.containers.iter().chain(spec.init_containers.iter().flatten());
    let limits = containers
        .filter_map(|container| container.resources.as_ref()?.limits.as_ref())
        .flat_map(|limits| limits.keys());
    // Our own prober has no device of a user's.
    limits.filter_map(|resource| resource.strip_prefix(RESOURCE_PREFIX)).find(|pool| *pool != PROBER)
}

/// The rows with a head; wide adds phase, node and message.
pub(super) fn table(rows: &[PodStatus], wide: bool) -> String {
    let mut head = vec!["NAMESPACE", "POD", "GPU READY", "REASON", "POOL"];
    if wide {
        head.extend(["PHASE", "NODE", "MESSAGE"]);
    }
    let mut cells = vec![head.into_iter().map(str::to_owned).collect::<Vec<_>>()];
    for row in rows {
        let mut line = vec![&row.namespace, &row.pod, &row.ready, &row.reason, &row.pool];
        if wide {
            line.extend([&row.phase, &row.node, &row.message]);
        }
        cells.push(line.into_iter().cloned().collect());
    }
    crate::output::table(&cells)
}

/// One pod by name; `None` if there is none.
pub(super) async fn get(client: &Client, namespace: &str, name: &str) -> anyhow::Result<Option<Pod>> {
    match Api::<Pod>::namespaced(client.clone(), namespace).get(name).await {
        Ok(pod) => Ok(Some(pod)),
        Err(Error::Api(status)) if status.code == 404 => Ok(None),
        Err(error) => Err(refused(error, &format!("get pod {name} in namespace {namespace}"))),
    }
}

/// The pods of a namespace, or of all, that have these labels.
pub(super) async fn list(
    client: &Client,
    namespace: Option<&str>,
    selector: Option<&str>,
) -> anyhow::Result<Vec<Pod>> {
    let (api, action): (Api<Pod>, _) = match namespace {
        Some(namespace) => {
            (Api::namespaced(client.clone(), namespace), format!("list pods in namespace {namespace}"))
        }
        None => (Api::all(client.clone()), "list pods in all namespaces".to_owned()),
    };
    let mut params = ListParams::default().limit(PAGE);
    if let Some(selector) = selector {
        params = params.labels(selector);
    }
    let mut pods = Vec::new();
    loop {
        let page = match api.list(&params).await {
            Ok(page) => page,
            Err(Error::Api(status)) if status.code == 403 && namespace.is_none() => {
                bail!("the API server does not allow you to {action}; -n NAMESPACE looks in one")
            }
            Err(error) => return Err(refused(error, &action)),
        };
        pods.extend(page.items);
        match page.metadata.continue_.filter(|token| !token.is_empty()) {
            Some(token) => params = params.continue_token(&token),
            None => return Ok(pods),
        }
    }
}

/// An API error in words: what was refused, or what could not be done and why.
pub(super) fn refused(error: Error, action: &str) -> anyhow::Error {
    match error {
        Error::Api(status) if status.code == 401 => {
            anyhow!("the API server does not know you; log in again, or name another context with --context")
        }
        Error::Api(status) if status.code == 403 => {
            anyhow!("the API server does not allow you to {action}")
        }
        Error::Api(status) => anyhow!("cannot {action}: {}", status.message),
        other => anyhow!("cannot {action}: {}", root(other)),
    }
}
