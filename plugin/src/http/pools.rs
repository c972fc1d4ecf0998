//! What `kubectl firstlight status --nodes` shows of this node: each pool, its driver, its devices.

use super::View;
use crate::inventory::{Driver, Health, PoolDevice, Snapshot};
use serde::Serialize;

/// All pools of the node.
#[derive(Debug, Serialize)]
pub(super) struct Pools {
    pools: Vec<Pool>,
}

#[derive(Debug, Serialize)]
struct Pool {
    name: String,
    /// How the driver gets into containers.
    driver: &'static str,
    /// The driver's version, where it is one of NVIDIA's that we mount.
    #[serde(skip_serializing_if = "Option::is_none")]
    driver_version: Option<String>,
    /// Why there are no devices, or not all.
    #[serde(skip_serializing_if = "Option::is_none")]
    remark: Option<String>,
    devices: Vec<Device>,
}

#[derive(Debug, Serialize)]
struct Device {
    name: String,
    /// What the kubelet may give of it.
    units: usize,
    healthy: bool,
    /// Why not: for machines, and for people.
    #[serde(skip_serializing_if = "Option::is_none")]
    reason: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    why: Option<String>,
}

impl Pools {
    pub(super) fn of(view: &View) -> Self {
        let pools = view.pools.iter().map(|(name, snapshot)| Pool::of(name, &snapshot.borrow()));
        Self { pools: pools.collect() }
    }
}

impl Pool {
    fn of(name: &str, snapshot: &Snapshot) -> Self {
        let driver_version = match &snapshot.driver {
            Driver::Direct(direct) => direct.set.as_ref().map(|set| set.version.clone()),
            _ => None,
        };
        Self {
            name: name.to_owned(),
            driver: snapshot.driver.mode(),
            driver_version,
            remark: snapshot.remark.clone(),
            devices: snapshot.devices.iter().map(Device::of).collect(),
        }
    }
}

impl Device {
    fn of(device: &PoolDevice) -> Self {
        let fault = match &device.health {
            Health::Unhealthy(fault) => Some(fault),
            Health::Healthy => None,
        };
        Self {
            name: device.name.clone(),
            units: device.units.len(),
            healthy: fault.is_none(),
            reason: fault.map(|fault| fault.reason.as_str()),
            why: fault.map(|fault| fault.sentence.clone()),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::inventory::{Fault, Inventory as _, Simulated};
    use firstlight_contract::metrics::HealthReason;
    use serde_json::json;

    #[test]
    fn a_pool_tells_its_driver_and_of_each_device_why_it_is_not_given() {
        let mut snapshot = Simulated::new("node-a", "simulated", 2, "SIM-A40", 4).probe();
        let fault = Fault::new(HealthReason::Gone, "it is gone");
        snapshot.devices.last_mut().unwrap().health = Health::Unhealthy(fault);
        let names: Vec<_> = snapshot.devices.iter().map(|device| device.name.clone()).collect();
        assert_eq!(
            serde_json::to_value(Pool::of("simulated", &snapshot)).unwrap(),
            json!({"name": "simulated", "driver": "simulator", "devices": [
                {"name": names[0], "units": 4, "healthy": true},
                {"name": names[1], "units": 4, "healthy": false, "reason": "gone", "why": "it is gone"},
            ]})
        );
    }
}
