//! Who a device is.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, check, get, nvml, put, put_text};
use crate::handle::{Handle, find, find_card, number};
use crate::layout::{PciInfo, PciInfoExt, PciInfoV1, PciInfoV2, field, version};
use firstlight_simulator::identity::{Pci, print_mig_uuid, print_uuid};
use firstlight_simulator::machine::Device;
use std::ffi::c_char;

/// `NVML_BRAND_UNKNOWN`: a simulated device is of no product line.
const BRAND: u32 = 0;

/// `NVML_DEVICE_ARCH_*` of a capability.
fn architecture(device: &Device) -> u32 {
    match (device.model.capability_major, device.model.capability_minor) {
        (7, 5) => 6,
        (8, 9) => 8,
        (8, _) => 7,
        (9, _) => 9,
        (10 | 12, _) => 10,
        _ => u32::MAX,
    }
}

/// The id as text, with a domain of eight digits.
fn long_id(pci: Pci) -> String {
    format!("{:08X}:{:02X}:{:02X}.0", pci.domain, pci.bus, pci.device)
}

/// What every version of the structure begins with. Vendor, device and subsystem are 0: no card is on that bus.
fn first(pci: Pci) -> PciInfoV1 {
    let Pci { domain, bus, device } = pci;
    PciInfoV1 {
        bus_id: field(&format!("{domain:04X}:{bus:02X}:{device:02X}.0")),
        domain,
        bus,
        device,
        device_id: 0,
    }
}

nvml! {
    fn nvmlDeviceGetName(handle: Handle, out: *mut c_char, length: u32) {
        let found = find(handle)?;
        match found.instance {
            Some((_, instance)) => put_text(out, length, &found.device.name_of(instance)),
            None => put_text(out, length, found.device.model.name),
        }
    }

    fn nvmlDeviceGetUUID(handle: Handle, out: *mut c_char, length: u32) {
        let found = find(handle)?;
        let card = || print_uuid(found.device.uuid);
        put_text(out, length, &found.instance.map_or_else(card, |(_, instance)| print_mig_uuid(instance.uuid)))
    }

    /// An instance's is the one among those of its card.
    fn nvmlDeviceGetIndex(handle: Handle, out: *mut u32) {
        let found = find(handle)?;
        put(out, number(found.instance.map_or(found.index, |(number, _)| number)))
    }

    fn nvmlDeviceGetMinorNumber(handle: Handle, out: *mut u32) {
        put(out, number(find_card(handle)?.index))
    }

    fn nvmlDeviceGetBrand(handle: Handle, out: *mut u32) {
        find(handle)?;
        put(out, BRAND)
    }

    fn nvmlDeviceGetArchitecture(handle: Handle, out: *mut u32) {
        put(out, architecture(find(handle)?.device))
    }

    fn nvmlDeviceGetCudaComputeCapability(handle: Handle, major: *mut i32, minor: *mut i32) {
        check(minor)?;
        let model = find(handle)?.device.model;
        put(major, i32::from(model.capability_major))?;
        put(minor, i32::from(model.capability_minor))
    }

    fn nvmlDeviceGetPciInfo(handle: Handle, out: *mut PciInfoV1) {
        put(out, first(find_card(handle)?.device.pci))
    }

    fn nvmlDeviceGetPciInfo_v2(handle: Handle, out: *mut PciInfoV2) {
        put(out, PciInfoV2 { first: first(find_card(handle)?.device.pci), subsystem_id: 0, reserved: [0; 4] })
    }

    fn nvmlDeviceGetPciInfo_v3(handle: Handle, out: *mut PciInfo) {
        let pci = find_card(handle)?.device.pci;
        put(out, PciInfo { first: first(pci), subsystem_id: 0, bus_id: field(&long_id(pci)) })
    }

    fn nvmlDeviceGetPciInfoExt(handle: Handle, out: *mut PciInfoExt) {
        let pci = find_card(handle)?.device.pci;
        let version = version::<PciInfoExt>(1);
        if get(out.cast::<u32>().cast_const())? != version {
            return Err(Code::ARGUMENT_VERSION_MISMATCH);
        }
        put(out, PciInfoExt {
            version,
            domain: pci.domain,
            bus: pci.bus,
            device: pci.device,
            device_id: 0,
            subsystem_id: 0,
            base_class: 0,
            sub_class: 0,
            bus_id: field(&long_id(pci)),
        })
    }
}
