//! Another vendor's device plugin that serves the node's NVIDIA cards: beside it our pools of real cards would give the
//! same cards a second time. The kubelet knows all plugins, and PodResources tells.
//!
//! A plugin that is restarted is away for some seconds, and its pods keep their cards: what was seen stands for a minute
//! after it was seen last, and without an answer for as long as none comes.

use crate::api::v1::pod_resources_lister_client::PodResourcesListerClient;
use crate::api::v1::{AllocatableResourcesRequest, ContainerDevices, ListPodResourcesRequest};
use crate::kubelet_list;
use crate::metrics::Metrics;
use firstlight_contract::names::RESOURCE_PREFIX;
use std::collections::BTreeSet;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};
use tokio::time::{sleep, timeout};
use tonic::Status;
use tonic::transport::Channel;

/// How long the agent's start waits for the first answer.
const FIRST: Duration = Duration::from_secs(1);
/// Time between two questions: two calls, of the hundred a second that the kubelet serves.
const AGAIN: Duration = Duration::from_secs(5);
/// How long a plugin that is not seen any more still counts.
const STANDS: Duration = Duration::from_mins(1);
/// Resources that are NVIDIA cards by another prefix than `nvidia.com/`: Volcano, Tencent's, Alibaba's and Elastic's
/// sharing, AWS's virtual GPUs.
const OTHERS: [&str; 6] = [
    "volcano.sh/vgpu",
    "volcano.sh/gpu",
    "tencent.com/vcuda",
    "aliyun.com/gpu",
    "elasticgpu.io/",
    "k8s.amazonaws.com/vgpu",
];
/// What NVIDIA's network operator serves under `nvidia.com/` is no card: its host devices, RDMA and SR-IOV.
const NETWORK: [&str; 6] = ["hostdev", "rdma", "sriov", "mlx", "mlnx", "nic"];

/// Which resources of other plugins are NVIDIA's cards.
#[derive(Debug)]
pub struct Foreign {
    /// Names that the operator says are none of the pools' cards.
    ignored: BTreeSet<String>,
    seen: Mutex<Option<Seen>>,
}

#[derive(Clone, Debug)]
struct Seen {
    resources: BTreeSet<String>,
    at: Instant,
}

impl Default for Foreign {
    fn default() -> Self {
        Self::new([])
    }
}

impl Foreign {
    /// Nothing is seen yet; these resources never count.
    pub fn new(ignored: impl IntoIterator<Item = String>) -> Self {
        Self { ignored: ignored.into_iter().collect(), seen: Mutex::default() }
    }

    /// What the kubelet has now, by the names of resources; whether that changed what counts.
    pub fn hear<'a>(&self, resources: impl IntoIterator<Item = &'a str>, now: Instant) -> bool {
        let resources = resources.into_iter().filter(|name| is_card(name) && !self.ignored.contains(*name));
        let resources: BTreeSet<String> = resources.map(str::to_owned).collect();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let before = seen.as_ref().map(|seen| seen.resources.clone());
        if !resources.is_empty() {
            *seen = Some(Seen { resources, at: now });
        } else if seen.as_ref().is_some_and(|seen| now.saturating_duration_since(seen.at) > STANDS) {
            *seen = None;
        }
        before != seen.as_ref().map(|seen| seen.resources.clone())
    }

    /// The resources under which somebody else serves the node's cards; empty where nobody does.
    pub fn resources(&self) -> BTreeSet<String> {
        let seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.as_ref().map(|seen| seen.resources.clone()).unwrap_or_default()
    }

    /// Asks once, and goes on after a second without an answer; then a task that asks again and again.
    pub async fn watch(
        self: Arc<Self>,
        pod_resources_dir: &Path,
        metrics: Arc<Metrics>,
    ) -> anyhow::Result<impl Future<Output = ()> + Send + 'static> {
        let mut client = kubelet_list::client(pod_resources_dir)?;
        if let Ok(answer) = timeout(FIRST, ask(&mut client)).await {
            self.take(answer, &metrics);
        } else {
            tracing::warn!(
                "the kubelet has not said within a second which device plugins there are; its answer counts when it comes"
            );
        }
        Ok(async move {
            loop {
                sleep(AGAIN).await;
                let answer = ask(&mut client).await;
                self.take(answer, &metrics);
            }
        })
    }

    fn take(&self, answer: Result<Vec<String>, Status>, metrics: &Metrics) {
        match answer {
            Ok(resources) => {
                if self.hear(resources.iter().map(String::as_str), Instant::now()) {
                    let resources: Vec<String> = self.resources().into_iter().collect();
                    if resources.is_empty() {
                        tracing::info!("no other device plugin serves this node's NVIDIA cards any more");
                    } else {
                        tracing::warn!(
                            resources = resources.join(" "),
                            "another device plugin serves this node's NVIDIA cards: pools of kind whole and slice give none"
                        );
                    }
                }
            }
            Err(status) => {
                let code = format!("{:?}", status.code());
                metrics.pod_resources_errors.with_label_values(&[code.as_str()]).inc();
                tracing::debug!(%status, "PodResources");
            }
        }
    }
}

/// The names of the resources of all device plugins. Those that are held are asked for, too: a plugin that is away has no
/// healthy device.
async fn ask(client: &mut PodResourcesListerClient<Channel>) -> Result<Vec<String>, Status> {
    let there = client.get_allocatable_resources(AllocatableResourcesRequest {}).await?.into_inner().devices;
    let held = client.list(ListPodResourcesRequest {}).await?.into_inner().pod_resources;
    let held = held.into_iter().flat_map(|pod| pod.containers).flat_map(|container| container.devices);
    let names = there.into_iter().chain(held).map(|ContainerDevices { resource_name, .. }| resource_name);
    // One entry a device.
    let names: BTreeSet<String> = names.collect();
    Ok(names.into_iter().collect())
}

/// Whether a resource is NVIDIA's cards, or parts of them, that somebody else serves.
fn is_card(resource: &str) -> bool {
    if resource.starts_with(RESOURCE_PREFIX) {
        return false;
    }
    let nvidia = resource.strip_prefix("nvidia.com/");
    nvidia.is_some_and(|name| !NETWORK.iter().any(|word| name.to_ascii_lowercase().contains(word)))
        || OTHERS.iter().any(|prefix| resource.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn resources(foreign: &Foreign) -> Vec<String> {
        foreign.resources().into_iter().collect()
    }

    #[test]
    fn cards_of_others_are_known_by_their_resources() {
        for name in [
            "nvidia.com/gpu",
            "nvidia.com/gpu.shared",
            "nvidia.com/mig-1g.5gb",
            "nvidia.com/gpumem",
            "nvidia.com/GA102GL_A40",
            "volcano.sh/vgpu-number",
            "volcano.sh/gpu-memory",
            "tencent.com/vcuda-core",
            "aliyun.com/gpu-mem",
            "elasticgpu.io/gpu-memory",
            "k8s.amazonaws.com/vgpu",
        ] {
            assert!(is_card(name), "{name}");
        }
        for name in [
            "firstlight.dev/gpu",
            "firstlight.dev/prober",
            "amd.com/gpu",
            "gpu.intel.com/i915",
            "nvidia.com/hostdev",
            "nvidia.com/rdma_shared_device_a",
            "nvidia.com/mlnxnics",
            "cpu",
        ] {
            assert!(!is_card(name), "{name}");
        }
    }

    #[test]
    fn what_was_seen_stands_for_a_minute_after_it_was_seen_last() {
        let (foreign, start) = (Foreign::default(), Instant::now());
        let after = |seconds| start + Duration::from_secs(seconds);
        assert!(!foreign.hear(["firstlight.dev/gpu"], start), "our own are no news");
        assert!(foreign.hear(["firstlight.dev/gpu", "nvidia.com/gpu"], after(5)));
        assert!(!foreign.hear(["nvidia.com/gpu"], after(10)), "known");
        assert!(!foreign.hear([], after(60)), "its plugin is being restarted");
        assert_eq!(resources(&foreign), ["nvidia.com/gpu"]);
        assert!(foreign.hear([], after(71)));
        assert!(resources(&foreign).is_empty());
        assert!(!foreign.hear([], after(76)));
    }

    #[test]
    fn a_resource_that_the_operator_excepts_does_not_count() {
        let foreign = Foreign::new(["nvidia.com/cable".to_owned()]);
        assert!(!foreign.hear(["nvidia.com/cable"], Instant::now()));
        assert!(foreign.hear(["nvidia.com/cable", "nvidia.com/gpu"], Instant::now()));
        assert_eq!(resources(&foreign), ["nvidia.com/gpu"]);
    }
}
