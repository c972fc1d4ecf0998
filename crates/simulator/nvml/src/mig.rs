//! MIG: whether a card is divided, and its instances. A card's mode is the grant's and stays: nothing here divides one.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, check, nvml, put};
use crate::handle::{self, Found, Handle, find, find_card};
use firstlight_simulator::mig::{self, Instance};

/// A card that can be divided.
fn dividable(handle: Handle) -> Result<Found, Code> {
    let found = find_card(handle)?;
    if mig::is_supported(found.device.model) { Ok(found) } else { Err(Code::NOT_SUPPORTED) }
}

/// Writes what an instance's handle tells; a card's is none.
fn of_instance<T>(handle: Handle, out: *mut T, tell: impl FnOnce(&Found, &Instance) -> T) -> Done {
    check(out)?;
    let found = find(handle)?;
    match found.instance {
        Some((_, instance)) => put(out, tell(&found, instance)),
        None if mig::is_supported(found.device.model) => Err(Code::INVALID_ARGUMENT),
        None => Err(Code::NOT_SUPPORTED),
    }
}

nvml! {
    fn nvmlDeviceGetMigMode(handle: Handle, current: *mut u32, pending: *mut u32) {
        check(pending)?;
        let mode = u32::from(dividable(handle)?.device.mig.is_some());
        put(current, mode)?;
        put(pending, mode)
    }

    /// 0 also where MIG is not supported, or off (nvml.h).
    fn nvmlDeviceGetMaxMigDeviceCount(handle: Handle, out: *mut u32) {
        put(out, if find_card(handle)?.device.mig.is_some() { mig::MOST } else { 0 })
    }

    fn nvmlDeviceGetMigDeviceHandleByIndex(handle: Handle, number: u32, out: *mut Handle) {
        check(out)?;
        let found = dividable(handle)?;
        let number = usize::try_from(number).unwrap_or(usize::MAX);
        found.device.mig.as_ref().and_then(|instances| instances.get(number)).ok_or(Code::NOT_FOUND)?;
        handle::hand_out(out, handle::of_instance(found.index, number))
    }

    fn nvmlDeviceIsMigDeviceHandle(handle: Handle, out: *mut u32) {
        put(out, u32::from(find(handle)?.instance.is_some()))
    }

    fn nvmlDeviceGetGpuInstanceId(handle: Handle, out: *mut u32) {
        of_instance(handle, out, |_, instance| instance.gi)
    }

    fn nvmlDeviceGetComputeInstanceId(handle: Handle, out: *mut u32) {
        of_instance(handle, out, |_, instance| instance.ci)
    }

    fn nvmlDeviceGetDeviceHandleFromMigDeviceHandle(handle: Handle, out: *mut Handle) {
        of_instance(handle, out, |found, _| handle::of(found.index))
    }
}
