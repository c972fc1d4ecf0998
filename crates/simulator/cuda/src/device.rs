//! Devices: count, names, identities.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, driver, put, put_or_zero, put_text, text};
use crate::attributes;
use crate::state::{device, state};
use firstlight_simulator::identity::Pci;
use firstlight_simulator::machine::Machine;
use std::ffi::c_char;

driver! {
    fn cuDeviceGetCount(out: *mut i32) {
        let state = state()?;
        put(out, i32::try_from(state.devices.len()).unwrap_or(0))
    }

    /// A device's handle is its ordinal.
    fn cuDeviceGet(out: *mut i32, ordinal: i32) {
        state()?;
        device(ordinal)?;
        put(out, ordinal)
    }

    fn cuDeviceGetName(out: *mut c_char, length: i32, ordinal: i32) {
        state()?;
        put_text(out, length, &device(ordinal)?.name)
    }

    fn cuDeviceTotalMem_v2(out: *mut usize, ordinal: i32) {
        state()?;
        put_or_zero(out, device(ordinal).map(|device| usize::try_from(device.memory_bytes).unwrap_or(usize::MAX)))
    }

    fn cuDeviceGetAttribute(out: *mut i32, attribute: i32, ordinal: i32) {
        state()?;
        put(out, attributes::value(device(ordinal)?, attribute)?)
    }

    fn cuDeviceComputeCapability(major: *mut i32, minor: *mut i32, ordinal: i32) {
        state()?;
        let model = device(ordinal)?.model;
        put(major, i32::from(model.capability_major))?;
        put(minor, i32::from(model.capability_minor))
    }

    /// Of an instance its own, as the second version gives it: which one its card is, a grant of an instance does not say.
    fn cuDeviceGetUuid(out: *mut [u8; 16], ordinal: i32) {
        state()?;
        put(out, device(ordinal)?.uuid)
    }

    fn cuDeviceGetUuid_v2(out: *mut [u8; 16], ordinal: i32) {
        state()?;
        put(out, device(ordinal)?.uuid)
    }

    fn cuDeviceGetPCIBusId(out: *mut c_char, length: i32, ordinal: i32) {
        state()?;
        let Pci { domain, bus, device: slot } = device(ordinal)?.pci;
        let id = format!("{domain:04X}:{bus:02X}:{slot:02X}.0");
        put_text(out, length, &id)?;
        // Unlike a name, an id that was cut is an error.
        let room = usize::try_from(length).unwrap_or(0);
        if id.len() < room { Ok(()) } else { Err(Code::INVALID_VALUE) }
    }

    fn cuDeviceGetByPCIBusId(out: *mut i32, id: *const c_char) {
        state()?;
        let wanted = Pci::parse(&text(id)?).ok_or(Code::INVALID_VALUE)?;
        let machine = Machine::of_process();
        let ordinals = 0..i32::try_from(machine.visible.len()).unwrap_or(0);
        let mut fitting = ordinals.filter(|ordinal| machine.device(*ordinal).is_some_and(|one| one.pci == wanted));
        put(out, fitting.next().ok_or(Code::INVALID_DEVICE)?)
    }

    /// All memory is host memory, so every device reaches every other.
    fn cuDeviceCanAccessPeer(out: *mut i32, ordinal: i32, peer: i32) {
        state()?;
        device(ordinal)?;
        device(peer)?;
        put(out, i32::from(ordinal != peer))
    }

    /// 1: performance rank; 2: access supported; the others (atomics, arrays) not.
    fn cuDeviceGetP2PAttribute(out: *mut i32, attribute: i32, from: i32, to: i32) {
        state()?;
        device(from)?;
        device(to)?;
        if from == to {
            return Err(Code::INVALID_DEVICE);
        }
        match attribute {
            2 => put(out, 1),
            1 | 3..=5 => put(out, 0),
            _ => Err(Code::INVALID_VALUE),
        }
    }

    fn cuDeviceGetExecAffinitySupport(out: *mut i32, _kind: i32, ordinal: i32) {
        state()?;
        device(ordinal)?;
        put(out, 0)
    }
}
