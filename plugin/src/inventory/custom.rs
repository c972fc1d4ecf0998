//! The operator's own driver: healthy while its directory on the node holds `libcuda.so.1`.

use super::{Driver, Fault, Health, Inventory, Links, PoolDevice, Snapshot, Unit};
use firstlight_contract::metrics::HealthReason;
use firstlight_contract::paths::library;
use std::path::PathBuf;

/// A custom pool.
#[derive(Clone, Debug)]
pub struct Custom {
    driver: PathBuf,
    devices: u32,
}

impl Custom {
    /// `driver` is a directory on the node, mounted into our own container at the same path.
    pub fn new(driver: PathBuf, devices: u32) -> Self {
        Self { driver, devices }
    }

    fn health(&self) -> Health {
        let unfit = |sentence| Health::Unhealthy(Fault::new(HealthReason::Driver, sentence));
        let library = self.driver.join(library::CUDA);
        match std::fs::metadata(&library) {
            Ok(found) if found.is_file() => Health::Healthy,
            Ok(_) => unfit(format!(
                "{} is no file; put the driver's library there, or change the pool's `driver`",
                library.display()
            )),
            Err(error) => unfit(format!(
                "{}: {error}; put the driver's library there (and mount the directory into the plugin at the \
                 same path), or change the pool's `driver`",
                library.display()
            )),
        }
    }
}

impl Inventory for Custom {
    fn probe(&self) -> Snapshot {
        let health = self.health();
        let device = |index| {
            let id = format!("custom-{index}");
            PoolDevice {
                name: id.clone(),
                health: health.clone(),
                numa: None,
                links: Links::default(),
                granted: None,
                nodes: Vec::new(),
                units: vec![Unit::whole(id)],
            }
        };
        Snapshot {
            driver: Driver::Directory {
                path: self.driver.clone(),
                nvml: self.driver.join(library::NVML).is_file(),
            },
            devices: (0..self.devices).map(device).collect(),
            remark: None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_driver_that_appears_makes_the_devices_healthy() {
        let node = tempfile::tempdir().unwrap();
        let pool = Custom::new(node.path().to_owned(), 2);
        let reason = pool.probe().unusable().unwrap();
        assert!(reason.contains("libcuda.so.1: No such file"), "{reason}");
        std::fs::write(node.path().join(library::CUDA), "elf").unwrap();
        assert_eq!(pool.probe().unusable(), None);
        assert_eq!(pool.probe().driver, Driver::Directory { path: node.path().to_owned(), nvml: false });
    }

    #[test]
    fn a_directory_in_place_of_the_library_is_no_driver() {
        let node = tempfile::tempdir().unwrap();
        std::fs::create_dir(node.path().join(library::CUDA)).unwrap();
        assert!(Custom::new(node.path().to_owned(), 1).probe().unusable().unwrap().contains("is no file"));
    }
}
