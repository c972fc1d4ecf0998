//! The agent's report on a pod, fetched through the API server's proxy: no network path from here to the node
//! is needed, and the caller's own rights decide (`list` on `pods`, `get` on `pods/proxy`).

use super::connect::root;
use anyhow::{Context as _, anyhow, bail};
use firstlight_diagnosis::{Report, say_bytes};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, ListParams};
use kube::{Client, Error};
use serde::{Deserialize, Serialize};
use std::collections::BTreeMap;
use std::time::Duration;

/// Labels of the agent's pods, as the chart sets them.
const LABELS: &str = "app.kubernetes.io/name=firstlight,app.kubernetes.io/component=plugin";
/// Name of the port that serves metrics and reports.
const PORT: &str = "metrics";
/// The API server waits half a minute for a node that is gone; the condition is there at once.
const PATIENCE: Duration = Duration::from_secs(10);

/// The agent's answer.
#[derive(Debug, Deserialize)]
pub(super) struct Answer {
    pub(super) containers: Vec<Part>,
}

/// The report on one container.
#[derive(Debug, Deserialize)]
pub(super) struct Part {
    pub(super) container: String,
    pub(super) report: Report,
    /// Of each device with a quota; an older agent does not tell.
    #[serde(default)]
    pub(super) memory: Vec<Memory>,
}

/// What a container uses of its quota on a device.
#[derive(Clone, Debug, Deserialize, Serialize)]
pub(super) struct Memory {
    pub(super) device: String,
    pub(super) quota_bytes: u64,
    /// `None`: the agent cannot read what the container counts.
    pub(super) used_bytes: Option<u64>,
}

impl Memory {
    /// For people.
    pub(super) fn sentence(&self) -> String {
        let (device, quota) = (&self.device, say_bytes(self.quota_bytes));
        match self.used_bytes {
            Some(used) => format!("{} of the quota of {quota} used on {device}", say_bytes(used)),
            None => format!("a quota of {quota} on {device}; what is used cannot be read"),
        }
    }
}

/// Asks the agent on the pod's node; `namespace`: where it runs, if known.
pub(super) async fn ask(client: &Client, namespace: Option<&str>, pod: &Pod) -> anyhow::Result<Answer> {
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.as_deref());
    let Some(node) = node else { bail!("the pod is not on a node yet") };
    let (Some(of), Some(name)) = (pod.metadata.namespace.as_ref(), pod.metadata.name.as_ref()) else {
        bail!("the pod has no name");
    };
    let agents = list(client, namespace, Some(node)).await?;
    let text = first(client, node, &agents, &format!("reports/{of}/{name}")).await?;
    let answer: Answer = serde_json::from_str(&text).context(
        "the agent's answer is not a report; kubectl-firstlight and the chart are of different versions",
    )?;
    if answer.containers.is_empty() {
        bail!("the agent knows no container of this pod");
    }
    Ok(answer)
}

/// The agents of each node that has one, by the node's name; `namespace`: where they run, if known.
pub(super) async fn everywhere(
    client: &Client,
    namespace: Option<&str>,
) -> anyhow::Result<Vec<(String, Vec<Pod>)>> {
    let mut nodes: BTreeMap<String, Vec<Pod>> = BTreeMap::new();
    for agent in list(client, namespace, None).await? {
        if let Some(node) = agent.spec.as_ref().and_then(|spec| spec.node_name.clone()) {
            nodes.entry(node).or_default().push(agent);
        }
    }
    Ok(nodes.into_iter().collect())
}

/// What the first of a node's agents says that answers.
pub(super) async fn first(client: &Client, node: &str, agents: &[Pod], path: &str) -> anyhow::Result<String> {
    let mut agents: Vec<&Pod> = agents.iter().filter(|agent| is_running(agent)).collect();
    // While an upgrade replaces the agent, two of them run: the one that is ready and stays comes first.
    agents.sort_by_key(|agent| (agent.metadata.deletion_timestamp.is_some(), !is_ready(agent)));
    let mut problem = anyhow!(
        "no Firstlight agent runs on node {node}; `kubectl get pods -A -o wide -l {LABELS}` shows where it does"
    );
    for agent in agents {
        match tokio::time::timeout(PATIENCE, get(client, agent, path)).await {
            Ok(Ok(text)) => return Ok(text),
            Ok(Err(error)) => problem = error,
            Err(_) => {
                problem = anyhow!("the agent on node {node} did not answer within {} s", PATIENCE.as_secs());
            }
        }
    }
    Err(problem)
}

async fn list(client: &Client, namespace: Option<&str>, node: Option<&str>) -> anyhow::Result<Vec<Pod>> {
    let (api, place): (Api<Pod>, _) = match namespace {
        Some(namespace) => (Api::namespaced(client.clone(), namespace), format!("in namespace {namespace}")),
        None => (
            Api::all(client.clone()),
            "in all namespaces, so the agent was not found; --agent-namespace says where it runs".to_owned(),
        ),
    };
    let mut params = ListParams::default().labels(LABELS);
    if let Some(node) = node {
        params = params.fields(&format!("spec.nodeName={node}"));
    }
    match api.list(&params).await {
        Ok(list) => Ok(list.items),
        Err(Error::Api(status)) if status.code == 403 => {
            bail!("the API server does not allow you to list pods {place}")
        }
        Err(error) => bail!("cannot list the agents: {}", root(error)),
    }
}

async fn get(client: &Client, agent: &Pod, path: &str) -> anyhow::Result<String> {
    let path = proxied(agent, path).context("the agent's pod has no name or port")?;
    let request =
        http::Request::get(&path).body(Vec::new()).context("cannot form the request to the agent")?;
    client.request_text(request).await.map_err(|error| plain(error, agent))
}

fn is_running(pod: &Pod) -> bool {
    pod.status.as_ref().and_then(|status| status.phase.as_deref()) == Some("Running")
}

fn is_ready(pod: &Pod) -> bool {
    super::pods::condition_of(pod, "Ready").is_some_and(|found| found.status == "True")
}

fn proxied(agent: &Pod, path: &str) -> Option<String> {
    let (namespace, name) = (agent.metadata.namespace.as_ref()?, agent.metadata.name.as_ref()?);
    let mut ports =
        agent.spec.as_ref()?.containers.iter().flat_map(|container| container.ports.iter().flatten());
    let port = ports.find(|port| port.name.as_deref() == Some(PORT))?.container_port;
    Some(format!("/api/v1/namespaces/{namespace}/pods/{name}:{port}/proxy/{path}"))
}

/// What the proxy's refusal means, and what helps.
fn plain(error: Error, agent: &Pod) -> anyhow::Error {
    let name = agent.metadata.name.as_deref().unwrap_or_default();
    let namespace = agent.metadata.namespace.as_deref().unwrap_or_default();
    match error {
        Error::Api(status) if status.code == 403 => anyhow!(
            "the API server does not allow you to get pods/proxy in namespace {namespace}, where the agent runs; \
             the Role firstlight-reports there allows it"
        ),
        // The agent's own words, or the API server's about an agent that has just gone.
        Error::Api(status) if status.code == 404 => {
            anyhow!("the agent {namespace}/{name} has no answer: {}", status.message.trim())
        }
        Error::Api(status) => {
            anyhow!("the agent {namespace}/{name} cannot be reached: {}", status.message.trim())
        }
        other => {
            anyhow!("the agent {namespace}/{name} cannot be reached through the API server: {}", root(other))
        }
    }
}
