//! GPUs that do not exist: always there, always healthy, the same on every start.

use super::{Driver, Health, Inventory, Links, PoolDevice, Snapshot, Unit};
use crate::ids;
use firstlight_contract::grant::Device;
use firstlight_contract::models;

/// A simulated pool's devices.
#[derive(Clone, Debug)]
pub struct Simulated {
    devices: Vec<PoolDevice>,
}

impl Simulated {
    /// `devices` devices of a model (by name; an unknown name is the default model), each in `slices` parts
    /// with an equal share of the memory, which is its quota, too: what a slice of a card does can be seen without one.
    /// A context costs nothing here, as it costs the simulator nothing.
    pub fn new(node: &str, pool: &str, devices: u32, model: &str, slices: u32) -> Self {
        let memory = models::by_name(model)
            .or_else(|| models::by_name(models::DEFAULT_MODEL))
            .map(|model| model.memory_bytes);
        // Each device is a card with its share of the memory, so that the simulator tells what the quota allows.
        let quota_bytes = memory.filter(|_| slices > 1).map(|memory| memory / u64::from(slices));
        let unit = |index, slice| Unit { id: format!("sim-{index}::{slice}"), quota_bytes };
        let device = |index| {
            let uuid = ids::uuid(node, pool, index);
            PoolDevice {
                name: uuid.clone(),
                health: Health::Healthy,
                numa: None,
                links: Links::default(),
                granted: Some(Device {
                    uuid,
                    pci: Some(ids::pci(node, pool, index)),
                    model: Some(model.to_owned()),
                    memory_bytes: memory,
                    quota_bytes: None,
                    ..Device::default()
                }),
                nodes: Vec::new(),
                units: (0..slices).map(|slice| unit(index, slice)).collect(),
            }
        };
        Self { devices: (0..devices).map(device).collect() }
    }
}

impl Inventory for Simulated {
    fn probe(&self) -> Snapshot {
        Snapshot { driver: Driver::Simulator, devices: self.devices.clone(), remark: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_starts_give_the_same_devices_byte_for_byte() {
        let start = || Simulated::new("node-a", "simulated", 8, "SIM-A40", 64).probe();
        assert_eq!(start(), start());
        assert_eq!(start().devices[7].units[63].id, "sim-7::63");
    }

    #[test]
    fn a_slice_has_its_share_as_its_quota_and_a_whole_device_none() {
        let quota =
            |slices| Simulated::new("a", "p", 1, "SIM-A40", slices).probe().devices[0].units[0].quota_bytes;
        assert_eq!((quota(1), quota(4)), (None, Some(12 << 30)));
    }

    #[test]
    fn another_node_has_other_devices() {
        let first = |node| Simulated::new(node, "simulated", 1, "SIM-A40", 1).probe().devices[0].name.clone();
        assert_ne!(first("node-a"), first("node-b"));
    }
}
