//! The resource `firstlight.dev/prober`: one unit, where there are cards. Whose container asks for it is given the
//! device nodes of all of them, so that the kubelet opens the device cgroup for it; NVML; and the C library that NVML
//! was made for, because our image has none.

use crate::api::v1beta1::{ContainerAllocateResponse, DeviceSpec, Mount};
use crate::inventory::nvidia::cards::Found;
use crate::inventory::nvidia::{driver, libc, mig};
use crate::inventory::{
    DeviceNode, Direct, Driver, DriverSet, Fault, Health, Links, NodeRoot, PoolDevice, Snapshot, Unit,
};
use crate::metrics::Metrics;
use crate::plan::{RequestError, waiting};
use crate::pool::Served;
use crate::preference::Policy;
use firstlight_contract::metrics::HealthReason;
use firstlight_contract::names::{PROBER, RESOURCE_PREFIX};
use firstlight_contract::paths::{container, library};
use std::fs;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::watch;

const CONTROL: &str = "nvidiactl";
/// The capability to see all MIG instances, in procfs.
const MONITOR: &str = "driver/nvidia/capabilities/mig/monitor";
/// Time between two looks.
const LOOK: Duration = Duration::from_secs(2);

/// The resource's name.
pub fn name() -> String {
    format!("{RESOURCE_PREFIX}{PROBER}")
}

/// What the prober needs of the node.
#[derive(Debug)]
pub struct Needs {
    root: NodeRoot,
}

impl Needs {
    /// Of this node.
    pub fn new(root: NodeRoot) -> Self {
        Self { root }
    }

    /// NVML, and what it stands on.
    fn libraries(&self, found: &Found) -> Result<DriverSet, Fault> {
        let version = found.module.as_deref().unwrap_or_default();
        let problem = |sentence| Fault::new(HealthReason::Driver, sentence);
        let set = driver::find(&self.root, version).map_err(problem)?;
        let helpers = libc::find(&self.root, &set).map_err(problem)?;
        let main = set.main.into_iter().filter(|part| part.soname == library::NVML).collect();
        Ok(DriverSet { version: set.version, main, helpers })
    }

    /// The device nodes that are there; NVML needs neither of those of unified memory. All cards': one that nobody has
    /// opened since the boot tells no minor, and the prober is who opens it.
    fn nodes(&self) -> Vec<DeviceNode> {
        let entries = fs::read_dir(self.root.seen(Path::new("/dev"))).into_iter().flatten().flatten();
        let names = entries.filter_map(|entry| entry.file_name().into_string().ok());
        let wanted = |name: &String| {
            let number = name.strip_prefix("nvidia").unwrap_or_default();
            name == CONTROL || (!number.is_empty() && number.bytes().all(|byte| byte.is_ascii_digit()))
        };
        let mut names: Vec<String> = names.filter(wanted).collect();
        names.sort();
        // Without it NVML shows no MIG instance to a container that has not all rights (NVIDIA, *MIG User Guide*, "Device
        // Nodes and Capabilities").
        let monitor = mig::minor(&self.root.procfs.join(MONITOR)).map(mig::node);
        let there = |node: &String| self.root.seen(Path::new(node)).symlink_metadata().is_ok();
        names.extend(monitor.filter(there).and_then(|node| Some(node.strip_prefix("/dev/")?.to_owned())));
        let node = |name: &String| {
            let container = format!("/dev/{name}");
            DeviceNode { host: self.root.host(Path::new(&container)), container }
        };
        names.iter().map(node).collect()
    }
}

impl Needs {
    /// What there is now, and a task that keeps it so. It is no device of a user's: what is wrong is in the log, not
    /// in metrics and Events.
    pub fn watch(self) -> (watch::Receiver<Arc<Snapshot>>, impl Future<Output = ()> + Send + 'static) {
        let (sender, receiver) = watch::channel(Arc::new(self.probe()));
        tell(&sender.borrow());
        let task = async move {
            loop {
                tokio::time::sleep(LOOK).await;
                let now = Arc::new(self.probe());
                sender.send_if_modified(|before| {
                    let changed = *before != now;
                    if changed {
                        tell(&now);
                        *before = now;
                    }
                    changed
                });
            }
        };
        (receiver, task)
    }

    fn probe(&self) -> Snapshot {
        let found = Found::read(&self.root);
        // Without a card there is nothing to ask, and nothing that a pod could wait for.
        if found.module.is_none() || (found.cards.is_empty() && found.nameless.is_empty()) {
            let driver = Driver::Direct(Direct { set: None, control: Vec::new() });
            return Snapshot { driver, devices: Vec::new(), remark: found.nothing() };
        }
        let (libraries, nodes) = (self.libraries(&found), self.nodes());
        let openable = nodes.iter().any(|node| node.container.ends_with(CONTROL));
        let fault = libraries.as_ref().err().cloned().or_else(|| {
            let sentence = format!(
                "/dev/{CONTROL} is missing; make it on the node (nvidia-modprobe -c=0), or start nvidia-persistenced there"
            );
            (!openable).then(|| Fault::new(HealthReason::DeviceNode, sentence))
        });
        let device = PoolDevice {
            name: PROBER.to_owned(),
            health: fault.map_or(Health::Healthy, Health::Unhealthy),
            numa: None,
            links: Links::default(),
            granted: None,
            nodes: Vec::new(),
            units: vec![Unit::whole(PROBER.to_owned())],
        };
        let driver = Driver::Direct(Direct { set: libraries.ok(), control: nodes });
        Snapshot { driver, devices: vec![device], remark: None }
    }
}

fn tell(snapshot: &Snapshot) {
    if let Some(reason) = snapshot.unusable() {
        tracing::info!(reason, "no prober can run here");
    } else {
        tracing::info!("a prober can run here");
    }
}

/// The resource as the kubelet sees it.
#[derive(Clone, Debug)]
pub struct Resource {
    /// What there is to give now.
    pub snapshot: watch::Receiver<Arc<Snapshot>>,
    /// The process's metrics.
    pub metrics: Arc<Metrics>,
}

impl Served for Resource {
    fn name(&self) -> &str {
        PROBER
    }

    fn resource(&self) -> String {
        name()
    }

    fn snapshot(&self) -> &watch::Receiver<Arc<Snapshot>> {
        &self.snapshot
    }

    fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    fn policy(&self) -> Policy {
        Policy::Spread
    }

    fn allocate(&self, ids: Vec<String>) -> Result<ContainerAllocateResponse, RequestError> {
        response(&self.snapshot.borrow(), &ids)
    }
}

/// The answer to an Allocate. Whatever is wrong by now makes the container wait: an error would make its pod Failed.
pub fn response(snapshot: &Snapshot, ids: &[String]) -> Result<ContainerAllocateResponse, RequestError> {
    if ids.is_empty() {
        return Err(RequestError::Empty);
    }
    let mut known = None;
    for id in ids {
        let device = snapshot.device_of(id).map(|(_, device)| device);
        known = Some(
            device.ok_or_else(|| RequestError::UnknownDevice { pool: PROBER.to_owned(), id: id.clone() })?,
        );
    }
    if let Some(Health::Unhealthy(fault)) = known.map(|device| &device.health) {
        return Ok(waiting("device-not-usable", &fault.sentence));
    }
    let Driver::Direct(Direct { set: Some(set), control }) = &snapshot.driver else {
        return Ok(waiting("device-not-usable", "the driver's libraries are not in order"));
    };
    let mount = |part: &driver::Library| Mount {
        container_path: format!("{}/{}", container::PROBER_DIR, part.soname),
        host_path: text(&part.host),
        read_only: true,
    };
    let node = |node: &DeviceNode| DeviceSpec {
        container_path: node.container.clone(),
        host_path: text(&node.host),
        permissions: "rw".to_owned(),
    };
    Ok(ContainerAllocateResponse {
        mounts: set.main.iter().chain(&set.helpers).map(mount).collect(),
        devices: control.iter().map(node).collect(),
        ..ContainerAllocateResponse::default()
    })
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::nvidia::fixture::{FakeNode, VERSION, place};

    const DEBIAN: &str = "usr/lib/x86_64-linux-gnu";

    fn node(cards: u32) -> FakeNode {
        let node = FakeNode::with_cards(cards);
        node.driver(DEBIAN, VERSION);
        for name in [library::LOADER, "libc.so.6", "libm.so.6"] {
            node.write(&format!("{DEBIAN}/{name}"), "elf");
        }
        node
    }

    fn probe(node: &FakeNode) -> Snapshot {
        Needs::new(node.root.clone()).probe()
    }

    fn asked(node: &FakeNode) -> ContainerAllocateResponse {
        response(&probe(node), &[PROBER.to_owned()]).unwrap()
    }

    #[test]
    fn the_prober_gets_the_nodes_of_all_cards_nvml_and_its_libc_but_no_shim_and_no_cuda() {
        let response = asked(&node(2));
        let devices: Vec<_> = response.devices.iter().map(|node| node.container_path.as_str()).collect();
        assert_eq!(devices, ["/dev/nvidia0", "/dev/nvidia1", "/dev/nvidiactl"]);
        let mounts: Vec<_> = response.mounts.iter().map(|mount| mount.container_path.as_str()).collect();
        let wanted = ["libnvidia-ml.so.1", "ld-linux-x86-64.so.2", "libc.so.6", "libm.so.6"];
        assert_eq!(mounts, wanted.map(|name| format!("/opt/firstlight/nvml/{name}")));
        assert!(response.mounts.iter().all(|mount| mount.read_only));
        assert!(response.envs.is_empty());
    }

    #[test]
    fn the_prober_may_see_mig_instances_where_the_driver_knows_any() {
        let node = node(1);
        node.write("proc/driver/nvidia/capabilities/mig/monitor/access", "DeviceFileMinor: 2\n");
        assert_eq!(asked(&node).devices.len(), 2, "its device node is not there");
        node.write("dev/nvidia-caps/nvidia-cap2", "");
        let response = asked(&node);
        let devices: Vec<_> = response.devices.iter().map(|node| node.container_path.as_str()).collect();
        assert_eq!(devices, ["/dev/nvidia0", "/dev/nvidiactl", "/dev/nvidia-caps/nvidia-cap2"]);
    }

    #[test]
    fn a_node_without_a_card_or_its_driver_offers_nothing() {
        let without_driver = node(1);
        without_driver.unload();
        for node in [FakeNode::empty(), without_driver] {
            let snapshot = probe(&node);
            assert!(snapshot.devices.is_empty() && snapshot.remark.is_some(), "{snapshot:?}");
        }
    }

    #[test]
    fn cards_that_nobody_has_opened_yet_are_opened_by_the_prober() {
        let node = node(1);
        node.information(&place(0), 0, "GPU-????????-????-????-????-????????????");
        assert_eq!(probe(&node).unusable(), None);
        assert_eq!(asked(&node).devices[0].container_path, "/dev/nvidia0");
    }

    #[test]
    fn what_is_missing_keeps_the_prober_waiting_with_the_reason() {
        let node = node(1);
        node.remove("dev/nvidiactl");
        let path = &asked(&node).devices[0].host_path;
        assert!(
            path.starts_with("/dev/firstlight-device-not-usable-") && path.contains("dev-nvidiactl"),
            "{path}"
        );
        assert!(probe(&node).unusable().unwrap().starts_with("/dev/nvidiactl is missing"));
    }

    #[test]
    fn another_id_is_the_only_error() {
        let snapshot = probe(&node(1));
        assert_eq!(response(&snapshot, &[]), Err(RequestError::Empty));
        let error = response(&snapshot, &["other".to_owned()]).unwrap_err();
        assert_eq!(error.to_string(), "pool prober has no device \"other\"");
    }
}
