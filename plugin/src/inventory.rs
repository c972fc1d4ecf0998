//! What a pool consists of on this node. The trait is the seam to hardware: nothing behind it, and nothing in
//! front of it, assumes that a device is simulated.

mod custom;
pub mod nvidia;
mod observer;
mod simulated;

use crate::foreign::Foreign;
use crate::prober::knowledge::Knowledge;
use firstlight_contract::grant::Device;
use firstlight_contract::metrics::{DriverWay, HealthReason};
use firstlight_contract::pools::{Pool, PoolSpec};
use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;

pub use custom::Custom;
pub use nvidia::driver::DriverSet;
pub use nvidia::{NodeRoot, Nvidia};
pub use observer::Observer;
pub use simulated::Simulated;

/// Whether a device may be allocated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Health {
    /// It may.
    Healthy,
    /// It may not.
    Unhealthy(Fault),
}

/// Why a device may not be allocated.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// For machines.
    pub reason: HealthReason,
    /// For people: what was found, and what helps.
    pub sentence: String,
}

impl Fault {
    /// A fault.
    pub fn new(reason: HealthReason, sentence: impl Into<String>) -> Self {
        Self { reason, sentence: sentence.into() }
    }
}

impl Health {
    /// Whether the device may be allocated.
    pub fn is_healthy(&self) -> bool {
        *self == Self::Healthy
    }
}

/// One device of a pool; it can be allocated in parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PoolDevice {
    /// Name in metrics: the UUID where the device has one of ours.
    pub name: String,
    /// Whether it works. Applies to all its units.
    pub health: Health,
    /// NUMA node, where it has one.
    pub numa: Option<i64>,
    /// How it is linked with other devices.
    pub links: Links,
    /// What a grant says about a whole device; `None` where the driver is not ours and its devices are not
    /// known.
    pub granted: Option<Device>,
    /// Its device nodes, where it has some.
    pub nodes: Vec<DeviceNode>,
    /// The parts that the kubelet hands out.
    pub units: Vec<Unit>,
}

/// How a device is linked with others of the machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Links {
    /// The PCI port of the processor that it hangs from. Two devices at one port share a PCIe switch.
    pub port: Option<String>,
    /// How many NVLinks lead straight to each other device, by its name.
    pub nvlinks: BTreeMap<String, u32>,
}

/// What the kubelet hands out: a device, or a part of one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unit {
    /// Stable across restarts, at most 63 characters.
    pub id: String,
    /// How much of the device's memory may be used, where that is enforced.
    pub quota_bytes: Option<u64>,
}

impl Unit {
    /// One without a quota.
    pub fn whole(id: String) -> Self {
        Self { id, quota_bytes: None }
    }
}

/// A device node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeviceNode {
    /// As the kubelet is told it.
    pub host: PathBuf,
    /// As the container sees it.
    pub container: String,
}

/// A driver of the node's, of which we mount each library.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Direct {
    /// Its libraries; `None` where they are not in order, which the devices' health explains.
    pub set: Option<DriverSet>,
    /// Device nodes beside those of the cards.
    pub control: Vec<DeviceNode>,
}

/// The driver behind the shim.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Driver {
    /// The simulator that this build installs.
    Simulator,
    /// A directory on the node that holds `libcuda.so.1`.
    Directory {
        /// Absolute path on the node.
        path: PathBuf,
        /// Whether it holds `libnvidia-ml.so.1`, too.
        nvml: bool,
    },
    /// NVIDIA's own driver, from the node.
    Direct(Direct),
    /// NVIDIA's own driver, which the container runtime injects by these CDI names; by the name of the device.
    Cdi(BTreeMap<String, String>),
    /// NVIDIA's own driver, which NVIDIA's container runtime injects by the names of the devices.
    Runtime,
    /// Somebody else brings the driver into the container.
    Foreign,
}

impl Driver {
    /// How it gets into containers, in a word.
    pub fn mode(&self) -> &'static str {
        match self {
            Self::Simulator => "simulator",
            Self::Directory { .. } => "directory",
            Self::Direct(_) => DriverWay::Direct.as_str(),
            Self::Cdi(_) => DriverWay::Cdi.as_str(),
            Self::Runtime => DriverWay::Runtime.as_str(),
            Self::Foreign => "foreign",
        }
    }

    /// Whether its libraries are ours to mount, under every name by which clients find one.
    pub fn is_ours(&self) -> bool {
        matches!(self, Self::Simulator | Self::Directory { .. } | Self::Direct(_))
    }

    /// How NVIDIA's own driver gets into a container.
    pub fn way(&self) -> Option<DriverWay> {
        match self {
            Self::Direct(_) => Some(DriverWay::Direct),
            Self::Cdi(_) => Some(DriverWay::Cdi),
            Self::Runtime => Some(DriverWay::Runtime),
            Self::Simulator | Self::Directory { .. } | Self::Foreign => None,
        }
    }
}

/// A pool's devices at one moment.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Snapshot {
    /// The driver behind all of them.
    pub driver: Driver,
    /// The devices, in ordinal order.
    pub devices: Vec<PoolDevice>,
    /// Why there are none, or not all: a sentence.
    pub remark: Option<String>,
}

impl Snapshot {
    /// The device that a unit is part of, and its ordinal.
    pub fn device_of(&self, unit: &str) -> Option<(usize, &PoolDevice)> {
        self.devices.iter().enumerate().find(|(_, device)| device.units.iter().any(|known| known.id == unit))
    }

    /// Why no device of the pool can be allocated; `None` if one can.
    pub fn unusable(&self) -> Option<String> {
        if self.devices.iter().any(|device| device.health.is_healthy()) {
            return None;
        }
        let reason = self.devices.iter().find_map(|device| match &device.health {
            Health::Unhealthy(fault) => Some(fault.sentence.clone()),
            Health::Healthy => None,
        });
        let reason = reason.or_else(|| self.remark.clone());
        Some(reason.unwrap_or_else(|| "the pool has no devices".to_owned()))
    }
}

/// Finds the devices of a pool.
pub trait Inventory: Send + Sync + std::fmt::Debug {
    /// Looks at the devices now. Called every few seconds; must not take longer than some milliseconds.
    fn probe(&self) -> Snapshot;
}

/// The inventory of a pool among all that are configured.
pub fn of(
    pool: &Pool,
    all: &[Pool],
    node: &str,
    root: &NodeRoot,
    knowledge: &Arc<Knowledge>,
    foreign: &Arc<Foreign>,
) -> Box<dyn Inventory> {
    let cards = |cards| {
        Nvidia::new(pool, cards, all, root.clone(), Arc::clone(knowledge)).beside(Arc::clone(foreign))
    };
    match &pool.spec {
        PoolSpec::Simulated { devices, model, slices } => {
            Box::new(Simulated::new(node, &pool.name, *devices, model, *slices))
        }
        PoolSpec::Observer { seats } => Box::new(Observer::new(*seats)),
        PoolSpec::Custom { driver, devices } => Box::new(Custom::new(driver.into(), *devices)),
        PoolSpec::Whole { cards: which, .. } | PoolSpec::Slice { cards: which, .. } => Box::new(cards(which)),
    }
}
