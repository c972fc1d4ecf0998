//! Asks the kubelet which container holds which device, and acts on the answer: owners are kept, grants of pods
//! that are gone are removed, builds that no grant names are removed.

use crate::api::v1::ListPodResourcesRequest;
use crate::api::v1::ListPodResourcesResponse;
use crate::api::v1::pod_resources_lister_client::PodResourcesListerClient;
use crate::book::identity::Holding;
use crate::book::{Book, Id};
use crate::clock;
use crate::grants::Store;
use crate::metrics::Metrics;
use crate::node_files;
use firstlight_contract::names::{PROBER, RESOURCE_PREFIX};
use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;
use tokio::time::sleep;
use tonic::transport::{Channel, Endpoint};

/// After an Allocate the kubelet lists the new owner soon, not at once.
const AFTER_ALLOCATE: [Duration; 3] =
    [Duration::from_millis(50), Duration::from_millis(200), Duration::from_secs(1)];
/// The net: how often grants without owner, or of absent pods, are looked at. The kubelet serves 100 calls a
/// second, at most 10 at once, for everybody on the node.
const NET: Duration = Duration::from_secs(5);
/// How often the disk is compared with what is known, and the present build is marked as in use.
pub const DISK: Duration = Duration::from_secs(30);
/// Changes of pods within this time are looked at together.
const BURST: Duration = Duration::from_millis(50);
/// An answer has one entry a device; a full node stays far below.
const LARGEST_ANSWER: usize = 16 << 20;

/// The task that asks.
#[derive(Debug)]
pub struct Lister {
    book: Arc<Book>,
    store: Arc<Store>,
    metrics: Arc<Metrics>,
    client: PodResourcesListerClient<Channel>,
    state_dir: PathBuf,
    build: String,
    pools: Vec<String>,
    allocated: BTreeMap<String, usize>,
}

/// Where the kubelet is asked, and what is kept tidy.
#[derive(Debug)]
pub struct Places {
    /// The PodResources directory.
    pub pod_resources_dir: PathBuf,
    /// The state directory.
    pub state_dir: PathBuf,
    /// The present build.
    pub build: String,
}

impl Lister {
    /// Asks nothing yet.
    pub fn new(
        book: Arc<Book>,
        store: Arc<Store>,
        metrics: Arc<Metrics>,
        places: Places,
        pools: Vec<String>,
    ) -> anyhow::Result<Self> {
        let client = client(&places.pod_resources_dir)?;
        let Places { state_dir, build, .. } = places;
        Ok(Self { book, store, metrics, client, state_dir, build, pools, allocated: BTreeMap::new() })
    }

    /// Runs until the process ends.
    pub async fn run(mut self) {
        let mut net = tokio::time::interval(NET);
        let mut disk = tokio::time::interval(DISK);
        net.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                () = self.book.allocated.notified() => {
                    for delay in AFTER_ALLOCATE {
                        sleep(delay).await;
                        self.look().await;
                        if !self.book.has_strangers() {
                            break;
                        }
                    }
                }
                () = self.book.pods.notified() => {
                    // Pods change in bursts. A UID may have come; a pod may have gone, but that takes a fresh list.
                    sleep(BURST).await;
                    if self.book.has_strangers() {
                        self.keep(&[]);
                    }
                }
                _ = disk.tick() => self.compare_with_disk(),
                _ = net.tick() => {
                    if self.book.has_strangers() || self.book.has_leavers() {
                        self.look().await;
                    }
                }
            }
            self.count();
        }
    }

    /// During an upgrade two instances share the disk: what the other one made or removed is ours to know.
    fn compare_with_disk(&self) {
        node_files::touch(&self.state_dir.join(&self.build));
        self.tidy_builds();
        let Ok(on_disk) = self.store.ids() else { return };
        let known: BTreeSet<Id> = self.book.lock().grants.keys().cloned().collect();
        for id in known.difference(&on_disk) {
            self.book.remove(id);
        }
        let new =
            on_disk.difference(&known).filter_map(|id| self.store.load_one(id).ok()).collect::<Vec<_>>();
        if !new.is_empty() {
            self.book.load(new);
        }
    }

    async fn look(&mut self) {
        match self.client.list(ListPodResourcesRequest {}).await {
            Ok(answer) => {
                let holdings = holdings(answer.into_inner());
                self.allocated.clear();
                for holding in &holdings {
                    *self.allocated.entry(holding.resource.clone()).or_default() += holding.ids.len();
                }
                self.keep(&holdings);
                self.collect(&holdings);
            }
            Err(status) => {
                let code = format!("{:?}", status.code());
                self.metrics.pod_resources_errors.with_label_values(&[code.as_str()]).inc();
                tracing::debug!(%status, "PodResources");
            }
        }
    }

    fn keep(&self, holdings: &[Holding]) {
        for (id, owner) in self.book.identify(holdings) {
            if let Err(error) = self.store.keep_owner(&id, &owner) {
                tracing::warn!(
                    grant = &*id,
                    error = format!("{error:#}"),
                    "an owner is known in memory only"
                );
            }
        }
    }

    fn collect(&self, holdings: &[Holding]) {
        let gone = self.book.gone(holdings, clock::now_ns());
        for id in &gone {
            match self.store.remove(id) {
                Ok(()) => tracing::info!(grant = &**id, "a grant went with its pod"),
                Err(error) => tracing::warn!(grant = &**id, %error, "a grant could not be removed"),
            }
            self.book.remove(id);
        }
    }

    fn tidy_builds(&self) {
        match node_files::collect(&self.state_dir, &self.build, &self.book.builds()) {
            Ok(removed) if removed.is_empty() => {}
            Ok(removed) => tracing::info!(?removed, "builds that no grant names"),
            Err(error) => tracing::warn!(%error, "old builds could not be removed"),
        }
    }

    fn count(&self) {
        let (owned, all) = {
            let inner = self.book.lock();
            (inner.grants.values().filter(|entry| entry.held.owner.is_some()).count(), inner.grants.len())
        };
        self.metrics.grants.with_label_values(&["owned"]).set(number(owned));
        self.metrics.grants.with_label_values(&["unknown"]).set(number(all - owned));
        for pool in &self.pools {
            let allocated = self.allocated.get(&format!("{RESOURCE_PREFIX}{pool}")).copied().unwrap_or(0);
            self.metrics.devices.with_label_values(&[pool.as_str(), "allocated"]).set(number(allocated));
        }
    }
}

/// Connects at the first call, and again whenever the kubelet makes its socket anew.
pub fn client(pod_resources_dir: &Path) -> anyhow::Result<PodResourcesListerClient<Channel>> {
    let socket = pod_resources_dir.join(crate::api::KUBELET_SOCKET);
    let channel = Endpoint::try_from(format!("unix://{}", socket.display()))?
        .timeout(Duration::from_secs(5))
        .connect_lazy();
    Ok(PodResourcesListerClient::new(channel).max_decoding_message_size(LARGEST_ANSWER))
}

/// A count as a metric's value.
#[expect(clippy::cast_precision_loss, reason = "Prometheus values are doubles")]
pub fn number(count: usize) -> f64 {
    count as f64
}

/// Our resources in the kubelet's answer. It has one entry for each device id: they are grouped.
pub fn holdings(answer: ListPodResourcesResponse) -> Vec<Holding> {
    let mut found = Vec::new();
    for pod in answer.pod_resources {
        for container in pod.containers {
            let mut by_resource: BTreeMap<String, Vec<String>> = BTreeMap::new();
            for device in container.devices {
                // Our own prober's has no grant.
                let ours = device.resource_name.strip_prefix(RESOURCE_PREFIX);
                if ours.is_some_and(|pool| pool != PROBER) {
                    by_resource.entry(device.resource_name).or_default().extend(device.device_ids);
                }
            }
            for (resource, mut ids) in by_resource {
                ids.sort();
                ids.dedup();
                found.push(Holding {
                    namespace: pod.namespace.clone(),
                    pod: pod.name.clone(),
                    container: container.name.clone(),
                    resource,
                    ids,
                });
            }
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::api::v1::{ContainerDevices, ContainerResources, PodResources};

    #[test]
    fn ids_that_the_kubelet_lists_one_by_one_are_one_holding() {
        let device = |resource: &str, id: &str| ContainerDevices {
            resource_name: resource.to_owned(),
            device_ids: vec![id.to_owned()],
        };
        let answer = ListPodResourcesResponse {
            pod_resources: vec![PodResources {
                name: "p".to_owned(),
                namespace: "ns".to_owned(),
                containers: vec![ContainerResources {
                    name: "c".to_owned(),
                    devices: vec![
                        device("firstlight.dev/a", "1"),
                        device("nvidia.com/gpu", "9"),
                        device("firstlight.dev/prober", "prober"),
                        device("firstlight.dev/a", "2"),
                    ],
                }],
            }],
        };
        let found = holdings(answer);
        assert_eq!(found.len(), 1);
        assert_eq!(found[0].ids, ["1", "2"]);
    }
}
