//! The devices of this process and the faults on order.

use crate::identity::{Pci, mint_pci, mint_uuid, parse_uuid, print_uuid};
use crate::visible;
use firstlight_contract::fault::{self, Fault};
use firstlight_contract::grant::{Grant, PoolKind};
use firstlight_contract::models::{self, DEFAULT_MODEL, MODELS, Model};
use firstlight_contract::{names, paths};
use std::sync::OnceLock;

/// Seed of the identities where no grant gives them.
const SEED: u64 = 0x0f15_7119_4700_0001;

/// One virtual device.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Device {
    /// The model: name, capability, multiprocessors.
    pub model: &'static Model,
    /// Memory in bytes; the model's, or what the grant says.
    pub memory_bytes: u64,
    /// UUID.
    pub uuid: [u8; 16],
    /// PCI id.
    pub pci: Pci,
}

/// Everything that this process has.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    /// All devices of the grant, in its order: what NVML shows.
    pub devices: Vec<Device>,
    /// Ordinals (into `devices`) that CUDA shows, in CUDA's order.
    pub visible: Vec<usize>,
    /// What shall go wrong.
    pub faults: Vec<Fault>,
}

impl Machine {
    /// Builds the machine from the text of a grant (`None`: there is none) and two environment variables.
    ///
    /// Without a grant there is one default device and no fault. A grant that cannot be read gives no device: what
    /// the container was promised is unknown. Faults are obeyed only where the grant says `simulated`; an order
    /// that cannot be parsed gives no device either, since a fault that silently does not happen misleads.
    pub fn new(grant: Option<&[u8]>, simulate: Option<&str>, visible: Option<&str>) -> Self {
        let grant = match grant.map(Grant::parse) {
            None => None,
            Some(Ok(grant)) => Some(grant),
            Some(Err(_)) => return Self::default(),
        };
        let simulated = grant.as_ref().is_some_and(|grant| grant.kind == PoolKind::Simulated);
        let Ok(faults) = fault::parse(simulate.filter(|_| simulated).unwrap_or_default()) else {
            return Self::default();
        };
        let devices = match &grant {
            Some(grant) if simulated || !grant.devices.is_empty() => granted(grant),
            _ => default_device().into_iter().collect(),
        };
        let uuids: Vec<String> = devices.iter().map(|device| print_uuid(device.uuid)).collect();
        Self { visible: visible::select(visible, &uuids), devices, faults }
    }

    /// The machine of this process, read once.
    pub fn of_process() -> &'static Self {
        static MACHINE: OnceLock<Machine> = OnceLock::new();
        MACHINE.get_or_init(|| {
            let variable =
                |name: &str| std::env::var_os(name).map(|value| value.to_string_lossy().into_owned());
            let mounted = std::fs::read(paths::container::GRANT);
            let grant = match mounted {
                Ok(text) => Some(text),
                Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                    // A path that was given but cannot be read is a broken promise, not a missing one.
                    std::env::var_os(names::env::GRANT).map(|path| std::fs::read(path).unwrap_or_default())
                }
                Err(_) => Some(Vec::new()),
            };
            Self::new(
                grant.as_deref(),
                variable(names::env::SIMULATE).as_deref(),
                variable("CUDA_VISIBLE_DEVICES").as_deref(),
            )
        })
    }

    /// The device of a CUDA ordinal.
    pub fn device(&self, ordinal: i32) -> Option<&Device> {
        let index = self.visible.get(usize::try_from(ordinal).ok()?)?;
        self.devices.get(*index)
    }

    /// The fault of this kind, if it was ordered.
    pub fn fault<T>(&self, choose: impl FnMut(&Fault) -> Option<T>) -> Option<T> {
        self.faults.iter().find_map(choose)
    }
}

fn model(name: Option<&str>) -> Option<&'static Model> {
    name.and_then(models::by_name).or_else(|| models::by_name(DEFAULT_MODEL)).or(MODELS.first())
}

fn default_device() -> Option<Device> {
    let model = model(None)?;
    Some(Device { model, memory_bytes: model.memory_bytes, uuid: mint_uuid(SEED, 0), pci: mint_pci(0) })
}

fn granted(grant: &Grant) -> Vec<Device> {
    let most = usize::try_from(models::MAX_DEVICES).unwrap_or(usize::MAX);
    let listed = (0_u32..).zip(grant.devices.iter().take(most));
    let device = |(index, granted): (u32, &firstlight_contract::grant::Device)| {
        let model = model(granted.model.as_deref())?;
        Some(Device {
            model,
            memory_bytes: granted.memory_bytes.unwrap_or(model.memory_bytes),
            uuid: parse_uuid(&granted.uuid)?,
            pci: granted.pci.as_deref().and_then(Pci::parse).unwrap_or_else(|| mint_pci(index)),
        })
    };
    listed.filter_map(device).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fmt::Write as _;

    fn grant(kind: &str, devices: usize) -> Vec<u8> {
        let mut text = format!(
            "firstlight-grant=1\nid={}\npool=p\nkind={kind}\ndriver=auto\nnvml=auto\n",
            "0".repeat(32)
        );
        for index in 0..devices {
            writeln!(text, "device.{index}.uuid=GPU-{index:08x}-0000-5000-8000-000000000000").unwrap();
        }
        text.into_bytes()
    }

    #[test]
    fn without_a_grant_there_is_one_default_device_and_no_fault() {
        let machine = Machine::new(None, Some("init-returns=999"), None);
        assert_eq!(machine.devices.len(), 1);
        assert_eq!(machine.devices[0].model.name, DEFAULT_MODEL);
        assert!(machine.faults.is_empty());
    }

    #[test]
    fn faults_are_obeyed_only_where_the_grant_says_simulated() {
        let faults = |kind| Machine::new(Some(&grant(kind, 1)), Some("init-returns=999"), None).faults;
        assert_eq!(faults("simulated"), [Fault::InitReturns(999)]);
        assert_eq!(faults("custom"), []);
    }

    #[test]
    fn sixteen_devices_differ_in_uuid_and_pci_id() {
        let machine = Machine::new(Some(&grant("simulated", 16)), None, None);
        assert_eq!(machine.visible.len(), 16);
        for (at, device) in machine.devices.iter().enumerate() {
            assert!(machine.devices[..at].iter().all(|one| one.uuid != device.uuid && one.pci != device.pci));
        }
    }

    #[test]
    fn a_grant_that_cannot_be_read_gives_no_device() {
        assert_eq!(Machine::new(Some(b"nonsense"), None, None), Machine::default());
    }

    #[test]
    fn an_order_that_cannot_be_read_gives_no_device() {
        assert_eq!(Machine::new(Some(&grant("simulated", 1)), Some("explode"), None), Machine::default());
    }

    #[test]
    fn hidden_devices_stay_known_to_nvml() {
        let machine = Machine::new(Some(&grant("simulated", 3)), None, Some("2"));
        assert_eq!((machine.devices.len(), machine.visible.as_slice()), (3, &[2][..]));
    }
}
