//! Devices by index, UUID and PCI id; what a handle names: a card, or an instance of one (MIG).
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, check, get, nvml, put, text};
use crate::driver::{self, Told};
use crate::layout::{Uuid, version};
use firstlight_simulator::identity::{Pci, parse_uuid};
use firstlight_simulator::machine::{Device, Machine};
use firstlight_simulator::mig::Instance;
use std::ffi::c_char;

/// `nvmlDevice_t`: a number that is no address, with the index in it, and above it that of an instance. Never 0.
pub(crate) type Handle = u64;

const MARK: u64 = 0x4d << 40;

/// The handle of an index.
pub(crate) fn of(index: usize) -> Handle {
    MARK | ((index as u64 + 1) << 4)
}

/// The handle of a card's instance.
pub(crate) fn of_instance(index: usize, instance: usize) -> Handle {
    of(index) | ((instance as u64 + 1) << 20)
}

/// The number of a device, as functions hand it out.
pub(crate) fn number(index: usize) -> u32 {
    u32::try_from(index).unwrap_or(u32::MAX)
}

/// An instance with its number among those of its card.
type Numbered = (usize, &'static Instance);

/// A device that answers, and what the driver says of it.
pub(crate) struct Found {
    pub(crate) index: usize,
    /// The card.
    pub(crate) device: &'static Device,
    /// The instance, where the handle names one.
    pub(crate) instance: Option<Numbered>,
    pub(crate) told: Told,
}

/// What a handle names; a lost device answers nothing but that.
fn named(handle: Handle) -> Result<(usize, &'static Device, Option<Numbered>), Code> {
    for (index, device) in Machine::of_process().devices.iter().enumerate() {
        if of(index) == handle {
            return Ok((index, device, None));
        }
        let mut instances = device.mig.iter().flatten().enumerate();
        if let Some(instance) = instances.find(|(number, _)| of_instance(index, *number) == handle) {
            return Ok((index, device, Some(instance)));
        }
    }
    Err(Code::INVALID_ARGUMENT)
}

/// The card or instance of a handle.
pub(crate) fn find(handle: Handle) -> Result<Found, Code> {
    let (index, device, instance) = named(handle)?;
    let told = driver::ask(index, instance.map(|(number, _)| number));
    if told.lost { Err(Code::GPU_IS_LOST) } else { Ok(Found { index, device, instance, told }) }
}

/// The card of a handle, for what is a card's alone: an instance's handle is none there.
pub(crate) fn find_card(handle: Handle) -> Result<Found, Code> {
    let found = find(handle)?;
    if found.instance.is_some() { Err(Code::INVALID_ARGUMENT) } else { Ok(found) }
}

/// Whether this is the handle of a lost device.
pub(crate) fn is_lost(handle: Handle) -> bool {
    named(handle).is_ok_and(|(index, ..)| driver::ask(index, None).lost)
}

fn count(out: *mut u32) -> Done {
    put(out, number(Machine::of_process().devices.len()))
}

/// Hands a handle out, unless the device is lost.
pub(crate) fn hand_out(out: *mut Handle, handle: Handle) -> Done {
    check(out)?;
    find(handle)?;
    put(out, handle)
}

fn by_index(index: u32, out: *mut Handle) -> Done {
    // No handle of an instance comes out of a large index.
    let index = u16::try_from(index).ok().map_or(u64::MAX, |index| of(index.into()));
    hand_out(out, index)
}

fn by(out: *mut Handle, fits: impl Fn(&Device) -> bool) -> Done {
    check(out)?;
    let index = Machine::of_process().devices.iter().position(fits).ok_or(Code::NOT_FOUND)?;
    hand_out(out, of(index))
}

/// The first instance that fits, of any card.
fn instance_by(fits: impl Fn(&Device, &Instance) -> bool) -> Option<Handle> {
    let mut cards = Machine::of_process().devices.iter().enumerate();
    cards.find_map(|(index, card)| {
        let number = card.mig.as_ref()?.iter().position(|instance| fits(card, instance))?;
        Some(of_instance(index, number))
    })
}

fn by_uuid_text(uuid: &str, out: *mut Handle) -> Done {
    check(out)?;
    if let Some(handle) =
        instance_by(|card, instance| card.names_of(instance).iter().any(|name| name == uuid))
    {
        return hand_out(out, handle);
    }
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
            (2, _, Some(binary)) => match instance_by(|_, instance| instance.uuid == *binary) {
                Some(handle) => hand_out(out, handle),
                None => by(out, |device| device.uuid == *binary),
            },
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
