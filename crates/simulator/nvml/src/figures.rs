//! What a device has.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, check, get, nvml, put};
use crate::handle::{Found, Handle, find, find_card};
use crate::layout::{Attributes, FieldValue, Memory, MemoryV2, version};
use firstlight_simulator::machine::COPY_ENGINES;

fn memory(found: &Found) -> Memory {
    let total = found.instance.map_or(found.device.memory_bytes, |(_, instance)| instance.memory_bytes);
    let used = found.told.used_bytes.min(total);
    Memory { total, free: total - used, used }
}

/// Cores of a multiprocessor (CUDA C++ programming guide, *Compute Capabilities*).
fn cores_each(major: u8, minor: u8) -> u32 {
    match (major, minor) {
        (7, _) | (8, 0) => 64,
        _ => 128,
    }
}

/// Bits of the memory bus; the driver's attribute 37 says the same.
fn bus_width(major: u8, minor: u8) -> u32 {
    match (major, minor) {
        (7, 5) => 256,
        (8, 6 | 9) => 384,
        _ => 5120,
    }
}

fn attributes(handle: Handle, out: *mut Attributes) -> Done {
    let found = find(handle)?;
    if let Some((_, instance)) = found.instance {
        return put(
            out,
            Attributes {
                multiprocessors: instance.multiprocessors().into(),
                copy_engines: instance.copy_engines().into(),
                gpu_slices: instance.profile.slices.into(),
                compute_slices: instance.compute.into(),
                memory_mib: instance.memory_bytes >> 20,
                ..Attributes::default()
            },
        );
    }
    let whole = Attributes {
        multiprocessors: u32::from(found.device.model.multiprocessors),
        copy_engines: COPY_ENGINES.into(),
        memory_mib: found.device.memory_bytes >> 20,
        ..Attributes::default()
    };
    put(out, whole)
}

/// A mode of a card that is off, or a number of something that it has none of.
fn none(handle: Handle, out: *mut u32) -> Done {
    find_card(handle)?;
    put(out, 0)
}

nvml! {
    fn nvmlDeviceGetMemoryInfo(handle: Handle, out: *mut Memory) {
        put(out, memory(&find(handle)?))
    }

    /// Nothing is reserved: all of the memory can be allocated. A structure of another version is said to be of a
    /// function that is not there.
    fn nvmlDeviceGetMemoryInfo_v2(handle: Handle, out: *mut MemoryV2) {
        let Memory { total, free, used } = memory(&find(handle)?);
        let version = version::<MemoryV2>(2);
        if get(out.cast::<u32>().cast_const())? != version {
            return Err(Code::FUNCTION_NOT_FOUND);
        }
        put(out, MemoryV2 { version, total, reserved: 0, free, used })
    }

    /// A window over all of the memory, as large as the bus would make it; nothing is mapped through it.
    fn nvmlDeviceGetBAR1MemoryInfo(handle: Handle, out: *mut Memory) {
        let total = memory(&find(handle)?).total.checked_next_power_of_two().ok_or(Code::NOT_SUPPORTED)?;
        put(out, Memory { total, free: total, used: 0 })
    }

    fn nvmlDeviceGetAttributes(handle: Handle, out: *mut Attributes) {
        attributes(handle, out)
    }

    fn nvmlDeviceGetAttributes_v2(handle: Handle, out: *mut Attributes) {
        attributes(handle, out)
    }

    /// Of a card that is divided, and of an instance, it is not told (nvml.h).
    fn nvmlDeviceGetNumGpuCores(handle: Handle, out: *mut u32) {
        let device = find(handle)?.device;
        if device.mig.is_some() {
            return Err(Code::NOT_SUPPORTED);
        }
        let model = device.model;
        put(out, u32::from(model.multiprocessors) * cores_each(model.capability_major, model.capability_minor))
    }

    fn nvmlDeviceGetMemoryBusWidth(handle: Handle, out: *mut u32) {
        let model = find_card(handle)?.device.model;
        put(out, bus_width(model.capability_major, model.capability_minor))
    }

    /// 0: any number of contexts, the default.
    fn nvmlDeviceGetComputeMode(handle: Handle, out: *mut u32) {
        find(handle)?;
        put(out, 0)
    }

    fn nvmlDeviceGetPersistenceMode(handle: Handle, out: *mut u32) {
        none(handle, out)
    }

    fn nvmlDeviceGetDisplayMode(handle: Handle, out: *mut u32) {
        none(handle, out)
    }

    fn nvmlDeviceGetDisplayActive(handle: Handle, out: *mut u32) {
        none(handle, out)
    }

    fn nvmlDeviceGetMultiGpuBoard(handle: Handle, out: *mut u32) {
        none(handle, out)
    }

    /// The call succeeds; each field says for itself that it is not supported (nvml.h).
    fn nvmlDeviceGetFieldValues(handle: Handle, count: i32, values: *mut FieldValue) {
        find_card(handle)?;
        check(values)?;
        let count = usize::try_from(count).ok().filter(|count| *count > 0).ok_or(Code::INVALID_ARGUMENT)?;
        for index in 0..count {
            let at = values.wrapping_add(index);
            let FieldValue { field, scope, .. } = get(at.cast_const())?;
            let result = Code::NOT_SUPPORTED.0;
            put(at, FieldValue { field, scope, timestamp: 0, latency: 0, kind: 0, result, value: 0 })?;
        }
        Ok(())
    }
}
