//! A kubelet's device manager and PodResources server, in process, on unix sockets, with a kubelet's habits: at
//! its start it removes every socket, it dials back inside Register, it reads one list a stream.

use firstlight_plugin::api::KUBELET_SOCKET;
use firstlight_plugin::api::v1::pod_resources_lister_server::{PodResourcesLister, PodResourcesListerServer};
use firstlight_plugin::api::v1::{
    AllocatableResourcesRequest, AllocatableResourcesResponse, ContainerDevices, ContainerResources,
    ListPodResourcesRequest, ListPodResourcesResponse, PodResources,
};
use firstlight_plugin::api::v1beta1::device_plugin_client::DevicePluginClient;
use firstlight_plugin::api::v1beta1::registration_server::{Registration, RegistrationServer};
use firstlight_plugin::api::v1beta1::{
    AllocateRequest, AllocateResponse, ContainerAllocateRequest, Empty, RegisterRequest,
};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};
use tokio::net::UnixListener;
use tokio::task::JoinSet;
use tokio_stream::wrappers::UnixListenerStream;
use tonic::transport::{Channel, Endpoint, Server};
use tonic::{Request, Response, Status};

/// What the kubelet knows of one plugin.
#[derive(Debug)]
pub struct Plugin {
    pub endpoint: String,
    pub client: DevicePluginClient<Channel>,
    /// Every list that was sent: ids and health.
    pub lists: Vec<Vec<(String, String)>>,
    pub stream_open: bool,
}

#[derive(Debug, Default)]
pub struct State {
    dir: PathBuf,
    /// By resource.
    pub plugins: BTreeMap<String, Plugin>,
    /// All endpoints in the order of their registration.
    pub endpoints: Vec<String>,
    /// How many registrations are refused before one is taken.
    pub refuse: u32,
    /// What PodResources lists: namespace, pod, container, resource, id.
    pub held: Vec<[String; 5]>,
    /// Devices of other plugins that PodResources calls allocatable: resource, id.
    pub allocatable: Vec<[String; 2]>,
    pub lists_served: u32,
    streams: JoinSet<()>,
}

/// The kubelet.
#[derive(Debug)]
pub struct Kubelet {
    pub dir: PathBuf,
    pub pod_resources: PathBuf,
    pub state: Arc<Mutex<State>>,
    servers: JoinSet<()>,
}

struct Handler(Arc<Mutex<State>>);

impl Kubelet {
    pub fn new(root: &Path) -> Self {
        let (dir, pod_resources) = (root.join("device-plugins"), root.join("pod-resources"));
        std::fs::create_dir_all(&dir).unwrap();
        std::fs::create_dir_all(&pod_resources).unwrap();
        let state = State { dir: dir.clone(), ..State::default() };
        Self { dir, pod_resources, state: Arc::new(Mutex::new(state)), servers: JoinSet::new() }
    }

    /// Starts as the real one does: every socket goes first.
    pub fn start(&mut self) {
        for entry in std::fs::read_dir(&self.dir).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        let _ = std::fs::remove_file(self.pod_resources.join(KUBELET_SOCKET));
        let listener = UnixListener::bind(self.dir.join(KUBELET_SOCKET)).unwrap();
        let handler = RegistrationServer::new(Handler(Arc::clone(&self.state)));
        self.servers.spawn(async move {
            let incoming = UnixListenerStream::new(listener);
            Server::builder().add_service(handler).serve_with_incoming(incoming).await.unwrap();
        });
        let listener = UnixListener::bind(self.pod_resources.join(KUBELET_SOCKET)).unwrap();
        let handler = PodResourcesListerServer::new(Handler(Arc::clone(&self.state)));
        self.servers.spawn(async move {
            let incoming = UnixListenerStream::new(listener);
            Server::builder().add_service(handler).serve_with_incoming(incoming).await.unwrap();
        });
    }

    /// Dies: connections break, sockets stay where they are.
    pub async fn stop(&mut self) {
        self.servers.shutdown().await;
        let mut streams = {
            let mut state = self.state.lock().unwrap();
            state.plugins.clear();
            std::mem::take(&mut state.streams)
        };
        streams.shutdown().await;
    }

    /// Lets go of the streams, as 1.36 does when an older instance of a plugin ends.
    pub async fn drop_streams(&mut self) {
        let mut streams = std::mem::take(&mut self.state.lock().unwrap().streams);
        streams.shutdown().await;
    }

    pub fn endpoints(&self) -> Vec<String> {
        self.state.lock().unwrap().endpoints.clone()
    }

    pub fn refuse(&self, times: u32) {
        self.state.lock().unwrap().refuse = times;
    }

    /// The ids that a pod may be given now.
    pub fn healthy(&self, resource: &str) -> Vec<String> {
        let state = self.state.lock().unwrap();
        let last = state.plugins.get(resource).filter(|plugin| plugin.stream_open);
        let list = last.and_then(|plugin| plugin.lists.last()).cloned().unwrap_or_default();
        list.into_iter().filter(|(_, health)| health == "Healthy").map(|(id, _)| id).collect()
    }

    /// All lists that were ever sent for this resource since the last start.
    pub fn lists(&self, resource: &str) -> Vec<Vec<(String, String)>> {
        let state = self.state.lock().unwrap();
        state.plugins.get(resource).map(|plugin| plugin.lists.clone()).unwrap_or_default()
    }

    /// One container's Allocate.
    pub async fn allocate(&self, resource: &str, ids: &[&str]) -> Result<AllocateResponse, Status> {
        let mut client = self.state.lock().unwrap().plugins[resource].client.clone();
        let ids = ids.iter().map(|id| (*id).to_owned()).collect();
        let request =
            AllocateRequest { container_requests: vec![ContainerAllocateRequest { device_ids: ids }] };
        client.allocate(request).await.map(Response::into_inner)
    }

    /// PodResources lists this container from now on.
    pub fn hold(&self, namespace: &str, pod: &str, container: &str, resource: &str, ids: &[&str]) {
        for id in ids {
            let row = [namespace, pod, container, resource, id].map(str::to_owned);
            self.state.lock().unwrap().held.push(row);
        }
    }

    /// Another vendor's plugin has a device from now on.
    pub fn offer(&self, resource: &str, id: &str) {
        self.state.lock().unwrap().allocatable.push([resource.to_owned(), id.to_owned()]);
    }

    pub fn release(&self, pod: &str) {
        self.state.lock().unwrap().held.retain(|row| row[1] != pod);
    }
}

#[tonic::async_trait]
impl Registration for Handler {
    async fn register(&self, request: Request<RegisterRequest>) -> Result<Response<Empty>, Status> {
        let request = request.into_inner();
        let path = {
            let mut state = self.0.lock().unwrap();
            if state.refuse > 0 {
                state.refuse -= 1;
                return Err(Status::unknown("device plugin already connected"));
            }
            state.dir.join(&request.endpoint)
        };
        assert_eq!(request.version, "v1beta1");
        let channel = Endpoint::try_from(format!("unix://{}", path.display()))
            .unwrap()
            .connect()
            .await
            .map_err(|error| Status::unknown(format!("failed to dial device plugin: {error}")))?;
        let mut client = DevicePluginClient::new(channel);
        let mut messages = client.list_and_watch(Empty {}).await?.into_inner();
        let mut state = self.0.lock().unwrap();
        state.endpoints.push(request.endpoint.clone());
        let plugin =
            Plugin { endpoint: request.endpoint.clone(), client, lists: Vec::new(), stream_open: true };
        state.plugins.insert(request.resource_name.clone(), plugin);
        let shared = Arc::clone(&self.0);
        state.streams.spawn(async move {
            while let Ok(Some(message)) = messages.message().await {
                let list = message.devices.into_iter().map(|device| (device.id, device.health)).collect();
                if let Some(plugin) = shared.lock().unwrap().plugins.get_mut(&request.resource_name) {
                    plugin.lists.push(list);
                }
            }
            let mut state = shared.lock().unwrap();
            let plugin = state.plugins.get_mut(&request.resource_name);
            if let Some(plugin) = plugin.filter(|plugin| plugin.endpoint == request.endpoint) {
                plugin.stream_open = false;
            }
        });
        Ok(Response::new(Empty {}))
    }
}

#[tonic::async_trait]
impl PodResourcesLister for Handler {
    async fn get_allocatable_resources(
        &self,
        _: Request<AllocatableResourcesRequest>,
    ) -> Result<Response<AllocatableResourcesResponse>, Status> {
        let state = self.0.lock().unwrap();
        let own =
            state.plugins.iter().filter(|(_, plugin)| plugin.stream_open).flat_map(|(resource, plugin)| {
                let healthy =
                    plugin.lists.last().into_iter().flatten().filter(|(_, health)| health == "Healthy");
                healthy.map(|(id, _)| [resource.clone(), id.clone()])
            });
        let devices = own.chain(state.allocatable.iter().cloned());
        let devices =
            devices.map(|[resource_name, id]| ContainerDevices { resource_name, device_ids: vec![id] });
        Ok(Response::new(AllocatableResourcesResponse { devices: devices.collect() }))
    }

    async fn list(
        &self,
        _: Request<ListPodResourcesRequest>,
    ) -> Result<Response<ListPodResourcesResponse>, Status> {
        let mut state = self.0.lock().unwrap();
        state.lists_served += 1;
        let mut pods: BTreeMap<(&str, &str), BTreeMap<&str, Vec<ContainerDevices>>> = BTreeMap::new();
        for [namespace, pod, container, resource, id] in &state.held {
            let device = ContainerDevices { resource_name: resource.clone(), device_ids: vec![id.clone()] };
            pods.entry((namespace, pod)).or_default().entry(container).or_default().push(device);
        }
        let pod_resources = pods
            .into_iter()
            .map(|((namespace, name), containers)| PodResources {
                name: name.to_owned(),
                namespace: namespace.to_owned(),
                containers: containers
                    .into_iter()
                    .map(|(name, devices)| ContainerResources { name: name.to_owned(), devices })
                    .collect(),
            })
            .collect();
        Ok(Response::new(ListPodResourcesResponse { pod_resources }))
    }
}
