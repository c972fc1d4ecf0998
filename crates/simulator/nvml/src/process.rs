//! Running processes: this one, where it holds memory. Other processes have a driver of their own and are not seen.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Code, Done, check, nvml, put_list};
use crate::handle::{Handle, find};
use crate::layout::{NO_INSTANCE, ProcessV1, ProcessV2};
use firstlight_simulator::machine::Machine;

/// The process, and the instance in which it is: CUDA shows one device of a card.
fn this(handle: Handle) -> Result<Option<ProcessV2>, Code> {
    let found = find(handle)?;
    let used = found.told.used_bytes;
    let shown = Machine::of_process().visible.iter().find(|shown| shown.card == found.index);
    let instance = shown.and_then(|shown| found.device.mig.as_ref()?.get(shown.instance?));
    let (gpu_instance, compute_instance) =
        instance.map_or((NO_INSTANCE, NO_INSTANCE), |instance| (instance.gi, instance.ci));
    let first = ProcessV1 { pid: std::process::id(), used };
    Ok((used > 0).then_some(ProcessV2 { first, gpu_instance, compute_instance }))
}

fn computing(handle: Handle, count: *mut u32, out: *mut ProcessV2) -> Done {
    check(count)?;
    put_list(count, out, this(handle)?.as_slice())
}

/// No process draws, and none computes through MPS.
fn none<T: Copy>(handle: Handle, count: *mut u32, out: *mut T) -> Done {
    check(count)?;
    find(handle)?;
    put_list(count, out, &[])
}

nvml! {
    fn nvmlDeviceGetComputeRunningProcesses(handle: Handle, count: *mut u32, out: *mut ProcessV1) {
        check(count)?;
        put_list(count, out, this(handle)?.map(|process| process.first).as_slice())
    }

    fn nvmlDeviceGetComputeRunningProcesses_v2(handle: Handle, count: *mut u32, out: *mut ProcessV2) {
        computing(handle, count, out)
    }

    fn nvmlDeviceGetComputeRunningProcesses_v3(handle: Handle, count: *mut u32, out: *mut ProcessV2) {
        computing(handle, count, out)
    }

    fn nvmlDeviceGetGraphicsRunningProcesses(handle: Handle, count: *mut u32, out: *mut ProcessV1) {
        none(handle, count, out)
    }

    fn nvmlDeviceGetGraphicsRunningProcesses_v2(handle: Handle, count: *mut u32, out: *mut ProcessV2) {
        none(handle, count, out)
    }

    fn nvmlDeviceGetGraphicsRunningProcesses_v3(handle: Handle, count: *mut u32, out: *mut ProcessV2) {
        none(handle, count, out)
    }

    fn nvmlDeviceGetMPSComputeRunningProcesses(handle: Handle, count: *mut u32, out: *mut ProcessV1) {
        none(handle, count, out)
    }

    fn nvmlDeviceGetMPSComputeRunningProcesses_v2(handle: Handle, count: *mut u32, out: *mut ProcessV2) {
        none(handle, count, out)
    }

    fn nvmlDeviceGetMPSComputeRunningProcesses_v3(handle: Handle, count: *mut u32, out: *mut ProcessV2) {
        none(handle, count, out)
    }
}
