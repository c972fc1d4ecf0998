//! What an Allocate answers: a pure plan. Data in, grant and response out; it never sees the pod, because the
//! kubelet does not say for which one it asks.
//!
//! ```text
//! ids ──► grant(): what the container is given ──► (written to disk) ──► response(): what is mounted
//! ```
//!
//! Each library is mounted over an empty placeholder in a read-only directory mount (a *frame*): containerd
//! makes a directory of a missing source, and a directory cannot be mounted over the placeholder, so that the
//! container waits and says so, instead of starting without the library.

use crate::api::v1beta1::{CdiDevice, ContainerAllocateResponse, DeviceSpec, Mount};
use crate::inventory::{DeviceNode, Driver, DriverSet, Health, PoolDevice, Snapshot, Unit};
use crate::node_files::{Layout, frame};
use firstlight_contract::grant::{Device, Grant};
use firstlight_contract::names::env::NVIDIA_VISIBLE_DEVICES;
use firstlight_contract::paths::{container, library, node};
use firstlight_contract::pools::{CudartMajor, Pool, mps};
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// What is wrong with a request. The only errors that an Allocate answers: any error makes the pod Failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RequestError {
    /// The kubelet asks for no device.
    #[error("the request names no device")]
    Empty,
    /// The kubelet asks for a device that the pool does not have.
    #[error("pool {pool} has no device {id:?}")]
    UnknownDevice {
        /// The pool.
        pool: String,
        /// The id.
        id: String,
    },
}

/// What became of the grant on disk.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum GrantOnDisk {
    /// Grant and record file are there, in this folder (a path on the node); where the grant has a ledger, that, too.
    Complete(PathBuf),
    /// The grant is there, and where it has one its ledger, and says that nothing is recorded.
    WithoutRecords(PathBuf),
    /// There is none: the reason.
    Missing(String),
}

/// The grant for these device ids.
pub fn grant(
    pool: &Pool,
    snapshot: &Snapshot,
    ids: &[String],
    grant_id: String,
) -> Result<Grant, RequestError> {
    if ids.is_empty() {
        return Err(RequestError::Empty);
    }
    if let Some(id) = ids.iter().find(|id| snapshot.device_of(id).is_none()) {
        return Err(RequestError::UnknownDevice { pool: pool.name.clone(), id: id.clone() });
    }
    let parts = parts(snapshot, ids);
    let devices = parts.iter().filter_map(|(ordinal, units)| {
        let device = snapshot.devices.get(*ordinal)?;
        let share = |bytes: u64| bytes / (device.units.len() as u64).max(1) * units.len() as u64;
        let whole = device.granted.as_ref()?;
        let (memory_bytes, quota_bytes) = (whole.memory_bytes.map(share), quota(units));
        Some(Device { memory_bytes, quota_bytes, ..whole.clone() })
    });
    let (driver, nvml) = match &snapshot.driver {
        Driver::Simulator | Driver::Direct(_) => (Some(container::DRIVER), Some(container::DRIVER_NVML)),
        Driver::Directory { nvml, .. } => (Some(container::DRIVER), nvml.then_some(container::DRIVER_NVML)),
        // Where somebody else puts it, the shim finds it.
        Driver::Cdi(_) | Driver::Runtime | Driver::Foreign => (None, None),
    };
    Ok(Grant {
        id: grant_id,
        pool: pool.name.clone(),
        kind: pool.kind(),
        driver: driver.map(str::to_owned),
        nvml: nvml.map(str::to_owned),
        records: Some(container::RECORDS.to_owned()),
        ledger: has_quota(&parts).then(|| container::LEDGER.to_owned()),
        quota_bytes: None,
        devices: devices.collect(),
    })
}

/// The units of a request by device. Those of one device are one device in the container, with the sum of their memory.
fn parts<'a>(snapshot: &'a Snapshot, ids: &[String]) -> BTreeMap<usize, Vec<&'a Unit>> {
    let mut parts: BTreeMap<usize, Vec<&Unit>> = BTreeMap::new();
    for id in ids {
        let Some((ordinal, device)) = snapshot.device_of(id) else { continue };
        parts.entry(ordinal).or_default().extend(device.units.iter().filter(|unit| unit.id == *id));
    }
    parts
}

/// The quota of these units together; one without a quota is none for all.
fn quota(units: &[&Unit]) -> Option<u64> {
    units.iter().try_fold(0, |quota: u64, unit| Some(quota.saturating_add(unit.quota_bytes?)))
}

/// Whether the memory of any device is counted, so that there is a ledger.
fn has_quota(parts: &BTreeMap<usize, Vec<&Unit>>) -> bool {
    parts.values().any(|units| quota(units).is_some())
}

/// The response to an Allocate. No environment of ours: whatever is there belongs to the pod, the webhook or
/// the image, and keys in two places reach the process in an order that differs between runtimes. Only NVIDIA's
/// container runtime is asked for cards in no other way.
pub fn response(
    pool: &Pool,
    snapshot: &Snapshot,
    ids: &[String],
    layout: &Layout,
    grant: &GrantOnDisk,
) -> ContainerAllocateResponse {
    // Simulator and drivers of the node are found through the grant only, and quotas are enforced by it: without a
    // grant such a container would run on the CPU, or without its limit. It waits instead.
    if let (GrantOnDisk::Missing(reason), false) = (grant, matches!(snapshot.driver, Driver::Foreign)) {
        return waiting("grant-not-written", reason);
    }
    let given = match Given::new(snapshot, ids) {
        Ok(given) => given,
        Err(reason) => return waiting("device-not-usable", &reason),
    };
    let mut mounts = Mounts::default();
    mounts.frame(layout, frame::LIB, container::SHIM_DIR);
    mounts.file(layout.host("shim").join(library::CUDA), container::SHIM);
    mounts.file(layout.host("shim").join(library::NVML), container::SHIM_NVML);
    match &snapshot.driver {
        Driver::Simulator => {
            mounts.frame(layout, frame::DRIVER, container::DRIVER_DIR);
            mounts.file(layout.host("simulator").join(library::CUDA), container::DRIVER);
            mounts.file(layout.host("simulator").join(library::NVML), container::DRIVER_NVML);
        }
        Driver::Directory { path, .. } => mounts.file(path, container::DRIVER_DIR),
        Driver::Direct(_) | Driver::Cdi(_) | Driver::Runtime | Driver::Foreign => {}
    }
    if let Some(set) = given.set {
        mounts.frame(layout, frame::DRIVER, container::DRIVER_DIR);
        for library in &set.main {
            mounts.file(&library.host, &format!("{}/{}", container::DRIVER_DIR, library.soname));
        }
    }
    mounts.file(layout.host("bin"), container::BIN_DIR);
    if let Some(folder) = pool.mps().map(Path::new) {
        // Where CUDA looks for the daemon without being told by the environment.
        mounts.push(&folder.join(mps::PIPE), container::MPS_PIPE, false);
        mounts.push(&folder.join(mps::SHM), container::SHM, false);
    }
    mounts.run(layout, grant, has_quota(&parts(snapshot, ids)));
    // Nobody else brings a driver: the names under which clients open one by path lead to the shim, too, by
    // the same inode, so that the loader takes it for the object that is already there. Beside another
    // vendor's plugin, CDI and NVIDIA's runtime never: these mount there, and a file below somebody's read-only
    // mount stops the container.
    if snapshot.driver.is_ours() {
        for directory in [container::NVIDIA_LIB_DIR, container::MULTIARCH_LIB_DIR] {
            for name in [library::CUDA, library::CUDA_UNVERSIONED] {
                mounts.file(layout.host("shim").join(library::CUDA), &format!("{directory}/{name}"));
            }
            mounts.file(layout.host("shim").join(library::NVML), &format!("{directory}/{}", library::NVML));
        }
        // What the driver opens itself it opens by bare name: where the loader looks, not beside the driver.
        for library in given.set.iter().flat_map(|set| &set.helpers) {
            for directory in [container::NVIDIA_LIB_DIR, container::MULTIARCH_LIB_DIR] {
                mounts.file(&library.host, &format!("{directory}/{}", library.soname));
            }
        }
        for version in &pool.cudart {
            mounts.cudart(layout, *version);
        }
    }
    ContainerAllocateResponse {
        mounts: mounts.0,
        devices: given.devices,
        cdi_devices: given.cdi,
        envs: given.visible.map(|visible| (NVIDIA_VISIBLE_DEVICES.to_owned(), visible)).into_iter().collect(),
        ..ContainerAllocateResponse::default()
    }
}

/// What a container of a pool of real cards is given, beside what all are.
#[derive(Default)]
struct Given<'a> {
    /// Libraries that we mount.
    set: Option<&'a DriverSet>,
    /// Device nodes that the kubelet makes.
    devices: Vec<DeviceSpec>,
    /// Names that the container runtime resolves.
    cdi: Vec<CdiDevice>,
    /// UUIDs for NVIDIA's container runtime.
    visible: Option<String>,
}

impl<'a> Given<'a> {
    /// The error is why a card cannot be used any more: it was healthy when the kubelet chose it.
    fn new(snapshot: &'a Snapshot, ids: &[String]) -> Result<Self, String> {
        if snapshot.driver.way().is_none() {
            return Ok(Self::default());
        }
        // Each card once, however many of its parts or replicas there are.
        let cards: BTreeMap<usize, &PoolDevice> =
            ids.iter().filter_map(|id| snapshot.device_of(id)).collect();
        for device in cards.values() {
            if let Health::Unhealthy(fault) = &device.health {
                return Err(fault.sentence.clone());
            }
        }
        let mut given = Self::default();
        match &snapshot.driver {
            Driver::Direct(direct) => {
                let set = direct.set.as_ref().ok_or("the driver's libraries are not in order")?;
                if let Some(bare) = cards.values().find(|device| device.nodes.is_empty()) {
                    return Err(format!("{} has no device node", bare.name));
                }
                // Two instances of a card have its node in common.
                let mut nodes: Vec<&DeviceNode> = Vec::new();
                for node in cards.values().flat_map(|device| &device.nodes).chain(&direct.control) {
                    if !nodes.contains(&node) {
                        nodes.push(node);
                    }
                }
                let device = |node: &DeviceNode| DeviceSpec {
                    container_path: node.container.clone(),
                    host_path: node.host.to_string_lossy().into_owned(),
                    permissions: "rw".to_owned(),
                };
                given.set = Some(set);
                given.devices = nodes.into_iter().map(device).collect();
            }
            Driver::Cdi(names) => {
                let name = |device: &&PoolDevice| {
                    let name = names.get(&device.name);
                    let name = name.ok_or_else(|| format!("{} has no CDI name any more", device.name))?;
                    Ok::<_, String>(CdiDevice { name: name.clone() })
                };
                given.cdi = cards.values().map(name).collect::<Result<_, _>>()?;
            }
            Driver::Runtime => {
                let names: Vec<&str> = cards.values().map(|device| device.name.as_str()).collect();
                given.visible = Some(names.join(","));
            }
            Driver::Simulator | Driver::Directory { .. } | Driver::Foreign => {}
        }
        Ok(given)
    }
}

/// A response with a device that does not exist: the container waits, and its Event shows the path. An error
/// would make the pod Failed, and its ReplicaSet make the next one at once, without end.
pub(crate) fn waiting(what: &str, reason: &str) -> ContainerAllocateResponse {
    let words: String = reason
        .chars()
        .map(|letter| if letter.is_ascii_alphanumeric() || letter == '.' { letter } else { '-' })
        .take(120)
        .collect();
    let path = format!("/dev/firstlight-{what}-cure-and-delete-this-pod/{words}");
    ContainerAllocateResponse {
        devices: vec![DeviceSpec {
            container_path: path.clone(),
            host_path: path,
            permissions: "r".to_owned(),
        }],
        ..ContainerAllocateResponse::default()
    }
}

#[derive(Default)]
struct Mounts(Vec<Mount>);

impl Mounts {
    fn push(&mut self, host: &Path, container: &str, read_only: bool) {
        self.0.push(Mount {
            container_path: container.to_owned(),
            host_path: host.to_string_lossy().into_owned(),
            read_only,
        });
    }

    fn file(&mut self, host: impl AsRef<Path>, container: &str) {
        self.push(host.as_ref(), container, true);
    }

    fn frame(&mut self, layout: &Layout, frame: &str, container: &str) {
        self.file(layout.host("frames").join(frame), container);
    }

    fn run(&mut self, layout: &Layout, grant: &GrantOnDisk, ledger: bool) {
        let (folder, records) = match grant {
            GrantOnDisk::Complete(folder) => (folder, true),
            GrantOnDisk::WithoutRecords(folder) => (folder, false),
            GrantOnDisk::Missing(_) => return,
        };
        let parent = |path: &str| path.rsplit_once('/').map_or("/", |(parent, _)| parent).to_owned();
        self.frame(layout, frame::RUN, &parent(container::GRANT));
        self.file(folder.join(node::GRANT_FILE), container::GRANT);
        if records {
            self.push(&folder.join(node::RECORDS_FILE), container::RECORDS, false);
        }
        if ledger {
            self.push(&folder.join(node::LEDGER_FILE), container::LEDGER, false);
        }
    }

    fn cudart(&mut self, layout: &Layout, version: CudartMajor) {
        let library = layout.host("cudart").join(version.soname());
        // The frame makes a missing library loud; clients find it beside the driver.
        let framed = format!("{}/{}", container::CUDART_DIR, frame::cudart(version));
        self.frame(layout, frame::cudart(version), &framed);
        self.file(&library, &format!("{framed}/{}", version.soname()));
        self.file(&library, &format!("{}/{}", container::NVIDIA_LIB_DIR, version.soname()));
    }
}

#[cfg(test)]
mod tests;
