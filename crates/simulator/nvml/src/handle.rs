//! Devices by index, UUID and PCI id; what a handle names.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, check, get, nvml, put, text};
use crate::driver::{self, Told};
use crate::layout::{Uuid, version};
use firstlight_simulator::identity::{Pci, parse_uuid};
use firstlight_simulator::machine::{Device, Machine};
use std::ffi::c_char;

/// `nvmlDevice_t`: a number that is no address, with the index in it. Never 0.
pub(crate) type Handle = u64;

const MARK: u64 = 0x4d << 40;

/// The handle of an index.
pub(crate) fn of(index: usize) -> Handle {
    MARK | ((index as u64 + 1) << 4)
}

/// The number of a device, as functions hand it out.
pub(crate) fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

fn named(handle: Handle) -> Result<(usize, &'static Device), Code> {
    let devices = Machine::of_process().devices.iter().enumerate();
    devices.into_iter().find(|(index, _)| of(*index) == handle).ok_or(Code::INVALID_ARGUMENT)
}

/// A device that answers, and what the driver says of it.
pub(crate) struct Found {
    pub(crate) index: usize,
    pub(crate) device: &'static Device,
    pub(crate) told: Told,
}

/// The device of a handle; a lost one answers nothing but that.
pub(crate) fn find(handle: Handle) -> Result<Found, Code> {
    let (index, device) = named(handle)?;
    let told = driver::ask(index);
    if told.lost { Err(Code::GPU_IS_LOST) } else { Ok(Found { index, device, told }) }
}

/// Whether this is the handle of a lost device.
pub(crate) fn is_lost(handle: Handle) -> bool {
    named(handle).is_ok_and(|(index, _)| driver::ask(index).lost)
}

fn count(out: *mut u32) -> Done {
    put(out, number(Machine::of_process().devices.len()))
}

fn hand_out(out: *mut Handle, index: usize) -> Done {
    check(out)?;
    find(of(index))?;
    put(out, of(index))
}

fn by_index(index: u32, out: *mut Handle) -> Done {
    hand_out(out, usize::try_from(index).unwrap_or(usize::MAX))
}

fn by(out: *mut Handle, fits: impl Fn(&Device) -> bool) -> Done {
    check(out)?;
    let index = Machine::of_process().devices.iter().position(fits).ok_or(Code::NOT_FOUND)?;
    hand_out(out, index)
}

fn by_uuid_text(uuid: &str, out: *mut Handle) -> Done {
    // NVML compares texts: what is spelled otherwise is not found. `GPU-` may be missing.
    let plain = uuid.strip_prefix("GPU-").unwrap_or(uuid);
    let spelled = !plain.bytes().any(|byte| byte.is_ascii_uppercase());
    let wanted = parse_uuid(&format!("GPU-{plain}")).filter(|_| spelled);
    by(out, |device| Some(device.uuid) == wanted)
}

fn by_pci(id: *const c_char, out: *mut Handle) -> Done {
    let text = text(id)?;
    let text = text.trim_start();
    // No device has a second function.
    if text.rsplit_once('.').is_some_and(|(_, function)| function != "0") {
        return Err(Code::INVALID_ARGUMENT);
    }
    let wanted = Pci::parse(text.strip_prefix("0x").unwrap_or(text)).ok_or(Code::INVALID_ARGUMENT)?;
    by(out, |device| device.pci == wanted)
}

nvml! {
    fn nvmlDeviceGetCount(out: *mut u32) {
        count(out)
    }

    fn nvmlDeviceGetCount_v2(out: *mut u32) {
        count(out)
    }

    fn nvmlDeviceGetHandleByIndex(index: u32, out: *mut Handle) {
        by_index(index, out)
    }

    fn nvmlDeviceGetHandleByIndex_v2(index: u32, out: *mut Handle) {
        by_index(index, out)
    }

    fn nvmlDeviceGetHandleByUUID(uuid: *const c_char, out: *mut Handle) {
        by_uuid_text(&text(uuid)?, out)
    }

    fn nvmlDeviceGetHandleByUUIDV(uuid: *const Uuid, out: *mut Handle) {
        if get(uuid.cast::<u32>())? != version::<Uuid>(1) {
            return Err(Code::ARGUMENT_VERSION_MISMATCH);
        }
        let Uuid { kind, value, .. } = get(uuid)?;
        match (kind, value.split(|byte| *byte == 0).next(), value.first_chunk::<16>()) {
            (1, Some(ascii), _) => by_uuid_text(&String::from_utf8_lossy(ascii), out),
            (2, _, Some(binary)) => by(out, |device| device.uuid == *binary),
            _ => Err(Code::INVALID_ARGUMENT),
        }
    }

    fn nvmlDeviceGetHandleByPciBusId(id: *const c_char, out: *mut Handle) {
        by_pci(id, out)
    }

    fn nvmlDeviceGetHandleByPciBusId_v2(id: *const c_char, out: *mut Handle) {
        by_pci(id, out)
    }
}
