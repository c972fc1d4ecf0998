//! One pool as the kubelet sees it: the device plugin service. It answers from cached state; nothing here
//! waits for anything but the disk.

use crate::api::v1beta1::device_plugin_server::DevicePlugin;
use crate::api::v1beta1::{
    AllocateRequest, AllocateResponse, ContainerAllocateResponse, ContainerPreferredAllocationResponse,
    Device, DevicePluginOptions, Empty, ListAndWatchResponse, NumaNode, PreStartContainerRequest,
    PreStartContainerResponse, PreferredAllocationRequest, PreferredAllocationResponse, TopologyInfo,
};
use crate::api::{HEALTHY, UNHEALTHY};
use crate::book::Book;
use crate::clock;
use crate::grants::{Allocation, Store};
use crate::ids;
use crate::inventory::Snapshot;
use crate::metrics::Metrics;
use crate::node_files::Layout;
use crate::plan::{self, GrantOnDisk, RequestError};
use crate::preference::{Policy, preferred};
use firstlight_contract::pools::Pool;
use futures::stream::{self, BoxStream};
use std::sync::Arc;
use std::time::Instant;
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

/// What is served to the kubelet under the name of one resource.
pub trait Served: Clone + std::fmt::Debug + Send + Sync + 'static {
    /// The part of the resource's name after the slash.
    fn name(&self) -> &str;
    /// The extended resource.
    fn resource(&self) -> String;
    /// The devices now.
    fn snapshot(&self) -> &watch::Receiver<Arc<Snapshot>>;
    /// The process's metrics.
    fn metrics(&self) -> &Metrics;
    /// Which units it would rather give.
    fn policy(&self) -> Policy;
    /// What one container is given.
    fn allocate(&self, ids: Vec<String>) -> Result<ContainerAllocateResponse, RequestError>;
}

/// Everything that answers for a pool.
#[derive(Clone, Debug)]
pub struct PoolState {
    /// The configuration.
    pub pool: Arc<Pool>,
    /// Where the build's files lie.
    pub layout: Arc<Layout>,
    /// The devices now.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// Grants on the disk.
    pub store: Arc<Store>,
    /// Grants in memory.
    pub book: Arc<Book>,
    /// The process's metrics.
    pub metrics: Arc<Metrics>,
}

impl Served for PoolState {
    fn name(&self) -> &str {
        &self.pool.name
    }

    fn resource(&self) -> String {
        self.pool.resource()
    }

    fn snapshot(&self) -> &watch::Receiver<Arc<Snapshot>> {
        &self.snapshot
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn policy(&self) -> Policy {
        Policy::of(&self.pool)
    }

    /// Plan, grant on disk, response.
    fn allocate(&self, mut ids: Vec<String>) -> Result<ContainerAllocateResponse, RequestError> {
        let snapshot = Arc::clone(&self.snapshot.borrow());
        ids.sort();
        ids.dedup();
        let grant_id = ids::random();
        let known = grant_id.as_ref().ok().cloned().unwrap_or_default();
        let grant = plan::grant(&self.pool, &snapshot, &ids, known)?;
        let allocation = Allocation {
            resource: self.pool.resource(),
            ids: ids.clone().into(),
            build: self.layout.build_id().to_owned(),
            created_ns: clock::now_ns(),
            grant: Box::default(),
        };
        let on_disk = match grant_id {
            Ok(_) => self.store.create(&grant, &allocation),
            Err(error) => GrantOnDisk::Missing(error.to_string()),
        };
        match &on_disk {
            GrantOnDisk::Complete(_) => self.book.add(grant, allocation, true),
            GrantOnDisk::WithoutRecords(_) => {
                tracing::warn!(
                    pool = self.pool.name,
                    "a container goes on without records: its file could not be made"
                );
                self.book.add(grant, allocation, false);
            }
            GrantOnDisk::Missing(reason) => {
                tracing::error!(pool = self.pool.name, reason, "a grant could not be written");
            }
        }
        Ok(plan::response(&self.pool, &snapshot, &ids, &self.layout, &on_disk))
    }
}

/// The service behind one socket.
#[derive(Clone, Debug)]
pub struct Service<S> {
    state: S,
    /// Ends the streams: a server that shuts down does not.
    end: CancellationToken,
    /// How many streams are open.
    streams: watch::Sender<usize>,
}

impl<S: Served> Service<S> {
    /// `end` ends open streams; `streams` counts them.
    pub fn new(state: S, end: CancellationToken, streams: watch::Sender<usize>) -> Self {
        Self { state, end, streams }
    }
}

/// The list that the kubelet is sent.
pub fn list(snapshot: &Snapshot) -> ListAndWatchResponse {
    let devices = snapshot.devices.iter().flat_map(|device| {
        let health = if device.health.is_healthy() { HEALTHY } else { UNHEALTHY };
        device.units.iter().map(move |unit| Device {
            id: unit.id.clone(),
            health: health.to_owned(),
            topology: device.numa.map(|id| TopologyInfo { nodes: vec![NumaNode { id }] }),
        })
    });
    ListAndWatchResponse { devices: devices.collect() }
}

/// Counts a stream for as long as it lives, however it ends.
struct Open(watch::Sender<usize>);

impl Open {
    fn new(streams: &watch::Sender<usize>) -> Self {
        streams.send_modify(|count| *count += 1);
        Self(streams.clone())
    }
}

impl Drop for Open {
    fn drop(&mut self) {
        self.0.send_modify(|count| *count = count.saturating_sub(1));
    }
}

#[tonic::async_trait]
impl<S: Served> DevicePlugin for Service<S> {
    async fn get_device_plugin_options(
        &self,
        _: Request<Empty>,
    ) -> Result<Response<DevicePluginOptions>, Status> {
        Ok(Response::new(options()))
    }

    type ListAndWatchStream = BoxStream<'static, Result<ListAndWatchResponse, Status>>;

    async fn list_and_watch(&self, _: Request<Empty>) -> Result<Response<Self::ListAndWatchStream>, Status> {
        let mut snapshots = self.state.snapshot().clone();
        snapshots.mark_changed();
        let state = (snapshots, self.end.clone(), Open::new(&self.streams));
        let messages = stream::unfold(state, |(mut snapshots, end, open)| async move {
            // Several changes in a row are one message: only the newest list counts.
            tokio::select! {
                biased;
                () = end.cancelled() => None,
                changed = snapshots.changed() => {
                    changed.ok()?;
                    let message = list(&snapshots.borrow_and_update());
                    Some((Ok(message), (snapshots, end, open)))
                }
            }
        });
        Ok(Response::new(Box::pin(messages)))
    }

    async fn get_preferred_allocation(
        &self,
        request: Request<PreferredAllocationRequest>,
    ) -> Result<Response<PreferredAllocationResponse>, Status> {
        let snapshot = Arc::clone(&self.state.snapshot().borrow());
        let policy = self.state.policy();
        let answer = |asked: &crate::api::v1beta1::ContainerPreferredAllocationRequest| {
            let size = usize::try_from(asked.allocation_size).unwrap_or(0);
            ContainerPreferredAllocationResponse {
                device_ids: preferred(
                    policy,
                    &snapshot,
                    &asked.available_device_ids,
                    &asked.must_include_device_ids,
                    size,
                ),
            }
        };
        let container_responses = request.get_ref().container_requests.iter().map(answer).collect();
        Ok(Response::new(PreferredAllocationResponse { container_responses }))
    }

    async fn allocate(
        &self,
        request: Request<AllocateRequest>,
    ) -> Result<Response<AllocateResponse>, Status> {
        let started = Instant::now();
        let responses: Result<Vec<_>, _> = request
            .into_inner()
            .container_requests
            .into_iter()
            .map(|container| self.state.allocate(container.device_ids))
            .collect();
        let code = if responses.is_ok() { "OK" } else { "InvalidArgument" };
        self.state
            .metrics()
            .allocate
            .with_label_values(&[self.state.name(), code])
            .observe(started.elapsed().as_secs_f64());
        match responses {
            Ok(container_responses) => Ok(Response::new(AllocateResponse { container_responses })),
            Err(error) => Err(Status::invalid_argument(error.to_string())),
        }
    }

    async fn pre_start_container(
        &self,
        _: Request<PreStartContainerRequest>,
    ) -> Result<Response<PreStartContainerResponse>, Status> {
        // Never asked for: the options say so.
        Ok(Response::new(PreStartContainerResponse {}))
    }
}

/// What the kubelet is told to ask of us.
pub fn options() -> DevicePluginOptions {
    DevicePluginOptions { pre_start_required: false, get_preferred_allocation_available: true }
}
