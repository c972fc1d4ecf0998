//! The instances into which hardware divides a card (MIG). Which numbers they have the kernel module tells, by a folder
//! each; NVML is asked for each by card and numbers, because a name alone does not tell whose device nodes are its own.

use crate::cards::Card;
use crate::profile;
use firstlight_contract::card;
use firstlight_contract::prober::{Instance, MAX_INSTANCES};
use nvml_wrapper::Nvml;
use nvml_wrapper::error::NvmlError;
use std::fs;
use std::path::Path;

/// Where instances are found.
pub(crate) struct Instances<'a> {
    pub(crate) nvml: &'a Nvml,
    /// The kernel module's folder, `/proc/driver/nvidia/capabilities`.
    pub(crate) capabilities: &'a Path,
}

impl Instances<'_> {
    /// Those of a card. One that goes while it is asked about is none; so is a GPU instance without a compute
    /// instance, on which nothing runs.
    pub(crate) fn of(&self, card: &Card<'_>) -> Result<Vec<Instance>, NvmlError> {
        let folder = self.capabilities.join(format!("gpu{}/mig", card.device.minor_number()?));
        let whole = card.device.memory_info().map_or(0, |memory| memory.total);
        let mut found = Vec::new();
        for gi in numbered(&folder, "gi") {
            for ci in numbered(&folder.join(format!("gi{gi}")), "ci") {
                found.extend(self.instance(card, gi, ci, whole)?);
            }
        }
        found.truncate(MAX_INSTANCES);
        Ok(found)
    }

    /// `nvmlDeviceGetHandleByUUID` takes both names of an instance, and `nvmlDeviceGetUUID` answers its own one (NVIDIA,
    /// *NVML API Reference*, "Change log", 470): so numbers become the name. NVML's functions that tell the numbers of an
    /// instance are not in the wrapper.
    fn instance(&self, card: &Card<'_>, gi: u32, ci: u32, whole: u64) -> Result<Option<Instance>, NvmlError> {
        let device = match self.nvml.device_by_uuid(format!("MIG-{}/{gi}/{ci}", card.uuid)) {
            Ok(device) => device,
            Err(NvmlError::NotFound | NvmlError::InvalidArg) => return Ok(None),
            Err(error) => return Err(error),
        };
        let attributes = device.attributes()?;
        let profile = device.name().ok().and_then(|name| profile::in_name(&name));
        let profile = profile.unwrap_or_else(|| profile::of_slices(&attributes, whole));
        // Before 470 the name was made of the numbers; such a driver's instances have none that stays.
        let uuid = card::mig_uuid(&device.uuid()?);
        let memory = attributes.memory_size_mb.checked_mul(1 << 20);
        Ok(uuid.map(|uuid| Instance { uuid, gi, ci, profile, memory }))
    }
}

/// The numbers of the folders that are called so, in order.
fn numbered(folder: &Path, prefix: &str) -> Vec<u32> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    card::numbered(entries.map(|entry| entry.file_name()), prefix)
}
