//! The pods of this node that ask for one of our resources: what the API server says of them, cut down to what
//! is needed. All other pods are forgotten at once.

use firstlight_contract::names::{RESOURCE_PREFIX, added, annotation, condition, env};
use firstlight_contract::paths::container;
use firstlight_contract::preflight;
use firstlight_diagnosis::{ContainerState, Preflight};
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::core::ObjectMeta;
use kube::core::object::{HasSpec, Object};
use serde::Deserialize;
use std::collections::{BTreeMap, BTreeSet};

/// The part of a pod that is read from the wire.
pub type WirePod = Object<WireSpec, WireStatus>;

/// See [`WirePod`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireSpec {
    #[serde(default)]
    containers: Vec<WireContainer>,
    #[serde(default)]
    init_containers: Vec<WireContainer>,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireContainer {
    name: String,
    #[serde(default)]
    env: Vec<WireEnv>,
    #[serde(default)]
    resources: WireResources,
    restart_policy: Option<String>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct WireEnv {
    name: String,
    #[serde(default)]
    value: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct WireResources {
    #[serde(default)]
    limits: BTreeMap<String, serde_json::Value>,
    #[serde(default)]
    claims: Vec<serde::de::IgnoredAny>,
}

/// See [`WirePod`].
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct WireStatus {
    #[serde(default)]
    conditions: Vec<WireCondition>,
    #[serde(default)]
    container_statuses: Vec<WireContainerStatus>,
    #[serde(default)]
    init_container_statuses: Vec<WireContainerStatus>,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct WireCondition {
    #[serde(rename = "type")]
    kind: String,
    #[serde(default)]
    status: String,
    #[serde(default)]
    reason: String,
}

#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireContainerStatus {
    name: String,
    #[serde(default)]
    restart_count: u32,
    #[serde(default)]
    state: WireState,
    #[serde(default)]
    last_state: WireState,
}

#[derive(Clone, Debug, Default, Deserialize)]
struct WireState {
    running: Option<WireRunning>,
    terminated: Option<WireTerminated>,
    waiting: Option<serde::de::IgnoredAny>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireRunning {
    started_at: Option<Time>,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
struct WireTerminated {
    finished_at: Option<Time>,
    #[serde(default)]
    exit_code: i32,
    #[serde(default)]
    reason: String,
    #[serde(default)]
    message: String,
}

/// Namespace and name of a pod.
pub type PodName = (String, String);

/// A pod of this node that asks for a resource of ours.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Pod {
    /// UID.
    pub uid: String,
    /// Creation, nanoseconds since the epoch (whole seconds).
    pub created_ns: u64,
    /// Whether its deletion was asked for.
    pub deleting: bool,
    /// Whether it carries the annotation that asks for a GPU.
    pub annotated: bool,
    /// Whether it carries the webhook's mark.
    pub injected: bool,
    /// Status and reason of our condition, if it has one.
    pub condition: Option<(String, String)>,
    /// Its containers that ask for a resource of ours; ordinary init containers, too.
    pub containers: Box<[PodContainer]>,
}

/// A container of a [`Pod`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodContainer {
    /// Name.
    pub name: String,
    /// Whether it is an ordinary init container: it runs to its end before the others start.
    pub init: bool,
    /// Our resources that it asks for, with the number.
    pub resources: Box<[(Box<str>, u32)]>,
    /// GPUs that it asks for from another vendor's plugin; `None`: it has claims, which may be for some.
    pub foreign_gpus: Option<u32>,
    /// Its declared environment that matters to a verdict.
    pub environment: Box<[(String, String)]>,
    /// Whether its declared environment preloads the shim.
    pub preloads: bool,
    /// State.
    pub state: ContainerState,
    /// Restarts so far.
    pub restarts: u32,
    /// Whether it, or its last instance, was ended because it used more memory than its limit.
    pub out_of_memory: bool,
    /// What its preflight found, in its last run.
    pub preflight: Option<Box<Preflight>>,
}

/// Variables that a verdict may name; the rest of a pod's environment is not kept.
const ENVIRONMENT: [&str; 6] = [
    env::LD_PRELOAD,
    "CUDA_VISIBLE_DEVICES",
    "NVIDIA_VISIBLE_DEVICES",
    "OLLAMA_LLM_LIBRARY",
    "LLAMA_ARG_DEVICE",
    "LLAMA_ARG_N_GPU_LAYERS",
];

impl Pod {
    /// What is needed of a pod, under its name; `None` if it asks for nothing of ours.
    pub fn of(wire: &WirePod) -> Option<(PodName, Self)> {
        let ObjectMeta { namespace, name, uid, creation_timestamp, deletion_timestamp, annotations, .. } =
            &wire.metadata;
        let status = wire.status.clone().unwrap_or_default();
        let spec = wire.spec();
        let find = |statuses: &[WireContainerStatus], name: &str| {
            statuses.iter().find(|status| status.name == name).cloned().unwrap_or_default()
        };
        let mut containers = Vec::new();
        for container in &spec.containers {
            containers.extend(container.ours(false, &find(&status.container_statuses, &container.name)));
        }
        for container in &spec.init_containers {
            // A sidecar lives as long as the others.
            let init = container.restart_policy.as_deref() != Some("Always");
            containers.extend(container.ours(init, &find(&status.init_container_statuses, &container.name)));
        }
        if containers.is_empty() {
            return None;
        }
        let apps = containers.iter().filter(|container| !container.init).count();
        for container in containers.iter_mut().filter(|container| !container.init) {
            container.preflight = preflight_of(&container.name, apps, &status.init_container_statuses);
        }
        let carries = |key: &str| annotations.as_ref().is_some_and(|found| found.contains_key(key));
        let condition = status.conditions.into_iter().find(|found| found.kind == condition::GPU_READY);
        let pod = Self {
            uid: uid.clone()?,
            created_ns: creation_timestamp.as_ref().map(nanoseconds)?,
            deleting: deletion_timestamp.is_some(),
            annotated: carries(annotation::GPU),
            injected: carries(annotation::INJECTED),
            condition: condition.map(|found| (found.status, found.reason)),
            containers: containers.into(),
        };
        Some(((namespace.clone()?, name.clone()?), pod))
    }

    /// The container with this name.
    pub fn container(&self, name: &str) -> Option<&PodContainer> {
        self.containers.iter().find(|container| container.name == name)
    }
}

/// The report of the preflight that the webhook added for this container.
fn preflight_of(container: &str, apps: usize, statuses: &[WireContainerStatus]) -> Option<Box<Preflight>> {
    let own = format!("{}-{container}", added::PREFLIGHT);
    let status = statuses
        .iter()
        .find(|status| status.name == own)
        .or_else(|| statuses.iter().find(|status| status.name == added::PREFLIGHT && apps == 1))?;
    let ended = status.state.terminated.as_ref().or(status.last_state.terminated.as_ref())?;
    let report = preflight::Report::parse(&ended.message)?;
    let at_ns = ended.finished_at.as_ref().map(nanoseconds).unwrap_or_default();
    Some(Box::new(Preflight { at_ns, report }))
}

impl PodContainer {
    /// How many units of this resource it asks for.
    pub fn asks_for(&self, resource: &str) -> Option<u32> {
        self.resources.iter().find(|(name, _)| **name == *resource).map(|(_, count)| *count)
    }
}

impl WireContainer {
    fn ours(&self, init: bool, status: &WireContainerStatus) -> Option<PodContainer> {
        let number = |value: &serde_json::Value| match value {
            serde_json::Value::String(text) => text.parse().unwrap_or(1),
            other => other.as_u64().and_then(|number| u32::try_from(number).ok()).unwrap_or(1),
        };
        let resources: Box<[(Box<str>, u32)]> = self
            .resources
            .limits
            .iter()
            .filter(|(name, _)| name.starts_with(RESOURCE_PREFIX))
            .map(|(name, value)| (name.as_str().into(), number(value)))
            .filter(|(_, count)| *count > 0)
            .collect();
        if resources.is_empty() {
            return None;
        }
        let foreign = |name: &str| {
            !name.starts_with(RESOURCE_PREFIX)
                && (name.starts_with("nvidia.com/") || (name.contains('/') && name.contains("gpu")))
        };
        let limits = &self.resources.limits;
        let foreign_gpus =
            limits.iter().filter(|(name, _)| foreign(name)).map(|(_, value)| number(value)).sum();
        let wanted: BTreeSet<&str> = ENVIRONMENT.into();
        let environment = self.env.iter().filter(|variable| wanted.contains(variable.name.as_str()));
        let preloads = self.env.iter().any(|variable| {
            variable.name == env::LD_PRELOAD
                && variable.value.split([':', ' ']).any(|part| part == container::SHIM)
        });
        Some(PodContainer {
            name: self.name.clone(),
            init,
            resources,
            foreign_gpus: self.resources.claims.is_empty().then_some(foreign_gpus),
            environment: environment.map(|found| (found.name.clone(), found.value.clone())).collect(),
            preloads,
            state: status.state.read(),
            restarts: status.restart_count,
            out_of_memory: [&status.state, &status.last_state].into_iter().any(WireState::is_out_of_memory),
            preflight: None,
        })
    }
}

impl WireState {
    /// The kubelet's word for it comes from the container runtime (CRI: `ContainerStatus.reason`).
    fn is_out_of_memory(&self) -> bool {
        self.terminated.as_ref().is_some_and(|ended| ended.reason == "OOMKilled")
    }

    fn read(&self) -> ContainerState {
        if let Some(running) = &self.running {
            return running.started_at.as_ref().map_or(ContainerState::Unknown, |time| {
                ContainerState::Running { since_ns: nanoseconds(time) }
            });
        }
        if let Some(ended) = &self.terminated {
            let at_ns = ended.finished_at.as_ref().map(nanoseconds).unwrap_or_default();
            return ContainerState::Terminated { at_ns, exit_code: ended.exit_code };
        }
        if self.waiting.is_some() { ContainerState::Waiting } else { ContainerState::Unknown }
    }
}

fn nanoseconds(time: &Time) -> u64 {
    u64::try_from(time.0.as_nanosecond()).unwrap_or(0)
}

#[cfg(test)]
mod tests;
