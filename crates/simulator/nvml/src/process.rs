//! Running processes: this one, where it holds memory. Other processes have a driver of their own and are not seen.
#![expect(unsafe_code, reason = "exported symbols have C names")]

use crate::abi::{Done, check, nvml, put_list};
use crate::handle::{Handle, find};
use crate::layout::{NO_INSTANCE, ProcessV1, ProcessV2};

fn this(handle: Handle) -> Result<Option<ProcessV1>, crate::abi::Code> {
    let used = find(handle)?.told.used_bytes;
    Ok((used > 0).then(|| ProcessV1 { pid: std::process::id(), used }))
}

fn computing(handle: Handle, count: *mut u32, out: *mut ProcessV2) -> Done {
    check(count)?;
    let with_instances =
        |first| ProcessV2 { first, gpu_instance: NO_INSTANCE, compute_instance: NO_INSTANCE };
    put_list(count, out, this(handle)?.map(with_instances).as_slice())
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
        put_list(count, out, this(handle)?.as_slice())
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
